//! Datagram flows.

#![allow(clippy::print_stdout, reason = "figures of a run")]

#[path = "support/pair.rs"]
mod support;

use session::{Burden, DatagramError, SessionEvent, StreamState};
use std::time::Duration;
use support::{Pair, Path, client_config, datagram_syn, pattern, server_config};
use wire::flow::{Destination, ResetReason};
use wire::udp;

fn record(payload: usize, salt: u64) -> Vec<u8> {
    let mut record = Vec::new();
    let far = Destination::from(std::net::SocketAddr::from(([192, 0, 2, 53], 53)));
    udp::encode(&far, &pattern(payload, salt), &mut record);
    record
}

fn open(pair: &mut Pair) -> session::FlowId {
    let flow = pair.client.session.open_flow(&datagram_syn()).expect("room");
    pair.run_for(Duration::from_millis(100));
    assert!(pair.server.opened.contains(&flow));
    flow
}

#[test]
fn records_of_every_size_travel_both_ways() {
    let mut pair = Pair::usual();
    let flow = open(&mut pair);
    for size in [0, 1, 1150, 1176, 1177, 1200, 1250, 1400, 2300] {
        let (up, down) = (record(size, 1), record(size, 2));
        let now = pair.now;
        assert_eq!(pair.client.session.send_datagram(now, flow, &up), Ok(()));
        assert_eq!(pair.server.session.send_datagram(now, flow, &down), Ok(()));
        assert!(pair.client.session.unsent_bytes() >= up.len() as u64);
        pair.run_for(Duration::from_millis(100));
        assert_eq!(pair.server.datagrams.pop(), Some((flow, up.into())), "{size} bytes");
        assert_eq!(pair.client.datagrams.pop(), Some((flow, down.into())), "{size} bytes");
        assert_eq!(pair.client.session.unsent_bytes(), 0);
    }
    assert!(pair.server.datagrams.is_empty() && pair.client.datagrams.is_empty());
}

#[test]
fn what_does_not_fit_two_is_refused_and_counted() {
    let mut pair = Pair::usual();
    let flow = open(&mut pair);
    let now = pair.now;
    assert_eq!(pair.client.session.send_datagram(now, flow, &record(2400, 1)), Err(DatagramError::TooLarge));
    assert_eq!(pair.client.session.stats().datagrams_too_large, 1);
    let mut full = 0;
    for _ in 0..1000 {
        match pair.client.session.send_datagram(now, flow, &record(2000, 1)) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, DatagramError::Full);
                full += 1;
            }
        }
    }
    assert!(full > 0 && pair.client.session.stats().datagrams_full == full);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.server.datagrams.len() as u64, 1000 - full, "what was taken arrives whole");
    assert_eq!(pair.client.session.unsent_bytes(), 0);
}

#[test]
fn a_lost_half_costs_one_record_only() {
    let path = Path { loss_per_mille: 100, ..Path::default() };
    let mut pair = Pair::connected(client_config(), server_config(), path, 4);
    let flow = pair.client.session.open_flow(&datagram_syn()).expect("room");
    let mut sent = Vec::new();
    for number in 0..500 {
        let bytes = record(if number % 2 == 0 { 2000 } else { 100 }, number);
        let now = pair.now;
        pair.client.session.send_datagram(now, flow, &bytes).expect("room");
        sent.push((flow, bytes::Bytes::from(bytes)));
        pair.run_for(Duration::from_millis(5));
    }
    pair.run_for(Duration::from_secs(3));
    let arrived = &pair.server.datagrams;
    println!("{} of {} records arrived at 10 % loss", arrived.len(), sent.len());
    assert!(arrived.len() > 350 && arrived.len() < 500);
    assert!(arrived.iter().all(|record| sent.contains(record)), "whole or not at all");
    assert!(pair.server.session.stats().datagrams_dropped > 0);
}

#[test]
fn records_ahead_of_their_syn_wait_for_it() {
    // The first packet, with the SYN, is lost; the second has a record.
    let mut pair = Pair::usual();
    pair.path.cut = true;
    let flow = pair.client.session.open_flow(&datagram_syn()).expect("room");
    pair.transmit();
    pair.path.cut = false;
    let now = pair.now;
    pair.client.session.send_datagram(now, flow, &record(40, 1)).expect("room");
    pair.transmit();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.server.datagrams, [(flow, record(40, 1).into())]);
    let opened = pair.server.events.iter().position(|event| matches!(event, SessionEvent::FlowOpened(..)));
    let datagram = pair.server.events.iter().position(|event| matches!(event, SessionEvent::Datagram(..)));
    assert!(opened.is_some() && opened < datagram);
}

