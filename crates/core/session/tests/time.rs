//! Idle sessions, outages, controllers, batches and acknowledgements.

#![allow(clippy::print_stdout, reason = "figures of a run")]

#[path = "support/pair.rs"]
mod support;

use session::{CloseReason, CongestionControl, SessionConfig, SessionEvent};
use std::time::Duration;
use support::{PACKET_MAX, Pair, Path, Who, client_config, pattern, server_config};

const MIB: usize = 1024 * 1024;

#[test]
fn an_idle_session_sends_only_its_keep_alives() {
    let mut pair = Pair::usual();
    pair.run_for(Duration::from_secs(2));
    let (client, server) = (pair.client.packets_sent, pair.server.packets_sent);
    pair.run_for(Duration::from_secs(600));
    let (client, server) = (pair.client.packets_sent - client, pair.server.packets_sent - server);
    println!("600 s idle: client {client}, server {server} packets");
    assert!((client, server) <= (125, 125) && client >= 100, "one each 5 s, and its acknowledgement");
    assert!(pair.client.closed.is_none() && pair.server.closed.is_none());
}

/// Cuts the path for a while in the middle of a transfer, and says whether both sessions lived.
fn outage(length: Duration, idle: bool, config: SessionConfig) -> Pair {
    let mut pair = Pair::connected(config, server_config(), Path::default(), 1);
    let flow = pair.open();
    let bytes = pattern(2 * MIB, 5);
    if idle {
        // The worst moment: just before a keep-alive would have left.
        pair.run_for(Duration::from_millis(4_900));
    } else {
        pair.path.bits_per_second = Some(10_000_000);
        pair.client.send_and_finish(flow, bytes.clone());
        pair.run_for(Duration::from_millis(300));
    }
    pair.path.cut = true;
    pair.run_for(length);
    pair.path.cut = false;
    if idle {
        pair.client.send_and_finish(flow, bytes.clone());
    }
    let now = pair.now;
    pair.client.session.ping(now);
    pair.server.session.ping(now);
    pair.run_until(Duration::from_secs(30), |pair| pair.server.finished.contains(&flow));
    if pair.client.closed.is_none() {
        let back = pair.now - now;
        println!("outage {length:?}, idle {idle}: all there {back:?} after it");
        assert!(pair.server.received[&flow] == bytes);
        assert!(back < Duration::from_secs(4), "{back:?}");
    }
    pair
}

#[test]
fn an_outage_within_the_timeout_loses_no_flow() {
    for idle in [false, true] {
        for seconds in [3, 25, 30] {
            let pair = outage(Duration::from_secs(seconds), idle, client_config());
            assert!(pair.client.closed.is_none() && pair.server.closed.is_none(), "{seconds} s, idle {idle}");
        }
    }
}

#[test]
fn an_outage_is_survived_with_a_controller_that_brakes() {
    for congestion in [CongestionControl::Cubic, CongestionControl::Bbr] {
        let config = SessionConfig { wide_open: false, congestion, ..client_config() };
        let pair = outage(Duration::from_secs(25), false, config);
        assert!(pair.client.closed.is_none(), "{congestion:?}");
    }
}

#[test]
fn an_outage_beyond_the_timeout_ends_the_session() {
    for idle in [false, true] {
        let pair = outage(Duration::from_secs(45), idle, client_config());
        assert_eq!(pair.client.closed, Some(CloseReason::TimedOut));
        assert_eq!(pair.server.closed, Some(CloseReason::TimedOut));
    }
}

/// Sends in one direction for `time` and returns Mbit/s of stream bytes that were read in its second half.
fn goodput(congestion: Option<CongestionControl>, loss_per_mille: u64, time: Duration) -> f64 {
    let path = Path { loss_per_mille, bits_per_second: Some(100_000_000), queue_bytes: 1 << 20, ..Path::default() };
    let server = SessionConfig {
        wide_open: congestion.is_none(),
        congestion: congestion.unwrap_or(CongestionControl::Cubic),
        stream_window: 2 * MIB as u32,
        ..server_config()
    };
    let client = SessionConfig { stream_window: 2 * MIB as u32, ..client_config() };
    let mut pair = Pair::connected(client, server, path, 7);
    let flow = pair.open();
    pair.server.send(flow, pattern(time.as_secs() as usize * 13 * MIB, 3));
    pair.run_for(time / 2);
    let half = pair.client.received[&flow].len();
    pair.run_for(time / 2);
    (pair.client.received[&flow].len() - half) as f64 * 8.0 / (time / 2).as_secs_f64() / 1e6
}

