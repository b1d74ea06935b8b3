//! Small networks for hours: what must be so, and what can be worked out.

use network_sim::{Report, RunError, Settings, SettingsError, run};
use std::sync::LazyLock;

fn small() -> Settings {
    Settings { relays: 60, clients: 300, hours: 6, traffic: 2.0, seed: 7, ..Settings::default() }
}

static SMALL: LazyLock<Report> = LazyLock::new(|| run(&small()).expect("a good run"));

/// Many clients of a larger network that transfer nothing and of whose relays none fails.
fn calm() -> Settings {
    Settings { relays: 200, clients: 3_000, hours: 2, traffic: 0.0, churn: 0.0, seed: 3, ..Settings::default() }
}

static CALM: LazyLock<Report> = LazyLock::new(|| run(&calm()).expect("a good run"));

#[test]
fn a_seed_replays_and_another_one_differs() {
    let settings = Settings { relays: 40, clients: 60, hours: 2, ..small() };
    let first = run(&settings).expect("a good run");
    assert_eq!(run(&settings).as_ref(), Ok(&first));
    assert_ne!(run(&Settings { seed: 8, ..settings }).as_ref(), Ok(&first));
}

#[test]
fn bytes_are_conserved() {
    let checks = &SMALL.checks;
    assert!(checks.hold(), "{checks:?}");
    let flows = &SMALL.flows;
    assert!(flows.finished > 5_000, "{flows:?}");
    // A flow that has finished has all that it asked for, within half a byte.
    let gap = (checks.got_bytes - checks.finished_bytes - checks.cut_bytes).abs();
    assert!(gap <= 0.5 * flows.finished as f64, "{gap} bytes");
    assert_eq!(flows.asked, flows.finished + flows.cut + flows.refused);
}

#[test]
fn paths_keep_to_the_rules_and_to_the_guards() {
    let (checks, tunnels) = (&SMALL.checks, &SMALL.tunnels);
    assert_eq!((checks.broken_rules, checks.strange_guards, checks.over_expelled), (0, 0, 0));
    assert!(tunnels.built > 300 && tunnels.legs >= tunnels.built, "{tunnels:?}");
    assert!(SMALL.scenario.expelled > 0, "or the last of them says nothing");
    // Two legs have two guards, and two spare ones for when those fail.
    let used = &SMALL.guards_used;
    assert!(used.p50 == 2.0 && used.max <= 6.0, "{used:?}");
    assert!(SMALL.guards_kept.max <= 6.0, "{:?}", SMALL.guards_kept);
}

#[test]
fn without_failures_nothing_is_repaired() {
    let tunnels = &CALM.tunnels;
    assert_eq!((tunnels.lost, tunnels.relays_lost, tunnels.refusals), (0, 0, 0), "{tunnels:?}");
    assert_eq!((tunnels.dead_share, CALM.scenario.failures), (0.0, 0));
    assert_eq!((CALM.directory.published, CALM.directory.empty), (CALM.directory.intervals, 0));
    assert_eq!(CALM.guards_used.max, 2.0, "nobody needs a third guard");
}

/// A client's two guards are drawn by their shares, one after the other. Of n clients a part p differs from what is expected by
/// more than 4.5 standard errors, sqrt(p (1 - p) / n), once in 150,000 times; clients that share a network share its relays, and the expectation
/// is worked out for these. Legs come in tunnels of two with one exit, so there are half as many draws.
#[test]
fn adversaries_see_as_much_as_their_bandwidth_says() {
    let clients = CALM.guards_used.count as f64;
    let within = |found: f64, expected: f64, draws: f64| {
        let error = (expected * (1.0 - expected) / draws).sqrt();
        assert!((found - expected).abs() < 4.5 * error + 0.02 * expected, "{found} for {expected}, error {error}");
    };
    assert_eq!(CALM.exposure.len(), 3);
    for it in &CALM.exposure {
        within(it.clients, it.clients_expected, clients);
        within(it.legs, it.legs_expected, CALM.tunnels.legs as f64 / 2.0);
        within(it.tunnels, it.tunnels_expected, CALM.tunnels.built as f64);
    }
    let of = |of: fn(&network_sim::Exposure) -> f64| CALM.exposure.iter().map(of).collect::<Vec<_>>();
    assert!(of(|it| it.clients).is_sorted() && of(|it| it.tunnels).is_sorted());
}

#[test]
fn clients_fetch_differences_and_few_whole_documents() {
    let it = &SMALL.directory;
    assert!(it.published + it.empty + 2 >= it.intervals && it.published > it.intervals / 2, "{it:?}");
    assert!(it.next_bytes.p50 < it.full_bytes.p50 / 4.0, "{it:?}");
    assert!(it.diffs > 5 * it.fulls && it.fulls > 0 && it.bootstraps > 0, "{it:?}");
    assert!(it.bootstraps <= it.fulls + it.diffs && it.share_of_traffic < 0.05, "{it:?}");
    // Asked for between the moment it is due and the end of the spread.
    assert!((50.0..100.0).contains(&it.lag_seconds.p50) && it.lag_seconds.p90 <= 151.0, "{it:?}");
}

#[test]
fn shares_add_up_and_relays_carry_no_more_than_they_can() {
    let load = &SMALL.load;
    let sum = |of: fn(&network_sim::RoleLoad) -> f64| load.by_role.iter().map(of).sum::<f64>();
    assert!((sum(|it| it.share) - 1.0).abs() < 0.02 && (sum(|it| it.room_share) - 1.0).abs() < 1e-9, "{load:?}");
    // Answers of mirrors are counted on top of what is shared.
    assert!(load.best_hour.max < 1.05, "{load:?}");
}

#[test]
fn nonsense_is_refused() {
    let refused = run(&Settings { relays: 10, ..small() });
    assert_eq!(refused, Err(RunError::Settings(SettingsError::Relays(10))));
}
