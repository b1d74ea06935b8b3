//! Endpoints on virtual time: every step is one slot; packets arrive after the latency.

use identity::{DoorKey, LinkSecret, NodeSecret};
use link::SOCKETS_MAX;
use link::{Accept, Endpoint, EndpointConfig, LinkEvent, LinkId, Now, Peer, Received, Route, SocketOrder, Via};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};

/// Addresses of a node that has several.
pub(crate) const SEVERAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2))];

/// Length of a step.
pub(crate) const SLOT: Duration = Duration::from_millis(5);
/// Where the calendar begins: noon of some day.
pub(crate) const NOON: u64 = 1_800_014_400 / 86_400 * 86_400 + 43_200;
/// The circuit that test cells belong to.
pub(crate) const CIRCUIT: CircuitId = CircuitId(CircuitId::DIALLER_BIT | 7);

/// A packet under way.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ce: bool,
    pub(crate) bytes: Vec<u8>,
}

/// One endpoint with its address and what it saw.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// Ports of the sockets beside the door's, which is `address`.
    pub(crate) sockets: BTreeMap<Via, u16>,
    /// Every socket is refused.
    pub(crate) out_of_sockets: bool,
    /// What the system refuses to send, by local port and destination.
    pub(crate) refuses: Option<Refuses>,
    /// Sockets that were ordered.
    pub(crate) orders: u64,
    /// Sockets beside which others were ordered.
    pub(crate) beside: BTreeSet<Via>,
    /// Stands still: no packet is taken and none is made.
    pub(crate) asleep: bool,
    /// Has [`SEVERAL`] as well, and says at which packets came.
    pub(crate) several: bool,
    pub(crate) events: Vec<LinkEvent>,
    /// Numbers of the test cells that came.
    pub(crate) cells: Vec<u64>,
    /// Number of the next test cell; counted up when one is sent.
    pub(crate) next_cell: u64,
    /// Sends a cell in each slot that the link leaves free.
    pub(crate) talks: bool,
    /// Packets that left, and the handling of those that came.
    pub(crate) sent: u64,
    pub(crate) received: Vec<Received>,
}

/// What a filter does with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
}

type Refuses = Box<dyn FnMut(u16, SocketAddr) -> bool>;
type Filter = Box<dyn FnMut(&mut Packet) -> Fate>;

/// Nodes and the network between them.
pub(crate) struct Net {
    pub(crate) now: Now,
    pub(crate) latency: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) under_way: VecDeque<(Instant, Packet)>,
    /// All packets that were sent, if wanted.
    pub(crate) recording: Option<Vec<Packet>>,
    filter: Option<Filter>,
}

pub(crate) fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

/// The settings of node `seed`, who accepts nobody.
pub(crate) fn config(seed: u8) -> EndpointConfig {
    let node = NodeSecret::from_seed([seed; 32]).node_id();
    EndpointConfig::new(node, LinkSecret::from_bytes([seed; 32]), DoorKey::from_bytes([seed; 32]))
}

pub(crate) fn accept_only(peers: &[&EndpointConfig]) -> Accept {
    Accept::Only(peers.iter().map(|peer| (peer.link_secret.link_key(), peer.node_id)).collect::<BTreeMap<_, _>>())
}

