//! A client made of the cores.

mod conduct;

pub use conduct::Conduct;

use super::Packet;
use super::network::{dialler, node_id};
use super::service::{keys_of, service_id, service_key};
use crate::apps::pattern;
use bytes::Bytes;
use conflux::{Asked, Building, LegEnd, LegId, Nonce, Tunnel, TunnelConfig, TunnelEvent};
use identity::{NodeId, NodeSecret};
use link::{Endpoint, LinkEvent, LinkId, Now, Received};
use network_document::NetworkDocument;
use onion::{
    Circuit, CircuitConfig, CircuitEvent, CircuitMessage, Cookie, Features, RawKeys, Reason, ServiceKey, Side,
};
use session::{CloseReason, FlowId, Paths, Session, SessionConfig, SessionEvent, StreamState};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;
use wire::cell::{CellHead, CircuitId};
use wire::flow::{FlowKind, ResetReason, Syn};

const REGION: usize = 21;
const TAG: usize = 16;
/// Bytes of one write.
const PORTION: u64 = 16 * 1024;

/// A circuit on its way into the tunnel: what carries its cells is known by its number.
struct Numbered(u32);

impl conflux::Circuit for Numbered {
    type Carrier = u32;

    fn into_carrier(self) -> u32 {
        self.0
    }
}

struct Path {
    circuit: Circuit,
    guard: usize,
    relays: Vec<usize>,
    /// Becomes a leg once it is there.
    links: bool,
    /// Before that it meets a service: under this cookie, with keys of this secret.
    meets: Option<(Cookie, [u8; 32])>,
    /// It waits for the service.
    waits: bool,
    /// Says this to the service that waits at its end, under this name.
    introduces: Option<(ServiceKey, Vec<u8>)>,
    /// That is what it is for.
    is_introduction: bool,
    is_built: bool,
}

/// What came of a flow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Download {
    to_send: u64,
    sent: u64,
    /// The session took less than it was given, and has not said that it takes more.
    is_blocked: bool,
    /// Bytes that came back, all of them right.
    pub received: u64,
    /// The other end's last byte came.
    pub is_finished: bool,
    /// It was reset.
    pub reset: Option<ResetReason>,
}

/// One client.
pub struct Client {
    endpoint: Endpoint,
    pub(super) address: SocketAddr,
    links: BTreeMap<usize, LinkId>,
    features: Features,
    seed: [u8; 32],
    paths: BTreeMap<u32, Path>,
    next: u32,
    /// It reads answers with the handshake of an introduction, which is not its own matter.
    pub seeks: bool,
    /// Answers that came, and on which circuits.
    pub answers: Vec<(u32, Vec<u8>)>,
    /// Whether the service has the newest introduction, once that is known.
    pub introduced: Option<bool>,
    /// The schedule that it wants of the exit: mode, class and number of shares.
    pub asks: Option<(u8, u8, u8)>,
    /// Its tunnel.
    pub tunnel: Tunnel<u32>,
    legs: BTreeMap<u32, LegId>,
    session: Session,
    /// Largest session packet.
    packet_bytes: usize,
    flows: BTreeMap<FlowId, Download>,
    /// How it behaves.
    pub conduct: Conduct,
    /// When its second leg last showed where it stands.
    stood_at: Option<Instant>,
    /// What became of its legs.
    pub ended: Vec<LegEnd>,
    /// Why circuits do not reach the exit any more, as relays said.
    pub severed: Vec<Reason>,
    /// Why its session is over.
    pub lost: Option<CloseReason>,
}

impl Client {
    pub(super) fn new(
        now: Now,
        document: &NetworkDocument,
        own: SocketAddr,
        features: Features,
        seed: [u8; 32],
        (expected, packet_bytes): (NodeId, usize),
    ) -> Self {
        let (endpoint, links) = dialler(now, document, seed);
        let session = session(now, packet_bytes, expected, seed);
        let tunnel = Tunnel::client(now.instant, TunnelConfig::default(), Nonce::new(seed), seed);
        Self {
            endpoint,
            address: own,
            links,
            features,
            seed,
            paths: BTreeMap::new(),
            next: 1,
            seeks: false,
            answers: Vec::new(),
            introduced: None,
            asks: None,
            tunnel,
            legs: BTreeMap::new(),
            session,
            packet_bytes,
            flows: BTreeMap::new(),
            conduct: Conduct::default(),
            stood_at: None,
            ended: Vec::new(),
            severed: Vec::new(),
            lost: None,
        }
    }

