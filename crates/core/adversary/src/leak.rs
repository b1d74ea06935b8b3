//! Leaks planted into a recording. A test that does not catch them shows nothing when it passes, so they are planted
//! whenever a verdict is given.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::sighting::{Direction, Sighting};

/// How long data raises the rate in [`Leak::RateFollowsQueue`].
const RAISED: Duration = Duration::from_millis(100);

/// A way in which a sender gives away when it has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leak {
    /// A packet with data is so many bytes longer: a header that only data has.
    LongerWithData(usize),
    /// A packet with data leaves so much later: it is made when its slot has come.
    LaterWithData(Duration),
    /// Data sends a packet of its own at once, beside the packets of the grid: an opening that does not wait.
    PacketWithData,
    /// Data sends a packet at once and nothing else does: there is no shaping.
    ShapingOff,
    /// Slots carry two packets for 100 ms after data came: the rate is that of the queue.
    RateFollowsQueue,
}

impl fmt::Display for Leak {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongerWithData(bytes) => write!(out, "+{bytes} bytes"),
            Self::LaterWithData(by) => write!(out, "+{} us", by.as_micros()),
            Self::PacketWithData => out.write_str("own packets"),
            Self::ShapingOff => out.write_str("no shaping"),
            Self::RateFollowsQueue => out.write_str("rate of the queue"),
        }
    }
}

/// The leaks that every recording's tests must catch, with the sizes that are the smallest worth finding: 16 bytes and
/// 50 microseconds.
pub const LEAKS: [Leak; 5] = [
    Leak::LongerWithData(16),
    Leak::LaterWithData(Duration::from_micros(50)),
    Leak::PacketWithData,
    Leak::ShapingOff,
    Leak::RateFollowsQueue,
];

/// The recording as it would be if the node leaked in one direction, with data at these times, on the clock of the
/// recording. Each piece of data takes the next packet of the direction that no other has taken; the packets stay in
/// the order of their times.
pub fn plant(recording: &[Sighting], direction: Direction, data: &[Duration], leak: Leak) -> Vec<Sighting> {
    let length = recording.iter().find(|it| it.direction == direction).map_or(0, |sighting| sighting.length);
    let at_once = data.iter().map(|&at| Sighting { at, direction, length });
    let mut leaking = recording.to_vec();
    match leak {
        Leak::LongerWithData(bytes) => {
            taken(recording, direction, data).into_iter().for_each(|index| leaking[index].length += bytes);
        }
        Leak::LaterWithData(by) => {
            taken(recording, direction, data)
                .into_iter()
                .for_each(|index| leaking[index].at = leaking[index].at.saturating_add(by));
        }
        Leak::PacketWithData => leaking.extend(at_once),
        Leak::ShapingOff => {
            leaking.retain(|sighting| sighting.direction != direction);
            leaking.extend(at_once);
        }
        Leak::RateFollowsQueue => {
            let mut data = data.to_vec();
            data.sort_unstable();
            let newest = |at: Duration| data[..data.partition_point(|data| *data <= at)].last().copied();
            let raised = |at: Duration| newest(at).is_some_and(|data| at - data < RAISED);
            let doubled = recording.iter().filter(|sighting| sighting.direction == direction && raised(sighting.at));
            leaking.extend(doubled);
        }
    }
    leaking.sort_by_key(|sighting| sighting.at);
    leaking
}

/// The packets that carry the data: for each piece the first one at or after it that is still free.
fn taken(recording: &[Sighting], direction: Direction, data: &[Duration]) -> Vec<usize> {
    let numbered = recording.iter().enumerate().filter(|(_, sighting)| sighting.direction == direction);
    let mut free: BTreeSet<(Duration, usize)> = numbered.map(|(index, sighting)| (sighting.at, index)).collect();
    let take = |&at: &Duration| {
        let next = *free.range((at, 0)..).next()?;
        free.remove(&next);
        Some(next.1)
    };
    data.iter().filter_map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Vec<Sighting> {
        let packet = |slot: u32| {
            let direction = if slot.is_multiple_of(2) { Direction::Outward } else { Direction::Inward };
            Sighting { at: Duration::from_millis(u64::from(slot)), direction, length: 1350 }
        };
        (0..200).map(packet).collect()
    }

    fn outward(leak: Leak, data: &[u64]) -> Vec<(u64, usize)> {
        let data: Vec<Duration> = data.iter().map(|&at| Duration::from_micros(at)).collect();
        let leaking = plant(&recording(), Direction::Outward, &data, leak);
        assert!(leaking.is_sorted_by_key(|sighting| sighting.at));
        let inward = |all: &[Sighting]| all.iter().filter(|it| it.direction == Direction::Inward).count();
        assert_eq!(inward(&leaking), inward(&recording()), "the other direction is left alone");
        let one_way = leaking.into_iter().filter(|it| it.direction == Direction::Outward);
        one_way.map(|it| (u64::try_from(it.at.as_micros()).expect("it is short"), it.length)).collect()
    }

    #[test]
    fn data_takes_the_next_packets_that_are_free() {
        let longer = outward(Leak::LongerWithData(16), &[3_000, 3_500, 4_000, 900_000]);
        let odd: Vec<u64> = longer.iter().filter(|(_, length)| *length == 1366).map(|(at, _)| *at).collect();
        assert_eq!(odd, [4_000, 6_000, 8_000]);
        let later = outward(Leak::LaterWithData(Duration::from_micros(50)), &[0]);
        assert_eq!(later[..2], [(50, 1350), (2_000, 1350)]);
    }

    #[test]
    fn data_sends_packets_of_its_own() {
        assert_eq!(outward(Leak::PacketWithData, &[3_100]).len(), 101);
        assert_eq!(outward(Leak::ShapingOff, &[3_100, 7]), [(7, 1350), (3_100, 1350)]);
    }

    #[test]
    fn the_rate_is_doubled_for_a_while() {
        let raised = outward(Leak::RateFollowsQueue, &[50_500, 60_000]);
        let twice = raised.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!((raised.len(), twice), (154, 54), "the slots at 52 to 158 ms");
    }

    #[test]
    fn nothing_to_leak() {
        for leak in LEAKS {
            assert_eq!(plant(&[], Direction::Outward, &[], leak), []);
            let kept = plant(&recording(), Direction::Inward, &[], leak).len();
            assert_eq!(kept, if leak == Leak::ShapingOff { 100 } else { 200 }, "{leak:?}");
        }
    }
}
