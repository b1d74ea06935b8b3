//! Shaped modes over circuits, with real relays on virtual time: what leaves on each link of the entry is the same packet by packet,
//! whatever applications do and whatever becomes of relays; and the rate that was asked for is there to be used.

use adversary::{Direction, Sighting, first_difference, one_size};
use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Health, Setting, World};
use model_tests::leaks::Leak;
use shaped_node::{NodeEvent, PoolConfig};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// When applications begin.
const BEGIN: Duration = Duration::from_secs(2);
/// How long each scenario runs.
const RUN: Duration = Duration::from_secs(10);

/// What applications do while the observer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Idle,
    Up,
    Down,
    ManyFlows,
    OpenAndClose,
    SlowReader,
    /// A document is fetched over two directory streams.
    Directory,
}

const LOADS: [Load; 6] = [Load::Up, Load::Down, Load::ManyFlows, Load::OpenAndClose, Load::SlowReader, Load::Directory];

/// What becomes of the first leg's relays at 4 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    GuardKilled,
    GuardsKilled,
    MiddleKilled,
    LossBehindGuard,
    DocumentRenewed,
    MiddleExpelled,
    GuardExpelled,
    ExitExpelled,
}

/// What the observer of each of a node's links records.
fn lines(world: &World, from: SocketAddr) -> BTreeMap<SocketAddr, Vec<Sighting>> {
    let mut lines: BTreeMap<SocketAddr, Vec<Sighting>> = BTreeMap::new();
    for (at, to, length) in world.sent_by(from) {
        lines.entry(to).or_default().push(Sighting { at, direction: Direction::Outward, length });
    }
    lines
}

/// Plays a scenario; the world as it is in the end.
fn play(setting: Setting, load: Load, trouble: Trouble) -> World {
    play_for(RUN, setting, load, trouble)
}

fn play_for(run: Duration, setting: Setting, load: Load, trouble: Trouble) -> World {
    let mut world = World::new(setting);
    world.run_for(BEGIN);
    assert!(world.status().session_up, "{:?} {:?}", world.status(), world.entry.events);
    begin(&mut world, load);
    let mut at = BEGIN;
    let trouble_at = Duration::from_secs(4);
    while at < run {
        let next = at + 37 * MS;
        if at < trouble_at && trouble_at <= next {
            afflict(&mut world, trouble);
        }
        if load == Load::OpenAndClose {
            world.entry.unshaped.open(Plan::new(port::ECHO, 3_000));
        }
        world.run_for(next.min(run) - at);
        at = next;
    }
    world
}

fn begin(world: &mut World, load: Load) {
    let unshaped = &mut world.entry.unshaped;
    match load {
        Load::Idle | Load::OpenAndClose => {}
        Load::Up => assert!(unshaped.open(Plan::new(port::SINK, u64::MAX)).is_some()),
        Load::Down => assert!(unshaped.open(Plan::new(port::ENDLESS, 1)).is_some()),
        Load::ManyFlows => {
            for client in 0..32 {
                let port = if client % 2 == 0 { port::ENDLESS } else { port::ECHO };
                assert!(unshaped.open(Plan { client, ..Plan::new(port, 100_000) }).is_some());
            }
        }
        Load::Directory => {
            assert!(unshaped.open_directory(Plan::new(0, 200_000)).is_some());
            assert!(unshaped.open_directory(Plan::new(0, 100)).is_some());
        }
        Load::SlowReader => {
            assert!(unshaped.open(Plan { read_per_step: 0, ..Plan::new(port::ENDLESS, 1) }).is_some());
            assert!(unshaped.open(Plan { read_per_step: 3, ..Plan::new(port::ENDLESS, 1) }).is_some());
        }
    }
}

fn afflict(world: &mut World, trouble: Trouble) {
    let relay = |world: &World, hop| world.relay_of(0, hop).expect("a leg has a path");
    match trouble {
        Trouble::None => {}
        Trouble::GuardKilled => {
            let guard = relay(world, 0);
            world.relays[guard].health = Health::Dead;
        }
        Trouble::GuardsKilled => world.guards().iter().for_each(|guard| world.relays[*guard].health = Health::Dead),
        Trouble::MiddleKilled => {
            let middle = relay(world, 1);
            world.relays[middle].health = Health::Dead;
        }
        Trouble::LossBehindGuard => {
            let (guard, middle) = (relay(world, 0), relay(world, 1));
            world.set_loss(guard, middle, 0.1);
        }
        Trouble::DocumentRenewed => world.exchange(&[]),
        Trouble::MiddleExpelled => {
            let middle = relay(world, 1);
            world.exchange(&[middle]);
        }
        Trouble::GuardExpelled => {
            let guard = relay(world, 0);
            world.exchange(&[guard]);
        }
        Trouble::ExitExpelled => {
            // The relays behind the entry let the exit be, so that its tunnel could go on for as long as it liked.
            let exit = relay(world, 2);
            world.tell_entry_first(&[exit]);
        }
    }
}

