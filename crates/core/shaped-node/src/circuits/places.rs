//! From a path to a leg, and back to the start.

use super::{CircuitTunnel, OnionCircuit, Place, Shared, Stage};
use conflux::{Building, LegId};
use link::{Endpoint, Now};
use onion::{CircuitConfig, Features, RelaySpec};
use std::time::{Duration, Instant};
use tunnel_plan::{Path, Way};
use wire::cell::CircuitId;

/// The first wait after a failure is drawn from this; each further one from twice as much.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// What a wait is drawn from at most.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl CircuitTunnel {
    /// Begins with a path: the guard is dialled, or the circuit is begun if its link is up.
    pub(super) fn set_out(
        &mut self,
        shared: &mut Shared,
        now: Now,
        endpoint: &mut Endpoint,
        number: usize,
        path: Path,
    ) {
        match self.choose_way(shared, now.instant, number, path.first()) {
            Some(way) => self.set_out_over(shared, now, endpoint, number, path, way),
            None => self.fail(shared, now.instant, number),
        }
    }

    /// The same, over a way.
    pub(super) fn set_out_over(
        &mut self,
        shared: &mut Shared,
        now: Now,
        endpoint: &mut Endpoint,
        number: usize,
        path: Path,
        way: Way,
    ) {
        let Some(link) = shared.link_to(now, endpoint, path.first(), way) else {
            // A guard without an address of our family is not chosen; what is left is a bound of the endpoint's.
            shared.guards.handle_failed(now.unix_s, &path.first(), &mut shared.rng);
            return self.fail(shared, now.instant, number);
        };
        if let Some(uplink) = &mut shared.uplink {
            let others = || self.places.iter().enumerate().filter(|(place, _)| *place != number);
            // Places are as many as shares, and no two use one link.
            uplink.add_link(link, |link| others().any(|(_, place)| place.stage.link() == Some(link)));
        }
        self.exit = Some(path.exit());
        if shared.is_up(link) {
            self.places[number].up_link = Some(link);
        }
        self.places[number].stage = Stage::Dialling { path, link };
        self.begin_circuits(shared, now);
    }

    /// Begins the circuits of places whose guard's link is up.
    pub(super) fn begin_circuits(&mut self, shared: &mut Shared, now: Now) {
        for number in 0..self.places.len() {
            let Stage::Dialling { path, link } = &self.places[number].stage else { continue };
            let (path, link) = (path.clone(), *link);
            if !shared.is_up(link) {
                continue;
            }
            match shared.begin_circuit(now, &path) {
                Some((circuit, specs)) => {
                    let circuit = Box::new(Building::new(OnionCircuit { circuit, link }));
                    self.places[number].stage = Stage::Building { path, link, specs, circuit, since: now.instant };
                }
                None => self.fail(shared, now.instant, number),
            }
        }
    }

    /// A place begins again, after a wait that grows with each failure (all of it at random: circuits that failed together do
    /// not come back together).
    pub(super) fn fail(&mut self, shared: &mut Shared, now: Instant, number: usize) {
        let failures = self.places[number].failures;
        let span = WAIT_FIRST.saturating_mul(1 << failures.min(16)).min(WAIT_MAX);
        let until = now + shared.draw(span);
        let outgoing = self.places[number].outgoing.take();
        let up_link = self.places[number].up_link;
        self.places[number] =
            Place { stage: Stage::at(until), failures: failures.saturating_add(1), up_link, outgoing };
    }

    /// Takes from a place what it has. `gently`: a leg brings what is on its way.
    pub(super) fn vacate(&mut self, shared: &mut Shared, now: Instant, number: usize, gently: bool) {
        match std::mem::replace(&mut self.places[number].stage, Stage::at(now)) {
            Stage::Waiting { .. } | Stage::Dialling { .. } => {}
            Stage::Building { link, circuit, .. } => shared.end_circuit(now, link, circuit.into_circuit().circuit),
            Stage::Joined { leg, .. } => {
                if let Some(joined) = &mut self.joined {
                    if gently {
                        joined.legs.remove_leg(now, leg);
                    } else {
                        joined.legs.handle_circuit_gone(now, leg);
                    }
                }
            }
        }
    }

    /// The place of a leg that has not been given up.
    pub(super) fn place_of(&self, leg: LegId) -> Option<usize> {
        self.places.iter().position(|place| matches!(place.stage, Stage::Joined { leg: of, .. } if of == leg))
    }
}

impl Shared {
    /// A circuit, and what it is built with whatever documents come meanwhile: relays answer under the keys of two intervals.
    pub(super) fn begin_circuit(&mut self, now: Now, path: &Path) -> Option<(onion::Circuit, Vec<RelaySpec>)> {
        let specs: Vec<RelaySpec> = path.hops().iter().map(|hop| self.document.spec(hop)).collect::<Option<_>>()?;
        let spec = *specs.first()?;
        // Never used twice by this process, so what a relay still says about an older circuit means nothing. A circuit a
        // millisecond would need 24 days to come to the end.
        self.newest_circuit = self.newest_circuit.checked_add(1).filter(|id| *id < CircuitId::DIALLER_BIT)?;
        let id = CircuitId(CircuitId::DIALLER_BIT | self.newest_circuit);
        // All circuits ask for the same, so that no hop learns from it what one is for.
        let features = Features::LINKING.and(Features::RENDEZVOUS);
        let config = CircuitConfig { network: self.document.charter().network(), features };
        let random = self.random();
        let circuit = onion::Circuit::new(now.instant, config, id, spec, random).ok()?;
        Some((circuit, specs))
    }
}
