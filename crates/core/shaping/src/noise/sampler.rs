//! The discrete Gaussian, exactly: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
//! algorithms 1 to 3, in integers.
//!
//! There is no floating-point number on any path from the generator's bits to the sample, so there are no holes and no
//! rounding for an attack on the low bits (Mironov 2012) to find. How long a sample takes depends on its value: sample
//! ahead, in another thread.

use super::Sigma;
use rand_chacha::rand_core::Rng;

/// Most draws for one uniform number. Each is accepted with at least 1/2, so a working generator needs more with
/// a chance below 2^-256; one that does not work must not hang its thread.
const DRAWS_MAX: u32 = 256;
/// Most terms of the series in [`bernoulli_exp_fraction`]: term k is reached with a chance below 1/k!, here 2^-295.
const TERMS_MAX: u128 = 64;
/// Largest multiple of sigma that is proposed. One beyond would be accepted with a chance below exp(-500,000).
const MULTIPLES_MAX: u64 = 1_000;
/// Most proposals for one sample. Each is accepted with more than 2/5, so this many fail with a chance below 2^-700.
const PROPOSALS_MAX: u32 = 1_000;

/// One sample of the discrete Gaussian with scale `sigma`: algorithm 3.
///
/// The paper proposes from a Laplace distribution of scale `floor(sigma) + 1`. Its proof holds for every scale `t > 0`;
/// with `t = sigma` the exponent `(|y| - sigma^2 / t)^2 / (2 sigma^2)` has whole numbers above and below the line.
///
/// # Panics
///
/// If the generator does not work: see the constants of this module.
pub(super) fn discrete_gaussian(sigma: Sigma, rng: &mut impl Rng) -> i64 {
    let scale = sigma.bytes();
    for _ in 0..PROPOSALS_MAX {
        let Some(proposal) = discrete_laplace(scale, rng) else { continue };
        let distance = u128::from(proposal.unsigned_abs().abs_diff(scale));
        let variance = u128::from(scale) * u128::from(scale);
        if bernoulli_exp(distance * distance, 2 * variance, rng) {
            return proposal;
        }
    }
    panic!("the random generator repeats itself: no sample in {PROPOSALS_MAX} proposals");
}

/// One round of algorithm 2 with s = 1, t = `scale`: a sample with probabilities proportional to `exp(-|y| / scale)`,
/// or nothing, which means another round.
fn discrete_laplace(scale: u64, rng: &mut impl Rng) -> Option<i64> {
    let remainder = uniform_below(u128::from(scale), rng) as u64;
    if !bernoulli_exp(u128::from(remainder), u128::from(scale), rng) {
        return None;
    }
    let mut multiple = 0;
    while bernoulli_exp(1, 1, rng) {
        multiple += 1;
        if multiple > MULTIPLES_MAX {
            return None;
        }
    }
    // Below 2^40 x 1,001, so it fits.
    let magnitude = (remainder + scale * multiple) as i64;
    let negative = uniform_below(2, rng) == 1;
    // Zero would come up with both signs, twice as often as it should.
    if negative && magnitude == 0 {
        return None;
    }
    Some(if negative { -magnitude } else { magnitude })
}

/// True with probability `exp(-numerator / denominator)`: algorithm 1.
fn bernoulli_exp(numerator: u128, denominator: u128, rng: &mut impl Rng) -> bool {
    let whole = numerator / denominator;
    for _ in 0..whole {
        if !bernoulli_exp_fraction(1, 1, rng) {
            return false;
        }
    }
    bernoulli_exp_fraction(numerator % denominator, denominator, rng)
}

/// The same for a ratio in 0..=1: the first k at which an event of chance `ratio / k` fails is odd with probability
/// `1 - ratio + ratio^2/2! - ..`.
fn bernoulli_exp_fraction(numerator: u128, denominator: u128, rng: &mut impl Rng) -> bool {
    debug_assert!(numerator <= denominator);
    for term in 1..TERMS_MAX {
        // The denominator is at most 2^81, so the product fits.
        if uniform_below(denominator * term, rng) >= numerator {
            return term % 2 == 1;
        }
    }
    panic!("the random generator repeats itself: no end in {TERMS_MAX} terms");
}

