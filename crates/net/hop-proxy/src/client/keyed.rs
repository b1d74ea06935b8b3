//! The way of a flow to a server with a key: make before break. A socket of its own for each way, a knock on it, and
//! the packets move when the knock has been answered.

mod attempt;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use os_net::datagram::{Departing, Train};
use port_hopping::Pair;
use port_hopping::causes::{Cause, Countdown, Timers};
use port_hopping::keyed::{ANSWER_LEN_MIN, FlowId, KNOCK_LEN_MAX, Knock, Purpose, SealedKnock, WINDOW, Window};
use rand_chacha::ChaCha20Rng;

use super::{Client, Route, TROUBLE_GAP, peers};
use crate::backlog::Backlog;
use crate::counters::Direction;
use crate::engine::Moment;
use crate::table::Key;
use attempt::Attempt;

/// A way that was left is heard for so long, and for three round trips at least: packets are under way on it.
const DRAIN_MIN: Duration = Duration::from_secs(2);
/// A way must be left so long before the server closes its port.
const LEAVE_EARLY: Duration = Duration::from_secs(5);
/// How long nothing may come back before the server is asked whether it is there.
const SILENCE_FIRST: Duration = Duration::from_secs(2);
/// The longest time between two such questions while they are answered and nothing else is.
const SILENCE_MAX: Duration = Duration::from_secs(16);
/// Knocks on the way in use that go unanswered before another way is looked for.
const UNANSWERED_MAX: u8 = 3;
/// The round trip that is assumed before one is measured.
const RTT_FIRST: Duration = Duration::from_millis(200);
/// After an attempt that failed the next one waits so long, twice as long each time, up to the maximum.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// The state of a flow's way.
#[derive(Debug)]
pub(super) struct KeyedRoute {
    id: FlowId,
    present: Option<Present>,
    attempt: Option<Attempt>,
    left: Vec<(Key, Instant)>,
    /// What the program sent before there was a way.
    pub(super) pending: Backlog,
    countdown: Countdown,
    rtt: Duration,
    retry_at: Option<Instant>,
    retry_gap: Duration,
    failures: u8,
    refused: bool,
}

/// The way in use.
#[derive(Debug)]
struct Present {
    wire: Key,
    to: SocketAddr,
    since: Instant,
    /// When the server stops hearing the port, since 1970 UTC.
    open_until: Duration,
    /// Knocks on it that have no answer: that answers shall come here, or whether the server is there.
    knocks: Vec<SealedKnock>,
    knock_at: Option<Instant>,
    /// Something was sent since the last thing came.
    waiting_since: Option<Instant>,
    silence: Duration,
}

impl KeyedRoute {
    pub(super) fn new(now: Instant, timers: Timers, rng: &mut ChaCha20Rng) -> Self {
        Self {
            id: FlowId::draw(rng),
            present: None,
            attempt: None,
            left: Vec::new(),
            pending: Backlog::default(),
            countdown: Countdown::draw(now, timers, rng),
            rtt: RTT_FIRST,
            retry_at: None,
            retry_gap: RETRY_FIRST,
            failures: 0,
            refused: false,
        }
    }

    pub(super) fn way(&self) -> Option<(Key, SocketAddr)> {
        self.present.as_ref().map(|present| (present.wire, present.to))
    }

    pub(super) fn wires(&self) -> impl Iterator<Item = Key> {
        let present = self.present.as_ref().map(|present| present.wire);
        let attempt = self.attempt.as_ref().map(|attempt| attempt.wire);
        present.into_iter().chain(attempt).chain(self.left.iter().map(|(wire, _)| *wire))
    }

    /// Notes what was sent; true if the flow is to be looked at now.
    pub(super) fn note_sent(&mut self, now: Instant, bytes: u64) -> bool {
        self.countdown.handle_bytes(bytes);
        let first = self.present.as_mut().is_some_and(|present| {
            let first = present.waiting_since.is_none();
            present.waiting_since.get_or_insert(now);
            first
        });
        first || (self.attempt.is_none() && self.countdown.due(now).is_some())
    }

    pub(super) fn note_heard(&mut self, bytes: u64) {
        self.countdown.handle_bytes(bytes);
        if let Some(present) = &mut self.present {
            (present.waiting_since, present.silence) = (None, SILENCE_FIRST);
        }
    }

    pub(super) fn refused(&mut self, _now: Instant) {
        self.refused = true;
    }

    /// Whether a train may hold an answer to a knock.
    pub(super) fn expects_answer(&self, train: &Train<'_>) -> bool {
        let waiting = self.attempt.is_some() || self.present.as_ref().is_some_and(|present| !present.knocks.is_empty());
        // The last datagram may be shorter than the others.
        waiting
            && (train.segment_bytes() <= KNOCK_LEN_MAX || !train.bytes().len().is_multiple_of(train.segment_bytes()))
            && train.bytes().len() >= ANSWER_LEN_MIN
    }

