//! A client made of the cores, on a real socket.

use identity::{DoorKey, LinkSecret, NodeId, NodeSecret};
use link::{Endpoint, EndpointConfig, LinkEvent, LinkId, Now, Peer, Received};
use network_document::NetworkDocument;
use onion::{Circuit, CircuitConfig, CircuitEvent, Features};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};
use wire::cell::{CellHead, CircuitId};

const REGION: usize = 21;
const INNER: usize = 72;
const TAG: usize = 16;

pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    endpoint: Endpoint,
    link: LinkId,
    document: NetworkDocument,
    circuit: Option<Circuit>,
    rest: Vec<NodeId>,
    next_id: u32,
    pub(crate) events: Vec<CircuitEvent>,
    pub(crate) answers: Vec<u8>,
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    Now { instant: Instant::now(), unix_s: unix.as_secs() }
}

impl Client {
    /// Dials a relay of the document.
    pub(crate) fn dial(document: NetworkDocument, guard: &NodeId, seed: [u8; 32]) -> Self {
        let network = document.charter().network();
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
        let relay = document.relay(guard).expect("it is listed");
        let peer = Peer { node_id: *guard, link_key: relay.link_key, door_key: relay.door_key.clone() };
        let mut endpoint = Endpoint::new(config, seed);
        let link = endpoint.dial(now(), &peer, relay.addresses[0], [0; 7]).expect("its only dial");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a time");
        let (circuit, rest, events, answers) = (None, Vec::new(), Vec::new(), Vec::new());
        Self { socket, endpoint, link, document, circuit, rest, next_id: 1, events, answers }
    }

    /// Begins a circuit; an older one is forgotten.
    pub(crate) fn open(&mut self, path: &[NodeId]) {
        let config = CircuitConfig { network: self.document.charter().network(), features: Features::default() };
        let spec = self.document.spec(&path[0]).expect("it is listed");
        let id = CircuitId(CircuitId::DIALLER_BIT | self.next_id);
        self.next_id += 1;
        let circuit = Circuit::new(now().instant, config, id, spec, [self.next_id as u8; 32]);
        self.circuit = Some(circuit.expect("the library works"));
        self.rest = path[1..].to_vec();
    }

    /// Goes on until `done`; false when that takes too long.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if done(self) {
                return true;
            }
            self.turn();
        }
        done(self)
    }

    pub(crate) fn is_built(&self, hops: usize) -> bool {
        self.circuit.as_ref().is_some_and(|circuit| circuit.is_ready() && circuit.path().count() == hops)
    }

    /// Sends a cell to the last hop.
    pub(crate) fn say(&mut self, byte: u8) {
        let mut packet = Vec::new();
        let to = self.seal(byte, &mut packet);
        self.socket.send_to(&packet, to).expect("loopback takes it");
    }

    /// Appends a packet with a cell for the last hop of a circuit; tells where it goes.
    pub(crate) fn seal(&mut self, byte: u8, packet: &mut Vec<u8>) -> SocketAddr {
        let mut region = vec![0; self.document.charter().packet_size().region()];
        region[INNER..].fill(byte);
        let circuit = self.circuit.as_mut().expect("it was opened");
        let head = circuit.seal(now().instant, &mut region).expect("a circuit that is ready");
        let fill = |out: &mut [u8]| out.copy_from_slice(&region);
        self.endpoint.seal_cell(now(), self.link, head, fill, packet).expect("the link is up").to
    }

    fn send_cell(&mut self, head: CellHead, region: &[u8]) {
        let mut packet = Vec::new();
        let fill = |out: &mut [u8]| out.copy_from_slice(region);
        let route = self.endpoint.seal_cell(now(), self.link, head, fill, &mut packet).expect("the link is up");
        self.socket.send_to(&packet, route.to).expect("loopback takes it");
    }

    fn turn(&mut self) {
        let mut packet = Vec::new();
        self.endpoint.handle_timeout(now());
        while let Some(route) = self.endpoint.poll_own_packet(now(), self.link, &mut packet) {
            self.socket.send_to(&packet, route.to).expect("loopback takes it");
            packet.clear();
        }
        while let Some(event) = self.endpoint.poll_event() {
            assert!(!matches!(event, LinkEvent::WrongVersion { .. }));
        }
        if self.endpoint.is_up(self.link) {
            self.follow();
            let mut region = vec![0; self.document.charter().packet_size().region()];
            while let Some(head) = self.circuit.as_mut().and_then(|it| it.poll_cell(now().instant, &mut region)) {
                self.send_cell(head, &region);
            }
            self.follow();
        }
        let mut packet = [0; 2_000];
        if let Ok((length, from)) = self.socket.recv_from(&mut packet) {
            let received = self.endpoint.handle_packet(now(), from, false, &mut packet[..length]);
            if let Received::Cell { head, .. } = received
                && let Some(circuit) = self.circuit.as_mut().filter(|circuit| circuit.id() == head.circuit)
            {
                let region = &mut packet[REGION..length - TAG];
                if let onion::Received::Inner { .. } = circuit.handle_cell(now().instant, head.command, region) {
                    assert!(region[INNER..].iter().all(|byte| *byte == region[INNER]), "it came damaged");
                    self.answers.push(region[INNER]);
                }
            }
        }
    }

    fn follow(&mut self) {
        let Some(circuit) = &mut self.circuit else { return };
        while let Some(event) = circuit.poll_event() {
            self.events.push(event);
            if matches!(event, CircuitEvent::Extended { .. }) && !self.rest.is_empty() {
                let spec = self.document.spec(&self.rest.remove(0)).expect("it is listed");
                circuit.extend(now().instant, spec).expect("a circuit that is ready");
            }
        }
    }
}
