//! What tunnels hold: an account for each, and the bound on all of them together.
//!
//! The bound is kept by three rules, of which each is of no concern to a tunnel that holds little:
//!
//! 1. A tunnel takes more of its own will (bytes of its flows, new flows, packets that wait for others) only as long as it holds
//!    less than what is free beyond a quarter. So the one that holds most is told no first, a lone one has three eighths of all, and
//!    what tunnels take so never leads to the second rule.
//! 2. What the other end may send cannot be taken back. When less than an eighth is free, the tunnel that holds most gives up
//!    waiting for missing packets and loses its flow that holds most, and again, until an eighth is free. One that holds most
//!    without a flow that does loses its session.
//! 3. While less than that is free an exit takes no new tunnel.

use crate::tunnel::Tunnel;
use conflux::LegsMemory;
use serde::{Deserialize, Serialize};
use session::SessionMemory;
use std::ops::Add;
use std::time::Duration;

/// Usual bound on what all tunnels of a process hold, in bytes.
pub const MEMORY_MAX: u64 = 512 * 1024 * 1024;
/// Smallest bound that works: a tunnel then still fills a path of 100 Mbit/s and 100 ms.
pub const MEMORY_MAX_LEAST: u64 = 16 * 1024 * 1024;

/// What is charged for a tunnel and its session beside everything that is counted: keys, tables, and what quinn and TLS keep of a
/// connection.
pub const TUNNEL_BYTES: u64 = 32 * 1024;
/// What is charged for a circuit that is being built.
pub(crate) const HANDSHAKE_BYTES: u64 = 8 * 1024;

/// With less room than this a tunnel takes nothing: it would be pieces smaller than a packet.
const ROOM_LEAST: u64 = 4 * 1024;
/// When a tunnel without room is looked at again, if nothing of its own happens before.
pub(crate) const ROOM_WAIT: Duration = Duration::from_millis(20);
/// Flows that end in one go for want of memory. If that was not enough, the next packet that comes ends more.
pub(crate) const CUTS_MAX: usize = 64;

/// What one tunnel holds, in bytes by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryAccount {
    /// Packets that wait for others that are missing.
    pub reorder: u64,
    /// Bytes that came for flows and were not read, because readers are slow or bytes before them are missing.
    pub unread: u64,
    /// Bytes of flows that the other end has not acknowledged, sent or not.
    pub unacknowledged: u64,
    /// Control messages of the session and datagrams that wait to be sent or for their other half.
    pub waiting: u64,
    /// Legs: what is remembered of their cells in flight, and their messages.
    pub legs: u64,
    /// Circuits that are being built for it.
    pub handshakes: u64,
    /// What keeps all of that: parts of packets, tables, keys, and [`TUNNEL_BYTES`].
    pub overhead: u64,
    /// Queues of its flows, both ways: what is set aside for them, used or not. A node does so when it starts, for all `max_flows`
    /// flows, so they do not count against the bound.
    pub queues: u64,
}

impl MemoryAccount {
    /// What counts against the bound: all but the queues.
    pub fn total(&self) -> u64 {
        let Self { reorder, unread, unacknowledged, waiting, legs, handshakes, overhead, queues: _ } = self;
        reorder + unread + unacknowledged + waiting + legs + handshakes + overhead
    }

    /// Of a tunnel as far as there is one: its legs, then its session. Queues are left out. `building`: circuits in the making.
    pub(crate) fn of<K>(joined: Option<(&conflux::Tunnel<K>, Option<&Tunnel>)>, building: usize) -> Self {
        let handshakes = building as u64 * HANDSHAKE_BYTES;
        let Some((legs, tunnel)) = joined else { return Self { handshakes, ..Self::default() } };
        let LegsMemory { reorder, legs } = legs.memory();
        let session = tunnel.map_or_else(SessionMemory::default, |tunnel| tunnel.session.memory());
        let SessionMemory { unread, unacknowledged, waiting, overhead } = session;
        Self {
            reorder: reorder as u64,
            unread,
            unacknowledged,
            waiting,
            legs: legs as u64,
            handshakes,
            overhead: overhead + TUNNEL_BYTES,
            queues: 0,
        }
    }
}

