//! Numbers that have been checked: no NaN, no infinity, no value without a meaning.
//!
//! Each `saturating` is for results of formulas whose arguments are such numbers: it clamps what rounding pushed just
//! outside, and what is beyond every meaning. A minus zero becomes zero.

use thiserror::Error;

/// A number that is no such quantity.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum QuantityError {
    /// An epsilon is finite and at least 0.
    #[error("epsilon is {0}, and has to be a finite number of at least 0")]
    Epsilon(f64),
    /// A failure probability lies between 0 and 1.
    #[error("the failure probability delta is {0}, and has to lie above 0 and below 1")]
    FailureProbability(f64),
    /// A mu is between 0 and [`Mu::MAX`].
    #[error("mu is {0}, and has to be at least 0 and at most {max}", max = Mu::MAX.0)]
    Mu(f64),
    /// A noise ratio is finite and above 0.
    #[error("sigma / Delta is {0}, and has to be a finite number above 0")]
    NoiseRatio(f64),
    /// A probability is between 0 and 1.
    #[error("a probability of {0} is outside 0..=1")]
    Probability(f64),
    /// An accuracy is between one half and 1.
    #[error("an accuracy of {0} is outside 0.5..=1")]
    Accuracy(f64),
    /// A number of bits is finite and at least 0.
    #[error("{0} bits are no amount of information: it has to be a finite number of at least 0")]
    Bits(f64),
    /// A score is finite.
    #[error("a score of {0} standard deviations is not finite")]
    StandardScore(f64),
}

/// epsilon of (epsilon, delta)-differential privacy, in nats: finite, at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Epsilon(f64);

impl Epsilon {
    /// Nothing is learnt, but for the failure probability.
    pub const ZERO: Self = Self(0.0);

    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value.is_finite() && value >= 0.0 { Ok(Self(value.abs())) } else { Err(QuantityError::Epsilon(value)) }
    }

    /// Clamped to 0..=`f64::MAX`.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(clamp(value, 0.0, f64::MAX))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

/// delta of (epsilon, delta)-differential privacy: above 0, below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct FailureProbability(f64);

impl FailureProbability {
    /// 10^-6, the default everywhere.
    pub const DEFAULT: Self = Self(1e-6);

    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value > 0.0 && value < 1.0 { Ok(Self(value)) } else { Err(QuantityError::FailureProbability(value)) }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// ln(1/delta), above 0.
    pub(crate) fn log_inverse(self) -> f64 {
        -self.0.ln()
    }
}

/// mu of Gaussian differential privacy: telling the two worlds apart is at least as hard as telling N(0, 1) from
/// N(mu, 1). From 0 to [`Mu::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Mu(f64);

impl Mu {
    /// The worlds cannot be told apart.
    pub const ZERO: Self = Self(0.0);
    /// 10^150, far beyond any meaning: its square, and what is computed from it, is still finite.
    pub const MAX: Self = Self(1e150);

    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if (0.0..=Self::MAX.0).contains(&value) { Ok(Self(value.abs())) } else { Err(QuantityError::Mu(value)) }
    }

    /// Clamped to the range.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(clamp(value, 0.0, Self::MAX.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// rho = mu^2 / 2, the zero-concentrated differential privacy of the same noise.
    pub fn rho(self) -> f64 {
        self.0 * self.0 / 2.0
    }

    /// Both releases together: sqrt(mu1^2 + mu2^2), also where the second was chosen after seeing the first (Dong,
    /// Roth and Su 2022, corollary 3.3). Stays at [`Mu::MAX`].
    pub fn compose(self, other: Self) -> Self {
        Self::saturating(self.0.hypot(other.0))
    }

    /// `count` releases of this mu each: mu sqrt(count). Stays at [`Mu::MAX`].
    pub fn repeat(self, count: u64) -> Self {
        Self::saturating(self.0 * (count as f64).sqrt())
    }

    /// `clients` of them differing at once: mu times their number (Dong, Roth and Su 2022, theorem 2.14). Stays at
    /// [`Mu::MAX`].
    pub fn of_group(self, clients: u64) -> Self {
        Self::saturating(self.0 * clients as f64)
    }
}

/// sigma / Delta of one release (NetShaper: noise multiplier): finite, above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct NoiseRatio(f64);

impl NoiseRatio {
    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value.is_finite() && value > 0.0 { Ok(Self(value)) } else { Err(QuantityError::NoiseRatio(value)) }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// mu = Delta / sigma of one release. [`Mu::MAX`] where the ratio is below 10^-150.
    pub fn mu(self) -> Mu {
        Mu::saturating(1.0 / self.0)
    }
}

