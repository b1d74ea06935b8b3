//! Over which relays: what is asked of `tunnel-plan`, and when.

use super::{CircuitTunnel, Shared, Stage};
use crate::node::NodeEvent;
use conflux::LEGS_MAX;
use identity::NodeId;
use link::{Endpoint, Now};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::{Duration, Instant};
use tunnel_plan::{Cause, Choice, Path, PathRules, Refusal, Target};

/// How often paths are drawn until no relay between is to be kept off. Then the best of them is taken.
const DRAWS_MAX: usize = 8;
/// How long after a refusal paths are looked for again, if no guard answers meanwhile.
const REFUSED_WAIT: Duration = Duration::from_secs(10);
/// How often is looked whether the tunnel has room for a further leg.
const ROOM_WAIT: Duration = Duration::from_millis(250);

impl CircuitTunnel {
    /// Chooses paths for the places whose time has come, and sets out on them.
    pub(super) fn plan(&mut self, shared: &mut Shared, now: Now, endpoint: &mut Endpoint) {
        let is_due = |stage: &Stage| matches!(stage, Stage::Waiting { until, .. } if *until <= now.instant);
        let due: Vec<usize> = (0..self.places.len()).filter(|number| is_due(&self.places[*number].stage)).collect();
        if due.is_empty()
            || shared.stopping
            || self.exit_is_gone
            || self.is_of_service()
            || self.joined.as_ref().is_some_and(|joined| joined.over_at.is_some())
        {
            return;
        }
        let legs = self.joined.as_ref().map_or(0, |joined| joined.legs.legs().count());
        if legs + due.len() > usize::from(LEGS_MAX) {
            return self.postpone(&due, now.instant + ROOM_WAIT, false);
        }
        match self.choose_many(shared, now, due.len()) {
            Ok(paths) => {
                let rest = due.iter().copied().skip(paths.len()).collect::<Vec<_>>();
                if rest.is_empty() {
                    (shared.refusal, self.refusal) = (None, None);
                }
                for (number, path) in due.into_iter().zip(paths) {
                    self.set_out(shared, now, endpoint, number, path);
                }
                self.postpone(&rest, now.instant + REFUSED_WAIT, true);
            }
            Err(refusal) => {
                shared.tell_refusal(refusal);
                self.refusal = Some(refusal);
                self.postpone(&due, now.instant + REFUSED_WAIT, true);
            }
        }
    }

    fn postpone(&mut self, places: &[usize], until: Instant, refused: bool) {
        for number in places {
            self.places[*number].stage = Stage::Waiting { until, refused };
        }
    }

    /// Paths for as many places as there are usable guards for. What the network does not have is refused as a whole: a tunnel
    /// with fewer legs than asked for hides less, and nobody would notice.
    fn choose_many(&mut self, shared: &mut Shared, now: Now, wanted: usize) -> Result<Vec<Path>, Refusal> {
        let mut first = None;
        for number in (1..=wanted).rev() {
            match self.choose(shared, now, number, None) {
                Ok(paths) => {
                    if let Some(refusal) = first {
                        shared.tell_refusal(refusal);
                    }
                    return Ok(paths);
                }
                Err(refusal) => {
                    let is_for_a_while = matches!(refusal.cause, Cause::FewUsable { .. });
                    let first = *first.get_or_insert(refusal);
                    if !is_for_a_while || number == 1 {
                        return Err(first);
                    }
                }
            }
        }
        // Only if nothing was wanted.
        Ok(Vec::new())
    }

    /// Paths of `wanted` further legs, beside those of all places but `instead_of`.
    pub(super) fn choose(
        &mut self,
        shared: &mut Shared,
        now: Now,
        wanted: usize,
        instead_of: Option<usize>,
    ) -> Result<Vec<Path>, Refusal> {
        self.choose_among(shared, now, wanted, instead_of, &|_| true)
    }

    /// The same through some of the guards alone.
    pub(super) fn choose_among(
        &mut self,
        shared: &mut Shared,
        now: Now,
        wanted: usize,
        instead_of: Option<usize>,
        suits_guard: &dyn Fn(&NodeId) -> bool,
    ) -> Result<Vec<Path>, Refusal> {
        let seed = shared.random();
        let others = self.places.iter().enumerate().filter(|(number, _)| Some(*number) != instead_of);
        let legs: Vec<Path> = others.filter_map(|(_, place)| place.stage.path().cloned()).collect();
        let exit = self.exit.filter(|_| self.joined.is_some() || !legs.is_empty()).or(self.only_exit(shared));
        let usable = shared.guards.usable(now.unix_s);
        let guards: Vec<NodeId> =
            usable.into_iter().filter(|guard| suits_guard(guard) && shared.first_way_to(guard).is_some()).collect();
        let wanted = u8::try_from(legs.len() + wanted).unwrap_or(u8::MAX).min(self.rules.legs());
        // As many legs as the rules have, or fewer.
        let rules = self.rules.with_legs(wanted).unwrap_or(self.rules);
        let suits = |candidate: &NodeId| exit.is_none_or(|exit| exit == *candidate);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let choice = Choice { relays: &shared.relays, rules, guards: &guards, allows: &suits, legs: &legs };
        if self.rules.has_only_ways() {
            let ways = |exit: &NodeId| shared.ways_to(exit).count();
            let trusted = |candidate: &NodeId| suits(candidate) && !shared.is_avoided(now.instant, candidate);
            let chosen = Choice { allows: &trusted, ..choice }.direct_paths(&ways, &mut rng);
            return chosen.or_else(|_| choice.direct_paths(&ways, &mut rng));
        }
        let firsts = shared.first_guards();
        draw_paths(&choice, &|relay| shared.reluctance(now.instant, relay, &firsts), &mut rng)
    }
}

