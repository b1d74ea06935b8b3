//! Tunnels of several legs with a real session on top: what they add up to, and what they survive. Everything but the
//! network, the clock and the application is the real core. `--nocapture` prints the figures of docs/measurements/conflux.md.

use conflux::{COPIED_CELLS, LegControl, REORDER_BYTES_MAX, START_CLASS, Scheduler, TunnelEvent};
use model_tests::legs::{End, Setting, Towards, Trouble, World};
use rand::RngExt;
use simnet::{Loss, Path, Seed};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// One direction of a leg: Mbit/s of IP bytes, half the round trip, and how long its queue is.
fn line(megabits: f64, rtt_ms: u32, queue_ms: u32) -> Path {
    let rate = (megabits * 1e6) as u64;
    Path::with_delay(rtt_ms * MS / 2).with_rate(rate, (rate as f64 / 8.0 * f64::from(queue_ms) / 1e3) as usize)
}

/// A world whose legs have these lines in both directions, and a session that is up.
fn world(seed: u64, setting: Setting, lines: &[Path]) -> World {
    let mut world = World::new(Seed::new(seed).or_environment(), setting);
    for (number, path) in lines.iter().enumerate() {
        world.add_leg(number as u8 + 1, path.clone(), path.clone()).expect("it fits");
    }
    let up = world.run_until(20 * SECOND, |world| world.client.is_connected() && world.exit.is_connected());
    assert!(up, "the session is up");
    let linked = lines.len();
    world.run_until(20 * SECOND, |world| {
        [&world.client, &world.exit]
            .iter()
            .all(|end| end.tunnel.as_ref().is_some_and(|tunnel| tunnel.linked() == linked))
    });
    // The handshake's burst is over.
    world.run_for(2 * SECOND);
    world
}

fn sender(world: &mut World, towards: Towards) -> &mut End {
    if towards == Towards::Client { &mut world.exit } else { &mut world.client }
}

fn receiver(world: &World, towards: Towards) -> &End {
    if towards == Towards::Client { &world.client } else { &world.exit }
}

/// Mbit/s that an application reads, from 3 s after the start of a transfer on, for 7 s: the worst of three runs.
fn goodput(setting: Setting, lines: &[Path], towards: Towards) -> f64 {
    let runs = [5, 6, 7].map(|seed| goodput_once(seed, setting, lines, towards));
    runs.into_iter().fold(f64::INFINITY, f64::min)
}

fn goodput_once(seed: u64, setting: Setting, lines: &[Path], towards: Towards) -> f64 {
    let mut world = world(seed, setting, lines);
    sender(&mut world, towards).to_write = 1 << 40;
    world.run_for(3 * SECOND);
    let before = receiver(&world, towards).read;
    world.run_for(7 * SECOND);
    (receiver(&world, towards).read - before) as f64 * 8.0 / 7e6
}

fn with(control: LegControl) -> Setting {
    Setting { control, ..Setting::default() }
}

fn equal() -> [Path; 2] {
    [line(20.0, 60, 50), line(20.0, 60, 50)]
}

fn unequal() -> [Path; 2] {
    [line(20.0, 140, 100), line(10.0, 260, 100)]
}

#[test]
fn two_equal_legs_add_up_in_both_directions() {
    for towards in [Towards::Client, Towards::Exit] {
        let rate = goodput(Setting::default(), &equal(), towards);
        println!("2 x 20 Mbit/s, 60 ms, {towards:?}: {rate:.1} Mbit/s");
        assert!(rate >= 32.0, "{rate} towards the {towards:?}");
    }
}

#[test]
fn two_unequal_legs_add_up_in_both_directions() {
    for towards in [Towards::Client, Towards::Exit] {
        let rate = goodput(Setting::default(), &unequal(), towards);
        println!("20 Mbit/s at 140 ms and 10 Mbit/s at 260 ms, {towards:?}: {rate:.1} Mbit/s");
        assert!(rate >= 23.0, "{rate} towards the {towards:?}");
    }
}