/// A whole number in `0..bound`, all equally likely: bits are drawn until they make a number below the bound. No
/// remainder is taken, which would favour small numbers.
fn uniform_below(bound: u128, rng: &mut impl Rng) -> u128 {
    debug_assert!(bound > 0);
    let bits = u128::BITS - (bound - 1).leading_zeros();
    if bits == 0 {
        return 0;
    }
    let mask = u128::MAX >> (u128::BITS - bits);
    for _ in 0..DRAWS_MAX {
        let low = u128::from(rng.next_u64());
        let drawn = if bits > u64::BITS { u128::from(rng.next_u64()) << u64::BITS | low } else { low };
        if drawn & mask < bound {
            return drawn & mask;
        }
    }
    panic!("the random generator repeats itself: no number in {DRAWS_MAX} draws");
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const RUNS: u32 = 100_000;

    /// The share of trues lies within 5 standard errors: a false alarm in 1.7 million checks, and the seed is fixed.
    fn assert_share(trues: u32, expected: f64, what: &str) {
        let share = f64::from(trues) / f64::from(RUNS);
        let error = (expected * (1.0 - expected) / f64::from(RUNS)).sqrt();
        assert!((share - expected).abs() <= 5.0 * error + 1e-12, "{what}: {share}, expected {expected}");
    }

    #[test]
    fn bernoulli_exp_has_the_known_chances() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let cases = [(0, 1), (1, 1_000_000), (1, 3), (1, 2), (2, 3), (1, 1), (3, 2), (2, 1), (7, 2), (20, 1)];
        for (numerator, denominator) in cases {
            let trues = (0..RUNS).filter(|_| bernoulli_exp(numerator, denominator, &mut rng)).count() as u32;
            let expected = (-(numerator as f64) / denominator as f64).exp();
            assert_share(trues, expected, &format!("exp(-{numerator}/{denominator})"));
        }
    }

    #[test]
    fn bernoulli_exp_stands_the_largest_denominator() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let denominator = 2u128 << 80;
        let trues = (0..RUNS).filter(|_| bernoulli_exp(denominator / 2, denominator, &mut rng)).count() as u32;
        assert_share(trues, (-0.5f64).exp(), "exp(-1/2) of large numbers");
    }

    #[test]
    fn uniform_numbers_are_uniform_and_below_their_bound() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for bound in [1u128, 2, 3, 5, 6, 7] {
            let mut counts = [0u32; 7];
            for _ in 0..RUNS {
                counts[uniform_below(bound, &mut rng) as usize] += 1;
            }
            for (number, &count) in counts.iter().enumerate() {
                let expected = if (number as u128) < bound { 1.0 / bound as f64 } else { 0.0 };
                assert_share(count, expected, &format!("{number} below {bound}"));
            }
        }
        // With a remainder instead of rejection the lower half of 3 x 2^126 would come up twice as often.
        let bound = 3u128 << 126;
        let low = (0..RUNS).filter(|_| uniform_below(bound, &mut rng) < bound / 3).count() as u32;
        assert_share(low, 1.0 / 3.0, "the lowest third of a wide range");
    }

    #[test]
    fn the_laplace_proposal_does_not_favour_zero() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut counts = [0u32; 3];
        let mut drawn = 0;
        while drawn < RUNS {
            let Some(sample) = discrete_laplace(1, &mut rng) else { continue };
            drawn += 1;
            if sample.unsigned_abs() <= 1 {
                counts[(sample + 1) as usize] += 1;
            }
        }
        let zero = (1.0 - (-1f64).exp()) / (1.0 + (-1f64).exp());
        assert_share(counts[1], zero, "zero");
        assert_share(counts[0], zero * (-1f64).exp(), "minus one");
        assert_share(counts[2], zero * (-1f64).exp(), "one");
    }

    #[test]
    fn the_largest_scale_fits() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let most = (0..2_000).map(|_| discrete_gaussian(Sigma::MAX, &mut rng).unsigned_abs()).max();
        let sigmas = most.map(|most| most as f64 / Sigma::MAX.bytes() as f64);
        assert!(sigmas.is_some_and(|sigmas| (2.5..6.0).contains(&sigmas)), "{sigmas:?}");
    }

    /// Two generators that are broken in opposite ways.
    struct Stuck(u64);

    impl rand_chacha::rand_core::TryRng for Stuck {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(self.0 as u32)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(self.0)
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(self.0 as u8);
            Ok(())
        }
    }

    #[test]
    #[should_panic(expected = "the random generator repeats itself")]
    fn a_generator_of_ones_does_not_hang() {
        let sigma = Sigma::new(3).expect("in range");
        discrete_gaussian(sigma, &mut Stuck(u64::MAX));
    }

    #[test]
    #[should_panic(expected = "the random generator repeats itself")]
    fn a_generator_of_zeros_does_not_hang() {
        discrete_gaussian(Sigma::MAX, &mut Stuck(0));
    }
}
