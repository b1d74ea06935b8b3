use super::*;
use crate::noise::{Noise, Sigma};
use proptest::prelude::*;

const SIGMA: u64 = 4_000_000;
const DELTA: u64 = 1_000_000;

fn sigma() -> Sigma {
    Sigma::new(SIGMA).expect("in range")
}

fn class(bits: u64) -> RateClass {
    RateClass::at_least(bits).expect("an existing class")
}

fn settings() -> DpSettings {
    DpSettings {
        epoch_s: 5,
        delta_bytes: DELTA,
        sigma: sigma(),
        gain: Per1024(512),
        margin: Per1024(1331),
        errors: Per1024(1024),
        floor: class(2_000_000),
        initial: class(10_000_000),
        ceiling: class(100_000_000),
        count_cap_bytes: 20_000_000,
    }
}

fn schedule() -> DpSchedule {
    DpSchedule::new(DpParameters::new(settings()).expect("they fit"), 1_000)
}

fn noise(bytes: i64) -> Option<Noise> {
    Some(Noise::for_tests(bytes, sigma()))
}

fn client(number: u64) -> ClientNumber {
    ClientNumber(number)
}

/// Ends the epoch before `unix_s` and releases it.
fn edge(schedule: &mut DpSchedule, unix_s: u64, granted: bool, mut noise: Option<Noise>) -> Option<Outcome> {
    let end = schedule.poll(unix_s)?;
    Some(schedule.release(end, granted, &mut noise))
}

fn measured(outcome: Option<Outcome>) -> Option<i64> {
    match outcome? {
        Outcome::Released(release) => Some(release.measured_bytes),
        Outcome::Held(_) => None,
    }
}

#[test]
fn an_epoch_is_counted_released_and_forgotten() {
    let mut schedule = schedule();
    assert_eq!(schedule.class(), class(10_000_000), "public until the first release");
    assert_eq!([schedule.admit(client(1), 700_000), schedule.admit(client(2), DELTA)], [700_000, DELTA]);
    assert_eq!([schedule.admit(client(1), 700_000), schedule.room(client(1))], [300_000, 0]);
    assert!(schedule.poll(1_004).is_none());
    let outcome = edge(&mut schedule, 1_005, true, noise(-500));
    assert_eq!(measured(outcome), Some(2 * DELTA as i64 - 500));
    assert_eq!(schedule.room(client(1)), DELTA, "a new epoch, a new quota");
    assert_eq!(measured(edge(&mut schedule, 1_010, true, noise(0))), Some(0));
    assert_eq!(schedule.counts().released, 2);
}

#[test]
fn the_rate_follows_releases_within_floor_and_ceiling() {
    let mut schedule = schedule();
    let Some(Outcome::Released(release)) = edge(&mut schedule, 1_005, true, noise(80_000_000)) else {
        panic!("it was granted and noise was ready");
    };
    assert_eq!((release.bits_per_second, release.class), (schedule.bits_per_second(), schedule.class()));
    assert!(release.class > class(10_000_000) && release.class < class(100_000_000));
    edge(&mut schedule, 1_010, true, noise(400_000_000));
    assert_eq!(schedule.class(), class(100_000_000), "never above the ceiling");
    edge(&mut schedule, 1_015, true, noise(-900_000_000));
    assert_eq!((schedule.class(), schedule.estimate_bytes()), (class(2_000_000), 0), "never below the floor");
}

#[test]
fn the_count_is_clipped_and_the_noise_is_not() {
    let mut schedule = schedule();
    for number in 0..30 {
        schedule.admit(client(number), DELTA);
    }
    assert_eq!(measured(edge(&mut schedule, 1_005, true, noise(7))), Some(20_000_007));
}

