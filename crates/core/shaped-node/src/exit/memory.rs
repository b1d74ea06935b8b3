//! What the exit's tunnels hold, each and all together: see [`crate::memory`] for the rules.

use super::CircuitExit;
use crate::flow::Owner;
use crate::memory::{CUTS_MAX, MemoryAccount};
use crate::queues::FlowQueues;
use link::Now;

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Takes note of what a tunnel holds, after something came for it or it sent something. If all is too much then, the tunnels
    /// that hold most lose flows.
    pub(super) fn keep_account(&mut self, now: Now, id: u64) {
        if let Some(joined) = self.tunnels.get_mut(&id) {
            joined.keep_account(now.instant, &mut self.memory);
        }
        for _ in 0..CUTS_MAX {
            if !self.memory.is_short() {
                break;
            }
            // What a session held that is over goes with its tunnel, soon.
            let over = self.tunnels.values().filter(|joined| joined.tunnel.session.is_closed());
            if !self.memory.is_short_without(over.map(|joined| joined.charge.bytes()).sum()) {
                break;
            }
            let tunnels = self.tunnels.iter_mut().filter(|(_, joined)| !joined.tunnel.session.is_closed());
            let largest = tunnels.max_by(|(_, one), (_, other)| one.charge.cmp(&other.charge));
            let Some((&largest, joined)) = largest else { break };
            joined.cut(now.instant, &mut self.memory);
            self.memory.cuts += 1;
            self.wake(largest);
        }
    }

    /// What tunnels hold, all together.
    pub fn memory(&self) -> MemoryAccount {
        let accounts = self.tunnels.iter().map(|(&id, _)| self.memory_of(id));
        accounts.fold(MemoryAccount::default(), |sum, account| sum + account)
    }

    fn memory_of(&self, id: u64) -> MemoryAccount {
        let Some(joined) = self.tunnels.get(&id) else { return MemoryAccount::default() };
        MemoryAccount { queues: self.near.set_aside_for(|owner| owner == Owner::Tunnel(id)), ..joined.memory() }
    }
}
