//! An entry and an exit on virtual time, driven as their shells drive them: packets are made a lead time before
//! each busy slot and leave at the slot; queues are read when packets are made and at no other time.

use crate::apps::Unshaped;
use crate::leaks::Leak;
use crate::memory_queues::{self, MemoryQueues};
use crate::noise::{NoiseOf, grant_of};
use crate::policer::Policer;
use adversary::{Direction, Sighting};
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{HopConfig, Now, Peer, Route, SocketOrder, Via};
use session::CongestionControl;
use shaped_node::queues::FlowQueues;
use shaped_node::{Mode, NodeConfig, NodeEvent, PacingConfig, Run, ShapedNode, Side, SlotPlan};
use shaping::{Grid, RateClass, SlotLength};
use simnet::{Network, NodeId, Path, Seed, Step};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::packet::PacketSize;

/// UTC at virtual time zero: some Tuesday noon.
const UNIX_START_S: u64 = 1_795_521_600;
/// How long before its slot a packet is made.
const LEAD: Duration = Duration::from_millis(1);
/// How often applications act. Not a divisor of the slot length.
const APP_STEP: Duration = Duration::from_micros(730);
/// Bytes of every ring.
const RING: usize = 64 * 1024;
/// Packets of one transmit call in mode `off`.
const BATCH: usize = 32;
/// Turns in which no time passes, packets of one moment included.
const TURNS_MAX: u32 = 100_000;

/// What a pair is made from.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Mode of both nodes.
    pub mode: Mode,
    /// Class of both directions.
    pub class: RateClass,
    /// The path between them, both ways.
    pub path: Path,
    /// Number of queue pairs.
    pub flows: u16,
    /// Seed of everything random in the network and the nodes.
    pub seed: u64,
    /// Controller of mode `off`.
    pub congestion: CongestionControl,
    /// A planted leak, at the entry.
    pub leak: Option<Leak>,
    /// Rule of both directions.
    pub pacing: PacingConfig,
    /// What the noise of both nodes is.
    pub noise: NoiseOf,
    /// How links hop, at the exit with an offer; none: they do not.
    pub hops: Option<HopConfig>,
}

impl Setting {
    /// A constant pair of about 2 Mbit/s over an ideal path of 10 ms.
    pub fn constant() -> Self {
        Self {
            mode: Mode::Constant,
            class: RateClass::at_least(2_000_000).unwrap_or(RateClass::SLOWEST),
            path: Path::with_delay(Duration::from_millis(10)),
            flows: 256,
            seed: 1,
            congestion: CongestionControl::Bbr,
            leak: None,
            pacing: PacingConfig::Constant,
            noise: NoiseOf::Nothing,
            hops: None,
        }
    }
}

/// One node with its driver's state.
pub struct Host {
    /// The node under test.
    pub node: ShapedNode<MemoryQueues>,
    /// Its unshaped process.
    pub unshaped: Unshaped,
    /// Events, as they came.
    pub events: Vec<NodeEvent>,
    address: SocketAddr,
    /// The sockets of hops.
    sockets: BTreeMap<Via, SocketAddr>,
    place: NodeId,
    ready: Option<(Instant, Vec<Run>)>,
    made: Option<u64>,
    queues: MemoryQueues,
}

/// The pair and its network.
pub struct Pair {
    /// The network, with what an observer of the link recorded.
    pub network: Network,
    /// The entry.
    pub entry: Host,
    /// The exit.
    pub exit: Host,
    /// What treats some pairs of ports worse than others.
    pub policer: Policer,
    grid: Grid,
    next_app_step: Instant,
    setting: Setting,
    start: Instant,
}

fn keys(seed: u8) -> (NodeSecret, LinkSecret, DoorKey) {
    (NodeSecret::from_seed([seed; 32]), LinkSecret::from_bytes([seed + 1; 32]), DoorKey::from_bytes([seed + 2; 32]))
}

fn peer(seed: u8) -> Peer {
    let (node, link, door) = keys(seed);
    Peer { node_id: node.node_id(), link_key: link.link_key(), door_key: door }
}

/// Where the node with these keys has its door.
fn door(own: u8) -> SocketAddr {
    if own == 10 { SocketAddr::from(([10, 0, 0, 1], 40_000)) } else { SocketAddr::from(([10, 0, 0, 2], 443)) }
}

