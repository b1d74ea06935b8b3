//! Links that change their ports.

mod addresses;
mod bad_network;
mod off;
mod refusals;
mod several;
mod silence;

use crate::net::{Fate, Net, Node, SLOT, config};
use link::{EndpointConfig, HopCause, HopConfig, HopOffer, HopStatus, LinkEvent, LinkId};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use port_hopping::interval::Interval;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Hops at random times of this length, or never by themselves.
pub(crate) const FAST: Option<u64> = Some(300);
pub(crate) const NEVER: Option<u64> = None;

pub(crate) fn hops(offer: Option<&str>, every_ms: Option<u64>) -> HopConfig {
    let longest = Duration::from_millis(every_ms.unwrap_or(86_400_000));
    let interval = Interval::new(longest * 9 / 10, longest).expect("in order");
    let timers = Timers::below_floor(interval, ByteBudget::new(u64::MAX, u64::MAX).expect("in order"), UnsafeTimers);
    let offer = offer.map(|ports| HopOffer::new(ports.parse().expect("ports"), Vec::new()).expect("a few ranges"));
    HopConfig { offer, door_port: 1000, timers }
}

/// An entry and an exit that hop.
pub(crate) fn hopping_pair(every_ms: Option<u64>, change: impl Fn(&mut EndpointConfig)) -> (Net, LinkId) {
    let exit = config(2).node_id;
    Net::pair(|config| {
        config.hops = Some(hops((config.node_id == exit).then_some("20000-50000"), every_ms));
        change(config);
    })
}

pub(crate) fn status(net: &Net, node: usize) -> HopStatus {
    let endpoint = &net.nodes[node].endpoint;
    endpoint.hop_status(net.now.instant, net.link_of(node)).expect("a link that is up and hops")
}

pub(crate) fn index(node: &Node, net: &Net) -> u64 {
    let link = node.endpoint.links().next().expect("a link");
    node.endpoint.hop_status(net.now.instant, link).map_or(0, |status| status.index)
}

pub(crate) fn hopped(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Hopped { .. })
}

pub(crate) fn is_trouble(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::Quiet { .. } | LinkEvent::Down { .. } | LinkEvent::Replaced { .. })
}

