//! Errands over real relays, on virtual time.

use super::*;
use crate::circuits::CircuitsConfig;
use crate::node::{NodeConfig, Side};
use crate::queues::{FlowQueues, QueueFault};
use crate::{Mode, NextDocument, PacingConfig, PoolConfig, ShapedNode};
use bytes::Bytes;
use identity::{DoorKey, LinkSecret, NodeSecret, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, OnionKeyFile, Roles};
use onion::{Cookie, Interval, ServiceKey};
use relay_node::{Came, Limits, RelayNode, RelayNodeConfig};
use session::CongestionControl;
use shaping::{RateClass, SlotLength};
use std::net::SocketAddr;
use tunnel_plan::{Guards, PathRules};
use wire::local::{LocalMessage, QueueRef};
use wire::packet::PacketSize;

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(5);
const RELAYS: usize = 8;
const OWN: ([u8; 4], u16) = ([198, 51, 100, 7], 40_000);

/// A node without flows.
enum NoQueues {}

impl FlowQueues for NoQueues {
    fn queue_count(&self) -> u16 {
        match *self {}
    }
    fn pair_bytes(&self) -> u64 {
        match *self {}
    }
    fn poll_message(&mut self) -> Result<Option<LocalMessage>, QueueFault> {
        match *self {}
    }
    fn send_message(&mut self, _: &LocalMessage) -> Result<(), QueueFault> {
        match *self {}
    }
    fn allocate(&mut self) -> Option<QueueRef> {
        match *self {}
    }
    fn release(&mut self, _: QueueRef) {
        match *self {}
    }
    fn poll_active(&mut self) -> Option<u16> {
        match *self {}
    }
    fn readable(&mut self, _: u16) -> Result<usize, QueueFault> {
        match *self {}
    }
    fn read(&mut self, _: u16, _: usize) -> Result<Bytes, QueueFault> {
        match *self {}
    }
    fn peek(&mut self, _: u16, _: usize) -> Result<Bytes, QueueFault> {
        match *self {}
    }
    fn read_position(&self, _: u16) -> u64 {
        match *self {}
    }
    fn discard(&mut self, _: u16, _: u64) -> Result<(), QueueFault> {
        match *self {}
    }
    fn writable(&mut self, _: u16) -> Result<usize, QueueFault> {
        match *self {}
    }
    fn write(&mut self, _: u16, _: &[u8]) -> Result<usize, QueueFault> {
        match *self {}
    }
    fn write_position(&self, _: u16) -> u64 {
        match *self {}
    }
    fn flush(&mut self) {
        match *self {}
    }
}

fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

fn node_id(relay: usize) -> NodeId {
    NodeSecret::from_seed(secret(relay)).node_id()
}

fn address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 1], 4433))
}

fn keys(relay: usize) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    for interval in 5..=6 {
        file.prepare(Interval(interval), secret(relay));
    }
    file
}

/// Relays that are guards and middles; nobody is an exit, so there is no tunnel beside the errands.
fn document(interval: Interval, gone: Option<usize>) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([200; 32]);
    let label = |text: &str| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("test"), PacketSize::DEFAULT, vec![operator.operator_key()], 1).expect("good");
    let describe = |relay: usize| {
        let node = NodeSecret::from_seed(secret(relay));
        let descriptor = Descriptor {
            node_id: node.node_id(),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
            onion_keys: vec![(interval, keys(relay).of(interval).expect("made").onion_key())],
            addresses: vec![address(relay)],
            hop_ports: None,
            roles: Roles { guard: true, middle: true, ..Roles::default() },
            operator: label(&format!("operator-{relay}")),
            bandwidth: RateClass::SLOWEST,
        };
        descriptor.sign(charter.network_id(), &node).expect("a good descriptor")
    };
    let described = (0..RELAYS).filter(|relay| Some(*relay) != gone).map(describe).collect();
    let mut draft = Draft::new(charter.clone(), interval, described).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

