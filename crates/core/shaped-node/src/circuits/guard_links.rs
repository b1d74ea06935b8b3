//! Links to guards: dialled when a path needs one, given up when another guard takes its place.

use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::node::NodeEvent;
use identity::{DoorKey, LinkKey, NodeId};
use link::{Endpoint, LinkEvent, LinkId, Now, Peer, Via};
use std::time::{Duration, Instant};
use tunnel_plan::Way;
use wire::cell::CircuitId;

/// How long a guard may be silent, or not answer its first handshake, before another one is looked for.
const GUARD_PATIENCE: Duration = Duration::from_secs(4);
/// The same when several guards are in use and none is heard: then it is this node's own network that is away, and others would
/// be shown to it for nothing. Less than sessions live without a leg, so that something is tried before they end.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(16);

/// A link to a guard.
pub(super) struct GuardLink {
    pub(super) node: NodeId,
    /// From where it is dialled, and to where.
    pub(super) way: Way,
    /// Tells it apart from all others.
    pub(super) number: u16,
    /// The keys that it is dialled with.
    pub(super) link_key: LinkKey,
    pub(super) door_key: DoorKey,
    pub(super) up: bool,
    pub(super) rtt: Duration,
    pub(super) loss_per_mille: u16,
    /// Since when it is dialled or silent, or was last found so.
    pub(super) silent_since: Option<Instant>,
    /// The circuit that had the last slot.
    pub(super) turn: CircuitId,
}

impl Shared {
    /// When another guard is looked for in place of one that is silent.
    pub(super) fn patience_ends(&self, guard: &GuardLink) -> Option<Instant> {
        let patience = if self.is_outage() { OUTAGE_PATIENCE } else { GUARD_PATIENCE };
        guard.silent_since.map(|since| since + patience)
    }

    /// Whether anything can go over a link. In shaped modes that takes a share of the schedule.
    pub(super) fn has_slots(&self, link: LinkId) -> bool {
        self.uplink.as_ref().is_none_or(|uplink| uplink.share_of(link).is_some())
    }

    pub(super) fn is_up(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.up)
    }

    /// The link to a relay over a way, which is dialled unless it is there. Each has a key of its own, so relays that
    /// compare keys do not find one client in two of them.
    pub(super) fn link_to(&mut self, now: Now, endpoint: &mut Endpoint, guard: NodeId, way: Way) -> Option<LinkId> {
        if let Some((link, _)) = self.links.iter().find(|(_, link)| link.node == guard && link.way == way) {
            return Some(*link);
        }
        let relay = self.document.relay(&guard)?;
        let peer = Peer { node_id: guard, link_key: relay.link_key, door_key: relay.door_key.clone() };
        let via = Via(way.near.into());
        let link = endpoint.dial_from(now, via, &peer, way.far, [0; link::PARAMETERS_LEN]).ok()?;
        self.newest_link = self.newest_link.wrapping_add(1);
        let (number, silent_since) = (self.newest_link, Some(now.instant));
        let Peer { node_id: node, link_key, door_key } = peer;
        let (rtt, turn) = (Duration::ZERO, CircuitId::LINK);
        let (up, loss_per_mille) = (false, 0);
        let guard = GuardLink { node, way, number, link_key, door_key, up, rtt, loss_per_mille, silent_since, turn };
        self.links.insert(link, guard);
        Some(link)
    }

    /// Ends a link that no circuit needs any more.
    pub(super) fn forget_link(&mut self, link: LinkId, endpoint: &mut Endpoint) {
        self.links.remove(&link);
        if let Some(uplink) = &mut self.uplink {
            uplink.remove_link(link);
        }
        endpoint.close(link);
    }
}

