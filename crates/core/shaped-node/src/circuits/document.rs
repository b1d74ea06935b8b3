//! Another document of the network: what it takes away, and what stays.
//!
//! It comes at a public time, and what follows from it is decided by what the two documents say and by which circuits there are.
//! In shaped modes nothing of it asks whether there are flows, so that no watcher learns.

use super::{CircuitTunnel, Circuits, LINGER_IN_SLOTS, Outgoing, Place as LegPlace, Shared, Stage};
use crate::near::Near;
use crate::queues::FlowQueues;
use conflux::{LEGS_MAX, LegId, LegState};
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use network_document::NetworkDocument;
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::{Path, Place, Relays};

/// How long a leg over a relay that is gone carries data at most while another one is built in its place.
const OUTGOING_MAX: Duration = Duration::from_secs(30);
/// In shaped modes another guard gets the share of one that is gone so long after the leg began to drain.
const SHARE_HANDOVER: Duration = Duration::from_secs(1);

/// Why a document was not taken. The one before stays in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DocumentRefused {
    /// There are no circuits here.
    #[error("this node does not go over circuits, so it has no document")]
    NoCircuits,
    /// It cannot take the place of another network's.
    #[error("the document is of another network than the one in force")]
    OtherNetwork,
    /// It is as old as the one in force, or older.
    #[error("the document is not later than the one in force")]
    NotLater,
}

/// A document with what is computed of it. Make it where time does not matter: of 5,000 relays that takes some milliseconds.
#[derive(Debug, Clone)]
pub struct NextDocument {
    document: NetworkDocument,
    relays: Relays,
}

impl NextDocument {
    /// Of a document that was verified.
    pub fn new(document: NetworkDocument) -> Self {
        Self { relays: Relays::new(&document), document }
    }

    /// What it says.
    pub fn document(&self) -> &NetworkDocument {
        &self.document
    }
}

impl Circuits {
    /// The document in force.
    pub(crate) fn document(&self) -> &NetworkDocument {
        &self.shared.document
    }

    /// Goes by a later document of the same network from now on. [`Circuits::advance`] is to follow.
    ///
    /// Legs whose relays are all still there stay. One with a relay that is gone is replaced, and goes when the other is built. A
    /// tunnel whose exit is gone finishes its flows (in shaped modes for a fixed time) while another takes its place.
    ///
    /// # Errors
    /// [`DocumentRefused`]; nothing has changed then.
    pub(crate) fn set_document<Q: FlowQueues>(
        &mut self,
        now: Now,
        next: NextDocument,
        near: &mut Near<Q>,
    ) -> Result<(), DocumentRefused> {
        let Self { shared, tunnels, .. } = self;
        let NextDocument { document, relays } = next;
        if document.network_id() != shared.document.network_id() {
            return Err(DocumentRefused::OtherNetwork);
        }
        if !document.supersedes(&shared.document) {
            return Err(DocumentRefused::NotLater);
        }
        let old = std::mem::replace(&mut shared.document, document);
        shared.relays = relays;
        shared.look_through_guards(now);
        let mut lost = Vec::new();
        for tunnel in tunnels.values_mut() {
            if tunnel.follow_document(shared, now.instant, &old) {
                lost.push(tunnel.number);
            }
        }
        self.errands.follow_document(shared, now.instant, &old);
        for number in lost {
            self.retire(number, near);
        }
        if !self.shared.stopping {
            self.fill_up(now.instant);
        }
        Ok(())
    }

