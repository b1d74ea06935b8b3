//! Mode `dp` for a request: settings of both directions and what follows from them without a simulation.

use crate::directions::Directions;
use crate::error::PlanError;
use crate::measured::{Measured, Performance, wire_rate};
use crate::request::Checked;
use shaping::accountant::{Epsilon, FailureProbability, Mu, MuSquared};
use shaping::{DpParameters, DpSettings, Per1024, RateClass, floor_for_reverse};
use shaping_sim::recommended::Rule;
use shaping_sim::trace::Direction;
use shaping_sim::{Dp, Mode, Setup};
use std::time::Duration;

/// The ceiling is this many times the expected load, as `shaping_sim::recommended` has it: room for the crowd to double.
pub(crate) const CEILING_LOADS: f64 = 2.0;
/// A ceiling carries this many times Delta in an epoch at least, or noise would be paid for bytes that cannot flow.
const CEILING_DELTAS: f64 = 1.01;

/// One direction of mode `dp`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirectionPlan {
    /// What the mechanism is given. C is what the ceiling carries in an epoch, as a node has it.
    pub settings: DpSettings,
    /// Delta / sigma: the cost of a release.
    pub mu: Mu,
    /// The quota as a speed: Delta / W in bits per second.
    pub speed_limit_bits_per_second: u64,
    /// The noise of a single release as a speed: sigma / W.
    pub noise_bits_per_second: u64,
    /// The same after the moving average.
    pub smoothed_noise_bits_per_second: u64,
    /// What is added to the rate for the noise: standard errors times the above. With an idle link this is the rate.
    pub noise_floor_bits_per_second: u64,
    /// The class of an idle link.
    pub at_rest: RateClass,
    /// Delta times clients: what all of them can bring into an epoch.
    pub quotas_bytes: u64,
}

impl DirectionPlan {
    /// What a release costs, as the ledger counts.
    pub fn cost(&self) -> MuSquared {
        // The mechanism takes no noise so small that its cost could not be written down.
        MuSquared::from_ratio(self.settings.delta_bytes, self.settings.sigma.bytes()).unwrap_or(MuSquared::MAX)
    }

    fn new(settings: DpSettings, clients: u32) -> Result<Self, PlanError> {
        let parameters = DpParameters::new(settings)?;
        let speed = |bytes: f64| (bytes * 8.0 / f64::from(settings.epoch_s)) as u64;
        let sigma = settings.sigma.bytes() as f64;
        let error = parameters.standard_error_bytes() as f64;
        let cost = MuSquared::from_ratio(settings.delta_bytes, settings.sigma.bytes()).unwrap_or(MuSquared::MAX);
        Ok(Self {
            settings,
            mu: cost.to_mu(),
            speed_limit_bits_per_second: speed(settings.delta_bytes as f64),
            noise_bits_per_second: speed(sigma),
            smoothed_noise_bits_per_second: speed(error),
            noise_floor_bits_per_second: speed(error * f64::from(settings.errors.0) / 1024.0),
            at_rest: parameters.class_at_rest(),
            quotas_bytes: settings.delta_bytes.saturating_mul(clients.into()),
        })
    }
}

/// Mode `dp`, with what came of its simulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DpPlan {
    /// Of one release of one direction.
    pub epsilon: Epsilon,
    /// The probability that goes with it.
    pub delta: FailureProbability,
    /// Settings.
    pub directions: Directions<DirectionPlan>,
    /// What it costs.
    pub performance: Performance,
    /// Bytes that leave down for every 100 that applications bring, without headers.
    pub service_per_cent: u32,
}