    /// Why the flow wants another way.
    fn cause(&self, moment: Moment) -> Option<Cause> {
        let present = self.present.as_ref()?;
        if self.refused && moment.now.saturating_duration_since(present.since) >= TROUBLE_GAP {
            return Some(Cause::SocketFailed);
        }
        if present.knocks.len() >= usize::from(UNANSWERED_MAX) {
            return Some(Cause::Silence);
        }
        if moment.unix + LEAVE_EARLY >= present.open_until {
            return Some(Cause::Interval);
        }
        self.countdown.due(moment.now)
    }

    /// When to look again.
    pub(super) fn wake_at(&self, moment: Moment) -> Instant {
        let now = moment.now;
        let mut times: Vec<Instant> = self.left.iter().map(|(_, at)| *at).collect();
        match (&self.attempt, self.retry_at) {
            (Some(attempt), _) => times.push(attempt.next_at),
            (None, Some(retry_at)) => times.push(retry_at),
            (None, None) => times.push(self.countdown.due_at()),
        }
        if let Some(present) = &self.present {
            times.extend(present.knock_at);
            if present.knocks.is_empty() {
                times.extend(present.waiting_since.map(|since| since + present.silence));
            }
            let left = present.open_until.saturating_sub(moment.unix);
            if self.attempt.is_none() && self.retry_at.is_none() {
                times.push(now + left.saturating_sub(LEAVE_EARLY));
            }
        }
        // What is overdue could not be done; it is tried again a little later.
        times.into_iter().filter(|at| *at > now).min().unwrap_or(now + TROUBLE_GAP)
    }

    /// Notes that an attempt failed.
    fn note_failure(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        // Flows that failed together do not try together.
        let share = rand_chacha::rand_core::Rng::next_u32(rng) % 1_024;
        self.retry_at = Some(now + self.retry_gap.mul_f64(1.0 + f64::from(share) / 4_096.0));
        self.retry_gap = (2 * self.retry_gap).min(RETRY_MAX);
        self.refused = false;
    }

    /// How long an answer is waited for.
    fn patience(&self) -> Duration {
        (3 * self.rtt + Duration::from_millis(50)).min(Duration::from_secs(1))
    }
}

