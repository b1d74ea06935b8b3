//! Networks that block ports, throttle pairs and translate addresses.

use super::{FAST, NEVER, hop, hopping_pair, index, is_trouble, is_whole, lose, settle, status, three_rounds};
use crate::net::{Fate, Net, address};
use link::{HopCause, LinkEvent};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Blocks the next `count` ports of the exit that the entry comes to.
fn block_next(net: &mut Net, count: usize) -> Rc<RefCell<BTreeSet<u16>>> {
    let present = status(net, 0).remote_port;
    let blocked = Rc::new(RefCell::new(BTreeSet::new()));
    let (log, mut seen) = (blocked.clone(), BTreeSet::from([present, 1000]));
    lose(net, move |_, far| {
        if seen.insert(far.port()) && log.borrow().len() < count {
            log.borrow_mut().insert(far.port());
        }
        log.borrow().contains(&far.port())
    });
    blocked
}

#[test]
fn a_blocked_candidate_costs_at_most_three_round_trips_and_50_ms() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let free = hop(&mut net, link);
    net.run(Duration::from_secs(3));
    let blocked = block_next(&mut net, 1);
    let took = hop(&mut net, link);
    assert_eq!(blocked.borrow().len(), 1);
    assert!(took <= three_rounds(&net) && took > free, "{took:?}, {free:?} without");
    net.run(Duration::from_secs(1));
    let listed: BTreeSet<u16> = status(&net, 0).blocked.iter().map(|(port, _)| *port).collect();
    assert_eq!(listed, *blocked.borrow());
    for node in 0..2 {
        assert!(is_whole(&net.nodes[node].cells));
    }
}

#[test]
fn when_all_three_are_blocked_the_link_stays_and_then_asks_a_door() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    hop(&mut net, link);
    net.run(Duration::from_secs(3));
    let pair = status(&net, 0).remote_port;
    let blocked = block_next(&mut net, usize::MAX);
    let now = net.now;
    net.nodes[0].endpoint.hop(now, link);
    net.run(Duration::from_secs(3));
    assert_eq!((status(&net, 0).remote_port, blocked.borrow().len()), (pair, 3), "it stays where it is");
    assert_eq!(net.events_of(0, is_trouble), 0);
    let replaced = |net: &Net, node| net.events_of(node, |event| matches!(event, LinkEvent::Replaced { .. }));
    assert!(net.run_until(Duration::from_secs(10), |net| replaced(net, 0) == 1 && replaced(net, 1) == 1));
    net.run(Duration::from_secs(3));
    for node in 0..2 {
        assert!(is_whole(&net.nodes[node].cells), "the pair stays in use until the door has answered");
        assert_eq!(status(&net, node).index, 0);
        assert_eq!(net.events_of(node, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
    }
    net.clear_filter();
    hop(&mut net, link);
}

#[test]
fn a_pair_that_is_throttled_is_left() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    net.run(Duration::from_secs(2));
    let (door, mut state) = (net.nodes[1].address, 1u32);
    lose(&mut net, move |_, far| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        far == door && state >> 31 == 0
    });
    assert!(net.run_until(Duration::from_secs(5), |net| index(&net.nodes[0], net) == 1), "half of all is lost");
    let causes: Vec<_> = status(&net, 0).past.iter().map(|hop| hop.cause).collect();
    assert_eq!(causes, [Some(HopCause::Loss)]);
    net.run(Duration::from_secs(20));
    assert_eq!(index(&net.nodes[0], &net), 1, "the pair that is well is kept");
}

#[test]
fn a_pair_that_falls_silent_is_left_before_the_link_is_doubted() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let (door, begun) = (net.nodes[1].address, net.now.instant);
    lose(&mut net, move |_, far| far == door);
    assert!(net.run_until(Duration::from_secs(2), |net| index(&net.nodes[1], net) == 1));
    let took = net.now.instant - begun;
    assert!(took < Duration::from_millis(750), "half a second of silence and a step: {took:?}");
    let causes: Vec<_> = status(&net, 0).past.iter().map(|hop| hop.cause).collect();
    assert_eq!(causes, [Some(HopCause::Silence)]);
    // The answer to the probe has proved the pair, so the responder's stream is there as soon as it has followed: what is
    // missing was on its way, not waiting for a challenge.
    let cells = [net.nodes[0].cells.len(), net.nodes[1].cells.len()];
    net.run(Duration::from_secs(1));
    for (node, before) in cells.into_iter().enumerate() {
        let more = net.nodes[node].cells.len() - before;
        assert!(more >= 192, "{more} cells of 200 at node {node}");
        assert_eq!(net.events_of(node, is_trouble), 0);
    }
}

