//! What an entry's tunnels hold, each and all together: see [`crate::memory`] for the rules.

use super::{CircuitTunnel, Circuits, Stage};
use crate::memory::{CUTS_MAX, MemoryAccount, MemoryPool};
use crate::tunnel::Tunnel;
use session::EndReason;
use std::time::Instant;
use wire::flow::ResetReason;

impl CircuitTunnel {
    /// What it holds, its queues left out.
    pub(super) fn memory(&self) -> MemoryAccount {
        let building = self.places.iter().filter(|place| matches!(place.stage, Stage::Building { .. })).count();
        MemoryAccount::of(self.joined.as_ref().map(|joined| (&joined.legs, joined.tunnel.as_ref())), building)
    }

    /// Tells the entry what it holds now, and takes no more than there is room for.
    pub(super) fn keep_account(&mut self, now: Instant, pool: &mut MemoryPool) {
        let held = self.memory().total();
        let room = pool.charge(&mut self.charge, held);
        let Some(joined) = &mut self.joined else { return };
        if let Some(tunnel) = &mut joined.tunnel {
            tunnel.set_room(room);
        }
        joined.legs.limit_memory(usize::try_from(room).unwrap_or(usize::MAX));
        if joined.legs.poll_full() {
            joined.take_packets(now);
            let held = self.memory().total();
            pool.charge(&mut self.charge, held);
        }
    }

    /// Gives up the flow that holds most, or the session if no flow holds anything.
    fn cut(&mut self, now: Instant, pool: &mut MemoryPool) {
        if let Some(joined) = &mut self.joined {
            joined.legs.give_up_memory();
            joined.take_packets(now);
        }
        if let Some(tunnel) = self.session_mut()
            && !tunnel.session.shed(now, ResetReason::NoMemory)
        {
            tunnel.session.close(now, EndReason::NoMemory);
        }
        self.keep_account(now, pool);
    }

    fn is_cuttable(&self) -> bool {
        self.inner().is_some_and(|tunnel| !tunnel.session.is_closed())
    }

    fn is_going(&self) -> bool {
        self.inner().is_some_and(|tunnel| tunnel.session.is_closed())
    }

    fn inner(&self) -> Option<&Tunnel> {
        self.joined.as_ref()?.tunnel.as_ref()
    }
}

impl Circuits {
    /// Takes note of what a tunnel holds, after something came for it. If all is too much then, the tunnels that hold most lose
    /// flows.
    pub(super) fn keep_account(&mut self, now: Instant, number: u64) {
        if let Some(tunnel) = self.tunnels.get_mut(&number) {
            tunnel.keep_account(now, &mut self.shared.memory);
        }
        for _ in 0..CUTS_MAX {
            if !self.shared.memory.is_short() {
                break;
            }
            // What a tunnel holds whose session is over goes with it, soon.
            let over = self.tunnels.values().filter(|tunnel| tunnel.is_going());
            if !self.shared.memory.is_short_without(over.map(|tunnel| tunnel.charge.bytes()).sum()) {
                break;
            }
            let tunnels = self.tunnels.values_mut().filter(|tunnel| tunnel.is_cuttable());
            let Some(largest) = tunnels.max_by(|one, other| one.charge.cmp(&other.charge)) else { break };
            largest.cut(now, &mut self.shared.memory);
            self.shared.memory.cuts += 1;
        }
    }

    /// Does so for all of them.
    pub(super) fn keep_accounts(&mut self, now: Instant) {
        for tunnel in self.tunnels.values_mut() {
            tunnel.keep_account(now, &mut self.shared.memory);
        }
    }

    /// Forgets a tunnel.
    pub(super) fn remove_tunnel(&mut self, number: u64) {
        if let Some(mut tunnel) = self.tunnels.remove(&number) {
            self.shared.memory.give_back(&mut tunnel.charge);
        }
    }
}
