//! The standard normal distribution, to about 14 digits and far into its tails.
//!
//! Everything rests on Mills' ratio R(x) = (1 - Phi(x)) / phi(x), which neither underflows nor cancels: for x >= 2 by
//! Laplace's continued fraction, below by the series of (Phi(x) - 1/2) / phi(x) (Abramowitz and Stegun 26.2.14 and
//! 26.2.11). What needs more of the upper tail takes the difference of two ratios from `mills_difference`.

use crate::accountant::bisection::edge;
use crate::accountant::{Probability, StandardScore};

/// sqrt(2 pi).
pub(super) const SQRT_TWO_PI: f64 = 2.506_628_274_631_000_5;
/// ln sqrt(2 pi).
const LN_SQRT_TWO_PI: f64 = 0.918_938_533_204_672_8;
/// From here up the continued fraction is used, below it the series.
const TAIL: f64 = 2.0;
/// Terms of the continued fraction from [`TAIL`] up: its error is below 10^-15 at the worst point, the lower end.
const FRACTION_TERMS: u32 = 100;
/// Where [`FRACTION_TERMS_FAR`] are enough for the same.
const FAR_TAIL: f64 = 5.0;
/// Terms of the continued fraction from [`FAR_TAIL`] up.
const FRACTION_TERMS_FAR: u32 = 30;
/// Terms of the series, which ends by itself below: at |x| <= 2 the fortieth is below 10^-16 of the sum.
const SERIES_TERMS_MAX: u32 = 60;
/// phi(x) is 0 from here up, and 1 - Phi(x) with it.
const DENSITY_ENDS: f64 = 39.0;

/// Phi(x), the probability of a value below `score`. Relative error below 10^-13 down to x = -37, where the result
/// stops being a normal float; 0 below -39.
pub fn cdf(score: StandardScore) -> Probability {
    Probability::saturating(lower_tail(score.value()))
}

/// ln Phi(x), at most 0 and finite for every |x| below 10^154; relative error below 10^-13.
pub fn log_cdf(score: StandardScore) -> f64 {
    let x = score.value();
    if x <= -TAIL {
        log_density(x) + mills(-x).ln()
    } else if x <= 0.0 {
        lower_tail(x).ln()
    } else {
        (-lower_tail(-x)).ln_1p()
    }
}

/// Phi^-1(p), the score below which a value falls with this probability: relative error below 10^-13. `None` at 0 and
/// 1, where there is none.
pub fn quantile(probability: Probability) -> Option<StandardScore> {
    let p = probability.value();
    if p <= 0.0 || p >= 1.0 {
        return None;
    }
    // 1 - p is exact from one half up, and the tail is precise where p is small.
    let (tail, sign) = if p <= 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    // Near the middle the tail hardly changes; what lies between it and one half does.
    let not_beyond =
        |x: f64| if x < TAIL { density(x) * central_series(x) <= 0.5 - tail } else { lower_tail(-x) >= tail };
    StandardScore::new(sign * edge(0.0, DENSITY_ENDS, not_beyond).inside).ok()
}

/// Phi(x) as a float. Not for NaN.
pub(super) fn lower_tail(x: f64) -> f64 {
    if x <= -TAIL {
        density(x) * mills(-x)
    } else if x < TAIL {
        0.5 + density(x) * central_series(x)
    } else {
        1.0 - density(x) * mills(x)
    }
}

/// phi(x).
pub(super) fn density(x: f64) -> f64 {
    if x.abs() > DENSITY_ENDS {
        return 0.0;
    }
    (-x * x / 2.0).exp() / SQRT_TWO_PI
}

/// ln phi(x).
pub(super) fn log_density(x: f64) -> f64 {
    -x * x / 2.0 - LN_SQRT_TWO_PI
}

/// R(x) = (1 - Phi(x)) / phi(x) for x >= -2.
pub(super) fn mills(x: f64) -> f64 {
    if x < TAIL { 0.5 / density(x) - central_series(x) } else { 1.0 / (x + fraction_rest(x)) }
}

/// R(x) - R(x + width), above 0, for x >= -2 and width >= 0, without the cancellation of the two.
///
/// Where the width is large beside the distance over which R changes, it is the difference itself. Elsewhere it is
/// the integral of -R'(t) = 1 - t R(t) by Gauss and Legendre's rule of ten points, exact to 10^-15 there.
pub(super) fn mills_difference(x: f64, width: f64) -> f64 {
    if width > (x / 2.0).max(1.0) {
        return mills(x) - mills(x + width);
    }
    let mut sum = 0.0;
    for (node, weight) in LEGENDRE_TEN {
        let above = mills_slope(x + width * f64::midpoint(1.0, node));
        let below = mills_slope(x + width * f64::midpoint(1.0, -node));
        sum += weight * (above + below);
    }
    sum * width / 2.0
}

