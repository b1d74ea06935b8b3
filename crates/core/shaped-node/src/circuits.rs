//! Tunnels over circuits, at the entry: links to guards, circuits that are built and kept, and the sessions over them.
//!
//! All tunnels share the links and the guards. Each has as many *places* as legs are wanted; each place finds a path, a link, a circuit and then a leg,
//! and begins again when it loses what it had. Everything happens by timers and by what comes, never by what flows want.

mod beside;
mod build;
mod builds;
mod carrier;
mod document;
mod errands;
mod guard_links;
mod joined;
mod memory;
mod paths_of_pair;
mod places;
mod plan;
mod pool;
mod receive;
mod services;
mod slot;
mod spare_guards;
mod status;
mod timing;
mod transmit;
mod uplink;

pub use document::{DocumentRefused, NextDocument};
pub(crate) use errands::{ErrandId, ErrandNews, ErrandOwner, KeepApart, Last};
pub use paths_of_pair::NearEnd;
pub use pool::{
    DIRTY_AFTER, Group, Isolation, POOL_LOOK, PoolConfig, RETIRED_LINGER, TUNNEL_LIFE, TUNNELS_MAX, TunnelHolder,
    TunnelId, TunnelsFull,
};
pub(crate) use receive::Took;
pub use services::{
    SERVICE_IDLE, SOUGHT_MAX, SOUGHT_OF_CLIENT_MAX, SeekRefused, ServiceFailure, ServiceState, ServiceWish,
    ServicesConfig,
};
pub(crate) use slot::SlotOutlet;
pub use status::{CircuitsStatus, LegStatus, TunnelStatus};
pub(crate) use transmit::Outlet;
pub(crate) use uplink::Uplink;

use crate::memory::{Charge, MemoryPool};
use crate::node::NodeEvent;
use beside::Beside;
use builds::Builds;
use carrier::{Carrier, OnionCircuit};
use conflux::{Building, LegId};
use errands::Errands;
use guard_links::GuardLink;
use identity::NodeId;
use joined::Joined;
use link::{LinkId, Now};
use network_document::NetworkDocument;
use onion::RelaySpec;
use pool::{Holder, Pool};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use services::Services;
use shaping::RateClass;
use spare_guards::Spares;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tunnel_plan::{Guards, Path, PathRules, Refusal, Relays, Way};
use wire::cell::CircuitId;

/// Circuits that are being taken down. When there are more, the oldest is forgotten: its relays take it down when it was idle
/// for long.
const ENDING_MAX: usize = 32;
/// Relays that are avoided for a while. When there are more, the one that was named first is forgiven.
const AVOIDED_MAX: usize = 64;
/// How long a relay is avoided that failed a circuit, as far as there are others.
const AVOID_FOR: Duration = Duration::from_secs(60);
/// How long a tunnel lives at least, and how long a lost session has for its farewell.
const TUNNEL_RETRY: Duration = Duration::from_secs(1);
/// How often the guards are looked through for those whose time is over.
const GUARDS_LOOK: Duration = Duration::from_secs(24 * 3600);
/// In shaped modes, how long a tunnel whose exit is gone has for its flows, whether it has any or not.
const LINGER_IN_SLOTS: Duration = Duration::from_secs(60);

/// What an entry over circuits is told at its start.
#[derive(Debug)]
pub struct CircuitsConfig {
    /// The network.
    pub document: NetworkDocument,
    /// The guards of the last run, or none yet.
    pub guards: Guards,
    /// Hops and legs, and what may be relaxed.
    pub rules: PathRules,
    /// The only exit that is used, if it is not left to chance.
    pub exit: Option<NodeId>,
    /// This machine's ends that links are dialled from, by the numbers of their sockets; at least one. Only legs of one hop
    /// ([`PathRules::direct`]) use more than the first.
    pub near: Vec<NearEnd>,
    /// How many tunnels there are, and for whom.
    pub pool: PoolConfig,
    /// Services that flows may go to by address; none: such flows are refused.
    pub services: Option<ServicesConfig>,
    /// Bytes that all tunnels may hold together, at least [`crate::memory::MEMORY_MAX_LEAST`]; see [`crate::memory`].
    pub memory_max: u64,
    /// Rate towards the exit, all legs together; without meaning in mode `off`.
    pub up: RateClass,
    /// Rate asked of the exit, likewise.
    pub down: RateClass,
}

