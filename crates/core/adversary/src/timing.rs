//! Whether packets leave equally late in two situations.
//!
//! For each quantile the order statistics of a sample give an interval that holds the true quantile, whatever the
//! distribution is. The difference of two such intervals holds the true shift. The test passes only if that whole
//! interval lies within the bounds. Samples are taken as independent; take them from many short alternating phases
//! rather than from two long ones, so that a slow change of the machine falls on both sides.

use std::fmt;

use serde::Serialize;

use crate::bounds::{ln_binomial_at_least, ln_binomial_at_most};

/// The chance that a trial passes although a true shift is beyond its bounds.
pub const FALSE_PASS_PER_TRIAL: f64 = 1e-3;
/// Rounds of fresh data before a trial fails.
pub const ROUNDS_MAX: u32 = 3;
/// Each round judges its own data, and from the second on all data so far.
const JUDGEMENTS_MAX: u32 = 2 * ROUNDS_MAX - 1;
/// Two quantiles, two samples, two ends each.
const INTERVAL_ENDS: f64 = 8.0;

/// Samples of "send time minus slot", in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    sorted: Vec<i64>,
}

impl Lateness {
    /// Takes the samples in any order.
    pub fn new(mut nanoseconds: Vec<i64>) -> Self {
        nanoseconds.sort_unstable();
        Self { sorted: nanoseconds }
    }

    /// The samples of both.
    fn with(&self, more: &Self) -> Self {
        Self::new([self.sorted.as_slice(), &more.sorted].concat())
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The sample's quantile (`share` from 0 to 1) in nanoseconds; `None` without samples.
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let index = (share * self.sorted.len() as f64) as usize;
        self.sorted.get(index.min(self.sorted.len().checked_sub(1)?)).copied()
    }

    /// The interval that holds the true quantile, each end being wrong with at most the chance `error`; `None` if there
    /// are too few samples for that.
    pub fn quantile_interval(&self, share: f64, error: f64) -> Option<Interval> {
        let count = self.sorted.len() as u64;
        let ln_error = error.ln();
        // At least `rank` samples lie below the true quantile only with this chance, so the true quantile is not above.
        let above = (0..=count).map(|rank| ln_binomial_at_least(rank, count, share));
        let high = above.enumerate().find(|(_, ln_chance)| *ln_chance <= ln_error)?.0;
        let below = (0..=count).rev().map(|rank| ln_binomial_at_most(rank, count, share));
        let low = count as usize - below.enumerate().find(|(_, ln_chance)| *ln_chance <= ln_error)?.0;
        Some(Interval { low: *self.sorted.get(low)?, high: *self.sorted.get(high - 1)? })
    }
}

/// An interval in nanoseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: i64,
    /// The upper end.
    pub high: i64,
}

impl Interval {
    /// All differences of a value of `self` and a value of `other`.
    fn minus(self, other: Self) -> Self {
        Self { low: self.low - other.high, high: self.high - other.low }
    }

    fn is_within(self, bound: i64) -> bool {
        -bound <= self.low && self.high <= bound
    }

    fn is_beyond(self, bound: i64) -> bool {
        self.low > bound || self.high < -bound
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:+.1}..{:+.1} us", self.low as f64 / 1e3, self.high as f64 / 1e3)
    }
}

/// The largest shifts, in nanoseconds, that count as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShiftBounds {
    /// Of the median.
    pub median: i64,
    /// Of the 99th percentile.
    pub p99: i64,
}

impl Default for ShiftBounds {
    /// 10 microseconds for the median and 150 for the 99th percentile.
    fn default() -> Self {
        Self { median: 10_000, p99: 150_000 }
    }
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Both shifts are within their bounds.
    Equivalent,
    /// A shift is beyond its bound.
    Different,
    /// The data does not decide.
    Undecided,
}

/// One comparison with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What it shows.
    pub finding: Finding,
    /// The interval that holds the true shift of the median; `None` with too few samples.
    pub median: Option<Interval>,
    /// The same for the 99th percentile.
    pub p99: Option<Interval>,
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |interval: Option<Interval>| interval.map_or("too few samples".to_owned(), |it| it.to_string());
        write!(out, "{:?}: median {}, p99 {}", self.finding, shown(self.median), shown(self.p99))
    }
}

/// The equivalence test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equivalence {
    bounds: ShiftBounds,
    /// The chance that it passes a shift beyond the bounds.
    error: f64,
}