/// Nodes (the positive half) and weights of the rule of ten points on -1..1 (Abramowitz and Stegun, table 25.4).
const LEGENDRE_TEN: [(f64, f64); 5] = [
    (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
    (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
    (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
    (0.433_395_394_129_247_2, 0.269_266_719_309_996_36),
    (0.148_874_338_981_631_22, 0.295_524_224_714_752_87),
];

/// -R'(x) = 1 - x R(x), for x >= -2.
fn mills_slope(x: f64) -> f64 {
    if x < TAIL {
        1.0 - x * mills(x)
    } else {
        let rest = fraction_rest(x);
        rest / (x + rest)
    }
}

/// (Phi(x) - 1/2) / phi(x) = x + x^3/3 + x^5/15 + ..., for |x| <= 2.
fn central_series(x: f64) -> f64 {
    let square = x * x;
    let (mut term, mut sum) = (x, x);
    for k in 1..SERIES_TERMS_MAX {
        term *= square / f64::from(2 * k + 1);
        sum += term;
    }
    sum
}

/// 1/(x + 2/(x + 3/(x + ...))) for x >= 2: then R(x) = 1/(x + it).
fn fraction_rest(x: f64) -> f64 {
    let terms = if x < FAR_TAIL { FRACTION_TERMS } else { FRACTION_TERMS_FAR };
    (1..=terms).rev().fold(0.0, |rest, k| f64::from(k) / (x + rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::QuantityError;
    use proptest::prelude::*;

    /// Relative, the promise of this module.
    const TOLERANCE: f64 = 1e-13;

    fn near(value: f64, exact: f64) -> bool {
        (value - exact).abs() <= TOLERANCE * exact.abs()
    }

    /// Exact values by 150 digits of arithmetic (mpmath's erfc).
    #[test]
    fn phi_agrees_with_exact_values() -> Result<(), QuantityError> {
        for (score, exact) in [
            (-36.7, 3.651_529_302_803_418e-295),
            (-37.0, 5.725_571_222_524_577e-300),
            (-20.0, 2.753_624_118_606_233_7e-89),
            (-10.0, 7.619_853_024_160_525e-24),
            (-5.0, 2.866_515_718_791_939e-7),
            (-2.25, 0.012_224_472_655_044_703),
            (-2.0, 0.022_750_131_948_179_21),
            (-1.875, 0.030_396_361_765_261_375),
            (-0.5, 0.308_537_538_725_986_9),
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (3.0, 0.998_650_101_968_369_9),
            (8.0, 0.999_999_999_999_999_3),
        ] {
            let value = cdf(StandardScore::new(score)?).value();
            assert!(near(value, exact), "Phi({score}) is {exact}, not {value}");
        }
        assert_eq!(cdf(StandardScore::new(f64::MIN)?).value(), 0.0);
        assert_eq!(cdf(StandardScore::new(f64::MAX)?).value(), 1.0);
        Ok(())
    }

    #[test]
    fn log_phi_agrees_with_exact_values() -> Result<(), QuantityError> {
        for (score, exact) in [
            (-1e10, -5.0e19),
            (-1000.0, -500_007.826_694_812_18),
            (-40.0, -804.608_442_013_753_8),
            (-30.0, -454.321_243_956_343_2),
            (-5.0, -15.064_998_393_988_726),
            (-2.0, -3.783_184_333_682_032),
            (-1.0, -1.841_021_645_009_263_5),
            (0.0, -std::f64::consts::LN_2),
            (0.5, -0.368_946_415_288_656_4),
            (2.0, -0.023_012_909_328_963_488),
            (8.0, -6.220_960_574_271_786e-16),
            (30.0, -4.906_713_927_148_187e-198),
        ] {
            let value = log_cdf(StandardScore::new(score)?);
            assert!(near(value, exact), "ln Phi({score}) is {exact}, not {value}");
        }
        Ok(())
    }

    #[test]
    fn the_quantile_agrees_with_exact_values_and_has_none_at_the_ends() -> Result<(), QuantityError> {
        for (probability, exact) in [
            (1e-300, -37.047_096_299_361_2),
            (1e-20, -9.262_340_089_798_407),
            (1e-6, -4.753_424_308_822_899),
            (0.025, -1.959_963_984_540_054_2),
            (0.3, -0.524_400_512_708_040_8),
            (0.5, 0.0),
            (0.75, 0.674_489_750_196_081_7),
            (0.999_999, 4.753_424_308_822_899),
        ] {
            let value = quantile(Probability::new(probability)?).map(StandardScore::value);
            // Near 1 the probability itself is known to 10^-16 only, which is 10^-11 of the score.
            let tolerance = if probability > 0.99 { 1e-11 } else { TOLERANCE };
            let good = value.is_some_and(|value| (value - exact).abs() <= tolerance * exact.abs() + f64::MIN_POSITIVE);
            assert!(good, "Phi^-1({probability}) is {exact}, not {value:?}");
        }
        assert_eq!(quantile(Probability::new(0.0)?), None);
        assert_eq!(quantile(Probability::new(1.0)?), None);
        Ok(())
    }

    proptest! {
        #[test]
        fn the_tails_meet_and_grow(x in -38.0..38.0_f64, step in 1e-6..1.0_f64) {
            prop_assert!((lower_tail(x) + lower_tail(-x) - 1.0).abs() < 1e-15);
            prop_assert!(lower_tail(x) <= lower_tail(x + step));
        }

        /// Where both ways are good to many digits, they agree; the widths straddle the switch between them.
        #[test]
        fn the_difference_of_ratios_is_one(x in -0.5..4.0_f64, width in 0.5..2.0_f64) {
            let difference = mills_difference(x, width);
            prop_assert!((difference - (mills(x) - mills(x + width))).abs() < TOLERANCE * mills(x));
        }
    }
}