/// What sessions are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionSetting {
    pub(crate) packet_max: usize,
    pub(crate) max_flows: u16,
    pub(crate) timeout: Duration,
    /// The faster direction of the schedule in bits a second; far above any without one.
    pub(crate) rate: u64,
    /// What slots add to a round trip.
    pub(crate) slack: Duration,
}

/// Where one of the wanted legs stands.
enum Stage {
    /// A path is chosen at this time; sooner, when there was none, if a guard answers.
    Waiting { until: Instant, refused: bool },
    /// The guard's link is not up.
    Dialling { path: Path, link: LinkId },
    /// The circuit is being built with these keys of its relays; since when its present hop is asked for.
    Building { path: Path, link: LinkId, specs: Vec<RelaySpec>, circuit: Box<Building<OnionCircuit>>, since: Instant },
    /// It is a leg of the tunnel.
    Joined { path: Path, link: LinkId, leg: LegId, since: Instant, silent_since: Option<Instant> },
}

impl Stage {
    fn at(until: Instant) -> Self {
        Self::Waiting { until, refused: false }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Waiting { .. } => None,
            Self::Dialling { path, .. } | Self::Building { path, .. } | Self::Joined { path, .. } => Some(path),
        }
    }

    fn link(&self) -> Option<LinkId> {
        match self {
            Self::Waiting { .. } => None,
            Self::Dialling { link, .. } | Self::Building { link, .. } | Self::Joined { link, .. } => Some(*link),
        }
    }
}

/// One of the wanted legs.
struct Place {
    stage: Stage,
    /// Failures since it had a leg.
    failures: u32,
    /// The last of its links that was up.
    up_link: Option<LinkId>,
    /// What it had until the document lacked one of its relays.
    outgoing: Option<Outgoing>,
}

/// A leg that carries data until another one is built in its place, and so long at most.
struct Outgoing {
    leg: LegId,
    path: Path,
    until: Instant,
}

/// A circuit that is being taken down.
struct Ending {
    link: LinkId,
    circuit: onion::Circuit,
}

/// What all tunnels of an entry share.
struct Shared {
    document: NetworkDocument,
    relays: Relays,
    only_exit: Option<NodeId>,
    near: Vec<NearEnd>,
    guards: Guards,
    session: SessionSetting,
    rng: ChaCha20Rng,
    links: BTreeMap<LinkId, GuardLink>,
    /// Guards that are asked beside those.
    spares: Spares,
    /// Which guards build what they are asked for.
    builds: Builds,
    /// The tunnel that a circuit is a leg of, by its number.
    carriers: BTreeMap<(LinkId, CircuitId), u64>,
    ending: VecDeque<Ending>,
    avoided: BTreeMap<NodeId, Instant>,
    /// Ways of legs of one hop that did not answer, and when.
    failed_ways: BTreeMap<(NodeId, Way), Instant>,
    /// Links that were dialled.
    newest_link: u16,
    newest_circuit: u32,
    refusal: Option<Refusal>,
    look_at: Instant,
    session_failures: u64,
    /// Tunnels since the start.
    made: u64,
    /// How long a tunnel takes new flows at most.
    life: Duration,
    stopping: bool,
    /// Bytes of a cell's region.
    region: usize,
    /// What is on its way into a cell.
    body: Vec<u8>,
    /// In shaped modes the schedule towards the guards.
    uplink: Option<Uplink>,
    events: Vec<NodeEvent>,
    memory: MemoryPool,
}

