//! Where nodes under test take their noise.

use shaped_node::PacingConfig;
use shaping::{DOWN_EDGE_S, Noise, NoiseGenerator, NoiseSeed, ReadyNoise, Sigma, UP_EDGE_S};
use wire::grant::Grant;

/// Leave to release for `epochs` epochs from the one of `unix_s` on, in one direction, as an entry's ledger gives it; none in a mode
/// that releases nothing.
pub(crate) fn grant_of(pacing: &PacingConfig, unix_s: u64, epochs: u16) -> Option<Grant> {
    let (epoch_s, cost_each) = match pacing {
        PacingConfig::Constant => return None,
        PacingConfig::Stepped(parameters) => (UP_EDGE_S, u128::from(parameters.choices())),
        PacingConfig::Dp { settings, cost_each } => (u64::from(settings.epoch_s), *cost_each),
        PacingConfig::Queue { cost_each, .. } => (DOWN_EDGE_S, *cost_each),
    };
    Some(Grant { first_epoch: unix_s / epoch_s, releases: epochs, cost_each })
}

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
