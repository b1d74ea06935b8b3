#![doc = include_str!("../README.md")]

mod average;
pub mod closed_loop;
mod cost;
mod fluid;
mod latencies;
mod lines;
mod mode;
mod noise;
mod pacer;
pub mod pictures;
pub mod plot;
pub mod published;
mod random;
pub mod recommended;
mod report;
mod run;
mod search;
pub mod targets;
pub mod trace;
mod traffic;

pub use average::Average;
pub use cost::{Cost, NoiseCost};
pub use fluid::{FluidReport, answers, run_fluid};
pub use latencies::Latencies;
pub use lines::WAITING_TRANSFERS_MAX;
pub use mode::{ConstantRate, Dp, EXACT_RATE_MAX, Mode, ModeError, Queue};
pub use noise::SimulatedNoise;
pub use random::Draws;
pub use report::{DirectionReport, Report, Second};
pub use run::{BINS_MAX, Observation, RUN_TRANSFERS_MAX, RunError, SESSION_HEAD_BYTES, Setup, observe, run};
pub use search::{exact_rate_for_overhead, run_seeds, slowest_class};
pub use traffic::{
    Answers, Exchanges, PACE_MIN, PAGE_BYTES, Pace, REQUEST_BYTES, SEGMENT_BYTES_MAX, SEGMENT_MEDIAN_BYTES,
    SEGMENT_PERIOD, SEGMENT_SPREAD, SMALL_ANSWER_BYTES, TrafficError, Workload, video_segments,
};
