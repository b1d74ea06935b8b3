//! A public grid of send times, and how many packets stand in each of its slots.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::sighting::{Direction, Sighting};

/// The time of the first packet of each slot, in the order of time, before a grid is known: packets that come within half a
/// period of a slot's first belong to it.
pub fn slot_starts(period: Duration, sightings: &[Sighting]) -> Vec<Duration> {
    let mut starts: Vec<Duration> = Vec::new();
    for sighting in sightings {
        if starts.last().is_none_or(|last| sighting.at > *last + period / 2) {
            starts.push(sighting.at);
        }
    }
    starts
}

/// A grid as an observer reconstructs it: a first slot and a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    origin: Duration,
    period: Duration,
}

impl Grid {
    /// The grid with this period whose slot 0 is at `origin`. The period must not be zero.
    pub fn new(origin: Duration, period: Duration) -> Self {
        assert!(!period.is_zero(), "a grid has a period");
        Self { origin, period }
    }

    /// The grid with this period that fits the times best: their median distance from it is zero. An observer knows the
    /// period, which is public, and learns the origin like this. `None` without times.
    pub fn fit(period: Duration, times: &[Duration]) -> Option<Self> {
        let first = *times.first()?;
        let rough = Self::new(first, period);
        // The circular mean finds the place of the crowd even when the first packet was an outlier.
        let turn = std::f64::consts::TAU / period.as_nanos() as f64;
        let (sine, cosine) = times.iter().fold((0.0, 0.0), |(sine, cosine), &time| {
            let angle = rough.lateness(time) as f64 * turn;
            (sine + angle.sin(), cosine + angle.cos())
        });
        let crowd = rough.moved((sine.atan2(cosine) / turn) as i64);
        let mut lateness: Vec<i64> = times.iter().map(|&time| crowd.lateness(time)).collect();
        lateness.sort_unstable();
        Some(crowd.moved(lateness[lateness.len() / 2]))
    }

    /// The slot nearest to a time, which may be negative.
    pub fn slot(&self, at: Duration) -> i64 {
        self.since_origin(at).saturating_add(self.period_ns() / 2).div_euclid(self.period_ns())
    }

    /// Nanoseconds from the nearest slot; negative before it.
    pub fn lateness(&self, at: Duration) -> i64 {
        let half = self.period_ns() / 2;
        self.since_origin(at).saturating_add(half).rem_euclid(self.period_ns()) - half
    }

    /// When the slot nearest to a time was due.
    pub fn due(&self, at: Duration) -> Duration {
        let lateness = self.lateness(at);
        let distance = Duration::from_nanos(lateness.unsigned_abs());
        if lateness < 0 { at + distance } else { at.saturating_sub(distance) }
    }

    fn moved(&self, nanoseconds: i64) -> Self {
        let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
        let origin = if nanoseconds < 0 {
            // One period later is the same grid, and keeps the origin from becoming negative.
            self.origin + self.period - distance
        } else {
            self.origin + distance
        };
        Self { origin, period: self.period }
    }

    fn since_origin(&self, at: Duration) -> i64 {
        nanoseconds(at).saturating_sub(nanoseconds(self.origin))
    }

    fn period_ns(&self) -> i64 {
        nanoseconds(self.period)
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How many packets of one direction stand in each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotCounts {
    counts: BTreeMap<i64, u32>,
}

/// A slot with another number of packets than expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddSlot {
    /// The slot.
    pub slot: i64,
    /// Packets in it.
    pub found: u32,
    /// Packets that should be in it.
    pub expected: u32,
}

impl fmt::Display for OddSlot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "slot {} has {} packets, expected {}", self.slot, self.found, self.expected)
    }
}

impl SlotCounts {
    /// Counts the packets of one direction. Empty slots between the first and the last packet count as 0.
    pub fn new(grid: Grid, direction: Direction, sightings: &[Sighting]) -> Self {
        let mut counts = BTreeMap::new();
        for sighting in sightings.iter().filter(|sighting| sighting.direction == direction) {
            *counts.entry(grid.slot(sighting.at)).or_insert(0) += 1;
        }
        Self { counts }
    }

    /// Slots from the first packet to the last, both included.
    pub fn slots(&self) -> u64 {
        match (self.counts.first_key_value(), self.counts.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last.abs_diff(*first) + 1,
            _ => 0,
        }
    }

    /// The number of packets in a slot.
    pub fn count(&self, slot: i64) -> u32 {
        self.counts.get(&slot).copied().unwrap_or(0)
    }

