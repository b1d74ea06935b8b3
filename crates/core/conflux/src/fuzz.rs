//! The fuzz bodies of all that reads what the other end wrote: run by libFuzzer and, over the committed corpora, by
//! `cargo test`.

use crate::message::Message;
use crate::{Building, Circuit, First, Fresh, JoinPoint, LegState, Nonce, REORDER_BYTES_MAX, Tunnel, TunnelConfig};
use identity::NodeId;
use std::time::{Duration, Instant};
use wire::leg::{Feedback, LegHeader, LegKind};

/// A circuit that carries nothing.
struct Nothing;

impl Circuit for Nothing {
    type Carrier = ();
    fn into_carrier(self) {}
}

/// A message about a leg: read or refused; what is read is written the same; nothing shows the nonce.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn link_message(input: &[u8]) {
    let Ok(message) = Message::decode(input) else { return };
    let mut written = Vec::new();
    message.encode(&mut written);
    assert_eq!(written, input, "every byte of a message means something");
    if matches!(message, Message::Link { .. } | Message::Linked { .. }) {
        assert!(format!("{message:?}").contains("Nonce(..)"), "a nonce is not shown");
    }
}

/// Cells of a hostile other end, at a client or (first byte odd) an exit with one linked leg. Each cell is 4 bytes and a
/// header of 19 bytes with its body: wait in milliseconds, steps of the layer number, length of the body, leg.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn tunnel_cells(input: &[u8], start: Instant) {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let (mut client, mut exit) = linked_pair(start);
    let tunnel = if first & 1 == 0 { &mut client } else { &mut exit };
    let (mut now, mut number) = (start, 100);
    while let Some((&[wait, steps, length, leg], behind)) = rest.split_first_chunk::<4>() {
        let cell = &behind[..behind.len().min(19 + usize::from(length))];
        rest = &behind[cell.len()..];
        now += Duration::from_millis(u64::from(wait));
        number += u64::from(steps);
        if let Some(leg) = crate::LegId::new(leg & 15) {
            tunnel.handle_cell(now, leg, number, cell);
        }
        let packets = std::iter::from_fn(|| tunnel.poll_packet(now)).take(10_000).count();
        assert!(packets < 10_000, "no more comes out than went in");
        assert!(tunnel.held_bytes() <= REORDER_BYTES_MAX, "the buffer stays in its bound");
        tunnel.handle_timeout(now);
        let mut message = Vec::new();
        for _ in 0..40 {
            let Some(leg) = tunnel.poll_own(now) else { break };
            tunnel.own_header(now, leg, number, &mut message);
        }
        assert!(tunnel.legs().count() <= 1, "cells make no leg");
    }
}

/// A client and an exit with one leg, linked at `now`.
///
/// # Panics
/// If they do not link: that is the finding.
fn linked_pair(now: Instant) -> (Tunnel<()>, Tunnel<()>) {
    let mut client = Tunnel::client(now, TunnelConfig::default(), Nonce::new([7; 32]), [8; 32]);
    let built = Building::new(Nothing).into_built(vec![NodeId([1; 32])]).map_err(|(_, error)| error);
    let Ok(built) = built else { panic!("one hop is a path") };
    let Ok(leg) = client.add_leg(now, built).map_err(|(_, error)| error) else { panic!("the first leg fits") };
    let link = cell(&mut client, now, leg, 0);
    let First::New(_, accepted) = JoinPoint::default().handle_first(now, Fresh::new(()), true, 0, &link) else {
        panic!("a LINK makes a tunnel")
    };
    let mut exit = Tunnel::exit(now, TunnelConfig::default(), accepted, [9; 32]);
    let linked = cell(&mut exit, now, leg, 0);
    client.handle_cell(now, leg, 0, &linked);
    assert_eq!(client.leg(leg).map(|leg| leg.state), Some(LegState::Linked));
    let ack = cell(&mut client, now, leg, 1);
    exit.handle_cell(now, leg, 1, &ack);
    (client, exit)
}

fn cell(from: &mut Tunnel<()>, now: Instant, leg: crate::LegId, number: u64) -> Vec<u8> {
    let mut message = Vec::new();
    let nothing =
        LegHeader { kind: LegKind::Cover, feedback_leg: 0, length: 0, tunnel_number: 0, feedback: Feedback::default() };
    let header = from.own_header(now, leg, number, &mut message).unwrap_or(nothing);
    [&header.encode()[..], &message].concat()
}
