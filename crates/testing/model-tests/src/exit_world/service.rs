//! A service: it waits at introduction points, meets clients at rendezvous points, and is the join point of their tunnels.

use super::Packet;
use super::network::{dialler, node_id};
use crate::apps::Unshaped;
use crate::memory_queues::{self, MemoryQueues};
use identity::{NodeId, NodeSecret};
use link::{Endpoint, LinkId, Now, Received};
use network_document::NetworkDocument;
use onion::{Circuit, CircuitConfig, CircuitEvent, CircuitMessage, Cookie, Features, RawKeys, ServiceKey, Side};
use shaped_node::{CircuitExit, ExitConfig, ExitEvent, ServiceCame, ServiceCircuits};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::cell::CircuitId;

/// Queue pairs.
const QUEUES: u16 = 16;
/// Bytes of a ring.
const RING: usize = 64 * 1024;
const SEED: [u8; 32] = [0x5e; 32];
const REGION: usize = 21;
const TAG: usize = 16;

/// What an introduction of this world says in the clear: where to meet under which cookies, and what keys come from. How such a thing
/// is sealed is not this model's business.
pub struct Introduction {
    /// Rendezvous points and cookies.
    pub places: Vec<(usize, Cookie)>,
    /// What both ends make keys of.
    pub secret: [u8; 32],
}

impl Introduction {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let places = self.places.iter().flat_map(|(relay, cookie)| std::iter::once(*relay as u8).chain(cookie.0));
        self.secret.iter().copied().chain(places).collect()
    }

    fn decode(bytes: &[u8]) -> Self {
        let (secret, places) = bytes.split_first_chunk().expect("a secret");
        let places = places.chunks(33).map(|place| {
            let cookie = place[1..].try_into().expect("a whole cookie");
            (usize::from(place[0]), Cookie(cookie))
        });
        Self { places: places.collect(), secret: *secret }
    }
}

/// What both ends make of the secret of an introduction.
pub fn keys_of(secret: [u8; 32]) -> RawKeys {
    RawKeys { initiator: secret.into(), responder: secret.map(|byte| byte ^ 0xff).into() }
}

/// What a circuit is for.
enum Purpose {
    /// To be told what clients say.
    Introduction,
    /// To meet one.
    Meeting(Cookie, [u8; 32]),
}

struct Path {
    circuit: Circuit,
    guard: usize,
    relays: Vec<usize>,
    purpose: Purpose,
}

/// The service.
pub struct Service {
    endpoint: Endpoint,
    pub(super) address: SocketAddr,
    links: BTreeMap<usize, LinkId>,
    paths: BTreeMap<u32, Path>,
    next: u32,
    /// Over which guard and middle it goes to each rendezvous point.
    ways: BTreeMap<usize, [usize; 2]>,
    /// Circuits that are joined to those of clients.
    pub joined: ServiceCircuits,
    /// Its end of tunnels.
    pub exit: CircuitExit<MemoryQueues>,
    /// The servers behind it.
    pub servers: Unshaped,
    /// Whether it waits at its introduction point.
    pub is_known: bool,
    /// What its end of tunnels told.
    pub events: Vec<ExitEvent>,
}

/// The key under which the service waits.
pub fn service_key() -> ServiceKey {
    ServiceKey(NodeSecret::from_seed(SEED).node_id().0)
}

/// Whom sessions of clients expect.
pub(super) fn service_id() -> NodeId {
    NodeSecret::from_seed(SEED).node_id()
}

