//! Flows: bytes, half-closes, resets, windows.

#![allow(clippy::print_stdout, reason = "figures of a run")]

#[path = "support/pair.rs"]
mod support;

use session::{Burden, EndReason, OpenError, PIECE_OVERHEAD, SessionConfig, SessionEvent, WriteError};
use std::net::SocketAddr;
use std::time::Duration;
use support::{Pair, Path, client_config, pattern, server_config, stream_syn};
use wire::flow::ResetReason;

const MIB: usize = 1024 * 1024;

#[test]
fn bulk_both_ways_over_a_path_that_loses_and_reorders() {
    for seed in 0..4 {
        let path = Path {
            loss_per_mille: 20,
            late_per_mille: 100,
            extra_delay: Duration::from_micros(300),
            bits_per_second: Some(100_000_000),
            ..Path::default()
        };
        let mut pair = Pair::connected(client_config(), server_config(), path, seed);
        let flow = pair.open();
        let (up, down) = (pattern(3 * MIB, 1), pattern(4 * MIB, 2));
        pair.client.send_and_finish(flow, up.clone());
        pair.server.send_and_finish(flow, down.clone());
        pair.run_until(Duration::from_secs(60), |pair| {
            pair.client.finished.contains(&flow) && pair.server.finished.contains(&flow)
        });
        assert!(pair.server.received[&flow] == up && pair.client.received[&flow] == down);
        pair.run_for(Duration::from_secs(2));
        assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (0, 0));
        assert_eq!(pair.client.session.unsent_bytes(), 0);
        assert_eq!(pair.client.session.stats().unreadable_packets, 0);
        let held = [pair.client.session.memory(), pair.server.session.memory()];
        assert_eq!(held.map(|memory| memory.total()), [0, 0], "seed {seed}");
    }
}

#[test]
fn data_may_follow_a_syn_at_once_and_the_answer_names_the_exits_end() {
    let mut pair = Pair::usual();
    let flow = pair.client.session.open_flow(&stream_syn(42)).expect("room");
    pair.client.send(flow, &b"GET /"[..]);
    let began = pair.now;
    pair.run_until(Duration::from_secs(1), |pair| pair.server.received.contains_key(&flow));
    assert_eq!(pair.now - began, Duration::from_millis(20), "half a round trip");
    assert_eq!(pair.server.received[&flow], b"GET /");
    assert!(pair.server.events.contains(&SessionEvent::FlowOpened(flow, stream_syn(42))));
    let bound = SocketAddr::from(([198, 51, 100, 1], 40_000));
    pair.server.session.confirm_flow(flow, bound);
    pair.server.session.confirm_flow(flow, bound);
    pair.run_for(Duration::from_millis(100));
    let answers = pair.client.events.iter().filter(|event| **event == SessionEvent::FlowConnected(flow, bound));
    assert_eq!(answers.count(), 1);
}

#[test]
fn each_direction_is_finished_by_itself() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.client.send_and_finish(flow, &b"question"[..]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.finished, [flow]);
    assert_eq!(pair.client.session.write(flow, "more".into()), Err(WriteError::NotWritable));
    pair.server.send(flow, &b"answer"[..]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.received[&flow], b"answer");
    assert!(pair.client.finished.is_empty());
    pair.server.session.finish(flow);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.finished, [flow]);
    assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (0, 0));
}

const REASONS: [ResetReason; 11] = [
    ResetReason::Refused,
    ResetReason::Unreachable,
    ResetReason::Denied,
    ResetReason::TimedOut,
    ResetReason::TunnelLost,
    ResetReason::ByPeer,
    ResetReason::TooManyFlows,
    ResetReason::Protocol,
    ResetReason::NameUnknown,
    ResetReason::NotOffered,
    ResetReason::NoMemory,
];

#[test]
fn every_reason_arrives_in_both_directions() {
    let mut pair = Pair::usual();
    for reason in REASONS {
        let (up, down) = (pair.open(), pair.open());
        pair.client.send(up, pattern(5000, 1));
        pair.client.session.reset(up, reason);
        pair.server.session.reset(down, reason);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.server.resets.last(), Some(&(up, reason)));
        assert_eq!(pair.client.resets.last(), Some(&(down, reason)));
    }
    assert_eq!((pair.client.resets.len(), pair.server.resets.len()), (REASONS.len(), REASONS.len()));
    assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (0, 0));
    assert_eq!(pair.client.session.unsent_bytes(), 0);
}

