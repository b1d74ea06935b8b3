//! A certificate for the discrete Gaussian.
//!
//! Integers with discrete Gaussian noise are rho-zCDP for rho = mu^2 / 2 (Canonne, Kamath and Steinke 2020,
//! theorem 4), as real numbers with continuous noise are; rho adds up under adaptive composition (Bun and Steinke
//! 2016). The curve of [`gaussian`](crate::accountant::gaussian) is the tight value for large sigma and
//! *not* a bound for the discrete noise: at sigma = 2, Delta = 1 the true epsilon is 1 % above it. This one is a
//! bound at every sigma (the same paper, section 2.3):
//!
//! epsilon = min over a > 1 of rho a + ln((a - 1)/a) - (ln delta + ln a)/(a - 1).

use crate::accountant::bisection::edge;
use crate::accountant::{CalibrationError, Epsilon, FailureProbability, Mu, NoiseRatio};

/// The epsilon that releases of total mu are certified for.
///
/// The derivative in a is rho - (ln(1/delta) - ln a) / (a - 1)^2, so the minimum lies where
/// rho (a - 1)^2 + ln a = ln(1/delta), whose left side grows. Every a > 1 gives a valid epsilon: the search can only
/// cost tightness.
pub fn epsilon(mu: Mu, delta: FailureProbability) -> Epsilon {
    let (rho, log_inverse) = (mu.rho(), delta.log_inverse());
    let above_one = edge(0.0, f64::MAX, |t| rho * t * t + t.ln_1p() <= log_inverse).outside;
    // ln((a - 1)/a) with a - 1 = t, precise at both ends.
    let log_share = -(1.0 / above_one).ln_1p();
    Epsilon::saturating(rho * (1.0 + above_one) + log_share + (log_inverse - above_one.ln_1p()) / above_one)
}

/// The largest mu that is certified for (epsilon, delta), rounded down to a float. rho is [`Mu::rho`] of it.
pub fn mu(epsilon: Epsilon, delta: FailureProbability) -> Mu {
    let holds = |value: f64| self::epsilon(Mu::saturating(value), delta) <= epsilon;
    Mu::saturating(edge(0.0, Mu::MAX.value(), holds).inside)
}

/// sigma / Delta with which `releases` releases together are certified for (epsilon, delta).
pub fn noise_ratio(epsilon: Epsilon, delta: FailureProbability, releases: u64) -> Result<NoiseRatio, CalibrationError> {
    NoiseRatio::for_budget(mu(epsilon, delta), releases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::QuantityError;
    use proptest::prelude::*;

    /// delta of one release of integers with discrete Gaussian noise, by its definition: the sum over outputs of what
    /// one world's probability exceeds e^epsilon times the other's.
    fn true_delta(epsilon: f64, sensitivity: i32, sigma: f64) -> f64 {
        let weight = |z: i32| (-f64::from(z).powi(2) / (2.0 * sigma * sigma)).exp();
        let reach = (12.0 * sigma) as i32 + sensitivity;
        let total: f64 = (-reach..=reach).map(weight).sum();
        (-reach..=reach).map(|z| (weight(z) - epsilon.exp() * weight(z - sensitivity)).max(0.0) / total).sum()
    }

    /// The smallest epsilon with that delta, to 10^-9, rounded up.
    fn true_epsilon(delta: FailureProbability, sensitivity: i32, sigma: f64) -> f64 {
        edge(0.0, 100.0, |value| true_delta(value, sensitivity, sigma) > delta.value()).outside
    }

    /// The published tool's pessimistic values, on a grid of 10^-4, for one release of sensitivity 1.
    #[test]
    fn the_definition_agrees_with_the_published_tool() -> Result<(), QuantityError> {
        for (sigma, published) in [(1.0, 4.499_59), (2.0, 2.275_79)] {
            let value = true_epsilon(FailureProbability::DEFAULT, 1, sigma);
            assert!((published - value).abs() < 1.5e-4, "{published} at sigma {sigma}, by definition {value}");
        }
        Ok(())
    }

    #[test]
    fn the_certificate_covers_discrete_noise_where_the_gaussian_curve_does_not() -> Result<(), QuantityError> {
        let mut uncovered = 0;
        for delta in [1e-9, 1e-6, 1e-3] {
            let delta = FailureProbability::new(delta)?;
            for (sensitivity, sigma) in [(1, 0.5), (1, 1.0), (1, 2.0), (3, 2.0), (7, 3.0), (1, 10.0), (20, 50.0)] {
                let mu = Mu::new(f64::from(sensitivity) / sigma)?;
                let (truth, certified) = (true_epsilon(delta, sensitivity, sigma), epsilon(mu, delta).value());
                assert!(certified >= truth, "{certified} at {delta:?}, {sensitivity}, {sigma}: the truth is {truth}");
                uncovered += u32::from(crate::accountant::gaussian::epsilon(mu, delta).value() < truth);
            }
        }
        assert!(uncovered > 0, "the curve of continuous noise covers all, so the certificate would not be needed");
        Ok(())
    }

    #[test]
    fn the_ends() -> Result<(), QuantityError> {
        let delta = FailureProbability::DEFAULT;
        assert_eq!(epsilon(Mu::ZERO, delta), Epsilon::ZERO);
        assert!(mu(Epsilon::ZERO, delta) > Mu::ZERO);
        assert!(epsilon(Mu::MAX, delta).value().is_finite());
        Ok(())
    }

    proptest! {
        /// No other order gives a smaller epsilon, and mu undoes epsilon.
        #[test]
        fn the_search_finds_the_minimum(mu in 1e-3..100.0_f64, exponent in -12.0..-1.0_f64, other in -6.0..6.0_f64) {
            let fail = |_| TestCaseError::fail("the numbers are in range");
            let delta = FailureProbability::new(10_f64.powf(exponent)).map_err(fail)?;
            let mu = Mu::new(mu).map_err(fail)?;
            let found = epsilon(mu, delta);
            let order = 1.0 + 10_f64.powf(other);
            let log_share = ((order - 1.0) / order).ln();
            let elsewhere = mu.rho() * order + log_share - (delta.value().ln() + order.ln()) / (order - 1.0);
            prop_assert!(found.value() <= elsewhere.max(0.0) * (1.0 + 1e-12), "{found:?} against {elsewhere}");
            if found > Epsilon::ZERO {
                let back = super::mu(found, delta).value();
                prop_assert!((back - mu.value()).abs() <= 1e-9 * mu.value(), "{mu:?} came back as {back}");
            }
        }
    }
}