fn config(setting: &Setting, own: u8, side: Side) -> NodeConfig {
    let (node_secret, link_secret, door_key) = keys(own);
    let mut seed = [own; 32];
    seed[..8].copy_from_slice(&setting.seed.to_be_bytes());
    NodeConfig {
        side,
        mode: setting.mode,
        packet_size: PacketSize::DEFAULT,
        slot: SlotLength::DEFAULT,
        network_id: [0; 32],
        node_secret,
        link_secret,
        door_key,
        session_timeout: Duration::from_secs(30),
        max_flows: setting.flows,
        congestion: setting.congestion,
        pacing: setting.pacing.clone(),
        hops: setting.hops.clone().map(|hops| HopConfig { door_port: door(own).port(), ..hops }),
        seed,
    }
}

impl Pair {
    /// Makes both nodes; the entry begins to dial.
    pub fn new(setting: Setting) -> Self {
        let mut network = Network::new(Seed::new(setting.seed));
        let start = network.now();
        let now = Now { instant: start, unix_s: UNIX_START_S };
        let places = (network.add_node(), network.add_node());
        let addresses = (door(10), door(20));
        network.bind(places.0, addresses.0);
        network.bind(places.1, addresses.1);
        network.set_paths(places.0, places.1, setting.path.clone());
        let entry_side = Side::Entry { peer: peer(20), address: addresses.1, up: setting.class, down: setting.class };
        let exit_side = Side::Exit { entries: vec![peer(10)], fastest: RateClass::FASTEST };
        let entry = Host::new(&setting, config(&setting, 10, entry_side), now, addresses.0, places.0, true);
        let exit = Host::new(&setting, config(&setting, 20, exit_side), now, addresses.1, places.1, false);
        let grid = Grid::new(start, SlotLength::DEFAULT);
        Self {
            network,
            entry,
            exit,
            policer: Policer::default(),
            grid,
            next_app_step: start + APP_STEP,
            setting,
            start,
        }
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.network.elapsed()
    }

    /// UTC of both nodes, in seconds.
    pub fn unix_s(&self) -> u64 {
        self.now().unix_s
    }

    /// Runs until `until` of virtual time. Nodes that have something due which nothing they do serves are a failure: a
    /// process would turn for ever.
    pub fn run_until(&mut self, until: Duration) {
        let end = self.network.instant(until);
        let (mut at, mut turns) = (self.network.now(), 0);
        while self.network.now() < end {
            self.act();
            turns = if self.network.now() == at { turns + 1 } else { 0 };
            at = self.network.now();
            let mut due = || [&mut self.entry, &mut self.exit].map(|host| host.node.poll_timeout().map(|due| at - due));
            assert!(turns < TURNS_MAX, "seed {}: entry and exit have something due for {:?}", self.setting.seed, due());
            let deadline = self.deadline().min(end);
            match self.network.step(Some(deadline)) {
                Step::Delivered(mut packet) => {
                    let now = self.now();
                    let host = if packet.node == self.entry.place { &mut self.entry } else { &mut self.exit };
                    let Some(via) = host.via(packet.to) else { continue };
                    let from = Route { via, from: None, to: packet.from };
                    host.node.handle_packet(now, from, false, &mut packet.bytes);
                    host.node.settle(now);
                }
                Step::Deadline | Step::Idle => {}
            }
        }
    }

    /// Runs until `done` or until `limit` of virtual time. Returns whether it was done.
    pub fn run_while(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        while self.elapsed() < limit {
            if done(self) {
                return true;
            }
            self.run_until((self.elapsed() + Duration::from_millis(20)).min(limit));
        }
        done(self)
    }

    /// Pays for releases of both directions, as the entry's ledger does: `epochs` of the setting's length from the
    /// present one on. What the exit gets travels in the session.
    pub fn pay(&mut self, epochs: u16) {
        if let Some(grant) = grant_of(&self.setting.pacing, self.now().unix_s, epochs) {
            self.entry.node.grant_own(grant);
            self.entry.node.grant_other(grant);
        }
    }

    /// Replaces the unshaped process of the entry, as after a crash.
    pub fn restart_entry_unshaped(&mut self) {
        let now = self.now();
        self.entry.restart_unshaped(now, self.setting.flows, true);
    }

    /// Kills the entry's shaped process and starts another with fresh queues.
    pub fn restart_entry(&mut self, seed: u64) {
        let setting = Setting { seed, ..self.setting.clone() };
        let side = Side::Entry { peer: peer(20), address: self.exit.address, up: setting.class, down: setting.class };
        let config = config(&setting, 10, side);
        self.entry = Host::new(&setting, config, self.now(), self.entry.address, self.entry.place, true);
    }

