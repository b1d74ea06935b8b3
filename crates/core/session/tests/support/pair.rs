//! Two sessions and the path between them, on virtual time.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::print_stdout, reason = "a failing run shows its seed")]

use bytes::Bytes;
use identity::NodeSecret;
use session::{CloseReason, FlowId, Session, SessionConfig, SessionEvent, StreamState};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::flow::{FlowKind, ResetReason, Syn};

/// A moment for virtual time to begin at; its value plays no part.
#[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

pub(crate) const PACKET_MAX: usize = 1222;

pub(crate) fn secret(number: u8) -> NodeSecret {
    NodeSecret::from_seed([number; 32])
}

pub(crate) fn client_config() -> SessionConfig {
    SessionConfig::new(PACKET_MAX, secret(1), secret(2).node_id(), [11; 32])
}

pub(crate) fn server_config() -> SessionConfig {
    SessionConfig::new(PACKET_MAX, secret(2), secret(1).node_id(), [12; 32])
}

pub(crate) fn stream_syn(client: u64) -> Syn {
    syn(FlowKind::Stream, client)
}

pub(crate) fn datagram_syn() -> Syn {
    syn(FlowKind::Datagrams, 1)
}

fn syn(kind: FlowKind, client: u64) -> Syn {
    Syn { kind, client, destination: SocketAddr::from(([192, 0, 2, 80], 80)).into() }
}

/// A small generator of our own (splitmix64): a seed gives the same losses for ever.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    pub(crate) fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}

/// What the path does to packets, the same in both directions.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) delay: Duration,
    pub(crate) loss_per_mille: u64,
    /// Part of the packets that takes `extra_delay` longer and so comes out of order.
    pub(crate) late_per_mille: u64,
    pub(crate) extra_delay: Duration,
    /// Bits per second of the narrowest place; `None`: as wide as can be.
    pub(crate) bits_per_second: Option<u64>,
    /// Bytes that may wait at the narrowest place.
    pub(crate) queue_bytes: u64,
    pub(crate) cut: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            loss_per_mille: 0,
            late_per_mille: 0,
            extra_delay: Duration::ZERO,
            bits_per_second: None,
            queue_bytes: 1 << 20,
            cut: false,
        }
    }
}

/// One end and what its application side has seen.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) events: Vec<SessionEvent>,
    pub(crate) received: BTreeMap<FlowId, Vec<u8>>,
    pub(crate) finished: Vec<FlowId>,
    pub(crate) datagrams: Vec<(FlowId, Bytes)>,
    pub(crate) opened: Vec<FlowId>,
    pub(crate) resets: Vec<(FlowId, ResetReason)>,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) connected: bool,
    /// Read what comes as it comes.
    pub(crate) reads: bool,
    /// Flows that are not read although `reads` is set.
    pub(crate) unread: Vec<FlowId>,
    /// Send back what comes on each flow, and finish when the other end does.
    pub(crate) echo: bool,
    /// Bytes that wait for a flow's window.
    pub(crate) backlog: BTreeMap<FlowId, VecDeque<Bytes>>,
    pub(crate) finish_after: Vec<FlowId>,
    pub(crate) packets_sent: u64,
    /// Polls nothing by itself: the test does it, at its slots.
    pub(crate) slotted: bool,
    /// When the narrowest place of the path has sent what it was given.
    link_free_at: Instant,
}

impl End {
    pub(crate) fn new(session: Session, now: Instant) -> Self {
        Self {
            session,
            events: Vec::new(),
            received: BTreeMap::new(),
            finished: Vec::new(),
            datagrams: Vec::new(),
            opened: Vec::new(),
            resets: Vec::new(),
            closed: None,
            connected: false,
            reads: true,
            unread: Vec::new(),
            echo: false,
            backlog: BTreeMap::new(),
            finish_after: Vec::new(),
            packets_sent: 0,
            slotted: false,
            link_free_at: now,
        }
    }