/// True when every cell came once and in order, from the first that came.
pub(crate) fn is_whole(cells: &[u64]) -> bool {
    cells.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

/// Until both ends can hop.
pub(crate) fn settle(net: &mut Net) {
    let ready = |net: &Net| {
        (0..2).all(|node| {
            let endpoint = &net.nodes[node].endpoint;
            endpoint.links().any(|link| endpoint.hop_status(net.now.instant, link).is_some())
        })
    };
    assert!(net.run_until(Duration::from_secs(3), ready), "the offer was taken");
    net.run(Duration::from_millis(200));
}

/// Has the initiator hop; how long it took until it was on the other pair.
pub(crate) fn hop(net: &mut Net, link: LinkId) -> Duration {
    let (before, begun) = (status(net, 0).index, net.now.instant);
    let now = net.now;
    assert!(net.nodes[0].endpoint.hop(now, link));
    assert!(net.run_until(Duration::from_secs(5), |net| index(&net.nodes[0], net) > before), "a hop");
    net.now.instant - begun
}

#[test]
fn a_hundred_hops_lose_no_cell() {
    let (mut net, _) = hopping_pair(FAST, |_| {});
    net.recording = Some(Vec::new());
    let far = |net: &Net| (0..2).all(|node| index(&net.nodes[node], net) >= 100);
    assert!(net.run_until(Duration::from_secs(150), far), "{:?}", status(&net, 0));
    net.run(Duration::from_secs(1));
    for node in 0..2 {
        assert!(is_whole(&net.nodes[node].cells), "node {node}");
        assert_eq!(net.events_of(node, is_trouble), 0, "node {node}");
        assert!(net.events_of(node, hopped) >= 100);
        let left = net.nodes[1 - node].next_cell - net.nodes[node].cells.last().expect("cells came");
        assert!(left <= 10, "only what is under way: {left}");
    }
    let mut pairs = Vec::new();
    for packet in net.recording.take().unwrap_or_default() {
        if packet.from.ip() == net.nodes[0].address.ip() {
            pairs.push((packet.from, packet.to));
        }
    }
    pairs.dedup();
    let different: BTreeSet<_> = pairs.iter().collect();
    assert!(different.len() > 100, "a pair of ports a hop: {}", different.len());
    let (indices, ..) = net.nodes[1].endpoint.table_sizes();
    assert!(indices <= 9, "three indices of three generations: {indices}");
}

/// Packets of each node in each slot.
fn grid(hopping: bool) -> (Vec<[usize; 2]>, u64) {
    let (mut net, _) = if hopping { hopping_pair(FAST, |_| {}) } else { Net::pair(|_| {}) };
    let mut slots = Vec::new();
    for _ in 0..4_000 {
        net.recording = Some(Vec::new());
        net.step();
        let packets = net.recording.take().unwrap_or_default();
        assert!(packets.iter().all(|packet| packet.bytes.len() == 1350), "one size");
        let of = |node: usize| packets.iter().filter(|packet| packet.from.ip() == net.nodes[node].address.ip()).count();
        slots.push([of(0), of(1)]);
    }
    let hops = if hopping { status(&net, 1).index } else { 0 };
    (slots, hops)
}

#[test]
fn the_grid_is_that_of_a_link_without_hops() {
    let (with, hops) = grid(true);
    let (without, _) = grid(false);
    assert!(hops > 20, "{hops}");
    assert_eq!(with, without, "the same number of packets in every slot");
}

#[test]
fn no_bytes_of_a_pair_of_ports_come_again_on_the_next() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    net.recording = Some(Vec::new());
    net.run(Duration::from_secs(1));
    hop(&mut net, link);
    net.run(Duration::from_secs(1));
    let packets = net.recording.take().unwrap_or_default();
    let on_door = |packet: &&crate::net::Packet| packet.from.port() == 1000 || packet.to.port() == 1000;
    let strings = |of: &[u8]| -> Vec<u64> {
        of.windows(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes"))).collect()
    };
    let before: BTreeSet<u64> =
        packets.iter().filter(on_door).take(150).flat_map(|packet| strings(&packet.bytes)).collect();
    let after: Vec<u64> =
        packets.iter().filter(|packet| !on_door(packet)).take(150).flat_map(|packet| strings(&packet.bytes)).collect();
    assert!(before.len() > 190_000 && after.len() > 190_000);
    // Two random strings of 200,000 bytes share eight bytes with a chance of 2 in 10^9.
    assert!(after.iter().all(|string| !before.contains(string)));
}

#[test]
fn a_rekey_in_the_middle_of_steps_loses_nothing() {
    let (mut net, _) = hopping_pair(FAST, |config| config.rekey_after = Duration::from_millis(900));
    net.run(Duration::from_secs(40));
    let rekeys = net.events_of(1, |event| matches!(event, LinkEvent::Rekeyed { .. }));
    assert!(rekeys > 25 && index(&net.nodes[1], &net) > 40, "{rekeys} rekeys, {} hops", index(&net.nodes[1], &net));
    for node in 0..2 {
        assert!(is_whole(&net.nodes[node].cells), "node {node}");
        assert_eq!(net.events_of(node, is_trouble), 0);
    }
}

#[test]
fn the_peer_may_ask_for_a_hop() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let (exit_link, now) = (net.link_of(1), net.now);
    assert!(net.nodes[1].endpoint.hop(now, exit_link));
    assert!(!net.nodes[1].endpoint.hop(now, exit_link), "once in five seconds");
    net.run(Duration::from_secs(1));
    assert_eq!((status(&net, 0).index, status(&net, 1).index), (1, 1));
    let causes: Vec<_> = status(&net, 0).past.iter().map(|hop| hop.cause).collect();
    assert_eq!(causes, [Some(HopCause::PeerAsked)]);
    assert_eq!(status(&net, 1).past.iter().map(|hop| hop.cause).collect::<Vec<_>>(), [None]);
}

