//! The two ends, their sockets and their slots.

use crate::network::{Network, Rules};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use port_hopping::detector::{Delivery, Direction, Pace};
use port_hopping::initiator::{Initiator, InitiatorConfig, InitiatorOutput, SOCKETS_MAX};
use port_hopping::interval::Interval;
use port_hopping::responder::{Responder, ResponderOutput};
use port_hopping::targets::{TargetAddress, Targets};
use port_hopping::{HopSecret, Pair, SocketId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A slot, in which each end sends one packet.
const SLOT: Duration = Duration::from_millis(5);
/// The clock of the model.
const TICK: Duration = Duration::from_millis(1);
/// Time between two reports of what came.
const REPORT: Duration = Duration::from_millis(100);
const DOOR: u16 = 443;
const RESPONDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const INITIATOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Initiator,
    Responder,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) rtt: Duration,
    pub(crate) hop_every: Duration,
    pub(crate) rules: Rules,
    /// Every so many-th port that the responder wants is taken by another program; 0 for none.
    pub(crate) ports_in_use: u16,
    /// Whether the detector is told what was sent and what came.
    pub(crate) reports: bool,
    /// A planted fault: the initiator's shell closes a socket when it is left.
    pub(crate) close_at_once: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let (rtt, hop_every) = (Duration::from_millis(40), Duration::from_secs(30));
        let (rules, ports_in_use) = (Rules::default(), 0);
        Self { seed: 0, rtt, hop_every, rules, ports_in_use, reports: true, close_at_once: false }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) data_sent: u64,
    pub(crate) data_received: u64,
    pub(crate) data_lost: u64,
    pub(crate) in_flight: u64,
    /// Of any kind.
    pub(crate) lost: u64,
    pub(crate) probes: u64,
    /// Data that came to a socket that was not open any more.
    pub(crate) came_to_closed: u64,
    pub(crate) through_door: u64,
    received: [u64; 2],
}