/// The same on every line, or where it differs.
fn compare(what: &str, idle: &BTreeMap<SocketAddr, Vec<Sighting>>, busy: &BTreeMap<SocketAddr, Vec<Sighting>>) {
    assert_eq!(idle.keys().collect::<Vec<_>>(), busy.keys().collect::<Vec<_>>(), "{what}: the same neighbours");
    for (to, line) in idle {
        if let Some(difference) = first_difference(line, &busy[to]) {
            panic!("{what}, line to {to}: {difference}");
        }
    }
}

#[test]
fn each_guards_link_looks_the_same_whatever_applications_do() {
    let idle = play(Setting::constant(), Load::Idle, Trouble::None);
    let expected = lines(&idle, idle.entry.address);
    assert_eq!(expected.len(), 2, "two guards");
    assert!(expected.values().all(|line| line.len() > 900), "each carries its half of 205 cells a second");
    for load in LOADS {
        let busy = play(Setting::constant(), load, Trouble::None);
        let moved = busy.entry.count("data_cells_sent") - idle.entry.count("data_cells_sent");
        assert!(moved > 10, "{load:?} moved data: {moved} cells");
        assert_eq!(busy.entry.count("empty_while_waiting"), 0, "{load:?}");
        compare(&format!("{load:?}"), &expected, &lines(&busy, busy.entry.address));
    }
}

/// The streams of the directory come through inside the same schedule.
#[test]
fn directory_streams_share_the_slots_of_everything_else() {
    let mut world = play(Setting::constant(), Load::Directory, Trouble::None);
    assert_eq!(world.received(1), 100);
    assert!(world.run_while(10 * SECOND, |world| world.received(0) == 200_000), "{}", world.received(0));
}

/// What an exit sends to its tunnels, and what a guard sends to the entry: the same as well.
#[test]
fn so_does_every_other_line_of_the_network() {
    let idle = play(Setting::constant(), Load::Idle, Trouble::None);
    for load in LOADS {
        let busy = play(Setting::constant(), load, Trouble::None);
        for (one, other) in idle.relays.iter().zip(&busy.relays) {
            compare(&format!("{load:?}, a relay"), &lines(&idle, one.address), &lines(&busy, other.address));
        }
        let data = |world: &World| world.relays.iter().map(|relay| relay.count("data_cells_sent")).sum::<u64>();
        assert!(data(&busy) > data(&idle), "{load:?}");
    }
}

#[test]
fn every_packet_has_one_size_and_leaves_at_a_slot() {
    let world = play(Setting::constant(), Load::ManyFlows, Trouble::None);
    for line in lines(&world, world.entry.address).values() {
        assert_eq!(one_size(line, 1350), Ok(()));
        assert!(line.iter().all(|sighting| sighting.at.as_nanos() % 5_000_000 == 0));
    }
}

/// Guards that die, circuits that are built again, legs that come and go: all of it happens at the same times, in the same slots.
#[test]
fn what_relays_do_shows_the_same_whatever_applications_do() {
    for trouble in [Trouble::GuardKilled, Trouble::GuardsKilled, Trouble::MiddleKilled, Trouble::LossBehindGuard] {
        let idle = play(Setting::constant(), Load::Idle, trouble);
        let expected = lines(&idle, idle.entry.address);
        let ended = idle.entry.events.iter().filter(|(_, event)| matches!(event, NodeEvent::LegDown(..))).count();
        assert_eq!(ended > 0, trouble != Trouble::LossBehindGuard, "{trouble:?}: {:?}", idle.entry.events);
        for load in [Load::Up, Load::Down, Load::OpenAndClose] {
            let busy = play(Setting::constant(), load, trouble);
            compare(&format!("{load:?}, {trouble:?}"), &expected, &lines(&busy, busy.entry.address));
        }
    }
}

/// Documents come at public times, and what they do away with goes at the same times with and without flows.
#[test]
fn what_a_document_changes_shows_the_same_whatever_applications_do() {
    for trouble in [Trouble::DocumentRenewed, Trouble::MiddleExpelled, Trouble::GuardExpelled] {
        let idle = play(Setting::constant(), Load::Idle, trouble);
        let expected = lines(&idle, idle.entry.address);
        let built = idle.entry.events.iter().filter(|(_, event)| matches!(event, NodeEvent::LegUp(_))).count();
        let again = usize::from(trouble != Trouble::DocumentRenewed);
        assert_eq!(built, 2 + again, "{trouble:?}: {:?}", idle.entry.events);
        assert_eq!((idle.linked(), idle.status().tunnels), (2, 1), "{trouble:?}: {:?}", idle.status());
        for load in [Load::Up, Load::Down, Load::ManyFlows, Load::OpenAndClose] {
            let busy = play(Setting::constant(), load, trouble);
            compare(&format!("{load:?}, {trouble:?}"), &expected, &lines(&busy, busy.entry.address));
        }
    }
}

