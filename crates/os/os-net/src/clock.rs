//! The two clocks: monotonic nanoseconds, in which slots are stated, and UTC, in which days and epochs are.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{ClockId, Timespec};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share until it is booted again.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(SECOND_NS).saturating_add(nanoseconds)
}

/// Time since 1970-01-01 UTC without leap seconds; zero if the clock is set before that.
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// Number of whole UTC days since 1970-01-01.
pub fn unix_day() -> u64 {
    unix_time().as_secs() / 86_400
}

/// One reading of both forms of the monotonic clock, to convert between them. `Instant` reads the same clock, so a
/// reading stays valid for the life of the process; its error is the time between two clock reads (under 100 ns).
#[derive(Debug, Clone, Copy)]
pub struct MonotonicAnchor {
    instant: Instant,
    ns: u64,
}

impl MonotonicAnchor {
    /// Reads both forms now.
    pub fn now() -> Self {
        Self { ns: monotonic_ns(), instant: Instant::now() }
    }

    /// Monotonic nanoseconds of an instant; zero for instants before boot.
    pub fn ns_of(&self, instant: Instant) -> u64 {
        if let Some(after) = instant.checked_duration_since(self.instant) {
            self.ns.saturating_add(saturating_ns(after))
        } else {
            self.ns.saturating_sub(saturating_ns(self.instant.saturating_duration_since(instant)))
        }
    }

    /// The instant of a count of monotonic nanoseconds. Counts that the platform's `Instant` cannot hold give the
    /// anchor's own instant.
    pub fn instant_of(&self, ns: u64) -> Instant {
        let shifted = if ns >= self.ns {
            self.instant.checked_add(Duration::from_nanos(ns - self.ns))
        } else {
            self.instant.checked_sub(Duration::from_nanos(self.ns - ns))
        };
        shifted.unwrap_or(self.instant)
    }
}

/// A count of monotonic nanoseconds as the kernel takes it.
pub(crate) fn timespec(ns: u64) -> Timespec {
    let tv_sec = i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: (ns % SECOND_NS).cast_signed() }
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_monotonic_clock_agree() {
        let anchor = MonotonicAnchor::now();
        let before = monotonic_ns();
        let converted = anchor.ns_of(Instant::now());
        let after = monotonic_ns();
        assert!(before.saturating_sub(1_000_000) <= converted && converted <= after + 1_000_000);
    }

    #[test]
    fn conversion_goes_both_ways_on_both_sides_of_the_anchor() {
        let anchor = MonotonicAnchor::now();
        let base = anchor.ns_of(anchor.instant);
        for ns in [base, base + 1, base + 86_400 * SECOND_NS, base - base.min(1_000_000), base - base.min(1)] {
            assert_eq!(anchor.ns_of(anchor.instant_of(ns)), ns);
        }
    }

    #[test]
    fn a_timespec_splits_at_the_second() {
        let time = timespec(3 * SECOND_NS + 7);
        assert_eq!((time.tv_sec, time.tv_nsec), (3, 7));
    }

    #[test]
    fn the_day_is_after_the_first_release() {
        assert!(unix_day() > 20_000);
        assert!(unix_time().as_secs() >= unix_day() * 86_400);
    }
}
