//! An exit over circuits that sends in slots: what its links show, and what flows get. Real links, circuits, relays, tunnels
//! and sessions on virtual time.

use conflux::{LegEnd, Refusal};
use model_tests::apps::{MEGABYTE, port};
use model_tests::exit_world::{EXIT, QUEUES, World};
use model_tests::leaks::Leak;
use onion::Features;
use shaped_node::{ExitSchedule, Mode, PacingConfig};
use shaping::{CellRate, RateClass, SlotLength};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const ONE: [usize; 3] = [0, 2, EXIT];
const OTHER: [usize; 3] = [1, 3, EXIT];
const SOON: Duration = Duration::from_secs(20);
const CONSTANT: u8 = Mode::Constant as u8;
/// Session bytes of a cell.
const CELL: usize = 1_222;

fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).expect("a class")
}

fn slot() -> SlotLength {
    SlotLength::from_millis(5).expect("5 ms")
}

fn world(seed: u64, fastest: RateClass) -> World {
    println!("seed {seed}");
    let schedule = ExitSchedule { mode: Mode::Constant, pacing: PacingConfig::Constant, slot: slot(), fastest };
    World::with_schedule(seed, 8, Some(schedule))
}

/// A client with two legs at this class.
fn connected(world: &mut World, class: RateClass) -> usize {
    world.connected_asking(&[ONE, OTHER], Some((CONSTANT, class.number())))
}

fn seconds_of_a_megabyte(world: &mut World, client: usize) -> f64 {
    let from = world.now.instant;
    let flow = world.clients[client].start(port::MEGABYTE, 1);
    let done = world.run_until(SOON, |world| world.clients[client].flow(flow).is_finished);
    assert!(done, "{:?} {:?}", world.clients[client].flow(flow), world.exit.status());
    assert_eq!(world.clients[client].flow(flow).received, MEGABYTE);
    (world.now.instant - from).as_secs_f64()
}

#[test]
fn a_download_has_the_rate_of_the_class_and_an_upload_comes_through() {
    let mut world = world(1, class(50_000_000));
    let class = class(10_000_000);
    let client = connected(&mut world, class);
    let ideal = (8 * MEGABYTE) as f64 / class.bits_per_second() as f64;
    let took = seconds_of_a_megabyte(&mut world, client);
    assert!(took > ideal && took < 1.15 * ideal + 0.1, "{took} s, {ideal} s at the class");
    let echo = world.clients[client].start(port::ECHO, MEGABYTE);
    assert!(world.run_until(SOON, |world| world.clients[client].flow(echo).is_finished));
    assert_eq!(world.clients[client].flow(echo).received, MEGABYTE);
    let status = world.exit.status();
    assert_eq!((status.tunnels, status.sessions, status.legs), (1, 1, 2));
    assert_eq!(status.counters["empty_cells_while_flows_wait"], 0);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.servers.free_count(), usize::from(QUEUES), "every queue pair came back");
}

#[test]
fn several_tunnels_have_their_own_schedules() {
    let mut world = world(2, class(10_000_000));
    let classes = [class(2_000_000), class(10_000_000), class(50_000_000)];
    let clients = classes.map(|class| connected(&mut world, class));
    let flows = clients.map(|client| world.clients[client].start(port::ENDLESS, 1));
    world.run_for(Duration::from_secs(4));
    for (place, wanted) in [(0, classes[0]), (1, classes[1]), (2, classes[1])] {
        let bits = 8 * world.clients[clients[place]].flow(flows[place]).received / 4;
        let wanted = wanted.bits_per_second();
        assert!(bits > wanted * 85 / 100 && bits < wanted, "{bits} of {wanted} bit/s for the client {place}");
    }
}

/// What a client does beside being connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Idle,
    Downloads,
    Upload,
    Echo,
    Refused,
    ManyFlows,
}

