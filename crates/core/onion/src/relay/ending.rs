//! How circuits end: told by a neighbour, with a link, by silence, or by this relay.

use super::circuit::Onward;
use super::create::Creating;
use super::own::Own;
use super::table::End;
use super::{CircuitKey, Handled, LEAVING_MAX, Neighbour, Relay, RelayEvent, Side};
use crate::circuit::{DESTROY_TRIES_MAX, Dropped};
use crate::reason::Reason;
use crate::repeat::{Repeat, Turn};
use std::time::{Duration, Instant};

/// How often the relay looks for what is due.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// A circuit whose client has not shown in this time that it has the answer is forgotten. Longer than clients try for it.
const HALF_OPEN_MAX: Duration = Duration::from_secs(30);

/// A side of a circuit that is gone: its neighbour is told until it says that it knows.
pub(super) struct Leaving {
    reason: Reason,
    repeat: Repeat,
}

impl Relay {
    /// The neighbour says that a circuit is gone. It is answered whether or not there was one, so that it stops saying so.
    pub(super) fn handle_destroy(&mut self, now: Instant, side: Side, region: &[u8]) -> Result<Handled, Dropped> {
        let reason = Reason::from(region.first().copied().unwrap_or_default());
        self.queue(side.neighbour, Own::Destroyed { id: side.id });
        self.creating.remove(&side);
        self.leaving.remove(&side);
        match self.table.find(side) {
            Some((circuit, End::Previous)) => {
                self.remove(now, circuit, reason);
            }
            Some((circuit, End::Onward)) => self.lose_onward(now, circuit, reason),
            None => {}
        }
        Ok(Handled::Done)
    }

    pub(super) fn handle_destroyed(&mut self, side: Side) -> Result<Handled, Dropped> {
        self.leaving.remove(&side).map(|_| Handled::Done).ok_or(Dropped::Unexpected)
    }

    /// A link is down: what went over it ends at this node, and goes on to end at the others.
    pub fn handle_link_down(&mut self, now: Instant, neighbour: Neighbour) {
        let of = |side: Option<Side>| side.is_some_and(|side| side.neighbour == neighbour);
        let here: Vec<CircuitKey> = self
            .table
            .iter()
            .filter_map(|(key, circuit)| (of(Some(circuit.previous)) || of(circuit.onward.side())).then_some(key))
            .collect();
        for key in here {
            if self.table.circuit(key).is_some_and(|circuit| of(Some(circuit.previous))) {
                self.remove(now, key, Reason::LinkDown);
            } else {
                self.lose_onward(now, key, Reason::LinkDown);
            }
        }
        self.leaving.retain(|side, _| side.neighbour != neighbour);
        self.creating.retain(|side, _| side.neighbour != neighbour);
        self.own.forget(neighbour);
        self.admission.forget(neighbour);
    }

    /// Does what is due: says endings again, forgets circuits that nobody uses.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|due| now < due) {
            return;
        }
        self.next_sweep = None;
        let idle_after = self.config.idle_after;
        let silent: Vec<CircuitKey> = self
            .table
            .iter()
            .filter_map(|(key, circuit)| {
                let limit = if circuit.created.is_some() { HALF_OPEN_MAX } else { idle_after };
                (now.saturating_duration_since(circuit.heard) >= limit).then_some(key)
            })
            .collect();
        for key in silent {
            self.end(now, key, Reason::TimedOut);
        }
        self.end_overdue(now);
        self.creating.retain(|_, Creating { since, .. }| now.saturating_duration_since(*since) < HALF_OPEN_MAX);
        let due: Vec<Side> = self
            .leaving
            .iter()
            .filter_map(|(side, leaving)| (leaving.repeat.turn(now) != Turn::Wait).then_some(*side))
            .collect();
        for side in due {
            self.say_again(now, side);
        }
        if self.table.len() > 0 || !self.leaving.is_empty() || !self.creating.is_empty() {
            self.wake(now);
        }
    }

    fn say_again(&mut self, now: Instant, side: Side) {
        let Some(leaving) = self.leaving.get_mut(&side) else { return };
        if leaving.repeat.turn(now) == Turn::Over {
            self.leaving.remove(&side);
            return;
        }
        leaving.repeat.said(now, &mut self.rng);
        let reason = leaving.reason;
        self.queue(side.neighbour, Own::Destroy { id: side.id, reason });
    }

    /// There is something to look after.
    pub(super) fn wake(&mut self, now: Instant) {
        self.next_sweep.get_or_insert(now + SWEEP_INTERVAL);
    }

    /// Ends a circuit at this relay: its client is told why, whoever is behind it that it is done.
    pub(super) fn end(&mut self, now: Instant, key: CircuitKey, reason: Reason) {
        let Some(previous) = self.remove(now, key, reason) else { return };
        self.leave_with(now, previous, reason);
    }

    /// Forgets a circuit and ends what is behind it. Gives the side towards the client.
    fn remove(&mut self, now: Instant, key: CircuitKey, reason: Reason) -> Option<Side> {
        let circuit = self.table.remove(key)?;
        self.admission.closed(circuit.previous.neighbour);
        self.unlink(now, key, circuit.previous, circuit.onward);
        if circuit.delivered {
            self.tell(RelayEvent::Closed { circuit: key, reason });
        }
        Some(circuit.previous)
    }

    /// What was behind a hop is gone.
    fn lose_onward(&mut self, now: Instant, key: CircuitKey, reason: Reason) {
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        let Some(side) = circuit.onward.side() else { return };
        let previous = circuit.previous.neighbour;
        let created = matches!(circuit.onward, Onward::Open { .. });
        if created {
            circuit.onward = Onward::Severed { reason, told: now };
        }
        self.table.part(side);
        if created {
            self.queue(previous, Own::Truncated { circuit: key });
        } else {
            self.refuse(key, reason);
        }
    }

    /// Tells the next relay that a circuit is done: nothing else, whatever the cause was.
    pub(super) fn leave(&mut self, now: Instant, side: Side) {
        self.leave_with(now, side, Reason::Finished);
    }

    fn leave_with(&mut self, now: Instant, side: Side, reason: Reason) {
        self.queue(side.neighbour, Own::Destroy { id: side.id, reason });
        if self.leaving.len() < LEAVING_MAX {
            let mut repeat = Repeat::new(now, DESTROY_TRIES_MAX);
            repeat.said(now, &mut self.rng);
            self.leaving.insert(side, Leaving { reason, repeat });
            self.wake(now);
        }
    }
}
