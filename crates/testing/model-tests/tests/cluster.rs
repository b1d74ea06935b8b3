//! The replicated log under every fault, by seeds.

use model_tests::cluster::{Outcome, Planted, Schedule, run};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One seed; a panic inside is a finding like any other.
fn play(seed: u64, schedule: &Schedule) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, schedule))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Steps of a seed's noisy phase in an ordinary run.
const STEPS: u32 = 8_000;

#[test]
fn every_seed_keeps_every_promise() {
    let seeds = std::env::var("HUSHWIRE_CLUSTER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1_000);
    let first: u64 = std::env::var("HUSHWIRE_CLUSTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut sum = Outcome::default();
    for seed in first..first + seeds {
        let done = play(seed, &Schedule::of_seed(seed, STEPS)).unwrap_or_else(|error| {
            panic!("seed {seed} (HUSHWIRE_CLUSTER_SEED={seed} HUSHWIRE_CLUSTER_SEEDS=1): {error}")
        });
        sum.entries += done.entries;
        sum.messages += done.messages;
        sum.answers += done.answers;
        sum.reads += done.reads;
        sum.crashes += done.crashes;
        sum.terms += done.terms;
        sum.changes += done.changes;
        sum.fetched += done.fetched;
        sum.time_ms += done.time_ms;
    }
    println!("{seeds} seeds: {sum:?}");
    assert!(sum.messages > 20 * seeds && sum.crashes > seeds / 2, "the runs were idle: {sum:?}");
}

/// How many of the first `seeds` seeds find the planted fault, and the first of them.
fn found(planted: Planted, seeds: u64) -> (u64, Option<(u64, String)>) {
    let (mut count, mut first) = (0, None);
    for seed in 0..seeds {
        if let Err(error) = play(seed, &Schedule::of_seed(seed, STEPS).with(planted)) {
            count += 1;
            first.get_or_insert((seed, error));
        }
    }
    (count, first)
}

#[test]
fn planted_faults_are_found() {
    for planted in [Planted::SyncSkipped, Planted::SentBeforeSync, Planted::Reordered, Planted::WithoutSessions] {
        let (count, first) = found(planted, 100);
        println!("{planted:?}: {count} of 100 seeds, first {first:?}");
        assert!(count > 0, "{planted:?} was not found");
    }
}
