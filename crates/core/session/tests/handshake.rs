//! Who may talk to whom, and what a stranger's bytes do.

#![allow(clippy::print_stdout, reason = "figures of a run")]

#[path = "support/pair.rs"]
mod support;

use session::{CloseReason, ConfigError, EndReason, ExpectedPeer, Session, SessionConfig};
use std::time::Duration;
use support::{PACKET_MAX, Pair, Path, Seeded, Who, client_config, secret, server_config};

#[test]
fn the_right_nodes_connect_over_a_path_that_loses() {
    for seed in 0..20 {
        let path = Path { loss_per_mille: 200, ..Path::default() };
        let pair = Pair::connected(client_config(), server_config(), path, seed);
        assert!(pair.largest_packet <= PACKET_MAX);
        assert!(pair.client.session.is_connected() && pair.server.session.is_connected());
    }
}

#[test]
fn a_handshake_takes_two_packets_each_way_and_one_round_trip() {
    let mut pair = Pair::new(client_config(), server_config(), Path::default(), 1);
    pair.run_until(Duration::from_secs(5), |pair| pair.client.connected);
    assert_eq!(pair.now - pair.start, Duration::from_millis(40));
    println!("client {} packets, server {} packets", pair.client.packets_sent, pair.server.packets_sent);
    assert!(pair.client.packets_sent <= 3 && pair.server.packets_sent <= 3);
}

#[test]
fn a_client_refuses_another_server() {
    let expects_another = SessionConfig { peer: secret(3).node_id().into(), ..client_config() };
    let mut pair = Pair::new(expects_another, server_config(), Path::default(), 1);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.client.closed, Some(CloseReason::WrongPeer));
    assert!(matches!(pair.server.closed, Some(CloseReason::Refused(_))), "{:?}", pair.server.closed);
    assert!(!pair.client.connected && !pair.server.connected);
}

#[test]
fn a_server_refuses_another_client() {
    let expects_another = SessionConfig { peer: secret(3).node_id().into(), ..server_config() };
    let mut pair = Pair::new(client_config(), expects_another, Path::default(), 1);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.server.closed, Some(CloseReason::WrongPeer));
    assert!(matches!(pair.client.closed, Some(CloseReason::Refused(_))), "{:?}", pair.client.closed);
    assert!(!pair.server.connected);
}

#[test]
fn a_server_for_anyone_takes_clients_with_any_key_and_they_still_name_it() {
    let open = || SessionConfig { peer: ExpectedPeer::Anyone, ..server_config() };
    for key in [1, 7] {
        let client = SessionConfig { own: secret(key), ..client_config() };
        let pair = Pair::connected(client, open(), Path::default(), 1);
        assert!(pair.client.session.is_connected() && pair.server.session.is_connected());
    }
    let expects_another = SessionConfig { peer: secret(3).node_id().into(), ..client_config() };
    let mut pair = Pair::new(expects_another, open(), Path::default(), 1);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.client.closed, Some(CloseReason::WrongPeer));
    assert!(!pair.client.connected && !pair.server.connected);
}

#[test]
fn a_client_names_its_server() {
    let now = Pair::usual().now;
    let for_anyone = SessionConfig { peer: ExpectedPeer::Anyone, ..client_config() };
    assert_eq!(Session::client(for_anyone, now).err(), Some(ConfigError::NoServer));
}

#[test]
fn bytes_that_are_no_packets_do_nothing() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    let mut random = Seeded(5);
    for length in [0, 1, 2, 17, 40, 1199, 1200, 1222, 4000] {
        for first in [0x00, 0x40, 0x7f, 0x80, 0xc0, 0xc3, 0xff] {
            let mut packet: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            pair.inject(Who::Server, &packet);
            pair.inject(Who::Client, &packet);
        }
    }
    assert!(pair.server.session.stats().packets_ignored > 0);
    pair.client.send_and_finish(flow, &b"still there"[..]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.received[&flow], b"still there");
    assert_eq!((&pair.client.closed, &pair.server.closed), (&None, &None));
}

#[test]
fn a_second_client_changes_nothing() {
    let mut pair = Pair::usual();
    let mut stranger = Pair::new(
        SessionConfig { seed: [99; 32], own: secret(9), ..client_config() },
        server_config(),
        Path::default(),
        1,
    );
    let mut packet = Vec::new();
    while stranger.client.session.poll_packet(stranger.now, &mut packet).is_some() {
        pair.inject(Who::Server, &packet);
        packet.clear();
    }
    let flow = pair.open();
    pair.client.send_and_finish(flow, &b"x"[..]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.received[&flow], b"x");
}

#[test]
fn a_close_is_told_to_the_other_end() {
    let mut pair = Pair::usual();
    let now = pair.now;
    pair.server.session.close(now, EndReason::Stopping);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.closed, Some(CloseReason::Local(EndReason::Stopping)));
    assert_eq!(pair.client.closed, Some(CloseReason::Peer(EndReason::Stopping)));
    assert!(pair.client.session.is_closed());
}

#[test]
fn a_server_without_a_client_gives_up() {
    let mut pair = Pair::new(client_config(), server_config(), Path { cut: true, ..Path::default() }, 1);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.server.closed, Some(CloseReason::TimedOut));
    assert_eq!(pair.client.closed, Some(CloseReason::TimedOut));
}
