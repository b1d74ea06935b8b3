//! A client made of the cores, on a real socket: one circuit, one tunnel, one session, one flow after another.

use bytes::Bytes;
use conflux::{Asked, Building, LegId, Nonce, Tunnel, TunnelConfig};
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret};
use link::{Endpoint, EndpointConfig, LinkId, Now, Peer, Received};
use network_document::NetworkDocument;
use onion::{Circuit, CircuitConfig, CircuitEvent, Features};
use session::{FlowId, Paths, Session, SessionConfig, SessionEvent, StreamState};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};
use wire::cell::{CellHead, CircuitId};
use wire::flow::{FlowKind, Syn};

const REGION: usize = 21;
const INNER: usize = 72;
const TAG: usize = 16;
/// Bytes of one write.
const PORTION: u64 = 16 * 1024;

struct Only;

impl conflux::Circuit for Only {
    type Carrier = ();

    fn into_carrier(self) {}
}

pub(crate) struct Client {
    socket: UdpSocket,
    endpoint: Endpoint,
    link: LinkId,
    document: NetworkDocument,
    circuit: Circuit,
    path: Vec<NodeId>,
    tunnel: Tunnel<()>,
    leg: Option<LegId>,
    session: Session,
    flow: Option<FlowId>,
    to_send: u64,
    sent: u64,
    /// What it wants of the exit's cells, once it links.
    pub(crate) asks: Asked,
    pub(crate) events: Vec<CircuitEvent>,
    pub(crate) received: u64,
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
    pub(crate) is_lost: bool,
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    Now { instant: Instant::now(), unix_s: unix.as_secs() }
}

fn byte_at(place: u64) -> u8 {
    (place % 251) as u8 ^ (place >> 12) as u8
}

