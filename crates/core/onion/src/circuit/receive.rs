//! What comes to a circuit.

use super::build::Outcome;
use super::meeting::Role;
use super::{Cause, Circuit, CircuitEvent, Dropped, Hop, Received, State};
use crate::layer::{CLIENT_INNER, OpenError, Position, TakeError, Taken};
use crate::message::{Reply, RequestNumber};
use crate::parts::Part;
use crate::reason::Reason;
use std::time::Instant;
use wire::cell::Command;

impl Circuit {
    /// Takes a cell that came on the circuit: its command and its region, which is opened in place.
    pub fn handle_cell(&mut self, now: Instant, command: Command, region: &mut [u8]) -> Received {
        let handled = match command {
            Command::Relay => return self.handle_layers(now, region).unwrap_or_else(Received::Dropped),
            Command::Created => self.handle_created(now, region),
            Command::Destroy => {
                self.handle_destroy(Reason::from(region.first().copied().unwrap_or_default()));
                Ok(())
            }
            Command::Destroyed => self.handle_destroyed(),
            _ => Err(Dropped::Unexpected),
        };
        handled.map_or_else(Received::Dropped, |()| Received::Handled)
    }

    fn handle_layers(&mut self, now: Instant, region: &mut [u8]) -> Result<Received, Dropped> {
        let taken = self.layers.open(region).map_err(|error| match error {
            TakeError::Layer(OpenError::Replayed) => Dropped::Replayed,
            TakeError::Layer(OpenError::Forged) => Dropped::Forged,
            TakeError::Stale => Dropped::Stale,
        })?;
        if !taken.addressed {
            return if self.is_ready() { self.handle_inner(taken.number, region) } else { Err(Dropped::Stale) };
        }
        let body = &region[taken.hop.client_body()..];
        let (number, reply) = Reply::read(body).map_err(|_| Dropped::Malformed)?;
        match reply {
            Reply::Extended(part) => self.handle_extended(now, taken, number, &part),
            Reply::Truncated(reason) if number == RequestNumber::UNASKED => self.handle_severed(taken, reason),
            Reply::Truncated(_) => self.handle_truncated(taken, number),
            Reply::Refused(reason) => self.handle_refused(now, taken, number, reason),
            Reply::Done => self.handle_done(taken, number),
            Reply::Passed(part) => self.handle_passed(now, taken.hop, number, &part),
        }?;
        Ok(Received::Handled)
    }

    /// A cell of the last hop, or through it of the other end.
    fn handle_inner(&mut self, number: u64, region: &mut [u8]) -> Result<Received, Dropped> {
        let number = match &mut self.far {
            None => number,
            Some(far) => far.open(&mut region[CLIENT_INNER..]).map_err(|error| match error {
                OpenError::Replayed => Dropped::Replayed,
                OpenError::Forged => Dropped::Forged,
            })?,
        };
        Ok(Received::Inner { number })
    }

    fn handle_created(&mut self, now: Instant, region: &[u8]) -> Result<(), Dropped> {
        let part = Part::read(region).map_err(|_| Dropped::Malformed)?;
        let State::Building(build) = &mut self.state else { return Err(Dropped::Unexpected) };
        if build.position() != Position::FIRST {
            return Err(Dropped::Unexpected);
        }
        let outcome = build.take(now, &part);
        self.settle(now, outcome, None);
        Ok(())
    }

    fn handle_extended(
        &mut self,
        now: Instant,
        taken: Taken,
        number: RequestNumber,
        part: &Part<'_>,
    ) -> Result<(), Dropped> {
        let State::Building(build) = &mut self.state else { return Err(Dropped::Unexpected) };
        if !build.is_asked_by(number) || taken.hop.next() != Some(build.position()) {
            return Err(Dropped::Unexpected);
        }
        let outcome = build.take(now, part);
        self.settle(now, outcome, Some(taken));
        Ok(())
    }

