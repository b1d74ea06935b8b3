//! Clients, relays, and packets between them on virtual time. Real links and real circuits; no sockets.

use identity::{DoorKey, LinkSecret, NodeSecret, OperatorSecret};
use link::{Endpoint, EndpointConfig, LinkEvent, LinkId, Now, Peer, Received};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, OnionKeyFile, Roles};
use onion::{Circuit, CircuitConfig, CircuitEvent, CircuitKey, CircuitMessage, Features, Interval};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relay_node::{Came, ConfigError, Limits, NodeEvent, RelayNode, RelayNodeConfig};
use shaping::RateClass;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::PacketSize;

/// Each way.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);
const REGION: usize = 21;
const TAG: usize = 16;

pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// How bad the network is, in parts of 1000.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    pub(crate) altered: u32,
    /// Up to so much is added to the latency, packet by packet.
    pub(crate) jitter: Duration,
}

pub(crate) struct RelayHost {
    pub(crate) node: RelayNode,
    pub(crate) address: SocketAddr,
    pub(crate) asleep: bool,
    pub(crate) echoes: bool,
    pub(crate) events: Vec<NodeEvent>,
    /// What came out of circuits: whose, first byte, number.
    pub(crate) inner: Vec<(CircuitKey, u8, u64)>,
}

pub(crate) struct Path {
    pub(crate) circuit: Circuit,
    rest: Vec<usize>,
    pub(crate) events: Vec<CircuitEvent>,
    /// First bytes of what came back, and when.
    pub(crate) answers: Vec<(u8, Instant)>,
    /// What others said through the last hop.
    pub(crate) messages: Vec<CircuitMessage>,
    /// Cells that were refused because a layer did not open.
    pub(crate) forged: usize,
}

pub(crate) struct ClientHost {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) link: LinkId,
    pub(crate) is_up: bool,
    pub(crate) paths: BTreeMap<u32, Path>,
    /// Destroys that came for circuits which it does not have: id, reason.
    pub(crate) refused: Vec<(u32, u8)>,
    next: u32,
}

pub(crate) struct Net {
    pub(crate) now: Now,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) weather: Weather,
    pub(crate) document: NetworkDocument,
    pub(crate) relays: Vec<RelayHost>,
    pub(crate) clients: Vec<ClientHost>,
    under_way: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
}

fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

pub(crate) fn node_id(relay: usize) -> identity::NodeId {
    NodeSecret::from_seed(secret(relay)).node_id()
}

fn relay_address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 1], 4433))
}

pub(crate) fn onion_keys(relay: usize, interval: Interval) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    for number in interval.0.saturating_sub(1)..=interval.0 {
        file.prepare(Interval(number), [relay as u8 * 8 + number as u8; 32]);
    }
    file
}

/// The document of relays 0 and up; the first is the guard alone, the last the exit alone.
pub(crate) fn document(relays: &[usize], interval: Interval) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([200; 32]);
    let label = |text| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("test"), PacketSize::DEFAULT, vec![operator.operator_key()], 1);
    let charter = charter.expect("a good charter");
    let describe = |relay: usize| {
        let secret_key = NodeSecret::from_seed(secret(relay));
        let onion_key = onion_keys(relay, interval).of(interval).expect("it was made").onion_key();
        let (first, last) = (Some(&relay) == relays.first(), Some(&relay) == relays.last());
        let descriptor = Descriptor {
            node_id: secret_key.node_id(),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
            onion_keys: vec![(interval, onion_key)],
            addresses: vec![relay_address(relay)],
            hop_ports: None,
            roles: Roles { guard: first, middle: !first && !last, exit: last, directory: false },
            operator: label("somebody"),
            bandwidth: RateClass::SLOWEST,
        };
        descriptor.sign(charter.network_id(), &secret_key).expect("a good descriptor")
    };
    let mut draft = Draft::new(charter.clone(), interval, relays.iter().map(|relay| describe(*relay)).collect());
    let draft = draft.as_mut().expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.clone().finish().expect("one is enough")
}

/// A relay with these keys, whether or not the document has it.
pub(crate) fn try_relay(
    relay: usize,
    document: &NetworkDocument,
    keys: &OnionKeyFile,
    (seed, limits, bandwidth): (u8, Limits, Option<RateClass>),
) -> Result<RelayNode, ConfigError> {
    let config = RelayNodeConfig {
        node_id: node_id(relay),
        link_secret: LinkSecret::from_bytes(secret(relay)),
        door_key: DoorKey::from_bytes(secret(relay)),
        hops: None,
        bandwidth,
        limits,
    };
    RelayNode::new(config, document.clone(), keys, [seed; 32])
}