/// When, where to and how long everything is that leaves the exit in six seconds, the first of which are before the load.
fn wire(load: Load, late_every: u64, leak: Option<Leak>) -> Vec<(Duration, SocketAddr, usize)> {
    let mut world = world(3, class(10_000_000));
    world.sent_by_exit = Some(Vec::new());
    let client = connected(&mut world, class(5_000_000));
    if let Some(slots) = &mut world.slots {
        (slots.late_every, slots.leak) = (late_every, leak);
    }
    let began = world.now.instant;
    for second in 0..5 {
        let mut start = |port, bytes| {
            world.clients[client].start(port, bytes);
        };
        match load {
            Load::Idle => {}
            Load::Downloads => start(port::MEGABYTE, 1),
            Load::Upload => start(port::SINK, 300_000),
            Load::Echo => start(port::ECHO, 200_000),
            Load::Refused => start(port::REFUSED, 1),
            Load::ManyFlows if second % 2 == 0 => (0..QUEUES).for_each(|_| start(port::ECHO, 2_000)),
            Load::ManyFlows => start(port::ENDLESS, 1),
        }
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(world.now.instant - began, Duration::from_secs(5));
    assert_eq!(world.exit.status().legs, 2);
    world.sent_by_exit.take().expect("it was wanted")
}

fn first_difference<T: PartialEq + std::fmt::Debug>(one: &[T], other: &[T]) -> Option<String> {
    let place = one.iter().zip(other).position(|(one, other)| one != other);
    let place = place.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))?;
    Some(format!("{place}: {:?} and {:?}", one.get(place), other.get(place)))
}

/// I2 exactly: with the same seeds, everything that leaves the exit leaves at the same times for the same neighbours, whatever
/// flows do.
#[test]
fn the_exits_links_show_nothing_of_what_flows_do() {
    for late_every in [0, 7] {
        let idle = wire(Load::Idle, late_every, None);
        assert!(idle.len() > 2_000, "{}", idle.len());
        for load in [Load::Downloads, Load::Upload, Load::Echo, Load::Refused, Load::ManyFlows] {
            let seen = wire(load, late_every, None);
            assert_eq!(first_difference(&idle, &seen), None, "{load:?}, one slot of {late_every} late");
        }
    }
}

#[test]
fn planted_leaks_are_caught() {
    let idle = wire(Load::Idle, 0, None);
    for leak in [Leak::SpareNeverReady, Leak::LaterWithData, Leak::LongerWithData] {
        let seen = wire(Load::Downloads, 0, Some(leak));
        assert!(first_difference(&idle, &seen).is_some(), "{leak:?} was not caught");
    }
}

