//! Circuits in the making: hop by hop, then into the tunnel.

use super::joined::Joined;
use super::{CircuitTunnel, OnionCircuit, Shared, Stage};
use conflux::{Asked, Built, Pace};
use link::{LinkId, Now};
use onion::{CircuitEvent, Features, Position};
use std::time::{Duration, Instant};
use tunnel_plan::Path;
use wire::cell::CircuitId;

/// How long one hop may take. A relay that accepts and does not answer costs this much.
pub(super) const HOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a circuit that is being built has come to.
enum Step {
    /// Nothing new.
    Pending,
    /// It has so many hops.
    Grown(usize),
    /// The next hop does not come. So many are there.
    Failed(usize),
}

impl CircuitTunnel {
    /// Goes on with each circuit that is being built.
    pub(super) fn follow_builds(&mut self, shared: &mut Shared, now: Now) {
        for number in 0..self.places.len() {
            // A hop each time; there are at most three.
            while let Step::Grown(hops) = self.step(shared, now, number) {
                if !self.extend(shared, now, number, hops) {
                    break;
                }
            }
        }
    }

    fn step(&mut self, shared: &mut Shared, now: Now, number: usize) -> Step {
        let Stage::Building { circuit, since, .. } = &mut self.places[number].stage else { return Step::Pending };
        let circuit = &mut circuit.circuit_mut().circuit;
        let built = |circuit: &onion::Circuit| circuit.path().count();
        let step = match circuit.poll_event() {
            Some(CircuitEvent::Extended { position }) => {
                *since = now.instant;
                Step::Grown(usize::from(position.number()))
            }
            Some(_) => Step::Failed(built(circuit)),
            None if *since + HOP_PATIENCE <= now.instant => Step::Failed(built(circuit)),
            None => Step::Pending,
        };
        if let Step::Failed(built) = step {
            self.fail_build(shared, now, number, built);
        }
        step
    }

    /// Asks for the next hop, or puts the circuit into the tunnel if it has all. False when there is nothing more to do.
    fn extend(&mut self, shared: &mut Shared, now: Now, number: usize, hops: usize) -> bool {
        let Stage::Building { specs, circuit, .. } = &mut self.places[number].stage else { return false };
        let Some(next) = specs.get(hops) else {
            self.join(shared, now, number);
            return false;
        };
        let asked = circuit.circuit_mut().circuit.extend(now.instant, *next).is_ok();
        if !asked {
            self.fail_build(shared, now, number, hops);
        }
        asked
    }

    /// A hop does not come. A guard is told so from its set; another relay is avoided. While the tunnel has no leg, an exit that
    /// nobody has reached may be the one to avoid; later it is the relay before it that is in doubt.
    fn fail_build(&mut self, shared: &mut Shared, now: Now, number: usize, built: usize) {
        let Stage::Building { path, .. } = &self.places[number].stage else { return };
        let path = path.clone();
        self.vacate(shared, now.instant, number, false);
        self.fail(shared, now.instant, number);
        let is_exit = built + 1 >= path.hops().len();
        let has_legs = self.joined.as_ref().is_some_and(|joined| joined.legs.legs().count() > 0);
        let suspect = if is_exit && has_legs { path.middle() } else { path.hops().get(built).copied() };
        match suspect {
            Some(relay) if relay == path.first() && path.hops().len() > 1 => {
                shared.guards.handle_failed(now.unix_s, &relay, &mut shared.rng)
            }
            Some(relay) => shared.avoid(now.instant, relay),
            None => {}
        }
        if built == 1 && path.hops().len() > 1 {
            shared.note_stuck(now, &path.first());
        }
        if is_exit && self.joined.is_none() && self.only_exit(shared).is_none() && path.hops().len() > 1 {
            self.leave_exit(shared, now.instant);
        }
    }

    /// All places begin again, so that another exit can be drawn for all.
    pub(super) fn leave_exit(&mut self, shared: &mut Shared, now: Instant) {
        for number in 0..self.places.len() {
            if !matches!(self.places[number].stage, Stage::Waiting { .. }) {
                self.vacate(shared, now, number, false);
                self.fail(shared, now, number);
            }
        }
        self.exit = None;
    }

    /// The circuit has all its hops and becomes a leg.
    fn join(&mut self, shared: &mut Shared, now: Now, number: usize) {
        let stage = std::mem::replace(&mut self.places[number].stage, Stage::at(now.instant));
        let Stage::Building { path, link, circuit, .. } = stage else { return };
        let onion = &circuit.circuit().circuit;
        let position = u8::try_from(path.hops().len()).ok().and_then(Position::new);
        let links = position.and_then(|last| onion.hop(last)).is_some_and(|hop| hop.features.has(Features::LINKING));
        if !links {
            // A relay that the document calls an exit and that joins nothing: an older version.
            shared.avoid(now.instant, path.exit());
            shared.end_circuit(now.instant, link, circuit.into_circuit().circuit);
            return self.fail(shared, now.instant, number);
        }
        if path.hops().len() > 1 {
            shared.note_whole(now.instant, &path.first());
        }
        let id = onion.id();
        let built = match circuit.into_built(path.hops().to_vec()) {
            Ok(built) => built.over(shared.links.get(&link).map_or(0, |guard| guard.number)),
            Err((building, _)) => {
                shared.end_circuit(now.instant, link, building.into_circuit().circuit);
                return self.fail(shared, now.instant, number);
            }
        };
        if self.joined.is_none() {
            self.joined = Some(self.new_tunnel(shared, now, path.exit()));
        }
        self.make_way(now.instant, number, &path);
        if !self.add_leg(shared, now.instant, number, (path, link, id), built) {
            self.fail(shared, now.instant, number);
        }
    }

    /// Makes a circuit a leg of what the tunnel has come to, at a place. False if it cannot be one; it is taken down then.
    pub(super) fn add_leg(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        number: usize,
        (path, link, id): (Path, LinkId, CircuitId),
        built: Built<OnionCircuit>,
    ) -> bool {
        let is_of_service = self.is_of_service();
        let Some(joined) = &mut self.joined else { return true };
        let asked = |uplink: &super::Uplink| {
            if is_of_service { uplink.asked_of_service(link) } else { uplink.asked_of(link) }
        };
        // A link that a place uses has its share.
        let asked = shared.uplink.as_ref().and_then(asked).unwrap_or(Asked::OFF);
        match joined.legs.add_leg_asking(now, built, asked) {
            Ok(leg) => {
                self.routes.insert((link, id), leg);
                shared.carriers.insert((link, id), self.number);
                self.places[number].stage = Stage::Joined { path, link, leg, since: now, silent_since: None };
                true
            }
            Err((built, _)) => {
                shared.end_circuit(now, link, built.into_circuit().circuit);
                false
            }
        }
    }

    pub(super) fn new_tunnel(&mut self, shared: &mut Shared, now: Now, exit: identity::NodeId) -> Joined {
        let (nonce, random) = (shared.random(), shared.random());
        self.made += 1;
        shared.made += 1;
        self.life_ends = Some(now.instant + shared.life.mul_f64(0.75) + shared.draw(shared.life / 4));
        let pace = if shared.uplink.is_some() { Pace::Slots } else { Pace::Controlled };
        Joined::new(now.instant, exit, self.rules, pace, shared.session.timeout, nonce, random)
    }
}
