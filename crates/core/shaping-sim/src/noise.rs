//! Noise of simulated releases: the sampler of a node, filled from a number instead of the system.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shaping::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, Sigma};
use std::convert::Infallible;

/// Samples of one scale, always ready.
///
/// A seed replays them, so they hide nothing. They are good for a simulation and never for a node, which
/// makes its generator itself and does not use this crate.
#[derive(Debug)]
pub struct SimulatedNoise {
    generator: NoiseGenerator,
    sigma: Sigma,
}

impl SimulatedNoise {
    /// Samples of scale `sigma`. Streams of one seed are independent of each other.
    pub fn new(seed: u64, stream: u64, sigma: Sigma) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let filled = NoiseSeed::from_system(|bytes| -> Result<(), Infallible> {
            rng.fill_bytes(bytes);
            Ok(())
        });
        let seed = filled.expect("a stream cipher does not give 32 zeros");
        Self { generator: NoiseGenerator::new(seed), sigma }
    }
}

impl ReadyNoise for SimulatedNoise {
    fn take(&mut self) -> Option<Noise> {
        Some(self.generator.sample(self.sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shaping::SigmaError;

    #[test]
    fn seeds_replay_and_streams_differ() -> Result<(), SigmaError> {
        let sigma = Sigma::new(1_000_000)?;
        let row = |seed, stream| {
            let mut noise = SimulatedNoise::new(seed, stream, sigma);
            (0..8).filter_map(|_| noise.take().map(Noise::into_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(row(1, 0), row(1, 0));
        assert_ne!(row(1, 0), row(1, 1));
        assert_ne!(row(1, 0), row(2, 0));
        Ok(())
    }
}
