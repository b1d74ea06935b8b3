//! Relays that die in a network with few of them: where two meet may be a guard of one, and a guard that was away is to be one again.

use super::{SECOND, failures, linked, meeting_places, of_service, open, plan, reset, setting, world};
use model_tests::apps::{Plan, port};
use model_tests::circuits::{Health, Setting, World};
use std::collections::BTreeSet;

/// Relays that a tunnel of two legs and the other end's halves of them have little room in.
fn few(seed: u64) -> Setting {
    Setting { relays: 9, seed, ..setting() }
}

/// The relays of each linked leg to the service.
fn paths(world: &World) -> Vec<Vec<usize>> {
    let legs = of_service(world).into_iter().flat_map(|tunnel| tunnel.legs);
    let linked = legs.filter(|leg| leg.state == "linked");
    linked.map(|leg| leg.path.iter().filter_map(|relay| world.number_of(relay)).collect()).collect()
}

/// The client knows nobody's guards, so it may wait at one of the service's.
#[test]
fn a_service_comes_to_its_own_guard() {
    let mut at_guard = 0;
    for seed in 1..=10 {
        let mut world = world(few(seed));
        let flow = open(&mut world, plan(port::ENDLESS, 0));
        let met = world.run_while(20 * SECOND, |world| linked(world) == 2);
        assert!(met, "seed {seed}: {:?} {:?} {:?}", world.service_guards(), world.tunnels(), failures(&world));
        assert_eq!(reset(&world, flow), None);
        at_guard += usize::from(!meeting_places(&world).is_disjoint(&world.service_guards()));
    }
    assert!(at_guard > 0, "that was the question");
}

/// A guard is away for seconds. Until it is tried again no leg is made that has it in another place, which would keep it from its own.
#[test]
fn a_guard_that_was_away_has_its_leg_again() {
    for seed in 1..=6 {
        let mut world = world(Setting { relays: 12, service: true, seed, ..Setting::constant() });
        let flow = open(&mut world, Plan { read_per_step: 20, ..plan(port::ENDLESS, 0) });
        assert!(world.run_while(30 * SECOND, |world| linked(world) == 2), "seed {seed}: {:?}", world.tunnels());
        let guard = paths(&world)[0][0];
        world.relays[guard].health = Health::Dead;
        let is_left = |world: &World| paths(world).iter().flatten().all(|relay| *relay != guard);
        assert!(world.run_while(30 * SECOND, is_left), "seed {seed}: {:?}", world.tunnels());
        world.run_for(2 * SECOND);
        world.relays[guard].health = Health::Well;
        let met: BTreeSet<usize> = meeting_places(&world).into_iter().take(1).collect();
        met.iter().for_each(|relay| world.relays[*relay].health = Health::Dead);
        let is_anew = |world: &World| linked(world) > 0 && met.is_disjoint(&meeting_places(world));
        let anew = world.run_while(60 * SECOND, is_anew);
        assert!(anew, "seed {seed}: {:?} {:?}", of_service(&world), failures(&world));
        met.iter().for_each(|relay| world.relays[*relay].health = Health::Well);
        let behind: BTreeSet<usize> = paths(&world).iter().flat_map(|path| path[1..].to_vec()).collect();
        assert!(!behind.contains(&guard), "seed {seed}: {guard} is behind another guard: {:?}", paths(&world));
        let is_back = |world: &World| linked(world) == 2 && paths(world).iter().any(|path| path[0] == guard);
        assert!(
            world.run_while(180 * SECOND, is_back),
            "seed {seed}: {guard} {:?} {:?}",
            paths(&world),
            world.tunnels()
        );
        assert_eq!(reset(&world, flow), None, "seed {seed}");
    }
}
