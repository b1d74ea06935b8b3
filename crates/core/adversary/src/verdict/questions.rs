//! How each question is answered.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Case, Figures, Outcome, SIGNIFICANCE};
use crate::classifier::{PHASES_MIN, WINDOWS_MIN, Windows};
use crate::permutation::{Labels, chance_by_exchange};
use crate::randomness::judge_randomness;
use crate::sighting::{Direction, Sighting};
use crate::slots::{Grid, SlotCounts};
use crate::timing::{Equivalence, FALSE_PASS_PER_TRIAL, Finding, Lateness};
use crate::two_sample::{Pooled, WELCH_T_MAX, welch_t};
use crate::window::WINDOW_PACKETS;

/// Packets of a thousand that may be far from every slot, because a machine with other work to do misses some.
pub const FAR_PER_MILLE: u64 = 30;
/// Slots of a thousand that may hold another number of packets.
pub const ODD_SLOTS_PER_MILLE: u64 = 30;
/// Fewer slots show too little.
pub const SLOTS_MIN: u64 = 100;
/// Payloads of a direction whose bytes are judged; of more, the first.
pub const PAYLOADS_MAX: usize = 20_000;
/// Fewer slots of a situation show too little about the distribution of lateness.
pub const STARTS_MIN: usize = 1_000;
/// Slots of a situation whose lateness is compared; of more, every n-th.
pub const STARTS_MAX: usize = 20_000;
/// A packet is far from every slot if it is farther than this part of the time between two slots.
const FAR_SHARE: u32 = 10;
/// A number of packets belongs to the schedule if at least one of so many idle slots holds it.
const SCHEDULED_SHARE: u64 = 20;

type Answered = (Outcome, Figures);

fn passes_if(holds: bool) -> Outcome {
    if holds { Outcome::Passes } else { Outcome::Fails }
}

