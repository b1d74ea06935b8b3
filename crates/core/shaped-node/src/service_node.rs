//! A node whose services are reached through the network: it waits at introduction points, meets clients at rendezvous points, and is
//! the join point of their tunnels.
//!
//! Links, guards and circuits are those of an entry that keeps no tunnels ([`ShapedNode`]); all circuits here are errands. What comes out of
//! joined circuits goes to one [`CircuitExit`] for all services: each tunnel is served as the service of its introduction.

mod errands;
mod hosted;
mod off;
mod slots;
mod status;

pub use errands::MEETINGS_MAX;
pub use hosted::PUBLICATIONS_MAX;
pub use status::{HostedStatus, ServiceNodeStatus};

use crate::circuits::{CircuitsConfig, ErrandId, NextDocument, PoolConfig};
use crate::exit::{CircuitExit, ExitConfig, ExitEvent, ExitSchedule, ServicePorts};
use crate::node::{NodeConfig, NodeEvent, ShapedNode, Side};
use crate::pacing::PacingConfig;
use crate::parameters::Mode;
use crate::queues::FlowQueues;
use crate::service::{ServiceCame, ServiceCircuits};
use crate::{DocumentRefused, HopFigures};
use errands::Purpose;
use hosted::Hosted;
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{HopConfig, Now, Received, Route, SocketOrder, Via};
use network_document::NetworkDocument;
use onion_service::{ConfigError, Day, Publication, ServiceAddress, ServiceConfig};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use session::CongestionControl;
use shaping::{RateClass, SlotLength};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::{Guards, PathRules};
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, TAG_LEN};

/// Services of one node.
pub const SERVICES_MAX: usize = 16;
/// Introduction points of all services of a node together.
pub const NODE_POINTS_MAX: usize = 48;

/// One service, as the node is told of it.
#[derive(Debug, Clone)]
pub struct ServiceSetting {
    /// Its public key. The secret one is nowhere near.
    pub address: ServiceAddress,
    /// Introduction points, clients, rates.
    pub config: ServiceConfig,
    /// Where its flows may go.
    pub ports: ServicePorts,
}

/// What a service node is told at its start.
#[derive(Debug)]
pub struct ServiceNodeConfig {
    /// 1 to [`SERVICES_MAX`].
    pub services: Vec<ServiceSetting>,
    /// The network.
    pub document: NetworkDocument,
    /// The guards of the last run, or none yet.
    pub guards: Guards,
    /// Three hops; as many legs as guards are to be used at the same time.
    pub rules: PathRules,
    /// Whether the socket is one of IPv4.
    pub ipv4: bool,
    /// [`Mode::Off`] or [`Mode::Constant`].
    pub mode: Mode,
    /// Length of a slot.
    pub slot: SlotLength,
    /// In mode `constant`: what leaves over all guards for everything but tunnels.
    pub base: RateClass,
    /// In mode `constant`: the fastest class of one tunnel.
    pub fastest: RateClass,
    /// How long a tunnel outlives its last leg.
    pub session_timeout: Duration,
    /// Tunnels of clients at a time.
    pub tunnels_max: usize,
    /// Bytes that they may hold together, at least [`crate::memory::MEMORY_MAX_LEAST`]; see [`crate::memory`].
    pub memory_max: u64,
    /// Number of queue pairs. A tunnel has at most half of them.
    pub max_flows: u16,
    /// How links change their ports; none: they do not.
    pub hops: Option<HopConfig>,
    /// From the system's random source.
    pub seed: [u8; 32],
}

/// Why there is no such node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServiceNodeError {
    /// None, or too many.
    #[error("a node has 1 to {SERVICES_MAX} services, not {0}")]
    Services(usize),
    /// Circuits of all of them would be too many.
    #[error(
        "the services of a node have at most {NODE_POINTS_MAX} introduction points together, not {0}: lower `points`, or start another node"
    )]
    Points(usize),
    /// A service cannot be as it is asked to be.
    #[error(transparent)]
    Service(#[from] ConfigError),
    /// Packets of the network have no room for the layer between client and service.
    #[error("packets of this network are too small for services: its `packet_size` would have to be 1348 or more")]
    PacketSize,
    /// Not one of the two modes.
    #[error("a service node has no mode but `constant` and `off`")]
    Mode,
}

