//! A peer that breaks the protocol, played by a session whose control stream is written by hand.

use super::*;
use crate::control::MESSAGE_MAX;
use crate::support::{End, Pair, Path, Who, client_config, datagram_syn, server_config, stream_syn};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use wire::grant::Grant;
use wire::read::DecodeError;

/// Writes bytes into the control stream of one end and says how the other end's session ends.
fn violation(pair: &mut Pair, from: Who, bytes: &[u8]) -> Option<CloseReason> {
    let end = pair.end(from);
    end.session.control_out.extend_from_slice(bytes);
    pair.run_for(Duration::from_secs(1));
    let (ours, theirs) = match from {
        Who::Client => (&pair.client, &pair.server),
        Who::Server => (&pair.server, &pair.client),
    };
    let told = Some(CloseReason::Peer(EndReason::Violation));
    assert_eq!(ours.closed, told.filter(|_| theirs.closed.is_some()), "the culprit is told");
    theirs.closed.clone()
}

fn encoded(message: &ControlMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn ended_by(violation: Violation) -> Option<CloseReason> {
    Some(CloseReason::Violation(violation))
}

#[test]
fn messages_that_cannot_be_read() {
    let garbage = [0, 12, 77, 0, 0, 0, 0, 0, 0, 0, 4, 1, 1, 1];
    let long = u16::try_from(MESSAGE_MAX + 1).expect("a short length").to_be_bytes();
    for from in [Who::Client, Who::Server] {
        let unknown = Violation::Message(DecodeError::Unknown("control message"));
        assert_eq!(violation(&mut Pair::usual(), from, &garbage), ended_by(unknown));
        assert_eq!(violation(&mut Pair::usual(), from, &long), ended_by(Violation::MessageLength));
    }
}

#[test]
fn messages_from_the_wrong_side() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let connected = encoded(&ControlMessage::Connected(FlowId(4), address));
    let mut pair = Pair::usual();
    pair.open();
    assert_eq!(violation(&mut pair, Who::Client, &connected), ended_by(Violation::Side));
    let syn = encoded(&ControlMessage::Syn(FlowId(4), stream_syn(1)));
    assert_eq!(violation(&mut Pair::usual(), Who::Server, &syn), ended_by(Violation::Side));
}

#[test]
fn grants_reach_the_server_and_only_it_and_not_in_floods() {
    let grant = Grant { first_epoch: 7, releases: 12, cost_each: 3 };
    let mut pair = Pair::usual();
    assert!(pair.client.session.grant(grant));
    pair.run_for(Duration::from_secs(1));
    assert!(pair.server.events.contains(&SessionEvent::Granted(grant)));
    assert!(!pair.server.session.grant(grant), "a server grants nothing");
    let message = encoded(&ControlMessage::Grant(grant));
    assert_eq!(violation(&mut Pair::usual(), Who::Server, &message), ended_by(Violation::Side));
    let server = &mut pair.server.session;
    for _ in 0..GRANTS_WAITING_MAX {
        assert_eq!(server.handle_control(ControlMessage::Grant(grant)), Ok(()));
    }
    assert_eq!(server.handle_control(ControlMessage::Grant(grant)), Err(Violation::Grants));
}

#[test]
fn numbers_that_cannot_be() {
    // The same number again, one below the newest, a stream beyond the client's limit.
    for (opened, number) in [(1, 4), (2, 4), (0, 4 * 5000)] {
        let mut pair = Pair::usual();
        for _ in 0..opened {
            pair.open();
        }
        let syn = encoded(&ControlMessage::Syn(FlowId(number), stream_syn(1)));
        assert_eq!(violation(&mut pair, Who::Client, &syn), ended_by(Violation::FlowNumber), "{opened}, {number}");
    }
    let mut wrong_kind = encoded(&ControlMessage::Syn(FlowId(2), stream_syn(1)));
    wrong_kind[11] = 1;
    assert_eq!(violation(&mut Pair::usual(), Who::Client, &wrong_kind), ended_by(Violation::FlowNumber));
}

