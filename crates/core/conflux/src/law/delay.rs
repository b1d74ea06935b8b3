//! By the growth of the round trip: the part of the window that waits in queues is held between two bounds. In the manner
//! of Vegas (Brakmo and Peterson, 1994) and of Tor's proposal 324; a round that loses much takes the window down as well.

use super::{WINDOW_FIRST, WINDOW_MAX, WINDOW_MIN};
use crate::flight::Progress;
use std::time::Duration;

/// Cells in queues below which the window grows, and above which it shrinks.
const QUEUE_LOW: f64 = 16.0;
const QUEUE_HIGH: f64 = 32.0;
/// Cells in queues that end the start.
const QUEUE_START: f64 = 32.0;
/// A round that loses more than this part is one of congestion, even if no delay shows it.
const LOSS_MAX: f64 = 0.02;
const LOSS_FACTOR: f64 = 0.85;
/// Change of the window in a round, as a part of it.
const STEP: f64 = 1.0 / 64.0;

/// The law by delay.
#[derive(Debug, Clone)]
pub(crate) struct DelayLaw {
    window: f64,
    starting: bool,
    min_rtt: Option<Duration>,
    rtt: Option<Duration>,
    round_ends_at: u64,
    lost_in_round: u64,
    delivered_in_round: u64,
}

impl DelayLaw {
    pub(super) fn new() -> Self {
        Self {
            window: WINDOW_FIRST as f64,
            starting: true,
            min_rtt: None,
            rtt: None,
            round_ends_at: 0,
            lost_in_round: 0,
            delivered_in_round: 0,
        }
    }

    pub(super) fn shortest_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    pub(super) fn handle_progress(&mut self, progress: &Progress, received: u64, in_flight: u64) {
        if let Some(rtt) = progress.rtt {
            self.min_rtt = Some(self.min_rtt.map_or(rtt, |shortest| shortest.min(rtt)));
            self.rtt = Some(self.rtt.map_or(rtt, |smoothed| (smoothed + rtt) / 2));
        }
        self.lost_in_round += progress.lost;
        self.delivered_in_round += progress.delivered;
        let is_used = in_flight + progress.delivered + WINDOW_MIN * 2 >= self.window as u64;
        if self.starting && is_used {
            self.window += progress.delivered as f64;
        }
        if self.starting && self.queued() >= QUEUE_START {
            self.starting = false;
            self.window -= self.queued() - QUEUE_START;
        }
        if progress.delivered_at_send >= self.round_ends_at {
            self.round_ends_at = received;
            self.end_round(is_used);
        }
        self.window = self.window.clamp(WINDOW_MIN as f64, WINDOW_MAX as f64);
    }

    fn end_round(&mut self, is_used: bool) {
        let lost = self.lost_in_round as f64;
        if lost > LOSS_MAX * (lost + self.delivered_in_round as f64) {
            self.starting = false;
            self.window *= LOSS_FACTOR;
        } else if !self.starting && self.queued() > QUEUE_HIGH {
            self.window -= (self.window * STEP).max(1.0);
        } else if !self.starting && self.queued() < QUEUE_LOW && is_used {
            self.window += (self.window * STEP).max(1.0);
        }
        (self.lost_in_round, self.delivered_in_round) = (0, 0);
    }

    /// The part of the window that waits in queues.
    fn queued(&self) -> f64 {
        let (Some(shortest), Some(rtt)) = (self.min_rtt, self.rtt) else { return 0.0 };
        self.window * (1.0 - shortest.as_secs_f64() / rtt.as_secs_f64().max(1e-6))
    }
}
