//! What somebody sees who watches the wire while links hop: one size and one grid, and nothing that ties two links together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use adversary::{Direction, Grid, Lateness, Sighting, SlotCounts, one_size, slot_starts};
use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::network::{Family, HostPlan, Network};
use lab::pair::Mode;
use shaping::RateClass;

use super::Outcome;
use super::capture::{Capture, Step, steps};
use super::rig::{Hopping, Linked, SECOND};

const P: usize = 1350;
/// Bytes of a session packet at that P.
const SESSION_PACKET: f64 = 1222.0;
const SLOT: Duration = Duration::from_millis(5);
/// A hop is near for so long before its probe and after its move.
const BEFORE: Duration = Duration::from_millis(50);
const AFTER: Duration = Duration::from_millis(150);
/// Slots before a hop's probe and after its move that are counted together with those between.
const AROUND: i64 = 3;
/// So many slots more at most, for [`Watched::slots_around`].
const MORE_AROUND_MAX: i64 = 100;
/// Share of the times at which as many packets come as can.
const FULL: f64 = 0.8;

/// One direction of a link that hopped while it was watched.
pub(super) struct Watched {
    pub(super) name: &'static str,
    sightings: Vec<Sighting>,
    grid: Grid,
    steps: Vec<Step>,
}

/// What the slots of a direction held.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) packets: u64,
    /// What the class gives in the same time.
    pub(super) expected: f64,
    pub(super) slots: u64,
    /// Those with another number of packets than the class gives.
    pub(super) odd: u64,
    pub(super) histogram: BTreeMap<u32, u64>,
}

/// A link of this rate between two cables that hops, carries a download and is watched at both ends.
pub(super) fn watch(rate: u64, interval: &'static str, lasting: Duration) -> anyhow::Result<[Watched; 2]> {
    let network = Network::start(&["entry", "exit"].map(HostPlan::cable))?;
    let mode = Mode::constant(&format!("{} Mbit/s", rate / 1_000_000));
    let link = Linked::start(&network, Family::V4, mode, Hopping::every(interval))?;
    let captures = [Capture::start(link.entry)?, Capture::start(link.exit)?];
    link.download(lasting)?;
    let [at_entry, at_exit] = captures.map(Capture::end);
    let (at_entry, at_exit) = (at_entry?, at_exit?);
    let steps = steps(&at_entry);
    let one = |name, seen: &[super::capture::Seen]| -> anyhow::Result<Watched> {
        let out = seen.iter().filter(|seen| seen.direction == Direction::Outward);
        let sightings: Vec<Sighting> = out.map(super::capture::Seen::sighting).collect();
        let grid = Grid::fit(SLOT, &slot_starts(SLOT, &sightings)).context("packets were seen")?;
        Ok(Watched { name, sightings, grid, steps: steps.clone() })
    };
    Ok([one("entry", &at_entry)?, one("exit", &at_exit)?])
}

impl Watched {
    pub(super) fn hops(&self) -> usize {
        self.steps.len()
    }

    /// What was seen, with so many packets planted at each hop.
    fn counts(&self, planted: usize) -> SlotCounts {
        let mut sightings = self.sightings.clone();
        for step in &self.steps {
            let extra = Sighting { at: step.moved, direction: Direction::Outward, length: P };
            sightings.extend(std::iter::repeat_n(extra, planted));
        }
        SlotCounts::new(self.grid, Direction::Outward, &sightings)
    }

    /// What the slots held.
    pub(super) fn slots(&self, rate: u64) -> anyhow::Result<Slots> {
        let per_slot = per_slot(rate)?;
        let histogram = self.counts(0).histogram();
        let slots: u64 = histogram.values().sum();
        let usual = [per_slot.floor() as u32, per_slot.ceil() as u32];
        let odd = histogram.iter().filter(|(packets, _)| !usual.contains(packets)).map(|(_, slots)| slots).sum();
        let packets = histogram.iter().map(|(packets, slots)| u64::from(*packets) * slots).sum();
        Ok(Slots { packets, expected: per_slot * slots as f64, slots, odd, histogram })
    }

