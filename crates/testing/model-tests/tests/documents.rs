//! A network whose document changes while an entry runs: what goes on, what is replaced, and what ends.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Setting, World};
use shaped_node::{DocumentRefused, Isolation, NodeEvent, PoolConfig, RETIRED_LINGER, TunnelHolder};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn legs_lost(world: &World) -> usize {
    world.count_events(|event| matches!(event, NodeEvent::LegDown(..)))
}

/// The relay of a hop of a leg.
fn relay(world: &World, leg: usize, hop: usize) -> usize {
    world.relay_of(leg, hop).expect("a path")
}

/// Whether a relay is on a leg.
fn uses(world: &World, relay: usize) -> bool {
    (0..world.status().legs.len()).any(|leg| (0..3).any(|hop| world.relay_of(leg, hop) == Some(relay)))
}

/// Onion keys are renewed ten times, and nothing of it reaches a flow. What is built afterwards is built with the newest keys.
#[test]
fn a_transfer_goes_on_while_ten_documents_follow_each_other() {
    for setting in [Setting::with_legs(1), Setting::with_legs(2), Setting { hops: 2, ..Setting::with_legs(2) }] {
        let mut world = World::in_use(setting.clone());
        let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 10 * MEGABYTE)).expect("a queue pair");
        let paths = |world: &World| world.status().legs.into_iter().map(|leg| leg.path).collect::<Vec<_>>();
        let before = paths(&world);
        for number in 0..10 {
            world.run_for(120 * MS);
            assert!(world.received(flow) < 10 * MEGABYTE, "document {number} came too late");
            world.exchange(&[]);
        }
        let done = world.run_while(30 * SECOND, |world| world.received(flow) == 10 * MEGABYTE);
        assert!(done, "{setting:?}: {:?} {:?}", world.status(), world.entry.events);
        assert_eq!((legs_lost(&world), world.status().tunnels, paths(&world)), (0, 1, before), "nothing was retired");
        let last = relay(&world, 0, usize::from(setting.hops) - 2);
        world.restart(last);
        let rebuilt =
            world.run_while(15 * SECOND, |world| legs_lost(world) > 0 && world.linked() == usize::from(setting.legs));
        assert!(rebuilt, "{:?} {:?}", world.status(), world.entry.events);
    }
}

/// Circuits that are being built are built on: relays answer under the keys of two intervals.
#[test]
fn circuits_in_the_making_are_finished_with_the_keys_that_they_were_begun_with() {
    for after in [11, 16, 22, 27, 35, 45, 60] {
        let mut world = World::new(Setting::with_legs(2));
        world.run_for(after * MS);
        world.exchange(&[]);
        let up = world.run_while(SECOND, |world| world.linked() == 2 && world.status().session_up);
        assert!(up, "{after} ms: {:?} {:?}", world.status(), world.entry.events);
        assert_eq!(legs_lost(&world), 0);
    }
}

/// Whether relays or the entry hear of it first, and however many legs there are.
#[test]
fn a_middle_that_is_expelled_is_replaced_through_the_same_guard_and_no_byte_is_lost() {
    for (legs_wanted, relays_first) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut world = World::in_use(Setting::with_legs(legs_wanted));
        let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 8 * MEGABYTE)).expect("a queue pair");
        world.run_for(500 * MS);
        let (guard, middle) = (relay(&world, 0, 0), relay(&world, 0, 1));
        let before = world.received(flow);
        if relays_first {
            let document = world.next_document(&[middle]);
            world.tell_relays(&document);
            world.run_for(200 * MS);
            world.tell_entry(&document).expect("a later document");
        } else {
            world.tell_entry_first(&[middle]);
        }
        world.run_for(500 * MS);
        let gained = world.received(flow) - before;
        if !relays_first {
            assert!(gained > 500_000, "{legs_wanted} legs: it never stood still: {gained}");
            world.run_for(SECOND);
            world.exchange(&[middle]);
        }
        let done = world.run_while(60 * SECOND, |world| world.received(flow) == 8 * MEGABYTE);
        assert!(done, "{:?} {:?}", world.status(), world.entry.events);
        assert!(world.run_while(15 * SECOND, |world| world.linked() == usize::from(legs_wanted)));
        assert!(!uses(&world, middle) && uses(&world, guard), "{:?}", world.status());
        assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelUp)), 1, "the session is the same");
        assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
        if !relays_first {
            assert_eq!(legs_lost(&world), 1, "the other leg stayed: {:?}", world.entry.events);
        }
    }
}

