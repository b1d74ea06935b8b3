//! The way of a flow to a server with a key. What happens when is the core's business
//! ([`port_hopping::keyed::Client`]): a socket for each way, a knock on it, and the packets move when it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::HopKey;
use os_net::datagram::{Departing, Train};
use port_hopping::SocketId;
use port_hopping::causes::Timers;
use port_hopping::initiator::SocketFailure;
use port_hopping::keyed::{Client as Core, ClientConfig, ClientOutput, FromServer, KNOCK_LEN_MAX, WINDOW};
use port_hopping::targets::Targets;

use super::peers::Family;
use super::{Client, Flow, Route};
use crate::backlog::Backlog;
use crate::counters::Direction;
use crate::engine::Moment;
use crate::table::Key;

/// Rounds of opening, knocking and closing for one flow in one turn; the core needs two.
const ROUNDS_MAX: usize = 16;
/// A flow that hears nothing for so long, though it has something to send, goes to another server if there is one, and
/// to other addresses if its server has got some.
const LOST_AFTER: Duration = Duration::from_secs(4);
/// Knocks without an answer that speak against a server.
const UNANSWERED_MIN: u32 = 4;
/// The shortest wait until a flow is looked at again.
const LOOK_GAP: Duration = Duration::from_millis(2);

/// The state of a flow's way.
#[derive(Debug)]
pub(super) struct KeyedRoute {
    core: Core,
    targets: Arc<Targets>,
    /// The sockets that the core knows, at most eight.
    sockets: Vec<(SocketId, Key, SocketAddr)>,
    present: Option<(Key, SocketAddr)>,
    /// What the program sent before there was a way.
    pub(super) pending: Backlog,
    /// Something was to be sent since the last thing came.
    waiting_since: Option<Instant>,
    /// Knocks since then: programs that only send are not answered, a server that is there answers knocks.
    unanswered: u32,
}

impl KeyedRoute {
    pub(super) fn new(now: Instant, key: HopKey, targets: Arc<Targets>, timers: Timers, seed: [u8; 32]) -> Self {
        let core = Core::new(now, ClientConfig { key, targets: Arc::clone(&targets), timers, seed });
        Self {
            core,
            targets,
            sockets: Vec::new(),
            present: None,
            pending: Backlog::default(),
            waiting_since: None,
            unanswered: 0,
        }
    }

    pub(super) fn way(&self) -> Option<(Key, SocketAddr)> {
        self.present
    }

    pub(super) fn wires(&self) -> impl Iterator<Item = Key> {
        self.sockets.iter().map(|(_, wire, _)| *wire)
    }

    /// Notes what was sent.
    pub(super) fn note_sent(&mut self, now: Instant, datagrams: u64, bytes: u64) {
        self.core.handle_sent(now, datagrams, bytes);
        self.waiting_since.get_or_insert(now);
    }

    /// Keeps what cannot be sent; returns how many datagrams had to go for it.
    pub(super) fn keep(&mut self, now: Instant, departing: &Departing<'_>) -> u64 {
        self.waiting_since.get_or_insert(now);
        self.pending.push(departing)
    }

    pub(super) fn note_heard(&mut self) {
        (self.waiting_since, self.unanswered) = (None, 0);
    }

    /// The system refused to send on the way in use.
    pub(super) fn refused(&mut self, now: Instant) {
        let present = self.present.map(|(wire, _)| wire);
        let id = self.sockets.iter().find(|(_, wire, _)| Some(*wire) == present).map(|(id, _, _)| *id);
        if let Some(id) = id {
            self.core.handle_socket_failed(now, id, SocketFailure::CannotSend);
        }
    }

    /// When to look again.
    pub(super) fn wake_at(&self, moment: Moment) -> Instant {
        let lost_at = self.waiting_since.map(|since| since + LOST_AFTER).filter(|at| *at > moment.now);
        let core = self.core.poll_timeout().max(moment.now + LOOK_GAP);
        lost_at.map_or(core, |at| core.min(at))
    }