impl Equivalence {
    /// A test that passes a shift beyond `bounds` with at most the chance `error`.
    pub fn new(bounds: ShiftBounds, error: f64) -> Self {
        assert!(error > 0.0 && error < 1.0, "an error rate lies between 0 and 1");
        Self { bounds, error }
    }

    /// Compares lateness without and with load (or any other two situations).
    pub fn judge(&self, idle: &Lateness, loaded: &Lateness) -> Comparison {
        let shift = |share| {
            let end_error = self.error / INTERVAL_ENDS;
            Some(loaded.quantile_interval(share, end_error)?.minus(idle.quantile_interval(share, end_error)?))
        };
        let (median, p99) = (shift(0.5), shift(0.99));
        let judged = [(median, self.bounds.median), (p99, self.bounds.p99)];
        let all = |holds: fn(Interval, i64) -> bool| {
            judged.map(|(interval, bound)| interval.is_some_and(|interval| holds(interval, bound)))
        };
        let finding = if all(Interval::is_within) == [true, true] {
            Finding::Equivalent
        } else if all(Interval::is_beyond).contains(&true) {
            Finding::Different
        } else {
            Finding::Undecided
        };
        Comparison { finding, median, p99 }
    }
}

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The two situations are equivalent.
    Pass,
    /// Measure again, with fresh data only.
    MeasureAgain,
    /// No round showed equivalence.
    Fail,
}

/// Up to [`ROUNDS_MAX`] rounds of an equivalence test. Each judges its fresh data alone, since a disturbance may have
/// passed, and all data so far, since more data decides more. The first judgement that shows equivalence passes the
/// trial; the error of each is a fifth of the trial's, so a shift beyond the bounds passes the whole trial with at most
/// the chance [`FALSE_PASS_PER_TRIAL`].
#[derive(Clone, Debug)]
pub struct Trial {
    test: Equivalence,
    /// All data so far, without and with load.
    all: [Lateness; 2],
    rounds: Vec<Comparison>,
}

impl Trial {
    /// A trial without rounds yet.
    pub fn new(bounds: ShiftBounds) -> Self {
        let test = Equivalence::new(bounds, FALSE_PASS_PER_TRIAL / f64::from(JUDGEMENTS_MAX));
        Self { test, all: Default::default(), rounds: Vec::new() }
    }

    /// Judges one round of fresh data.
    pub fn add_round(&mut self, idle: &Lateness, loaded: &Lateness) -> Decision {
        self.all = [self.all[0].with(idle), self.all[1].with(loaded)];
        let fresh = self.test.judge(idle, loaded);
        let comparison = if fresh.finding == Finding::Equivalent || self.rounds.is_empty() {
            fresh
        } else {
            self.test.judge(&self.all[0], &self.all[1])
        };
        self.rounds.push(comparison);
        match comparison.finding {
            Finding::Equivalent => Decision::Pass,
            _ if self.rounds.len() < ROUNDS_MAX as usize => Decision::MeasureAgain,
            _ => Decision::Fail,
        }
    }

