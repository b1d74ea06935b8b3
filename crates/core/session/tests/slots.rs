//! A session under a constant grid, fed as the engine feeds it: just enough unsent bytes for the next packet.

#![allow(clippy::print_stdout, reason = "figures of a run")]

#[path = "support/pair.rs"]
mod support;

use session::{FlowId, SessionConfig, stream_window_for};
use std::time::Duration;
use support::{PACKET_MAX, Pair, Path, Who, client_config, pattern, server_config};

const SLOT: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Tally {
    packets: u64,
    /// Cells without a packet although a flow has bytes.
    empty: u64,
}

/// Fills one slot of `cells` cells of one end from a source that never ends.
fn fill_slot(pair: &mut Pair, who: Who, cells: u64, flows: &[FlowId], next: &mut usize) -> Tally {
    let mut tally = Tally::default();
    let now = pair.now;
    let portion = pattern(PACKET_MAX, 1);
    for _ in 0..cells {
        let session = &mut pair.end(who).session;
        let mut without_credit = 0;
        while session.unsent_bytes() < PACKET_MAX as u64 && without_credit < flows.len() {
            *next = (*next + 1) % flows.len();
            let taken = session.write(flows[*next], portion.clone()).expect("an open flow");
            without_credit = if taken == 0 { without_credit + 1 } else { 0 };
        }
        assert!(session.unsent_bytes() < 2 * PACKET_MAX as u64, "nothing piles up inside");
        let mut packet = Vec::new();
        if session.poll_packet(now, &mut packet).is_some() {
            tally.packets += 1;
            pair.carry(who, packet);
        } else {
            tally.empty += 1;
        }
    }
    tally
}

/// Downloads with `flows` flows for 10 seconds; the way back has one cell in `back_every` slots.
fn download(mbit: u64, loss_per_mille: u64, flows: usize, back_every: u64) -> (f64, Tally, Vec<usize>) {
    let rtt = Duration::from_millis(40);
    let stream_window = stream_window_for(mbit * 1_000_000, rtt + SLOT * back_every as u32);
    let client = SessionConfig { stream_window, ..client_config() };
    let server = SessionConfig { stream_window, ..server_config() };
    let path = Path { loss_per_mille, ..Path::default() };
    let mut pair = Pair::connected(client, server, path, 5);
    let ids: Vec<FlowId> = (0..flows).map(|_| pair.open()).collect();
    pair.client.slotted = true;
    pair.server.slotted = true;
    let cells = mbit * 1_000_000 * SLOT.as_millis() as u64 / 1000 / 8 / PACKET_MAX as u64;
    let (mut tally, mut next) = (Tally::default(), 0);
    let warm_up = 200;
    let mut read_before = 0;
    for slot in 0..2200 {
        if slot == warm_up {
            tally = Tally::default();
            read_before = pair.client.received.values().map(Vec::len).sum();
        }
        let filled = fill_slot(&mut pair, Who::Server, cells, &ids, &mut next);
        tally.packets += filled.packets;
        tally.empty += filled.empty;
        if slot % back_every == 0 {
            let mut packet = Vec::new();
            let now = pair.now;
            if pair.client.session.poll_packet(now, &mut packet).is_some() {
                pair.carry(Who::Client, packet);
            }
        }
        let until = pair.now + SLOT;
        while pair.step(until) {}
        pair.now = until;
    }
    let read: usize = pair.client.received.values().map(Vec::len).sum();
    let share = (read - read_before) as f64 / ((tally.packets + tally.empty) as f64 * PACKET_MAX as f64);
    (share, tally, ids.iter().map(|flow| pair.client.received[flow].len()).collect())
}

#[test]
fn no_window_keeps_a_slot_empty_while_bytes_wait() {
    for (mbit, loss_per_mille, least) in [(20, 0, 0.97), (100, 0, 0.97), (20, 10, 0.95), (20, 70, 0.88)] {
        let (share, tally, _) = download(mbit, loss_per_mille, 1, 1);
        println!(
            "{mbit} Mbit/s, {} % loss: {:.1} % of the rate is application bytes; {} cells with, {} without a packet",
            loss_per_mille as f64 / 10.0,
            share * 100.0,
            tally.packets,
            tally.empty
        );
        assert!(share >= least, "{share}");
        assert!(loss_per_mille > 0 || tally.empty == 0, "every cell is used");
    }
}

#[test]
fn a_download_needs_few_cells_back() {
    for back_every in [1, 5, 10, 40] {
        let (share, tally, _) = download(20, 0, 1, back_every);
        println!("1 cell back in {back_every} slots of {} ms: {:.1} % of the rate", SLOT.as_millis(), share * 100.0);
        assert!(share >= 0.97, "{share}");
        assert_eq!(tally.empty, 0);
    }
}

#[test]
fn what_the_caller_shares_out_evenly_leaves_evenly() {
    let (share, _, received) = download(20, 0, 8, 1);
    let (least, most) = (received.iter().min().expect("flows"), received.iter().max().expect("flows"));
    println!("8 flows: {least}..{most} bytes, {:.1} % of the rate", share * 100.0);
    assert!(share >= 0.96 && (most - least) as f64 <= 0.01 * *most as f64);
}