/// A tunnel whose exit is gone has a fixed time: how long its flows would take nobody learns.
#[test]
fn a_tunnel_whose_exit_is_gone_ends_at_the_same_time_whatever_flows_it_has() {
    let run = Duration::from_secs(70);
    let idle = play_for(run, Setting::constant(), Load::Idle, Trouble::ExitExpelled);
    let expected = lines(&idle, idle.entry.address);
    let relays = |world: &World| world.relays.iter().map(|relay| lines(world, relay.address)).collect::<Vec<_>>();
    for load in [Load::Down, Load::OpenAndClose] {
        let busy = play_for(run, Setting::constant(), load, Trouble::ExitExpelled);
        compare(&format!("{load:?}"), &expected, &lines(&busy, busy.entry.address));
        for (one, other) in relays(&idle).iter().zip(&relays(&busy)) {
            compare(&format!("{load:?}, a relay"), one, other);
        }
        for world in [&idle, &busy] {
            let tunnels = world.tunnels();
            assert_eq!((tunnels.len(), tunnels[0].number, tunnels[0].session_up), (1, 1, true), "{tunnels:?}");
        }
    }
}

#[test]
fn documents_in_a_transfer_lose_nothing() {
    let mut world = World::new(Setting::constant());
    assert!(world.run_while(5 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 2 * MEGABYTE)).expect("a queue pair");
    for hop in [1, 0] {
        world.run_for(3 * SECOND);
        let relay = world.relay_of(0, hop).expect("a path");
        world.exchange(&[relay]);
    }
    let done = world.run_while(60 * SECOND, |world| world.received(flow) == 2 * MEGABYTE);
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
    assert_eq!((world.linked(), world.entry.unshaped.outcome(flow).reset), (2, None));
}

#[test]
fn a_planted_leak_is_caught() {
    let idle = play(Setting::constant(), Load::Idle, Trouble::None);
    let expected = lines(&idle, idle.entry.address);
    let leaky = Setting { leak: Some(Leak::LaterWithData), ..Setting::constant() };
    let busy = play(leaky, Load::Up, Trouble::None);
    let seen = lines(&busy, busy.entry.address);
    assert!(expected.iter().any(|(to, line)| first_difference(line, &seen[to]).is_some()));
}

/// A cell of 1350 bytes carries at most 1,198 of a flow; the session's own frames take some of them.
#[test]
fn the_rate_that_was_asked_for_is_there_in_both_directions() {
    for legs in [1, 2, 3] {
        let mut world = World::new(Setting { legs, ..Setting::constant() });
        assert!(world.run_while(5 * SECOND, |world| world.linked() == usize::from(legs)), "{:?}", world.status());
        let both = world.entry.unshaped.open(Plan::new(port::ECHO, u64::MAX)).expect("a queue pair");
        world.run_for(3 * SECOND);
        let before = world.received(both);
        world.run_for(10 * SECOND);
        let rate = (world.received(both) - before) as f64 * 0.8;
        let most = Setting::constant().class.bits_per_second() as f64 / 1_222.0 * 1_198.0;
        println!("{legs} legs: {:.2} of {:.2} Mbit/s there and back", rate / 1e6, most / 1e6);
        assert!(rate > 0.93 * most && rate <= most, "{rate} {most}");
    }
}

#[test]
fn a_guard_that_is_killed_in_a_transfer_loses_nothing() {
    let mut world = World::new(Setting::constant());
    assert!(world.run_while(5 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
    let flow = world.entry.unshaped.open(Plan::new(port::ECHO, 2 * MEGABYTE)).expect("a queue pair");
    world.run_for(3 * SECOND);
    let guard = world.relay_of(0, 0).expect("a path");
    world.relays[guard].health = Health::Dead;
    let (mut pause, mut newest, mut at) = (Duration::ZERO, world.received(flow), world.elapsed());
    let done = world.run_while(60 * SECOND, |world| {
        if world.received(flow) > newest {
            (newest, at) = (world.received(flow), world.elapsed());
        }
        pause = pause.max(world.elapsed() - at);
        newest == 2 * MEGABYTE
    });
    println!("a guard killed in a transfer: a pause of {pause:?}, all of it after {:?}", world.elapsed());
    assert!(done, "{:?} {:?}", world.status(), world.entry.events);
    assert!(pause < 2 * SECOND, "{pause:?}");
    assert!(world.run_while(15 * SECOND, |world| world.linked() == 2), "{:?}", world.status());
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
}

/// A tunnel whose time is over would be retired, and its circuits would go when its flows go.
#[test]
fn the_tunnel_stays_whatever_time_it_was_given() {
    let pool = PoolConfig { tunnels: 3, life: 5 * SECOND, ..PoolConfig::default() };
    let mut world = World::new(Setting { pool, ..Setting::constant() });
    world.run_for(40 * SECOND);
    assert_eq!((world.status().tunnels, world.linked()), (1, 2), "{:?}", world.entry.events);
    let made = world.entry.node.status().circuits.expect("over circuits").made;
    assert_eq!(made, 1, "and there is no other");
}
