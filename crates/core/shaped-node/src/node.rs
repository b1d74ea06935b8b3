//! The node: links, their tunnels, and the near side, wired together.

use crate::circuits::Circuits;
use crate::direct::Direct;
use crate::near::Near;
use crate::pacing::{Ceilings, Grounds, Pacing};
use crate::parameters::Mode;
use crate::plan::SpareOf;
use crate::queues::FlowQueues;
use crate::status::Counters;
use crate::tunnel::{Tunnel, TunnelEvent};
use identity::NodeId;
use link::{Accept, Endpoint, EndpointConfig, LinkId, Now, Received, Route, SocketOrder, Via};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use session::EndReason;
use shaping::ReadyNoise;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, Command};
use wire::flow::ResetReason;
use wire::grant::Grant;
use wire::leg::{LegHeader, LegKind};
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, TAG_LEN};

mod config;
mod event;
mod far;
mod near_side;
mod off;
mod over_circuits;

pub use config::{NodeConfig, Side};
pub use event::NodeEvent;

/// Events that nobody fetched: the oldest are dropped beyond this number.
const EVENTS_MAX: usize = 1024;
/// How long a flow waits for a session before its application is told.
const SESSION_WAIT: Duration = Duration::from_secs(10);
/// How long an entry waits before it makes a new session after it lost one.
const SESSION_RETRY: Duration = Duration::from_secs(1);

/// One neighbour.
pub(crate) struct PeerLink {
    pub(crate) node: NodeId,
    /// Place of the link's packets in every slot plan.
    pub(crate) lane: usize,
    pub(crate) direct: Option<Direct>,
    pub(crate) pacing: Pacing,
    /// Bytes of session packets that left since a rule last looked.
    pub(crate) sent_bytes: u64,
    pub(crate) up: bool,
    pub(crate) rtt: Duration,
    pub(crate) loss_per_mille: u16,
    newest_circuit: u32,
    session_at: Option<Instant>,
}

/// The shaped process of a node without its sockets, clock and shared memory. See the crate's page.
pub struct ShapedNode<Q> {
    pub(crate) config: NodeConfig,
    pub(crate) endpoint: Endpoint,
    pub(crate) near: Near<Q>,
    pub(crate) peers: BTreeMap<LinkId, PeerLink>,
    /// At an entry over circuits.
    pub(crate) circuits: Option<Circuits>,
    pub(crate) counters: Counters,
    pub(crate) scratch: Vec<u8>,
    pub(crate) spares: Vec<SpareOf>,
    /// Sealed packets for another address than the batch that they were made in, at most one batch for each link.
    held: VecDeque<(Route, Vec<u8>)>,
    rng: ChaCha20Rng,
    noise: Box<dyn ReadyNoise + Send>,
    events: VecDeque<NodeEvent>,
    flow_deadlines: VecDeque<(Instant, wire::local::QueueRef)>,
    present_slot: u64,
}