    /// Whether its session is up.
    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Begins a circuit over these relays, which becomes a leg when it is there if it `links`. Its number.
    pub fn open(&mut self, now: Now, document: &NetworkDocument, relays: &[usize], links: bool) -> u32 {
        let config = CircuitConfig { network: document.charter().network(), features: self.features };
        let spec = document.spec(&node_id(relays[0])).expect("a relay of the network");
        let number = self.next;
        self.next += 1;
        let mut random = self.seed;
        random[..4].copy_from_slice(&number.to_be_bytes());
        let id = CircuitId(CircuitId::DIALLER_BIT | number);
        let circuit = Circuit::new(now.instant, config, id, spec, random).expect("the library works");
        let path = Path {
            circuit,
            guard: relays[0],
            relays: relays.to_vec(),
            links,
            meets: None,
            waits: false,
            introduces: None,
            is_introduction: false,
            is_built: false,
        };
        self.paths.insert(number, path);
        number
    }

    /// Begins a circuit to a rendezvous point, which becomes a leg once the service has come there.
    pub fn meet(&mut self, now: Now, document: &NetworkDocument, relays: &[usize], under: (Cookie, [u8; 32])) -> u32 {
        let number = self.open(now, document, relays, true);
        if let Some(path) = self.paths.get_mut(&number) {
            path.meets = Some(under);
        }
        number
    }

    /// The service has answered on a circuit, and these are the keys of the leg: `peer` is whom the session is to be with.
    ///
    /// # Panics
    /// When the circuit is not joined.
    pub fn join(&mut self, now: Now, circuit: u32, keys: &RawKeys, peer: NodeId) {
        if self.legs.is_empty() {
            self.session = session(now, self.packet_bytes, peer, self.seed);
        }
        let Some(path) = self.paths.get_mut(&circuit) else { return };
        if path.circuit.add_virtual_hop(keys, Side::Client).is_ok() {
            self.link(now, circuit);
        }
    }

    /// Begins a circuit to an introduction point and says this to whoever waits there under a name.
    pub fn introduce_to(
        &mut self,
        now: Now,
        document: &NetworkDocument,
        relays: &[usize],
        name: [u8; 32],
        message: Vec<u8>,
    ) -> u32 {
        let number = self.open(now, document, relays, false);
        if let Some(path) = self.paths.get_mut(&number) {
            path.introduces = Some((ServiceKey(name), message));
            path.is_introduction = true;
        }
        number
    }

    /// Begins a circuit to an introduction point and says this to the service there.
    pub fn introduce(&mut self, now: Now, document: &NetworkDocument, relays: &[usize], message: Vec<u8>) {
        let number = self.open(now, document, relays, false);
        if let Some(path) = self.paths.get_mut(&number) {
            path.introduces = Some((service_key(), message));
        }
    }

    /// Circuits that wait for a service.
    pub fn waiting(&self) -> usize {
        self.paths.values().filter(|path| path.waits).count()
    }

    /// Its circuits.
    pub fn circuits(&self) -> Vec<u32> {
        self.paths.keys().copied().collect()
    }

    /// Whether a circuit is there.
    pub fn is_built(&self, circuit: u32) -> bool {
        self.paths.get(&circuit).is_some_and(|path| path.is_built)
    }

    /// Makes a circuit that is there a leg.
    pub fn link(&mut self, now: Now, circuit: u32) {
        let path = &self.paths[&circuit];
        let end = path.circuit.is_virtual().then(service_id);
        let hops = path.relays.iter().map(|relay| node_id(*relay)).chain(end).collect();
        let built = Building::new(Numbered(circuit)).into_built(hops).map_err(|(_, error)| error).expect("a path");
        let asked = self.asks.and_then(|(mode, class, shares)| {
            let share = (0..shares).find(|share| self.tunnel.leg_of_share(*share).is_none());
            Asked::new(mode, class, share.expect("a share is free"), shares)
        });
        let leg = self.tunnel.add_leg_asking(now.instant, built, asked.unwrap_or(Asked::OFF));
        let leg = leg.map_err(|(_, error)| error).expect("the leg fits");
        self.legs.insert(circuit, leg);
    }

