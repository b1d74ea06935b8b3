//! From a budget to an amount of noise.

use crate::accountant::{Mu, NoiseRatio};
use thiserror::Error;

/// Why there is no amount of noise for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CalibrationError {
    /// The target leaves no room at all: no finite noise meets it.
    #[error("no amount of noise meets this target")]
    Unreachable,
    /// The noise that meets the target is beyond every number used for it.
    #[error("the noise that meets this target is too large to be written down")]
    TooLarge,
    /// There is nothing to add noise to.
    #[error("a budget cannot be divided among no releases")]
    NoReleases,
}

/// Roundings between the exact sigma and its float: of the root, the quotient, the sensitivity and the product.
const ROUNDINGS: u32 = 4;

impl NoiseRatio {
    /// sqrt(releases) / mu: with it, `releases` releases cost `mu` together.
    pub fn for_budget(mu: Mu, releases: u64) -> Result<Self, CalibrationError> {
        if releases == 0 {
            return Err(CalibrationError::NoReleases);
        }
        if mu == Mu::ZERO {
            return Err(CalibrationError::Unreachable);
        }
        Self::new((releases as f64).sqrt() / mu.value()).map_err(|_| CalibrationError::TooLarge)
    }

    /// sigma in whole bytes, rounded up, for this sensitivity in bytes. [`CalibrationError::TooLarge`] at 2^64 or more.
    pub fn sigma_bytes(self, sensitivity_bytes: u64) -> Result<u64, CalibrationError> {
        let nearest = self.value() * sensitivity_bytes as f64;
        let above = (0..ROUNDINGS).fold(nearest, |sigma, _| sigma.next_up()).ceil();
        // The cast saturates, and u64::MAX itself rounds up to 2^64 as a float.
        if above < u64::MAX as f64 { Ok(above as u64) } else { Err(CalibrationError::TooLarge) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{MuSquared, QuantityError};
    use proptest::prelude::*;

    #[test]
    fn what_has_no_answer_is_refused() -> Result<(), QuantityError> {
        let mu = Mu::new(0.1)?;
        assert_eq!(NoiseRatio::for_budget(mu, 0), Err(CalibrationError::NoReleases));
        assert_eq!(NoiseRatio::for_budget(Mu::ZERO, 1), Err(CalibrationError::Unreachable));
        assert_eq!(NoiseRatio::for_budget(Mu::new(1e-308)?, u64::MAX), Err(CalibrationError::TooLarge));
        assert_eq!(NoiseRatio::new(1.0)?.sigma_bytes(u64::MAX), Err(CalibrationError::TooLarge));
        assert_eq!(NoiseRatio::new(f64::MAX)?.sigma_bytes(1), Err(CalibrationError::TooLarge));
        assert_eq!(NoiseRatio::new(2.5)?.sigma_bytes(3), Ok(8));
        Ok(())
    }

    proptest! {
        /// Releases with the calibrated sigma fit into the budget, but for the unit that each of them is rounded up by.
        #[test]
        fn the_releases_fit_into_the_budget(
            mu in 1e-3..100.0_f64,
            releases in 1_u64..10_000_000,
            sensitivity in 1_000_u64..1 << 40,
        ) {
            let fail = |_| TestCaseError::fail("the numbers are in range");
            let mu = Mu::new(mu).map_err(|_| TestCaseError::fail("mu is in range"))?;
            let sigma = NoiseRatio::for_budget(mu, releases).and_then(|ratio| ratio.sigma_bytes(sensitivity)).map_err(fail)?;
            let each = MuSquared::from_ratio(sensitivity, sigma).map_err(|_| TestCaseError::fail("sigma is large"))?;
            let spent = each.checked_mul(releases).map(MuSquared::raw);
            let budget = MuSquared::budget(mu).raw();
            prop_assert!(spent.is_some_and(|spent| spent <= budget + u128::from(releases)), "{spent:?} {budget}");
        }
    }
}
