//! Mode `dp` on virtual time: releases change the rate and nothing else does, they need leave and noise, and bytes wait
//! for their client's quota.

use adversary::{Sighting, first_difference, one_size};
use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::leaks::Leak;
use model_tests::noise::NoiseOf;
use model_tests::pair::{Pair, Setting};
use shaped_node::{Mode, PacingConfig, ReleaseStatus};
use shaping::accountant::MuSquared;
use shaping::{DpSettings, Per1024, RateClass, Sigma, floor_for_reverse};
use std::time::Duration;
use wire::packet::PacketSize;

/// Length of an epoch.
const EPOCH: Duration = Duration::from_secs(5);
/// Noise far beyond any count here, within the range of samples.
const HUGE: i64 = 1 << 45;
/// Bytes that a client may bring into one epoch.
const DELTA: u64 = 400_000;

fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).unwrap_or(RateClass::SLOWEST)
}

fn settings(sigma: u64) -> DpSettings {
    DpSettings {
        epoch_s: 5,
        delta_bytes: DELTA,
        sigma: Sigma::new(sigma).expect("in range"),
        gain: Per1024(1024),
        margin: Per1024(1331),
        errors: Per1024(0),
        floor: RateClass::SLOWEST,
        initial: class(1_000_000),
        ceiling: RateClass::FASTEST,
        count_cap_bytes: 1_250_000,
    }
}

fn setting(sigma: u64, noise: NoiseOf) -> Setting {
    let settings = settings(sigma);
    let cost = MuSquared::from_ratio(settings.delta_bytes, sigma).expect("a small ratio");
    let pacing = PacingConfig::Dp { settings, cost_each: cost.raw() };
    Setting { mode: Mode::Dp, pacing, noise, ..Setting::constant() }
}

/// Rates that go up and down at each edge, whatever arrives.
fn scripted() -> Setting {
    setting(1_000_000, NoiseOf::Script(vec![HUGE, -HUGE, -HUGE, HUGE]))
}

fn plan(port: u16, client: u64, send: u64) -> Plan {
    Plan { port, client, send, read_per_step: 64 * 1024 }
}

/// What applications do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Idle,
    BulkUp,
    BulkDown,
    ManyFlows,
    OpenAndClose,
}

fn play(scenario: Scenario, setting: Setting) -> (Vec<Sighting>, Pair) {
    let mut pair = Pair::new(setting);
    pair.run_until(Duration::from_secs(1));
    pair.pay(12);
    let many: Vec<Plan> = (0..64).map(|client| plan(port::ECHO, client, 30_000)).collect();
    let plans = match scenario {
        Scenario::Idle | Scenario::OpenAndClose => Vec::new(),
        Scenario::BulkUp => vec![plan(port::SINK, 1, u64::MAX)],
        Scenario::BulkDown => vec![plan(port::ENDLESS, 1, 1)],
        Scenario::ManyFlows => many,
    };
    for plan in plans {
        assert!(pair.entry.unshaped.open(plan).is_some(), "a queue pair is free");
    }
    for step in 0..100 {
        if scenario == Scenario::OpenAndClose {
            assert!(pair.entry.unshaped.open(plan(port::ECHO, step % 5, 2_000)).is_some(), "a queue pair is free");
        }
        pair.run_until(Duration::from_secs(1) + Duration::from_millis(241) * (step as u32 + 1));
    }
    (pair.observed(), pair)
}

fn releases(pair: &Pair) -> [ReleaseStatus; 2] {
    [&pair.entry, &pair.exit].map(|host| host.node.status().links[0].releases.expect("its rate follows releases"))
}

fn rates(pair: &Pair) -> [u64; 2] {
    [&pair.entry, &pair.exit].map(|host| host.node.status().links[0].rate_bits_per_second)
}

/// The number of packets in each whole second of one direction.
fn per_second(seen: &[Sighting], direction: adversary::Direction) -> Vec<usize> {
    let last = seen.last().map_or(0, |sighting| sighting.at.as_secs());
    (0..last)
        .map(|second| seen.iter().filter(|it| it.direction == direction && it.at.as_secs() == second).count())
        .collect()
}

#[test]
fn with_the_same_releases_every_scenario_looks_like_an_idle_link() {
    let (idle, pair) = play(Scenario::Idle, scripted());
    assert_eq!(one_size(&idle, 1350), Ok(()));
    for status in releases(&pair) {
        assert_eq!((status.released, status.unpaid, status.without_noise), (4 + 1, 0, 0), "each epoch was released");
    }
    let outward = per_second(&idle, adversary::Direction::Outward);
    let (least, most) = (outward[2..].iter().min(), outward[2..].iter().max());
    assert!(most > least.map(|least| least * 3).as_ref(), "the rate goes up and down: {outward:?}");
    for scenario in [Scenario::BulkUp, Scenario::BulkDown, Scenario::ManyFlows, Scenario::OpenAndClose] {
        let (seen, _) = play(scenario, scripted());
        if let Some(difference) = first_difference(&idle, &seen) {
            panic!("{scenario:?}: {difference}");
        }
    }
}