#[test]
fn a_guard_that_is_expelled_is_left_gently_and_is_no_guard_any_more() {
    for legs_wanted in [1, 2] {
        let mut world = World::in_use(Setting::with_legs(legs_wanted));
        let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 8 * MEGABYTE)).expect("a queue pair");
        world.run_for(500 * MS);
        let guard = relay(&world, 0, 0);
        world.tell_entry_first(&[guard]);
        let before = world.received(flow);
        world.run_for(500 * MS);
        assert!(world.received(flow) > before + 500_000, "it never stood still");
        world.run_for(SECOND);
        world.exchange(&[guard]);
        let done = world.run_while(60 * SECOND, |world| world.received(flow) == 8 * MEGABYTE);
        assert!(done, "{:?} {:?}", world.status(), world.entry.events);
        assert!(world.linked() == usize::from(legs_wanted) && !uses(&world, guard), "{:?}", world.status());
        assert_eq!((legs_lost(&world), world.status().tunnels), (1, 1), "{:?}", world.entry.events);
        // It is not forgotten at once, for it may be back tomorrow.
        let file = world.entry.guards.clone().expect("it was stored");
        let lines = file.lines().filter(|line| line.contains(&model_tests::circuits::node_id(guard).to_string()));
        assert_eq!(lines.filter(|line| line.contains("unlisted")).count(), 1, "{file}");
        let links = world.entry.node.status().links.len();
        assert_eq!(links, usize::from(legs_wanted), "its link is closed");
    }
}

/// Flows finish over the exit that is gone, if it lets them, and new ones have another one at once.
#[test]
fn a_tunnel_whose_exit_is_expelled_finishes_its_flows_and_another_takes_its_place() {
    let mut world = World::in_use(Setting { exits: 2, ..Setting::with_legs(2) });
    let old = world.entry.unshaped.open(Plan::new(port::ECHO, 4 * MEGABYTE)).expect("a queue pair");
    world.run_for(300 * MS);
    let exit = relay(&world, 0, 2);
    world.tell_entry_first(&[exit]);
    let new = world.entry.unshaped.open(Plan::new(port::ECHO, MEGABYTE)).expect("a queue pair");
    let done =
        world.run_while(30 * SECOND, |world| world.received(old) == 4 * MEGABYTE && world.received(new) == MEGABYTE);
    assert!(done, "{:?} {:?}", world.tunnels(), world.entry.events);
    assert_eq!((world.tunnels().len(), world.tunnels()[0].holder), (2, TunnelHolder::Nobody));
    assert_eq!((world.exit_of(0), world.exit_of(1) == Some(exit)), (Some(exit), false));
    assert_eq!(legs_lost(&world), 0, "{:?}", world.entry.events);
    let over = world.run_while(3 * RETIRED_LINGER, |world| world.tunnels().len() == 1);
    assert!(over, "{:?}", world.tunnels());
    assert!(!uses(&world, exit));
    assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelLost(_))), 0);
}

/// Of many tunnels only those go that lead to it.
#[test]
fn tunnels_to_other_exits_stay() {
    let pool = PoolConfig { tunnels: 4, isolation: Isolation::Clients, ..PoolConfig::default() };
    let mut world = World::new(Setting { exits: 3, hops: 2, pool, ..Setting::default() });
    assert!(
        world.run_while(10 * SECOND, |world| world.tunnels().iter().filter(|tunnel| tunnel.session_up).count() == 4)
    );
    let exits: Vec<usize> = (0..4).map(|tunnel| world.exit_of(tunnel).expect("a path")).collect();
    let gone = exits[0];
    assert!(exits.iter().any(|exit| *exit != gone), "{exits:?}: another seed is needed");
    let kept: Vec<u64> = world
        .tunnels()
        .iter()
        .zip(&exits)
        .filter(|(_, exit)| **exit != gone)
        .map(|(tunnel, _)| tunnel.number)
        .collect();
    world.exchange(&[gone]);
    let of_pool = |world: &World| -> Vec<u64> {
        let ready =
            world.tunnels().into_iter().filter(|tunnel| tunnel.holder == TunnelHolder::Pool && tunnel.session_up);
        ready.map(|tunnel| tunnel.number).collect()
    };
    assert!(world.run_while(10 * SECOND, |world| of_pool(world).len() == 4), "{:?}", world.tunnels());
    assert!(kept.iter().all(|number| of_pool(&world).contains(number)), "{kept:?} {:?}", world.tunnels());
    world.run_for(2 * RETIRED_LINGER);
    assert_eq!(world.tunnels().len(), 4);
    assert!((0..4).all(|tunnel| world.exit_of(tunnel) != Some(gone)));
}

