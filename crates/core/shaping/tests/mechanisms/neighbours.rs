//! Neighbouring streams: by how much one client moves what is measured, in mode `dp` and in mode `queue`.

use proptest::prelude::*;
use shaping::{
    ClientNumber, DpParameters, DpSchedule, DpSettings, Noise, Outcome, Per1024, QueueOutcome, QueueParameters,
    QueueSchedule, QueueSettings, RateClass, SendingStrategy, Sigma, SlotLength,
};

const DELTA: u64 = 100_000;
const EPOCHS: usize = 6;
const CLIENTS: u64 = 5;

/// What a client puts in, in order: epoch, client, bytes.
type Wish = (usize, u64, u64);

fn dp() -> DpSchedule {
    let settings = DpSettings {
        epoch_s: 5,
        delta_bytes: DELTA,
        sigma: Sigma::new(DELTA).expect("in range"),
        gain: Per1024(512),
        margin: Per1024(1331),
        errors: Per1024::ONE,
        floor: RateClass::SLOWEST,
        initial: RateClass::SLOWEST,
        ceiling: RateClass::at_least(10_000_000).expect("exists"),
        count_cap_bytes: 4 * DELTA,
    };
    DpSchedule::new(DpParameters::new(settings).expect("they fit"), 0)
}

/// The counts of all epochs, through the real quota, count and release, with noise of value 0. `retry`: what was not let
/// through asks again at the beginning of the next epoch.
fn counts(wishes: &[Wish], retry: bool) -> Vec<i64> {
    let mut schedule = dp();
    let mut waiting = [0; CLIENTS as usize + 1];
    let mut counts = Vec::new();
    for epoch in 0..EPOCHS {
        let left = waiting.iter().enumerate().map(|(client, &bytes)| (epoch, client as u64, bytes)).collect::<Vec<_>>();
        waiting = Default::default();
        for (_, client, bytes) in left.into_iter().chain(wishes.iter().copied().filter(|wish| wish.0 == epoch)) {
            let admitted = schedule.admit(ClientNumber(client), bytes);
            waiting[client as usize] += if retry { bytes - admitted } else { 0 };
        }
        let end = schedule.poll(5 * (epoch as u64 + 1)).expect("an edge");
        let mut noise = Some(Noise::for_tests(0, Sigma::new(DELTA).expect("in range")));
        let Outcome::Released(release) = schedule.release(end, true, &mut noise) else { panic!("noise was ready") };
        counts.push(release.measured_bytes);
    }
    counts
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    proptest::collection::vec((0..EPOCHS, 1..=CLIENTS, 0..3 * DELTA), 0..60)
}

/// `wishes` with some more of client 0, at some places of the order.
fn with_client_0(wishes: &[Wish], more: &[(usize, Wish)]) -> Vec<Wish> {
    let mut stream = wishes.to_vec();
    for &(place, (epoch, _, bytes)) in more {
        stream.insert(place.min(stream.len()), (epoch, 0, bytes));
    }
    stream
}

proptest! {
    /// The promise of `dp`: open loop, one client, one epoch.
    #[test]
    fn in_dp_one_client_in_one_epoch_moves_one_count_by_at_most_delta(
        others in wishes(),
        epoch in 0..EPOCHS,
        one in proptest::collection::vec((0usize..60, 0..3 * DELTA), 0..8),
        other in proptest::collection::vec((0usize..60, 0..3 * DELTA), 0..8),
    ) {
        let world = |changed: &[(usize, u64)]| {
            let more: Vec<_> = changed.iter().map(|&(place, bytes)| (place, (epoch, 0, bytes))).collect();
            counts(&with_client_0(&others, &more), false)
        };
        for (at, (one, other)) in world(&one).into_iter().zip(world(&other)).enumerate() {
            let bound = if at == epoch { DELTA } else { 0 };
            prop_assert!(one.abs_diff(other) <= bound, "epoch {}: {} {}", at, one, other);
        }
    }

    /// A client that is there in many epochs, or whose rest asks again, differs in many: Delta in each, never more.
    #[test]
    fn in_dp_a_whole_client_moves_every_count_by_at_most_delta(
        others in wishes(),
        one in proptest::collection::vec((0usize..60, (0..EPOCHS, Just(0), 0..4 * DELTA)), 0..12),
        retry in proptest::bool::ANY,
    ) {
        let (without, with) = (counts(&others, retry), counts(&with_client_0(&others, &one), retry));
        for (without, with) in without.into_iter().zip(with) {
            prop_assert!(without.abs_diff(with) <= DELTA, "{} {}", without, with);
        }
    }

    /// What remains of the claim of `queue`: two streams that differ by Delta over their whole length.
    #[test]
    fn in_queue_streams_that_differ_by_delta_in_all_keep_the_queues_within_delta(
        stream in proptest::collection::vec((0u64..5, 0u64..8), 1..40),
        places in proptest::collection::vec(0usize..40, 2),
        parts in 0u64..=2,
    ) {
        // The differences are `parts` units at one place and the others up to 2 at another.
        let (common, outputs): (Vec<u64>, Vec<u64>) = stream.into_iter().unzip();
        let mut other = common.clone();
        for (place, units) in places.into_iter().zip([parts, 2 - parts]) {
            let place = place % other.len();
            other[place] += units;
        }
        let difference = queue_differences(&common, &other, &outputs).into_iter().max().unwrap_or(0);
        prop_assert!(difference <= 2, "{}", difference);
    }
}

