//! What must hold in every mode: bytes are conserved, the wire keeps to its schedule, quotas hold, seeds replay.

use proptest::prelude::*;
use shaping::accountant::{Epsilon, QuantityError};
use shaping::{CellRate, QueueSettings, RateClass, SlotLength};
use shaping_sim::published::netshaper_mode;
use shaping_sim::recommended::{Promise, RecommendError, dp_modes};
use shaping_sim::targets::{TargetError, stepped_modes};
use shaping_sim::trace::{Client, Direction, Trace, TraceError, Transfer};
use shaping_sim::{
    ConstantRate, Cost, Exchanges, Mode, ModeError, Pace, Queue, RunError, Setup, Workload, observe, run,
};
use std::time::Duration;

fn class(bits: u64) -> RateClass {
    RateClass::at_least(bits).expect("an existing class")
}

fn constant(bits: u64) -> Mode {
    Mode::Constant(ConstantRate::Class(class(bits)))
}

fn promise() -> Result<Promise, QuantityError> {
    Ok(Promise::new(Epsilon::new(1.0)?))
}

fn video(clients: u32) -> Workload {
    Workload::Exchanges(Exchanges::video(clients).expect("a few clients"))
}

fn download(bytes: u64) -> Result<Workload, TraceError> {
    let at = Duration::from_millis(1);
    Ok(Workload::Replay(Trace::new(vec![Transfer { at, client: Client(0), direction: Direction::Down, bytes }])?))
}

/// Every mode, down, for a workload.
fn all_modes(workload: &Workload) -> Result<Vec<Mode>, TargetError> {
    let [_, stepped] = stepped_modes()?;
    let [_, dp] = dp_modes(workload, &promise()?)?;
    let queue = netshaper_mode(workload.clients(), 500, SlotLength::DEFAULT, &promise()?)?;
    Ok(vec![Mode::Off, constant(50_000_000), Mode::Constant(ConstantRate::Exact(33_333_333)), stepped, dp, queue])
}

#[test]
fn no_byte_is_lost_and_a_seed_replays_in_every_mode() -> Result<(), TargetError> {
    let workloads =
        [Exchanges::video(8)?, Exchanges::waiting_video(8)?, Exchanges::web(8)?, Exchanges::waiting_web(8)?];
    for exchanges in workloads {
        let workload = Workload::Exchanges(exchanges);
        for mode in all_modes(&workload)? {
            // Time enough for stepped to find a class that carries the load.
            let drain = Duration::from_secs(900);
            let setup = |seed| Setup { drain, ..Setup::new(Duration::from_secs(60), seed) };
            let run = |seed| run(&workload, &constant(2_000_000), &mode, &setup(seed));
            let report = run(1)?;
            assert_eq!(report, run(1)?, "{exchanges:?} {mode:?}");
            assert_ne!(report, run(2)?, "{exchanges:?} {mode:?}");
            for direction in [&report.up, &report.down] {
                assert_eq!((direction.dropped_bytes, direction.waiting_bytes), (0, 0), "{exchanges:?} {mode:?}");
                assert!(direction.arrived_bytes >= direction.application_bytes);
                assert!(direction.wire_bytes > direction.application_bytes, "{exchanges:?} {mode:?}");
            }
            assert!(report.exchanges.count > 8);
        }
    }
    Ok(())
}

#[test]
fn what_has_not_left_is_counted_as_waiting() -> Result<(), Box<dyn std::error::Error>> {
    let setup = Setup { drain: Duration::ZERO, ..Setup::new(Duration::from_secs(10), 1) };
    let report = run(&download(100_000_000)?, &Mode::Off, &constant(10_000_000), &setup)?;
    let down = &report.down;
    assert_eq!(down.application_bytes + down.waiting_bytes, 100_000_000);
    // All slots but the first, which is before the bytes come: at most six cells.
    let carried = class(10_000_000).bits_per_second() / 8 * 10 / 1222 * 1192;
    let missing = carried - down.application_bytes;
    assert!((1_192..=6 * 1_192).contains(&missing), "{missing} of {carried}");
    assert_eq!(report.latency().count, 0);
    Ok(())
}

/// In mode `constant` the wire is the schedule of the class, whatever goes through it.
#[test]
fn a_constant_rate_says_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let setup = Setup::new(Duration::from_secs(30), 1);
    let rate = CellRate::new(class(5_000_000), setup.slot, 1222);
    let cells =
        |second: u64| (second * 200..(second + 1) * 200).map(|slot| u64::from(rate.cells_in_slot(slot))).sum::<u64>();
    for workload in [video(1), video(40), download(1)?, Workload::Exchanges(Exchanges::small_requests(9)?)] {
        let report = run(&workload, &constant(256_000), &constant(5_000_000), &setup)?;
        for (index, second) in report.down.seconds.iter().enumerate() {
            assert_eq!(second.wire_bytes, 1350 * cells(index as u64));
        }
        assert_eq!(report.down.cost, Cost::Nothing);
    }
    Ok(())
}

