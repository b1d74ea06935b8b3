//! An audit of mu: the loss that an observer of two neighbouring worlds can prove.
//!
//! If a mechanism is mu-GDP, no test of one world against the other has a rate of hits and a rate of false alarms with
//! `Phi^-1(hits) - Phi^-1(alarms)` above mu. An audit runs both worlds, takes confidence bounds of both rates at thresholds that
//! were fixed before, and reports the largest loss that they prove. It must not be above the claim, and not far
//! below it, or the audit would not see a fault either.

use super::statistics::{chance_high, chance_low, normal_quantile};
use std::ops::RangeInclusive;

/// How often an audit proves more than there is, over all of its thresholds together.
pub(crate) const ALARM: f64 = 0.05;

/// Thresholds and size of an audit.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    /// An observer says "the client is there" when the value is above. Fixed before any run.
    pub(crate) thresholds: Vec<i64>,
    /// Runs of each world.
    pub(crate) runs: u64,
}

impl Audit {
    /// Thresholds around the middle of two worlds whose observed values lie around `without` and `with`, `sigma` wide. Three
    /// are enough for the shift of a Gaussian, whose loss is the same everywhere; each more makes all bounds wider.
    pub(crate) fn between(without: i64, with: i64, sigma: i64, runs: u64) -> Self {
        let middle = without + (with - without) / 2;
        Self { thresholds: vec![middle - sigma / 4, middle, middle + sigma / 4], runs }
    }

    /// The largest loss that the runs prove. `world(true)` makes one run with the client and returns what an observer
    /// sees, `world(false)` one without.
    pub(crate) fn proven_mu(&self, mut world: impl FnMut(bool) -> i64) -> f64 {
        let mut above = |with: bool| {
            let mut counts = vec![0u64; self.thresholds.len()];
            for _ in 0..self.runs {
                let seen = world(with);
                for (count, threshold) in counts.iter_mut().zip(&self.thresholds) {
                    *count += u64::from(seen > *threshold);
                }
            }
            counts
        };
        let (false_alarms, hits) = (above(false), above(true));
        let alarm = ALARM / (2 * self.thresholds.len()) as f64;
        let losses = hits.into_iter().zip(false_alarms).map(|(hits, false_alarms)| {
            let hits = chance_low(hits, self.runs, alarm);
            let false_alarms = chance_high(false_alarms, self.runs, alarm);
            normal_quantile(hits) - normal_quantile(false_alarms)
        });
        losses.fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The gate: what is proven lies in this part of the claim.
pub(crate) const GATE: RangeInclusive<f64> = 0.95..=1.0;

/// True when the proven loss is within the claim and near it.
pub(crate) fn holds(proven: f64, claimed: f64) -> bool {
    GATE.contains(&(proven / claimed))
}
