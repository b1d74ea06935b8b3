//! A small network of real relays on virtual time, the last of which has the exit's end of tunnels joined to it, and clients
//! made of the cores: links, circuits, tunnels, sessions.

mod client;
mod guest;
mod host;
mod network;
mod service;

pub use client::{Client, Conduct, Download};
pub use host::{Host, HostSettings, service_address, service_secret};
pub use service::{Introduction, Service, keys_of, service_key};

use crate::apps::Unshaped;
use crate::exit_slots::{Departure, SlotDriver};
use crate::memory_queues::{self, MemoryQueues};
use link::Now;
use network::{DOCUMENT_SEED, document, node_secret, relay};
use network_document::NetworkDocument;
use onion::Features;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relay_node::{Came, NodeEvent, RelayNode};
use shaped_node::{CircuitExit, ExitConfig, ExitEvent, ExitSchedule, HostedStatus};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Each way between any two hosts.
pub const LATENCY: Duration = Duration::from_millis(5);
/// Relays 0 and 1 are guards, 2 and 3 middles.
pub const EXIT: usize = 4;
/// Where the service of [`World::with_service`] waits.
pub const INTRODUCTION_POINT: usize = 5;
/// Where it meets clients.
pub const RENDEZVOUS_POINTS: [usize; 2] = [6, 7];
/// What the exit sends at most, in bits a second; the other relays as fast as they can.
pub const EXIT_RATE: u64 = 20_000_000;
/// Queue pairs of the exit.
pub const QUEUES: u16 = 16;
/// Bytes of a ring.
const RING: usize = 64 * 1024;
/// How often the servers behind the exit act.
const SERVER_STEP: Duration = Duration::from_millis(2);
/// Turns without progress of time before a run is given up.
const STANDSTILL_MAX: u32 = 1_000;

pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What the exit takes at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Tunnels.
    pub tunnels_max: usize,
    /// Queue pairs, of which a tunnel has at most half.
    pub queues: u16,
    /// Bytes that tunnels hold together.
    pub memory_max: u64,
}

impl Bounds {
    /// Of most worlds.
    pub const USUAL: Self = Self { tunnels_max: 8, queues: QUEUES, memory_max: shaped_node::memory::MEMORY_MAX };
}

struct RelayHost {
    node: RelayNode,
    address: SocketAddr,
    /// Nothing comes in or out.
    is_dead: bool,
}

/// Everything.
pub struct World {
    /// The time.
    pub now: Now,
    /// Who is in the network.
    pub document: NetworkDocument,
    relays: Vec<RelayHost>,
    /// The exit's end of tunnels.
    pub exit: CircuitExit<MemoryQueues>,
    /// The servers behind it.
    pub servers: Unshaped,
    /// The clients.
    pub clients: Vec<Client>,
    service: Option<Service>,
    host: Option<Host>,
    /// What the exit told its shell.
    pub events: Vec<ExitEvent>,
    /// The exit's slots, if it sends in slots.
    pub slots: Option<SlotDriver>,
    /// What the exit's link has sent, if that is wanted: when, where to, how long.
    pub sent_by_exit: Option<Vec<(Duration, SocketAddr, usize)>>,
    began: Instant,
    /// Packets lost in a thousand.
    pub lost_per_mille: u32,
    under_way: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    servers_at: Instant,
    random: ChaCha20Rng,
}

impl World {
    /// Five relays and nobody else. `tunnels_max`: what the exit takes.
    pub fn new(seed: u64, tunnels_max: usize) -> Self {
        Self::with_schedule(seed, tunnels_max, None)
    }

    /// The same with an exit that sends in slots.
    pub fn with_schedule(seed: u64, tunnels_max: usize, schedule: Option<ExitSchedule>) -> Self {
        Self::with_relays(EXIT + 1, seed, Bounds { tunnels_max, ..Bounds::USUAL }, schedule)
    }

    /// The same with an exit of other bounds, without slots.
    pub fn bounded(seed: u64, bounds: Bounds) -> Self {
        Self::with_relays(EXIT + 1, seed, bounds, None)
    }