/// What each controller reaches where they differ: the figures by which one was chosen.
#[test]
fn the_chosen_controller_is_the_better_one() {
    let lossy = |path: Path, loss: f64| path.with_loss(Loss::Independent(loss));
    let cases: [(&str, Vec<Path>); 6] = [
        ("2 x 20 Mbit/s, 60 ms", equal().to_vec()),
        ("20 at 140 ms + 10 at 260 ms", unequal().to_vec()),
        ("the same, queues of 20 ms", vec![line(20.0, 140, 20), line(10.0, 260, 20)]),
        ("the same, queues of 500 ms", vec![line(20.0, 140, 500), line(10.0, 260, 500)]),
        ("2 x 20, 60 ms, 1 % loss", equal().map(|path| lossy(path, 0.01)).to_vec()),
        ("2 x 20, 60 ms, 5 % loss", equal().map(|path| lossy(path, 0.05)).to_vec()),
    ];
    let mut sums = [0.0; 2];
    for (name, lines) in cases {
        let laws = [LegControl::Rate, LegControl::Delay];
        let rates = laws.map(|law| goodput_once(5, with(law), &lines, Towards::Client));
        println!("{name:30} by rate {:5.1}, by delay {:5.1} Mbit/s", rates[0], rates[1]);
        sums = [sums[0] + rates[0], sums[1] + rates[1]];
    }
    assert!(sums[0] > sums[1], "{sums:?}");
    assert_eq!(LegControl::default(), LegControl::Rate);
}

#[test]
fn one_leg_is_as_fast_as_its_line_and_both_schedulers_use_two() {
    let one = goodput(Setting::default(), &equal()[..1], Towards::Client);
    println!("1 x 20 Mbit/s, 60 ms: {one:.1} Mbit/s");
    assert!(one >= 16.0, "{one}");
    let by_room = Setting { scheduler: Scheduler::WeightedRandom, ..Setting::default() };
    for (name, lines, least) in [("2 x 20 Mbit/s", equal(), 32.0), ("20 at 140 ms + 10 at 260 ms", unequal(), 20.0)] {
        let rate = goodput(by_room, &lines, Towards::Client);
        println!("{name}, weighted random: {rate:.1} Mbit/s");
        assert!(rate >= least, "{name}: {rate}");
    }
}

/// What drawing the first leg costs: nothing, since the first cells of a burst go on all legs. Mean time from a question to the first byte
/// of an answer of 1 kB.
#[test]
fn a_drawn_first_leg_costs_the_first_byte_nothing() {
    let first_byte = |class: Duration, lines: &[Path]| {
        let mut sum = Duration::ZERO;
        for seed in 0..60 {
            let mut world = world(seed, Setting { start_class: class, ..Setting::default() }, lines);
            let asked = world.now;
            world.client.to_write = 300;
            assert!(world.run_until(5 * SECOND, |world| world.exit.read > 0), "seed {seed}");
            world.exit.to_write = 1_000;
            assert!(world.run_until(5 * SECOND, |world| world.client.read > 0), "seed {seed}");
            sum += world.now - asked;
        }
        sum / 60
    };
    let fast = first_byte(START_CLASS, &unequal()[..1]);
    let (zero, drawn) = (first_byte(Duration::ZERO, &unequal()), first_byte(START_CLASS, &unequal()));
    println!("first byte: fast leg alone {fast:.1?}, class 0 {zero:.1?}, class {START_CLASS:?} {drawn:.1?}");
    assert!(zero <= fast.mul_f64(1.1), "{zero:?} beside {fast:?}");
    assert!(drawn <= fast.mul_f64(1.1), "{drawn:?} beside {fast:?}");
}

/// A guard that is faster than the other by this much gets half of the first 50 KB of a page.
#[test]
fn a_faster_guard_does_not_get_more_of_the_start() {
    for advantage_ms in [0, 64, 128, 512] {
        let (mut on_fast, mut all) = (0usize, 0usize);
        for seed in 0..100 {
            let seed = seed + u64::from(advantage_ms) * 1_000;
            let lines = [line(20.0, 40, 100), line(20.0, 40 + advantage_ms, 100)];
            let mut world = world(seed, Setting::default(), &lines);
            let before = world.exit.data_cells.len();
            world.exit.to_write = 50_000;
            assert!(world.run_until(30 * SECOND, |world| world.client.finished), "seed {seed}");
            let cells = &world.exit.data_cells[before..];
            // The answer, and the copies of its first cells.
            let start = &cells[..cells.len().min(41 + COPIED_CELLS as usize)];
            on_fast += start.iter().filter(|circuit| **circuit == 1).count();
            all += start.len();
        }
        let share = on_fast as f64 / all as f64;
        println!("share of the faster leg at {advantage_ms} ms: {share:.3} of {all} cells");
        assert!((0.45..=0.55).contains(&share), "{share} at {advantage_ms} ms");
    }
}

/// Long enough for 12 s on what is left of two legs.
const TRANSFER: u64 = 40_000_000;

