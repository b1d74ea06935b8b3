//! What tunnels hold: an account for each, and the bound on all of them together.
//!
//! The bound is kept by three rules, of which each is of no concern to a tunnel that holds little. What tunnels take of their own
//! will and what is *pushed* to them have parts of their own, so that neither uses up the other's:
//!
//! 1. A tunnel takes more of its own will (bytes of its flows, new flows, packets that wait for others) only as long as it holds
//!    less of that than what is free of a half. So the one that holds most is told no first, and a lone one has a quarter of all.
//! 2. What the other end may send cannot be refused. When what was pushed is more than three eighths, the tunnel to which most was
//!    pushed loses the flow that has most of it, and again, until it is not more. When less than an eighth is free of all, the tunnel
//!    that holds most does so; a session without a flow that holds anything ends itself.
//! 3. While the half for own will is full, or less than an eighth is free, an exit takes no new tunnel.

use crate::tunnel::Tunnel;
use conflux::LegsMemory;
use serde::{Deserialize, Serialize};
use session::{Burden, EndReason, SessionMemory};
use std::collections::BTreeMap;
use std::ops::Add;
use std::time::{Duration, Instant};
use wire::flow::ResetReason;

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
const CUTS_MAX: usize = 64;

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
        let SessionMemory { unread, unacknowledged, waiting, overhead, pushed: _ } = session;
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
    /// Of that, what was pushed.
    pushed: u64,
    peak: u64,
    /// Flows that ended for want of memory.
    pub(crate) flows_cut: u64,
    /// Sessions that did, with the flows that they had left.
    pub(crate) sessions_cut: u64,
    /// Tunnels that were not begun for want of memory.
    pub(crate) refused: u64,
}

/// What the pool was told of one tunnel. It must be given back when the tunnel ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    held: u64,
    pushed: u64,
}

impl Charge {
    fn of(self, burden: Burden) -> u64 {
        match burden {
            Burden::Pushed => self.pushed,
            Burden::All => self.held,
        }
    }
}

impl MemoryPool {
    pub(crate) fn new(max: u64) -> Self {
        Self { max: max.max(MEMORY_MAX_LEAST), held: 0, pushed: 0, peak: 0, flows_cut: 0, sessions_cut: 0, refused: 0 }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// What is free of the half for what tunnels take of their own will.
    fn free_to_take(&self) -> u64 {
        (self.max / 2).saturating_sub(self.held - self.pushed)
    }

    /// Whether flows have to end, and for want of what.
    fn shortage(&self) -> Option<Burden> {
        if self.pushed > self.max / 8 * 3 {
            return Some(Burden::Pushed);
        }
        (self.max.saturating_sub(self.held) < self.max / 8).then_some(Burden::All)
    }

    /// Whether no tunnel may begin.
    pub(crate) fn is_full(&self) -> bool {
        self.free_to_take() == 0 || self.shortage().is_some()
    }

    /// A tunnel holds so much now, of which so much was pushed. Returns how much more it may take, so that it still holds less of its
    /// own will than what is then free for that.
    pub(crate) fn charge(&mut self, charge: &mut Charge, (held, pushed): (u64, u64)) -> u64 {
        self.held = self.held - charge.held + held;
        self.pushed = self.pushed - charge.pushed + pushed;
        self.peak = self.peak.max(self.held);
        *charge = Charge { held, pushed };
        let room = self.free_to_take().saturating_sub(held - pushed) / 2;
        if room < ROOM_LEAST { 0 } else { room }
    }

    /// A tunnel is over.
    pub(crate) fn give_back(&mut self, charge: &mut Charge) {
        let Charge { held, pushed } = std::mem::take(charge);
        self.held -= held;
        self.pushed -= pushed;
    }

    /// As long as it is too much, the tunnel that holds most loses a flow, or its session. Returns which ones did, each as often.
    pub(crate) fn relieve<H: Holder>(&mut self, now: Instant, tunnels: &mut BTreeMap<u64, H>) -> Vec<u64> {
        let mut cut = Vec::new();
        while let Some(burden) = self.shortage().filter(|_| cut.len() < CUTS_MAX) {
            let live = tunnels.iter_mut().filter(|(_, holder)| holder.has_session());
            let Some((&id, largest)) = live.max_by_key(|(_, holder)| holder.charge().of(burden)) else { break };
            largest.cut(now, burden, self);
            cut.push(id);
        }
        cut
    }
}

/// A tunnel with an account, at either end.
pub(crate) trait Holder {
    /// What carries the cells of its legs.
    type Carrier;

    /// Its legs, and its session with the flows, as far as there are any.
    fn parts(&mut self) -> Option<(&mut conflux::Tunnel<Self::Carrier>, Option<&mut Tunnel>)>;

    /// The session alone.
    fn tunnel(&self) -> Option<&Tunnel>;

    /// What it holds, its queues left out.
    fn memory(&self) -> MemoryAccount;

