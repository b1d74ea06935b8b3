//! The end of a link that raises the hop index (docs/spec/hops.md, "Hops of a link").

mod output;

pub use output::{InitiatorConfig, InitiatorOutput, Probe, Socket, SocketFailure, SocketUse};

use crate::causes::{Cause, Countdown, Timers};
use crate::detector::{Delivery, Detector, Direction};
use crate::memory::{BlockedPorts, UsedPairs};
use crate::secret::HopSecret;
use crate::source::draw_port_below;
use crate::step::{SocketId, Step, StepState};
use crate::targets::{CANDIDATES, Targets};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most sockets of a link: the present one, three candidates, and four that still hear what is on its way. While there
/// are more than four of these, a hop waits until one is closed.
pub const SOCKETS_MAX: usize = 8;
/// How long a pair that was left is heard at least; three round trips if that is longer.
pub const DRAIN_MIN: Duration = Duration::from_secs(2);
/// Failed steps in a row after which a link goes through a door.
const FAILED_STEPS_MAX: u32 = 2;
/// A step that failed while nothing was heard for so long, or four round trips, needs no second one.
const DEAD_AFTER: Duration = Duration::from_secs(1);
/// Time between a failed step and the next one.
const RETRY: Duration = Duration::from_secs(5);
/// How long a link that wanted a door waits before it tries its ports again.
const DOOR_PATIENCE: Duration = Duration::from_secs(60);
/// Least time between two hops that the other end asks for; two round trips if that is longer.
const PEER_ASKED_MIN: Duration = Duration::from_millis(500);
/// Outputs that wait to be taken: what eight sockets can need. The caller takes all after each call.
const OUTPUTS_MAX: usize = 32;

/// How long a pair that was left is heard.
pub(crate) fn drain_time(rtt: Duration) -> Duration {
    DRAIN_MIN.max(3 * rtt)
}

/// The hops of one link, at the end that dialled.
///
/// After each call take [`Initiator::poll_output`] until it is empty; whenever a packet can leave (a slot, or at once
/// without a grid), ask [`Initiator::poll_probe`] first; call [`Initiator::handle_timeout`] at
/// [`Initiator::poll_timeout`]. Time that jumps forward ends what is due and nothing else; `now` never goes back.
#[derive(Debug)]
pub struct Initiator {
    secret: HopSecret,
    targets: Arc<Targets>,
    timers: Timers,
    rtt: Duration,
    rng: ChaCha20Rng,
    index: u64,
    next_id: u32,
    present: Place,
    /// Oldest first.
    old: VecDeque<Draining>,
    step: Option<Step>,
    countdown: Countdown,
    /// Judges what this end sends, and silence.
    detector: Detector,
    /// Judges what comes back.
    back: Detector,
    used: UsedPairs,
    blocked: BlockedPorts,
    wanted: Option<Cause>,
    failed_steps: u32,
    not_before: Instant,
    peer_asked_at: Option<Instant>,
    heard_at: Instant,
    outputs: VecDeque<InitiatorOutput>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: SocketId,
    remote: SocketAddr,
    since: Instant,
    bytes: u64,
    cause: Option<Cause>,
    followed: Followed,
}

/// What is known about the other end after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    /// It is on this pair: more packets came than there were probes to answer.
    Yes,
    /// Not known; so many packets may be answers to probes.
    Unknown { answers_left: u32 },
    /// Not known, and the other candidates of the same index did not answer.
    UnknownAndAlone,
}

#[derive(Debug, Clone, Copy)]
struct Draining {
    id: SocketId,
    remote: SocketAddr,
    until: Instant,
}

impl Initiator {
    /// The hops of a link that has come up on `config.door`, whose socket gets the returned name.
    pub fn new(now: Instant, config: InitiatorConfig) -> (Self, SocketId) {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let id = SocketId(0);
        let initiator = Self {
            secret: config.secret,
            targets: config.targets,
            timers: config.timers,
            rtt: config.rtt,
            index: 0,
            next_id: 1,
            present: Place { id, remote: config.door, since: now, bytes: 0, cause: None, followed: Followed::Yes },
            old: VecDeque::new(),
            step: None,
            countdown: Countdown::draw(now, config.timers, &mut rng),
            detector: Detector::new(now, config.rtt),
            back: Detector::new(now, config.rtt),
            used: UsedPairs::default(),
            blocked: BlockedPorts::default(),
            wanted: None,
            failed_steps: 0,
            not_before: now,
            peer_asked_at: None,
            heard_at: now,
            outputs: VecDeque::new(),
            rng,
        };
        (initiator, id)
    }