    /// The first slot that does not hold `per_slot` packets. The first and the last slot are left out, because a
    /// recording may begin and end within one.
    pub fn first_odd(&self, per_slot: u32) -> Option<OddSlot> {
        self.first_unlike(|_| per_slot)
    }

    /// The same for a pattern: `expected` says how many packets belong into a slot.
    pub fn first_unlike(&self, expected: impl Fn(i64) -> u32) -> Option<OddSlot> {
        let (&first, _) = self.counts.first_key_value()?;
        let (&last, _) = self.counts.last_key_value()?;
        (first + 1..last).find_map(|slot| {
            let (found, expected) = (self.count(slot), expected(slot));
            (found != expected).then_some(OddSlot { slot, found, expected })
        })
    }

    /// How many slots hold each number of packets, the first and the last slot left out.
    pub fn histogram(&self) -> BTreeMap<u32, u64> {
        let mut histogram = BTreeMap::new();
        if let (Some((&first, _)), Some((&last, _))) = (self.counts.first_key_value(), self.counts.last_key_value()) {
            for slot in first + 1..last {
                *histogram.entry(self.count(slot)).or_insert(0) += 1;
            }
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(5);

    /// Packets of a jittered grid with an origin that is no multiple of anything.
    fn recording(seed: u64, per_slot: u32, slots: u32) -> Vec<Sighting> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let origin = Duration::from_nanos(generator.random_range(0..20_000_000));
        let mut sightings = Vec::new();
        for slot in 0..slots {
            for _ in 0..per_slot {
                let late = Duration::from_nanos(generator.random_range(0..200_000));
                let at = origin + PERIOD * slot + late;
                sightings.push(Sighting { at, direction: Direction::Outward, length: 1350 });
            }
        }
        sightings
    }

    fn counts(sightings: &[Sighting]) -> SlotCounts {
        let times: Vec<Duration> = sightings.iter().map(|sighting| sighting.at).collect();
        let grid = Grid::fit(PERIOD, &times).expect("there are packets");
        SlotCounts::new(grid, Direction::Outward, sightings)
    }

    #[test]
    fn a_clean_grid_is_found_for_every_origin() {
        for seed in 0..200 {
            let counts = counts(&recording(seed, 2, 300));
            assert_eq!(counts.first_odd(2), None, "seed {seed}");
            assert_eq!(counts.slots(), 300);
            assert_eq!(counts.histogram().into_iter().collect::<Vec<_>>(), [(2, 298)]);
        }
    }

    #[test]
    fn an_extra_and_a_missing_packet_are_caught() {
        let mut extra = recording(1, 1, 300);
        let twice = extra[100];
        extra.insert(100, twice);
        assert_eq!(counts(&extra).first_odd(1).map(|odd| odd.found), Some(2));
        let mut missing = recording(2, 1, 300);
        missing.remove(7);
        assert_eq!(counts(&missing).first_odd(1).map(|odd| odd.found), Some(0));
    }

    #[test]
    fn a_packet_between_slots_is_counted_to_the_nearest() {
        let mut eager = recording(3, 1, 300);
        let mut early = eager[50];
        early.at += Duration::from_millis(1);
        eager.insert(51, early);
        let odd = counts(&eager).first_odd(1).expect("one packet does not wait for its slot");
        assert_eq!(odd.to_string().split(' ').next(), Some("slot"));
        assert_eq!((odd.found, odd.expected), (2, 1));
    }

    #[test]
    fn lateness_is_signed_and_slots_may_be_negative() {
        let grid = Grid::new(Duration::from_millis(100), PERIOD);
        assert_eq!(grid.lateness(Duration::from_micros(105_030)), 30_000);
        assert_eq!(grid.lateness(Duration::from_micros(104_970)), -30_000);
        assert_eq!(grid.slot(Duration::from_micros(104_970)), 1);
        assert_eq!(grid.slot(Duration::from_micros(90_001)), -2);
    }

    #[test]
    fn patterns_of_several_slots() {
        let every_third: Vec<Sighting> = recording(4, 1, 300).into_iter().step_by(3).collect();
        let counts = counts(&every_third);
        let (&first, _) = counts.counts.first_key_value().expect("there are packets");
        assert_eq!(counts.first_unlike(|slot| u32::from((slot - first) % 3 == 0)), None);
        assert!(counts.first_odd(1).is_some());
    }
}
