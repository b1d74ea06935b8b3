//! The Gaussian mechanism, exactly.
//!
//! Releases of total mu are (epsilon, delta)-differentially private exactly where (Balle and Wang 2018, theorem 8;
//! Dong, Roth and Su 2022, corollary 2.13)
//!
//! delta >= Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2).
//!
//! With x = epsilon/mu - mu/2 and Mills' ratio R the right side is phi(x) (R(x) - R(x + mu)), because
//! e^epsilon phi(x + mu) = phi(x): no large power of e appears, and no difference of nearly equal numbers.

use crate::accountant::bisection::edge;
use crate::accountant::normal::{density, log_density, lower_tail, mills, mills_difference};
use crate::accountant::{CalibrationError, Epsilon, FailureProbability, Mu, NoiseRatio, Probability};

/// The smallest delta that goes with this epsilon: relative error about 10^-12; 0 where it is below every float.
pub fn delta(epsilon: Epsilon, mu: Mu) -> Probability {
    Probability::saturating(match Curve::at(epsilon, mu) {
        Curve::Zero => 0.0,
        Curve::Above { score, difference } => density(score) * difference,
        Curve::Below { complement } => 1.0 - complement,
    })
}

/// ln of [`delta`], at most 0, precise where delta itself is below every float; minus infinity where epsilon/mu is
/// beyond 10^154, or mu is 0.
pub fn log_delta(epsilon: Epsilon, mu: Mu) -> f64 {
    match Curve::at(epsilon, mu) {
        Curve::Zero => f64::NEG_INFINITY,
        Curve::Above { score, difference } => (log_density(score) + difference.ln()).min(0.0),
        Curve::Below { complement } => (-complement.min(1.0)).ln_1p(),
    }
}

/// The smallest epsilon that goes with this delta, rounded up to the next float.
pub fn epsilon(mu: Mu, delta: FailureProbability) -> Epsilon {
    let wanted = delta.value().ln();
    let allowed = |value: f64| log_delta(Epsilon::saturating(value), mu) <= wanted;
    if allowed(0.0) {
        return Epsilon::ZERO;
    }
    // The bound of zero-concentrated differential privacy, which is above the exact value.
    let bound = mu.rho() + 2.0 * (mu.rho() * delta.log_inverse()).sqrt();
    Epsilon::saturating(edge(0.0, bound, |value| !allowed(value)).outside)
}

/// The largest mu that keeps (epsilon, delta), rounded down to a float.
pub fn mu(epsilon: Epsilon, delta: FailureProbability) -> Mu {
    let wanted = delta.value().ln();
    Mu::saturating(edge(0.0, Mu::MAX.value(), |value| log_delta(epsilon, Mu::saturating(value)) <= wanted).inside)
}

/// sigma / Delta with which `releases` releases together keep (epsilon, delta): sqrt(releases) / mu.
pub fn noise_ratio(epsilon: Epsilon, delta: FailureProbability, releases: u64) -> Result<NoiseRatio, CalibrationError> {
    NoiseRatio::for_budget(mu(epsilon, delta), releases)
}

/// sigma in bytes, rounded up, with which `releases` releases of this sensitivity in bytes together keep
/// (epsilon, delta).
pub fn sigma_bytes(
    epsilon: Epsilon,
    delta: FailureProbability,
    releases: u64,
    sensitivity_bytes: u64,
) -> Result<u64, CalibrationError> {
    noise_ratio(epsilon, delta, releases)?.sigma_bytes(sensitivity_bytes)
}

/// delta, in the form that is precise where it lies.
enum Curve {
    /// 0, as nothing is released or the event is too far out for any float.
    Zero,
    /// phi(score) times this difference of two of Mills' ratios.
    Above { score: f64, difference: f64 },
    /// 1 less this.
    Below { complement: f64 },
}

