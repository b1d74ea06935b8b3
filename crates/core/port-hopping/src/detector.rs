//! Finds out that a network treats this pair worse than others: by loss, by rate, by silence.
//!
//! What all pairs suffer is the path, and a hop does not help. Loss is therefore judged against that of earlier pairs,
//! rate against what the pair itself could do, and after a hop that did not help the detector waits, each time longer.

mod samples;

use crate::causes::Cause;
use samples::{Samples, Stretch};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Loss of a pair, in shares of one, below which no hop is worth it.
const LOSS_MIN: f64 = 0.20;
/// The same where congestion control looks for the limit of the path, together with a bad rate. Alone it is no sign: for
/// seconds after its start BBR sends more than twice of what comes through.
const CONTROLLED_LOSS_MIN: f64 = 0.50;
/// A rate is bad below this share of the best of the pair: congestion halves a rate, a throttle does more.
const RATE_SHARE: f64 = 0.25;
/// Standard deviations by which loss must be above what is suffered; one false alarm in 700 judgements at the limit
/// itself, none to speak of at the 7 % of a bad path.
const SIGMAS: f64 = 3.0;
/// Loss is judged over this time at least, and over four round trips.
const LOSS_SPAN_MIN: Duration = Duration::from_millis(400);
/// Rate is judged over this time at least, and over four round trips: more than the 200 ms that BBR is slow on purpose,
/// and the time in which it is fast again.
const RATE_SPAN_MIN: Duration = Duration::from_secs(1);
/// Silence is judged over this time at least, and over four round trips.
const SILENCE_SPAN_MIN: Duration = Duration::from_millis(500);
/// Packets that must have been sent before loss is judged.
const LOSS_PACKETS_MIN: u64 = 16;
/// Packets that must have been sent into silence before it is one.
const SILENCE_PACKETS_MIN: u64 = 8;
/// Packets that the system must have refused before the socket is at fault. One that a rule about rates stopped is none.
const REFUSED_MIN: u64 = 3;
/// How long most packets must have been refused: a bucket of tokens that is empty for a moment is filled before.
const REFUSED_SPAN: Duration = Duration::from_millis(50);
/// Packets of late that refused ones are compared with: when there are more, both counts are halved.
const OF_LATE_MAX: u64 = 16;
/// After so much time with demand a pair that never was fast is compared with the earlier ones.
const SLOW_FROM_START: Duration = Duration::from_secs(5);
/// Earlier pairs that are remembered. When full, the oldest is forgotten.
const PAIRS_MAX: usize = 8;
/// How long the detector waits after the first hop that did not help; doubled with each further one.
const HOLD_FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const HOLD_MAX: Duration = Duration::from_secs(320);

/// What became of packets that were sent on the present pair in a stretch of time, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How long the stretch was: up to 1 s is useful. Zero is ignored.
    pub span: Duration,
    /// Packets sent in it.
    pub sent: u64,
    /// Those that came. More than were sent count as all.
    pub received: u64,
    /// What decided how much was sent.
    pub pace: Pace,
}

/// What decides how much is sent, and with it what a bad pair looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A schedule: packets go on when they are lost, so loss is the sign.
    Schedule,
    /// Congestion control, but at times there was less to send than it let out.
    Demand,
    /// Congestion control, and all the time there was more to send: the rate is the sign, loss may be its own doing.
    HeldBack,
}

/// Whose packets were counted, as the end that judges sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Its own.
    Out,
    /// Those of the other end.
    Back,
}

/// Watches the present pair of one link, in one direction.
///
/// Order: [`Detector::handle_delivery`], [`Detector::handle_sent`], [`Detector::handle_refused`] and
/// [`Detector::handle_heard`] as things happen,
/// [`Detector::poll_cause`] after each and at [`Detector::poll_timeout`], [`Detector::handle_hop`] when the link has
/// switched. Deliveries after that are those of the new pair alone.
#[derive(Debug)]
pub struct Detector {
    rtt: Duration,
    samples: Samples,
    pair: PairRecord,
    earlier: VecDeque<PairRecord>,
    heard_at: Instant,
    sent_since_heard: u64,
    /// Packets of late, and those of them that the system refused.
    of_late: u64,
    refused: u64,
    /// Since when half of those of late have been refused.
    refused_since: Option<Instant>,
    last_cause_at: Option<Instant>,
    /// Hops in a row that did not help.
    fruitless: u32,
    quiet_until: Option<Instant>,
    found: Option<Cause>,
}

