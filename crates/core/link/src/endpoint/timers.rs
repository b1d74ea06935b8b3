//! Time: one ordered set of (instant, slot), in which a link stands at most once.

use super::Endpoint;
use crate::event::{DownReason, LinkEvent, LinkId, Now};
use crate::state::UNCONFIRMED_LIFETIME;
use std::time::Instant;

impl Endpoint {
    /// When [`Endpoint::handle_timeout`] has something to do. It may turn out to be less than was thought.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The links for which something is due by now, packets of their own perhaps: so that a node with many links asks none of
    /// the others. Only [`Endpoint::handle_timeout`] takes a link out again.
    pub fn due_links(&self, now: Now) -> impl Iterator<Item = LinkId> {
        self.timers.range(..=(now.instant, u32::MAX)).map(|(_, slot)| self.id_of(*slot))
    }

    /// Does what is due. Afterwards there may be events and, without a grid, packets of the links' own.
    pub fn handle_timeout(&mut self, now: Now) {
        let instant = now.instant;
        let mut due = self.timers.split_off(&(instant, u32::MAX));
        std::mem::swap(&mut due, &mut self.timers);
        for (_, slot) in &due {
            self.at(*slot).armed = None;
        }
        for (_, slot) in due {
            // A link that an earlier one of this round took down is gone.
            if self.links[slot as usize].state.is_some() {
                self.link_timeout(instant, slot);
            }
        }
    }

    fn link_timeout(&mut self, now: Instant, slot: u32) {
        let config = &self.config;
        let state = self.links[slot as usize].state.as_mut().expect("looked at by the caller");
        let unconfirmed = state.next.take_if(|next| now >= next.asked_at + UNCONFIRMED_LIFETIME).map(|next| next.keys);
        let mut previous = None;
        let (mut quiet, mut down) = (false, false);
        if let Some(up) = &mut state.up {
            previous = up.previous.take_if(|(_, until)| now >= *until).map(|(keys, _)| keys);
            up.path.handle_timeout(now);
            down = up.liveness.is_down(now, config);
            quiet = !down && up.liveness.becomes_quiet(now, config);
        }
        let half_open_is_over = state.up.is_none() && state.next.is_none() && state.dial.is_none();
        let (link, dials) = (state.id, state.dial.is_some());
        if (quiet || down)
            && let Some(dial) = &mut state.dial
        {
            dial.restart(now);
        }
        self.forget_keys(slot, unconfirmed);
        self.forget_keys(slot, previous);
        if down {
            self.take_down(slot, DownReason::Silent, dials);
        } else if half_open_is_over {
            self.take_down(slot, DownReason::Silent, false);
        } else {
            if quiet {
                self.emit(LinkEvent::Quiet { link });
            }
            self.hops_timeout(now, slot);
            self.arm(slot);
        }
    }

    /// Makes sure that the link's next deadline is kept. A timer that turns out too early is put right when it fires.
    pub(super) fn arm(&mut self, slot: u32) {
        let state = self.links[slot as usize].state.as_mut().expect("armed by somebody who holds it");
        let Some(deadline) = state.deadline(&self.config) else { return };
        if state.armed.is_none_or(|armed| deadline < armed) {
            if let Some(armed) = state.armed.replace(deadline) {
                self.timers.remove(&(armed, slot));
            }
            self.timers.insert((deadline, slot));
        }
    }
}
