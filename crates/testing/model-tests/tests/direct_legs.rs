//! Legs of one hop: an entry without relays that has two lines to its exit, or an exit with two addresses, on virtual time.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Setting, World};
use shaped_node::NodeEvent;
use simnet::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Ends with lines of 10 Mbit/s each, and one exit.
fn lines(ends: usize, legs: u8) -> Setting {
    let path = Path::with_delay(10 * MS).with_rate(10_000_000, 64 * 1024);
    Setting { relays: 0, exits: 1, hops: 1, legs, ends, path, ..Setting::default() }
}

/// The ways of the legs that are in use.
fn ways(world: &World) -> BTreeSet<String> {
    let legs = world.status().legs;
    legs.into_iter().filter(|leg| leg.state == "linked").filter_map(|leg| leg.way).collect()
}

/// How long `bytes` take down, or up, over lines of the entry.
fn transfer_time(setting: Setting, is_up: bool, megabytes: u64) -> Duration {
    let mut world = World::in_use(setting);
    let begin = world.elapsed();
    let bytes = megabytes * MEGABYTE;
    let plan = if is_up { Plan::new(port::SINK, u64::MAX) } else { Plan::new(port::ENDLESS, 1) };
    let flow = world.entry.unshaped.open(plan).expect("a queue pair");
    let exit = 0;
    let done = world.run_while(60 * SECOND, |world| {
        if is_up { world.relays[exit].served() >= bytes } else { world.received(flow) >= bytes }
    });
    assert!(done, "{:?}", world.status());
    world.elapsed() - begin
}

#[test]
fn two_lines_carry_the_sum_of_both_in_both_directions() {
    for is_up in [false, true] {
        let one = transfer_time(lines(1, 1), is_up, 6);
        let two = transfer_time(lines(2, 2), is_up, 6);
        let gain = one.as_secs_f64() / two.as_secs_f64();
        println!("up: {is_up}: one line {one:?}, two lines {two:?}, gain {gain:.2}");
        assert!(gain > 1.7, "{one:?} {two:?}");
    }
}

#[test]
fn two_addresses_of_the_exit_make_two_legs_from_one_end() {
    let world = World::in_use(Setting { addresses: 2, ..lines(1, 2) });
    assert_eq!(ways(&world).len(), 2, "{:?}", world.status());
}

/// Each leg has an end of its own at both sides, as long as there are enough.
#[test]
fn legs_have_as_little_in_common_as_can_be() {
    let world = World::in_use(Setting { addresses: 2, ..lines(2, 2) });
    let status = world.status();
    let far: BTreeSet<&str> =
        status.legs.iter().filter_map(|leg| leg.way.as_deref()?.split_once(" -> ")).map(|(_, far)| far).collect();
    assert_eq!(far.len(), 2, "{status:?}");
    let records = world.network.recording().records();
    let near: BTreeSet<SocketAddr> =
        records.iter().map(|record| record.from).filter(|from| world.entry.addresses.contains(from)).collect();
    assert_eq!(near.len(), 2, "both ends are used");
}

/// A line is cut in the middle of a transfer, and comes back: nothing is lost, nothing stands still for a second, and the leg is
/// there again.
#[test]
fn a_line_that_is_cut_costs_no_flow_and_comes_back() {
    for end in [0, 1] {
        let mut world = World::in_use(lines(2, 2));
        let flow = world.entry.unshaped.open(Plan::new(port::ENDLESS, 1)).expect("a queue pair");
        world.run_for(2 * SECOND);
        world.set_end_outage(end, true);
        let (mut before, mut stood, mut longest) = (world.received(flow), Duration::ZERO, Duration::ZERO);
        for _ in 0..400 {
            world.run_for(20 * MS);
            let now = world.received(flow);
            stood = if now == before { stood + 20 * MS } else { Duration::ZERO };
            (before, longest) = (now, longest.max(stood));
        }
        println!("end {end}: longest pause {longest:?}");
        assert!(longest <= SECOND, "{longest:?}");
        assert_eq!(world.linked(), 1, "it is waited for: {:?}", world.status());
        world.set_end_outage(end, false);
        let back = world.run_while(10 * SECOND, |world| world.linked() == 2);
        assert!(back, "{:?} {:?}", world.status(), world.entry.events);
        assert_eq!(ways(&world).len(), 2);
        assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
        let ups = world.entry.events.iter().filter(|(_, event)| matches!(event, NodeEvent::TunnelUp)).count();
        assert_eq!(ups, 1, "the session is the same");
    }
}