#[test]
fn each_direction_is_finished_by_itself_and_a_reset_ends_both() {
    let mut pair = Pair::usual();
    let flow = open(&mut pair);
    pair.client.session.finish(flow);
    let now = pair.now;
    assert_eq!(pair.client.session.send_datagram(now, flow, b"x"), Err(DatagramError::UnknownFlow));
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.server.finished, [flow]);
    let now = pair.now;
    pair.server.session.send_datagram(now, flow, &record(3, 3)).expect("the other direction is open");
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.client.datagrams.len(), 1);
    pair.server.session.finish(flow);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.client.finished, [flow]);
    assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (0, 0));

    let flow = open(&mut pair);
    let now = pair.now;
    assert_eq!(pair.server.session.read(now, flow, 9, &mut |_| {}).state, StreamState::Open);
    pair.server.session.reset(flow, ResetReason::Denied);
    pair.client.session.reset(flow, ResetReason::ByPeer);
    pair.run_for(Duration::from_millis(100));
    assert!(pair.client.resets.is_empty() && pair.server.resets.is_empty(), "each was gone when the other's came");
    let flow = open(&mut pair);
    pair.server.session.reset(flow, ResetReason::Denied);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.client.resets, [(flow, ResetReason::Denied)]);
    assert_eq!((pair.client.session.flow_count(), pair.server.session.flow_count()), (0, 0));
}

#[test]
fn a_record_and_the_end_behind_it_arrive_in_order() {
    let mut pair = Pair::usual();
    let flow = open(&mut pair);
    let now = pair.now;
    pair.client.session.send_datagram(now, flow, &record(2000, 1)).expect("room");
    pair.client.session.send_datagram(now, flow, &record(20, 2)).expect("room");
    pair.client.session.finish(flow);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.server.datagrams, [(flow, record(2000, 1).into()), (flow, record(20, 2).into())]);
    let last = pair.server.events.last();
    assert_eq!((last, &pair.server.finished[..]), (Some(&SessionEvent::Readable(flow)), &[flow][..]));
}

#[test]
fn records_that_nobody_reads_are_bounded() {
    let mut pair = Pair::usual();
    let flow = open(&mut pair);
    let mut sent = 0_u64;
    for _ in 0..60 {
        let now = pair.now;
        while pair.client.session.send_datagram(now, flow, &record(1000, 1)).is_ok() {
            sent += 1;
        }
        // The server's packets are handled, but its events are not taken.
        let mut packet = Vec::new();
        while pair.client.session.poll_packet(now, &mut packet).is_some() {
            pair.server.session.handle_packet(now, &packet);
            packet.clear();
        }
    }
    let mut kept = 0;
    while let Some(event) = pair.server.session.poll_event() {
        kept += u64::from(matches!(event, SessionEvent::Datagram(..)));
    }
    assert!(kept < 1100 && kept < sent, "{kept} of {sent}");
}

#[test]
fn the_flow_whose_records_wait_ends_first_if_they_are_most_and_they_go_with_it() {
    let mut pair = Pair::usual();
    let (stream, many, few) = (pair.open(), open(&mut pair), open(&mut pair));
    pair.path.cut = true;
    let now = pair.now;
    pair.client.session.write(stream, pattern(20_000, 1)).expect("room");
    for (flow, records) in [(many, 100), (few, 3)] {
        (0..records).for_each(|salt| pair.client.session.send_datagram(now, flow, &record(1000, salt)).expect("room"));
    }
    let before = pair.client.session.memory();
    assert!(before.waiting > 103_000, "{before:?}");
    assert!(pair.client.session.shed(now, Burden::All, ResetReason::NoMemory));
    let after = pair.client.session.memory();
    assert!(after.waiting < 5_000 && after.unacknowledged >= 20_000, "{after:?}");
    pair.path.cut = false;
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.client.resets, [(many, ResetReason::NoMemory)]);
    assert_eq!(pair.server.resets, [(many, ResetReason::NoMemory)]);
    assert!(pair.server.datagrams.iter().all(|(flow, _)| *flow == few) && pair.server.datagrams.len() == 3);
    assert_eq!(pair.server.received[&stream].len(), 20_000);
    assert_eq!(pair.client.session.memory().total(), 0);
}
