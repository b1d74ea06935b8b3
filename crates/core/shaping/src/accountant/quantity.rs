//! Numbers that have been checked: no NaN, no infinity, no value without a meaning.

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
        if value.is_finite() && value >= 0.0 { Ok(Self(value)) } else { Err(QuantityError::Epsilon(value)) }
    }

    /// Clamped to 0..=`f64::MAX`; for results of formulas that rounding may push just below 0.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(value.clamp(0.0, f64::MAX))
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
        if (0.0..=Self::MAX.0).contains(&value) { Ok(Self(value)) } else { Err(QuantityError::Mu(value)) }
    }

    /// Clamped to the range.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(value.clamp(0.0, Self::MAX.0))
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
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(QuantityError::Probability(value)) }
    }

    /// Clamped to the range; for results of formulas that rounding may push just outside.
    pub(crate) fn saturating(value: f64) -> Self {
        Self(value.clamp(0.0, 1.0))
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