/// A transfer towards the client, with trouble on the first leg after 2 s.
fn with_trouble(lines: &[Path], trouble: Trouble, lasts: Duration) -> World {
    let mut world = world(3, Setting::default(), lines);
    world.exit.to_write = TRANSFER;
    world.run_for(2 * SECOND);
    world.client.samples.clear();
    world.trouble(1, trouble);
    if lasts > Duration::ZERO {
        world.run_for(lasts);
        world.trouble(1, Trouble::None);
    }
    assert!(world.run_until(60 * SECOND, |world| world.client.finished), "the transfer is done");
    assert_eq!(world.client.read, TRANSFER);
    world
}

#[test]
fn a_killed_guard_is_a_short_pause() {
    for (name, lines) in [("2 x 20 Mbit/s, 60 ms", equal()), ("20 at 140 ms + 10 at 260 ms", unequal())] {
        let world = with_trouble(&lines, Trouble::Dead, Duration::ZERO);
        let (pause, held) = (world.client.longest_pause(), world.client.held_peak);
        println!("{name}, the first leg killed: pause {pause:.0?}, {held} bytes held back at most");
        assert!(pause <= SECOND, "{name}: {pause:?}");
        assert!(world.exit.events.iter().any(|event| matches!(event, TunnelEvent::LegSilent(_))));
    }
}

#[test]
fn a_guard_that_stands_still_for_twelve_seconds_holds_nothing_up() {
    for (name, lines, rtt) in [("2 x 20, 60 ms", equal(), 60), ("20 at 140 ms + 10 at 260 ms", unequal(), 260)] {
        let world = with_trouble(&lines, Trouble::Frozen { queue: 150 }, 12 * SECOND);
        let (pause, held) = (world.client.longest_pause(), world.client.held_peak);
        println!("{name}, the first leg frozen for 12 s: stall {pause:.0?}, {held} bytes held back at most");
        assert!(pause <= 3 * rtt * MS + SECOND / 2, "{name}: {pause:?}");
        assert!(held <= REORDER_BYTES_MAX);
        let came_back = world.exit.events.iter().any(|event| matches!(event, TunnelEvent::LegBack(_)));
        assert!(came_back, "the leg is used again");
    }
}

/// The last flight is lost on every leg, and nothing else is sent: the session's probes find room, and repeat it.
#[test]
fn a_lost_last_flight_recovers() {
    for seed in 0..10 {
        let mut world = world(seed, Setting::default(), &equal());
        world.exit.to_write = 200_000;
        assert!(world.run_until(5 * SECOND, |world| world.exit.unsent() < 30_000), "the last flight");
        for circuit in [1, 2] {
            world.trouble(circuit, Trouble::Dead);
        }
        world.run_for(700 * MS);
        assert!(!world.client.finished);
        for circuit in [1, 2] {
            world.trouble(circuit, Trouble::None);
        }
        assert!(world.run_until(10 * SECOND, |world| world.client.finished), "seed {seed}");
        assert_eq!(world.client.read, 200_000);
    }
}

#[test]
fn every_leg_lost_and_one_back_within_the_session_time_out_loses_nothing() {
    let mut world = world(1, Setting::default(), &equal());
    world.exit.to_write = 10_000_000;
    world.run_for(SECOND);
    world.destroy(1);
    world.destroy(2);
    world.run_for(10 * SECOND);
    assert!(world.client.is_connected() && !world.client.finished);
    world.add_leg(3, line(20.0, 60, 50), line(20.0, 60, 50)).expect("it fits");
    assert!(world.run_until(60 * SECOND, |world| world.client.finished), "the session repeats what was lost");
}

/// Shaped modes: the legs add up to their slots, and what leaves on each line is the same, cell by cell, whether nothing
/// is transferred, one direction or both.
#[test]
fn slots_add_up_and_show_nothing() {
    let setting = Setting { cells_per_slot: Some(4), ..Setting::default() };
    let lines = [line(20.0, 60, 50), line(20.0, 140, 50)];
    let run = |up: u64, down: u64| {
        let mut world = World::new(Seed::new(4), setting);
        for (number, path) in lines.iter().enumerate() {
            world.add_leg(number as u8 + 1, path.clone(), path.clone()).expect("it fits");
        }
        world.run_for(2 * SECOND);
        (world.client.to_write, world.exit.to_write) = (up, down);
        world.run_for(3 * SECOND);
        let before = world.client.read;
        world.run_for(5 * SECOND);
        let rate = (world.client.read - before) as f64 * 8.0 / 5e6;
        (world.seen, rate, world.exit.data_cells)
    };
    let (idle, _, _) = run(0, 0);
    let (busy, rate, carried) = run(0, 1 << 40);
    let (both, _, _) = run(1 << 40, 1 << 40);
    assert_eq!(idle.len(), busy.len());
    assert!(idle == busy && idle == both, "an observer of both lines sees the same");
    // 1,600 cells a second of at most 1,198 bytes beside QUIC's own.
    let most = 1_600.0 * 1_198.0 * 8.0 / 1e6;
    let of_first = carried.iter().filter(|circuit| **circuit == 1).count() as f64 / carried.len() as f64;
    println!("2 legs of 800 cells a second: {rate:.1} of {most:.1} Mbit/s, {of_first:.2} of the packets on the first");
    assert!((rate / most - 1.0).abs() < 0.03, "{rate} of {most}");
    assert!((of_first - 0.5).abs() < 0.02, "{of_first}");
}

