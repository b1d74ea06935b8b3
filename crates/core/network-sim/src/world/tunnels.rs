//! Tunnels are built, repaired, retired and lost: what an entry does, without its cells.

use super::World;
use super::flows::Flow;
use crate::calendar::Event;
use crate::editions::Issue;
use crate::{HOPS, LEGS};
use identity::NodeId;
use shaped_node::TUNNEL_LIFE;
use std::sync::Arc;
use tunnel_plan::{Cause, Choice, Path, PathRules, Place, Refusal};

/// How long a hop, and a guard, may take to answer before a circuit is given up (`shaped-node`, `HOP_PATIENCE`).
const PATIENCE_S: u32 = 5;
/// When a client notices that its guard, or a relay behind it, is silent (`shaped-node`: 4 s and 3 s).
const SILENT_S: (u32, u32) = (4, 3);
/// When it looks for paths again after a refusal (`shaped-node`, `REFUSED_WAIT`).
const REFUSED_S: u32 = 10;
/// How long a relay is avoided that failed a circuit (`shaped-node`, `AVOID_FOR`).
const AVOID_S: u32 = 60;
/// The longest wait after failures, of which the first is half a second (`shaped-node`).
const WAIT_MAX_S: f64 = 30.0;
/// How often paths are drawn until none has a relay that is avoided (`shaped-node`, `DRAWS_MAX`).
const DRAWS_MAX: usize = 8;
/// A tunnel that has no leg after so many attempts has lost its session.
const ATTEMPTS_MAX: u8 = 4;
/// How often a directory tunnel is tried before the client waits.
const MIRROR_ATTEMPTS: usize = 3;

/// A leg and its relays' numbers.
#[derive(Debug, Clone)]
pub(super) struct Leg {
    path: Path,
    pub(super) guard: u32,
    pub(super) middle: u32,
    pub(super) is_up: bool,
}

impl Leg {
    fn has(&self, relay: u32) -> bool {
        self.guard == relay || self.middle == relay
    }
}

/// One to [`LEGS`] legs to an exit, and the flows on them.
#[derive(Debug, Clone)]
pub(super) struct Tunnel {
    life: u32,
    pub(super) client: u32,
    pub(super) exit: u32,
    exit_id: NodeId,
    pub(super) legs: Vec<Leg>,
    pub(super) flows: Vec<Flow>,
    /// It has flows, and stands among those that are active.
    pub(super) is_active: bool,
    /// It takes no new flows.
    is_retired: bool,
    is_over: bool,
    repairs: bool,
    attempts: u8,
}

/// Tunnels by number; numbers are used again.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    all: Vec<Tunnel>,
    free: Vec<u32>,
    lives: u32,
}

impl Tunnels {
    pub(super) fn is(&self, number: u32, life: u32) -> bool {
        self.all.get(number as usize).is_some_and(|tunnel| !tunnel.is_over && tunnel.life == life)
    }

    pub(super) fn at(&self, number: u32) -> &Tunnel {
        &self.all[number as usize]
    }

    pub(super) fn at_mut(&mut self, number: u32) -> &mut Tunnel {
        &mut self.all[number as usize]
    }

    fn add(&mut self, mut tunnel: Tunnel) -> (u32, u32) {
        self.lives += 1;
        tunnel.life = self.lives;
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = tunnel;
            return (number, self.lives);
        }
        self.all.push(tunnel);
        (self.all.len() as u32 - 1, self.lives)
    }

    fn living(&mut self) -> impl Iterator<Item = (u32, &mut Tunnel)> {
        (0..).zip(&mut self.all).filter(|(_, tunnel)| !tunnel.is_over)
    }

    /// Legs over a relay that should be out; of an exit only where the tunnel takes new flows.
    pub(super) fn over_expelled(&self, relay: u32) -> u64 {
        let is_over_it = |tunnel: &&Tunnel| {
            let by_exit = tunnel.exit == relay && !tunnel.is_retired;
            !tunnel.is_over && (by_exit || tunnel.legs.iter().any(|leg| leg.has(relay)))
        };
        self.all.iter().filter(is_over_it).count() as u64
    }
}

