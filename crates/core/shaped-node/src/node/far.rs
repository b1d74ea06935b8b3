//! The far side: what links and sessions do, and when a tunnel is made or given up.

use super::{NodeEvent, SESSION_WAIT, Side};
use crate::direct::Direct;
use crate::flow::{Far, Flow, Owner};
use crate::node::ShapedNode;
use crate::pacing::{Ceilings, Traffic};
use crate::parameters::Parameters;
use crate::queues::FlowQueues;
use link::{LinkEvent, LinkId, Now};
use rand_chacha::rand_core::Rng;
use session::{Session, SessionConfig, stream_window_for};
use shaping::RateClass;
use std::time::{Duration, Instant};
use wire::cell::CircuitId;
use wire::flow::{ResetReason, Syn};
use wire::local::QueueRef;

/// A session's first estimate of its round trip is at least this: slots and processing stretch the handshake's.
const INITIAL_RTT_MIN: Duration = Duration::from_millis(20);

impl<Q: FlowQueues> ShapedNode<Q> {
    pub(crate) fn handle_link_event(&mut self, now: Now, event: LinkEvent) {
        if let Some(circuits) = &mut self.circuits {
            return circuits.handle_link_event(now, event);
        }
        match event {
            LinkEvent::Up { link, link_key: _, node_id, parameters, rtt, fresh, dialled: _ } => {
                let (Ok(parameters), Some(node)) = (Parameters::decode(&parameters), node_id) else {
                    self.note(NodeEvent::PeerIncompatible(link));
                    return;
                };
                if !self.peers.contains_key(&link) {
                    self.add_peer(now, link, node, self.ceilings_for(&parameters));
                }
                self.link_up(now, link, rtt, fresh);
                self.note(NodeEvent::LinkUp(link, rtt));
            }
            LinkEvent::Replaced { link, parameters: _, rtt, fresh } => self.link_up(now, link, rtt, fresh),
            LinkEvent::Quiet { link } => self.note(NodeEvent::LinkQuiet(link)),
            LinkEvent::Back { link } => {
                self.hasten(now, link);
                self.note(NodeEvent::LinkBack(link));
            }
            LinkEvent::Down { link, reason: _ } => self.link_down(link),
            LinkEvent::AcceptedEphemeral { ephemeral, day } => {
                self.note(NodeEvent::EphemeralAccepted(ephemeral, day));
            }
            LinkEvent::Report { link, figures } => self.handle_report(now, link, figures),
            LinkEvent::WrongVersion { link, theirs: _ } => self.note(NodeEvent::PeerIncompatible(link)),
            LinkEvent::Unanswered { link } => self.note(NodeEvent::Unanswered(link)),
            LinkEvent::SameKeyElsewhere { link } => self.note(NodeEvent::SameKeyElsewhere(link)),
            LinkEvent::Hopped { link, index, cause } => self.note(NodeEvent::Hopped(link, index, cause)),
            LinkEvent::Rekeyed { .. } | LinkEvent::PeerAddressChanged { .. } => {}
        }
    }

