//! Whether the place that a flow without a key went to brings anything back, and where to go if it does not.
//!
//! There is no knock to ask with, so the program's own traffic is read. A server answers on the port that it was sent to
//! last. So the first answer from a new port is proof that the port passes, and the time from the first datagram
//! to it is a round trip and what the target takes: never less than a round trip. An old port that goes on to bring something
//! after that time is proof that the server has not heard the new one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Time that an answer may take longer than earlier ones.
const MARGIN: Duration = Duration::from_millis(15);
/// Datagrams that must have gone to a new place before it is judged: one may be lost.
const SENT_MIN: u64 = 3;
/// A place that answers nothing for so long, though datagrams go there and the flow has been answered before, is left.
pub const SILENCE: Duration = Duration::from_secs(3);
/// Datagrams that must have gone there.
pub const SILENCE_SENT_MIN: u64 = 8;
/// From the proof that a place is blocked to the next one's try: what the program lost has its time to come again.
pub const NEXT_TRY_AFTER: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send to the place before again; the new one brings nothing back.
    GoBack(SocketAddr),
    /// The place that was gone back from does answer: send there. Answers were later than they had ever been.
    GoForward(SocketAddr),
    /// Hold this place for blocked: another one was heard meanwhile.
    Blocked(SocketAddr),
    /// Hop: a blocked place has had its successor coming for [`NEXT_TRY_AFTER`].
    TryNext,
    /// Hop: the place in use is silent, and there is none to go back to.
    Silent,
}

/// Watches one flow. Addresses are compared as they are: the caller writes those of IPv4 in one way.
///
/// Order: [`Watch::handle_hop`] when the flow goes to a place, [`Watch::handle_sent`] and [`Watch::handle_heard`] as things
/// happen, and after each, and at [`Watch::poll_timeout`], [`Watch::poll_verdict`] until it is empty. After
/// [`Verdict::GoBack`] and [`Verdict::GoForward`] the place is the one named, without a further call.
#[derive(Debug)]
pub struct Watch {
    place: Option<Place>,
    state: State,
    answers: Answers,
    /// Anything was ever heard.
    ever_heard: bool,
    /// The server does not answer on the port that it was sent to, so a port that answers nothing says nothing.
    elsewhere: bool,
    /// A datagram was sent then, and nothing has been heard since.
    waiting_since: Option<Instant>,
    last_heard: Option<Instant>,
    verdicts: VecDeque<Verdict>,
}

/// The place in use.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: SocketAddr,
    since: Instant,
    first_sent: Option<Instant>,
    sent: u64,
    /// It answered itself.
    heard: bool,
    /// The server answered on whatever port.
    heard_elsewhere: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no other place.
    Settled,
    /// `before` answered until it was left. `quick`: at a pace by which silence can be told soon.
    Trying { before: SocketAddr, quick: bool },
    /// `suspect` brought nothing back, so the place before is in use again.
    Back { suspect: SocketAddr, first_sent: Instant, next_at: Option<Instant> },
}

impl Place {
    fn new(at: SocketAddr, since: Instant) -> Self {
        Self { at, since, first_sent: None, sent: 0, heard: false, heard_elsewhere: false }
    }
}

/// How long answers take.
#[derive(Debug, Default)]
struct Answers {
    /// Of new places, smoothed as round trips are (RFC 6298), and its deviation.
    first: Option<(Duration, Duration)>,
    /// The longest time from a datagram to whatever was heard next, slowly forgotten.
    wait: Duration,
}

impl Answers {
    fn note_first(&mut self, took: Duration) {
        self.first = Some(match self.first {
            None => (took, took / 2),
            Some((mean, deviation)) => ((mean * 7 + took) / 8, (deviation * 3 + mean.abs_diff(took)) / 4),
        });
    }

    fn note_wait(&mut self, took: Duration) {
        self.wait = took.max(self.wait - self.wait / 64);
    }

