//! How many packets may leave.

use std::time::{Duration, Instant};

/// What a limited relay may send at once after it sent nothing: so much of its rate, and no less than 16 packets. More than a
/// shell oversleeps, so that the rate is reached; little enough that a neighbour's line sees the rate and not bursts.
pub const BURST: Duration = Duration::from_millis(20);
/// Packets of the smallest burst.
const BURST_PACKETS_MIN: u64 = 16;
/// Units of time in a nanosecond: the cost of a packet is exact to 0.03 % at a million packets a second.
const UNITS: u64 = 1024;

/// A token bucket that counts in time: a packet costs what it takes at the rate.
pub(crate) struct Bucket {
    /// Cost of a packet; 0 without a limit.
    cost: u64,
    full: u64,
    /// Below zero when more was charged than was there.
    credit: i64,
    filled: Option<Instant>,
}

impl Bucket {
    /// A full bucket for so many packets a second; `None` is no limit.
    pub(crate) fn new(packets_per_second: Option<u64>) -> Self {
        let cost = packets_per_second.map_or(0, |rate| 1_000_000_000 * UNITS / rate.max(1));
        let full = (BURST.as_nanos() as u64 * UNITS).max(BURST_PACKETS_MIN * cost);
        Self { cost, full, credit: full as i64, filled: None }
    }

    /// Takes one packet if there is room for it.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.cost == 0 {
            return true;
        }
        let room = self.has_room(now);
        if room {
            self.credit -= self.cost as i64;
        }
        room
    }

    /// True when a packet may leave.
    #[inline]
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        if self.cost == 0 {
            return true;
        }
        self.fill(now);
        self.credit >= self.cost as i64
    }

    /// Counts a packet that leaves in any case; it delays others. Bounded, so that they are not held up for long.
    pub(crate) fn charge(&mut self, now: Instant) {
        self.fill(now);
        self.credit = (self.credit - self.cost as i64).max(-(self.full as i64));
    }

    /// When there is room for a packet.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let missing = self.cost as i64 - self.credit;
        let from = self.filled.unwrap_or(now);
        if missing <= 0 { now } else { from + Duration::from_nanos((missing as u64).div_ceil(UNITS)) }
    }

    fn fill(&mut self, now: Instant) {
        let before = *self.filled.get_or_insert(now);
        let passed = now.saturating_duration_since(before).min(BURST * 1_000);
        self.filled = Some(now.max(before));
        self.credit = self.credit.saturating_add((passed.as_nanos() as u64 * UNITS) as i64).min(self.full as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn the_rate_is_kept_however_often_it_is_asked() {
        for (rate, step) in [(115, 7_000), (10_000, 900), (200_000, 50)] {
            let (start, mut bucket, mut taken) = (Instant::now(), Bucket::new(Some(rate)), 0);
            let steps = 10_000_000 / step;
            for at in 0..steps {
                let now = start + Duration::from_micros(step) * u32::try_from(at).expect("few");
                while bucket.take(now) {
                    taken += 1;
                }
                assert!(
                    bucket.next(now) > now && bucket.next(now) <= now + Duration::from_nanos(1 + 1_000_000_000 / rate)
                );
            }
            let burst = (rate / 50).max(16);
            assert!((rate * 10 - rate / 50..=rate * 10 + burst + 1).contains(&taken), "{taken} at {rate} a second");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn what_leaves_in_any_case_delays_the_others() {
        let (now, mut bucket) = (Instant::now(), Bucket::new(Some(1_000)));
        for _ in 0..25 {
            bucket.charge(now);
        }
        assert!(!bucket.take(now));
        assert_eq!(bucket.next(now), now + Duration::from_millis(6));
        for _ in 0..1_000 {
            bucket.charge(now);
        }
        assert!(bucket.take(now + 2 * BURST + Duration::from_millis(1)), "never for long");
        let mut unlimited = Bucket::new(None);
        assert!((0..100_000).all(|_| unlimited.take(now)));
    }
}
