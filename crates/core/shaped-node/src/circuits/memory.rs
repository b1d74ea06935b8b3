//! What an entry's tunnels hold, each and all together: see [`crate::memory`] for the rules.

use super::carrier::Carrier;
use super::{CircuitTunnel, Circuits, Stage};
use crate::memory::{Charge, Holder, MemoryAccount};
use crate::tunnel::Tunnel;
use std::time::Instant;

impl Holder for CircuitTunnel {
    type Carrier = Carrier;

    fn parts(&mut self) -> Option<(&mut conflux::Tunnel<Carrier>, Option<&mut Tunnel>)> {
        let joined = self.joined.as_mut()?;
        Some((&mut joined.legs, joined.tunnel.as_mut()))
    }

    fn tunnel(&self) -> Option<&Tunnel> {
        self.joined.as_ref()?.tunnel.as_ref()
    }

    fn memory(&self) -> MemoryAccount {
        let building = self.places.iter().filter(|place| matches!(place.stage, Stage::Building { .. })).count();
        MemoryAccount::of(self.joined.as_ref().map(|joined| (&joined.legs, joined.tunnel.as_ref())), building)
    }

    fn charge(&self) -> Charge {
        self.charge
    }

    fn charge_mut(&mut self) -> &mut Charge {
        &mut self.charge
    }
}

impl Circuits {
    /// Takes note of what a tunnel holds, after something came for it. If all is too much then, the tunnels that hold most lose
    /// flows.
    pub(super) fn keep_account(&mut self, now: Instant, number: u64) {
        if let Some(tunnel) = self.tunnels.get_mut(&number) {
            tunnel.keep_account(now, &mut self.shared.memory);
        }
        // They are all looked at before the entry sleeps.
        self.shared.memory.relieve(now, &mut self.tunnels);
    }

    /// Takes note of what all of them hold.
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
