//! The client's side: one flow of a local program, the pair it is on, and how it gets to the next one.

mod counting;
mod knocking;
#[cfg(test)]
mod tests;

use super::knock::{FlowId, KnockKeys, Purpose};
use super::schedule::{PORTS_A_WINDOW, WINDOW, Window};
use crate::causes::{Cause, Countdown, Timers};
use crate::detector::Detector;
use crate::initiator::{SOCKETS_MAX, SocketFailure, drain_time};
use crate::interval::Interval;
use crate::memory::{BlockedPorts, UsedPairs};
use crate::secret::HopSecret;
use crate::source::draw_port_below;
use crate::step::{SocketId, Step, StepState};
use crate::targets::{CANDIDATES, Targets};
use counting::Counting;
use identity::HopKey;
use knocking::{Answered, Knocking, Outstanding};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Round trip that is assumed until an answer has come.
const RTT_FIRST: Duration = Duration::from_millis(200);
/// Round trips above this are taken for this: a step must end before its window does.
const RTT_MAX: Duration = Duration::from_secs(2);
/// Time between a failed step and the next one; doubled with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest time between two steps that fail.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How far into the next window a pair is used at most: its port stays open for 30 s more.
const INTO_NEXT_WINDOW: Duration = Duration::from_secs(20);
/// How far our calendar is believed to be off. More than two windows cannot be: the knock would not have been understood.
const CLOCK_ERROR_MAX_MS: i64 = 65_000;
/// How long no pair is left for unanswered knocks after one that never answered well; doubled up to 64 times as long.
const UNANSWERED_QUIET: Duration = Duration::from_secs(5);
/// Outputs that wait to be taken: what eight sockets can need. The caller takes all after each call.
const OUTPUTS_MAX: usize = 32;

/// What a client begins with.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Shared with the server.
    pub key: HopKey,
    /// The server's addresses, names resolved, and its ports. Flows share them.
    pub targets: Arc<Targets>,
    /// When a pair has lived long enough.
    pub timers: Timers,
    /// From a cryptographic random source, another for each flow.
    pub seed: [u8; 32],
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOutput {
    /// Open a socket towards `remote`; then call `handle_opened` or `handle_socket_failed`.
    Open {
        /// Its name.
        id: SocketId,
        /// Where its packets go.
        remote: SocketAddr,
        /// The port to bind; any port if it is taken, or if there is none here.
        local_port: Option<u16>,
    },
    /// Send the program's packets on this socket from here on. The one before is heard until its close.
    Switch {
        /// Its name.
        id: SocketId,
        /// Why; none for the first.
        cause: Option<Cause>,
    },
    /// Close a socket.
    Close {
        /// Its name.
        id: SocketId,
    },
}

/// What a datagram from the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromServer {
    /// A packet for the local program, to be handed on as it is.
    Program,
    /// The answer to a knock; it has been taken.
    Answer,
}

/// The pairs of one flow.
///
/// After each call take [`Client::poll_output`] until it is empty and [`Client::poll_knock`] until it is empty; call
/// [`Client::handle_timeout`] at [`Client::poll_timeout`]. `unix` is the time since 1970 UTC and may jump; the answers
/// of the server say how far it is off.
#[derive(Debug)]
pub struct Client {
    flow: FlowId,
    keys: KnockKeys,
    secret: HopSecret,
    targets: Arc<Targets>,
    timers: Timers,
    rng: ChaCha20Rng,
    rtt: Duration,
    /// The server's clock minus our calendar, milliseconds.
    clock_error_ms: i64,
    /// The server's clock at an instant of ours, as its last answer said.
    anchor: Option<(Instant, Duration)>,
    next_id: u32,
    present: Option<Present>,
    /// Oldest first.
    old: VecDeque<(SocketId, Instant)>,
    step: Option<Step>,
    outstanding: Outstanding,
    detector: Detector,
    /// Pairs in a row that were left for unanswered knocks and had never answered well, and until when none is left again.
    unanswering: u32,
    quiet_until: Instant,
    used: UsedPairs,
    blocked: BlockedPorts,
    wanted: Option<Cause>,
    failed_steps: u32,
    not_before: Instant,
    outputs: VecDeque<ClientOutput>,
}

