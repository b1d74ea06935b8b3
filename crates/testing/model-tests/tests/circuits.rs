//! An entry over circuits of real relays to a real exit: what its tunnel carries, and what it survives.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Health, Setting, World};
use shaped_node::NodeEvent;
use simnet::Path;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_megabyte_goes_both_ways_over_one_leg_and_over_two() {
    for setting in [
        Setting::with_legs(1),
        Setting::with_legs(2),
        Setting { hops: 2, ..Setting::with_legs(2) },
        Setting { hops: 1, ..Setting::with_legs(1) },
    ] {
        let mut world = World::in_use(setting.clone());
        let up = world.entry.unshaped.open(Plan::new(port::ECHO, MEGABYTE)).expect("a queue pair");
        let down = world.entry.unshaped.open(Plan::new(port::MEGABYTE, 0)).expect("a queue pair");
        let done =
            world.run_while(20 * SECOND, |world| [up, down].iter().all(|flow| world.received(*flow) == MEGABYTE));
        assert!(done, "{setting:?}: {:?}", world.status());
        let status = world.status();
        let used = status.legs.iter().filter(|leg| leg.data_cells > 50).count();
        assert_eq!(used, usize::from(setting.legs), "every leg carries data: {status:?}");
        assert_eq!(status.switches > 10, setting.legs > 1);
    }
}

/// What a guard carried goes on over the other leg within a second, and the leg is built again over another guard.
#[test]
fn a_guard_that_is_killed_stops_nothing_for_a_second_and_is_replaced() {
    let mut world = World::in_use(Setting::with_legs(2));
    let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
    world.run_for(2 * SECOND);
    let guard = world.relay_of(0, 0).expect("a path");
    world.relays[guard].health = Health::Dead;
    // What had arrived before is not what is asked for.
    world.run_for(100 * MS);
    let before = world.received(flow);
    world.run_for(900 * MS);
    let after = world.received(flow);
    assert!(after > before + 100_000, "{before} {after}");
    let replaced = world.run_while(15 * SECOND, |world| world.linked() == 2);
    assert!(replaced, "{:?}", world.status());
    assert!((0..2).all(|leg| world.relay_of(leg, 0) != Some(guard)));
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
    assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelUp)), 1, "the session is the same");
}

#[test]
fn a_middle_that_is_killed_is_replaced_through_the_same_guard() {
    let mut world = World::in_use(Setting::with_legs(2));
    let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
    world.run_for(2 * SECOND);
    let (guard, middle) = (world.relay_of(0, 0), world.relay_of(0, 1).expect("a path"));
    world.relays[middle].health = Health::Dead;
    let replaced = world.run_while(12 * SECOND, |world| {
        world.linked() == 2 && (0..2).all(|leg| world.relay_of(leg, 1) != Some(middle))
    });
    assert!(replaced, "{:?}", world.status());
    assert_eq!(world.relay_of(0, 0), guard);
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
}

/// What a guard does to cells costs the flow nothing but speed: each byte is compared, and more than a little comes in each second.
#[test]
fn a_guard_that_misbehaves_costs_no_byte_and_no_flow() {
    for health in [Health::Alters, Health::DropsPattern, Health::Repeats, Health::Reorders] {
        let mut world = World::in_use(Setting::with_legs(2));
        let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
        world.run_for(SECOND);
        let guard = world.relay_of(0, 0).expect("a path");
        world.relays[guard].health = health;
        for second in 0..4 {
            let before = world.received(flow);
            world.run_for(SECOND);
            let came = world.received(flow) - before;
            assert!(came > 200_000, "{health:?}, second {second}: {came} bytes, {:?}", world.status());
        }
        assert_eq!(world.entry.unshaped.outcome(flow).reset, None, "{health:?}");
        assert_eq!(
            world.count_events(|event| matches!(event, NodeEvent::TunnelUp)),
            1,
            "{health:?}: the session is the same"
        );
    }
}

/// A guard that becomes forty times slower in the middle of a transfer: what it has arrives late or is repeated, and the other leg goes
/// on at its own speed.
#[test]
fn a_guard_that_becomes_slow_costs_its_own_part_of_the_speed() {
    let mut world = World::in_use(Setting::with_legs(2));
    let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
    world.run_for(SECOND);
    let guard = world.relay_of(0, 0).expect("a path");
    world.slow_down(guard, 200 * MS, 1_000_000);
    for second in 0..5 {
        let before = world.received(flow);
        world.run_for(SECOND);
        let came = world.received(flow) - before;
        assert!(came > MEGABYTE, "second {second}: {came} bytes, {:?}", world.status());
    }
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
    assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelUp)), 1, "the session is the same");
}

