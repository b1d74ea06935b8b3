//! Counters that travel as their low 24 bits.

use wire::leg::LegHeader;

/// The largest value of at most `newest` whose low 24 bits are `low`, or none if there is no such value.
///
/// Right as long as the value is less than 2^24 cells behind `newest`: at a million cells a second, 16 seconds.
pub(crate) fn unwrap_below(low: u32, newest: u64) -> Option<u64> {
    let modulus = u64::from(LegHeader::COUNTER_MASK) + 1;
    let low = u64::from(low & LegHeader::COUNTER_MASK);
    let candidate = newest - newest % modulus + low;
    if candidate <= newest { Some(candidate) } else { candidate.checked_sub(modulus) }
}

/// The low 24 bits of a counter.
pub(crate) fn low_bits(counter: u64) -> u32 {
    (counter & u64::from(LegHeader::COUNTER_MASK)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_of_a_turn_are_unwrapped() {
        let turn = 1 << 24;
        assert_eq!(unwrap_below(0, 0), Some(0));
        assert_eq!(unwrap_below(1, 0), None);
        assert_eq!(unwrap_below(0x00ff_ffff, turn), Some(turn - 1));
        assert_eq!(unwrap_below(0, turn), Some(turn));
        assert_eq!(unwrap_below(1, turn), Some(1));
        assert_eq!(unwrap_below(0xff00_0001, 5), Some(1), "bits above the 24 do not count");
    }

    proptest! {
        #[test]
        fn a_counter_not_far_behind_is_found_again(newest in any::<u64>(), behind in 0u64..1 << 24) {
            prop_assume!(behind <= newest);
            let value = newest - behind;
            prop_assert_eq!(unwrap_below(low_bits(value), newest), Some(value));
        }
    }
}
