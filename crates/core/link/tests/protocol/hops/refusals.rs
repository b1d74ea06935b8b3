//! Machines that do not let packets out, that sleep, and whose clocks jump.

use super::{NEVER, hop, hopping_pair, hops, index, is_whole, settle, status};
use crate::net::{Net, config};
use link::{EndpointConfig, HopCause, LinkEvent, LinkId};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

fn causes(net: &Net) -> Vec<HopCause> {
    status(net, 0).past.iter().filter_map(|hop| hop.cause).collect()
}

/// Until cells of both nodes come again; how long it took.
fn until_cells_come(net: &mut Net, limit: Duration) -> Duration {
    let (begun, before) = (net.now.instant, [0, 1].map(|node| net.nodes[node].cells.len()));
    let more = |net: &Net| (0..2).all(|node| net.nodes[node].cells.len() > before[node] + 20);
    assert!(net.run_until(limit, more), "cells after {limit:?}");
    net.now.instant - begun
}

#[test]
fn a_pair_that_a_firewall_of_this_machine_stops_is_left() {
    for hops_before in 0..2 {
        let (mut net, link) = hopping_pair(NEVER, |_| {});
        settle(&mut net);
        for _ in 0..hops_before {
            hop(&mut net, link);
            net.run(Duration::from_secs(3));
        }
        let (stopped, begun) = (status(&net, 0), net.now.instant);
        net.nodes[0].refuses = Some(Box::new(move |local, remote| {
            Some(local) == stopped.local_port && remote.port() == stopped.remote_port
        }));
        let far = hops_before + 1;
        assert!(net.run_until(Duration::from_secs(2), |net| index(&net.nodes[1], net) == far));
        // Eight packets, 50 ms, and a step: probe, answer, first packet.
        let took = net.now.instant - begun;
        assert!(took < Duration::from_millis(200), "{took:?}");
        assert_eq!(causes(&net).last(), Some(&HopCause::SocketFailed));
        net.run(Duration::from_secs(10));
        assert_eq!(index(&net.nodes[0], &net), far, "the pair that works is kept");
        assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
    }
}

#[test]
fn one_packet_in_ten_that_is_refused_is_no_reason() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let mut count = 0;
    net.nodes[0].refuses = Some(Box::new(move |_, _| {
        count += 1;
        count % 10 == 0
    }));
    net.run(Duration::from_secs(30));
    assert_eq!(index(&net.nodes[0], &net), 0);
}

/// The entry cannot send for so long; then how long it took until cells came again, and how many sockets were ordered.
fn outage(change: impl Fn(&mut EndpointConfig), span: Duration) -> (Net, LinkId, Duration, u64) {
    let (mut net, link) = hopping_pair(NEVER, change);
    settle(&mut net);
    hop(&mut net, link);
    net.run(Duration::from_secs(3));
    let down = Rc::new(Cell::new(true));
    let is_down = down.clone();
    net.nodes[0].refuses = Some(Box::new(move |_, _| is_down.get()));
    let (orders, lost) = (net.nodes[0].orders, down.clone());
    // What comes in passes the same interface.
    net.set_filter(move |_| if lost.get() { crate::net::Fate::Lose } else { crate::net::Fate::Deliver });
    net.run(span);
    let ordered = net.nodes[0].orders - orders;
    down.set(false);
    let took = until_cells_come(&mut net, Duration::from_secs(20));
    (net, link, took, ordered)
}