/// A tunnel that is not there yet begins again with an exit that is.
#[test]
fn an_exit_that_is_expelled_while_legs_are_built_is_exchanged() {
    for after in [3, 11, 22, 35, 45] {
        let mut world = World::new(Setting::with_legs(2));
        world.run_for(after * MS);
        let exit = (8..10).find(|exit| uses(&world, *exit)).expect("it is chosen");
        world.exchange(&[exit]);
        let up = world.run_while(10 * SECOND, |world| {
            world.tunnels().iter().any(|tunnel| tunnel.session_up && tunnel.holder == TunnelHolder::Pool)
        });
        assert!(up, "{after} ms: {:?} {:?}", world.tunnels(), world.entry.events);
        world.run_for(3 * RETIRED_LINGER);
        assert!(!uses(&world, exit) && world.linked() == 2, "{after} ms: {:?}", world.tunnels());
    }
}

#[test]
fn what_is_not_later_or_of_another_network_is_refused_and_changes_nothing() {
    let mut world = World::in_use(Setting::with_legs(2));
    let present = world.document.clone();
    assert_eq!(world.tell_entry(&present), Err(DocumentRefused::NotLater));
    let later = world.next_document(&[]);
    world.exchange(&[]);
    assert_eq!(world.tell_entry(&later), Err(DocumentRefused::NotLater), "once is enough");
    assert_eq!(world.tell_entry(&present), Err(DocumentRefused::NotLater));
    assert_eq!(world.entry.node.document().map(|document| document.interval()), Some(later.interval()));
    assert_eq!(legs_lost(&world), 0);
}

/// Where a guard stands is no reason to leave it: it is asked at its new address, and its link stays while it is not there.
#[test]
fn a_guard_that_moves_is_asked_at_its_new_address_and_loses_nothing_before_it_is_there() {
    use tunnel_plan::Relaxation;
    // There are no other guards to go to.
    let mut world =
        World::in_use(Setting { relays: 2, exits: 1, relaxation: Relaxation::SharedMiddles, ..Setting::with_legs(2) });
    let guard = relay(&world, 0, 0);
    world.moved.push(guard);
    world.exchange(&[]);
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 20 * MEGABYTE)).expect("a queue pair");
    world.run_for(SECOND);
    assert_eq!((legs_lost(&world), world.linked(), world.guards_seen()), (0, 2, 2), "{:?}", world.entry.events);
    world.restart_elsewhere(guard);
    assert!(world.run_while(20 * SECOND, |world| world.linked() == 1), "the link at the old address is over");
    assert!(world.run_while(30 * SECOND, |world| world.linked() == 2), "{:?} {:?}", world.status(), world.entry.events);
    assert_eq!(world.guards_seen(), 3, "two addresses of one, and the other");
    let done = world.run_while(60 * SECOND, |world| world.received(flow) == 20 * MEGABYTE);
    assert!(done && world.entry.unshaped.outcome(flow).reset.is_none(), "{:?}", world.status());
}

/// A network that grows helps at once: nobody waits for the next look.
#[test]
fn what_the_network_lacked_is_tried_with_the_next_document() {
    let mut world = World::in_use(Setting::with_legs(2));
    let unused: Vec<usize> = (0..8).filter(|relay| !uses(&world, *relay)).collect();
    let middle = relay(&world, 0, 1);
    let few = [&unused[..], &[middle]].concat();
    world.exchange(&few);
    world.run_for(31 * SECOND);
    assert_eq!(world.linked(), 1, "{:?}", world.status());
    assert!(world.status().refusal.is_some());
    world.exchange(&[]);
    assert!(world.run_while(2 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
    assert_eq!(world.status().refusal, None);
}
