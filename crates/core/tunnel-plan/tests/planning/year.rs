//! A year against somebody who runs a tenth of the guards and cuts clients off from the others.

use crate::network::{INNER, id, relay, rng};
use identity::NodeId;
use network_document::{Descriptor, NetworkId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;
use tunnel_plan::{Guards, Relays};

const START: u64 = 1_764_374_400;
const HOUR: u64 = 3_600;
const RELAYS: u16 = 50;
const BAD: u16 = 5;
const CLIENTS: u64 = 300;
const LEGS: usize = 2;

fn is_bad(node: &NodeId) -> bool {
    (0..BAD).any(|number| id(number) == *node)
}

fn network() -> Relays {
    let descriptors: Vec<Descriptor> = (0..RELAYS).map(|number| relay(number, INNER)).collect();
    Relays::from_descriptors(&descriptors)
}

/// In which hours good guards cannot be reached: never, or in the second month of every quarter.
type Attack = fn(u64) -> bool;

fn quiet(_: u64) -> bool {
    false
}

fn cutting(hour: u64) -> bool {
    (30..60).contains(&(hour / 24 % 91))
}

/// The guards that a client reached in a year, and in how many hours it could build.
struct Year {
    reached: BTreeSet<NodeId>,
    hours: u64,
}

/// A client that builds a tunnel each hour and goes on to the next guard whenever one does not answer.
fn kept(attack: Attack, relays: &Relays, rng: &mut ChaCha20Rng) -> Year {
    let mut guards = Guards::new(NetworkId([7; 32]), 2).expect("two");
    let mut year = Year { reached: BTreeSet::new(), hours: 0 };
    for hour in 0..365 * 24 {
        let now = START + hour * HOUR;
        if hour % 24 == 0 {
            guards.handle_relays(now, relays, rng);
        }
        let (mut legs, mut tried) = (0, BTreeSet::new());
        while let Some(guard) = guards.usable(now).into_iter().find(|guard| !tried.contains(guard)) {
            tried.insert(guard);
            if attack(hour) && !is_bad(&guard) {
                guards.handle_failed(now, &guard, rng);
                continue;
            }
            guards.handle_answered(now, &guard, rng);
            guards.handle_built(&guard);
            year.reached.insert(guard);
            legs += 1;
            if legs == LEGS {
                year.hours += 1;
                break;
            }
        }
    }
    year
}

/// A client without guards: each leg begins at any relay, and one that does not answer is left for the next.
fn uniform(attack: Attack, rng: &mut ChaCha20Rng) -> Year {
    let mut year = Year { reached: BTreeSet::new(), hours: 0 };
    for hour in 0..365 * 24 {
        let mut legs = BTreeSet::new();
        while legs.len() < LEGS {
            let guard = id(u16::try_from(rng.next_u32() % u32::from(RELAYS)).expect("below 50"));
            if !attack(hour) || is_bad(&guard) {
                legs.insert(guard);
            }
        }
        year.reached.extend(legs);
        year.hours += 1;
    }
    year
}

/// The part of all clients that reached a bad guard, guards reached by the mean client, and the part of hours with two legs.
fn fractions(mut client: impl FnMut(&mut ChaCha20Rng) -> Year) -> (f64, f64, f64) {
    let (mut bad, mut reached, mut hours) = (0_u32, 0, 0);
    for seed in 0..CLIENTS {
        let year = client(&mut rng(seed));
        bad += u32::from(year.reached.iter().any(is_bad));
        reached += year.reached.len();
        hours += year.hours;
    }
    let clients = CLIENTS as f64;
    (f64::from(bad) / clients, reached as f64 / clients, hours as f64 / (clients * 8_760.0))
}

/// With 300 clients the standard error of a fraction near 0.6 is 0.028. The bounds leave four of them around what these seeds give
/// (0.62, and 0.76 under attack): about one other set of seeds in 10,000 would miss one.
#[test]
fn few_clients_ever_use_a_bad_guard() {
    let relays = network();
    let (bad_quiet, reached_quiet, hours_quiet) = fractions(|rng| kept(quiet, &relays, rng));
    let (bad, reached, hours) = fractions(|rng| kept(cutting, &relays, rng));
    let (bad_uniform, reached_uniform, _) = fractions(|rng| uniform(quiet, rng));
    let figures = format!(
        "seeds 0..{CLIENTS}: kept {bad_quiet:.3} ({reached_quiet:.1} guards, {hours_quiet:.3} of hours), cut off {bad:.3} \
         ({reached:.1}, {hours:.3}), uniform {bad_uniform:.3} ({reached_uniform:.1})"
    );
    assert!((0.51..0.74).contains(&bad_quiet) && hours_quiet > 0.999, "{figures}");
    assert!(bad < 0.86 && reached < reached_quiet + 1.0, "cutting guards off moves nobody to many others; {figures}");
    assert!(hours > 0.6, "the price is paid in hours without a tunnel; {figures}");
    assert!(bad_uniform > 0.99, "without guards everybody meets a bad one; {figures}");
    let (walked, _, _) = fractions(|rng| uniform(cutting, rng));
    assert!(walked > 0.99, "and whoever always goes on to another one too: {walked:.3}; {figures}");
}