    fn handle_report(&mut self, now: Now, link: LinkId, figures: link::LinkFigures) {
        let loss = u16::try_from(figures.outbound.per_mille()).unwrap_or(u16::MAX);
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.loss_per_mille = loss;
            peer.pacing.breaker.handle_loss(loss, now.unix_s);
        }
    }

    /// The fastest classes of both directions on a link that the other side dialled.
    fn ceilings_for(&self, parameters: &Parameters) -> Ceilings {
        match &self.config.side {
            Side::Entry { up, down, .. } => Ceilings { own: *up, other: *down },
            Side::Circuits(_) => Ceilings { own: RateClass::SLOWEST, other: RateClass::SLOWEST },
            Side::Exit { fastest, .. } => Ceilings { own: parameters.asked.min(*fastest), other: parameters.own },
        }
    }

    /// Keys are agreed. `fresh`: with another process than before, so that its sessions are gone.
    fn link_up(&mut self, now: Now, link: LinkId, rtt: Duration, fresh: bool) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.up = true;
        peer.rtt = rtt;
        if fresh {
            peer.newest_circuit = 0;
            if let Some(mut direct) = peer.direct.take() {
                direct.tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
                self.note(NodeEvent::PeerRestarted(link));
            }
        }
        self.hasten(now, link);
    }

    /// Once the link answers, a session need not wait out its back-off, nor the start of the next one its time.
    fn hasten(&mut self, now: Now, link: LinkId) {
        let dials = matches!(self.config.side, Side::Entry { .. });
        let Some(peer) = self.peers.get_mut(&link) else { return };
        // A session that began while nothing passed repeats its first packet ever more rarely, and a ping would not
        // change that: another one takes its place, at once.
        peer.direct.take_if(|direct| dials && !direct.tunnel.has_heard());
        match &mut peer.direct {
            Some(Direct { tunnel, .. }) if !tunnel.session.is_closed() => tunnel.session.ping(now.instant),
            Some(_) | None => peer.session_at = Some(now.instant),
        }
    }

    fn link_down(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.up = false;
            if let Some(mut direct) = peer.direct.take() {
                direct.tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
            }
        }
        if matches!(self.config.side, Side::Exit { .. }) {
            self.peers.remove(&link);
        }
        self.note(NodeEvent::LinkDown(link));
    }

    /// An entry makes a session when its link is up and it has none.
    pub(super) fn start_session_if_due(&mut self, now: Now, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let without = peer.direct.as_ref().is_none_or(|direct| direct.tunnel.session.is_closed());
        let due = peer.up && without && peer.session_at.is_some_and(|at| at <= now.instant);
        if !due {
            return;
        }
        peer.session_at = None;
        if matches!(self.config.side, Side::Exit { .. }) {
            return;
        }
        peer.newest_circuit += 1;
        let circuit = CircuitId(peer.newest_circuit | CircuitId::DIALLER_BIT);
        self.add_tunnel(now, link, circuit, true);
    }

    /// An exit takes a new circuit of a link as the start of a new session; it replaces an older one.
    pub(super) fn accept_circuit(&mut self, now: Now, link: LinkId, circuit: CircuitId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let number = circuit.0 & !CircuitId::DIALLER_BIT;
        let dialled = circuit.0 & CircuitId::DIALLER_BIT != 0;
        if !matches!(self.config.side, Side::Exit { .. }) || !dialled || number <= peer.newest_circuit {
            return;
        }
        peer.newest_circuit = number;
        // The session is here: nothing is due any more.
        peer.session_at = None;
        if let Some(mut old) = peer.direct.take() {
            old.tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
        }
        self.add_tunnel(now, link, circuit, false);
    }

    fn add_tunnel(&mut self, now: Now, link: LinkId, circuit: CircuitId, client: bool) {
        let (mut session_seed, mut client_secret) = ([0; 32], [0; 32]);
        self.rng.fill_bytes(&mut session_seed);
        self.rng.fill_bytes(&mut client_secret);
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let shaped = self.config.mode.is_shaped();
        let rate = if shaped { peer.pacing.breaker.configured().bits_per_second() } else { u64::MAX };
        let config = SessionConfig {
            stream_window: stream_window_for(rate, peer.rtt + 4 * self.config.slot.duration()),
            initial_rtt: peer.rtt.max(INITIAL_RTT_MIN),
            wide_open: shaped,
            congestion: self.config.congestion,
            max_flows: self.config.max_flows,
            session_timeout: self.config.session_timeout,
            ..SessionConfig::new(
                self.config.packet_size.session_packet(),
                self.config.node_secret.clone(),
                peer.node,
                session_seed,
            )
        };
        let made = if client { Session::client(config, now.instant) } else { Session::server(config, now.instant) };
        match made {
            Ok(session) => peer.direct = Some(Direct::new(link, circuit, session, client_secret)),
            Err(_) => self.counters.session_failures += 1,
        }
    }

    /// The unshaped process opened a flow (entry).
    pub(super) fn handle_syn(&mut self, now: Now, queue: QueueRef, syn: Syn) {
        if self.circuits.is_some() {
            return self.handle_syn_over_circuits(now, queue, syn);
        }
        let entry = matches!(self.config.side, Side::Entry { .. });
        let Some((&link, peer)) = self.peers.iter_mut().next().filter(|_| entry) else {
            self.counters.stale_messages += 1;
            return;
        };
        match &mut peer.direct {
            Some(Direct { tunnel, .. }) => tunnel.handle_syn(queue, syn, &mut self.near),
            None => {
                let flow = Flow::new(queue, Owner::Link(link), syn.client, syn.kind, Far::Waiting(syn));
                self.near.insert(flow);
            }
        }
        self.note_if_waiting(now, queue);
    }

    /// A flow that waits for a session does not wait for ever.
    pub(super) fn note_if_waiting(&mut self, now: Now, queue: QueueRef) {
        let waits = self.near.table.of(queue).is_some_and(|flow| matches!(flow.far, Far::Waiting(_)));
        if waits {
            self.flow_deadlines.push_back((now.instant + SESSION_WAIT, queue));
        }
    }

    pub(super) fn expire_waiting_flows(&mut self, now: Instant) {
        while let Some((_, queue)) = self.flow_deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            let waits = self.near.table.of(queue).is_some_and(|flow| matches!(flow.far, Far::Waiting(_)));
            if waits {
                self.near.reset(queue.index, ResetReason::TunnelLost);
            }
        }
    }

    /// Lets edges pass and applies the rates that follow; they hold from this slot on.
    pub(crate) fn step_rates(&mut self, now: Now, slot: u64) {
        self.present_slot = slot;
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        for link in links {
            let traffic = self.traffic_of(now, link, slot);
            let Some(peer) = self.peers.get_mut(&link) else { continue };
            let edge = peer.pacing.poll(slot, now.unix_s, traffic, &mut self.noise);
            if let Some(class) = edge.class {
                let event = if edge.by_loss { NodeEvent::ClassChanged } else { NodeEvent::RateFollowed };
                self.note(event(link, class));
            }
            if edge.epoch_began {
                self.admit_again(now, |owner| owner == Owner::Link(link));
            }
        }
        self.step_uplink(now, slot);
    }

    /// What the rule of a link may know before its next release, where it asks.
    fn traffic_of(&mut self, now: Now, link: LinkId, slot: u64) -> Traffic {
        let Some(peer) = self.peers.get_mut(&link).filter(|peer| peer.pacing.looks_at_traffic(slot, now.unix_s)) else {
            return Traffic::default();
        };
        let sent = std::mem::take(&mut peer.sent_bytes);
        let unsent = peer.direct.as_ref().map_or(0, |direct| direct.tunnel.session.unsent_bytes());
        Traffic { backlog: unsent + self.near.waiting_of(|owner| owner == Owner::Link(link)), sent }
    }

    /// A new epoch has begun: bytes that the old one's quota held back may ask again.
    pub(super) fn admit_again(&mut self, now: Now, of: impl Fn(Owner) -> bool) {
        for index in self.near.table.indices() {
            if self.near.table.at(index).is_some_and(|flow| of(flow.owner)) && self.admit(index) {
                self.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
            }
        }
    }
}
