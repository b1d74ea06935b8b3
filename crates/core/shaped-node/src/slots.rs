//! Filling slots. **Here the secret meets the clock**: review every change of this file by hand.
//!
//! The number of packets of a slot comes from the schedule (`Pacing`), which knows of payload and queues only what was
//! released at an edge. Only then is the session asked for a packet, once per cell: one makes a data cell, none makes
//! a cover cell, and both are sealed the same way.

use crate::node::ShapedNode;
use crate::plan::{LinkCells, RunBuilder, SlotPlan, SpareOf};
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use link::{LinkId, Now, Route};
use wire::cell::{CellHead, CircuitId, Command};
use wire::leg::LegHeader;
use wire::packet::{LAYER_LEN, LAYERS_MAX, LEG_HEADER_LEN};

/// Most door packets (answers to strangers) that one slot carries.
const DOOR_PACKETS_PER_SLOT_MAX: usize = 8;
/// Where the leg header stands in a region: behind the room of three onion layers.
pub(crate) const INNER_OFFSET: usize = LAYERS_MAX * LAYER_LEN;

impl<Q: FlowQueues> ShapedNode<Q> {
    /// The first slot at `from` or later in which this node sends something.
    pub fn next_busy_slot(&self, from: u64) -> Option<u64> {
        let direct = self.peers.values().map(|peer| peer.pacing.next_busy_slot(from));
        let scheduled = direct.chain(self.circuits.iter().filter_map(|circuits| circuits.next_busy_slot(from))).min();
        if self.endpoint.has_door_packet() { Some(from) } else { scheduled }
    }

    /// Makes the packets of slot `slot` and the spare for the next busy one.
    ///
    /// `late(lane)`: packets of a lane that were made for earlier slots and have not left; they take places
    /// of this slot, so as many fewer are made. `spare_used`: whether the spare of the last plan was sent; if
    /// not, its cells are taken back from the link's counts.
    pub fn prepare_slot(
        &mut self,
        now: Now,
        slot: u64,
        spare_used: bool,
        late: &dyn Fn(usize) -> u64,
        plan: &mut SlotPlan,
    ) {
        self.retire_spare(spare_used);
        self.step_rates(now, slot);
        let mut runs = RunBuilder::with_lanes(self.lanes());
        for LinkCells { link, lane, cells } in self.deal_slot(slot) {
            for _ in late(lane)..u64::from(cells) {
                runs.append_to_lane(lane, |out| self.fill_cell(now, link, out));
            }
        }
        for _ in 0..DOOR_PACKETS_PER_SLOT_MAX {
            if !runs.append(|out| self.endpoint.poll_door_packet(now, out)) {
                break;
            }
        }
        plan.runs = runs.finish();
        let mut spare = RunBuilder::with_lanes(self.lanes());
        plan.next = self.next_busy_slot(slot + 1);
        if let Some(next) = plan.next {
            for cells in self.peek_slot(next) {
                self.make_spare(now, cells, &mut spare);
            }
        }
        plan.spare = spare.finish();
    }

    /// How many cells each link has in the slot that is made now.
    fn deal_slot(&mut self, slot: u64) -> Vec<LinkCells> {
        match &mut self.circuits {
            Some(circuits) => circuits.deal_slot(slot),
            None => self.peek_slot(slot),
        }
    }

    /// The same of a later slot, as far as it is known.
    fn peek_slot(&self, slot: u64) -> Vec<LinkCells> {
        let direct = self.peers.iter();
        let direct =
            direct.map(|(&link, peer)| LinkCells { link, lane: peer.lane, cells: peer.pacing.cells_in_slot(slot) });
        direct.chain(self.circuits.iter().flat_map(|circuits| circuits.peek_slot(slot))).collect()
    }

