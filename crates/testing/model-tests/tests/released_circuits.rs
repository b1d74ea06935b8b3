//! Modes whose rate follows releases, over circuits with real relays on virtual time: with the same releases every line of the network
//! is the same packet by packet, whatever applications do; and what was measured does decide the rate.

use adversary::{Direction, Sighting, first_difference, one_size};
use model_tests::apps::{Plan, port};
use model_tests::circuits::{ServiceHost, Setting, World, service_address};
use model_tests::noise::NoiseOf;
use shaped_node::{Mode, PacingConfig};
use shaping::accountant::MuSquared;
use shaping::{
    DpSettings, Per1024, QueueParameters, QueueSettings, RateClass, Sigma, SlotLength, SteppedParameters, UP_EDGE_S,
};
use simnet::Path;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use wire::packet::PacketSize;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// When leave is given and applications begin.
const BEGIN: Duration = Duration::from_secs(2);
/// Noise far beyond any count here, within the range of samples.
const HUGE: i64 = 1 << 45;
/// Epochs that are paid for.
const EPOCHS: u16 = 200;

/// What applications do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Idle,
    Up,
    Down,
    OpenAndClose,
}

const LOADS: [Load; 3] = [Load::Up, Load::Down, Load::OpenAndClose];

fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).unwrap_or(RateClass::SLOWEST)
}

fn over(mode: Mode, pacing: PacingConfig, noise: NoiseOf) -> Setting {
    Setting { mode, pacing, noise, path: Path::with_delay(5 * MS), ..Setting::constant() }
}

/// Epochs of five seconds.
fn dp(sigma: u64, noise: NoiseOf) -> Setting {
    let settings = DpSettings {
        epoch_s: 5,
        delta_bytes: 400_000,
        sigma: Sigma::new(sigma).expect("in range"),
        gain: Per1024(1024),
        margin: Per1024(1331),
        errors: Per1024(0),
        floor: RateClass::SLOWEST,
        initial: class(1_000_000),
        ceiling: RateClass::FASTEST,
        count_cap_bytes: 1_250_000,
    };
    let cost = MuSquared::from_ratio(settings.delta_bytes, sigma).expect("a small ratio");
    over(Mode::Dp, PacingConfig::Dp { settings, cost_each: cost.raw() }, noise)
}

fn queue(noise: NoiseOf) -> Setting {
    let settings = QueueSettings { sensitivity: 5_000, max_decision_size: 10_000, ..QueueSettings::default() };
    let packet = PacketSize::DEFAULT.session_packet();
    let parameters = QueueParameters::new(settings, SlotLength::DEFAULT, packet).expect("settings that fit");
    let cost_each = parameters.cost_each().expect("a small cost").raw();
    over(Mode::Queue, PacingConfig::Queue { parameters, cost_each }, noise)
}

/// Classes of mode `stepped`.
const SLOW: RateClass = RateClass::SLOWEST;

fn fast() -> RateClass {
    class(350_000)
}

fn stepped() -> Setting {
    let parameters = SteppedParameters::new(&[SLOW, fast()], fast()).expect("two classes");
    Setting { class: fast(), ..over(Mode::Stepped, PacingConfig::Stepped(parameters), NoiseOf::Nothing) }
}

fn plan(port: u16, client: u64, send: u64) -> Plan {
    Plan { port, client, send, read_per_step: 64 * 1024 }
}

fn lines(world: &World, from: SocketAddr) -> BTreeMap<SocketAddr, Vec<Sighting>> {
    let mut lines: BTreeMap<SocketAddr, Vec<Sighting>> = BTreeMap::new();
    for (at, to, length) in world.sent_by(from) {
        lines.entry(to).or_default().push(Sighting { at, direction: Direction::Outward, length });
    }
    lines
}

/// Everybody's lines: of the entry, then of each relay.
fn all_lines(world: &World) -> Vec<BTreeMap<SocketAddr, Vec<Sighting>>> {
    let relays = world.relays.iter().map(|relay| lines(world, relay.address));
    std::iter::once(lines(world, world.entry.address)).chain(relays).collect()
}

/// Plays a scenario for so long behind its beginning.
fn play(setting: Setting, load: Load, lasting: Duration) -> World {
    let mut world = World::new(setting);
    world.run_for(BEGIN);
    assert!(world.status().session_up, "{:?} {:?}", world.status(), world.entry.events);
    world.pay(EPOCHS);
    match load {
        Load::Idle | Load::OpenAndClose => {}
        Load::Up => assert!(world.entry.unshaped.open(plan(port::SINK, 1, u64::MAX)).is_some()),
        Load::Down => assert!(world.entry.unshaped.open(plan(port::ENDLESS, 1, 1)).is_some()),
    }
    let until = BEGIN + lasting;
    while world.elapsed() < until {
        if load == Load::OpenAndClose {
            world.entry.unshaped.open(plan(port::ECHO, 1, 2_000));
        }
        world.run_for((241 * MS).min(until - world.elapsed()));
    }
    world
}

/// Where two runs differ on any line, if they do.
fn difference(one: &World, other: &World) -> Option<String> {
    let (one, other) = (all_lines(one), all_lines(other));
    for (number, (one, other)) in one.iter().zip(&other).enumerate() {
        if !one.keys().eq(other.keys()) {
            return Some(format!("node {number} has other neighbours"));
        }
        let found = one.iter().find_map(|(to, line)| Some((to, first_difference(line, &other[to])?)));
        if let Some((to, difference)) = found {
            return Some(format!("node {number} to {to}: {difference}"));
        }
    }
    None
}

