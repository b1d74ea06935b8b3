use super::*;
use proptest::prelude::*;

/// The video example: epsilon 1, delta 1e-6, Delta 2.5 MB in 5 s, 16 clients.
fn video() -> DpSettings {
    DpSettings {
        epoch_s: 5,
        delta_bytes: 2_500_000,
        sigma: Sigma::new(10_561_693).expect("in range"),
        gain: Per1024(51),
        margin: Per1024(1536),
        errors: Per1024(1536),
        floor: RateClass::at_least(2_000_000).expect("exists"),
        initial: RateClass::at_least(10_000_000).expect("exists"),
        ceiling: RateClass::at_least(200_000_000).expect("exists"),
        count_cap_bytes: 112_000_000,
    }
}

fn error_of(change: impl FnOnce(&mut DpSettings)) -> Option<DpError> {
    let mut settings = video();
    change(&mut settings);
    DpParameters::new(settings).err()
}

#[test]
fn nonsense_is_refused_by_name() {
    assert_eq!(error_of(|_| {}), None);
    for bad in [0, 4, 7, 3_605] {
        assert_eq!(error_of(|settings| settings.epoch_s = bad), Some(DpError::Epoch(bad)));
    }
    for bad in [0, DELTA_MAX + 1] {
        assert_eq!(error_of(|settings| settings.delta_bytes = bad), Some(DpError::Delta(bad)));
    }
    let sigma_bytes = 2_500_000 / 16 - 1;
    let sigma = Sigma::new(sigma_bytes).expect("in range");
    let little = DpError::TooLittleNoise { sigma_bytes, delta_bytes: 2_500_000 };
    assert_eq!(error_of(|settings| settings.sigma = sigma), Some(little));
    for bad in [Per1024(0), Per1024(1025)] {
        assert_eq!(error_of(|settings| settings.gain = bad), Some(DpError::Gain(bad)));
    }
    for bad in [Per1024(1023), Per1024(16 * 1024 + 1)] {
        assert_eq!(error_of(|settings| settings.margin = bad), Some(DpError::Margin(bad)));
    }
    let bad = Per1024(8 * 1024 + 1);
    assert_eq!(error_of(|settings| settings.errors = bad), Some(DpError::Errors(bad)));
    let cap = DpError::CountCap { cap_bytes: 2_499_999, delta_bytes: 2_500_000 };
    assert_eq!(error_of(|settings| settings.count_cap_bytes = 2_499_999), Some(cap));
}

#[test]
fn classes_must_leave_room() {
    let (slow, fast) = (video().floor, video().ceiling);
    let order = DpError::Classes { floor: fast, initial: slow, ceiling: slow };
    let swapped = |settings: &mut DpSettings| (settings.floor, settings.initial, settings.ceiling) = (fast, slow, slow);
    assert_eq!(error_of(swapped), Some(order));
    let one = |settings: &mut DpSettings| (settings.initial, settings.ceiling) = (slow, slow);
    assert_eq!(error_of(one), Some(DpError::OneClass(slow)));
}

#[test]
fn errors_say_what_would_fit() {
    assert_eq!(
        DpError::Epoch(7).to_string(),
        "an epoch of 7 s does not end at the network's edges, whole multiples of 5 s; 10 s would"
    );
    assert_eq!([0, 3, 3_599, 9_999].map(fitting_epoch), [5, 5, 3_600, 3_600]);

    let narrow = |settings: &mut DpSettings| {
        settings.floor = RateClass::SLOWEST;
        settings.initial = RateClass::SLOWEST;
        settings.ceiling = RateClass::at_least(2_000_000).expect("exists");
    };
    let Some(DpError::DeltaAboveCeiling { delta_bytes: 2_500_000, carried_bytes }) = error_of(narrow) else {
        panic!("2.5 MB in 5 s is 4 Mbit/s");
    };
    let fits = |settings: &mut DpSettings| {
        narrow(settings);
        settings.delta_bytes = carried_bytes;
    };
    assert_eq!(error_of(fits), None);

    let low = |settings: &mut DpSettings| {
        settings.errors = Per1024(0);
        settings.floor = RateClass::at_least(50_000_000).expect("exists");
        settings.initial = settings.floor;
        settings.count_cap_bytes = 10_000_000;
    };
    let Some(DpError::NeverAboveFloor { needed_bytes, cap_bytes: 10_000_000, .. }) = error_of(low) else {
        panic!("10 MB x 1.5 in 5 s is 24 Mbit/s");
    };
    let with_cap = |cap| {
        error_of(|settings| {
            low(settings);
            settings.count_cap_bytes = cap;
        })
    };
    assert_eq!(with_cap(needed_bytes), None);
    assert!(with_cap(needed_bytes - 2).is_some());
}

