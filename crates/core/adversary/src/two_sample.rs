//! Whether two samples come from one distribution, whatever it is.
//!
//! All three tests take samples as independent. Times of neighbouring packets are not: [`crate::judge`] therefore takes
//! the statistics of this module and gets their chance by exchanging whole phases of a recording.

use crate::permutation::Labels;

/// The largest |t| of equal means in the manner of dudect (Reparaz, Balasch, Verbauwhede, 2017): a normal value is as
/// far from 0 in 7 of a million cases.
pub const WELCH_T_MAX: f64 = 4.5;
/// The t of different means without any scatter, which would be infinite.
const WELCH_T_CAP: f64 = 1e9;

/// The answer of a two-sample test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSample {
    /// How different the samples are: the test's own measure.
    pub statistic: f64,
    /// The chance that two samples of one distribution differ as much (the p-value), from 0 to 1.
    pub chance: f64,
}

/// The Kolmogorov-Smirnov test: the largest distance of the two empirical distributions. The chance is the asymptotic
/// one with Stephens's correction (1970), good from some ten samples on; ties make it too large, never too small.
/// `None` if a sample is empty.
pub fn kolmogorov_smirnov(left: &[i64], right: &[i64]) -> Option<TwoSample> {
    let (pooled, labels) = pool(left, right)?;
    let statistic = pooled.kolmogorov_smirnov(&labels);
    let size = effective_size(left.len(), right.len()).sqrt();
    Some(TwoSample { statistic, chance: kolmogorov_beyond((size + 0.12 + 0.11 / size) * statistic) })
}

/// The Anderson-Darling test, which sees differences in the tails better (Scholz and Stephens, 1987, the version for
/// ties, with two samples). The chance is the one of the limit distribution (Marsaglia and Marsaglia, 2004), good from
/// some tens of samples on. `None` if a sample is empty.
pub fn anderson_darling(left: &[i64], right: &[i64]) -> Option<TwoSample> {
    let (pooled, labels) = pool(left, right)?;
    let statistic = pooled.anderson_darling(&labels);
    Some(TwoSample { statistic, chance: anderson_darling_beyond(statistic) })
}

