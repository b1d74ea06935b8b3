//! NetShaper's accountant, to compare with.
//!
//! Renyi differential privacy of order alpha of one query is alpha / (2 nm^2) with nm = sigma / Delta (Mironov 2017,
//! corollary 3), it adds up over queries (proposition 1), and gives epsilon = RDP + ln(1/delta) / (alpha - 1)
//! (proposition 3). NetShaper (USENIX Security 2024) takes the best of a fixed list of orders. Its search for a noise
//! multiplier halves an interval until epsilon is close to the target, and never ends for a target that no multiplier
//! meets. Here the multiplier of each order is solved for, and such a target is an error.

use crate::accountant::{CalibrationError, Epsilon, FailureProbability, Mu, NoiseRatio};

/// The largest of its orders. An epsilon of ln(1/delta) / 62 or less is out of reach.
const LARGEST_ORDER: u32 = 63;

/// Its epsilon for queries of total mu.
pub fn epsilon(mu: Mu, delta: FailureProbability) -> Epsilon {
    let smallest = orders().map(|order| order * mu.rho() + conversion(order, delta)).fold(f64::INFINITY, f64::min);
    Epsilon::saturating(smallest)
}

/// The smallest noise multiplier with which it grants (epsilon, delta) for `queries` queries.
///
/// [`CalibrationError::Unreachable`] where epsilon is ln(1/delta) / 62 or less: 0.2228 for delta = 10^-6.
pub fn noise_ratio(epsilon: Epsilon, delta: FailureProbability, queries: u64) -> Result<NoiseRatio, CalibrationError> {
    // rho = mu^2 / 2 that order alpha leaves room for.
    let rho =
        orders().map(|order| (epsilon.value() - conversion(order, delta)) / order).fold(f64::NEG_INFINITY, f64::max);
    if rho <= 0.0 {
        return Err(CalibrationError::Unreachable);
    }
    NoiseRatio::for_budget(Mu::saturating((2.0 * rho).sqrt()), queries)
}

/// 1.1 to 10.9 in steps of a tenth, then 12 to 63.
fn orders() -> impl Iterator<Item = f64> {
    let tenths = (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    tenths.chain((12..=LARGEST_ORDER).map(f64::from))
}

/// What the step from Renyi's to (epsilon, delta) adds.
fn conversion(order: f64, delta: FailureProbability) -> f64 {
    delta.log_inverse() / (order - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_are_those_of_the_original() {
        let list: Vec<f64> = orders().collect();
        assert_eq!(list.len(), 99 + 52);
        assert_eq!((list[0], list[98], list[99], list[150]), (1.1, 10.9, 12.0, 63.0));
    }
}