impl Case<'_> {
    pub(super) fn sizes(&self) -> Answered {
        let expected = self.settings.packet_length;
        let (mut packets, mut odd, mut odd_length) = (0, 0, None);
        for sighting in self.situations().into_iter().flatten().flatten() {
            packets += 1;
            if sighting.length != expected {
                odd += 1;
                odd_length = odd_length.or(Some(sighting.length));
            }
        }
        let figures = Figures::Sizes { packets, expected, odd, odd_length };
        (if packets == 0 { Outcome::Undecided } else { passes_if(odd == 0) }, figures)
    }

    pub(super) fn bytes(&self, direction: Direction) -> Answered {
        let all = self.payloads[usize::from(direction == Direction::Inward)].iter();
        let judged: Vec<&[u8]> =
            all.copied().filter(|it| it.len() == self.settings.packet_length).take(PAYLOADS_MAX).collect();
        let Ok(report) = judge_randomness(&judged) else {
            return (Outcome::Undecided, Figures::TooFew { found: judged.len(), needed: crate::PACKETS_MIN });
        };
        let oddest = report.outcomes.iter().min_by(|left, right| left.ln_chance.total_cmp(&right.ln_chance));
        let log10_chance = oddest.map_or(0.0, |outcome| outcome.ln_chance / 10f64.ln());
        let oddest = oddest.map(|outcome| outcome.question);
        (passes_if(report.passes()), Figures::Bytes { packets: report.packets, oddest, log10_chance })
    }

    pub(super) fn grid(&self, direction: Direction) -> Answered {
        let grid = self.grids.of(direction);
        let limit = self.settings.slot / FAR_SHARE;
        let limit_ns = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        let (mut packets, mut far) = (0, 0);
        for sighting in self.situations().into_iter().flatten().flatten().filter(|it| it.direction == direction) {
            packets += 1;
            far += u64::from(grid.lateness(sighting.at).abs() > limit_ns);
        }
        if packets < SLOTS_MIN {
            return (Outcome::Undecided, too_few(packets, SLOTS_MIN));
        }
        (passes_if(far * 1_000 <= packets * FAR_PER_MILLE), Figures::Grid { packets, far, limit_ns })
    }

    pub(super) fn counts(&self, direction: Direction) -> Answered {
        let grid = self.grids.of(direction);
        let [idle, loaded] = self.situations().map(|phases| histogram(phases, direction, grid));
        let scheduled = self.settings.per_slot.clone().unwrap_or_else(|| usual(&idle));
        let (mut slots, mut odd) = (0, 0);
        for (packets, count) in idle.iter().chain(&loaded) {
            slots += count;
            odd += if scheduled.contains(packets) { 0 } else { *count };
        }
        if slots < SLOTS_MIN {
            return (Outcome::Undecided, too_few(slots, SLOTS_MIN));
        }
        let figures = Figures::Counts { slots, odd, scheduled: [*scheduled.start(), *scheduled.end()] };
        (passes_if(odd * 1_000 <= slots * ODD_SLOTS_PER_MILLE), figures)
    }

    pub(super) fn lateness(&self, direction: Direction) -> Answered {
        let [idle, loaded] = self
            .situations()
            .map(|phases| Lateness::new(phases.iter().flat_map(|phase| self.slot_starts(phase, direction)).collect()));
        let comparison = Equivalence::new(self.settings.shift_bounds, FALSE_PASS_PER_TRIAL).judge(&idle, &loaded);
        let outcome = match comparison.finding {
            Finding::Equivalent => Outcome::Passes,
            Finding::Different => Outcome::Fails,
            Finding::Undecided => Outcome::Undecided,
        };
        let bounds = self.settings.shift_bounds;
        (outcome, Figures::Lateness { median: comparison.median, p99: comparison.p99, bounds })
    }

    pub(super) fn distribution(&self, direction: Direction) -> Answered {
        let [idle, loaded] = self.situations().map(|phases| self.units(phases, direction));
        let samples = [&idle, &loaded].map(|units| units.iter().map(Vec::len).sum::<usize>());
        let fewest = samples[0].min(samples[1]);
        if fewest < STARTS_MIN {
            return (Outcome::Undecided, Figures::TooFew { found: fewest, needed: STARTS_MIN });
        }
        let labels = Labels::new([vec![false; idle.len()], vec![true; loaded.len()]].concat());
        let units: Vec<&[i64]> = idle.iter().chain(&loaded).map(Vec::as_slice).collect();
        let pooled = Pooled::new(&units);
        let mut generator = ChaCha8Rng::seed_from_u64(self.settings.seed);
        let mut chance = |statistic: &dyn Fn(&Labels) -> f64| {
            let recorded = statistic(&labels);
            chance_by_exchange(recorded, &labels, self.settings.permutations, &mut generator, statistic).chance
        };
        let kolmogorov_smirnov = chance(&|labels| pooled.kolmogorov_smirnov(labels));
        let anderson_darling = chance(&|labels| pooled.anderson_darling(labels));
        let [idle_means, loaded_means] =
            [&idle, &loaded].map(|units| units.iter().map(|unit| mean(unit)).collect::<Vec<_>>());
        let welch_t = welch_t(&idle_means, &loaded_means).unwrap_or(0.0);
        let differs =
            kolmogorov_smirnov <= SIGNIFICANCE || anderson_darling <= SIGNIFICANCE || welch_t.abs() > WELCH_T_MAX;
        let outcome = if differs {
            Outcome::Fails
        } else if self.settings.draws_enough() {
            Outcome::Passes
        } else {
            Outcome::Undecided
        };
        (outcome, Figures::Distribution { slots: samples, kolmogorov_smirnov, anderson_darling, welch_t })
    }

    pub(super) fn classifier(&self) -> Answered {
        let Some(windows) = Windows::new(&self.idle, &self.loaded, &self.grids) else {
            let windows =
                |phases: &[Vec<Sighting>]| phases.iter().map(|phase| phase.len() / WINDOW_PACKETS).sum::<usize>();
            let fewest = self.situations().map(windows);
            return (Outcome::Undecided, Figures::TooFew { found: fewest[0].min(fewest[1]), needed: WINDOWS_MIN });
        };
        let told = windows.tell_apart(self.settings.permutations, self.settings.seed);
        let outcome = if told.chance <= SIGNIFICANCE {
            Outcome::Fails
        } else if self.settings.draws_enough() {
            Outcome::Passes
        } else {
            Outcome::Undecided
        };
        (outcome, Figures::Classifier(told))
    }

    /// The lateness of the first packet of each slot. The others of a slot follow it as fast as the line lets them.
    pub(super) fn slot_starts(&self, phase: &[Sighting], direction: Direction) -> Vec<i64> {
        let grid = self.grids.of(direction);
        let mut last_slot = None;
        let mut starts = Vec::new();
        for sighting in phase.iter().filter(|sighting| sighting.direction == direction) {
            let slot = grid.slot(sighting.at);
            if last_slot != Some(slot) {
                starts.push(grid.lateness(sighting.at));
                last_slot = Some(slot);
            }
        }
        starts
    }

    /// The lateness of slots in the pieces that are exchanged: phases if there are enough, else windows.
    fn units(&self, phases: &[Vec<Sighting>], direction: Direction) -> Vec<Vec<i64>> {
        let by_phase = self.idle.len().min(self.loaded.len()) >= PHASES_MIN;
        let starts: Vec<Vec<i64>> = phases.iter().map(|phase| self.slot_starts(phase, direction)).collect();
        let step = starts.iter().map(Vec::len).sum::<usize>().div_ceil(STARTS_MAX).max(1);
        let thinned = starts.into_iter().map(|starts| starts.into_iter().step_by(step).collect::<Vec<_>>());
        let units: Vec<Vec<i64>> = if by_phase {
            thinned.collect()
        } else {
            thinned
                .flat_map(|starts| starts.chunks_exact(WINDOW_PACKETS).map(<[i64]>::to_vec).collect::<Vec<_>>())
                .collect()
        };
        units.into_iter().filter(|unit| !unit.is_empty()).collect()
    }
}

fn too_few(found: u64, needed: u64) -> Figures {
    let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Figures::TooFew { found: size(found), needed: size(needed) }
}

/// How many slots hold each number of packets, over all phases.
fn histogram(phases: &[Vec<Sighting>], direction: Direction, grid: Grid) -> BTreeMap<u32, u64> {
    let mut sum = BTreeMap::new();
    for phase in phases {
        for (packets, slots) in SlotCounts::new(grid, direction, phase).histogram() {
            *sum.entry(packets).or_insert(0) += slots;
        }
    }
    sum
}

/// The numbers of packets that many slots hold.
fn usual(histogram: &BTreeMap<u32, u64>) -> RangeInclusive<u32> {
    let slots: u64 = histogram.values().sum();
    let usual =
        || histogram.iter().filter(|(_, count)| **count * SCHEDULED_SHARE >= slots).map(|(packets, _)| *packets);
    usual().min().unwrap_or(0)..=usual().max().unwrap_or(0)
}

fn mean(values: &[i64]) -> i64 {
    let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
    let count = i128::try_from(values.len()).unwrap_or(i128::MAX).max(1);
    i64::try_from(sum / count).unwrap_or(i64::MAX)
}
