//! Cells that a relay makes itself. They wait as orders and are written when their slot comes.

use super::circuit::Onward;
use super::{CircuitKey, Neighbour, Relay};
use crate::circuit::Dropped;
use crate::message::{EXTEND_OVERHEAD, Reply, RequestNumber};
use crate::parts;
use crate::reason::Reason;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Instant;
use wire::cell::{CellHead, CircuitId, Command};

/// Own cells that wait for one link. When there are more the newest is dropped, counted: what matters is repeated.
pub const CELLS_PER_NEIGHBOUR_MAX: usize = 256;

/// A cell of the relay's own.
pub(super) enum Own {
    /// A part of the first message, to the next relay.
    Create { circuit: CircuitKey, index: u8 },
    /// A part of this relay's answer, towards the client.
    Created { circuit: CircuitKey, index: u8 },
    /// An answer that makes no circuit.
    Refusal { id: CircuitId, second: Box<[u8]> },
    /// A part of the next relay's answer, to the client.
    Extended { circuit: CircuitKey, index: u8 },
    /// The extension was refused.
    Refused { circuit: CircuitKey },
    /// What was asked is done.
    Done { circuit: CircuitKey },
    /// A part of what the client of this circuit says, to the client of another.
    Passed { circuit: CircuitKey, index: u8 },
    /// There is nothing behind this hop.
    Truncated { circuit: CircuitKey },
    /// The circuit is gone.
    Destroy { id: CircuitId, reason: Reason },
    /// As the neighbour said, the circuit is gone.
    Destroyed { id: CircuitId },
}

/// The cells that wait, by link.
#[derive(Default)]
pub(super) struct OwnCells(BTreeMap<Neighbour, VecDeque<Own>>);

impl OwnCells {
    /// False when there was no room.
    pub(super) fn push(&mut self, to: Neighbour, cell: Own) -> bool {
        let queue = self.0.entry(to).or_default();
        let room = queue.len() < CELLS_PER_NEIGHBOUR_MAX;
        if room {
            queue.push_back(cell);
        }
        room
    }

    fn pop(&mut self, to: Neighbour) -> Option<Own> {
        let queue = self.0.get_mut(&to)?;
        let cell = queue.pop_front();
        if queue.is_empty() {
            self.0.remove(&to);
        }
        cell
    }

    pub(super) fn forget(&mut self, neighbour: Neighbour) {
        self.0.remove(&neighbour);
    }
}

impl Relay {
    /// The links for which own cells wait, in the order of their numbers.
    pub fn waiting(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.own.0.keys().copied()
    }

    /// The link with the lowest number above `after` for which own cells wait. For taking them in turn.
    pub fn next_waiting(&self, after: Option<Neighbour>) -> Option<Neighbour> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.own.0.range((from, Bound::Unbounded)).next().map(|(neighbour, _)| *neighbour)
    }

    /// The next own cell for a link, if there is one: its whole region is written.
    pub fn poll_cell(&mut self, now: Instant, to: Neighbour, region: &mut [u8]) -> Option<CellHead> {
        loop {
            let cell = self.own.pop(to)?;
            region.fill(0);
            // What a circuit has got over since the cell was ordered is not said any more.
            if let Some(head) = self.write(now, cell, region) {
                return Some(head);
            }
        }
    }

    fn write(&mut self, now: Instant, cell: Own, region: &mut [u8]) -> Option<CellHead> {
        let (id, command) = match cell {
            Own::Create { circuit, index } => {
                let Onward::Creating { side, first, .. } = &self.table.circuit(circuit)?.onward else { return None };
                parts::part(first, index, region.len())?.write(region);
                (side.id, Command::Create)
            }
            Own::Created { circuit, index } => {
                let circuit = self.table.circuit(circuit)?;
                parts::part(circuit.created.as_ref()?, index, region.len())?.write(region);
                (circuit.previous.id, Command::Created)
            }
            Own::Refusal { id, second } => {
                parts::part(&second, 0, region.len())?.write(region);
                (id, Command::Created)
            }
            Own::Destroy { id, reason } => {
                region[0] = reason as u8;
                (id, Command::Destroy)
            }
            Own::Destroyed { id } => (id, Command::Destroyed),
            Own::Passed { circuit, index } => return self.write_passed(now, circuit, index, region),
            Own::Extended { circuit, .. }
            | Own::Refused { circuit }
            | Own::Truncated { circuit }
            | Own::Done { circuit } => {
                return self.write_reply(now, circuit, &cell, region);
            }
        };
        Some(CellHead { circuit: id, command })
    }

    /// Writes a control message to the client and seals it.
    fn write_reply(&mut self, now: Instant, key: CircuitKey, cell: &Own, region: &mut [u8]) -> Option<CellHead> {
        let circuit = self.table.circuit(key)?;
        let body = &mut region[circuit.layers.body()];
        let room = body.len() - EXTEND_OVERHEAD;
        let (number, reply) = match (cell, &circuit.onward) {
            (Own::Extended { index, .. }, Onward::Open { answer: Some(answer), .. }) => {
                (circuit.request, Reply::Extended(parts::part(answer, *index, room)?))
            }
            (Own::Refused { .. }, Onward::Refused(reason)) => (circuit.request, Reply::Refused(*reason)),
            (Own::Done { .. }, Onward::Waiting(_) | Onward::Point(_) | Onward::Introduced | Onward::Spliced { .. }) => {
                (circuit.request, Reply::Done)
            }
            (Own::Truncated { .. }, Onward::End) => (circuit.request, Reply::Truncated(Reason::Finished)),
            (Own::Truncated { .. }, Onward::Severed { reason, .. }) => {
                (RequestNumber::UNASKED, Reply::Truncated(*reason))
            }
            _ => return None,
        };
        reply.write(number, body);
        self.seal_reply(now, key, region)
    }

    /// Writes what one client says to another.
    fn write_passed(&mut self, now: Instant, from: CircuitKey, index: u8, region: &mut [u8]) -> Option<CellHead> {
        let Onward::Passing(passing) = &self.table.circuit(from)?.onward else { return None };
        let (to, number) = (passing.to(), passing.number());
        let body = &mut region[self.table.circuit(to)?.layers.body()];
        let part = passing.part(index, body.len() - EXTEND_OVERHEAD)?;
        Reply::Passed(part).write(number, body);
        self.seal_reply(now, to, region)
    }

    fn seal_reply(&mut self, now: Instant, key: CircuitKey, region: &mut [u8]) -> Option<CellHead> {
        let circuit = self.table.circuit_mut(key)?;
        let previous = circuit.previous;
        if circuit.layers.seal(region, true, &mut self.filler).is_err() {
            self.end(now, key, Reason::WornOut);
            return None;
        }
        Some(CellHead { circuit: previous.id, command: Command::Relay })
    }

    /// Orders all parts of a message.
    pub(super) fn queue_parts(&mut self, to: Neighbour, count: u8, cell: impl Fn(u8) -> Own) {
        for index in 0..count {
            self.queue(to, cell(index));
        }
    }

    /// Answers a cell of a circuit that is not there, unless its end is being told anyway.
    pub(super) fn answer_unknown(&mut self, now: Instant, side: super::Side) -> Dropped {
        let told = self.leaving.contains_key(&side);
        if !told && self.unknown_answers.admit(now, super::UNKNOWN_ANSWERS_PER_SECOND_MAX) {
            self.queue(side.neighbour, Own::Destroy { id: side.id, reason: Reason::UnknownCircuit });
        }
        Dropped::UnknownCircuit
    }
}