impl Circuits {
    pub(crate) fn handle_link_event(&mut self, now: Now, event: LinkEvent) {
        match event {
            LinkEvent::Up { link, rtt, fresh, .. } | LinkEvent::Replaced { link, rtt, fresh, .. } => {
                self.handle_up(now, link, rtt, fresh);
                self.shared.events.push(NodeEvent::LinkUp(link, rtt));
            }
            LinkEvent::Quiet { link } => {
                if let Some(guard) = self.shared.links.get_mut(&link) {
                    guard.silent_since = Some(now.instant);
                }
                self.ask_others(now.instant, link);
                self.shared.events.push(NodeEvent::LinkQuiet(link));
            }
            LinkEvent::Back { link } => {
                self.hear_again(now.instant, link);
                self.shared.events.push(NodeEvent::LinkBack(link));
            }
            LinkEvent::Down { link, .. } => {
                if let Some(guard) = self.shared.links.get_mut(&link) {
                    (guard.up, guard.silent_since) = (false, Some(now.instant));
                }
                self.lose_circuits(now.instant, link);
                self.shared.events.push(NodeEvent::LinkDown(link));
            }
            LinkEvent::Report { link, figures } => {
                let loss = u16::try_from(figures.outbound.per_mille()).unwrap_or(u16::MAX);
                if let Some(guard) = self.shared.links.get_mut(&link) {
                    guard.loss_per_mille = loss;
                }
                if let Some(uplink) = &mut self.shared.uplink {
                    uplink.handle_loss(link, loss, now.unix_s);
                }
            }
            LinkEvent::WrongVersion { link, .. } => self.shared.events.push(NodeEvent::PeerIncompatible(link)),
            // That a guard does not answer has its own consequences here.
            LinkEvent::Unanswered { .. } => {}
            LinkEvent::Hopped { link, index, cause } => self.shared.events.push(NodeEvent::Hopped(link, index, cause)),
            // An entry has no door, and its link key is its own.
            LinkEvent::AcceptedEphemeral { .. } | LinkEvent::SameKeyElsewhere { .. } => {}
            LinkEvent::Rekeyed { .. } | LinkEvent::PeerAddressChanged { .. } => {}
        }
    }

