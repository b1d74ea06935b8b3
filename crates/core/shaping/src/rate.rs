//! A class spread over slots: N cells every M slots, exactly, without drift.

use crate::class::RateClass;
use crate::grid::SlotLength;

/// Cells per slot of one class. Slot 0 is the slot at which the class was taken.
///
/// Through slot k the schedule has released `floor((k + 1) x bits x length / (8 x session packet))` cells:
/// a function of the slot number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRate {
    class: RateClass,
    slot: SlotLength,
    session_packet: u64,
}

impl CellRate {
    /// `session_packet` is the number of session bytes in a cell, at least 1.
    pub fn new(class: RateClass, slot: SlotLength, session_packet: usize) -> Self {
        assert!(session_packet > 0, "a cell carries at least one byte");
        Self { class, slot, session_packet: session_packet as u64 }
    }

    /// Another class on the same slots and cells, counted from its own slot 0.
    #[must_use]
    pub fn with_class(self, class: RateClass) -> Self {
        Self { class, ..self }
    }

    /// The class.
    pub fn class(&self) -> RateClass {
        self.class
    }

    /// Cells in slots `0..slots`.
    fn cells_before(&self, slots: u64) -> u64 {
        (u128::from(slots) * self.numerator() / self.denominator()) as u64
    }

    /// Cells that leave in slot `slot`.
    pub fn cells_in_slot(&self, slot: u64) -> u32 {
        (self.cells_before(slot + 1) - self.cells_before(slot)) as u32
    }

    /// The first slot at `from` or later that has a cell.
    pub fn next_busy_slot(&self, from: u64) -> u64 {
        let wanted = u128::from(self.cells_before(from) + 1);
        (wanted * self.denominator()).div_ceil(self.numerator()) as u64 - 1
    }

    /// Most cells that any slot has.
    pub fn cells_per_slot_max(&self) -> u32 {
        self.numerator().div_ceil(self.denominator()) as u32
    }

    /// Cells per second, rounded to the nearest.
    pub fn cells_per_second(&self) -> u64 {
        let per_cell = 8 * self.session_packet;
        (self.class.bits_per_second() + per_cell / 2) / per_cell
    }

    fn numerator(&self) -> u128 {
        u128::from(self.class.bits_per_second()) * u128::from(self.slot.as_millis())
    }

    fn denominator(&self) -> u128 {
        u128::from(self.session_packet) * 8 * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_cell_is_lost_gained_or_bunched(number in 0u8..=52, millis in 1u32..=50, from in 0u64..1 << 40) {
            let (Ok(class), Ok(slot)) = (RateClass::new(number), SlotLength::from_millis(millis)) else {
                return Err(TestCaseError::fail("ranges are valid"));
            };
            let rate = CellRate::new(class, slot, 1222);
            let most = rate.cells_per_slot_max();
            let mut total = 0;
            for k in from..from + 300 {
                let cells = rate.cells_in_slot(k);
                prop_assert!(cells == most || cells + 1 == most);
                total += u64::from(cells);
            }
            prop_assert_eq!(total, rate.cells_before(from + 300) - rate.cells_before(from));
            let busy = rate.next_busy_slot(from);
            prop_assert!(busy >= from);
            prop_assert!(rate.cells_in_slot(busy) > 0);
            prop_assert_eq!(rate.cells_before(busy), rate.cells_before(from));
        }
    }

    #[test]
    fn the_slowest_class_keeps_a_link_alive() -> Result<(), crate::RangeError> {
        let rate = CellRate::new(RateClass::SLOWEST, SlotLength::from_millis(5)?, 1222);
        assert_eq!(rate.cells_per_second(), 26);
        assert!(rate.next_busy_slot(0) < 15 * 200, "a NAT forgets a mapping after 15 s without a packet");
        Ok(())
    }
}
