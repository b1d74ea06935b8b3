//! What fills a slot of a link to a guard. **Here the secret meets the clock**, with `slots` and `uplink`: review every change of
//! this file by hand.
//!
//! How many packets a link has in a slot was decided before anything here is asked. Of what a guard can see of a packet, its
//! circuit, nothing follows from data either: circuits that are built or taken down come first, by their own timers, then the
//! legs of the link take turns. Data decides about the inside of a leg's cell alone.

use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::memory::Holder;
use crate::near::Near;
use crate::plan::LinkCells;
use crate::queues::FlowQueues;
use crate::status::Counters;
use crate::tunnel::Portions;
use conflux::{LegId, SlotUse};
use link::{Endpoint, LinkId, Now, Route};
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::LEG_HEADER_LEN;

/// What a slot is filled with, and what is counted.
pub(crate) struct SlotOutlet<'a> {
    pub(crate) endpoint: &'a mut Endpoint,
    /// For a session packet or a message on its way into a cell.
    pub(crate) scratch: &'a mut Vec<u8>,
    pub(crate) counters: &'a mut Counters,
}

/// A region that was filled and sealed for its circuit.
struct Filled {
    head: CellHead,
    /// Bytes of its session packet, if it has one.
    packet: Option<usize>,
}

impl Circuits {
    /// Places of guards' links in a slot plan.
    pub(crate) fn lanes(&self) -> usize {
        self.shared.uplink.as_ref().map_or(1, |uplink| uplink.shares().into())
    }

    /// The first slot at `from` or later that has a cell or an edge; none in mode `off`.
    pub(crate) fn next_busy_slot(&self, from: u64) -> Option<u64> {
        self.shared.uplink.as_ref().map(|uplink| uplink.next_busy_slot(from))
    }

    /// How many cells each link has in a slot. Call it once for each slot that is sent, in order.
    pub(crate) fn deal_slot(&mut self, slot: u64) -> Vec<LinkCells> {
        self.shared.uplink.as_mut().map(|uplink| uplink.deal(slot)).unwrap_or_default()
    }

    /// The same of the next slot, before it is its turn.
    pub(crate) fn peek_slot(&self, slot: u64) -> Vec<LinkCells> {
        self.shared.uplink.as_ref().map(|uplink| uplink.peek(slot)).unwrap_or_default()
    }

    /// Appends one packet of a slot of a link, and says where it goes: its guest's or the link's own if one is due, else a cell of a circuit in the
    /// making, else a leg's, else cover of the link. None of a link that is not up and has no handshake due: its slot stays
    /// empty, as the first slots of every link are.
    pub(crate) fn fill_slot<Q: FlowQueues>(
        &mut self,
        now: Now,
        near: &mut Near<Q>,
        link: LinkId,
        outlet: &mut SlotOutlet<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Route> {
        let guest = self.shared.uplink.as_ref().and_then(|uplink| uplink.guest_of(link));
        let own = guest.and_then(|guest| outlet.endpoint.poll_own_packet(now, guest, out));
        if let Some(to) = own.or_else(|| outlet.endpoint.poll_own_packet(now, link, out)) {
            outlet.counters.link_cells += 1;
            near.minute.note_cell(false);
            return Some(to);
        }
        let mut region = std::mem::take(&mut self.shared.body);
        region.clear();
        region.resize(self.shared.region, 0);
        let filled = self.fill_region(now, near, link, outlet, &mut region);
        let head = filled.as_ref().map(|filled| filled.head);
        let to = seal_region(now, link, head, &region, outlet.endpoint, out);
        self.shared.body = region;
        let packet = filled.and_then(|filled| filled.packet);
        if to.is_some() {
            near.minute.note_cell(packet.is_some());
            let count =
                if packet.is_some() { &mut outlet.counters.data_cells } else { &mut outlet.counters.cover_cells };
            *count += 1;
        }
        if let Some((bytes, uplink)) = packet.zip(self.shared.uplink.as_mut()) {
            uplink.sent_bytes += bytes as u64;
        }
        to
    }

    /// Appends cover that stands ready should a packet of the link's next slot be late, and says where it goes: a cell of the leg
    /// whose turn comes next, or of the link.
    pub(crate) fn seal_spare(
        &mut self,
        now: Now,
        link: LinkId,
        endpoint: &mut Endpoint,
        out: &mut Vec<u8>,
    ) -> Option<Route> {
        let mut region = std::mem::take(&mut self.shared.body);
        region.clear();
        region.resize(self.shared.region, 0);
        let head = self.shared.turn_after(link).and_then(|(circuit, number)| {
            let tunnel = self.tunnels.get_mut(&number)?;
            let leg = *tunnel.routes.get(&(link, circuit))?;
            tunnel.fill_spare(now, leg, &mut region)
        });
        let to = seal_region(now, link, head, &region, endpoint, out);
        self.shared.body = region;
        to
    }

    /// A cell of a circuit on this link, sealed for its hops. None if there is no such circuit.
    fn fill_region<Q: FlowQueues>(
        &mut self,
        now: Now,
        near: &mut Near<Q>,
        link: LinkId,
        outlet: &mut SlotOutlet<'_>,
        region: &mut [u8],
    ) -> Option<Filled> {
        if let Some(head) = self.poll_unlinked(now, link, region) {
            return Some(Filled { head, packet: None });
        }
        let (circuit, number) = self.shared.next_turn(link)?;
        let tunnel = self.tunnels.get_mut(&number)?;
        let leg = *tunnel.routes.get(&(link, circuit))?;
        tunnel.keep_account(now.instant, &mut self.shared.memory);
        let filled = tunnel.fill_leg(now, near, leg, outlet, region);
        tunnel.keep_account(now.instant, &mut self.shared.memory);
        filled
    }

    /// A cell of a circuit on this link that is being built or taken down.
    fn poll_unlinked(&mut self, now: Now, link: LinkId, region: &mut [u8]) -> Option<CellHead> {
        let places = self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places);
        let building = places.filter_map(|place| match &mut place.stage {
            Stage::Building { link, circuit, .. } => Some((*link, &mut circuit.circuit_mut().circuit)),
            Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Joined { .. } => None,
        });
        let ending = self.shared.ending.iter_mut().map(|ending| (ending.link, &mut ending.circuit));
        let of_link = building.chain(ending).filter(|(of, _)| *of == link);
        let cell = of_link.into_iter().find_map(|(_, circuit)| circuit.poll_cell(now.instant, region));
        let mut of_services = self.tunnels.values_mut().filter(|tunnel| tunnel.is_of_service());
        let cell = cell.or_else(|| {
            of_services.find_map(|tunnel| tunnel.poll_own_cell(now.instant, Some(link), region)).map(|(_, head)| head)
        });
        let cell = cell.or_else(|| self.errands.poll_cell(now.instant, link, region));
        cell.or_else(|| self.take_beside(link, region))
    }
}

