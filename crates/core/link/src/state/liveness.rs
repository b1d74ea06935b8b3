//! When a link was last heard, and what its silence means.

use crate::config::EndpointConfig;
use std::time::{Duration, Instant};

/// Without a grid, the initiator's cover cell keeps NATs open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Without a grid nothing may be said for a while: four keep-alives.
const OFF_DOWN_MIN: Duration = Duration::from_secs(60);

/// Silence of one link.
pub(crate) struct Liveness {
    last_heard: Instant,
    last_sent: Instant,
    /// First cell that wants an answer and came after everything that was heard.
    unanswered_since: Option<Instant>,
    quiet: bool,
}

impl Liveness {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last_heard: now, last_sent: now, unanswered_since: None, quiet: false }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// An authenticated packet came; true when the link was quiet.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.last_heard = now;
        self.unanswered_since = None;
        std::mem::take(&mut self.quiet)
    }

    /// A packet went out; true when it is the first that wants an answer.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, wants_answer: bool) -> bool {
        self.last_sent = now;
        let first = wants_answer && self.unanswered_since.is_none();
        if first {
            self.unanswered_since = Some(now);
        }
        first
    }

    /// Without a grid, when a cover cell is due.
    pub(crate) fn keep_alive_at(&self) -> Instant {
        self.last_sent + KEEP_ALIVE
    }

    /// When the silence becomes long enough for the peer to be doubted.
    fn quiet_at(&self, config: &EndpointConfig) -> Option<Instant> {
        let since = if config.gridded { Some(self.last_heard) } else { self.unanswered_since };
        since.map(|since| since + config.dead_after)
    }

    /// When the link is given up.
    fn down_at(&self, config: &EndpointConfig) -> Instant {
        let least = if config.gridded { Duration::ZERO } else { OFF_DOWN_MIN };
        self.last_heard + config.down_after.max(least)
    }

    pub(crate) fn deadline(&self, config: &EndpointConfig) -> Instant {
        let quiet_at = self.quiet_at(config).filter(|_| !self.quiet);
        quiet_at.map_or(self.down_at(config), |at| at.min(self.down_at(config)))
    }

    /// True when the link becomes quiet now.
    pub(crate) fn becomes_quiet(&mut self, now: Instant, config: &EndpointConfig) -> bool {
        let quiet = !self.quiet && self.quiet_at(config).is_some_and(|at| now >= at);
        self.quiet |= quiet;
        quiet
    }

    pub(crate) fn is_down(&self, now: Instant, config: &EndpointConfig) -> bool {
        now >= self.down_at(config)
    }
}
