//! Errands: circuits that are no leg of a tunnel when they are built. They lead to a relay where two clients can meet, for whoever
//! asks for it: a service that waits or comes, a client that calls one.
//!
//! They share guards, links, relays that are avoided and numbers of circuits with the tunnels, and their cells leave as those of
//! circuits in the making do: in shaped modes in slots that exist anyway. A guard or middle that fails is the errand's own matter;
//! a last hop that fails is its owner's.

mod errand;

use super::timing::{KEEP_ALIVE, KEEP_ALIVE_IN_SLOTS};
use super::{Circuits, Shared};
use errand::{Errand, Stage};
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use network_document::NetworkDocument;
use onion::{Circuit, CircuitEvent, CircuitMessage, Received};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::Path;
use wire::cell::{CellHead, CircuitId, Command};

/// Errands at a time, with those whose end was not fetched yet. No further one is begun then.
pub(crate) const ERRANDS_MAX: usize = 128;
/// Circuits that were taken out and not given back, of which is known that their links are in use. Further ones are not taken out.
pub(crate) const LENT_MAX: usize = 2_048;
/// How long after a refusal a path is looked for again, if no guard answers meanwhile.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// Refusals after which a relay that was named is given up, if a guard is heard: what there is will not change soon.
const REFUSALS_MAX: u32 = 3;

/// Names an errand. Never used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ErrandId(u64);

/// Where an errand leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Last {
    /// To this relay.
    Relay(NodeId),
    /// To one that is drawn by weight, but to none of these.
    Drawn {
        /// Not to these.
        avoid: Vec<NodeId>,
    },
}

/// Which circuits an errand has no relay in common with, so that it can be a leg beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeepApart {
    /// Errands with the same number keep apart from each other, and from the legs of the tunnel with it.
    pub(crate) kin: Option<u64>,
    /// These paths as well.
    pub(crate) paths: Vec<Path>,
}

/// There are [`ERRANDS_MAX`] errands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there are {ERRANDS_MAX} circuits on errands, and one has to end before another can be begun")]
pub(crate) struct ErrandsFull;

/// Who hears of an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrandOwner {
    /// The node around these circuits.
    Node,
    /// The part that seeks services.
    Seeker,
}

/// What has become of an errand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ErrandNews {
    /// Its circuit is there and ends at this relay, which can be asked to be a place to meet.
    Ready { id: ErrandId, relay: NodeId },
    /// It is over. `relay`: the last hop, if that is what failed; else there was no path in time.
    Failed { id: ErrandId, relay: Option<NodeId> },
    /// Somebody said this through the last hop.
    Message { id: ErrandId, message: CircuitMessage },
    /// This has happened to its circuit.
    Event { id: ErrandId, event: CircuitEvent },
    /// Its circuit was there and is lost. The errand is over.
    Gone { id: ErrandId },
}

impl ErrandNews {
    /// Of which errand.
    pub(crate) fn id(&self) -> ErrandId {
        match self {
            Self::Ready { id, .. }
            | Self::Failed { id, .. }
            | Self::Message { id, .. }
            | Self::Event { id, .. }
            | Self::Gone { id } => *id,
        }
    }
}

/// All errands, and the circuits that came of them.
#[derive(Default)]
pub(super) struct Errands {
    last: u64,
    all: BTreeMap<ErrandId, Errand>,
    /// Whose cell left last: the next one begins.
    turn: ErrandId,
    /// Circuits that others have now.
    lent: BTreeSet<(LinkId, CircuitId)>,
    /// Whether cells leave in slots.
    is_in_slots: bool,
}

impl Errands {
    /// `is_in_slots`: cells leave when there is a slot.
    pub(super) fn new(is_in_slots: bool) -> Self {
        Self { is_in_slots, ..Self::default() }
    }

