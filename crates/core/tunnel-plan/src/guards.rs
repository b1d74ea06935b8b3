//! The few relays through which a client enters the network, for months.

mod file;
mod sample;

pub use file::GuardsFileError;

use crate::relays::{Place, Relays};
use crate::rules::LEGS_MAX;
use identity::NodeId;
use network_document::NetworkId;
use rand_chacha::rand_core::Rng;
use std::fmt;
use thiserror::Error;

/// Guards that are kept beside the primary ones, for when those do not answer. When they do not answer either, nothing is built:
/// that is what keeps whoever can cut guards off from choosing a client's guard.
pub const SPARES: usize = 2;
/// Guards that are added in any [`PERIOD_S`] at most, the first ones included: as many as the set has and this many. Then the set
/// stays smaller until the period is over.
pub const ADDED_SPARE_MAX: usize = 2;
/// 30 days.
pub const PERIOD_S: u64 = 30 * DAY_S;
/// A guard is kept for 60 to 120 days, drawn when it is added and once more when it is first used: a spare one that has to step in
/// late would otherwise soon have to be replaced by yet another one.
pub const LIFETIME_S: (u64, u64) = (60 * DAY_S, 120 * DAY_S);
/// A guard that is in no document for so long is forgotten; until then it has its place back when it returns.
pub const UNLISTED_S: u64 = 7 * DAY_S;
/// Guards in the file at most, with those that are waited for. When a further one is to be added, the one that has been missing for
/// longest goes.
pub const GUARDS_MAX: usize = 20;
/// The wait after the first failure; each further one doubles it.
const RETRY_FIRST_S: u64 = 30;
/// The longest wait. Up to a quarter is added at random.
const RETRY_MAX_S: u64 = 1800;
/// When no guard has answered for so long and one does, the network was away, not the guards: all are tried again at once.
const NETWORK_AWAY_S: u64 = 600;
const DAY_S: u64 = 24 * 3600;

/// A set of guards for a number of legs that no tunnel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("guards are kept for 1 to {LEGS_MAX} legs, not {0}")]
pub struct PrimariesError(pub u8);

/// A client's guards: the *primary* ones, as many as tunnels have legs, and [`SPARES`] for when they fail.
///
/// The order is: guards that were used, the first one used first, then the others as they were added. The primary ones are the
/// first ones in that order. A guard that does not answer keeps its place and is tried again with back-off; it is replaced only
/// when it has left the documents or its time is over, and never more than [`Guards::added_max`] in 30 days are added.
///
/// All times are seconds of UTC, so that they mean the same after a restart. What answers and what does not is not written down:
/// after a restart every guard is tried.
#[derive(Clone, PartialEq, Eq)]
pub struct Guards {
    network: NetworkId,
    primaries: u8,
    guards: Vec<Guard>,
    /// When guards were added, those that are gone included: the last [`PERIOD_S`], ascending.
    added: Vec<u64>,
    answered_s: Option<u64>,
}

#[derive(Clone, PartialEq, Eq)]
struct Guard {
    node_id: NodeId,
    until_s: u64,
    confirmed_s: Option<u64>,
    unlisted_s: Option<u64>,
    failures: u8,
    retry_s: u64,
}

/// How a guard is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardStatus {
    /// Which relay.
    pub node_id: NodeId,
    /// Among the first ones, which are used while they answer.
    pub is_primary: bool,
    /// Since when it is used; `None` when it never was.
    pub confirmed_s: Option<u64>,
    /// Until when it is kept.
    pub until_s: u64,
    /// Since when documents lack it.
    pub unlisted_s: Option<u64>,
    /// Failures since a circuit was built through it.
    pub failures: u8,
}

impl Guards {
    /// An empty set for tunnels of up to `primaries` legs.
    ///
    /// # Errors
    /// When tunnels do not have so many.
    pub fn new(network: NetworkId, primaries: u8) -> Result<Self, PrimariesError> {
        if !(1..=LEGS_MAX).contains(&primaries) {
            return Err(PrimariesError(primaries));
        }
        Ok(Self { network, primaries, guards: Vec::new(), added: Vec::new(), answered_s: None })
    }

    /// The same guards for another number of legs; those that are too many stay until their time is over.
    ///
    /// # Errors
    /// When tunnels do not have so many.
    pub fn set_primaries(&mut self, primaries: u8) -> Result<(), PrimariesError> {
        self.primaries = Self::new(self.network, primaries)?.primaries;
        Ok(())
    }

    /// Guards that may be used now, the preferred ones first: those that answered or are due to be tried.
    pub fn usable(&self, unix_s: u64) -> Vec<NodeId> {
        self.listed().filter(|guard| guard.retry_s <= unix_s).map(|guard| guard.node_id).collect()
    }