#[test]
fn a_reset_that_crosses_its_own_syn_is_seen_in_order() {
    for seed in 0..50 {
        let path = Path { loss_per_mille: 300, ..Path::default() };
        let mut pair = Pair::connected(client_config(), server_config(), path, seed);
        let flow = pair.client.session.open_flow(&stream_syn(1)).expect("room");
        pair.client.send(flow, pattern(3000, 1));
        let transmit_first = seed % 2 == 0;
        if transmit_first {
            pair.transmit();
        }
        pair.client.session.reset(flow, ResetReason::ByPeer);
        pair.run_for(Duration::from_secs(20));
        assert_eq!(pair.server.opened, [flow]);
        assert_eq!(pair.server.resets, [(flow, ResetReason::ByPeer)]);
        assert_eq!(pair.server.session.flow_count(), 0);
        assert!(pair.server.closed.is_none() && pair.client.closed.is_none());
    }
}

#[test]
fn the_reason_of_a_reset_is_known_before_its_event_is_taken() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    let mut packet = Vec::new();
    let now = pair.now;
    pair.server.session.write(flow, "bytes that nobody will read".into()).expect("an open flow");
    for _ in 0..2 {
        while pair.server.session.poll_packet(now, &mut packet).is_some() {
            pair.client.session.handle_packet(now, &packet);
            packet.clear();
        }
        pair.server.session.reset(flow, ResetReason::Denied);
    }
    let outcome = pair.client.session.read(now, flow, 9, &mut |_| {});
    assert_eq!(outcome.state, session::StreamState::Reset(ResetReason::Denied));
    let event = pair.client.session.poll_event();
    assert_eq!(event, Some(SessionEvent::FlowReset(flow, ResetReason::Denied)), "not Readable");
}

#[test]
fn calls_about_a_flow_that_is_gone_do_nothing() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.client.session.reset(flow, ResetReason::ByPeer);
    let now = pair.now;
    pair.client.session.reset(flow, ResetReason::Denied);
    pair.client.session.finish(flow);
    assert_eq!(pair.client.session.write(flow, "x".into()), Err(WriteError::UnknownFlow));
    assert_eq!(pair.client.session.read(now, flow, 1, &mut |_| {}).bytes, 0);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.resets, [(flow, ResetReason::ByPeer)]);
}

#[test]
fn as_many_flows_as_allowed_and_as_many_again_later() {
    let config = SessionConfig { max_flows: 10, ..client_config() };
    let server = SessionConfig { max_flows: 10, ..server_config() };
    let mut pair = Pair::connected(config, server, Path::default(), 1);
    for round in 0..100 {
        let flows: Vec<_> = (0..10).map(|_| pair.client.session.open_flow(&stream_syn(1)).expect("room")).collect();
        assert_eq!(pair.client.session.open_flow(&stream_syn(1)), Err(OpenError::TooManyFlows));
        for flow in flows {
            if round % 3 == 0 {
                pair.client.session.reset(flow, ResetReason::ByPeer);
            } else {
                pair.client.send_and_finish(flow, &b"x"[..]);
                pair.server.echo = true;
            }
        }
        pair.run_for(Duration::from_millis(500));
        assert_eq!(pair.client.session.flow_count(), 0, "round {round}");
        assert_eq!(pair.server.session.flow_count(), 0, "round {round}");
    }
    assert_eq!(pair.server.session.open_flow(&stream_syn(1)), Err(OpenError::NotClient));
}

#[test]
fn a_flow_of_which_only_the_end_is_under_way_makes_room_for_another() {
    let config = SessionConfig { max_flows: 2, ..client_config() };
    let server = SessionConfig { max_flows: 2, ..server_config() };
    let mut pair = Pair::connected(config, server, Path::default(), 1);
    let flows = [pair.open(), pair.open()];
    pair.run_for(Duration::from_secs(1));
    flows.iter().for_each(|flow| pair.server.session.finish(*flow));
    pair.run_for(Duration::from_secs(1));
    assert!(flows.iter().all(|flow| pair.client.finished.contains(flow)));
    assert_eq!(pair.client.session.open_flow(&stream_syn(1)), Err(OpenError::TooManyFlows), "half open is open");
    flows.iter().for_each(|flow| pair.client.session.finish(*flow));
    for _ in 0..2 {
        assert!(pair.client.session.open_flow(&stream_syn(1)).is_ok());
    }
    assert_eq!(pair.client.session.open_flow(&stream_syn(1)), Err(OpenError::TooManyFlows));
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (2, 2));
}