    /// Takes a circuit down.
    pub fn destroy(&mut self, now: Now, circuit: u32) {
        if let Some(path) = self.paths.get_mut(&circuit) {
            path.circuit.destroy(now.instant);
        }
    }

    /// Opens a flow to a port of the servers and sends so many bytes, then its end.
    ///
    /// # Panics
    /// When the session takes none.
    pub fn start(&mut self, port: u16, to_send: u64) -> FlowId {
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
        let flow = self.session.open_flow(&Syn { kind: FlowKind::Stream, client: 7, destination }).expect("it is up");
        self.flows.insert(flow, Download { to_send, ..Download::default() });
        flow
    }

    /// Ends a flow.
    pub fn abort(&mut self, flow: FlowId) {
        self.session.reset(flow, ResetReason::ByPeer);
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.reset.get_or_insert(ResetReason::ByPeer);
        }
    }

    /// What came of a flow.
    pub fn flow(&self, flow: FlowId) -> Download {
        self.flows[&flow]
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let circuits = self.paths.values().filter_map(|path| path.circuit.poll_timeout()).min();
        let circuits = circuits.filter(|_| self.links.values().all(|link| self.endpoint.is_up(*link)));
        let times = [circuits, self.endpoint.poll_timeout(), self.tunnel.poll_timeout(), self.session.poll_timeout()];
        times.into_iter().flatten().min()
    }

    pub(super) fn handle_packet(&mut self, now: Now, from: SocketAddr, packet: &mut [u8]) {
        let Received::Cell { head, .. } = self.endpoint.handle_packet(now, from, false, packet) else { return };
        if !head.command.is_of_circuit() {
            return;
        }
        let end = packet.len() - TAG;
        let region = &mut packet[REGION..end];
        let number = head.circuit.0 & !CircuitId::DIALLER_BIT;
        let Some(path) = self.paths.get_mut(&number) else { return };
        let received = path.circuit.handle_cell(now.instant, head.command, region);
        let inner = path.circuit.inner();
        if let (onion::Received::Inner { number: layer }, Some(&leg)) = (received, self.legs.get(&number)) {
            self.tunnel.handle_cell(now.instant, leg, layer, &region[inner..]);
            self.take_packets(now.instant);
        }
    }

    fn take_packets(&mut self, now: Instant) {
        while let Some(packet) = self.tunnel.poll_packet(now) {
            self.session.handle_packet(now, &packet);
        }
    }

    pub(super) fn pump(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        self.pump_links(now, out);
        if !self.links.values().all(|link| self.endpoint.is_up(*link)) {
            return;
        }
        self.pump_circuits(now, document, out);
        self.tunnel.handle_timeout(now.instant);
        self.take_packets(now.instant);
        if self.session.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.session.handle_timeout(now.instant);
        }
        self.settle(now.instant);
        self.send_cells(now, out);
        self.follow_tunnel(now);
    }

    fn pump_links(&mut self, now: Now, out: &mut Vec<Packet>) {
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(event) = self.endpoint.poll_event() {
            assert!(!matches!(event, LinkEvent::WrongVersion { .. }));
        }
        let mut bytes = Vec::new();
        for link in self.links.values() {
            while let Some(route) = self.endpoint.poll_own_packet(now, *link, &mut bytes) {
                out.push(Packet { from: self.address, to: route.to, bytes: std::mem::take(&mut bytes) });
            }
        }
        self.endpoint.handle_timeout(now);
    }

    fn pump_circuits(&mut self, now: Now, document: &NetworkDocument, out: &mut Vec<Packet>) {
        let numbers: Vec<u32> = self.paths.keys().copied().collect();
        let mut region = vec![0; document.charter().packet_size().region()];
        for number in numbers {
            self.follow_circuit(now, document, number);
            while let Some(head) =
                self.paths.get_mut(&number).and_then(|path| path.circuit.poll_cell(now.instant, &mut region))
            {
                let guard = self.paths[&number].guard;
                let (to, bytes) = self.carry(now, guard, head, &region);
                out.push(Packet { from: self.address, to, bytes });
            }
            self.follow_circuit(now, document, number);
            if self.paths.get(&number).is_some_and(|path| path.circuit.is_finished()) {
                self.paths.remove(&number);
            }
        }
    }

    fn follow_circuit(&mut self, now: Now, document: &NetworkDocument, number: u32) {
        if let Some(path) = self.paths.get_mut(&number)
            && let Some(CircuitMessage::Answer(answer)) = path.circuit.poll_message()
            && let Some((_, secret)) = path.meets
        {
            if self.seeks {
                return self.answers.push((number, answer));
            }
            path.circuit.add_virtual_hop(&keys_of(secret), Side::Client).expect("it is joined");
            self.link(now, number);
        }
        while let Some(event) = self.paths.get_mut(&number).and_then(|path| path.circuit.poll_event()) {
            match event {
                CircuitEvent::Extended { .. } => self.handle_extended(now, document, number),
                CircuitEvent::Closed { .. } => {
                    if let Some(leg) = self.legs.remove(&number) {
                        self.tunnel.handle_circuit_gone(now.instant, leg);
                    }
                }
                CircuitEvent::Done => {
                    let Some(path) = self.paths.get_mut(&number) else { return };
                    path.waits = path.meets.is_some();
                    if path.is_introduction {
                        self.introduced = Some(true);
                    }
                    if !path.waits {
                        path.circuit.destroy(now.instant);
                    }
                }
                CircuitEvent::AskFailed { .. } | CircuitEvent::ExtendFailed { .. } => {
                    if self.paths.get(&number).is_some_and(|path| path.is_introduction) {
                        self.introduced = Some(false);
                        self.destroy(now, number);
                    }
                }
                CircuitEvent::Truncated { .. } => {}
                CircuitEvent::Severed { reason, .. } => {
                    self.severed.push(reason);
                    if let Some(leg) = self.legs.remove(&number) {
                        self.tunnel.handle_circuit_gone(now.instant, leg);
                    }
                    self.destroy(now, number);
                }
            }
        }
    }

    /// The circuit's next hop is there: on to the one behind it, or to what the circuit is for.
    fn handle_extended(&mut self, now: Now, document: &NetworkDocument, number: u32) {
        let Some(path) = self.paths.get_mut(&number) else { return };
        let hops = path.circuit.path().count();
        match path.relays.get(hops) {
            Some(next) => {
                let spec = document.spec(&node_id(*next)).expect("a relay of the network");
                path.circuit.extend(now.instant, spec).expect("a circuit that is ready");
            }
            None => {
                path.is_built = true;
                if let Some((cookie, _)) = path.meets {
                    let asked = path.circuit.establish_rendezvous(now.instant, cookie);
                    asked.expect("a circuit to a middle");
                } else if let Some((name, message)) = path.introduces.take() {
                    let asked = path.circuit.introduce(now.instant, name, &message);
                    asked.expect("a circuit to a middle");
                } else if path.links {
                    self.link(now, number);
                }
            }
        }
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Readable(flow) => self.read(now, flow),
                SessionEvent::FlowReset(flow, reason) => {
                    if let Some(flow) = self.flows.get_mut(&flow) {
                        flow.reset = Some(reason);
                    }
                }
                SessionEvent::Writable(flow) => {
                    if let Some(flow) = self.flows.get_mut(&flow) {
                        flow.is_blocked = false;
                    }
                }
                SessionEvent::Closed(reason) => self.lost = Some(reason),
                _ => {}
            }
        }
        self.write();
    }

    fn read(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let mut place = flow.received;
        let outcome = self.session.read(now, id, usize::MAX, &mut |bytes| {
            for byte in bytes {
                assert_eq!(*byte, pattern(place), "the flow is wrong at {place}");
                place += 1;
            }
        });
        flow.received = place;
        flow.is_finished |= outcome.state == StreamState::Finished;
    }

    fn write(&mut self) {
        for (id, flow) in &mut self.flows {
            // What waits for the window is made once, not at every look: forty flows that wait would be all that a run does.
            while flow.sent < flow.to_send && !flow.is_blocked && flow.reset.is_none() {
                let until = flow.to_send.min(flow.sent + PORTION);
                let bytes: Vec<u8> = (flow.sent..until).map(pattern).collect();
                let taken = self.session.write(*id, Bytes::from(bytes)).unwrap_or(0) as u64;
                flow.sent += taken;
                flow.is_blocked = flow.sent < until;
            }
            if flow.sent == flow.to_send && flow.to_send > 0 {
                self.session.finish(*id);
                // Once is enough.
                flow.to_send = 0;
                flow.sent = 0;
            }
        }
    }

    fn send_cells(&mut self, now: Now, out: &mut Vec<Packet>) {
        let mut message = Vec::new();
        while let Some(leg) = self.tunnel.poll_own(now.instant) {
            let Some((circuit, number)) = self.carrier(leg) else { return };
            let Some(header) = self.tunnel.own_header(now.instant, leg, number, &mut message) else { return };
            let header = self.standing(leg, header);
            self.put(now, circuit, &[&header.encode()[..], &message].concat(), out);
        }
        self.stand(now, out);
        self.session.set_wide_open(self.tunnel.linked() > 1);
        let mut packet = Vec::new();
        loop {
            self.write();
            let waiting = self.session.unsent_bytes() / self.packet_bytes as u64;
            let Some(leg) = self.tunnel.poll_data(now.instant, waiting) else { return };
            packet.clear();
            if self.session.poll_packet(now.instant, &mut packet).is_none() {
                return self.tunnel.handle_idle(now.instant);
            }
            let Some((circuit, number)) = self.carrier(leg) else { return };
            if self.conduct == Conduct::Silent {
                continue;
            }
            let Some(header) = self.tunnel.data_header(now.instant, leg, number, packet.len() as u16) else { return };
            if self.conduct == Conduct::Gaps && (leg.number() != 0 || header.tunnel_number % 50 == 0) {
                continue;
            }
            self.put(now, circuit, &[&header.encode()[..], &packet].concat(), out);
            while let Some(leg) = self.tunnel.poll_copy() {
                let Some((circuit, number)) = self.carrier(leg) else { continue };
                let length = packet.len() as u16;
                let Some(header) = self.tunnel.copy_header(now.instant, leg, number, length) else { continue };
                self.put(now, circuit, &[&header.encode()[..], &packet].concat(), out);
            }
            self.settle(now.instant);
        }
    }

    /// The circuit of a leg, and the number of its next cell.
    fn carrier(&self, leg: LegId) -> Option<(u32, u64)> {
        let circuit = *self.tunnel.carrier(leg)?;
        Some((circuit, self.paths.get(&circuit)?.circuit.sealed()))
    }

    fn put(&mut self, now: Now, circuit: u32, inner: &[u8], out: &mut Vec<Packet>) {
        if let Some((to, bytes)) = self.seal(now, circuit, inner) {
            out.push(Packet { from: self.address, to, bytes });
        }
    }

    /// A packet with this inner part on a circuit, and where it goes.
    pub(super) fn seal(&mut self, now: Now, circuit: u32, inner: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let path = self.paths.get_mut(&circuit)?;
        let mut region = vec![0; 1_313];
        region[path.circuit.inner()..][..inner.len()].copy_from_slice(inner);
        let head = path.circuit.seal(now.instant, &mut region).ok()?;
        let guard = path.guard;
        Some(self.carry(now, guard, head, &region))
    }

    fn carry(&mut self, now: Now, guard: usize, head: CellHead, region: &[u8]) -> (SocketAddr, Vec<u8>) {
        let mut bytes = Vec::new();
        let fill = |out: &mut [u8]| out.copy_from_slice(region);
        let sealed = self.endpoint.seal_cell(now, self.links[&guard], head, fill, &mut bytes);
        (sealed.expect("the link is up").to, bytes)
    }

    fn follow_tunnel(&mut self, now: Now) {
        while let Some(event) = self.tunnel.poll_event() {
            if let TunnelEvent::LegEnded(_, why) = event {
                self.ended.push(why);
            }
        }
        while let Some(released) = self.tunnel.poll_released() {
            self.legs.remove(&released.carrier);
            self.destroy(now, released.carrier);
        }
    }
}

/// The client's end of a session.
fn session(now: Now, packet_bytes: usize, expected: NodeId, seed: [u8; 32]) -> Session {
    let throw_away = NodeSecret::from_seed(seed.map(|byte| byte ^ 0x55));
    let config = SessionConfig {
        wide_open: false,
        paths: Paths::Several,
        ..SessionConfig::new(packet_bytes, throw_away, expected, seed)
    };
    Session::client(config, now.instant).expect("a good configuration")
}