impl Shared {
    /// The circuit of a leg whose turn it is on a link, and the number of its tunnel.
    fn next_turn(&mut self, link: LinkId) -> Option<(CircuitId, u64)> {
        let next = self.turn_after(link)?;
        self.links.get_mut(&link)?.turn = next.0;
        Some(next)
    }

    fn turn_after(&self, link: LinkId) -> Option<(CircuitId, u64)> {
        let guard = self.links.get(&link)?;
        let last = CircuitId(u32::MAX);
        let after = (link, CircuitId(guard.turn.0.saturating_add(1)));
        let behind = self.carriers.range(after..=(link, last)).next();
        let ((_, circuit), number) =
            behind.or_else(|| self.carriers.range((link, CircuitId::LINK)..=(link, last)).next())?;
        Some((*circuit, *number))
    }
}

impl CircuitTunnel {
    /// A cell of a leg: a message that is due, else data if the leg takes it and there is some, else cover. None if its circuit takes
    /// no cell any more; the leg ends when that is looked at next.
    fn fill_leg<Q: FlowQueues>(
        &mut self,
        now: Now,
        near: &mut Near<Q>,
        leg: LegId,
        outlet: &mut SlotOutlet<'_>,
        region: &mut [u8],
    ) -> Option<Filled> {
        let super::Joined { legs, tunnel, .. } = self.joined.as_mut()?;
        let carrier = legs.carrier(leg).filter(|carrier| carrier.takes_cells())?;
        let (number, head, inner_at) = (carrier.sealed(), carrier.head(), carrier.inner());
        let body = &mut *outlet.scratch;
        body.clear();
        let tunnel = tunnel.as_mut().filter(|_| legs.slot_use(now.instant, leg) == SlotUse::Data);
        let portion = region.len() - inner_at - LEG_HEADER_LEN;
        let portions = Portions { ahead: portion as u64, turn: portion };
        let packet = match tunnel {
            Some(tunnel) => {
                let pulled = tunnel.pull(now.instant, near, portions, body);
                outlet.counters.empty_while_waiting += u64::from(pulled.is_none() && tunnel.has_waiting_flows());
                pulled.map(|_| body.len())
            }
            None => None,
        };
        let header = match packet {
            Some(bytes) => legs.data_header(now.instant, leg, number, u16::try_from(bytes).unwrap_or(u16::MAX)),
            None => legs.own_header(now.instant, leg, number, body),
        }?;
        let inner = &mut region[inner_at..];
        inner[..LEG_HEADER_LEN].copy_from_slice(&header.encode());
        inner[LEG_HEADER_LEN..LEG_HEADER_LEN + body.len()].copy_from_slice(body);
        if packet.is_some() {
            self.switches += u64::from(self.last_leg.replace(leg).is_some_and(|last| last != leg));
        }
        legs.carrier_mut(leg)?.seal(now.instant, region).ok()?;
        Some(Filled { head, packet })
    }
}

impl CircuitTunnel {
    /// Cover of a leg that is counted for nothing: most spares never leave.
    fn fill_spare(&mut self, now: Now, leg: LegId, region: &mut [u8]) -> Option<CellHead> {
        let legs = &mut self.joined.as_mut()?.legs;
        let header = legs.spare_header(leg)?;
        let carrier = legs.carrier_mut(leg).filter(|carrier| carrier.takes_cells())?;
        region[carrier.inner()..][..LEG_HEADER_LEN].copy_from_slice(&header.encode());
        let head = carrier.head();
        carrier.seal(now.instant, region).ok().map(|()| head)
    }
}

/// Seals a region for a link. Without a head it is cover of the link, whatever is in the region.
fn seal_region(
    now: Now,
    link: LinkId,
    head: Option<CellHead>,
    region: &[u8],
    endpoint: &mut Endpoint,
    out: &mut Vec<u8>,
) -> Option<Route> {
    let Some(head) = head else {
        let head = CellHead { circuit: CircuitId::LINK, command: Command::Cover };
        return endpoint.seal_cell(now, link, head, |_| {}, out).ok();
    };
    endpoint.seal_cell(now, link, head, |out: &mut [u8]| out.copy_from_slice(region), out).ok()
}
