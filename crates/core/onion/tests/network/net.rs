//! A client (node 0), relays (nodes 1 and up), and links between all of them on virtual time.

use identity::NodeId;
use onion::{
    Circuit, CircuitConfig, CircuitEvent, CircuitKey, Dialled, Features, Handled, Interval, Neighbour, Network,
    OnionKeys, OnionSecret, Received, Relay, RelayConfig, RelaySpec, Unreachable,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::PacketSize;

pub(crate) const NETWORK: Network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
pub(crate) const CLIENT: usize = 0;
pub(crate) const CIRCUIT: CircuitId = CircuitId(CircuitId::DIALLER_BIT | 1);
/// Where the inner part begins at the client.
pub(crate) const INNER: usize = 72;
/// Features that the client offers and relays have; bit 1 is common.
const OFFERED: Features = Features(0b011);
const SUPPORTED: Features = Features(0b110);
pub(crate) const COMMON: Features = Features(0b010);

/// A cell under way.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) head: CellHead,
    pub(crate) region: Vec<u8>,
}

/// How bad the links are, in parts of 1000.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// Up to so much is added to the latency of 10 ms, cell by cell.
    pub(crate) jitter: Duration,
}

type Filter = Box<dyn FnMut(&mut Cell) -> bool>;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) weather: Weather,
    pub(crate) circuit: Circuit,
    pub(crate) relays: Vec<Relay>,
    /// What the client got: kinds of events, and first bytes of inner parts.
    pub(crate) events: Vec<CircuitEvent>,
    pub(crate) answers: Vec<u8>,
    /// What the last hops got: node, circuit, first byte of the inner part.
    pub(crate) delivered: Vec<(usize, CircuitKey, u8)>,
    /// The numbers of all inner parts, in the order in which they came to either end.
    pub(crate) numbers: Vec<u64>,
    /// Whatever the client dropped.
    pub(crate) dropped: Vec<onion::Dropped>,
    /// Links that orders find to be impossible.
    pub(crate) unreachable: Vec<usize>,
    /// Cells that were sent.
    pub(crate) sent: usize,
    under_way: BTreeMap<(Instant, usize), Cell>,
    filter: Option<Filter>,
}

pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId([node as u8; 32])
}

fn secret(node: usize) -> OnionSecret {
    OnionSecret::from_bytes([node as u8 + 100; 32])
}

pub(crate) fn spec(node: usize) -> RelaySpec {
    RelaySpec { node_id: node_id(node), onion_key: secret(node).onion_key(), interval: Interval(1) }
}

pub(crate) fn relay(node: usize, seed: u8) -> Relay {
    let config = RelayConfig { features: SUPPORTED, ..RelayConfig::new(NETWORK, node_id(node)) };
    Relay::new(config, OnionKeys::new(Interval(1), secret(node)), [seed; 32])
}

pub(crate) fn region() -> Vec<u8> {
    vec![0; NETWORK.packet_size.region()]
}

impl Net {
    /// So many relays, and a circuit that begins at the first.
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    pub(crate) fn new(relays: usize, seed: u64) -> Self {
        let now = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let config = CircuitConfig { network: NETWORK, features: OFFERED };
        Self {
            now,
            weather: Weather::default(),
            circuit: Circuit::new(now, config, CIRCUIT, spec(1), random).expect("the library works"),
            relays: (1..=relays).map(|node| relay(node, node as u8)).collect(),
            events: Vec::new(),
            answers: Vec::new(),
            delivered: Vec::new(),
            numbers: Vec::new(),
            dropped: Vec::new(),
            unreachable: Vec::new(),
            sent: 0,
            under_way: BTreeMap::new(),
            filter: None,
            rng,
        }
    }

    /// With a circuit of so many hops.
    pub(crate) fn built(hops: usize, seed: u64) -> Self {
        let mut net = Self::new(hops, seed);
        net.settle();
        for node in 2..=hops {
            net.extend(node);
            net.settle();
        }
        assert!(net.circuit.is_ready() && net.circuit.path().count() == hops, "{:?}", net.events);
        net.events.clear();
        net
    }

    /// Every cell that is sent passes this first: it is lost where the answer is false.
    pub(crate) fn set_filter(&mut self, filter: impl FnMut(&mut Cell) -> bool + 'static) {
        self.filter = Some(Box::new(filter));
    }

    pub(crate) fn clear_filter(&mut self) {
        self.filter = None;
    }

    pub(crate) fn extend(&mut self, node: usize) {
        self.circuit.extend(self.now, spec(node)).expect("a circuit that can be extended");
    }

