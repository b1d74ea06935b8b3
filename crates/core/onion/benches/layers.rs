//! What a cell costs at a client and at a relay, and what a hop handshake costs: `cargo bench -p onion`.

#![expect(clippy::disallowed_methods, reason = "an origin for virtual time")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use identity::NodeId;
use onion::{
    Circuit, CircuitConfig, Dialled, Features, Handled, Interval, Neighbour, Network, OnionKeys, OnionSecret, Received,
    Relay, RelayConfig, RelaySpec,
};
use std::hint::black_box;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::PacketSize;

const NETWORK: Network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
const CLIENT: Neighbour = Neighbour(9);

fn secret() -> OnionSecret {
    OnionSecret::from_bytes([3; 32])
}

fn spec(node: u8) -> RelaySpec {
    RelaySpec { node_id: NodeId([node; 32]), onion_key: secret().onion_key(), interval: Interval(1) }
}

fn relay(node: u8) -> Relay {
    let config = RelayConfig {
        circuits_max: 20_000,
        circuits_per_neighbour: 20_000,
        handshakes_per_neighbour: 2_000,
        ..RelayConfig::new(NETWORK, NodeId([node; 32]))
    };
    Relay::new(config, OnionKeys::new(Interval(1), secret()), [node; 32])
}

fn region() -> Vec<u8> {
    vec![0; NETWORK.packet_size.region()]
}

fn circuit(now: Instant, id: u32) -> Circuit {
    let config = CircuitConfig { network: NETWORK, features: Features::default() };
    let id = CircuitId(CircuitId::DIALLER_BIT | id);
    Circuit::new(now, config, id, spec(1), [id.0 as u8; 32]).expect("the library works")
}

/// Brings cells where they go, until none is left. Relay n is neighbour n.
fn settle(now: Instant, circuit: &mut Circuit, relays: &mut [Relay]) {
    let mut cells: Vec<(Neighbour, Neighbour, CellHead, Vec<u8>)> = Vec::new();
    loop {
        let mut cell = region();
        while let Some(head) = circuit.poll_cell(now, &mut cell) {
            cells.push((CLIENT, Neighbour(1), head, cell.clone()));
        }
        for (index, relay) in relays.iter_mut().enumerate() {
            while let Some(order) = relay.poll_order() {
                relay.connected(now, order.circuit, Neighbour(u32::from(order.node.0[0])), Dialled::ByUs);
            }
            let waiting: Vec<_> = relay.waiting().collect();
            for to in waiting {
                while let Some(head) = relay.poll_cell(now, to, &mut cell) {
                    cells.push((Neighbour(index as u32 + 1), to, head, cell.clone()));
                }
            }
        }
        let Some((from, to, head, mut cell)) = cells.pop() else { return };
        if to == CLIENT {
            circuit.handle_cell(now, head.command, &mut cell);
        } else if let Handled::Forward { to: next, head } =
            relays[to.0 as usize - 1].handle_cell(now, from, head, &mut cell)
        {
            cells.push((to, next, head, cell));
        }
    }
}

/// A circuit over so many relays.
fn built(now: Instant, hops: u8) -> (Circuit, Vec<Relay>) {
    let (mut circuit, mut relays) = (circuit(now, 1), (1..=hops).map(relay).collect::<Vec<_>>());
    settle(now, &mut circuit, &mut relays);
    for node in 2..=hops {
        circuit.extend(now, spec(node)).expect("a circuit that is ready");
        settle(now, &mut circuit, &mut relays);
    }
    assert!(circuit.is_ready() && circuit.path().count() == usize::from(hops));
    (circuit, relays)
}

/// A cell of the client, ready for the first relay.
fn sealed(now: Instant, circuit: &mut Circuit) -> (CellHead, Vec<u8>) {
    let mut cell = region();
    let head = circuit.seal(now, &mut cell).expect("a circuit that is ready");
    (head, cell)
}

fn take(now: Instant, relay: &mut Relay, from: Neighbour, head: CellHead, cell: &mut [u8]) -> Handled {
    let handled = relay.handle_cell(now, from, head, cell);
    assert!(!matches!(handled, Handled::Dropped(_)), "{handled:?}");
    handled
}

