//! Two clients that meet here: introduction points, rendezvous points, and circuits that are joined (docs/spec/onion.md,
//! "Meeting at a relay").

use super::admission::Place;
use super::circuit::Onward;
use super::own::Own;
use super::{CircuitKey, Handled, Relay, Side};
use crate::circuit::Dropped;
use crate::handshake::Features;
use crate::message::{EXTEND_OVERHEAD, RequestNumber};
use crate::parts::{self, Assembly, Part};
use crate::reason::Reason;
use crate::service::{Ask, Asked, Cookie, ServiceKey};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, Command};

/// Keys that wait at a relay at a time, a quarter of them of one neighbour. Further ones are refused by name.
pub const INTRODUCTION_POINTS_MAX: usize = 1_024;
/// Cookies that wait at a relay at a time, a quarter of them of one neighbour. Further ones are refused by name.
pub const RENDEZVOUS_MAX: usize = 4_096;
/// A cookie waits so long for a service; then its circuit is told that it is cut off.
pub const RENDEZVOUS_WAIT: Duration = Duration::from_secs(60);
/// Messages of one client to another that a relay keeps at a time, each [`crate::SEALED_MAX`] bytes at most. Further ones are refused by
/// name.
pub const PASSING_MAX: usize = 1_024;
/// Of these, introductions that one service has not yet acknowledged. Further ones are refused by name.
pub const INTRODUCTIONS_PER_POINT_MAX: usize = 64;
/// Introductions to one key in a second that are passed on in the long run. Further ones are refused by name.
pub const INTRODUCTIONS_PER_SECOND: u32 = 25;
/// Introductions to one key that are passed on at once after none came for a while.
pub const INTRODUCTIONS_BURST: u32 = 200;
/// What the other end has not acknowledged in this time is given up. Longer than clients ask.
const PASSING_TIME: Duration = Duration::from_secs(30);

/// Who waits at this relay.
#[derive(Default)]
pub(super) struct Meetings {
    rendezvous: BTreeMap<Cookie, CircuitKey>,
    points: BTreeMap<ServiceKey, CircuitKey>,
    /// Circuits whose message is kept.
    passing: usize,
}

/// A circuit whose client waits for a service.
pub(super) struct Waiting {
    cookie: Cookie,
    since: Instant,
    /// The circuit whose client said the cookie, until this one's has what it said.
    joining: Option<CircuitKey>,
}

/// A circuit whose client is told what others say to its key.
pub(super) struct Point {
    key: ServiceKey,
    /// The number of the newest introduction.
    newest: u32,
    /// Introductions that are not acknowledged, and whose they are. At most [`INTRODUCTIONS_PER_POINT_MAX`].
    pending: BTreeMap<u32, CircuitKey>,
    tokens: Tokens,
}

/// A message on its way to another circuit's client.
pub(super) struct Passing {
    to: CircuitKey,
    /// What the other client knows it by.
    number: RequestNumber,
    message: Box<[u8]>,
    since: Instant,
    is_introduction: bool,
}

/// Introductions that may be passed on, in thousandths.
struct Tokens {
    left: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000;

impl Tokens {
    fn new(now: Instant) -> Self {
        Self { left: u64::from(INTRODUCTIONS_BURST) * TOKEN, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).min(60_000);
        // What is less than a millisecond stays for the next time.
        self.filled += Duration::from_millis(passed);
        let full = u64::from(INTRODUCTIONS_BURST) * TOKEN;
        self.left = (self.left + passed * u64::from(INTRODUCTIONS_PER_SECOND)).min(full);
        if passed == 60_000 {
            (self.left, self.filled) = (full, now);
        }
        let has = self.left >= TOKEN;
        self.left -= if has { TOKEN } else { 0 };
        has
    }
}

impl Passing {
    pub(super) fn number(&self) -> RequestNumber {
        self.number
    }

    pub(super) fn to(&self) -> CircuitKey {
        self.to
    }

    pub(super) fn part(&self, index: u8, room: usize) -> Option<Part<'_>> {
        parts::part(&self.message, index, room)
    }
}

impl Onward {
    /// True when what a client asked for has waited long enough.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        match self {
            Self::Waiting(waiting) => now.saturating_duration_since(waiting.since) >= RENDEZVOUS_WAIT,
            Self::Passing(passing) => now.saturating_duration_since(passing.since) >= PASSING_TIME,
            _ => false,
        }
    }
}

impl Relay {
    /// Cookies that wait.
    pub fn rendezvous(&self) -> usize {
        self.meetings.rendezvous.len()
    }

    /// Keys that wait.
    pub fn introduction_points(&self) -> usize {
        self.meetings.points.len()
    }

    /// Messages that are kept for another circuit's client.
    pub fn passing(&self) -> usize {
        self.meetings.passing
    }

