//! Every state of a leg against everything that can come, as a table that a person has read.

use super::super::*;
use super::ends::*;
use crate::Asked;
use crate::message::{Attempt, Message};
use std::fmt::Write;
use wire::leg::{Feedback, LegHeader, LegKind};

fn attempt(number: u8) -> Attempt {
    Attempt::new(number).expect("below eight")
}

fn link(attempt_number: u8, leg: u8, nonce: Nonce) -> Message {
    link_asking(attempt_number, leg, Asked::OFF, nonce)
}

fn link_asking(attempt_number: u8, leg: u8, asked: Asked, nonce: Nonce) -> Message {
    let ux = DesiredUx::NoOpinion;
    Message::Link { attempt: attempt(attempt_number), joins: false, leg: id(leg), ux, asked, nonce }
}

fn linked(attempt_number: u8, leg: u8, nonce: Nonce) -> Message {
    Message::Linked { attempt: attempt(attempt_number), leg: id(leg), ux: DesiredUx::NoOpinion, nonce }
}

fn header(kind: LegKind, tunnel_number: u64, body: &[u8]) -> Vec<u8> {
    let feedback = Feedback::default();
    let length = body.len() as u16;
    let header = LegHeader { kind, feedback_leg: 0, length, tunnel_number, feedback };
    [&header.encode()[..], body].concat()
}

/// Mode 1 at class 20, and a share of it.
fn shaped(share: u8, shares: u8) -> Asked {
    Asked::new(1, 20, share, shares).expect("a share of so many")
}

/// What can come, by name: a message or the bytes of a cell.
fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let other = || Nonce::new([0x77; 32]);
    let message = |message: Message| {
        let mut body = Vec::new();
        message.encode(&mut body);
        header(LegKind::Link, 0, &body)
    };
    vec![
        ("LINK again, next attempt", message(link(1, 0, nonce()))),
        ("LINK again, same attempt", message(link(0, 0, nonce()))),
        ("LINK of another tunnel", message(link(1, 0, other()))),
        ("LINK of another leg", message(link(1, 1, nonce()))),
        ("LINK for another schedule", message(link_asking(1, 0, shaped(0, 1), nonce()))),
        ("LINK of another version", {
            let mut cell = message(link(1, 0, nonce()));
            cell[19 + 2] = 9;
            cell
        }),
        ("LINKED", message(linked(0, 0, nonce()))),
        ("LINKED to what was not said", message(linked(5, 0, nonce()))),
        ("LINKED of another tunnel", message(linked(0, 0, other()))),
        ("LINKED of another leg", message(linked(0, 1, nonce()))),
        ("LINKED_ACK", message(Message::LinkedAck { attempt: attempt(0) })),
        ("LINKED_ACK to what was not said", message(Message::LinkedAck { attempt: attempt(5) })),
        ("REFUSED full", message(Message::Refused { attempt: attempt(0), reason: Refusal::Full })),
        ("REFUSED unknown tunnel", message(Message::Refused { attempt: attempt(0), reason: Refusal::UnknownTunnel })),
        ("REFUSED not offered", message(Message::Refused { attempt: attempt(0), reason: Refusal::NotOffered })),
        ("REFUSED what was not said", message(Message::Refused { attempt: attempt(5), reason: Refusal::Full })),
        ("UNLINK", message(Message::Unlink { attempt: attempt(0) })),
        ("UNLINKED", message(Message::Unlinked { attempt: attempt(0) })),
        ("UNLINKED to what was not said", message(Message::Unlinked { attempt: attempt(5) })),
        ("data", header(LegKind::Data, 1, b"packet")),
        ("data number 0", header(LegKind::Data, 0, b"packet")),
        ("data beyond all numbers", header(LegKind::Data, u64::MAX, b"packet")),
        ("cover", header(LegKind::Cover, 0, b"")),
        ("kind 3", {
            let mut cell = header(LegKind::Cover, 0, b"");
            cell[0] = 0x30;
            cell
        }),
        ("a message of no kind", header(LegKind::Link, 0, &[9, 0])),
        ("a message with something behind it", header(LegKind::Link, 0, &[3, 0, 0])),
    ]
}

/// A state of the leg 0, made afresh.
type Make = fn() -> (Instant, End);

