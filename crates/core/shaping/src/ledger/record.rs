//! The records of a ledger, byte for byte (docs/spec/ledger.md).
//!
//! ```text
//! account   paid until 8 | seen 8 | mu squared 16 | bits 16
//! hour      mu squared 16 | bits 16
//! ```

use super::Cost;
use crate::accountant::{Bits, MuSquared};
use thiserror::Error;

/// Bits behind the point of a [`BitsSpent`].
const FRACTION_BITS: u32 = 32;

/// Bits of maximal leakage as a fixed-point number in units of 2^-32; made by rounding up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BitsSpent(pub(super) u128);

impl BitsSpent {
    /// log2 of a number of choices, rounded up. No choice is no bit.
    pub(crate) fn of_choice(choices: u32) -> Self {
        let choices = choices.max(1);
        if choices.is_power_of_two() {
            return Self(u128::from(choices.ilog2()) << FRACTION_BITS);
        }
        // The float is right to 2^-50; a unit more covers that.
        let units = f64::from(choices).log2() * (1u64 << FRACTION_BITS) as f64;
        Self(units.ceil() as u128 + 1)
    }

    /// A whole number of bits, as limits have it.
    pub fn whole(bits: u32) -> Self {
        Self(u128::from(bits) << FRACTION_BITS)
    }

    /// The number of units of 2^-32: what is stored.
    pub fn raw(self) -> u128 {
        self.0
    }

    pub(crate) fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) fn saturating_mul(self, count: u16) -> Self {
        Self(self.0.saturating_mul(count.into()))
    }

    /// As a quantity.
    pub fn to_bits(self) -> Bits {
        let value = self.0 as f64 / (1u64 << FRACTION_BITS) as f64;
        Bits::new(value).unwrap_or(Bits::ZERO)
    }
}

/// A value of the ledger that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Not the length of such a record.
    #[error("a record has {0} bytes, which no record of its kind has")]
    Length(usize),
    /// Figures that contradict each other.
    #[error("the hours of the ledger say more than its accounts")]
    Inconsistent,
}

/// Account of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountRecord {
    /// Releases before this moment, in UTC seconds, are paid or lost.
    pub paid_until_s: u64,
    /// The latest time that was seen up to the last reservation, in UTC seconds. A clock that is set back does not go
    /// behind it.
    pub seen_s: u64,
    /// Spent since the ledger was made.
    pub spent: Cost,
}

impl AccountRecord {
    /// Bytes of the encoding.
    pub const LEN: usize = 16 + HourRecord::LEN;

    /// The bytes that are stored.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.paid_until_s.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seen_s.to_be_bytes());
        bytes[16..].copy_from_slice(&HourRecord { spent: self.spent }.encode());
        bytes
    }

    /// Reads what [`AccountRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let length = || RecordError::Length(bytes.len());
        let (until, rest) = bytes.split_first_chunk().ok_or_else(length)?;
        let (seen, spent) = rest.split_first_chunk().ok_or_else(length)?;
        let spent = HourRecord::decode(spent).map_err(|_| length())?.spent;
        Ok(Self { paid_until_s: u64::from_be_bytes(*until), seen_s: u64::from_be_bytes(*seen), spent })
    }
}

/// What was spent in one hour of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourRecord {
    /// Reserved in that hour.
    pub spent: Cost,
}

impl HourRecord {
    /// Bytes of the encoding.
    pub const LEN: usize = 32;

    /// The bytes that are stored.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.spent.mu_squared.raw().to_be_bytes());
        bytes[16..].copy_from_slice(&self.spent.bits.raw().to_be_bytes());
        bytes
    }

    /// Reads what [`HourRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| RecordError::Length(bytes.len()))?;
        let (mu, bits) = bytes.split_at(16);
        let number = |half: &[u8]| half.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        Ok(Self { spent: Cost { mu_squared: MuSquared::from_raw(number(mu)), bits: BitsSpent(number(bits)) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_survive_a_round_trip(paid_until_s: u64, seen_s: u64, mu: u128, bits: u128) {
            let spent = Cost { mu_squared: MuSquared::from_raw(mu), bits: BitsSpent(bits) };
            let account = AccountRecord { paid_until_s, seen_s, spent };
            prop_assert_eq!(AccountRecord::decode(&account.encode()), Ok(account));
            let hour = HourRecord { spent };
            prop_assert_eq!(HourRecord::decode(&hour.encode()), Ok(hour));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(AccountRecord::decode(&bytes).is_ok(), bytes.len() == AccountRecord::LEN);
            prop_assert_eq!(HourRecord::decode(&bytes).is_ok(), bytes.len() == HourRecord::LEN);
        }
    }

    #[test]
    fn bytes_are_as_specified() {
        let spent = Cost { mu_squared: MuSquared::from_raw(0x0102), bits: BitsSpent::of_choice(4) };
        let bytes = AccountRecord { paid_until_s: 0x0506, seen_s: 0x0405, spent }.encode();
        let expected =
            [&[0, 0, 0, 0, 0, 0, 5, 6][..], &[0, 0, 0, 0, 0, 0, 4, 5], &[0; 14], &[1, 2], &[0; 11], &[2, 0, 0, 0, 0]]
                .concat();
        assert_eq!(bytes.as_slice(), expected);
    }

    #[test]
    fn bits_of_a_choice_are_rounded_up() {
        let bits = |choices| BitsSpent::of_choice(choices).to_bits().value();
        assert_eq!((bits(0), bits(1), bits(2), bits(16)), (0.0, 0.0, 1.0, 4.0));
        assert!(bits(3) >= 3f64.log2() && bits(3) < 3f64.log2() + 1e-9);
    }
}