/// What paths are chosen for.
struct Wish<'a> {
    relays: &'a tunnel_plan::Relays,
    wanted: u8,
    legs: &'a [Path],
    /// Where they lead, if that is settled.
    exit: Option<NodeId>,
}

impl World<'_> {
    /// Paths for as many legs as there are usable guards for, as `shaped-node` chooses them.
    fn choose(&mut self, number: u32, wish: &Wish<'_>) -> Result<Vec<Path>, Refusal> {
        let mut first = None;
        for wanted in (1..=wish.wanted).rev() {
            match self.choose_all(number, &Wish { wanted, ..*wish }) {
                Ok(paths) => return Ok(paths),
                Err(refusal) => {
                    let first = *first.get_or_insert(refusal);
                    if !matches!(refusal.cause, Cause::FewUsable { .. }) || wanted == 1 {
                        return Err(first);
                    }
                }
            }
        }
        Ok(Vec::new())
    }

    fn choose_all(&mut self, number: u32, wish: &Wish<'_>) -> Result<Vec<Path>, Refusal> {
        let (unix_s, now_s) = (self.unix_s(), self.now_s);
        let client = &mut self.clients[number as usize];
        client.avoided.retain(|(_, until_s)| *until_s > now_s);
        let avoided = |relay: &NodeId| client.avoided.iter().any(|(avoided, _)| avoided == relay);
        let suits = |exit: &NodeId| wish.exit.is_none_or(|only| only == *exit);
        let trusted = |exit: &NodeId| suits(exit) && !avoided(exit);
        let guards = client.guards.usable(unix_s);
        let legs = wish.legs.len() as u8 + wish.wanted;
        let Ok(rules) = PathRules::new(HOPS, legs) else { return Ok(Vec::new()) };
        let choice = Choice { relays: wish.relays, rules, guards: &guards, allows: &trusted, legs: wish.legs };
        let any = Choice { allows: &suits, ..choice };
        self.tally.choices += 1;
        let mut paths = choice.paths(&mut self.rng).or_else(|_| any.paths(&mut self.rng))?;
        for _ in 1..DRAWS_MAX {
            if !paths.iter().filter_map(Path::middle).any(|middle| avoided(&middle)) {
                break;
            }
            paths = choice.paths(&mut self.rng).or_else(|_| any.paths(&mut self.rng))?;
        }
        Ok(paths)
    }

    /// A leg, if every relay on its way answers. Otherwise the client learns which did not.
    fn set_out(&mut self, number: u32, path: Path) -> Option<Leg> {
        let unix_s = self.unix_s();
        let relays: Vec<u32> = path.hops().iter().map(|node| self.numbers[node]).collect();
        self.tally.attempts += 1;
        let client = &mut self.clients[number as usize];
        if let Some(dead) = relays.iter().position(|relay| !self.states[*relay as usize].is_up) {
            self.tally.dead += 1;
            if dead == 0 {
                client.guards.handle_failed(unix_s, &path.first(), &mut self.rng);
            } else {
                client.avoided.push((path.hops()[dead], self.now_s + PATIENCE_S + AVOID_S));
            }
            return None;
        }
        let is_kept = client.guards.status().any(|guard| guard.node_id == path.first());
        self.tally.strange_guards += u64::from(!is_kept);
        client.guards.handle_answered(unix_s, &path.first(), &mut self.rng);
        client.guards.handle_built(&path.first());
        if !client.used.contains(&relays[0]) {
            client.used.push(relays[0]);
        }
        Some(Leg { path, guard: relays[0], middle: relays[1], is_up: true })
    }

    /// A tunnel for a client that has none, or another one for its new flows.
    pub(super) fn build(&mut self, number: u32) {
        let now_ms = self.now_ms();
        let client = &self.clients[number as usize];
        let issue = client.issue.clone().filter(|issue| issue.is_valid(now_ms));
        // Without a document the next request comes first, and a tunnel after it.
        let Some(issue) = issue.filter(|_| client.tunnel.is_none()) else { return };
        if self.build_now(number, &issue).is_none() {
            let wait_s = self.wait_s(self.clients[number as usize].failures);
            let client = &mut self.clients[number as usize];
            client.failures = client.failures.saturating_add(1);
            let session = client.session;
            self.calendar.add(self.now_s + wait_s, Event::Build { client: number, session });
        }
    }

    fn build_now(&mut self, number: u32, issue: &Arc<Issue>) -> Option<u32> {
        let wish = Wish { relays: &issue.relays, wanted: LEGS, legs: &[], exit: None };
        let Ok(paths) = self.choose(number, &wish) else {
            self.tally.refusals += 1;
            return None;
        };
        let exit_id = paths.first()?.exit();
        let legs: Vec<Leg> = paths.into_iter().filter_map(|path| self.set_out(number, path)).collect();
        if legs.is_empty() {
            return None;
        }
        let exit = self.numbers[&exit_id];
        let is_short = legs.len() < usize::from(LEGS);
        self.count(exit, &legs, &[], issue);
        self.tally.tunnel(exit, legs.iter().map(|leg| leg.guard), issue, &self.relays);
        let tunnel = Tunnel {
            life: 0,
            client: number,
            exit,
            exit_id,
            legs,
            flows: Vec::new(),
            is_active: false,
            is_retired: false,
            is_over: false,
            repairs: false,
            attempts: 0,
        };
        let (place, life) = self.tunnels.add(tunnel);
        // Each draws its own time from the last quarter, as in a node.
        let life_s = TUNNEL_LIFE.as_secs_f64() * (0.75 + 0.25 * self.comings.unit());
        self.calendar.add(self.now_s + life_s as u32, Event::LifeEnds { tunnel: place, life });
        let client = &mut self.clients[number as usize];
        (client.tunnel, client.failures) = (Some(place), 0);
        if is_short {
            self.repair_later(place);
        }
        self.begin_waiting(number);
        Some(place)
    }

    /// Seconds before the next attempt: what the failed one took, and a wait that grows.
    fn wait_s(&mut self, failures: u8) -> u32 {
        let span_s = (0.5 * 2_f64.powi(i32::from(failures.min(16)))).min(WAIT_MAX_S);
        PATIENCE_S + (self.comings.unit() * span_s) as u32
    }

    fn repair_later(&mut self, place: u32) {
        let attempts = self.tunnels.at(place).attempts;
        let wait_s = self.wait_s(attempts);
        let tunnel = self.tunnels.at_mut(place);
        if !std::mem::replace(&mut tunnel.repairs, true) {
            let life = tunnel.life;
            self.calendar.add(self.now_s + wait_s, Event::Repair { tunnel: place, life });
        }
    }

    /// Legs for those that are missing, through the client's guards to the tunnel's exit.
    pub(super) fn repair(&mut self, place: u32) {
        let tunnel = self.tunnels.at_mut(place);
        tunnel.repairs = false;
        let (number, exit_id, exit) = (tunnel.client, tunnel.exit_id, tunnel.exit);
        let missing = LEGS.saturating_sub(tunnel.legs.len() as u8);
        let issue = self.clients[number as usize].issue.clone();
        let Some(issue) = issue.filter(|_| missing > 0) else { return };
        let old: Vec<Leg> = self.tunnels.at(place).legs.clone();
        let paths: Vec<Path> = old.iter().map(|leg| leg.path.clone()).collect();
        let wish = Wish { relays: &issue.relays, wanted: missing, legs: &paths, exit: Some(exit_id) };
        let chosen = self.choose(number, &wish);
        self.tally.refusals += u64::from(chosen.is_err());
        let refused = chosen.is_err();
        let new: Vec<Leg> =
            chosen.unwrap_or_default().into_iter().filter_map(|path| self.set_out(number, path)).collect();
        self.count(exit, &new, &old, &issue);
        self.tally.repaired += new.len() as u64;
        let tunnel = self.tunnels.at_mut(place);
        let is_enough = new.len() == usize::from(missing);
        tunnel.attempts = if new.is_empty() { tunnel.attempts.saturating_add(1) } else { 0 };
        tunnel.legs.extend(new);
        if tunnel.legs.is_empty() && tunnel.attempts >= ATTEMPTS_MAX {
            return self.lose(place);
        }
        if !is_enough && refused {
            let life = tunnel.life;
            tunnel.repairs = true;
            self.calendar.add(self.now_s + REFUSED_S, Event::Repair { tunnel: place, life });
        } else if !is_enough {
            self.repair_later(place);
        }
    }

    /// Looks at new legs: are they what the rules say, and who sees them.
    fn count(&mut self, exit: u32, new: &[Leg], old: &[Leg], issue: &Issue) {
        let relays = &self.relays;
        let is_near = |one: u32, other: u32| {
            let (one, other) = (&relays[one as usize], &relays[other as usize]);
            let subnets = [one, other].map(|relay| network_document::Subnet::of(relay.address.ip()));
            one.node_id == other.node_id || one.operator == other.operator || subnets[0] == subnets[1]
        };
        for (place, leg) in new.iter().enumerate() {
            let bad = is_near(leg.guard, leg.middle) || is_near(leg.middle, exit) || is_near(leg.guard, exit);
            let mut others = old.iter().chain(&new[..place]);
            let shared = others.any(|other| leg.has(other.guard) || leg.has(other.middle));
            self.tally.broken_rules += u64::from(bad || shared);
            self.tally.leg(leg.guard, exit, issue, relays);
        }
    }

    /// A relay is silent from now on. Those who use it notice later.
    pub(super) fn silence(&mut self, relay: u32) {
        let mut noticed = Vec::new();
        for (place, tunnel) in self.tunnels.living() {
            let mut after_s = None;
            for leg in &mut tunnel.legs {
                if leg.has(relay) || tunnel.exit == relay {
                    leg.is_up = false;
                    after_s = Some(if leg.guard == relay { SILENT_S.0 } else { SILENT_S.1 });
                }
            }
            if let Some(after_s) = after_s {
                noticed.push((after_s, Event::Silent { tunnel: place, life: tunnel.life, relay }));
            }
        }
        for (after_s, event) in noticed {
            self.calendar.add(self.now_s + after_s, event);
        }
    }

    pub(super) fn silent(&mut self, place: u32, relay: u32) {
        if self.tunnels.at(place).exit == relay {
            return self.lose(place);
        }
        let (unix_s, node) = (self.unix_s(), self.relays[relay as usize].node_id);
        let tunnel = self.tunnels.at_mut(place);
        let is_guard = tunnel.legs.iter().any(|leg| leg.guard == relay);
        tunnel.legs.retain(|leg| !leg.has(relay));
        let client = &mut self.clients[tunnel.client as usize];
        if is_guard {
            client.guards.handle_failed(unix_s, &node, &mut self.rng);
        } else {
            client.avoided.push((node, self.now_s + AVOID_S));
        }
        self.tally.broken += 1;
        self.repair(place);
    }

    /// The exit is gone, or every leg for too long: the flows end, and a client that had no other tunnel makes a new one.
    fn lose(&mut self, place: u32) {
        let (number, exit_id) = (self.tunnels.at(place).client, self.tunnels.at(place).exit_id);
        self.tally.lost_tunnels += 1;
        self.end_tunnel(place);
        let client = &mut self.clients[number as usize];
        client.avoided.push((exit_id, self.now_s + AVOID_S));
        client.retired.retain(|retired| *retired != place);
        if client.tunnel == Some(place) {
            client.tunnel = None;
            self.build_at_look(number);
        }
    }

    /// What a new document says of a client's tunnels: legs whose relays are out are replaced, a tunnel whose exit is out takes no
    /// new flows, and nothing else changes.
    pub(super) fn follow_document(&mut self, number: u32, issue: &Arc<Issue>) {
        let client = &self.clients[number as usize];
        let tunnels: Vec<u32> = client.tunnel.into_iter().chain(client.retired.iter().copied()).collect();
        for place in tunnels {
            let tunnel = self.tunnels.at_mut(place);
            if !issue.relays.has(&tunnel.exit_id, Place::Exit) {
                // Legs that are left stay until the flows have ended, over whatever relays.
                tunnel.legs.retain(|leg| {
                    issue.relays.has(&leg.path.first(), Place::Guard)
                        && leg.path.middle().is_none_or(|middle| issue.relays.has(&middle, Place::Middle))
                });
                if !tunnel.is_retired {
                    self.replace(place);
                }
                continue;
            }
            let before = tunnel.legs.len();
            tunnel.legs.retain(|leg| leg.path.is_in(&issue.relays));
            if tunnel.legs.len() < before {
                self.tally.dropped_legs += (before - tunnel.legs.len()) as u64;
                self.repair(place);
            }
        }
    }

    /// A tunnel has had its time: there is a successor first.
    pub(super) fn end_life(&mut self, place: u32) {
        if !self.tunnels.at(place).is_retired {
            self.tally.lives_ended += 1;
            self.replace(place);
        }
    }

    fn replace(&mut self, place: u32) {
        let tunnel = self.tunnels.at_mut(place);
        tunnel.is_retired = true;
        let (number, is_idle) = (tunnel.client, tunnel.flows.is_empty());
        let client = &mut self.clients[number as usize];
        client.tunnel = None;
        client.retired.push(place);
        if is_idle {
            self.end_retired(place);
        }
        self.build(number);
    }

    /// A retired tunnel without flows ends.
    pub(super) fn end_retired(&mut self, place: u32) {
        let tunnel = self.tunnels.at(place);
        if tunnel.is_retired && tunnel.flows.is_empty() {
            let client = &mut self.clients[tunnel.client as usize];
            client.retired.retain(|retired| *retired != place);
            self.end_tunnel(place);
        }
    }

    /// Its number is free, and its flows are cut.
    pub(super) fn end_tunnel(&mut self, place: u32) {
        let tunnel = self.tunnels.at_mut(place);
        tunnel.is_over = true;
        tunnel.legs.clear();
        for flow in std::mem::take(&mut tunnel.flows) {
            self.tally.cut(&flow);
        }
        // One among the active ones is freed when those are looked at.
        if !tunnel.is_active {
            self.tunnels.free.push(place);
        }
    }

    /// A tunnel that was among the active ones and is over has its number back.
    pub(super) fn free_tunnel(&mut self, place: u32) {
        let tunnel = self.tunnels.at_mut(place);
        tunnel.is_active = false;
        if tunnel.is_over {
            self.tunnels.free.push(place);
        }
    }

    /// A circuit to somebody who serves documents: no other leg, and no flow.
    pub(super) fn build_mirror(&mut self, number: u32, issue: &Arc<Issue>) -> Option<[u32; 3]> {
        for _ in 0..MIRROR_ATTEMPTS {
            let wish = Wish { relays: &issue.mirrors, wanted: 1, legs: &[], exit: None };
            let path = self.choose(number, &wish).ok()?.pop()?;
            let exit = self.numbers[&path.exit()];
            if let Some(leg) = self.set_out(number, path) {
                self.tally.directory_tunnels += 1;
                return Some([leg.guard, leg.middle, exit]);
            }
        }
        None
    }

    /// Whether a tunnel takes no new flows.
    pub(super) fn is_retired(&self, place: u32) -> bool {
        self.tunnels.at(place).is_retired
    }
}
