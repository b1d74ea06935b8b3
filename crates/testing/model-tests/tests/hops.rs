//! Pairs of ports that a network treats badly: noticed by what the ends of a link count, in both directions, with and
//! without slots. Everything is the real core; only the network, the clock and the applications are not.

use link::{HopCause, HopConfig, HopOffer};
use model_tests::apps::{Plan, port};
use model_tests::pair::{Pair, Setting};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use session::CongestionControl;
use shaped_node::{Mode, NodeEvent};
use shaping::RateClass;
use simnet::{Loss, Path};
use std::net::IpAddr;
use std::time::Duration;

const ENTRY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const EXIT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
/// What a throttled pair is left with.
const THROTTLED: u32 = 1_000_000;
/// Within this time of the first throttled packet the link is on another pair.
const NOTICED: Duration = Duration::from_secs(3);
/// The same where congestion control decides what is sent. BBR goes on for seconds, at several times what it sent before,
/// and next to no report comes through.
const NOTICED_WITHOUT_SLOTS: Duration = Duration::from_secs(6);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Links that hop only when there is a reason.
fn hops() -> HopConfig {
    let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
    let timers = Timers::below_floor("86400s".parse().expect("a time"), budget, UnsafeTimers);
    let offer = HopOffer::new("50000-60000".parse().expect("ports"), Vec::new()).expect("a range");
    HopConfig { offer: Some(offer), door_port: 0, timers }
}

/// A path of so many Mbit/s and 20 ms, with a queue of 60 ms.
fn path(megabits: u64) -> Path {
    let path = Path::with_delay(Duration::from_millis(9)).with_rate(megabits * 1_000_000, 7_500 * megabits as usize);
    // Without it, what passes a policer is decided by how its clock and the sender's fall together.
    Path { jitter: Duration::from_millis(2), ..path }
}

fn constant(bits_per_second: u64) -> Setting {
    let class = RateClass::at_least(bits_per_second).expect("a class");
    Setting { class, path: path(80), hops: Some(hops()), ..Setting::constant() }
}

fn off(congestion: CongestionControl) -> Setting {
    Setting { mode: Mode::Off, congestion, path: path(20), hops: Some(hops()), ..Setting::constant() }
}

fn causes(pair: &Pair) -> Vec<HopCause> {
    let cause = |event: &NodeEvent| if let NodeEvent::Hopped(_, _, cause) = event { *cause } else { None };
    pair.entry.events.iter().filter_map(cause).collect()
}

/// Bytes that the application of a flow has, sent or received.
fn done(pair: &Pair, number: usize, upload: bool) -> u64 {
    let outcome = pair.entry.unshaped.outcome(number);
    if upload { outcome.sent } else { outcome.received }
}

fn open(pair: &mut Pair, upload: bool) -> usize {
    let port = if upload { port::SINK } else { port::ENDLESS };
    let plan = Plan { port, client: 1, send: u64::MAX / 2, read_per_step: 64 * 1024 };
    pair.entry.unshaped.open(plan).expect("a queue pair is free")
}

/// Throttles the present pair of one direction; after how long the link had left it.
fn left_after(pair: &mut Pair, sender: IpAddr) -> Duration {
    let (before, begun) = (causes(pair).len(), pair.elapsed());
    pair.policer.throttle_present(sender, THROTTLED);
    pair.run_while(begun + seconds(20), |pair| causes(pair).len() > before);
    pair.elapsed() - begun
}

#[test]
fn a_throttle_of_a_shaped_link_is_noticed_in_both_directions() {
    for (bits_per_second, senders) in [(50_000_000, [ENTRY, EXIT]), (5_000_000, [EXIT, ENTRY])] {
        for sender in senders {
            let mut pair = Pair::new(constant(bits_per_second));
            pair.run_until(seconds(3));
            let took = left_after(&mut pair, sender);
            assert!(took <= NOTICED, "{bits_per_second} bits a second from {sender}: {took:?}, {:?}", causes(&pair));
            pair.run_until(pair.elapsed() + seconds(3));
            assert_eq!(causes(&pair).len(), 1, "the next pair is good: {:?}", causes(&pair));
        }
    }
}

#[test]
fn a_throttle_without_slots_is_noticed_by_the_end_that_sends() {
    for congestion in [CongestionControl::Bbr, CongestionControl::Cubic] {
        for (sender, upload) in [(ENTRY, true), (EXIT, false)] {
            let text = format!("{congestion:?}, upload: {upload}");
            let mut pair = Pair::new(off(congestion));
            pair.run_until(seconds(1));
            let number = open(&mut pair, upload);
            pair.run_until(seconds(6));
            assert_eq!(causes(&pair), [], "{text}");
            let took = left_after(&mut pair, sender);
            assert!(took <= NOTICED_WITHOUT_SLOTS, "{text}: {took:?}, {:?}", causes(&pair));
            // The controller does not know of the hop, and needs some seconds to grow again.
            pair.run_until(pair.elapsed() + seconds(6));
            let before = done(&pair, number, upload);
            pair.run_until(pair.elapsed() + seconds(2));
            let rate = 8 * (done(&pair, number, upload) - before) / 2;
            assert!(rate > 5_000_000, "{text}: {rate} bits a second after {:?}", causes(&pair));
        }
    }
}

