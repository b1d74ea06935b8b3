use super::*;
use crate::grid::SlotLength;
use crate::noise::{Noise, Sigma};
use proptest::prelude::*;

const PACKET: u64 = 1_000;

/// T = 50 ms, slots of 5 ms, sends of 10 ms where they are spread, decisions up to 1,000 cells.
fn settings(sending_strategy: SendingStrategy) -> QueueSettings {
    QueueSettings {
        noise_multiplier: 2.0,
        sensitivity: 100_000,
        max_decision_size: 1_000 * PACKET,
        sending_loop_interval_us: 10_000,
        sending_strategy,
        ..QueueSettings::default()
    }
}

fn schedule_of(settings: QueueSettings) -> QueueSchedule {
    let parameters = QueueParameters::new(settings, SlotLength::DEFAULT, PACKET as usize).expect("they fit");
    QueueSchedule::new(parameters, 100)
}

fn noise(bytes: i64) -> Option<Noise> {
    Some(Noise::for_tests(bytes, Sigma::new(200_000).expect("in range")))
}

fn decide(schedule: &mut QueueSchedule, slot: u64, queue_bytes: u64, mut noise: Option<Noise>) -> QueueOutcome {
    let due = schedule.poll(slot).expect("a decision is due");
    schedule.release(due, queue_bytes, true, &mut noise)
}

fn cells(schedule: &QueueSchedule, from: u64) -> Vec<u32> {
    (from..from + 10).map(|slot| schedule.cells_in_slot(slot)).collect()
}

#[test]
fn a_burst_leaves_in_the_slot_after_the_decision() {
    let mut schedule = schedule_of(settings(SendingStrategy::Burst));
    assert!(schedule.poll(99).is_none());
    assert_eq!(schedule.next_slot(0), 100);
    assert_eq!(decide(&mut schedule, 100, 60_000, noise(1)), QueueOutcome::Decided(60_001));
    assert!(schedule.poll(100).is_none() && schedule.poll(109).is_none());
    assert_eq!(schedule.cells_in_slot(100), 0, "a decision is for the slots after it");
    assert_eq!(cells(&schedule, 101), [61, 0, 0, 0, 0, 0, 0, 0, 0, 0], "whole cells, rounded up");
    assert_eq!([100, 101, 102, 110].map(|slot| schedule.next_slot(slot)), [101, 101, 110, 110]);
    assert_eq!(decide(&mut schedule, 110, 0, noise(3_000)), QueueOutcome::Decided(3_000));
    assert_eq!([110, 111].map(|slot| schedule.cells_in_slot(slot)), [0, 3]);
}

#[test]
fn uniform_spreads_a_decision_over_the_sends() {
    let mut schedule = schedule_of(settings(SendingStrategy::Uniform));
    decide(&mut schedule, 100, 11_500, noise(0));
    // 2.3, 4.6, 6.9, 9.2 and 11.5 cells, each rounded up.
    assert_eq!(cells(&schedule, 101), [3, 0, 2, 0, 2, 0, 3, 0, 2, 0]);
    decide(&mut schedule, 110, 900_000, noise(0));
    assert_eq!(cells(&schedule, 111), [180, 0, 180, 0, 180, 0, 180, 0, 180, 0]);
    assert_eq!(schedule.cells_in_slot(110), 0, "the last slot of the decision before");
}