impl Told {
    pub(crate) fn received_by(&self, end: End) -> u64 {
        self.received[end as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Probe,
    Answer,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    to: End,
    kind: Kind,
    index: u64,
    counter: u64,
    /// Ports on the wire.
    wire: (u16, u16),
    sent_on: SocketId,
    sent_at: Duration,
}

pub(crate) struct Run {
    pub(crate) network: Network,
    settings: Settings,
    origin: Instant,
    time: Duration,
    jumped: [Duration; 2],
    initiator: Initiator,
    responder: Responder,
    targets: Arc<Targets>,
    /// The initiator's sockets: local port and remote.
    sockets: BTreeMap<SocketId, (u16, SocketAddr)>,
    next_port: u16,
    open_ports: BTreeSet<u16>,
    on_the_way: BTreeMap<(Duration, u64), Packet>,
    counter: u64,
    newest: u64,
    switched_to: u64,
    told: Told,
    /// What became of the initiator's newest packets: when sent, on what, whether it came.
    fates: VecDeque<(Duration, SocketId, bool)>,
    reported_until: Duration,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    pub(crate) fn new(settings: Settings) -> Self {
        let origin = Instant::now();
        let ports: port_hopping::ports::PortSet = "20000-50000".parse().expect("ports of the model");
        let targets = Targets::new(vec![TargetAddress::One(RESPONDER)], ports.clone()).expect("one address");
        let targets = Arc::new(targets);
        let secret = HopSecret::of_link(&[u8::try_from(settings.seed % 251).expect("small"); 16]);
        let interval = Interval::new(settings.hop_every * 9 / 10, settings.hop_every).expect("in order");
        let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&settings.seed.to_be_bytes());
        let config = InitiatorConfig {
            secret: secret.clone(),
            targets: targets.clone(),
            door: (RESPONDER, DOOR).into(),
            rtt: settings.rtt,
            timers: Timers::below_floor(interval, budget, UnsafeTimers),
            seed,
        };
        let (initiator, door) = Initiator::new(origin, config);
        let mut network = Network::new(settings.rules.clone(), settings.seed);
        let wire = network.translate_out(999, DOOR);
        let pair = Pair { local: (RESPONDER, DOOR).into(), remote: (INITIATOR, wire).into() };
        let mut run = Self {
            responder: Responder::new(origin, secret, ports, settings.rtt, pair),
            network,
            origin,
            time: Duration::ZERO,
            jumped: [Duration::ZERO; 2],
            initiator,
            targets,
            sockets: BTreeMap::from([(door, (999, (RESPONDER, DOOR).into()))]),
            next_port: 1_024,
            open_ports: BTreeSet::from([DOOR]),
            on_the_way: BTreeMap::new(),
            counter: 0,
            newest: 0,
            switched_to: 0,
            told: Told::default(),
            fates: VecDeque::new(),
            reported_until: Duration::ZERO,
            settings,
        };
        run.drain();
        run
    }

    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    pub(crate) fn told(&self) -> Told {
        let in_flight = self.on_the_way.values().filter(|packet| packet.kind == Kind::Data).count();
        Told { in_flight: u64::try_from(in_flight).expect("small"), ..self.told }
    }

    pub(crate) fn initiator_index(&self) -> u64 {
        self.initiator.index()
    }

    pub(crate) fn initiator_remote(&self) -> SocketAddr {
        self.sockets[&self.initiator.present()].1
    }

    /// Where the next step would go.
    pub(crate) fn candidates(&self) -> Vec<SocketAddr> {
        let secret = HopSecret::of_link(&[u8::try_from(self.settings.seed % 251).expect("small"); 16]);
        self.targets.candidates(&secret, self.initiator.index() + 1)
    }

    pub(crate) fn hop(&mut self) {
        self.initiator.hop(self.now(End::Initiator));
        self.drain();
    }

    /// The clock of one end leaps forward, as after a sleep.
    pub(crate) fn jump(&mut self, end: End, by: Duration) {
        self.jumped[end as usize] += by;
    }

    pub(crate) fn for_time(&mut self, time: Duration) {
        let until = self.time + time;
        while self.time < until {
            self.tick();
        }
    }

    /// Until the responder has followed to this index.
    pub(crate) fn until_index(&mut self, index: u64, at_most: Duration) {
        let until = self.time + at_most;
        while self.initiator.index() < index {
            assert!(self.time < until, "index {} after {at_most:?}: {:?}", self.initiator.index(), self.told);
            self.tick();
        }
    }

    fn now(&self, end: End) -> Instant {
        self.origin + self.time + self.jumped[end as usize]
    }

    fn tick(&mut self) {
        self.time += TICK;
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= self.time) {
            let packet = entry.remove();
            self.arrive(packet);
        }
        let now = self.now(End::Initiator);
        if self.initiator.poll_timeout().is_some_and(|at| now >= at) {
            self.initiator.handle_timeout(now);
            assert!(self.initiator.poll_timeout().is_none_or(|at| at > now), "what is due is done");
        }
        let now = self.now(End::Responder);
        if self.responder.poll_timeout().is_some_and(|at| now >= at) {
            self.responder.handle_timeout(now);
            assert!(self.responder.poll_timeout().is_none_or(|at| at > now), "what is due is done");
        }
        self.drain();
        if self.time.as_millis().is_multiple_of(SLOT.as_millis()) {
            self.slot_of_initiator();
            self.slot_of_responder();
        }
        if self.settings.reports && self.time.as_millis().is_multiple_of(REPORT.as_millis()) {
            self.report();
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.initiator.sockets().count() <= SOCKETS_MAX, "the initiator's sockets");
        assert!(self.sockets.len() <= SOCKETS_MAX, "the initiator's shell: {:?}", self.sockets);
        assert!(self.responder.open_ports().count() <= SOCKETS_MAX, "the responder's ports");
        assert!(self.open_ports.len() <= SOCKETS_MAX + 1, "the responder's shell");
        let (ahead, behind) = (self.initiator.index(), self.responder.index());
        assert!(ahead == behind || ahead == behind + 1, "index {ahead} against {behind}");
    }

    fn drain(&mut self) {
        let now = self.now(End::Initiator);
        while let Some(output) = self.initiator.poll_output() {
            match output {
                InitiatorOutput::Open { id, remote, local_port } => {
                    let port = local_port.unwrap_or(self.next_port);
                    if self.sockets.values().any(|(taken, _)| *taken == port) {
                        self.initiator.handle_open_failed(now, id);
                        continue;
                    }
                    self.next_port = self.next_port.wrapping_add(1).max(1_024);
                    self.sockets.insert(id, (port, remote));
                    self.initiator.handle_opened(now, id, (INITIATOR, port).into());
                }
                InitiatorOutput::Close { id } => {
                    self.sockets.remove(&id);
                }
                InitiatorOutput::Switch { id, index, .. } => {
                    let step = index - self.switched_to;
                    assert!(step <= 1, "the index rises by one or stays");
                    self.switched_to = index;
                    if self.settings.close_at_once {
                        self.sockets.retain(|socket, _| *socket == id);
                    }
                }
                InitiatorOutput::ThroughDoor { .. } => self.told.through_door += 1,
            }
        }
        let now = self.now(End::Responder);
        while let Some(output) = self.responder.poll_output() {
            match output {
                ResponderOutput::Open { port } => {
                    if self.settings.ports_in_use > 0 && port.is_multiple_of(self.settings.ports_in_use) {
                        self.responder.handle_open_failed(now, port);
                    } else {
                        self.open_ports.insert(port);
                    }
                }
                ResponderOutput::Close { port } => {
                    self.open_ports.remove(&port);
                }
                ResponderOutput::Switch { .. } => {}
            }
        }
    }

