//! What the exit's tunnels hold, each and all together: see [`crate::memory`] for the rules.

use super::CircuitExit;
use super::joined::Joined;
use crate::flow::Owner;
use crate::memory::{Charge, Holder, MemoryAccount};
use crate::queues::FlowQueues;
use crate::tunnel::Tunnel;
use link::Now;
use onion::CircuitKey;

impl Holder for Joined {
    type Carrier = CircuitKey;

    fn parts(&mut self) -> Option<(&mut conflux::Tunnel<CircuitKey>, Option<&mut Tunnel>)> {
        Some((&mut self.legs, Some(&mut self.tunnel)))
    }

    fn tunnel(&self) -> Option<&Tunnel> {
        Some(&self.tunnel)
    }

    fn memory(&self) -> MemoryAccount {
        MemoryAccount::of(Some((&self.legs, Some(&self.tunnel))), 0)
    }

    fn charge(&self) -> Charge {
        self.charge
    }

    fn charge_mut(&mut self) -> &mut Charge {
        &mut self.charge
    }
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Takes note of what a tunnel holds, after something came for it. If all is too much then, the tunnels that hold most lose
    /// flows.
    pub(super) fn keep_account(&mut self, now: Now, id: u64) {
        if let Some(joined) = self.tunnels.get_mut(&id) {
            joined.keep_account(now.instant, &mut self.memory);
        }
        for cut in self.memory.relieve(now.instant, &mut self.tunnels) {
            self.wake(cut);
        }
    }

    /// What tunnels hold, all together.
    pub fn memory(&self) -> MemoryAccount {
        let accounts = self.tunnels.keys().map(|&id| self.memory_of(id));
        accounts.fold(MemoryAccount::default(), |sum, account| sum + account)
    }

    fn memory_of(&self, id: u64) -> MemoryAccount {
        let Some(joined) = self.tunnels.get(&id) else { return MemoryAccount::default() };
        MemoryAccount { queues: self.near.set_aside_for(|owner| owner == Owner::Tunnel(id)), ..joined.memory() }
    }
}
