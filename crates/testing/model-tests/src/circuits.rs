//! An entry over circuits: relays, one or more exits, and a network between them, on virtual time. Everything but the network,
//! the clock and the applications is the real core.

mod relay;

pub use relay::{Health, RelayHost};

use crate::apps::Unshaped;
use crate::memory_queues::{self, MemoryQueues};
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OperatorSecret};
use link::{Now, Route};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, Roles};
use onion::Interval;
use relay_node::Limits;
use session::CongestionControl;
use shaped_node::{
    CircuitsConfig, LegStatus, Mode, NodeConfig, NodeEvent, PacingConfig, PoolConfig, ShapedNode, Side, TunnelStatus,
};
use shaping::{RateClass, SlotLength};
use simnet::{Loss, Network, Path, Seed, Step};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tunnel_plan::{Guards, PathRules, Relaxation};
use wire::packet::PacketSize;

/// UTC at virtual time zero.
const UNIX_START_S: u64 = 1_795_521_600;
/// How often applications act.
const APP_STEP: Duration = Duration::from_micros(730);
/// Bytes of every ring.
const RING: usize = 256 * 1024;
/// Queue pairs of each node.
const FLOWS: u16 = 64;
/// Packets of one transmit call.
const BATCH: usize = 32;
/// Turns in which no time passes.
const TURNS_MAX: u32 = 100_000;
/// The interval of the document.
pub(crate) const INTERVAL: Interval = Interval(5);

/// What a world is made from.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Relays that are guards and middles.
    pub relays: usize,
    /// Exits, numbered behind the relays.
    pub exits: usize,
    /// Hops of each leg.
    pub hops: u8,
    /// Legs.
    pub legs: u8,
    /// What may be relaxed.
    pub relaxation: Relaxation,
    /// Between any two nodes, each way.
    pub path: Path,
    /// Of everything random.
    pub seed: u64,
    /// How long a session outlives its legs.
    pub session_timeout: Duration,
    /// Tunnels, and whose they are.
    pub pool: PoolConfig,
}

/// The first tunnel of the entry, as its user sees it.
#[derive(Debug, Clone)]
pub struct FirstTunnel {
    /// How often it was made.
    pub tunnels: u64,
    /// The session is up.
    pub session_up: bool,
    /// Its legs.
    pub legs: Vec<LegStatus>,
    /// Why a path is missing.
    pub refusal: Option<String>,
    /// How often a data cell went on another leg than the one before.
    pub switches: u64,
}

impl Default for Setting {
    fn default() -> Self {
        let path = Path::with_delay(Duration::from_millis(5)).with_rate(50_000_000, 256 * 1024);
        Self {
            relays: 8,
            exits: 2,
            hops: 3,
            legs: 2,
            relaxation: Relaxation::Nothing,
            path,
            seed: 1,
            session_timeout: Duration::from_secs(30),
            pool: PoolConfig::default(),
        }
    }
}

/// The entry with its applications.
pub struct EntryHost {
    /// The node under test.
    pub node: ShapedNode<MemoryQueues>,
    /// Its applications.
    pub unshaped: Unshaped,
    /// Events, as they came.
    pub events: Vec<(Duration, NodeEvent)>,
    /// The text of the guards' file, as it was stored last.
    pub guards: Option<String>,
    address: SocketAddr,
    place: simnet::NodeId,
}

/// All of them, and the network.
pub struct World {
    /// The network.
    pub network: Network,
    /// The entry.
    pub entry: EntryHost,
    /// Relays; the exits come last.
    pub relays: Vec<RelayHost>,
    /// What they all know.
    pub document: NetworkDocument,
    setting: Setting,
    start: Instant,
    next_app_step: Instant,
}

fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

/// The name of a relay.
pub fn node_id(relay: usize) -> NodeId {
    NodeSecret::from_seed(secret(relay)).node_id()
}

fn relay_address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 1], 4433))
}

/// A document of so many relays and exits; clients come to exits only over others, unless those have doors.
///
/// # Panics
/// Never: all of it is in order.
pub fn document(relays: usize, exits: usize, exits_have_doors: bool) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([200; 32]);
    let label = |text: &str| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("test"), PacketSize::DEFAULT, vec![operator.operator_key()], 1);
    let charter = charter.expect("a good charter");
    let describe = |relay: usize| {
        let secret_key = NodeSecret::from_seed(secret(relay));
        let onion_key = relay::onion_keys(relay).of(INTERVAL).expect("it was made").onion_key();
        let is_exit = relay >= relays;
        let descriptor = Descriptor {
            node_id: secret_key.node_id(),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
            onion_keys: vec![(INTERVAL, onion_key)],
            addresses: vec![relay_address(relay)],
            hop_ports: None,
            roles: Roles { guard: !is_exit || exits_have_doors, middle: !is_exit, exit: is_exit },
            operator: label(&format!("operator-{relay}")),
            bandwidth: RateClass::SLOWEST,
        };
        descriptor.sign(charter.network_id(), &secret_key).expect("a good descriptor")
    };
    let described = (0..relays + exits).map(describe).collect();
    let mut draft = Draft::new(charter.clone(), INTERVAL, described).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

