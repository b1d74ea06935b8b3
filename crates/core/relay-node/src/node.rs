//! A relay: links and circuits joined.

mod drain;
mod links;
mod orders;
mod packets;
mod slots;

pub use drain::{DESTROYED_A_STEP_MAX, DRAIN_LINGER};
pub use links::NeighbourFigures;
pub use orders::{ADDRESS_TRY, DIAL_TIME, DIALS_MAX, WAITING_PER_DIAL_MAX};

use crate::bucket::Bucket;
use crate::config::{ConfigError, RelayNodeConfig, own};
use crate::counters::Counters;
use crate::event::NodeEvent;
use crate::queues::{Onward, Queues};
use drain::Drain;
use identity::{LinkKey, NodeId};
use link::{Accept, Endpoint, EndpointConfig, LinkId, Now, Route, SocketOrder, Via};
use links::Links;
use network_document::{Descriptor, NetworkDocument, OnionKeyFile, Roles};
use onion::{CircuitKey, Features, Neighbour, Reason, Relay, RelayConfig, RelayEvent, RelaySealError};
use orders::Dials;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::packet::PacketSize;

/// Events that wait for [`RelayNode::poll_event`]; the oldest goes, counted.
pub const EVENTS_MAX: usize = 4_096;
/// How often links are looked at that nobody uses or that do not answer.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One relay, without sockets and clocks.
///
/// Give it every packet with [`RelayNode::handle_packet`] and do what it says; call [`RelayNode::handle_timeout`] when
/// [`RelayNode::poll_timeout`] has come. After each call take, in this order, [`RelayNode::poll_socket_order`] and
/// [`RelayNode::poll_event`] until `None`, and [`RelayNode::poll_packet`] until `None` (a shell does so after some packets,
/// not after each). It logs nothing.
pub struct RelayNode {
    config: RelayNodeConfig,
    document: NetworkDocument,
    /// True when it hands over cells for the last hop.
    is_exit: bool,
    endpoint: Endpoint,
    relay: Relay,
    links: Links,
    dials: Dials,
    queues: Queues,
    bucket: Bucket,
    /// A region, for cells that are made here.
    scratch: Vec<u8>,
    events: VecDeque<NodeEvent>,
    counters: Counters,
    /// Links that may have packets of their own.
    due: Vec<LinkId>,
    /// The timers of these links are to be set again.
    rearm: bool,
    /// The neighbour that own cells were taken for last.
    served: Option<Neighbour>,
    /// Own cells and waiting cells take turns.
    own_turn: bool,
    next_sweep: Option<Instant>,
    drain: Option<Drain>,
}

impl RelayNode {
    /// A relay as its network's document has it. `seed` comes from the system's random source and is never used twice.
    ///
    /// # Errors
    /// When the document does not have it, or has other keys of it.
    pub fn new(
        config: RelayNodeConfig,
        document: NetworkDocument,
        onion_keys: &OnionKeyFile,
        seed: [u8; 32],
    ) -> Result<Self, ConfigError> {
        let (descriptor, interval, _) = own(&config, &document, onion_keys)?;
        let keys = onion_keys.keys(interval).ok_or(ConfigError::NoOnionSecret)?;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut seed = || {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            seed
        };
        let (network, limits) = (document.charter().network(), config.limits);
        let relay = RelayConfig {
            features: features(descriptor.roles, network.packet_size),
            circuits_max: limits.circuits,
            circuits_per_neighbour: limits.circuits_per_relay,
            handshakes_per_second: limits.handshakes_per_second,
            handshakes_per_neighbour: limits.handshakes_per_relay,
            idle_after: limits.circuit_idle,
            ..RelayConfig::new(network, config.node_id)
        };
        let endpoint = EndpointConfig {
            packet_size: network.packet_size,
            network_id: network.id,
            accept: accept(&config, &document, descriptor),
            max_links: limits.links,
            links_per_source: limits.links_per_source,
            gridded: false,
            hops: config.hops.clone(),
            ..EndpointConfig::new(config.node_id, config.link_secret.clone(), config.door_key.clone())
        };
        let session_packet = network.packet_size.session_packet() as u64;
        let rate = config.bandwidth.map(|class| (class.bits_per_second() / 8).div_ceil(session_packet));
        Ok(Self {
            is_exit: descriptor.roles.ends_tunnels(),
            endpoint: Endpoint::new(endpoint, seed()),
            relay: Relay::new(relay, keys, seed()),
            links: Links::default(),
            dials: Dials::default(),
            queues: Queues::new(&limits),
            bucket: Bucket::new(rate),
            config,
            document,
            scratch: vec![0; network.packet_size.region()],
            events: VecDeque::new(),
            counters: Counters::default(),
            due: Vec::new(),
            rearm: false,
            served: None,
            own_turn: true,
            next_sweep: None,
            drain: None,
        })
    }