#[test]
fn bbr_holds_its_rate_under_loss_and_cubic_does_not() {
    let mut figures = Vec::new();
    for loss in [0, 1, 10, 70] {
        let cubic = goodput(Some(CongestionControl::Cubic), loss, Duration::from_secs(8));
        let bbr = goodput(Some(CongestionControl::Bbr), loss, Duration::from_secs(8));
        println!("100 Mbit/s, 40 ms, {} % loss: Cubic {cubic:.1}, BBR {bbr:.1} Mbit/s", loss as f64 / 10.0);
        figures.push((cubic, bbr));
    }
    assert!(figures[0].0 > 75.0, "a clean path carries 86.7 at most");
    assert!(figures[2].1 > 5.0 * figures[2].0, "1 % loss");
}

#[test]
fn the_controller_opens_wide_on_a_live_connection() {
    let path = Path { loss_per_mille: 10, bits_per_second: Some(200_000_000), ..Path::default() };
    let congestion = CongestionControl::Cubic;
    let config = SessionConfig { wide_open: false, congestion, stream_window: 512 * 1024, ..client_config() };
    let server = SessionConfig { stream_window: 512 * 1024, ..server_config() };
    let mut pair = Pair::connected(config, server, path, 3);
    let flow = pair.open();
    pair.client.send(flow, pattern(64 * MIB, 1));
    pair.run_for(Duration::from_secs(3));
    let braked = pair.server.received[&flow].len();
    assert!(!pair.client.session.is_wide_open());
    assert!(pair.client.session.stats().window < 1 << 24);
    pair.client.session.set_wide_open(true);
    assert!(pair.client.session.is_wide_open());
    assert_eq!(pair.client.session.stats().window, 1 << 40);
    pair.run_for(Duration::from_secs(3));
    let open = pair.server.received[&flow].len() - braked;
    println!("3 s at 1 % loss: Cubic {} KiB, wide open {} KiB", braked >> 10, open >> 10);
    assert!(open > 5 * braked, "only the stream window limits it");
    assert!(pair.client.session.stats().packets_lost > 0);
    pair.client.session.set_wide_open(false);
    pair.run_for(Duration::from_secs(3));
    let again = pair.server.received[&flow].len() - braked - open;
    assert!(open > 3 * again, "and it brakes again");
}

#[test]
fn a_shaped_session_is_never_held_back() {
    let path = Path { loss_per_mille: 70, bits_per_second: Some(20_000_000), ..Path::default() };
    let mut pair = Pair::connected(client_config(), server_config(), path, 3);
    assert_eq!(pair.client.session.stats().window, 1 << 40);
    let flow = pair.open();
    pair.client.send(flow, pattern(8 * MIB, 1));
    let until = pair.now + Duration::from_secs(5);
    while pair.step(until) {
        assert!(!pair.client.session.is_held_back() && !pair.server.session.is_held_back());
    }
    assert_eq!(pair.client.session.stats().window, 1 << 40);
}

/// `unsent_bytes` through a transfer that loses much: never less than what the other end cannot have, never more
/// than was written, 0 whenever there is nothing to send (the support code asserts that at each poll).
#[test]
fn unsent_bytes_do_not_drift() {
    for (seed, wide_open) in [(1, true), (2, false)] {
        let path = Path {
            loss_per_mille: 50,
            late_per_mille: 200,
            extra_delay: Duration::from_millis(3),
            bits_per_second: Some(50_000_000),
            ..Path::default()
        };
        let client = SessionConfig { wide_open, congestion: CongestionControl::Bbr, ..client_config() };
        let server = SessionConfig { wide_open, congestion: CongestionControl::Bbr, ..server_config() };
        let mut pair = Pair::connected(client, server, path, seed);
        let flows = [pair.open(), pair.open(), pair.open()];
        let size = 24 * MIB;
        for flow in flows {
            pair.client.send_and_finish(flow, pattern(size, flow.number()));
            pair.server.send_and_finish(flow, pattern(size, flow.number() + 1));
        }
        let mut samples = 0;
        let until = pair.now + Duration::from_secs(300);
        while pair.server.finished.len() < flows.len() && pair.step(until) {
            let waiting: usize = pair.client.backlog.values().flatten().map(bytes::Bytes::len).sum();
            let written = (3 * size - waiting) as u64;
            let received: usize = pair.server.received.values().map(Vec::len).sum();
            let unsent = pair.client.session.unsent_bytes();
            assert!(unsent <= written - received as u64, "what has arrived was sent");
            assert_eq!(unsent, written - pair.client.session.stats().stream_bytes_sent);
            samples += usize::from(unsent > 0);
        }
        assert_eq!(pair.server.finished.len(), 3);
        for flow in flows {
            assert!(pair.server.received[&flow] == pattern(size, flow.number()));
        }
        pair.run_for(Duration::from_secs(20));
        assert_eq!((pair.client.session.unsent_bytes(), pair.server.session.unsent_bytes()), (0, 0));
        let stats = pair.client.session.stats();
        println!(
            "wide open {wide_open}: repeated {} of {} bytes",
            stats.stream_bytes_repeated, stats.stream_bytes_sent
        );
        assert_eq!(stats.unreadable_packets, 0);
        assert!(stats.stream_bytes_repeated > 0);
        assert!(wide_open || samples > 0, "something was held back and counted");
    }
}

