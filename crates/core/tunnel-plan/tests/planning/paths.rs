//! Chosen paths keep the rules, in any network; selectors that do not are noticed.

use crate::network::{ALL, EXIT, INNER, broken_rule, choose, guards_of, id, random, relay, rng, run_by};
use identity::{NodeId, NodeSecret, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument};
use onion::Interval;
use proptest::prelude::*;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shaping::RateClass;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tunnel_plan::{Cause, Choice, Path, PathRules, Place, Relaxation, Relays, Target};

fn rules(hops: u8, legs: u8) -> PathRules {
    PathRules::new(hops, legs).expect("a tunnel")
}

fn relaxation() -> impl Strategy<Value = Relaxation> {
    prop_oneof![Just(Relaxation::Nothing), Just(Relaxation::SharedMiddles), Just(Relaxation::SharedOperators)]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Exit), Just(Target::Directory), Just(Target::ExitAndDirectory)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_choice_keeps_the_rules(
        seed in any::<u64>(), count in 1_u16..40, hops in 1_u8..=3, legs in 1_u8..=4, relaxation in relaxation(),
        target in target(),
    ) {
        let legs = if hops == 1 { 1 } else { legs };
        let descriptors = random(count, seed);
        let rules = rules(hops, legs).relaxed(relaxation).to(target);
        let relays = Relays::from_descriptors(&descriptors);
        let chosen = choose(&relays, rules, &guards_of(&descriptors), &mut rng(seed));
        if let Ok(paths) = chosen {
            prop_assert_eq!(broken_rule(&descriptors, rules, &paths), None);
            prop_assert!(paths.iter().all(|path| path.is_in(&relays)));
        }
    }

    /// In networks of at most 7 relays all pairs of paths can be tried: what is refused does not exist, as far as the guards that
    /// may be used go.
    #[test]
    fn what_is_refused_does_not_exist(seed in any::<u64>(), count in 1_u16..8, legs in 1_u8..=2, relaxation in relaxation()) {
        let descriptors = random(count, seed);
        let rules = rules(3, legs).relaxed(relaxation);
        let relays = Relays::from_descriptors(&descriptors);
        let guards: Vec<NodeId> = guards_of(&descriptors).into_iter().take(usize::from(legs) + 2).collect();
        let chosen = choose(&relays, rules, &guards, &mut rng(seed));
        prop_assert_eq!(chosen.is_ok(), exists(&descriptors, rules, &guards));
    }

    #[test]
    fn a_further_leg_keeps_the_rules_too(seed in any::<u64>(), count in 5_u16..40, relaxation in relaxation()) {
        let descriptors = random(count, seed);
        let rules = rules(3, 3).relaxed(relaxation);
        let relays = Relays::from_descriptors(&descriptors);
        let (guards, mut rng) = (guards_of(&descriptors), rng(seed));
        let Ok(mut paths) = choose(&relays, rules, &guards, &mut rng) else { return Ok(()) };
        let lost = paths.remove(1);
        let choice = Choice { relays: &relays, rules, guards: &guards, allows: &|_| true, legs: &paths };
        let further = choice.paths(&mut rng).expect("the lost one would do");
        prop_assert_eq!(further.len(), 1);
        prop_assert!(relaxation > Relaxation::Nothing || further[0].first() == lost.first(), "the first free guard, as before");
        paths.extend(further);
        prop_assert_eq!(broken_rule(&descriptors, rules, &paths), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn legs_that_end_apart_have_no_relay_in_common(seed in any::<u64>(), count in 3_u16..40, legs in 1_usize..=4, relaxation in relaxation()) {
        let descriptors = random(count, seed);
        let one = rules(3, 1).relaxed(relaxation).to(Target::Meeting);
        let relays = Relays::from_descriptors(&descriptors);
        let (guards, mut rng) = (guards_of(&descriptors), rng(seed));
        let mut paths: Vec<Path> = Vec::new();
        for number in 1..=legs {
            let rules = one.with_legs(u8::try_from(number).expect("few")).expect("a tunnel");
            let choice = Choice { relays: &relays, rules, guards: &guards, allows: &|_| true, legs: &paths };
            let Ok(chosen) = choice.paths(&mut rng) else { break };
            prop_assert_eq!(broken_rule(&descriptors, one, &chosen), None);
            prop_assert!(chosen[0].is_in(&relays));
            paths.extend(chosen);
        }
        let distinct = |hops: Vec<NodeId>| hops.iter().collect::<BTreeSet<_>>().len() == hops.len();
        prop_assert!(distinct(paths.iter().map(Path::first).collect()) && distinct(paths.iter().map(Path::exit).collect()));
        let all = paths.iter().flat_map(|path| path.hops().iter().copied()).collect();
        prop_assert!(relaxation > Relaxation::Nothing || distinct(all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// A selector that is blind for one thing breaks that rule sooner or later, and the look at its paths says so.
    #[test]
    fn planted_selectors_are_noticed(seed in any::<u64>()) {
        let descriptors: Vec<Descriptor> = (0..8).map(|number| {
            let mut relay = run_by(number / 2, relay(number, ALL));
            relay.addresses = vec![SocketAddr::from(([10, 0, u8::try_from(number % 4).expect("small"), 1], 1 + number))];
            relay
        }).collect();
        let blind = |change: fn(&mut Descriptor, u16)| {
            let mut changed = descriptors.clone();
            changed.iter_mut().zip(0..).for_each(|(relay, number)| change(relay, number));
            Relays::from_descriptors(&changed)
        };
        let subnets = blind(|relay, number| relay.addresses = vec![SocketAddr::from(([11, 0, number.to_be_bytes()[1], 1], 1))]);
        let operators = blind(|relay, number| relay.operator = crate::network::operator(100 + number));
        let (guards, rules, mut rng) = (guards_of(&descriptors), rules(3, 2), rng(seed));
        let mut noticed = BTreeSet::new();
        for _ in 0..200 {
            for relays in [&subnets, &operators] {
                let paths = choose(relays, rules, &guards, &mut rng).expect("there are eight relays");
                noticed.extend(broken_rule(&descriptors, rules, &paths));
            }
            // Each leg for itself.
            let good = Relays::from_descriptors(&descriptors);
            let one = PathRules::new(3, 1).expect("a tunnel");
            let exit = choose(&good, one, &guards, &mut rng).expect("there are eight relays")[0].exit();
            let allows = |node: &NodeId| *node == exit;
            let choice = |guards| Choice { relays: &good, rules: one, guards, allows: &allows, legs: &[] };
            let mut legs = choice(guards.as_slice()).paths(&mut rng).expect("as before");
            legs.extend(choice(&guards).paths(&mut rng).expect("as before"));
            noticed.extend(broken_rule(&descriptors, rules, &legs));
            let others: Vec<NodeId> = guards.iter().copied().filter(|guard| *guard != legs[0].first()).collect();
            if let Ok(second) = choice(&others).paths(&mut rng) {
                legs[1] = second[0].clone();
                noticed.extend(broken_rule(&descriptors, rules, &legs));
            }
        }
        let expected = ["operator", "shared guard", "shared middle", "subnet"];
        prop_assert_eq!(noticed.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// Tries all of them.
fn exists(descriptors: &[Descriptor], rules: PathRules, guards: &[NodeId]) -> bool {
    let names: Vec<NodeId> = descriptors.iter().map(|relay| relay.node_id).collect();
    let one = PathRules::new(3, 1).expect("a tunnel").relaxed(rules.relaxation());
    let path = |hops: [NodeId; 3]| made_path(hops, descriptors, one);
    let mut good = Vec::new();
    for guard in guards {
        for middle in &names {
            good.extend(names.iter().filter_map(|exit| path([*guard, *middle, *exit])));
        }
    }
    let both =
        |one: &Path| good.iter().any(|other| broken_rule(descriptors, rules, &[one.clone(), other.clone()]).is_none());
    if rules.legs() == 1 { !good.is_empty() } else { good.iter().any(both) }
}

/// A path of these hops if the rules allow it: drawn from a network in which only they have these places.
fn made_path(hops: [NodeId; 3], descriptors: &[Descriptor], rules: PathRules) -> Option<Path> {
    let [guard, middle, exit] = hops;
    let mut left = descriptors.to_vec();
    for relay in &mut left {
        relay.roles.guard &= relay.node_id == guard;
        relay.roles.middle &= relay.node_id == middle;
        relay.roles.exit &= relay.node_id == exit;
    }
    let paths =
        choose(&Relays::from_descriptors(&left), rules.relaxed(Relaxation::SharedOperators), &[guard], &mut rng(1));
    paths.ok().filter(|paths| broken_rule(descriptors, rules, paths).is_none()).map(|mut paths| paths.remove(0))
}

#[test]
fn a_signed_document_is_chosen_from() {
    let operator = OperatorSecret::from_seed([1; 32]);
    let name = Label::new("example", "name").expect("a label");
    let charter = Charter::new(name, Default::default(), vec![operator.operator_key()], 1).expect("a charter");
    let signed = |number: u8| {
        let secret = NodeSecret::from_seed([number; 32]);
        let described = Descriptor { node_id: secret.node_id(), ..relay(u16::from(number), ALL) };
        described.sign(charter.network_id(), &secret).expect("a descriptor")
    };
    let mut draft = Draft::new(charter.clone(), Interval(1), (1..=6).map(signed).collect()).expect("a draft");
    draft.sign(&operator).expect("an operator");
    let document = NetworkDocument::parse(draft.text().as_bytes()).expect("a document");
    let relays = Relays::new(&document);
    assert_eq!((relays.len(), relays.count(Place::Exit)), (6, 6));
    let descriptors: Vec<Descriptor> = document.relays().cloned().collect();
    let paths = choose(&relays, rules(3, 2), &guards_of(&descriptors), &mut rng(1)).expect("six relays are enough");
    assert_eq!(broken_rule(&descriptors, rules(3, 2), &paths), None);
    assert!(paths.iter().all(|path| path.hops().iter().all(|node| document.spec(node).is_some())));
    assert_eq!(format!("{paths:?}").matches("NodeId(..)").count(), 6, "nothing shows which they are");
}

/// Five is the smallest network for two legs of three hops: two guards, two middles, an exit.
#[test]
fn five_relays_are_enough_for_two_legs() {
    let five: Vec<Descriptor> = (0..5).map(|number| relay(number, ALL)).collect();
    let guards = guards_of(&five);
    for seed in 0..200 {
        let paths = choose(&Relays::from_descriptors(&five), rules(3, 2), &guards, &mut rng(seed)).expect("enough");
        assert_eq!(broken_rule(&five, rules(3, 2), &paths), None, "seed {seed}");
        assert_eq!([paths[0].first(), paths[1].first()], [id(0), id(1)], "both primary guards, always; seed {seed}");
    }
    let refused = choose(&Relays::from_descriptors(&five[..4]), rules(3, 2), &guards, &mut rng(1)).expect_err("four");
    assert_eq!(refused.cause, Cause::FewMiddles { found: 1, needed: 2, relays: 4 });
}

#[test]
fn exits_move_nobody_to_other_guards_while_the_first_ones_will_do() {
    // The first guard's operator has the fastest exit.
    let mut relays: Vec<Descriptor> = (0..6).map(|number| relay(number, INNER)).collect();
    relays.push(Descriptor { bandwidth: RateClass::FASTEST, ..run_by(0, relay(10, EXIT)) });
    relays.push(relay(11, EXIT));
    let (index, guards) = (Relays::from_descriptors(&relays), guards_of(&relays));
    let choice = |allows| Choice { relays: &index, rules: rules(3, 2), guards: &guards, allows, legs: &[] };
    for seed in 0..100 {
        let paths = choice(&|_| true).paths(&mut rng(seed)).expect("enough");
        assert_eq!([paths[0].first(), paths[0].exit()], [id(0), id(11)], "seed {seed}");
    }
    let paths = choice(&|node| *node == id(10)).paths(&mut rng(1)).expect("enough");
    assert_eq!([paths[0].first(), paths[1].first()], [id(1), id(2)], "only when it is asked for by name");
}

/// A choice that a generator spoils falls on relays of a class as often as the class says.
#[test]
fn bandwidth_decides_how_often() {
    // Operators with one relay each: nothing is capped or at the floor.
    let classes: [u8; 6] = [20, 21, 22, 23, 24, 24];
    let mut relays: Vec<Descriptor> = (0..4).map(|number| relay(number, INNER)).collect();
    let exits = classes.iter().zip(10..).map(|(class, number)| Descriptor {
        bandwidth: RateClass::new(*class).expect("a class"),
        ..relay(number, EXIT)
    });
    relays.extend(exits);
    let (index, guards) = (Relays::from_descriptors(&relays), guards_of(&relays));
    let (seed, draws) = (11, 20_000);
    let mut generator = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
    let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..draws {
        *counts.entry(choose(&index, rules(3, 1), &guards, &mut generator).expect("enough")[0].exit()).or_default() +=
            1;
    }
    let total: u64 = classes.iter().map(|class| RateClass::new(*class).expect("a class").bits_per_second()).sum();
    let chi: f64 = classes
        .iter()
        .zip(10..)
        .map(|(class, number)| {
            let bits = RateClass::new(*class).expect("a class").bits_per_second() as f64;
            let expected = f64::from(draws) * bits / total as f64;
            (f64::from(counts[&id(number)]) - expected).powi(2) / expected
        })
        .sum();
    // Five degrees of freedom: above 25.7 once in 10,000 seeds.
    assert!(chi < 25.7, "chi square {chi}, {counts:?}, seed {seed}");
    assert!((index.share(&id(10), Place::Exit) - 8_192_000.0 / total as f64).abs() < 1e-6);
    assert!(generator.next_u32() > 0);
}
