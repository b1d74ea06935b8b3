//! Draws for generated traffic, which a seed replays. Noise of releases comes from `shaping`, never from here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::f64::consts::TAU;

/// One stream of draws of a seed. Streams of one seed are independent of each other.
#[derive(Debug, Clone)]
pub struct Draws {
    rng: ChaCha8Rng,
    second_normal: Option<f64>,
}

impl Draws {
    /// A stream of a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, second_normal: None }
    }

    /// In 0..1, 53 bits.
    pub fn unit(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.rng.next_u64() >> 11) as f64 * SCALE
    }

    /// In `least..=most`, nearly evenly: a 64-bit draw is scaled, which favours no value by more than the size of the
    /// range in 2^64.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        let range = u128::from(most.saturating_sub(least)) + 1;
        least + ((u128::from(self.rng.next_u64()) * range) >> 64) as u64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        if let Some(second) = self.second_normal.take() {
            return second;
        }
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let (sin, cos) = (TAU * self.unit()).sin_cos();
        self.second_normal = Some(radius * sin);
        radius * cos
    }

    /// Log-normal with this median; `sigma` is the deviation of the logarithm.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed seed. Each bound is at least four standard errors wide.
    #[test]
    fn the_distributions_have_their_moments() {
        let mut draws = Draws::new(1, 0);
        let count = 100_000;
        let mean = |values: &mut dyn FnMut() -> f64| (0..count).map(|_| values()).sum::<f64>() / f64::from(count);
        assert!((mean(&mut || draws.unit()) - 0.5).abs() < 0.004);
        assert!((mean(&mut || draws.between(10, 20) as f64) - 15.0).abs() < 0.04);
        assert!(mean(&mut || draws.normal()).abs() < 0.013);
        assert!((mean(&mut || draws.normal().powi(2)) - 1.0).abs() < 0.018);
        assert!((mean(&mut || draws.exponential(4.0)) - 4.0).abs() < 0.051);
        let expected = (0.35_f64.powi(2) / 2.0).exp();
        assert!((mean(&mut || draws.log_normal(1.0, 0.35)) - expected).abs() < 0.005);
    }

    #[test]
    fn seeds_replay_and_streams_differ() {
        let row = |seed, stream| {
            let mut draws = Draws::new(seed, stream);
            (0..8).map(|_| draws.between(0, u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(row(1, 2), row(1, 2));
        assert_ne!(row(1, 2), row(1, 3));
        assert_ne!(row(1, 2), row(2, 2));
    }
}