    /// Fails if around a hop there were more packets than the class gives, with so many planted at each.
    pub(super) fn check_hops(&self, rate: u64, planted: usize) -> Outcome {
        let (per_slot, counts) = (per_slot(rate)?, self.counts(planted));
        for step in &self.steps {
            let slots = self.slots_around(step, per_slot);
            let most = (per_slot * slots.clone().count() as f64).ceil() as u32;
            let held: Vec<u32> = slots.map(|slot| counts.count(slot)).collect();
            let sum: u32 = held.iter().sum();
            ensure!(sum <= most, "{}: {sum} packets instead of {most} around {step:?}: {held:?}", self.name);
        }
        Ok(())
    }

    /// The slots of a hop, so many that a packet more is a packet too many [most of the time](FULL): in nine slots of 5.11 packets come 46,
    /// and rarely 47, which are allowed.
    fn slots_around(&self, step: &Step, per_slot: f64) -> RangeInclusive<i64> {
        let (first, last) = (self.grid.slot(step.asked) - AROUND, self.grid.slot(step.moved) + AROUND);
        let is_full = |last: &i64| {
            let packets = per_slot * (last - first + 1) as f64;
            packets.ceil() - packets < 1.0 - FULL
        };
        first..=(last..last + MORE_AROUND_MAX).find(is_full).unwrap_or(last)
    }

    /// How late slots were that are far from hops, and that are near one.
    pub(super) fn lateness(&self) -> [Lateness; 2] {
        let is_near =
            |at: Duration| self.steps.iter().any(|step| at + BEFORE >= step.asked && at <= step.moved + AFTER);
        let starts = slot_starts(SLOT, &self.sightings);
        [false, true].map(|near| {
            let times = starts.iter().filter(|at| is_near(**at) == near);
            Lateness::new(times.map(|at| self.grid.lateness(*at)).collect())
        })
    }

    /// Fails if a packet has another size, packets were added anywhere, or left out beyond what a busy machine does; or if
    /// a packet more at each hop would not be found.
    pub(super) fn check(&self, rate: u64) -> Outcome {
        one_size(&self.sightings, P)?;
        let slots = self.slots(rate)?;
        ensure!(slots.packets as f64 <= slots.expected + 1.0, "{}: packets were added: {slots:?}", self.name);
        ensure!(slots.packets as f64 >= slots.expected * 0.99, "{}: packets are missing: {slots:?}", self.name);
        ensure!(slots.odd * 1000 <= slots.slots * 30, "{}: {slots:?}", self.name);
        self.check_hops(rate, 0)?;
        ensure!(self.check_hops(rate, 1).is_err(), "{}: a packet more at each hop is not found", self.name);
        Ok(())
    }
}

/// Packets of a slot at the class of a rate.
fn per_slot(rate: u64) -> anyhow::Result<f64> {
    let bytes = RateClass::at_least(rate)?.bits_per_second() as f64 / 8.0 * SLOT.as_secs_f64();
    Ok(bytes / SESSION_PACKET)
}

#[test]
fn hops_change_neither_size_nor_number_of_packets() -> Outcome {
    let _turn = crate::take_turn();
    within_three(|| {
        let rate = 10_000_000;
        for watched in watch(rate, "500ms..600ms", 4 * SECOND)? {
            ensure!(watched.hops() >= 4, "{} hops", watched.hops());
            watched.check(rate)?;
        }
        Ok(())
    })
}

/// Of a link that is watched for 13 seconds. With eight, one tied link of 1,500 is not found; with nine none of 6,000.
const FEWEST_HOPS: usize = 9;

/// When a link hopped, in seconds.
type Times = Vec<f64>;

/// The chance that two links without any connection look as much tied to each other as these do, where an observer looks
/// for a lag after which one link hops again and again when the other did. As many hops at one lag are looked for between
/// links made of the same intervals, drawn independently.
pub(super) fn tied_by_chance(one: &Times, other: &Times, seed: u64) -> f64 {
    const DRAWN: u32 = 5_000;
    let found = at_one_lag(one, other);
    let mut random = Random(seed);
    let as_much = (0..DRAWN).filter(|_| at_one_lag(&random.links_like(one), &random.links_like(other)) >= found);
    (as_much.count() as f64 + 1.0) / f64::from(DRAWN + 1)
}

