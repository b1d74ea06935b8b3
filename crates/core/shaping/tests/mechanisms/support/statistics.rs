//! Distribution functions, to about twelve digits: normal, chi-square, beta, and exact bounds of a binomial chance.

/// Steps after which a series or continued fraction has converged for all arguments used here.
const STEPS_MAX: u32 = 100_000;
/// Where a series or continued fraction ends.
const PRECISION: f64 = 1e-15;
/// Stands in for a zero below a fraction line (Lentz's method).
const TINY: f64 = 1e-300;

/// The chance that a standard normal value is at most `x`.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    let tail = upper_gamma_share(0.5, x * x / 2.0) / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The value that a standard normal one exceeds with chance `1 - share`; infinite at 0 and 1.
pub(crate) fn normal_quantile(share: f64) -> f64 {
    if share <= 0.0 {
        f64::NEG_INFINITY
    } else if share >= 1.0 {
        f64::INFINITY
    } else if share > 0.5 {
        -normal_quantile(1.0 - share)
    } else {
        bisect(-40.0, 0.0, |x| normal_cdf(x) < share)
    }
}

/// The chance that a chi-square value with `degrees` degrees of freedom is above `value`.
pub(crate) fn chi_square_tail(value: f64, degrees: u32) -> f64 {
    upper_gamma_share(f64::from(degrees) / 2.0, value / 2.0)
}

/// The least chance of success that still explains `hits` of `trials`, at error rate `alarm` (Clopper and Pearson).
pub(crate) fn chance_low(hits: u64, trials: u64, alarm: f64) -> f64 {
    if hits == 0 { 0.0 } else { beta_quantile(alarm, hits as f64, (trials - hits + 1) as f64) }
}

/// The largest chance of success that still explains `hits` of `trials`, at error rate `alarm`.
pub(crate) fn chance_high(hits: u64, trials: u64, alarm: f64) -> f64 {
    if hits == trials { 1.0 } else { beta_quantile(1.0 - alarm, (hits + 1) as f64, (trials - hits) as f64) }
}

fn beta_quantile(share: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| beta_share(x, a, b) < share)
}

/// The boundary between where `below` is true and where it is not.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The regularized incomplete beta function, by its continued fraction.
fn beta_share(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(1.0 - x, b, a);
    }
    let ln_front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    let term = |step: u32| {
        if step == 0 {
            return 1.0;
        }
        let half = f64::from(step / 2);
        if step.is_multiple_of(2) {
            half * (b - half) * x / ((a + 2.0 * half - 1.0) * (a + 2.0 * half))
        } else {
            -(a + half) * (a + b + half) * x / ((a + 2.0 * half) * (a + 2.0 * half + 1.0))
        }
    };
    (ln_front.exp() / a * continued_fraction(|step| (term(step), 1.0))).min(1.0)
}

/// The regularized upper incomplete gamma function: by its series for small `x`, else by its continued fraction.
fn upper_gamma_share(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for step in 1..STEPS_MAX {
            term *= x / (a + f64::from(step));
            sum += term;
            if term < sum * PRECISION {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    let part = |step: u32| {
        let before = f64::from(step) - 1.0;
        let above = if step == 0 { 1.0 } else { f64::from(step) * (a - f64::from(step)) };
        (above, x + 2.0 * (before + 1.0) + 1.0 - a)
    };
    front * continued_fraction(part)
}

/// `above(0) / (below(0) + above(1) / (below(1) + ..))` by Lentz's method; `part` gives above and below.
fn continued_fraction(part: impl Fn(u32) -> (f64, f64)) -> f64 {
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut value, mut c, mut d) = (TINY, TINY, 0.0);
    for step in 0..STEPS_MAX {
        let (above, below) = part(step);
        d = 1.0 / nonzero(below + above * d);
        c = nonzero(below + above / c);
        value *= c * d;
        if (c * d - 1.0).abs() < PRECISION {
            break;
        }
    }
    value
}

/// Lanczos' approximation with the coefficients of Godfrey (g = 7, n = 9).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series: f64 = COEFFICIENTS.iter().zip(1u8..).map(|(coefficient, n)| coefficient / (x + f64::from(n))).sum();
    let t = x + 7.5;
    (2.0 * std::f64::consts::PI).sqrt().ln() + (x + 0.5) * t.ln() - t + (0.999_999_999_999_809_9 + series).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with mpmath 1.3 at 30 digits.
    #[test]
    fn known_values() {
        let close = |got: f64, expected: f64| assert!((got / expected - 1.0).abs() < 1e-9, "{got} {expected}");
        close(normal_cdf(-1.0), 0.158_655_253_931_457_05);
        close(normal_cdf(-6.0), 9.865_876_450_376_98e-10);
        close(normal_cdf(0.1183), 0.547_085_021_299_928_6);
        close(normal_quantile(0.975), 1.959_963_984_540_054_2);
        close(normal_quantile(1e-6), -4.753_424_308_822_899);
        close(chi_square_tail(30.0, 10), 8.566_412_107_753_004e-4);
        close(chi_square_tail(5.0, 40), 0.999_999_999_996_519_6);
        close(chance_low(10, 100, 0.025), 0.049_004_689_221_485_96);
        close(chance_high(10, 100, 0.025), 0.176_222_597_740_022_7);
        close(chance_low(50_000, 100_000, 0.025), 0.496_896_062_491_800_4);
        assert_eq!((chance_low(0, 9, 0.1), chance_high(9, 9, 0.1)), (0.0, 1.0));
        close(chance_high(0, 100, 0.05), 1.0 - 0.05f64.powf(0.01));
        assert!(normal_quantile(1.0).is_infinite() && normal_quantile(0.5).abs() < 1e-9);
    }
}