    /// The places that are held for blocked.
    pub(super) fn blocked(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, Duration)> {
        self.core.blocked().iter(now)
    }

    fn wire(&self, id: SocketId) -> Option<(Key, SocketAddr)> {
        self.sockets.iter().find(|(known, _, _)| *known == id).map(|(_, wire, to)| (*wire, *to))
    }

    fn is_lost(&self, now: Instant) -> bool {
        let waited = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.unanswered >= UNANSWERED_MIN && waited >= LOST_AFTER
    }
}

fn keyed(flow: Option<&mut Flow>) -> Option<&mut KeyedRoute> {
    match &mut flow?.route {
        Route::Keyed(route) => Some(route),
        Route::Keyless(_) => None,
    }
}

impl Client {
    /// Does what is due for a flow.
    pub(super) fn tend_keyed(&mut self, key: Key, moment: Moment) {
        self.leave_lost_server(key, moment);
        let Some(route) = keyed(self.flows.get_mut(key)) else { return };
        route.core.handle_timeout(moment.now, moment.unix);
        self.drain_core(key, moment);
    }

    /// Opens, moves, closes and knocks as the core says.
    fn drain_core(&mut self, key: Key, moment: Moment) {
        for _ in 0..ROUNDS_MAX {
            let mut idle = true;
            while let Some(output) = keyed(self.flows.get_mut(key)).and_then(|route| route.core.poll_output()) {
                idle = false;
                self.do_output(key, output, moment);
            }
            while let Some((id, knock)) =
                keyed(self.flows.get_mut(key)).and_then(|route| route.core.poll_knock(moment.now, moment.unix))
            {
                idle = false;
                self.send_knock(key, id, &knock, moment);
            }
            if idle {
                return;
            }
        }
    }

    fn do_output(&mut self, key: Key, output: ClientOutput, moment: Moment) {
        match output {
            ClientOutput::Open { id, remote, local_port } => {
                let family = if remote.is_ipv4() { Family::V4 } else { Family::V6 };
                let wire = self.open_wire(key, family, local_port);
                let local = wire.and_then(|wire| self.wires.get(wire)?.outlet.socket().local_addr().ok());
                let Some(route) = keyed(self.flows.get_mut(key)) else { return };
                match (wire, local) {
                    (Some(wire), Some(local)) => {
                        route.sockets.push((id, wire, remote));
                        route.core.handle_opened(moment.now, id, local);
                    }
                    _ => route.core.handle_socket_failed(moment.now, id, SocketFailure::CannotOpen),
                }
            }
            ClientOutput::Switch { id, cause } => {
                let Some(route) = keyed(self.flows.get_mut(key)) else { return };
                let Some((wire, to)) = route.wire(id) else { return };
                let first = route.present.replace((wire, to)).is_none();
                route.pending.aim(to);
                let mut pending = std::mem::take(&mut route.pending);
                let cause = cause.filter(|_| !first);
                if let Some(cause) = cause {
                    *self.counters.hops.entry(cause).or_default() += 1;
                }
                if let Some(flow) = self.flows.get_mut(key) {
                    flow.stay.begin(moment.now, cause);
                }
                if let Some(wire) = self.wires.get_mut(wire) {
                    wire.outlet.adopt(&self.poller, &mut pending, &mut self.counters.up);
                }
            }
            ClientOutput::Close { id } => {
                let Some(route) = keyed(self.flows.get_mut(key)) else { return };
                let Some((closed, _)) = route.wire(id) else { return };
                route.sockets.retain(|(known, _, _)| *known != id);
                if route.present.is_some_and(|(wire, _)| wire == closed) {
                    route.present = None;
                }
                self.close_wire(closed);
            }
        }
    }