#[test]
fn a_large_burst_goes_on_in_the_next_slots() {
    let mut schedule = schedule_of(settings(SendingStrategy::Burst));
    decide(&mut schedule, 100, 1_000_000, noise(0));
    assert_eq!(cells(&schedule, 101), [256, 256, 256, 232, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn decisions_are_clipped_and_never_leave_the_link_without_a_cell() {
    let mut schedule = schedule_of(settings(SendingStrategy::Uniform));
    assert_eq!(decide(&mut schedule, 100, 500, noise(-900_000)), QueueOutcome::Decided(0));
    assert_eq!(cells(&schedule, 101), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(decide(&mut schedule, 110, u64::MAX, noise(0)), QueueOutcome::Decided(1_000_000));
    let mut low = schedule_of(QueueSettings { min_decision_size: 7_000, ..settings(SendingStrategy::Burst) });
    assert_eq!(decide(&mut low, 100, 0, noise(-1)), QueueOutcome::Decided(7_000));
}

/// 4,000 cells for 2,560 places a decision.
fn overfull(keep_rest: bool) -> QueueSchedule {
    let max_decision_size = 4_000 * PACKET;
    schedule_of(QueueSettings { max_decision_size, keep_rest, ..settings(SendingStrategy::Burst) })
}

#[test]
fn an_unsent_rest_is_lost_as_in_the_original() {
    let mut schedule = overfull(false);
    decide(&mut schedule, 100, 4_000_000, noise(0));
    assert_eq!(cells(&schedule, 101), [256; 10]);
    decide(&mut schedule, 110, 10_000, noise(0));
    assert_eq!(cells(&schedule, 111), [10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(schedule.lost_bytes(), 1_440_000);
}

#[test]
fn an_unsent_rest_is_kept_when_asked_for_and_bounded() {
    let mut schedule = overfull(true);
    decide(&mut schedule, 100, 4_000_000, noise(0));
    decide(&mut schedule, 110, 10_000, noise(0));
    assert_eq!(cells(&schedule, 111), [256, 256, 256, 256, 256, 170, 0, 0, 0, 0]);
    assert_eq!(schedule.lost_bytes(), 0);
    for slot in [120, 130, 140, 150, 160] {
        decide(&mut schedule, slot, 4_000_000, noise(0));
    }
    // Rests of 1.44, 2.88 and 4.32 MB; of the last only one decision's worth is kept, then of 5.44 MB twice.
    assert_eq!(schedule.lost_bytes(), 320_000 + 1_440_000);
}

#[test]
fn without_grant_or_noise_the_last_decision_is_sent_once_more() {
    let mut schedule = schedule_of(settings(SendingStrategy::Burst));
    decide(&mut schedule, 100, 20_000, noise(0));
    assert_eq!(decide(&mut schedule, 110, 500_000, None), QueueOutcome::Held(Held::NoNoise));
    assert_eq!(schedule.cells_in_slot(111), 20);
    let due = schedule.poll(120).expect("a decision is due");
    let mut ready = noise(0);
    assert_eq!(schedule.release(due, 500_000, false, &mut ready), QueueOutcome::Held(Held::NoGrant));
    assert!(ready.is_some(), "noise is not wasted");
    let foreign = Some(Noise::for_tests(0, Sigma::MIN));
    assert_eq!(decide(&mut schedule, 130, 500_000, foreign), QueueOutcome::Held(Held::ForeignNoise));
    assert_eq!((schedule.cells_in_slot(131), schedule.decision_bytes()), (20, 20_000));
    let counts = schedule.counts();
    assert_eq!((counts.released, counts.no_noise, counts.no_grant, counts.foreign_noise), (1, 1, 1, 1));
}

#[test]
fn decisions_that_were_slept_through_are_one() {
    let mut schedule = schedule_of(settings(SendingStrategy::Burst));
    decide(&mut schedule, 100, 20_000, noise(0));
    decide(&mut schedule, 157, 30_000, noise(0));
    assert_eq!((schedule.counts().missed, schedule.counts().released), (4, 2));
    assert_eq!(cells(&schedule, 151), [30, 0, 0, 0, 0, 0, 0, 0, 0, 0], "the grid of decisions stays");
    assert!(schedule.poll(159).is_none() && schedule.poll(160).is_some());
}

proptest! {
    /// Between decisions nothing but the decision counts: other queues with the same decisions, the same cells.
    #[test]
    fn cells_are_a_function_of_decisions_alone(
        decisions in proptest::collection::vec((0u64..=3_000_000, 0u64..10_000_000, 0u64..10_000_000), 1..20),
        uniform in proptest::bool::ANY,
        keep_rest in proptest::bool::ANY,
    ) {
        let strategy = if uniform { SendingStrategy::Uniform } else { SendingStrategy::Burst };
        let settings = QueueSettings { keep_rest, max_decision_size: 3_000_000, ..settings(strategy) };
        let (mut one, mut other) = (schedule_of(settings), schedule_of(settings));
        let (mut allowed, mut sent) = (0, 0);
        for (index, (decision, ones, others)) in decisions.into_iter().enumerate() {
            let slot = 100 + 10 * index as u64;
            for (schedule, queue) in [(&mut one, ones), (&mut other, others)] {
                let got = decide(schedule, slot, queue, noise(decision as i64 - queue as i64));
                prop_assert_eq!(got, QueueOutcome::Decided(decision));
            }
            let plan = cells(&one, slot + 1);
            prop_assert_eq!(&plan, &cells(&other, slot + 1));
            prop_assert!(plan.iter().all(|&cells| cells <= QUEUE_CELLS_PER_SLOT_MAX));
            allowed += decision.max(1).div_ceil(PACKET);
            sent += plan.iter().map(|&cells| u64::from(cells)).sum::<u64>();
            prop_assert!(sent <= allowed, "more than was decided: {} {}", sent, allowed);
        }
    }
}
