//! The set of guards over time, and its file.

use crate::network::{INNER, id, relay, rng};
use identity::NodeId;
use network_document::{Descriptor, NetworkId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tunnel_plan::{Guards, GuardsFileError, LIFETIME_S, PERIOD_S, Relays, UNLISTED_S};

const NETWORK: NetworkId = NetworkId([7; 32]);
const NOW: u64 = 1_764_374_400;
const DAY: u64 = 86_400;

fn network(relays: std::ops::Range<u16>) -> Relays {
    let descriptors: Vec<Descriptor> = relays.map(|number| relay(number, INNER)).collect();
    Relays::from_descriptors(&descriptors)
}

fn fresh(relays: &Relays) -> Guards {
    let mut guards = Guards::new(NETWORK, 2).expect("two");
    assert!(guards.handle_relays(NOW, relays, &mut rng(1)));
    guards
}

#[test]
fn a_failing_guard_keeps_its_place_and_is_tried_again() {
    let (relays, mut rng) = (network(0..50), rng(2));
    let mut guards = fresh(&relays);
    let order = guards.usable(NOW);
    assert_eq!((order.len(), guards.wanted(), guards.added_max()), (4, 4, 6));
    for guard in &order[..2] {
        assert!(guards.handle_answered(NOW, guard, &mut rng), "first used");
        assert!(!guards.handle_answered(NOW + 1, guard, &mut rng), "nothing new to write");
    }
    let (mut now, mut waits) = (NOW + 1, Vec::new());
    for _ in 0..12 {
        guards.handle_failed(now, &order[0], &mut rng);
        guards.handle_failed(now, &order[0], &mut rng);
        let retry = guards.poll_retry(now).expect("it is tried again");
        assert_eq!(guards.usable(now), order[1..], "the others are used meanwhile");
        waits.push(retry - now);
        now = retry;
        assert_eq!(guards.usable(now), order, "then it is the first again");
    }
    assert!((30..=37).contains(&waits[0]) && (60..=75).contains(&waits[1]), "{waits:?}");
    assert!(waits[8..].iter().all(|wait| (1800..=2250).contains(wait)), "{waits:?}");
    assert!(!guards.handle_relays(now, &relays, &mut rng), "failing replaces nothing");
    guards.handle_answered(now, &order[0], &mut rng);
    assert_eq!((guards.usable(now), guards.poll_retry(now)), (order, None));
}

#[test]
fn used_guards_come_first_and_after_an_outage_all_are_tried_at_once() {
    let (relays, mut rng) = (network(0..50), rng(2));
    let mut guards = fresh(&relays);
    let order = guards.usable(NOW);
    guards.handle_failed(NOW, &order[0], &mut rng);
    guards.handle_answered(NOW + 1, &order[2], &mut rng);
    guards.handle_answered(NOW + 2, &order[1], &mut rng);
    let now_first = [order[2], order[1], order[0], order[3]];
    assert_eq!(guards.usable(NOW + 40), now_first);
    let primary: Vec<NodeId> = guards.status().filter(|guard| guard.is_primary).map(|guard| guard.node_id).collect();
    assert_eq!(primary, now_first[..2]);
    // The client's own network goes away for two hours.
    for minute in 0..120 {
        for guard in &order {
            guards.handle_failed(NOW + 60 * minute, guard, &mut rng);
        }
    }
    let back = NOW + 7_200;
    guards.handle_answered(back, &order[3], &mut rng);
    assert_eq!(guards.usable(back)[..2], now_first[..2], "not the one that happened to be tried first");
}

#[test]
fn guards_go_when_they_left_or_their_time_is_over() {
    let (all, mut rng) = (network(0..50), rng(3));
    let mut guards = fresh(&all);
    let order = guards.usable(NOW);
    let without: Vec<Descriptor> =
        (0..50).filter(|number| id(*number) != order[0]).map(|number| relay(number, INNER)).collect();
    let without = Relays::from_descriptors(&without);
    assert!(guards.handle_relays(NOW + DAY, &without, &mut rng));
    let usable = guards.usable(NOW + DAY);
    assert!(usable.len() == 4 && !usable.contains(&order[0]), "one more at once");
    let mut returned = guards.clone();
    returned.handle_relays(NOW + 2 * DAY, &all, &mut rng);
    assert_eq!(returned.usable(NOW + 2 * DAY)[0], order[0], "its place was kept");
    guards.handle_relays(NOW + DAY + UNLISTED_S, &without, &mut rng);
    guards.handle_relays(NOW + DAY + UNLISTED_S + 1, &all, &mut rng);
    assert!(!guards.usable(NOW + DAY + UNLISTED_S + 1).contains(&order[0]), "until it was gone for a week");
    let first = guards.status().map(|guard| guard.until_s).min().expect("guards");
    assert!((NOW + LIFETIME_S.0..=NOW + LIFETIME_S.1).contains(&first));
    let kept: BTreeSet<NodeId> =
        guards.status().filter(|guard| guard.until_s > first).map(|guard| guard.node_id).collect();
    guards.handle_relays(first, &all, &mut rng);
    let after: BTreeSet<NodeId> = guards.usable(first).into_iter().collect();
    assert!(after.len() == 4 && after.is_superset(&kept), "only what is over goes");
}

#[test]
fn a_clock_that_was_wrong_for_a_while_does_no_lasting_harm() {
    let (relays, mut rng) = (network(0..50), rng(4));
    let mut guards = Guards::new(NETWORK, 2).expect("two");
    guards.handle_relays(NOW + 3_000 * DAY, &relays, &mut rng);
    let order = guards.usable(u64::MAX / 4);
    guards.handle_answered(NOW + 3_000 * DAY, &order[1], &mut rng);
    guards.handle_answered(NOW, &order[2], &mut rng);
    guards.handle_relays(NOW, &relays, &mut rng);
    assert!(guards.status().all(|guard| guard.until_s <= NOW + LIFETIME_S.1));
    assert_eq!(Guards::parse(&guards.text(), NETWORK).expect("it is good").text(), guards.text());
    assert!(!guards.handle_relays(NOW + DAY, &relays, &mut rng));
}

#[test]
fn mistakes_in_the_file_have_a_line() {
    let guards = fresh(&network(0..50));
    let text = guards.text();
    assert_eq!(Guards::parse(&text, NETWORK).as_ref().map(Guards::text), Ok(text.clone()));
    assert_eq!(format!("{guards:?}"), "Guards(..)");
    let refused = |text: &str| Guards::parse(text, NETWORK).expect_err("a mistake");
    assert_eq!(refused(""), GuardsFileError::Header);
    assert_eq!(refused(&text.replace("guards 1", "guards 2")), GuardsFileError::Header);
    assert_eq!(Guards::parse(&text, NetworkId([8; 32])), Err(GuardsFileError::OtherNetwork));
    for number in ["0", "9", "02", "x", ""] {
        assert_eq!(refused(&text.replace("primaries 2", &format!("primaries {number}"))), GuardsFileError::Primaries);
    }
    assert_eq!(refused(text.trim_end()), GuardsFileError::Cut { line: 11 });
    assert_eq!(refused(&format!("{text}\n")), GuardsFileError::Line { line: 12 });
    assert_eq!(refused(&format!("{text}added 5\n")), GuardsFileError::Order { line: 12 });
    assert_eq!(refused(&text.replacen("added ", "added 9", 1)), GuardsFileError::Order { line: 5 });
    let last = text.lines().last().expect("a guard");
    assert_eq!(refused(&format!("{text}{last}\n")), GuardsFileError::Order { line: 12 });
    assert_eq!(refused(&text.replace(last, &format!("{last} confirmed 1"))), GuardsFileError::Order { line: 11 });
    for wrong in [" confirmed", " confirmed 01", " unlisted 1 confirmed 1", " since 1", " "] {
        assert_eq!(
            refused(&text.replace(last, &format!("{last}{wrong}"))),
            GuardsFileError::Line { line: 11 },
            "{wrong}"
        );
    }
    assert!(matches!(refused(&text.replacen("guard hwn1", "guard hwn2", 1)), GuardsFileError::Key { line: 8, .. }));
    let many = text.replacen("added 1764374400\n", &"added 1764374400\n".repeat(18), 1);
    assert_eq!(refused(&many), GuardsFileError::TooMany { line: 24 });
    assert_eq!(refused(&many).to_string(), "line 24 is one too many: there are at most 20 guards and 20 additions");
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Document(u16, u16),
    Answered(usize),
    Failed(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..10 * DAY).prop_map(Step::Wait),
        (0_u16..40, 0_u16..40).prop_map(|(first, count)| Step::Document(first, count)),
        (0_usize..6).prop_map(Step::Answered),
        (0_usize..6).prop_map(Step::Failed),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever documents say and guards do, no more than `added_max` new guards are seen in 30 days, and the file is always read.
    #[test]
    fn few_guards_are_ever_tried(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>(), primaries in 1_u8..=8) {
        let mut guards = Guards::new(NETWORK, primaries).expect("a number of legs");
        let (mut now, mut rng, mut relays) = (NOW, rng(seed), network(0..40));
        let mut seen: Vec<(u64, NodeId)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Document(first, count) => relays = network(first..first + count),
                Step::Answered(place) => {
                    if let Some(guard) = guards.usable(now).get(place) { guards.handle_answered(now, guard, &mut rng); }
                }
                Step::Failed(place) => {
                    if let Some(guard) = guards.usable(now).get(place) { guards.handle_failed(now, guard, &mut rng); }
                }
                Step::Restart => guards = Guards::parse(&guards.text(), NETWORK).expect("it was written"),
            }
            let before: BTreeSet<NodeId> = guards.status().map(|guard| guard.node_id).collect();
            guards.handle_relays(now, &relays, &mut rng);
            let new = guards.status().filter(|guard| !before.contains(&guard.node_id));
            seen.extend(new.map(|guard| (now, guard.node_id)));
            let lately = seen.iter().filter(|(time, _)| now - time < PERIOD_S).count();
            prop_assert!(lately <= guards.added_max(), "{} of {}", lately, guards.added_max());
            prop_assert!(guards.usable(now).len() <= 40);
            let again = Guards::parse(&guards.text(), NETWORK).expect("it was written");
            prop_assert_eq!(again.text(), guards.text());
        }
    }
}