#[test]
fn an_interface_that_comes_back_finds_the_link_by_itself() {
    for (gridded, seconds) in [(true, 3), (true, 20), (false, 20), (true, 600)] {
        let change = move |config: &mut EndpointConfig| {
            config.gridded = gridded;
            config.down_after = Duration::from_secs(60);
        };
        let (mut net, link, took, ordered) = outage(change, Duration::from_secs(seconds));
        let text = format!("gridded: {gridded}, {seconds} s");
        // Handshakes are repeated every five seconds at the latest; keys that are still there need none.
        assert!(took <= Duration::from_secs(7), "{text}: {took:?}");
        assert!(ordered <= 6 + seconds / 10, "{text}: {ordered} sockets in an outage");
        settle(&mut net);
        net.run(Duration::from_secs(70));
        let before = index(&net.nodes[0], &net);
        hop(&mut net, link);
        net.run(Duration::from_secs(1));
        assert_eq!(index(&net.nodes[1], &net), before + 1, "{text}: it hops again");
        assert!(net.nodes[0].sockets.len() <= 3 && net.nodes[1].sockets.len() <= 8, "{text}");
    }
}

#[test]
fn a_machine_that_slept_for_an_hour_is_met_at_the_door() {
    // While a machine sleeps its monotonic clock stands still: the entry's is an hour behind the exit's afterwards. Both
    // clocks are one here, so the entry's timers see the hour as well; `a_jump` below is the same without the sleep.
    let (mut net, link) = hopping_pair(NEVER, |config| config.down_after = Duration::from_secs(60));
    settle(&mut net);
    hop(&mut net, link);
    net.run(Duration::from_secs(3));
    net.nodes[0].asleep = true;
    net.run(Duration::from_secs(70));
    assert!(!net.is_up(1) && net.nodes[1].sockets.is_empty(), "the exit has forgotten it");
    net.now.instant += Duration::from_secs(3_530);
    net.now.unix_s += 3_600;
    net.nodes[0].asleep = false;
    let took = until_cells_come(&mut net, Duration::from_secs(20));
    assert!(took <= Duration::from_secs(3), "{took:?}");
    settle(&mut net);
    hop(&mut net, link);
    net.run(Duration::from_millis(300));
    assert_eq!((index(&net.nodes[0], &net), index(&net.nodes[1], &net)), (1, 1));
}

#[test]
fn a_jump_of_an_hour_at_both_ends_costs_one_handshake() {
    for gridded in [true, false] {
        let (mut net, link) = hopping_pair(Some(30_000), |config| {
            config.gridded = gridded;
            config.down_after = Duration::from_secs(60);
        });
        settle(&mut net);
        hop(&mut net, link);
        net.run(Duration::from_secs(3));
        net.now.instant += Duration::from_secs(3_600);
        net.now.unix_s += 3_600;
        let took = until_cells_come(&mut net, Duration::from_secs(20));
        assert!(took <= Duration::from_secs(6), "{took:?}");
        settle(&mut net);
        let before = index(&net.nodes[0], &net);
        hop(&mut net, link);
        net.run(Duration::from_millis(300));
        assert_eq!(index(&net.nodes[1], &net), before + 1);
        for node in 0..2 {
            let from = net.nodes[node].cells.len() - 20;
            assert!(is_whole(&net.nodes[node].cells[from..]), "node {node}");
        }
    }
}

#[test]
fn an_exit_whose_sends_are_refused_is_left_by_the_entry() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let door = net.nodes[1].address.port();
    net.nodes[1].refuses = Some(Box::new(move |local, _| local == door));
    assert!(net.run_until(Duration::from_secs(2), |net| index(&net.nodes[1], net) == 1));
    assert_eq!(causes(&net), [HopCause::Silence]);
    net.run(Duration::from_secs(5));
    assert_eq!(index(&net.nodes[0], &net), 1);
}

#[test]
fn refusals_of_links_that_do_not_hop_or_are_unknown_do_no_harm() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(1));
    let (now, route) = (net.now, net.nodes[1].address.into());
    for route in [route, link::Route { via: link::Via(77), ..route }] {
        net.nodes[0].endpoint.handle_send_refused(now, route, 1_000);
    }
    net.run(Duration::from_secs(1));
    assert!(net.nodes[0].endpoint.is_up(link) && hops(None, NEVER).offer.is_none());
    assert_ne!(config(1).node_id, config(2).node_id);
}