    fn with_relays(relays: usize, seed: u64, bounds: Bounds, schedule: Option<ExitSchedule>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let instant = Instant::now();
        let now = Now { instant, unix_s: 1_800_000_000 };
        let document = document(relays);
        let relays = (0..relays).map(|number| RelayHost {
            node: relay(number, &document),
            address: network::address(number),
            is_dead: false,
        });
        let (shaped, unshaped) = memory_queues::pair(bounds.queues, RING);
        let packet_bytes = document.charter().packet_size().packet();
        let slots = schedule.as_ref().map(|schedule| SlotDriver::new(instant, schedule.slot.duration(), packet_bytes));
        let config = ExitConfig {
            packet_size: document.charter().packet_size(),
            session_packet: document.charter().packet_size().session_packet(),
            node_secret: node_secret(EXIT),
            session_timeout: Duration::from_secs(10),
            tunnels_max: bounds.tunnels_max,
            flows_per_tunnel: bounds.queues / 2,
            memory_max: bounds.memory_max,
            schedule,
            seed: [DOCUMENT_SEED; 32],
        };
        let mut exit = CircuitExit::new(config, Box::new(None));
        exit.attach_queues(now, shaped);
        Self {
            now,
            relays: relays.collect(),
            document,
            exit,
            servers: Unshaped::new(unshaped, false),
            clients: Vec::new(),
            service: None,
            host: None,
            events: Vec::new(),
            slots,
            sent_by_exit: None,
            began: instant,
            lost_per_mille: 0,
            under_way: BTreeMap::new(),
            serial: 0,
            servers_at: instant,
            random: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// A client with links to both guards and no circuit. Its number.
    pub fn add_client(&mut self, features: Features) -> usize {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        let number = self.clients.len();
        let address = SocketAddr::from(([198, 51, (number >> 8) as u8, number as u8], 5000));
        let packet = self.document.charter().packet_size();
        let (peer, packet_bytes) = if features.has(Features::RENDEZVOUS) {
            (service::service_id(), packet.session_packet_virtual().expect("a P that has room"))
        } else {
            (network::node_id(EXIT), packet.session_packet())
        };
        self.clients.push(Client::new(self.now, &self.document, address, features, seed, (peer, packet_bytes)));
        number
    }

    /// A client whose session is up over one leg for each of these paths.
    ///
    /// # Panics
    /// When that takes longer than it should.
    pub fn connected(&mut self, paths: &[[usize; 3]]) -> usize {
        self.connected_asking(paths, None)
    }

    /// The same for a client that wants the exit's cells in a mode and class, by their numbers.
    ///
    /// # Panics
    /// When that takes longer than it should.
    pub fn connected_asking(&mut self, paths: &[[usize; 3]], schedule: Option<(u8, u8)>) -> usize {
        let client = self.add_client(Features::LINKING);
        self.clients[client].asks = schedule.map(|(mode, class)| (mode, class, paths.len() as u8));
        for path in paths {
            self.clients[client].open(self.now, &self.document, path, true);
        }
        let legs = paths.len();
        let up = self.run_until(Duration::from_secs(5), |world| {
            world.clients[client].is_connected() && world.clients[client].tunnel.linked() == legs
        });
        assert!(up, "{:?}", self.clients[client].tunnel);
        client
    }

    /// Runs for that long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done`, or for that long. Says whether it is done.
    ///
    /// # Panics
    /// When somebody names a time in the past again and again.
    pub fn run_until(&mut self, longest: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.instant + longest;
        let (mut stood, mut stood_at) = (0, self.now.instant);
        loop {
            stood = if self.now.instant > stood_at { 0 } else { stood + 1 };
            stood_at = self.now.instant;
            assert!(stood < STANDSTILL_MAX, "a deadline lies in the past and stays there");
            self.pump();
            if done(self) {
                return true;
            }
            let next = self.next_time();
            if next > end {
                self.now.instant = end;
                return done(self);
            }
            self.now.instant = self.now.instant.max(next);
            self.deliver();
        }
    }

    fn next_time(&mut self) -> Instant {
        let now = self.now;
        let relays =
            self.relays.iter().filter(|host| !host.is_dead).filter_map(|host| host.node.poll_timeout(now)).min();
        let service = self.service.as_ref().and_then(Service::poll_timeout);
        let clients = self.clients.iter_mut().filter_map(Client::poll_timeout).min();
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let slot = self.slots.as_ref().and_then(|slots| slots.next_time(now.instant, &self.exit));
        let host = self.host.as_mut().and_then(|host| host.next_time(now));
        let next =
            [relays, clients, arrival, self.exit.poll_timeout(), slot, service, host].into_iter().flatten().min();
        next.map_or(self.servers_at, |at| at.min(self.servers_at))
    }

    fn deliver(&mut self) {
        let now = self.now;
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now.instant) {
            let mut packet = entry.remove();
            let Some(place) = self.relays.iter().position(|host| host.address == packet.to) else {
                if let Some(client) = self.clients.iter_mut().find(|client| client.address == packet.to) {
                    client.handle_packet(now, packet.from, &mut packet.bytes);
                } else if let Some(service) = self.service.as_mut().filter(|service| service.address == packet.to) {
                    service.handle_packet(now, packet.from, &mut packet.bytes);
                } else if let Some(host) = self.host.as_mut().filter(|host| host.address == packet.to) {
                    host.node.handle_packet(now, packet.from, false, &mut packet.bytes);
                }
                continue;
            };
            let host = &mut self.relays[place];
            if host.is_dead {
                continue;
            }
            match host.node.handle_packet(now, packet.from, false, &mut packet.bytes) {
                Came::Send { to } => {
                    let from = host.address;
                    self.send(Packet { from, to: to.to, bytes: packet.bytes });
                }
                Came::Inner { circuit, inner, number } => {
                    let inner = &packet.bytes[inner];
                    self.exit.handle_inner(now, circuit, number, inner, &mut host.node);
                }
                Came::Handled | Came::Dropped => {}
            }
        }
    }

    fn pump(&mut self) {
        let now = self.now;
        if self.servers_at <= now.instant {
            self.servers_at = now.instant + SERVER_STEP;
            self.servers.step().expect("the shaped side keeps the protocol");
            if let Some(service) = &mut self.service {
                service.servers.step().expect("the shaped side keeps the protocol");
            }
            if let Some(host) = &mut self.host {
                host.servers.step().expect("the shaped side keeps the protocol");
            }
        }
        let mut out = Vec::new();
        for host in self.relays.iter_mut().filter(|host| !host.is_dead) {
            if host.node.poll_timeout(now).is_some_and(|at| at <= now.instant) {
                host.node.handle_timeout(now);
            }
        }
        self.pump_exit();
        for host in self.relays.iter_mut().filter(|host| !host.is_dead) {
            let mut bytes = Vec::new();
            while let Some(route) = host.node.poll_packet(now, &mut bytes) {
                out.push(Packet { from: host.address, to: route.to, bytes: std::mem::take(&mut bytes) });
            }
        }
        for client in &mut self.clients {
            client.pump(now, &self.document, &mut out);
        }
        if let Some(service) = &mut self.service {
            service.pump(now, &self.document, &mut out);
        }
        if let Some(host) = &mut self.host {
            host.pump(now, &mut out);
        }
        for packet in out {
            self.send(packet);
        }
    }

    /// What the shell of the exit does in each turn.
    fn pump_exit(&mut self) {
        let now = self.now;
        for number in 0..self.relays.len() {
            let node = &mut self.relays[number].node;
            while let Some(event) = node.poll_event() {
                match event {
                    NodeEvent::NotLast { circuit } => {
                        self.exit.handle_circuit_extended(now, circuit, &mut *node);
                    }
                    NodeEvent::Closed { circuit, .. } => {
                        self.exit.handle_circuit_gone(now, circuit, &mut *node);
                    }
                    _ => {}
                }
            }
        }
        let node = &mut self.relays[EXIT].node;
        if self.exit.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.exit.handle_timeout(now, &mut *node);
        }
        let departures = match &mut self.slots {
            Some(slots) => slots.turn(now, &mut self.exit, &mut *node),
            None => {
                self.exit.handle_queues(now);
                Vec::new()
            }
        };
        self.exit.pump(now, node);
        let from = self.relays[EXIT].address;
        for Departure { at, to, bytes } in departures {
            self.send_at(at, Packet { from, to, bytes });
        }
        self.events.extend(std::iter::from_fn(|| self.exit.poll_event()));
    }

