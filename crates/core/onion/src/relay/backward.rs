//! Links to next relays, and cells from their side.

use super::circuit::Onward;
use super::table::End;
use super::{CircuitKey, Dialled, Handled, Neighbour, Relay, Side, Unreachable};
use crate::circuit::Dropped;
use crate::message::EXTEND_OVERHEAD;
use crate::parts::{self, Assembly, Part};
use crate::reason::Reason;
use rand_chacha::rand_core::Rng;
use std::time::Instant;
use wire::cell::{CellHead, CircuitId, Command};

/// Circuit ids that are tried before a link counts as full: at 65,536 circuits of 2^31 ids one is taken with
/// probability 2^-15.
const ID_TRIES_MAX: u32 = 8;

impl Relay {
    /// A link to the node of an order is up.
    pub fn connected(&mut self, now: Instant, circuit: CircuitKey, neighbour: Neighbour, dialled: Dialled) {
        let side = self.free_side(neighbour, dialled);
        let region = self.config.network.packet_size.region();
        let Some(state) = self.table.circuit_mut(circuit) else { return };
        let Onward::Connecting { first } = &mut state.onward else { return };
        let first = std::mem::take(first);
        let Some(side) = side else { return self.refuse(circuit, Reason::Full) };
        if parts::count(first.len(), region).is_none() {
            return self.refuse(circuit, Reason::Protocol);
        }
        state.onward = Onward::Creating { side, first, answer: Assembly::default() };
        self.table.join(circuit, side);
        self.wake(now);
        self.tell_not_last(circuit);
        self.queue_create(circuit);
    }

    /// The node of an order cannot be reached.
    pub fn not_connected(&mut self, circuit: CircuitKey, why: Unreachable) {
        let Some(state) = self.table.circuit(circuit) else { return };
        if matches!(state.onward, Onward::Connecting { .. }) {
            self.refuse(
                circuit,
                match why {
                    Unreachable::UnknownNode => Reason::UnknownNode,
                    Unreachable::NoLink => Reason::Unreachable,
                },
            );
        }
    }

    /// An id of this relay's kind that is neither in use nor was just now.
    fn free_side(&mut self, neighbour: Neighbour, dialled: Dialled) -> Option<Side> {
        for _ in 0..ID_TRIES_MAX {
            let number = self.rng.next_u32() & !CircuitId::DIALLER_BIT;
            let id = match dialled {
                Dialled::ByUs => number | CircuitId::DIALLER_BIT,
                Dialled::ByThem => number,
            };
            let side = Side { neighbour, id: CircuitId(id) };
            let taken = self.table.find(side).is_some() || self.leaving.contains_key(&side);
            if side.id != CircuitId::LINK && !taken {
                return Some(side);
            }
        }
        None
    }

    /// Seals this hop's layer around a cell of the next hop.
    #[inline]
    pub(super) fn handle_backward(
        &mut self,
        now: Instant,
        key: CircuitKey,
        from: Side,
        region: &mut [u8],
    ) -> Result<Handled, Dropped> {
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        // A hop that the client has not spoken to has nothing to say.
        match &circuit.onward {
            Onward::Open { side, answer: None } if *side == from => {}
            _ => return Err(Dropped::Unexpected),
        }
        if circuit.layers.pass_back(region, &mut self.filler).is_err() {
            self.end(now, key, Reason::WornOut);
            return Err(Dropped::WornOut);
        }
        let previous = circuit.previous;
        self.counters.forwarded += 1;
        Ok(Handled::Forward {
            to: previous.neighbour,
            head: CellHead { circuit: previous.id, command: Command::Relay },
        })
    }

    /// Takes a part of the next relay's answer.
    pub(super) fn handle_created(&mut self, now: Instant, side: Side, region: &[u8]) -> Result<Handled, Dropped> {
        let part = Part::read(region).map_err(|_| Dropped::Malformed)?;
        let Some((key, End::Onward)) = self.table.find(side) else { return Err(self.answer_unknown(now, side)) };
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        let room = circuit.layers.body().len() - EXTEND_OVERHEAD;
        let Onward::Creating { answer, .. } = &mut circuit.onward else { return Err(Dropped::Unexpected) };
        let Some(second) = answer.take(&part) else { return Ok(Handled::Done) };
        if parts::count(second.len(), room).is_none() {
            self.table.part(side);
            self.leave(now, side);
            self.refuse(key, Reason::Protocol);
            return Ok(Handled::Done);
        }
        circuit.onward = Onward::Open { side, answer: Some(second.into()) };
        self.queue_extended(key);
        Ok(Handled::Done)
    }
}
