//! Cells go where they should, at once, through any weather.

use crate::net::{LATENCY, Net, Weather, client_address, document, node_id, onion_keys, try_relay};
use onion::{Cause, CircuitEvent, Interval, Reason};
use relay_node::{ConfigError, Limits, NodeEvent};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_circuit_over_three_relays_echoes_and_no_relay_delays_it() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    for byte in 0..100 {
        let said = net.now.instant;
        net.say(client, circuit, byte);
        net.run(SECOND / 5);
        let (came, at) = *net.path(client, circuit).answers.last().expect("an answer");
        assert_eq!((came, at - said), (byte, 6 * LATENCY), "arrival and departure are one instant");
    }
    let exit = &net.relays[2];
    assert!(matches!(exit.events[..], [.., NodeEvent::Opened { .. }]), "{:?}", exit.events);
    let numbers: Vec<u64> = exit.inner.iter().map(|(_, _, number)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let circuit_there = exit.inner[0].0;
    assert_eq!(exit.node.sealed(circuit_there), Some(100));
    assert!(net.relays[..2].iter().all(|host| host.inner.is_empty()));
    assert_eq!(net.relays[0].node.counters().waited, 0, "nothing waits at a relay without a rate");
    assert_eq!(net.relays[1].node.counters().dials, 1);
    assert_eq!(net.relays[2].node.counters().dials, 0);

    net.clients[client].paths.get_mut(&circuit).expect("it is there").circuit.destroy(net.now.instant);
    net.run(2 * SECOND);
    assert_eq!(net.relays.iter().map(|host| host.node.circuits()).sum::<u32>(), 0);
    let closed = NodeEvent::Closed { circuit: circuit_there, reason: Reason::Finished };
    assert_eq!(net.relays[2].events.last(), Some(&closed));
}

#[test]
fn a_cell_for_a_slot_comes_like_any_other_and_spares_are_not_missed() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    net.relays[2].echoes = false;
    net.say(client, circuit, 1);
    net.run(SECOND);
    let circuit_there = net.relays[2].inner[0].0;
    let sent_before = net.relays[2].node.counters().sent;
    for byte in 0..200u8 {
        // Beside each a spare that is not needed.
        net.say_in_slot(2, circuit_there, 0xff, false).expect("the circuit ends here");
        net.say_in_slot(2, circuit_there, byte, true).expect("the circuit ends here");
        net.run(SECOND / 5);
    }
    let came: Vec<u8> = net.path(client, circuit).answers.iter().map(|(byte, _)| *byte).collect();
    assert_eq!(came, (0..200).collect::<Vec<u8>>());
    let node = &mut net.relays[2].node;
    assert_eq!(node.counters().sent - sent_before, 200);
    assert_eq!(node.sealed(circuit_there), Some(400), "spares have numbers of their own");
    assert_eq!(node.link_loss(circuit_there), Some(0), "the middle misses none");
    // Loss on the way to the middle is what the middle reports.
    net.weather.lost = 500;
    for byte in 0..200u8 {
        net.say_in_slot(2, circuit_there, byte, true).expect("the circuit ends here");
        net.run(SECOND / 20);
    }
    net.weather.lost = 0;
    net.run(2 * SECOND);
    let loss = net.relays[2].node.link_loss(circuit_there).expect("the link is up");
    assert!((300..700).contains(&loss), "{loss} of a thousand");
    net.clients[client].paths.get_mut(&circuit).expect("it is there").circuit.destroy(net.now.instant);
    net.run(2 * SECOND);
    assert_eq!(net.say_in_slot(2, circuit_there, 0, true), None, "it is gone");
    assert_eq!(net.relays[2].node.link_loss(circuit_there), None);
}

#[test]
fn cells_get_through_any_weather_unharmed() {
    for seed in 1..6 {
        let mut net = Net::new(3, Limits::default(), seed);
        net.weather = Weather { lost: 40, doubled: 50, altered: 20, jitter: Duration::from_millis(30) };
        let client = net.add_client(client_address(1), 0);
        let circuit = net.open(client, &[0, 1, 2]);
        // A client may not leave a hop alone for more than half a minute.
        for _ in 0..25 {
            if !net.is_built(client, circuit, 3) {
                net.run(SECOND);
            }
        }
        assert!(net.is_built(client, circuit, 3), "seed {seed}: {:?}", net.path(client, circuit).events);
        for round in 0..400u32 {
            net.say(client, circuit, round as u8);
            net.run(Duration::from_millis(7));
        }
        net.run(SECOND);
        // Six ways, each loses or alters 6 of 100: 69 of 100 come back.
        let answers = net.path(client, circuit).answers.len();
        assert!((200..=340).contains(&answers), "seed {seed}: {answers} of 400");
        let delivered = net.relays[2].inner.len();
        assert!(delivered > answers && delivered <= 400, "seed {seed}: each cell once at most");
        let forged: u64 =
            net.relays.iter().map(|host| host.node.link_counters().forged + host.node.link_counters().stranger).sum();
        assert!(forged > 20, "seed {seed}: altered packets die at the next relay");
    }
}

#[test]
fn a_relay_is_what_its_document_says() {
    let net = Net::new(3, Limits::default(), 1);
    let error = |relay, keys_of| {
        let keys = onion_keys(keys_of, net.document.interval());
        try_relay(relay, &net.document, &keys, (1, Limits::default(), None)).err()
    };
    assert_eq!(error(2, 2), None);
    assert_eq!(error(7, 7), Some(ConfigError::NotListed));
    assert_eq!(error(2, 1), Some(ConfigError::NoOnionSecret));
}