/// What the shell may want to log or store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceNodeEvent {
    /// Of links and guards.
    Node(NodeEvent),
    /// Of tunnels.
    Tunnels(ExitEvent),
}

/// A record that is to be signed and taken to the directory. The answer is [`ServiceNode::handle_published`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationOrder {
    /// Whose it is, by its place in [`ServiceNodeConfig::services`].
    pub service: usize,
    /// The record without its signature, and whose key signs it.
    pub publication: Publication,
}

/// The shaped process of a service node without its sockets, clock, shared memory and directory.
///
/// Fed and drained as a [`ShapedNode`] is. Beside that:
/// [`ServiceNode::handle_directory_time`], before which no record is made; [`ServiceNode::poll_publication`] until `None` after anything
/// that was handled.
pub struct ServiceNode<Q> {
    /// Links, guards and errands. It has no queues and no tunnels.
    node: ShapedNode<Q>,
    exit: CircuitExit<Q>,
    joined: ServiceCircuits,
    services: Vec<Hosted>,
    errands: BTreeMap<ErrandId, Purpose>,
    /// The service whose clients are met next.
    turn: usize,
    held: VecDeque<(Route, Vec<u8>)>,
    region: Vec<u8>,
    counters: errands::Counters,
    is_closing: bool,
    /// The newest time that was told.
    now: Instant,
}

impl<Q> fmt::Debug for ServiceNode<Q> {
    /// Neither addresses nor clients.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceNode").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl<Q: FlowQueues> ServiceNode<Q> {
    /// Makes the node. Nothing is dialled before [`ServiceNode::handle_timeout`].
    ///
    /// # Errors
    /// [`ServiceNodeError`].
    pub fn new(config: ServiceNodeConfig, now: Now) -> Result<Self, ServiceNodeError> {
        check(&config)?;
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut random = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let packet_size = config.document.charter().packet_size();
        let session_packet = packet_size.session_packet_virtual().ok_or(ServiceNodeError::PacketSize)?;
        let schedule = config.mode.is_shaped().then_some(ExitSchedule {
            mode: config.mode,
            pacing: PacingConfig::Constant,
            slot: config.slot,
            fastest: config.fastest,
        });
        let exit = ExitConfig {
            packet_size,
            session_packet,
            // Nobody expects it: each tunnel's session has a key of its introduction.
            node_secret: NodeSecret::from_seed(random()),
            session_timeout: config.session_timeout,
            tunnels_max: config.tunnels_max,
            flows_per_tunnel: (config.max_flows / 2).max(1),
            memory_max: config.memory_max,
            schedule,
            seed: random(),
        };
        let founding = config.document.charter().founding();
        let interval = founding.map(|founding| Duration::from_millis(founding.interval_ms));
        let services = config.services.iter().map(|setting| Hosted::new(now, setting, interval, random()));
        let services = services.collect::<Result<Vec<_>, _>>()?;
        let seeds = [random(), random(), random(), random()];
        Ok(Self {
            node: ShapedNode::new(client_side(config, seeds), now, [], Box::new(None)),
            exit: CircuitExit::new(exit, Box::new(None)),
            joined: ServiceCircuits::default(),
            services,
            errands: BTreeMap::new(),
            turn: 0,
            held: VecDeque::new(),
            region: vec![0; packet_size.region()],
            counters: errands::Counters::default(),
            is_closing: false,
            now: now.instant,
        })
    }

    /// How this node sends.
    pub fn mode(&self) -> Mode {
        self.node.mode()
    }

    /// The document that the node goes by.
    pub fn document(&self) -> Option<&NetworkDocument> {
        self.node.document()
    }

    // --- handle_*: what happened ---