/// Settings for this epsilon. `margin` replaces the rule's margin down; the ceiling grows with it.
pub(crate) fn directions(
    checked: &Checked,
    epsilon: Epsilon,
    margin: Option<Per1024>,
) -> Result<Directions<DirectionPlan>, PlanError> {
    let (promise, load) = (checked.promise(epsilon), checked.load());
    let session_packet = checked.setup(Duration::from_secs(1)).session_packet;
    let rule = |direction| -> Result<Rule, PlanError> {
        let bytes_per_epoch = load.of(direction) * f64::from(checked.epoch_s);
        Ok(Rule::for_load(bytes_per_epoch, promise.sigma(direction)?))
    };
    let (up_rule, mut down_rule) = (rule(Direction::Up)?, rule(Direction::Down)?);
    let mut wider = 1.0;
    if let Some(margin) = margin {
        wider = (f64::from(margin.0) / f64::from(down_rule.margin.0)).max(1.0);
        down_rule.margin = margin;
    }
    let for_delta = |direction| promise.delta_bytes(direction) as f64 * CEILING_DELTAS / f64::from(checked.epoch_s);
    let class = |bytes_per_second: f64| RateClass::at_least((8.0 * bytes_per_second) as u64);
    let down_ceiling = class((CEILING_LOADS * wider * load.down).max(for_delta(Direction::Down)))?;
    let up_floor = floor_for_reverse(down_ceiling, session_packet);
    let above_floor = CEILING_LOADS * up_floor.bits_per_second() as f64 / 8.0;
    let up_ceiling = class((CEILING_LOADS * load.up).max(for_delta(Direction::Up)).max(above_floor))?;
    // An exit's configuration has one fastest rate for both directions, and its floor follows from that.
    let down_floor = floor_for_reverse(up_ceiling.max(down_ceiling), session_packet);
    let direction = |direction, rule: Rule, floor: RateClass, ceiling: RateClass| -> Result<DirectionPlan, PlanError> {
        let delta_bytes = promise.delta_bytes(direction);
        let settings = DpSettings {
            epoch_s: checked.epoch_s,
            delta_bytes,
            sigma: promise.sigma(direction)?,
            gain: rule.gain,
            margin: rule.margin,
            errors: rule.errors,
            floor: floor.min(ceiling),
            initial: ceiling,
            ceiling,
            count_cap_bytes: (ceiling.bits_per_second() / 8 * u64::from(checked.epoch_s)).max(delta_bytes),
        };
        let given = if margin.is_none() { checked.request.given.of(direction) } else { None };
        DirectionPlan::new(given.unwrap_or(settings), checked.request.clients)
    };
    Ok(Directions {
        up: direction(Direction::Up, up_rule, up_floor, up_ceiling)?,
        down: direction(Direction::Down, down_rule, down_floor, down_ceiling)?,
    })
}

/// Runs the settings, beginning with the expected load as the estimate.
pub(crate) fn measure(
    checked: &Checked,
    directions: &Directions<DirectionPlan>,
    setup: &Setup,
) -> Result<Measured, PlanError> {
    let load = checked.load();
    let mode = |direction| -> Result<Mode, PlanError> {
        let parameters = DpParameters::new(directions.of(direction).settings)?;
        let estimate_bytes = Some((load.of(direction) * f64::from(checked.epoch_s)) as u64);
        Ok(Mode::Dp(Dp { parameters, estimate_bytes }))
    };
    Measured::new(checked, [&mode(Direction::Up)?, &mode(Direction::Down)?], setup)
}

/// The plan of settings that have been measured.
pub(crate) fn planned(
    checked: &Checked,
    epsilon: Epsilon,
    directions: Directions<DirectionPlan>,
    measured: &Measured,
    setup: &Setup,
) -> DpPlan {
    let at_rest = directions.map(|direction| wire_rate(direction.at_rest, setup));
    let payload = measured.wire_bytes_per_second.down * setup.cell_payload() as f64 / setup.packet_bytes as f64;
    DpPlan {
        epsilon,
        delta: checked.delta,
        directions,
        performance: measured.performance(checked, at_rest),
        service_per_cent: (100.0 * payload / checked.load().down.max(1.0)) as u32,
    }
}
