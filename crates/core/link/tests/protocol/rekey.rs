//! New keys under load.

use crate::net::{Fate, Net};
use link::{DropReason, LinkEvent, Received};
use std::time::Duration;

fn rekeyed(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Rekeyed { .. })
}

/// True when every cell came once and in order, from the first that came.
fn is_whole(cells: &[u64]) -> bool {
    cells.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

#[test]
fn rekeys_under_load_lose_nothing() {
    let (mut net, _) = Net::pair(|config| config.rekey_after = Duration::from_secs(2));
    net.run(Duration::from_secs(60));
    for node in 0..2 {
        let count = net.events_of(node, rekeyed);
        assert!((24..=33).contains(&count), "{count} rekeys in a minute");
        assert!(net.nodes[node].cells.len() > 11_000);
        assert!(is_whole(&net.nodes[node].cells));
        assert_eq!(net.events_of(node, |event| matches!(event, LinkEvent::Replaced { .. })), 0);
    }
    let (indices, ..) = net.nodes[1].endpoint.table_sizes();
    assert!(indices <= 3, "three generations at most: {indices}");
}

#[test]
fn keys_are_renewed_by_packets_too() {
    let (mut net, _) = Net::pair(|config| config.rekey_packets = 500);
    net.run(Duration::from_secs(30));
    let count = net.events_of(0, rekeyed);
    assert!((8..=13).contains(&count), "200 packets a second, 500 a key: {count} in half a minute");
    assert!(is_whole(&net.nodes[0].cells) && is_whole(&net.nodes[1].cells));
}

#[test]
fn rekeys_survive_loss_and_lose_no_more_than_the_network_does() {
    let (mut net, _) = Net::pair(|config| config.rekey_after = Duration::from_secs(2));
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(0) && net.is_up(1)));
    let mut state = 1u32;
    let lost = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = lost.clone();
    net.set_filter(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lose = state >> 24 < 51;
        count.set(count.get() + u64::from(lose));
        if lose { Fate::Lose } else { Fate::Deliver }
    });
    let before = net.nodes[0].sent + net.nodes[1].sent;
    let received = |net: &Net| {
        let taken =
            |node: &crate::net::Node| node.received.iter().filter(|end| !matches!(end, Received::Dropped(_))).count();
        net.nodes.iter().map(taken).sum::<usize>() as u64
    };
    let (received_before, under_way) = (received(&net), net.under_way.len() as u64);
    net.run(Duration::from_secs(120));
    net.clear_filter();
    let sent = net.nodes[0].sent + net.nodes[1].sent - before;
    let missing = sent + under_way - net.under_way.len() as u64 - (received(&net) - received_before);
    assert!(lost.get() > 9_000, "a fifth was lost: {}", lost.get());
    assert_eq!(missing, lost.get(), "every packet that the network delivered was opened");
    assert!(net.events_of(0, rekeyed) > 30);
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
}

#[test]
fn old_keys_end_after_three_round_trips_and_two_seconds() {
    let (mut net, _) = Net::pair(|config| config.rekey_after = Duration::from_secs(10));
    net.run(Duration::from_secs(5));
    let link = net.link_of(0);
    let late: Vec<_> = (0..3).map(|_| net.seal(0, link).expect("a link that is up")).collect();
    assert!(net.run_until(Duration::from_secs(10), |net| net.events_of(1, rekeyed) == 1));
    let [first, second, third] = late.try_into().unwrap_or_else(|_| unreachable!("three cells"));
    assert!(matches!(net.arrive(first), Some(Received::Cell { .. })), "at once");
    net.run(Duration::from_millis(1900));
    assert!(matches!(net.arrive(second), Some(Received::Cell { .. })), "within two seconds");
    net.run(Duration::from_millis(400));
    assert_eq!(net.arrive(third), Some(Received::Dropped(DropReason::Stranger)), "the key is gone");
}
