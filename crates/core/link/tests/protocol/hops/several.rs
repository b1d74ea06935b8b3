//! Several links at one responder.

use super::{NEVER, hops, index};
use crate::net::{Net, accept_only, config};
use std::time::Duration;

#[test]
fn links_share_a_port_and_the_last_one_closes_it() {
    let (mut one, mut other, mut exit) = (config(1), config(3), config(2));
    exit.accept = accept_only(&[&one, &other]);
    one.hops = Some(hops(None, NEVER));
    other.hops = Some(hops(None, NEVER));
    // One port for all.
    exit.hops = Some(hops(Some("5000"), NEVER));
    let mut net = Net::new(vec![one, exit, other]);
    let links = [net.dial(0, 1), net.dial(2, 1)];
    net.run(Duration::from_secs(2));
    let ports = |net: &Net| net.nodes[1].sockets.values().copied().collect::<Vec<_>>();
    assert_eq!(ports(&net), [5000]);
    for (node, link) in [(0, links[0]), (2, links[1])] {
        for hop in 1..=3 {
            let now = net.now;
            assert!(net.nodes[node].endpoint.hop(now, link));
            net.run(Duration::from_millis(400));
            assert_eq!(index(&net.nodes[node], &net), hop, "node {node}");
            assert_eq!(ports(&net), [5000]);
        }
    }
    let exit_links: Vec<_> = net.nodes[1].endpoint.links().collect();
    assert_eq!(exit_links.len(), 2);
    net.nodes[1].talks = false;
    for (link, left) in exit_links.into_iter().zip([vec![5000], vec![]]) {
        net.nodes[1].endpoint.close(link);
        let now = net.now;
        net.nodes[1].follow_orders(now);
        assert_eq!(ports(&net), left);
    }
}

#[test]
fn a_closed_link_leaves_no_socket() {
    let (mut net, link) = super::hopping_pair(NEVER, |_| {});
    super::settle(&mut net);
    super::hop(&mut net, link);
    net.run(Duration::from_millis(300));
    assert!(!net.nodes[0].sockets.is_empty() && !net.nodes[1].sockets.is_empty());
    for node in 0..2 {
        let (link, now) = (net.link_of(node), net.now);
        net.nodes[node].endpoint.close(link);
        net.nodes[node].follow_orders(now);
        assert!(net.nodes[node].sockets.is_empty(), "node {node}");
    }
}

#[test]
fn a_dial_that_goes_on_after_silence_leaves_no_socket_and_hops_again() {
    let (mut net, link) = super::hopping_pair(NEVER, |config| config.down_after = Duration::from_secs(4));
    super::settle(&mut net);
    super::hop(&mut net, link);
    net.set_filter(|_| crate::net::Fate::Lose);
    net.run(Duration::from_secs(6));
    assert!(!net.is_up(0) && !net.is_up(1));
    assert!(net.nodes[0].sockets.is_empty() && net.nodes[1].sockets.is_empty());
    net.clear_filter();
    assert!(net.run_until(Duration::from_secs(5), |net| net.is_up(0) && net.is_up(1)));
    super::settle(&mut net);
    super::hop(&mut net, link);
    net.run(Duration::from_millis(300));
    assert_eq!((index(&net.nodes[0], &net), index(&net.nodes[1], &net)), (1, 1));
}
