//! Filling the slots of an exit over circuits. **Here the secret meets the clock**: review every change of this file by hand.
//!
//! How many cells a leg has in a slot comes from its tunnel's schedule (`schedule.rs`). Only then is a session asked for a
//! packet, once per cell: one makes a data cell, none makes a cover cell, and both are sealed the same way, through all
//! layers of the circuit.

use super::CircuitExit;
use super::circuits::Circuits;
use super::joined::Joined;
use super::schedule::{Due, SHARES_MAX};
use super::send::put;
use crate::flow::Owner;
use crate::memory::Holder;
use crate::near::Near;
use crate::pacing::Traffic;
use crate::plan::{RunBuilder, SlotPlan};
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use conflux::SlotUse;
use link::{Now, Route};
use onion::CircuitKey;

/// Which circuit the cells of a spare were sealed for, so that they can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpareCells {
    circuit: CircuitKey,
    cells: u32,
}

/// What cells of a slot are made with.
struct Filler<'a, C> {
    circuits: &'a mut C,
    inner: &'a mut Vec<u8>,
    session_packet: usize,
    made: Made,
}

/// Cells of a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    data: u64,
    own: u64,
    /// Cells without data although a flow waited for its turn.
    empty_while_waiting: u64,
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Whether cells of tunnels leave in slots only. Then [`CircuitExit::handle_queues`] is to be called by the slot clock
    /// alone, and [`CircuitExit::pump`] sends nothing.
    pub fn is_shaped(&self) -> bool {
        self.config.schedule.is_some()
    }

    /// Lanes that slot plans can name, [`SHARES_MAX`].
    pub fn lanes(&self) -> usize {
        SHARES_MAX
    }

    /// The first slot at `from` or later in which a tunnel has a cell; none while there is no tunnel.
    pub fn next_busy_slot(&self, from: u64) -> Option<u64> {
        let schedules = self.tunnels.values().filter_map(|joined| joined.schedule.as_ref());
        schedules.map(|schedule| schedule.pacing.next_busy_slot(from)).min()
    }

    /// Makes the packets of slot `slot` and the spare for the next busy one, as `ShapedNode::prepare_slot` does for a pair.
    ///
    /// `late(lane)`: packets of a lane that were made for earlier slots and have not left; they take places of this slot, so
    /// as many fewer are made. `spare_used`: whether the spare of the last plan was sent.
    pub fn prepare_slot(
        &mut self,
        now: Now,
        slot: u64,
        spare_used: bool,
        late: &dyn Fn(usize) -> u64,
        circuits: &mut impl Circuits,
        plan: &mut SlotPlan,
    ) {
        self.now = Some(now.instant);
        self.present_slot = slot;
        self.retire_spare(spare_used, circuits);
        self.step_rates(now, slot);
        let ids: Vec<u64> = self.tunnels.keys().copied().collect();
        let mut runs = RunBuilder::with_lanes(self.lanes.count());
        for &id in &ids {
            self.fill_tunnel(now, id, slot, late, circuits, &mut runs);
        }
        plan.runs = runs.finish();
        plan.next = self.next_busy_slot(slot + 1);
        let mut spare = RunBuilder::with_lanes(self.lanes.count());
        if let Some(next) = plan.next {
            ids.iter().for_each(|&id| self.make_spare(now, id, next, circuits, &mut spare));
        }
        plan.spare = spare.finish();
    }

    /// The cells of one tunnel.
    fn fill_tunnel(
        &mut self,
        now: Now,
        id: u64,
        slot: u64,
        late: &dyn Fn(usize) -> u64,
        circuits: &mut impl Circuits,
        runs: &mut RunBuilder,
    ) {
        let Some(joined) = self.tunnels.get_mut(&id) else { return };
        let Some(schedule) = &mut joined.schedule else { return };
        let all = schedule.deal(now, slot, &joined.legs, circuits);
        joined.keep_account(now.instant, &mut self.memory);
        let session_packet = self.config.session_packet;
        let mut filler = Filler { circuits, inner: &mut self.scratch, session_packet, made: Made::default() };
        for due in all {
            for _ in late(due.lane)..u64::from(due.cells) {
                runs.append_to_lane(due.lane, |out| filler.fill_cell(now, joined, due, &mut self.near, out));
            }
        }
        let Made { data, own, empty_while_waiting } = filler.made;
        self.counters.data_cells += data;
        self.counters.own_cells += own;
        self.counters.empty_while_waiting += empty_while_waiting;
        // Its session is over, and has said so.
        joined.keep_account(now.instant, &mut self.memory);
        let is_done = joined.lost.is_some() && own > 0 && data == 0;
        if is_done {
            joined.legs.close(now.instant);
        }
        // What was sealed may have shown that a circuit is gone.
        self.wake(id);
    }

    /// Cover for the slot after this one, should its packets not be ready in time.
    fn make_spare(&mut self, now: Now, id: u64, slot: u64, circuits: &mut impl Circuits, spare: &mut RunBuilder) {
        let Some(joined) = self.tunnels.get(&id) else { return };
        let Some(schedule) = &joined.schedule else { return };
        for Due { lane, leg, circuit, cells } in schedule.peek(slot, &joined.legs) {
            let mut made = 0;
            for _ in 0..cells {
                let Some(header) = joined.legs.spare_header(leg) else { break };
                put(&mut self.scratch, &header, &[]);
                let inner = &self.scratch;
                made += u32::from(spare.append_to_lane(lane, |out| circuits.seal(now, circuit, inner, out).ok()));
            }
            if made > 0 {
                self.spares.push(SpareCells { circuit, cells: made });
            }
        }
    }

    /// Settles the spare of the last plan: what was not sent does not count as sent.
    pub(crate) fn retire_spare(&mut self, used: bool, circuits: &mut impl Circuits) {
        for SpareCells { circuit, cells } in std::mem::take(&mut self.spares) {
            if used {
                self.counters.own_cells += u64::from(cells);
                (0..cells).for_each(|_| self.near.minute.note_cell(false));
            } else {
                circuits.take_back(circuit, cells);
            }
        }
    }

    /// Lets edges pass and applies the rates that follow; they hold from this slot on.
    fn step_rates(&mut self, now: Now, slot: u64) {
        let ids: Vec<u64> = self.tunnels.keys().copied().collect();
        for id in ids {
            let traffic = self.traffic_of(now, id, slot);
            let Some(schedule) = self.tunnels.get_mut(&id).and_then(|joined| joined.schedule.as_mut()) else {
                continue;
            };
            if schedule.pacing.poll(slot, now.unix_s, traffic, &mut self.noise).epoch_began {
                self.admit_again(now, id);
            }
        }
    }

    /// What the rule of a tunnel may know before its next release, where it asks.
    fn traffic_of(&mut self, now: Now, id: u64, slot: u64) -> Traffic {
        let Some(joined) = self.tunnels.get_mut(&id) else { return Traffic::default() };
        let Some(schedule) = &mut joined.schedule else { return Traffic::default() };
        if !schedule.pacing.looks_at_traffic(slot, now.unix_s) {
            return Traffic::default();
        }
        let sent = std::mem::take(&mut schedule.sent_bytes);
        let backlog = joined.tunnel.session.unsent_bytes() + self.near.waiting_of(|owner| owner == Owner::Tunnel(id));
        Traffic { backlog, sent }
    }

    /// Lets what came into a queue pair count as arrived, as far as its client's quota goes. True if anything did.
    pub(super) fn admit(&mut self, index: u16) -> bool {
        let Some(Owner::Tunnel(id)) = self.near.table.at(index).map(|flow| flow.owner) else { return false };
        let Some(schedule) = self.tunnels.get_mut(&id).and_then(|joined| joined.schedule.as_mut()) else {
            return false;
        };
        self.near.admit(index, |client, wanted| schedule.pacing.admit(client, wanted)) > 0
    }

    /// A new epoch has begun: bytes that the old one's quota held back may ask again.
    fn admit_again(&mut self, now: Now, id: u64) {
        for index in self.near.table.indices() {
            let is_its = self.near.table.at(index).is_some_and(|flow| flow.owner == Owner::Tunnel(id));
            if is_its && self.admit(index) {
                self.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
            }
        }
    }
}

