//! What holds for every budget, noise and probability, drawn at random.

use proptest::prelude::*;
use shaping::accountant::{
    Epsilon, FailureProbability, Mu, MuSquared, NoiseRatio, Probability, StandardScore, attacker, discrete, gaussian,
    netshaper, normal,
};

/// Any positive finite float, small and large ones as often as those in between.
fn any_magnitude(largest: f64) -> impl Strategy<Value = f64> {
    (1..=largest.to_bits()).prop_map(f64::from_bits)
}

/// A probability of failure of any magnitude.
fn any_delta() -> impl Strategy<Value = FailureProbability> {
    (1..1_f64.to_bits()).prop_map(|bits| FailureProbability::new(f64::from_bits(bits)).expect("it is inside 0..1"))
}

/// mu, epsilon or delta as an experiment would have them.
fn usual_mu() -> impl Strategy<Value = Mu> {
    (-4.0..2.0_f64).prop_map(|exponent| Mu::new(10_f64.powf(exponent)).expect("it is in range"))
}

fn usual_delta() -> impl Strategy<Value = FailureProbability> {
    (-12.0..-1.0_f64).prop_map(|exponent| FailureProbability::new(10_f64.powf(exponent)).expect("it is in range"))
}

proptest! {
    #[test]
    fn no_function_gives_nonsense(
        epsilon in any_magnitude(f64::MAX),
        mu in any_magnitude(1e150),
        ratio in any_magnitude(f64::MAX),
        delta in any_delta(),
        releases in any::<u64>(),
        clients in any::<u64>(),
    ) {
        let (epsilon, mu) = (Epsilon::new(epsilon).expect("finite"), Mu::new(mu).expect("in range"));
        let ratio = NoiseRatio::new(ratio).expect("finite");
        let logarithm = gaussian::log_delta(epsilon, mu);
        prop_assert!(logarithm <= 0.0, "ln delta is {logarithm}");
        let mut results = vec![
            gaussian::delta(epsilon, mu).value(),
            gaussian::epsilon(mu, delta).value(),
            gaussian::mu(epsilon, delta).value(),
            discrete::epsilon(mu, delta).value(),
            discrete::mu(epsilon, delta).value(),
            netshaper::epsilon(mu, delta).value(),
            ratio.mu().repeat(releases).of_group(clients).compose(mu).value(),
            attacker::best_accuracy(mu).value(),
            MuSquared::budget(mu).to_mu().value(),
        ];
        let calibrations = [
            gaussian::noise_ratio(epsilon, delta, releases),
            discrete::noise_ratio(epsilon, delta, releases),
            netshaper::noise_ratio(epsilon, delta, releases),
        ];
        results.extend(calibrations.into_iter().flatten().map(NoiseRatio::value));
        prop_assert!(results.iter().all(|value| value.is_finite() && *value >= 0.0), "{results:?}");
    }

    #[test]
    fn normal_functions_are_total(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        if let Ok(score) = StandardScore::new(value) {
            prop_assert!((0.0..=1.0).contains(&normal::cdf(score).value()));
            prop_assert!(normal::log_cdf(score) <= 0.0);
        }
        if let Ok(probability) = Probability::new(value.abs()) {
            let inside = probability.value() > 0.0 && probability.value() < 1.0;
            prop_assert_eq!(normal::quantile(probability).is_some(), inside);
        }
    }

    /// More releases, less noise or a smaller delta cost more; the accountants keep their order.
    #[test]
    fn privacy_is_monotone(
        mu in usual_mu(),
        delta in usual_delta(),
        releases in 1_u64..1_000,
        factor in 1.001..10.0_f64,
    ) {
        let more_releases = mu.repeat(releases + 1);
        let less_noise = Mu::new(mu.repeat(releases).value() * factor).expect("in range");
        let smaller_delta = FailureProbability::new(delta.value() / factor).expect("in range");
        let mu = mu.repeat(releases);
        let accountants: [fn(Mu, FailureProbability) -> Epsilon; 3] =
            [gaussian::epsilon, discrete::epsilon, netshaper::epsilon];
        for epsilon in accountants {
            let base = epsilon(mu, delta);
            // Strictly, but where the failure probability covers all.
            prop_assert!(epsilon(more_releases, delta) > base || base == Epsilon::ZERO);
            prop_assert!(epsilon(less_noise, delta) > base || base == Epsilon::ZERO);
            prop_assert!(epsilon(mu, smaller_delta) > base || base == Epsilon::ZERO);
        }
        let (exact, certified) = (gaussian::epsilon(mu, delta), discrete::epsilon(mu, delta));
        prop_assert!(exact <= certified && certified <= netshaper::epsilon(mu, delta));
    }

    #[test]
    fn delta_is_monotone(mu in usual_mu(), share in 0.0..1.0_f64, factor in 1.001..10.0_f64) {
        // Epsilons from 0 to where delta is about 10^-90.
        let epsilon = share * mu.value() * (20.0 + mu.value() / 2.0);
        let more = Epsilon::new(epsilon * factor + 1e-9).expect("finite");
        let epsilon = Epsilon::new(epsilon).expect("finite");
        let larger = Mu::new(mu.value() * factor).expect("in range");
        let base = gaussian::log_delta(epsilon, mu);
        prop_assert!(gaussian::log_delta(more, mu) < base || base > -1e-15);
        prop_assert!(gaussian::log_delta(epsilon, larger) > base || base > -1e-15);
    }

    #[test]
    fn calibrated_noise_keeps_the_target(epsilon in 0.3..100.0_f64, delta in usual_delta(), releases in 1_u64..100_000) {
        let epsilon = Epsilon::new(epsilon).expect("finite");
        let exact = gaussian::noise_ratio(epsilon, delta, releases).expect("a usual target");
        let certified = discrete::noise_ratio(epsilon, delta, releases).expect("a usual target");
        let spent = |ratio: NoiseRatio| ratio.mu().repeat(releases);
        let reached = gaussian::epsilon(spent(exact), delta).value();
        prop_assert!((reached - epsilon.value()).abs() < 1e-9 * epsilon.value(), "{reached}");
        let reached = discrete::epsilon(spent(certified), delta).value();
        prop_assert!((reached - epsilon.value()).abs() < 1e-9 * epsilon.value(), "{reached}");
        prop_assert!(certified > exact);
    }

    #[test]
    fn composition_is_the_root_of_squares(a in usual_mu(), b in usual_mu()) {
        let together = a.compose(b).value();
        let root = (a.value().powi(2) + b.value().powi(2)).sqrt();
        prop_assert!((together - root).abs() < 1e-15 * root);
        prop_assert_eq!(a.compose(b), b.compose(a));
        prop_assert_eq!(a.compose(Mu::ZERO), a);
    }
}
