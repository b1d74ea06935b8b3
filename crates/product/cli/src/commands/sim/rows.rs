//! The modes on one traffic, each with settings that fit it.

use super::traffic::Traffic;
use super::{SimMode, time};
use shaping::{RateClass, SteppedError, SteppedParameters};
use shaping_sim::published::netshaper_mode;
use shaping_sim::recommended::{Promise, dp_modes};
use shaping_sim::trace::Direction;
use shaping_sim::{
    Average, ConstantRate, FluidReport, Mode, Report, Setup, answers, run, run_fluid, run_seeds, slowest_class,
};
use std::fmt::Display;
use std::time::Duration;

/// Decision intervals of NetShaper's mechanism that are shown, in milliseconds: those of its paper.
pub(super) const DECISIONS_MS: [u32; 3] = [100, 500, 1_000];
/// All modes, in the order in which they are shown.
pub(super) const MODES: [SimMode; 6] =
    [SimMode::Off, SimMode::Constant, SimMode::Stepped, SimMode::Dp, SimMode::Queue, SimMode::Netshaper];
/// `stepped` decides every 300 s, so a run of generated traffic takes at least an hour.
const STEPPED_LENGTH: Duration = Duration::from_secs(3_600);
/// Bytes of one queue in NetShaper's default configuration: it holds whole segments, and a decision needs to see them.
const NETSHAPER_QUEUE_BYTES: u64 = 2_097_152;

/// What is the same for all modes.
pub(super) struct Plan<'a> {
    pub(super) traffic: &'a Traffic,
    pub(super) promise: Promise,
    pub(super) setup: Setup,
    /// Of mode `constant`, up and down, where they are given.
    pub(super) rates: [Option<RateClass>; 2],
    pub(super) decisions_ms: Vec<u32>,
}

/// What came of a mode.
#[derive(Debug)]
pub(super) enum Came {
    /// Through slots and cells, both directions.
    InCells(Box<Report>),
    /// Without rounding, the direction down.
    Without(FluidReport),
}

/// One mode.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// Or why it cannot run.
    pub(super) came: Result<Came, String>,
}

impl Row {
    pub(super) fn new(name: String, came: Result<Report, String>) -> Self {
        Self { name, came: came.map(|report| Came::InCells(Box::new(report))) }
    }
}

pub(super) fn every_mode(plan: &Plan<'_>) -> Vec<Row> {
    MODES.into_iter().flat_map(|mode| of_mode(plan, mode)).collect()
}

/// One row, or several where a setting is tried in several values.
pub(super) fn of_mode(plan: &Plan<'_>, mode: SimMode) -> Vec<Row> {
    match mode {
        SimMode::Off => vec![in_cells("off".to_owned(), plan, &plan.setup, || Ok([Mode::Off, Mode::Off]))],
        SimMode::Constant => vec![constant(plan)],
        SimMode::Stepped => vec![stepped(plan)],
        SimMode::Dp => vec![in_cells("dp".to_owned(), plan, &plan.setup, || recommended(plan))],
        SimMode::Queue => plan.decisions_ms.iter().map(|&decision| queue(plan, decision)).collect(),
        SimMode::Netshaper => plan.decisions_ms.iter().map(|&decision| netshaper(plan, decision)).collect(),
    }
}

fn in_cells(name: String, plan: &Plan<'_>, setup: &Setup, modes: impl FnOnce() -> Result<[Mode; 2], String>) -> Row {
    let came = modes().and_then(|[up, down]| run(&plan.traffic.workload, &up, &down, setup).map_err(text));
    Row::new(name, came)
}

fn recommended(plan: &Plan<'_>) -> Result<[Mode; 2], String> {
    dp_modes(&plan.traffic.workload, &plan.promise).map_err(text)
}

/// The rate up that every shaped direction down is shown with: what mode `dp` has there.
fn up(plan: &Plan<'_>) -> Result<Mode, String> {
    recommended(plan).map(|[up, _]| up)
}

