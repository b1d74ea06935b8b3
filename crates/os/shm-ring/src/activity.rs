//! Activity words: which groups of queues changed, without a look at every queue's own cache line.
//!
//! One word stands for 64 queues. Its owner raises it after each publish of a position in that group; the
//! other side remembers the value it saw and looks at the group's positions only when it differs. A look at
//! 64 cold lines costs some 100 ns each, a look at the words of 512 queues one.

use crate::memory::{Readable, Writable};
use std::sync::atomic::Ordering;

/// Queues that share one activity word.
pub const QUEUES_PER_WORD: usize = 64;

/// Raises the words in our own segment.
#[derive(Debug)]
pub struct ActivityWriter {
    words_at: usize,
    counts: Vec<u64>,
}

impl ActivityWriter {
    /// For `queues` queues, whose words begin at `words_at` bytes in our segment.
    pub fn new(words_at: usize, queues: usize) -> Self {
        Self { words_at, counts: vec![0; queues.div_ceil(QUEUES_PER_WORD)] }
    }

    /// Says that a position of `queue` was published. Comes after that publish.
    pub fn raise<W: Writable>(&mut self, own: &W, queue: usize) {
        let group = queue / QUEUES_PER_WORD;
        let count = &mut self.counts[group];
        *count = count.wrapping_add(1);
        own.store(self.words_at + group * 8, *count, Ordering::Release);
    }
}

/// Watches the words in the other side's segment.
#[derive(Debug)]
pub struct ActivityWatch {
    words_at: usize,
    seen: Vec<u64>,
}

impl ActivityWatch {
    /// For `queues` queues, whose words begin at `words_at` bytes in the other segment.
    pub fn new(words_at: usize, queues: usize) -> Self {
        Self { words_at, seen: vec![0; queues.div_ceil(QUEUES_PER_WORD)] }
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.seen.len()
    }

    /// Whether any word changed since it was taken. Takes nothing.
    pub fn any_changed<T: Readable>(&self, other: &T) -> bool {
        (0..self.seen.len()).any(|group| self.load(other, group) != self.seen[group])
    }

    /// Whether the group's word changed since the last call; positions that are read after a `true` are at
    /// least as new as the change.
    pub fn take_changed<T: Readable>(&mut self, other: &T, group: usize) -> bool {
        let now = self.load(other, group);
        std::mem::replace(&mut self.seen[group], now) != now
    }

    fn load<T: Readable>(&self, other: &T, group: usize) -> u64 {
        other.load(self.words_at + group * 8, Ordering::Acquire)
    }
}
