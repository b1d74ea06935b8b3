//! How long to wait before a peer is dialled again.

use std::time::Duration;

/// No wait is longer.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// A connection that lived so long makes the next wait short again.
pub const STEADY_AFTER: Duration = Duration::from_secs(30);

/// Full-jitter exponential backoff: each wait is random below a ceiling that doubles with every failure in a row.
///
/// Full jitter spreads the peers of a member that comes back over the whole ceiling, so they do not all arrive at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// The ceiling of the first wait is `first`, but never above [`WAIT_MAX`].
    pub fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// Notes that a connection ended that had been up for `alive`, zero if it never was, and says how long to wait.
    /// `random` is any 64 random bits.
    pub fn note_end(&mut self, alive: Duration, random: u64) -> Duration {
        if alive >= STEADY_AFTER {
            self.failures = 0;
        }
        let ceiling = self.first.saturating_mul(1 << self.failures.min(16)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        // The upper 53 bits, as a share of 1.
        ceiling.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_to_ten_seconds_and_begins_anew_after_thirty_seconds_up() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        let mut ceiling = |alive| backoff.note_end(alive, u64::MAX).as_secs_f64();
        for expected in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] {
            let found = ceiling(Duration::ZERO);
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert!(ceiling(STEADY_AFTER - Duration::from_millis(1)) > 9.9, "too short a life to count");
        assert!(ceiling(STEADY_AFTER) < 0.11);
        assert!(ceiling(Duration::ZERO) < 0.21);
    }

    #[test]
    fn waits_are_spread_over_the_whole_ceiling() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        assert_eq!(backoff.note_end(Duration::ZERO, 0), Duration::ZERO);
        assert_eq!(backoff.note_end(Duration::ZERO, 1 << 63), WAIT_MAX / 2);
    }
}
