//! Invariants I1 and I2, exactly, on virtual time: whatever applications do, the observer of a constant link
//! records the same sequence of times, directions and sizes.

use adversary::{Sighting, first_difference, one_size};
use model_tests::apps::{Plan, port};
use model_tests::leaks::Leak;
use model_tests::pair::{Pair, Setting};
use std::time::Duration;

/// How long each scenario runs.
const RUN: Duration = Duration::from_secs(8);
/// When applications begin.
const BEGIN: Duration = Duration::from_secs(1);

/// What applications do while the observer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Idle,
    BulkDown,
    BulkUp,
    ManyFlows,
    OpenAndClose,
    SlowReader,
    Refused,
    Aborted,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario::BulkDown,
    Scenario::BulkUp,
    Scenario::ManyFlows,
    Scenario::OpenAndClose,
    Scenario::SlowReader,
    Scenario::Refused,
    Scenario::Aborted,
];

type Observation = Vec<Sighting>;

fn plan(port: u16, send: u64) -> Plan {
    Plan { port, client: 1, send, read_per_step: 64 * 1024 }
}

/// Plays a scenario and returns what was observed and how many data cells both nodes sent.
fn play(scenario: Scenario, setting: Setting) -> (Observation, u64) {
    let mut pair = Pair::new(setting);
    pair.run_until(BEGIN);
    let unshaped = &mut pair.entry.unshaped;
    match scenario {
        Scenario::Idle => {}
        Scenario::BulkDown => assert!(unshaped.open(plan(port::ENDLESS, 1)).is_some()),
        Scenario::BulkUp => assert!(unshaped.open(plan(port::SINK, u64::MAX)).is_some()),
        Scenario::ManyFlows => {
            for client in 0..64 {
                let port = if client % 2 == 0 { port::ENDLESS } else { port::ECHO };
                assert!(unshaped.open(Plan { client, ..plan(port, 100_000) }).is_some());
            }
        }
        Scenario::SlowReader => {
            assert!(unshaped.open(Plan { read_per_step: 0, ..plan(port::ENDLESS, 1) }).is_some());
            assert!(unshaped.open(Plan { read_per_step: 3, ..plan(port::ENDLESS, 1) }).is_some());
        }
        Scenario::OpenAndClose | Scenario::Refused | Scenario::Aborted => {}
    }
    let repeats = matches!(scenario, Scenario::OpenAndClose | Scenario::Refused | Scenario::Aborted);
    let mut at = BEGIN;
    while repeats && at < RUN {
        let port = if scenario == Scenario::Refused { port::REFUSED } else { port::ECHO };
        let number = pair.entry.unshaped.open(plan(port, 5_000));
        at = RUN.min(at + Duration::from_millis(37));
        pair.run_until(at);
        if scenario == Scenario::Aborted
            && let Some(number) = number
        {
            pair.entry.unshaped.abort(number);
        }
    }
    pair.run_until(RUN);
    let data = [&pair.entry, &pair.exit].map(|host| host.count("data_cells_sent"));
    assert_eq!(pair.entry.count("empty_while_waiting") + pair.exit.count("empty_while_waiting"), 0, "{scenario:?}");
    (pair.observed(), data.iter().sum())
}

#[test]
fn every_scenario_looks_like_an_idle_link() {
    let (idle, idle_data) = play(Scenario::Idle, Setting::constant());
    assert!(idle.len() > 2_500, "the link carries its rate: {} packets", idle.len());
    for scenario in SCENARIOS {
        let (seen, data) = play(scenario, Setting::constant());
        assert!(data > idle_data + 100, "{scenario:?} moved data: {data} cells against {idle_data}");
        if let Some(difference) = first_difference(&idle, &seen) {
            panic!("{scenario:?}: {difference}");
        }
    }
}

#[test]
fn loss_changes_nothing_that_depends_on_data() {
    let lossy = || {
        let mut setting = Setting::constant();
        setting.path.loss = simnet::Loss::Independent(0.02);
        setting
    };
    let (idle, _) = play(Scenario::Idle, lossy());
    for scenario in [Scenario::BulkDown, Scenario::OpenAndClose] {
        let (seen, _) = play(scenario, lossy());
        if let Some(difference) = first_difference(&idle, &seen) {
            panic!("{scenario:?}: {difference}");
        }
    }
}

#[test]
fn every_packet_has_one_size_and_leaves_at_a_slot() {
    let (seen, _) = play(Scenario::ManyFlows, Setting::constant());
    let slot = Duration::from_millis(5).as_nanos();
    assert_eq!(one_size(&seen, 1350), Ok(()));
    for sighting in seen {
        assert_eq!(sighting.at.as_nanos() % slot, 0, "{sighting} is at no slot");
    }
}

#[test]
fn planted_leaks_are_caught() {
    let (idle, _) = play(Scenario::Idle, Setting::constant());
    let leaks = [
        (Leak::LongerWithData, Scenario::BulkUp),
        (Leak::SynAtOnce, Scenario::OpenAndClose),
        (Leak::LaterWithData, Scenario::BulkUp),
        (Leak::PacketWhenRingFills, Scenario::BulkUp),
        (Leak::SpareNeverReady, Scenario::BulkUp),
    ];
    for (leak, scenario) in leaks {
        let setting = Setting { leak: Some(leak), ..Setting::constant() };
        let (seen, _) = play(scenario, setting);
        assert!(first_difference(&idle, &seen).is_some(), "{leak:?} was not caught");
    }
}
