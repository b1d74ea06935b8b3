//! What a client does before the events of a turn.

use std::time::Instant;

use super::{Client, Route};
use crate::engine::{FLOWS_A_TURN_MAX, Moment};
use crate::table::Key;

impl Client {
    /// Ends idle flows, and lets those hop whose time has come.
    pub(super) fn expire_and_tend(&mut self, moment: Moment) {
        self.peers.poll(moment.now);
        for _ in 0..FLOWS_A_TURN_MAX {
            let Some(key) = self.timers.pop_due(moment.now) else { return };
            let Some(flow) = self.flows.get_mut(key) else { continue };
            flow.timer = None;
            if moment.now >= flow.active + self.common.idle_timeout {
                self.close(key);
                self.counters.expired += 1;
            } else {
                self.tend(key, moment);
            }
        }
    }

    /// Looks at one flow's way, and sets when to look again.
    pub(super) fn tend(&mut self, key: Key, moment: Moment) {
        match self.flows.get(key).map(|flow| &flow.route) {
            Some(Route::Keyless(_)) => self.tend_keyless(key, moment),
            Some(Route::Keyed(_)) => self.tend_keyed(key, moment),
            None => return,
        }
        let Some(flow) = self.flows.get_mut(key) else { return };
        let wake_at: Instant = match &flow.route {
            Route::Keyless(route) => route.wake_at(),
            Route::Keyed(route) => route.wake_at(moment),
        };
        let at = wake_at.min(flow.active + self.common.idle_timeout);
        // What is overdue now and could not be done is tried again a little later.
        let at = if at <= moment.now { moment.now + super::TROUBLE_GAP } else { at };
        self.timers.set(key, &mut flow.timer, at);
    }

    /// Looks at all flows that have no way: an address has become known.
    pub(super) fn tend_waiting(&mut self, moment: Moment) {
        let waiting: Vec<Key> =
            self.flows.iter().filter(|(_, flow)| flow.way().is_none()).map(|(key, _)| key).collect();
        for key in waiting {
            self.tend(key, moment);
        }
    }
}
