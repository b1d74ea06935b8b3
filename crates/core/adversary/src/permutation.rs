//! Chances by exchange: if two situations do not differ, any assignment of their pieces to the two is as likely as the
//! one that was recorded.

use rand::Rng;
use rand::seq::SliceRandom;

/// A permutation test ends early once so many assignments look at least as different as the recorded one: the chance
/// is then known well enough, and is far from small (Besag and Clifford, 1991).
const EXCEEDING_MAX: u32 = 20;

/// Which of the two situations each unit belongs to. Units are the pieces that are exchanged: whole phases of a
/// recording, or windows of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    is_right: Vec<bool>,
}

impl Labels {
    pub(crate) fn new(is_right: Vec<bool>) -> Self {
        Self { is_right }
    }

    /// Number of units.
    pub(crate) fn len(&self) -> usize {
        self.is_right.len()
    }

    /// Whether the unit belongs to the second situation.
    pub(crate) fn is_right(&self, unit: usize) -> bool {
        self.is_right.get(unit).copied().unwrap_or(false)
    }

    /// Units of the smaller situation.
    pub(crate) fn fewest(&self) -> usize {
        let right = self.is_right.iter().filter(|is_right| **is_right).count();
        right.min(self.len() - right)
    }

    fn shuffle(&mut self, generator: &mut impl Rng) {
        self.is_right.shuffle(generator);
    }
}

/// A chance that was found by drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    /// The chance that units without any difference look as different as the recorded ones (the p-value). It is never
    /// too small: at level a, at most the share a of clean recordings gets a value of a or less.
    pub(crate) chance: f64,
    /// Assignments that were drawn.
    pub(crate) permutations: u32,
}

/// Draws up to `permutations` assignments and says how many are at least as different as the recorded one.
pub(crate) fn chance_by_exchange(
    recorded: f64,
    labels: &Labels,
    permutations: u32,
    generator: &mut impl Rng,
    mut statistic: impl FnMut(&Labels) -> f64,
) -> Drawn {
    let mut shuffled = labels.clone();
    let mut exceeding = 0;
    for drawn in 1..=permutations {
        shuffled.shuffle(generator);
        if statistic(&shuffled) >= recorded {
            exceeding += 1;
        }
        if exceeding == EXCEEDING_MAX {
            return Drawn { chance: f64::from(exceeding) / f64::from(drawn), permutations: drawn };
        }
    }
    Drawn { chance: f64::from(exceeding + 1) / (f64::from(permutations) + 1.0), permutations }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn difference_of_means(values: &[f64], labels: &Labels) -> f64 {
        let mut sums = [0.0, 0.0];
        values.iter().enumerate().for_each(|(unit, value)| sums[usize::from(labels.is_right(unit))] += value);
        (sums[0] - sums[1]).abs()
    }

    /// 400 clean recordings at level 0.05: 20 alarms are expected, and with a chance of 1e-4 more than 38.
    #[test]
    fn clean_units_are_rarely_called_different() {
        let labels = Labels::new((0..20).map(|unit| unit % 2 == 1).collect());
        let mut alarms = 0;
        for seed in 0..400 {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            let values: Vec<f64> = (0..20).map(|_| generator.random_range(0.0..1.0)).collect();
            let recorded = difference_of_means(&values, &labels);
            let drawn = chance_by_exchange(recorded, &labels, 199, &mut generator, |shuffled| {
                difference_of_means(&values, shuffled)
            });
            alarms += u32::from(drawn.chance <= 0.05);
        }
        assert!((3..=38).contains(&alarms), "{alarms} alarms");
    }

    #[test]
    fn a_difference_gets_the_smallest_chance_and_a_clean_one_ends_early() {
        let labels = Labels::new((0..20).map(|unit| unit >= 10).collect());
        let values: Vec<f64> =
            (0..20).map(|unit| if unit >= 10 { 5.0 } else { 0.0 } + f64::from(unit) * 0.01).collect();
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let recorded = difference_of_means(&values, &labels);
        let drawn = chance_by_exchange(recorded, &labels, 199, &mut generator, |shuffled| {
            difference_of_means(&values, shuffled)
        });
        assert_eq!(drawn, Drawn { chance: 0.005, permutations: 199 });
        let drawn = chance_by_exchange(0.0, &labels, 199, &mut generator, |_| 1.0);
        assert_eq!(drawn, Drawn { chance: 1.0, permutations: EXCEEDING_MAX });
    }
}