/// All that was sent comes, once and in order, although a line is cut and mended again and again.
#[test]
fn nothing_is_lost_while_lines_come_and_go() {
    let mut world = World::in_use(lines(2, 2));
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 6 * MEGABYTE)).expect("a queue pair");
    for turn in 0..4 {
        world.run_for(700 * MS);
        world.set_end_outage(turn % 2, true);
        world.run_for(900 * MS);
        world.set_end_outage(turn % 2, false);
    }
    let done = world.run_while(60 * SECOND, |world| world.received(flow) == 6 * MEGABYTE);
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
}

/// An exit in two networks, an entry with an end in each: only one end reaches each address, and nobody says which.
#[test]
fn ways_that_lead_nowhere_are_left_until_there_are_two_that_lead_somewhere() {
    let mut world = World::new(Setting { addresses: 2, ..lines(2, 2) });
    world.blackhole(0, 0);
    world.blackhole(1, 1);
    let up = world.run_while(40 * SECOND, |world| world.linked() == 2);
    assert!(up, "{:?} {:?}", world.status(), world.entry.events);
    println!("both legs after {:?}", world.elapsed());
}

/// A leg does not settle for the other leg's line while its own is away for minutes.
#[test]
fn a_leg_waits_for_its_own_line() {
    let mut world = World::in_use(Setting { addresses: 2, ..lines(2, 2) });
    let before = ways(&world);
    world.set_end_outage(1, true);
    world.run_for(150 * SECOND);
    assert_eq!(world.linked(), 1, "{:?}", world.status());
    world.set_end_outage(1, false);
    assert!(world.run_while(20 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
    assert_eq!(ways(&world), before);
}

#[test]
fn too_few_ways_are_refused_with_figures() {
    let mut world = World::new(lines(1, 2));
    world.run_for(5 * SECOND);
    let refusal = world.status().refusal.expect("there is one way");
    assert!(refusal.starts_with("each leg of one hop takes another way"), "{refusal}");
    assert!(refusal.contains("2 ways to one exit are needed") && refusal.contains("more than 1"), "{refusal}");
}

/// When packets left the entry, by the end that they left from.
fn by_line(world: &World) -> BTreeMap<SocketAddr, Vec<(Duration, usize)>> {
    let records = world.network.recording().records().iter();
    let mut lines: BTreeMap<SocketAddr, Vec<(Duration, usize)>> = BTreeMap::new();
    for record in records.filter(|record| world.entry.addresses.contains(&record.from)) {
        lines.entry(record.from).or_default().push((record.at, record.length));
    }
    lines
}

/// Both directions of both lines, as their observer sees them, are the same packet by packet whatever flows do and although a line
/// is cut for a while.
#[test]
fn with_slots_lines_are_the_same_idle_and_loaded() {
    let play = |load: u32, cut: bool| {
        let mut world = World::new(Setting { relays: 0, exits: 1, hops: 1, ends: 2, ..Setting::constant() });
        world.run_for(2 * SECOND);
        assert!(world.status().session_up && world.linked() == 2, "{:?}", world.status());
        for _ in 0..load {
            world.entry.unshaped.open(Plan::new(port::ENDLESS, 1)).expect("a queue pair");
            world.entry.unshaped.open(Plan::new(port::SINK, u64::MAX)).expect("a queue pair");
        }
        world.run_for(2 * SECOND);
        world.set_end_outage(1, cut);
        world.run_for(6 * SECOND);
        world.set_end_outage(1, false);
        world.run_for(4 * SECOND);
        let exit = world.relays[0].address;
        (by_line(&world), world.sent_by(exit), world.linked())
    };
    for cut in [false, true] {
        let (idle, idle_back, legs) = play(0, cut);
        assert_eq!((idle.len(), legs), (2, 2), "cut: {cut}");
        let counts: Vec<usize> = idle.values().map(Vec::len).collect();
        assert!(counts[0].abs_diff(counts[1]) * 50 < counts[0], "each line has its share: {counts:?}");
        let (loaded, loaded_back, legs) = play(3, cut);
        assert_eq!(legs, 2);
        assert!(idle == loaded, "cut: {cut}: what leaves the entry tells of its load");
        assert!(idle_back == loaded_back, "cut: {cut}: what leaves the exit tells of its load");
    }
}
