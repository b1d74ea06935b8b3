//! Leave to release measurements: the entry's ledger pays for both directions, and an exit releases nothing that
//! the entry has not paid for (docs/spec/session.md, "Control stream").

use crate::read::{DecodeError, Reader};

/// Leave for consecutive epochs, one release each. It is spent when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The first epoch: UTC seconds divided by the epoch's length.
    pub first_epoch: u64,
    /// How many epochs from there on, 1..=[`Grant::RELEASES_MAX`].
    pub releases: u16,
    /// What each release may cost at most: mu squared in units of 2^-64 (docs/spec/ledger.md).
    pub cost_each: u128,
}

impl Grant {
    /// Most epochs that one grant covers: an hour of the shortest ones.
    pub const RELEASES_MAX: u16 = 720;
    /// Bytes of the encoding.
    pub const LEN: usize = 8 + 2 + 16;

    /// Appends `first epoch 8 | releases 2 | cost of each 16`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first_epoch.to_be_bytes());
        out.extend_from_slice(&self.releases.to_be_bytes());
        out.extend_from_slice(&self.cost_each.to_be_bytes());
    }

    /// Reads what [`Grant::encode`] writes and leaves the reader behind it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (first_epoch, releases, cost_each) = (reader.u64()?, reader.u16()?, u128::from_be_bytes(reader.array()?));
        if releases == 0 || releases > Self::RELEASES_MAX || first_epoch.checked_add(releases.into()).is_none() {
            return Err(DecodeError::Range("number of releases"));
        }
        Ok(Self { first_epoch, releases, cost_each })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn grants_survive_a_round_trip(first_epoch in 0u64..1 << 40, releases in 1u16..=720, cost_each: u128) {
            let grant = Grant { first_epoch, releases, cost_each };
            let mut bytes = Vec::new();
            grant.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), Grant::LEN);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Grant::decode(&mut reader), Ok(grant));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn empty_endless_and_overflowing_grants_are_refused() {
        let bytes = |first: u64, releases: u16| [&first.to_be_bytes()[..], &releases.to_be_bytes(), &[0; 16]].concat();
        for bytes in [bytes(1, 0), bytes(1, 721), bytes(u64::MAX, 2)] {
            let decoded = Grant::decode(&mut Reader::new(&bytes));
            assert_eq!(decoded, Err(DecodeError::Range("number of releases")));
        }
        assert_eq!(Grant::decode(&mut Reader::new(&[0; 25])), Err(DecodeError::Truncated));
    }
}