#[test]
fn ordinary_loss_without_slots_is_no_alarm() {
    // Cubic follows the loss, and the seconds of its slow start were better: it may hop once for that, in vain.
    for (congestion, loss, hops_max) in [(CongestionControl::Bbr, 0.07, 0), (CongestionControl::Cubic, 0.01, 1)] {
        for upload in [true, false] {
            let mut setting = off(congestion);
            setting.path = Path { loss: Loss::Independent(loss), ..path(20) };
            let mut pair = Pair::new(setting);
            open(&mut pair, upload);
            pair.run_until(seconds(12));
            let causes = causes(&pair);
            assert!(causes.len() <= hops_max, "{congestion:?} with {loss}, upload: {upload}: {causes:?}");
        }
    }
}

/// An hour at the slowest class.
#[test]
fn an_hour_of_ordinary_loss_is_no_alarm() {
    let path = Path { loss: Loss::Independent(0.07), ..path(80) };
    let mut pair = Pair::new(Setting { class: RateClass::SLOWEST, path, ..constant(1) });
    pair.run_until(seconds(3_600));
    assert_eq!(causes(&pair), []);
}

#[test]
fn loss_that_all_pairs_share_makes_few_hops() {
    let mut setting = constant(2_000_000);
    setting.path = Path { loss: Loss::Independent(0.35), ..path(80) };
    let mut pair = Pair::new(setting);
    pair.run_until(seconds(120));
    assert!((1..=6).contains(&causes(&pair).len()), "{:?}", causes(&pair));
}

#[test]
fn hops_before_the_throttle_keep_the_rate() {
    // Facts of the throttle: three seconds after the first packet of a pair it is left with 1 Mbit/s, both ways.
    let run = |hop_every: &str| {
        let mut setting = off(CongestionControl::Bbr);
        let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
        let timers = Timers::below_floor(hop_every.parse().expect("a time"), budget, UnsafeTimers);
        setting.hops = Some(HopConfig { timers, ..hops() });
        let mut pair = Pair::new(setting);
        for sender in [ENTRY, EXIT] {
            pair.policer.throttle_after(sender, THROTTLED, seconds(3));
        }
        let number = open(&mut pair, false);
        pair.run_until(seconds(12));
        (8 * done(&pair, number, false) / 12, causes(&pair))
    };
    let (before, _) = run("2s");
    let (by_detector, causes) = run("86400s");
    assert!(before > 13_000_000, "{before} bits a second");
    assert!(by_detector > 4_000_000 && !causes.is_empty(), "{by_detector} bits a second, {causes:?}");
}

#[test]
fn a_hop_costs_a_session_nothing() {
    // The same download with a hop every 300 ms and without any: the session sees neither loss nor another round trip, so
    // its window is what it was. Cubic, since BBR's rate at the limit of a path differs by half from second to second.
    let run = |hop_every: &str| {
        let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
        let timers = Timers::below_floor(hop_every.parse().expect("a time"), budget, UnsafeTimers);
        let hops = Some(HopConfig { timers, ..hops() });
        let mut pair = Pair::new(Setting { hops, ..off(CongestionControl::Cubic) });
        let number = open(&mut pair, false);
        pair.run_until(seconds(3));
        let before = done(&pair, number, false);
        pair.run_until(seconds(9));
        let lost = pair.entry.events.iter().filter(|event| matches!(event, NodeEvent::SessionLost(..))).count();
        assert_eq!(lost, 0);
        (done(&pair, number, false) - before, causes(&pair).len())
    };
    let ((without, none), (with, hops)) = (run("86400s"), run("300ms"));
    assert!(none == 0 && hops >= 15, "{none} and {hops} hops");
    assert!(with * 100 >= without * 96, "{with} bytes with {hops} hops, {without} without");
}

/// BBR on a line of 50 Mbit/s with 150 ms settles at some 31 or at some 17 Mbit/s. A hop in four seconds does not change
/// how often: the same seeds with hops and without.
#[test]
#[ignore = "takes four minutes; cargo xtask long hops-bbr"]
fn hops_do_not_make_bbr_settle_low_more_often() {
    const RUNS: usize = 100;
    const LOW: u64 = 26_000_000;
    let rates = ["86400s", "4s"]
        .map(|hop_every| -> Vec<u64> { (1..=RUNS as u64).map(|seed| far_rate(hop_every, seed)).collect() });
    let [(without, low_without), (with, low_with)] = rates.map(|rates| {
        let low = rates.iter().filter(|rate| **rate < LOW).count();
        (rates.iter().sum::<u64>() / RUNS as u64, low)
    });
    println!("| hop | mean, bits a second | runs below {LOW} |");
    println!("| none | {without} | {low_without} of {RUNS} |\n| every 4 s | {with} | {low_with} of {RUNS} |");
    assert!(with * 100 >= without * 97, "{with} bits a second with hops, {without} without");
    // Three standard deviations of the difference of two counts with a chance of a half.
    let beyond_chance = 3.0 * (RUNS as f64 / 2.0).sqrt();
    assert!(low_with as f64 <= low_without as f64 + beyond_chance, "{low_with} runs settle low, {low_without} without");
}

/// Bits a second of a download at BBR over 150 ms, from the fifth second to the seventeenth.
fn far_rate(hop_every: &str, seed: u64) -> u64 {
    let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
    let timers = Timers::below_floor(hop_every.parse().expect("a time"), budget, UnsafeTimers);
    let far = Path::with_delay(Duration::from_micros(74_500)).with_rate(50_000_000, 312_500);
    let path = Path { jitter: Duration::from_millis(1), ..far };
    let hops = Some(HopConfig { timers, ..hops() });
    let mut pair = Pair::new(Setting { hops, path, seed, ..off(CongestionControl::Bbr) });
    let number = open(&mut pair, false);
    pair.run_until(seconds(5));
    let before = done(&pair, number, false);
    pair.run_until(seconds(17));
    8 * (done(&pair, number, false) - before) / 12
}
