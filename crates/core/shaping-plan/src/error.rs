//! Wishes that cannot be met, and what could.

use crate::request::{BUSY_HOURS_MAX, CLIENTS_PLANNED_MAX, EPSILON_RANGE, ROUND_TRIP_MAX};
use shaping::{DpError, RangeError, SteppedError};
use shaping_sim::closed_loop::ExperimentError;
use shaping_sim::recommended::RecommendError;
use shaping_sim::trace::{Direction, TraceError};
use shaping_sim::{RunError, TrafficError};
use std::time::Duration;
use thiserror::Error;

/// Nonsense, alone or together; every text says what would work.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum RequestError {
    /// None, or too many.
    #[error("{0} clients cannot be planned for; 1 to {CLIENTS_PLANNED_MAX} can")]
    Clients(u32),
    /// Out of range; it does not happen for the clients above.
    #[error("{0}")]
    Traffic(TrafficError),
    /// Not positive, not a number, or out of range.
    #[error(
        "an epsilon of {0} is outside {least}..={most}: 1 hides a client well for an epoch, 8 a little, 0 would need endless \
         noise",
        least = EPSILON_RANGE.start(), most = EPSILON_RANGE.end()
    )]
    Epsilon(f64),
    /// No probability of failure.
    #[error("a delta of {0} promises nothing: it is a probability above 0 and below 1; 1e-6 is usual")]
    Delta(f64),
    /// The day has 24.
    #[error("{0} hours of a day cannot be busy; 1 to {BUSY_HOURS_MAX} can")]
    BusyHours(u32),
    /// Too long.
    #[error("a round trip of {} is too long; up to {} s is planned for", milliseconds(*.0), ROUND_TRIP_MAX.as_secs())]
    RoundTrip(Duration),
    /// No slot ends within an epoch.
    #[error(
        "an epoch of {} is shorter than a slot of {}; epochs are whole multiples of 5 s, slots at most 50 ms",
        milliseconds(*epoch), milliseconds(*slot)
    )]
    EpochBelowSlot {
        /// W.
        epoch: Duration,
        /// Of the grid.
        slot: Duration,
    },
    /// Epochs end at the network's edges.
    #[error("an epoch of {} does not end at the network's edges, whole multiples of 5 s up to an hour; {} s would",
        milliseconds(*epoch), fits.as_secs())]
    EpochOffEdges {
        /// W.
        epoch: Duration,
        /// The nearest that does.
        fits: Duration,
    },
    /// A quota that lets less than a cell through.
    #[error("Delta {} of {bytes} bytes is less than the {cell} bytes of one cell; take the largest answer or more", name(*direction))]
    DeltaBelowCell {
        /// Which way.
        direction: Direction,
        /// Delta.
        bytes: u64,
        /// Application bytes of a cell.
        cell: u64,
    },
    /// More than any class carries.
    #[error("Delta {} of {bytes} bytes is more than the fastest rate class carries in an epoch; {most} bytes would fit", name(*direction))]
    DeltaTooLarge {
        /// Which way.
        direction: Direction,
        /// Delta.
        bytes: u64,
        /// The largest.
        most: u64,
    },
    /// A quota below the traffic: what it holds back piles up for ever.
    #[error(
        "Delta {} of {bytes} bytes holds these clients back for ever, as each brings {needed} bytes into an epoch on \
         average; take {} bytes or more", name(*direction), needed.saturating_mul(2)
    )]
    DeltaBelowLoad {
        /// Which way.
        direction: Direction,
        /// Delta.
        bytes: u64,
        /// What a client brings.
        needed: u64,
    },
    /// More noise than there is.
    #[error(
        "epsilon {epsilon} for Delta {} of {bytes} bytes needs more noise than the sampler has; epsilon {least_epsilon:.3} or \
         more would do, or a smaller Delta", name(*direction)
    )]
    Sigma {
        /// Which way.
        direction: Direction,
        /// Delta.
        bytes: u64,
        /// What was asked for.
        epsilon: f64,
        /// What there is noise for.
        least_epsilon: f64,
    },
    /// Too many clients for any link.
    #[error("{clients} such clients are too many for the fastest rate class; about {most} would fit")]
    TooMuchLoad {
        /// As asked.
        clients: u32,
        /// About as many fit.
        most: u32,
    },
    /// Slots and network alone take longer.
    #[error(
        "no rate keeps a latency of {}: slots and network alone take {} on average; ask for more, or take shorter slots",
        milliseconds(*wanted), milliseconds(*least)
    )]
    LatencyBelowFloor {
        /// As asked.
        wanted: Duration,
        /// What slots, lead and network take.
        least: Duration,
    },
    /// Even the largest margin is not enough.
    #[error("even with the largest margin the latency is {}; ask for that, or raise Delta, which limits each client's speed",
        milliseconds(*best))]
    LatencyOutOfReach {
        /// What was reached.
        best: Duration,
    },
    /// Less than the traffic itself.
    #[error(
        "a budget of {:.1} GB a month is less than the {:.1} GB that this traffic fills with nothing hidden but its sizes; a \
         constant rate that carries it needs {:.1} GB", gigabytes(*budget), gigabytes(*traffic), gigabytes(*needed)
    )]
    BudgetBelowTraffic {
        /// As asked.
        budget: u64,
        /// The traffic in full packets.
        traffic: u64,
        /// The slowest constant classes that carry it.
        needed: u64,
    },
    /// More than the traffic, less than any mode.
    #[error("no mode carries this traffic within {:.1} GB a month; the cheapest needs {:.1} GB", gigabytes(*budget), gigabytes(*needed))]
    BudgetBelowModes {
        /// As asked.
        budget: u64,
        /// The least of them.
        needed: u64,
    },
}

/// A plan that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum PlanError {
    /// The wishes.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// Settings that do not fit together.
    #[error("{0}")]
    Settings(#[from] DpError),
    /// No noise.
    #[error("{0}")]
    Noise(#[from] RecommendError),
    /// No class.
    #[error("{0}")]
    Range(#[from] RangeError),
    /// No choice.
    #[error("{0}")]
    Stepped(#[from] SteppedError),
    /// A run that cannot be.
    #[error("{0}")]
    Run(#[from] RunError),
    /// A trace that cannot be.
    #[error("{0}")]
    Trace(#[from] TraceError),
    /// An experiment that cannot be.
    #[error("{0}")]
    Experiment(#[from] ExperimentError),
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds >= 1e4 { format!("{:.1} s", milliseconds / 1e3) } else { format!("{milliseconds:.0} ms") }
}