    /// Queues bytes for a flow; they go in as the window allows.
    pub(crate) fn send(&mut self, flow: FlowId, bytes: impl Into<Bytes>) {
        self.backlog.entry(flow).or_default().push_back(bytes.into());
        self.push(flow);
    }

    /// Finishes when the backlog is gone.
    pub(crate) fn send_and_finish(&mut self, flow: FlowId, bytes: impl Into<Bytes>) {
        self.finish_after.push(flow);
        self.send(flow, bytes);
    }

    pub(crate) fn push(&mut self, flow: FlowId) {
        while let Some(bytes) = self.backlog.get_mut(&flow).and_then(VecDeque::pop_front) {
            let length = bytes.len();
            match self.session.write(flow, bytes.clone()) {
                Ok(taken) if taken < length => {
                    self.backlog.entry(flow).or_default().push_front(bytes.slice(taken..));
                    return;
                }
                Ok(_) => {}
                Err(_) => {
                    self.backlog.remove(&flow);
                    return;
                }
            }
        }
        if self.finish_after.contains(&flow) {
            self.finish_after.retain(|other| *other != flow);
            self.session.finish(flow);
        }
    }

    pub(crate) fn read(&mut self, now: Instant, flow: FlowId) {
        let received = self.received.entry(flow).or_default();
        let before = received.len();
        let outcome = self.session.read(now, flow, usize::MAX, &mut |bytes| received.extend_from_slice(bytes));
        assert_eq!(received.len() - before, outcome.bytes);
        let fresh = received[before..].to_vec();
        if outcome.state == StreamState::Finished && !self.finished.contains(&flow) {
            self.finished.push(flow);
        }
        if self.echo {
            if outcome.state == StreamState::Finished {
                self.finish_after.push(flow);
            }
            self.send(flow, fresh);
        }
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match &event {
                SessionEvent::Connected { .. } => self.connected = true,
                SessionEvent::Closed(reason) => self.closed = Some(reason.clone()),
                SessionEvent::FlowOpened(flow, _) => self.opened.push(*flow),
                SessionEvent::FlowConnected(..) | SessionEvent::Granted(_) => {}
                SessionEvent::Readable(flow) => {
                    if self.reads && !self.unread.contains(flow) {
                        self.read(now, *flow);
                    }
                }
                SessionEvent::Writable(flow) => self.push(*flow),
                SessionEvent::FlowReset(flow, reason) => self.resets.push((*flow, *reason)),
                SessionEvent::Datagram(flow, record) => self.datagrams.push((*flow, record.clone())),
            }
            self.events.push(event);
        }
    }
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Client,
    Server,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) path: Path,
    random: Seeded,
    /// Packets under way, by time of arrival.
    wire: BTreeMap<(Instant, u64), (Who, Vec<u8>)>,
    serial: u64,
    pub(crate) largest_packet: usize,
}

impl Pair {
    pub(crate) fn new(client: SessionConfig, server: SessionConfig, path: Path, seed: u64) -> Self {
        println!("seed {seed}");
        let now = origin();
        let client = Session::client(client, now).expect("a good configuration");
        let server = Session::server(server, now).expect("a good configuration");
        Self {
            now,
            start: now,
            client: End::new(client, now),
            server: End::new(server, now),
            path,
            random: Seeded(seed),
            wire: BTreeMap::new(),
            serial: 0,
            largest_packet: 0,
        }
    }

    /// A pair with the handshake done.
    pub(crate) fn connected(client: SessionConfig, server: SessionConfig, path: Path, seed: u64) -> Self {
        let mut pair = Self::new(client, server, path, seed);
        pair.run_until(Duration::from_secs(20), |pair| pair.client.connected && pair.server.connected);
        assert!(pair.client.connected && pair.server.connected, "the handshake is done");
        pair
    }

    pub(crate) fn usual() -> Self {
        Self::connected(client_config(), server_config(), Path::default(), 1)
    }