impl CircuitTunnel {
    /// The exit that is not left to chance, if this tunnel leads to an exit at all.
    pub(super) fn only_exit(&self, shared: &Shared) -> Option<NodeId> {
        let to_exit = matches!(self.rules.target(), Target::Exit | Target::ExitAndDirectory);
        shared.only_exit.filter(|_| to_exit)
    }
}

impl Shared {
    /// Says once why there is no path.
    pub(super) fn tell_refusal(&mut self, refusal: Refusal) {
        if self.refusal.replace(refusal) != Some(refusal) {
            self.events.push(NodeEvent::NoPath(refusal));
        }
    }

    /// A path of three hops to a relay at which clients can meet, with no relay of `beside` on it as far as the rules keep legs apart.
    pub(super) fn choose_meeting(
        &mut self,
        now: Now,
        rules: PathRules,
        beside: &[Path],
        allows: &dyn Fn(&NodeId) -> bool,
    ) -> Option<Path> {
        // A guard that stands behind another one is no guard for a further leg, and legs are chosen one by one here.
        let wanted = usize::from(rules.legs());
        let legs = u8::try_from(beside.len() + 1).ok()?;
        let rules = PathRules::new(tunnel_plan::HOPS_MAX, legs).ok()?.relaxed(rules.relaxation()).to(Target::Meeting);
        let mut rng = ChaCha20Rng::from_seed(self.random());
        let usable = self.guards.usable(now.unix_s);
        // In shaped modes a link without a share has no slots, and no errand is to change which links have one.
        let has_slots = |guard: &NodeId| {
            let link = || self.links.iter().find(|(_, link)| link.node == *guard).map(|(link, _)| *link);
            self.uplink.as_ref().is_none_or(|uplink| link().is_some_and(|link| uplink.share_of(link).is_some()))
        };
        let suits = |guard: &NodeId| self.first_way_to(guard).is_some() && has_slots(guard);
        let guards: Vec<NodeId> = usable.into_iter().filter(suits).collect();
        let in_use = guards.iter().take(wanted).copied();
        let kept: Vec<NodeId> = in_use.chain(self.first_guards()).collect();
        let choice = Choice { relays: &self.relays, rules, guards: &guards, allows, legs: beside };
        draw_paths(&choice, &|relay| self.reluctance(now.instant, relay, &kept), &mut rng).ok()?.pop()
    }

    /// The guards that come first, whether they can be had now or not. What stands behind another guard would keep its tunnel from a leg
    /// over it, for as long as that lives, when it is there again.
    fn first_guards(&self) -> Vec<NodeId> {
        self.guards.status().filter(|guard| guard.is_primary).map(|guard| guard.node_id).collect()
    }

    fn reluctance(&self, now: Instant, relay: &NodeId, guards: &[NodeId]) -> Reluctance {
        if self.is_avoided(now, relay) {
            Reluctance::Avoided
        } else if guards.contains(relay) {
            Reluctance::Guard
        } else {
            Reluctance::None
        }
    }
}

/// Why a relay had better not stand behind a guard; the weightier reason is the greater one. A network that is too small for it has
/// paths all the same: over a guard before over a relay that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reluctance {
    None,
    /// The client enters through it, or will again.
    Guard,
    /// It has just failed.
    Avoided,
}

/// Draws paths whose relays behind guards are as little to be kept off as can be had: ends are looked for among those without any reason
/// first, then with each weightier one; of [`DRAWS_MAX`] draws, the one with the best middles is taken.
fn draw_paths(
    choice: &Choice<'_>,
    reluctance: &dyn Fn(&NodeId) -> Reluctance,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Path>, Refusal> {
    let within = |most: Reluctance, rng: &mut ChaCha20Rng| {
        let allows = |end: &NodeId| (choice.allows)(end) && reluctance(end) <= most;
        draw_middles(&Choice { allows: &allows, ..*choice }, reluctance, rng)
    };
    // The last one is refused by the rules alone.
    within(Reluctance::None, rng)
        .or_else(|_| within(Reluctance::Guard, rng))
        .or_else(|_| within(Reluctance::Avoided, rng))
}

fn draw_middles(
    choice: &Choice<'_>,
    reluctance: &dyn Fn(&NodeId) -> Reluctance,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Path>, Refusal> {
    let worst = |paths: &[Path]| {
        let middles = paths.iter().filter_map(Path::middle);
        middles.map(|middle| reluctance(&middle)).max().unwrap_or(Reluctance::None)
    };
    let mut best = choice.paths(rng)?;
    for _ in 1..DRAWS_MAX {
        if worst(&best) == Reluctance::None {
            break;
        }
        let paths = choice.paths(rng)?;
        if worst(&paths) < worst(&best) {
            best = paths;
        }
    }
    Ok(best)
}
