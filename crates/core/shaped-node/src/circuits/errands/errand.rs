//! One errand: its stages, and what leads from each to the next.

use super::{ErrandId, ErrandNews, ErrandOwner, KeepApart, Last};
use crate::circuits::Shared;
use crate::circuits::build::HOP_PATIENCE;
use crate::circuits::timing::KEEP_ALIVE;
use identity::NodeId;
use link::{LinkId, Now};
use onion::{Cause, Circuit, CircuitEvent, Features, Position, Reason, RelaySpec};
use std::time::{Duration, Instant};
use tunnel_plan::Path;
use wire::cell::CellHead;

/// The first wait after a failure is drawn from this; each further one from twice as much.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// What a wait is drawn from at most.
const WAIT_MAX: Duration = Duration::from_secs(4);

/// Where an errand stands.
pub(super) enum Stage {
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
    pub(super) fn way(&self) -> Option<(&Path, LinkId)> {
        match self {
            Self::Waiting { .. } | Self::Over { .. } => None,
            Self::Dialling { path, link } | Self::Building { path, link, .. } | Self::Ready { path, link, .. } => {
                Some((path, *link))
            }
        }
    }

    pub(super) fn circuit_mut(&mut self) -> Option<(LinkId, &mut Circuit)> {
        match self {
            Self::Building { link, circuit, .. } | Self::Ready { link, circuit, .. } => Some((*link, circuit)),
            Self::Waiting { .. } | Self::Dialling { .. } | Self::Over { .. } => None,
        }
    }

    /// The circuit's next own cell, or what keeps it from being forgotten.
    pub(super) fn poll_cell(&mut self, now: Instant, every: Duration, region: &mut [u8]) -> Option<CellHead> {
        match self {
            Self::Building { circuit, since, .. } => {
                let head = circuit.poll_cell(now, region);
                if head.is_some() {
                    since.get_or_insert(now);
                }
                head
            }
            Self::Ready { circuit, cover_at, .. } => {
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
            Self::Waiting { .. } | Self::Dialling { .. } | Self::Over { .. } => None,
        }
    }
}

/// One errand.
pub(super) struct Errand {
    pub(super) owner: ErrandOwner,
    pub(super) last: Last,
    pub(super) beside: KeepApart,
    /// Until when its circuit must be there.
    pub(super) deadline: Instant,
    pub(super) stage: Stage,
    failures: u32,
    /// How often there was no path to it.
    pub(super) refusals: u32,
}

impl Errand {
    /// One that begins at once.
    pub(super) fn new(owner: ErrandOwner, last: Last, beside: KeepApart, now: Instant, deadline: Instant) -> Self {
        let stage = Stage::Waiting { until: now, refused: false };
        Self { owner, last, beside, deadline, stage, failures: 0, refusals: 0 }
    }

    /// Takes what it has, and lets it begin again at a time.
    pub(super) fn restart(&mut self, shared: &mut Shared, now: Instant, until: Instant) {
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
    pub(super) fn end(&mut self, shared: &mut Shared, now: Instant, relay: Option<NodeId>) {
        let ready = matches!(self.stage, Stage::Ready { .. });
        // Its owner is told at once.
        self.deadline = self.deadline.min(now);
        self.leave(shared, now, Stage::Over { ready, relay });
    }

    /// Begins the circuit if the guard's link is up.
    pub(super) fn begin(&mut self, shared: &mut Shared, now: Now) {
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
    pub(super) fn follow(&mut self, shared: &mut Shared, now: Now) {
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

    pub(super) fn poll_timeout(&self, shared: &Shared) -> Option<Instant> {
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

    /// What has become of it since the last call.
    pub(super) fn poll(&mut self, shared: &mut Shared, now: Instant, id: ErrandId) -> Option<ErrandNews> {
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
