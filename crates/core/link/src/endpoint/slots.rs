//! Where links are kept, and how they come up, change keys and go down.

use super::Endpoint;
use crate::admission::Source;
use crate::config::Parameters;
use crate::event::{DownReason, LinkEvent, LinkId};
use crate::keyset::KeySet;
use crate::route::Route;
use crate::schedule::HeaderMask;
use crate::state::{Boots, Dial, LinkState, Up};
use identity::{LinkKey, NodeId};
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// A place for a link, used again for later ones.
pub(super) struct Slot {
    /// Raised each time the slot is emptied.
    generation: u32,
    pub(super) state: Option<Box<LinkState>>,
}

/// What a finished handshake at a door says.
pub(super) struct Met {
    pub(super) keys: KeySet,
    pub(super) address: Route,
    pub(super) rtt: Duration,
    pub(super) parameters: Parameters,
    pub(super) boot: u32,
}

impl Endpoint {
    pub(super) fn state(&self, link: LinkId) -> Option<&LinkState> {
        self.links.get(link.slot as usize)?.state.as_deref().filter(|state| state.id == link)
    }

    pub(super) fn state_mut(&mut self, link: LinkId) -> Option<&mut LinkState> {
        self.links.get_mut(link.slot as usize)?.state.as_deref_mut().filter(|state| state.id == link)
    }

    /// The link in a slot that a table of this endpoint named.
    pub(super) fn at(&mut self, slot: u32) -> &mut LinkState {
        self.links[slot as usize].state.as_mut().expect("tables name only slots that are taken")
    }

    pub(super) fn id_of(&self, slot: u32) -> LinkId {
        LinkId { slot, generation: self.links[slot as usize].generation }
    }

    pub(super) fn is_slot_up(&self, slot: u32) -> bool {
        self.links[slot as usize].state.as_ref().is_some_and(|state| state.up.is_some())
    }

