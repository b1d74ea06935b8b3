//! The grid: slots as instants of the monotonic clock.

use crate::class::RangeError;
use std::time::{Duration, Instant};

/// Length of a slot, a whole number of milliseconds, 1..=50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotLength(u32);

impl SlotLength {
    /// 5 ms.
    pub const DEFAULT: Self = Self(5);

    /// Checks the range.
    pub fn from_millis(millis: u32) -> Result<Self, RangeError> {
        if (1..=50).contains(&millis) { Ok(Self(millis)) } else { Err(RangeError::Slot(millis)) }
    }

    /// Milliseconds.
    pub fn as_millis(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0))
    }
}

/// Slot k begins at `origin + k x length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    origin: Instant,
    length: SlotLength,
}

impl Grid {
    /// A grid whose slot 0 is at `origin`.
    pub fn new(origin: Instant, length: SlotLength) -> Self {
        Self { origin, length }
    }

    /// Length of a slot.
    pub fn length(&self) -> SlotLength {
        self.length
    }

    /// When slot `slot` begins.
    pub fn instant_of(&self, slot: u64) -> Instant {
        let nanos = u128::from(slot) * self.length.duration().as_nanos();
        self.origin + Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
    }

    /// The first slot that begins at `now` or later.
    pub fn next_slot(&self, now: Instant) -> u64 {
        let length = self.length.duration().as_nanos();
        now.saturating_duration_since(self.origin).as_nanos().div_ceil(length) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from; its value plays no part")]
    fn simulated_origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn slots_and_instants_agree() -> Result<(), RangeError> {
        let origin = simulated_origin();
        let grid = Grid::new(origin, SlotLength::from_millis(5)?);
        assert_eq!(grid.next_slot(origin), 0);
        assert_eq!(grid.next_slot(origin + Duration::from_nanos(1)), 1);
        for slot in [0, 1, 199, 1_000_000_007] {
            assert_eq!(grid.next_slot(grid.instant_of(slot)), slot);
            assert_eq!(grid.next_slot(grid.instant_of(slot) + Duration::from_nanos(1)), slot + 1);
        }
        assert_eq!(SlotLength::from_millis(0), Err(RangeError::Slot(0)));
        assert_eq!(SlotLength::from_millis(51), Err(RangeError::Slot(51)));
        Ok(())
    }
}