/// A probability from 0 to 1, both included: what a formula gives, rounding to an end included.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value.abs())) } else { Err(QuantityError::Probability(value)) }
    }

    /// Clamped to the range.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(clamp(value, 0.0, 1.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

/// A point on the axis of the standard normal distribution, in standard deviations: finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct StandardScore(f64);

impl StandardScore {
    /// Checks that it is finite.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value.is_finite() { Ok(Self(value)) } else { Err(QuantityError::StandardScore(value)) }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

/// How often an attacker names the right one of two equally likely worlds: from one half, which is guessing, to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Accuracy(f64);

impl Accuracy {
    /// One half.
    pub const GUESSING: Self = Self(0.5);

    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if (0.5..=1.0).contains(&value) { Ok(Self(value)) } else { Err(QuantityError::Accuracy(value)) }
    }

    /// Clamped to the range.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(clamp(value, 0.5, 1.0))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

/// An amount of information in bits: finite, at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Bits(f64);

impl Bits {
    /// No information.
    pub const ZERO: Self = Self(0.0);

    /// Checks the range.
    pub fn new(value: f64) -> Result<Self, QuantityError> {
        if value.is_finite() && value >= 0.0 { Ok(Self(value.abs())) } else { Err(QuantityError::Bits(value)) }
    }

    /// Clamped to 0..=`f64::MAX`.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(clamp(value, 0.0, f64::MAX))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// Both amounts together. Stays at `f64::MAX`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::saturating(self.0 + other.0)
    }
}

/// `value` within the range, without a minus zero.
fn clamp(value: f64, low: f64, high: f64) -> f64 {
    debug_assert!(!value.is_nan(), "formulas over checked numbers give no NaN");
    value.clamp(low, high) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONSENSE: [f64; 4] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];

    #[test]
    fn nonsense_does_not_enter() {
        for value in NONSENSE {
            assert!(matches!(Epsilon::new(value), Err(QuantityError::Epsilon(_))), "epsilon {value}");
            assert!(matches!(FailureProbability::new(value), Err(QuantityError::FailureProbability(_))), "{value}");
            assert!(matches!(Mu::new(value), Err(QuantityError::Mu(_))), "mu {value}");
            assert!(matches!(NoiseRatio::new(value), Err(QuantityError::NoiseRatio(_))), "noise ratio {value}");
            assert!(matches!(Probability::new(value), Err(QuantityError::Probability(_))), "probability {value}");
            assert!(matches!(Accuracy::new(value), Err(QuantityError::Accuracy(_))), "accuracy {value}");
            assert!(matches!(Bits::new(value), Err(QuantityError::Bits(_))), "bits {value}");
            assert!(value == -1.0 || matches!(StandardScore::new(value), Err(QuantityError::StandardScore(_))));
        }
    }

    #[test]
    fn the_ends_of_each_range() {
        assert!(Epsilon::new(0.0).is_ok() && Epsilon::new(f64::MAX).is_ok());
        assert!(FailureProbability::new(0.0).is_err() && FailureProbability::new(1.0).is_err());
        assert!(FailureProbability::new(f64::MIN_POSITIVE).is_ok());
        assert!(Mu::new(1e150).is_ok() && Mu::new(1.1e150).is_err());
        assert!(NoiseRatio::new(0.0).is_err() && NoiseRatio::new(f64::MIN_POSITIVE).is_ok());
        assert!(Probability::new(1.0).is_ok() && Probability::new(1.1).is_err());
        assert!(Accuracy::new(0.49).is_err() && Accuracy::new(0.5).is_ok());
        assert!(Epsilon::new(-0.0).is_ok_and(|zero| zero.value().is_sign_positive()));
        assert!(Mu::saturating(-0.0).value().is_sign_positive());
    }

    #[test]
    fn composed_values() -> Result<(), QuantityError> {
        assert_eq!(Mu::new(3.0)?.compose(Mu::new(4.0)?), Mu::new(5.0)?);
        assert_eq!(Mu::new(0.5)?.repeat(16), Mu::new(2.0)?);
        assert_eq!(Mu::new(0.5)?.of_group(16), Mu::new(8.0)?);
        assert_eq!(Mu::MAX.compose(Mu::MAX), Mu::MAX);
        assert_eq!(Mu::MAX.of_group(u64::MAX).repeat(u64::MAX), Mu::MAX);
        assert_eq!(NoiseRatio::new(4.0)?.mu(), Mu::new(0.25)?);
        assert_eq!(NoiseRatio::new(f64::MIN_POSITIVE)?.mu(), Mu::MAX);
        assert_eq!(Bits::new(1.0)?.plus(Bits::new(2.5)?), Bits::new(3.5)?);
        Ok(())
    }
}
