//! The fuzz body of the receive path: run by libFuzzer and, over the committed corpus, by `cargo test`.

use crate::{Accept, Endpoint, EndpointConfig, Now, Peer};
use identity::{DoorKey, LinkSecret, NodeSecret};
use std::net::SocketAddr;
use std::time::Duration;

/// Feeds an endpoint that accepts and dials with packets cut from `input`, and lets time pass between them.
///
/// Each piece is `control 1 | length 2 | bytes`; the control byte chooses the sender, the time that passes, and whether
/// the bytes are bent into a packet of the right size. Whatever comes, nothing panics and every bound holds.
///
/// # Panics
/// When the endpoint breaks a bound or answers a stranger: that is the finding.
pub fn link_packets(input: &[u8], start: Now) {
    let (mut endpoint, peer) = (Endpoint::new(settings(1), [9; 32]), settings(2));
    let size = endpoint.config().packet_size.packet();
    let peer = Peer { node_id: peer.node_id, link_key: peer.link_secret.link_key(), door_key: peer.door_key };
    let (dialled, stranger) = (SocketAddr::from(([192, 0, 2, 2], 1)), SocketAddr::from(([192, 0, 2, 3], 1)));
    let link = endpoint.dial(start, &peer, dialled, [0; 7]).expect("the first dial");
    let (mut now, mut rest, mut out) = (start, input, Vec::new());
    while let [control, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (piece, behind) = tail.split_at(length);
        rest = behind;
        let mut packet = piece.to_vec();
        if control & 1 != 0 {
            packet.resize(size, *control);
        }
        let from = if control & 2 != 0 { dialled } else { stranger };
        endpoint.handle_packet(now, from, control & 4 != 0, &mut packet);
        now.instant += Duration::from_millis(u64::from(control >> 3) * 20);
        now.unix_s += u64::from(control >> 3) * 1000;
        endpoint.handle_timeout(now);
        out.clear();
        endpoint.poll_own_packet(now, link, &mut out);
        assert!(out.is_empty() || out.len() == size, "one packet of P bytes at most");
        assert_eq!(endpoint.poll_door_packet(now, &mut out), None, "a stranger is not answered");
        while endpoint.poll_event().is_some() {}
        assert_eq!(endpoint.link_count(), 1, "nobody came in");
    }
}

fn settings(seed: u8) -> EndpointConfig {
    let node = NodeSecret::from_seed([seed; 32]).node_id();
    let (secret, door) = (LinkSecret::from_bytes([seed; 32]), DoorKey::from_bytes([seed; 32]));
    EndpointConfig { accept: Accept::Anyone, ..EndpointConfig::new(node, secret, door) }
}
