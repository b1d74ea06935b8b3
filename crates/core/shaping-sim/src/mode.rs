//! What decides how fast bytes of one direction leave.

use shaping::{DpParameters, QueueError, QueueSettings, RateClass, SteppedParameters};
use std::time::Duration;
use thiserror::Error;

/// Fastest exact rate, in session bits per second: above the fastest class.
pub const EXACT_RATE_MAX: u64 = 1 << 40;

/// One direction's mode.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// No schedule: a packet leaves when there is data for it. The reference for what shaping costs.
    Off,
    /// The same rate all the time.
    Constant(ConstantRate),
    /// One of a few classes, chosen anew every 300 s.
    Stepped(SteppedParameters),
    /// A class from noisy counts of arrivals.
    Dp(Dp),
    /// NetShaper's mechanism.
    Queue(Queue),
}

/// A rate that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstantRate {
    /// One that a network has.
    Class(RateClass),
    /// Any number of session bits per second, 1..=[`EXACT_RATE_MAX`]: to compare at the same latency or overhead.
    Exact(u64),
}

/// Mode `dp` and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dp {
    /// The rule.
    pub parameters: DpParameters,
    /// A public estimate of the bytes per epoch to begin with; without one, the initial class of the parameters.
    pub estimate_bytes: Option<u64>,
}

/// Mode `queue` and what its loss is stated for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// NetShaper's fields.
    pub settings: QueueSettings,
    /// W: all decisions within this time count for one loss, at least one decision.
    pub window: Duration,
}

/// A mode that cannot run on this grid.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ModeError {
    /// Out of range.
    #[error("a rate of {0} bit/s is outside 1..={EXACT_RATE_MAX}")]
    Rate(u64),
    /// NetShaper's fields do not fit each other or the slots.
    #[error("mode queue: {0}")]
    Queue(#[from] QueueError),
}
