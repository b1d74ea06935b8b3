//! How legs come and go (docs/spec/linking.md).

use super::{Side, Tunnel, TunnelEvent};
use crate::asked::Asked;
use crate::ids::{DesiredUx, LegId};
use crate::leg::{Accepted, Core, Fault, LegEnd, Linked, Member, Role};
use crate::message::{Attempt, Message, Refusal};
use crate::repeat::Answer;
use std::time::{Duration, Instant};

/// For so many round trips, and at least so long, a draining leg brings what is on its way.
const DRAIN_ROUND_TRIPS: u32 = 3;
const DRAIN_MIN: Duration = Duration::from_millis(500);
/// A leg that the other end removed waits so long for its circuit to be taken down.
const DRAIN_AFTER_PEER: Duration = Duration::from_secs(10);

impl<K> Tunnel<K> {
    /// Exit: takes a circuit as a further leg. A leg that had its share of the schedule is out of use then: the client has
    /// given it up, whether or not that is known here.
    ///
    /// # Errors
    /// Gives back what carries it, and why. A refusal is to be told with [`Message::Refused`] before the circuit goes.
    pub fn accept(&mut self, now: Instant, accepted: Accepted<K>) -> Result<LegId, (K, NotAccepted)> {
        let refused = |accepted: Accepted<K>, reason| {
            let answer = Message::Refused { attempt: accepted.attempt, reason };
            Err((accepted.carrier, NotAccepted::Refused(reason, answer)))
        };
        if self.is_over || self.side != Side::Exit || accepted.nonce != self.nonce {
            return refused(accepted, Refusal::Closing);
        }
        if self.members.contains_key(&accepted.leg) {
            return Err((accepted.carrier, NotAccepted::Fault(Fault::LegTaken)));
        }
        if self.asked.is_some_and(|before| !before.is_of_one(&accepted.asked)) {
            return Err((accepted.carrier, NotAccepted::Fault(Fault::OtherSchedule)));
        }
        if let Some(before) = self.linked_with_share(accepted.asked) {
            self.release(now, before, LegEnd::RemovedByPeer);
        }
        if self.members.len() >= usize::from(self.config.legs_max) {
            return refused(accepted, Refusal::TooManyLegs);
        }
        let leg = accepted.leg;
        self.enroll(now, accepted);
        Ok(leg)
    }

    fn linked_with_share(&self, asked: Asked) -> Option<LegId> {
        let mut linked = self.members.values().filter(|leg| leg.is_linked()).map(Member::core);
        linked.find(|core| core.asked.is_same_share(&asked)).map(|core| core.id)
    }

    pub(super) fn enroll(&mut self, now: Instant, accepted: Accepted<K>) {
        let leg = accepted.leg;
        self.asked.get_or_insert(accepted.asked);
        let mut core = Core::new(leg, accepted.carrier, Vec::new(), self.config.control, accepted.asked);
        core.intake.take(now, accepted.number.saturating_add(1), accepted.tunnel_number);
        self.peer_ux = accepted.ux;
        let asked = 1 << accepted.attempt.number();
        core.say(self.linked_message(accepted.attempt, leg));
        let role = Role::Exit { answered: [None; 8], asked, acked: 0, is_confirmed: false };
        self.members.insert(leg, Member::Linked(Linked { core, role }));
        self.note_linked(leg, None);
    }

    fn linked_message(&self, attempt: Attempt, leg: LegId) -> Message {
        Message::Linked { attempt, leg, ux: self.config.ux, nonce: self.nonce.clone() }
    }

    fn note_linked(&mut self, leg: LegId, rtt: Option<Duration>) {
        self.was_linked = true;
        self.legless_since = None;
        self.tell(TunnelEvent::LegLinked(leg, rtt));
    }

    pub(super) fn handle_message(&mut self, now: Instant, leg: LegId, message: Message) -> Result<(), Fault> {
        match (message, self.side) {
            (Message::Link { .. }, Side::Client) => Err(Fault::LinkAtClient),
            (Message::Link { attempt, leg: named, asked, nonce, .. }, Side::Exit) => {
                let is_same = named == leg && nonce == self.nonce;
                self.handle_link_again(leg, attempt, is_same.then_some(asked))
            }
            (Message::Linked { .. }, Side::Exit) => Err(Fault::LinkedUnasked),
            (Message::Linked { attempt, leg: named, ux, nonce }, Side::Client) => {
                if named != leg || nonce != self.nonce {
                    return Err(Fault::WrongNonce);
                }
                self.handle_linked(now, leg, attempt, ux)
            }
            (Message::LinkedAck { .. }, Side::Client) => Err(Fault::AckAtClient),
            (Message::LinkedAck { attempt }, Side::Exit) => self.handle_ack(now, leg, attempt),
            (Message::Refused { .. }, Side::Exit) => Err(Fault::RefusedUnasked),
            (Message::Refused { attempt, reason }, Side::Client) => self.handle_refused(now, leg, attempt, reason),
            (Message::Unlink { attempt }, _) => {
                self.handle_unlink(now, leg, attempt);
                Ok(())
            }
            (Message::Unlinked { attempt }, _) => self.handle_unlinked(now, leg, attempt),
        }
    }