/// What a pair was like.
#[derive(Debug, Clone, Copy)]
struct PairRecord {
    /// Loss while it was young, once that has been judged.
    first_loss: Option<f64>,
    /// Its best rate, packets a second.
    best_rate: f64,
    /// Time with demand.
    limited_for: Duration,
    /// A judgement was good, so what comes later came later.
    proven: bool,
    /// The link came to it because of trouble with another.
    after_trouble: bool,
}

impl PairRecord {
    fn new(after_trouble: bool) -> Self {
        Self { first_loss: None, best_rate: 0.0, limited_for: Duration::ZERO, proven: false, after_trouble }
    }
}

impl Detector {
    /// A detector for a link that has just come up.
    pub fn new(now: Instant, rtt: Duration) -> Self {
        Self {
            rtt,
            samples: Samples::default(),
            pair: PairRecord::new(false),
            earlier: VecDeque::new(),
            heard_at: now,
            sent_since_heard: 0,
            of_late: 0,
            refused: 0,
            refused_since: None,
            last_cause_at: None,
            fruitless: 0,
            quiet_until: None,
            found: None,
        }
    }

    /// The smoothed round trip is this.
    pub fn handle_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Packets were sent that an answer of some kind is owed for.
    pub fn handle_sent(&mut self, now: Instant, packets: u64) {
        if self.sent_since_heard == 0 {
            // Whoever was not spoken to is not silent.
            self.heard_at = self.heard_at.max(now);
        }
        self.sent_since_heard = self.sent_since_heard.saturating_add(packets);
        self.of_late = self.of_late.saturating_add(packets);
        if self.of_late > OF_LATE_MAX {
            (self.of_late, self.refused) = (self.of_late / 2, self.refused / 2);
        }
        self.refused_since = self.refused_since.filter(|_| self.is_refused());
    }

    /// The system refused to send packets. When it does so with half of them or more for a while, the socket has failed.
    pub fn handle_refused(&mut self, now: Instant, packets: u64) {
        self.refused = self.refused.saturating_add(packets);
        self.refused_since = self.refused_since.or(Some(now)).filter(|_| self.is_refused());
        if self.refused_since.is_some_and(|since| now >= since + REFUSED_SPAN) {
            self.find(now, Cause::SocketFailed);
        }
    }

