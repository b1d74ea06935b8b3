//! Where nodes under test take their noise.

use shaped_node::PacingConfig;
use shaping::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, Sigma};

/// The noise of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoiseOf {
    /// None is ever ready.
    Nothing,
    /// Real samples, which the run's seed replays.
    Seed,
    /// These values in turn, over and over. With values far beyond every count the releases, and so the rates, are the
    /// same whatever arrives: then any difference on the wire is a leak.
    Script(Vec<i64>),
}

impl NoiseOf {
    pub(crate) fn source(&self, seed: u64, pacing: &PacingConfig) -> Box<dyn ReadyNoise + Send> {
        let sigma = match pacing {
            PacingConfig::Constant | PacingConfig::Stepped(_) => return Box::new(None),
            PacingConfig::Dp { settings, .. } => settings.sigma,
            PacingConfig::Queue { parameters, .. } => parameters.sigma(),
        };
        match self {
            Self::Nothing => Box::new(None),
            Self::Seed => Box::new(Seeded { generator: NoiseGenerator::new(NoiseSeed::for_tests(seed)), sigma }),
            Self::Script(values) => Box::new(Script { values: values.clone(), next: 0, sigma }),
        }
    }
}

struct Seeded {
    generator: NoiseGenerator,
    sigma: Sigma,
}

impl ReadyNoise for Seeded {
    fn take(&mut self) -> Option<Noise> {
        Some(self.generator.sample(self.sigma))
    }
}

struct Script {
    values: Vec<i64>,
    next: usize,
    sigma: Sigma,
}

impl ReadyNoise for Script {
    fn take(&mut self) -> Option<Noise> {
        let value = *self.values.get(self.next % self.values.len().max(1))?;
        self.next += 1;
        Some(Noise::for_tests(value, self.sigma))
    }
}
