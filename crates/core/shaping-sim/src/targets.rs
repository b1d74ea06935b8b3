//! What the modes are held to, and what they reach.
//!
//! Epsilon 1 for each direction at delta = 10^-6, W = 5 s, Delta = 2.5 MB down and 256 KB up; overhead over both directions with
//! headers and with rates rounded up to classes; service by turns of one cell, as a node gives it.
//!
//! Two of the targets come from a simulation with first come, first served and without headers and classes. No schedule can
//! meet them here: [`Bound`] is what remains for one that knows the load exactly and needs neither noise nor classes. Beside
//! a target stands therefore what is reached and held by tests.

use crate::average::Average;
use crate::mode::{ConstantRate, Mode};
use crate::recommended::{Promise, RecommendError, dp_modes};
use crate::report::Report;
use crate::run::{RunError, Setup};
use crate::search::{exact_rate_for_overhead, run_seeds};
use crate::traffic::{Answers, Exchanges, TrafficError, Workload};
use shaping::accountant::{CalibrationError, Epsilon, QuantityError};
use shaping::{RangeError, RateClass, SlotLength, SteppedError, SteppedParameters};
use std::time::Duration;
use thiserror::Error;

/// One row: a workload, its modes, and what they are held to. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What it is about.
    pub name: &'static str,
    /// The traffic.
    pub workload: Workload,
    /// Up, then down.
    pub modes: [Mode; 2],
    /// What is aimed at.
    pub aim: Limits,
    /// What is reached, held by tests. The same as `aim` where that can be met.
    pub reached: Limits,
}

/// Upper limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// (wire - application) / application over both directions.
    pub overhead: Option<f64>,
    /// Mean of what applications wait for.
    pub mean_ms: f64,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
}

impl Limits {
    /// Whether all of them are kept.
    pub fn hold(&self, average: &Average) -> bool {
        self.overhead.is_none_or(|limit| average.overhead <= limit)
            && average.mean_ms <= self.mean_ms
            && self.p99_ms.is_none_or(|limit| average.p99_ms <= limit)
    }
}