    pub(crate) fn end(&mut self, who: Who) -> &mut End {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    /// Sends all that both ends have to send now.
    pub(crate) fn transmit(&mut self) {
        for who in [Who::Client, Who::Server] {
            let mut packet = Vec::new();
            loop {
                packet.clear();
                let now = self.now;
                let end = self.end(who);
                end.settle(now);
                if end.slotted {
                    break;
                }
                let Some(length) = end.session.poll_packet(now, &mut packet) else {
                    assert!(
                        end.session.is_held_back() || end.session.unsent_bytes() == 0 || end.session.is_closed(),
                        "nothing to send, yet {} bytes are unsent",
                        end.session.unsent_bytes()
                    );
                    break;
                };
                assert_eq!(length, packet.len());
                assert!(length <= PACKET_MAX, "a packet of {length} bytes");
                self.largest_packet = self.largest_packet.max(length);
                self.end(who).packets_sent += 1;
                self.carry(who, std::mem::take(&mut packet));
            }
        }
    }

    /// Gives a packet of one end to the path.
    pub(crate) fn carry(&mut self, from: Who, packet: Vec<u8>) {
        let path = self.path.clone();
        if path.cut || self.random.per_mille(path.loss_per_mille) {
            return;
        }
        let mut leaves = self.now;
        if let Some(rate) = path.bits_per_second {
            let now = self.now;
            let end = self.end(from);
            let begins = end.link_free_at.max(now);
            let waiting = (begins - now).as_secs_f64() * rate as f64 / 8.0;
            if waiting > path.queue_bytes as f64 {
                return;
            }
            // A cell on the wire is 1350 bytes and 28 of headers, whatever it carries.
            leaves = begins + Duration::from_secs_f64(1378.0 * 8.0 / rate as f64);
            end.link_free_at = leaves;
        }
        let mut arrives = leaves + path.delay;
        if self.random.per_mille(path.late_per_mille) {
            arrives += path.extra_delay;
        }
        let to = if from == Who::Client { Who::Server } else { Who::Client };
        self.serial += 1;
        self.wire.insert((arrives, self.serial), (to, packet));
    }

    /// When something happens next.
    pub(crate) fn next_time(&mut self) -> Option<Instant> {
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        let timers = [self.client.session.poll_timeout(), self.server.session.poll_timeout()];
        timers.into_iter().flatten().chain(arrival).min()
    }

    /// Goes to the next moment at which something happens. False if there is none before `until`.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        self.transmit();
        let Some(next) = self.next_time().filter(|next| *next <= until) else { return false };
        self.now = self.now.max(next);
        let now = self.now;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, packet) = entry.remove();
            let end = self.end(to);
            end.session.handle_packet(now, &packet);
            end.settle(now);
        }
        for end in [&mut self.client, &mut self.server] {
            if end.session.poll_timeout().is_some_and(|at| at <= now) {
                end.session.handle_timeout(now);
            }
            end.settle(now);
        }
        true
    }

    /// Runs until `done` or for that long.
    pub(crate) fn run_until(&mut self, longest: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let until = self.now + longest;
        while !done(self) {
            if !self.step(until) {
                if !done(self) {
                    self.now = until;
                }
                return;
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Delivers bytes that no session made.
    pub(crate) fn inject(&mut self, to: Who, packet: &[u8]) {
        let now = self.now;
        let end = self.end(to);
        end.session.handle_packet(now, packet);
        end.settle(now);
    }

    /// Opens a stream flow and waits until the server has it.
    pub(crate) fn open(&mut self) -> FlowId {
        let flow = self.client.session.open_flow(&stream_syn(7)).expect("room for a flow");
        self.run_until(Duration::from_secs(5), |pair| pair.server.opened.contains(&flow));
        assert!(self.server.opened.contains(&flow));
        flow
    }
}

/// Bytes that differ along a flow, so that a wrong order shows.
pub(crate) fn pattern(length: usize, salt: u64) -> Bytes {
    let mut random = Seeded(salt);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}
