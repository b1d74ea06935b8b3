//! Errands: circuits that are no leg of a tunnel when they are built. They lead to a relay where two clients can meet, for whoever
//! asks for it: a service that waits or comes, a client that calls one.
//!
//! They share guards, links, relays that are avoided and numbers of circuits with the tunnels, and their cells leave as those of
//! circuits in the making do: in shaped modes in slots that exist anyway. A guard or middle that fails is the errand's own matter;
//! a last hop that fails is its owner's.

use super::build::HOP_PATIENCE;
use super::timing::{KEEP_ALIVE, KEEP_ALIVE_IN_SLOTS};
use super::{Circuits, Shared};
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use network_document::NetworkDocument;
use onion::{Cause, Circuit, CircuitEvent, CircuitMessage, Features, Position, Reason, Received, RelaySpec};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::Path;
use wire::cell::{CellHead, CircuitId, Command};

/// Errands at a time, with those whose end was not fetched yet. No further one is begun then.
pub(crate) const ERRANDS_MAX: usize = 128;
/// Circuits that were taken out and not given back, of which is known that their links are in use. Further ones are not taken out.
pub(crate) const LENT_MAX: usize = 2_048;
/// The first wait after a failure is drawn from this; each further one from twice as much.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// What a wait is drawn from at most.
const WAIT_MAX: Duration = Duration::from_secs(4);
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

/// Where an errand stands.
enum Stage {
    /// A path is chosen at this time; sooner, when there was none, if a guard answers.
    Waiting { until: Instant, refused: bool },
    /// The guard's link is not up.
    Dialling { path: Path, link: LinkId },
    /// The circuit is being built with these keys of its relays; since when its present hop is asked for, once a cell has left for it: a
    /// hop has its time from then, not from when a slot was wished for.
    Building { path: Path, link: LinkId, specs: Vec<RelaySpec>, circuit: Box<Circuit>, since: Option<Instant> },
    /// It is there. When a cell is due if none leaves before; whether its owner knows.
    Ready { path: Path, link: LinkId, circuit: Box<Circuit>, cover_at: Instant, told: bool },
    /// It is over, and its owner does not know.
    Over { ready: bool, relay: Option<NodeId> },
}

impl Stage {
    fn way(&self) -> Option<(&Path, LinkId)> {
        match self {
            Self::Waiting { .. } | Self::Over { .. } => None,
            Self::Dialling { path, link } | Self::Building { path, link, .. } | Self::Ready { path, link, .. } => {
                Some((path, *link))
            }
        }
    }

    fn circuit_mut(&mut self) -> Option<(LinkId, &mut Circuit)> {
        match self {
            Self::Building { link, circuit, .. } | Self::Ready { link, circuit, .. } => Some((*link, circuit)),
            Self::Waiting { .. } | Self::Dialling { .. } | Self::Over { .. } => None,
        }
    }
}

struct Errand {
    owner: ErrandOwner,
    last: Last,
    beside: KeepApart,
    /// Until when its circuit must be there.
    deadline: Instant,
    stage: Stage,
    failures: u32,
    /// How often there was no path to it.
    refusals: u32,
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

impl Errand {
    /// Takes what it has, and lets it begin again at a time.
    fn restart(&mut self, shared: &mut Shared, now: Instant, until: Instant) {
        self.leave(shared, now, Stage::Waiting { until, refused: false });
    }

    /// Changes to another stage and takes down the circuit that it had.
    fn leave(&mut self, shared: &mut Shared, now: Instant, next: Stage) {
        match std::mem::replace(&mut self.stage, next) {
            Stage::Building { link, circuit, .. } | Stage::Ready { link, circuit, .. } => {
                shared.end_circuit(now, link, *circuit);
            }
            Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Over { .. } => {}
        }
    }

    /// Its last hop is not to be had, or its circuit is lost.
    fn end(&mut self, shared: &mut Shared, now: Instant, relay: Option<NodeId>) {
        let ready = matches!(self.stage, Stage::Ready { .. });
        // Its owner is told at once.
        self.deadline = self.deadline.min(now);
        self.leave(shared, now, Stage::Over { ready, relay });
    }

    /// Begins the circuit if the guard's link is up.
    fn begin(&mut self, shared: &mut Shared, now: Now) {
        let Stage::Dialling { path, link } = &self.stage else { return };
        let (path, link) = (path.clone(), *link);
        if !shared.is_up(link) {
            return;
        }
        self.stage = match shared.begin_circuit(now, &path) {
            Some((circuit, specs)) => Stage::Building { path, link, specs, circuit: Box::new(circuit), since: None },
            None => Stage::Waiting { until: now.instant + WAIT_MAX, refused: false },
        };
    }