/// Welch's t of the difference of two means, positive if `right` has the larger one. `None` if a sample has fewer than
/// two values.
pub fn welch_t(left: &[i64], right: &[i64]) -> Option<f64> {
    let moments = |sample: &[i64]| {
        let count = sample.len() as f64;
        let mean = sample.iter().map(|&value| value as f64).sum::<f64>() / count;
        let scatter = sample.iter().map(|&value| (value as f64 - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, scatter / count)
    };
    if left.len() < 2 || right.len() < 2 {
        return None;
    }
    let ((left_mean, left_error), (right_mean, right_error)) = (moments(left), moments(right));
    let difference = right_mean - left_mean;
    let error = (left_error + right_error).sqrt();
    Some(if difference == 0.0 { 0.0 } else { (difference / error).clamp(-WELCH_T_CAP, WELCH_T_CAP) })
}

/// Values of many units in one order, so that statistics of any assignment of the units are one pass.
#[derive(Clone, Debug)]
pub(crate) struct Pooled {
    /// Sorted by value.
    values: Vec<(i64, usize)>,
    /// Values of each unit.
    sizes: Vec<usize>,
}

impl Pooled {
    /// The values of each unit, in any order.
    pub(crate) fn new(units: &[&[i64]]) -> Self {
        let numbered = units.iter().enumerate();
        let mut values: Vec<(i64, usize)> =
            numbered.flat_map(|(unit, values)| values.iter().map(move |&value| (value, unit))).collect();
        values.sort_unstable();
        Self { values, sizes: units.iter().map(|values| values.len()).collect() }
    }

    /// The largest distance of the two distributions.
    pub(crate) fn kolmogorov_smirnov(&self, labels: &Labels) -> f64 {
        let [left, right] = self.sides(labels);
        let mut largest = 0.0;
        self.walk(labels, |seen, _| {
            let distance: f64 = seen[0] / left - seen[1] / right;
            largest = f64::max(largest, distance.abs());
        });
        largest
    }

    /// The weighted square of the distance, summed over the pooled distribution.
    pub(crate) fn anderson_darling(&self, labels: &Labels) -> f64 {
        let [left, right] = self.sides(labels);
        let all = left + right;
        let mut sum = 0.0;
        self.walk(labels, |seen, equal| {
            let below = seen[0] + seen[1];
            if below < all {
                let distance = all * seen[0] - left * below;
                sum += equal * distance * distance / (below * (all - below));
            }
        });
        sum / (left * right)
    }

    /// Values on each side, at least 1 so that nothing is divided by 0.
    fn sides(&self, labels: &Labels) -> [f64; 2] {
        let mut sides = [0, 0];
        for (unit, size) in self.sizes.iter().enumerate() {
            sides[usize::from(labels.is_right(unit))] += size;
        }
        sides.map(|side| side.max(1) as f64)
    }

    /// Shows `visit` how many values of each side lie at or below each distinct value, and how many equal it.
    fn walk(&self, labels: &Labels, mut visit: impl FnMut([f64; 2], f64)) {
        let mut seen = [0.0, 0.0];
        for equal in self.values.chunk_by(|left, right| left.0 == right.0) {
            for &(_, unit) in equal {
                seen[usize::from(labels.is_right(unit))] += 1.0;
            }
            visit(seen, equal.len() as f64);
        }
    }
}

fn pool(left: &[i64], right: &[i64]) -> Option<(Pooled, Labels)> {
    let is_usable = !left.is_empty() && !right.is_empty();
    is_usable.then(|| (Pooled::new(&[left, right]), Labels::new(vec![false, true])))
}

fn effective_size(left: usize, right: usize) -> f64 {
    let (left, right) = (left as f64, right as f64);
    left * right / (left + right)
}

/// The chance that Kolmogorov's limit lies beyond `value`.
fn kolmogorov_beyond(value: f64) -> f64 {
    /// Terms of both series; the one that is used has converged long before.
    const TERMS: i32 = 20;
    if value <= 0.0 {
        return 1.0;
    }
    let chance = if value < 1.0 {
        let exponent = -std::f64::consts::PI.powi(2) / (8.0 * value * value);
        let sum: f64 = (1..=TERMS).map(|term| (exponent * f64::from((2 * term - 1).pow(2))).exp()).sum();
        1.0 - std::f64::consts::TAU.sqrt() / value * sum
    } else {
        let term = |term: i32| (-2.0 * value * value * f64::from(term * term)).exp();
        2.0 * (1..=TERMS).map(|index| if index % 2 == 1 { term(index) } else { -term(index) }).sum::<f64>()
    };
    chance.clamp(0.0, 1.0)
}

/// The chance that the limit of the Anderson-Darling statistic lies beyond `value`.
fn anderson_darling_beyond(value: f64) -> f64 {
    let polynomial = |terms: [f64; 6]| terms.iter().rev().fold(0.0, |sum, term| sum * value + term);
    if value <= 0.0 {
        1.0
    } else if value < 2.0 {
        let below = (-1.233_714_1 / value).exp() / value.sqrt();
        1.0 - below * polynomial([2.000_12, 0.247_105, -0.064_982_1, 0.034_796_2, -0.011_672, 0.001_686_91])
    } else {
        let exponent = polynomial([1.0776, -2.306_95, 0.434_24, -0.082_433, 0.008_056, -0.000_314_6]);
        -(-exponent.exp()).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A congruential sequence that any language can repeat, in 0..1000.
    fn sequence(mut state: u64, length: usize) -> Vec<i64> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((state >> 33) % 1000).expect("it is below 1000")
        };
        (0..length).map(|_| next()).collect()
    }

    /// The figures of SciPy 1.17: `ks_2samp` (exact), the unscaled statistic of `anderson_ksamp` without midranks,
    /// `ttest_ind` with unequal variances.
    #[test]
    fn known_samples_give_known_figures() {
        let left = sequence(1, 200);
        let moved = |seed, change: fn(i64) -> i64| sequence(seed, 150).into_iter().map(change).collect::<Vec<_>>();
        let cases = [
            (sequence(2, 150), 0.145, 0.0498, 2.386_043_759_667, -1.979_677_463_7),
            (moved(3, |it| it + 80), 0.145, 0.0498, 3.516_613_998_551, 1.645_344_571_1),
            (
                moved(4, |it| 500 + (it - 500).div_euclid(2)),
                0.311_666_666_7,
                7.7e-8,
                15.697_878_909_208,
                -0.919_227_460_7,
            ),
        ];
        for (right, distance, distance_chance, anderson, t) in cases {
            let found = kolmogorov_smirnov(&left, &right).expect("there are samples");
            assert!((found.statistic - distance).abs() < 1e-9, "{found:?}");
            assert!((found.chance / distance_chance - 1.0).abs() < 0.2, "{found:?}");
            let found = anderson_darling(&left, &right).expect("there are samples");
            assert!((found.statistic - anderson).abs() < 1e-9, "{found:?}");
            let found = welch_t(&left, &right).expect("there are samples");
            assert!((found - t).abs() < 1e-9, "{found}");
        }
    }

    /// Table 1 of Marsaglia and Marsaglia, and the usual critical values of both limits.
    #[test]
    fn limits_have_their_critical_values() {
        for (value, chance) in [(1.933, 0.10), (2.492, 0.05), (3.070, 0.025), (3.857, 0.01), (5.97, 0.001)] {
            let found = anderson_darling_beyond(value);
            assert!((found / chance - 1.0).abs() < 0.03, "{value}: {found}");
        }
        for (value, chance) in
            [(0.5, 0.963_945), (1.0, 0.269_999_67), (1.223_848, 0.10), (1.627_624, 0.01), (1.949_5, 0.001)]
        {
            let found = kolmogorov_beyond(value);
            assert!((found / chance - 1.0).abs() < 1e-3, "{value}: {found}");
        }
        let joint = [
            kolmogorov_beyond(1.0 - 1e-9) - kolmogorov_beyond(1.0),
            anderson_darling_beyond(2.0 - 1e-9) - anderson_darling_beyond(2.0),
        ];
        assert!(joint.into_iter().all(|step| step.abs() < 1e-4), "{joint:?}");
    }

    fn lateness(generator: &mut ChaCha8Rng, shift: i64) -> i64 {
        shift + generator.random_range(-20_000..20_000) + generator.random_range(-20_000..20_000)
    }

    /// 1,000 clean pairs at level 0.01: 10 alarms are expected, and with a chance of 1e-4 more than 24.
    #[test]
    fn clean_pairs_raise_the_stated_share_of_alarms() {
        let mut alarms = [0, 0, 0];
        for seed in 0..1_000 {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            let mut sample = |count: usize| (0..count).map(|_| lateness(&mut generator, 0)).collect::<Vec<_>>();
            let (left, right) = (sample(150), sample(200));
            let chances = [kolmogorov_smirnov(&left, &right), anderson_darling(&left, &right)];
            for (alarm, found) in alarms.iter_mut().zip(chances) {
                *alarm += u32::from(found.expect("there are samples").chance <= 0.01);
            }
            alarms[2] += u32::from(welch_t(&left, &right).expect("there are samples").abs() > WELCH_T_MAX);
        }
        assert!((1..=24).contains(&alarms[0]) && (1..=24).contains(&alarms[1]), "{alarms:?}");
        assert_eq!(alarms[2], 0, "7 of a million would");
    }

    #[test]
    fn fifty_microseconds_are_caught_by_each() {
        for seed in 0..100 {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            let left: Vec<i64> = (0..200).map(|_| lateness(&mut generator, 0)).collect();
            let right: Vec<i64> = (0..200).map(|_| lateness(&mut generator, 50_000)).collect();
            assert!(kolmogorov_smirnov(&left, &right).expect("there are samples").chance < 1e-6, "seed {seed}");
            assert!(anderson_darling(&left, &right).expect("there are samples").chance < 1e-6, "seed {seed}");
            assert!(welch_t(&left, &right).expect("there are samples") > WELCH_T_MAX, "seed {seed}");
        }
    }

    #[test]
    fn samples_without_scatter_and_without_values() {
        assert_eq!(welch_t(&[1, 1], &[1, 1]), Some(0.0));
        assert_eq!(welch_t(&[1, 1], &[2, 2]), Some(WELCH_T_CAP));
        assert_eq!(welch_t(&[1], &[2, 2]), None);
        assert_eq!(kolmogorov_smirnov(&[], &[1]), None);
        assert_eq!(anderson_darling(&[1], &[]), None);
        let equal = [kolmogorov_smirnov(&[5; 40], &[5; 50]), anderson_darling(&[5; 40], &[5; 50])];
        assert!(equal.into_iter().all(|found| found == Some(TwoSample { statistic: 0.0, chance: 1.0 })), "{equal:?}");
        let extremes = anderson_darling(&[i64::MIN; 9], &[i64::MAX; 9]).expect("there are samples");
        assert!(extremes.statistic.is_finite() && extremes.chance < 0.01, "{extremes:?}");
    }

    #[test]
    fn units_are_counted_on_their_sides() {
        let units: [&[i64]; 4] = [&[1, 5, 9], &[2], &[3, 4], &[]];
        let pooled = Pooled::new(&units);
        let labels = Labels::new(vec![false, true, true, false]);
        let plain = kolmogorov_smirnov(&[1, 5, 9], &[2, 3, 4]).expect("there are samples");
        assert_eq!(pooled.kolmogorov_smirnov(&labels), plain.statistic);
    }
}
