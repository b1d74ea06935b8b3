//! The slowest class that a direction may have beside a fast one the other way.

use crate::class::RateClass;

/// Share of the other direction's rate that its acknowledgements may need.
const REVERSE_SHARE: u64 = 50;
/// Cells per second that a direction has at least.
const CELLS_PER_SECOND_MIN: u64 = 40;

/// The slowest floor of a direction whose other direction can be as fast as `ceiling`, for cells with `session_packet` bytes
/// of session in them.
///
/// A direction at its floor must carry the session's acknowledgements of the other direction at its ceiling, or a
/// download would wait for upload slots, and wait longer the busier it is. Two bounds, of which the higher counts:
///
/// - 1/50 of the other rate. The session acknowledges every 16th packet at the latest, fewer when its packets are rare, and
///   an acknowledgement covers all that came before it. Measured at 20 and 100 Mbit/s: full speed at 1/50 and at 1/100;
///   1/50 leaves as much again for requests, reports and repeats.
/// - 40 cells a second. A session takes up to 25 ms for an acknowledgement (QUIC's largest delay while the round trip is
///   not known) and tells its peer so; with a cell every 25 ms the schedule does not break that word, and probe time-outs
///   that are computed from it do not fire too early.
pub fn floor_for_reverse(ceiling: RateClass, session_packet: usize) -> RateClass {
    let for_acknowledgements = ceiling.bits_per_second().div_ceil(REVERSE_SHARE);
    let for_delay = (session_packet as u64).saturating_mul(8 * CELLS_PER_SECOND_MIN);
    // Packets fit an Ethernet frame, so 40 of them a second are far below the fastest class.
    RateClass::at_least(for_acknowledgements.max(for_delay)).unwrap_or(RateClass::FASTEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CellRate, SlotLength};

    #[test]
    fn both_bounds_hold_for_every_ceiling() -> Result<(), crate::RangeError> {
        for number in 0..=RateClass::FASTEST.number() {
            let ceiling = RateClass::new(number)?;
            let floor = floor_for_reverse(ceiling, 1222);
            assert!(floor.bits_per_second() * REVERSE_SHARE >= ceiling.bits_per_second());
            assert!(CellRate::new(floor, SlotLength::DEFAULT, 1222).cells_per_second() >= CELLS_PER_SECOND_MIN);
            if let Some(slower) = floor.slower() {
                let least = (ceiling.bits_per_second() / REVERSE_SHARE).max(40 * 8 * 1222);
                assert!(slower.bits_per_second() < least, "not faster than needed");
            }
        }
        Ok(())
    }

    #[test]
    fn known_floors() -> Result<(), crate::RangeError> {
        let floor = |bits| RateClass::at_least(bits).map(|class| floor_for_reverse(class, 1222).to_string());
        assert_eq!(floor(2_000_000)?, "430 kbit/s", "40 cells a second");
        assert_eq!(floor(50_000_000)?, "1.21 Mbit/s");
        assert_eq!(floor(1_000_000_000)?, "23.17 Mbit/s");
        Ok(())
    }
}