    /// The next own cell of an errand's circuit over a link.
    pub(super) fn poll_cell(&mut self, now: Instant, link: LinkId, region: &mut [u8]) -> Option<CellHead> {
        let every = if self.is_in_slots { KEEP_ALIVE_IN_SLOTS } else { KEEP_ALIVE };
        let turn = self.turn;
        let (before, behind): (Vec<_>, Vec<_>) = self.all.iter_mut().partition(|(id, _)| **id <= turn);
        let in_turn = behind.into_iter().chain(before);
        let mut of_link = in_turn.filter(|(_, errand)| errand.stage.way().is_some_and(|(_, of)| of == link));
        let (id, head) = of_link.find_map(|(id, errand)| Some((*id, errand.stage.poll_cell(now, every, region)?)))?;
        self.turn = id;
        Some(head)
    }

    /// Whether anything goes over a link, or is to.
    pub(super) fn uses(&self, link: LinkId) -> bool {
        self.all.values().any(|errand| errand.stage.way().is_some_and(|(_, of)| of == link)) || self.lends(link)
    }

    /// Whether circuits that others have go over a link.
    pub(super) fn lends(&self, link: LinkId) -> bool {
        self.lent.range((link, CircuitId(0))..=(link, CircuitId(u32::MAX))).next().is_some()
    }

    /// Over which link the circuit of an errand goes that is ready.
    pub(super) fn link_of(&self, id: ErrandId) -> Option<LinkId> {
        let Stage::Ready { link, .. } = &self.all.get(&id)?.stage else { return None };
        Some(*link)
    }

    /// Whether an errand looks for a link.
    pub(super) fn is_waiting(&self) -> bool {
        self.all.values().any(|errand| matches!(errand.stage, Stage::Waiting { .. }))
    }

    /// Takes a cell of an errand's circuit. `None`: it is of none of them.
    pub(super) fn handle_cell(
        &mut self,
        now: Instant,
        link: LinkId,
        (circuit, command): (CircuitId, Command),
        region: &mut [u8],
    ) -> Option<Received> {
        let circuits = self.all.values_mut().filter_map(|errand| errand.stage.circuit_mut());
        let mut found = circuits.filter(|(of, found)| *of == link && found.id() == circuit);
        found.next().map(|(_, circuit)| circuit.handle_cell(now, command, region))
    }

    /// All circuits over a link are gone.
    pub(super) fn lose_circuits(&mut self, shared: &mut Shared, now: Instant, link: LinkId) {
        self.lent.retain(|(of, _)| *of != link);
        for errand in self.all.values_mut() {
            match &errand.stage {
                Stage::Building { link: of, .. } if *of == link => errand.restart(shared, now, now),
                Stage::Ready { link: of, .. } if *of == link => errand.end(shared, now, None),
                _ => {}
            }
        }
    }

    /// A guard is silent: errands over it go over another one, and those that were there are lost.
    pub(super) fn leave_guard(&mut self, shared: &mut Shared, now: Instant, link: LinkId) {
        for errand in self.all.values_mut() {
            match &errand.stage {
                Stage::Ready { link: of, .. } if *of == link => errand.end(shared, now, None),
                stage if stage.way().is_some_and(|(_, of)| of == link) => errand.restart(shared, now, now),
                _ => {}
            }
        }
    }

    /// A link is to be dialled anew.
    pub(super) fn dial_again(&mut self, now: Instant, link: LinkId) {
        for errand in self.all.values_mut() {
            if matches!(errand.stage, Stage::Dialling { link: of, .. } if of == link) {
                errand.stage = Stage::Waiting { until: now, refused: false };
            }
        }
    }

    /// A guard answers: errands that found none may find this one.
    pub(super) fn handle_up(&mut self, now: Instant) {
        for errand in self.all.values_mut() {
            if let Stage::Waiting { until, refused: true } = &mut errand.stage {
                *until = now.min(*until);
            }
        }
    }