fn forward(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    for hops in 1..=3 {
        let (mut circuit, _) = built(now, hops);
        let mut cell = region();
        group.bench_function(format!("client seals {hops} layers"), |bencher| {
            bencher.iter(|| black_box(circuit.seal(now, &mut cell)).is_ok());
        });
    }
    for (hops, what) in [(1, "relay delivers"), (2, "relay passes on")] {
        let (mut circuit, mut relays) = built(now, hops);
        let relay = &mut relays[0];
        group.bench_function(what, |bencher| {
            bencher.iter_batched_ref(
                || sealed(now, &mut circuit),
                |(head, cell)| take(now, relay, CLIENT, *head, cell),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn backward(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("backward");
    group.throughput(Throughput::Elements(1));
    let (mut circuit, mut relays) = built(now, 3);
    let (mut head, mut cell) = sealed(now, &mut circuit);
    let mut from = CLIENT;
    let key = loop {
        let at = from.0 as usize % 9;
        match take(now, &mut relays[at], from, head, &mut cell) {
            Handled::Forward { head: next, .. } => (from, head) = (Neighbour(at as u32 + 1), next),
            Handled::Inner { circuit, .. } => break circuit,
            other => unreachable!("a cell goes on or is delivered: {other:?}"),
        }
    };
    let [first, second, third] = &mut relays[..] else { unreachable!("three relays were made") };
    let mut cell = region();
    group.bench_function("last relay seals", |bencher| {
        bencher.iter(|| third.seal(now, key, black_box(&mut cell)).is_ok());
    });
    group.bench_function("relay passes back", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut cell = region();
                let (_, head) = third.seal(now, key, &mut cell).expect("the last hop");
                (head, cell)
            },
            |(head, cell)| take(now, second, Neighbour(3), *head, cell),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("client opens 3 layers", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut cell = region();
                let (_, mut head) = third.seal(now, key, &mut cell).expect("the last hop");
                for (relay, from) in [(&mut *second, 3), (&mut *first, 2)] {
                    let Handled::Forward { head: next, .. } = take(now, relay, Neighbour(from), head, &mut cell) else {
                        unreachable!("it goes back")
                    };
                    head = next;
                }
                (head, cell)
            },
            |(head, cell)| assert!(matches!(circuit.handle_cell(now, head.command, cell), Received::Inner { .. })),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// One relay with so many circuits whose cells come in turn, so that no circuit is in a cache.
fn many_circuits(criterion: &mut Criterion) {
    let mut now = Instant::now();
    let mut group = criterion.benchmark_group("circuits in turn");
    group.throughput(Throughput::Elements(1));
    for count in [1, 100, 10_000] {
        let mut relays = [relay(1)];
        let mut circuits: Vec<Circuit> = (1..=count)
            .map(|id| {
                now += Duration::from_millis(1);
                let mut circuit = circuit(now, id);
                settle(now, &mut circuit, &mut relays);
                assert!(circuit.is_ready());
                circuit
            })
            .collect();
        let mut next = 0;
        group.bench_function(format!("relay delivers, {count}"), |bencher| {
            bencher.iter_batched_ref(
                || {
                    next = (next + 1) % circuits.len();
                    sealed(now, &mut circuits[next])
                },
                |(head, cell)| take(now, &mut relays[0], CLIENT, *head, cell),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let mut now = Instant::now();
    let mut group = criterion.benchmark_group("handshake");
    let mut id = 0;
    group.bench_function("first message made", |bencher| {
        bencher.iter(|| {
            let mut circuit = circuit(now, 1);
            let mut cell = region();
            circuit.poll_cell(now, &mut cell)
        });
    });
    let mut relay = RelayConfig::new(NETWORK, NodeId([1; 32]));
    relay.handshakes_per_neighbour = 2_000;
    let mut relay = Relay::new(relay, OnionKeys::new(Interval(1), secret()), [1; 32]);
    let mut cell = region();
    circuit(now, 1).poll_cell(now, &mut cell).expect("the first message is due");
    group.bench_function("first message answered", |bencher| {
        bencher.iter(|| {
            id = id % 2_000 + 1;
            if id == 1 {
                now += Duration::from_secs(2);
                relay.handle_link_down(now, CLIENT);
            }
            let head = CellHead { circuit: CircuitId(CircuitId::DIALLER_BIT | id), command: Command::Create };
            take(now, &mut relay, CLIENT, head, &mut cell)
        });
    });
    group.bench_function("whole hop", |bencher| bencher.iter(|| built(now, 1).0.is_ready()));
    group.finish();
}

criterion_group!(benches, forward, backward, many_circuits, handshakes);
criterion_main!(benches);