impl Client {
    /// Begins a circuit over a guard to an exit, and a session in a tunnel of it.
    pub(crate) fn dial(document: NetworkDocument, path: Vec<NodeId>, seed: [u8; 32]) -> Self {
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
        let guard = document.relay(&path[0]).expect("it is listed");
        let peer = Peer { node_id: path[0], link_key: guard.link_key, door_key: guard.door_key.clone() };
        let mut endpoint = Endpoint::new(config, seed);
        let link = endpoint.dial(now(), &peer, guard.addresses[0], [0; 7]).expect("its only dial");
        let config = CircuitConfig { network, features: Features::LINKING };
        let spec = document.spec(&path[0]).expect("it is listed");
        let id = CircuitId(CircuitId::DIALLER_BIT | 1);
        let circuit = Circuit::new(now().instant, config, id, spec, seed).expect("the library works");
        let exit = *path.last().expect("a path has hops");
        let session = SessionConfig {
            wide_open: false,
            paths: Paths::Several,
            ..SessionConfig::new(network.packet_size.session_packet(), NodeSecret::from_seed(seed), exit, seed)
        };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_micros(100))).expect("a time");
        Self {
            socket,
            endpoint,
            link,
            document,
            circuit,
            path,
            tunnel: Tunnel::client(now().instant, TunnelConfig::default(), Nonce::new(seed), seed),
            leg: None,
            session: Session::client(session, now().instant).expect("a good configuration"),
            flow: None,
            to_send: 0,
            sent: 0,
            asks: Asked::OFF,
            events: Vec::new(),
            received: 0,
            is_finished: false,
            is_reset: false,
            is_lost: false,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Opens a flow to a server and sends so many bytes, then its end.
    pub(crate) fn start(&mut self, server: SocketAddr, to_send: u64) {
        let flow = self.session.open_flow(&Syn { kind: FlowKind::Stream, client: 7, destination: server.into() });
        self.flow = Some(flow.expect("the session is up"));
        (self.to_send, self.sent, self.received) = (to_send, 0, 0);
        (self.is_finished, self.is_reset) = (false, false);
    }

    /// Does what there is to do, and waits a little for a packet.
    pub(crate) fn turn(&mut self) {
        let time = now();
        self.endpoint.handle_timeout(time);
        let mut packet = Vec::new();
        while let Some(route) = self.endpoint.poll_own_packet(time, self.link, &mut packet) {
            self.socket.send_to(&packet, route.to).expect("loopback takes it");
            packet.clear();
        }
        while self.endpoint.poll_event().is_some() {}
        if self.endpoint.is_up(self.link) {
            self.pump_circuit(time);
            self.tunnel.handle_timeout(time.instant);
            self.session.handle_timeout(time.instant);
            self.settle(time.instant);
            self.pump_tunnel(time);
        }
        let mut packet = [0; 2_000];
        for _ in 0..64 {
            let Ok((length, from)) = self.socket.recv_from(&mut packet) else { break };
            self.handle_packet(from, &mut packet[..length]);
        }
    }

    fn handle_packet(&mut self, from: SocketAddr, packet: &mut [u8]) {
        let Received::Cell { head, .. } = self.endpoint.handle_packet(now(), from, false, packet) else { return };
        if head.circuit != self.circuit.id() {
            return;
        }
        let end = packet.len() - TAG;
        let region = &mut packet[REGION..end];
        let received = self.circuit.handle_cell(now().instant, head.command, region);
        if let (onion::Received::Inner { number }, Some(leg)) = (received, self.leg) {
            self.tunnel.handle_cell(now().instant, leg, number, &region[INNER..]);
            while let Some(packet) = self.tunnel.poll_packet(now().instant) {
                self.session.handle_packet(now().instant, &packet);
            }
        }
    }

    fn pump_circuit(&mut self, time: Now) {
        self.follow_circuit(time);
        let mut region = vec![0; self.document.charter().packet_size().region()];
        while let Some(head) = self.circuit.poll_cell(time.instant, &mut region) {
            self.send(time, head, &region);
        }
        self.follow_circuit(time);
    }

    fn follow_circuit(&mut self, time: Now) {
        while let Some(event) = self.circuit.poll_event() {
            self.events.push(event);
            if !matches!(event, CircuitEvent::Extended { .. }) {
                continue;
            }
            if let Some(next) = self.path.get(self.circuit.path().count()) {
                let spec = self.document.spec(next).expect("it is listed");
                self.circuit.extend(time.instant, spec).expect("a circuit that is ready");
            } else {
                let built = Building::new(Only).into_built(self.path.clone()).map_err(|(_, error)| error);
                let leg = self
                    .tunnel
                    .add_leg_asking(time.instant, built.expect("a path"), self.asks)
                    .map_err(|(_, error)| error);
                self.leg = Some(leg.expect("the only leg"));
            }
        }
    }

    fn settle(&mut self, time: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Readable(flow) => self.read(time, flow),
                SessionEvent::FlowReset(..) => self.is_reset = true,
                SessionEvent::Closed(_) => self.is_lost = true,
                _ => {}
            }
        }
        let Some(flow) = self.flow else { return };
        while self.sent < self.to_send {
            let until = self.to_send.min(self.sent + PORTION);
            let bytes: Vec<u8> = (self.sent..until).map(byte_at).collect();
            match self.session.write(flow, Bytes::from(bytes)) {
                Ok(taken) if taken > 0 => self.sent += taken as u64,
                _ => return,
            }
            if self.sent == self.to_send {
                self.session.finish(flow);
            }
        }
    }

    fn read(&mut self, time: Instant, flow: FlowId) {
        let mut place = self.received;
        let outcome = self.session.read(time, flow, usize::MAX, &mut |bytes| {
            for byte in bytes {
                assert_eq!(*byte, byte_at(place), "the flow is wrong at {place}");
                place += 1;
            }
        });
        self.received = place;
        self.is_finished |= outcome.state == StreamState::Finished;
    }

    fn pump_tunnel(&mut self, time: Now) {
        let mut body = Vec::new();
        while let Some(leg) = self.tunnel.poll_own(time.instant) {
            let number = self.circuit.sealed();
            let Some(header) = self.tunnel.own_header(time.instant, leg, number, &mut body) else { return };
            self.put(time, &[&header.encode()[..], &body].concat());
        }
        loop {
            let waiting = self.session.unsent_bytes() / 1_222;
            let Some(leg) = self.tunnel.poll_data(time.instant, waiting) else { return };
            body.clear();
            if self.session.poll_packet(time.instant, &mut body).is_none() {
                return self.tunnel.handle_idle(time.instant);
            }
            let number = self.circuit.sealed();
            let header = self.tunnel.data_header(time.instant, leg, number, body.len() as u16);
            self.put(time, &[&header.expect("the leg was named").encode()[..], &body].concat());
            self.settle(time.instant);
        }
    }

    fn put(&mut self, time: Now, inner: &[u8]) {
        let mut region = vec![0; self.document.charter().packet_size().region()];
        region[INNER..INNER + inner.len()].copy_from_slice(inner);
        if let Ok(head) = self.circuit.seal(time.instant, &mut region) {
            self.send(time, head, &region);
        }
    }

    fn send(&mut self, time: Now, head: CellHead, region: &[u8]) {
        let mut packet = Vec::new();
        let fill = |out: &mut [u8]| out.copy_from_slice(region);
        let route = self.endpoint.seal_cell(time, self.link, head, fill, &mut packet).expect("the link is up");
        self.socket.send_to(&packet, route.to).expect("loopback takes it");
    }
}