/// Bytes of a unit of the streams below: one cell.
const UNIT: u64 = 1_000;

/// Feeds two streams of units per decision interval to two schedules whose decisions are made the same by the choice of noise,
/// and returns by how many units the measured queues differ at each decision.
fn queue_differences(one: &[u64], other: &[u64], outputs: &[u64]) -> Vec<u64> {
    let settings = QueueSettings {
        noise_multiplier: 10.0,
        sensitivity: UNIT,
        max_decision_size: 1_000 * UNIT,
        sending_strategy: SendingStrategy::Burst,
        ..QueueSettings::default()
    };
    let parameters = QueueParameters::new(settings, SlotLength::DEFAULT, UNIT as usize).expect("they fit");
    let mut schedules = [QueueSchedule::new(parameters, 0), QueueSchedule::new(parameters, 0)];
    let mut queues = [0u64; 2];
    let mut differences = Vec::new();
    for (interval, &output) in outputs.iter().enumerate() {
        let slot = 10 * interval as u64;
        for (world, stream) in [one, other].into_iter().enumerate() {
            queues[world] += stream[interval] * UNIT;
            let chosen = (output * UNIT) as i64 - queues[world] as i64;
            let mut noise = Some(Noise::for_tests(chosen, parameters.sigma()));
            let due = schedules[world].poll(slot).expect("a decision is due");
            let outcome = schedules[world].release(due, queues[world], true, &mut noise);
            assert_eq!(outcome, QueueOutcome::Decided(output * UNIT), "the outputs are common");
        }
        differences.push(queues[0].abs_diff(queues[1]) / UNIT);
        for queue in &mut queues {
            *queue -= (*queue).min(output * UNIT);
        }
    }
    differences
}

/// By how much two streams differ in the worst window of `length` intervals: what the claim of `queue` speaks of.
fn worst_window(one: &[u64], other: &[u64], length: usize) -> u64 {
    let differences: Vec<u64> = one.iter().zip(other).map(|(one, other)| one.abs_diff(*other)).collect();
    differences.windows(length).map(|window| window.iter().sum()).max().unwrap_or(0)
}

#[test]
fn the_unrestricted_claim_of_queue_is_false() {
    // Windows of two intervals, Delta one unit, nothing dropped, every unit gone within a window.
    let (one, other) = ([1, 1, 1], [0, 1, 0]);
    assert_eq!(worst_window(&one, &other, 2), 1, "neighbours");
    assert_eq!(queue_differences(&one, &other, &[0, 1, 0]), [1, 1, 2], "two Delta apart");
}

#[test]
fn the_difference_of_queues_grows_by_delta_a_window() {
    // Windows of ten intervals, Delta one unit, ten units an interval in both worlds, and as much is let out. One of
    // them has one unit more, once a window.
    let (length, windows) = (10, 40);
    let one = vec![10; length * windows];
    let other: Vec<u64> = (0..one.len()).map(|at| if at % length == 0 { 11 } else { 10 }).collect();
    assert_eq!(worst_window(&one, &other, length), 1, "neighbours");
    let differences = queue_differences(&one, &other, &one);
    assert_eq!([length - 1, 3 * length - 1, 40 * length - 1].map(|at| differences[at]), [1, 3, 40]);
}

#[test]
fn in_dp_the_same_streams_differ_by_delta_in_each_count_and_not_by_more() {
    let stream = |units: [u64; 3]| -> Vec<Wish> {
        units.into_iter().enumerate().map(|(epoch, units)| (epoch, 1, units * DELTA)).collect()
    };
    let (one, other) = (counts(&stream([1, 1, 1]), true), counts(&stream([0, 1, 0]), true));
    let differences: Vec<u64> = one.into_iter().zip(other).map(|(one, other)| one.abs_diff(other)).collect();
    assert_eq!(differences, [DELTA, 0, DELTA, 0, 0, 0], "nothing of an epoch is left in the next");
}