    /// Dials of guards that the document has at another address, or with other keys, go there.
    pub(super) fn follow_guards(&mut self, now: Now, endpoint: &mut Endpoint) {
        for link in self.shared.redialled(now, endpoint) {
            self.lose_circuits(now.instant, link);
            self.errands.dial_again(now.instant, link);
            self.shared.forget_link(link, endpoint);
            for tunnel in self.tunnels.values_mut() {
                for number in 0..tunnel.places.len() {
                    if let Stage::Dialling { path, link: of } = &tunnel.places[number].stage
                        && *of == link
                    {
                        let path = path.clone();
                        tunnel.set_out(&mut self.shared, now, endpoint, number, path);
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Whether the present document has a relay of an older one as the same relay, in this place. Where it stands is no matter.
    fn keeps(&self, old: &NetworkDocument, relay: &NodeId, place: Place) -> bool {
        let announced = || old.announcement(relay).and_then(|said| said.announcement().next_link_key);
        let is_same = old
            .relay(relay)
            .zip(self.document.relay(relay))
            .is_some_and(|(before, now)| now.link_key == before.link_key || Some(now.link_key) == announced());
        is_same && self.relays.has(relay, place)
    }

    pub(super) fn keeps_path(&self, old: &NetworkDocument, path: &Path) -> bool {
        path.is_in(&self.relays) && path.places().all(|(relay, place)| self.keeps(old, &relay, place))
    }

    /// Gives links the addresses of the document: who stands elsewhere is asked there, and one that is up goes on there if it is the same
    /// process. Whether it still is where it was is not waited for: on a link without flows that could not be told. Those that are not up
    /// and whose guard has other keys are to be dialled anew.
    fn redialled(&mut self, now: Now, endpoint: &mut Endpoint) -> Vec<LinkId> {
        let mut anew = Vec::new();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(guard) = self.links.get(&link) else { continue };
            let (node, way) = (guard.node, guard.way);
            let Some((relay, next)) = self.document.relay(&node).zip(self.way_instead_of(&node, way)) else { continue };
            if relay.link_key != guard.link_key || relay.door_key != guard.door_key {
                anew.extend((!guard.up).then_some(link));
            } else if next != way
                && endpoint.move_dial(now, link, next.far).is_ok()
                && let Some(guard) = self.links.get_mut(&link)
            {
                guard.way = next;
            }
        }
        anew
    }
}

impl CircuitTunnel {
    /// Takes in that there is another document than `old`. True when the tunnel has an exit that is gone, and cannot go on.
    fn follow_document(&mut self, shared: &mut Shared, now: Instant, old: &NetworkDocument) -> bool {
        if self.joined.as_ref().is_some_and(|joined| joined.over_at.is_some()) {
            return false;
        }
        if self.is_of_service() {
            self.leave_gone_relays(shared, now, old);
            return false;
        }
        let has_exit = self.exit.is_none_or(|exit| shared.keeps(old, &exit, self.rules.target().place()));
        if !has_exit && self.joined.is_some() {
            self.leave_gone_exit(shared, now);
            return true;
        }
        for number in 0..self.places.len() {
            match &mut self.places[number].stage {
                Stage::Waiting { until, refused: true } => *until = now,
                stage => {
                    if stage.path().is_some_and(|path| !shared.keeps_path(old, path)) {
                        self.replace(shared, now, number);
                    }
                }
            }
        }
        if !has_exit {
            self.exit = None;
        }
        false
    }

    /// Legs that are there go on; none is added.
    fn leave_gone_exit(&mut self, shared: &mut Shared, now: Instant) {
        self.exit_is_gone = true;
        for number in 0..self.places.len() {
            if !matches!(self.places[number].stage, Stage::Joined { .. }) {
                self.vacate(shared, now, number, false);
            }
        }
        if shared.uplink.is_some() {
            // How long its flows take would show in how long its circuits stay.
            self.ends_at = Some(now + LINGER_IN_SLOTS);
        }
    }

    /// A relay of the place's path is gone, but not the exit.
    fn replace(&mut self, shared: &mut Shared, now: Instant, number: usize) {
        let guard = self.places[number].stage.path().map(Path::first);
        let moves = shared.uplink.is_some() && guard.is_some_and(|guard| !shared.relays.has(&guard, Place::Guard));
        self.hand_over(shared, now, number, moves);
    }

    /// A place begins again. Its leg carries data until it has a successor, unless a share `moves` to another guard's link.
    pub(super) fn hand_over(&mut self, shared: &mut Shared, now: Instant, number: usize, moves: bool) {
        let outgoing = match &self.places[number].stage {
            Stage::Joined { leg, path, .. } if self.can_overlap(*leg) => {
                Some(Outgoing { leg: *leg, path: path.clone(), until: now + OUTGOING_MAX })
            }
            _ => None,
        };
        if let Some(outgoing) = outgoing.filter(|_| !moves) {
            let stage = Stage::at(now);
            self.places[number] = LegPlace { stage, failures: 0, up_link: None, outgoing: Some(outgoing) };
            return;
        }
        let drains = matches!(self.places[number].stage, Stage::Joined { .. });
        self.vacate(shared, now, number, true);
        if moves && drains {
            self.places[number].stage = Stage::at(now + SHARE_HANDOVER);
        }
    }

    /// Whether a leg is in use, and the tunnel has room for another one beside it.
    fn can_overlap(&self, leg: LegId) -> bool {
        let Some(joined) = &self.joined else { return false };
        let is_linked = joined.legs.legs().any(|figures| figures.leg == leg && figures.state == LegState::Linked);
        is_linked && joined.legs.legs().count() + self.places.len() <= usize::from(LEGS_MAX)
    }

    /// A place has a circuit for a new leg: legs that are on their way out and in its way drain now.
    pub(super) fn make_way(&mut self, now: Instant, number: usize, path: &Path) {
        let before_exit = |path: &Path| path.hops()[..path.hops().len() - 1].to_vec();
        let taken = before_exit(path);
        let Some(joined) = &mut self.joined else { return };
        for (place, of) in self.places.iter_mut().enumerate() {
            let is_in_way = |outgoing: &mut Outgoing| {
                place == number || before_exit(&outgoing.path).iter().any(|relay| taken.contains(relay))
            };
            if let Some(outgoing) = of.outgoing.take_if(is_in_way) {
                joined.legs.remove_leg(now, outgoing.leg);
            }
        }
    }

    /// Legs on their way out whose time is over, whether there is another one or not.
    pub(super) fn end_outgoing(&mut self, now: Instant) {
        let Some(joined) = &mut self.joined else { return };
        for place in &mut self.places {
            if let Some(outgoing) = place.outgoing.take_if(|outgoing| outgoing.until <= now) {
                joined.legs.remove_leg(now, outgoing.leg);
            }
        }
    }

    /// Whether a leg is on its way out. It is forgotten as such.
    pub(super) fn take_outgoing(&mut self, leg: LegId) -> bool {
        let is_it = |outgoing: &mut Outgoing| outgoing.leg == leg;
        self.places.iter_mut().any(|place| place.outgoing.take_if(is_it).is_some())
    }
}