    /// What it goes by.
    pub fn document(&self) -> &NetworkDocument {
        &self.document
    }

    /// True when the document has it as an exit or directory: where tunnels end.
    pub fn is_exit(&self) -> bool {
        self.is_exit
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What became of packets.
    pub fn link_counters(&self) -> &link::Counters {
        self.endpoint.counters()
    }

    /// What became of circuits and their cells.
    pub fn onion_counters(&self) -> &onion::Counters {
        self.relay.counters()
    }

    /// Links, half-open ones included.
    pub fn link_count(&self) -> usize {
        self.endpoint.link_count()
    }

    /// Circuits.
    pub fn circuits(&self) -> u32 {
        self.relay.circuits()
    }

    /// Who waits here for others: cookies, services' keys, and messages that are being passed on.
    pub fn meetings(&self) -> (usize, usize, usize) {
        (self.relay.rendezvous(), self.relay.introduction_points(), self.relay.passing())
    }

    /// Cells that wait.
    pub fn waiting(&self) -> usize {
        self.queues.len()
    }

    /// Bytes that waiting cells take, at most [`crate::Limits::cells`] times P.
    pub fn waiting_bytes(&self) -> usize {
        self.queues.len() * self.document.charter().packet_size().region()
    }

    /// The most cells of one neighbour that wait.
    pub fn waiting_of_busiest(&self) -> usize {
        self.links.neighbours().map(|neighbour| self.queues.of_neighbour(neighbour)).max().unwrap_or_default()
    }

    /// True after [`NodeEvent::Drained`].
    pub fn is_drained(&self) -> bool {
        self.drain.as_ref().is_some_and(Drain::is_over)
    }

    /// What both ends of a circuit have beside cells.
    pub fn features(&self, circuit: CircuitKey) -> Option<Features> {
        self.relay.features(circuit)
    }

    /// What binds a message outside of a circuit that ends here to it.
    pub fn binding_key(&self, circuit: CircuitKey) -> Option<&onion::BindingKey> {
        self.relay.binding_key(circuit)
    }

    /// Cells that were sealed here for the client of a circuit: the next one has this number.
    pub fn sealed(&self, circuit: CircuitKey) -> Option<u64> {
        self.relay.sealed(circuit)
    }

    /// Cells that can be sent to the client of a circuit before the oldest one that waits is dropped.
    pub fn room(&self, circuit: CircuitKey) -> usize {
        let towards = self.relay.towards_client(circuit);
        towards.map_or(0, |(to, circuit)| self.queues.room(Onward { to, circuit }))
    }

    /// Sends a cell to the client of a circuit that ends here: `inner` is at most P - 109 bytes, what it does not fill is
    /// zero. The cell takes its turn with all others.
    ///
    /// # Errors
    /// When the circuit is gone, goes on to another relay, or is worn out: then it is taken down.
    ///
    /// # Panics
    /// When `inner` is longer.
    pub fn send_inner(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), RelaySealError> {
        let place = self.relay.inner(circuit).ok_or(RelaySealError::Unknown)?;
        let region = &mut self.scratch;
        region.fill(0);
        region[place][..inner.len()].copy_from_slice(inner);
        let sealed = self.relay.seal(now.instant, circuit, region);
        if let Ok((to, head)) = sealed {
            let onward = Onward { to, circuit: head.circuit };
            // Its own cells count as the exit's, not as those of a neighbour.
            self.queues.push(now.instant, (OWN, onward), region, &mut self.counters);
        }
        self.follow_relay(now);
        sealed.map(|_| ())
    }

    /// Takes a circuit down. Its client is told why.
    pub fn destroy(&mut self, now: Now, circuit: CircuitKey, reason: Reason) {
        self.relay.destroy(now.instant, circuit, reason);
        self.follow_relay(now);
    }

    /// Goes by a later document of the same network from now on. Links to relays that it does not have are closed.
    ///
    /// # Errors
    /// When it is not later, does not have this relay or has other keys of it. Nothing has changed then.
    pub fn set_document(
        &mut self,
        now: Now,
        document: NetworkDocument,
        onion_keys: &OnionKeyFile,
    ) -> Result<(), ConfigError> {
        if !document.supersedes(&self.document) {
            return Err(ConfigError::NotLater);
        }
        let (descriptor, interval, secret) = own(&self.config, &document, onion_keys)?;
        self.is_exit = descriptor.roles.ends_tunnels();
        let accept = accept(&self.config, &document, descriptor);
        self.relay.onion_keys().rotate(interval, secret);
        self.relay.set_features(features(descriptor.roles, document.charter().packet_size()));
        self.endpoint.set_accept(accept);
        self.document = document;
        self.close_strangers(now);
        self.follow_moved(now);
        Ok(())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now);
            self.due.clear();
            self.due.extend(self.endpoint.due_links(now));
            self.rearm = !self.due.is_empty();
        }
        self.relay.handle_timeout(now.instant);
        self.follow_links(now);
        self.follow_relay(now);
        self.look_after_dials(now);
        if self.next_sweep.is_some_and(|at| at <= now.instant) {
            self.next_sweep = None;
            self.sweep_links(now);
        }
        self.go_on_draining(now);
    }

    /// When [`RelayNode::handle_timeout`] is to be called, or [`RelayNode::poll_packet`] has something again.
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let bound = self.waits().then(|| self.bucket.next(now.instant));
        let drain = self.drain.as_ref().and_then(Drain::deadline);
        let parts = [self.endpoint.poll_timeout(), self.relay.poll_timeout(), self.dials.deadline(), self.next_sweep];
        parts.into_iter().chain([bound, drain]).flatten().min()
    }

    /// True while cells wait for the rate.
    fn waits(&self) -> bool {
        !self.queues.is_empty() || self.relay.next_waiting(None).is_some()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop_front()
    }

    /// What is to be done with sockets, when links hop.
    pub fn poll_socket_order(&mut self) -> Option<SocketOrder> {
        self.endpoint.poll_socket_order()
    }

    /// A socket that was ordered is open, at this address.
    pub fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr) {
        self.endpoint.handle_socket_opened(now, via, local);
        self.follow_links(now);
    }

    /// A socket that was ordered could not be opened.
    pub fn handle_socket_failed(&mut self, now: Now, via: Via) {
        self.endpoint.handle_socket_failed(now, via);
        self.follow_links(now);
    }

    /// The system has no way for so many packets.
    pub fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
        self.endpoint.handle_send_refused(now, route, packets);
        self.follow_links(now);
    }

    /// Fills the replay filter after a restart: see [`link::Endpoint::remember_ephemerals`].
    pub fn remember_ephemerals(&mut self, stored: impl IntoIterator<Item = ([u8; 32], u32)>) {
        self.endpoint.remember_ephemerals(stored);
    }

    /// What the circuits say.
    fn follow_relay(&mut self, now: Now) {
        while let Some(order) = self.relay.poll_order() {
            self.follow_order(now, order);
        }
        while let Some(event) = self.relay.poll_event() {
            // At other relays clients only keep an unfinished circuit alive so.
            if self.is_exit {
                self.tell(match event {
                    RelayEvent::Opened { circuit } => NodeEvent::Opened { circuit },
                    RelayEvent::NotLast { circuit } => NodeEvent::NotLast { circuit },
                    RelayEvent::Closed { circuit, reason } => NodeEvent::Closed { circuit, reason },
                });
            }
        }
    }

    fn tell(&mut self, event: NodeEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.counters.events_lost += 1;
        }
        self.events.push_back(event);
    }

    fn sweep_soon(&mut self, now: Instant) {
        self.next_sweep.get_or_insert(now + SWEEP_INTERVAL);
    }
}

/// Stands for this relay among neighbours: cells that it makes for clients of circuits that end here. No link has this number.
const OWN: Neighbour = Neighbour(u32::MAX);

/// What circuits can use here. Only an exit joins anything to them; at every middle clients can meet.
fn features(roles: Roles, size: PacketSize) -> Features {
    let linking = if roles.ends_tunnels() { Features::LINKING } else { Features::default() };
    let has_room = size.session_packet_virtual().is_some();
    if roles.middle && has_room { linking.and(Features::RENDEZVOUS) } else { linking }
}

/// A guard answers everybody, another relay the relays of its network.
fn accept(config: &RelayNodeConfig, document: &NetworkDocument, own: &Descriptor) -> Accept {
    let others = document.relays().filter(|relay| relay.node_id != config.node_id);
    let known = others.map(|relay| (relay.link_key, relay.node_id)).collect::<BTreeMap<LinkKey, NodeId>>();
    if own.roles.guard {
        Accept::KnownAndStrangers { known, strangers_max: config.limits.clients }
    } else {
        Accept::Only(known)
    }
}