    pub(super) fn add_link(
        &mut self,
        peer: LinkKey,
        node_id: Option<NodeId>,
        index_mask: HeaderMask,
        dial: Option<Dial>,
    ) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.links.push(Slot { generation: 0, state: None });
            self.links.len() as u32 - 1
        });
        let id = self.id_of(slot);
        let state = LinkState {
            id,
            peer,
            node_id,
            index_mask,
            dial,
            source: None,
            half_open: None,
            up: None,
            next: None,
            boots: Boots::default(),
            hops: None,
            armed: None,
        };
        self.links[slot as usize].state = Some(Box::new(state));
        slot
    }

    /// Counts an accepted link against where it comes from.
    pub(super) fn charge_source(&mut self, slot: u32, source: Source) {
        self.sources.add(source);
        self.at(slot).source = Some(source);
    }

    /// Puts an accepted link into the order of half-open ones.
    pub(super) fn mark_half_open(&mut self, slot: u32) {
        let order = self.half_open_count;
        self.half_open_count += 1;
        self.half_open.insert(order, slot);
        self.at(slot).half_open = Some(order);
    }

    /// Makes the indices of keys lead to a slot; false when another link has one of them.
    pub(super) fn learn_keys(&mut self, slot: u32, keys: &KeySet) -> bool {
        let all = keys.receive_indices().all(|index| self.table.insert(index, slot));
        if !all {
            // What is not there, or another link's, stays as it is.
            keys.receive_indices().for_each(|index| self.table.remove(index, slot));
        }
        all
    }

    /// Erases keys, so that their indices lead nowhere.
    pub(super) fn forget_keys(&mut self, slot: u32, keys: Option<KeySet>) {
        if let Some(keys) = keys {
            keys.receive_indices().for_each(|index| self.table.remove(index, slot));
        }
    }

    /// A handshake at a door is finished and, at the responder, confirmed: its keys carry the link from now on.
    pub(super) fn bring_up(&mut self, now: Instant, slot: u32, met: Met) {
        let rekey_at = self.rekey_instant(now);
        let state = self.at(slot);
        let (fresh, returned) = state.boots.met(met.boot);
        let half_open = state.half_open.take();
        let (link, link_key, node_id) = (state.id, state.peer, state.node_id);
        let old = state.up.take();
        let was_up = old.is_some();
        let mut up = Up::new(now, met.keys, met.address, met.rtt, rekey_at);
        let mut fallen = None;
        if let Some(old) = old {
            let until = old.previous_until(now);
            fallen = old.previous.map(|(keys, _)| keys);
            up.previous = Some((old.keys, until));
        }
        let dialled = state.dial.is_some();
        if let Some(dial) = &mut state.dial {
            dial.pending = None;
            dial.restart(now);
            up.expect_confirmation(now);
            up.liveness.sent(now, true);
        }
        state.up = Some(up);
        self.forget_keys(slot, fallen);
        self.hops_through_door(now, slot);
        if let Some(order) = half_open {
            self.half_open.remove(&order);
        }
        let (parameters, rtt) = (met.parameters, met.rtt);
        self.emit(if was_up {
            LinkEvent::Replaced { link, parameters, rtt, fresh }
        } else {
            LinkEvent::Up { link, link_key, node_id, parameters, rtt, fresh, dialled }
        });
        if returned {
            self.emit(LinkEvent::SameKeyElsewhere { link });
        }
        self.arm(slot);
        self.settle_crossing(link_key);
    }

    /// When keys that are made now are old: the interval, a tenth more or less.
    pub(super) fn rekey_instant(&mut self, now: Instant) -> Instant {
        let tenth = self.config.rekey_after / 10;
        now + self.config.rekey_after - tenth + 2 * tenth * (self.rng.next_u32() >> 16) / (1 << 16)
    }

    /// When both ends have dialled each other, the link dialled by the smaller node id stays.
    pub(super) fn settle_crossing(&mut self, peer: LinkKey) {
        let (Some(&dialled), Some(&accepted)) = (self.dialled.get(&peer), self.accepted.get(&peer)) else { return };
        let Some(peer_id) = self.at(dialled).node_id else { return };
        if self.config.node_id < peer_id {
            if self.is_slot_up(dialled) {
                self.take_down(accepted, DownReason::Crossed, false);
            }
        } else if self.is_slot_up(accepted) {
            if let Some(dial) = &mut self.at(dialled).dial {
                dial.parked = true;
                dial.pending = None;
            }
            if self.is_slot_up(dialled) {
                self.take_down(dialled, DownReason::Crossed, true);
            }
        }
    }

    /// Erases a link's keys; the link itself too, unless it is a dial that goes on.
    pub(super) fn take_down(&mut self, slot: u32, reason: DownReason, dial_goes_on: bool) {
        let state = self.at(slot);
        let (link, peer) = (state.id, state.peer);
        let up = state.up.take();
        let next = state.next.take().map(|next| next.keys);
        let was_up = up.is_some();
        self.forget_keys(slot, next);
        if let Some(up) = up {
            self.forget_keys(slot, up.previous.map(|(keys, _)| keys));
            self.forget_keys(slot, Some(up.keys));
        }
        self.hops_down(slot, dial_goes_on);
        if dial_goes_on {
            self.arm(slot);
        } else {
            self.remove(slot);
        }
        if was_up {
            self.emit(LinkEvent::Down { link, reason });
        }
        // The peer's link is gone: this node's own dial has its turn.
        if !dial_goes_on && let Some(&own) = self.dialled.get(&peer).filter(|own| **own != slot) {
            if let Some(dial) = self.at(own).dial.as_mut().filter(|dial| dial.parked) {
                dial.parked = false;
            }
            self.arm(own);
        }
    }

    /// Empties a slot whose keys are erased.
    fn remove(&mut self, slot: u32) {
        let place = &mut self.links[slot as usize];
        let Some(state) = place.state.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        if let Some(armed) = state.armed {
            self.timers.remove(&(armed, slot));
        }
        match &state.dial {
            Some(dial) => {
                if dial.own.is_none() {
                    self.dialled.remove(&state.peer);
                }
                self.dial_addresses.remove(&(dial.via, dial.address));
            }
            None => {
                self.accepted.remove(&state.peer);
                self.strangers -= u32::from(state.node_id.is_none());
            }
        }
        if let Some(source) = state.source {
            self.sources.remove(source);
        }
        if let Some(order) = state.half_open {
            self.half_open.remove(&order);
        }
    }
}
