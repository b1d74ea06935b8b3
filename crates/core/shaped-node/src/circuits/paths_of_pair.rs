//! Legs of one hop: all lead to the exit itself, each over another way there.
//!
//! A way is one of this machine's ends and one of the exit's addresses. Which leg takes which way is decided by which of them answered
//! and when, never by what flows want. A leg whose way was up stays with it while it is away, unless another one has no more in common
//! with those of the other legs: two legs over one line are worth less than one over each of two lines, one of which comes back.

use super::{CircuitTunnel, Shared, Stage};
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use std::time::{Duration, Instant};
use tunnel_plan::{Way, Ways};

/// How long a way that did not answer comes after the others.
const FAILED_FOR: Duration = Duration::from_secs(60);
/// Ways whose failure is remembered. When there are more, the one that failed first is forgotten.
const FAILED_MAX: usize = 64;
/// How often a leg that has an end in common with another leg looks for a way that has none.
pub(super) const BETTER_WAY_LOOK: Duration = Duration::from_secs(600);

/// One of this machine's ends that links are dialled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearEnd {
    /// Whether its socket is one of IPv4: relays are dialled at addresses of its family.
    pub ipv4: bool,
    /// The port of its socket.
    pub port: u16,
    /// What its owner calls it, for `status`: an address or an interface. Empty: whatever the system chooses.
    pub name: String,
}

impl NearEnd {
    /// The only end, without a name.
    pub fn only(ipv4: bool) -> Vec<Self> {
        vec![Self { ipv4, port: 0, name: String::new() }]
    }
}

impl Shared {
    /// Every way to a relay.
    pub(super) fn ways_to(&self, relay: &NodeId) -> Ways {
        let addresses = self.document.relay(relay).map_or(&[][..], |relay| &relay.addresses);
        let near: Vec<bool> = self.near.iter().map(|end| end.ipv4).collect();
        Ways::new(&near, addresses)
    }

    /// The way of a link that several tunnels may share: the first one.
    pub(super) fn first_way_to(&self, relay: &NodeId) -> Option<Way> {
        self.ways_to(relay).iter().next()
    }

    /// The way of a link whose relay may have other addresses now: the same if it is still there, else one that no link takes.
    pub(super) fn way_instead_of(&self, relay: &NodeId, way: Way) -> Option<Way> {
        let ways = self.ways_to(relay);
        let is_taken = |other: &Way| self.links.values().any(|guard| guard.node == *relay && guard.way == *other);
        let same = ways.iter().find(|other| *other == way);
        same.or_else(|| ways.iter().find(|other| other.near == way.near && !is_taken(other)))
    }

    /// A way as its owner reads it.
    pub(super) fn way_in_words(&self, way: Way) -> String {
        let near = self.near.get(usize::from(way.near)).map_or("", |end| end.name.as_str());
        let from = if near.is_empty() { "any" } else { near };
        format!("{from} -> {}", way.far)
    }

    fn note_failed_way(&mut self, now: Instant, relay: NodeId, way: Way) {
        self.failed_ways.retain(|_, at| *at + FAILED_FOR > now);
        if self.failed_ways.len() >= FAILED_MAX
            && let Some(first) = self.failed_ways.iter().min_by_key(|(_, at)| **at).map(|(way, _)| *way)
        {
            self.failed_ways.remove(&first);
        }
        self.failed_ways.insert((relay, way), now);
    }

    fn failed_at(&self, now: Instant, relay: NodeId, way: Way) -> Option<Instant> {
        self.failed_ways.get(&(relay, way)).copied().filter(|at| *at + FAILED_FOR > now)
    }
}

impl CircuitTunnel {
    /// The way of a place's link.
    pub(super) fn way_of(&self, shared: &Shared, number: usize) -> Option<Way> {
        let link = self.places.get(number)?.stage.link()?;
        shared.links.get(&link).map(|guard| guard.way)
    }

    /// Ways of all places but one.
    fn ways_beside(&self, shared: &Shared, number: usize) -> Vec<Way> {
        let others = (0..self.places.len()).filter(|other| *other != number);
        others.filter_map(|other| self.way_of(shared, other)).collect()
    }

    /// The way that a place's link is to take. None: there are fewer than legs.
    pub(super) fn choose_way(&self, shared: &Shared, now: Instant, number: usize, exit: NodeId) -> Option<Way> {
        if !self.rules.has_only_ways() {
            return shared.first_way_to(&exit);
        }
        let used = self.ways_beside(shared, number);
        // A way that was up is waited for, so that it failed says nothing against it.
        let was_up = self.places[number].up_link.is_some_and(|link| shared.links.contains_key(&link));
        shared.ways_to(&exit).best(&used, |way| shared.failed_at(now, exit, way).filter(|_| !was_up))
    }

    /// A link was silent for too long. False if it is no matter of ways here.
    pub(super) fn leave_ways(&mut self, shared: &mut Shared, now: Now, endpoint: &mut Endpoint, link: LinkId) -> bool {
        if !self.rules.has_only_ways() {
            return false;
        }
        let of_link = (0..self.places.len()).find(|number| self.places[*number].stage.link() == Some(link));
        if let Some(number) = of_link.filter(|_| !self.exit_is_gone) {
            self.leave_way(shared, now, endpoint, number);
        }
        true
    }

    /// Its place takes another way, if one is free that is worth it.
    fn leave_way(&mut self, shared: &mut Shared, now: Now, endpoint: &mut Endpoint, number: usize) {
        let Some(path) = self.places[number].stage.path().cloned() else { return };
        let Some(old) = self.way_of(shared, number) else { return };
        let exit = path.exit();
        shared.note_failed_way(now.instant, exit, old);
        let is_unheard = self.joined.is_none() && self.places.iter().all(|place| place.up_link.is_none());
        if is_unheard && self.only_exit(shared).is_none() {
            // No way to it has ever answered: another exit is drawn, if there is one.
            shared.avoid(now.instant, exit);
            return self.leave_exit(shared, now.instant);
        }
        let used = self.ways_beside(shared, number);
        let Some(way) = shared.ways_to(&exit).best(&used, |way| shared.failed_at(now.instant, exit, way)) else {
            return;
        };
        let place = &self.places[number];
        let was_up = place.up_link.is_some() && place.up_link == place.stage.link();
        if way == old || (was_up && Ways::shared(way, &used) > Ways::shared(old, &used)) {
            return;
        }
        self.vacate(shared, now.instant, number, false);
        self.set_out_over(shared, now, endpoint, number, path, way);
    }

    /// Legs that share an end with another one, where a way is free that shares less: one of them moves there, gently.
    pub(super) fn look_for_better_ways(&mut self, shared: &mut Shared, now: Now, endpoint: &mut Endpoint) {
        if !self.rules.has_only_ways() || self.next_way_look > now.instant {
            return;
        }
        self.next_way_look = now.instant + BETTER_WAY_LOOK;
        for number in 0..self.places.len() {
            let Stage::Joined { path, .. } = &self.places[number].stage else { continue };
            let (path, used) = (path.clone(), self.ways_beside(shared, number));
            let Some(old) = self.way_of(shared, number) else { continue };
            let better = |way: Way| Ways::shared(way, &used);
            let free = shared.ways_to(&path.exit());
            let Some(way) = free.best(&used, better).filter(|way| better(*way) < better(old)) else { continue };
            self.vacate(shared, now.instant, number, true);
            return self.set_out_over(shared, now, endpoint, number, path, way);
        }
    }
}