    /// There is another document than `old`.
    pub(super) fn follow_document(&mut self, shared: &mut Shared, now: Instant, old: &NetworkDocument) {
        for errand in self.all.values_mut() {
            if errand.stage.way().is_none_or(|(path, _)| shared.keeps_path(old, path)) {
                continue;
            }
            match errand.stage {
                Stage::Ready { .. } => errand.end(shared, now, None),
                _ => errand.restart(shared, now, now),
            }
        }
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Instant) {
        for errand in self.all.values_mut() {
            if let Some((_, circuit)) = errand.stage.circuit_mut() {
                circuit.handle_timeout(now);
            }
            if !matches!(errand.stage, Stage::Ready { .. } | Stage::Over { .. }) && errand.deadline <= now {
                errand.end(shared, now, None);
            }
        }
    }

    /// When [`Errands::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self, shared: &Shared) -> Option<Instant> {
        self.all.values().filter_map(|errand| errand.poll_timeout(shared)).min()
    }

    fn poll(&mut self, shared: &mut Shared, now: Instant, owner: ErrandOwner) -> Option<ErrandNews> {
        let mut news = None;
        for (id, errand) in self.all.iter_mut().filter(|(_, errand)| errand.owner == owner) {
            news = errand.poll(shared, now, *id);
            if news.is_some() {
                break;
            }
        }
        if let Some(ErrandNews::Failed { id, .. } | ErrandNews::Gone { id }) = &news {
            self.all.remove(id);
        }
        news
    }

    /// Paths that a new circuit is to keep apart from, beside those it names itself.
    fn kin_of(&self, kin: u64) -> impl Iterator<Item = Path> + '_ {
        let kin = self.all.values().filter(move |errand| errand.beside.kin == Some(kin));
        kin.filter_map(|errand| errand.stage.way().map(|(path, _)| path.clone()))
    }
}

impl Circuits {
    /// Begins a circuit of three hops to a relay at which clients can meet, which must be there by `deadline`.
    ///
    /// # Errors
    /// When there are [`ERRANDS_MAX`].
    pub(crate) fn open_errand(&mut self, now: Instant, last: Last, deadline: Instant) -> Result<ErrandId, ErrandsFull> {
        self.open_errand_beside(now, ErrandOwner::Node, last, KeepApart::default(), deadline)
    }

    /// The same, with no relay in common with these.
    ///
    /// # Errors
    /// When there are [`ERRANDS_MAX`].
    pub(crate) fn open_errand_beside(
        &mut self,
        now: Instant,
        owner: ErrandOwner,
        last: Last,
        beside: KeepApart,
        deadline: Instant,
    ) -> Result<ErrandId, ErrandsFull> {
        let errands = &mut self.errands;
        if errands.all.len() >= ERRANDS_MAX {
            return Err(ErrandsFull);
        }
        errands.last += 1;
        let id = ErrandId(errands.last);
        errands.all.insert(id, Errand::new(owner, last, beside, now, deadline));
        Ok(id)
    }

    /// What has become of the node's errands since the last call; to be asked until `None` after anything that was handled.
    pub(crate) fn poll_errand(&mut self, now: Instant) -> Option<ErrandNews> {
        self.poll_errand_of(now, ErrandOwner::Node)
    }

    /// The same of one owner's.
    pub(super) fn poll_errand_of(&mut self, now: Instant, owner: ErrandOwner) -> Option<ErrandNews> {
        self.errands.poll(&mut self.shared, now, owner)
    }

    /// The circuit of an errand that is ready, to be asked for something.
    pub(crate) fn errand_mut(&mut self, id: ErrandId) -> Option<&mut Circuit> {
        match &mut self.errands.all.get_mut(&id)?.stage {
            Stage::Ready { circuit, .. } => Some(circuit),
            _ => None,
        }
    }

