//! Who sleeps, who rings, and why no wake-up is lost.
//!
//! Each side has a sleep counter in its own segment: odd while it sleeps, raised by one at each change.
//! The sleeper makes it odd, fences, looks once more for news, and only then blocks. The waker publishes its
//! news, fences, and reads the counter. One of the two fences comes first in the single order of all such
//! fences: if the sleeper's, the waker sees the odd counter and rings; if the waker's, the sleeper's second
//! look sees the news. The waker cannot clear the counter (it maps it read-only), so it remembers the value
//! that it rang for and rings once for each.

use crate::memory::{Readable, Writable};
use std::sync::atomic::{AtomicU64, Ordering};

/// The sleeping side's half.
#[derive(Debug)]
pub struct Sleeper {
    counter_at: usize,
    /// Atomic only so that it can be raised through a shared reference; nobody else writes it.
    count: AtomicU64,
}

impl Sleeper {
    /// A sleeper, awake, whose counter stands at `counter_at` bytes in its own segment.
    pub fn new(counter_at: usize) -> Self {
        Self { counter_at, count: AtomicU64::new(0) }
    }

    /// Announces sleep. The caller must look for news after this, and may block only if there are none.
    pub fn announce<W: Writable>(&self, own: &W) {
        let count = self.count.load(Ordering::Relaxed);
        if count.is_multiple_of(2) {
            self.count.store(count.wrapping_add(1), Ordering::Relaxed);
            own.store(self.counter_at, count.wrapping_add(1), Ordering::Release);
        }
        own.fence();
    }

    /// Says that this side is awake again and needs no bell.
    pub fn awake<W: Writable>(&self, own: &W) {
        let count = self.count.load(Ordering::Relaxed);
        if !count.is_multiple_of(2) {
            self.count.store(count.wrapping_add(1), Ordering::Relaxed);
            own.store(self.counter_at, count.wrapping_add(1), Ordering::Release);
        }
    }
}

/// The waking side's half.
#[derive(Debug)]
pub struct Waker {
    counter_at: usize,
    rung_for: u64,
}

impl Waker {
    /// A waker of the side whose counter stands at `counter_at` bytes in its segment.
    pub fn new(counter_at: usize) -> Self {
        Self { counter_at, rung_for: 0 }
    }

    /// Whether the bell must be rung for what was published before this call.
    pub fn must_ring<O: Writable, T: Readable>(&mut self, own: &O, other: &T) -> bool {
        own.fence();
        let count = other.load(self.counter_at, Ordering::Acquire);
        if count.is_multiple_of(2) || count == self.rung_for {
            return false;
        }
        self.rung_for = count;
        true
    }
}