    /// How long a place that passes takes to answer at most.
    fn patience(&self) -> Duration {
        let Some((mean, deviation)) = self.first else { return SILENCE };
        (mean + mean.max(4 * deviation) + MARGIN).max(2 * self.wait).min(SILENCE)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// For a flow that has no place yet.
    pub fn new() -> Self {
        Self {
            place: None,
            state: State::Settled,
            answers: Answers::default(),
            ever_heard: false,
            elsewhere: false,
            waiting_since: None,
            last_heard: None,
            verdicts: VecDeque::new(),
        }
    }

    /// The flow sends to another place from here on.
    pub fn handle_hop(&mut self, now: Instant, to: SocketAddr) {
        let waits = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.state = match self.place {
            Some(place) if place.heard && place.at != to && !self.elsewhere => {
                State::Trying { before: place.at, quick: waits <= self.answers.patience() }
            }
            _ => State::Settled,
        };
        self.place = Some(Place::new(to, now));
        self.waiting_since = None;
        self.verdicts.clear();
    }

    /// The flow has another server: what was learned does not hold there.
    pub fn forget(&mut self) {
        *self = Self { ever_heard: self.ever_heard, ..Self::new() };
    }

    /// Datagrams were sent to the place in use.
    pub fn handle_sent(&mut self, now: Instant, datagrams: u64) {
        let Some(place) = &mut self.place else { return };
        place.first_sent.get_or_insert(now);
        place.sent += datagrams;
        self.waiting_since.get_or_insert(now);
    }

    /// Something came from `from`, which is the server's.
    pub fn handle_heard(&mut self, now: Instant, from: SocketAddr) {
        if let Some(since) = self.waiting_since.take() {
            self.answers.note_wait(now.saturating_duration_since(since));
        }
        (self.ever_heard, self.last_heard) = (true, Some(now));
        let patience = self.answers.patience();
        let Some(place) = &mut self.place else { return };
        let took = place.first_sent.map(|first| now.saturating_duration_since(first));
        if from == place.at {
            let first = !std::mem::replace(&mut place.heard, true);
            // The first place of all, or a new one; one that was gone back to answers what was asked before, too.
            if let Some(took) = took.filter(|_| first && !matches!(self.state, State::Back { .. })) {
                self.answers.note_first(took);
            }
            match &mut self.state {
                State::Trying { .. } => self.state = State::Settled,
                State::Back { suspect, next_at: next_at @ None, .. } => {
                    *next_at = Some(now + NEXT_TRY_AFTER);
                    self.verdicts.push_back(Verdict::Blocked(*suspect));
                }
                State::Back { .. } | State::Settled => {}
            }
            return;
        }
        place.heard_elsewhere = true;
        // Too late for what the place before was asked.
        self.elsewhere |= self.state == State::Settled && !place.heard && took.is_some_and(|took| took >= patience);
        match self.state {
            State::Trying { before, .. }
                if from == before && place.sent >= SENT_MIN && took.is_some_and(|took| took >= patience) =>
            {
                self.go_back(now);
                // Proven as soon as it is found: the server still answers on the place before.
                self.handle_heard(now, before);
            }
            State::Back { suspect, first_sent, .. } if from == suspect => {
                self.answers.note_first(now.saturating_duration_since(first_sent));
                self.place = Some(Place { first_sent: Some(now), sent: 1, heard: true, ..Place::new(suspect, now) });
                self.state = State::Settled;
                self.verdicts.clear();
                self.verdicts.push_back(Verdict::GoForward(suspect));
            }
            _ => {}
        }
    }

    /// What is to be done now.
    pub fn poll_verdict(&mut self, now: Instant) -> Option<Verdict> {
        if self.due_at().is_some_and(|due_at| now >= due_at) {
            match &mut self.state {
                State::Trying { .. } => self.go_back(now),
                State::Back { next_at: next_at @ Some(_), .. } => {
                    *next_at = None;
                    self.state = State::Settled;
                    self.verdicts.push_back(Verdict::TryNext);
                }
                State::Back { .. } | State::Settled => {
                    // Said once for each time of silence.
                    if let Some(place) = &mut self.place {
                        (place.since, place.sent) = (now, 0);
                    }
                    self.verdicts.push_back(Verdict::Silent);
                }
            }
        }
        self.verdicts.pop_front()
    }

    /// True if [`Watch::poll_verdict`] has something whatever the time is.
    pub fn has_verdict(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// When [`Watch::poll_verdict`] may have something without anything happening.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due_at()
    }

    fn go_back(&mut self, now: Instant) {
        let State::Trying { before, .. } = self.state else { return };
        let Some(suspect) = self.place else { return };
        let first_sent = suspect.first_sent.unwrap_or(now);
        self.place = Some(Place::new(before, now));
        self.state = State::Back { suspect: suspect.at, first_sent, next_at: None };
        self.waiting_since = None;
        self.verdicts.push_back(Verdict::GoBack(before));
    }

    fn due_at(&self) -> Option<Instant> {
        let place = self.place.as_ref()?;
        if let State::Back { next_at: Some(next_at), .. } = self.state {
            return Some(next_at);
        }
        if let State::Trying { quick: true, .. } = self.state {
            let first_sent = place.first_sent.filter(|_| place.sent >= SENT_MIN)?;
            let patience = self.answers.patience();
            // What the old place still brings is no silence; only if it goes on for too long it is a proof.
            let quiet_at = self.last_heard.map_or(first_sent, |heard| heard + MARGIN.max(2 * self.answers.wait));
            return Some((first_sent + patience).max(quiet_at.min(first_sent + SILENCE)));
        }
        let heard = place.heard || place.heard_elsewhere && self.state == State::Settled;
        let silent = self.ever_heard && !heard && place.sent >= SILENCE_SENT_MIN;
        silent.then(|| place.since + SILENCE)
    }
}

#[cfg(test)]
mod tests;