#[test]
fn without_grant_or_noise_the_last_public_rate_goes_on_and_is_counted() {
    let mut schedule = schedule();
    edge(&mut schedule, 1_005, true, noise(30_000_000));
    let rate = (schedule.class(), schedule.bits_per_second(), schedule.estimate_bytes());
    schedule.admit(client(1), DELTA);
    assert_eq!(edge(&mut schedule, 1_010, false, noise(0)), Some(Outcome::Held(Held::NoGrant)));
    assert_eq!(edge(&mut schedule, 1_015, true, None), Some(Outcome::Held(Held::NoNoise)));
    let weak = Sigma::new(SIGMA / 2).expect("in range");
    let foreign = Some(Noise::for_tests(0, weak));
    assert_eq!(edge(&mut schedule, 1_020, true, foreign), Some(Outcome::Held(Held::ForeignNoise)));
    assert_eq!(rate, (schedule.class(), schedule.bits_per_second(), schedule.estimate_bytes()));
    let counts = schedule.counts();
    assert_eq!((counts.released, counts.no_grant, counts.no_noise, counts.foreign_noise), (1, 1, 1, 1));
}

#[test]
fn a_count_that_is_not_released_is_not_carried_into_the_next() {
    let mut schedule = schedule();
    schedule.admit(client(1), DELTA);
    edge(&mut schedule, 1_005, true, None);
    schedule.admit(client(1), DELTA);
    assert_eq!(measured(edge(&mut schedule, 1_010, true, noise(0))), Some(DELTA as i64), "one quota, not two");
}

#[test]
fn noise_is_not_wasted_without_a_grant() {
    let mut schedule = schedule();
    let mut ready = noise(0);
    let end = schedule.poll(1_005).expect("an edge");
    assert_eq!(schedule.release(end, false, &mut ready), Outcome::Held(Held::NoGrant));
    assert!(ready.is_some());
}

#[test]
fn clock_jumps_make_one_release_at_most() {
    let mut schedule = schedule();
    schedule.admit(client(1), DELTA);
    assert_eq!(measured(edge(&mut schedule, 4_600, true, noise(0))), Some(DELTA as i64));
    assert_eq!(schedule.counts().missed, 719);
    schedule.admit(client(1), 5);
    assert!(schedule.poll(4_595).is_none(), "a step back ends no epoch");
    assert!(schedule.poll(4_600).is_none(), "and its edge is not passed again");
    assert!(schedule.poll(1_000).is_none(), "nor does a clock that is set right");
    assert_eq!(schedule.room(client(1)), DELTA - 5, "the epoch went on");
    assert_eq!(measured(edge(&mut schedule, 1_005, true, noise(0))), Some(5));
    assert_eq!(schedule.counts().clock_set_back, 1);
}

#[test]
fn it_starts_again_from_a_public_estimate() {
    let mut first = schedule();
    edge(&mut first, 1_005, true, noise(50_000_000));
    let again = DpSchedule::with_estimate(*first.parameters(), first.estimate_bytes(), 2_000);
    assert_eq!(again.class(), first.class());
    assert_eq!(again.estimate_bytes(), first.estimate_bytes());
}

#[test]
fn a_count_is_not_printed() {
    let mut schedule = schedule();
    schedule.admit(client(1), 123_456);
    assert_eq!(format!("{:?}", schedule.poll(1_005)), "Some(EpochEnd(..))");
}

proptest! {
    /// Two worlds with the same releases and other data: classes are the same, epoch for epoch.
    #[test]
    fn the_class_is_a_function_of_the_releases(
        epochs in proptest::collection::vec(
            (-10_000_000i64..60_000_000, 0u64..30_000_000, 0u64..30_000_000, proptest::bool::weighted(0.8)), 1..40),
    ) {
        let (mut one, mut other) = (schedule(), schedule());
        let mut unix_s = 1_000;
        for (released, ones, others, granted) in epochs {
            unix_s += 5;
            for (schedule, bytes) in [(&mut one, ones), (&mut other, others)] {
                let mut counted = 0;
                for number in 0..=bytes / DELTA {
                    counted += schedule.admit(client(number), bytes / (bytes / DELTA + 1));
                }
                let hiding = released - counted.min(settings().count_cap_bytes) as i64;
                let got = edge(schedule, unix_s, granted, noise(hiding));
                prop_assert_eq!(measured(got), granted.then_some(released));
            }
            prop_assert_eq!(one.class(), other.class());
            prop_assert_eq!(one.bits_per_second(), other.bits_per_second());
            prop_assert!((settings().floor..=settings().ceiling).contains(&one.class()));
        }
    }
}