    /// Takes a part of what a client asks for.
    pub(super) fn handle_ask(
        &mut self,
        now: Instant,
        key: CircuitKey,
        number: RequestNumber,
        (ask, part): (Ask, &Part<'_>),
    ) -> Result<Handled, Dropped> {
        let circuit = self.table.circuit(key).ok_or(Dropped::UnknownCircuit)?;
        if number > circuit.request {
            let (neighbour, is_offered) = (circuit.previous.neighbour, circuit.features.has(Features::RENDEZVOUS));
            if !self.admission.admit_ask(now, neighbour) {
                return Err(Dropped::Full);
            }
            self.renew(now, key, number, Onward::Gathering(ask, Assembly::default()));
            self.tell_not_last(key);
            let refusal =
                if !is_offered { Some(Reason::NotOffered) } else { self.draining.then_some(Reason::Draining) };
            if let Some(reason) = refusal {
                self.refuse(key, reason);
                return Ok(Handled::Done);
            }
        }
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        match &mut circuit.onward {
            Onward::Gathering(begun, assembly) if *begun == ask => {
                let Some(message) = assembly.take(part) else { return Ok(Handled::Done) };
                match self.begin(now, key, Asked::read(ask, &message)) {
                    Ok(onward) => {
                        if let Some(circuit) = self.table.circuit_mut(key) {
                            circuit.onward = onward;
                        }
                        self.answer_ask(key);
                    }
                    Err(reason) => self.refuse(key, reason),
                }
            }
            _ if part.index == 0 => self.answer_ask(key),
            _ => {}
        }
        Ok(Handled::Done)
    }

    /// Does what was asked; gives what the circuit is then.
    fn begin(&mut self, now: Instant, key: CircuitKey, asked: Option<Asked<'_>>) -> Result<Onward, Reason> {
        let circuit = self.table.circuit(key).ok_or(Reason::UnknownCircuit)?;
        let neighbour = circuit.previous.neighbour;
        match asked.ok_or(Reason::Protocol)? {
            Asked::EstablishRendezvous(cookie) => {
                if self.meetings.rendezvous.contains_key(&cookie) {
                    return Err(Reason::Taken);
                }
                let is_full = self.meetings.rendezvous.len() >= RENDEZVOUS_MAX;
                if is_full || !self.admission.take_place(neighbour, Place::Rendezvous) {
                    return Err(Reason::Full);
                }
                self.meetings.rendezvous.insert(cookie, key);
                Ok(Onward::Waiting(Box::new(Waiting { cookie, since: now, joining: None })))
            }
            Asked::EstablishIntroduction(name, signature) => {
                if !Asked::is_proof(&name, signature, &circuit.binding) {
                    return Err(Reason::Handshake);
                }
                let before = self.meetings.points.get(&name).copied();
                let is_full = before.is_none() && self.meetings.points.len() >= INTRODUCTION_POINTS_MAX;
                if is_full || !self.admission.take_place(neighbour, Place::Introduction) {
                    return Err(Reason::Full);
                }
                // The newest circuit of a key is the one that its service uses.
                before.into_iter().for_each(|before| self.cut_off(now, before, Reason::Finished));
                self.meetings.points.insert(name, key);
                let point = Point { key: name, newest: 0, pending: BTreeMap::new(), tokens: Tokens::new(now) };
                Ok(Onward::Point(Box::new(point)))
            }
            Asked::Introduce(name, sealed) => self.introduce(now, key, name, sealed),
            Asked::Rendezvous(cookie, answer) => self.meet(now, key, cookie, answer),
        }
    }

    fn introduce(&mut self, now: Instant, key: CircuitKey, name: ServiceKey, sealed: &[u8]) -> Result<Onward, Reason> {
        let to = *self.meetings.points.get(&name).ok_or(Reason::UnknownName)?;
        if self.meetings.passing >= PASSING_MAX {
            return Err(Reason::Full);
        }
        let Some(Onward::Point(point)) = self.table.circuit_mut(to).map(|circuit| &mut circuit.onward) else {
            return Err(Reason::UnknownName);
        };
        if point.pending.len() >= INTRODUCTIONS_PER_POINT_MAX {
            return Err(Reason::Full);
        }
        if !point.tokens.take(now) {
            return Err(Reason::TooMany);
        }
        point.newest = point.newest.checked_add(1).ok_or(Reason::Full)?;
        point.pending.insert(point.newest, key);
        let number = RequestNumber(point.newest);
        self.meetings.passing += 1;
        Ok(Onward::Passing(Box::new(Passing { to, number, message: sealed.into(), since: now, is_introduction: true })))
    }

    fn meet(&mut self, now: Instant, key: CircuitKey, cookie: Cookie, answer: &[u8]) -> Result<Onward, Reason> {
        let to = *self.meetings.rendezvous.get(&cookie).ok_or(Reason::UnknownName)?;
        if self.meetings.passing >= PASSING_MAX {
            return Err(Reason::Full);
        }
        let circuit = self.table.circuit_mut(to).ok_or(Reason::UnknownName)?;
        let number = circuit.request;
        let Onward::Waiting(waiting) = &mut circuit.onward else { return Err(Reason::UnknownName) };
        if waiting.joining.is_some() {
            return Err(Reason::Taken);
        }
        waiting.joining = Some(key);
        self.meetings.passing += 1;
        Ok(Onward::Passing(Box::new(Passing {
            to,
            number,
            message: answer.into(),
            since: now,
            is_introduction: false,
        })))
    }

    /// Says again, or at last, where what was asked stands.
    fn answer_ask(&mut self, key: CircuitKey) {
        let Some(circuit) = self.table.circuit(key) else { return };
        let to = circuit.previous.neighbour;
        match &circuit.onward {
            Onward::Waiting(_) | Onward::Point(_) | Onward::Introduced | Onward::Spliced { .. } => {
                self.queue(to, Own::Done { circuit: key });
            }
            Onward::Passing(passing) => {
                let Some(other) = self.table.circuit(passing.to) else { return };
                let room = other.layers.body().len() - EXTEND_OVERHEAD;
                let count = parts::count(passing.message.len(), room).unwrap_or_default();
                let to = other.previous.neighbour;
                self.queue_parts(to, count, |index| Own::Passed { circuit: key, index });
            }
            Onward::Refused(_) => self.queue(to, Own::Refused { circuit: key }),
            Onward::Severed { .. } => self.queue(to, Own::Truncated { circuit: key }),
            _ => {}
        }
    }

    /// A client has what another one said. `at`: the number of the cell that says so.
    pub(super) fn handle_received(
        &mut self,
        key: CircuitKey,
        number: RequestNumber,
        at: u64,
    ) -> Result<Handled, Dropped> {
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        let asked = circuit.request;
        match &mut circuit.onward {
            Onward::Point(point) => {
                let from = point.pending.remove(&number.0).ok_or(Dropped::Unexpected)?;
                let Some(other) = self.table.circuit_mut(from) else { return Ok(Handled::Done) };
                other.onward = Onward::Introduced;
                let to = other.previous.neighbour;
                self.meetings.passing -= 1;
                self.counters.introduced += 1;
                self.queue(to, Own::Done { circuit: from });
                Ok(Handled::Done)
            }
            Onward::Waiting(waiting) if number == asked => {
                let (cookie, other) = (waiting.cookie, waiting.joining.ok_or(Dropped::Unexpected)?);
                // What the client sealed before was for this relay.
                circuit.from = circuit.from.max(at);
                circuit.onward = Onward::Spliced { to: other };
                let neighbour = circuit.previous.neighbour;
                self.meetings.rendezvous.remove(&cookie);
                self.admission.leave_place(neighbour, Place::Rendezvous);
                let Some(circuit) = self.table.circuit_mut(other) else { return Ok(Handled::Done) };
                circuit.onward = Onward::Spliced { to: key };
                let to = circuit.previous.neighbour;
                self.meetings.passing -= 1;
                self.counters.spliced += 1;
                self.queue(to, Own::Done { circuit: other });
                Ok(Handled::Done)
            }
            // Said again: the client shows that it is there.
            Onward::Spliced { .. } if number == asked => Ok(Handled::Done),
            _ => Err(Dropped::Unexpected),
        }
    }

    /// What came out of one of two joined circuits goes into the other: sealed once more, whatever it is.
    #[inline]
    pub(super) fn pass_over(
        &mut self,
        now: Instant,
        to: CircuitKey,
        inner: Range<usize>,
        region: &mut [u8],
    ) -> Result<Handled, Dropped> {
        let other = self.table.circuit_mut(to).ok_or(Dropped::UnknownCircuit)?;
        let place = other.layers.inner();
        region.copy_within(inner, place.start);
        region[other.layers.body().start..place.start].fill(0);
        let previous = other.previous;
        if other.layers.seal(region, false, &mut self.filler).is_err() {
            self.end(now, to, Reason::WornOut);
            return Err(Dropped::WornOut);
        }
        self.counters.forwarded += 1;
        Ok(Handled::Forward {
            to: previous.neighbour,
            head: CellHead { circuit: previous.id, command: Command::Relay },
        })
    }

    /// What a circuit was before it became something else, or went: whoever has to do with it is told.
    pub(super) fn unlink(&mut self, now: Instant, key: CircuitKey, previous: Side, before: Onward) {
        if let Some(side) = before.side() {
            self.table.part(side);
            self.leave(now, side);
        }
        match before {
            Onward::Waiting(waiting) => {
                self.meetings.rendezvous.remove(&waiting.cookie);
                self.admission.leave_place(previous.neighbour, Place::Rendezvous);
                waiting.joining.into_iter().for_each(|other| self.fail_passing(other, Reason::UnknownName));
            }
            Onward::Point(point) => {
                self.meetings.points.remove(&point.key);
                self.admission.leave_place(previous.neighbour, Place::Introduction);
                point.pending.into_values().for_each(|other| self.fail_passing(other, Reason::UnknownName));
            }
            Onward::Passing(passing) => {
                self.meetings.passing -= 1;
                self.forget_passing(now, key, &passing);
            }
            Onward::Spliced { to } => {
                let other = self.table.circuit(to).map(|circuit| &circuit.onward);
                if matches!(other, Some(Onward::Spliced { to }) if *to == key) {
                    self.cut_off(now, to, Reason::Finished);
                }
            }
            _ => {}
        }
    }

    /// The circuit whose message was under way is another now: its addressee need not answer. A cookie is good for one
    /// service, so a client that waits waits in vain.
    fn forget_passing(&mut self, now: Instant, key: CircuitKey, passing: &Passing) {
        match self.table.circuit_mut(passing.to).map(|circuit| &mut circuit.onward) {
            Some(Onward::Point(point)) => {
                point.pending.remove(&passing.number.0);
            }
            Some(Onward::Waiting(waiting)) if waiting.joining == Some(key) => {
                waiting.joining = None;
                self.cut_off(now, passing.to, Reason::Finished);
            }
            _ => {}
        }
    }

    /// The addressee of a message is gone.
    fn fail_passing(&mut self, key: CircuitKey, reason: Reason) {
        if matches!(self.table.circuit(key).map(|circuit| &circuit.onward), Some(Onward::Passing(_))) {
            self.meetings.passing -= 1;
            self.refuse(key, reason);
        }
    }

    /// Takes from a circuit what its client had here, and says so.
    pub(super) fn cut_off(&mut self, now: Instant, key: CircuitKey, reason: Reason) {
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        let before = std::mem::replace(&mut circuit.onward, Onward::Severed { reason, told: now });
        let previous = circuit.previous;
        self.queue(previous.neighbour, Own::Truncated { circuit: key });
        self.unlink(now, key, previous, before);
    }

    /// Ends what has waited too long.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        let overdue = self.table.iter().filter(|(_, circuit)| circuit.onward.is_overdue(now));
        let overdue: Vec<CircuitKey> = overdue.map(|(key, _)| key).collect();
        for key in overdue {
            // The end of one may have been that of another.
            if self.table.circuit(key).is_some_and(|circuit| circuit.onward.is_overdue(now)) {
                self.cut_off(now, key, Reason::TimedOut);
            }
        }
    }

