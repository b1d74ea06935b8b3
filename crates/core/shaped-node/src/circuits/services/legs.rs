//! The tunnel of a service: its legs come out of meetings and end at the service.

use super::RecordsFrom;
use crate::circuits::pool::Holder;
use crate::circuits::{CircuitTunnel, Circuits, OnionCircuit, Shared, Stage, TunnelId};
use crate::tunnel::Tunnel;
use conflux::Building;
use identity::NodeId;
use link::{LinkId, Now};
use network_document::NetworkDocument;
use onion::Circuit;
use relay_directory::ServiceRequest;
use session::FlowId;
use std::time::Instant;
use tunnel_plan::{Path, Place, Refusal};
use wire::cell::CellHead;

/// The client number of a node's own questions. Flows of applications have others.
const OWN_CLIENT: u64 = u64::MAX;

impl Circuits {
    /// The session of a tunnel that is still the same one.
    pub(super) fn session_of(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        self.tunnels.get_mut(&id.number).filter(|tunnel| tunnel.id() == id)?.session_mut()
    }

    /// Asks the directory behind a group's tunnel. A group without one takes one that is ready, as for a flow: what it looks up is
    /// not to stand beside what another group does. Or it has one built for this alone.
    pub(super) fn ask_directory(
        &mut self,
        now: Instant,
        request: &ServiceRequest,
        records: RecordsFrom,
    ) -> Option<(TunnelId, FlowId)> {
        let number = match records {
            RecordsFrom::Group(group) => self.take(now, group)?,
            RecordsFrom::Built(group, rules) => self.take_or_build(now, group, rules).ok()?,
        };
        let tunnel = self.tunnels.get(&number)?;
        let exit = tunnel.joined.as_ref()?.exit;
        let id = tunnel.id();
        if !self.shared.relays.has(&exit, Place::Directory) {
            return None;
        }
        let far = self.session_of(id)?.ask(request, OWN_CLIENT)?;
        Some((id, far))
    }

    /// Why there is no path to a directory for a tunnel that is built for it.
    pub(super) fn directory_refusal(&self, records: RecordsFrom) -> Option<Refusal> {
        let RecordsFrom::Built(group, _) = records else { return None };
        self.refusal_of(self.number_of(group)?)
    }

    /// The tunnel that was built for records is not needed any more.
    pub(super) fn leave_directory(&mut self, records: RecordsFrom) {
        if let RecordsFrom::Built(group, _) = records {
            self.let_go(group);
        }
    }

    /// A circuit that is joined to one of a service's becomes a leg of its tunnel. `session`: whom the tunnel's session is with, if this
    /// is its first leg.
    pub(super) fn join_service(
        &mut self,
        now: Now,
        number: u64,
        (link, circuit, path): (LinkId, Circuit, Path),
        session: NodeId,
    ) {
        self.give_back(link, circuit.id());
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return self.shared.end_circuit(now.instant, link, circuit);
        };
        tunnel.join_meeting(&mut self.shared, now, (link, circuit, path), session);
    }
}

impl CircuitTunnel {
    /// Whether it leads to a service.
    pub(in crate::circuits) fn is_of_service(&self) -> bool {
        matches!(self.holder, Holder::Service { .. }) || self.rules.target() == tunnel_plan::Target::Meeting
    }

    /// Legs that are missing.
    pub(super) fn free_places(&self) -> usize {
        self.places.iter().filter(|place| matches!(place.stage, Stage::Waiting { .. })).count()
    }

    /// Whether none of its legs is left but those on their way out.
    pub(super) fn is_bare(&self) -> bool {
        self.free_places() == self.places.len()
    }

    /// Whether it has lost its legs before there was a session.
    pub(super) fn is_stillborn(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| joined.over_at.is_none()) && !self.is_up() && self.is_bare()
    }

    /// The next own cell of a leg's circuit, over this link if one is named.
    pub(in crate::circuits) fn poll_own_cell(
        &mut self,
        now: Instant,
        link: Option<LinkId>,
        region: &mut [u8],
    ) -> Option<(LinkId, CellHead)> {
        let legs = &mut self.joined.as_mut()?.legs;
        let of_link = self.routes.iter().filter(|((of, _), _)| link.is_none_or(|link| link == *of));
        of_link.into_iter().find_map(|((of, _), leg)| Some((*of, legs.carrier_mut(*leg)?.poll_cell(now, region)?)))
    }

    /// A guard is silent: legs over it go if there is another one, and are made anew.
    pub(in crate::circuits) fn leave_link(&mut self, shared: &mut Shared, now: Instant, link: LinkId) {
        let of_link = |place: &crate::circuits::Place| place.stage.link() == Some(link);
        let has_others = self.places.iter().any(|place| place.stage.link().is_some() && !of_link(place));
        for number in 0..self.places.len() {
            if has_others && of_link(&self.places[number]) {
                self.vacate(shared, now, number, false);
            }
        }
    }

    /// Legs over relays that the document lacks bring what is on its way, and are made anew.
    pub(in crate::circuits) fn leave_gone_relays(&mut self, shared: &mut Shared, now: Instant, old: &NetworkDocument) {
        for number in 0..self.places.len() {
            if self.places[number].stage.path().is_some_and(|path| !shared.keeps_path(old, path)) {
                self.vacate(shared, now, number, true);
            }
        }
    }

    fn join_meeting(
        &mut self,
        shared: &mut Shared,
        now: Now,
        (link, circuit, path): (LinkId, Circuit, Path),
        session: NodeId,
    ) {
        let free = self.places.iter().position(|place| matches!(place.stage, Stage::Waiting { .. }));
        let Some(place) = free else { return shared.end_circuit(now.instant, link, circuit) };
        let end = self.joined.as_ref().map_or(session, |joined| joined.exit);
        let hops = path.hops().iter().copied().chain([end]).collect();
        let id = circuit.id();
        let built = match Building::new(OnionCircuit { circuit, link }).into_built(hops) {
            Ok(built) => built,
            Err((building, _)) => return shared.end_circuit(now.instant, link, building.into_circuit().circuit),
        };
        if self.joined.is_none() {
            self.joined = Some(self.new_tunnel(shared, now, end));
        }
        self.add_leg(shared, now.instant, place, (path, link, id), built);
    }
}

impl Shared {
    /// Bytes of a session packet behind a virtual hop.
    pub(in crate::circuits) fn virtual_packet(&self) -> Option<usize> {
        self.document.charter().packet_size().session_packet_virtual()
    }
}