pub(crate) fn peer(config: &EndpointConfig) -> Peer {
    let link_key = config.link_secret.link_key();
    Peer { node_id: config.node_id, link_key, door_key: config.door_key.clone() }
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub(crate) fn start() -> Now {
    Now { instant: Instant::now(), unix_s: NOON }
}

impl Net {
    /// An entry (node 0), which dials, and an exit (node 1), which accepts it.
    pub(crate) fn pair(change: impl Fn(&mut EndpointConfig)) -> (Self, LinkId) {
        let (mut entry, mut exit) = (config(1), config(2));
        exit.accept = accept_only(&[&entry]);
        change(&mut entry);
        change(&mut exit);
        let mut net = Self::new(vec![entry, exit]);
        let link = net.dial(0, 1);
        (net, link)
    }

    pub(crate) fn new(configs: Vec<EndpointConfig>) -> Self {
        let node = |(index, config): (usize, EndpointConfig)| Node {
            endpoint: Endpoint::new(config, [index as u8 + 100; 32]),
            address: address(index as u8 + 1, 1000),
            sockets: BTreeMap::new(),
            out_of_sockets: false,
            refuses: None,
            orders: 0,
            beside: BTreeSet::new(),
            asleep: false,
            several: false,
            events: Vec::new(),
            cells: Vec::new(),
            next_cell: 0,
            talks: true,
            sent: 0,
            received: Vec::new(),
        };
        Self {
            now: start(),
            latency: Duration::from_millis(20),
            nodes: configs.into_iter().enumerate().map(node).collect(),
            under_way: VecDeque::new(),
            recording: None,
            filter: None,
        }
    }

    /// Every packet that is sent passes this first.
    pub(crate) fn set_filter(&mut self, filter: impl FnMut(&mut Packet) -> Fate + 'static) {
        self.filter = Some(Box::new(filter));
    }

    pub(crate) fn clear_filter(&mut self) {
        self.filter = None;
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize) -> LinkId {
        let (peer, address) = (peer(self.nodes[to].endpoint.config()), self.nodes[to].address);
        self.nodes[from].endpoint.dial(self.now, &peer, address, [from as u8; 7]).expect("room for a dial")
    }

    /// Makes a new process of a node: everything is forgotten but the settings.
    pub(crate) fn restart(&mut self, node: usize, seed: u8) {
        let config = self.nodes[node].endpoint.config().clone();
        self.nodes[node].endpoint = Endpoint::new(config, [seed; 32]);
        self.nodes[node].sockets.clear();
    }

    /// The only link of a node.
    pub(crate) fn link_of(&self, node: usize) -> LinkId {
        self.nodes[node].endpoint.links().next().expect("a link")
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        let endpoint = &self.nodes[node].endpoint;
        endpoint.links().any(|link| endpoint.is_up(link))
    }

    /// Goes on until `done`, at most this long; true when it came to be.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.instant + limit;
        while self.now.instant < end {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.instant + span;
        while self.now.instant < end {
            self.step();
        }
    }

    /// One slot: what arrived, what is due, one packet a link.
    pub(crate) fn step(&mut self) {
        self.now.instant += SLOT;
        self.deliver();
        for index in 0..self.nodes.len() {
            self.slot(index);
        }
    }

    fn deliver(&mut self) {
        while self.under_way.front().is_some_and(|(at, _)| *at <= self.now.instant) {
            let Some((_, packet)) = self.under_way.pop_front() else { return };
            self.arrive(packet);
        }
    }

    /// Gives a packet to whoever has its address; returns what became of it.
    pub(crate) fn arrive(&mut self, mut packet: Packet) -> Option<Received> {
        let now = self.now;
        let found = self.nodes.iter_mut().find_map(|node| node.via(packet.to).map(|via| (node, via)));
        let (node, via) = found?;
        if node.asleep {
            return None;
        }
        let from = Route { via, from: node.several.then_some(packet.to.ip()), to: packet.from };
        let received = node.endpoint.handle_packet(now, from, packet.ce, &mut packet.bytes);
        if let Received::Cell { head, .. } = received
            && head.circuit == CIRCUIT
        {
            node.cells.push(cell_number(&packet.bytes));
        }
        node.received.push(received);
        Some(received)
    }

    fn slot(&mut self, index: usize) {
        let now = self.now;
        let mut out = Vec::new();
        let node = &mut self.nodes[index];
        if node.asleep {
            return;
        }
        node.follow_orders(now);
        if node.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            node.endpoint.handle_timeout(now);
            node.follow_orders(now);
        }
        let gridded = node.endpoint.config().gridded;
        loop {
            let mut bytes = Vec::new();
            let Some(to) = node.endpoint.poll_door_packet(now, &mut bytes) else { break };
            out.push((to, bytes));
            if gridded {
                break;
            }
        }
        for link in node.endpoint.links().collect::<Vec<_>>() {
            let mut slot_is_taken = false;
            while !slot_is_taken {
                let mut bytes = Vec::new();
                let Some(to) = node.endpoint.poll_own_packet(now, link, &mut bytes) else { break };
                out.push((to, bytes));
                slot_is_taken = gridded;
            }
            if node.talks && node.endpoint.is_up(link) && !slot_is_taken {
                out.extend(node.seal(now, link));
            }
        }
        node.follow_orders(now);
        while let Some(event) = node.endpoint.poll_event() {
            node.events.push(event);
        }
        for (route, bytes) in out {
            let node = &mut self.nodes[index];
            node.sent += 1;
            let mut from = node.local(route.via);
            from.set_ip(route.from.unwrap_or(from.ip()));
            if node.refuses.as_mut().is_some_and(|refuses| refuses(from.port(), route.to)) {
                node.endpoint.handle_send_refused(now, route, 1);
                continue;
            }
            self.send(Packet { from, to: route.to, ce: false, bytes });
        }
    }

    /// Puts a packet on its way.
    pub(crate) fn send(&mut self, mut packet: Packet) {
        if let Some(recording) = &mut self.recording {
            recording.push(packet.clone());
        }
        if self.filter.as_mut().is_none_or(|filter| filter(&mut packet) == Fate::Deliver) {
            self.under_way.push_back((self.now.instant + self.latency, packet));
        }
    }

    /// A test cell of a node's link, as it would leave in its slot.
    pub(crate) fn seal(&mut self, node: usize, link: LinkId) -> Option<Packet> {
        let (route, bytes) = self.nodes[node].seal(self.now, link)?;
        Some(Packet { from: self.nodes[node].local(route.via), to: route.to, ce: false, bytes })
    }

    pub(crate) fn events_of(&self, node: usize, wanted: impl Fn(&LinkEvent) -> bool) -> usize {
        self.nodes[node].events.iter().filter(|event| wanted(event)).count()
    }
}