#[test]
fn loss_on_all_pairs_is_survived() {
    let (mut net, _) = hopping_pair(FAST, |config| config.rekey_after = Duration::from_secs(2));
    settle(&mut net);
    let mut state = 1u32;
    net.set_filter(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 24 < 26 { Fate::Lose } else { Fate::Deliver }
    });
    let cells = [net.nodes[0].cells.len(), net.nodes[1].cells.len()];
    net.run(Duration::from_secs(30));
    assert!(index(&net.nodes[1], &net) > 20, "{}", index(&net.nodes[1], &net));
    for (node, before) in cells.into_iter().enumerate() {
        let more = net.nodes[node].cells.len() - before;
        assert!(more > 5_100, "a tenth is lost, of 6,000: {more}");
        assert_eq!(net.events_of(node, is_trouble), 0);
    }
}

/// The addresses that a translator gave to the entry's sockets.
#[derive(Default)]
struct Translator {
    outer: BTreeMap<std::net::SocketAddr, std::net::SocketAddr>,
    inner: BTreeMap<std::net::SocketAddr, std::net::SocketAddr>,
    /// Raised when all sockets get other addresses.
    age: u8,
}

#[test]
fn a_translator_that_gives_other_addresses_all_the_time_is_survived() {
    for every_ms in [NEVER, Some(1_000)] {
        let (mut net, _) = hopping_pair(every_ms, |_| {});
        settle(&mut net);
        let (entry, translator) = (net.nodes[0].address.ip(), Rc::new(RefCell::new(Translator::default())));
        let shared = translator.clone();
        net.set_filter(move |packet| {
            let mut translator = shared.borrow_mut();
            let (age, count) = (translator.age, translator.outer.len() as u16);
            if packet.from.ip() == entry {
                let outer = *translator.outer.entry(packet.from).or_insert(address(100 + age, 30_000 + count));
                translator.inner.insert(outer, packet.from);
                packet.from = outer;
            } else if let Some(inner) = translator.inner.get(&packet.to) {
                // Packets to an older address still get through.
                packet.to = *inner;
            }
            Fate::Deliver
        });
        for age in 1..=10 {
            net.run(Duration::from_millis(1_700));
            let mut translator = translator.borrow_mut();
            translator.age = age;
            translator.outer.clear();
        }
        net.run(Duration::from_millis(500));
        let moved = net.events_of(1, |event| matches!(event, LinkEvent::PeerAddressChanged { .. }));
        assert!(moved >= 5, "{moved} times moved");
        for node in 0..2 {
            assert_eq!(net.events_of(node, is_trouble), 0, "node {node}");
            assert!(is_whole(&net.nodes[node].cells), "node {node}");
        }
        assert!(every_ms.is_none() || index(&net.nodes[1], &net) >= 14, "{}", index(&net.nodes[1], &net));
    }
}

#[test]
fn a_node_without_sockets_stays_where_it_is() {
    for node in 0..2 {
        let (mut net, link) = hopping_pair(NEVER, |_| {});
        net.nodes[node].out_of_sockets = true;
        settle(&mut net);
        let now = net.now;
        net.nodes[0].endpoint.hop(now, link);
        net.run(Duration::from_secs(4));
        assert_eq!((status(&net, 0).index, net.nodes[node].sockets.len()), (0, 0));
        net.nodes[node].out_of_sockets = false;
        assert!(net.run_until(Duration::from_secs(12), |net| index(&net.nodes[1], net) == 1), "node {node} recovers");
        assert!(is_whole(&net.nodes[0].cells) && is_whole(&net.nodes[1].cells));
    }
}
