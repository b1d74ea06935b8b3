//! Rate classes: the only rates that a shaped link may have.

use std::fmt;
use thiserror::Error;

/// A rate, class or slot length that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RangeError {
    /// No class is that fast.
    #[error("{0} bit/s is above the fastest rate class, {max} bit/s", max = RateClass::FASTEST.bits_per_second())]
    Rate(u64),
    /// No class has this number.
    #[error("there is no rate class {0}; classes are 0..={max}", max = RateClass::FASTEST.0)]
    Class(u8),
    /// Slots are 1 to 50 ms long.
    #[error("a slot of {0} ms is outside 1..=50 ms")]
    Slot(u32),
}

/// Class i is `256 kbit/s x 2^(i/4)` of session packets: four classes to a doubling, network-wide, so that
/// a rate names a crowd and not a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RateClass(u8);

/// The first four classes in bit/s; every later one is a doubling of one of them.
const FIRST_OCTAVE: [u64; 4] = [256_000, 304_437, 362_039, 430_539];

impl RateClass {
    /// 256 kbit/s.
    pub const SLOWEST: Self = Self(0);
    /// 2.1 Gbit/s, more than one machine can seal.
    pub const FASTEST: Self = Self(52);

    /// The class with this number.
    pub fn new(number: u8) -> Result<Self, RangeError> {
        if number > Self::FASTEST.0 { Err(RangeError::Class(number)) } else { Ok(Self(number)) }
    }

    /// The slowest class that carries `bits_per_second`: rates are always rounded up.
    pub fn at_least(bits_per_second: u64) -> Result<Self, RangeError> {
        (0..=Self::FASTEST.0)
            .map(Self)
            .find(|class| class.bits_per_second() >= bits_per_second)
            .ok_or(RangeError::Rate(bits_per_second))
    }

    /// The number i.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Bits of session packets per second.
    pub const fn bits_per_second(self) -> u64 {
        FIRST_OCTAVE[(self.0 % 4) as usize] << (self.0 / 4)
    }

    /// The next slower class, if there is one.
    pub fn slower(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The next faster class, if there is one.
    pub fn faster(self) -> Option<Self> {
        (self < Self::FASTEST).then(|| Self(self.0 + 1))
    }

    /// Bytes of UDP payload that a direction at this rate moves in 30 days.
    pub fn wire_bytes_per_month(self, session_packet: usize, packet: usize) -> u64 {
        let payload_per_second = u128::from(self.bits_per_second()) / 8;
        let month_s = 30 * 24 * 3600;
        (payload_per_second * month_s * packet as u128 / session_packet as u128) as u64
    }
}

impl fmt::Display for RateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bits_per_second();
        if rate < 1_000_000 {
            write!(f, "{} kbit/s", rate / 1000)
        } else {
            write!(f, "{}.{:02} Mbit/s", rate / 1_000_000, rate % 1_000_000 / 10_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_classes_make_a_doubling_and_no_step_is_wider_than_a_fifth() {
        for number in 0..=48 {
            let (one, four) = (RateClass(number), RateClass(number + 4));
            assert_eq!(four.bits_per_second(), 2 * one.bits_per_second());
            let step = RateClass(number + 1).bits_per_second() as f64 / one.bits_per_second() as f64;
            assert!((1.18..1.20).contains(&step), "{number}: {step}");
        }
    }

    #[test]
    fn rates_are_rounded_up() {
        assert_eq!(RateClass::at_least(0), Ok(RateClass(0)));
        assert_eq!(RateClass::at_least(256_000), Ok(RateClass(0)));
        assert_eq!(RateClass::at_least(256_001), Ok(RateClass(1)));
        assert_eq!(RateClass::at_least(10_000_000).map(RateClass::bits_per_second), Ok(11_585_248));
        assert_eq!(RateClass::at_least(3_000_000_000), Err(RangeError::Rate(3_000_000_000)));
        assert_eq!(RateClass::new(53), Err(RangeError::Class(53)));
    }

    #[test]
    fn it_is_printed_for_people() {
        assert_eq!(RateClass(0).to_string(), "256 kbit/s");
        assert_eq!(RateClass(22).to_string(), "11.58 Mbit/s");
    }
}