#[test]
fn acknowledgements_are_rare() {
    for (loss_per_mille, ratio_max) in [(0, 0.08), (10, 0.3)] {
        let path = Path { loss_per_mille, bits_per_second: Some(100_000_000), ..Path::default() };
        let server = SessionConfig { stream_window: 512 * 1024, ..server_config() };
        let client = SessionConfig { stream_window: 512 * 1024, ..client_config() };
        let mut pair = Pair::connected(client, server, path, 3);
        let flow = pair.open();
        pair.run_for(Duration::from_secs(1));
        let before = pair.client.packets_sent;
        pair.server.send(flow, pattern(30 * MIB, 1));
        pair.run_for(Duration::from_secs(3));
        let data = pair.server.packets_sent as f64;
        let acks = (pair.client.packets_sent - before) as f64;
        let stats = pair.client.session.stats();
        println!(
            "{} % loss: {acks} packets back for {data} packets, 1 for {:.1}; {} of them only acknowledgements",
            loss_per_mille as f64 / 10.0,
            data / acks,
            stats.ack_only_packets_sent
        );
        assert!(acks / data < ratio_max);
    }
}

#[test]
fn a_batch_is_packets_of_one_size() {
    let mut pair = Pair::usual();
    let flow = pair.open();
    let bytes = pattern(100_000, 1);
    pair.client.send_and_finish(flow, bytes.clone());
    let mut out = b"something before".to_vec();
    let before = out.len();
    let now = pair.now;
    let batch = pair.client.session.poll_packets(now, 16, &mut out).expect("there is much to send");
    assert_eq!(out.len() - before, batch.total);
    assert_eq!((batch.packet_size, batch.total), (PACKET_MAX, 16 * PACKET_MAX));
    for packet in out[before..].chunks(batch.packet_size) {
        pair.inject(Who::Server, packet);
    }
    pair.run_for(Duration::from_secs(2));
    assert!(pair.server.received[&flow] == bytes);
}

#[test]
fn the_same_seeds_give_the_same_times_and_sizes() {
    let run = || {
        let path = Path { loss_per_mille: 30, bits_per_second: Some(30_000_000), ..Path::default() };
        let mut pair = Pair::connected(client_config(), server_config(), path, 9);
        let flow = pair.open();
        pair.client.send_and_finish(flow, pattern(MIB, 1));
        pair.run_until(Duration::from_secs(20), |pair| pair.server.finished.contains(&flow));
        (pair.now - pair.start, pair.client.packets_sent, pair.server.packets_sent)
    };
    assert_eq!(run(), run());
}

#[test]
fn keys_change_under_way() {
    // quinn changes keys after 10 to 1000 packets at first; more than that pass here.
    let mut pair = Pair::usual();
    let flow = pair.open();
    pair.client.send_and_finish(flow, pattern(8 * MIB, 1));
    pair.server.send_and_finish(flow, pattern(8 * MIB, 2));
    pair.run_until(Duration::from_secs(60), |pair| {
        !pair.server.finished.is_empty() && !pair.client.finished.is_empty()
    });
    assert!(pair.server.received[&flow] == pattern(8 * MIB, 1) && pair.client.received[&flow] == pattern(8 * MIB, 2));
    assert!(!pair.client.events.iter().any(|event| matches!(event, SessionEvent::Closed(_))));
}