    fn send(&mut self, packet: Packet) {
        self.send_at(self.now.instant, packet);
    }

    fn send_at(&mut self, at: Instant, packet: Packet) {
        if let Some(sent) = &mut self.sent_by_exit
            && packet.from == self.relays[EXIT].address
        {
            sent.push((at - self.began, packet.to, packet.bytes.len()));
        }
        if self.lost_per_mille > 0 && self.random.next_u32() % 1_000 < self.lost_per_mille {
            return;
        }
        self.serial += 1;
        self.under_way.insert((at + LATENCY, self.serial), packet);
    }

    /// Eight relays, and a service that waits at one of them and meets clients at two others.
    ///
    /// # Panics
    /// When that takes longer than it should.
    pub fn with_service(seed: u64) -> Self {
        let mut world = Self::with_relays(8, seed, Bounds::USUAL, None);
        let address = SocketAddr::from(([203, 0, 113, 1], 5000));
        let ways = [(RENDEZVOUS_POINTS[0], [0, 3]), (RENDEZVOUS_POINTS[1], [1, 2])].into();
        let mut service = Service::new(world.now, &world.document, address, ways);
        service.wait_at(world.now, &world.document, &[0, 2, INTRODUCTION_POINT]);
        world.service = Some(service);
        assert!(world.run_until(Duration::from_secs(5), |world| world.service().is_known));
        world
    }

