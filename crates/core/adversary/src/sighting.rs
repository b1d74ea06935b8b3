//! One packet as an observer notes it, and what sequences of them show.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Which way a packet went, seen from the node that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Away from it.
    Outward,
    /// Towards it.
    Inward,
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Outward => "outward",
            Self::Inward => "inward",
        })
    }
}

/// One packet on the wire: when, which way, how long. It is all that somebody without keys sees beside random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sighting {
    /// When, since a moment that all sightings of a recording share.
    pub at: Duration,
    /// Which way.
    pub direction: Direction,
    /// Length of the UDP payload in bytes.
    pub length: usize,
}

impl fmt::Display for Sighting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.6} s {} {} bytes", self.at.as_secs_f64(), self.direction, self.length)
    }
}

/// The first packet whose size differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {index} ({sighting}) should have {expected} bytes")]
pub struct OddSize {
    /// Its place in the recording, from 0.
    pub index: usize,
    /// The packet.
    pub sighting: Sighting,
    /// The size of all others.
    pub expected: usize,
}

/// Checks that every packet has the expected length.
///
/// # Errors
/// The first packet that has not.
pub fn one_size(sightings: &[Sighting], expected: usize) -> Result<(), OddSize> {
    let odd = sightings.iter().enumerate().find(|(_, sighting)| sighting.length != expected);
    odd.map_or(Ok(()), |(index, &sighting)| Err(OddSize { index, sighting, expected }))
}

/// The first place at which two recordings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {index}: {}, in the other recording {}", Shown(.left), Shown(.right))]
pub struct Difference {
    /// The place, from 0.
    pub index: usize,
    /// What the first recording has there; `None` if it has ended.
    pub left: Option<Sighting>,
    /// What the second has.
    pub right: Option<Sighting>,
}

struct Shown<'a>(&'a Option<Sighting>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(sighting) => sighting.fmt(out),
            None => out.write_str("nothing more"),
        }
    }
}

/// Compares two recordings exactly: times, directions, lengths and number of packets.
pub fn first_difference(left: &[Sighting], right: &[Sighting]) -> Option<Difference> {
    let longest = left.len().max(right.len());
    let at = |index| Difference { index, left: left.get(index).copied(), right: right.get(index).copied() };
    (0..longest).map(at).find(|place| place.left != place.right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(packets: u32) -> Vec<Sighting> {
        let packet =
            |slot| Sighting { at: Duration::from_millis(5) * slot, direction: Direction::Outward, length: 1350 };
        (0..packets).map(packet).collect()
    }

    #[test]
    fn clean_recordings_pass() {
        assert_eq!(one_size(&recording(100), 1350), Ok(()));
        assert_eq!(first_difference(&recording(100), &recording(100)), None);
        assert_eq!(one_size(&[], 1350), Ok(()));
    }

    #[test]
    fn sixteen_bytes_more_are_caught() {
        let mut leaking = recording(100);
        leaking[40].length += 16;
        let odd = one_size(&leaking, 1350).expect_err("one packet is longer");
        assert_eq!(odd.to_string(), "packet 40 (0.200000 s outward 1366 bytes) should have 1350 bytes");
        assert_eq!(first_difference(&recording(100), &leaking).map(|found| found.index), Some(40));
    }

    #[test]
    fn one_nanosecond_and_the_direction_are_caught() {
        let (mut late, mut turned) = (recording(9), recording(9));
        late[8].at += Duration::from_nanos(1);
        turned[2].direction = Direction::Inward;
        assert_eq!(first_difference(&recording(9), &late).map(|found| found.index), Some(8));
        assert_eq!(first_difference(&recording(9), &turned).map(|found| found.index), Some(2));
    }

    #[test]
    fn an_extra_packet_is_caught() {
        let difference = first_difference(&recording(9), &recording(10)).expect("one packet more");
        assert_eq!(
            difference.to_string(),
            "packet 9: nothing more, in the other recording 0.045000 s outward 1350 bytes"
        );
    }
}
