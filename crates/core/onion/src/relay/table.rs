//! Where a cell's circuit is: one lookup for each cell, whatever ids a neighbour chooses.

use super::circuit::RelayCircuit;
use super::{RelayConfig, Side};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// Circuits that a relay has at most, whatever its configuration says.
pub const CIRCUITS_MAX: u32 = 65_536;

/// A circuit of one relay; another circuit never gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitKey {
    slot: u32,
    generation: u32,
}

impl CircuitKey {
    /// The key of a circuit that is in no relay's table, for those who stand in for a relay: each number means one circuit.
    pub fn numbered(number: u64) -> Self {
        Self { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Which end of a circuit a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Towards the client.
    Previous,
    /// Away from it.
    Onward,
}

/// All circuits, and the sides that lead to them.
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Only looked up, never walked.
    sides: HashMap<u64, (u32, End), SideHash>,
    limit: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    circuit: Option<Box<RelayCircuit>>,
}

impl Table {
    /// `hash` is random: with it, no neighbour can choose ids that are slow to look up.
    pub(super) fn new(config: &RelayConfig, hash: [u64; 2]) -> Self {
        let limit = config.circuits_max.min(CIRCUITS_MAX);
        Self { slots: Vec::new(), free: Vec::new(), sides: HashMap::with_hasher(SideHash(hash)), limit }
    }

    pub(super) fn len(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    /// Sides that lead somewhere.
    pub(super) fn sides(&self) -> usize {
        self.sides.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    #[inline]
    pub(super) fn find(&self, side: Side) -> Option<(CircuitKey, End)> {
        let (slot, end) = self.sides.get(&word(side))?;
        let generation = self.slots.get(*slot as usize)?.generation;
        Some((CircuitKey { slot: *slot, generation }, *end))
    }

    pub(super) fn circuit(&self, key: CircuitKey) -> Option<&RelayCircuit> {
        let slot = self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        slot.circuit.as_deref()
    }

    #[inline]
    pub(super) fn circuit_mut(&mut self, key: CircuitKey) -> Option<&mut RelayCircuit> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        slot.circuit.as_deref_mut()
    }

    /// Adds a circuit under its side towards the client, which is free. The caller has asked whether the table is full.
    pub(super) fn insert(&mut self, circuit: Box<RelayCircuit>) -> CircuitKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        self.sides.insert(word(circuit.previous), (slot, End::Previous));
        let place = &mut self.slots[slot as usize];
        place.circuit = Some(circuit);
        CircuitKey { slot, generation: place.generation }
    }

    /// Lets a side, which is free, lead to a circuit's far end.
    pub(super) fn join(&mut self, key: CircuitKey, side: Side) {
        self.sides.insert(word(side), (key.slot, End::Onward));
    }

    /// The side leads nowhere any more.
    pub(super) fn part(&mut self, side: Side) {
        self.sides.remove(&word(side));
    }

    /// Takes a circuit out, with its side towards the client.
    pub(super) fn remove(&mut self, key: CircuitKey) -> Option<Box<RelayCircuit>> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        let circuit = slot.circuit.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        self.part(circuit.previous);
        Some(circuit)
    }

    /// All circuits, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CircuitKey, &RelayCircuit)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            let circuit = place.circuit.as_deref()?;
            Some((CircuitKey { slot: slot as u32, generation: place.generation }, circuit))
        })
    }
}

#[inline]
fn word(side: Side) -> u64 {
    u64::from(side.neighbour.0) << 32 | u64::from(side.id.0)
}

/// Multiplies by a secret and folds. Circuit ids are the neighbour's choice, and whoever knows the hash could
/// choose them so that they all fall together.
struct SideHash([u64; 2]);

impl BuildHasher for SideHash {
    type Hasher = SideHasher;

    fn build_hasher(&self) -> SideHasher {
        SideHasher { key: self.0, word: 0 }
    }
}

struct SideHasher {
    key: [u64; 2],
    word: u64,
}

impl Hasher for SideHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.word = self.word.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.word = word;
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.word ^ self.key[0]) * u128::from(self.key[1] | 1);
        (product >> 64) as u64 ^ product as u64
    }
}
