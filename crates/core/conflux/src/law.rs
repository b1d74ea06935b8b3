//! How much may be under way on a leg, and how fast it goes out: one controller per leg, in mode `off`.
//!
//! Both read the same feedback. Which one a tunnel uses was chosen by measurement (docs/measurements/conflux.md).

mod delay;
mod rate;

use crate::flight::Progress;
use delay::DelayLaw;
use rate::RateLaw;
use std::time::{Duration, Instant};

/// Data cells that a leg may have under way before its first feedback: more than the start of a page (50 KB), so that no leg
/// gets more of it by answering early.
pub const WINDOW_FIRST: u64 = 64;
/// The smallest window: feedback may wait for this many cells, so a smaller one would wait for its delay each time.
pub const WINDOW_MIN: u64 = 16;
/// The largest window, below [`crate::FLIGHT_CELLS_MAX`]: 100 Mbit/s and 1.3 s. Above it a leg is slower than it could be.
pub const WINDOW_MAX: u64 = 12_288;

/// Assumed until linking or feedback has measured it.
const RTT_ASSUMED: Duration = Duration::from_millis(100);

/// Which controller the legs of a tunnel have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegControl {
    /// By measured rate and shortest round trip, in the manner of BBR. Random loss hardly slows it.
    #[default]
    Rate,
    /// By the growth of the round trip, in the manner of Vegas and of Tor's proposal 324, and by loss.
    Delay,
}

/// The controller of one leg.
#[derive(Debug, Clone)]
pub(crate) enum Law {
    Rate(RateLaw),
    Delay(DelayLaw),
}

impl Law {
    pub(crate) fn new(kind: LegControl) -> Self {
        match kind {
            LegControl::Rate => Self::Rate(RateLaw::new()),
            LegControl::Delay => Self::Delay(DelayLaw::new()),
        }
    }

    /// Data cells that may be under way.
    pub(crate) fn window(&self) -> u64 {
        let window = match self {
            Self::Rate(law) => law.window(),
            Self::Delay(law) => law.window(),
        };
        window.clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// Cells a second at which they leave. `rtt` is what linking or feedback has measured.
    pub(crate) fn pace(&self, rtt: Option<Duration>) -> f64 {
        let rtt = rtt.unwrap_or(RTT_ASSUMED).as_secs_f64().max(0.000_1);
        match self {
            Self::Rate(law) => law.pace(rtt),
            // Windows of a whole round trip at once would overflow short queues.
            Self::Delay(law) => 1.25 * law.window() as f64 / rtt,
        }
    }

    /// Cells a second that the leg is thought to deliver.
    pub(crate) fn rate(&self, rtt: Option<Duration>) -> f64 {
        let rtt = rtt.unwrap_or(RTT_ASSUMED).as_secs_f64().max(0.000_1);
        match self {
            Self::Rate(law) => law.rate(rtt),
            Self::Delay(law) => law.window() as f64 / rtt,
        }
    }

    /// The shortest round trip of late: what the leg takes without a queue.
    pub(crate) fn shortest_rtt(&self) -> Option<Duration> {
        match self {
            Self::Rate(law) => law.shortest_rtt(),
            Self::Delay(law) => law.shortest_rtt(),
        }
    }

    /// Takes new feedback. `received`: all that the other end has of this leg; `in_flight`: data cells now.
    pub(crate) fn handle_progress(&mut self, now: Instant, progress: &Progress, received: u64, in_flight: u64) {
        match self {
            Self::Rate(law) => law.handle_progress(now, progress, received, in_flight),
            Self::Delay(law) => law.handle_progress(progress, received, in_flight),
        }
    }

    /// The leg was silent and answers again: nothing that was learnt before is trusted.
    pub(crate) fn restart(&mut self) {
        *self = match self {
            Self::Rate(_) => Self::new(LegControl::Rate),
            Self::Delay(_) => Self::new(LegControl::Delay),
        };
    }
}
