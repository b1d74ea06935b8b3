//! Counts of what was swapped in this process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Connections that could have been swapped.
    Connections,
    /// Connections with a ring each way.
    Linked,
    /// Calls that sent through a ring.
    RingSends,
    /// Calls that received through a ring.
    RingReceives,
    /// Turns from ring to socket because the ring was full or the call needed the socket.
    Spills,
    /// Doorbells sent.
    Bells,
    /// Connections that went back to their sockets for good.
    Plain,
}

const NAMES: [&str; 7] = ["connections", "linked", "ring_sends", "ring_receives", "spills", "bells", "plain"];
static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];
static WANTED: AtomicBool = AtomicBool::new(false);

/// Somebody wants to know: from now on it is counted.
pub fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Adds one, if somebody wants to know: a locked instruction costs a small message as much as all else.
#[inline]
pub fn add(count: Count) {
    if WANTED.load(Ordering::Relaxed) {
        COUNTS[count as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// All counts with their names, which `hushwire swap --stats` and `status` show.
pub fn counts() -> impl Iterator<Item = (&'static str, u64)> {
    NAMES.into_iter().zip(COUNTS.iter().map(|count| count.load(Ordering::Relaxed)))
}