    /// All guards in their order.
    pub fn status(&self) -> impl Iterator<Item = GuardStatus> + '_ {
        let mut listed = 0;
        self.guards.iter().map(move |guard| {
            listed += usize::from(guard.unlisted_s.is_none());
            GuardStatus {
                node_id: guard.node_id,
                is_primary: guard.unlisted_s.is_none() && listed <= usize::from(self.primaries),
                confirmed_s: guard.confirmed_s,
                until_s: guard.until_s,
                unlisted_s: guard.unlisted_s,
                failures: guard.failures,
            }
        })
    }

    /// How many guards a full set has.
    pub fn wanted(&self) -> usize {
        usize::from(self.primaries) + SPARES
    }

    /// How many guards are added in 30 days at most.
    pub fn added_max(&self) -> usize {
        self.wanted() + ADDED_SPARE_MAX
    }

    /// When [`Guards::usable`] next has one more; `None` while every guard is usable.
    pub fn poll_retry(&self, unix_s: u64) -> Option<u64> {
        self.listed().map(|guard| guard.retry_s).filter(|retry| *retry > unix_s).min()
    }

    /// A guard answered: its handshake was completed, and it may be used. The first time it takes its place behind those that did before.
    /// That it answers does not make good what it failed before: see [`Guards::handle_built`]. Returns true when the file has to be written.
    pub fn handle_answered(&mut self, unix_s: u64, node: &NodeId, rng: &mut impl Rng) -> bool {
        let Some(place) = self.guards.iter().position(|guard| guard.node_id == *node) else { return false };
        let away = self.answered_s.is_none_or(|last| unix_s.saturating_sub(last) > NETWORK_AWAY_S);
        self.answered_s = Some(unix_s);
        self.guards[place].retry_s = 0;
        for guard in self.guards.iter_mut().filter(|_| away) {
            (guard.failures, guard.retry_s) = (0, 0);
        }
        if self.guards[place].confirmed_s.is_some() {
            return false;
        }
        let mut guard = self.guards.remove(place);
        let behind = self.guards.iter().take_while(|guard| guard.confirmed_s.is_some()).count();
        let last = behind.checked_sub(1).and_then(|last| self.guards[last].confirmed_s);
        // Ascending, even if the clock was put back.
        guard.confirmed_s = last.max(Some(unix_s));
        guard.until_s = draw_until(unix_s, rng);
        self.guards.insert(behind, guard);
        true
    }

    /// A circuit was built through a guard: its failures are forgotten. One that answers and builds nothing is tried again more and more
    /// rarely.
    pub fn handle_built(&mut self, node: &NodeId) {
        if let Some(guard) = self.guards.iter_mut().find(|guard| guard.node_id == *node) {
            guard.failures = 0;
        }
    }

    /// A guard could not be reached, or lost its link, or built nothing. It is tried again after a wait that doubles with each failure.
    pub fn handle_failed(&mut self, unix_s: u64, node: &NodeId, rng: &mut impl Rng) {
        let Some(guard) = self.guards.iter_mut().find(|guard| guard.node_id == *node) else { return };
        // Several circuits through it may fail together: that is one failure.
        if guard.retry_s > unix_s {
            return;
        }
        let wait = (RETRY_FIRST_S << guard.failures.min(16)).min(RETRY_MAX_S);
        guard.failures = guard.failures.saturating_add(1);
        guard.retry_s = unix_s.saturating_add(wait + sample::below(wait / 4 + 1, rng));
    }

    /// Takes in what a document says, and the time: to be called with each new document, after reading the file, and once a day.
    /// Guards whose time is over go, those that left are no longer used, and new ones are drawn as far as they may be. Returns
    /// true when the file has to be written.
    pub fn handle_relays(&mut self, unix_s: u64, relays: &Relays, rng: &mut impl Rng) -> bool {
        let before = (self.guards.clone(), self.added.clone());
        // After a wrong clock was put right nothing lasts longer than it may.
        self.added.iter_mut().for_each(|time| *time = (*time).min(unix_s));
        self.added.retain(|time| unix_s - time < PERIOD_S);
        for guard in &mut self.guards {
            let listed = relays.has(&guard.node_id, Place::Guard);
            guard.unlisted_s = if listed { None } else { Some(guard.unlisted_s.unwrap_or(unix_s).min(unix_s)) };
            guard.until_s = guard.until_s.min(unix_s.saturating_add(LIFETIME_S.1));
            guard.retry_s = guard.retry_s.min(unix_s.saturating_add(2 * RETRY_MAX_S));
        }
        self.guards
            .retain(|guard| guard.until_s > unix_s && guard.unlisted_s.is_none_or(|since| unix_s - since < UNLISTED_S));
        while self.listed().count() < self.wanted() && self.added.len() < self.added_max() {
            let Some(node_id) = self.draw(relays, rng) else { break };
            self.make_room();
            let until_s = draw_until(unix_s, rng);
            let (confirmed_s, unlisted_s, failures, retry_s) = (None, None, 0, 0);
            self.guards.push(Guard { node_id, until_s, confirmed_s, unlisted_s, failures, retry_s });
            self.added.push(unix_s);
        }
        before != (self.guards.clone(), self.added.clone())
    }

    fn listed(&self) -> impl Iterator<Item = &Guard> {
        self.guards.iter().filter(|guard| guard.unlisted_s.is_none())
    }

    /// Forgets the guard that has been missing for longest when there are [`GUARDS_MAX`].
    fn make_room(&mut self) {
        if self.guards.len() >= GUARDS_MAX {
            let missing = (0..self.guards.len()).filter(|place| self.guards[*place].unlisted_s.is_some());
            let oldest = missing.min_by_key(|place| self.guards[*place].unlisted_s);
            self.guards.remove(oldest.expect("a set that is full of listed guards needs no further one"));
        }
    }
}

fn draw_until(unix_s: u64, rng: &mut impl Rng) -> u64 {
    unix_s.saturating_add(LIFETIME_S.0 + sample::below(LIFETIME_S.1 - LIFETIME_S.0 + 1, rng))
}

impl fmt::Debug for Guards {
    /// Which relays a client uses is private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guards(..)")
    }
}
