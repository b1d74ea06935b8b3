//! Several links to one peer, each over a path of its own.

use crate::hops::hops;
use crate::net::{Net, address, config, peer};
use link::{Accept, DialError, EndpointConfig, LinkEvent, LinkId, Via};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The port of the entry's second socket.
const SECOND_PORT: u16 = 1001;

/// An entry with two sockets, and an exit that answers anybody. Both sockets dial.
fn two_links(change: impl Fn(&mut EndpointConfig)) -> (Net, [LinkId; 2]) {
    let (mut entry, mut exit) = (config(1), config(2));
    (entry.dial_ports, exit.accept) = (vec![SECOND_PORT], Accept::Anyone);
    change(&mut entry);
    change(&mut exit);
    let to = peer(&exit);
    let mut net = Net::new(vec![entry, exit]);
    net.nodes[0].sockets.insert(Via(1), SECOND_PORT);
    let (now, far) = (net.now, net.nodes[1].address);
    let mut dial = |via| net.nodes[0].endpoint.dial_from(now, Via(via), &to, far, [0; 7]).expect("a path of its own");
    let links = [dial(0), dial(1)];
    assert_eq!(net.nodes[0].endpoint.dial_from(now, Via(1), &to, far, [0; 7]), Err(DialError::AlreadyDialled));
    (net, links)
}

fn up(net: &Net, node: usize) -> usize {
    let endpoint = &net.nodes[node].endpoint;
    endpoint.links().filter(|link| endpoint.is_up(*link)).count()
}

#[test]
fn one_peer_has_two_links_and_each_lives_alone() {
    let (mut net, [first, second]) = two_links(|config| config.rekey_after = 2 * SECOND);
    net.run(10 * SECOND);
    assert_eq!([up(&net, 0), up(&net, 1)], [2, 2]);
    let keys = net.nodes[1].events.iter().filter_map(|event| match event {
        LinkEvent::Up { link_key, .. } => Some(*link_key),
        _ => None,
    });
    let keys: Vec<_> = keys.collect();
    assert!(keys.len() == 2 && keys[0] != keys[1], "each has a key of its own");
    for node in 0..2 {
        let rekeyed = net.events_of(node, |event| matches!(event, LinkEvent::Rekeyed { .. }));
        assert!(rekeyed >= 6, "both are rekeyed under their own keys: {rekeyed}");
        assert_eq!(net.events_of(node, |event| matches!(event, LinkEvent::Replaced { .. })), 0);
    }
    // One path is cut, and comes back.
    let exit = net.nodes[1].address;
    net.set_filter(move |packet| {
        let second = address(1, SECOND_PORT);
        let is_cut = (packet.from == second && packet.to == exit) || packet.to == second;
        if is_cut { crate::net::Fate::Lose } else { crate::net::Fate::Deliver }
    });
    net.run(40 * SECOND);
    assert!(net.nodes[0].endpoint.is_up(first) && !net.nodes[0].endpoint.is_up(second));
    net.clear_filter();
    net.run(10 * SECOND);
    assert!(net.nodes[0].endpoint.is_up(second), "it goes on dialling");
    net.nodes[0].endpoint.close(first);
    net.run(5 * SECOND);
    assert!(net.nodes[0].endpoint.is_up(second));
}

#[test]
fn each_link_hops_beside_the_socket_that_it_was_dialled_from() {
    let (mut net, links) = two_links(|config| {
        let offer = config.node_id == crate::net::config(2).node_id;
        config.hops = Some(hops(offer.then_some("20000-20999"), Some(5_000)));
    });
    net.run(60 * SECOND);
    for link in links {
        let status = net.nodes[0].endpoint.hop_status(net.now.instant, link).expect("it hops");
        assert!(status.index >= 5, "{status:?}");
    }
    assert_eq!(net.nodes[0].beside.iter().copied().collect::<Vec<_>>(), [Via::DOOR, Via(1)]);
    assert_eq!([up(&net, 0), up(&net, 1)], [2, 2]);
}