    /// One packet of a link: the link's own if it has one due, else data, else cover.
    fn fill_cell(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        if self.circuits.is_some() {
            return self.fill_cell_over_circuits(now, link, out);
        }
        if let Some(to) = self.endpoint.poll_own_packet(now, link, out) {
            self.counters.link_cells += 1;
            self.near.minute.note_cell(false);
            return Some(to);
        }
        let portions = Portions { ahead: self.session_packet() as u64, turn: self.session_packet() };
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        let peer = self.peers.get_mut(&link)?;
        let direct = peer.direct.as_mut();
        let pulled = direct.and_then(|direct| direct.tunnel.pull(now.instant, &mut self.near, portions, &mut packet));
        let to = match pulled {
            Some(_) => self.seal_data(now, link, &packet, out),
            None => {
                self.note_empty_cell(link);
                self.seal_cover(now, link, out)
            }
        };
        self.scratch = packet;
        if to.is_some() {
            self.near.minute.note_cell(pulled.is_some());
        }
        to
    }

    /// Seals one session packet as a data cell.
    pub(crate) fn seal_data(&mut self, now: Now, link: LinkId, packet: &[u8], out: &mut Vec<u8>) -> Option<Route> {
        let peer = self.peers.get_mut(&link)?;
        let direct = peer.direct.as_mut()?;
        peer.sent_bytes += packet.len() as u64;
        let header = direct.leg.data_header(now.instant, packet.len() as u16);
        self.counters.data_cells += 1;
        let head = CellHead { circuit: direct.circuit, command: Command::Relay };
        self.seal(now, link, head, &header, packet, out)
    }

    /// Seals a cell without a session packet.
    pub(crate) fn seal_cover(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        self.counters.cover_cells += 1;
        match self.peers.get_mut(&link)?.direct.as_mut() {
            Some(direct) => {
                let header = direct.leg.cover_header(now.instant);
                let head = CellHead { circuit: direct.circuit, command: Command::Relay };
                self.seal(now, link, head, &header, &[], out)
            }
            None => {
                let head = CellHead { circuit: CircuitId::LINK, command: Command::Cover };
                self.endpoint.seal_cell(now, link, head, |_| {}, out).ok()
            }
        }
    }

    fn seal(
        &mut self,
        now: Now,
        link: LinkId,
        head: CellHead,
        header: &LegHeader,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Route> {
        let fill = |region: &mut [u8]| {
            let inner = &mut region[INNER_OFFSET..];
            inner[..LEG_HEADER_LEN].copy_from_slice(&header.encode());
            inner[LEG_HEADER_LEN..LEG_HEADER_LEN + packet.len()].copy_from_slice(packet);
        };
        self.endpoint.seal_cell(now, link, head, fill, out).ok()
    }

    /// Cover for the slot after this one, should its packets not be ready in time.
    fn make_spare(&mut self, now: Now, cells: LinkCells, spare: &mut RunBuilder) {
        let LinkCells { link, lane, cells } = cells;
        let mut made = 0;
        for _ in 0..cells {
            made += u32::from(spare.append_to_lane(lane, |out| self.seal_spare(now, link, out)));
        }
        if made > 0 {
            self.spares.push(SpareOf { link, cells: made });
        }
    }

    fn seal_spare(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        if self.circuits.is_some() {
            return self.seal_spare_over_circuits(now, link, out);
        }
        let counted = self.counters.cover_cells;
        let to = self.seal_cover(now, link, out);
        // Whether it leaves only the sender knows; it counts them.
        self.counters.cover_cells = counted;
        to
    }

    /// Settles the spare of the last plan: what was not sent does not count as sent.
    pub(crate) fn retire_spare(&mut self, used: bool) {
        for spare in std::mem::take(&mut self.spares) {
            if used {
                (0..spare.cells).for_each(|_| self.near.minute.note_cell(false));
            } else {
                self.endpoint.take_back(spare.link, spare.cells);
            }
        }
    }

    /// Counts a slot's cell that stayed empty although a flow waits: nothing but a window can be the
    /// reason, and the tests hold this at zero.
    fn note_empty_cell(&mut self, link: LinkId) {
        let waits = self
            .peers
            .get(&link)
            .and_then(|peer| peer.direct.as_ref())
            .is_some_and(|direct| direct.tunnel.has_waiting_flows());
        self.counters.empty_while_waiting += u64::from(waits);
    }
}
