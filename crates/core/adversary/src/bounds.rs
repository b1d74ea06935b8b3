//! Bounds of tail probabilities. All are natural logarithms of upper bounds, so a test that compares them with a
//! threshold raises at most as many false alarms as the threshold says; none is an estimate that could be too small.

/// Bound of the probability that `count` or more of `trials` succeed when each does with chance `chance`, by Chernoff;
/// 0 (certainty) where the count is not above its mean.
pub(crate) fn ln_binomial_at_least(count: u64, trials: u64, chance: f64) -> f64 {
    if trials == 0 {
        return 0.0;
    }
    let share = count as f64 / trials as f64;
    if share <= chance { 0.0 } else { -(trials as f64) * divergence(share, chance) }
}

/// The same for `count` or fewer.
pub(crate) fn ln_binomial_at_most(count: u64, trials: u64, chance: f64) -> f64 {
    ln_binomial_at_least(trials - count, trials, 1.0 - chance)
}

/// Bound of the probability that a fair coin's heads are as far from half of `tosses`, either way, by Hoeffding.
pub(crate) fn ln_coin_off_by(heads: u64, tosses: u64) -> f64 {
    if tosses == 0 {
        return 0.0;
    }
    let off = heads as f64 - tosses as f64 / 2.0;
    (2f64.ln() - 2.0 * off * off / tosses as f64).min(0.0)
}

/// Bound of the probability that a standard normal value is as far from 0, either way.
pub(crate) fn ln_normal_off_by(value: f64) -> f64 {
    (2f64.ln() - value * value / 2.0).min(0.0)
}

/// Bound of the probability that a chi-square value is as far from its mean, either way (Laurent and Massart, 2000).
pub(crate) fn ln_chi_square_off_by(value: f64, degrees: f64) -> f64 {
    let above = value - degrees;
    let exponent = if above > 0.0 {
        // P(X - k >= 2 sqrt(k x) + 2 x) <= exp(-x), solved for x.
        let root = ((degrees + 2.0 * above).sqrt() - degrees.sqrt()) / 2.0;
        root * root
    } else {
        above * above / (4.0 * degrees)
    };
    (2f64.ln() - exponent).min(0.0)
}

/// Bound of the probability of `count` or more events where `mean` are expected, by Chernoff.
pub(crate) fn ln_poisson_at_least(count: u64, mean: f64) -> f64 {
    let count = count as f64;
    if count <= mean { 0.0 } else { count - mean - count * (count / mean).ln() }
}

/// The Kullback-Leibler divergence of two coins, in nats.
fn divergence(share: f64, chance: f64) -> f64 {
    let part = |share: f64, chance: f64| if share == 0.0 { 0.0 } else { share * (share / chance).ln() };
    part(share, chance) + part(1.0 - share, 1.0 - chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_where_the_exact_value_is_known() {
        // All of 10 fair coins: 2^-10. One of two: certain enough that the bound says so.
        assert!((ln_binomial_at_least(10, 10, 0.5) - 10.0 * 0.5f64.ln()).abs() < 1e-9);
        assert_eq!(ln_binomial_at_least(1, 2, 0.5), 0.0);
        assert!((ln_binomial_at_most(0, 10, 0.5) - 10.0 * 0.5f64.ln()).abs() < 1e-9);
        // A normal value beyond 1.96 is as rare as 0.05, beyond 4.42 as 1e-5.
        assert!(ln_normal_off_by(1.96) >= 0.05f64.ln());
        assert!(ln_normal_off_by(4.42) >= 1e-5f64.ln() && ln_normal_off_by(4.42) < 1.3e-4f64.ln());
        // Chi-square with 255 degrees: 99.9 % of the values are below 330.52, 0.1 % below 190.2.
        assert!(ln_chi_square_off_by(330.52, 255.0) >= 1e-3f64.ln());
        assert!(ln_chi_square_off_by(190.2, 255.0) >= 1e-3f64.ln());
        assert!(ln_chi_square_off_by(450.0, 255.0) < 1e-8f64.ln());
        assert!(ln_chi_square_off_by(80.0, 255.0) < 1e-8f64.ln());
        // Poisson with mean 1: five or more have probability 0.00366.
        assert!(ln_poisson_at_least(5, 1.0) >= 0.00366f64.ln() && ln_poisson_at_least(5, 1.0) < 0.05f64.ln());
        assert_eq!(ln_coin_off_by(50, 100), 0.0);
        assert!(ln_coin_off_by(100, 100) < 1e-20f64.ln());
    }

    #[test]
    fn nothing_observed_is_no_surprise() {
        assert_eq!(ln_binomial_at_least(0, 0, 0.5), 0.0);
        assert_eq!(ln_coin_off_by(0, 0), 0.0);
        assert_eq!(ln_poisson_at_least(0, 0.0), 0.0);
    }
}