    /// Moves the circuit of an errand that is ready out: its cells come as [`super::Took::Unknown`] from now on. Its link stays until
    /// it is given back with [`Circuits::give_back`]. None if it is not ready, or [`LENT_MAX`] are out.
    pub(crate) fn take_errand(&mut self, id: ErrandId) -> Option<(LinkId, Circuit, Path)> {
        let errands = &mut self.errands;
        let is_ready = matches!(errands.all.get(&id)?.stage, Stage::Ready { .. });
        if !is_ready || errands.lent.len() >= LENT_MAX {
            return None;
        }
        let Some(Errand { stage: Stage::Ready { path, link, circuit, .. }, owner, beside, .. }) =
            errands.all.remove(&id)
        else {
            return None;
        };
        // A node has no tunnel that names this path: those on their way as legs of the same one keep apart from it from now on.
        if owner == ErrandOwner::Node && beside.kin.is_some() {
            let kin = errands.all.values_mut().filter(|other| other.beside.kin == beside.kin);
            kin.for_each(|other| other.beside.paths.push(path.clone()));
        }
        errands.lent.insert((link, circuit.id()));
        Some((link, *circuit, path))
    }

    /// A circuit that was taken out is not used any more. Nothing happens if its link was lost.
    pub(crate) fn give_back(&mut self, link: LinkId, circuit: CircuitId) {
        self.errands.lent.remove(&(link, circuit));
    }

    /// Ends an errand. Nobody hears of it any more.
    pub(crate) fn end_errand(&mut self, now: Instant, id: ErrandId) {
        if let Some(mut errand) = self.errands.all.remove(&id) {
            errand.end(&mut self.shared, now, None);
        }
    }

    /// Goes on with what is being built.
    pub(super) fn follow_errands(&mut self, now: Now) {
        for errand in self.errands.all.values_mut() {
            errand.begin(&mut self.shared, now);
            errand.follow(&mut self.shared, now);
        }
    }

    /// Chooses paths for those whose time has come, and sets out on them.
    pub(super) fn plan_errands(&mut self, now: Now, endpoint: &mut Endpoint) {
        let is_due = |errand: &Errand| matches!(errand.stage, Stage::Waiting { until, .. } if until <= now.instant);
        let due = self.errands.all.iter().filter(|(_, errand)| is_due(errand)).map(|(id, _)| *id);
        let is_heard = self.shared.links.values().any(|link| link.up && link.silent_since.is_none());
        for id in due.collect::<Vec<_>>() {
            let chosen = self.choose_way(now, id);
            let Some(errand) = self.errands.all.get_mut(&id) else { continue };
            let refused = Stage::Waiting { until: now.instant + REFUSED_WAIT, refused: true };
            let Some(path) = chosen else {
                errand.refusals += 1;
                errand.stage = refused;
                if matches!(errand.last, Last::Relay(_)) && is_heard && errand.refusals > REFUSALS_MAX {
                    errand.end(&mut self.shared, now.instant, None);
                }
                continue;
            };
            let way = self.shared.first_way_to(&path.first());
            errand.stage = match way.and_then(|way| self.shared.link_to(now, endpoint, path.first(), way)) {
                Some(link) => Stage::Dialling { path, link },
                None => refused,
            };
            errand.begin(&mut self.shared, now);
        }
    }

    fn choose_way(&mut self, now: Now, id: ErrandId) -> Option<Path> {
        let errand = self.errands.all.get(&id)?;
        let mut beside = errand.beside.paths.clone();
        if let Some(kin) = errand.beside.kin {
            beside.extend(self.errands.kin_of(kin));
            let tunnel = self.tunnels.get(&kin);
            beside.extend(tunnel.iter().flat_map(|tunnel| tunnel.paths()).cloned());
        }
        let last = errand.last.clone();
        let allows = |relay: &NodeId| match &last {
            Last::Relay(wanted) => relay == wanted,
            Last::Drawn { avoid } => !avoid.contains(relay),
        };
        self.shared.choose_meeting(now, self.rules, &beside, &allows)
    }
}

#[cfg(test)]
mod tests;