#[test]
fn an_exit_that_is_restarted_gets_a_new_session_and_flows_that_wait_get_it() {
    let mut world = World::in_use(Setting::with_legs(2));
    let lost = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
    world.run_for(2 * SECOND);
    let exit = world.relay_of(0, 2).expect("a path");
    world.restart(exit);
    let over = world.run_while(20 * SECOND, |world| world.entry.unshaped.outcome(lost).reset.is_some());
    assert!(over, "{:?}", world.status());
    let waiting = world.entry.unshaped.open(Plan::new(port::MEGABYTE, 0)).expect("a queue pair");
    let done = world.run_while(10 * SECOND, |world| world.received(waiting) == MEGABYTE);
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
    assert_eq!(world.status().tunnels, 2);
}

/// Without any leg for less than the session's time-out, flows go on where they were.
#[test]
fn flows_survive_that_every_leg_is_lost_and_one_comes_back() {
    let mut world = World::in_use(Setting::with_legs(2));
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 4 * MEGABYTE)).expect("a queue pair");
    world.run_for(300 * MS);
    let guards = [0, 1].map(|leg| world.relay_of(leg, 0).expect("a path"));
    guards.iter().for_each(|guard| world.restart(*guard));
    world.relays[guards[1]].health = Health::Dead;
    let done = world.run_while(60 * SECOND, |world| world.received(flow) == 4 * MEGABYTE);
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
    assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelUp)), 1, "the session is the same");
}

/// The entry's own network is away: its guards are waited for.
#[test]
fn an_outage_of_the_entrys_network_loses_no_flow_and_shows_it_to_no_further_guard() {
    let mut world = World::in_use(Setting::with_legs(2));
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 4 * MEGABYTE)).expect("a queue pair");
    world.run_for(300 * MS);
    world.set_outage(true);
    world.run_for(12 * SECOND);
    world.set_outage(false);
    let back = world.elapsed();
    let done = world.run_while(30 * SECOND, |world| world.received(flow) == 4 * MEGABYTE);
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
    assert!(world.elapsed() - back < 5 * SECOND);
    assert_eq!(world.guards_seen(), 2);
}

/// Both guards die within two seconds while data flows: the next one of the few is asked, and carries on. When they are there again
/// they are used again.
#[test]
fn both_guards_that_die_are_stood_in_for_and_used_again() {
    // A slow line, so that minutes are soon computed, and a long one.
    let line = |delay| Path::with_delay(delay).with_rate(3_000_000, 32 * 1024);
    let off = |legs_wanted, delay| Setting { path: line(delay), relays: 10, ..Setting::with_legs(legs_wanted) };
    // What a pause may be: a second of silence, and the round trips of a question, of a circuit over three hops, and of its first data.
    let cases = [
        ("off, one after the other", off(2, 5 * MS), 1_900 * MS, 1_500),
        ("off, one leg", off(1, 5 * MS), Duration::ZERO, 1_500),
        ("constant", Setting { relays: 10, ..Setting::constant() }, 1_900 * MS, 1_900),
        ("off, far away", off(2, 150 * MS), Duration::ZERO, 8_000),
    ];
    for (what, setting, apart, pause_ms) in cases {
        let wanted = usize::from(setting.legs);
        let mut world = World::in_use(setting);
        let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
        world.run_for(3 * SECOND);
        let first = world.guards();
        assert_eq!(first.len(), wanted);
        let mut pause = Duration::ZERO;
        for guard in &first {
            world.relays[*guard].health = Health::Dead;
            pause = pause.max(longest_pause(&mut world, flow, apart));
        }
        pause = pause.max(longest_pause(&mut world, flow, 15 * SECOND));
        println!("{what}: a pause of {pause:?}");
        assert!(pause < pause_ms * MS, "{what}: {pause:?} {:?}", world.entry.events);
        assert_eq!(world.linked(), wanted, "{what}: {:?}", world.status());
        assert!(world.guards().is_disjoint(&first), "{what}");
        assert!(world.guards_seen() <= wanted + 2, "no guard but those of the set");
        assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
        if apart == Duration::ZERO {
            // Going back takes half a minute, and needs to be seen in one case of each mode.
            continue;
        }
        first.iter().for_each(|guard| world.restart(*guard));
        let returned = world.run_while(90 * SECOND, |world| world.guards() == first && world.linked() == wanted);
        assert!(returned, "{what}: {:?} {:?}", world.status(), world.entry.events);
        println!("{what}: used again after {:?}", world.elapsed());
        assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
        assert_eq!(world.count_events(|event| matches!(event, NodeEvent::TunnelUp)), 1, "the session is the same");
    }
}

