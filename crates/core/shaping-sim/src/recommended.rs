//! The settings of mode `dp` that are recommended, and why.
//!
//! Found by simulation of video ([`crate::targets`]); docs/measurements/shaping-sim.md has the figures. What matters is how
//! large the noise is beside what arrives in an epoch. Where it is small the rule follows the load within a minute and needs
//! little margin. Where it is as large as the load itself, only a long memory tells the two apart: such a node follows
//! changes within minutes, so one whose load changes quickly is better off with mode `stepped` or `constant`.

use crate::mode::{ConstantRate, Dp, Mode};
use crate::trace::Direction;
use crate::traffic::Workload;
use shaping::accountant::{CalibrationError, Epsilon, FailureProbability, gaussian};
use shaping::{
    DpError, DpParameters, DpSettings, Per1024, RangeError, RateClass, Sigma, SigmaError, floor_for_reverse,
};
use thiserror::Error;

/// How a rate follows from releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Weight of the newest release.
    pub gain: Per1024,
    /// Factor on the estimate.
    pub margin: Per1024,
    /// Standard errors that are added.
    pub errors: Per1024,
}

impl Rule {
    /// Where an epoch brings at least [`Rule::MANY_SIGMAS`] sigma, for example 128 video clients at epsilon 1: gain 0.15,
    /// margin 1.125, one and a quarter standard errors.
    pub const MANY: Self = Self { gain: Per1024(154), margin: Per1024(1152), errors: Per1024(1280) };
    /// Where it brings less, for example 16 video clients at epsilon 1: gain 0.02, margin 1.3, two standard errors.
    pub const FEW: Self = Self { gain: Per1024(20), margin: Per1024(1331), errors: Per1024(2048) };
    /// Where one rule gives way to the other.
    pub const MANY_SIGMAS: f64 = 3.0;

    /// The rule for a node that expects this many bytes in an epoch.
    pub fn for_load(bytes_per_epoch: f64, sigma: Sigma) -> Self {
        if bytes_per_epoch >= Self::MANY_SIGMAS * sigma.bytes() as f64 { Self::MANY } else { Self::FEW }
    }
}

/// What is promised for each release of each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promise {
    /// For one client in one epoch.
    pub epsilon: Epsilon,
    /// Failure probability.
    pub delta: FailureProbability,
    /// Length of an epoch in seconds.
    pub epoch_s: u32,
    /// Delta down in bytes.
    pub down_bytes: u64,
    /// Delta up in bytes.
    pub up_bytes: u64,
}

impl Promise {
    /// Delta = 2.5 MB down and 256 KB up in 5 s, delta = 10^-6.
    pub fn new(epsilon: Epsilon) -> Self {
        let delta = FailureProbability::DEFAULT;
        Self { epsilon, delta, epoch_s: 5, down_bytes: 2_500_000, up_bytes: 256_000 }
    }

    /// Delta of a direction in bytes.
    pub fn delta_bytes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Up => self.up_bytes,
            Direction::Down => self.down_bytes,
        }
    }

    /// Scale of the noise of a direction.
    pub fn sigma(&self, direction: Direction) -> Result<Sigma, RecommendError> {
        let bytes = gaussian::sigma_bytes(self.epsilon, self.delta, 1, self.delta_bytes(direction))?;
        Ok(Sigma::new(bytes)?)
    }
}

/// Settings that do not exist for a load.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum RecommendError {
    /// No noise keeps the promise.
    #[error("no amount of noise keeps the promise: {0}")]
    Noise(#[from] CalibrationError),
    /// More noise than there is.
    #[error("the promise needs more noise than there is: {0}")]
    Sigma(#[from] SigmaError),
    /// Faster than any class.
    #[error("the load is too much: {0}")]
    Rate(#[from] RangeError),
    /// The settings do not fit together.
    #[error("{0}")]
    Settings(#[from] DpError),
}

/// Session bytes in a cell with the default packet.
const SESSION_PACKET: usize = 1222;
/// The ceiling is this many times the expected load: room for the crowd to double, and not more, as the floor of the other
/// direction, which is paid for all the time, is a fiftieth of it.
const CEILING_LOADS: f64 = 2.0;

/// Mode `dp` up and down for a node that expects this workload: the recommended rules, floors that carry the other
/// direction's acknowledgements, ceilings of twice the load, a count that is clipped at Delta for each client, and the
/// expected load as the first estimate. A direction in which all clients together cannot raise the rate above the floor
/// gets mode `constant` there, which tells nothing.
pub fn dp_modes(workload: &Workload, promise: &Promise) -> Result<[Mode; 2], RecommendError> {
    let rule = |direction| -> Result<Rule, RecommendError> {
        let bytes_per_epoch = workload.mean_bytes_per_second(direction) * f64::from(promise.epoch_s);
        Ok(Rule::for_load(bytes_per_epoch, promise.sigma(direction)?))
    };
    dp_modes_with(workload, promise, [rule(Direction::Up)?, rule(Direction::Down)?])
}

/// As [`dp_modes`], with other rules: up, then down.
pub fn dp_modes_with(workload: &Workload, promise: &Promise, rules: [Rule; 2]) -> Result<[Mode; 2], RecommendError> {
    let class = |bytes_per_second: f64| RateClass::at_least((8.0 * bytes_per_second) as u64);
    let per_second = |direction| workload.mean_bytes_per_second(direction);
    // A ceiling below Delta in an epoch would pay for noise that hides what cannot flow.
    let least = |direction| promise.delta_bytes(direction) as f64 * 1.01 / f64::from(promise.epoch_s);
    let down_ceiling = class((CEILING_LOADS * per_second(Direction::Down)).max(least(Direction::Down)))?;
    let up_floor = floor_for_reverse(down_ceiling, SESSION_PACKET);
    let up_load = (CEILING_LOADS * per_second(Direction::Up)).max(least(Direction::Up));
    let up_ceiling = class(up_load.max(CEILING_LOADS * up_floor.bits_per_second() as f64 / 8.0))?;
    let down_floor = floor_for_reverse(up_ceiling, SESSION_PACKET);
    let mode = |direction, floor: RateClass, ceiling: RateClass| -> Result<Mode, RecommendError> {
        let rule = rules[direction as usize];
        let settings = DpSettings {
            epoch_s: promise.epoch_s,
            delta_bytes: promise.delta_bytes(direction),
            sigma: promise.sigma(direction)?,
            gain: rule.gain,
            margin: rule.margin,
            errors: rule.errors,
            floor: floor.min(ceiling),
            initial: floor.min(ceiling),
            ceiling,
            count_cap_bytes: promise.delta_bytes(direction).saturating_mul(workload.clients().into()),
        };
        let expected = (per_second(direction) * f64::from(promise.epoch_s)) as u64;
        match DpParameters::new(settings) {
            Ok(parameters) => Ok(Mode::Dp(Dp { parameters, estimate_bytes: Some(expected) })),
            Err(DpError::NeverAboveFloor { floor, .. }) => Ok(Mode::Constant(ConstantRate::Class(floor))),
            Err(error) => Err(error.into()),
        }
    };
    Ok([mode(Direction::Up, up_floor, up_ceiling)?, mode(Direction::Down, down_floor, down_ceiling)?])
}
