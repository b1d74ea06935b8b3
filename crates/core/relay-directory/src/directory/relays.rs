//! What relays say of themselves.

use super::{CLOCK_SKEW_MAX_MS, DESCRIBES_MAX, Directory};
use crate::command::Withdrawal;
use crate::event::Event;
use crate::order::Admission;
use crate::refusal::Refusal;
use identity::NodeId;
use network_document::{Announcement, Parameters, Roles, SignedAnnouncement};
use std::sync::Arc;

impl Directory {
    /// Whether a relay's words would count now, its signature and its quota aside.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, said: &Announcement) -> Result<(), Refusal> {
        let admitted = self.admitted.get(&said.node_id()).ok_or(Refusal::NotAdmitted)?;
        let known_ms = self.relays.get(&said.node_id()).map_or(0, |known| known.announcement().published_ms);
        if said.published_ms <= admitted.floor_ms.max(known_ms) {
            return Err(Refusal::Old);
        }
        if said.published_ms > self.time_ms.saturating_add(CLOCK_SKEW_MAX_MS) {
            return Err(Refusal::Ahead);
        }
        if said.expires_ms <= self.time_ms {
            return Err(Refusal::Expired);
        }
        if said.expires_ms - said.published_ms > self.founding.lifetime_max_ms() {
            return Err(Refusal::Lasting);
        }
        if !is_within(said, &admitted.bounds) {
            return Err(Refusal::NotVouchedFor);
        }
        if !hops_within(said, &self.parameters) {
            return Err(Refusal::HopPorts);
        }
        let present = self.founding.key_interval(self.founding.index_at(self.time_ms)).0;
        let near = present..=present + 1;
        let intervals = || said.descriptor.onion_keys.iter().map(|(interval, _)| interval.0);
        if !intervals().any(|interval| near.contains(&interval)) || intervals().any(|interval| interval > present + 1) {
            return Err(Refusal::OnionKeys);
        }
        self.claims.check(said)
    }

    /// Whether a relay has said as much as counts in this interval, so that one more word of it is refused until the next one begins.
    pub fn is_over_quota(&self, node: &NodeId) -> bool {
        self.admitted.get(node).is_some_and(|admitted| admitted.described >= DESCRIBES_MAX)
    }

    pub(super) fn describe(&mut self, signed: Arc<SignedAnnouncement>, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let node = signed.node_id();
        self.judge(signed.announcement())?;
        let admitted = self.admitted.get_mut(&node).ok_or(Refusal::NotAdmitted)?;
        if admitted.described >= DESCRIBES_MAX {
            return Err(Refusal::Quota);
        }
        admitted.described += 1;
        if let Some(old) = self.relays.get(&node) {
            self.claims.free(old.announcement());
        }
        self.claims.take(signed.announcement());
        self.relays.insert(node, signed);
        events.push(Event::Described(node));
        Ok(())
    }

    pub(super) fn withdraw(&mut self, said: Withdrawal, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let admitted = self.admitted.get_mut(&said.node).ok_or(Refusal::NotAdmitted)?;
        let known = self.relays.get(&said.node).ok_or(Refusal::NotDescribed)?;
        // Said before what is known: a leftover, or an old one that somebody brings again.
        if said.until_ms <= admitted.floor_ms || said.until_ms < known.announcement().published_ms {
            return Err(Refusal::Old);
        }
        if said.until_ms > self.time_ms.saturating_add(CLOCK_SKEW_MAX_MS) {
            return Err(Refusal::Ahead);
        }
        admitted.floor_ms = said.until_ms;
        self.remove_relay(&said.node);
        events.push(Event::Withdrawn(said.node));
        Ok(())
    }

    /// True when it was there.
    pub(super) fn remove_relay(&mut self, node: &NodeId) -> bool {
        let Some(old) = self.relays.remove(node) else { return false };
        self.claims.free(old.announcement());
        true
    }
}

/// Whether a relay claims no more than operators vouch for.
pub(super) fn is_within(said: &Announcement, bounds: &Admission) -> bool {
    let (claimed, may) = (said.descriptor.roles, bounds.roles);
    let Roles { guard, middle, exit, directory } = claimed;
    let inner = (!guard || may.guard) && (!middle || may.middle);
    let roles = inner && (!exit || may.exit) && (!directory || may.directory);
    roles && said.descriptor.bandwidth <= bounds.bandwidth && said.descriptor.operator == bounds.operator
}

fn hops_within(said: &Announcement, parameters: &Parameters) -> bool {
    let Some(ports) = &said.descriptor.hop_ports else { return true };
    // Ranges of a set do not touch, so each lies in one range of the network's ports or not at all.
    let network = parameters.hop_ports.ranges();
    ports.ranges().iter().all(|range| network.iter().any(|of| of.first() <= range.first() && range.last() <= of.last()))
}
