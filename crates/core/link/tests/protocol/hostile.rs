//! Packets that must lead nowhere.

use crate::net::{CIRCUIT, Fate, Net, Packet, accept_only, address, config, peer};
use identity::DoorKey;
use link::{Accept, DropReason, Endpoint, LinkEvent, Peer, Received, SealError};
use std::time::Duration;
use wire::cell::{CellHead, CircuitId, Command};

/// Runs the first steps of a pair and returns the packets that were sent, in order: message 1, message 2, a cell.
fn first_packets(net: &mut Net) -> Vec<Packet> {
    net.recording = Some(Vec::new());
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(1)));
    let mut packets = net.recording.take().expect("a recording");
    packets.truncate(3);
    packets
}

/// The packet that `node` sends next, taken off the wire.
fn intercept(net: &mut Net, node: usize) -> Packet {
    let from = net.nodes[node].address;
    for _ in 0..40 {
        net.recording = Some(Vec::new());
        let mut lost = false;
        net.set_filter(move |packet| {
            let take = packet.from == from && !lost;
            lost |= take;
            if take { Fate::Lose } else { Fate::Deliver }
        });
        net.step();
        net.clear_filter();
        let found = net.recording.take().into_iter().flatten().find(|packet| packet.from == from);
        if let Some(packet) = found {
            return packet;
        }
    }
    panic!("node {node} sent nothing");
}

fn is_dropped(received: Option<Received>) -> bool {
    matches!(received, Some(Received::Dropped(_)))
}

/// Every byte of the packet is flipped once; each such packet is dropped, and then the packet itself is taken.
fn flip_every_byte(net: &mut Net, packet: &Packet) {
    for place in 0..packet.bytes.len() {
        let mut bent = packet.clone();
        bent.bytes[place] ^= 1 << (place % 8);
        assert!(is_dropped(net.arrive(bent)), "byte {place}");
    }
    assert!(!is_dropped(net.arrive(packet.clone())), "the packet itself");
}

#[test]
fn every_byte_of_message_1_message_2_and_a_cell_counts() {
    let (mut net, _) = Net::pair(|_| {});
    let message_1 = intercept(&mut net, 0);
    flip_every_byte(&mut net, &message_1);
    assert_eq!(net.nodes[1].endpoint.counters().answered, 1);
    let message_2 = intercept(&mut net, 1);
    flip_every_byte(&mut net, &message_2);
    assert!(net.is_up(0));
    let cell = intercept(&mut net, 0);
    flip_every_byte(&mut net, &cell);
    assert!(net.is_up(1));
    let cell = intercept(&mut net, 1);
    flip_every_byte(&mut net, &cell);
    let counters = net.nodes[1].endpoint.counters();
    assert!(counters.forged > 1000 && counters.stranger > 1000, "{counters:?}");
}

#[test]
fn other_sizes_are_dropped() {
    let (mut net, _) = Net::pair(|_| {});
    let packets = first_packets(&mut net);
    for packet in packets {
        for length in [0, 1, 11, 15, 16, 37, 1339, 1340, 1349, 1351, 1352, 1452, 2700, 65_507] {
            let mut other = packet.clone();
            other.bytes.resize(length, 0);
            assert_eq!(net.arrive(other), Some(Received::Dropped(DropReason::WrongSize)), "{length}");
        }
    }
}

#[test]
fn message_1_is_taken_once() {
    let (mut net, _) = Net::pair(|_| {});
    let message_1 = intercept(&mut net, 0);
    net.arrive(message_1.clone());
    let again = |net: &mut Net, from| {
        let mut copy = Packet { from, ..message_1.clone() };
        let (now, mut out) = (net.now, Vec::new());
        let received = net.nodes[1].endpoint.handle_packet(now, from, false, &mut copy.bytes);
        let to = net.nodes[1].endpoint.poll_door_packet(now, &mut out);
        (received, to.map(|to| (to, out)))
    };
    let mut first = Vec::new();
    let now = net.now;
    net.nodes[1].endpoint.poll_door_packet(now, &mut first).expect("an answer");
    let here = message_1.from;
    // The same bytes from the same place within ten seconds: the same answer. From anywhere else: silence.
    assert_eq!(again(&mut net, here), (Received::Handled, Some((here.into(), first))));
    let dropped = Received::Dropped(DropReason::ReplayedHandshake);
    assert_eq!(again(&mut net, address(1, 1001)), (dropped, None));
    assert_eq!(again(&mut net, address(77, 1000)), (dropped, None));
    net.nodes[0].talks = false;
    net.now.instant += Duration::from_secs(10);
    assert_eq!(again(&mut net, here), (dropped, None), "later");
    // After a restart, too, if the accepted keys were kept.
    let mut stored = Vec::new();
    while let Some(event) = net.nodes[1].endpoint.poll_event() {
        if let LinkEvent::AcceptedEphemeral { ephemeral, day } = event {
            stored.push((ephemeral, day));
        }
    }
    assert_eq!(stored.len(), 1);
    net.restart(1, 60);
    net.nodes[1].endpoint.remember_ephemerals(stored);
    assert_eq!(again(&mut net, here), (dropped, None), "after a restart");
    assert_eq!(again(&mut net, address(77, 1000)), (dropped, None));
    net.restart(1, 61);
    assert_eq!(again(&mut net, here).0, Received::Handled, "this is what remembering is for");
}