    /// All rounds so far: of each its own data if that showed equivalence or is the first, else all data up to it.
    pub fn rounds(&self) -> &[Comparison] {
        &self.rounds
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, round) in self.rounds.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(out, "{separator}round {}: {round}", index + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What a real sender shows: a few microseconds around its median, and a tail of hundreds in three of a hundred.
    fn sample(seed: u64, count: usize, shift: i64) -> Lateness {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let one = |_| {
            let tail = generator.random_range(0..100) < 3;
            let noise: i64 = generator.random_range(-4_000..4_000) + generator.random_range(-4_000..4_000);
            12_000 + noise + shift + if tail { generator.random_range(0..90_000) } else { 0 }
        };
        Lateness::new((0..count).map(one).collect())
    }

    fn test() -> Equivalence {
        Equivalence::new(ShiftBounds::default(), FALSE_PASS_PER_TRIAL)
    }

    #[test]
    fn equal_situations_pass_over_many_seeds() {
        for seed in 0..200 {
            let comparison = test().judge(&sample(seed, 4_000, 0), &sample(seed + 1_000, 4_000, 0));
            assert_eq!(comparison.finding, Finding::Equivalent, "seed {seed}: {comparison}");
        }
    }

    #[test]
    fn fifty_microseconds_are_caught_over_many_seeds() {
        for seed in 0..200 {
            let comparison = test().judge(&sample(seed, 4_000, 0), &sample(seed + 1_000, 4_000, 50_000));
            assert_eq!(comparison.finding, Finding::Different, "seed {seed}: {comparison}");
            let comparison = test().judge(&sample(seed, 4_000, 0), &sample(seed + 1_000, 4_000, -50_000));
            assert_eq!(comparison.finding, Finding::Different, "seed {seed}: {comparison}");
        }
    }

    #[test]
    fn a_shift_just_beyond_the_bound_never_passes() {
        for seed in 0..300 {
            let comparison = test().judge(&sample(seed, 4_000, 0), &sample(seed + 1_000, 4_000, 10_500));
            assert_ne!(comparison.finding, Finding::Equivalent, "seed {seed}: {comparison}");
        }
    }

    #[test]
    fn a_longer_tail_is_caught() {
        let idle = sample(1, 4_000, 0);
        let mut loaded = sample(2, 4_000, 0);
        loaded.sorted.iter_mut().skip(3_900).for_each(|late| *late += 400_000);
        assert_eq!(test().judge(&idle, &loaded).finding, Finding::Different);
    }

    #[test]
    fn few_samples_decide_nothing() {
        let comparison = test().judge(&sample(1, 50, 0), &sample(2, 50, 0));
        assert_eq!(comparison.finding, Finding::Undecided);
        assert!(comparison.to_string().contains("p99 too few samples"));
        assert_eq!(test().judge(&Lateness::default(), &Lateness::default()).finding, Finding::Undecided);
        assert_eq!(Lateness::default().quantile(0.5), None);
    }

    #[test]
    fn a_trial_asks_for_fresh_data_before_it_fails() {
        let mut trial = Trial::new(ShiftBounds::default());
        let (clean, leaking) = (sample(1, 4_000, 0), sample(2, 4_000, 50_000));
        assert_eq!(trial.add_round(&clean, &leaking), Decision::MeasureAgain);
        assert_eq!(trial.add_round(&clean, &sample(3, 4_000, 0)), Decision::Pass);
        let mut trial = Trial::new(ShiftBounds::default());
        assert_eq!(trial.add_round(&clean, &leaking), Decision::MeasureAgain);
        assert_eq!(trial.add_round(&clean, &leaking), Decision::MeasureAgain);
        assert_eq!(trial.add_round(&clean, &leaking), Decision::Fail);
        assert_eq!(trial.rounds().len(), 3);
        assert!(trial.to_string().contains("round 3: Different"));
    }

    #[test]
    fn rounds_that_decide_nothing_alone_decide_together() {
        let mut trial = Trial::new(ShiftBounds::default());
        let round = |seed| (sample(seed, 700, 0), sample(seed + 100, 700, 0));
        let few = round(1);
        assert_eq!(test().judge(&few.0, &few.1).finding, Finding::Undecided);
        assert_eq!(trial.add_round(&few.0, &few.1), Decision::MeasureAgain);
        assert_eq!(trial.add_round(&round(2).0, &round(2).1), Decision::Pass);
    }

    #[test]
    fn a_shift_just_beyond_the_bound_passes_no_trial() {
        for seed in 0..100 {
            let mut trial = Trial::new(ShiftBounds::default());
            for round in 0..u64::from(ROUNDS_MAX) {
                let (idle, loaded) = (1_000 * round + seed, 1_000 * round + seed + 500);
                let decision = trial.add_round(&sample(idle, 4_000, 0), &sample(loaded, 4_000, 10_500));
                assert_ne!(decision, Decision::Pass, "seed {seed}: {trial}");
            }
        }
    }

    #[test]
    fn intervals_hold_the_true_quantile() {
        // Uniform samples: the true quantiles are known. 400 intervals of error 1e-3 a side: none is expected to miss.
        for seed in 0..400 {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            let uniform = Lateness::new((0..3_000).map(|_| generator.random_range(0..1_000_000)).collect());
            for share in [0.5, 0.99] {
                let interval = uniform.quantile_interval(share, 1e-3).expect("3,000 samples are enough");
                let truth = (share * 1e6) as i64;
                assert!(interval.low <= truth && truth <= interval.high, "seed {seed}: {share} {interval}");
            }
        }
    }
}