    /// True when whoever waits is known, and nobody else: what the fuzz body checks after each step.
    pub(super) fn meetings_are_consistent(&self) -> bool {
        let (mut waiting, mut points, mut passing) = (0, 0, 0);
        for (key, circuit) in self.table.iter() {
            let is_right = match &circuit.onward {
                Onward::Waiting(of) => {
                    waiting += 1;
                    self.meetings.rendezvous.get(&of.cookie) == Some(&key)
                        && of.joining.is_none_or(|other| self.passes_to(other, key))
                }
                Onward::Point(of) => {
                    points += 1;
                    self.meetings.points.get(&of.key) == Some(&key)
                        && of.pending.values().all(|other| self.passes_to(*other, key))
                        && of.pending.len() <= INTRODUCTIONS_PER_POINT_MAX
                }
                Onward::Passing(of) => {
                    passing += 1;
                    match self.table.circuit(of.to).map(|circuit| &circuit.onward) {
                        Some(Onward::Point(point)) => point.pending.get(&of.number.0) == Some(&key),
                        Some(Onward::Waiting(waiting)) => waiting.joining == Some(key) && !of.is_introduction,
                        _ => false,
                    }
                }
                Onward::Spliced { to } => {
                    let other = self.table.circuit(*to).map(|circuit| &circuit.onward);
                    matches!(other, Some(Onward::Spliced { to }) if *to == key)
                }
                _ => true,
            };
            if !is_right {
                return false;
            }
        }
        (waiting, points, passing)
            == (self.meetings.rendezvous.len(), self.meetings.points.len(), self.meetings.passing)
    }

    fn passes_to(&self, from: CircuitKey, to: CircuitKey) -> bool {
        let onward = self.table.circuit(from).map(|circuit| &circuit.onward);
        matches!(onward, Some(Onward::Passing(passing)) if passing.to == to)
    }
}