impl Curve {
    fn at(epsilon: Epsilon, mu: Mu) -> Self {
        let (epsilon, mu) = (epsilon.value(), mu.value());
        let score = epsilon / mu - mu / 2.0;
        if mu == 0.0 || score.is_infinite() {
            return Self::Zero;
        }
        // A negative score with a small mu is a score near 0.
        if score > 0.0 || mu <= 1.0 {
            return Self::Above { score, difference: mills_difference(score, mu) };
        }
        Self::Below { complement: lower_tail(score) + density(score) * mills(score + mu) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::QuantityError;
    use proptest::prelude::*;

    /// (epsilon, mu, ln delta), by 150 digits of arithmetic (mpmath).
    const EXACT: [(f64, f64, f64); 18] = [
        (1.0, 0.5, -4.986_489_906_848_133),
        (1.0, 1.0, -2.064_066_446_500_390_5),
        (10.0, 3.125, -3.516_449_821_253_381_5),
        (0.0, 1e-12, -28.549_959_649_133_22),
        (0.0, 1.0, -0.959_916_333_695_622_3),
        (1e-12, 1e-12, -30.116_142_141_640_69),
        (1.0, 0.015_625, -2_060.896_350_083_014),
        (1.0, 1e-12, -5.0e23),
        (1e6, 1e-12, -5.0e35),
        (1e6, 1_000.0, -125_007.539_017_517_46),
        (1e6, 1_400.0, -105.634_058_163_136_64),
        (5e7, 1e4, -0.693_226_972_198_495_8),
        (100.0, 50.0, -4.317_016_062_593_886_2e-117),
        (0.0, 50.0, -6.113_393_412_765_122e-138),
        (1e-6, 0.1, -3.221_952_261_818_707_6),
        (700.0, 2.0, -60_912.441_673_987_87),
        (3.0, 3.0, -0.567_858_164_776_788_5),
        (0.1, 8.0, -6.658_764_457_357_127e-5),
    ];

    #[test]
    fn the_curve_agrees_with_exact_values() -> Result<(), QuantityError> {
        for (epsilon, mu, exact) in EXACT {
            let (epsilon, mu) = (Epsilon::new(epsilon)?, Mu::new(mu)?);
            let logarithm = log_delta(epsilon, mu);
            assert!((logarithm - exact).abs() <= 1e-12 * exact.abs(), "{epsilon:?} {mu:?}: {exact}, not {logarithm}");
            let value = super::delta(epsilon, mu).value();
            assert!((value - exact.exp()).abs() <= 1e-12 * exact.exp(), "{epsilon:?} {mu:?}: delta is {value}");
        }
        assert_eq!(super::delta(Epsilon::new(1e6)?, Mu::new(1e4)?).value(), 1.0);
        Ok(())
    }

    #[test]
    fn the_ends_of_the_curve() -> Result<(), QuantityError> {
        let delta = FailureProbability::DEFAULT;
        assert_eq!(super::delta(Epsilon::ZERO, Mu::ZERO).value(), 0.0);
        assert_eq!(log_delta(Epsilon::ZERO, Mu::ZERO), f64::NEG_INFINITY);
        assert_eq!(epsilon(Mu::ZERO, delta), Epsilon::ZERO);
        // 2 Phi(mu/2) - 1 < delta: the failure probability alone covers it.
        assert_eq!(epsilon(Mu::new(1e-6)?, delta), Epsilon::ZERO);
        assert!(epsilon(Mu::new(1e-5)?, delta) > Epsilon::ZERO);
        assert!(mu(Epsilon::ZERO, delta) > Mu::ZERO);
        Ok(())
    }

    #[test]
    fn results_are_on_the_side_that_claims_less() -> Result<(), QuantityError> {
        let wanted = FailureProbability::DEFAULT;
        for value in [0.01, 1.0, 8.0, 200.0] {
            let largest = mu(Epsilon::new(value)?, wanted);
            assert!(log_delta(Epsilon::new(value)?, largest) <= wanted.value().ln());
            let smallest = epsilon(largest, wanted);
            assert!(log_delta(smallest, largest) <= wanted.value().ln());
        }
        Ok(())
    }

    proptest! {
        /// There and back: epsilon of the delta of an epsilon, and mu of it.
        #[test]
        fn searches_undo_the_curve(mu in 0.01..50.0_f64, share in 0.0..1.0_f64) {
            let fail = |_| TestCaseError::fail("the numbers are in range");
            // Scores from just above the point where epsilon is 0, at most 3 below the middle, to 30.
            let lowest = (-mu / 2.0).max(-3.0);
            let score = lowest + (30.0 - lowest) * share;
            let value = (mu * (score + mu / 2.0)).max(1e-6);
            let (start, mu) = (Epsilon::new(value).map_err(fail)?, Mu::new(mu).map_err(fail)?);
            let delta = FailureProbability::new(super::delta(start, mu).value()).map_err(fail)?;
            let back = epsilon(mu, delta).value();
            prop_assert!((back - value).abs() <= 1e-9 * value, "epsilon {value} came back as {back}");
            let back = super::mu(start, delta).value();
            prop_assert!((back - mu.value()).abs() <= 1e-9 * mu.value(), "{mu:?} came back as {back}");
        }
    }
}