    /// What the pool was told that it holds.
    fn charge(&self) -> Charge;

    /// The same, to be changed.
    fn charge_mut(&mut self) -> &mut Charge;

    /// Tells the pool what it holds now, and takes no more than there is room for.
    fn keep_account(&mut self, now: Instant, pool: &mut MemoryPool) {
        let held = self.held();
        let room = pool.charge(self.charge_mut(), held);
        let Some((legs, tunnel)) = self.parts() else { return };
        if let Some(tunnel) = tunnel {
            tunnel.set_room(room);
        }
        legs.limit_memory(usize::try_from(room).unwrap_or(usize::MAX));
        if legs.poll_full() {
            self.take_packets(now);
            let held = self.held();
            pool.charge(self.charge_mut(), held);
        }
    }

    /// What counts of it, and what of that was pushed.
    fn held(&self) -> (u64, u64) {
        let pushed = self.tunnel().map_or(0, |tunnel| tunnel.session.memory().pushed);
        (self.memory().total(), pushed)
    }

    /// Gives the session what the legs have brought.
    fn take_packets(&mut self, now: Instant) {
        if let Some((legs, tunnel)) = self.parts() {
            pass_on(now, legs, tunnel);
        }
    }

    /// Whether it has a session that is not over.
    fn has_session(&self) -> bool {
        self.tunnel().is_some_and(|tunnel| !tunnel.session.is_closed())
    }

    /// Gives up the flow that holds most, or the session if no flow holds anything; and before that, what legs keep, if that counts.
    fn cut(&mut self, now: Instant, burden: Burden, pool: &mut MemoryPool) {
        if let Some((legs, _)) = self.parts().filter(|_| burden == Burden::All) {
            legs.give_up_memory();
            self.take_packets(now);
        }
        if let Some((_, Some(tunnel))) = self.parts() {
            if tunnel.session.shed(now, burden, ResetReason::NoMemory) {
                pool.flows_cut += 1;
            } else {
                tunnel.session.close(now, EndReason::NoMemory);
                pool.sessions_cut += 1;
            }
        }
        self.keep_account(now, pool);
    }
}

/// Gives a session what its legs have brought. Without one there is nobody to take it.
pub(crate) fn pass_on<K>(now: Instant, legs: &mut conflux::Tunnel<K>, mut tunnel: Option<&mut Tunnel>) {
    while let Some(packet) = legs.poll_packet(now) {
        if let Some(tunnel) = &mut tunnel {
            tunnel.handle_packet(now, &packet);
        }
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
        let room = pool.charge(&mut large, (MIB, 0));
        assert_eq!(room, 15 * MIB, "then it holds a quarter");
        assert_eq!(pool.charge(&mut large, (MIB + room, 0)), 0);
        assert_eq!(pool.charge(&mut small, (MIB, 0)), 7 * MIB, "then it holds half of what is left of the half");
        assert_eq!((pool.held, pool.peak()), (17 * MIB, 17 * MIB));
        pool.give_back(&mut large);
        assert_eq!((pool.held, large), (MIB, Charge::default()));
        assert_eq!(pool.charge(&mut small, (2 * MIB, 0)), 14 * MIB);
    }

    #[test]
    fn whoever_takes_what_there_is_room_for_never_passes_the_half() {
        let mut pool = MemoryPool::new(16 * MIB);
        let mut charges: Vec<(Charge, u64)> = Vec::new();
        for _ in 0..500 {
            charges.push((Charge::default(), 0));
            for (charge, held) in &mut charges {
                *held += pool.charge(charge, (*held, 0));
                pool.charge(charge, (*held, 0));
            }
            assert!(pool.held <= 8 * MIB && pool.shortage().is_none(), "nobody loses anything for it");
        }
        assert!(pool.held > 7 * MIB);
    }

    #[test]
    fn what_is_pushed_to_some_holds_nobody_back() {
        let mut pool = MemoryPool::new(16 * MIB);
        pool.charge(&mut Charge::default(), (6 * MIB, 6 * MIB));
        assert!(pool.shortage().is_none() && !pool.is_full());
        assert_eq!(pool.charge(&mut Charge::default(), (MIB, 0)), 3 * MIB, "as if it were alone");
        let mut more = Charge::default();
        pool.charge(&mut more, (1, 1));
        assert_eq!(pool.shortage(), Some(Burden::Pushed));
        pool.give_back(&mut more);
        assert_eq!((pool.held, pool.pushed, pool.shortage()), (7 * MIB, 6 * MIB, None));
    }

    #[test]
    fn what_neither_rule_bounds_ends_flows_before_all_is_full() {
        let mut pool = MemoryPool::new(16 * MIB);
        pool.charge(&mut Charge::default(), (14 * MIB, 5 * MIB));
        assert!(pool.is_full() && pool.shortage().is_none());
        pool.charge(&mut Charge::default(), (1, 0));
        assert_eq!(pool.shortage(), Some(Burden::All));
    }
}