#[test]
fn strangers_get_no_byte() {
    let (mut net, _) = Net::pair(|_| {});
    let exit = net.nodes[1].endpoint.config().clone();
    let wrong_door = Peer { door_key: DoorKey::from_bytes([99; 32]), ..peer(&exit) };
    let wrong_key = Peer { link_key: config(77).link_secret.link_key(), ..peer(&exit) };
    // What is wrong: the door key, the exit's link key, the dialler itself, its network, its packet size.
    let mut other_network = config(1);
    other_network.network_id = [1; 32];
    let mut other_size = config(1);
    other_size.packet_size = wire::packet::PacketSize::new(1400).expect("in range");
    let cases = [
        (config(1), wrong_door, DropReason::Stranger),
        (config(1), wrong_key, DropReason::WrongKey),
        (config(50), peer(&exit), DropReason::UnknownPeer),
        (exit.clone(), peer(&exit), DropReason::UnknownPeer),
        (other_network, peer(&exit), DropReason::WrongKey),
        (other_size, peer(&exit), DropReason::WrongSize),
    ];
    for (dialler, target, reason) in cases {
        let mut dialler = Endpoint::new(dialler, [70; 32]);
        let mut target_endpoint = Endpoint::new(exit.clone(), [71; 32]);
        let link = dialler.dial(net.now, &target, net.nodes[1].address, [0; 7]).expect("room");
        let (now, mut out) = (net.now, Vec::new());
        dialler.poll_own_packet(now, link, &mut out).expect("message 1");
        assert_eq!(target_endpoint.handle_packet(now, address(5, 5), false, &mut out), Received::Dropped(reason));
        assert_eq!(target_endpoint.poll_door_packet(now, &mut Vec::new()), None, "{reason:?}");
        assert_eq!((target_endpoint.link_count(), target_endpoint.poll_event()), (0, None));
    }
    // Noise of the right size.
    let mut noise = vec![0u8; 1350];
    for round in 0..200u32 {
        for (place, byte) in noise.iter_mut().enumerate() {
            *byte = (place as u32).wrapping_mul(2_654_435_761).wrapping_add(round).to_be_bytes()[0];
        }
        let (now, from) = (net.now, address(6, round as u16));
        let received = net.nodes[1].endpoint.handle_packet(now, from, false, &mut noise.clone());
        assert_eq!(received, Received::Dropped(DropReason::Stranger));
    }
    assert!(!net.nodes[1].endpoint.has_door_packet());
}

#[test]
fn an_entry_answers_nobody() {
    let (mut net, _) = Net::pair(|_| {});
    assert!(matches!(net.nodes[0].endpoint.config().accept, Accept::Nobody));
    let mut stranger = Endpoint::new(config(2), [70; 32]);
    let (now, entry) = (net.now, peer(net.nodes[0].endpoint.config()));
    let link = stranger.dial(now, &entry, net.nodes[0].address, [0; 7]).expect("room");
    let mut out = Vec::new();
    stranger.poll_own_packet(now, link, &mut out).expect("message 1");
    for from in [net.nodes[1].address, address(5, 5)] {
        let received = net.nodes[0].endpoint.handle_packet(now, from, false, &mut out.clone());
        assert_eq!(received, Received::Dropped(DropReason::Stranger));
    }
    assert!(!net.nodes[0].endpoint.has_door_packet());
}