/// With slots a leg that is dead is found out at the same time whether anything is transferred or not, at both ends.
#[test]
fn with_slots_silence_is_no_question_of_data() {
    let setting = Setting { cells_per_slot: Some(4), ..Setting::default() };
    let run = |to_write: u64| {
        let mut world = World::new(Seed::new(4), setting);
        for (number, path) in [line(20.0, 60, 50), line(20.0, 140, 50)].iter().enumerate() {
            world.add_leg(number as u8 + 1, path.clone(), path.clone()).expect("it fits");
        }
        world.run_for(2 * SECOND);
        (world.client.to_write, world.exit.to_write) = (to_write, to_write);
        world.run_for(SECOND);
        world.trouble(1, Trouble::Dead);
        let from = world.now;
        let is_silent = |event: &TunnelEvent| matches!(event, TunnelEvent::LegSilent(_));
        let ends: [fn(&World) -> &[TunnelEvent]; 2] = [|world| &world.client.events, |world| &world.exit.events];
        ends.map(|events| {
            let found = world.run_until(3 * SECOND, |world| events(world).iter().any(is_silent));
            assert!(found, "{to_write}");
            world.now - from
        })
    };
    let (idle, busy) = (run(0), run(1 << 40));
    assert_eq!(idle, busy);
    assert!(idle[1] < SECOND, "{idle:?}");
}

/// Any network, legs that come, go, stand still and die, both directions at once: as long as one leg is well in the end, every
/// byte arrives in order and once, and no bound is passed.
#[test]
fn random_networks() {
    for number in 0..100 {
        let seed = Seed::new(0xc0f0 + number).or_environment();
        let _guard = seed.announce();
        let mut draws = seed.generator(77);
        let mut world = World::new(seed, Setting::default());
        world.replay_per_mille = draws.random_range(0..20);
        let mut path = |worst: bool| {
            let path = line(draws.random_range(1.0..40.0), draws.random_range(2..240), draws.random_range(10..300));
            let loss = if worst { draws.random_range(0.0..0.08) } else { 0.0 };
            let jitter = draws.random_range(0..20) * MS;
            let reorder = if worst { draws.random_range(0.0..0.02) } else { 0.0 };
            Path { jitter, reorder, reorder_by: 30 * MS, ..path.with_loss(Loss::Independent(loss)) }
        };
        world.add_leg(1, path(false), path(false)).expect("it fits");
        for circuit in 2..4 {
            world.add_leg(circuit, path(true), path(true)).expect("it fits");
        }
        world.client.to_write = draws.random_range(100_000..1_500_000);
        world.exit.to_write = draws.random_range(100_000..3_000_000);
        let (mut next, mut legs) = (4u8, vec![2u8, 3]);
        for _ in 0..12 {
            world.run_for(draws.random_range(1..900) * MS);
            let chosen = legs[draws.random_range(0..legs.len())];
            match draws.random_range(0..6) {
                0 => world.trouble(chosen, Trouble::Dead),
                1 => world.trouble(chosen, Trouble::Frozen { queue: draws.random_range(0..300) }),
                2 => world.trouble(chosen, Trouble::None),
                3 => world.destroy(chosen),
                4 => {
                    let (now, leg) = (world.now, world.client.legs.get(&chosen).copied());
                    if let (Some(tunnel), Some(leg)) = (world.client.tunnel.as_mut(), leg) {
                        tunnel.remove_leg(now, leg);
                    }
                }
                _ => {
                    let fresh = line(10.0, 50, 100);
                    if world.add_leg(next, fresh.clone(), fresh).is_ok() {
                        legs.push(next);
                        next += 1;
                    }
                }
            }
        }
        let done = |world: &World| world.client.finished && world.exit.finished;
        assert!(world.run_until(120 * SECOND, done), "network {number} is done");
        for (end, sent) in [(&world.client, world.exit.to_write), (&world.exit, world.client.to_write)] {
            assert_eq!(end.read, sent);
            assert!(end.held_peak <= REORDER_BYTES_MAX);
        }
    }
}