    /// The client sends a cell to its last hop.
    pub(crate) fn say(&mut self, byte: u8) {
        let mut region = region();
        region[INNER..].fill(byte);
        let head = self.circuit.seal(self.now, &mut region).expect("a circuit that is ready");
        self.send(CLIENT, 1, head, region);
    }

    /// A last hop sends a cell to the client.
    pub(crate) fn answer(&mut self, node: usize, circuit: CircuitKey, byte: u8) {
        let relay = &mut self.relays[node - 1];
        let mut region = region();
        let inner = relay.inner(circuit).expect("the circuit is there");
        region[inner].fill(byte);
        let (to, head) = relay.seal(self.now, circuit, &mut region).expect("the last hop");
        self.send(node, to.0 as usize, head, region);
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, head: CellHead, region: Vec<u8>) {
        self.sent += 1;
        let mut cell = Cell { from, to, head, region };
        if self.filter.as_mut().is_some_and(|filter| !filter(&mut cell)) || self.chance(self.weather.lost) {
            return;
        }
        for _ in 0..1 + u32::from(self.chance(self.weather.doubled)) {
            let jitter = self.weather.jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
            let number = self.under_way.last_key_value().map_or(0, |(key, _)| key.1) + self.under_way.len() + self.sent;
            self.under_way.insert((self.now + Duration::from_millis(10) + jitter, number), cell.clone());
        }
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.next_u32() % 1000 < per_mille
    }

    /// Lets everything happen that happens without the passing of more than `limit`.
    pub(crate) fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            self.pump();
            let timers = self.relays.iter().map(Relay::poll_timeout).chain([self.circuit.poll_timeout()]);
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let Some(next) = timers.flatten().chain(arrival).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let cell = entry.remove();
                self.deliver(cell);
            }
            for relay in &mut self.relays {
                relay.handle_timeout(self.now);
            }
            self.circuit.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Long enough for anything that no loss delays.
    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_millis(250));
    }

    pub(crate) fn deliver(&mut self, mut cell: Cell) {
        if cell.to == CLIENT {
            match self.circuit.handle_cell(self.now, cell.head.command, &mut cell.region) {
                Received::Inner { number } => {
                    self.answers.push(cell.region[INNER]);
                    self.numbers.push(number);
                }
                Received::Handled => {}
                Received::Dropped(why) => self.dropped.push(why),
            }
            return;
        }
        let relay = &mut self.relays[cell.to - 1];
        match relay.handle_cell(self.now, Neighbour(cell.from as u32), cell.head, &mut cell.region) {
            Handled::Forward { to, head } => self.send(cell.to, to.0 as usize, head, cell.region),
            Handled::Inner { circuit, inner, number } => {
                self.numbers.push(number);
                let bytes = &cell.region[inner];
                assert_eq!(bytes.len(), region().len() - INNER);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "an inner part came damaged");
                self.delivered.push((cell.to, circuit, bytes[0]));
            }
            Handled::Done | Handled::Dropped(_) => {}
        }
    }

    fn pump(&mut self) {
        while let Some(event) = self.circuit.poll_event() {
            self.events.push(event);
        }
        let mut cell = region();
        while let Some(head) = self.circuit.poll_cell(self.now, &mut cell) {
            self.send(CLIENT, 1, head, cell.clone());
        }
        while let Some(event) = self.circuit.poll_event() {
            self.events.push(event);
        }
        for node in 1..=self.relays.len() {
            self.pump_relay(node);
        }
    }

    fn pump_relay(&mut self, node: usize) {
        while let Some(order) = self.relays[node - 1].poll_order() {
            let other = (1..=self.relays.len()).find(|other| node_id(*other) == order.node);
            let relay = &mut self.relays[node - 1];
            match other {
                None => relay.not_connected(order.circuit, Unreachable::UnknownNode),
                Some(other) if self.unreachable.contains(&other) => {
                    relay.not_connected(order.circuit, Unreachable::NoLink);
                }
                Some(other) => {
                    let dialled = if node < other { Dialled::ByUs } else { Dialled::ByThem };
                    relay.connected(self.now, order.circuit, Neighbour(other as u32), dialled);
                }
            }
        }
        let waiting: Vec<Neighbour> = self.relays[node - 1].waiting().collect();
        for to in waiting {
            let mut cell = region();
            while let Some(head) = self.relays[node - 1].poll_cell(self.now, to, &mut cell) {
                self.send(node, to.0 as usize, head, cell.clone());
            }
        }
    }

    /// Circuits at all relays.
    pub(crate) fn circuits(&self) -> u32 {
        self.relays.iter().map(Relay::circuits).sum()
    }
}

/// The commands of a cell that belong to building.
pub(crate) fn is_create(cell: &Cell) -> bool {
    matches!(cell.head.command, Command::Create | Command::Created)
}
