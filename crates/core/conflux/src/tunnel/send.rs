//! Cells that leave.

use super::{Pace, Side, Tunnel};
use crate::ids::LegId;
use crate::intake::DEBT_CELLS;
use crate::leg::{Core, Linked, Member, Role};
use crate::message::Message;
use crate::schedule::{Candidate, is_patient};
use std::time::{Duration, Instant};
use wire::leg::{LegHeader, LegKind};

/// Data cells may leave so much before their pace lets them: timers are not exact, and cells are sent in batches.
const PACE_AHEAD: Duration = Duration::from_millis(1);
/// The longest wait between two tries of a silent leg.
const PROBE_WAIT_MAX: Duration = Duration::from_millis(2_400);
/// Assumed of a leg that was never measured, so that every other one is preferred.
const RTT_UNKNOWN: Duration = Duration::from_secs(10);

/// What a slot of a leg takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotUse {
    /// A message about the leg waits: [`Tunnel::own_header`].
    Message,
    /// A session packet if there is one ([`Tunnel::data_header`]), else a cover cell ([`Tunnel::own_header`]).
    Data,
    /// A cover cell whatever waits: the leg is not in use, or does not answer.
    Cover,
}

impl<K> Tunnel<K> {
    /// Shaped modes: what this leg's slot takes. The slot is used in any case; the answer changes the inside of a cell and
    /// nothing that leaves the node. Asking about a leg says nothing to the others.
    pub fn slot_use(&self, now: Instant, leg: LegId) -> SlotUse {
        let Some(member) = self.members.get(&leg) else { return SlotUse::Cover };
        if has_message(now, member) {
            return SlotUse::Message;
        }
        if member.is_linked() && (member.core().silence.is_none() || !self.has_answering_leg()) {
            return SlotUse::Data;
        }
        SlotUse::Cover
    }

    /// Mode `off`: the leg on which the next session packet should leave, if any. Ask the session for a packet only then. If
    /// it has one, take [`Tunnel::data_header`]; if not, say [`Tunnel::handle_idle`]. `waiting`: packets that the session
    /// could fill, about.
    pub fn poll_data(&mut self, now: Instant, waiting: u64) -> Option<LegId> {
        let candidates = self.candidates(now);
        let waiting = if is_patient(self.peer_ux) { 0 } else { waiting };
        let chosen = self.choice.choose(now, &candidates, waiting, &mut self.rng);
        self.room_at = None;
        if chosen.is_none() {
            self.room_at = candidates.iter().filter(|leg| leg.room == 0).map(|leg| now + leg.free_in).min();
            // Legs that have room and are not used are not as slow as they look.
            self.note_unused(candidates.iter().filter(|leg| leg.room > 0).map(|leg| leg.leg));
        }
        chosen
    }

    /// Mode `off`: a leg had room and the session had no packet.
    pub fn handle_idle(&mut self, now: Instant) {
        let candidates = self.candidates(now);
        self.note_unused(candidates.iter().filter(|leg| leg.room > 0).map(|leg| leg.leg));
    }

    fn note_unused(&mut self, legs: impl Iterator<Item = LegId>) {
        for leg in legs {
            if let Some(member) = self.members.get_mut(&leg) {
                member.core_mut().flight.note_app_limited();
            }
        }
    }

    /// Mode `off`: a leg on which a cell of the tunnel's own should leave now: a message, feedback that is owed, a try of a
    /// silent leg. Take [`Tunnel::own_header`] for it.
    pub fn poll_own(&mut self, now: Instant) -> Option<LegId> {
        let members = || self.members.iter();
        if let Some((&leg, _)) = members().find(|(_, member)| has_message(now, member)) {
            return Some(leg);
        }
        if self.config.pace == Pace::Slots {
            return None;
        }
        let owed = members().find(|(_, member)| member.core().intake.owed_at().is_some_and(|at| at <= now));
        if let Some((&leg, member)) = owed {
            let answers = member.is_linked() && member.core().silence.is_none();
            return Some(if answers { leg } else { self.quickest().unwrap_or(leg) });
        }
        // The only legs there are get data cells instead.
        if !self.has_answering_leg() {
            return None;
        }
        members().find(|(_, member)| self.is_probe_due(now, member)).map(|(&leg, _)| leg)
    }

    pub(super) fn has_answering_leg(&self) -> bool {
        self.members.values().any(|member| member.is_linked() && member.core().silence.is_none())
    }

    fn is_probe_due(&self, now: Instant, member: &Member<K>) -> bool {
        member.is_linked() && member.core().silence.is_some_and(|silence| silence.next_probe <= now)
    }