impl Service {
    pub(super) fn new(
        now: Now,
        document: &NetworkDocument,
        own: SocketAddr,
        ways: BTreeMap<usize, [usize; 2]>,
    ) -> Self {
        let network = document.charter().network();
        let (endpoint, links) = dialler(now, document, SEED);
        let exit = ExitConfig {
            packet_size: network.packet_size,
            session_packet: network.packet_size.session_packet_virtual().expect("a P that has room"),
            node_secret: NodeSecret::from_seed(SEED),
            session_timeout: Duration::from_secs(10),
            tunnels_max: 16,
            flows_per_tunnel: QUEUES / 2,
            memory_max: shaped_node::memory::MEMORY_MAX,
            schedule: None,
            seed: SEED,
        };
        let mut exit = CircuitExit::new(exit, Box::new(None));
        let (shaped, unshaped) = memory_queues::pair(QUEUES, RING);
        exit.attach_queues(now, shaped);
        Self {
            endpoint,
            address: own,
            links,
            paths: BTreeMap::new(),
            next: 1,
            ways,
            joined: ServiceCircuits::default(),
            exit,
            servers: Unshaped::new(unshaped, false),
            is_known: false,
            events: Vec::new(),
        }
    }

    /// Waits at the last of these relays.
    pub(super) fn wait_at(&mut self, now: Now, document: &NetworkDocument, relays: &[usize]) {
        self.open(now, document, relays, Purpose::Introduction);
    }

    fn open(&mut self, now: Now, document: &NetworkDocument, relays: &[usize], purpose: Purpose) {
        let config = CircuitConfig {
            network: document.charter().network(),
            features: Features::LINKING.and(Features::RENDEZVOUS),
        };
        let spec = document.spec(&node_id(relays[0])).expect("a relay of the network");
        let number = self.next;
        self.next += 1;
        let mut random = SEED;
        random[..4].copy_from_slice(&number.to_be_bytes());
        let id = CircuitId(CircuitId::DIALLER_BIT | number);
        let circuit = Circuit::new(now.instant, config, id, spec, random).expect("the library works");
        self.paths.insert(number, Path { circuit, guard: relays[0], relays: relays.to_vec(), purpose });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let circuits = self.paths.values().filter_map(|path| path.circuit.poll_timeout()).min();
        let own = circuits.into_iter().chain(self.joined.poll_timeout()).min();
        let own = own.filter(|_| self.links.values().all(|link| self.endpoint.is_up(*link)));
        [own, self.endpoint.poll_timeout(), self.exit.poll_timeout()].into_iter().flatten().min()
    }

    pub(super) fn handle_packet(&mut self, now: Now, from: SocketAddr, packet: &mut [u8]) {
        let Received::Cell { link, head } = self.endpoint.handle_packet(now, from, false, packet) else { return };
        if !head.command.is_of_circuit() {
            return;
        }
        let end = packet.len() - TAG;
        let region = &mut packet[REGION..end];
        if let Some(came) = self.joined.handle_cell(now, link, head, region) {
            if let ServiceCame::Inner { circuit, inner, number } = came {
                let mut circuits = self.joined.over(&mut self.endpoint);
                self.exit.handle_inner(now, circuit, number, &region[inner], &mut circuits);
            }
            return;
        }
        let number = head.circuit.0 & !CircuitId::DIALLER_BIT;
        if let Some(path) = self.paths.get_mut(&number) {
            path.circuit.handle_cell(now.instant, head.command, region);
        }
    }

