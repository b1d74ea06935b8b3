//! How often an attacker was right, and what the promises allow.

use std::fmt;

use serde::Serialize;

use crate::normal::normal_below;

/// The chance that an interval of [`Accuracy::interval`] does not hold the true accuracy.
pub const INTERVAL_ERROR: f64 = 0.05;
/// Without shaping an attacker must be right at least so often, or the test shows nothing.
pub const UNSHAPED_MIN: f64 = 0.95;

/// Right guesses among many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Accuracy {
    /// Right guesses.
    pub right: u64,
    /// All guesses.
    pub guesses: u64,
    /// Classes that there were to choose from, equally many sessions of each.
    pub classes: u16,
}

impl Accuracy {
    /// The share of right guesses; 0 without any.
    pub fn share(&self) -> f64 {
        if self.guesses == 0 { 0.0 } else { self.right as f64 / self.guesses as f64 }
    }

    /// The share of right guesses without any knowledge.
    pub fn chance(&self) -> f64 {
        1.0 / f64::from(self.classes.max(1))
    }

    /// The interval that holds the true accuracy in at least 95 of 100 cases, 2.5 missing on each side (Clopper and
    /// Pearson, 1934).
    pub fn interval(&self) -> [f64; 2] {
        let side = INTERVAL_ERROR / 2.0;
        // The chance of as many right guesses or more grows with the accuracy, the one of as many or fewer falls.
        let low = if self.right == 0 { 0.0 } else { bisect(|accuracy| self.at_least(self.right, accuracy) < side) };
        let high = if self.right >= self.guesses {
            1.0
        } else {
            bisect(|accuracy| 1.0 - self.at_least(self.right + 1, accuracy) > side)
        };
        [low, high]
    }

    /// Whether guessing explains the result: chance lies within the interval.
    pub fn is_chance(&self) -> bool {
        let [low, high] = self.interval();
        low <= self.chance() && self.chance() <= high
    }

    /// Whether more is known than a promise allows: the whole interval lies above it. A kept promise looks broken in
    /// 2.5 of 100 cases.
    pub fn exceeds(&self, promised: f64) -> bool {
        self.interval()[0] > promised
    }

    /// The chance of `count` or more right guesses at this accuracy.
    fn at_least(&self, count: u64, accuracy: f64) -> f64 {
        let (mut sum, guesses) = (0.0, self.guesses);
        let (ln_right, ln_wrong) = (accuracy.ln(), (1.0 - accuracy).ln());
        let mut ln_ways = 0.0;
        for right in 0..=guesses {
            if right > 0 {
                ln_ways += ((guesses - right + 1) as f64 / right as f64).ln();
            }
            if right >= count {
                sum += (ln_ways + right as f64 * ln_right + (guesses - right) as f64 * ln_wrong).exp();
            }
        }
        sum.min(1.0)
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval();
        write!(out, "{:.3} ({low:.3} to {high:.3}, {} of {})", self.share(), self.right, self.guesses)
    }
}

/// The accuracy that no attacker exceeds who tells two open-loop streams apart which differ in so many epochs by at most
/// Delta each, when every release has Gaussian noise of Delta / `mu` (Dong, Roth, Su, 2022).
pub fn released_max(mu: f64, epochs: u32) -> f64 {
    normal_below(mu * f64::from(epochs).sqrt() / 2.0)
}

/// The accuracy that no attacker exceeds among `classes` equally likely ones, when all that depends on them is so many
/// bits of maximal leakage (Issa, Wagner, Kamath, 2020).
pub fn leaked_max(bits: f64, classes: u16) -> f64 {
    (bits.exp2() / f64::from(classes.max(1))).min(1.0)
}

/// The place where something that holds for small values ceases to, between 0 and 1.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    /// Halvings, down to less than 1e-9.
    const HALVINGS: u32 = 30;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if holds(middle) { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(right: u64, guesses: u64, classes: u16) -> Accuracy {
        Accuracy { right, guesses, classes }
    }

    /// From tables of the exact interval.
    #[test]
    fn intervals_are_the_exact_ones() {
        let known = [
            (5, 10, [0.187_086, 0.812_914]),
            (0, 20, [0.0, 0.168_433]),
            (20, 20, [0.831_567, 1.0]),
            (81, 263, [0.252_740, 0.367_721]),
        ];
        for (right, guesses, ends) in known {
            let found = accuracy(right, guesses, 2).interval();
            assert!((0..2).all(|end| (found[end] - ends[end]).abs() < 1e-3), "{right} of {guesses}: {found:?}");
        }
        assert_eq!(accuracy(0, 0, 2).interval(), [0.0, 1.0]);
    }

    #[test]
    fn chance_and_promises() {
        assert!(accuracy(20, 800, 40).is_chance() && !accuracy(45, 800, 40).is_chance());
        assert!(accuracy(700, 800, 2).exceeds(0.841) && !accuracy(690, 800, 2).exceeds(0.841));
        assert!((released_max(0.236_703, 1) - 0.547).abs() < 5e-4);
        assert!((released_max(0.236_703, 12) - 0.659).abs() < 5e-4);
        assert!((released_max(0.236_703, 60) - 0.820).abs() < 5e-4);
        assert_eq!(leaked_max(2.0, 40), 0.1);
        assert_eq!(leaked_max(1_152.0, 40), 1.0);
    }
}