/// The longest time without a byte of a flow.
fn longest_pause(world: &mut World, flow: usize, time: Duration) -> Duration {
    let (mut pause, mut newest, mut at) = (Duration::ZERO, world.received(flow), world.elapsed());
    world.run_while(time, |world| {
        if world.received(flow) > newest {
            (newest, at) = (world.received(flow), world.elapsed());
        }
        pause = pause.max(world.elapsed() - at);
        false
    });
    pause
}

/// The guard's link is up, but no hop ever comes.
#[test]
fn a_relay_that_accepts_and_never_answers_is_gone_around() {
    for hop in [0, 1] {
        let first = World::in_use(Setting::with_legs(1));
        let mute = first.relay_of(0, hop).expect("a path");
        let mut world = World::new(Setting::with_legs(1));
        world.mute(mute);
        let up = world.run_while(20 * SECOND, |world| world.status().session_up);
        assert!(up, "hop {hop}: {:?} {:?}", world.status(), world.entry.events);
        assert!(world.elapsed() > 5 * SECOND, "the same relays were drawn first");
        assert!((0..3).all(|place| world.relay_of(0, place) != Some(mute)));
    }
}

#[test]
fn a_network_that_is_too_small_is_refused_with_figures() {
    let mut world = World::new(Setting { relays: 3, exits: 1, ..Setting::with_legs(2) });
    world.run_for(5 * SECOND);
    let refusals: Vec<String> = world
        .entry
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            NodeEvent::NoPath(refusal) => Some(refusal.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(refusals.len(), 1, "said once: {refusals:?}");
    assert!(refusals[0].contains("middles are needed"), "{refusals:?}");
    assert_eq!(world.status().refusal.as_ref(), Some(&refusals[0]));
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 1)).expect("a queue pair");
    world.run_for(11 * SECOND);
    assert!(world.entry.unshaped.outcome(flow).reset.is_some(), "an application is told");
}

#[test]
fn with_shared_middles_three_relays_are_enough_for_two_legs() {
    use tunnel_plan::Relaxation;
    let mut world =
        World::in_use(Setting { relays: 2, exits: 1, relaxation: Relaxation::SharedMiddles, ..Setting::with_legs(2) });
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, MEGABYTE)).expect("a queue pair");
    assert!(world.run_while(20 * SECOND, |world| world.received(flow) == MEGABYTE), "{:?}", world.status());
}

/// A leg that loses much more than its sister is replaced, once and gently.
#[test]
fn a_leg_that_loses_much_is_replaced_through_its_guard() {
    // A slow network, so that the minute is soon computed.
    let path = Path::with_delay(5 * MS).with_rate(4_000_000, 64 * 1024);
    let mut world = World::in_use(Setting { relays: 5, path, ..Setting::with_legs(2) });
    let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 0)).expect("a queue pair");
    world.run_for(SECOND);
    let (guard, middle) = (world.relay_of(0, 0).expect("a path"), world.relay_of(0, 1).expect("a path"));
    world.set_loss(guard, middle, 0.15);
    let replaced = world.run_while(120 * SECOND, |world| world.relay_of(0, 1) != Some(middle) && world.linked() == 2);
    assert!(replaced, "{:?}", world.status());
    assert!(world.elapsed() > 60 * SECOND, "not before its time");
    assert_eq!(world.relay_of(0, 0), Some(guard));
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
}

/// A client that comes back enters through the guards that it had.
#[test]
fn guards_are_kept_over_a_restart() {
    let mut world = World::in_use(Setting::with_legs(2));
    let before = world.guards();
    for seed in 10..14 {
        world.restart_entry(seed);
        assert!(world.run_while(10 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
        assert_eq!(world.guards(), before);
    }
}

/// A tunnel that nothing uses stays: its circuits are not forgotten by relays, and costs a cell a minute on each leg.
#[test]
fn a_tunnel_without_flows_is_kept_for_hours() {
    let mut world = World::in_use(Setting::with_legs(2));
    world.network.recording_mut().clear();
    world.run_for(3600 * SECOND);
    assert_eq!((world.linked(), world.status().tunnels), (2, 1), "{:?}", world.entry.events);
    assert_eq!(world.count_events(|event| matches!(event, NodeEvent::LegDown(..))), 0);
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, MEGABYTE)).expect("a queue pair");
    assert!(world.run_while(20 * SECOND, |world| world.received(flow) == MEGABYTE));
}