impl Client {
    /// Closes what was left, asks whether the server is there, begins or goes on with an attempt.
    pub(super) fn tend_keyed(&mut self, key: Key, moment: Moment) {
        self.close_left(key, moment);
        self.watch_present(key, moment);
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return };
        if route.attempt.is_some() {
            self.go_on(key, moment);
            return;
        }
        if route.retry_at.is_some_and(|at| at > moment.now) {
            return;
        }
        let cause = route.cause(moment);
        if route.present.is_none() || cause.is_some() {
            route.retry_at = None;
            self.begin_attempt(key, cause, moment);
        }
    }

    fn close_left(&mut self, key: Key, moment: Moment) {
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return };
        let (over, left): (Vec<_>, Vec<_>) = route.left.drain(..).partition(|(_, at)| *at <= moment.now);
        route.left = left;
        for (wire, _) in over {
            self.close_wire(wire);
        }
    }

    /// Leaves a way whose port the server has closed, and knocks on one that is silent.
    fn watch_present(&mut self, key: Key, moment: Moment) {
        let patience = match self.flows.get(key).map(|flow| &flow.route) {
            Some(Route::Keyed(route)) => route.patience(),
            _ => return,
        };
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return };
        let Some(present) = &mut route.present else { return };
        let until = present.open_until;
        // The clock went on while the machine slept, or was set: the server does not hear this port.
        if moment.unix > until || moment.unix + 4 * WINDOW < until {
            route.left.push((present.wire, moment.now + DRAIN_MIN));
            route.present = None;
            return;
        }
        let silent = present.waiting_since.is_some_and(|since| moment.now >= since + present.silence);
        let again = present.knock_at.is_some_and(|at| moment.now >= at);
        if !(again || (silent && present.knock_at.is_none())) {
            return;
        }
        if present.knocks.len() >= usize::from(UNANSWERED_MAX) {
            present.knock_at = None;
            return;
        }
        present.knock_at = Some(moment.now + patience);
        let (wire, to) = (present.wire, present.to);
        if let Some(knock) = self.knock(key, wire, to, Purpose::Take, moment)
            && let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route)
            && let Some(present) = &mut route.present
        {
            present.knocks.push(knock);
        }
    }

    /// Sends a knock.
    fn knock(&mut self, key: Key, wire: Key, to: SocketAddr, purpose: Purpose, moment: Moment) -> Option<SealedKnock> {
        let Some(Route::Keyed(route)) = self.flows.get(key).map(|flow| &flow.route) else { return None };
        let keys = self.keys.as_mut()?;
        let knock = keys.seal_knock(moment.unix, Knock { flow: route.id, purpose }, &mut self.rng);
        let train = Train::new(&knock.datagram, 0, 0);
        let wire = self.wires.get_mut(wire)?;
        // A knock is nobody's traffic.
        let mut tally = Direction::default();
        let refusal = wire.outlet.send(&self.poller, &[Departing { to: Some(to), from: None, train }], &mut tally);
        if let Some(errno) = refusal {
            self.counters.up.refuse(errno, 0);
        }
        self.counters.knocks += 1;
        Some(knock)
    }

    /// Takes a datagram if it answers a knock of this flow.
    pub(super) fn handle_answer(
        &mut self,
        key: Key,
        wire: Key,
        from: SocketAddr,
        datagram: &[u8],
        moment: Moment,
    ) -> bool {
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return false };
        let Some(keys) = &mut self.keys else { return false };
        if let Some(present) = &mut route.present
            && present.wire == wire
            && let Some(answer) = present.knocks.iter().find_map(|knock| keys.open_answer(knock, datagram))
        {
            present.knocks.clear();
            present.knock_at = None;
            if present.waiting_since.is_some() {
                present.waiting_since = Some(moment.now);
                present.silence = (2 * present.silence).min(SILENCE_MAX);
            }
            self.compare_clocks(answer.server_unix, moment);
            return true;
        }
        let Some(attempt) = &route.attempt else { return false };
        let answered = attempt.knocks.iter().find_map(|(knock, to, at)| {
            Some((keys.open_answer(knock, datagram)?, *to, *at)).filter(|_| attempt.wire == wire)
        });
        let Some((answer, to, sent_at)) = answered else { return false };
        if peers::canonical(to) == peers::canonical(from) {
            self.compare_clocks(answer.server_unix, moment);
            self.switch(key, to, moment.now.saturating_duration_since(sent_at), moment);
        }
        true
    }

    /// Moves the flow to a way that answered.
    fn switch(&mut self, key: Key, to: SocketAddr, rtt: Duration, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Route::Keyed(route) = &mut flow.route else { return };
        let Some(attempt) = route.attempt.take() else { return };
        route.rtt = (7 * route.rtt + rtt) / 8;
        if route.present.is_none() {
            route.rtt = rtt;
        }
        let drain = DRAIN_MIN.max(3 * route.rtt);
        if let Some(old) = route.present.take() {
            route.left.push((old.wire, moment.now + drain));
        }
        let open_until = self.peers.schedule(flow.server).and_then(|schedule| {
            // The latest of the windows that the port belongs to.
            let windows = Window::at(moment.unix).accepted().into_iter().rev();
            let mut windows = windows.filter(|window| schedule.ports_of(*window).contains(&to.port()));
            windows.next().map(|window| window.begin() + 2 * WINDOW)
        });
        let wire = attempt.wire;
        route.present = Some(Present {
            wire,
            to,
            since: moment.now,
            open_until: open_until.unwrap_or(moment.unix + WINDOW),
            knocks: Vec::new(),
            // Answers shall come here from now on.
            knock_at: Some(moment.now),
            waiting_since: None,
            silence: SILENCE_FIRST,
        });
        (route.retry_gap, route.retry_at, route.refused, route.failures) = (RETRY_FIRST, None, false, 0);
        route.countdown = Countdown::draw(moment.now, self.hop_timers, &mut self.rng);
        route.pending.aim(to);
        let mut pending = std::mem::take(&mut route.pending);
        if let Some(cause) = attempt.cause {
            *self.counters.hops.entry(cause).or_default() += 1;
        }
        self.blocked.forgive(&peers::canonical(to));
        if let Some(wire) = self.wires.get_mut(wire) {
            let local = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), wire.local_port);
            self.used.note(moment.now, Pair { local, remote: peers::canonical(to) });
            wire.outlet.adopt(&self.poller, &mut pending, &mut self.counters.up);
        }
        self.tend(key, moment);
    }

    /// Says once that the two clocks differ by so much that ports are found by luck.
    fn compare_clocks(&mut self, server_unix: Duration, moment: Moment) {
        let apart = server_unix.abs_diff(moment.unix);
        if apart > WINDOW / 2 && !std::mem::replace(&mut self.clock_said, true) {
            tracing::warn!(
                seconds = apart.as_secs(),
                "the clocks of the two ends differ; beyond a window of 30 s no port is found, so set them"
            );
        }
    }
}