    /// Takes one UDP payload. After a batch of packets call [`ServiceNode::settle`].
    pub fn handle_packet(&mut self, now: Now, from: impl Into<Route>, ce: bool, packet: &mut [u8]) {
        let Received::Cell { link, head } = self.node.endpoint.handle_packet(now, from, ce, packet) else { return };
        // The packet that brought a link up may carry its first cell.
        self.settle_links(now);
        let end = packet.len() - TAG_LEN;
        let region = &mut packet[HEADER_LEN + CELL_HEAD_LEN..end];
        if !head.command.is_of_circuit() {
            return;
        }
        match self.joined.handle_cell(now, link, head, region) {
            Some(ServiceCame::Inner { circuit, inner, number }) => {
                let mut circuits = self.joined.over(&mut self.node.endpoint);
                self.exit.handle_inner(now, circuit, number, &region[inner], &mut circuits);
            }
            Some(ServiceCame::Handled | ServiceCame::Dropped) => {}
            None => self.node.handle_circuit_cell(now, link, head, region),
        }
    }

    /// A socket that [`ServiceNode::poll_socket_order`] asked for is there.
    pub fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr) {
        self.node.handle_socket_opened(now, via, local);
    }

    /// A socket could not be opened.
    pub fn handle_socket_failed(&mut self, now: Now, via: Via) {
        self.node.handle_socket_failed(now, via);
    }

    /// The system refused so many packets on this way.
    pub fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
        self.node.handle_send_refused(now, route, packets);
    }

    /// The directory's time in milliseconds since 1970 UTC, whenever the supervisor was told it.
    pub fn handle_directory_time(&mut self, now: Now, directory_ms: u64) {
        self.services.iter_mut().for_each(|service| service.core.handle_directory_time(now.instant, directory_ms));
        self.settle(now);
    }

    /// What became of an order of [`ServiceNode::poll_publication`]. An answer to something else is dropped.
    pub fn handle_published(&mut self, now: Now, service: usize, day: Day, revision: u64, taken: bool) {
        if let Some(service) = self.services.get_mut(service) {
            service.handle_published(now.instant, day, revision, taken);
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) {
        self.node.endpoint.handle_timeout(now);
        self.settle_links(now);
        self.node.handle_timeout(now);
        self.settle(now);
    }

    /// [`ServiceNode::handle_timeout`] if its time has come.
    pub fn handle_timeout_if_due(&mut self, now: Now) {
        if self.poll_timeout(now).is_some_and(|at| at <= now.instant) {
            self.handle_timeout(now);
        }
    }

    /// Reads what the unshaped process wrote. In mode `constant` only the slot clock may lead here (I10).
    pub fn handle_queues(&mut self, now: Now) {
        self.exit.handle_queues(now);
        self.settle_tunnels(now);
    }

    /// Handles what links, circuits and sessions have to say. Call it after a batch of packets.
    pub fn settle(&mut self, now: Now) {
        self.now = now.instant;
        self.settle_links(now);
        self.node.settle(now);
        self.follow_errands(now);
        if self.follow_services(now) {
            // What was begun goes on its way at once.
            self.node.settle(now);
            self.follow_errands(now);
        }
        self.settle_tunnels(now);
    }

    /// Links are the errands' and the joined circuits' alike.
    fn settle_links(&mut self, now: Now) {
        while let Some(event) = self.node.endpoint.poll_event() {
            self.joined.handle_link_event(now, &event);
            self.node.handle_link_event(now, event);
        }
    }

    fn settle_tunnels(&mut self, now: Now) {
        while let Some((link, circuit)) = self.joined.poll_released() {
            self.node.circuits.iter_mut().for_each(|circuits| circuits.give_back(link, circuit));
        }
        while let Some(circuit) = self.joined.poll_gone() {
            self.exit.handle_circuit_gone(now, circuit, &mut self.joined.over(&mut self.node.endpoint));
        }
        let mut circuits = self.joined.over(&mut self.node.endpoint);
        if self.exit.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.exit.handle_timeout(now, &mut circuits);
        }
        self.exit.pump(now, &mut circuits);
    }

    // --- commands ---

    /// The queues, to sleep on their doorbell (mode `off`).
    pub fn queues(&mut self) -> Option<&mut Q> {
        self.exit.queues()
    }

    /// The queues, to look at.
    pub fn queues_ref(&self) -> Option<&Q> {
        self.exit.queues_ref()
    }

    /// Takes queues of a new generation: the flows of the old one are reset towards their clients.
    pub fn attach_queues(&mut self, now: Now, queues: Q) {
        self.exit.attach_queues(now, queues);
    }

    /// Goes by a later document of the same network from now on. Points at relays that are gone are replaced.
    ///
    /// # Errors
    /// [`DocumentRefused`]; nothing has changed then.
    pub fn set_document(&mut self, now: Now, next: NextDocument) -> Result<(), DocumentRefused> {
        self.settle_links(now);
        self.node.set_document(now, next)?;
        self.leave_missing_points(now);
        self.settle(now);
        Ok(())
    }

    /// Ends all sessions so that clients learn of it, and leaves the introduction points. Give it time, or slots, to say so.
    pub fn close(&mut self, now: Now) {
        self.is_closing = true;
        self.exit.close(now);
        self.end_errands(now);
        self.settle_links(now);
        self.node.close(now);
        self.settle_tunnels(now);
    }

    /// Ends all links to guards, as [`ShapedNode::leave`] does. Call it when sessions have said theirs.
    pub fn leave(&mut self) {
        self.node.leave();
    }

    // --- poll_* ---

    /// The next record to sign and publish.
    pub fn poll_publication(&mut self, now: Now) -> Option<PublicationOrder> {
        if self.is_closing {
            return None;
        }
        let services = self.services.iter_mut().enumerate();
        services.into_iter().find_map(|(number, service)| {
            Some(PublicationOrder { service: number, publication: service.poll_publication(now.instant)? })
        })
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ServiceNodeEvent> {
        let node = self.node.poll_event().map(ServiceNodeEvent::Node);
        node.or_else(|| self.exit.poll_event().map(ServiceNodeEvent::Tunnels))
    }

    /// The next thing to do with sockets.
    pub fn poll_socket_order(&mut self) -> Option<SocketOrder> {
        self.node.poll_socket_order()
    }

    /// When [`ServiceNode::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self, now: Now) -> Option<Instant> {
        let services = self.services.iter().filter(|_| !self.is_closing);
        let services = services.filter_map(|service| service.core.next_wake(now.instant)).min();
        let tunnels = [self.exit.poll_timeout(), self.joined.poll_timeout(), self.visits_end()];
        tunnels.into_iter().flatten().chain(services).chain(self.node.poll_timeout()).min()
    }

    /// How the link to each guard hops.
    pub fn hop_figures(&self, now: Instant) -> Vec<Option<HopFigures>> {
        self.node.hop_figures(now)
    }
}

