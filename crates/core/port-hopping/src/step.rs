//! One hop in progress: candidates are opened one after the other and probed until one answers (make before break).

use crate::causes::Cause;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a round trip may take longer than the last ones before the next candidate is tried beside.
const PATIENCE_MARGIN: Duration = Duration::from_millis(15);
/// Probes of one candidate. The gaps between them double.
const PROBES_MAX: u32 = 4;
/// How long the last candidate is waited for, at least.
const LAST_PATIENCE_MIN: Duration = Duration::from_millis(500);
/// A step that gets no slot and no socket for so long has failed.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Names one socket of one link; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) u32);

impl SocketId {
    /// A number that no other socket of the same link has.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A candidate that was opened.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) id: SocketId,
    pub(crate) remote: SocketAddr,
    /// Bound; before that nothing can be sent.
    open: bool,
    probes: u32,
    first_probe_at: Option<Instant>,
    next_probe_at: Instant,
}

impl Try {
    /// How many probes were sent on it.
    pub(crate) fn probes(&self) -> u32 {
        self.probes
    }

    /// When it was first probed; a path that was alive since then says something about this port.
    pub(crate) fn first_probe_at(&self) -> Option<Instant> {
        self.first_probe_at
    }
}

/// What a step wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StepState {
    /// Nothing until [`Step::poll_timeout`].
    Waiting,
    /// This candidate is to be opened.
    Open(SocketAddr),
    /// No candidate has answered.
    Failed,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) cause: Cause,
    /// The hop index that is tried for; a window's number for a hopper without an index.
    pub(crate) index: u64,
    /// Best first.
    candidates: VecDeque<SocketAddr>,
    tries: Vec<Try>,
    rtt: Duration,
    next_candidate_at: Instant,
    ends_at: Instant,
}

impl Step {
    pub(crate) fn new(now: Instant, rtt: Duration, cause: Cause, index: u64, candidates: Vec<SocketAddr>) -> Self {
        let (candidates, ends_at) = (candidates.into(), now + STEP_MAX.max(20 * rtt));
        Self { cause, index, candidates, tries: Vec::new(), rtt, next_candidate_at: now, ends_at }
    }

    pub(crate) fn tries(&self) -> &[Try] {
        &self.tries
    }

    pub(crate) fn find(&self, id: SocketId) -> Option<&Try> {
        self.tries.iter().find(|tried| tried.id == id)
    }

    /// Sockets that the step may have open at once.
    pub(crate) fn sockets(&self) -> usize {
        self.tries.len() + self.candidates.len()
    }

    pub(crate) fn poll(&mut self, now: Instant) -> StepState {
        if now >= self.ends_at {
            return StepState::Failed;
        }
        if now >= self.next_candidate_at
            && let Some(remote) = self.candidates.pop_front()
        {
            // Until its first probe has left there is nothing to be impatient about.
            self.next_candidate_at = self.ends_at;
            return StepState::Open(remote);
        }
        if self.tries.is_empty() && self.candidates.is_empty() { StepState::Failed } else { StepState::Waiting }
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        if self.candidates.is_empty() { self.ends_at } else { self.next_candidate_at.min(self.ends_at) }
    }

    pub(crate) fn push(&mut self, now: Instant, id: SocketId, remote: SocketAddr) {
        self.tries.push(Try { id, remote, open: false, probes: 0, first_probe_at: None, next_probe_at: now });
    }

    /// The socket of a candidate is there; returns where it sends to.
    pub(crate) fn handle_opened(&mut self, now: Instant, id: SocketId) -> Option<SocketAddr> {
        let tried = self.tries.iter_mut().find(|tried| tried.id == id)?;
        (tried.open, tried.next_probe_at) = (true, now);
        Some(tried.remote)
    }

    /// The candidates that were asked at least a round trip before the one that answered, and did not.
    pub(crate) fn silent_beside(&self, now: Instant, answered: SocketId) -> impl Iterator<Item = SocketAddr> {
        let silent = move |tried: &&Try| tried.first_probe_at.is_some_and(|probed| now >= probed + 2 * self.rtt);
        self.tries.iter().filter(move |tried| tried.id != answered).filter(silent).map(|tried| tried.remote)
    }

    /// A candidate that cannot be used; the next one is tried at once. False if it is not one of this step's.
    pub(crate) fn handle_failed(&mut self, now: Instant, id: SocketId) -> bool {
        let before = self.tries.len();
        self.tries.retain(|tried| tried.id != id);
        let found = self.tries.len() < before;
        if found {
            self.next_candidate_at = now;
            if self.candidates.is_empty() {
                self.ends_at = self.ends_at.min(now + self.last_patience());
            }
        }
        found
    }

    /// The candidate that wants a probe most, if one is due; the caller sends it at once.
    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<SocketId> {
        let (last, last_patience) = (self.candidates.is_empty(), self.last_patience());
        let patience = self.rtt + PATIENCE_MARGIN;
        let due = self.tries.iter_mut().filter(|tried| tried.probe_at().is_some_and(|at| now >= at));
        let tried = due.min_by_key(|tried| (tried.probes, tried.next_probe_at))?;
        tried.next_probe_at = now + patience * (1 << tried.probes);
        tried.probes += 1;
        if tried.first_probe_at.is_none() {
            tried.first_probe_at = Some(now);
            self.next_candidate_at = now + patience;
            if last {
                self.ends_at = now + last_patience;
            }
        }
        Some(tried.id)
    }

    fn last_patience(&self) -> Duration {
        LAST_PATIENCE_MIN.max(4 * (self.rtt + PATIENCE_MARGIN))
    }

    /// When a probe is due.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.tries.iter().filter_map(Try::probe_at).min()
    }
}

impl Try {
    fn probe_at(&self) -> Option<Instant> {
        (self.open && self.probes < PROBES_MAX).then_some(self.next_probe_at)
    }
}