    fn quickest(&self) -> Option<LegId> {
        let answering = self.members.values().filter(|member| member.is_linked() && member.core().silence.is_none());
        answering.map(Member::core).min_by_key(|core| core.flight.rtt().unwrap_or(RTT_UNKNOWN)).map(|core| core.id)
    }

    /// The header of a cell with a session packet of `length` bytes. None if there is no such leg, or it takes no data; with
    /// several legs, a leg that [`Tunnel::poll_data`] or [`Tunnel::slot_use`] has named takes it.
    pub fn data_header(&mut self, now: Instant, leg: LegId, number: u64, length: u16) -> Option<LegHeader> {
        self.note_data(now, leg, number)?;
        self.newest += 1;
        self.choice.note_sent(now, leg);
        Some(self.header(now, leg, LegKind::Data, length, self.newest))
    }

    /// Mode `off`: another leg on which the session packet of the last [`Tunnel::data_header`] should leave once more, if any. The
    /// first packets of a burst do, where legs differ; the other end drops what comes second. Ask until there is none, and take
    /// [`Tunnel::copy_header`] if the leg's circuit has room; a copy that does not leave is nobody's loss.
    pub fn poll_copy(&mut self) -> Option<LegId> {
        self.choice.next_copy()
    }

    /// The header of a cell with the same session packet as the last [`Tunnel::data_header`]. None if the leg takes no data.
    pub fn copy_header(&mut self, now: Instant, leg: LegId, number: u64, length: u16) -> Option<LegHeader> {
        self.note_data(now, leg, number)?;
        Some(self.header(now, leg, LegKind::Data, length, self.newest))
    }

    /// A data cell takes the layer number `number` of this leg. None if the leg takes no data.
    fn note_data(&mut self, now: Instant, leg: LegId, number: u64) -> Option<()> {
        let Some(Member::Linked(linked)) = self.members.get_mut(&leg) else { return None };
        let core = &mut linked.core;
        core.flight.note_sent(now, number.saturating_add(1), true);
        let pace = core.law.pace(core.flight.rtt()).max(1.0);
        let from = core.paced_until.map_or(now, |until| until.max(now));
        core.paced_until = Some(from + Duration::from_secs_f64(1.0 / pace));
        self.note_probe(now, leg);
        Some(())
    }

    /// The header of a cell without a session packet, and the message behind it, if one is due; else it is a cover cell.
    /// `message` is overwritten. None if there is no such leg.
    pub fn own_header(&mut self, now: Instant, leg: LegId, number: u64, message: &mut Vec<u8>) -> Option<LegHeader> {
        message.clear();
        let flight = &mut self.members.get_mut(&leg)?.core_mut().flight;
        flight.note_sent(now, number.saturating_add(1), false);
        if self.config.pace == Pace::Slots {
            // Whether a leg answers must not be a question that only data asks.
            flight.await_feedback(now);
        }
        if let Some(due) = self.take_message(now, leg) {
            due.encode(message);
        }
        self.note_probe(now, leg);
        let length = message.len() as u16;
        let kind = if message.is_empty() { LegKind::Cover } else { LegKind::Link };
        Some(self.header(now, leg, kind, length, self.newest))
    }

    /// Shaped modes: the header of a cover cell that stands ready for the case that the leg's next cell is late. Nothing is
    /// counted for it: it takes a layer number, and should it leave, the other end has received one cell more than is known
    /// here. None if there is no such leg.
    pub fn spare_header(&self, leg: LegId) -> Option<LegHeader> {
        let feedback = self.members.get(&leg)?.core().intake.ageless_feedback();
        let feedback_leg = leg.number();
        Some(LegHeader { kind: LegKind::Cover, feedback_leg, length: 0, tunnel_number: self.newest, feedback })
    }

    /// A cell on a silent leg was a try.
    fn note_probe(&mut self, now: Instant, leg: LegId) {
        let silence = self.members.get_mut(&leg).and_then(|member| member.core_mut().silence.as_mut());
        if let Some(silence) = silence.filter(|silence| silence.next_probe <= now) {
            silence.next_probe = now + silence.wait;
            silence.wait = (silence.wait * 2).min(PROBE_WAIT_MAX);
        }
    }