/// One tunnel: the places of its legs, and what they have come to. It begins again when it loses that.
struct CircuitTunnel {
    number: u64,
    rules: PathRules,
    holder: Holder,
    places: Vec<Place>,
    /// Where it leads at present.
    exit: Option<NodeId>,
    joined: Option<Joined>,
    routes: BTreeMap<(LinkId, CircuitId), LegId>,
    next_loss_look: Instant,
    /// When legs of one hop look for better ways.
    next_way_look: Instant,
    /// How often it was made.
    made: u64,
    /// When it takes no new flows any more.
    life_ends: Option<Instant>,
    /// That time had come at the pool's last look.
    is_old: bool,
    /// It has come to its end, and the pool has not noticed.
    has_ended: bool,
    /// The document lacks its exit: it gets no further leg.
    exit_is_gone: bool,
    /// When it ends, retired, if that is not to depend on flows.
    ends_at: Option<Instant>,
    /// Why it has no path.
    refusal: Option<Refusal>,
    /// The service that it was to lead to has refused a leg, since it is in another mode or full.
    refused: Option<conflux::Refusal>,
    /// The leg of the newest data cell, and how often that was another one than before.
    last_leg: Option<LegId>,
    switches: u64,
    /// What the entry was told that it holds.
    charge: Charge,
}

impl CircuitTunnel {
    fn new(now: Instant, number: u64, rules: PathRules) -> Self {
        let place = || Place { stage: Stage::at(now), failures: 0, up_link: None, outgoing: None };
        Self {
            number,
            rules,
            holder: Holder::Pool,
            places: std::iter::repeat_with(place).take(usize::from(rules.legs())).collect(),
            exit: None,
            joined: None,
            routes: BTreeMap::new(),
            next_loss_look: now,
            next_way_look: now + paths_of_pair::BETTER_WAY_LOOK,
            made: 0,
            life_ends: None,
            is_old: false,
            has_ended: false,
            exit_is_gone: false,
            ends_at: None,
            refusal: None,
            refused: None,
            last_leg: None,
            switches: 0,
            charge: Charge::default(),
        }
    }

    /// The paths of its places, as far as they have one.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().filter_map(|place| place.stage.path())
    }

    fn session_mut(&mut self) -> Option<&mut crate::tunnel::Tunnel> {
        self.joined.as_mut()?.tunnel.as_mut()
    }
}

/// Everything of an entry over circuits but its endpoint and its flows.
pub(crate) struct Circuits {
    shared: Shared,
    /// By number.
    tunnels: BTreeMap<u64, CircuitTunnel>,
    pool: Pool,
    errands: Errands,
    services: Services,
    beside: Beside,
    /// Of the pool's tunnels.
    rules: PathRules,
    /// The tunnel whose data left last: the next one begins.
    served: u64,
}

impl Circuits {
    /// Nothing is dialled before [`Circuits::advance`]. `uplink`: the schedule of shaped modes.
    pub(crate) fn new(
        now: Now,
        config: CircuitsConfig,
        session: SessionSetting,
        uplink: Option<Uplink>,
        seed: [u8; 32],
    ) -> Self {
        let CircuitsConfig { document, guards, rules, exit, near, pool, services, memory_max, up: _, down: _ } = config;
        let region = document.charter().packet_size().region();
        let errands = Errands::new(uplink.is_some());
        let mut shared = Shared {
            relays: Relays::new(&document),
            document,
            only_exit: exit,
            near,
            guards,
            session,
            rng: ChaCha20Rng::from_seed(seed),
            links: BTreeMap::new(),
            spares: Spares::new(now.instant),
            builds: Builds::default(),
            carriers: BTreeMap::new(),
            ending: VecDeque::new(),
            avoided: BTreeMap::new(),
            failed_ways: BTreeMap::new(),
            newest_link: 0,
            newest_circuit: 0,
            refusal: None,
            look_at: now.instant,
            session_failures: 0,
            made: 0,
            life: pool.life,
            stopping: false,
            region,
            body: Vec::new(),
            uplink,
            events: Vec::new(),
            memory: MemoryPool::new(memory_max),
        };
        shared.look_through_guards(now);
        let pool = Pool::new(now.instant, pool);
        let (beside, services) = (Beside::default(), Services::new(services));
        let mut circuits = Self { shared, tunnels: BTreeMap::new(), pool, errands, services, beside, rules, served: 0 };
        circuits.fill_up(now.instant);
        circuits
    }