#[derive(Debug)]
struct Present {
    id: SocketId,
    remote: SocketAddr,
    since: Instant,
    countdown: Countdown,
    /// By our monotonic clock, the latest time at which the server surely hears this port, less what a step needs.
    leave_at: Instant,
    /// Knocks on the present pair: after a switch, when the server is silent, and to ask for counts.
    knocking: Option<Knocking>,
    counting: Counting,
}

impl Client {
    /// A flow without a pair: the first call of [`Client::handle_timeout`] begins to look for one.
    pub fn new(now: Instant, config: ClientConfig) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        Self {
            flow: FlowId::draw(&mut rng),
            keys: KnockKeys::new(&config.key),
            secret: HopSecret::of_key(&config.key),
            targets: config.targets,
            timers: config.timers,
            rng,
            rtt: RTT_FIRST,
            clock_error_ms: 0,
            anchor: None,
            next_id: 0,
            present: None,
            old: VecDeque::new(),
            step: None,
            outstanding: Outstanding::default(),
            detector: Detector::new(now, RTT_FIRST),
            unanswering: 0,
            quiet_until: now,
            used: UsedPairs::default(),
            blocked: BlockedPorts::default(),
            wanted: None,
            failed_steps: 0,
            not_before: now,
            outputs: VecDeque::new(),
        }
    }

    /// The name of the flow in its knocks.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// The socket that the program's packets go out on, and where they go; `None` while there is none.
    pub fn present(&self) -> Option<(SocketId, SocketAddr)> {
        self.present.as_ref().map(|present| (present.id, present.remote))
    }

    /// How many sockets there are: at most eight.
    pub fn sockets(&self) -> usize {
        let tries = self.step.as_ref().map_or(0, |step| step.tries().len());
        usize::from(self.present.is_some()) + self.old.len() + tries
    }

    /// The ports that are held for blocked.
    pub fn blocked(&self) -> &BlockedPorts {
        &self.blocked
    }

    /// How far the server's clock is ahead of ours, in milliseconds, as its last answer said.
    pub fn clock_error_ms(&self) -> i64 {
        self.clock_error_ms
    }

    /// The round trip, as the answers measure it.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Packets of the program were sent on the present pair, as many bytes in all. Those that the system refused or had no
    /// room for are none of them.
    pub fn handle_sent(&mut self, now: Instant, packets: u64, bytes: u64) {
        self.detector.handle_sent(now, packets);
        if let Some(present) = &mut self.present {
            present.counting.note_sent(packets);
        }
        self.handle_bytes(now, bytes);
    }

    /// A datagram came on a socket. Tells answers from packets of the program.
    pub fn handle_datagram(&mut self, now: Instant, unix: Duration, id: SocketId, datagram: &[u8]) -> FromServer {
        let bytes = u64::try_from(datagram.len()).unwrap_or(u64::MAX);
        match self.outstanding.open_answer(&mut self.keys, id, datagram) {
            None => {
                self.handle_long_datagrams(now, id, 1, bytes);
                FromServer::Program
            }
            Some(answered) => {
                self.handle_heard(now, id, 0, bytes);
                self.handle_answer(now, unix, id, &answered);
                FromServer::Answer
            }
        }
    }

    /// Datagrams came on a socket, as many bytes in all, each longer than [`super::KNOCK_LEN_MAX`]: packets of the program.
    pub fn handle_long_datagrams(&mut self, now: Instant, id: SocketId, packets: u64, bytes: u64) {
        self.handle_heard(now, id, packets, bytes);
    }

    fn handle_heard(&mut self, now: Instant, id: SocketId, packets: u64, bytes: u64) {
        if let Some(present) = self.present.as_mut().filter(|present| present.id == id) {
            present.counting.note_received(packets);
            self.detector.handle_heard(now);
            self.handle_bytes(now, bytes);
        }
    }

    fn handle_answer(&mut self, now: Instant, unix: Duration, id: SocketId, answered: &Answered) {
        self.keys.forget_windows();
        let sample = now.saturating_duration_since(answered.sent_at).min(RTT_MAX);
        self.rtt = if self.rtt == RTT_FIRST { sample } else { (self.rtt * 7 + sample) / 8 };
        self.detector.handle_rtt(self.rtt);
        let server = answered.answer.server_unix + self.rtt / 2;
        self.anchor = Some((now, server));
        let server = i64::try_from(server.as_millis()).unwrap_or(i64::MAX);
        let error = server.saturating_sub(i64::try_from(unix.as_millis()).unwrap_or(i64::MAX));
        if error.abs() <= CLOCK_ERROR_MAX_MS {
            self.clock_error_ms = error;
        }
        if self.step.as_ref().is_some_and(|step| step.find(id).is_some()) {
            self.switch(now, unix, id);
        }
        let Some(present) = self.present.as_mut().filter(|present| present.id == id) else { return };
        let share = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let (counts, packets) = (answered.answer.counts, answered.packets);
        let counted = present.counting.handle_answer(now, packets, counts, self.rtt, share);
        // The answer that the switch waited for is not the one that is knocked for since.
        if answered.sent_at >= present.since {
            present.knocking = None;
        }
        if let Some(delivery) = counted {
            self.detector.handle_delivery(now, delivery);
            // The server answers, so a silence that is found here is of the program's packets alone.
            if let Some(cause) = self.detector.poll_cause(now) {
                self.want(cause);
            }
        }
    }

    /// Command: hop as soon as the limits allow.
    pub fn hop(&mut self) {
        self.want(Cause::OperatorAsked);
    }

    /// The socket that [`ClientOutput::Open`] asked for is there, bound to `local`.
    pub fn handle_opened(&mut self, now: Instant, id: SocketId, local: SocketAddr) {
        let Some(step) = &mut self.step else { return };
        if let Some(remote) = step.handle_opened(now, id) {
            self.used.note_towards(now, remote, local.port());
        }
    }

    /// A socket could not be opened, or a send on it was refused by the system; not for a full buffer.
    pub fn handle_socket_failed(&mut self, now: Instant, id: SocketId, failure: SocketFailure) {
        if self.step.as_mut().is_some_and(|step| step.handle_failed(now, id)) {
            self.outstanding.forget(id);
            if failure == SocketFailure::CannotSend {
                self.push(ClientOutput::Close { id });
            }
        } else if self.present.as_ref().is_some_and(|present| present.id == id) {
            self.want(Cause::SocketFailed);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, unix: Duration) {
        while self.old.front().is_some_and(|(_, until)| now >= *until) {
            if let Some((id, _)) = self.old.pop_front() {
                self.outstanding.forget(id);
                self.push(ClientOutput::Close { id });
            }
        }
        // A program that only sends is not answered: the server itself is asked before anything is done.
        if let (Some(_), Some(present)) = (self.detector.poll_cause(now), &mut self.present) {
            present.knocking.get_or_insert(Knocking::new(now, Purpose::Take));
        }
        self.give_up_knocking(now);
        if let Some(present) = self.present.as_mut().filter(|present| present.knocking.is_none())
            && present.counting.ask_at().is_some_and(|ask_at| now >= ask_at)
        {
            present.knocking = Some(Knocking::new(now, Purpose::Count(present.counting.ask())));
        }
        if self.step.is_none() {
            self.begin_step(now, unix);
        }
        self.drive_step(now);
    }

    /// When [`Client::handle_timeout`] or [`Client::poll_knock`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Instant {
        let knocking = self.present.as_ref().and_then(|present| {
            present.knocking.as_ref().map_or_else(|| present.counting.ask_at(), |knocking| Some(knocking.next_at()))
        });
        let step = match &self.step {
            Some(step) => step.probe_at().map_or(step.poll_timeout(), |probe| probe.min(step.poll_timeout())),
            None => self.step_may_begin_at(),
        };
        let old = self.old.front().map(|(_, until)| *until);
        [knocking, old, self.detector.poll_timeout()].into_iter().flatten().fold(step, Instant::min)
    }

    /// A knock that is due: the socket to send it on, now, and its bytes.
    pub fn poll_knock(&mut self, now: Instant, unix: Duration) -> Option<(SocketId, Vec<u8>)> {
        let rtt = self.rtt;
        let taken = self.present.as_mut().and_then(|present| {
            let purpose = present.knocking.as_mut()?.poll(now, rtt)?;
            present.counting.note_knock();
            Some((present.id, purpose))
        });
        let (id, purpose) = taken.or_else(|| self.step.as_mut()?.poll_probe(now).map(|id| (id, Purpose::Try)))?;
        let (flow, unix) = (self.flow, self.server_time(now, unix));
        let knock = self.keys.seal_knock(unix, super::knock::Knock { flow, purpose }, &mut self.rng);
        self.keys.forget_windows();
        let datagram = knock.datagram.clone();
        let packets = self.present.as_ref().filter(|present| present.id == id);
        let packets = packets.map_or(0, |present| present.counting.sent());
        self.outstanding.note(now, id, packets, knock);
        Some((id, datagram))
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// Leaves a pair on which knocks were not answered. If the one before did not answer either, it is not the pair.
    fn give_up_knocking(&mut self, now: Instant) {
        let given_up = |present: &&mut Present| present.knocking.as_ref().is_some_and(|one| one.given_up(now));
        let Some(present) = self.present.as_mut().filter(given_up) else { return };
        present.knocking = None;
        let answered = present.counting.answered_well();
        if now < self.quiet_until {
            return;
        }
        self.unanswering = if answered { 0 } else { self.unanswering + 1 };
        if let Some(doubled) = self.unanswering.checked_sub(1) {
            self.quiet_until = now + UNANSWERED_QUIET.saturating_mul(1 << doubled.min(6));
        }
        self.want(Cause::Silence);
    }

    /// What the server's clock says: its last answer and the time since, for our calendar may be set. After a step that
    /// failed it is our calendar, for the time since does not count a sleep; and so on in turn.
    fn server_time(&self, now: Instant, unix: Duration) -> Duration {
        if let Some((instant, server)) = self.anchor.filter(|_| self.failed_steps.is_multiple_of(2)) {
            return server.saturating_add(now.saturating_duration_since(instant));
        }
        let off = Duration::from_millis(self.clock_error_ms.unsigned_abs());
        if self.clock_error_ms < 0 { unix.saturating_sub(off) } else { unix.saturating_add(off) }
    }

    fn handle_bytes(&mut self, now: Instant, bytes: u64) {
        let Some(present) = &mut self.present else { return };
        present.countdown.handle_bytes(bytes);
        // Bytes are used up between two timeouts: wanting the hop makes the next one due at once.
        if present.countdown.due(now) == Some(Cause::Bytes) {
            self.want(Cause::Bytes);
        }
    }

    fn want(&mut self, cause: Cause) {
        cause.want(&mut self.wanted);
    }

    fn step_may_begin_at(&self) -> Instant {
        let due_at = match &self.present {
            Some(present) if self.wanted.is_none() => present.countdown.due_at().min(present.leave_at),
            _ => self.not_before,
        };
        let room_at = match self.old.len().checked_sub(SOCKETS_MAX - 1 - usize::from(CANDIDATES)) {
            Some(over @ 1..) => self.old.get(over - 1).map_or(due_at, |(_, until)| *until),
            _ => due_at,
        };
        due_at.max(self.not_before).max(room_at)
    }

    fn begin_step(&mut self, now: Instant, unix: Duration) {
        let cause = match &self.present {
            None => Cause::Interval,
            Some(present) => {
                let due = present.countdown.due(now).or((now >= present.leave_at).then_some(Cause::Interval));
                let Some(cause) = self.wanted.or(due) else { return };
                cause
            }
        };
        self.want(cause);
        if now < self.step_may_begin_at() {
            return;
        }
        self.wanted = None;
        let server = self.server_time(now, unix);
        let mut candidates = self.candidates(server);
        let present = self.present().map(|(_, remote)| remote);
        self.blocked.order(now, &mut candidates);
        candidates.sort_by_key(|place| Some(*place) == present);
        self.step = Some(Step::new(now, self.rtt, cause, Window::at(server).0, candidates));
    }

    /// Both ports of the present window, and the first of the next one. After failed steps those of the other windows
    /// take their turn: the clock may be wrong by more than the server's answers have told.
    fn candidates(&self, server: Duration) -> Vec<SocketAddr> {
        let [before, now, after] = Window::at(server).accepted();
        let windows = match self.failed_steps / 2 % 3 {
            0 => [now, now, after],
            1 => [before, before, now],
            _ => [after, after, now],
        };
        let mut found = Vec::new();
        for (place, attempt) in windows.into_iter().zip([0, 1, 0]) {
            let place = self.targets.place(&self.secret, place.0, attempt);
            if !found.contains(&place) {
                found.push(place);
            }
        }
        found
    }

    fn drive_step(&mut self, now: Instant) {
        loop {
            let Some(step) = &mut self.step else { return };
            match step.poll(now) {
                StepState::Waiting => return,
                StepState::Failed => return self.fail_step(now),
                StepState::Open(remote) => {
                    let id = SocketId(self.next_id);
                    step.push(now, id, remote);
                    self.next_id = self.next_id.wrapping_add(1);
                    let local_port = draw_port_below(now, self.targets.ports(), remote, &self.used, &mut self.rng);
                    self.push(ClientOutput::Open { id, remote, local_port });
                }
            }
        }
    }

    fn fail_step(&mut self, now: Instant) {
        let Some(step) = self.step.take() else { return };
        self.close_tries(&step, None);
        let wait = RETRY_FIRST.saturating_mul(1 << self.failed_steps.min(5)).min(RETRY_MAX);
        self.failed_steps += 1;
        // Clients whose server has come back do not all knock at once.
        let jitter = wait.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX) / 2.0);
        self.not_before = now + wait + jitter;
        self.want(step.cause);
    }

    fn switch(&mut self, now: Instant, unix: Duration, id: SocketId) {
        let Some(step) = self.step.take() else { return };
        let Some(remote) = step.find(id).map(|tried| tried.remote) else { return };
        self.blocked.note_all(now, step.silent_beside(now, id));
        self.close_tries(&step, Some(id));
        self.blocked.forgive(&remote);
        let countdown = Countdown::draw(now, self.timers, &mut self.rng);
        let leave_at = now + self.time_on(remote.port(), self.server_time(now, unix));
        let knocking = Some(Knocking::new(now, Purpose::Take));
        let counting = Counting::new(now);
        let first = self.present.replace(Present { id, remote, since: now, countdown, leave_at, knocking, counting });
        if let Some(before) = &first {
            self.old.push_back((before.id, now + drain_time(self.rtt)));
        }
        self.detector.handle_hop(now, step.cause);
        self.wanted = None;
        self.failed_steps = 0;
        self.not_before = now + 2 * self.rtt;
        self.push(ClientOutput::Switch { id, cause: first.map(|_| step.cause) });
    }

    /// How long a pair to this port is used from here on, by the server's clock: into the window after the last one that
    /// the port belongs to, by a time that each pair draws.
    fn time_on(&mut self, port: u16, server: Duration) -> Duration {
        let [before, now, after] = Window::at(server).accepted();
        let last = [after, now, before].into_iter().find(|window| self.ports_of(*window).contains(&port));
        let window = last.unwrap_or(now);
        let jitter = Interval::new(Duration::from_millis(1), INTO_NEXT_WINDOW).expect("in order and not zero");
        let end = window.begin() + WINDOW + jitter.draw(&mut self.rng);
        end.saturating_sub(server)
    }

    fn ports_of(&self, window: Window) -> Vec<u16> {
        self.secret.ports(self.targets.ports(), window.0, PORTS_A_WINDOW)
    }

    fn close_tries(&mut self, step: &Step, but: Option<SocketId>) {
        for tried in step.tries().iter().filter(|tried| Some(tried.id) != but) {
            self.outstanding.forget(tried.id);
            self.push(ClientOutput::Close { id: tried.id });
        }
    }

    fn push(&mut self, output: ClientOutput) {
        debug_assert!(self.outputs.len() < OUTPUTS_MAX, "the caller takes all outputs after each call");
        self.outputs.push_back(output);
    }
}