    /// Keys are agreed. `fresh`: with another process than before, which has none of the circuits.
    fn handle_up(&mut self, now: Now, link: LinkId, rtt: Duration, fresh: bool) {
        self.hear_again(now.instant, link);
        let Some(guard) = self.shared.links.get_mut(&link) else { return };
        (guard.up, guard.rtt, guard.silent_since) = (true, rtt, None);
        let node = guard.node;
        if self.shared.guards.handle_answered(now.unix_s, &node, &mut self.shared.rng) {
            self.shared.store_guards();
        }
        if fresh {
            self.lose_circuits(now.instant, link);
        }
        // A place that had found no guard may find this one.
        for place in self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places) {
            if place.stage.link() == Some(link) {
                place.up_link = Some(link);
            }
            if let Stage::Waiting { until, refused: true } = &mut place.stage {
                *until = now.instant.min(*until);
            }
        }
        self.errands.handle_up(now.instant);
    }

    /// One guard is silent: whether the others are as well is to be known before it is given up.
    fn ask_others(&mut self, now: Instant, silent: LinkId) {
        for tunnel in self.tunnels.values_mut() {
            let Some(joined) = &mut tunnel.joined else { continue };
            for ((link, _), leg) in &tunnel.routes {
                if let Some(carrier) = joined.legs.carrier_mut(*leg).filter(|_| *link != silent) {
                    carrier.ask(now);
                }
            }
        }
    }

    /// A guard is heard again. Legs that fell silent with its link have their time from now on; so have the other guards, if all
    /// were silent.
    fn hear_again(&mut self, now: Instant, link: LinkId) {
        let was_outage = self.shared.is_outage();
        for (of, guard) in self.shared.links.iter_mut().filter(|(_, guard)| guard.up) {
            if *of == link {
                guard.silent_since = None;
            } else if was_outage {
                guard.silent_since = Some(now);
            }
        }
        for place in self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places) {
            if let Stage::Joined { link: of, silent_since: Some(since), .. } = &mut place.stage
                && *of == link
            {
                *since = now;
            }
        }
    }

    /// All circuits over a link are gone.
    pub(super) fn lose_circuits(&mut self, now: Instant, link: LinkId) {
        for tunnel in self.tunnels.values_mut() {
            let legs = tunnel.routes.iter().filter(|((of, _), _)| *of == link).map(|(_, leg)| *leg);
            if let Some(joined) = &mut tunnel.joined {
                legs.for_each(|leg| joined.legs.handle_circuit_gone(now, leg));
            }
        }
        self.shared.ending.retain(|ending| ending.link != link);
        self.errands.lose_circuits(&mut self.shared, now, link);
        for place in self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places) {
            if matches!(&place.stage, Stage::Building { link: of, .. } if *of == link) {
                place.stage = Stage::at(now);
            }
        }
    }

    /// Guards that were silent for too long are written down as failed, and their places move to others, if the rules know any.
    /// If not, they are waited for: whoever is not heard may be heard again, and their dial goes on.
    pub(super) fn give_up_silent_guards(&mut self, now: Now, endpoint: &mut Endpoint) {
        let is_over = |guard: &GuardLink| self.shared.patience_ends(guard).is_some_and(|at| at <= now.instant);
        let silent = self.shared.links.iter();
        let silent: Vec<(LinkId, NodeId)> =
            silent.filter(|(_, guard)| is_over(guard)).map(|(link, guard)| (*link, guard.node)).collect();
        for (link, node) in silent {
            self.give_up_guard(now, endpoint, link, node);
        }
    }

    /// Writes a guard down as failed, and moves what is over its link to others.
    pub(super) fn give_up_guard(&mut self, now: Now, endpoint: &mut Endpoint, link: LinkId, node: NodeId) {
        // Over a link that has lost its slots nothing was asked, so nothing has failed but what was written down then.
        if self.shared.has_slots(link) || self.shared.spares.asks(link) {
            self.shared.guards.handle_failed(now.unix_s, &node, &mut self.shared.rng);
        }
        if let Some(guard) = self.shared.links.get_mut(&link) {
            guard.silent_since = Some(now.instant);
        }
        if self.shared.spares.asks(link) {
            self.shared.end_asking();
        }
        for tunnel in self.tunnels.values_mut() {
            if tunnel.leave_ways(&mut self.shared, now, endpoint, link) {
                continue;
            }
            if tunnel.rules.hops() == 1 {
                // No guard of the set: it is drawn, and another one is to be drawn now.
                self.shared.avoid(now.instant, node);
            }
            tunnel.leave_guard(&mut self.shared, now, endpoint, link, node);
        }
        self.errands.leave_guard(&mut self.shared, now.instant, link);
    }

    /// Closes links that no path needs, once every place has one.
    pub(super) fn close_unused_links(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let places = || self.tunnels.values().flat_map(|tunnel| &tunnel.places);
        // Places without an exit to lead to wait for nothing.
        let hopeful = self
            .tunnels
            .values()
            .filter(|tunnel| !tunnel.exit_is_gone && !tunnel.is_of_service())
            .flat_map(|tunnel| &tunnel.places);
        if self.errands.is_waiting() || hopeful.into_iter().any(|place| matches!(place.stage, Stage::Waiting { .. })) {
            return;
        }
        let is_used = |link: &LinkId| {
            places().any(|place| place.stage.link() == Some(*link))
                || self.tunnels.values().flat_map(|tunnel| tunnel.routes.keys()).any(|(of, _)| of == link)
                || self.shared.ending.iter().any(|ending| ending.link == *link)
                || self.errands.uses(*link)
                || self.is_kept(*link)
                || self.shared.spares.asks(*link)
        };
        let unused: Vec<LinkId> = self.shared.links.keys().copied().filter(|link| !is_used(link)).collect();
        for link in unused {
            self.lose_circuits(now, link);
            self.shared.forget_link(link, endpoint);
        }
    }
}

impl CircuitTunnel {
    /// Moves the places that use a guard's link to other guards, as far as there are any.
    fn leave_guard(&mut self, shared: &mut Shared, now: Now, endpoint: &mut Endpoint, link: LinkId, guard: NodeId) {
        if self.is_of_service() {
            return self.leave_link(shared, now.instant, link);
        }
        for number in 0..self.places.len() {
            if self.exit_is_gone || self.places[number].stage.link() != Some(link) {
                continue;
            }
            match self.choose(shared, now, 1, Some(number)) {
                Ok(mut paths) => {
                    if let Some(path) = paths.pop().filter(|path| path.first() != guard) {
                        self.vacate(shared, now.instant, number, false);
                        self.set_out(shared, now, endpoint, number, path);
                    }
                }
                Err(refusal) => shared.tell_refusal(refusal),
            }
        }
    }
}