impl World {
    /// A network of relays and an entry that begins to dial.
    ///
    /// # Panics
    /// If the setting has no paths that a tunnel can have.
    pub fn new(setting: Setting) -> Self {
        let mut network = Network::new(Seed::new(setting.seed));
        let start = network.now();
        let now = Now { instant: start, unix_s: UNIX_START_S };
        let document = document(setting.relays, setting.exits, setting.hops == 1);
        let all = 0..setting.relays + setting.exits;
        let host = |relay, network: &mut Network| {
            let place = network.add_node();
            network.bind(place, relay_address(relay));
            let limits = Limits::default();
            RelayHost::new(relay, &document, relay >= setting.relays, (place, relay_address(relay)), (1, now), limits)
        };
        let relays: Vec<RelayHost> = all.map(|relay| host(relay, &mut network)).collect();
        let entry = EntryHost::new(&setting, &document, now, network.add_node(), None);
        network.bind(entry.place, entry.address);
        let places: Vec<_> = relays.iter().map(|host| host.place).chain([entry.place]).collect();
        for (number, one) in places.iter().enumerate() {
            places[..number].iter().for_each(|other| network.set_paths(*one, *other, setting.path.clone()));
        }
        Self { network, entry, relays, document, setting, start, next_app_step: start + APP_STEP }
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.network.elapsed()
    }

    /// All tunnels of the entry.
    ///
    /// # Panics
    /// Never: the entry goes over circuits.
    pub fn tunnels(&self) -> Vec<TunnelStatus> {
        self.entry.node.status().circuits.expect("an entry over circuits").tunnels
    }

    /// The first tunnel.
    ///
    /// # Panics
    /// Never: there is always one.
    pub fn status(&self) -> FirstTunnel {
        let circuits = self.entry.node.status().circuits.expect("an entry over circuits");
        let first = circuits.tunnels.into_iter().next().expect("at least one tunnel");
        FirstTunnel {
            tunnels: first.made,
            session_up: first.session_up,
            legs: first.legs,
            refusal: circuits.refusal,
            switches: first.switches,
        }
    }

    /// Legs of the tunnel that answer.
    pub fn linked(&self) -> usize {
        self.status().legs.iter().filter(|leg| leg.state == "linked").count()
    }

    /// The relay at a place of a leg's path, by its number.
    pub fn relay_of(&self, leg: usize, hop: usize) -> Option<usize> {
        let name = self.status().legs.get(leg)?.path.get(hop)?.clone();
        (0..self.relays.len()).find(|relay| node_id(*relay).to_string() == name)
    }

    /// The exit of one of the tunnels, by its number among the relays.
    pub fn exit_of(&self, tunnel: usize) -> Option<usize> {
        let name = self.tunnels().get(tunnel)?.legs.first()?.path.last()?.clone();
        (0..self.relays.len()).find(|relay| node_id(*relay).to_string() == name)
    }

    /// Another process of the exit's or relay's node, with nothing of the old one.
    pub fn restart(&mut self, relay: usize) {
        self.restart_with(relay, Limits::default());
    }

    /// The same, but it drops what asks it to be a hop.
    pub fn mute(&mut self, relay: usize) {
        self.restart_with(relay, Limits { handshakes_per_second: 0, ..Limits::default() });
    }

    fn restart_with(&mut self, relay: usize, limits: Limits) {
        let is_exit = relay >= self.setting.relays;
        let (now, old) = (self.now(), &self.relays[relay]);
        let (place, process) = ((old.place, old.address), (old.generation + 1, now));
        self.relays[relay] = RelayHost::new(relay, &self.document, is_exit, place, process, limits);
    }

    /// Cuts the entry off, or mends it.
    pub fn set_outage(&mut self, is_cut: bool) {
        self.relays.iter().for_each(|host| self.network.set_cut(self.entry.place, host.place, is_cut));
    }

    /// Between two relays, in both directions, so much is lost.
    pub fn set_loss(&mut self, one: usize, other: usize, part: f64) {
        let path = self.setting.path.clone().with_loss(Loss::Independent(part));
        self.network.set_paths(self.relays[one].place, self.relays[other].place, path);
    }

    /// Relays that have had a packet of the entry's.
    pub fn guards_seen(&self) -> usize {
        let of_entry = self.network.recording().records().iter().filter(|record| record.from == self.entry.address);
        of_entry.map(|record| record.to).collect::<BTreeSet<_>>().len()
    }

    /// Another process of the entry, with the guards' file of the old one.
    pub fn restart_entry(&mut self, seed: u64) {
        let setting = Setting { seed, ..self.setting.clone() };
        let (now, place, guards) = (self.now(), self.entry.place, self.entry.guards.take());
        self.entry = EntryHost::new(&setting, &self.document, now, place, guards);
    }

