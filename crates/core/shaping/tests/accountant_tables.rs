//! The accountant against published tools and figures.
//!
//! Tools: Google `dp-accounting` 0.6.0 (Renyi and privacy-loss-distribution accountants), `autodp` 0.2.3.1 (the exact
//! Gaussian), NetShaper's own accountant. A figure is compared in the digits that are printed here.

use shaping::accountant::{
    CalibrationError, Composition, Epsilon, FailureProbability, Mu, MuSquared, NoiseRatio, QuantityError, RatioError,
    capacity, gaussian, netshaper,
};

type Outcome = Result<(), Failure>;

/// A number of a table that is out of range, or one that has no answer.
#[derive(Debug)]
#[expect(dead_code, reason = "a failing test prints what it holds")]
enum Failure {
    Quantity(QuantityError),
    Calibration(CalibrationError),
    Ratio(RatioError),
}

impl From<QuantityError> for Failure {
    fn from(error: QuantityError) -> Self {
        Self::Quantity(error)
    }
}

impl From<CalibrationError> for Failure {
    fn from(error: CalibrationError) -> Self {
        Self::Calibration(error)
    }
}

impl From<RatioError> for Failure {
    fn from(error: RatioError) -> Self {
        Self::Ratio(error)
    }
}

/// Fails unless `value` is `printed`, in as many decimals as `printed` has.
#[track_caller]
fn assert_printed(value: f64, printed: &str, what: &str) {
    let decimals = printed.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(format!("{value:.decimals$}"), printed, "{what}");
}

fn number(printed: &str) -> f64 {
    printed.parse().expect("the tables hold numbers")
}

/// The privacy of `releases` releases at this sigma / Delta.
fn total(ratio: f64, releases: u64) -> Result<Mu, QuantityError> {
    Ok(NoiseRatio::new(ratio)?.mu().repeat(releases))
}

