//! First messages of neighbours, and what they are answered.

use super::admission::Admitted;
use super::circuit::{Onward, RelayCircuit};
use super::own::Own;
use super::table::End;
use super::{Handled, Relay, Side};
use crate::circuit::Dropped;
use crate::handshake::{Answered, SECOND_LEN, answer};
use crate::layer::RelayLayers;
use crate::message::RequestNumber;
use crate::parts::{self, Assembly, Part};
use crate::reason::Reason;
use crate::schedule::HopKeys;
use packet_crypto::keys::sha256;
use rand_chacha::rand_core::Rng;
use std::time::Instant;
use wire::cell::CircuitId;

/// First messages of which parts are missing. When there are more, parts of further ones are dropped.
pub(super) const CREATING_MAX: usize = 1_024;

/// A first message of which all parts came.
struct Whole {
    message: Vec<u8>,
    first_hash: [u8; 32],
}

/// A first message of which a part is missing.
pub(super) struct Creating {
    assembly: Assembly,
    first_hash: [u8; 32],
    pub(super) since: Instant,
}

impl Relay {
    /// Takes a part of a first message.
    pub(super) fn handle_create(&mut self, now: Instant, side: Side, region: &[u8]) -> Result<Handled, Dropped> {
        let part = Part::read(region).map_err(|_| Dropped::Malformed)?;
        if side.id == CircuitId::LINK {
            return Err(Dropped::Malformed);
        }
        match self.table.find(side) {
            Some((circuit, End::Previous)) => return self.repeat_created(circuit, &part),
            Some((_, End::Onward)) => return Err(Dropped::Unexpected),
            None => {}
        }
        let Some(whole) = self.assemble(now, side, &part)? else { return Ok(Handled::Done) };
        let refusal = if self.draining {
            Some(Reason::Draining)
        } else if self.table.is_full() {
            Some(Reason::Full)
        } else {
            match self.admission.admit(now, side.neighbour) {
                Admitted::Yes => None,
                Admitted::Later => return Err(Dropped::Full),
                Admitted::Full => Some(Reason::Full),
            }
        };
        if let Some(reason) = refusal {
            self.queue(side.neighbour, Own::Destroy { id: side.id, reason });
            return Err(Dropped::Full);
        }
        self.answer(now, side, &whole);
        Ok(Handled::Done)
    }

    /// The whole message, once all parts are there.
    fn assemble(&mut self, now: Instant, side: Side, part: &Part<'_>) -> Result<Option<Whole>, Dropped> {
        if part.count == 1 {
            self.creating.remove(&side);
            return Ok(Some(Whole { message: part.bytes.to_vec(), first_hash: sha256(part.bytes) }));
        }
        if !self.creating.contains_key(&side) && self.creating.len() >= CREATING_MAX {
            return Err(Dropped::Full);
        }
        self.wake(now);
        let begun = Creating { assembly: Assembly::default(), first_hash: [0; 32], since: now };
        let creating = self.creating.entry(side).or_insert(begun);
        if part.index == 0 {
            creating.first_hash = sha256(part.bytes);
        }
        let Some(message) = creating.assembly.take(part) else { return Ok(None) };
        let first_hash = creating.first_hash;
        self.creating.remove(&side);
        Ok(Some(Whole { message, first_hash }))
    }

    /// The same first message again: the same answer again, until the client has it. No work, no state.
    fn repeat_created(&mut self, circuit: super::CircuitKey, part: &Part<'_>) -> Result<Handled, Dropped> {
        let state = self.table.circuit(circuit).ok_or(Dropped::UnknownCircuit)?;
        if part.index != 0 {
            return Ok(Handled::Done);
        }
        if sha256(part.bytes) != state.first_hash || state.created.is_none() {
            return Err(Dropped::Unexpected);
        }
        let neighbour = state.previous.neighbour;
        self.queue_created(neighbour, circuit);
        Ok(Handled::Done)
    }

    /// Works on a first message.
    fn answer(&mut self, now: Instant, side: Side, whole: &Whole) {
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        self.counters.handshakes += 1;
        let config = &self.config;
        let answered = answer(&config.network, &config.node_id, &self.keys, config.features, ephemeral, &whole.message);
        match answered {
            Err(error) => self.queue(side.neighbour, Own::Destroy { id: side.id, reason: error.into() }),
            Ok(answer) => match answer.agreed {
                None => self.queue(side.neighbour, Own::Refusal { id: side.id, second: Box::new(answer.second) }),
                Some((keys, answered)) => {
                    let single = answer.is_lasting;
                    self.open(now, side, (&keys, answered, single), answer.second, whole.first_hash);
                }
            },
        }
    }

    fn open(
        &mut self,
        now: Instant,
        side: Side,
        (keys, answered, is_single): (&HopKeys, Answered, bool),
        second: [u8; SECOND_LEN],
        first_hash: [u8; 32],
    ) {
        let region = self.config.network.packet_size.region();
        // A neighbour that uses an id again has forgotten the circuit that it was.
        self.leaving.remove(&side);
        let circuit = self.table.insert(Box::new(RelayCircuit {
            previous: side,
            layers: RelayLayers::new(keys, answered.position, region),
            binding: keys.binding.clone(),
            features: answered.welcome.features,
            is_single,
            first_hash,
            created: Some(Box::new(second)),
            onward: Onward::End,
            from: 0,
            request: RequestNumber::UNASKED,
            heard: now,
            delivered: false,
        }));
        self.admission.opened(side.neighbour);
        self.wake(now);
        self.queue_created(side.neighbour, circuit);
    }

    fn queue_created(&mut self, to: super::Neighbour, circuit: super::CircuitKey) {
        let region = self.config.network.packet_size.region();
        let count = parts::count(SECOND_LEN, region).unwrap_or_default();
        self.queue_parts(to, count, |index| Own::Created { circuit, index });
    }
}
