//! Guards beside those in use: the next one is asked when none of those is heard, and those that come first are asked again while
//! others have their places.
//!
//! To be asked is to be dialled, and no more: nothing is built over a guard before it has answered and those before it are still
//! silent. One is asked at a time, and one for each silence, so that an outage of this node's own network shows the client to nobody, and
//! a short one to one further guard of its set at most. In shaped modes the handshake takes slots of a link that is there: none is
//! added, and no share moves before there is an answer.

use super::guard_links::GuardLink;
use super::pool::PoolConfig;
use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::node::NodeEvent;
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use std::time::{Duration, Instant};
use tunnel_plan::Path;

/// Round trips after which a silence of all guards is more than a pause on the way. It begins when the last of their links was found
/// silent, which is a second after the last packet.
const DOUBT_ROUND_TRIPS: u32 = 2;
/// How long another guard is asked at least: time for three messages. Longer on a slow network:
const ASK_MIN: Duration = Duration::from_secs(2);
/// so many round trips of the slowest guard in use.
const ASK_ROUND_TRIPS: u32 = 4;
/// How often is looked for guards that come before those in use and may be had again.
const RETURN_LOOK: Duration = Duration::from_secs(10);
/// How long the link to a guard that has returned is kept for the circuits that are to go over it.
const RETURN_TAKES: Duration = Duration::from_secs(5);

/// Why a guard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// None of those in use is heard.
    Silence,
    /// It comes before one that is in use.
    Return,
}

/// A guard that is asked.
#[derive(Debug)]
pub(super) struct Spare {
    link: LinkId,
    why: Why,
    /// The link that it is to take the place of.
    instead_of: LinkId,
    /// How long it is asked.
    until: Instant,
    /// It has answered: when that is acted upon, or when it must be in use.
    answered_until: Option<Instant>,
}

/// What is known of guards that are not in use.
#[derive(Debug)]
pub(super) struct Spares {
    asked: Option<Spare>,
    /// In this silence another guard was looked for already, and whether one was asked in vain.
    looked: Option<bool>,
    next_return_look: Instant,
}

impl Spares {
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: None, looked: None, next_return_look: now }
    }

    /// Whether this is the link to a guard that is asked.
    pub(super) fn asks(&self, link: LinkId) -> bool {
        self.asked.as_ref().is_some_and(|spare| spare.link == link)
    }
}

impl Shared {
    /// No guard in use is heard, and each was heard before.
    fn none_is_heard(&self) -> bool {
        let mut in_use = self.links_in_use().peekable();
        in_use.peek().is_some() && in_use.all(|(_, guard)| guard.silent_since.is_some())
    }

    fn links_in_use(&self) -> impl Iterator<Item = (&LinkId, &GuardLink)> {
        self.links.iter().filter(|(link, guard)| guard.up && !self.spares.asks(**link))
    }

    /// None of several guards is heard, or neither the only one nor the next: then it is this node's own network that is away.
    pub(super) fn is_outage(&self) -> bool {
        let several = self.links_in_use().count() > 1 || self.spares.looked == Some(true);
        several && self.none_is_heard()
    }

    /// When another guard is asked, as things stand. Whoever is dialled already has time to answer first.
    fn doubt_at(&self) -> Option<Instant> {
        if self.spares.asked.is_some() || self.spares.looked.is_some() || !self.none_is_heard() {
            return None;
        }
        let round_trips = DOUBT_ROUND_TRIPS * self.slowest_in_use();
        let wait = |guard: &GuardLink| if guard.up { round_trips } else { ASK_MIN };
        self.links.values().filter_map(|guard| Some(guard.silent_since? + wait(guard))).max()
    }

    fn slowest_in_use(&self) -> Duration {
        self.links_in_use().map(|(_, guard)| guard.rtt).max().unwrap_or_default()
    }

    /// Dials a guard in slots of the link that it is to take the place of.
    fn ask(&mut self, now: Now, endpoint: &mut Endpoint, guard: NodeId, instead_of: LinkId, why: Why) -> bool {
        let Some(way) = self.first_way_to(&guard) else { return false };
        let longest = ASK_MIN.max(ASK_ROUND_TRIPS * self.slowest_in_use());
        let Some(link) = self.link_to(now, endpoint, guard, way) else { return false };
        if let Some(uplink) = &mut self.uplink {
            uplink.set_guest(link, instead_of);
        }
        let until = now.instant + longest;
        self.spares.asked = Some(Spare { link, why, instead_of, until, answered_until: None });
        true
    }

    /// A guard is asked no longer: its link is in use, or goes.
    pub(super) fn end_asking(&mut self) {
        if let Some(spare) = self.spares.asked.take()
            && let Some(uplink) = &mut self.uplink
        {
            uplink.remove_guest(spare.link);
        }
    }

    /// Guards that can be had, in their order, but for those that there are links to.
    fn unlinked_guards(&self, now: Now) -> Vec<NodeId> {
        let is_linked = |guard: &NodeId| self.links.values().any(|link| link.node == *guard);
        let usable = self.guards.usable(now.unix_s).into_iter();
        usable.filter(|guard| !is_linked(guard) && self.first_way_to(guard).is_some()).collect()
    }

