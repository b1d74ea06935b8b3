//! Days of a service, and what its address gives on each.
//!
//! A record lies under a key that changes with the day, so that whoever stores records cannot tell that two of them are of one
//! service unless it knows the address. A day has 24 hours of the directory's time, whatever the intervals of a network are.

use crate::address::ServiceAddress;
use network_document::NetworkId;
use packet_crypto::keys::sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// How long before its day a record may be there, and after it, in milliseconds.
const MARGIN_MS: u64 = DAY_MS / 2;

/// A day of the directory's time: milliseconds since 1970 UTC, divided by [`DAY_MS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u64);

impl Day {
    /// The day of a time.
    pub fn at(directory_ms: u64) -> Self {
        Self(directory_ms / DAY_MS)
    }

    /// The two days whose records a service has out at a time, the present one first: so a client finds one whose clock is up
    /// to twelve hours off, and the change of the day is no moment without a record.
    pub fn published_at(directory_ms: u64) -> [Self; 2] {
        let day = Self::at(directory_ms);
        [day, day.neighbour(directory_ms)]
    }

    /// The days under which a client looks, in this order: the second and the third one are for a clock that is up to a day off.
    pub fn sought_at(directory_ms: u64) -> [Self; 3] {
        let day = Self::at(directory_ms);
        let near = day.neighbour(directory_ms);
        let far = if near < day { Self(day.0.saturating_add(1)) } else { Self(day.0.saturating_sub(1)) };
        [day, near, far]
    }

    /// When the last record of this day ends, in milliseconds since 1970 UTC.
    pub fn closes_ms(self) -> u64 {
        self.0.saturating_add(1).saturating_mul(DAY_MS).saturating_add(MARGIN_MS)
    }

    /// The other day that is near: yesterday in the first half, tomorrow in the second.
    fn neighbour(self, directory_ms: u64) -> Self {
        if directory_ms % DAY_MS < MARGIN_MS { Self(self.0.saturating_sub(1)) } else { Self(self.0.saturating_add(1)) }
    }
}

/// What a service's address gives for one day and network: whoever has it finds and opens the records of that day, and no others.
#[derive(Clone)]
pub struct DayKey {
    /// Which day.
    pub day: Day,
    /// The Ed25519 key under which the records of the day lie: the key of the address, blinded.
    pub blinded: [u8; 32],
    subcredential: Zeroizing<[u8; 32]>,
}

impl DayKey {
    /// Puts together what an address and its blinded key of a day say. That the one is made of the other is the caller's word;
    /// records made of another pair open for nobody else.
    pub fn new(network: NetworkId, address: ServiceAddress, day: Day, blinded: [u8; 32]) -> Self {
        let credential = sha256(&[b"hushwire service credential 1".as_slice(), &network.0, &address.0].concat());
        let bound = [b"hushwire service subcredential 1".as_slice(), &credential, &day.0.to_be_bytes(), &blinded];
        Self { day, blinded, subcredential: Zeroizing::new(sha256(&bound.concat())) }
    }

    /// What only those know who know the address.
    pub(crate) fn subcredential(&self) -> &[u8; 32] {
        &self.subcredential
    }
}

impl fmt::Debug for DayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DayKey({}, ..)", self.day.0)
    }
}

/// By how much a key of an address is multiplied on a day, before the bits that Ed25519 sets are set:
/// SHA-256("hushwire service blinding 1" | network id | key | day 8).
pub fn blinding_factor(network: NetworkId, address: ServiceAddress, day: Day) -> [u8; 32] {
    sha256(&[b"hushwire service blinding 1".as_slice(), &network.0, &address.0, &day.0.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_clock_that_is_a_day_off_still_leads_to_a_record(time in DAY_MS * 2..DAY_MS * 40_000, off in 0..=DAY_MS, slow: bool) {
            let clients = if slow { time - off } else { time + off };
            let (there, sought) = (Day::published_at(time), Day::sought_at(clients));
            prop_assert!(sought.iter().any(|day| there.contains(day)), "{:?} {:?}", there, sought);
        }

        #[test]
        fn a_clock_that_is_less_than_half_a_day_off_finds_it_among_the_first_two(time in DAY_MS * 2..DAY_MS * 40_000, off in 0..DAY_MS / 2, slow: bool) {
            let clients = if slow { time - off } else { time + off };
            let (there, sought) = (Day::published_at(time), Day::sought_at(clients));
            prop_assert!(there.contains(&sought[0]) || there.contains(&sought[1]));
        }
    }

    #[test]
    fn two_days_are_out_and_three_are_sought() {
        let noon = DAY_MS / 2;
        let days = |numbers: [u64; 2]| numbers.map(Day);
        assert_eq!(Day::published_at(9 * DAY_MS), days([9, 8]));
        assert_eq!(Day::published_at(9 * DAY_MS + noon - 1), days([9, 8]));
        assert_eq!(Day::published_at(9 * DAY_MS + noon), days([9, 10]));
        assert_eq!(Day::sought_at(9 * DAY_MS), [9, 8, 10].map(Day));
        assert_eq!(Day::sought_at(9 * DAY_MS + noon), [9, 10, 8].map(Day));
        assert_eq!(Day(9).closes_ms(), 10 * DAY_MS + noon);
        assert_eq!(Day::sought_at(u64::MAX).len(), 3, "no overflow");
    }

    #[test]
    fn each_part_of_a_day_key_matters() {
        let key = |network, address, day, blinded| {
            *DayKey::new(NetworkId([network; 32]), ServiceAddress([address; 32]), Day(day), [blinded; 32])
                .subcredential()
        };
        let keys = [key(1, 2, 3, 4), key(9, 2, 3, 4), key(1, 9, 3, 4), key(1, 2, 9, 4), key(1, 2, 3, 9)];
        assert_eq!(std::collections::BTreeSet::from(keys).len(), keys.len());
        let factor =
            |network, address, day| blinding_factor(NetworkId([network; 32]), ServiceAddress([address; 32]), Day(day));
        let factors = [factor(1, 2, 3), factor(9, 2, 3), factor(1, 9, 3), factor(1, 2, 9)];
        assert_eq!(std::collections::BTreeSet::from(factors).len(), factors.len());
        let shown = DayKey::new(NetworkId([1; 32]), ServiceAddress([2; 32]), Day(3), [4; 32]);
        assert_eq!(format!("{shown:?}"), "DayKey(3, ..)");
    }
}