    /// What the caller may want to log or store, oldest first. There are a few for each call.
    pub(crate) fn take_events(&mut self) -> Vec<NodeEvent> {
        std::mem::take(&mut self.shared.events)
    }

    /// The session and its flows of one tunnel, if it has a session.
    pub(crate) fn tunnel_mut(&mut self, number: u64) -> Option<&mut crate::tunnel::Tunnel> {
        self.tunnels.get_mut(&number)?.session_mut()
    }

    /// All that have a session.
    pub(crate) fn tunnels_mut(&mut self) -> impl Iterator<Item = &mut crate::tunnel::Tunnel> {
        self.tunnels.values_mut().filter_map(CircuitTunnel::session_mut)
    }

    /// Those of them that lead to an exit. A service releases nothing, so leave would be lost on it.
    pub(crate) fn tunnels_to_exits_mut(&mut self) -> impl Iterator<Item = &mut crate::tunnel::Tunnel> {
        self.tunnels.values_mut().filter(|tunnel| !tunnel.is_of_service()).filter_map(CircuitTunnel::session_mut)
    }

    /// In shaped modes the schedule towards the guards.
    pub(crate) fn uplink_mut(&mut self) -> Option<&mut Uplink> {
        self.shared.uplink.as_mut()
    }

    /// The session has been closed: nothing is built any more.
    pub(crate) fn stop(&mut self) {
        self.shared.stopping = true;
    }

    /// Ports of the sockets of all ends but the first.
    pub(crate) fn dial_ports(&self) -> Vec<u16> {
        self.shared.near.iter().skip(1).map(|end| end.port).collect()
    }

    /// Links to guards.
    pub(crate) fn links(&self) -> impl Iterator<Item = &LinkId> {
        self.shared.links.keys()
    }

    /// Sessions that could not be made.
    pub(crate) fn session_failures(&self) -> u64 {
        self.shared.session_failures
    }
}

impl Shared {
    fn look_through_guards(&mut self, now: Now) {
        self.look_at = now.instant + GUARDS_LOOK;
        // Contacts are asked for a document; they are no network to draw guards from.
        if self.document.is_of_contacts() {
            return;
        }
        if self.guards.handle_relays(now.unix_s, &self.relays, &mut self.rng) {
            self.store_guards();
        }
    }

    fn store_guards(&mut self) {
        self.events.push(NodeEvent::GuardsChanged(self.guards.text()));
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A time in the first `span`, at random.
    fn draw(&mut self, span: Duration) -> Duration {
        span.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    fn avoid(&mut self, now: Instant, relay: NodeId) {
        self.avoided.retain(|_, until| *until > now);
        if self.avoided.len() >= AVOIDED_MAX
            && let Some(first) = self.avoided.iter().min_by_key(|(_, until)| **until).map(|(relay, _)| *relay)
        {
            self.avoided.remove(&first);
        }
        self.avoided.insert(relay, now + AVOID_FOR);
    }

    fn is_avoided(&self, now: Instant, relay: &NodeId) -> bool {
        self.avoided.get(relay).is_some_and(|until| *until > now)
    }

    /// Takes a circuit down. Over a link that is down nobody is told.
    fn end_circuit(&mut self, now: Instant, link: LinkId, mut circuit: onion::Circuit) {
        if !self.is_up(link) {
            return;
        }
        circuit.destroy(now);
        if self.ending.len() >= ENDING_MAX {
            self.ending.pop_front();
        }
        self.ending.push_back(Ending { link, circuit });
    }
}