#[test]
fn an_exact_rate_that_is_a_class_is_that_class() -> Result<(), RunError> {
    let setup = Setup::new(Duration::from_secs(30), 1);
    let bits = class(5_000_000).bits_per_second();
    let with = |mode| run(&video(4), &constant(256_000), &mode, &setup);
    assert_eq!(with(constant(5_000_000))?, with(Mode::Constant(ConstantRate::Exact(bits)))?);
    Ok(())
}

/// 10 MB of one client need four epochs of 2.5 MB in mode `dp`, however fast the line is.
#[test]
fn the_quota_is_a_speed_limit() -> Result<(), Box<dyn std::error::Error>> {
    let crowd = video(128);
    let [_, dp] = dp_modes(&crowd, &promise()?)?;
    let report = run(&download(10_000_000)?, &Mode::Off, &dp, &Setup::new(Duration::from_secs(60), 1))?;
    let took = report.latency().max;
    assert!((15.0..15.5).contains(&took.as_secs_f64()), "{took:?}: the fourth quota begins after 15 s");
    assert_eq!(report.down.speed_limit_bytes_per_second, Some(500_000));
    let free =
        run(&download(10_000_000)?, &Mode::Off, &constant(100_000_000), &Setup::new(Duration::from_secs(60), 1))?;
    assert!(free.latency().max < Duration::from_secs(1));
    Ok(())
}

/// Rows 6 and 7 of the table of the accountant's tests: NetShaper's noise for an epsilon of 1 by its own accounting.
#[test]
fn losses_are_those_of_the_accountant() -> Result<(), TargetError> {
    let setup = Setup::new(Duration::from_secs(300), 1);
    let down = |mode: &Mode| Ok::<_, RunError>(run(&video(16), &constant(2_000_000), mode, &setup)?.down.cost);
    let [_, dp] = dp_modes(&video(16), &promise()?)?;
    let cost = down(&dp)?;
    // 59 edges lie within 300 s; the one at their end belongs to the drain.
    let Cost::Noise(noise) = cost else { panic!("dp lets out noisy values: {cost:?}") };
    assert!((59..=62).contains(&noise.releases), "{noise:?}");
    assert!((cost.epsilon_of_window().expect("it has one") - 1.0).abs() < 1e-4);
    let queue = down(&netshaper_mode(16, 1_000, setup.slot, &promise()?)?)?;
    assert!((queue.epsilon_of_window().expect("it has one") - 0.775_613).abs() < 1e-4, "{queue:?}");
    let [_, stepped] = stepped_modes()?;
    let Cost::Choices { classes: 4, edges, bits } = down(&stepped)? else { panic!("four classes") };
    assert_eq!(bits.value(), 2.0 * edges as f64);
    assert_eq!(down(&Mode::Off)?, Cost::Everything);
    Ok(())
}

/// A segment every 5 s moves the class of `stepped` from one that is too slow to one that carries it.
#[test]
fn stepped_follows_the_load_at_its_edges() -> Result<(), TargetError> {
    let [slow, _] = stepped_modes()?;
    let report = run(&video(1), &constant(2_000_000), &slow, &Setup::new(Duration::from_secs(900), 1))?;
    let rate = |second: usize| report.down.seconds[second].wire_bytes * 8 / 1350 * 1222;
    let is_class = |bits: u64, found: u64| found.abs_diff(class(bits).bits_per_second()) <= 2 * 8 * 1222;
    assert!(is_class(256_000, rate(299)) && is_class(2_000_000, rate(301)), "{} {}", rate(299), rate(301));
    Ok(())
}

/// 128 clients with a small request a second fill three quarters of the class of 2 Mbit/s and never wait for a second.
#[test]
fn stepped_stays_where_the_next_class_down_would_be_full() -> Result<(), TargetError> {
    let [_, down] = stepped_modes()?;
    let requests = Workload::Exchanges(Exchanges::small_requests(128)?);
    let report = run(&requests, &constant(2_000_000), &down, &Setup::new(Duration::from_secs(400), 1))?;
    let second = |second: usize| report.down.seconds[second].wire_bytes;
    assert!(second(350).abs_diff(second(50)) <= 2 * 1350, "{} {}", second(50), second(350));
    Ok(())
}

/// A request waits for a slot on average half of its length and the lead time; its answer, which comes at a slot, for all
/// of the next. 16 clients for a minute have a standard error of 0.05 ms.
#[test]
fn what_comes_within_the_lead_time_waits_for_the_next_slot() -> Result<(), TargetError> {
    let requests = Workload::Exchanges(Exchanges::small_requests(16)?);
    for (lead_ms, expected_ms) in [(0, 7.5), (1, 8.5), (4, 11.5)] {
        let setup = Setup { lead: Duration::from_millis(lead_ms), ..Setup::new(Duration::from_secs(60), 1) };
        let report = run(&requests, &constant(10_000_000), &constant(10_000_000), &setup)?;
        let mean_ms = report.latency().mean.as_secs_f64() * 1e3;
        assert!((mean_ms - expected_ms).abs() < 0.25, "lead {lead_ms} ms: {mean_ms}");
    }
    Ok(())
}

