//! An entry over circuits: relays, one or more exits, and a network between them, on virtual time. Everything but the network,
//! the clock and the applications is the real core.

mod documents;
mod due;
mod entry;
mod relay;
mod service;

pub(crate) use documents::INTERVAL;
pub use documents::{Changes, document, node_id};
pub use entry::EntryHost;
pub use relay::{Health, RelayHost};
pub use service::{ServiceHost, service_address};

use crate::apps::Records;
use crate::leaks::Leak;
use crate::noise::{NoiseOf, grant_of};
use documents::{document_of, other_address, relay_address};
use identity::AccessSecret;
use link::{Now, Route, Via};
use network_document::NetworkDocument;
use onion::Interval;
use relay_node::Limits;
use shaped_node::{DocumentRefused, LegStatus, Mode, NextDocument, NodeEvent, PacingConfig, PoolConfig, TunnelStatus};
use shaping::{Grid, RateClass, SlotLength};
use simnet::{Fate, Loss, Network, Path, Seed, Step};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tunnel_plan::Relaxation;

/// UTC at virtual time zero.
const UNIX_START_S: u64 = 1_795_521_600;
/// How often applications act.
const APP_STEP: Duration = Duration::from_micros(730);
/// How long the first tunnel of [`World::in_use`] may take.
const IN_USE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of every ring.
const RING: usize = 256 * 1024;
/// Queue pairs of each node.
const FLOWS: u16 = 64;
/// Packets of one transmit call.
const BATCH: usize = 32;
/// Turns in which no time passes.
const TURNS_MAX: u32 = 100_000;

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
    /// Bytes that the tunnels of the entry may hold together, those of each exit, and those of the service.
    pub memory_max: u64,
    /// Tunnels, and whose they are.
    pub pool: PoolConfig,
    /// Mode of the entry and the exits.
    pub mode: Mode,
    /// Rule of both directions.
    pub pacing: PacingConfig,
    /// Class of both directions.
    pub class: RateClass,
    /// Noise of both directions.
    pub noise: NoiseOf,
    /// A planted leak, at the entry.
    pub leak: Option<Leak>,
    /// The entry's ends, each with a line of its own. With one hop, legs lead over them.
    pub ends: usize,
    /// Addresses of each relay, 1 or 2.
    pub addresses: usize,
    /// Mode of the service; none: that of all.
    pub service_mode: Option<Mode>,
    /// Whether there is a service, and a directory behind each exit that knows it.
    pub service: bool,
    /// Tunnels that the service has at a time.
    pub service_tunnels: usize,
    /// Whether the service lets in only those that have a key: the one of nines.
    pub authorised: bool,
    /// The key that the entry has for it.
    pub access: Option<[u8; 32]>,
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
            memory_max: shaped_node::memory::MEMORY_MAX,
            pool: PoolConfig::default(),
            mode: Mode::Off,
            pacing: PacingConfig::Constant,
            class: RateClass::SLOWEST,
            noise: NoiseOf::Nothing,
            leak: None,
            ends: 1,
            addresses: 1,
            service_mode: None,
            service: false,
            service_tunnels: 16,
            authorised: false,
            access: None,
        }
    }
}

impl Setting {
    /// The usual one with so many legs.
    pub fn with_legs(legs: u8) -> Self {
        Self { legs, ..Self::default() }
    }

    /// Mode `constant` at about 2 Mbit/s, over a network without limits.
    pub fn constant() -> Self {
        let class = RateClass::at_least(2_000_000).unwrap_or(RateClass::SLOWEST);
        Self { mode: Mode::Constant, class, path: Path::with_delay(Duration::from_millis(5)), ..Self::default() }
    }
}