#[test]
fn a_thousand_slow_readers_do_not_stall_one_more() {
    let config = SessionConfig { max_flows: 1100, stream_window: 64 * 1024, ..client_config() };
    let server = SessionConfig { max_flows: 1100, stream_window: 64 * 1024, ..server_config() };
    let mut pair = Pair::connected(config, server, Path::default(), 1);
    let slow: Vec<_> = (0..1000).map(|_| pair.client.session.open_flow(&stream_syn(1)).expect("room")).collect();
    pair.server.unread = slow.clone();
    for flow in &slow {
        pair.client.send(*flow, pattern(100 * 1024, 3));
    }
    pair.run_for(Duration::from_secs(2));
    let flow = pair.client.session.open_flow(&stream_syn(2)).expect("room");
    let bytes = pattern(4 * MIB, 9);
    pair.client.send_and_finish(flow, bytes.clone());
    let began = pair.now;
    pair.run_until(Duration::from_secs(20), |pair| pair.server.finished.contains(&flow));
    assert!(pair.server.received[&flow] == bytes);
    let seconds = (pair.now - began).as_secs_f64();
    println!("4 MiB beside 1000 stalled flows: {seconds:.2} s, by window alone {:.2} s", 64.0 * 0.04);
    assert!(seconds < 4.0, "64 windows of 64 KiB at 40 ms each");
    // And each of the slow ones goes on when it is read.
    pair.server.unread.clear();
    let now = pair.now;
    for flow in &slow {
        pair.server.read(now, *flow);
    }
    pair.run_for(Duration::from_secs(2));
    assert!(slow.iter().all(|flow| pair.server.received[flow].len() == 100 * 1024));
}

#[test]
fn an_unread_flow_is_bounded_by_its_window() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.server.unread = vec![flow];
    pair.client.send(flow, pattern(8 * MIB, 1));
    pair.run_for(Duration::from_secs(5));
    let accepted = 8 * MIB - pair.client.backlog[&flow].iter().map(bytes::Bytes::len).sum::<usize>();
    assert_eq!(accepted, MIB, "the stream window, exactly");
    pair.server.unread.clear();
    let now = pair.now;
    pair.server.read(now, flow);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.server.received[&flow].len(), 8 * MIB);
}

#[test]
fn a_read_takes_no_more_than_it_asked_for() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.server.unread = vec![flow];
    let bytes = pattern(10_000, 4);
    pair.client.send_and_finish(flow, bytes.clone());
    pair.run_for(Duration::from_secs(1));
    let mut read = Vec::new();
    let now = pair.now;
    loop {
        let outcome = pair.server.session.read(now, flow, 999, &mut |piece| read.extend_from_slice(piece));
        assert!(outcome.bytes <= 999);
        if outcome.state == session::StreamState::Finished {
            break;
        }
    }
    assert!(read == bytes);
}

#[test]
fn what_was_written_is_held_until_it_is_acknowledged_and_not_longer() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.session.memory().total(), 0, "the flow's announcement was acknowledged");
    // The server takes everything and says nothing from now on.
    pair.server.slotted = true;
    let mut written = 0;
    for _ in 0..40 {
        let taken = pair.client.session.write(flow, pattern(10_000, written as u64)).expect("the flow is there");
        written += taken;
        pair.run_for(Duration::from_millis(50));
        let memory = pair.client.session.memory();
        assert_eq!(memory.unacknowledged, written as u64, "nothing of it was acknowledged");
        assert_eq!(memory.overhead, written as u64 / 10_000 * PIECE_OVERHEAD);
    }
    assert_eq!((written, pair.server.received[&flow].len()), (400_000, 400_000));
    assert_eq!(pair.client.session.unsent_bytes(), 0);
    pair.server.slotted = false;
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.client.session.memory().total(), 0);
    // A reset lets go of the rest at once.
    pair.path.cut = true;
    assert_eq!(pair.client.session.write(flow, pattern(10_000, 1)), Ok(10_000));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client.session.memory().unacknowledged, 10_000);
    pair.client.session.reset(flow, ResetReason::ByPeer);
    assert_eq!(pair.client.session.memory().unacknowledged, 0);
}

