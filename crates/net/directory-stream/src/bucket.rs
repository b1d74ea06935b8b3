//! How much of something there may be in a time.

use std::time::Duration;
use tokio::time::Instant;

/// Room that comes back with time.
#[derive(Debug)]
pub struct Bucket {
    each: Duration,
    most: u32,
    /// When it was, or will be, full; `None` before the first is taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// One in each of these times, and `most` of them at once.
    pub fn new(each: Duration, most: u32) -> Self {
        Self { each, most, full_at: None }
    }

    /// So many in a second, and as many at once.
    pub fn a_second(count: u32) -> Self {
        Self::new(Duration::from_secs(1) / count.max(1), count)
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + self.each;
        let fits = full_at - now <= self.each * self.most;
        if fits {
            self.full_at = Some(full_at);
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
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        let mut bucket = Bucket::a_second(10);
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 10);
        let mut slow = Bucket::new(Duration::from_secs(2), 8);
        assert_eq!(taken(&mut slow, start), 8);
        assert_eq!(taken(&mut slow, start + Duration::from_secs(5)), 2);
    }
}