fn states() -> Vec<(&'static str, Make)> {
    fn linking() -> (Instant, End) {
        let now = crate::origin();
        let mut end = client(now);
        end.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
        end.own_cells(now);
        (now + 20 * MS, end)
    }
    fn client_linked() -> (Instant, End) {
        let pair = Pair::linked(1);
        (pair.now, pair.client)
    }
    fn exit_linked() -> (Instant, End) {
        let pair = Pair::linked(1);
        (pair.now, pair.exit)
    }
    fn exit_unacknowledged() -> (Instant, End) {
        let now = crate::origin();
        let mut client = client(now);
        client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
        let cell = client.own_cells(now).remove(0);
        let crate::First::New(_, accepted) = first(&mut crate::JoinPoint::default(), now, &cell) else {
            panic!("a LINK makes a tunnel")
        };
        let mut exit = End::new(Tunnel::exit(now, TunnelConfig::default(), accepted, [2; 32]));
        exit.own_cells(now);
        exit.events();
        (now + 20 * MS, exit)
    }
    fn client_removing() -> (Instant, End) {
        let (now, mut end) = client_linked();
        end.tunnel.remove_leg(now, id(0));
        end.own_cells(now);
        (now + MS, end)
    }
    fn exit_removed() -> (Instant, End) {
        let (now, mut end) = exit_linked();
        let cell = end.message_cell(id(0), &Message::Unlink { attempt: attempt(0) });
        end.take(now, &cell);
        end.own_cells(now);
        (now + MS, end)
    }
    fn client_silent() -> (Instant, End) {
        let (now, mut end) = client_linked();
        end.data_cell(now, id(0), b"lost");
        let later = now + 300 * MS;
        end.tunnel.handle_timeout(later);
        end.events();
        (later, end)
    }
    fn closed() -> (Instant, End) {
        let (now, mut end) = client_linked();
        end.tunnel.close(now);
        end.events();
        end.released();
        (now, end)
    }
    vec![
        ("client, linking", linking as Make),
        ("client, linked", client_linked),
        ("client, silent", client_silent),
        ("client, removing it", client_removing),
        ("client, closed", closed),
        ("exit, LINKED not acknowledged", exit_unacknowledged),
        ("exit, linked", exit_linked),
        ("exit, removed by the client", exit_removed),
    ]
}

/// What comes of an input: the state afterwards or why the leg has ended, what is said, and what the session gets.
fn outcome(now: Instant, mut end: End, cell: &[u8]) -> String {
    end.tunnel.handle_cell(now, id(0), 1_000, cell);
    let mut text = match (end.released().first(), end.tunnel.leg(id(0))) {
        (Some(LegEnd::Fault(fault)), _) => format!("closed: {fault:?}"),
        (Some(why), _) => format!("ended: {why:?}"),
        (None, Some(leg)) => format!("{:?}", leg.state),
        (None, None) => "no leg".to_owned(),
    };
    if end.tunnel.is_over() {
        text += ", tunnel over";
    }
    for message in end.own_cells(now).iter().filter_map(Cell::message) {
        let name = format!("{message:?}");
        let _ = write!(text, ", says {}", name.split([' ', '{']).next().unwrap_or_default());
    }
    if !end.packets(now).is_empty() {
        text += ", packet";
    }
    text
}

#[test]
fn every_state_and_every_input() {
    let mut table = String::new();
    for (state, make) in states() {
        let _ = writeln!(table, "{state}");
        for (input, cell) in inputs() {
            let (now, end) = make();
            let _ = writeln!(table, "  {input:36} {}", outcome(now, end, &cell));
        }
    }
    insta::assert_snapshot!(table);
}

/// The same for the first cell of a circuit at the exit, where there is no leg.
#[test]
fn every_first_input() {
    let mut table = String::new();
    for (input, cell) in inputs() {
        let mut join_point = crate::JoinPoint::default();
        let fresh = crate::leg::Fresh::new(0);
        let outcome = match join_point.handle_first(crate::origin(), fresh, true, 0, &cell) {
            crate::First::Nothing(_) => "still fresh".to_owned(),
            crate::First::New(..) => "a tunnel".to_owned(),
            crate::First::Joins(..) => "joins".to_owned(),
            crate::First::InUse(_) => "in use, unlinked".to_owned(),
            crate::First::Refused(_, why, _) => format!("refused: {why:?}"),
            crate::First::Fault(_, fault) => format!("closed: {fault:?}"),
        };
        let _ = writeln!(table, "{input:36} {outcome}");
    }
    insta::assert_snapshot!(table);
}