impl<C: Circuits> Filler<'_, C> {
    /// One packet of a leg: a message about it if one is due, else data, else cover.
    fn fill_cell<Q: FlowQueues>(
        &mut self,
        now: Now,
        joined: &mut Joined,
        Due { leg, circuit, .. }: Due,
        near: &mut Near<Q>,
        out: &mut Vec<u8>,
    ) -> Option<Route> {
        let Some(number) = self.circuits.sealed(circuit) else {
            joined.legs.handle_circuit_gone(now.instant, leg);
            return None;
        };
        let mut body = Vec::new();
        let takes_data = joined.legs.slot_use(now.instant, leg) == SlotUse::Data;
        let portions = Portions { ahead: self.session_packet as u64, turn: self.session_packet };
        let pulled = if takes_data { joined.tunnel.pull(now.instant, near, portions, &mut body) } else { None };
        let header = match pulled {
            Some(length) => joined.legs.data_header(now.instant, leg, number, length as u16),
            None => joined.legs.own_header(now.instant, leg, number, &mut body),
        }?;
        put(self.inner, &header, &body);
        let Ok(to) = self.circuits.seal(now, circuit, self.inner, out) else {
            // The session repeats what was in it.
            joined.legs.handle_circuit_gone(now.instant, leg);
            return None;
        };
        match pulled {
            Some(length) => {
                self.made.data += 1;
                joined.note_sent(length);
            }
            None => {
                self.made.own += 1;
                self.made.empty_while_waiting += u64::from(takes_data && joined.tunnel.has_waiting_flows());
            }
        }
        near.minute.note_cell(pulled.is_some());
        Some(to)
    }
}