    /// Kills the exit's shaped process and starts another with fresh queues.
    pub fn restart_exit(&mut self, seed: u64) {
        let setting = Setting { seed, ..self.setting.clone() };
        let side = Side::Exit { entries: vec![peer(10)], fastest: RateClass::FASTEST };
        let config = config(&setting, 20, side);
        self.exit = Host::new(&setting, config, self.now(), self.exit.address, self.exit.place, false);
    }

    /// Cuts or mends the path.
    pub fn set_cut(&mut self, cut: bool) {
        self.network.set_cut(self.entry.place, self.exit.place, cut);
    }

    /// What an observer of the link recorded, seen from the entry.
    pub fn observed(&self) -> Vec<Sighting> {
        let records = self.network.recording().sequence(self.entry.address);
        let sighting = |(at, outward, length)| {
            let direction = if outward { Direction::Outward } else { Direction::Inward };
            Sighting { at, direction, length }
        };
        records.map(sighting).collect()
    }

    fn now(&self) -> Now {
        let instant = self.network.now();
        Now { instant, unix_s: UNIX_START_S + instant.saturating_duration_since(self.start).as_secs() }
    }

    fn deadline(&mut self) -> Instant {
        let mode = self.setting.mode;
        let (now, grid) = (self.network.now(), self.grid);
        let hosts = [&mut self.entry, &mut self.exit].map(|host| host.deadline(now, &grid, mode));
        hosts.into_iter().flatten().chain([self.next_app_step]).min().unwrap_or(self.next_app_step)
    }

    /// Does everything that is due now.
    fn act(&mut self) {
        let now = self.now();
        if self.next_app_step <= now.instant {
            self.next_app_step += APP_STEP;
            for host in [&mut self.entry, &mut self.exit] {
                host.unshaped.step().unwrap_or_else(|fault| panic!("the shaped side broke the protocol: {fault}"));
            }
        }
        let (grid, leak) = (self.grid, self.setting.leak);
        let mut wire = Wire { network: &mut self.network, policer: &mut self.policer };
        if leak == Some(Leak::SynAtOnce) && self.entry.unshaped.opened_since_asked() {
            wire.network.send(self.entry.address, self.exit.address, &[0; 1350]);
        }
        if leak == Some(Leak::PacketWhenRingFills) && self.entry.unshaped.ring_filled_since_asked() {
            wire.network.send(self.entry.address, self.exit.address, &[0; 1350]);
        }
        match self.setting.mode {
            Mode::Off => {
                self.entry.act_off(now, &mut wire);
                self.exit.act_off(now, &mut wire);
            }
            _ => {
                self.entry.act_shaped(now, &grid, &mut wire, leak);
                self.exit.act_shaped(now, &grid, &mut wire, None);
            }
        }
    }
}

/// Where packets leave.
struct Wire<'a> {
    network: &'a mut Network,
    policer: &'a mut Policer,
}

impl Wire<'_> {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        if self.policer.passes(self.network.elapsed(), from, to, packet.len()) {
            self.network.send(from, to, packet);
        }
    }
}

impl Host {
    fn new(
        setting: &Setting,
        config: NodeConfig,
        now: Now,
        address: SocketAddr,
        place: NodeId,
        is_entry: bool,
    ) -> Self {
        let flows = config.max_flows;
        let noise = setting.noise.source(setting.seed + u64::from(is_entry), &setting.pacing);
        let mut node = ShapedNode::new(config, now, [], noise);
        let (shaped, unshaped) = memory_queues::pair(flows, RING);
        node.attach_queues(now, shaped.clone());
        let unshaped = Unshaped::new(unshaped, is_entry);
        Self {
            node,
            unshaped,
            events: Vec::new(),
            address,
            sockets: BTreeMap::new(),
            place,
            ready: None,
            made: None,
            queues: shaped,
        }
    }

    fn restart_unshaped(&mut self, now: Now, flows: u16, is_entry: bool) {
        let (shaped, unshaped) = memory_queues::pair(flows, RING);
        self.unshaped = Unshaped::new(unshaped, is_entry);
        self.queues = shaped.clone();
        self.node.attach_queues(now, shaped);
    }

    fn next_slot(&self, now: Instant, grid: &Grid) -> Option<u64> {
        let reachable = grid.next_slot(now).max(self.made.map_or(0, |made| made + 1));
        self.node.next_busy_slot(reachable)
    }

    fn deadline(&mut self, now: Instant, grid: &Grid, mode: Mode) -> Option<Instant> {
        match mode {
            Mode::Off => self.node.poll_timeout(),
            _ => {
                let make = self.next_slot(now, grid).map(|slot| make_at(grid, slot));
                make.into_iter().chain(self.ready.as_ref().map(|(at, _)| *at)).min()
            }
        }
    }