/// sigma / Delta, N, delta; then mu and epsilon by NetShaper, dp-accounting (Renyi), dp-accounting (PLD) and exactly.
type NoiseRow = (f64, u64, f64, [&'static str; 5]);

/// Table A: epsilon for given noise.
const EPSILON_FOR_NOISE: [NoiseRow; 15] = [
    (1.0, 1, 1e-5, ["1.000000", "5.2985", "4.7285", "4.3772", "4.377178"]),
    (2.56, 1, 1e-6, ["0.390625", "2.1308", "1.8493", "1.7206", "1.720580"]),
    (2.56, 4, 1e-6, ["0.781250", "4.4119", "3.9576", "3.6977", "3.697715"]),
    (2.56, 64, 1e-6, ["3.125000", "21.3104", "20.2473", "19.1318", "19.131779"]),
    (0.08, 1, 1e-6, ["12.50000", "143.9138", "141.8198", "136.6962", "136.696195"]),
    (11.963029, 5, 1e-6, ["0.186915", "1.0000", "0.8373", "0.7756", "0.775613"]),
    (11.963029, 300, 1e-6, ["1.447836", "8.6590", "7.9815", "7.4891", "7.489140"]),
    (11.963029, 3600, 1e-6, ["5.015452", "38.9703", "37.5840", "35.7166", "35.716585"]),
    (23.92, 20, 1e-6, ["0.186962", "1.0003", "0.8375", "0.7758", "0.775824"]),
    (38.0, 100, 1e-6, ["0.263158", "1.4179", "1.2078", "1.1211", "1.121082"]),
    (53.5, 100, 1e-6, ["0.186916", "1.0000", "0.8373", "0.7756", "0.775618"]),
    (119.63, 500, 1e-6, ["0.186915", "1.0000", "0.8373", "0.7756", "0.775615"]),
    (5.35, 1, 1e-6, ["0.186916", "1.0000", "0.8373", "0.7756", "0.775618"]),
    (0.7, 10, 1e-8, ["4.517540", "37.6391", "36.4279", "34.9082", "34.908192"]),
    (10.0, 100, 1e-9, ["1.000000", "6.9380", "6.4741", "6.1739", "6.173935"]),
];

#[test]
fn epsilon_for_given_noise() -> Outcome {
    for (ratio, releases, delta, [mu, netshaper, renyi, loss_distribution, exact]) in EPSILON_FOR_NOISE {
        let (delta, row) = (FailureProbability::new(delta)?, format!("sigma/Delta {ratio}, N {releases}, {delta:?}"));
        let total = total(ratio, releases)?;
        assert_printed(total.value(), mu, &row);
        assert_printed(netshaper::epsilon(total, delta).value(), netshaper, &row);
        let value = gaussian::epsilon(total, delta).value();
        assert_printed(value, exact, &row);
        // The tool's grid of losses is 10^-4, 10^-3 for large mu.
        assert!((value - number(loss_distribution)).abs() < 1e-4 * value, "{row}");
        assert!(value < number(renyi), "{row}");
    }
    Ok(())
}

/// epsilon, delta, N; then the multiplier by NetShaper (none where its search never ends), dp-accounting (Renyi) and
/// exactly, and the last by the first.
type TargetRow = (f64, f64, u64, [&'static str; 4]);

/// Table B: noise multiplier for a target.
const NOISE_FOR_TARGET: [TargetRow; 12] = [
    (0.1, 1e-6, 1, ["", "41.4421", "36.304690", ""]),
    (0.5, 1e-6, 1, ["10.6074", "8.6766", "8.057618", "0.760"]),
    (1.0, 1e-6, 1, ["5.3500", "4.5309", "4.224679", "0.790"]),
    (1.0, 1e-6, 5, ["11.9630", "10.1314", "9.446669", "0.790"]),
    (1.0, 1e-6, 20, ["23.9261", "20.2627", "18.893338", "0.790"]),
    (1.0, 1e-6, 100, ["53.5003", "45.3088", "42.246789", "0.790"]),
    (1.0, 1e-6, 500, ["119.6303", "101.3135", "94.466692", "0.790"]),
    (4.0, 1e-6, 5, ["3.1377", "2.8350", "2.668789", "0.851"]),
    (16.0, 1e-6, 5, ["0.9070", "0.8640", "0.824241", "0.909"]),
    (200.0, 1e-6, 5, ["0.1453", "0.1442", "0.141111", "0.971"]),
    (1.0, 1e-9, 100, ["65.1465", "57.7874", "54.952662", "0.844"]),
    (3.0, 1e-5, 10, ["5.3686", "4.7219", "4.397443", "0.819"]),
];

#[test]
fn noise_for_a_target() -> Outcome {
    for (epsilon, delta, releases, [netshaper, renyi, exact, saving]) in NOISE_FOR_TARGET {
        let row = format!("epsilon {epsilon}, delta {delta}, N {releases}");
        let (epsilon, delta) = (Epsilon::new(epsilon)?, FailureProbability::new(delta)?);
        let value = gaussian::noise_ratio(epsilon, delta, releases)?.value();
        assert_printed(value, exact, &row);
        assert!(value < number(renyi), "{row}");
        let original = netshaper::noise_ratio(epsilon, delta, releases);
        if netshaper.is_empty() {
            assert_eq!(original, Err(CalibrationError::Unreachable), "{row}");
        } else {
            let original = original?.value();
            assert_printed(original, netshaper, &row);
            assert_printed(value / original, saving, &row);
        }
    }
    Ok(())
}

/// sigma, Delta, N, delta; then epsilon of the discrete Gaussian by dp-accounting's PLD (pessimistic, grid 10^-4),
/// exactly for the continuous one, and by the certificate.
type DiscreteRow = (u64, u64, u64, f64, [&'static str; 3]);

/// Table C: the discrete Gaussian.
const DISCRETE: [DiscreteRow; 6] = [
    (1, 1, 1, 1e-6, ["4.49959", "4.88655", "5.22153"]),
    (2, 1, 1, 1e-6, ["2.27579", "2.25408", "2.41909"]),
    (5, 1, 10, 1e-6, ["2.92061", "2.92160", "3.13106"]),
    (10, 1, 100, 1e-6, ["4.88710", "4.88655", "5.22153"]),
    (10, 3, 10, 1e-6, ["4.60289", "4.60268", "4.91994"]),
    (50, 7, 50, 1e-9, ["6.10570", "6.10547", "6.40251"]),
];

#[test]
fn discrete_noise() -> Outcome {
    for (sigma, sensitivity, releases, delta, [loss_distribution, exact, certified]) in DISCRETE {
        let row = format!("sigma {sigma}, Delta {sensitivity}, N {releases}, delta {delta}");
        let delta = FailureProbability::new(delta)?;
        let all = Composition::NOTHING.with(MuSquared::from_ratio(sensitivity, sigma)?, releases);
        assert_printed(all.epsilon(delta).value(), exact, &row);
        assert_printed(all.certified_epsilon(delta).value(), certified, &row);
        let truth = number(loss_distribution);
        assert!(all.certified_epsilon(delta).value() >= truth, "{row}");
        if sigma >= 10 {
            let exact = all.epsilon(delta).value();
            assert!((truth - exact).abs() / exact < 1e-3, "{row}");
        }
    }
    Ok(())
}

#[test]
fn points_of_the_curve() -> Outcome {
    for (mu, epsilon, delta) in [(0.5, 1.0, "6.829594983"), (1.0, 1.0, "126.9367375"), (3.125, 10.0, "29.70470521")] {
        let value = gaussian::delta(Epsilon::new(epsilon)?, Mu::new(mu)?).value();
        assert_printed(value * 1e3, delta, "thousandths of delta");
    }
    for (epsilon, mu) in
        [(1.0, "0.23670438"), (4.0, "0.83785876"), (8.0, "1.53155"), (16.0, "2.71288"), (32.0, "4.62562")]
    {
        assert_printed(gaussian::mu(Epsilon::new(epsilon)?, FailureProbability::DEFAULT).value(), mu, "mu of epsilon");
    }
    Ok(())
}

/// Windows of epsilon 1 each, as floats and as the ledger's integers; sigma of the second is in whole bytes.
#[test]
fn windows_add_up() -> Outcome {
    let (one, delta, sensitivity) = (Epsilon::new(1.0)?, FailureProbability::DEFAULT, 2_500_000);
    let mu = gaussian::mu(one, delta);
    let window = MuSquared::from_ratio(sensitivity, gaussian::sigma_bytes(one, delta, 1, sensitivity)?)?;
    for (windows, epsilon) in [(1, "1.0000"), (2, "1.4547"), (12, "3.904"), (60, "9.905"), (720, "49.62")] {
        assert_printed(gaussian::epsilon(mu.repeat(windows), delta).value(), epsilon, "windows as floats");
        assert_printed(Composition::NOTHING.with(window, windows).epsilon(delta).value(), epsilon, "as integers");
    }
    Ok(())
}

/// epsilon 1 at a sensitivity of 2.5 MB and 5 s windows, in MB: arrivals are measured once in a window, a queue in
/// every interval.
#[test]
fn noise_of_the_video_example() -> Outcome {
    let (one, delta, sensitivity) = (Epsilon::new(1.0)?, FailureProbability::DEFAULT, 2_500_000);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    assert_printed(megabytes(gaussian::sigma_bytes(one, delta, 1, sensitivity)?), "10.56", "arrivals");
    for (queries, sigma) in [(5, "29.9"), (50, "94.6"), (500, "299")] {
        let bytes = netshaper::noise_ratio(one, delta, queries)?.sigma_bytes(sensitivity)?;
        assert_printed(megabytes(bytes), sigma, "queue");
    }
    Ok(())
}

/// Where NetShaper's paper and its own accountant disagree, the accountant's figures.
#[test]
fn corrected_figures_of_the_paper() -> Outcome {
    let delta = FailureProbability::DEFAULT;
    let megabytes = |ratio: NoiseRatio| ratio.value() * 2.5;
    assert_printed(megabytes(netshaper::noise_ratio(Epsilon::new(1.0)?, delta, 4)?), "26.75", "not 18");
    assert_printed(megabytes(gaussian::noise_ratio(Epsilon::new(1.0)?, delta, 4)?), "21.1", "the exact one");
    assert_printed(megabytes(netshaper::noise_ratio(Epsilon::new(200.0)?, delta, 4)?), "0.325", "not below 0.3");
    let multiplier = netshaper::noise_ratio(Epsilon::new(1.0)?, delta, 5)?.value();
    for (seconds, epsilon) in [(300, "8.66"), (3_600, "38.97")] {
        assert_printed(netshaper::epsilon(total(multiplier, seconds)?, delta).value(), epsilon, "not 8.92 and 38.8");
    }
    Ok(())
}

/// The points of the paper's figure of epsilon over sigma, for a sensitivity of 2.5 MB, as they are read off the curve:
/// three digits are certain.
#[test]
fn points_of_the_papers_figure() -> Outcome {
    for (megabytes, points) in [
        (0.2, [(1, 144.0), (4, 444.0), (16, 1_513.0), (64, 5_637.0)]),
        (6.4, [(1, 2.13), (4, 4.41), (16, 9.44), (64, 21.3)]),
    ] {
        for (queries, epsilon) in points {
            let value = netshaper::epsilon(total(megabytes / 2.5, queries)?, FailureProbability::DEFAULT).value();
            let near = (value - epsilon).abs() < 3e-3 * epsilon;
            assert!(near, "{megabytes} MB, {queries} queries: {epsilon} in the figure, {value} computed");
        }
    }
    Ok(())
}

/// The original halves an interval for ever below ln(1/delta) / 62; every other target has an answer.
#[test]
fn the_original_calibration_ends() -> Outcome {
    for delta in [1e-300, 1e-9, 1e-6, 0.5] {
        let delta = FailureProbability::new(delta)?;
        let least = -delta.value().ln() / 62.0;
        for share in [0.0, 1e-9, 0.5, 1.0 - 1e-9] {
            let refused = netshaper::noise_ratio(Epsilon::new(least * share)?, delta, 5);
            assert_eq!(refused, Err(CalibrationError::Unreachable), "{share} of the least epsilon");
        }
        for share in [1.0 + 1e-9, 1.5, 1e6] {
            let wanted = Epsilon::new(least * share)?;
            let ratio = netshaper::noise_ratio(wanted, delta, 5)?;
            let granted = netshaper::epsilon(ratio.mu().repeat(5), delta).value();
            assert!((granted - wanted.value()).abs() < 1e-12 * wanted.value(), "{granted} for {wanted:?}");
        }
    }
    Ok(())
}

/// Leakage is counted in bits for any noise, and steps count whole bits.
#[test]
fn bits_of_both_modes_add_up() {
    let sigma = std::num::NonZeroU64::new(10_561_698).expect("it is not zero");
    let noisy = capacity::maximal_leakage(2_500_000, sigma, 720);
    let stepped = capacity::stepped(std::num::NonZeroU32::new(4).expect("it is not zero"), 1, 12);
    assert_eq!(noisy.plus(stepped).value(), noisy.value() + 24.0);
}