/// Links to others are kept, used by circuits of either side, and closed when nobody has used them for long.
#[test]
fn links_between_relays_are_kept_and_closed() {
    let limits =
        Limits { circuit_idle: Duration::from_secs(60), link_idle: Duration::from_secs(90), ..Limits::default() };
    let mut net = Net::new(3, limits, 1);
    let (client, first) = net.built(client_address(1), &[0, 1, 2]);
    let second = net.open(client, &[0, 1, 2]);
    net.run(SECOND);
    assert!(net.is_built(client, second, 3));
    for host in &net.relays[..2] {
        assert_eq!(host.node.counters().dials, 1, "one link serves both");
    }
    for _ in 0..4 {
        net.run(20 * SECOND);
        net.say(client, second, 1);
    }
    net.run(SECOND);
    assert_eq!(net.path(client, second).answers.len(), 4);
    let told = CircuitEvent::Closed { cause: Cause::Told(Reason::TimedOut) };
    assert_eq!(net.path(client, first).events.last(), Some(&told), "nobody used it");
    assert_eq!(net.relays[1].node.circuits(), 1);
    net.run(300 * SECOND);
    let counters = net.relays[1].node.counters();
    assert_eq!((net.relays[1].node.circuits(), counters.links_idle, counters.links_dead), (0, 1, 0));
    assert_eq!(net.relays[2].node.link_count(), 0, "the other end heard nothing any more");
    let third = net.open(client, &[0, 1, 2]);
    net.run(2 * SECOND);
    assert!(net.is_built(client, third, 3), "a link that is needed again is dialled again");
}

/// Two relays that dial each other at the same instant end with links that carry both circuits.
#[test]
fn relays_that_dial_each_other_at_once_both_get_through() {
    let mut net = Net::new(4, Limits::default(), 1);
    // Only the first relay answers strangers: two clients there, and circuits that cross between relays 1 and 2.
    let client = net.add_client(client_address(1), 0);
    let paths = [[0, 1, 2], [0, 2, 1]];
    let circuits = paths.map(|path| net.open(client, &path));
    net.run(20 * SECOND);
    for circuit in circuits {
        if !net.is_built(client, circuit, 3) {
            // A crossing may cost one of them its first try; what is there then serves the second.
            let path = net.path(client, circuit);
            assert_eq!(path.circuit.path().count(), 2, "{:?}", path.events);
        }
    }
    let again = paths.map(|path| net.open(client, &path));
    net.run(5 * SECOND);
    assert!(again.iter().all(|circuit| net.is_built(client, *circuit, 3)));
    let links = [1, 2].map(|relay| net.relays[relay].node.link_count());
    assert_eq!(links, [2, 2], "to the guard, and one between them");
}

#[test]
fn a_later_document_is_taken_over_while_circuits_live() {
    let mut net = Net::new(4, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 3]);
    let (other, gone) = net.built(client_address(2), &[0, 2, 3]);
    let later = document(&[0, 1, 3], Interval(6));
    let keys = |relay: usize| {
        let mut file = network_document::OnionKeyFile::default();
        file.prepare(Interval(6), [relay as u8 * 8 + 6; 32]);
        file
    };
    let now = net.now;
    let old = net.document.clone();
    for relay in [0, 1, 3] {
        let node = &mut net.relays[relay].node;
        assert_eq!(node.set_document(now, old.clone(), &keys(relay)), Err(ConfigError::NotLater));
        assert_eq!(node.set_document(now, later.clone(), &keys(9)), Err(ConfigError::NoOnionSecret));
        assert_eq!(node.set_document(now, later.clone(), &keys(relay)), Ok(()));
    }
    let expelled = net.relays[2].node.set_document(now, later.clone(), &keys(2));
    assert_eq!(expelled, Err(ConfigError::NotListed));
    net.run(SECOND);
    net.say(client, circuit, 1);
    net.run(SECOND);
    assert_eq!(net.path(client, circuit).bytes(), [1], "circuits over those that stay live on");
    let severed = net.path(other, gone).events.last();
    assert!(matches!(severed, Some(CircuitEvent::Severed { reason: Reason::LinkDown, .. })), "{severed:?}");
    // Clients with the old document still find the onion keys of its interval.
    let fresh = net.open(client, &[0, 1, 3]);
    let unknown = net.open(client, &[0, 2, 3]);
    net.run(SECOND);
    assert!(net.is_built(client, fresh, 3));
    let failed = CircuitEvent::ExtendFailed { cause: Cause::Told(Reason::UnknownNode) };
    assert_eq!(net.path(client, unknown).events.last(), Some(&failed));
    net.document = later;
    let newest = net.open(client, &[0, 1, 3]);
    net.run(SECOND);
    assert!(net.is_built(client, newest, 3));
    assert!(net.relays[0].node.document().relay(&node_id(2)).is_none());
}

/// Where circuits may end is the document's word: another last hop drops what it is told.
#[test]
fn a_relay_that_is_no_exit_hands_nothing_over() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1]);
    net.say(client, circuit, 1);
    net.run(SECOND);
    assert!(net.relays[1].inner.is_empty() && net.relays[1].events.iter().all(|event| !is_of_circuit(event)));
    assert_eq!(net.relays[1].node.counters().undeliverable, 1);
    assert!(net.path(client, circuit).answers.is_empty());
}

fn is_of_circuit(event: &NodeEvent) -> bool {
    matches!(event, NodeEvent::Opened { .. } | NodeEvent::NotLast { .. } | NodeEvent::Closed { .. })
}

#[test]
fn only_a_guard_answers_strangers() {
    let mut net = Net::new(3, Limits::default(), 1);
    let stranger = net.add_client(client_address(1), 1);
    net.run(10 * SECOND);
    assert!(!net.clients[stranger].is_up);
    assert!(net.relays[1].node.link_counters().unknown_peer > 0);
    assert_eq!(net.relays[1].node.link_count(), 0);
}
