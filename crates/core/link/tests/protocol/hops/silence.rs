//! What strangers and copied packets get at hop ports.

use super::{NEVER, hop, hopped, hopping_pair, is_trouble, settle, status};
use crate::net::{CIRCUIT, Fate, Net, Packet, address, config, peer};
use link::{DropReason, Endpoint, Received};
use std::net::SocketAddr;
use std::time::Duration;

/// The ports that a node listens on beside its door.
fn listening(net: &Net, node: usize) -> Vec<SocketAddr> {
    let ip = net.nodes[node].address.ip();
    net.nodes[node].sockets.values().map(|port| (ip, *port).into()).collect()
}

#[test]
fn a_hop_port_answers_no_stranger_not_even_one_with_the_door_key() {
    let (mut net, _) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let (ports, now) = (listening(&net, 1), net.now);
    assert_eq!(ports.len(), 3);
    let mut friend = Endpoint::new(config(1), [77; 32]);
    let to_exit = peer(net.nodes[1].endpoint.config());
    let dialled = friend.dial(now, &to_exit, address(2, 1000), [0; 7]).expect("room");
    let mut message_1 = Vec::new();
    friend.poll_own_packet(now, dialled, &mut message_1).expect("message 1");
    let answered = net.nodes[1].endpoint.counters().answered;
    for to in ports {
        for bytes in [vec![0; 1350], vec![7; 100], message_1.clone()] {
            let wrong = if bytes.len() == 1350 { DropReason::Stranger } else { DropReason::WrongSize };
            let packet = Packet { from: address(66, 6), to, ce: false, bytes };
            assert_eq!(net.arrive(packet), Some(Received::Dropped(wrong)));
        }
    }
    let exit = &mut net.nodes[1].endpoint;
    assert_eq!(exit.counters().answered, answered);
    assert!(!exit.has_door_packet() && exit.poll_door_packet(now, &mut Vec::new()).is_none());
    let door = Packet { from: address(66, 6), to: address(2, 1000), ce: false, bytes: message_1 };
    assert_eq!(net.arrive(door), Some(Received::Handled), "the same message at the door");
}

#[test]
fn a_hop_port_of_an_entry_is_silent_too() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    hop(&mut net, link);
    let to = listening(&net, 0).pop().expect("the present socket");
    let packet = Packet { from: address(66, 6), to, ce: false, bytes: vec![9; 1350] };
    assert_eq!(net.arrive(packet), Some(Received::Dropped(DropReason::Stranger)));
}

#[test]
fn a_packet_that_came_is_refused_on_the_next_pair() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let old = net.seal(0, link).expect("a link that is up");
    assert!(matches!(net.arrive(old.clone()), Some(Received::Cell { head, .. }) if head.circuit == CIRCUIT));
    hop(&mut net, link);
    net.run(Duration::from_millis(500));
    let pair: SocketAddr = (net.nodes[1].address.ip(), status(&net, 0).remote_port).into();
    let copy = |from| Packet { from, to: pair, ..old.clone() };
    assert_eq!(net.arrive(copy(old.from)), Some(Received::Dropped(DropReason::Replayed)));
    assert_eq!(net.arrive(copy(address(66, 6))), Some(Received::Dropped(DropReason::Replayed)));
}

#[test]
fn a_late_packet_of_the_pair_before_moves_nothing() {
    let (mut net, link) = hopping_pair(NEVER, |_| {});
    settle(&mut net);
    let late = net.seal(0, link).expect("a link that is up");
    hop(&mut net, link);
    net.run(Duration::from_millis(500));
    let before = (status(&net, 1).remote_port, net.nodes[1].endpoint.peer_address(net.link_of(1)));
    let pair: SocketAddr = (net.nodes[1].address.ip(), status(&net, 0).remote_port).into();
    assert!(matches!(net.arrive(Packet { from: address(66, 6), to: pair, ..late }), Some(Received::Cell { .. })));
    net.run(Duration::from_millis(500));
    assert_eq!((status(&net, 1).remote_port, net.nodes[1].endpoint.peer_address(net.link_of(1))), before);
}

#[test]
fn copied_packets_of_a_hop_do_not_steal_the_stream() {
    // An observer gets a copy of each packet of the entry to the exit first, from a victim's address.
    let (mut net, _) = hopping_pair(super::FAST, |_| {});
    settle(&mut net);
    let (entry, victim) = (net.nodes[0].address.ip(), address(66, 6));
    let copies = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let to_victim = std::rc::Rc::new(std::cell::Cell::new(0));
    let (taken, count) = (copies.clone(), to_victim.clone());
    net.set_filter(move |packet| {
        if packet.from.ip() == entry {
            taken.borrow_mut().push(Packet { from: victim, ..packet.clone() });
        }
        count.set(count.get() + u32::from(packet.to == victim));
        crate::net::Fate::Deliver
    });
    let slots = 4_000;
    for _ in 0..slots {
        net.step();
        for copy in copies.take() {
            net.arrive(copy);
        }
    }
    assert!(to_victim.get() * 10 < slots, "{} of {slots} packets to the victim", to_victim.get());
    let peer = net.nodes[1].endpoint.peer_address(net.link_of(1)).expect("a link");
    assert_eq!(peer.ip(), entry, "the stream stays with the entry");
    assert_eq!(net.events_of(1, super::is_trouble), 0);
}

/// An entry with slots, and a relay without any that has nothing to say.
fn idle_at_a_relay(latency: Duration) -> Net {
    let relay = config(2).node_id;
    let (mut net, _) = hopping_pair(NEVER, |config| config.gridded = config.node_id != relay);
    net.latency = latency;
    net.nodes[1].talks = false;
    settle(&mut net);
    net.run(Duration::from_secs(5));
    net
}

#[test]
fn a_relay_that_has_nothing_to_say_is_not_silent() {
    for latency in [1, 20, 100].map(Duration::from_millis) {
        let mut net = idle_at_a_relay(latency);
        let (troubles, hops, sent) =
            (net.events_of(0, is_trouble), net.events_of(0, hopped), [net.nodes[0].sent, net.nodes[1].sent]);
        // Of a hundred packets one is lost.
        let mut number = 0;
        net.set_filter(move |_| {
            number += 1;
            if number % 100 == 0 { Fate::Lose } else { Fate::Deliver }
        });
        net.run(Duration::from_secs(60));
        assert_eq!((net.events_of(0, is_trouble), net.events_of(0, hopped)), (troubles, hops), "{latency:?}");
        let sent = [net.nodes[0].sent - sent[0], net.nodes[1].sent - sent[1]];
        assert_eq!(sent[0], 12_000, "one packet in each slot");
        assert!(sent[1] <= 5 * 60, "a relay says little where little is asked: {sent:?}");
    }
}

#[test]
fn a_relay_that_cannot_be_heard_is_silent_after_half_a_second() {
    let mut net = idle_at_a_relay(Duration::from_millis(20));
    let (blocked, before) = (status(&net, 0).remote_port, net.events_of(0, hopped));
    net.set_filter(move |packet| if packet.to.port() == blocked { Fate::Lose } else { Fate::Deliver });
    let begun = net.now.instant;
    assert!(net.run_until(Duration::from_secs(2), |net| net.events_of(0, hopped) > before), "it hops");
    let took = net.now.instant - begun;
    assert!(took < Duration::from_millis(700), "{took:?}");
}