    fn act_shaped(&mut self, now: Now, grid: &Grid, wire: &mut Wire<'_>, leak: Option<Leak>) {
        if let Some((_, runs)) = self.ready.take_if(|(at, _)| *at <= now.instant) {
            for run in runs {
                let size = if leak == Some(Leak::LongerWithData) { run.packets.len() } else { 1350 };
                for packet in run.packets.chunks(if size.is_multiple_of(1350) { 1350 } else { 1366 }) {
                    wire.send(self.local(run.to.via), run.to.to, packet);
                }
            }
        }
        if let Some(slot) = self.next_slot(now.instant, grid)
            && make_at(grid, slot) <= now.instant
        {
            self.make_slot(now, slot, grid, leak);
        }
        self.drain(now, wire);
    }

    fn make_slot(&mut self, now: Now, slot: u64, grid: &Grid, leak: Option<Leak>) {
        self.made = Some(slot);
        let data_before = self.data_cells();
        self.node.handle_timeout(now);
        self.node.handle_queues(now);
        let mut plan = SlotPlan::default();
        self.node.prepare_slot(now, slot, false, &|_| 0, &mut plan);
        let has_data = self.data_cells() > data_before;
        let mut at = grid.instant_of(slot);
        if has_data {
            match leak {
                Some(Leak::LaterWithData) => at += Duration::from_micros(50),
                Some(Leak::LongerWithData) => plan.runs.iter_mut().for_each(lengthen),
                // Late, and nothing to stand in: the slot goes without its packets.
                Some(Leak::SpareNeverReady) => plan.runs.clear(),
                Some(Leak::SynAtOnce | Leak::PacketWhenRingFills) | None => {}
            }
        }
        self.ready = Some((at, plan.runs));
    }

    fn act_off(&mut self, now: Now, wire: &mut Wire<'_>) {
        self.node.handle_timeout_if_due(now);
        self.node.handle_queues(now);
        let mut out = Vec::new();
        while let Some(to) = self.node.poll_transmit(now, BATCH, &mut out) {
            for packet in out.chunks(1350) {
                wire.send(self.local(to.via), to.to, packet);
            }
            out.clear();
        }
        self.drain(now, wire);
    }

    /// The address of a socket; a route whose socket is closed goes by the door.
    fn local(&self, via: Via) -> SocketAddr {
        self.sockets.get(&via).copied().unwrap_or(self.address)
    }

    /// The socket with this address.
    fn via(&self, local: SocketAddr) -> Option<Via> {
        let hopped = self.sockets.iter().find(|(_, socket)| **socket == local).map(|(via, _)| *via);
        hopped.or((local == self.address).then_some(Via::DOOR))
    }

    fn follow_socket_orders(&mut self, now: Now, network: &mut Network) {
        while let Some(order) = self.node.poll_socket_order() {
            let (via, port) = match order {
                SocketOrder::Close { via } => {
                    if let Some(socket) = self.sockets.remove(&via) {
                        network.unbind(socket);
                    }
                    continue;
                }
                SocketOrder::Open { via, local_port, .. } => (via, local_port.unwrap_or(60_000)),
                SocketOrder::Listen { via, port } => (via, port),
            };
            let local = SocketAddr::from((self.address.ip(), port));
            if self.via(local).is_some() {
                self.node.handle_socket_failed(now, via);
                continue;
            }
            network.bind(self.place, local);
            self.sockets.insert(via, local);
            self.node.handle_socket_opened(now, via, local);
        }
    }

    fn drain(&mut self, now: Now, wire: &mut Wire<'_>) {
        self.follow_socket_orders(now, wire.network);
        while let Some(event) = self.node.poll_event() {
            self.events.push(event);
        }
    }

    /// A named count of the node's status.
    pub fn count(&self, name: &str) -> u64 {
        self.node.status().counters.get(name).copied().unwrap_or(0)
    }

    fn data_cells(&self) -> u64 {
        self.count("data_cells_sent")
    }

    /// Queue pairs whose rings are both empty.
    pub fn queues(&mut self) -> &mut impl FlowQueues {
        &mut self.queues
    }
}

/// Sixteen bytes more in each packet.
fn lengthen(run: &mut Run) {
    run.packets = run.packets.chunks(1350).flat_map(|packet| [packet, &[0; 16]].concat()).collect();
}

fn make_at(grid: &Grid, slot: u64) -> Instant {
    let at = grid.instant_of(slot);
    at.checked_sub(LEAD).unwrap_or(at)
}