#[test]
fn off_costs_headers_and_no_time() -> Result<(), RunError> {
    let report = run(&video(16), &Mode::Off, &Mode::Off, &Setup::new(Duration::from_secs(60), 1))?;
    assert_eq!(report.latency().max, Duration::ZERO);
    let overhead = report.down.overhead().expect("something was delivered");
    assert!((0.13..0.14).contains(&overhead), "{overhead}");
    Ok(())
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    let setup = Setup::new(Duration::from_secs(10), 1);
    let with = |mode: &Mode, setup: &Setup| run(&video(1), &Mode::Off, mode, setup).err();
    let exact = |rate| Mode::Constant(ConstantRate::Exact(rate));
    assert_eq!(with(&exact(0), &setup), Some(RunError::Mode(ModeError::Rate(0))));
    let settings = QueueSettings { dp_creditor_loop_interval_us: 7_000, ..QueueSettings::default() };
    let queue = Mode::Queue(Queue { settings, window: Duration::from_secs(5) });
    assert!(matches!(with(&queue, &setup), Some(RunError::Mode(ModeError::Queue(_)))));
    assert_eq!(with(&Mode::Off, &Setup { measured: Duration::ZERO, ..setup }), Some(RunError::Length));
    assert_eq!(with(&Mode::Off, &Setup { session_packet: 30, ..setup }), Some(RunError::Packet));
    assert_eq!(with(&Mode::Off, &Setup { ring_bytes: 0, ..setup }), Some(RunError::Ring));
    assert_eq!(with(&Mode::Off, &Setup { one_way: Duration::MAX, ..setup }), Some(RunError::Time));
    assert_eq!(with(&Mode::Off, &Setup { start_unix_s: u64::MAX, ..setup }), Some(RunError::Time));
    let greedy = Promise { down_bytes: 1 << 60, ..promise().expect("epsilon 1") };
    assert!(matches!(dp_modes(&video(1), &greedy), Err(RecommendError::Sigma(_) | RecommendError::Noise(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any clients, any ring, any turn, any slot: everything arrives, and the wire carries whole packets.
    #[test]
    fn any_setup_delivers_everything(
        clients in 1_u32..12,
        pace_ms in 200_u64..3_000,
        answer in 1_u64..300_000,
        ring_bytes in 1_000_u64..600_000,
        turn_bytes in 1_u64..600_000,
        slot_ms in 1_u32..50,
        seed in any::<u64>(),
    ) {
        let fail = |text: &'static str| move |_| TestCaseError::fail(text);
        let pace = Pace::Random(Duration::from_millis(pace_ms));
        let answers = shaping_sim::Answers::Between(1, answer);
        let exchanges = Exchanges::new(clients, 100, answers, pace).map_err(|_| TestCaseError::fail("in range"))?;
        let slot = SlotLength::from_millis(slot_ms).map_err(|_| TestCaseError::fail("in range"))?;
        let drain = Duration::from_secs(600);
        let setup = Setup { ring_bytes, turn_bytes, slot, drain, ..Setup::new(Duration::from_secs(20), seed) };
        let workload = Workload::Exchanges(exchanges);
        let report = run(&workload, &constant(2_000_000), &constant(50_000_000), &setup).map_err(fail("it runs"))?;
        for direction in [&report.up, &report.down] {
            prop_assert_eq!((direction.waiting_bytes, direction.dropped_bytes), (0, 0));
            prop_assert_eq!(direction.wire_bytes, 1350 * direction.cells);
        }
        prop_assert_eq!(report.up.latency.count, report.down.latency.count);
        prop_assert_eq!(report.exchanges.count, report.down.latency.count);
    }
}

#[test]
fn an_observer_sees_every_packet_and_a_noise_seed_changes_only_the_noise() -> Result<(), TargetError> {
    let workload = video(8);
    let (setup, bin) = (Setup::new(Duration::from_secs(30), 1), Duration::from_millis(70));
    for mode in all_modes(&workload)? {
        // Only without a schedule are there acknowledgements beside the packets.
        let modes = [&constant(2_000_000), &mode];
        let report = run(&workload, modes[0], modes[1], &setup)?;
        let seen = observe(&workload, modes, &setup, bin, setup.seed)?;
        assert_eq!((seen.up.len(), seen.down.len()), (429, 429));
        if mode != Mode::Off {
            assert_eq!(seen.up.iter().sum::<u64>(), report.up.wire_bytes, "{mode:?}");
        }
        assert_eq!(seen.down.iter().sum::<u64>(), report.down.wire_bytes, "{mode:?}");
        assert_eq!(seen.bits.is_none(), mode == Mode::Off);
        let other = observe(&workload, modes, &setup, bin, 2)?;
        assert_eq!(other.down != seen.down, matches!(mode, Mode::Dp(_) | Mode::Queue(_)), "{mode:?}");
    }
    let too_fine = observe(&workload, [&Mode::Off; 2], &setup, Duration::from_nanos(1), 1);
    assert_eq!(too_fine, Err(RunError::Bins));
    Ok(())
}
