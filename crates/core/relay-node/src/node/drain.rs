//! How a relay is stopped without cutting anybody off who is about to be done.

use super::RelayNode;
use crate::event::NodeEvent;
use link::Now;
use onion::Reason;
use std::time::{Duration, Instant};

/// Circuits that are ended in one step, so that what neighbours are told has room.
pub const DESTROYED_A_STEP_MAX: usize = 64;
/// How long neighbours are told of the last ended circuits, if they do not say before that they know.
pub const DRAIN_LINGER: Duration = Duration::from_secs(3);
/// From one step to the next.
const STEP: Duration = Duration::from_millis(10);

/// A relay that is being stopped.
pub(super) struct Drain {
    /// When circuits that are left are ended, or the next step.
    next: Instant,
    /// Until when ended circuits are told of; set with the last one.
    until: Option<Instant>,
    over: bool,
}

impl Drain {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.over).then_some(self.next)
    }
}

impl RelayNode {
    /// From now on refuses new circuits and extensions, by name. Circuits that are left after `wait` are ended, and
    /// their clients told so. [`NodeEvent::Drained`] says when nothing is left. A second call can only shorten the wait.
    pub fn drain(&mut self, now: Now, wait: Duration) {
        self.relay.drain();
        let at = now.instant + wait;
        let drain = self.drain.get_or_insert(Drain { next: at, until: None, over: false });
        drain.next = drain.next.min(at);
        self.go_on_draining(now);
    }

    pub(super) fn go_on_draining(&mut self, now: Now) {
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.over) else { return };
        let empty = self.relay.circuits() == 0;
        if empty {
            let until = *drain.until.get_or_insert(now.instant + DRAIN_LINGER);
            drain.over = now.instant >= until || !self.relay.is_leaving();
            drain.next = now.instant + STEP;
            if drain.over {
                self.tell(NodeEvent::Drained);
            }
        } else if now.instant >= drain.next {
            drain.next = now.instant + STEP;
            self.relay.destroy_some(now.instant, Reason::Draining, DESTROYED_A_STEP_MAX);
            self.follow_relay(now);
        }
    }
}