struct World {
    now: Now,
    node: ShapedNode<NoQueues>,
    relays: Vec<RelayNode>,
    dead: Vec<usize>,
    /// Ascending: when, from where, to where.
    under_way: std::collections::VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    news: Vec<ErrandNews>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new() -> Self {
        let now = Now { instant: Instant::now(), unix_s: 1_795_521_600 };
        let document = document(Interval(5), None);
        let circuits = CircuitsConfig {
            memory_max: crate::memory::MEMORY_MAX,
            guards: Guards::new(document.network_id(), 2).expect("two"),
            document: document.clone(),
            rules: PathRules::new(3, 2).expect("a tunnel"),
            exit: None,
            near: crate::NearEnd::only(true),
            pool: PoolConfig::default(),
            services: None,
            up: RateClass::SLOWEST,
            down: RateClass::SLOWEST,
        };
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
            session_timeout: Duration::from_secs(30),
            max_flows: 8,
            congestion: CongestionControl::Bbr,
            hops: None,
            seed: [77; 32],
        };
        let relay = |relay: usize| {
            let config = RelayNodeConfig {
                node_id: node_id(relay),
                link_secret: LinkSecret::from_bytes(secret(relay)),
                door_key: DoorKey::from_bytes(secret(relay)),
                hops: None,
                bandwidth: None,
                limits: Limits::default(),
            };
            RelayNode::new(config, document.clone(), &keys(relay), secret(relay)).expect("it is in the document")
        };
        Self {
            now,
            node: ShapedNode::new(config, now, [], Box::new(None)),
            relays: (0..RELAYS).map(relay).collect(),
            dead: Vec::new(),
            under_way: std::collections::VecDeque::new(),
            news: Vec::new(),
        }
    }

    fn circuits(&mut self) -> &mut Circuits {
        self.node.circuits.as_mut().expect("it goes over circuits")
    }

    fn open(&mut self, last: Last, kin: Option<u64>) -> ErrandId {
        let now = self.now;
        let beside = KeepApart { kin, paths: Vec::new() };
        let deadline = now.instant + 30 * SECOND;
        let id = self.circuits().open_errand_beside(now.instant, ErrandOwner::Node, last, beside, deadline);
        self.node.settle(now);
        id.expect("there is room")
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        for packet in bytes.chunks(PacketSize::DEFAULT.packet()) {
            self.under_way.push_back((self.now.instant + DELAY, from, to, packet.to_vec()));
        }
    }

    /// Everything that there is to do at the present time.
    fn act(&mut self) {
        let now = self.now;
        while let Some((_, from, to, mut packet)) = self.under_way.pop_front_if(|(at, ..)| *at <= now.instant) {
            let relay = (0..RELAYS).find(|relay| address(*relay) == to);
            let Some(relay) = relay else {
                self.node.handle_packet(now, from, false, &mut packet);
                continue;
            };
            if !self.dead.contains(&relay)
                && let Came::Send { to } = self.relays[relay].handle_packet(now, from, false, &mut packet)
            {
                self.send(address(relay), to.to, &packet);
            }
        }
        self.node.settle(now);
        self.node.handle_timeout_if_due(now);
        while let Some(news) = self.circuits().poll_errand(now.instant) {
            self.news.push(news);
        }
        let mut out = Vec::new();
        while let Some(route) = self.node.poll_transmit(now, 32, &mut out) {
            self.send(OWN.into(), route.to, &std::mem::take(&mut out));
        }
        for relay in (0..RELAYS).filter(|relay| !self.dead.contains(relay)).collect::<Vec<_>>() {
            if self.relays[relay].poll_timeout(now).is_some_and(|at| at <= now.instant) {
                self.relays[relay].handle_timeout(now);
            }
            while self.relays[relay].poll_event().is_some() {}
            while let Some(route) = self.relays[relay].poll_packet(now, &mut out) {
                self.send(address(relay), route.to, &std::mem::take(&mut out));
            }
        }
    }

    fn run_until(&mut self, most: Duration, is_it: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.instant + most;
        loop {
            self.act();
            if is_it(self) || self.now.instant >= end {
                return is_it(self);
            }
            let now = self.now;
            let alive = (0..RELAYS).filter(|relay| !self.dead.contains(relay));
            let relays = alive.filter_map(|relay| self.relays[relay].poll_timeout(now)).min();
            let next = [relays, self.node.poll_timeout(), self.under_way.front().map(|(at, ..)| *at)];
            let step = now.instant + Duration::from_micros(10);
            let next = next.into_iter().flatten().min().map_or(end, |at| at.max(step)).min(end);
            let passed = next - self.now.instant;
            self.now.instant = next;
            self.now.unix_s += u64::from(passed > SECOND) * passed.as_secs();
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// The relay at which an errand's circuit ends, once it is there.
    fn ready(&mut self, errand: ErrandId) -> NodeId {
        let find = |world: &Self| {
            world.news.iter().find_map(|news| match news {
                ErrandNews::Ready { id, relay } if *id == errand => Some(*relay),
                _ => None,
            })
        };
        assert!(self.run_until(20 * SECOND, |world| find(world).is_some()), "{:?}", self.news);
        find(self).expect("it came")
    }

    fn path(&mut self, errand: ErrandId) -> Vec<NodeId> {
        let (path, _) = self.circuits().errands.all[&errand].stage.way().expect("it has a path");
        path.hops().to_vec()
    }

    fn came(&self, news: &ErrandNews) -> bool {
        self.news.contains(news)
    }

    /// Which of the relays it is.
    fn number(relay: NodeId) -> usize {
        (0..RELAYS).find(|number| node_id(*number) == relay).expect("one of them")
    }
}

fn drawn() -> Last {
    Last::Drawn { avoid: Vec::new() }
}

#[test]
fn two_errands_meet_at_a_relay() {
    let mut world = World::new();
    let waits = world.open(drawn(), None);
    let relay = world.ready(waits);
    let now = world.now.instant;
    let cookie = Cookie([7; 32]);
    world.circuits().errand_mut(waits).expect("ready").establish_rendezvous(now, cookie).expect("it offers it");
    let done = ErrandNews::Event { id: waits, event: CircuitEvent::Done };
    assert!(world.run_until(5 * SECOND, |world| world.came(&done)));
    let comes = world.open(Last::Relay(relay), None);
    assert_eq!(world.ready(comes), relay);
    let now = world.now.instant;
    world.circuits().errand_mut(comes).expect("ready").rendezvous(now, cookie, b"hello").expect("it offers it");
    let answer = ErrandNews::Message { id: waits, message: CircuitMessage::Answer(b"hello".to_vec()) };
    let done = ErrandNews::Event { id: comes, event: CircuitEvent::Done };
    assert!(world.run_until(5 * SECOND, |world| world.came(&answer) && world.came(&done)), "{:?}", world.news);
    // The other end leaves, and what is left can be asked for something else.
    let now = world.now.instant;
    world.circuits().end_errand(now, comes);
    let severed = |news: &ErrandNews| matches!(news, ErrandNews::Event { id, event: CircuitEvent::Severed { .. } } if *id == waits);
    assert!(world.run_until(20 * SECOND, |world| world.news.iter().any(severed)), "{:?}", world.news);
}

#[test]
fn a_circuit_that_waits_for_others_is_kept_alive() {
    let mut world = World::new();
    let point = world.open(drawn(), None);
    let relay = world.ready(point);
    let now = world.now.instant;
    let key = NodeSecret::from_seed([3; 32]);
    let circuit = world.circuits().errand_mut(point).expect("ready");
    let signature = key.sign(&circuit.introduction_proof().expect("it has hops"));
    circuit.establish_introduction(now, ServiceKey(key.node_id().0), &signature).expect("it offers it");
    world.run_for(40 * 60 * SECOND);
    let comes = world.open(Last::Relay(relay), None);
    world.ready(comes);
    let now = world.now.instant;
    let sent =
        world.circuits().errand_mut(comes).expect("ready").introduce(now, ServiceKey(key.node_id().0), b"it is me");
    sent.expect("it offers it");
    let message = ErrandNews::Message { id: point, message: CircuitMessage::Introduction(b"it is me".to_vec()) };
    assert!(world.run_until(5 * SECOND, |world| world.came(&message)), "{:?}", world.news);
    assert!(!world.came(&ErrandNews::Gone { id: point }));
}

#[test]
fn kin_have_no_relay_in_common() {
    let mut world = World::new();
    let two = [world.open(drawn(), Some(9)), world.open(drawn(), Some(9))];
    two.iter().for_each(|errand| {
        world.ready(*errand);
    });
    let all: Vec<NodeId> = two.iter().flat_map(|errand| world.path(*errand)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 6, "{all:?}");
}

#[test]
fn a_dead_last_hop_is_told_and_a_dead_middle_is_gone_around() {
    for place in [1, 2] {
        let mut world = World::new();
        let errand = world.open(drawn(), None);
        let path = world.path(errand);
        world.dead = vec![World::number(path[place])];
        let failed = ErrandNews::Failed { id: errand, relay: Some(path[2]) };
        let ready = |world: &World| world.news.iter().any(|news| matches!(news, ErrandNews::Ready { .. }));
        assert!(world.run_until(20 * SECOND, |world| world.came(&failed) || ready(world)), "{:?}", world.news);
        assert_eq!(world.came(&failed), place == 2, "{:?}", world.news);
        if place == 1 {
            assert!(!world.path(errand).contains(&path[1]));
        }
        assert_eq!(world.circuits().errands.all.len(), 2 - place, "what is over is forgotten");
    }
}

#[test]
fn a_dead_guard_is_replaced_before_the_circuit_is_there_and_its_loss_is_told_after() {
    let mut world = World::new();
    let errand = world.open(drawn(), None);
    let first = world.path(errand)[0];
    world.dead = vec![World::number(first)];
    world.ready(errand);
    let second = world.path(errand)[0];
    assert_ne!(first, second);
    world.dead.push(World::number(second));
    let gone = ErrandNews::Gone { id: errand };
    // A node without flows hears of it from the keep-alive that nobody answers, or from the link.
    assert!(world.run_until(300 * SECOND, |world| world.came(&gone)), "{:?}", world.news);
    assert!(world.circuits().errands.all.is_empty());
}

#[test]
fn a_document_without_one_of_its_relays_ends_it() {
    let mut world = World::new();
    let errands = [world.open(drawn(), None), world.open(drawn(), None)];
    errands.iter().for_each(|errand| {
        world.ready(*errand);
    });
    let last = world.path(errands[0])[2];
    let is_hit = errands.map(|errand| world.path(errand).contains(&last));
    let next = NextDocument::new(document(Interval(6), Some(World::number(last))));
    let now = world.now;
    world.node.set_document(now, next).expect("a later document");
    world.run_for(SECOND);
    for (errand, is_hit) in errands.into_iter().zip(is_hit) {
        assert_eq!(world.came(&ErrandNews::Gone { id: errand }), is_hit);
    }
}

#[test]
fn a_circuit_that_was_taken_out_is_its_owners_and_keeps_its_link() {
    let mut world = World::new();
    let errand = world.open(drawn(), None);
    world.ready(errand);
    let (link, mut circuit, path) = world.circuits().take_errand(errand).expect("it is ready");
    assert_eq!(circuit.path().collect::<Vec<_>>(), path.hops());
    assert!(world.circuits().take_errand(errand).is_none() && world.circuits().errands.all.is_empty());
    world.run_for(5 * SECOND);
    assert!(world.circuits().links().any(|of| *of == link));
    let head = CellHead { circuit: circuit.id(), command: Command::Relay };
    let mut region = vec![0; PacketSize::DEFAULT.region()];
    let now = world.now;
    assert_eq!(world.circuits().handle_cell(now, link, head, &mut region), super::super::Took::Unknown);
    circuit.destroy(now.instant);
    world.circuits().give_back(link, circuit.id());
    assert!(!world.circuits().errands.uses(link));
}

#[test]
fn there_are_only_so_many_and_each_has_its_deadline() {
    let mut world = World::new();
    let nowhere = Last::Relay(NodeId([0; 32]));
    let now = world.now.instant;
    for _ in 0..ERRANDS_MAX {
        world.circuits().open_errand(now, nowhere.clone(), now + 5 * SECOND).expect("there is room");
    }
    assert_eq!(world.circuits().open_errand(now, nowhere.clone(), now + SECOND), Err(ErrandsFull));
    world.run_for(6 * SECOND);
    assert_eq!(world.news.len(), ERRANDS_MAX);
    assert!(world.news.iter().all(|news| matches!(news, ErrandNews::Failed { relay: None, .. })));
    assert!(world.circuits().open_errand(now, nowhere, now + SECOND).is_ok());
}