#[test]
fn planted_leaks_are_caught() {
    let (idle, _) = play(Scenario::Idle, scripted());
    let leaks = [
        (Leak::LongerWithData, Scenario::BulkUp),
        (Leak::SynAtOnce, Scenario::OpenAndClose),
        (Leak::LaterWithData, Scenario::BulkUp),
        (Leak::PacketWhenRingFills, Scenario::BulkUp),
        (Leak::SpareNeverReady, Scenario::BulkUp),
    ];
    for (leak, scenario) in leaks {
        let (seen, _) = play(scenario, Setting { leak: Some(leak), ..scripted() });
        assert!(first_difference(&idle, &seen).is_some(), "{leak:?} was not caught");
    }
    // A rate that follows what arrives: the same noise, but none that hides anything.
    let bare = || setting(1_000_000, NoiseOf::Script(vec![0]));
    let ((idle, _), (busy, _)) = (play(Scenario::Idle, bare()), play(Scenario::BulkUp, bare()));
    assert!(first_difference(&idle, &busy).is_some(), "a rate that follows the load was not caught");
}

#[test]
fn rates_follow_the_load_within_floor_and_ceiling() {
    let setting = setting(60_000, NoiseOf::Seed);
    let ceiling = setting.class;
    let floor = floor_for_reverse(ceiling, PacketSize::DEFAULT.session_packet());
    let (_, pair) = play(Scenario::Idle, setting.clone());
    assert_eq!(rates(&pair), [floor.bits_per_second(); 2], "nothing arrives");
    let mut pair = Pair::new(setting);
    pair.run_until(Duration::from_secs(1));
    pair.pay(12);
    for client in 0..4 {
        assert!(pair.entry.unshaped.open(plan(port::SINK, client, u64::MAX)).is_some());
    }
    pair.run_until(Duration::from_secs(24));
    assert_eq!(rates(&pair)[0], ceiling.bits_per_second(), "four clients want more than there is");
    assert!(rates(&pair)[1] < ceiling.bits_per_second(), "nothing comes back but acknowledgements");
}

#[test]
fn without_leave_or_noise_nothing_is_released_and_the_rate_stays() {
    let mut pair = Pair::new(setting(1_000_000, NoiseOf::Seed));
    assert!(pair.run_while(Duration::from_secs(2), |pair| pair.entry.node.status().links[0].session_up));
    assert!(pair.entry.unshaped.open(plan(port::SINK, 1, u64::MAX)).is_some());
    pair.run_until(EPOCH * 4 + EPOCH / 2);
    let initial = class(1_000_000).bits_per_second();
    assert_eq!(rates(&pair), [initial; 2]);
    for status in releases(&pair) {
        assert_eq!((status.released, status.spent), (0, false));
        assert!(status.unpaid >= 3, "{status:?}");
    }
    pair.pay(2);
    pair.run_until(EPOCH * 6 + EPOCH / 2);
    for status in releases(&pair) {
        assert_eq!(status.released, 2, "two epochs were paid for, here and at the exit: {status:?}");
    }
    pair.run_until(EPOCH * 20);
    assert_eq!(rates(&pair), [initial; 2], "a spent budget gives the configured rate");
    assert!(releases(&pair).iter().all(|status| status.spent && status.released == 2));

    let (_, pair) = play(Scenario::Idle, setting(1_000_000, NoiseOf::Nothing));
    for status in releases(&pair) {
        assert_eq!(status.released, 0);
        assert!(status.without_noise >= 4, "{status:?}");
    }
    assert_eq!(rates(&pair), [initial; 2]);
}

#[test]
fn a_client_brings_no_more_than_its_quota_into_an_epoch_and_nothing_is_lost() {
    let mut pair = Pair::new(setting(1_000_000, NoiseOf::Script(vec![HUGE])));
    pair.run_until(Duration::from_secs(1));
    pair.pay(60);
    pair.run_until(EPOCH + Duration::from_secs(1));
    let number = pair.entry.unshaped.open(plan(port::MEGABYTE, 1, 1)).expect("a queue pair is free");
    // The rate is at its ceiling: 2 Mbit/s would bring the megabyte within one epoch; the quota spreads it over three.
    pair.run_until(EPOCH * 2 - Duration::from_millis(50));
    let received = |pair: &Pair| pair.entry.unshaped.outcome(number).received;
    let first = received(&pair);
    assert!(first <= DELTA && first > DELTA * 9 / 10, "{first} bytes in the first epoch");
    pair.run_until(EPOCH * 3 - Duration::from_millis(50));
    let second = received(&pair) - first;
    assert!(second <= DELTA && second > DELTA * 9 / 10, "{second} bytes in the second epoch");
    pair.run_until(EPOCH * 4 - Duration::from_millis(50));
    let outcome = pair.entry.unshaped.outcome(number);
    assert!(outcome.ended && outcome.received == MEGABYTE, "{outcome:?}");
}