    /// Goes on with a circuit that is being built.
    fn follow(&mut self, shared: &mut Shared, now: Now) {
        // A hop each time; there are at most three.
        while let Stage::Building { specs, circuit, since, path, .. } = &mut self.stage {
            let built = circuit.path().count();
            match circuit.poll_event() {
                Some(CircuitEvent::Extended { .. }) => *since = None,
                // A guard without room for one more circuit has not failed: it answers, and room comes.
                Some(CircuitEvent::Closed { cause: Cause::Told(Reason::Full), .. }) if built == 0 => {
                    let until = now.instant + shared.draw(WAIT_MAX);
                    return self.restart(shared, now.instant, until);
                }
                Some(_) => return self.fail(shared, now, built),
                None if since.is_some_and(|since| since + HOP_PATIENCE <= now.instant) => {
                    return self.fail(shared, now, built);
                }
                None => return,
            }
            if let Some(next) = specs.get(built) {
                if circuit.extend(now.instant, *next).is_err() {
                    return self.fail(shared, now, built);
                }
                continue;
            }
            let position = u8::try_from(path.hops().len()).ok().and_then(Position::new);
            let figures = position.and_then(|last| circuit.hop(last));
            if !figures.is_some_and(|hop| hop.features.has(Features::RENDEZVOUS)) {
                // A middle at which nobody can meet: an older version.
                let relay = path.exit();
                shared.avoid(now.instant, relay);
                return self.end(shared, now.instant, Some(relay));
            }
            shared.note_whole(now.instant, &path.first());
            self.get_ready(now.instant);
        }
    }

    fn get_ready(&mut self, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Waiting { until: now, refused: false });
        self.stage = match stage {
            Stage::Building { path, link, circuit, .. } => {
                Stage::Ready { path, link, circuit, cover_at: now + KEEP_ALIVE, told: false }
            }
            other => other,
        };
    }

    /// The hop behind the `built` first ones does not come.
    fn fail(&mut self, shared: &mut Shared, now: Now, built: usize) {
        let Some((path, _)) = self.stage.way() else { return };
        let Some(suspect) = path.hops().get(built).copied() else { return self.end(shared, now.instant, None) };
        if suspect == path.exit() {
            if let Last::Drawn { .. } = self.last {
                shared.avoid(now.instant, suspect);
            }
            return self.end(shared, now.instant, Some(suspect));
        }
        if suspect == path.first() {
            shared.guards.handle_failed(now.unix_s, &suspect, &mut shared.rng);
        } else {
            shared.avoid(now.instant, suspect);
            shared.note_stuck(now, &path.first());
        }
        let span = WAIT_FIRST.saturating_mul(1 << self.failures.min(8)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        let until = now.instant + shared.draw(span);
        self.restart(shared, now.instant, until);
    }

    fn poll_timeout(&self, shared: &Shared) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Waiting { until, .. } if !shared.stopping => *until,
            Stage::Waiting { .. } | Stage::Dialling { .. } => self.deadline,
            Stage::Building { circuit, since, .. } => {
                let own = circuit.poll_timeout().into_iter();
                own.chain(since.map(|since| since + HOP_PATIENCE)).min().unwrap_or(self.deadline)
            }
            Stage::Ready { circuit, cover_at, .. } => {
                return circuit.poll_timeout().into_iter().chain([*cover_at]).min();
            }
            Stage::Over { .. } => self.deadline,
        };
        Some(stage.min(self.deadline))
    }
}

/// The circuit's next own cell, or what keeps it from being forgotten.
fn poll_cell(now: Instant, every: Duration, stage: &mut Stage, region: &mut [u8]) -> Option<CellHead> {
    match stage {
        Stage::Building { circuit, since, .. } => {
            let head = circuit.poll_cell(now, region);
            if head.is_some() {
                since.get_or_insert(now);
            }
            head
        }
        Stage::Ready { circuit, cover_at, .. } => {
            if *cover_at <= now {
                *cover_at = now + every;
                circuit.keep_alive(now);
                region.fill(0);
                if circuit.poll_timeout().is_none()
                    && let Ok(head) = circuit.seal(now, region)
                {
                    return Some(head);
                }
            }
            let head = circuit.poll_cell(now, region);
            if head.is_some() {
                *cover_at = now + every;
            }
            head
        }
        Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Over { .. } => None,
    }
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
        let (id, head) =
            of_link.find_map(|(id, errand)| Some((*id, poll_cell(now, every, &mut errand.stage, region)?)))?;
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

impl Errand {
    fn poll(&mut self, shared: &mut Shared, now: Instant, id: ErrandId) -> Option<ErrandNews> {
        match &mut self.stage {
            Stage::Over { ready: true, .. } => Some(ErrandNews::Gone { id }),
            Stage::Over { relay, .. } => Some(ErrandNews::Failed { id, relay: *relay }),
            Stage::Ready { path, told: told @ false, .. } => {
                *told = true;
                Some(ErrandNews::Ready { id, relay: path.exit() })
            }
            Stage::Ready { circuit, .. } => {
                if let Some(message) = circuit.poll_message() {
                    return Some(ErrandNews::Message { id, message });
                }
                let event = circuit.poll_event()?;
                if !matches!(event, CircuitEvent::Closed { .. }) {
                    return Some(ErrandNews::Event { id, event });
                }
                self.end(shared, now, None);
                Some(ErrandNews::Gone { id })
            }
            Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Building { .. } => None,
        }
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
        let stage = Stage::Waiting { until: now, refused: false };
        errands.all.insert(id, Errand { owner, last, beside, deadline, stage, failures: 0, refusals: 0 });
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
        let is_named = matches!(last, Last::Relay(_));
        self.shared.choose_meeting(now, self.rules, &beside, (&allows, is_named))
    }
}

#[cfg(test)]
mod tests;