    /// Sends a knock, which is nobody's traffic.
    fn send_knock(&mut self, key: Key, id: SocketId, knock: &[u8], moment: Moment) {
        let way = keyed(self.flows.get_mut(key)).and_then(|route| route.wire(id));
        let Some((wire, to)) = way else { return };
        let Some(wire) = self.wires.get_mut(wire) else { return };
        let departing = Departing { to: Some(to), from: None, train: Train::new(knock, 0, 0) };
        let refusal = wire.outlet.send(&self.poller, &[departing], &mut Direction::default());
        self.counters.knocks += 1;
        let Some(route) = keyed(self.flows.get_mut(key)) else { return };
        route.unanswered += 1;
        if let Some(errno) = refusal {
            self.counters.up.refuse(errno, 0);
            route.core.handle_socket_failed(moment.now, id, SocketFailure::CannotSend);
        }
    }

    /// Takes the answers to knocks out of a train; what is left is the program's.
    pub(super) fn take_answers<'a>(
        &mut self,
        key: Key,
        wire: Key,
        train: Train<'a>,
        moment: Moment,
        mut give: impl FnMut(Train<'a>),
    ) {
        let Some(route) = keyed(self.flows.get_mut(key)) else {
            give(train);
            return;
        };
        let Some(id) = route.sockets.iter().find(|(_, known, _)| *known == wire).map(|(id, _, _)| *id) else { return };
        route.note_heard();
        let core = &mut route.core;
        let mut answered = false;
        // Longer ones are no answers, so one look is enough for all that are as long.
        let segment = train.segment_bytes();
        let long = if segment > KNOCK_LEN_MAX { train.bytes().len() / segment } else { 0 };
        if let Some(bytes) = train.bytes().get(..long * segment).filter(|bytes| !bytes.is_empty()) {
            core.handle_long_datagrams(moment.now, id, long as u64, bytes.len() as u64);
            give(Train::new(bytes, segment, train.traffic_class()));
        }
        let rest = train.without_first(long).filter(|_| long < train.datagrams());
        for datagram in rest.iter().flat_map(Train::iter) {
            match core.handle_datagram(moment.now, moment.unix, id, datagram) {
                FromServer::Program => give(Train::new(datagram, 0, train.traffic_class())),
                FromServer::Answer => answered = true,
            }
        }
        if answered {
            let apart = Duration::from_millis(core.clock_error_ms().unsigned_abs());
            self.say_clock(apart);
            self.tend(key, moment);
        }
    }

    /// Goes to another server, or to the addresses that the server has got, when nothing is heard.
    fn leave_lost_server(&mut self, key: Key, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let server = flow.server;
        let Some(route) = keyed(Some(flow)).filter(|route| route.is_lost(moment.now)) else { return };
        // Not again before the next one has had as long.
        (route.waiting_since, route.unanswered) = (Some(moment.now), 0);
        let known = Arc::clone(&route.targets);
        self.peers.pass_over(server, moment.now);
        let server = self.peers.best_server(moment.now);
        let (Some(targets), Some(hop_key)) = (self.peers.targets(server), self.common.key.clone()) else { return };
        if *targets == *known {
            return;
        }
        let Some(seed) = self.draw_seed() else { return };
        let Some(flow) = self.flows.get_mut(key) else { return };
        flow.server = server;
        let mut fresh = KeyedRoute::new(moment.now, hop_key, targets, self.hop_timers, seed);
        fresh.waiting_since = Some(moment.now);
        let Some(route) = keyed(Some(flow)) else { return };
        std::mem::swap(&mut fresh.pending, &mut route.pending);
        let old = std::mem::replace(route, fresh);
        for wire in old.wires() {
            self.close_wire(wire);
        }
    }

    /// Says once that the two clocks differ by so much that ports are found by luck.
    fn say_clock(&mut self, apart: Duration) {
        if apart > WINDOW / 2 && !std::mem::replace(&mut self.clock_said, true) {
            tracing::warn!(
                seconds = apart.as_secs(),
                "the clocks of the two ends differ; beyond a window of 30 s no port is found, so set them"
            );
        }
    }
}