#[test]
fn flows_that_never_were() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let connected = encoded(&ControlMessage::Connected(FlowId(8), address));
    let mut pair = Pair::usual();
    pair.open();
    assert_eq!(violation(&mut pair, Who::Server, &connected), ended_by(Violation::UnknownFlow));
    for from in [Who::Client, Who::Server] {
        for message in [
            ControlMessage::Finished(FlowId::datagrams(0)),
            ControlMessage::Reset(FlowId::datagrams(7), ResetReason::ByPeer),
        ] {
            let bytes = encoded(&message);
            assert_eq!(violation(&mut Pair::usual(), from, &bytes), ended_by(Violation::UnknownFlow));
        }
    }
}

#[test]
fn nothing_follows_the_end() {
    let mut pair = Pair::usual();
    let (_, connection) = pair.client.session.connection.as_mut().expect("it is connected");
    connection.datagrams().send(Bytes::from_static(b"nonsense"), false).expect("room");
    // The datagram is read when the flow is finished; the flow after it comes too late.
    let mut bytes = encoded(&ControlMessage::Syn(FlowId(2), datagram_syn()));
    bytes.extend(encoded(&ControlMessage::Finished(FlowId(2))));
    bytes.extend(encoded(&ControlMessage::Syn(FlowId(6), datagram_syn())));
    let before = pair.server.events.len();
    assert_eq!(violation(&mut pair, Who::Client, &bytes), ended_by(Violation::Datagram));
    let events = &pair.server.events[before..];
    assert_eq!(events, [SessionEvent::Closed(CloseReason::Violation(Violation::Datagram))]);
    assert_eq!(pair.server.session.flow_count(), 0);
}

#[test]
fn a_second_confirmation() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let connected = encoded(&ControlMessage::Connected(flow, address));
    assert_eq!(violation(&mut pair, Who::Server, &connected), None);
    assert_eq!(violation(&mut pair, Who::Server, &connected), ended_by(Violation::ConfirmedTwice));
}

#[test]
fn the_end_of_the_control_stream() {
    for from in [Who::Client, Who::Server] {
        for reset in [false, true] {
            let mut pair = Pair::usual();
            pair.open();
            let (_, connection) = pair.end(from).session.connection.as_mut().expect("it is connected");
            let mut control = connection.send_stream(control_stream());
            if reset {
                control.reset(VarInt::from_u32(1)).expect("it is open");
            } else {
                control.finish().expect("it is open");
            }
            assert_eq!(violation(&mut pair, from, &[]), ended_by(Violation::ControlEnded));
        }
    }
}

fn small(config: crate::SessionConfig) -> crate::SessionConfig {
    crate::SessionConfig { max_flows: 4, ..config }
}

#[test]
fn streams_that_are_never_announced() {
    let mut pair = Pair::connected(small(client_config()), small(server_config()), Path::default(), 1);
    for _ in 0..40 {
        let (_, connection) = pair.client.session.connection.as_mut().expect("it is connected");
        while let Some(stream) = connection.streams().open(Dir::Bi) {
            connection.send_stream(stream).write(b"x").expect("an open stream");
            connection.send_stream(stream).reset(VarInt::from_u32(6)).expect("an open stream");
        }
        pair.run_for(Duration::from_millis(200));
        let most = small(server_config()).streams_max() as usize;
        assert!(pair.server.session.flow_count() <= most + 1, "{}", pair.server.session.flow_count());
    }
    assert_eq!(pair.server.closed, ended_by(Violation::Unannounced));
}

#[test]
fn datagrams_that_cannot_be_read() {
    for bytes in [&b""[..], b"\0\0\0\0\0\0\0\0\x04stream flow", b"\x09\0\0\0\0\0\0\0\x02"] {
        let mut pair = Pair::usual();
        let (_, connection) = pair.client.session.connection.as_mut().expect("it is connected");
        connection.datagrams().send(Bytes::copy_from_slice(bytes), false).expect("room");
        assert_eq!(violation(&mut pair, Who::Client, &[]), ended_by(Violation::Datagram));
    }
}