/// A row that cannot be made. It does not happen with the settings here, which tests show.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TargetError {
    /// No such traffic.
    #[error("{0}")]
    Traffic(#[from] TrafficError),
    /// No such promise.
    #[error("{0}")]
    Quantity(#[from] QuantityError),
    /// No such settings.
    #[error("{0}")]
    Recommend(#[from] RecommendError),
    /// No such noise for NetShaper's mechanism.
    #[error("{0}")]
    Noise(#[from] CalibrationError),
    /// No such class.
    #[error("{0}")]
    Range(#[from] RangeError),
    /// No such choice.
    #[error("{0}")]
    Stepped(#[from] SteppedError),
    /// The run failed.
    #[error("{0}")]
    Run(#[from] RunError),
}

/// All rows.
pub fn targets() -> Result<Vec<Target>, TargetError> {
    let limits = |overhead, mean_ms, p99_ms| Limits { overhead, mean_ms, p99_ms };
    let promise = Promise::new(Epsilon::new(1.0)?);
    let video = |clients| -> Result<Workload, TargetError> { Ok(Workload::Exchanges(Exchanges::video(clients)?)) };
    let ten = RateClass::at_least(10_000_000)?;
    let (many, few, one) = (video(128)?, video(16)?, video(1)?);
    let small = Workload::Exchanges(Exchanges::small_requests(16)?);
    Ok(vec![
        Target {
            name: "128 video clients, dp",
            modes: dp_modes(&many, &promise)?,
            workload: many,
            aim: limits(Some(0.5), 100.0, Some(700.0)),
            reached: limits(Some(0.5), 180.0, Some(700.0)),
        },
        Target {
            name: "16 video clients, dp",
            modes: dp_modes(&few, &promise)?,
            workload: few,
            aim: limits(Some(1.0), 300.0, None),
            reached: limits(Some(1.0), 450.0, None),
        },
        Target {
            name: "1 video client, constant",
            modes: constant(RateClass::SLOWEST, RateClass::at_least(1_700_000)?),
            workload: one.clone(),
            aim: limits(Some(2.0), 1_700.0, None),
            reached: limits(Some(2.1), 2_400.0, None),
        },
        Target {
            name: "1 video client, stepped",
            modes: stepped_modes()?,
            workload: one,
            aim: limits(None, 2_000.0, None),
            reached: limits(None, 2_000.0, None),
        },
        Target {
            name: "16 clients with small requests, constant",
            modes: constant(ten, ten),
            workload: small,
            aim: limits(None, 10.0, None),
            reached: limits(None, 10.0, Some(11.0)),
        },
    ])
}

impl Target {
    /// Runs it with slots of 5 ms; the seeds from 0 on replay it.
    pub fn measure(&self, length: Duration, seeds: u32) -> Result<Vec<Report>, RunError> {
        let [up, down] = &self.modes;
        run_seeds(&self.workload, [up, down], &setup(length), seeds)
    }
}

/// What nobody can beat at the same overhead: a constant rate, no class, no noise, chosen by who knows the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// Video clients.
    pub clients: u32,
    /// Overhead over both directions that it uses up, with the floor of mode `dp` up.
    pub overhead: f64,
    /// With turns of one cell, as in a node.
    pub by_turns: Average,
    /// With turns longer than any segment: all but first come, first served.
    pub in_order: Average,
}

impl Bound {
    /// Runs it.
    pub fn measure(clients: u32, overhead: f64, length: Duration, seeds: u32) -> Result<Self, TargetError> {
        let workload = Workload::Exchanges(Exchanges::video(clients)?);
        let [up, _] = dp_modes(&workload, &Promise::new(Epsilon::new(1.0)?))?;
        let floor = match &up {
            Mode::Dp(dp) => dp.parameters.settings().floor,
            Mode::Off | Mode::Constant(_) | Mode::Stepped(_) | Mode::Queue(_) => RateClass::SLOWEST,
        };
        let up = Mode::Constant(ConstantRate::Class(floor));
        let by_turns = setup(length);
        let in_order = Setup { turn_bytes: 1 << 21, ..by_turns };
        let up_wire =
            floor.bits_per_second() as f64 / 8.0 * by_turns.packet_bytes as f64 / by_turns.session_packet as f64;
        let down = Mode::Constant(exact_rate_for_overhead(&workload, overhead, up_wire, &by_turns));
        let average = |setup| -> Result<Average, RunError> {
            Ok(Average::of(&run_seeds(&workload, [&up, &down], setup, seeds)?))
        };
        Ok(Self { clients, overhead, by_turns: average(&by_turns)?, in_order: average(&in_order)? })
    }
}

/// The least overhead down with which one video client can have a mean latency: a segment takes at least the time of its own
/// bytes, so the rate is at least the mean segment divided by it, all day.
pub fn least_overhead_of_one_client(mean_latency: Duration, setup: &Setup) -> f64 {
    let segment = Answers::Segments.mean_bytes();
    let application_per_second = segment / mean_latency.as_secs_f64();
    let wire_per_second = application_per_second * setup.packet_bytes as f64 / setup.cell_payload() as f64;
    let used_per_second = segment / crate::traffic::SEGMENT_PERIOD.as_secs_f64();
    wire_per_second / used_per_second - 1.0
}

fn setup(length: Duration) -> Setup {
    Setup { slot: SlotLength::DEFAULT, ..Setup::new(length, 0) }
}

fn constant(up: RateClass, down: RateClass) -> [Mode; 2] {
    [up, down].map(|class| Mode::Constant(ConstantRate::Class(class)))
}

/// Mode `stepped` up and down with the four classes that a network offers, from 256 kbit/s up and 2 Mbit/s down on.
pub fn stepped_modes() -> Result<[Mode; 2], TargetError> {
    let classes = [256_000, 2_000_000, 10_000_000, 50_000_000].map(RateClass::at_least);
    let [slow, two, ten, fifty] = classes;
    let classes = [slow?, two?, ten?, fifty?];
    let from =
        |initial| -> Result<Mode, SteppedError> { Ok(Mode::Stepped(SteppedParameters::new(&classes, initial)?)) };
    Ok([from(classes[0])?, from(classes[1])?])
}