#[test]
fn the_standard_error_is_that_of_a_moving_average() {
    let parameters = DpParameters::new(video()).expect("they fit");
    let gain: f64 = 51.0 / 1024.0;
    let expected = 10_561_693.0 * (gain / (2.0 - gain)).sqrt();
    let got = parameters.standard_error_bytes() as f64;
    assert!(got >= expected && got < expected + 2.0, "{got} {expected}");
    // 1.5 errors of 1.69 MB in 5 s are 4.05 Mbit/s.
    assert_eq!(parameters.class_at_rest(), RateClass::at_least(4_050_000).expect("exists"));
    let largest = standard_error(Sigma::MAX, Per1024::ONE) >> FRACTION_BITS;
    assert!((1i128 << 40..=(1 << 40) + 1).contains(&largest), "{largest}");
}

#[test]
fn fractions_of_1024() {
    assert_eq!([0.05, 1.0, 1.3, 0.0].map(Per1024::nearest), [51, 1024, 1331, 0].map(|n| Some(Per1024(n))));
    assert_eq!([-0.1, f64::NAN, f64::INFINITY, 1e7].map(Per1024::nearest), [None; 4]);
}

proptest! {
    /// The integers follow the rule as written with real numbers.
    #[test]
    fn the_rule_is_the_one_in_the_books(
        measured in proptest::collection::vec(-60_000_000i64..200_000_000, 1..50),
        gain in 1u32..=1024,
        margin in 1024u32..4096,
        errors in 0u32..4096,
        epochs in 1u32..13,
    ) {
        let (gain_real, margin_real) = (f64::from(gain) / 1024.0, f64::from(margin) / 1024.0);
        let (gain, margin, errors) = (Per1024(gain), Per1024(margin), Per1024(errors));
        let ceiling = RateClass::FASTEST;
        let settings = DpSettings { gain, margin, errors, ceiling, epoch_s: 5 * epochs, ..video() };
        let parameters = DpParameters::new(settings).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (mut estimate, mut real) = (0, 0f64);
        let error = 10_561_693.0 * (gain_real / (2.0 - gain_real)).sqrt();
        for bytes in measured {
            estimate = parameters.next_estimate(estimate, bytes);
            real += gain_real * (bytes as f64 - real);
            prop_assert!((estimate as f64 / f64::from(1 << FRACTION_BITS) - real).abs() < 1.0);
            let wanted = (margin_real * real + f64::from(errors.0) / 1024.0 * error) * 8.0 / f64::from(settings.epoch_s);
            let wanted = wanted.max(settings.floor.bits_per_second() as f64);
            let (bits, class) = parameters.rate_for(estimate);
            prop_assert!((bits as f64 - wanted).abs() < 40.0, "{} {}", bits, wanted);
            prop_assert_eq!(Ok(class), RateClass::at_least(bits), "rounded up");
        }
    }

    /// A class and the estimate that stands for it agree, unless the standard errors alone are above the class.
    #[test]
    fn an_estimate_leads_back_to_its_class(number in 0u8..=52) {
        let class = RateClass::new(number).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let settings = DpSettings { floor: RateClass::SLOWEST, ceiling: RateClass::FASTEST, ..video() };
        let parameters = DpParameters::new(settings).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let back = parameters.rate_for(parameters.estimate_for(class)).1;
        prop_assert_eq!(back, class.max(parameters.class_at_rest()));
    }
}