#[test]
fn a_datagram_of_a_flow_that_no_client_opened() {
    let mut pair = Pair::usual();
    let (_, connection) = pair.server.session.connection.as_mut().expect("it is connected");
    connection.datagrams().send(Bytes::from_static(b"\0\0\0\0\0\0\0\0\x02x"), false).expect("room");
    assert_eq!(violation(&mut pair, Who::Server, &[]), ended_by(Violation::UnknownFlow));
}

#[test]
fn a_client_that_takes_no_answers() {
    let mut pair = Pair::connected(small(client_config()), small(server_config()), Path::default(), 1);
    let flow = pair.client.session.open_flow(&datagram_syn()).expect("room");
    pair.run_for(Duration::from_secs(1));
    pair.path.cut = true;
    let answer = ControlMessage::Reset(flow, ResetReason::Denied);
    let mut answers = 0_u32;
    while pair.server.session.phase == Phase::Connected {
        pair.server.session.send_control(&answer);
        answers += 1;
        assert!(answers < 200_000, "bounded by window and backlog");
    }
    let now = pair.now;
    pair.server.settle(now);
    assert_eq!(pair.server.closed, ended_by(Violation::ControlStalled));
}

#[test]
fn a_client_in_an_outage_is_refused_flows_and_lives() {
    let config = crate::SessionConfig { stream_window: 64 * 1024, ..small(client_config()) };
    let server = crate::SessionConfig { stream_window: 64 * 1024, ..small(server_config()) };
    let mut pair = Pair::connected(config, server, Path::default(), 1);
    pair.path.cut = true;
    let mut opened = 0;
    while let Ok(flow) = pair.client.session.open_flow(&datagram_syn()) {
        pair.client.session.reset(flow, ResetReason::ByPeer);
        opened += 1;
        assert!(opened < 100_000, "bounded by window and backlog");
    }
    assert!(pair.client.session.is_connected());
    pair.path.cut = false;
    pair.run_for(Duration::from_secs(2));
    assert!(pair.client.session.open_flow(&datagram_syn()).is_ok());
    assert_eq!(pair.server.opened.len(), opened);
}

#[test]
fn more_datagram_flows_than_a_server_takes() {
    let mut pair = Pair::connected(client_config(), small(server_config()), Path::default(), 1);
    let flows: Vec<FlowId> = (0..30).map(|_| pair.client.session.open_flow(&datagram_syn()).expect("room")).collect();
    pair.run_for(Duration::from_secs(1));
    let most = small(server_config()).streams_max() as usize;
    assert_eq!(pair.server.opened, flows[..most]);
    let refused: Vec<FlowId> = pair.client.resets.iter().map(|(flow, _)| *flow).collect();
    assert_eq!(refused, flows[most..]);
    assert!(pair.client.resets.iter().all(|(_, reason)| *reason == ResetReason::TooManyFlows));
    assert!(pair.server.closed.is_none());
}

#[test]
fn an_unknown_stream_code_is_the_other_ends_mistake() {
    assert_eq!(reason_of(VarInt::from_u32(3)), ResetReason::Denied);
    for code in [0, 17, 255, 256, 259] {
        assert_eq!(reason_of(VarInt::from_u32(code)), ResetReason::Protocol);
    }
}

/// A caller that never takes events must not make the session grow: events about one flow are queued once.
#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    let mut packet = Vec::new();
    let End { session: client, .. } = &mut pair.client;
    for _ in 0..500 {
        client.write(flow, Bytes::from_static(&[7; 100])).expect("it is open");
        while client.poll_packet(pair.now, &mut packet).is_some() {
            pair.server.session.handle_packet(pair.now, &packet);
            packet.clear();
        }
    }
    assert_eq!(pair.server.session.events.len(), 1);
}
