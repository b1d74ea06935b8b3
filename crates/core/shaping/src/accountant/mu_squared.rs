//! Spent budget as an integer.

use crate::accountant::Mu;
use thiserror::Error;

/// Bits behind the point of a [`MuSquared`].
const FRACTION_BITS: u32 = 64;
/// 2^64 as a float, which is exact.
const ONE: f64 = 18_446_744_073_709_551_616.0;

/// mu^2, what Gaussian releases cost, as a fixed-point number in units of 2^-64.
///
/// Costs add up exactly: mu^2 of independent releases is the sum of theirs (Dong, Roth and Su 2022, corollary 3.3),
/// and integers do not lose small amounts in large sums as floats do. A cost is rounded up when it is made, so what
/// is spent is never under-counted; one release is over-counted by less than 2^-64. The largest value is just below
/// 2^64: more than 10^11 years of releases of 5 s at mu = 1.
///
/// Additions never wrap: they are checked, or saturate at [`MuSquared::MAX`], above every budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MuSquared(u128);

/// Why a ratio is no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RatioError {
    /// sigma is zero: such a release is no mechanism, its cost is unbounded.
    #[error("noise of sigma 0 protects nothing")]
    NoNoise,
    /// (Delta/sigma)^2 is 2^64 or more.
    #[error("the noise is so small beside the sensitivity that its cost cannot be written down")]
    TooLarge,
}

impl MuSquared {
    /// Nothing spent.
    pub const ZERO: Self = Self(0);
    /// The largest value, just below 2^64.
    pub const MAX: Self = Self(u128::MAX);

    /// (Delta/sigma)^2, the cost of one release of sensitivity `delta_bytes` with Gaussian noise of `sigma_bytes`,
    /// rounded up to the unit.
    pub fn from_ratio(delta_bytes: u64, sigma_bytes: u64) -> Result<Self, RatioError> {
        if sigma_bytes == 0 {
            return Err(RatioError::NoNoise);
        }
        let numerator = u128::from(delta_bytes) * u128::from(delta_bytes);
        let denominator = u128::from(sigma_bytes) * u128::from(sigma_bytes);
        let mut quotient = numerator / denominator;
        let mut rest = numerator % denominator;
        if quotient >> FRACTION_BITS != 0 {
            return Err(RatioError::TooLarge);
        }
        // Long division, one binary digit at a time: the numerator times 2^64 does not fit in any integer.
        for _ in 0..FRACTION_BITS {
            let to_denominator = denominator - rest;
            let digit = rest >= to_denominator;
            rest = if digit { rest - to_denominator } else { rest * 2 };
            quotient = quotient << 1 | u128::from(digit);
        }
        let up = u128::from(rest != 0);
        quotient.checked_add(up).map(Self).ok_or(RatioError::TooLarge)
    }

    /// The largest value that is not above `mu` squared: rounded down, because it is used for budgets.
    /// [`MuSquared::MAX`] for a mu of 2^32 or more.
    pub fn budget(mu: Mu) -> Self {
        let mu = mu.value();
        let square = mu * mu;
        // The product is rounded to nearest; a step down where that was up.
        let square = if mu.mul_add(mu, -square) < 0.0 { square.next_down() } else { square };
        Self((square * ONE) as u128)
    }

    /// The sum, `None` at 2^64 or more.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, [`MuSquared::MAX`] where it does not fit.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of `self` when `other` is taken away, `None` if that is more than there is.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The cost of `count` releases that cost this much each, `None` at 2^64 or more.
    pub fn checked_mul(self, count: u64) -> Option<Self> {
        self.0.checked_mul(u128::from(count)).map(Self)
    }

    /// The number of units of 2^-64: what is stored.
    pub fn raw(self) -> u128 {
        self.0
    }

    /// From a stored number of units of 2^-64.
    pub fn from_raw(units: u128) -> Self {
        Self(units)
    }