    /// An authenticated packet came.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
        self.sent_since_heard = 0;
    }

    /// A stretch of the present pair's packets has been counted.
    pub fn handle_delivery(&mut self, now: Instant, delivery: Delivery) {
        if delivery.span.is_zero() {
            return;
        }
        self.samples.push(self.rtt, delivery);
        if delivery.pace == Pace::HeldBack {
            self.pair.limited_for = self.pair.limited_for.saturating_add(delivery.span);
        }
        let rate_span = self.span(RATE_SPAN_MIN);
        if let Some(stretch) = self.samples.tail(rate_span) {
            self.pair.best_rate = self.pair.best_rate.max(stretch.rate());
        }
        let bad = [self.lossy(), self.slow(), self.slow_from_start()].into_iter().flatten().next();
        match bad {
            Some(cause) => self.find(now, cause),
            None if self.pair.first_loss.is_some() => {
                self.pair.proven = true;
                self.fruitless = 0;
                self.quiet_until = None;
            }
            None => {}
        }
    }

    /// Why the link should hop now, if it should. Given once.
    pub fn poll_cause(&mut self, now: Instant) -> Option<Cause> {
        if self.silent_at().is_some_and(|silent_at| now >= silent_at) {
            self.sent_since_heard = 0;
            self.find(now, Cause::Silence);
        }
        self.found.take()
    }

    /// When [`Detector::poll_cause`] may have something without anything happening.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at()
    }

    /// The link is on another pair.
    pub fn handle_hop(&mut self, now: Instant, cause: Cause) {
        if self.earlier.len() == PAIRS_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(std::mem::replace(&mut self.pair, PairRecord::new(cause.is_trouble())));
        self.samples = Samples::default();
        self.found = None;
        (self.of_late, self.refused, self.refused_since) = (0, 0, None);
        self.handle_heard(now);
    }

    /// Turns a bad judgement into a cause, unless hops do not help or one was asked for less than two round trips ago.
    fn find(&mut self, now: Instant, cause: Cause) {
        let too_soon = self.last_cause_at.is_some_and(|last| now < last + 2 * self.rtt);
        if too_soon || self.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        let held = self.quiet_until.take().is_some();
        if self.pair.after_trouble && !self.pair.proven && !held {
            let hold = HOLD_FIRST.saturating_mul(1 << self.fruitless.min(6)).min(HOLD_MAX);
            self.fruitless += 1;
            self.quiet_until = Some(now + hold);
            return;
        }
        self.last_cause_at = Some(now);
        self.found = Some(cause);
    }

    fn is_refused(&self) -> bool {
        self.refused >= REFUSED_MIN && self.refused >= self.of_late / 2
    }

    fn silent_at(&self) -> Option<Instant> {
        let spoken = self.sent_since_heard >= SILENCE_PACKETS_MIN;
        spoken.then(|| self.heard_at + self.span(SILENCE_SPAN_MIN))
    }

    /// Loss now against what earlier pairs had while they were young. Both halves must be bad: one burst is congestion.
    fn lossy(&mut self) -> Option<Cause> {
        let (older, newer) = self.samples.halves(self.span(LOSS_SPAN_MIN), LOSS_PACKETS_MIN)?;
        self.pair.first_loss.get_or_insert(older.loss().min(newer.loss()));
        let all = |stretch: Stretch| stretch.sent > 0 && stretch.received == 0;
        if all(older) && all(newer) {
            return Some(Cause::Silence);
        }
        if older.pace != Pace::Schedule || newer.pace != Pace::Schedule {
            return None;
        }
        let limit = (2.0 * self.suffered_loss() + 0.1).clamp(LOSS_MIN, 1.0);
        let bad = |stretch: Stretch| {
            let sent = stretch.sent as f64;
            stretch.lost as f64 > sent * limit + SIGMAS * (sent * limit * (1.0 - limit)).sqrt()
        };
        (bad(older) && bad(newer)).then_some(Cause::Loss)
    }

    /// The middle one of the earlier pairs' losses.
    fn suffered_loss(&self) -> f64 {
        let mut losses: Vec<f64> = self.earlier.iter().filter_map(|pair| pair.first_loss).collect();
        losses.sort_unstable_by(f64::total_cmp);
        losses.get(losses.len() / 2).copied().unwrap_or(0.0)
    }

    /// Rate now against the best of the same pair. Less to send is no sign, and much lost of it is.
    fn slow(&self) -> Option<Cause> {
        let whole = self.samples.tail(self.span(RATE_SPAN_MIN))?;
        let demand = match whole.pace {
            Pace::Schedule => false,
            Pace::Demand => whole.loss() >= CONTROLLED_LOSS_MIN && whole.sent >= LOSS_PACKETS_MIN,
            Pace::HeldBack => true,
        };
        (demand && whole.rate() < RATE_SHARE * self.pair.best_rate).then_some(Cause::Rate)
    }

    /// A pair that could not do in some seconds what earlier ones did.
    fn slow_from_start(&self) -> Option<Cause> {
        let earlier = self.earlier.iter().map(|pair| pair.best_rate).fold(0.0, f64::max);
        let long = self.pair.limited_for >= SLOW_FROM_START.max(20 * self.rtt);
        (long && self.pair.best_rate < RATE_SHARE * earlier).then_some(Cause::Rate)
    }

    fn span(&self, least: Duration) -> Duration {
        least.max(4 * self.rtt)
    }
}

/// Most bytes of stretches that a detector holds.
#[cfg(test)]
pub(crate) const STRETCHES_LEN_MAX: usize = samples::SAMPLES_MAX * samples::Sample::LEN;

#[cfg(test)]
mod tests;