    /// Runs for that long.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.elapsed() + time;
        self.run_until(until);
    }

    /// Runs until `done`, or for `longest`. Says whether it is done.
    pub fn run_while(&mut self, longest: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.elapsed() + longest;
        while self.elapsed() < until {
            if done(self) {
                return true;
            }
            self.run_until((self.elapsed() + Duration::from_millis(10)).min(until));
        }
        done(self)
    }

    /// Runs until this time. Nodes that have something due which nothing they do serves are a failure.
    fn run_until(&mut self, until: Duration) {
        let end = self.network.instant(until);
        let (mut at, mut turns) = (self.network.now(), 0);
        while self.network.now() < end {
            self.act();
            turns = if self.network.now() == at { turns + 1 } else { 0 };
            at = self.network.now();
            let due = self.deadlines();
            assert!(turns < TURNS_MAX, "seed {}: something stays due: {due:?}", self.setting.seed);
            let deadline = due.into_iter().flatten().chain([self.next_app_step, end]).min();
            if let Step::Delivered(packet) = self.network.step(deadline) {
                self.deliver(packet);
            }
        }
    }

    fn deliver(&mut self, mut packet: simnet::Packet) {
        let now = self.now();
        if packet.node == self.entry.place {
            self.entry.node.handle_packet(now, Route::from(packet.from), false, &mut packet.bytes);
            self.entry.node.settle(now);
        } else if let Some(host) = self.relays.iter_mut().find(|host| host.place == packet.node) {
            host.handle_packet(now, packet.from, &mut packet.bytes, &mut self.network);
        }
    }

    fn now(&self) -> Now {
        let instant = self.network.now();
        Now { instant, unix_s: UNIX_START_S + instant.saturating_duration_since(self.start).as_secs() }
    }

    fn deadlines(&mut self) -> Vec<Option<Instant>> {
        let now = self.now();
        let relays: Vec<_> = self.relays.iter().map(|host| host.poll_timeout(now)).collect();
        [vec![self.entry.node.poll_timeout()], relays].concat()
    }

    /// Does everything that is due now.
    fn act(&mut self) {
        let now = self.now();
        if self.next_app_step <= now.instant {
            self.next_app_step += APP_STEP;
            let exits = self.relays.iter_mut().filter_map(|host| host.unshaped_mut());
            for unshaped in exits.chain([&mut self.entry.unshaped]) {
                unshaped.step().unwrap_or_else(|fault| panic!("the shaped side broke the protocol: {fault}"));
            }
        }
        self.entry.act(now, &mut self.network);
        for host in &mut self.relays {
            host.act(now, &mut self.network);
        }
    }
}

impl EntryHost {
    fn new(
        setting: &Setting,
        document: &NetworkDocument,
        now: Now,
        place: simnet::NodeId,
        stored: Option<String>,
    ) -> Self {
        let network = document.network_id();
        let guards = stored.as_deref().map(|text| Guards::parse(text, network).expect("what was stored"));
        let guards = guards.unwrap_or_else(|| Guards::new(network, setting.legs).expect("1 to 8 legs"));
        let rules = PathRules::new(setting.hops, setting.legs).expect("a tunnel").relaxed(setting.relaxation);
        let circuits =
            CircuitsConfig { document: document.clone(), guards, rules, exit: None, ipv4: true, pool: setting.pool };
        let mut seed = [77; 32];
        seed[..8].copy_from_slice(&setting.seed.to_be_bytes());
        let config = NodeConfig {
            side: Side::Circuits(Some(Box::new(circuits))),
            mode: Mode::Off,
            pacing: PacingConfig::Constant,
            packet_size: PacketSize::DEFAULT,
            slot: SlotLength::DEFAULT,
            network_id: [0; 32],
            node_secret: NodeSecret::from_seed([99; 32]),
            link_secret: LinkSecret::from_bytes([99; 32]),
            door_key: DoorKey::from_bytes([99; 32]),
            session_timeout: setting.session_timeout,
            max_flows: FLOWS,
            congestion: CongestionControl::Bbr,
            hops: None,
            seed,
        };
        let mut node = ShapedNode::new(config, now, [], Box::new(None));
        let (shaped, unshaped) = memory_queues::pair(FLOWS, RING);
        node.attach_queues(now, shaped);
        let address = SocketAddr::from(([198, 51, 100, 7], 40_000));
        Self { node, unshaped: Unshaped::new(unshaped, true), events: Vec::new(), guards: stored, address, place }
    }

    /// As the loop of mode `off` does.
    fn act(&mut self, now: Now, network: &mut Network) {
        self.node.handle_timeout_if_due(now);
        self.node.handle_queues(now);
        let mut out = Vec::new();
        while let Some(to) = self.node.poll_transmit(now, BATCH, &mut out) {
            for packet in out.chunks(PacketSize::DEFAULT.packet()) {
                network.send(self.address, to.to, packet);
            }
            out.clear();
        }
        while let Some(event) = self.node.poll_event() {
            if let NodeEvent::GuardsChanged(text) = &event {
                self.guards = Some(text.clone());
            }
            self.events.push((network.elapsed(), event));
        }
    }
}