/// The largest number of pairs of hops, one of each link, that are as far from each other: the peak of the links'
/// cross-correlogram (Perkel, Gerstein and Moore 1967), with lags of a second at most either way.
fn at_one_lag(one: &Times, other: &Times) -> usize {
    const FARTHEST: f64 = 1.0;
    const SAME: f64 = 0.05;
    let near = |time: &f64| {
        let [first, end] = [-FARTHEST, FARTHEST].map(|lag| other.partition_point(|after| *after < time + lag));
        other[first..end].iter().map(|after| after - time).collect::<Vec<f64>>()
    };
    let mut lags: Vec<f64> = one.iter().flat_map(near).collect();
    lags.sort_by(f64::total_cmp);
    let same = |at: usize| lags[at..].partition_point(|lag| *lag <= lags[at] + SAME);
    (0..lags.len()).map(same).max().unwrap_or(0)
}

/// Draws that a seed repeats: xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d));
        usize::try_from((word * end as u128) >> 64).unwrap_or(0)
    }

    /// A link with as many hops, whose intervals are drawn from the same ones and which began at another time.
    fn links_like(&mut self, times: &Times) -> Times {
        let intervals: Times = times.windows(2).map(|two| two[1] - two[0]).collect();
        let mut now = times[0] - intervals[self.below(intervals.len())] * self.below(1000) as f64 / 1000.0;
        let draw = |_: &f64| {
            now += intervals[self.below(intervals.len())];
            now
        };
        times.iter().map(draw).collect()
    }
}

/// The times at which two links hopped, whose entries and exits are four hosts.
pub(super) fn two_links(interval: &'static str, lasting: Duration) -> anyhow::Result<[Times; 2]> {
    let network = Network::start(&["entry", "exit", "entry-b", "exit-b"].map(HostPlan::cable))?;
    let start =
        |names| Linked::between(&network, names, Family::V4, Mode::constant("1 Mbit/s"), Hopping::every(interval));
    let links = [start(["entry", "exit"])?, start(["entry-b", "exit-b"])?];
    let captures = [Capture::start(links[0].entry)?, Capture::start(links[1].entry)?];
    std::thread::sleep(lasting);
    let [one, other] = captures.map(|capture| -> anyhow::Result<Times> {
        let seen = capture.end()?;
        let first = seen.first().context("packets were seen")?.at;
        // The clock is one; its first second is far away.
        let origin = Duration::from_secs(first.as_secs() - first.as_secs() % 3600);
        Ok(steps(&seen).iter().map(|step| (step.asked - origin).as_secs_f64()).collect())
    });
    Ok([one?, other?])
}

/// Fails if two links are tied, or if the test would not find it if they were.
pub(super) fn check_untied([one, other]: &[Times; 2]) -> anyhow::Result<f64> {
    /// One run in a thousand fails for no reason.
    const FALSE_ALARM: f64 = 1e-3;
    let chance = tied_by_chance(one, other, 1);
    ensure!(chance >= FALSE_ALARM, "{chance}: {one:.3?} {other:.3?}");
    for lag in [0.0, 0.2] {
        // A link that hops with the other, up to 20 ms away from its time.
        let tied = one.iter().enumerate().map(|(at, time)| time + lag + 0.02 * ((at * 7 % 5) as f64 / 2.0 - 1.0));
        let chance = tied_by_chance(one, &tied.collect(), 2);
        ensure!(chance < FALSE_ALARM, "{chance}: a link that hops {lag} s after the other is not found");
    }
    Ok(chance)
}

/// With as few hops as the test below may see, a tied link is found and one that is not is let go.
#[test]
fn a_tied_link_is_found_at_any_times() -> Outcome {
    let mut random = Random(7);
    for _ in 0..40 {
        let mut times = || -> Times {
            let mut now = 0.0;
            let next = |_| {
                now += 0.5 + random.below(800) as f64 / 1000.0;
                now
            };
            (0..FEWEST_HOPS).map(next).collect()
        };
        check_untied(&[times(), times()])?;
    }
    Ok(())
}

#[test]
fn two_links_hop_each_at_times_of_its_own() -> Outcome {
    let _turn = crate::take_turn();
    within_three(|| {
        let times = two_links("500ms..1300ms", 13 * SECOND)?;
        ensure!(times.iter().all(|times| times.len() >= FEWEST_HOPS), "{times:.3?}");
        check_untied(&times)?;
        Ok(())
    })
}