    /// The hop index of the present pair.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The socket that packets go out on.
    pub fn present(&self) -> SocketId {
        self.present.id
    }

    /// All sockets, for the shell to watch and a status page to show: the present one first.
    pub fn sockets(&self) -> impl Iterator<Item = Socket> {
        let present = self.present;
        let tries = self.step.iter().flat_map(|step| step.tries());
        let of = |id, remote, used_for| Socket { id, remote, used_for };
        std::iter::once(of(present.id, present.remote, SocketUse::Present))
            .chain(tries.map(move |tried| of(tried.id, tried.remote, SocketUse::Candidate)))
            .chain(self.old.iter().rev().map(move |old| of(old.id, old.remote, SocketUse::Old)))
    }

    /// When the present pair was taken, how many bytes it has carried, and why it was taken; no cause for the door.
    pub fn present_pair(&self) -> (Instant, u64, Option<Cause>) {
        (self.present.since, self.present.bytes, self.present.cause)
    }

    /// The ports that are held for blocked.
    pub fn blocked(&self) -> &BlockedPorts {
        &self.blocked
    }

    /// Packets of the link were sent or came on the present pair, as many bytes of UDP payload in all.
    pub fn handle_bytes(&mut self, now: Instant, bytes: u64) {
        self.present.bytes = self.present.bytes.saturating_add(bytes);
        self.countdown.handle_bytes(bytes);
        if self.countdown.due(now).is_some() {
            self.handle_timeout(now);
        }
    }

    /// Packets were sent on the present pair that the other end owes an answer of some kind for.
    pub fn handle_sent(&mut self, now: Instant, packets: u64) {
        self.detector.handle_sent(now, packets);
    }

    /// An authenticated packet came on a socket of the link, made for this hop index. On a candidate with the
    /// index of its probe it is the answer.
    pub fn handle_packet(&mut self, now: Instant, id: SocketId, index: u64) {
        if self.step.as_ref().is_some_and(|step| step.index == index && step.find(id).is_some()) {
            self.switch(now, id);
        } else if id == self.present.id {
            self.heard_at = now;
            self.detector.handle_heard(now);
            self.present.followed = match self.present.followed {
                Followed::Unknown { answers_left: left @ 1.. } => Followed::Unknown { answers_left: left - 1 },
                _ => Followed::Yes,
            };
        }
    }