/// Packets of the entry in each whole second from `BEGIN` on.
fn per_second(world: &World) -> Vec<usize> {
    let sent = world.sent_by(world.entry.address);
    let seconds = BEGIN.as_secs()..world.elapsed().as_secs();
    seconds.map(|second| sent.iter().filter(|(at, ..)| at.as_secs() == second).count()).collect()
}

#[test]
fn with_the_same_releases_every_line_looks_idle() {
    let scripts = [
        ("dp", dp(1_000_000, NoiseOf::Script(vec![HUGE, -HUGE, -HUGE, HUGE]))),
        ("queue", queue(NoiseOf::Script(vec![HUGE, -HUGE, -HUGE]))),
    ];
    for (what, setting) in scripts {
        let lasting = 22 * SECOND;
        let idle = play(setting.clone(), Load::Idle, lasting);
        let rates = per_second(&idle);
        println!("{what}: packets a second {rates:?}");
        if what == "dp" {
            assert!(rates.iter().max() > rates.iter().min().map(|least| least * 2).as_ref(), "it goes up and down");
        }
        for line in all_lines(&idle).iter().flat_map(BTreeMap::values) {
            assert_eq!(one_size(line, 1350), Ok(()), "{what}");
        }
        for load in LOADS {
            let busy = play(setting.clone(), load, lasting);
            let moved = busy.entry.count("data_cells_sent") - idle.entry.count("data_cells_sent");
            assert!(moved > 10, "{what}, {load:?}: {moved} cells with data");
            assert_eq!(difference(&idle, &busy), None, "{what}, {load:?}");
        }
    }
}

/// The planted leak: noise that hides nothing.
#[test]
fn without_noise_the_load_shows() {
    for (what, setting) in [("dp", dp(1_000_000, NoiseOf::Script(vec![0]))), ("queue", queue(NoiseOf::Script(vec![0])))]
    {
        let lasting = 12 * SECOND;
        let (idle, busy) = (play(setting.clone(), Load::Idle, lasting), play(setting, Load::Up, lasting));
        assert!(difference(&idle, &busy).is_some(), "{what}");
    }
}

#[test]
fn releases_of_dp_make_room_for_what_arrives() {
    let world = play(dp(60_000, NoiseOf::Seed), Load::Up, 40 * SECOND);
    let rates = per_second(&world);
    println!("dp with real noise, an upload: packets a second {rates:?}");
    let (early, late) = (rates[2..5].iter().sum::<usize>() / 3, rates[30..].iter().sum::<usize>() / (rates.len() - 30));
    let idle = play(dp(60_000, NoiseOf::Seed), Load::Idle, 40 * SECOND);
    let idle = per_second(&idle);
    let idle = idle[30..].iter().sum::<usize>() / (idle.len() - 30);
    assert!(late > idle * 2, "{idle} idle, {early} at first and {late} later in an upload");
}

#[test]
fn steps_follow_the_load_at_their_edges() {
    let mut world = World::new(stepped());
    world.run_for(BEGIN);
    world.pay(EPOCHS);
    let cells = |class: RateClass| class.bits_per_second() as usize / 8 / PacketSize::DEFAULT.session_packet();
    // What has been so for an interval between edges decides the next one; the edge after that is certain.
    let after_two_edges = |world: &mut World, expected: usize, what: &str| {
        world.run_for(Duration::from_secs(2 * UP_EDGE_S + 10));
        let rates = per_second(world);
        let last = rates[rates.len() - 5];
        println!("stepped, {what}: {last} packets a second");
        assert!(last.abs_diff(expected) <= 2, "{what}: {last} and not {expected}");
    };
    after_two_edges(&mut world, cells(SLOW), "idle");
    let flow = world.entry.unshaped.open(plan(port::SINK, 1, u64::MAX)).expect("a queue pair");
    after_two_edges(&mut world, cells(fast()), "an upload");
    assert_eq!(world.entry.unshaped.outcome(flow).reset, None);
}

/// A service has no releases. Whatever rule its client goes by, it sends at a constant rate.
#[test]
fn a_service_at_a_constant_rate_is_reached_from_every_mode_with_a_schedule() {
    for setting in [stepped(), dp(1_000, NoiseOf::Seed), queue(NoiseOf::Seed)] {
        let mode = setting.mode;
        let setting = Setting { relays: 14, service: true, service_mode: Some(Mode::Constant), ..setting };
        let mut world = World::new(setting);
        let known =
            world.run_while(ServiceHost::PATIENCE, |world| world.status().session_up && world.service().published > 1);
        assert!(known, "{mode:?}: {:?}", world.status());
        world.pay(EPOCHS);
        let name = service_address().to_string();
        let flow = world.entry.unshaped.open_name(plan(port::ECHO, 7, 50_000), &name).expect("a queue pair");
        let done = world.run_while(60 * SECOND, |world| world.entry.unshaped.outcome(flow).received == 50_000);
        assert!(done, "{mode:?}: {:?} {:?}", world.entry.unshaped.outcome(flow), world.tunnels());
    }
}