    pub(super) fn pump(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.joined.handle_link_event(now, &event);
        }
        let mut bytes = Vec::new();
        for link in self.links.values() {
            while let Some(route) = self.endpoint.poll_own_packet(now, *link, &mut bytes) {
                out.push(Packet { from: self.address, to: route.to, bytes: std::mem::take(&mut bytes) });
            }
        }
        self.endpoint.handle_timeout(now);
        if !self.links.values().all(|link| self.endpoint.is_up(*link)) {
            return;
        }
        self.pump_circuits(now, document, out);
        self.pump_tunnels(now, document, out);
    }

    fn pump_circuits(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        let numbers: Vec<u32> = self.paths.keys().copied().collect();
        let mut region = vec![0; document.charter().packet_size().region()];
        for number in numbers {
            self.follow_circuit(now, document, number);
            while let Some(path) = self.paths.get_mut(&number) {
                let Some(head) = path.circuit.poll_cell(now.instant, &mut region) else { break };
                let mut bytes = Vec::new();
                let fill = |out: &mut [u8]| out.copy_from_slice(&region);
                let sealed = self.endpoint.seal_cell(now, self.links[&path.guard], head, fill, &mut bytes);
                out.push(Packet { from: self.address, to: sealed.expect("the link is up").to, bytes });
            }
            self.follow_circuit(now, document, number);
            if self.paths.get(&number).is_some_and(|path| path.circuit.is_finished()) {
                self.paths.remove(&number);
            }
        }
    }

    fn follow_circuit(&mut self, now: Now, document: &NetworkDocument, number: u32) {
        while let Some(path) = self.paths.get_mut(&number) {
            if let Some(CircuitMessage::Introduction(bytes)) = path.circuit.poll_message() {
                let Introduction { places, secret } = Introduction::decode(&bytes);
                for (relay, cookie) in places {
                    let [guard, middle] = self.ways[&relay];
                    self.open(now, document, &[guard, middle, relay], Purpose::Meeting(cookie, secret));
                }
                continue;
            }
            match path.circuit.poll_event() {
                None => return,
                Some(CircuitEvent::Extended { .. }) => extend(now, document, path),
                Some(CircuitEvent::Done) => match path.purpose {
                    Purpose::Introduction => self.is_known = true,
                    Purpose::Meeting(_, secret) => self.take_joined(now, number, secret),
                },
                Some(_) => path.circuit.destroy(now.instant),
            }
        }
    }

    fn take_joined(&mut self, now: Now, number: u32, secret: [u8; 32]) {
        let Some(Path { mut circuit, guard, .. }) = self.paths.remove(&number) else { return };
        circuit.add_virtual_hop(&keys_of(secret), Side::Service).expect("it is joined");
        self.joined.add(now, self.links[&guard], circuit, None).map_err(|(_, why)| why).expect("there is room");
    }

    fn pump_tunnels(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        while let Some(circuit) = self.joined.poll_gone() {
            self.exit.handle_circuit_gone(now, circuit, &mut self.joined.over(&mut self.endpoint));
        }
        let mut circuits = self.joined.over(&mut self.endpoint);
        if self.exit.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.exit.handle_timeout(now, &mut circuits);
        }
        self.exit.handle_queues(now);
        self.exit.pump(now, &mut circuits);
        self.events.extend(std::iter::from_fn(|| self.exit.poll_event()));
        while let Some((route, bytes)) = self.joined.poll_packet() {
            out.push(Packet { from: self.address, to: route.to, bytes });
        }
        let mut region = vec![0; document.charter().packet_size().region()];
        while let Some((link, head)) = self.joined.poll_cell(now, &mut region) {
            let mut bytes = Vec::new();
            let fill = |out: &mut [u8]| out.copy_from_slice(&region);
            let sealed = self.endpoint.seal_cell(now, link, head, fill, &mut bytes);
            out.push(Packet { from: self.address, to: sealed.expect("the link is up").to, bytes });
        }
    }
}

/// Goes on to the next relay, or asks the last one for what the circuit is for.
fn extend(now: Now, document: &NetworkDocument, path: &mut Path) {
    let circuit = &mut path.circuit;
    if let Some(next) = path.relays.get(circuit.path().count()) {
        let spec = document.spec(&node_id(*next)).expect("a relay of the network");
        return circuit.extend(now.instant, spec).expect("a circuit that is ready");
    }
    let asked = match path.purpose {
        Purpose::Introduction => {
            let proof = circuit.introduction_proof().expect("it has hops");
            circuit.establish_introduction(now.instant, service_key(), &NodeSecret::from_seed(SEED).sign(&proof))
        }
        Purpose::Meeting(cookie, _) => circuit.rendezvous(now.instant, cookie, b"the answer of a handshake"),
    };
    asked.expect("the last relay is a middle");
}