fn make_relay(
    relay: usize,
    document: &NetworkDocument,
    seed: u8,
    limits: Limits,
    bandwidth: Option<RateClass>,
) -> RelayNode {
    let keys = onion_keys(relay, document.interval());
    try_relay(relay, document, &keys, (seed, limits, bandwidth)).expect("the document has it")
}

impl Net {
    /// So many relays with these limits; the last one echoes.
    pub(crate) fn new(relays: usize, limits: Limits, seed: u64) -> Self {
        let all: Vec<usize> = (0..relays).collect();
        let document = document(&all, Interval(5));
        let host = |relay| RelayHost {
            node: make_relay(relay, &document, relay as u8, limits, None),
            address: relay_address(relay),
            asleep: false,
            echoes: true,
            events: Vec::new(),
            inner: Vec::new(),
        };
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let instant = Instant::now();
        Self {
            now: Now { instant, unix_s: 1_800_000_000 },
            rng: ChaCha20Rng::seed_from_u64(seed),
            weather: Weather::default(),
            relays: all.iter().map(|relay| host(*relay)).collect(),
            document: document.clone(),
            clients: Vec::new(),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Gives a relay a rate.
    pub(crate) fn limit(&mut self, relay: usize, limits: Limits, class: RateClass) {
        self.relays[relay].node = make_relay(relay, &self.document, 99, limits, Some(class));
    }

    /// The relay's process is another one.
    pub(crate) fn restart(&mut self, relay: usize) {
        self.relays[relay].node = make_relay(relay, &self.document, 77, Limits::default(), None);
    }

    /// A client that dials a relay from this address.
    pub(crate) fn add_client(&mut self, address: SocketAddr, relay: usize) -> usize {
        let network = self.document.charter().network();
        let seed = self.rng.next_u32().to_be_bytes().repeat(8);
        let seed: [u8; 32] = seed.try_into().expect("32 bytes");
        let config = EndpointConfig {
            packet_size: network.packet_size,
            network_id: network.id,
            gridded: false,
            ..EndpointConfig::new(
                NodeSecret::from_seed(seed).node_id(),
                LinkSecret::from_bytes(seed),
                DoorKey::from_bytes(seed),
            )
        };
        let mut endpoint = Endpoint::new(config, seed);
        let peer = Peer {
            node_id: node_id(relay),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
        };
        let link = endpoint.dial(self.now, &peer, relay_address(relay), [0; 7]).expect("its only dial");
        let host =
            ClientHost { endpoint, address, link, is_up: false, paths: BTreeMap::new(), refused: Vec::new(), next: 1 };
        self.clients.push(host);
        self.clients.len() - 1
    }

    /// A client begins a circuit over these relays, of which the first is the one that it has dialled.
    pub(crate) fn open(&mut self, client: usize, path: &[usize]) -> u32 {
        let mut random = [0; 32];
        self.rng.fill_bytes(&mut random);
        let spec = self.document.spec(&node_id(path[0])).expect("a relay of the network");
        let config = CircuitConfig { network: self.document.charter().network(), features: Features::RENDEZVOUS };
        let host = &mut self.clients[client];
        let id = CircuitId(CircuitId::DIALLER_BIT | host.next);
        host.next += 1;
        let circuit = Circuit::new(self.now.instant, config, id, spec, random).expect("the library works");
        let path = Path {
            circuit,
            rest: path[1..].to_vec(),
            events: Vec::new(),
            answers: Vec::new(),
            messages: Vec::new(),
            forged: 0,
        };
        host.paths.insert(id.0, path);
        id.0
    }

    /// A client with a whole circuit.
    pub(crate) fn built(&mut self, address: SocketAddr, path: &[usize]) -> (usize, u32) {
        let client = self.add_client(address, path[0]);
        let circuit = self.open(client, path);
        self.run(Duration::from_millis(500));
        assert!(self.is_built(client, circuit, path.len()), "{:?}", self.path(client, circuit).events);
        (client, circuit)
    }

    pub(crate) fn path(&self, client: usize, circuit: u32) -> &Path {
        &self.clients[client].paths[&circuit]
    }

    pub(crate) fn path_mut(&mut self, client: usize, circuit: u32) -> &mut Path {
        self.clients[client].paths.get_mut(&circuit).expect("it was opened")
    }

    pub(crate) fn is_built(&self, client: usize, circuit: u32, hops: usize) -> bool {
        let path = self.path(client, circuit);
        path.circuit.is_ready() && path.circuit.path().count() == hops
    }

    /// The client sends a cell to the last hop of a circuit.
    pub(crate) fn say(&mut self, client: usize, circuit: u32, byte: u8) {
        let (now, host) = (self.now, &mut self.clients[client]);
        let mut region = vec![0; self.document.charter().packet_size().region()];
        let path = host.paths.get_mut(&circuit).expect("it was opened");
        region[path.circuit.inner()..].fill(byte);
        let head = path.circuit.seal(now.instant, &mut region).expect("a circuit that is ready");
        self.send_region(client, head, &region);
    }

    /// Puts a cell of a client on its way, whatever it is.
    pub(crate) fn send_region(&mut self, client: usize, head: CellHead, region: &[u8]) {
        let (now, host) = (self.now, &mut self.clients[client]);
        let mut bytes = Vec::new();
        let fill = |out: &mut [u8]| out.copy_from_slice(region);
        let route = host.endpoint.seal_cell(now, host.link, head, fill, &mut bytes).expect("the link is up");
        let packet = Packet { from: host.address, to: route.to, bytes };
        self.send(packet);
    }

    /// A relay seals a cell for a circuit that ends there, as for a slot, and sends it now if it is wanted.
    pub(crate) fn say_in_slot(&mut self, relay: usize, circuit: CircuitKey, byte: u8, is_sent: bool) -> Option<()> {
        let (now, host) = (self.now, &mut self.relays[relay]);
        let (mut bytes, from) = (Vec::new(), host.address);
        let inner = vec![byte; self.document.charter().packet_size().packet() - 109];
        let sealed = host.node.seal_inner(now, circuit, &inner, &mut bytes);
        assert_eq!(bytes.is_empty(), sealed.is_err(), "a packet, or nothing");
        if is_sent {
            self.send(Packet { from, to: sealed.ok()?.to, bytes });
        } else {
            host.node.take_back(circuit, 1);
        }
        Some(())
    }

    fn chance(&mut self, permille: u32) -> bool {
        self.rng.next_u32() % 1000 < permille
    }

    fn send(&mut self, mut packet: Packet) {
        if self.chance(self.weather.lost) {
            return;
        }
        if self.chance(self.weather.altered) {
            let place = self.rng.next_u32() as usize % packet.bytes.len();
            packet.bytes[place] ^= 1 << (self.rng.next_u32() % 8);
        }
        for _ in 0..1 + u32::from(self.chance(self.weather.doubled)) {
            let jitter = self.weather.jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
            self.sent += 1;
            let copy = Packet { bytes: packet.bytes.clone(), ..packet };
            self.under_way.insert((self.now.instant + LATENCY + jitter, self.sent), copy);
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.instant + span;
        loop {
            self.pump();
            let now = self.now;
            let relays = self.relays.iter().filter(|host| !host.asleep).filter_map(|host| host.node.poll_timeout(now));
            let clients = self.clients.iter().filter_map(ClientHost::timeout);
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let next = relays.chain(clients).chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            // A deadline in the past that stays there would let time stand still.
            self.now.instant = next.max(self.now.instant + Duration::from_micros(1));
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now.instant) {
                let packet = entry.remove();
                self.deliver(packet);
            }
        }
        self.now.instant = self.now.instant.max(end);
    }

    fn deliver(&mut self, mut packet: Packet) {
        let now = self.now;
        if let Some(host) = self.relays.iter_mut().find(|host| host.address == packet.to) {
            if host.asleep {
                return;
            }
            let from = host.address;
            match host.node.handle_packet(now, packet.from, false, &mut packet.bytes) {
                Came::Send { to } => self.send(Packet { from, to: to.to, bytes: packet.bytes }),
                Came::Inner { circuit, inner, number } => host.take(now, circuit, &packet.bytes[inner], number),
                Came::Handled | Came::Dropped => {}
            }
        } else if let Some(host) = self.clients.iter_mut().find(|host| host.address == packet.to) {
            host.take(now, packet.from, &mut packet.bytes);
        }
    }

    fn pump(&mut self) {
        let (now, mut out) = (self.now, Vec::new());
        for host in self.relays.iter_mut().filter(|host| !host.asleep) {
            if host.node.poll_timeout(now).is_some_and(|at| at <= now.instant) {
                host.node.handle_timeout(now);
            }
            let mut bytes = Vec::new();
            while let Some(route) = host.node.poll_packet(now, &mut bytes) {
                out.push(Packet { from: host.address, to: route.to, bytes: std::mem::take(&mut bytes) });
            }
            while let Some(event) = host.node.poll_event() {
                host.events.push(event);
            }
        }
        for host in &mut self.clients {
            host.pump(now, &self.document, &mut out);
        }
        for packet in out {
            self.send(packet);
        }
    }
}

impl RelayHost {
    fn take(&mut self, now: Now, circuit: CircuitKey, inner: &[u8], number: u64) {
        assert!(inner.iter().all(|byte| *byte == inner[0]), "an inner part came damaged");
        self.inner.push((circuit, inner[0], number));
        if self.echoes {
            let echo = inner.to_vec();
            self.node.send_inner(now, circuit, &echo).expect("a cell just came from there");
        }
    }
}

impl ClientHost {
    fn timeout(&self) -> Option<Instant> {
        let paths = self.paths.values().filter_map(|path| path.circuit.poll_timeout()).min().filter(|_| self.is_up);
        self.endpoint.poll_timeout().into_iter().chain(paths).min()
    }

    fn take(&mut self, now: Now, from: SocketAddr, packet: &mut [u8]) {
        let Received::Cell { head, .. } = self.endpoint.handle_packet(now, from, false, packet) else { return };
        if !head.command.is_of_circuit() {
            return;
        }
        let end = packet.len() - TAG;
        let region = &mut packet[REGION..end];
        let Some(path) = self.paths.get_mut(&head.circuit.0) else {
            if head.command == Command::Destroy {
                self.refused.push((head.circuit.0, region[0]));
            }
            return;
        };
        match path.circuit.handle_cell(now.instant, head.command, region) {
            onion::Received::Inner { .. } => {
                let inner = &region[path.circuit.inner()..];
                assert!(inner.iter().all(|byte| *byte == inner[0]), "an answer came damaged");
                path.answers.push((inner[0], now.instant));
            }
            onion::Received::Dropped(onion::Dropped::Forged) => path.forged += 1,
            onion::Received::Handled | onion::Received::Dropped(_) => {}
        }
    }

    fn pump(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                LinkEvent::Up { .. } => self.is_up = true,
                LinkEvent::Down { .. } => self.is_up = false,
                _ => {}
            }
        }
        let mut bytes = Vec::new();
        while let Some(route) = self.endpoint.poll_own_packet(now, self.link, &mut bytes) {
            out.push(Packet { from: self.address, to: route.to, bytes: std::mem::take(&mut bytes) });
        }
        self.endpoint.handle_timeout(now);
        if !self.is_up {
            return;
        }
        for path in self.paths.values_mut() {
            path.follow(now.instant, document);
            let mut region = vec![0; document.charter().packet_size().region()];
            while let Some(head) = path.circuit.poll_cell(now.instant, &mut region) {
                let fill = |out: &mut [u8]| out.copy_from_slice(&region);
                let sealed = self.endpoint.seal_cell(now, self.link, head, fill, &mut bytes);
                let to = sealed.expect("the link is up").to;
                out.push(Packet { from: self.address, to, bytes: std::mem::take(&mut bytes) });
            }
            path.follow(now.instant, document);
        }
    }
}

impl Path {
    /// Goes on to the next relay as soon as the last one is there.
    fn follow(&mut self, now: Instant, document: &NetworkDocument) {
        self.messages.extend(std::iter::from_fn(|| self.circuit.poll_message()));
        while let Some(event) = self.circuit.poll_event() {
            self.events.push(event);
            if matches!(event, CircuitEvent::Extended { .. }) && !self.rest.is_empty() {
                let next = self.rest.remove(0);
                let spec = document.spec(&node_id(next)).expect("a relay of the network");
                self.circuit.extend(now, spec).expect("a circuit that is ready");
            }
        }
    }

    /// The newest event.
    pub(crate) fn newest(&self) -> Option<CircuitEvent> {
        self.events.last().copied()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.answers.iter().map(|(byte, _)| *byte).collect()
    }
}

pub(crate) fn client_address(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number], 5000))
}