impl Node {
    /// The address of a socket. A route whose socket is closed goes by the door.
    pub(crate) fn local(&self, via: Via) -> SocketAddr {
        self.sockets.get(&via).map_or(self.address, |port| (self.address.ip(), *port).into())
    }

    /// The socket with this address.
    fn via(&self, local: SocketAddr) -> Option<Via> {
        let own = local.ip() == self.address.ip() || (self.several && SEVERAL.contains(&local.ip()));
        if own && local.port() == self.address.port() {
            return Some(Via::DOOR);
        }
        self.sockets.iter().find(|(_, port)| own && local.port() == **port).map(|(via, _)| *via)
    }

    /// Opens and closes sockets as the endpoint wants.
    pub(crate) fn follow_orders(&mut self, now: Now) {
        while let Some(order) = self.endpoint.poll_socket_order() {
            let (via, port) = match order {
                SocketOrder::Close { via } => {
                    self.sockets.remove(&via);
                    continue;
                }
                SocketOrder::Open { via, beside, local_port, .. } => {
                    self.beside.insert(beside);
                    (via, local_port.unwrap_or(60_000 + via.0 as u16 % 5_000))
                }
                SocketOrder::Listen { via, port } => (via, port),
            };
            self.orders += 1;
            let taken = self.address.port() == port || self.sockets.values().any(|other| *other == port);
            if taken || self.out_of_sockets {
                self.endpoint.handle_socket_failed(now, via);
                continue;
            }
            self.sockets.insert(via, port);
            self.endpoint.handle_socket_opened(now, via, (self.address.ip(), port).into());
            let links = self.endpoint.link_count();
            assert!(self.sockets.len() <= links * SOCKETS_MAX, "{:?} for {links} links", self.sockets);
        }
    }

    fn seal(&mut self, now: Now, link: LinkId) -> Option<(Route, Vec<u8>)> {
        let head = CellHead { circuit: CIRCUIT, command: Command::Relay };
        let number = self.next_cell;
        let mut bytes = Vec::new();
        let fill = |region: &mut [u8]| region[72..80].copy_from_slice(&number.to_be_bytes());
        let to = self.endpoint.seal_cell(now, link, head, fill, &mut bytes).ok()?;
        self.next_cell += 1;
        Some((to, bytes))
    }
}

/// What [`Node::seal`] wrote behind the reserved part of the region.
fn cell_number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(*packet[21 + 72..].first_chunk().expect("a region is longer"))
}