/// All of them, and the network.
pub struct World {
    /// The network.
    pub network: Network,
    /// The entry.
    pub entry: EntryHost,
    /// Relays; the exits come last.
    pub relays: Vec<RelayHost>,
    /// The service.
    pub service: Option<ServiceHost>,
    /// What they all know.
    pub document: NetworkDocument,
    setting: Setting,
    grid: Grid,
    start: Instant,
    next_app_step: Instant,
    /// Relays that documents have at another address from now on.
    pub moved: Vec<usize>,
    blackholes: BTreeSet<(usize, usize)>,
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
        let shape = (setting.relays, setting.exits, setting.hops == 1, setting.service);
        let document = document_of(shape, INTERVAL, setting.addresses, Changes::default());
        let all = 0..setting.relays + setting.exits;
        let host = |relay, network: &mut Network| {
            let place = network.add_node();
            network.bind(place, relay_address(relay));
            if setting.addresses > 1 {
                network.bind(place, other_address(relay));
            }
            let limits = Limits::default();
            let place = (place, relay_address(relay));
            RelayHost::new(relay, &document, &setting, start, place, (1, now), limits)
        };
        let mut relays: Vec<RelayHost> = all.map(|relay| host(relay, &mut network)).collect();
        let ends = (0..setting.ends).map(|_| network.add_node()).collect();
        let entry = EntryHost::new(&setting, &document, now, ends, None);
        entry.places.iter().zip(&entry.addresses).for_each(|(place, address)| network.bind(*place, *address));
        let service = setting.service.then(|| {
            let records = Records::default();
            let unshaped = relays.iter_mut().filter_map(RelayHost::unshaped_mut);
            unshaped.for_each(|unshaped| unshaped.records = Some(records.clone()));
            let known = setting.authorised.then(|| AccessSecret::from_bytes([9; 32]).access_key());
            ServiceHost::new(&setting, &document, now, network.add_node(), records, known.as_slice())
        });
        service.iter().for_each(|service| network.bind(service.place, service.address));
        let places = relays.iter().map(|host| host.place).chain(entry.places.clone());
        let places: Vec<_> = places.chain(service.iter().map(|service| service.place)).collect();
        for (number, one) in places.iter().enumerate() {
            places[..number].iter().for_each(|other| network.set_paths(*one, *other, setting.path.clone()));
        }
        let grid = Grid::new(start, SlotLength::DEFAULT);
        Self {
            network,
            entry,
            relays,
            service,
            document,
            setting,
            grid,
            start,
            next_app_step: start + APP_STEP,
            moved: Vec::new(),
            blackholes: BTreeSet::new(),
        }
    }

    /// A world that has run until all legs of its first tunnel are in use.
    ///
    /// # Panics
    /// If they are not within ten seconds.
    pub fn in_use(setting: Setting) -> Self {
        let legs = usize::from(setting.legs);
        let mut world = Self::new(setting);
        let up = world.run_while(IN_USE_WITHIN, |world| world.linked() == legs && world.status().session_up);
        assert!(up, "{:?} {:?}", world.status(), world.entry.events);
        world
    }

    /// Bytes that have come for a flow of the entry's applications.
    pub fn received(&self, flow: usize) -> u64 {
        self.entry.unshaped.outcome(flow).received
    }

    /// Events of the entry of some kind.
    pub fn count_events(&self, is_it: impl Fn(&NodeEvent) -> bool) -> usize {
        self.entry.events.iter().filter(|(_, event)| is_it(event)).count()
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

    /// The same at its other address; at the old one nobody answers any more.
    pub fn restart_elsewhere(&mut self, relay: usize) {
        let host = &mut self.relays[relay];
        host.address = other_address(relay);
        self.network.bind(host.place, host.address);
        self.network.unbind(relay_address(relay));
        self.restart(relay);
    }

    /// The same, but it drops what asks it to be a hop.
    pub fn mute(&mut self, relay: usize) {
        self.restart_with(relay, Limits { handshakes_per_second: 0, ..Limits::default() });
    }

    /// The document of the next interval, with new onion keys of all relays, and without some relays.
    pub fn next_document(&self, gone: &[usize]) -> NetworkDocument {
        self.document_at(Interval(self.document.interval().0 + 1), gone)
    }

    /// The document of this interval without some relays.
    pub fn document_at(&self, interval: Interval, gone: &[usize]) -> NetworkDocument {
        let Setting { relays, exits, hops, addresses, service, .. } = self.setting;
        document_of((relays, exits, hops == 1, service), interval, addresses, Changes { gone, moved: &self.moved })
    }

    /// The entry hears of a document without some relays while the relays go by one that has all, with the same onion keys.
    ///
    /// # Panics
    /// If the entry does not take it.
    pub fn tell_entry_first(&mut self, gone: &[usize]) {
        self.tell_relays(&self.next_document(&[]));
        let document = self.document_at(self.document.interval(), gone);
        self.tell_entry(&document).expect("a later document");
    }

    /// The relays of a document go by it, with the secrets of its interval. Others never hear of it.
    ///
    /// # Panics
    /// If it is not later than the one before.
    pub fn tell_relays(&mut self, document: &NetworkDocument) {
        let now = self.now();
        for (relay, host) in self.relays.iter_mut().enumerate() {
            if document.relay(&node_id(relay)).is_some() {
                let secrets = relay::onion_keys(relay, document.interval());
                host.node.set_document(now, document.clone(), &secrets).expect("a later document");
            }
        }
        self.document = document.clone();
    }

    /// The entry goes by a document.
    ///
    /// # Errors
    /// As the node says.
    pub fn tell_entry(&mut self, document: &NetworkDocument) -> Result<(), DocumentRefused> {
        let now = self.now();
        self.entry.node.set_document(now, NextDocument::new(document.clone()))
    }

    /// Everybody goes by the document of the next interval, without some relays.
    ///
    /// # Panics
    /// If the entry or the service does not take it.
    pub fn exchange(&mut self, gone: &[usize]) {
        let document = self.next_document(gone);
        self.tell_relays(&document);
        self.tell_entry(&document).expect("a later document");
        let now = self.now();
        if let Some(service) = &mut self.service {
            service.node.set_document(now, NextDocument::new(document)).expect("a later document");
        }
    }

    fn restart_with(&mut self, relay: usize, limits: Limits) {
        let (now, old) = (self.now(), &self.relays[relay]);
        let (place, process) = ((old.place, old.address), (old.generation + 1, now));
        self.relays[relay] = RelayHost::new(relay, &self.document, &self.setting, self.start, place, process, limits);
    }

    /// Cuts the entry off, or mends it.
    pub fn set_outage(&mut self, is_cut: bool) {
        (0..self.entry.places.len()).for_each(|end| self.set_end_outage(end, is_cut));
    }

    /// Cuts one of the entry's ends off, or mends it.
    pub fn set_end_outage(&mut self, end: usize, is_cut: bool) {
        let place = self.entry.places[end];
        self.relays.iter().for_each(|host| self.network.set_cut(place, host.place, is_cut));
    }

    /// Nothing gets from one of the entry's ends to one of a relay's addresses, in the order of the document.
    pub fn blackhole(&mut self, end: usize, address: usize) {
        self.blackholes.insert((end, address));
    }

    /// Between two relays, in both directions, so much is lost.
    pub fn set_loss(&mut self, one: usize, other: usize, part: f64) {
        let path = self.setting.path.clone().with_loss(Loss::Independent(part));
        self.network.set_paths(self.relays[one].place, self.relays[other].place, path);
    }

    /// Between the entry and a relay everything is as slow as this from now on, in both directions.
    pub fn slow_down(&mut self, relay: usize, delay: Duration, bits_per_second: u64) {
        let path = Path::with_delay(delay).with_rate(bits_per_second, 256 * 1024);
        self.network.set_paths(self.entry.places[0], self.relays[relay].place, path);
    }

    /// Relays that a packet of the entry's has reached.
    pub fn guards_seen(&self) -> usize {
        let of_entry = self.network.recording().records().iter().filter(|record| record.from == self.entry.address);
        let arrived = of_entry.filter(|record| matches!(record.fate, Fate::Arrives { .. }));
        arrived.map(|record| record.to).collect::<BTreeSet<_>>().len()
    }

    /// The guards of the first tunnel's legs.
    pub fn guards(&self) -> BTreeSet<usize> {
        (0..self.status().legs.len()).filter_map(|leg| self.relay_of(leg, 0)).collect()
    }

    /// What left the entry or a relay so far: when, where to, how long.
    pub fn sent_by(&self, from: SocketAddr) -> Vec<(Duration, SocketAddr, usize)> {
        let records = self.network.recording().records().iter().filter(|record| record.from == from);
        records.map(|record| (record.at, record.to, record.length)).collect()
    }

    /// Pays for releases of both directions, as the entry's ledger does: `epochs` of the setting's length from the present one
    /// on. What the exit gets travels in the session.
    pub fn pay(&mut self, epochs: u16) {
        if let Some(grant) = grant_of(&self.setting.pacing, self.now().unix_s, epochs) {
            self.entry.node.grant_own(grant);
            self.entry.node.grant_other(grant);
        }
    }

    /// Another process of the entry, with the guards' file of the old one.
    pub fn restart_entry(&mut self, seed: u64) {
        let setting = Setting { seed, ..self.setting.clone() };
        let (now, places, guards) = (self.now(), self.entry.places.clone(), self.entry.guards.take());
        self.entry = EntryHost::new(&setting, &self.document, now, places, guards);
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
        self.relays.iter_mut().for_each(RelayHost::touch);
        self.entry.touch();
        self.service.iter_mut().for_each(ServiceHost::touch);
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
        if let Some(end) = self.entry.places.iter().position(|place| *place == packet.node) {
            let route = Route { via: Via(end as u32), from: None, to: packet.from };
            self.entry.touch();
            self.entry.node.handle_packet(now, route, false, &mut packet.bytes);
            self.entry.node.settle(now);
        } else if let Some(service) = self.service.as_mut().filter(|service| service.place == packet.node) {
            service.handle_packet(now, packet.from, &mut packet.bytes);
        } else if let Some(host) = self.relays.iter_mut().find(|host| host.place == packet.node) {
            let at = (self.setting.addresses > 1).then(|| packet.to.ip());
            let end = self.entry.addresses.iter().position(|address| *address == packet.from);
            let address = usize::from(packet.to != host.address);
            if end.is_some_and(|end| self.blackholes.contains(&(end, address))) {
                return;
            }
            let route = Route { via: Via::DOOR, from: at, to: packet.from };
            host.handle_packet(now, route, &mut packet.bytes, &mut self.network);
        }
    }

    /// Directories behind exits are not reached, or are again.
    pub fn set_directories_away(&mut self, are_away: bool) {
        let exits = self.relays.iter_mut().filter_map(RelayHost::unshaped_mut);
        exits.for_each(|unshaped| unshaped.is_directory_away = are_away);
    }

    /// A relay by its name.
    pub fn number_of(&self, name: &str) -> Option<usize> {
        (0..self.relays.len()).find(|relay| node_id(*relay).to_string() == name)
    }

    /// The guards that the service has links to.
    ///
    /// # Panics
    /// In a world without a service.
    pub fn service_guards(&self) -> BTreeSet<usize> {
        let links = self.service().node.status().node.links;
        links.iter().filter(|link| link.up).filter_map(|link| self.number_of(&link.peer)).collect()
    }

    /// The service.
    ///
    /// # Panics
    /// In a world without one.
    pub fn service(&self) -> &ServiceHost {
        self.service.as_ref().expect("a world with a service")
    }

    /// The present time.
    pub fn now(&self) -> Now {
        let instant = self.network.now();
        Now { instant, unix_s: UNIX_START_S + instant.saturating_duration_since(self.start).as_secs() }
    }

    fn deadlines(&mut self) -> Vec<Option<Instant>> {
        let now = self.now();
        let relays: Vec<_> = self.relays.iter().map(|host| host.poll_timeout(now)).collect();
        let service = self.service.as_mut().map(|service| service.poll_timeout(now, &self.grid));
        [vec![self.entry.poll_timeout(now, &self.grid)], relays, service.into_iter().collect()].concat()
    }

    /// Does everything that is due now.
    fn act(&mut self) {
        let now = self.now();
        if self.next_app_step <= now.instant {
            self.next_app_step += APP_STEP;
            let exits = self.relays.iter_mut().filter_map(|host| host.unshaped_mut());
            let servers = self.service.iter_mut().map(|service| &mut service.servers);
            for unshaped in exits.chain([&mut self.entry.unshaped]).chain(servers) {
                unshaped.step().unwrap_or_else(|fault| panic!("the shaped side broke the protocol: {fault}"));
            }
        }
        self.entry.act(now, &self.grid, &mut self.network);
        for host in &mut self.relays {
            host.act(now, &mut self.network);
        }
        if let Some(service) = &mut self.service {
            service.act(now, &self.grid, &mut self.network);
        }
    }
}
