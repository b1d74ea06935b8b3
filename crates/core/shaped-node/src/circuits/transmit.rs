//! Cells that leave: links' own, circuits' own, the tunnel's own, then data. Cells of one call that go the same way are put
//! together, so that the kernel takes them as one.

use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::memory::Holder;
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use conflux::LegId;
use link::{Endpoint, LinkId, Now, Route};
use std::collections::VecDeque;
use wire::cell::CellHead;
use wire::leg::LegHeader;
use wire::packet::LEG_HEADER_LEN;

/// What was sealed, by the way that it goes: at most one batch for each link.
pub(crate) type Ready = VecDeque<(Route, Vec<u8>)>;

/// What leaves and what is counted.
pub(crate) struct Outlet<'a> {
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) ready: &'a mut Ready,
    pub(crate) scratch: &'a mut Vec<u8>,
    pub(crate) data_cells: &'a mut u64,
    pub(crate) cover_cells: &'a mut u64,
    pub(crate) link_cells: &'a mut u64,
}

impl Outlet<'_> {
    /// Where the next packet of a way is put.
    fn put(&mut self, seal: impl FnOnce(&mut Endpoint, &mut Vec<u8>) -> Option<Route>) -> bool {
        let mut packet = std::mem::take(self.scratch);
        packet.clear();
        let route = seal(self.endpoint, &mut packet);
        if let Some(route) = route {
            match self.ready.iter_mut().find(|(to, _)| *to == route) {
                Some((_, batch)) => batch.extend_from_slice(&packet),
                None => self.ready.push_back((route, packet.clone())),
            }
        }
        *self.scratch = packet;
        route.is_some()
    }

    /// A cell of a circuit's own, with its whole region.
    fn put_own(&mut self, now: Now, link: LinkId, head: CellHead, region: &[u8]) {
        let fill = |out: &mut [u8]| out.copy_from_slice(region);
        self.put(|endpoint, packet| endpoint.seal_cell(now, link, head, fill, packet).ok());
        *self.cover_cells += 1;
    }
}

impl Circuits {
    /// Seals up to `max` cells.
    pub(crate) fn fill<Q: FlowQueues>(
        &mut self,
        now: Now,
        near: &mut Near<Q>,
        portions: Portions,
        max: usize,
        outlet: &mut Outlet<'_>,
    ) {
        let mut left = max;
        self.fill_links(now, &mut left, outlet);
        self.fill_circuits(now, &mut left, outlet);
        let Self { shared, tunnels, served, .. } = self;
        for tunnel in tunnels.values_mut() {
            tunnel.fill_own(now, &mut left, outlet);
        }
        let mut held_back = false;
        // Tunnels take turns: each call begins behind the one whose data left last.
        let mut next = *served;
        for _ in 0..tunnels.len() {
            let Some(number) = tunnels.range(next + 1..).chain(tunnels.range(..)).next().map(|(number, _)| *number)
            else {
                break;
            };
            next = number;
            let Some(tunnel) = tunnels.get_mut(&number).filter(|_| left > 0) else { break };
            let before = left;
            held_back |= tunnel.fill_data(shared, now, near, portions, &mut left, outlet);
            if left < before {
                *served = number;
            }
        }
        for link in shared.links.keys() {
            outlet.endpoint.note_demand(*link, held_back);
        }
    }

    fn fill_links(&self, now: Now, left: &mut usize, outlet: &mut Outlet<'_>) {
        for link in self.shared.links.keys() {
            while *left > 0 && outlet.put(|endpoint, packet| endpoint.poll_own_packet(now, *link, packet)) {
                *outlet.link_cells += 1;
                *left -= 1;
            }
        }
    }

    /// Cells of circuits that are being built or taken down.
    fn fill_circuits(&mut self, now: Now, left: &mut usize, outlet: &mut Outlet<'_>) {
        let building = self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places);
        let building = building.filter_map(|place| match &mut place.stage {
            Stage::Building { link, circuit, .. } => Some((*link, &mut circuit.circuit_mut().circuit)),
            Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Joined { .. } => None,
        });
        let ending = self.shared.ending.iter_mut().map(|ending| (ending.link, &mut ending.circuit));
        let mut region = Vec::new();
        for (link, circuit) in building.chain(ending) {
            region.resize(self.shared.region, 0);
            while *left > 0
                && let Some(head) = circuit.poll_cell(now.instant, &mut region)
            {
                outlet.put_own(now, link, head, &region);
                *left -= 1;
            }
        }
        region.resize(self.shared.region, 0);
        for tunnel in self.tunnels.values_mut().filter(|tunnel| tunnel.is_of_service()) {
            while *left > 0
                && let Some((link, head)) = tunnel.poll_own_cell(now.instant, None, &mut region)
            {
                outlet.put_own(now, link, head, &region);
                *left -= 1;
            }
        }
        for link in self.shared.links.iter().filter(|(_, guard)| guard.up).map(|(link, _)| *link) {
            while *left > 0
                && let Some(head) = self.errands.poll_cell(now.instant, link, &mut region)
            {
                outlet.put_own(now, link, head, &region);
                *left -= 1;
            }
        }
    }
}

