use super::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const ALL: Roles = Roles { guard: true, middle: true, exit: true, directory: false };
const GUARD: Roles = Roles { guard: true, middle: true, exit: false, directory: false };

fn rated(roles: Roles, operator: usize, bits_per_second: u64) -> Rated {
    Rated { roles, operator, bits_per_second }
}

#[test]
fn without_a_role_there_is_no_weight_and_with_it_always_some() {
    let relays = [rated(ALL, 0, 1), rated(GUARD, 1, 1_000_000), rated(GUARD, 2, 1_000_000), rated(GUARD, 3, 0)];
    assert_eq!(weights(&relays, Place::Exit), [1, 0, 0, 0]);
    let guards = weights(&relays, Place::Guard);
    assert!(guards.iter().all(|weight| *weight > 0), "{guards:?}");
    assert_eq!(guards[3], 50_000, "a tenth of the mean is the floor");
}

#[test]
fn no_operator_has_more_than_a_third() {
    let relays = [rated(GUARD, 0, 60_000), rated(GUARD, 0, 40_000), rated(GUARD, 1, 9_000), rated(GUARD, 2, 9_000)];
    // Three operators: a third each.
    assert_eq!(weights(&relays, Place::Guard), [5_400, 3_600, 9_000, 9_000]);
    let four = [rated(GUARD, 0, 60_000), rated(GUARD, 1, 10_000), rated(GUARD, 2, 10_000), rated(GUARD, 3, 10_000)];
    assert_eq!(weights(&four, Place::Guard), [15_000, 10_000, 10_000, 10_000]);
    let two_large =
        [rated(GUARD, 0, 90_000), rated(GUARD, 1, 50_000), rated(GUARD, 2, 20_000), rated(GUARD, 3, 20_000)];
    assert_eq!(weights(&two_large, Place::Guard), [40_000, 40_000, 20_000, 20_000]);
    let fair = [rated(GUARD, 0, 30_000), rated(GUARD, 1, 30_000), rated(GUARD, 2, 30_000), rated(GUARD, 3, 30_000)];
    assert_eq!(weights(&fair, Place::Guard), [30_000; 4]);
    assert_eq!(weights(&relays[..2], Place::Guard), [60_000, 40_000], "one operator is all there is");
    assert_eq!(weights(&relays[1..3], Place::Guard), [9_000, 9_000], "two have a half each");
}

#[test]
fn exits_are_kept_for_the_end_while_they_are_few() {
    let mut relays = vec![rated(ALL, 0, 10_000)];
    relays.extend((1..10).map(|operator| rated(GUARD, operator, 10_000)));
    let middles = weights(&relays, Place::Middle);
    assert_eq!((middles[0], middles[1]), (250, 5_000));
    // Where all are exits nothing is scarce, and all are alike.
    let all: Vec<Rated> = (0..9).map(|operator| rated(ALL, operator, 9_000)).collect();
    let middles = weights(&all, Place::Middle);
    assert!(middles.iter().all(|weight| *weight == middles[0] && *weight > 2_500), "{middles:?}");
}

/// The traffic of each relay is its share of draws in each place, of which every path has one.
#[test]
fn every_relay_carries_what_it_is_worth_whatever_its_roles() {
    const MIDDLE: Roles = Roles { guard: false, ..GUARD };
    const EXIT: Roles = Roles { guard: false, middle: false, exit: true, directory: false };
    let mut relays: Vec<Rated> = (0..20).map(|operator| rated(EXIT, operator, 1_000_000)).collect();
    relays.extend((20..50).map(|operator| rated(GUARD, operator, 1_000_000)));
    relays.extend((50..60).map(|operator| rated(MIDDLE, operator, 1_000_000)));
    let shares = |place| {
        let weights = weights(&relays, place);
        let sum: u64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight as f64 / sum as f64).collect::<Vec<_>>()
    };
    let places = [Place::Guard, Place::Middle, Place::Exit].map(shares);
    for number in 0..relays.len() {
        let carried: f64 = places.iter().map(|shares| shares[number]).sum();
        assert!((carried * 20.0 - 1.0).abs() < 0.01, "relay {number} carries {carried} of 3 where 0.05 is its part");
    }
    // Where guards are few they are guards and little else.
    let mut few = vec![rated(GUARD, 0, 1_000_000)];
    few.extend((1..5).map(|operator| rated(MIDDLE, operator, 1_000_000)));
    assert_eq!(weights(&few, Place::Middle), [50_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000]);
}

#[test]
fn draws_follow_the_weights() {
    let (seed, draws) = (7, 100_000_u32);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let candidates = [(4, 1_u64), (5, 0), (6, 3), (7, 6)];
    let mut counts = [0_u32; 8];
    for _ in 0..draws {
        counts[draw(&candidates, &mut rng).expect("there is weight")] += 1;
    }
    let square = |expected: f64, found: u32| (f64::from(found) - expected).powi(2) / expected;
    let chi = square(10_000.0, counts[4]) + square(30_000.0, counts[6]) + square(60_000.0, counts[7]);
    // Two degrees of freedom: above 18.4 once in 10,000 seeds.
    assert!(chi < 18.4 && counts[5] == 0, "chi square {chi}, {counts:?}, seed {seed}");
    assert_eq!(draw(&[], &mut rng), None);
    assert_eq!(draw(&[(1, 0)], &mut rng), None);
}