#[test]
fn both_ends_show_the_same_pair_and_count_its_bytes() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    assert_eq!((status(&net, 1).local_port, status(&net, 0).remote_port), (Some(1000), 1000));
    hop(&mut net, link);
    net.run(Duration::from_secs(2));
    let [entry, exit] = [0, 1].map(|node| status(&net, node));
    assert_eq!((entry.local_port, Some(entry.remote_port)), (Some(exit.remote_port), exit.local_port));
    assert!((20_000..=50_000).contains(&entry.remote_port) && entry.local_port < Some(20_000), "{entry:?}");
    // 200 packets a second each way.
    for status in [&entry, &exit] {
        assert!((390 * 2 * 1350..=420 * 2 * 1350).contains(&status.bytes), "{status:?}");
        assert!(status.age >= Duration::from_millis(1_900));
    }
}

#[test]
fn an_entry_without_hops_declines_and_no_port_is_opened() {
    let (mut net, _) = hopping_pair(NEVER, |config| {
        if config.node_id == crate::net::config(1).node_id {
            config.hops = None;
        }
    });
    net.run(Duration::from_secs(3));
    let (entry, exit) = (net.nodes[0].address, net.nodes[1].address);
    assert!(net.is_up(1) && net.nodes[1].sockets.is_empty());
    net.recording = Some(Vec::new());
    net.run(Duration::from_secs(3));
    let packets = net.recording.take().unwrap_or_default();
    assert!(packets.iter().all(|packet| [packet.from, packet.to].iter().all(|end| *end == entry || *end == exit)));
}

#[test]
fn a_restarted_exit_is_met_at_its_door_and_hops_begin_anew() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    for _ in 0..3 {
        hop(&mut net, link);
        net.run(Duration::from_millis(300));
    }
    net.restart(1, 50);
    let back = |net: &Net| net.is_up(1) && net.events_of(0, |event| matches!(event, LinkEvent::Replaced { .. })) == 1;
    assert!(net.run_until(Duration::from_secs(5), back));
    settle(&mut net);
    assert_eq!((status(&net, 0).index, status(&net, 1).index), (0, 0));
    hop(&mut net, link);
    net.run(Duration::from_millis(300));
    assert_eq!((status(&net, 0).index, status(&net, 1).index), (1, 1));
    net.run(Duration::from_secs(3));
    assert!(net.nodes[0].sockets.len() <= 2, "what was left is closed: {:?}", net.nodes[0].sockets);
}

/// A relay that has moved offers the same ports at another address.
#[test]
fn an_exit_that_comes_back_elsewhere_is_hopped_to_there() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    hop(&mut net, link);
    net.run(Duration::from_millis(300));
    net.restart(1, 50);
    let elsewhere = SocketAddr::new([192, 0, 2, 77].into(), net.nodes[1].address.port());
    net.nodes[1].address = elsewhere;
    let now = net.now;
    net.nodes[0].endpoint.move_dial(now, link, elsewhere).expect("it was dialled");
    let back = |net: &Net| net.is_up(1) && net.events_of(0, |event| matches!(event, LinkEvent::Replaced { .. })) == 1;
    assert!(net.run_until(Duration::from_secs(5), back));
    settle(&mut net);
    net.recording = Some(Vec::new());
    hop(&mut net, link);
    net.run(Duration::from_millis(300));
    assert_eq!((status(&net, 0).index, status(&net, 1).index), (1, 1));
    let packets = net.recording.take().unwrap_or_default();
    let entry = net.nodes[0].address.ip();
    assert!(packets.iter().filter(|packet| packet.from.ip() == entry).all(|packet| packet.to.ip() == elsewhere.ip()));
}

/// Loses what `lose` names, by near and far end as the entry sees them.
pub(crate) fn lose(net: &mut Net, mut lose: impl FnMut(SocketAddr, SocketAddr) -> bool + 'static) {
    let entry = net.nodes[0].address.ip();
    net.set_filter(move |packet| {
        let (near, far) = if packet.from.ip() == entry { (packet.from, packet.to) } else { (packet.to, packet.from) };
        if lose(near, far) { Fate::Lose } else { Fate::Deliver }
    });
}

/// Three round trips and 50 ms; slots are part of a round trip.
pub(crate) fn three_rounds(net: &Net) -> Duration {
    3 * (2 * net.latency + 2 * SLOT) + Duration::from_millis(50)
}