/// Cells of circuits that left for each neighbour from a time on: all but a few packets of the links themselves.
fn by_neighbour(world: &World, from: Duration) -> BTreeMap<SocketAddr, u64> {
    let mut counts = BTreeMap::new();
    for (at, to, _) in world.sent_by_exit.iter().flatten() {
        if *at >= from {
            *counts.entry(*to).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_leg_that_is_lost_loses_nothing_and_the_other_one_gets_no_more_slots() {
    let mut world = world(4, class(10_000_000));
    world.sent_by_exit = Some(Vec::new());
    let client = connected(&mut world, class(4_000_000));
    let flow = world.clients[client].start(port::MEGABYTE, 1);
    assert!(world.run_until(SOON, |world| world.clients[client].flow(flow).received > MEGABYTE / 4));
    let now = world.now;
    world.clients[client].destroy(now, 1);
    assert!(world.run_until(SOON, |world| world.exit.status().legs == 1));
    world.sent_by_exit = Some(Vec::new());
    world.run_for(Duration::from_secs(1));
    let counts = by_neighbour(&world, Duration::ZERO);
    let half = CellRate::new(class(4_000_000), slot(), CELL).cells_per_second() / 2;
    let most = counts.values().max().copied().expect("the other leg sends");
    assert!((half - 2..half + 8).contains(&most), "{counts:?}, {half} cells a second are a share");
    assert!(counts.values().min().copied() <= Some(8) || counts.len() == 1, "{counts:?}");
    assert!(world.run_until(SOON, |world| world.clients[client].flow(flow).is_finished));
    // A new leg takes the share.
    let document = world.document.clone();
    let now = world.now;
    world.clients[client].open(now, &document, &ONE, true);
    assert!(world.run_until(SOON, |world| world.exit.status().legs == 2));
    world.sent_by_exit = Some(Vec::new());
    world.run_for(Duration::from_secs(1));
    let counts = by_neighbour(&world, Duration::ZERO);
    assert!(counts.values().all(|count| (half - 2..half + 8).contains(count)) && counts.len() == 2, "{counts:?}");
    seconds_of_a_megabyte(&mut world, client);
}

#[test]
fn loss_and_late_slots_lose_nothing() {
    let mut world = world(5, class(10_000_000));
    if let Some(slots) = &mut world.slots {
        slots.late_every = 5;
    }
    let client = connected(&mut world, class(10_000_000));
    world.lost_per_mille = 20;
    seconds_of_a_megabyte(&mut world, client);
    let echo = world.clients[client].start(port::ECHO, MEGABYTE / 2);
    assert!(world.run_until(SOON, |world| world.clients[client].flow(echo).is_finished));
}

#[test]
fn a_link_that_loses_too_much_carries_less_of_its_shares() {
    let mut world = world(6, class(10_000_000));
    world.sent_by_exit = Some(Vec::new());
    connected(&mut world, class(2_000_000));
    world.lost_per_mille = 270;
    world.run_for(Duration::from_secs(40));
    let rate = |world: &World, from: u64| {
        let counts = by_neighbour(world, Duration::from_secs(from));
        counts.values().sum::<u64>() as f64
    };
    let all = CellRate::new(class(2_000_000), slot(), CELL).cells_per_second();
    let last = rate(&world, 35) / 6.0;
    assert!(last < 0.9 * all as f64, "{last} of {all} cells a second in the end");
    assert!(last > 0.3 * all as f64, "{last} of {all} cells a second in the end");
}

#[test]
fn what_an_exit_does_not_have_is_refused_by_name() {
    let refused = |world: &mut World, asks: Option<(u8, u8, u8)>| {
        let client = world.add_client(Features::LINKING);
        world.clients[client].asks = asks;
        let (now, document) = (world.now, world.document.clone());
        world.clients[client].open(now, &document, &ONE, true);
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.circuits_at_exit(), 0, "the refused circuit is gone");
        assert_eq!(world.exit.status().tunnels, 0);
        world.clients[client].ended.clone()
    };
    let not_offered = [LegEnd::Refused(Refusal::NotOffered)];
    let mut shaped = world(7, class(10_000_000));
    assert_eq!(refused(&mut shaped, None), not_offered, "mode `off` at an exit with slots");
    assert_eq!(refused(&mut shaped, Some((Mode::Dp as u8, 9, 1))), not_offered, "another mode");
    assert_eq!(refused(&mut shaped, Some((CONSTANT, 53, 1))), not_offered, "no class");
    let mut off = World::new(8, 8);
    assert_eq!(refused(&mut off, Some((CONSTANT, 9, 1))), not_offered, "slots at an exit without");
}

#[test]
fn a_closing_exit_tells_its_clients_in_slots_and_takes_no_more() {
    let mut world = world(9, class(10_000_000));
    let client = connected(&mut world, class(2_000_000));
    let now = world.now;
    world.exit.close(now);
    assert!(world.run_until(SOON, |world| world.clients[client].lost.is_some()));
    world.run_for(Duration::from_secs(2));
    assert!(world.exit.is_empty() && world.circuits_at_exit() == 0, "{:?}", world.exit.status());
    assert_eq!(world.exit.next_busy_slot(0), None, "no tunnel, no slots");
}
