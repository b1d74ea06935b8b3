//! Who gets what of a relay's rate.

use crate::net::{Net, client_address};
use relay_node::Limits;
use shaping::RateClass;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(10);

/// A relay of about 1 Mbit/s: 108 packets a second. One circuit floods; another one asks for a third of the rate and has it.
#[test]
fn a_circuit_that_floods_leaves_others_their_share() {
    let mut net = Net::new(3, Limits::default(), 1);
    let class = RateClass::at_least(2_000_000).expect("a class");
    net.limit(1, Limits::default(), class);
    let rate = class.bits_per_second() / 8 / 1222;
    let (flooder, flood) = net.built(client_address(1), &[0, 1, 2]);
    let (client, modest) = net.built(client_address(2), &[0, 1, 2]);
    net.relays[2].echoes = false;
    let (start, mut said) = (net.relays[1].node.counters().sent, 0);
    for step in 0..500u64 {
        for _ in 0..10 {
            net.say(flooder, flood, 1);
        }
        // A third of the rate, evenly.
        if step * rate / 300 > said {
            said += 1;
            net.say(client, modest, 2);
        }
        net.run(STEP);
    }
    let sent = net.relays[1].node.counters().sent - start;
    let came = |byte| net.relays[2].inner.iter().filter(|(_, first, _)| *first == byte).count() as u64;
    let (flooded, modest_came) = (came(1), came(2));
    assert!((rate * 5..rate * 5 + rate / 20).contains(&sent), "{sent} cells in 5 s at {rate} a second");
    assert!(modest_came + 3 >= said, "{modest_came} of {said}");
    assert!(flooded > rate * 5 / 2, "{flooded} of the flood, which has what the other leaves");
    let counters = net.relays[1].node.counters();
    assert!(counters.dropped_circuit_full > 1_000, "{counters:?}");
    assert!(net.relays[1].node.waiting() <= 64 + 1);
    assert!(net.relays[1].node.waiting_bytes() <= 65 * 1313);
    assert!(net.relays[1].node.waiting_of_busiest() >= net.relays[1].node.waiting());
}

/// Twenty circuits that all want more than there is get the same, and the newest of each.
#[test]
fn circuits_that_all_want_more_get_the_same() {
    let mut net = Net::new(3, Limits::default(), 2);
    let class = RateClass::at_least(4_000_000).expect("a class");
    net.limit(1, Limits::default(), class);
    let circuits: Vec<(usize, u32)> = (1..=20).map(|number| net.built(client_address(number), &[0, 1, 2])).collect();
    net.relays[2].echoes = false;
    for _ in 0..300 {
        for (number, (client, circuit)) in circuits.iter().enumerate() {
            // Some want twice as much as others.
            for _ in 0..1 + number % 2 {
                net.say(*client, *circuit, number as u8);
            }
        }
        net.run(STEP);
    }
    let mut shares = [0u32; 20];
    for (_, first, _) in &net.relays[2].inner {
        shares[usize::from(*first)] += 1;
    }
    let (least, most) = (shares.iter().min().expect("some"), shares.iter().max().expect("some"));
    assert!(*least > 40 && most - least <= 2, "{shares:?}");
}

/// What is full of one neighbour's cells still takes another's.
#[test]
fn memory_is_bounded_for_each_neighbour_and_in_all() {
    let limits = Limits { cells: 200, cells_per_neighbour: 50, circuits_per_client: 100, ..Limits::default() };
    let mut net = Net::new(3, limits, 3);
    net.limit(0, limits, RateClass::at_least(2_000_000).expect("a class"));
    net.relays[2].echoes = false;
    let flooder = net.add_client(client_address(1), 0);
    let floods: Vec<u32> = (0..10).map(|_| net.open(flooder, &[0, 1, 2])).collect();
    net.run(Duration::from_secs(2));
    let (client, circuit) = net.built(client_address(2), &[0, 1, 2]);
    assert!(floods.iter().all(|flood| net.is_built(flooder, *flood, 3)));
    for _ in 0..150 {
        for flood in &floods {
            for _ in 0..6 {
                net.say(flooder, *flood, 1);
            }
        }
        net.say(client, circuit, 2);
        net.run(2 * STEP);
        assert!(net.relays[0].node.waiting() <= 200 && net.relays[0].node.waiting_of_busiest() <= 50);
    }
    let counters = *net.relays[0].node.counters();
    assert!(counters.dropped_neighbour_full > 5_000 && counters.dropped_memory_full == 0, "{counters:?}");
    let came = |byte| net.relays[2].inner.iter().filter(|(_, first, _)| *first == byte).count();
    assert!(came(2) * 11 >= came(1), "{} of the one, {} of the ten", came(2), came(1));
}
