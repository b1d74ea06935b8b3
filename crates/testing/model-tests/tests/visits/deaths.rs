//! Relays that die in a network with few of them: where two meet may be a guard of one, and a guard that was away is to be one again.

use super::{SECOND, failures, linked, meeting_places, of_service, open, plan, reset, setting, world};
use model_tests::apps::port;
use model_tests::circuits::{Health, Setting, World};
use std::collections::BTreeSet;
use std::time::Duration;

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
    for seed in 1..=8 {
        let mut world = world(few(seed));
        let flow = open(&mut world, plan(port::ENDLESS, 0));
        assert!(world.run_while(30 * SECOND, |world| linked(world) == 2), "seed {seed}: {:?}", world.tunnels());
        let guard = paths(&world)[0][0];
        world.relays[guard].health = Health::Dead;
        let is_left = |world: &World| paths(world).iter().flatten().all(|relay| *relay != guard);
        assert!(world.run_while(30 * SECOND, is_left), "seed {seed}: {:?}", world.tunnels());
        world.run_for(2 * SECOND);
        world.relays[guard].health = Health::Well;
        for _ in 0..3 {
            let met: BTreeSet<usize> = meeting_places(&world).into_iter().take(1).collect();
            met.iter().for_each(|relay| world.relays[*relay].health = Health::Dead);
            let is_anew = |world: &World| linked(world) == 2 && met.is_disjoint(&meeting_places(world));
            let anew = world.run_while(60 * SECOND, is_anew);
            assert!(anew, "seed {seed}: {:?} {:?}", of_service(&world), failures(&world));
            met.iter().for_each(|relay| world.relays[*relay].health = Health::Well);
            let behind: BTreeSet<usize> = paths(&world).iter().flat_map(|path| path[1..].to_vec()).collect();
            assert!(!behind.contains(&guard), "seed {seed}: {guard} is behind another guard: {:?}", paths(&world));
        }
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

/// All places where the two meet die at once, and with them all points of the service, again and again: it is found at its new points
/// within seconds.
#[test]
fn both_legs_and_all_points_at_once_are_a_pause_of_seconds() {
    let mut world = world(Setting { relays: 20, service: true, ..Setting::constant() });
    let flow = open(&mut world, plan(port::ENDLESS, 0));
    let is_whole = |world: &World| linked(world) == 2 && world.service().node.status().services[0].points == 3;
    assert!(world.run_while(30 * SECOND, is_whole), "{:?} {:?}", world.tunnels(), failures(&world));
    let mut waits = Vec::new();
    for _ in 0..2 {
        let guards = &world.service_guards() | &world.guards();
        let waits_at = |world: &World, relay: usize| world.relays[relay].node.meetings().1 > 0;
        let points = (0..world.relays.len()).filter(|relay| waits_at(&world, *relay)).collect();
        let dying: BTreeSet<usize> = &(&meeting_places(&world) | &points) - &guards;
        dying.iter().for_each(|relay| world.relays[*relay].health = Health::Dead);
        let begun = world.elapsed();
        let is_anew =
            |world: &World| linked(world) > 0 && paths(world).iter().flatten().all(|relay| !dying.contains(relay));
        assert!(world.run_while(60 * SECOND, is_anew), "{waits:?} {:?} {:?}", world.tunnels(), failures(&world));
        waits.push(world.elapsed() - begun);
        assert!(world.run_while(60 * SECOND, is_whole), "{waits:?} {:?} {:?}", world.tunnels(), failures(&world));
        dying.iter().for_each(|relay| world.relays[*relay].health = Health::Well);
    }
    println!("{waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(15)), "{waits:?}");
    assert_eq!(reset(&world, flow), None);
}
