//! Samples against the exact probabilities of the discrete Gaussian.

use super::support::statistics::{chi_square_tail, normal_cdf};
use shaping::{NoiseGenerator, NoiseSeed, Sigma};

/// Samples of one test.
const RUNS: usize = 200_000;
/// How often a test here would fail for a sampler without fault, if its seed were not fixed.
const ALARM: f64 = 1e-6;
/// Sigma of the video example: Delta 2.5 MB, epsilon 1, delta 1e-6.
const VIDEO: u64 = 10_561_693;

/// Edges of bins and the exact probability of each: below the first edge, between edges, at or above the last.
struct Bins {
    edges: Vec<i64>,
    chances: Vec<f64>,
}

impl Bins {
    /// One bin for each number within `within`, and one for each tail.
    fn of_numbers(sigma: u64, within: i64) -> Self {
        let weight = |x: i64| (-((x * x) as f64) / (2.0 * (sigma * sigma) as f64)).exp();
        let far = 40 * sigma as i64;
        let whole: f64 = (-far..=far).map(weight).sum();
        let between = |from: i64, to: i64| (from..to).map(weight).sum::<f64>() / whole;
        let edges: Vec<i64> = (-within..=within + 1).collect();
        let inner = edges.windows(2).map(|pair| between(pair[0], pair[1]));
        let chances = [between(-far, -within)].into_iter().chain(inner).chain([between(within + 1, far + 1)]).collect();
        Self { edges, chances }
    }

    /// 56 bins of an eighth of sigma and two tails. For a sigma of millions the sum over the integers of a bin is the integral
    /// from half an integer below to half an integer below the end, to 14 digits.
    fn of_eighths(sigma: u64) -> Self {
        let edges: Vec<i64> = (-28..=28).map(|eighth| eighth * sigma as i64 / 8).collect();
        let below = |edge: i64| normal_cdf((edge as f64 - 0.5) / sigma as f64);
        let cumulated = [0.0].into_iter().chain(edges.iter().map(|&edge| below(edge))).chain([1.0]);
        let cumulated: Vec<f64> = cumulated.collect();
        let chances = cumulated.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Self { edges, chances }
    }

    /// How likely counts as far from the expected ones are, by chi-square.
    fn likelihood(&self, samples: &[i64]) -> f64 {
        let mut counts = vec![0u64; self.chances.len()];
        for sample in samples {
            counts[self.edges.partition_point(|edge| edge <= sample)] += 1;
        }
        let expected = self.chances.iter().map(|chance| chance * samples.len() as f64);
        let terms = counts.iter().zip(expected).map(|(&count, expected)| {
            assert!(expected >= 10.0, "a bin with {expected} expected samples says nothing");
            (count as f64 - expected).powi(2) / expected
        });
        chi_square_tail(terms.sum(), self.chances.len() as u32 - 1)
    }
}

/// The bins of the three scales that are tested.
fn bins() -> [(u64, Bins); 3] {
    [(1, Bins::of_numbers(1, 3)), (7, Bins::of_numbers(7, 24)), (VIDEO, Bins::of_eighths(VIDEO))]
}

fn draw(sigma: u64, seed: u64) -> Vec<i64> {
    let sigma = Sigma::new(sigma).expect("in range");
    let mut generator = NoiseGenerator::new(NoiseSeed::for_tests(seed));
    (0..RUNS).map(|_| generator.sample(sigma).into_bytes()).collect()
}

#[test]
fn samples_follow_the_exact_probabilities_at_three_scales() {
    for (sigma, bins) in bins() {
        assert!((bins.chances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let likelihood = bins.likelihood(&draw(sigma, 11));
        assert!(likelihood > ALARM, "sigma {sigma}, seed 11: {likelihood:e}");
    }
}

#[test]
fn planted_faults_are_caught() {
    for (sigma, bins) in bins() {
        // A scale below 1 does not exist; there the fault is the other way.
        let halved = if sigma == 1 { 2 } else { sigma.div_ceil(2) };
        assert!(bins.likelihood(&draw(halved, 12)) < ALARM, "half of {sigma}");
        let constant = vec![0; RUNS];
        assert!(bins.likelihood(&constant) < ALARM, "no noise in place of {sigma}");
        let one_sided: Vec<i64> = draw(sigma, 13).into_iter().map(i64::abs).collect();
        assert!(bins.likelihood(&one_sided) < ALARM, "without the sign: {sigma}");
    }
    let (sigma, bins) = &bins()[2];
    assert!(bins.likelihood(&draw(sigma - sigma / 50, 14)) < ALARM, "two percent less noise");
    // Minus zero counted as zero, as if the sampler did not throw half of the zeros away.
    let doubled: Vec<i64> = draw(7, 15).into_iter().map(|x| if x == 1 { 0 } else { x }).collect();
    assert!(self::bins()[1].1.likelihood(&doubled) < ALARM, "too many zeros");
}

#[test]
fn the_low_bits_are_as_good_as_the_high_ones() {
    let samples = draw(VIDEO, 16);
    let mut counts = [0u64; 256];
    for sample in &samples {
        counts[sample.rem_euclid(256) as usize] += 1;
    }
    let expected = RUNS as f64 / 256.0;
    let value = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let likelihood = chi_square_tail(value, 255);
    assert!(likelihood > ALARM, "seed 16: {likelihood:e}");
}

#[test]
fn mean_variance_and_signs_are_those_of_the_distribution() {
    // Each of the bounds is 5 standard errors, which a sampler without fault passes but once in 1.7 million times.
    for (sigma, seed) in [(1, 17), (7, 18), (VIDEO, 19), (1 << 40, 20)] {
        let scaled: Vec<f64> = draw(sigma, seed).into_iter().map(|x| x as f64 / sigma as f64).collect();
        let count = RUNS as f64;
        let mean = scaled.iter().sum::<f64>() / count;
        assert!(mean.abs() < 5.0 / count.sqrt(), "sigma {sigma}, seed {seed}: mean {mean}");
        let variance = scaled.iter().map(|x| x * x).sum::<f64>() / count;
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "sigma {sigma}, seed {seed}: {variance}");
        let signs = scaled.iter().map(|x| x.signum() * f64::from(u8::from(*x != 0.0))).sum::<f64>();
        assert!(signs.abs() < 5.0 * count.sqrt(), "sigma {sigma}, seed {seed}: {signs} more of one sign");
    }
}
