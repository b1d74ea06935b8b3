//! How much of something there may be in a second.

use std::time::{Duration, Instant};

/// Room that comes back with time.
#[derive(Debug)]
pub(crate) struct Bucket {
    each: Duration,
    most: u32,
    /// When it was, or will be, full.
    full_at: Instant,
}

impl Bucket {
    /// So many in a second, and as many at once.
    pub(crate) fn new(a_second: u32, now: Instant) -> Self {
        Self { each: Duration::from_secs(1) / a_second, most: a_second, full_at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.each;
        let fits = full_at - now <= self.each * self.most;
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_said_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 10);
    }
}
