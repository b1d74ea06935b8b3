//! Noise: exact discrete Gaussian samples from a generator that only the system's random source can seed.
//!
//! A sample is a [`Noise`]: it is moved, never copied, so it can hide one release only. Who runs the node lets
//! another thread fill a ring of them and hands the other end to the decision path as [`ReadyNoise`] (invariant I7).

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroize;

mod sampler;
mod sigma;

pub use sigma::{Sigma, SigmaError};

/// After this many samples the generator replaces its key by bytes of its own, so that whoever reads the memory of a
/// running node cannot compute the noise of its past releases.
const SAMPLES_PER_KEY: u32 = 64;

/// Why there is no seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SeedError<E> {
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Source(E),
    /// It said that it had filled the seed and had not.
    #[error("the system's random source gave only zeros")]
    Zero,
}

/// What a generator is made from. It cannot be copied, compared or printed, and is wiped when dropped.
pub struct NoiseSeed([u8; 32]);

impl NoiseSeed {
    /// Takes a seed from the system. `fill` is the operating system's random source and nothing else: that its bytes
    /// are unpredictable is what every promise of mode `dp` rests on.
    pub fn from_system<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, SeedError<E>> {
        let mut seed = Self([0; 32]);
        fill(&mut seed.0).map_err(SeedError::Source)?;
        if seed.0 == [0; 32] { Err(SeedError::Zero) } else { Ok(seed) }
    }

    /// A seed that replays a run.
    #[cfg(any(test, feature = "seeded-noise"))]
    pub fn for_tests(number: u64) -> Self {
        let mut seed = Self([0; 32]);
        ChaCha20Rng::seed_from_u64(number).fill_bytes(&mut seed.0);
        seed
    }
}

impl Drop for NoiseSeed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for NoiseSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseSeed(..)")
    }
}

/// One sample, for one release. Its value is as secret as what it hides, so it is not printed.
pub struct Noise {
    bytes: i64,
    sigma: Sigma,
}

impl Noise {
    /// A sample of a chosen value.
    #[cfg(any(test, feature = "seeded-noise"))]
    pub fn for_tests(bytes: i64, sigma: Sigma) -> Self {
        Self { bytes, sigma }
    }

    /// The scale that it was drawn with.
    pub fn sigma(&self) -> Sigma {
        self.sigma
    }

    /// Bytes to add to what is measured: at most 1,001 sigma, below 2^51, either way.
    pub fn into_bytes(self) -> i64 {
        self.bytes
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noise").field("sigma", &self.sigma).finish_non_exhaustive()
    }
}

/// Draws samples. How long a draw takes tells something about the sample (Jin et al., 2022), so a node draws
/// ahead in a thread of its own, never when it decides.
pub struct NoiseGenerator {
    rng: ChaCha20Rng,
    left_of_key: u32,
}

impl NoiseGenerator {
    /// A generator that owns its seed.
    pub fn new(seed: NoiseSeed) -> Self {
        Self { rng: ChaCha20Rng::from_seed(seed.0), left_of_key: SAMPLES_PER_KEY }
    }

    /// The next sample with scale `sigma`.
    ///
    /// # Panics
    ///
    /// If the generator is broken so that it repeats itself. Then the thread ends, the ring runs dry, and the node goes on
    /// at its last public rate; where panics abort, the process ends and its supervisor starts another.
    pub fn sample(&mut self, sigma: Sigma) -> Noise {
        if self.left_of_key == 0 {
            let mut key = [0; 32];
            self.rng.fill_bytes(&mut key);
            self.rng = ChaCha20Rng::from_seed(key);
            key.zeroize();
            self.left_of_key = SAMPLES_PER_KEY;
        }
        self.left_of_key -= 1;
        Noise { bytes: sampler::discrete_gaussian(sigma, &mut self.rng), sigma }
    }
}

impl fmt::Debug for NoiseGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseGenerator(..)")
    }
}

/// Where the decision path takes noise: samples that are ready, so that a decision costs the same whatever they are.
pub trait ReadyNoise {
    /// The next sample; `None` when the thread that draws them is late.
    fn take(&mut self) -> Option<Noise>;
}

impl<T: ReadyNoise + ?Sized> ReadyNoise for Box<T> {
    fn take(&mut self) -> Option<Noise> {
        (**self).take()
    }
}

/// One sample or none.
impl ReadyNoise for Option<Noise> {
    fn take(&mut self) -> Option<Noise> {
        Option::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_come_from_a_source_that_works() {
        let failed = NoiseSeed::from_system(|_| Err("no device"));
        assert_eq!(failed.map(|_| ()), Err(SeedError::Source("no device")));
        let zero = NoiseSeed::from_system(|_| Ok::<(), std::convert::Infallible>(()));
        assert_eq!(zero.map(|_| ()), Err(SeedError::Zero));
        let seed = NoiseSeed::from_system(|bytes| {
            bytes.fill(7);
            Ok::<(), std::convert::Infallible>(())
        });
        assert_eq!(format!("{seed:?}"), "Ok(NoiseSeed(..))");
    }

    #[test]
    fn a_test_seed_replays_and_keys_change_on_the_way() {
        let draw = |number| {
            let mut generator = NoiseGenerator::new(NoiseSeed::for_tests(number));
            let sigma = Sigma::new(1_000_000).expect("in range");
            (0..3 * SAMPLES_PER_KEY).map(|_| generator.sample(sigma).into_bytes()).collect::<Vec<_>>()
        };
        let first = draw(1);
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
        let (one_key, rest) = first.split_at(SAMPLES_PER_KEY as usize);
        assert_ne!(one_key, &rest[..SAMPLES_PER_KEY as usize]);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let sigma = Sigma::new(5).expect("in range");
        assert_eq!(format!("{:?}", Noise::for_tests(-77, sigma)), "Noise { sigma: Sigma(5), .. }");
        assert_eq!(format!("{:?}", NoiseGenerator::new(NoiseSeed::for_tests(1))), "NoiseGenerator(..)");
    }

    #[test]
    fn a_ready_sample_is_taken_once() {
        let mut ready = Some(Noise::for_tests(3, Sigma::MIN));
        assert_eq!(ReadyNoise::take(&mut ready).map(Noise::into_bytes), Some(3));
        assert!(ReadyNoise::take(&mut ready).is_none());
    }
}