    /// LINK on a leg that is linked: a repetition whose answer was lost, or a fault. `asked`: what it asks for, if it names
    /// this leg of this tunnel.
    fn handle_link_again(&mut self, leg: LegId, attempt: Attempt, asked: Option<Asked>) -> Result<(), Fault> {
        let is_same = asked.is_some() && self.members.get(&leg).map(|leg| leg.core().asked) == asked;
        let answer = self.linked_message(attempt, leg);
        match self.members.get_mut(&leg) {
            Some(Member::Linked(Linked { core, role: Role::Exit { asked: attempts, .. } })) => {
                let bit = 1 << attempt.number();
                if !is_same || *attempts & bit != 0 {
                    return Err(Fault::LinkTwice);
                }
                *attempts |= bit;
                core.say(answer);
                Ok(())
            }
            // On its way out: the client learns it from UNLINK.
            Some(Member::Draining(_)) if is_same => Ok(()),
            _ => Err(Fault::LinkTwice),
        }
    }

    fn handle_linked(&mut self, now: Instant, leg: LegId, attempt: Attempt, ux: DesiredUx) -> Result<(), Fault> {
        let repeat = match self.members.get_mut(&leg) {
            Some(Member::Linking(linking)) => &mut linking.repeat,
            Some(Member::Linked(Linked { role: Role::Client { repeat }, .. })) => repeat,
            // The answer to a LINK that was said before the leg was removed.
            _ => return Ok(()),
        };
        let rtt = match repeat.take_answer(now, attempt) {
            Answer::Fits(rtt) => rtt,
            Answer::Unasked => return Err(Fault::LinkedUnasked),
            Answer::Twice => return Err(Fault::LinkedTwice),
        };
        self.peer_ux = ux;
        let Some(member) = self.members.remove(&leg) else { return Ok(()) };
        let (mut linked, is_new) = match member {
            Member::Linking(linking) => (linking.into_linked(), true),
            Member::Linked(linked) => (linked, false),
            Member::Draining(draining) => {
                self.members.insert(leg, Member::Draining(draining));
                return Ok(());
            }
        };
        linked.core.say(Message::LinkedAck { attempt });
        linked.core.flight.seed_rtt(rtt);
        self.members.insert(leg, Member::Linked(linked));
        if is_new {
            self.note_linked(leg, Some(rtt));
        }
        Ok(())
    }

    fn handle_ack(&mut self, now: Instant, leg: LegId, attempt: Attempt) -> Result<(), Fault> {
        let Some(Member::Linked(linked)) = self.members.get_mut(&leg) else { return Ok(()) };
        let Role::Exit { answered, acked, is_confirmed, .. } = &mut linked.role else { return Ok(()) };
        let bit = 1 << attempt.number();
        let said_at = answered[usize::from(attempt.number())].ok_or(Fault::AckUnasked)?;
        if *acked & bit != 0 {
            return Err(Fault::AckTwice);
        }
        *acked |= bit;
        let is_first = !std::mem::replace(is_confirmed, true);
        let rtt = now.saturating_duration_since(said_at);
        linked.core.flight.seed_rtt(rtt);
        if is_first {
            self.tell(TunnelEvent::LegLinked(leg, Some(rtt)));
        }
        Ok(())
    }

    fn handle_refused(&mut self, now: Instant, leg: LegId, attempt: Attempt, reason: Refusal) -> Result<(), Fault> {
        match self.members.get_mut(&leg) {
            Some(Member::Linking(linking)) => {
                if !matches!(linking.repeat.take_answer(now, attempt), Answer::Fits(_)) {
                    return Err(Fault::RefusedUnasked);
                }
                self.release(now, leg, LegEnd::Refused(reason));
                Ok(())
            }
            Some(Member::Draining(_)) | None => Ok(()),
            Some(Member::Linked(_)) => Err(Fault::RefusedUnasked),
        }
    }

    fn handle_unlink(&mut self, now: Instant, leg: LegId, attempt: Attempt) {
        if matches!(self.members.get(&leg), Some(Member::Linking(_))) {
            // It was linked at the exit, LINKED was lost, and it is not wanted any more.
            return self.release(now, leg, LegEnd::RemovedByPeer);
        }
        if matches!(self.members.get(&leg), Some(Member::Linked(_))) {
            self.drain(now, leg, LegEnd::RemovedByPeer);
        }
        if let Some(member) = self.members.get_mut(&leg) {
            member.core_mut().say(Message::Unlinked { attempt });
        }
    }

    fn handle_unlinked(&mut self, now: Instant, leg: LegId, attempt: Attempt) -> Result<(), Fault> {
        let Some(Member::Draining(draining)) = self.members.get_mut(&leg) else { return Err(Fault::UnlinkUnlinked) };
        let Some(repeat) = &mut draining.repeat else { return Err(Fault::UnlinkUnlinked) };
        if !matches!(repeat.take_answer(now, attempt), Answer::Fits(_)) {
            return Err(Fault::UnlinkUnlinked);
        }
        if !std::mem::replace(&mut draining.is_answered, true) {
            draining.forget_at = now + drain_time(&draining.core);
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, now: Instant, leg: LegId, why: LegEnd) {
        match self.members.remove(&leg) {
            Some(Member::Linked(linked)) => {
                // Whoever is not answered gives up when UNLINK was said often enough.
                let forget_at = now + drain_time(&linked.core).max(DRAIN_AFTER_PEER);
                self.members.insert(leg, Member::Draining(linked.into_draining(now, why, forget_at)));
            }
            Some(member) => {
                self.members.insert(leg, member);
            }
            None => {}
        }
    }
}

fn drain_time<K>(core: &Core<K>) -> Duration {
    core.flight.rtt().map_or(DRAIN_MIN, |rtt| (rtt * DRAIN_ROUND_TRIPS).max(DRAIN_MIN))
}

/// Why a tunnel did not take a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAccepted {
    /// Nobody's fault. The message is the answer.
    Refused(Refusal, Message),
    /// The client broke the protocol: the circuit must be closed.
    Fault(Fault),
}