    fn take_message(&mut self, now: Instant, leg: LegId) -> Option<Message> {
        let (ux, nonce) = (self.config.ux, &self.nonce);
        let rng = &mut self.rng;
        match self.members.get_mut(&leg)? {
            Member::Linking(linking) if linking.repeat.is_due(now) => {
                let attempt = linking.repeat.say(now, rng)?;
                let asked = linking.core.asked;
                Some(Message::Link { attempt, joins: linking.joins, leg, ux, asked, nonce: nonce.clone() })
            }
            Member::Draining(draining) if draining.says_unlink(now) => {
                Some(Message::Unlink { attempt: draining.repeat.as_mut()?.say(now, rng)? })
            }
            Member::Linked(Linked { core, role: Role::Exit { answered, .. } }) => {
                let message = core.messages.pop_front()?;
                if let Message::Linked { attempt, .. } = &message {
                    answered[usize::from(attempt.number())] = Some(now);
                }
                Some(message)
            }
            member => member.core_mut().messages.pop_front(),
        }
    }

    fn header(&mut self, now: Instant, leg: LegId, kind: LegKind, length: u16, tunnel_number: u64) -> LegHeader {
        let about = self.subject(now, leg);
        self.turn = about.number();
        let feedback =
            self.members.get_mut(&about).map(|member| member.core_mut().intake.feedback(now)).unwrap_or_default();
        LegHeader { kind, feedback_leg: about.number(), length, tunnel_number, feedback }
    }

    /// The leg that a cell's feedback is about: its own if that is half due, so that round trips are measured on one leg; else
    /// one whose feedback is due; else all in turn, so that none waits for debt. With slots it is its own: each leg has cells
    /// all the time, and what was told of a leg would otherwise follow from where data went.
    fn subject(&self, now: Instant, leg: LegId) -> LegId {
        if self.config.pace == Pace::Slots {
            return leg;
        }
        let is_due = |core: &Core<K>| core.intake.owed_at().is_some_and(|at| at <= now);
        let own = self.members.get(&leg).map(Member::core);
        if own.is_some_and(|core| core.intake.debt() >= DEBT_CELLS / 2 || is_due(core)) {
            return leg;
        }
        let cores = || self.members.values().map(Member::core);
        let due = cores().filter(|core| is_due(core)).min_by_key(|core| core.intake.owed_at());
        let next = || cores().find(|core| core.id.number() > self.turn).or_else(|| cores().next());
        due.or_else(next).map_or(leg, |core| core.id)
    }

    /// Legs that data may go on: those that answer, or all if none does. An exit prefers those of which it knows that the
    /// client has linked them.
    fn candidates(&self, now: Instant) -> Vec<Candidate> {
        let is_known = |linked: &Linked<K>| !matches!(linked.role, Role::Exit { is_confirmed: false, .. });
        let linked = || {
            self.members.values().filter_map(|member| match member {
                Member::Linked(linked) => Some(linked),
                Member::Linking(_) | Member::Draining(_) => None,
            })
        };
        let answering = linked().any(|leg| leg.core.silence.is_none());
        let usable = |leg: &&Linked<K>| !answering || leg.core.silence.is_none();
        let known = self.side == Side::Exit && linked().filter(usable).any(is_known);
        let legs = linked().filter(usable).filter(|leg| !known || is_known(leg));
        legs.map(|leg| candidate(now, &leg.core)).collect()
    }
}

fn has_message<K>(now: Instant, member: &Member<K>) -> bool {
    match member {
        Member::Linking(linking) => linking.repeat.is_due(now),
        Member::Draining(draining) => draining.says_unlink(now) || !draining.core.messages.is_empty(),
        Member::Linked(linked) => !linked.core.messages.is_empty(),
    }
}

fn candidate<K>(now: Instant, core: &Core<K>) -> Candidate {
    let smoothed = core.flight.rtt();
    let rate = core.law.rate(smoothed).max(1.0);
    let (window, in_flight) = (core.law.window(), core.flight.figures.in_flight);
    let rtt = core.law.shortest_rtt().or(smoothed).unwrap_or(RTT_UNKNOWN);
    let queued = (in_flight as f64 / rate - rtt.as_secs_f64()).max(0.0);
    let queued = Duration::from_secs_f64(queued);
    let mut candidate = Candidate { leg: core.id, rtt, queued, rate, room: 0, free_in: Duration::ZERO };
    if let Some(silence) = core.silence {
        candidate.room = u64::from(silence.next_probe <= now);
        candidate.free_in = silence.next_probe.saturating_duration_since(now);
        return candidate;
    }
    let paced_for = core.paced_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
    if in_flight >= window {
        // Feedback brings room; it comes at the leg's rate.
        candidate.free_in = Duration::from_secs_f64((in_flight - window + 1) as f64 / rate).max(PACE_AHEAD);
    } else if paced_for > PACE_AHEAD {
        candidate.free_in = paced_for - PACE_AHEAD;
    } else {
        candidate.room = window - in_flight;
    }
    candidate
}