    /// Acts on what an answer has led to. `said`: the cell that brought it through a hop.
    fn settle(&mut self, now: Instant, outcome: Outcome, said: Option<Taken>) {
        match outcome {
            Outcome::Pending => {}
            Outcome::VersionRefused => self.fail_build(now, Cause::Version),
            Outcome::Forged => self.fail_build(now, Cause::Handshake),
            Outcome::Built(keys, node_id, figures) => {
                if let Some(said) = said {
                    self.layers.note(said);
                }
                self.layers.push(&keys);
                self.hops.push(Hop { node_id, figures, binding: keys.binding });
                self.state = State::Ready;
                if let Some(position) = self.layers.last() {
                    self.tell(CircuitEvent::Extended { position });
                }
            }
        }
    }

    fn handle_refused(
        &mut self,
        now: Instant,
        taken: Taken,
        number: RequestNumber,
        reason: Reason,
    ) -> Result<(), Dropped> {
        if let State::Asking(asking) = &self.state {
            if asking.request() != number || Some(taken.hop) != self.layers.last() {
                return Err(Dropped::Unexpected);
            }
            self.layers.note(taken);
            self.fail_ask(Cause::Told(reason));
            return Ok(());
        }
        let State::Building(build) = &self.state else { return Err(Dropped::Unexpected) };
        if !build.is_asked_by(number) || taken.hop.next() != Some(build.position()) {
            return Err(Dropped::Unexpected);
        }
        self.layers.note(taken);
        self.fail_build(now, Cause::Told(reason));
        Ok(())
    }

    fn handle_truncated(&mut self, taken: Taken, number: RequestNumber) -> Result<(), Dropped> {
        match self.state {
            State::Truncating { last, request, .. } if request == number && last == taken.hop => {}
            _ => return Err(Dropped::Unexpected),
        }
        self.cut(taken);
        self.state = State::Ready;
        self.tell(CircuitEvent::Truncated { last: taken.hop });
        Ok(())
    }

    /// A relay lost what was behind it.
    fn handle_severed(&mut self, taken: Taken, reason: Reason) -> Result<(), Dropped> {
        let last = self.layers.last();
        let concerns = match &self.state {
            State::Ready if !matches!(self.role, Role::None) => Some(taken.hop) <= last,
            State::Ready | State::Severed => Some(taken.hop) < last,
            State::Building(_) | State::Asking(_) => Some(taken.hop) <= last,
            State::Truncating { last, .. } => taken.hop < *last,
            State::Closed { .. } => false,
        };
        if !concerns {
            return Err(Dropped::Unexpected);
        }
        self.cut(taken);
        self.state = State::Severed;
        self.tell(CircuitEvent::Severed { last: taken.hop, reason });
        Ok(())
    }

    fn cut(&mut self, said: Taken) {
        self.leave_meeting();
        self.layers.cut(said);
        self.hops.truncate(usize::from(said.hop.number()));
    }

    /// The neighbour says that the circuit is gone, and is answered each time.
    fn handle_destroy(&mut self, reason: Reason) {
        if let State::Closed { telling, asked } = &mut self.state {
            (*telling, *asked) = (None, true);
            return;
        }
        self.leave_meeting();
        self.state = State::Closed { telling: None, asked: true };
        self.tell(CircuitEvent::Closed { cause: Cause::Told(reason) });
    }

    fn handle_destroyed(&mut self) -> Result<(), Dropped> {
        match &mut self.state {
            State::Closed { telling: telling @ Some(_), .. } => {
                *telling = None;
                Ok(())
            }
            _ => Err(Dropped::Unexpected),
        }
    }

    /// The link that the circuit goes over is down: it ends without a word.
    pub fn handle_link_down(&mut self) {
        if !matches!(self.state, State::Closed { .. }) {
            self.tell(CircuitEvent::Closed { cause: Cause::Told(Reason::LinkDown) });
        }
        self.leave_meeting();
        self.state = State::Closed { telling: None, asked: false };
    }
}
