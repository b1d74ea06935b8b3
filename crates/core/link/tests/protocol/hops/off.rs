//! Hops of links without a grid.

use super::{NEVER, hopping_pair, index, is_trouble, is_whole, settle, status};
use crate::net::Fate;
use link::LinkEvent;
use std::time::Duration;

#[test]
fn an_idle_link_hops_and_both_ends_know() {
    let (mut net, _) = hopping_pair(Some(8_000), |config| {
        config.gridded = false;
        config.dead_after = Duration::from_secs(10);
    });
    net.nodes[0].talks = false;
    net.nodes[1].talks = false;
    settle(&mut net);
    let before = net.nodes[0].sent + net.nodes[1].sent;
    net.run(Duration::from_secs(100));
    let hops = index(&net.nodes[0], &net);
    assert!((11..=14).contains(&hops), "{hops}");
    assert_eq!(index(&net.nodes[1], &net), hops);
    assert_eq!(net.events_of(0, is_trouble) + net.events_of(1, is_trouble), 0);
    let packets = net.nodes[0].sent + net.nodes[1].sent - before;
    assert!(packets < 10 * hops + 20, "some packets a hop: {packets}");
}

#[test]
fn data_of_a_link_without_a_grid_is_whole() {
    let (mut net, _) = hopping_pair(Some(400), |config| {
        config.gridded = false;
        config.dead_after = Duration::from_secs(10);
        config.rekey_after = Duration::from_secs(3);
    });
    settle(&mut net);
    net.run(Duration::from_secs(20));
    assert!(index(&net.nodes[1], &net) > 20);
    for node in 0..2 {
        assert!(is_whole(&net.nodes[node].cells), "node {node}");
        assert_eq!(net.events_of(node, is_trouble), 0);
    }
}

#[test]
fn a_responder_that_heard_nothing_on_the_new_pair_is_told_again() {
    let (mut net, link) = hopping_pair(NEVER, |config| {
        config.gridded = false;
        config.dead_after = Duration::from_secs(10);
    });
    net.nodes[0].talks = false;
    net.nodes[1].talks = false;
    settle(&mut net);
    let (entry, now, mut on_pair) = (net.nodes[0].address.ip(), net.now, 0);
    net.set_filter(move |packet| {
        // The probe gets through, and the three packets after it do not.
        on_pair += u32::from(packet.from.ip() == entry && packet.to.port() != 1000);
        if packet.from.ip() == entry && (2..=4).contains(&on_pair) { Fate::Lose } else { Fate::Deliver }
    });
    assert!(net.nodes[0].endpoint.hop(now, link));
    assert!(net.run_until(Duration::from_secs(3), |net| index(&net.nodes[1], net) == 1), "{:?}", status(&net, 0));
    assert_eq!(net.events_of(1, |event| matches!(event, LinkEvent::Down { .. })), 0);
}
