//! What a cell, a handshake and a stranger's packet cost: `cargo bench -p link`.

#![expect(clippy::disallowed_methods, reason = "an origin for virtual time")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{Accept, Endpoint, EndpointConfig, LinkId, Now, Peer, Received};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};

const HEAD: CellHead = CellHead { circuit: CircuitId(CircuitId::DIALLER_BIT | 1), command: Command::Relay };

fn config(seed: u8, accept: Accept) -> EndpointConfig {
    let node = NodeSecret::from_seed([seed; 32]).node_id();
    let (secret, door) = (LinkSecret::from_bytes([seed; 32]), DoorKey::from_bytes([seed; 32]));
    EndpointConfig { accept, gridded: false, ..EndpointConfig::new(node, secret, door) }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 1))
}

fn peer(config: &EndpointConfig) -> Peer {
    let link_key = config.link_secret.link_key();
    Peer { node_id: config.node_id, link_key, door_key: config.door_key.clone() }
}

/// An entry with its link up, and the exit.
fn pair(now: Now) -> (Endpoint, LinkId, Endpoint) {
    let exit_config = config(2, Accept::Anyone);
    let mut entry = Endpoint::new(config(1, Accept::Nobody), [3; 32]);
    let mut exit = Endpoint::new(exit_config.clone(), [4; 32]);
    let link = entry.dial(now, &peer(&exit_config), address(2), [0; 7]).expect("the first dial");
    let mut packet = Vec::new();
    entry.poll_own_packet(now, link, &mut packet).expect("message 1");
    assert_eq!(exit.handle_packet(now, address(1), false, &mut packet), Received::Handled);
    packet.clear();
    exit.poll_door_packet(now, &mut packet).expect("message 2");
    assert_eq!(entry.handle_packet(now, address(2), false, &mut packet), Received::Handled);
    packet.clear();
    entry.seal_cell(now, link, HEAD, |_| {}, &mut packet).expect("a link that is up");
    assert!(matches!(exit.handle_packet(now, address(1), false, &mut packet), Received::Cell { .. }));
    (entry, link, exit)
}

fn cells(criterion: &mut Criterion) {
    let now = Now { instant: Instant::now(), unix_s: 1_800_000_000 };
    let payload = [7; 1241];
    let mut group = criterion.benchmark_group("cell");
    group.throughput(Throughput::Elements(1));
    let (mut entry, link, _) = pair(now);
    let mut out = Vec::with_capacity(64 * 1350);
    group.bench_function("seal", |bencher| {
        bencher.iter(|| {
            if out.len() >= 48 * 1350 {
                out.clear();
            }
            let fill = |region: &mut [u8]| region[72..].copy_from_slice(&payload);
            black_box(entry.seal_cell(now, link, HEAD, fill, &mut out)).is_ok()
        });
    });
    let (mut entry, link, mut exit) = pair(now);
    group.bench_function("open", |bencher| {
        bencher.iter_batched(
            || {
                let mut packet = Vec::with_capacity(1350);
                entry.seal_cell(now, link, HEAD, |_| {}, &mut packet).expect("a link that is up");
                packet
            },
            |mut packet| {
                let received = exit.handle_packet(now, address(1), false, &mut packet);
                assert!(matches!(received, Received::Cell { .. }));
                packet
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let mut now = Now { instant: Instant::now(), unix_s: 1_800_000_000 };
    let exit_config = config(2, Accept::Anyone);
    let mut group = criterion.benchmark_group("handshake");
    let mut dialler = Endpoint::new(config(1, Accept::Nobody), [3; 32]);
    let link = dialler.dial(now, &peer(&exit_config), address(2), [0; 7]).expect("the first dial");
    let mut message_1 = |now: &mut Now| {
        now.instant += Duration::from_secs(6);
        let mut packet = Vec::with_capacity(1350);
        dialler.poll_own_packet(*now, link, &mut packet).expect("message 1 is due");
        packet
    };
    group.bench_function("message 1 made", |bencher| bencher.iter(|| message_1(&mut now)));
    let mut exit = Endpoint::new(exit_config.clone(), [4; 32]);
    group.bench_function("message 1 answered", |bencher| {
        bencher.iter_batched(
            || (message_1(&mut now), now),
            |(mut packet, now)| {
                assert_eq!(exit.handle_packet(now, address(1), false, &mut packet), Received::Handled);
                while exit.poll_event().is_some() {}
                let mut answer = Vec::with_capacity(1350);
                exit.poll_door_packet(now, &mut answer).expect("message 2")
            },
            BatchSize::SmallInput,
        );
    });
    let later = now;
    group.bench_function("stranger's packet", |bencher| {
        bencher.iter(|| exit.handle_packet(later, address(9), false, &mut black_box([7; 1350])));
    });
    group.bench_function("whole pair", |bencher| bencher.iter(|| pair(later)));
    group.finish();
}

criterion_group!(benches, cells, handshakes);
criterion_main!(benches);