#[test]
fn what_was_not_read_is_held_up_to_the_window_with_its_packets() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.server.unread = vec![flow];
    pair.client.send(flow, pattern(3 * MIB, 1));
    pair.run_for(Duration::from_secs(5));
    let memory = pair.server.session.memory();
    assert_eq!(memory.unread, MIB as u64, "the window, exactly");
    assert!(memory.overhead < memory.unread / 20, "full packets keep little else: {}", memory.overhead);
    let (now, mut taken) = (pair.now, 0);
    while taken < 400_000 {
        taken += pair.server.session.read(now, flow, 400_000 - taken, &mut |_| {}).bytes;
    }
    assert_eq!(pair.server.session.memory().unread, MIB as u64 - 400_000);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.server.session.memory().unread, MIB as u64, "the window is full again");
    pair.server.unread.clear();
    pair.server.read(pair.now, flow);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.server.session.memory().total(), 0);
}

#[test]
fn the_flow_that_holds_most_ends_first_and_the_others_go_on() {
    let mut pair = Pair::usual();
    let flows = [(); 3].map(|()| pair.open());
    pair.server.unread = flows.to_vec();
    for (flow, bytes) in flows.into_iter().zip([50_000, 200_000, 100_000]) {
        pair.client.send(flow, pattern(bytes, 1));
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.session.memory().unread, 350_000);
    assert!(pair.server.session.shed(pair.now, Burden::All, ResetReason::NoMemory));
    assert_eq!(pair.server.session.memory().unread, 150_000, "gone at once");
    // What is on its way, or sent by who does not listen, is not kept either.
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.resets, [(flows[1], ResetReason::NoMemory)]);
    assert_eq!(pair.client.resets, [(flows[1], ResetReason::NoMemory)]);
    pair.server.unread.clear();
    for flow in [flows[0], flows[2]] {
        pair.server.read(pair.now, flow);
    }
    assert_eq!(pair.server.received[&flows[2]].len(), 100_000);
    assert!(!pair.server.session.shed(pair.now, Burden::All, ResetReason::NoMemory), "nobody holds anything");
}

#[test]
fn of_what_was_pushed_the_flow_with_most_of_it_ends_first_whatever_others_wait_to_send() {
    let mut pair = Pair::usual();
    let flows = [(); 2].map(|()| pair.open());
    pair.server.unread = flows.to_vec();
    pair.client.send(flows[0], pattern(50_000, 1));
    pair.run_for(Duration::from_secs(1));
    pair.path.cut = true;
    assert_eq!(pair.server.session.write(flows[1], pattern(200_000, 2)), Ok(200_000));
    let memory = pair.server.session.memory();
    assert_eq!((memory.unread, memory.unacknowledged), (50_000, 200_000));
    assert_eq!(memory.pushed + memory.unacknowledged + PIECE_OVERHEAD, memory.total());
    assert!(pair.server.session.shed(pair.now, Burden::Pushed, ResetReason::NoMemory));
    let memory = pair.server.session.memory();
    assert_eq!((memory.pushed, memory.unacknowledged), (0, 200_000));
    assert!(!pair.server.session.shed(pair.now, Burden::Pushed, ResetReason::NoMemory), "nobody has any of it");
}

#[test]
fn a_session_that_is_over_holds_nothing_of_its_flows() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    (pair.client.unread, pair.server.unread) = (vec![flow], vec![flow]);
    pair.client.send(flow, pattern(100_000, 1));
    pair.server.send(flow, pattern(100_000, 2));
    pair.run_for(Duration::from_secs(1));
    pair.path.cut = true;
    for end in [&mut pair.client, &mut pair.server] {
        assert_eq!(end.session.write(flow, pattern(50_000, 3)), Ok(50_000));
        let memory = end.session.memory();
        assert_eq!((memory.unread, memory.unacknowledged), (100_000, 50_000));
    }
    pair.path.cut = false;
    pair.server.session.close(pair.now, EndReason::NoMemory);
    assert_eq!(pair.server.session.memory().total(), 0, "at once, though its farewell is not said");
    pair.run_for(Duration::from_secs(1));
    assert!(pair.client.closed.is_some(), "it is told");
    assert_eq!([&pair.client, &pair.server].map(|end| end.session.memory().total()), [0, 0]);
}