    /// Of guards that can be had, those that come before another one.
    pub(super) fn before(&self, guard: &NodeId, guards: Vec<NodeId>) -> Vec<NodeId> {
        let order: Vec<NodeId> = self.guards.status().map(|status| status.node_id).collect();
        let rank = |guard: &NodeId| order.iter().position(|other| other == guard);
        let own = rank(guard);
        guards.into_iter().filter(|other| own.is_some() && rank(other) < own).collect()
    }
}

impl Circuits {
    /// Asks guards that are not in use when there is a reason to, and acts upon their answers.
    pub(super) fn ask_spare_guards(&mut self, now: Now, endpoint: &mut Endpoint) {
        let none_is_heard = self.shared.none_is_heard();
        if !none_is_heard {
            self.shared.spares.looked = None;
        }
        if let Some(spare) = &mut self.shared.spares.asked
            && none_is_heard
            && spare.why == Why::Return
        {
            // Whoever was to return may have to stand in for all at once.
            (spare.why, spare.answered_until) = (Why::Silence, None);
        }
        match self.shared.spares.asked.as_ref().map(|spare| (spare.link, spare.why)) {
            Some((link, _)) if !self.shared.links.contains_key(&link) => self.shared.end_asking(),
            Some((link, Why::Silence)) => self.follow_silence(now, endpoint, link),
            Some((link, Why::Return)) => self.follow_return(now, link),
            None if self.shared.doubt_at().is_some_and(|at| at <= now.instant) => {
                let found = self.guard_instead(now);
                let asked =
                    found.is_some_and(|(guard, link)| self.shared.ask(now, endpoint, guard, link, Why::Silence));
                // Whether it answers is not known yet.
                self.shared.spares.looked = Some(false);
                if asked {
                    self.shared.events.push(NodeEvent::GuardsSilent);
                }
            }
            None => self.look_for_first_guards(now, endpoint),
        }
    }

    /// When [`Circuits::ask_spare_guards`] has something to do.
    pub(super) fn spares_timeout(&self) -> Option<Instant> {
        let shared = &self.shared;
        match &shared.spares.asked {
            Some(spare) => Some(spare.answered_until.unwrap_or(spare.until)),
            None => {
                // While none is heard nobody looks for them.
                let returns = !shared.none_is_heard()
                    && (self.keeps_stand_ins()
                        || self.tunnels.values().any(|tunnel| tunnel.misses_first_guards(shared)));
                shared.doubt_at().into_iter().chain(returns.then_some(shared.spares.next_return_look)).min()
            }
        }
    }

    /// The guard that a leg over a silent one would take, and that one's link.
    fn guard_instead(&mut self, now: Now) -> Option<(NodeId, LinkId)> {
        let Self { shared, tunnels, pool, .. } = self;
        let free = shared.unlinked_guards(now);
        if pool.is(PoolConfig::NONE) {
            // All its circuits are errands, which take any guard.
            let link = shared.links_in_use().map(|(link, _)| *link).next();
            return free.first().copied().zip(link);
        }
        let tunnels = tunnels.values_mut().filter(|tunnel| tunnel.has_guards());
        let mut found = tunnels.flat_map(|tunnel| {
            let places: Vec<(usize, LinkId)> = tunnel.linked_places().collect();
            let mut found = None;
            for (number, link) in places {
                let is_silent = shared.links.get(&link).is_some_and(|guard| guard.silent_since.is_some());
                found = found.or_else(|| {
                    let path = is_silent.then(|| tunnel.choose_through(shared, now, number, &free)).flatten();
                    path.map(|path| (path.first(), link))
                });
            }
            found
        });
        found.next()
    }

    /// A guard was asked because none was heard.
    fn follow_silence(&mut self, now: Now, endpoint: &mut Endpoint, link: LinkId) {
        let shared = &mut self.shared;
        if !shared.none_is_heard() {
            return shared.end_asking();
        }
        let answered = shared.links.get(&link).filter(|guard| guard.up).map(|guard| now.instant + guard.rtt);
        let Some(spare) = &mut shared.spares.asked else { return };
        match answered {
            None if spare.until <= now.instant => {
                shared.end_asking();
                shared.spares.looked = Some(true);
            }
            None => {}
            // Whoever is there as well has another round trip: after a pause of the whole network answers come at once.
            Some(at) if *spare.answered_until.get_or_insert(at) > now.instant => {}
            Some(_) => {
                let silent = spare.instead_of;
                shared.end_asking();
                if let Some(node) = shared.links.get(&silent).map(|guard| guard.node) {
                    self.give_up_guard(now, endpoint, silent, node);
                }
            }
        }
    }

