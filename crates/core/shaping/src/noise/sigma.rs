//! The scale of the noise.

use thiserror::Error;

/// A scale that no sampler here can have.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SigmaError {
    /// Not a number, infinite, zero or negative.
    #[error("sigma is {0}; it is a positive number of bytes")]
    NotPositive(f64),
    /// Above [`Sigma::MAX`].
    #[error("sigma of {0} bytes is above {max} bytes; lower Delta or raise epsilon", max = Sigma::MAX.bytes())]
    TooLarge(f64),
}

/// Scale of a discrete Gaussian in bytes, a whole number in 1..=2^40.
///
/// It is the parameter sigma of the weights `exp(-x^2 / (2 sigma^2))` over the integers. The standard deviation is at most
/// that (Canonne, Kamath and Steinke 2020), and for whole numbers of bytes within 1e-6 of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sigma(u64);

impl Sigma {
    /// One byte.
    pub const MIN: Self = Self(1);
    /// 2^40 bytes, 1.1 TB: up to here all products of the sampler fit 128 bits.
    pub const MAX: Self = Self(1 << 40);

    /// Exactly this many bytes.
    pub fn new(bytes: u64) -> Result<Self, SigmaError> {
        if bytes == 0 {
            Err(SigmaError::NotPositive(0.0))
        } else if bytes > Self::MAX.0 {
            Err(SigmaError::TooLarge(bytes as f64))
        } else {
            Ok(Self(bytes))
        }
    }

    /// The next whole number of bytes: more noise than asked for is safe, less is not.
    pub fn round_up(bytes: f64) -> Result<Self, SigmaError> {
        if !(bytes.is_finite() && bytes > 0.0) {
            return Err(SigmaError::NotPositive(bytes));
        }
        let whole = bytes.ceil();
        if whole > Self::MAX.0 as f64 { Err(SigmaError::TooLarge(bytes)) } else { Self::new(whole as u64) }
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_rounded_up_and_nonsense_cannot_enter() {
        assert_eq!(Sigma::round_up(10_561_692.2).map(Sigma::bytes), Ok(10_561_693));
        assert_eq!(Sigma::round_up(3.0).map(Sigma::bytes), Ok(3));
        assert_eq!(Sigma::round_up(1e-300), Ok(Sigma::MIN));
        assert_eq!(Sigma::round_up(1_099_511_627_776.0), Ok(Sigma::MAX));
        for bad in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Sigma::round_up(bad), Err(SigmaError::NotPositive(bad)));
        }
        assert!(matches!(Sigma::round_up(f64::NAN), Err(SigmaError::NotPositive(_))));
        assert_eq!(Sigma::round_up(1.1e12), Err(SigmaError::TooLarge(1.1e12)));
        assert_eq!(Sigma::new(0), Err(SigmaError::NotPositive(0.0)));
        assert!(matches!(Sigma::new((1 << 40) + 1), Err(SigmaError::TooLarge(_))));
    }
}