    /// The smoothed round trip is this.
    pub fn handle_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
        self.detector.handle_rtt(rtt);
        self.back.handle_rtt(rtt);
    }

    /// A stretch of packets on the present pair has been counted.
    pub fn handle_delivery(&mut self, now: Instant, direction: Direction, delivery: Delivery) {
        match direction {
            Direction::Out => self.detector.handle_delivery(now, delivery),
            Direction::Back => self.back.handle_delivery(now, delivery),
        }
        self.handle_timeout(now);
    }

    /// The other end asked for a hop on the present pair. More often than every two round trips, or half a second, is
    /// ignored.
    pub fn handle_peer_asked(&mut self, now: Instant) {
        if self.peer_asked_at.is_some_and(|last| now < last + PEER_ASKED_MIN.max(2 * self.rtt)) {
            return;
        }
        self.peer_asked_at = Some(now);
        self.want(Cause::PeerAsked);
        self.handle_timeout(now);
    }

    /// Command: hop as soon as the limits allow.
    pub fn hop(&mut self, now: Instant) {
        self.want(Cause::OperatorAsked);
        self.handle_timeout(now);
    }

    /// The socket that [`InitiatorOutput::Open`] asked for is there, bound to `local`.
    pub fn handle_opened(&mut self, now: Instant, id: SocketId, local: SocketAddr) {
        let Some(step) = &mut self.step else { return };
        if let Some(remote) = step.handle_opened(now, id) {
            self.used.note_towards(now, remote, local.port());
        }
    }

    /// A socket could not be opened: too many descriptors, no port.
    pub fn handle_open_failed(&mut self, now: Instant, id: SocketId) {
        if let Some(step) = &mut self.step {
            step.handle_failed(now, id);
        }
        self.handle_timeout(now);
    }

    /// The system refused to send packets on a socket: a local firewall, no route, no interface. A candidate is given up
    /// at once; the present pair is left when half of its packets of late were refused.
    ///
    /// Do not call it for a full buffer, and not for an error that belongs to the packet alone (its size).
    pub fn handle_send_refused(&mut self, now: Instant, id: SocketId, packets: u64) {
        if self.step.as_mut().is_some_and(|step| step.handle_failed(now, id)) {
            self.push(InitiatorOutput::Close { id });
        } else if id == self.present.id {
            self.detector.handle_refused(now, packets);
        }
        self.handle_timeout(now);
    }

    /// A new handshake (through a door, or a rekey) has made another secret. The index and the pair stay; what was
    /// being tried is given up, since the other end listens elsewhere from here on.
    pub fn handle_new_secret(&mut self, now: Instant, secret: HopSecret) {
        self.secret = secret;
        if let Some(step) = self.step.take() {
            self.close_tries(&step, None);
            self.want(step.cause);
        }
        self.handle_timeout(now);
    }

    /// The other end has other addresses or ports. The pair stays; what was being tried is given up.
    pub fn handle_new_targets(&mut self, now: Instant, targets: Targets) {
        self.targets = Arc::new(targets);
        if let Some(step) = self.step.take() {
            self.close_tries(&step, None);
            self.want(step.cause);
        }
        self.handle_timeout(now);
    }

    /// The link is down: all its sockets are closed. What is remembered of pairs and ports stays until
    /// [`Initiator::handle_door_opened`]; nothing else is called before that.
    pub fn handle_down(&mut self) {
        if let Some(step) = self.step.take() {
            self.close_tries(&step, None);
        }
        while let Some(old) = self.old.pop_front() {
            self.push(InitiatorOutput::Close { id: old.id });
        }
        self.push(InitiatorOutput::Close { id: self.present.id });
        self.wanted = None;
    }

    /// The link has come up again through a door, with another secret: hops begin at index 0 on a new socket.
    pub fn handle_door_opened(&mut self, now: Instant, secret: HopSecret, door: SocketAddr) -> SocketId {
        self.secret = secret;
        if let Some(step) = self.step.take() {
            self.close_tries(&step, None);
        }
        let id = self.new_id();
        self.leave_present(now);
        self.index = 0;
        self.present = Place { id, remote: door, since: now, bytes: 0, cause: None, followed: Followed::Yes };
        self.began(now, Cause::Silence);
        id
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.old.front().is_some_and(|old| now >= old.until) {
            if let Some(old) = self.old.pop_front() {
                self.push(InitiatorOutput::Close { id: old.id });
            }
        }
        for cause in [self.detector.poll_cause(now), self.back.poll_cause(now)].into_iter().flatten() {
            self.want(cause);
        }
        if self.step.is_none() {
            self.begin_step(now);
        }
        self.drive_step(now);
    }

    /// When [`Initiator::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (old, detector) = (self.old.front().map(|old| old.until), self.detector.poll_timeout());
        let step = match &self.step {
            Some(step) => step.poll_timeout(),
            None => self.step_may_begin_at(),
        };
        [old, detector, Some(step)].into_iter().flatten().min()
    }

    /// When a probe wants to be sent. It is no packet more than others on a grid: it takes a slot.
    pub fn probe_at(&self) -> Option<Instant> {
        self.step.as_ref().and_then(Step::probe_at)
    }

    /// The probe that is due; the caller sends it now.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let step = self.step.as_mut()?;
        let id = step.poll_probe(now)?;
        Some(Probe { id, index: step.index })
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<InitiatorOutput> {
        self.outputs.pop_front()
    }

    fn want(&mut self, cause: Cause) {
        cause.want(&mut self.wanted);
    }

    /// When a step can begin, if nothing else happens.
    fn step_may_begin_at(&self) -> Instant {
        let due_at = if self.wanted.is_some() { self.not_before } else { self.countdown.due_at() };
        let room_at = match self.old.len().checked_sub(SOCKETS_MAX - 1 - usize::from(CANDIDATES)) {
            Some(over @ 1..) => self.old.get(over - 1).map_or(due_at, |old| old.until),
            _ => due_at,
        };
        due_at.max(self.not_before).max(room_at)
    }

    fn begin_step(&mut self, now: Instant) {
        if let Some(cause) = self.countdown.due(now) {
            self.want(cause);
        }
        let Some(cause) = self.wanted else { return };
        if now < self.step_may_begin_at() {
            return;
        }
        let index = match self.present.followed {
            // Perhaps nothing but the probe came through, and the other end still listens on this index's candidates.
            Followed::Unknown { .. } => self.index,
            Followed::Yes | Followed::UnknownAndAlone => self.index + 1,
        };
        self.wanted = None;
        let mut candidates = self.targets.candidates(&self.secret, index);
        candidates.retain(|place| index != self.index || *place != self.present.remote);
        self.blocked.order(now, &mut candidates);
        self.step = Some(Step::new(now, self.rtt, cause, index, candidates));
    }

    fn drive_step(&mut self, now: Instant) {
        loop {
            let Some(step) = &mut self.step else { return };
            match step.poll(now) {
                StepState::Waiting => return,
                StepState::Failed => self.fail_step(now),
                StepState::Open(remote) => {
                    let id = SocketId(self.next_id);
                    step.push(now, id, remote);
                    debug_assert!(1 + self.old.len() + step.sockets() <= SOCKETS_MAX, "the bound of sockets");
                    self.next_id = self.next_id.wrapping_add(1);
                    let local_port = draw_port_below(now, self.targets.ports(), remote, &self.used, &mut self.rng);
                    self.push(InitiatorOutput::Open { id, remote, local_port });
                }
            }
        }
    }

    fn fail_step(&mut self, now: Instant) {
        let Some(step) = self.step.take() else { return };
        for tried in step.tries() {
            // Only if the path was alive meanwhile, it is the port that is blocked.
            if tried.first_probe_at().is_some_and(|probed| self.heard_at > probed) {
                self.blocked.note(now, tried.remote);
            }
        }
        self.close_tries(&step, None);
        self.want(step.cause);
        if step.index == self.index {
            self.present.followed = Followed::UnknownAndAlone;
            return self.begin_step(now);
        }
        self.failed_steps += 1;
        let dead = step.cause.is_trouble() && now >= self.heard_at + (4 * self.rtt).max(DEAD_AFTER);
        if dead || self.failed_steps >= FAILED_STEPS_MAX {
            self.failed_steps = 0;
            self.not_before = now + DOOR_PATIENCE;
            self.push(InitiatorOutput::ThroughDoor { cause: step.cause });
        } else {
            self.not_before = now + RETRY;
        }
    }

    fn switch(&mut self, now: Instant, id: SocketId) {
        let Some(step) = self.step.take() else { return };
        let Some((remote, probes)) = step.find(id).map(|tried| (tried.remote, tried.probes())) else { return };
        self.blocked.note_all(now, step.silent_beside(now, id));
        self.close_tries(&step, Some(id));
        self.leave_present(now);
        self.blocked.forgive(&remote);
        self.index = step.index;
        let followed = Followed::Unknown { answers_left: probes.saturating_sub(1) };
        self.present = Place { id, remote, since: now, bytes: 0, cause: Some(step.cause), followed };
        self.push(InitiatorOutput::Switch { id, index: self.index, cause: step.cause });
        self.began(now, step.cause);
    }

    fn leave_present(&mut self, now: Instant) {
        let Place { id, remote, .. } = self.present;
        // Only a link that goes through doors one after the other gets here with so many.
        if self.old.len() == SOCKETS_MAX - 1
            && let Some(oldest) = self.old.pop_front()
        {
            self.push(InitiatorOutput::Close { id: oldest.id });
        }
        self.old.push_back(Draining { id, remote, until: now + drain_time(self.rtt) });
    }

    /// The life of a pair begins.
    fn began(&mut self, now: Instant, cause: Cause) {
        self.countdown = Countdown::draw(now, self.timers, &mut self.rng);
        self.detector.handle_hop(now, cause);
        self.back.handle_hop(now, cause);
        self.heard_at = now;
        self.wanted = None;
        self.failed_steps = 0;
        self.not_before = now + 2 * self.rtt;
    }

    fn close_tries(&mut self, step: &Step, but: Option<SocketId>) {
        for tried in step.tries().iter().filter(|tried| Some(tried.id) != but) {
            self.push(InitiatorOutput::Close { id: tried.id });
        }
    }

    fn new_id(&mut self) -> SocketId {
        let id = SocketId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    fn push(&mut self, output: InitiatorOutput) {
        debug_assert!(self.outputs.len() < OUTPUTS_MAX, "the caller takes all outputs after each call");
        self.outputs.push_back(output);
    }
}

#[cfg(test)]
mod tests;