    /// A guard was asked because it comes before one that is in use.
    fn follow_return(&mut self, now: Now, link: LinkId) {
        let at = now.instant;
        let is_used = self.is_kept(link)
            || self.tunnels.values().flat_map(|tunnel| &tunnel.places).any(|place| place.stage.link() == Some(link));
        let Self { shared, tunnels, .. } = self;
        let Some(guard) = shared.links.get(&link) else { return };
        let (node, is_there) = (guard.node, guard.up && guard.silent_since.is_none());
        let Some(spare) = &mut shared.spares.asked else { return };
        let is_over = spare.answered_until.unwrap_or(spare.until) <= at;
        if is_used {
            return shared.end_asking();
        }
        if is_over {
            if spare.answered_until.is_none() {
                shared.guards.handle_failed(now.unix_s, &node, &mut shared.rng);
            }
            return shared.end_asking();
        }
        if !is_there || spare.answered_until.is_some() {
            return;
        }
        spare.answered_until = Some(at + RETURN_TAKES);
        let instead_of = spare.instead_of;
        for tunnel in tunnels.values_mut().filter(|tunnel| tunnel.has_guards()) {
            tunnel.return_to(shared, now, node);
        }
        self.keep_instead(instead_of, node);
    }

    /// Asks a guard that comes before one in use, if it may be tried again.
    fn look_for_first_guards(&mut self, now: Now, endpoint: &mut Endpoint) {
        if self.shared.spares.next_return_look > now.instant || self.shared.none_is_heard() {
            return;
        }
        self.shared.spares.next_return_look = now.instant + RETURN_LOOK;
        let free = self.shared.unlinked_guards(now);
        let stand_in = self.kept_in_place_of(&free);
        let Self { shared, tunnels, .. } = self;
        if let Some((link, first)) = stand_in {
            shared.ask(now, endpoint, first, link, Why::Return);
            return;
        }
        for tunnel in tunnels.values_mut().filter(|tunnel| tunnel.has_guards()) {
            for (number, link, guard) in tunnel.joined_places() {
                let first = tunnel.first_guard_for(shared, now, number, (&guard, free.clone()));
                if let Some(first) = first {
                    shared.ask(now, endpoint, first, link, Why::Return);
                    return;
                }
            }
        }
    }
}

impl CircuitTunnel {
    /// Whether its legs enter through guards of the set, and are made anew when they are lost.
    fn has_guards(&self) -> bool {
        let is_over = self.joined.as_ref().is_some_and(|joined| joined.over_at.is_some());
        self.rules.hops() > 1 && !self.is_of_service() && !self.exit_is_gone && !is_over
    }

    fn linked_places(&self) -> impl Iterator<Item = (usize, LinkId)> {
        let links = self.places.iter().map(|place| place.stage.link()).enumerate();
        links.filter_map(|(number, link)| Some((number, link?)))
    }

    /// Places with a leg, and its link and guard.
    fn joined_places(&self) -> Vec<(usize, LinkId, NodeId)> {
        let places = self.places.iter().enumerate().filter_map(|(number, place)| match &place.stage {
            Stage::Joined { path, link, .. } => Some((number, *link, path.first())),
            Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Building { .. } => None,
        });
        places.collect()
    }

    /// A path for a place through one of these guards.
    fn choose_through(&mut self, shared: &mut Shared, now: Now, number: usize, guards: &[NodeId]) -> Option<Path> {
        let chosen = self.choose_among(shared, now, 1, Some(number), &|guard| guards.contains(guard));
        chosen.ok()?.pop()
    }

    /// Of guards that can be had, the one that a place would take if it were to choose now and comes before its own.
    fn first_guard_for(
        &mut self,
        shared: &mut Shared,
        now: Now,
        number: usize,
        (own, free): (&NodeId, Vec<NodeId>),
    ) -> Option<NodeId> {
        let first = shared.before(own, free);
        if first.is_empty() {
            return None;
        }
        self.choose_through(shared, now, number, &first).map(|path| path.first())
    }

    /// Whether a guard of the set that has no link comes before one of a leg's.
    fn misses_first_guards(&self, shared: &Shared) -> bool {
        if !self.has_guards() {
            return false;
        }
        let is_linked = |guard: &NodeId| shared.links.values().any(|link| link.node == *guard);
        let has_leg = |guard: &NodeId| {
            let joined =
                |place: &super::Place| matches!(&place.stage, Stage::Joined { path, .. } if path.first() == *guard);
            self.places.iter().any(joined)
        };
        let listed = shared.guards.status().filter(|guard| guard.unlisted_s.is_none()).map(|guard| guard.node_id);
        listed.skip_while(is_linked).any(|guard| has_leg(&guard))
    }

    /// A guard that comes before others of this tunnel is there again: the leg over the last of those that it can stand in for goes there,
    /// gently.
    fn return_to(&mut self, shared: &mut Shared, now: Now, guard: NodeId) {
        let mut places = self.joined_places();
        let order: Vec<NodeId> = shared.guards.status().map(|status| status.node_id).collect();
        places.sort_by_key(|(_, _, own)| order.iter().position(|other| other == own));
        while let Some((number, _, own)) = places.pop() {
            if self.first_guard_for(shared, now, number, (&own, vec![guard])) == Some(guard) {
                let moves = shared.uplink.is_some();
                return self.hand_over(shared, now.instant, number, moves);
            }
        }
    }
}
