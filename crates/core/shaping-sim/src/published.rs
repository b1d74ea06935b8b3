//! NetShaper's published figures, and what comes out here beside them.
//!
//! From the figures of the paper (Sabzi et al., *NetShaper: A Differentially Private Network Side-Channel Mitigation System*,
//! USENIX Security 2024), read off their vector data: bandwidth from its simulator, latency from its test bed of four machines
//! with 10 Gbit/s. epsilon = 1 and delta = 10^-6 for W; Delta = 2.5 MB and W = 5 s for video, 60 KB and 1 s for web.
//! Overhead is (sent - real) / real of both directions. Their traffic is recorded, ours generated, their machines are not these:
//! ratios compare orders of size.

use crate::average::Average;
use crate::fluid::{FluidReport, run_fluid};
use crate::mode::{Mode, Queue};
use crate::recommended::{Promise, dp_modes};
use crate::run::{RunError, Setup};
use crate::search::run_seeds;
use crate::targets::TargetError;
use crate::trace::TraceError;
use crate::traffic::{Exchanges, Workload, video_segments};
use shaping::accountant::{CalibrationError, Epsilon, FailureProbability, netshaper};
use shaping::{QueueSettings, SendingStrategy, SlotLength};
use std::time::Duration;
use thiserror::Error;

/// One of its points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Flows at once.
    pub clients: u32,
    /// T in milliseconds.
    pub interval_ms: u32,
    /// (sent - real) / real.
    pub overhead: f64,
    /// Of a segment or a page.
    pub latency_ms: f64,
}

/// Video, where the number of flows is public.
pub const VIDEO: [Published; 9] = [
    published(1, 100, 56.8, 185.0),
    published(1, 500, 14.7, 875.0),
    published(1, 1_000, 7.60, 1_870.0),
    published(16, 100, 46.2, 181.0),
    published(16, 500, 10.1, 859.0),
    published(16, 1_000, 4.59, 1_750.0),
    published(128, 100, 23.3, 182.0),
    published(128, 500, 2.32, 751.0),
    published(128, 1_000, 0.82, 1_273.0),
];

/// Web pages, where the number of flows is public.
pub const WEB: [Published; 9] = [
    published(1, 10, 12.0, 26.0),
    published(1, 50, 7.38, 44.0),
    published(1, 100, 12.4, 71.0),
    published(16, 10, 11.3, 26.0),
    published(16, 50, 3.59, 40.0),
    published(16, 100, 4.65, 67.0),
    published(128, 10, 4.25, 26.0),
    published(128, 50, 0.70, 42.0),
    published(128, 100, 0.42, 67.0),
];

const fn published(clients: u32, interval_ms: u32, overhead: f64, latency_ms: f64) -> Published {
    Published { clients, interval_ms, overhead, latency_ms }
}

/// A published point and what comes out here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// NetShaper's.
    pub published: Published,
    /// Mode `dp` as recommended, with headers and classes.
    pub ours: Average,
    /// The same mechanism as the published one, without rounding, on our traffic. None for web.
    pub model: Option<FluidReport>,
}

impl Comparison {
    /// How many times their overhead is ours.
    pub fn overhead_ratio(&self) -> f64 {
        self.published.overhead / self.ours.overhead
    }

    /// How many times their latency is our mean.
    pub fn latency_ratio(&self) -> f64 {
        self.published.latency_ms / self.ours.mean_ms
    }
}

/// A comparison that cannot be made. It does not happen with the settings here, which tests show.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum CompareError {
    /// Ours.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// Theirs.
    #[error("{0}")]
    Noise(#[from] CalibrationError),
    /// The traffic.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// The model.
    #[error("{0}")]
    Run(#[from] RunError),
}

/// The table for video: each of [`VIDEO`], over `seeds` runs of ours of this length and one of the model.
pub fn compare_video(length: Duration, seeds: u32) -> Result<Vec<Comparison>, CompareError> {
    let setup = Setup::new(length, 0);
    let promise = Promise::new(Epsilon::new(1.0).map_err(TargetError::from)?);
    let ours = |clients| -> Result<Average, TargetError> {
        average(&Workload::Exchanges(Exchanges::video(clients)?), &promise, &setup, seeds)
    };
    let model = |point: &Published| Ok::<_, CompareError>(Some(model_of_video(point, &promise, length)?));
    compare(&VIDEO, ours, model)
}

/// The table for web pages: each of [`WEB`]. Delta is 300 KB down in 5 s, the same per second as theirs, and 25 KB up.
pub fn compare_web(length: Duration, seeds: u32) -> Result<Vec<Comparison>, CompareError> {
    let setup = Setup::new(length, 0);
    let one = Promise::new(Epsilon::new(1.0).map_err(TargetError::from)?);
    let promise = Promise { down_bytes: 300_000, up_bytes: 25_000, ..one };
    let ours = |clients| -> Result<Average, TargetError> {
        average(&Workload::Exchanges(Exchanges::web(clients)?), &promise, &setup, seeds)
    };
    compare(&WEB, ours, |_| Ok(None))
}

/// NetShaper's mechanism on video as published: UNIFORM over T, a largest decision of 1.4 MB for each flow, noise by its own
/// accountant.
pub fn netshaper_mode(
    clients: u32,
    interval_ms: u32,
    slot: SlotLength,
    promise: &Promise,
) -> Result<Mode, CalibrationError> {
    let window = Duration::from_secs(promise.epoch_s.into());
    let decisions = window.as_millis() as u64 / u64::from(interval_ms.max(1));
    let ratio = netshaper::noise_ratio(promise.epsilon, FailureProbability::DEFAULT, decisions.max(1))?;
    let settings = QueueSettings {
        noise_multiplier: ratio.value(),
        sensitivity: promise.down_bytes,
        min_decision_size: 0,
        max_decision_size: 1_400_000 * u64::from(clients),
        dp_creditor_loop_interval_us: interval_ms * 1_000,
        sending_loop_interval_us: slot.as_millis() * 1_000,
        sending_strategy: SendingStrategy::Uniform,
        keep_rest: false,
    };
    Ok(Mode::Queue(Queue { settings, window }))
}

fn model_of_video(point: &Published, promise: &Promise, length: Duration) -> Result<FluidReport, CompareError> {
    let setup = Setup::new(length, 0);
    let trace = video_segments(point.clients, length, 0)?;
    let mode = netshaper_mode(point.clients, point.interval_ms, setup.slot, promise)?;
    Ok(run_fluid(&trace, &mode, &setup, None)?)
}

fn average(workload: &Workload, promise: &Promise, setup: &Setup, seeds: u32) -> Result<Average, TargetError> {
    let [up, down] = dp_modes(workload, promise)?;
    Ok(Average::of(&run_seeds(workload, [&up, &down], setup, seeds)?))
}

/// Ours is the same for all points with as many clients.
fn compare(
    points: &[Published],
    ours: impl Fn(u32) -> Result<Average, TargetError>,
    model: impl Fn(&Published) -> Result<Option<FluidReport>, CompareError>,
) -> Result<Vec<Comparison>, CompareError> {
    let mut rows: Vec<Comparison> = Vec::with_capacity(points.len());
    for &published in points {
        let ours = match rows.last() {
            Some(last) if last.published.clients == published.clients => last.ours,
            _ => ours(published.clients)?,
        };
        rows.push(Comparison { published, ours, model: model(&published)? });
    }
    Ok(rows)
}