    /// mu, rounded up to the next float.
    pub fn to_mu(self) -> Mu {
        let nearest = self.0 as f64;
        // The cast rounds to nearest, and back it saturates at `u128::MAX`.
        let units = if (nearest as u128) < self.0 { nearest.next_up() } else { nearest };
        let square = units / ONE;
        let root = square.sqrt();
        let root = if root.mul_add(root, -square) < 0.0 { root.next_up() } else { root };
        Mu::saturating(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratios_are_exact_where_binary_allows_it_and_rounded_up_elsewhere() -> Result<(), RatioError> {
        let one = 1_u128 << 64;
        assert_eq!(MuSquared::from_ratio(7, 7)?.raw(), one);
        assert_eq!(MuSquared::from_ratio(3, 1)?.raw(), 9 * one);
        assert_eq!(MuSquared::from_ratio(1, 2)?.raw(), one / 4);
        assert_eq!(MuSquared::from_ratio(0, 5)?, MuSquared::ZERO);
        assert_eq!(MuSquared::from_ratio(1, 3)?.raw(), one / 9 + 1);
        assert_eq!(MuSquared::from_ratio(1, u64::MAX)?.raw(), 1);
        assert_eq!(MuSquared::from_ratio(u64::from(u32::MAX), 1)?.raw(), u128::from(u32::MAX).pow(2) << 64);
        Ok(())
    }

    #[test]
    fn what_cannot_be_written_down_is_refused() {
        assert_eq!(MuSquared::from_ratio(1, 0), Err(RatioError::NoNoise));
        assert_eq!(MuSquared::from_ratio(0, 0), Err(RatioError::NoNoise));
        assert_eq!(MuSquared::from_ratio(1 << 32, 1), Err(RatioError::TooLarge));
        assert_eq!(MuSquared::from_ratio(u64::MAX, 1), Err(RatioError::TooLarge));
        assert_eq!(MuSquared::MAX.checked_add(MuSquared::from_raw(1)), None);
        assert_eq!(MuSquared::MAX.saturating_add(MuSquared::MAX), MuSquared::MAX);
        assert_eq!(MuSquared::ZERO.checked_sub(MuSquared::from_raw(1)), None);
        assert_eq!(MuSquared::from_raw(1 << 127).checked_mul(2), None);
    }

    #[test]
    fn the_ends_convert() {
        assert_eq!(MuSquared::ZERO.to_mu(), Mu::ZERO);
        assert_eq!(MuSquared::MAX.to_mu().value(), 4_294_967_296.0);
        assert_eq!(MuSquared::from_raw(1).to_mu().value(), 2.0_f64.powi(-32));
        assert_eq!(MuSquared::budget(Mu::MAX), MuSquared::MAX);
        assert_eq!(MuSquared::budget(Mu::ZERO), MuSquared::ZERO);
    }

    proptest! {
        /// sigma^2 (raw - 1) < Delta^2 2^64 <= sigma^2 raw, in numbers small enough for 128 bits.
        #[test]
        fn the_ratio_is_rounded_up_by_less_than_a_unit(delta in 1_u64..1 << 31, sigma in 1_u64..1 << 32) {
            let Ok(cost) = MuSquared::from_ratio(delta, sigma) else {
                return Err(TestCaseError::fail("the ratio is below 2^32"));
            };
            let exact = u128::from(delta).pow(2) << 64;
            let square = u128::from(sigma).pow(2);
            // Where sigma^2 raw overflows it is above any 128-bit number.
            prop_assert!(square.checked_mul(cost.raw()).is_none_or(|product| product >= exact));
            prop_assert!(square.checked_mul(cost.raw() - 1).is_some_and(|product| product < exact));
        }

        #[test]
        fn conversions_round_to_the_safe_side(units in any::<u128>(), shift in 0_u32..128) {
            let spent = MuSquared::from_raw(units >> shift);
            let mu = spent.to_mu();
            let back = MuSquared::budget(mu);
            prop_assert!(back >= spent, "{spent:?} became {mu:?}");
            // One float below is no longer an upper bound, or is the rounding of the integer itself.
            let slack = (spent.raw() >> 50) + 2;
            prop_assert!(back.raw() - spent.raw() <= slack, "{spent:?} came back as {back:?}");
        }

        #[test]
        fn a_budget_is_never_more_than_its_mu(mu in 1e-12..4e9_f64) {
            let Ok(mu) = Mu::new(mu) else {
                return Err(TestCaseError::fail("mu is in range"));
            };
            let budget = MuSquared::budget(mu);
            prop_assert!(budget.to_mu() <= mu);
            prop_assert!(budget.raw() < 1 << 60 || budget.to_mu().value() > mu.value() * (1.0 - 1e-15));
        }
    }
}