fn constant(plan: &Plan<'_>) -> Row {
    let found = constant_classes(plan);
    let name = match &found {
        Ok([_, down]) if plan.rates[1].is_some() => format!("constant, {down}"),
        // Behind the table stands what the star means.
        Ok([_, down]) => format!("constant, {down} *"),
        Err(_) => "constant".to_owned(),
    };
    let modes = || found.map(|classes| classes.map(|class| Mode::Constant(ConstantRate::Class(class))));
    in_cells(name, plan, &plan.setup, modes)
}

fn constant_classes(plan: &Plan<'_>) -> Result<[RateClass; 2], String> {
    let [up, down] = plan.rates;
    let [recommended_up, dp] = match (up, down) {
        (Some(up), Some(down)) => return Ok([up, down]),
        _ => recommended(plan)?,
    };
    let up = up.unwrap_or_else(|| floor(&recommended_up));
    if let Some(down) = down {
        return Ok([up, down]);
    }
    let workload = &plan.traffic.workload;
    let mode_up = Mode::Constant(ConstantRate::Class(up));
    let of_dp = Average::of(&run_seeds(workload, [&recommended_up, &dp], &plan.setup, 1).map_err(text)?);
    let enough = |average: &Average| average.p95_ms <= of_dp.p95_ms;
    let found = slowest_class(workload, &mode_up, &plan.setup, 1, enough).map_err(text)?;
    let (class, _) = found.ok_or("no rate class is fast enough for the latency of mode dp")?;
    Ok([up, class])
}

/// What a direction always has.
fn floor(mode: &Mode) -> RateClass {
    match mode {
        Mode::Dp(dp) => dp.parameters.settings().floor,
        Mode::Constant(ConstantRate::Class(class)) => *class,
        Mode::Off | Mode::Stepped(_) | Mode::Queue(_) | Mode::Constant(ConstantRate::Exact(_)) => RateClass::SLOWEST,
    }
}

/// The classes that a node has without settings, from the fastest on, as it starts.
fn stepped_modes() -> Result<[Mode; 2], SteppedError> {
    let classes = config::default_classes(RateClass::FASTEST);
    let initial = classes.iter().copied().max().unwrap_or(RateClass::SLOWEST);
    let mode = Mode::Stepped(SteppedParameters::new(&classes, initial)?);
    Ok([mode.clone(), mode])
}

fn stepped(plan: &Plan<'_>) -> Row {
    let (name, measured) = if plan.traffic.is_recorded() || plan.setup.measured >= STEPPED_LENGTH {
        ("stepped".to_owned(), plan.setup.measured)
    } else {
        ("stepped, an hour".to_owned(), STEPPED_LENGTH)
    };
    in_cells(name, plan, &Setup { measured, ..plan.setup }, || stepped_modes().map_err(text))
}

fn queue(plan: &Plan<'_>, decision_ms: u32) -> Row {
    let setup = Setup { ring_bytes: plan.setup.ring_bytes.max(NETSHAPER_QUEUE_BYTES), ..plan.setup };
    let name = format!("queue, T = {}", interval(decision_ms));
    in_cells(name, plan, &setup, || Ok([up(plan)?, netshapers(plan, decision_ms)?]))
}

fn netshaper(plan: &Plan<'_>, decision_ms: u32) -> Row {
    let came = netshapers(plan, decision_ms).and_then(|mode| {
        let setup = &plan.setup;
        let trace = answers(&plan.traffic.workload, setup.measured, setup.seed).map_err(text)?;
        if trace.bytes(Direction::Down) == 0 {
            return Err("nothing goes down".to_owned());
        }
        run_fluid(&trace, &mode, setup, None).map(Came::Without).map_err(text)
    });
    Row { name: format!("netshaper, T = {}", interval(decision_ms)), came }
}

fn netshapers(plan: &Plan<'_>, decision_ms: u32) -> Result<Mode, String> {
    let clients = plan.traffic.workload.clients();
    netshaper_mode(clients, decision_ms, plan.setup.slot, &plan.promise).map_err(text)
}

fn interval(milliseconds: u32) -> String {
    time(Duration::from_millis(milliseconds.into()))
}

fn text(error: impl Display) -> String {
    error.to_string()
}