impl<Q: FlowQueues> ShapedNode<Q> {
    /// Makes the node; an entry starts to dial. `remembered`: ephemerals accepted before a restart. `noise`: where ready
    /// samples are taken, for rules that release measurements; others never look there.
    pub fn new(
        mut config: NodeConfig,
        now: Now,
        remembered: impl IntoIterator<Item = ([u8; 32], u32)>,
        noise: Box<dyn ReadyNoise + Send>,
    ) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut endpoint_seed = [0; 32];
        rng.fill_bytes(&mut endpoint_seed);
        let accept = match &config.side {
            Side::Entry { .. } | Side::Circuits(_) => Accept::Nobody,
            Side::Exit { entries, .. } => {
                Accept::Only(entries.iter().map(|entry| (entry.link_key, entry.node_id)).collect())
            }
        };
        let circuits = over_circuits::circuits_of(&mut config, now, &mut rng);
        let link_config = EndpointConfig {
            packet_size: config.packet_size,
            network_id: config.network_id,
            accept,
            gridded: config.mode.is_shaped(),
            down_after: config.session_timeout,
            hops: config.hops.clone(),
            parameters: config.parameters().encode(),
            dial_ports: circuits.as_ref().map(Circuits::dial_ports).unwrap_or_default(),
            ..EndpointConfig::new(config.node_secret.node_id(), config.link_secret.clone(), config.door_key.clone())
        };
        let mut endpoint = Endpoint::new(link_config, endpoint_seed);
        endpoint.remember_ephemerals(remembered);
        let assigns = matches!(config.side, Side::Exit { .. });
        let (measures, shaped) = (config.pacing.measures(), config.mode.is_shaped());
        let mut node = Self {
            config,
            endpoint,
            near: Near::new(assigns, measures, shaped),
            peers: BTreeMap::new(),
            circuits,
            counters: Counters::default(),
            scratch: Vec::new(),
            spares: Vec::new(),
            held: VecDeque::new(),
            rng,
            noise,
            events: VecDeque::new(),
            flow_deadlines: VecDeque::new(),
            present_slot: 0,
        };
        node.start(now);
        node
    }

    fn start(&mut self, now: Now) {
        if let Side::Entry { peer, address, up, down } = &self.config.side {
            let (peer, address, ceilings) = (peer.clone(), *address, Ceilings { own: *up, other: *down });
            let parameters = self.config.parameters().encode();
            // A fresh endpoint has no other dial, so it cannot refuse this one.
            if let Ok(link) = self.endpoint.dial(now, &peer, address, parameters) {
                self.add_peer(now, link, peer.node_id, ceilings);
            }
        }
    }

    /// Most neighbours that this node can have at a time; each has a lane in every slot plan.
    pub fn lanes(&self) -> usize {
        match &self.config.side {
            Side::Entry { .. } => 1,
            Side::Circuits(_) => self.circuits.as_ref().map_or(1, Circuits::lanes),
            Side::Exit { entries, .. } => entries.len().max(1),
        }
    }

    pub(crate) fn session_packet(&self) -> usize {
        self.config.packet_size.session_packet()
    }

    fn add_peer(&mut self, now: Now, link: LinkId, node: NodeId, ceilings: Ceilings) {
        let taken: Vec<usize> = self.peers.values().map(|peer| peer.lane).collect();
        let lane = (0..self.lanes()).find(|lane| !taken.contains(lane)).unwrap_or(self.lanes());
        let grounds = Grounds {
            ceilings,
            slot: self.config.slot,
            session_packet: self.session_packet(),
            from_slot: self.present_slot,
            unix_s: now.unix_s,
        };
        let peer = PeerLink {
            node,
            lane,
            direct: None,
            pacing: Pacing::new(&self.config.pacing, grounds),
            sent_bytes: 0,
            up: false,
            rtt: Duration::ZERO,
            loss_per_mille: 0,
            newest_circuit: 0,
            session_at: None,
        };
        debug_assert!(peer.lane < self.lanes(), "the endpoint keeps one link per known neighbour");
        self.peers.insert(link, peer);
    }

    pub(crate) fn note(&mut self, event: NodeEvent) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// How this node paces its links.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    // --- handle_*: what happened ---

    /// Takes one UDP payload. `ce`: it carried the mark "congestion experienced". After a batch of
    /// packets call [`ShapedNode::settle`].
    pub fn handle_packet(&mut self, now: Now, from: impl Into<Route>, ce: bool, packet: &mut [u8]) {
        let Received::Cell { link, head } = self.endpoint.handle_packet(now, from, ce, packet) else { return };
        let region = packet.len() - TAG_LEN;
        let region = &mut packet[HEADER_LEN + CELL_HEAD_LEN..region];
        if self.circuits.is_some() {
            return self.handle_circuit_cell(now, link, head, region);
        }
        match head.command {
            Command::Relay => self.handle_relay(now, link, head, region),
            Command::Destroy => self.handle_destroy(link, head),
            // A pair has no relays: its one circuit is the link itself.
            Command::Create | Command::Created | Command::Destroyed => {}
            Command::Cover
            | Command::Report
            | Command::Challenge
            | Command::ChallengeAnswer
            | Command::RekeyInit
            | Command::RekeyAnswer
            | Command::HopOffer
            | Command::HopOfferTaken
            | Command::HopProbe
            | Command::HopAnswer
            | Command::HopAsk
            | Command::Farewell => {}
        }
    }

    fn handle_relay(&mut self, now: Now, link: LinkId, head: CellHead, region: &[u8]) {
        // The only leg of a pair is never linked.
        let inner = LegHeader::decode(&region[crate::slots::INNER_OFFSET..]).ok();
        let Some((header, packet)) = inner.filter(|(header, _)| header.kind != LegKind::Link) else {
            self.counters.bad_cells += 1;
            return;
        };
        // The packet that brought a link up may carry its first cell.
        self.settle_links(now);
        self.accept_circuit(now, link, head.circuit);
        let known = self.peers.get_mut(&link).and_then(|peer| peer.direct.as_mut());
        match known.filter(|direct| direct.circuit == head.circuit) {
            Some(direct) => direct.handle_cell(now.instant, &header, packet),
            None => self.counters.unknown_circuit += 1,
        }
    }

    fn handle_destroy(&mut self, link: LinkId, head: CellHead) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if let Some(mut direct) = peer.direct.take_if(|direct| direct.circuit == head.circuit) {
            direct.tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
        }
    }

    /// A socket that [`ShapedNode::poll_socket_order`] asked for is there.
    pub fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr) {
        self.endpoint.handle_socket_opened(now, via, local);
    }

    /// A socket could not be opened.
    pub fn handle_socket_failed(&mut self, now: Now, via: Via) {
        self.endpoint.handle_socket_failed(now, via);
    }

    /// The system refused so many packets on this way: [`Endpoint::handle_send_refused`].
    pub fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
        self.endpoint.handle_send_refused(now, route, packets);
    }

    /// Lets time pass for links and sessions.
    pub fn handle_timeout(&mut self, now: Now) {
        self.endpoint.handle_timeout(now);
        for tunnel in self.tunnels_mut() {
            tunnel.session.handle_timeout(now.instant);
        }
        if let Some(circuits) = &mut self.circuits {
            circuits.handle_timeout(now, &mut self.near);
        }
        self.expire_waiting_flows(now.instant);
        self.settle(now);
    }

    /// All tunnels that there are.
    fn tunnels_mut(&mut self) -> impl Iterator<Item = &mut Tunnel> {
        let pairs = self.peers.values_mut().filter_map(|peer| peer.direct.as_mut().map(|direct| &mut direct.tunnel));
        pairs.chain(self.circuits.iter_mut().flat_map(Circuits::tunnels_mut))
    }

    /// [`ShapedNode::handle_timeout`] if its time has come.
    pub fn handle_timeout_if_due(&mut self, now: Now) {
        if self.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.handle_timeout(now);
        }
    }

    // --- commands ---

    /// The queues, to sleep on their doorbell (mode `off`).
    pub fn queues(&mut self) -> Option<&mut Q> {
        self.near.queues()
    }

    /// The queues, to look at.
    pub fn queues_ref(&self) -> Option<&Q> {
        self.near.queues_ref()
    }

    /// Takes leave to release measurements of this node's own direction.
    pub fn grant_own(&mut self, grant: Grant) {
        for peer in self.peers.values_mut() {
            peer.pacing.handle_grant(grant);
        }
        if let Some(uplink) = self.circuits.as_mut().and_then(Circuits::uplink_mut) {
            uplink.handle_grant(grant);
        }
    }

    /// Passes leave for the other direction on to the exit (entry). It is spent whatever comes of it; false if it
    /// could not be sent. It pays for one release of an epoch, so where an old tunnel finishes beside its successor only one of them gets it.
    pub fn grant_other(&mut self, grant: Grant) -> bool {
        let pairs = self.peers.values_mut().filter_map(|peer| peer.direct.as_mut().map(|direct| &mut direct.tunnel));
        let mut exits = pairs.chain(self.circuits.iter_mut().flat_map(Circuits::tunnels_to_exits_mut));
        exits.any(|tunnel| tunnel.session.grant(grant))
    }

    /// Takes queues of a new generation: the flows of the old one are reset towards the other node.
    pub fn attach_queues(&mut self, now: Now, queues: Q) {
        self.tunnels_mut().for_each(|tunnel| tunnel.reset_all(ResetReason::TunnelLost));
        self.near.attach(queues);
        self.flow_deadlines.clear();
        self.settle(now);
    }

    /// Ends all sessions so that the other nodes learn of it. Give it slots to say so.
    pub fn close(&mut self, now: Now) {
        self.tunnels_mut().for_each(|tunnel| tunnel.session.close(now.instant, EndReason::Stopping));
        self.circuits.iter_mut().for_each(Circuits::stop);
        self.settle(now);
    }

    /// Ends all links to guards. In mode `off` their last packets say so, which [`ShapedNode::poll_transmit`] has next: guards keep no
    /// places for a node that is gone. Call it when sessions have said theirs.
    pub fn leave(&mut self) {
        let links: Vec<LinkId> = self.circuits.iter().flat_map(|circuits| circuits.links()).copied().collect();
        links.into_iter().for_each(|link| self.endpoint.leave(link));
    }

    /// Handles what links and sessions have to say and wakes the unshaped process once if needed.
    /// Call it after a batch of packets.
    pub fn settle(&mut self, now: Now) {
        self.settle_links(now);
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        for link in links {
            self.settle_tunnel(now, link);
        }
        self.advance_circuits(now);
        if let Some(fault) = self.near.take_fault() {
            self.tunnels_mut().for_each(|tunnel| tunnel.reset_all(ResetReason::TunnelLost));
            self.note(NodeEvent::QueuesFailed(fault));
        }
        if let Some(queues) = self.near.queues() {
            queues.flush();
        }
    }

    fn settle_links(&mut self, now: Now) {
        while let Some(event) = self.endpoint.poll_event() {
            self.handle_link_event(now, event);
        }
    }

    fn settle_tunnel(&mut self, now: Now, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if let Some(Direct { tunnel, .. }) = &mut peer.direct {
            let event = tunnel.settle(now.instant, &mut self.near);
            for grant in tunnel.take_granted() {
                peer.pacing.handle_grant(grant);
            }
            match event {
                Some(TunnelEvent::Up) => self.note(NodeEvent::SessionUp(link)),
                Some(TunnelEvent::Lost(reason)) => {
                    // The session stays until another takes its place: it may have one packet left, its farewell.
                    tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
                    peer.session_at = Some(now.instant + SESSION_RETRY);
                    self.note(NodeEvent::SessionLost(link, reason));
                }
                None => {}
            }
        }
        self.start_session_if_due(now, link);
    }

    // --- poll_* ---

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop_front()
    }

    /// The next thing to do with sockets; to be asked until `None` after anything that was handled.
    pub fn poll_socket_order(&mut self) -> Option<SocketOrder> {
        self.endpoint.poll_socket_order()
    }

    /// When [`ShapedNode::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let off = self.config.mode == Mode::Off;
        let sessions = self.peers.values_mut().filter_map(|peer| {
            let session = peer.direct.as_mut().and_then(|Direct { tunnel, leg, .. }| {
                let owed = leg.feedback_due().filter(|_| off);
                tunnel.session.poll_timeout().into_iter().chain(owed).chain(tunnel.arrivals_due()).min()
            });
            session.into_iter().chain(peer.session_at).min()
        });
        let flows = self.flow_deadlines.front().map(|(deadline, _)| *deadline);
        let circuits = self.circuits.as_mut().and_then(Circuits::poll_timeout);
        sessions.chain(circuits).chain(self.endpoint.poll_timeout()).chain(flows).min()
    }
}
