//! Links without a grid.

use crate::net::{Fate, Net};
use link::{DownReason, LinkEvent};
use std::time::Duration;

fn quiet_pair() -> (Net, link::LinkId) {
    let (mut net, link) = Net::pair(|config| {
        config.gridded = false;
        config.dead_after = Duration::from_secs(10);
    });
    net.nodes[0].talks = false;
    net.nodes[1].talks = false;
    (net, link)
}

#[test]
fn an_idle_link_comes_up_and_stays_with_few_packets() {
    let (mut net, _) = quiet_pair();
    assert!(net.run_until(Duration::from_millis(300), |net| net.is_up(0) && net.is_up(1)), "a cover confirms the keys");
    net.run(Duration::from_secs(2));
    let before = [net.nodes[0].sent, net.nodes[1].sent];
    net.run(Duration::from_secs(100));
    let sent = [net.nodes[0].sent - before[0], net.nodes[1].sent - before[1]];
    assert!((6..=14).contains(&sent[0]), "a cover each 15 s, and its report: {sent:?}");
    assert!((6..=14).contains(&sent[1]), "a report for each cover: {sent:?}");
    net.run(Duration::from_secs(600));
    for node in 0..2 {
        let lost = |event: &LinkEvent| matches!(event, LinkEvent::Quiet { .. } | LinkEvent::Down { .. });
        assert_eq!(net.events_of(node, lost), 0);
        assert_eq!(net.events_of(node, |event| matches!(event, LinkEvent::Rekeyed { .. })), 5, "node {node}");
    }
}

#[test]
fn a_lost_confirmation_is_repeated() {
    let (mut net, _) = quiet_pair();
    let (entry, mut count) = (net.nodes[0].address, 0);
    net.set_filter(move |packet| {
        count += u32::from(packet.from == entry);
        if packet.from == entry && (2..=3).contains(&count) { Fate::Lose } else { Fate::Deliver }
    });
    assert!(net.run_until(Duration::from_millis(1500), |net| net.is_up(1)));
}

#[test]
fn unanswered_data_starts_a_handshake_and_silence_alone_does_not() {
    let (mut net, link) = quiet_pair();
    net.run(Duration::from_secs(30));
    net.set_filter(|_| Fate::Lose);
    net.run(Duration::from_secs(14));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
    let packet = net.seal(0, link).expect("a link that is up");
    net.send(packet);
    net.run(Duration::from_millis(9_900));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
    net.run(Duration::from_millis(300));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 1);
    net.clear_filter();
    net.run(Duration::from_secs(6));
    let again = |event: &LinkEvent| matches!(event, LinkEvent::Replaced { fresh: false, .. } | LinkEvent::Back { .. });
    assert!(net.events_of(0, again) >= 1);
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn a_dead_entry_is_forgotten_after_a_minute() {
    let (mut net, _) = quiet_pair();
    net.run(Duration::from_secs(5));
    net.set_filter(|_| Fate::Lose);
    net.run(Duration::from_secs(62));
    assert_eq!(net.nodes[1].endpoint.link_count(), 0);
}

#[test]
fn whoever_leaves_says_so_and_keeps_no_place() {
    let (mut net, link) = quiet_pair();
    net.run(Duration::from_secs(2));
    let accepted = net.nodes[1].endpoint.links().next().expect("it is up");
    net.nodes[0].endpoint.leave(link);
    let sent = net.nodes[0].sent;
    net.run(Duration::from_millis(200));
    assert_eq!(net.nodes[0].sent, sent + 1, "one packet");
    for node in 0..2 {
        assert_eq!(net.nodes[node].endpoint.link_count(), 0, "node {node}");
    }
    let left = |event: &LinkEvent| *event == LinkEvent::Down { link: accepted, reason: DownReason::Left };
    assert_eq!(net.events_of(1, left), 1);
    assert_eq!(net.nodes[1].endpoint.counters().bad_cell, 0);
}

#[test]
fn who_was_dialled_leaves_in_silence_and_so_does_everybody_on_a_grid() {
    let (mut net, _) = quiet_pair();
    net.run(Duration::from_secs(2));
    let accepted = net.nodes[1].endpoint.links().next().expect("it is up");
    let sent = net.nodes[1].sent;
    net.nodes[1].endpoint.leave(accepted);
    net.run(Duration::from_millis(200));
    assert_eq!((net.nodes[1].sent, net.nodes[1].endpoint.link_count()), (sent, 0));
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    net.nodes[0].endpoint.leave(link);
    assert_eq!(net.nodes[0].endpoint.link_count(), 0, "at once: no cell is out of turn");
    assert_eq!(net.nodes[1].endpoint.link_count(), 1);
}

#[test]
fn roaming_works_without_slots() {
    let (mut net, _) = quiet_pair();
    net.run(Duration::from_secs(3));
    net.nodes[0].address = crate::net::address(9, 9);
    net.run(Duration::from_secs(20));
    assert_eq!(net.events_of(1, |event| matches!(event, LinkEvent::PeerAddressChanged { .. })), 1);
}

#[test]
fn load_flows_and_rekeys_without_slots() {
    let (mut net, _) = quiet_pair();
    net.nodes[0].talks = true;
    net.nodes[1].talks = true;
    net.run(Duration::from_secs(130));
    for node in &net.nodes {
        assert!(node.cells.len() > 25_000);
        assert!(node.cells.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Rekeyed { .. })), 1);
}