fn check(config: &ServiceNodeConfig) -> Result<(), ServiceNodeError> {
    if !(1..=SERVICES_MAX).contains(&config.services.len()) {
        return Err(ServiceNodeError::Services(config.services.len()));
    }
    let points = config.services.iter().map(|setting| setting.config.points).sum();
    if points > NODE_POINTS_MAX {
        return Err(ServiceNodeError::Points(points));
    }
    if !matches!(config.mode, Mode::Off | Mode::Constant) {
        return Err(ServiceNodeError::Mode);
    }
    Ok(())
}

/// The part that has links and builds circuits.
fn client_side(config: ServiceNodeConfig, [a, b, c, seed]: [[u8; 32]; 4]) -> NodeConfig {
    let packet_size = config.document.charter().packet_size();
    let circuits = CircuitsConfig {
        document: config.document,
        guards: config.guards,
        rules: config.rules,
        exit: None,
        near: crate::NearEnd::only(config.ipv4),
        pool: PoolConfig::NONE,
        services: None,
        memory_max: config.memory_max,
        up: config.base,
        down: config.base,
    };
    NodeConfig {
        side: Side::Circuits(Some(Box::new(circuits))),
        mode: config.mode,
        pacing: PacingConfig::Constant,
        packet_size,
        slot: config.slot,
        network_id: [0; 32],
        node_secret: NodeSecret::from_seed(a),
        link_secret: LinkSecret::from_bytes(b),
        door_key: DoorKey::from_bytes(c),
        session_timeout: config.session_timeout,
        max_flows: config.max_flows,
        congestion: CongestionControl::Bbr,
        hops: config.hops,
        seed,
    }
}