    fn slot_of_initiator(&mut self) {
        let now = self.now(End::Initiator);
        let (kind, id, index) = match self.initiator.poll_probe(now) {
            Some(probe) => (Kind::Probe, probe.id, probe.index),
            None => (Kind::Data, self.initiator.present(), self.initiator.index()),
        };
        let Some(&(port, remote)) = self.sockets.get(&id) else { return };
        if kind == Kind::Data && self.settings.reports {
            self.initiator.handle_sent(now, 1);
        }
        let wire = (self.network.translate_out(port, remote.port()), remote.port());
        self.send(End::Responder, kind, index, wire, id);
    }

    fn slot_of_responder(&mut self) {
        let (kind, pair, index) = match self.responder.poll_answer() {
            Some(answer) => (Kind::Answer, answer.pair, answer.index),
            None => (Kind::Data, self.responder.present(), self.responder.index()),
        };
        let wire = (pair.remote.port(), pair.local.port());
        self.send(End::Initiator, kind, index, wire, self.initiator.present());
    }

    fn send(&mut self, to: End, kind: Kind, index: u64, wire: (u16, u16), sent_on: SocketId) {
        self.counter += 1;
        match kind {
            Kind::Data => self.told.data_sent += 1,
            Kind::Probe => self.told.probes += 1,
            Kind::Answer => {}
        }
        let packet = Packet { to, kind, index, counter: self.counter, wire, sent_on, sent_at: self.time };
        match self.network.carry(self.time, to, wire) {
            Some(late) => {
                let at = self.time + self.settings.rtt / 2 + late;
                self.on_the_way.insert((at, self.counter), packet);
            }
            None => self.lose(packet),
        }
    }

    fn lose(&mut self, packet: Packet) {
        self.told.lost += 1;
        self.told.data_lost += u64::from(packet.kind == Kind::Data);
        self.note_fate(packet, false);
    }

    fn note_fate(&mut self, packet: Packet, came: bool) {
        if packet.to == End::Responder && packet.kind == Kind::Data {
            self.fates.push_back((packet.sent_at, packet.sent_on, came));
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet.to {
            End::Responder => self.arrive_at_responder(packet),
            End::Initiator => self.arrive_at_initiator(packet),
        }
        self.drain();
    }

    fn arrive_at_responder(&mut self, packet: Packet) {
        let now = self.now(End::Responder);
        if !self.open_ports.contains(&packet.wire.1) {
            self.told.came_to_closed += u64::from(packet.kind == Kind::Data);
            return self.note_fate(packet, false);
        }
        let pair = Pair { local: (RESPONDER, packet.wire.1).into(), remote: (INITIATOR, packet.wire.0).into() };
        let newest = packet.counter > self.newest;
        self.newest = self.newest.max(packet.counter);
        if packet.kind == Kind::Probe {
            self.responder.handle_probe(pair, packet.index);
        } else {
            self.receive(packet);
            self.responder.handle_packet(now, pair, packet.index, newest);
        }
    }

    fn arrive_at_initiator(&mut self, packet: Packet) {
        let now = self.now(End::Initiator);
        let Some(inner) = self.network.translate_in(packet.wire.0, packet.wire.1) else { return self.lose(packet) };
        let to = self.sockets.iter().find(|(_, (port, remote))| (*port, remote.port()) == (inner, packet.wire.1));
        let Some((&id, _)) = to else {
            self.told.came_to_closed += u64::from(packet.kind == Kind::Data);
            return;
        };
        if packet.kind == Kind::Data {
            self.receive(packet);
        }
        self.initiator.handle_packet(now, id, packet.index);
    }

    fn receive(&mut self, packet: Packet) {
        self.told.data_received += 1;
        self.told.received[packet.to as usize] += 1;
        self.note_fate(packet, true);
    }

    /// Tells the initiator what became of its packets of a round trip ago, those of the present pair alone.
    fn report(&mut self) {
        let until = self.time.saturating_sub(self.settings.rtt + Duration::from_millis(25));
        let span = until.saturating_sub(self.reported_until);
        let present = self.initiator.present();
        let (mut sent, mut received, mut later) = (0, 0, VecDeque::new());
        for (at, socket, came) in self.fates.drain(..) {
            if at >= until {
                later.push_back((at, socket, came));
            } else if socket == present {
                sent += 1;
                received += u64::from(came);
            }
        }
        self.fates = later;
        self.reported_until = until;
        // A stretch in which the pair changed says little, and is left out.
        let whole = u64::try_from(span.as_millis() / SLOT.as_millis()).expect("small");
        if sent + 2 >= whole && sent > 0 {
            let delivery = Delivery { span, sent, received, pace: Pace::Schedule };
            let now = self.now(End::Initiator);
            self.initiator.handle_rtt(self.settings.rtt);
            self.initiator.handle_delivery(now, Direction::Out, delivery);
            self.drain();
        }
    }
}
