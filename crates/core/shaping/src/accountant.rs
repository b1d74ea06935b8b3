//! What releases cost, and what an observer can make of them.

mod mu_squared;
mod quantity;

pub use mu_squared::{MuSquared, RatioError};
pub use quantity::{Epsilon, FailureProbability, Mu, NoiseRatio, Probability, QuantityError, StandardScore};