#[test]
fn replayed_and_old_cells_are_dropped() {
    let (mut net, _) = Net::pair(|_| {});
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(1)));
    let cell = intercept(&mut net, 0);
    assert!(matches!(net.arrive(cell.clone()), Some(Received::Cell { .. })));
    assert_eq!(net.arrive(cell.clone()), Some(Received::Dropped(DropReason::Replayed)));
    let old = intercept(&mut net, 0);
    net.run(Duration::from_secs(8192 / 200 + 2));
    assert_eq!(net.arrive(old), Some(Received::Dropped(DropReason::Replayed)), "behind the window");
}

#[test]
fn a_guessed_message_2_does_not_end_the_handshake() {
    // Somebody with the door key answers in the exit's name: he can make the disguise, not the handshake.
    let (mut net, _) = Net::pair(|_| {});
    let mut impostor_config = config(2);
    impostor_config.link_secret = config(77).link_secret;
    impostor_config.accept = Accept::Anyone;
    let message_1 = intercept(&mut net, 0);
    let mut impostor = Endpoint::new(impostor_config.clone(), [70; 32]);
    // The impostor cannot read message 1; he sends message 2 of another handshake under the right seal.
    let mut helper = Endpoint::new(config(1), [71; 32]);
    let target = Peer { link_key: impostor_config.link_secret.link_key(), ..peer(&impostor_config) };
    let link = helper.dial(net.now, &target, net.nodes[1].address, [0; 7]).expect("room");
    let now = net.now;
    for _ in 0..3 {
        let mut out = Vec::new();
        let mut at = now;
        while helper.poll_own_packet(at, link, &mut out).is_none() {
            at.instant += Duration::from_millis(100);
        }
        assert_eq!(impostor.handle_packet(at, address(1, 1), false, &mut out), Received::Handled);
        let mut forged = Vec::new();
        impostor.poll_door_packet(at, &mut forged).expect("an answer");
        let (from, entry) = (net.nodes[1].address, &mut net.nodes[0].endpoint);
        assert_eq!(entry.handle_packet(now, from, false, &mut forged), Received::Dropped(DropReason::WrongAnswer));
    }
    net.arrive(message_1);
    net.step();
    assert!(net.run_until(Duration::from_millis(100), |net| net.is_up(0)), "the true answer still counts");
}

#[test]
fn only_listed_keys_come_in() {
    let (one, two, mut exit) = (config(1), config(3), config(2));
    exit.accept = accept_only(&[&one]);
    let mut net = Net::new(vec![one, exit, two]);
    net.dial(0, 1);
    net.dial(2, 1);
    net.run(Duration::from_secs(3));
    assert!(net.is_up(0) && !net.is_up(2));
    assert!(net.nodes[1].endpoint.counters().unknown_peer >= 3);
    assert_eq!(net.nodes[2].sent, net.nodes[1].endpoint.counters().unknown_peer, "every one met silence");
    assert!(net.nodes[2].received.is_empty());
}

#[test]
fn authenticated_cells_without_meaning_are_the_peers_fault() {
    let (mut net, link) = Net::pair(|_| {});
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(1)));
    let (now, from) = (net.now, net.nodes[0].address);
    for command in [Command::Cover, Command::Report, Command::Challenge, Command::RekeyInit, Command::RekeyAnswer] {
        let (head, mut out) = (CellHead { circuit: CIRCUIT, command }, Vec::new());
        net.nodes[0].endpoint.seal_cell(now, link, head, |_| {}, &mut out).expect("a link that is up");
        let received = net.nodes[1].endpoint.handle_packet(now, from, false, &mut out);
        assert_eq!(received, Received::Dropped(DropReason::BadCell), "{command:?} of a circuit");
    }
    assert!(net.is_up(1));
}

#[test]
fn a_caller_cannot_make_the_links_own_cells() {
    let (mut net, link) = Net::pair(|_| {});
    let (mut out, cover) = (Vec::new(), CellHead { circuit: CircuitId::LINK, command: Command::Cover });
    let now = net.now;
    assert_eq!(net.nodes[0].endpoint.seal_cell(now, link, cover, |_| {}, &mut out), Err(SealError::Down));
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(0)));
    let endpoint = &mut net.nodes[0].endpoint;
    for command in [Command::Report, Command::Challenge, Command::Relay, Command::Destroy] {
        let head = CellHead { circuit: CircuitId::LINK, command };
        assert_eq!(endpoint.seal_cell(now, link, head, |_| {}, &mut out), Err(SealError::Reserved));
    }
    assert!(out.is_empty(), "nothing is appended on an error");
    assert!(endpoint.seal_cell(now, link, cover, |_| {}, &mut out).is_ok());
    assert_eq!(out.len(), 1350);
}