impl CircuitTunnel {
    /// Messages about legs, feedback that is owed, tries of silent legs, and what keeps idle ones alive.
    fn fill_own(&mut self, now: Now, left: &mut usize, outlet: &mut Outlet<'_>) {
        let mut message = Vec::new();
        while *left > 0 {
            let own = self.joined.as_mut().and_then(|joined| joined.legs.poll_own(now.instant));
            let idle = || self.next_keep_alive().filter(|(at, _)| *at <= now.instant).map(|(_, leg)| leg);
            let Some(leg) = own.or_else(idle) else { return };
            let Some(joined) = &mut self.joined else { return };
            let Some(number) = joined.legs.carrier(leg).map(super::Carrier::sealed) else { return };
            let Some(header) = joined.legs.own_header(now.instant, leg, number, &mut message) else { return };
            self.seal(now, leg, &header, &message, outlet);
            *outlet.cover_cells += 1;
            *left -= 1;
        }
    }

    /// True when more waits than the legs take just now.
    fn fill_data<Q: FlowQueues>(
        &mut self,
        shared: &mut Shared,
        now: Now,
        near: &mut Near<Q>,
        portions: Portions,
        left: &mut usize,
        outlet: &mut Outlet<'_>,
    ) -> bool {
        let mut body = std::mem::take(&mut shared.body);
        let mut held_back = false;
        self.keep_account(now.instant, &mut shared.memory);
        while *left > 0 {
            let Some(super::Joined { legs, tunnel: Some(tunnel), .. }) = &mut self.joined else { break };
            tunnel.top_up(now.instant, near, portions);
            let waiting = tunnel.session.unsent_bytes() / shared.session.packet_max as u64;
            let Some(leg) = legs.poll_data(now.instant, waiting) else {
                held_back = waiting > 0;
                break;
            };
            body.clear();
            if tunnel.session.poll_packet(now.instant, &mut body).is_none() {
                legs.handle_idle(now.instant);
                break;
            }
            let Some(number) = legs.carrier(leg).map(super::Carrier::sealed) else { break };
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
            let Some(header) = legs.data_header(now.instant, leg, number, length) else { break };
            self.switches += u64::from(self.last_leg.replace(leg).is_some_and(|last| last != leg));
            self.seal(now, leg, &header, &body, outlet);
            *outlet.data_cells += 1;
            *left -= 1;
            self.fill_copies(now, &body, left, outlet);
        }
        shared.body = body;
        self.keep_account(now.instant, &mut shared.memory);
        held_back
    }

    /// The packet that was sent last, on the other legs that the tunnel wants it on.
    fn fill_copies(&mut self, now: Now, body: &[u8], left: &mut usize, outlet: &mut Outlet<'_>) {
        while *left > 0 {
            let Some(super::Joined { legs, .. }) = &mut self.joined else { return };
            let Some(leg) = legs.poll_copy() else { return };
            let Some(number) = legs.carrier(leg).map(super::Carrier::sealed) else { continue };
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
            let Some(header) = legs.copy_header(now.instant, leg, number, length) else { continue };
            self.seal(now, leg, &header, body, outlet);
            *outlet.data_cells += 1;
            *left -= 1;
        }
    }

    fn seal(&mut self, now: Now, leg: LegId, header: &LegHeader, body: &[u8], outlet: &mut Outlet<'_>) {
        let Some(carrier) = self.joined.as_mut().and_then(|joined| joined.legs.carrier_mut(leg)) else { return };
        let (link, head): (LinkId, _) = (carrier.link(), carrier.head());
        outlet.put(|endpoint, packet| {
            let mut sealed = false;
            let fill = |region: &mut [u8]| {
                let inner = &mut region[carrier.inner()..];
                inner[..LEG_HEADER_LEN].copy_from_slice(&header.encode());
                inner[LEG_HEADER_LEN..LEG_HEADER_LEN + body.len()].copy_from_slice(body);
                sealed = carrier.seal(now.instant, region).is_ok();
            };
            let route = endpoint.seal_cell(now, link, head, fill, packet).ok();
            // A circuit that is cut or worn out takes no cell; its leg ends when that is looked at next.
            route.filter(|_| sealed)
        });
    }
}
