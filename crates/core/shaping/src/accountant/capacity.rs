//! What releases can say at most, about anything and to whatever reacts to them.
//!
//! Differential privacy compares two neighbours; these bounds need none. They count, in bits, what releases say about
//! everything that was ever measured, and hold for clients that react to earlier releases, given that the noise is
//! independent and the measured value is clipped to a fixed range 0..=C.
//!
//! *Maximal leakage* of L bits: an observer's chance to guess anything right, in one try, grows at most by the factor
//! 2^L. It is log2 of the sum over outputs of the largest likelihood (Issa, Wagner and Kamath 2020, theorem 1). For
//! values in 0..=C and Gaussian noise that is log2(1 + C / (sigma sqrt(2 pi))). For integers and discrete Gaussian
//! noise it is log2(1 + C p(0)), and p(0) <= 1 / (sigma sqrt(2 pi)), so the bound covers both. It adds up: the largest
//! likelihood of a sequence is at most the product of the largest likelihoods of its members given those before.
//!
//! *Mutual information*: a value within a range of C has a variance of (C/2)^2 at most, so a release carries at most
//! 1/2 log2(1 + (C / 2 sigma)^2) bits (Shannon 1948, theorem 17), given those before. Discrete noise adds 1/12 byte^2
//! to (C/2)^2, which is nothing beside noise of kilobytes.

use crate::accountant::Bits;
use crate::accountant::normal::SQRT_TWO_PI;
use std::f64::consts::LN_2;
use std::num::{NonZeroU32, NonZeroU64};

/// Maximal leakage of `releases` noisy releases: n log2(1 + C / (sigma sqrt(2 pi))) bits, with C = `range_bytes`.
pub fn maximal_leakage(range_bytes: u64, sigma_bytes: NonZeroU64, releases: u64) -> Bits {
    let ratio = range_bytes as f64 / sigma_bytes.get() as f64;
    Bits::saturating(releases as f64 * (ratio / SQRT_TWO_PI).ln_1p() / LN_2)
}

/// Mutual information of `releases` noisy releases with what was measured: n/2 log2(1 + (C / 2 sigma)^2) bits, with
/// C = `range_bytes`.
pub fn mutual_information(range_bytes: u64, sigma_bytes: NonZeroU64, releases: u64) -> Bits {
    let half_ratio = range_bytes as f64 / sigma_bytes.get() as f64 / 2.0;
    Bits::saturating(releases as f64 * (half_ratio * half_ratio).ln_1p() / (2.0 * LN_2))
}

/// Maximal leakage of mode `stepped`: n d log2 R bits in n epochs and d directions, when any rule at all picks one of
/// R classes for each of them.
pub fn stepped(classes: NonZeroU32, directions: u32, epochs: u64) -> Bits {
    Bits::saturating(epochs as f64 * f64::from(directions) * f64::from(classes.get()).log2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{CalibrationError, Epsilon, FailureProbability, gaussian};

    const SENSITIVITY: u64 = 2_500_000;

    /// sigma of one release at epsilon 1, delta 10^-6 and a sensitivity of 2.5 MB.
    fn sigma() -> Result<NonZeroU64, CalibrationError> {
        let epsilon = Epsilon::new(1.0).map_err(|_| CalibrationError::Unreachable)?;
        let sigma = gaussian::sigma_bytes(epsilon, FailureProbability::DEFAULT, 1, SENSITIVITY)?;
        NonZeroU64::new(sigma).ok_or(CalibrationError::Unreachable)
    }

    #[test]
    fn one_release_with_a_range_of_one_quota_a_client() -> Result<(), CalibrationError> {
        let sigma = sigma()?;
        for (clients, leakage, information) in [(1, "0.13", "0.010"), (16, "1.33", "1.10"), (128, "3.71", "3.92")] {
            let range = SENSITIVITY * clients;
            assert_eq!(format!("{:.2}", maximal_leakage(range, sigma, 1).value()), leakage);
            let digits = information.len() - 2;
            assert_eq!(format!("{:.digits$}", mutual_information(range, sigma, 1).value()), information);
        }
        Ok(())
    }

    /// Both bounds against sums over the discrete Gaussian itself, at noise so small that nothing is hidden by size.
    #[test]
    fn the_bounds_cover_discrete_noise() {
        for sigma in [1_u64, 2, 5, 40] {
            for range in [1_u64, 3, 30, 200] {
                let reach = 40 * sigma as i64;
                let weight = |z: i64| (-(z * z) as f64 / (2 * sigma * sigma) as f64).exp();
                let total: f64 = (-reach..=reach).map(weight).sum();
                // The likeliest input of an output inside the range is the output itself, outside it is the nearest end.
                let nearest = |output: i64| (output - output.clamp(0, range as i64)).abs();
                let sum: f64 = (-reach..=reach + range as i64).map(|y| weight(nearest(y)) / total).sum();
                let sigma = NonZeroU64::new(sigma).expect("the list holds no zero");
                let bound = maximal_leakage(range, sigma, 1).value();
                assert!(sum.log2() <= bound + 1e-12, "{} > {bound}", sum.log2());
                assert!(sum.log2() > 0.95 * bound, "{} is far below {bound}", sum.log2());
            }
        }
    }

    #[test]
    fn four_classes_in_both_directions_for_a_day() {
        let four = NonZeroU32::new(4).expect("four is not zero");
        assert_eq!(stepped(four, 2, 86_400 / 300).value(), 1_152.0);
        assert_eq!(stepped(NonZeroU32::MIN, 2, u64::MAX), Bits::ZERO);
    }

    #[test]
    fn releases_add_up_and_the_ends_are_numbers() -> Result<(), CalibrationError> {
        let sigma = sigma()?;
        let (one, many) = (maximal_leakage(SENSITIVITY, sigma, 1), maximal_leakage(SENSITIVITY, sigma, 720));
        assert!((many.value() / one.value() - 720.0).abs() < 1e-9);
        assert_eq!(maximal_leakage(0, sigma, 5), Bits::ZERO);
        assert_eq!(mutual_information(SENSITIVITY, sigma, 0), Bits::ZERO);
        let most = mutual_information(u64::MAX, NonZeroU64::MIN, u64::MAX).value();
        assert!(most.is_finite() && most > 1e20);
        Ok(())
    }
}