impl Add for MemoryAccount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reorder: self.reorder + other.reorder,
            unread: self.unread + other.unread,
            unacknowledged: self.unacknowledged + other.unacknowledged,
            waiting: self.waiting + other.waiting,
            legs: self.legs + other.legs,
            handshakes: self.handshakes + other.handshakes,
            overhead: self.overhead + other.overhead,
            queues: self.queues + other.queues,
        }
    }
}

/// What all tunnels of a process hold together.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    max: u64,
    held: u64,
    peak: u64,
    /// Flows that ended for want of memory.
    pub(crate) cuts: u64,
    /// Tunnels that were not begun for want of memory.
    pub(crate) refused: u64,
}

/// What the pool was told of one tunnel. It must be given back when the tunnel ends.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Charge(u64);

impl Charge {
    pub(crate) fn bytes(&self) -> u64 {
        self.0
    }
}

impl MemoryPool {
    pub(crate) fn new(max: u64) -> Self {
        Self { max: max.max(MEMORY_MAX_LEAST), held: 0, peak: 0, cuts: 0, refused: 0 }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    fn free(&self) -> u64 {
        self.max.saturating_sub(self.held)
    }

    /// Whether flows have to end, and no tunnel may begin.
    pub(crate) fn is_short(&self) -> bool {
        self.free() < self.max / 8
    }

    /// Whether they have to although so much goes by itself, with sessions that are over.
    pub(crate) fn is_short_without(&self, going: u64) -> bool {
        self.free().saturating_add(going) < self.max / 8
    }

    /// A tunnel holds so much now. Returns how much more it may take, so that it still holds less than what is then free beyond a
    /// quarter of all.
    pub(crate) fn charge(&mut self, charge: &mut Charge, held: u64) -> u64 {
        self.held = self.held - charge.0 + held;
        self.peak = self.peak.max(self.held);
        charge.0 = held;
        let room = self.free().saturating_sub(self.max / 4).saturating_sub(held) / 2;
        if room < ROOM_LEAST { 0 } else { room }
    }

    /// A tunnel is over.
    pub(crate) fn give_back(&mut self, charge: &mut Charge) {
        self.held -= std::mem::take(charge).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_tunnel_that_holds_most_is_told_no_first_and_a_small_one_goes_on() {
        let mut pool = MemoryPool::new(64 * MIB);
        let (mut large, mut small) = (Charge::default(), Charge::default());
        let room = pool.charge(&mut large, MIB);
        assert_eq!(room, 23 * MIB, "then it holds three eighths");
        assert_eq!(pool.charge(&mut large, MIB + room), 0);
        assert_eq!(pool.charge(&mut small, MIB), 11 * MIB, "then it holds half of what is left beyond a quarter");
        assert_eq!((pool.held, pool.peak()), (25 * MIB, 25 * MIB));
        pool.give_back(&mut large);
        assert_eq!((pool.held, large), (MIB, Charge::default()));
        assert_eq!(pool.charge(&mut small, 2 * MIB), 22 * MIB);
    }

    #[test]
    fn whoever_takes_what_there_is_room_for_never_passes_the_bound() {
        let mut pool = MemoryPool::new(16 * MIB);
        let mut charges: Vec<(Charge, u64)> = Vec::new();
        for _ in 0..500 {
            charges.push((Charge::default(), 0));
            for (charge, held) in &mut charges {
                *held += pool.charge(charge, *held);
                pool.charge(charge, *held);
            }
            assert!(pool.held <= 12 * MIB && !pool.is_short(), "nobody loses anything for it");
        }
        assert!(pool.held > 11 * MIB);
    }

    #[test]
    fn what_goes_by_itself_is_taken_from_nobody_else() {
        let mut pool = MemoryPool::new(16 * MIB);
        pool.charge(&mut Charge::default(), 15 * MIB);
        assert!(pool.is_short() && pool.is_short_without(MIB / 2) && !pool.is_short_without(MIB));
    }
}
