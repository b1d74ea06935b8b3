//! Where a packet's index leads: three generations of keys a link, of which each has one index, or three with hops.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Receiving indices and the slots of their links. Only looked up, never walked.
#[derive(Default)]
pub(crate) struct IndexTable(HashMap<u64, u32, BuildHasherDefault<IndexHasher>>);

impl IndexTable {
    #[inline]
    pub(crate) fn slot(&self, index: u64) -> Option<u32> {
        self.0.get(&index).copied()
    }

    /// False when the index is taken: a chance of 2^-48 that nobody can raise.
    pub(crate) fn insert(&mut self, index: u64, slot: u32) -> bool {
        if self.0.contains_key(&index) {
            return false;
        }
        self.0.insert(index, slot);
        true
    }

    /// Removes an index that leads to this slot; one that another link had first stays.
    pub(crate) fn remove(&mut self, index: u64, slot: u32) {
        if self.slot(index) == Some(slot) {
            self.0.remove(&index);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An index is the output of a pseudorandom function already, under keys that no stranger has.
#[derive(Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, index: u64) {
        self.0 = index;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