    /// The service.
    ///
    /// # Panics
    /// In a world without one.
    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("a world with a service")
    }

    /// Twelve relays, and a service node whose services have been published.
    ///
    /// # Panics
    /// When that takes longer than it should.
    pub fn with_host(seed: u64, settings: &HostSettings) -> Self {
        let mut world = Self::with_relays(12, seed, Bounds::USUAL, None);
        let address = SocketAddr::from(([203, 0, 113, 2], 5000));
        world.host = Some(Host::new(world.now, &world.document, address, settings));
        let wanted = 2 * settings.services;
        let up = world.run_until(Duration::from_secs(60), |world| {
            let is_whole = |service: &HostedStatus| service.points == service.points_wanted;
            world.host().directory.len() >= wanted && world.host().node.status().services.iter().all(is_whole)
        });
        assert!(up, "{:?}", world.host().node.status());
        world
    }

    /// The service node.
    ///
    /// # Panics
    /// In a world without one.
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("a world with a service node")
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// In a world without one.
    pub fn host_mut(&mut self) -> &mut Host {
        self.host.as_mut().expect("a world with a service node")
    }

    /// Relays that have introduction or meeting circuits waiting under some name.
    pub fn relays(&self) -> usize {
        self.relays.len()
    }

    /// A client that has met the service under so many cookies, and whose session is up over as many legs.
    ///
    /// # Panics
    /// When that takes longer than it should.
    pub fn visitor(&mut self, legs: usize) -> usize {
        const PATIENCE: Duration = Duration::from_secs(60);
        let client = self.add_client(Features::LINKING.and(Features::RENDEZVOUS));
        let (mut secret, mut places) = ([0; 32], Vec::new());
        self.random.fill_bytes(&mut secret);
        for (leg, relay) in RENDEZVOUS_POINTS.into_iter().enumerate().take(legs) {
            let mut cookie = onion::Cookie([0; 32]);
            self.random.fill_bytes(&mut cookie.0);
            places.push((relay, cookie));
            self.clients[client].meet(self.now, &self.document, &[leg, 2 + leg, relay], (cookie, secret));
        }
        assert!(self.run_until(PATIENCE, |world| world.clients[client].waiting() == legs), "nobody waits");
        let introduction = Introduction { places, secret }.encode();
        self.clients[client].introduce(self.now, &self.document, &[1, 3, INTRODUCTION_POINT], introduction);
        let up = self.run_until(PATIENCE, |world| {
            world.clients[client].is_connected() && world.clients[client].tunnel.linked() == legs
        });
        assert!(up, "{:?} {:?}", self.clients[client].tunnel, self.clients[client].severed);
        client
    }

    /// A relay is dead from now on.
    pub fn kill(&mut self, relay: usize) {
        self.relays[relay].is_dead = true;
    }

    /// Cells that relays have handed over as last hops.
    pub fn delivered_by_relays(&self) -> u64 {
        self.relays.iter().map(|host| host.node.counters().delivered).sum()
    }

    /// Circuits that a relay has.
    pub fn circuits_at(&self, relay: usize) -> u32 {
        self.relays[relay].node.circuits()
    }

    /// A client puts a cell on one of its circuits.
    pub fn say(&mut self, client: usize, circuit: u32, inner: &[u8]) {
        let now = self.now;
        let client = &mut self.clients[client];
        let from = client.address;
        if let Some((to, bytes)) = client.seal(now, circuit, inner) {
            self.send(Packet { from, to, bytes });
        }
    }

    /// The unshaped process of the exit is another one.
    pub fn replace_queues(&mut self) {
        let (shaped, unshaped) = memory_queues::pair(QUEUES, RING);
        self.servers = Unshaped::new(unshaped, false);
        self.exit.attach_queues(self.now, shaped);
    }

    /// Cells that the exit's relay has dropped for want of room on their circuit.
    pub fn dropped_at_exit(&self) -> u64 {
        let counters = self.relays[EXIT].node.counters();
        counters.dropped_circuit_full + counters.dropped_neighbour_full + counters.dropped_memory_full
    }

    /// Circuits that the exit's relay has.
    pub fn circuits_at_exit(&self) -> u32 {
        self.relays[EXIT].node.circuits()
    }
}
