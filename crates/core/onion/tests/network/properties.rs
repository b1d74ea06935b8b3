//! Networks with random losses, doubles and overtakings, on virtual time.

use crate::net::{CLIENT, Net, Weather};
use onion::{CircuitEvent, Position};
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs of the property; each takes some milliseconds.
const RUNS: u64 = 120;
/// Runs of the ignored test with the full size.
const LONG_RUNS: u64 = 20_000;

fn position(number: u8) -> Position {
    Position::new(number).expect("one of three")
}

/// Builds, uses, cuts, rebuilds and ends a circuit in this weather. What must hold: each cell comes at most once, to the hop
/// that it was sealed for, whole; a circuit that is ready works; when all is over no relay keeps anything.
fn life(seed: u64) -> bool {
    let mut net = Net::new(4, seed);
    net.weather = Weather {
        lost: net.rng.next_u32() % 300,
        doubled: net.rng.next_u32() % 300,
        jitter: Duration::from_millis(u64::from(net.rng.next_u32() % 400)),
    };
    let (mut next, mut meant) = (0u8, BTreeMap::new());
    for _ in 0..12 {
        let pause = net.rng.next_u32() % 4000;
        net.run(Duration::from_millis(u64::from(pause)));
        let hops = net.circuit.path().count();
        match net.rng.next_u32() % 4 {
            0 if hops > 1 => {
                let last = position(1 + (net.rng.next_u32() % 2) as u8);
                let _busy = net.circuit.truncate(net.now, last);
            }
            _ => {
                let mut free = (1..=4).map(|node| (node + seed as usize) % 4 + 1);
                let known: Vec<_> = net.circuit.path().collect();
                let free = free.find(|node| !known.contains(&crate::net::node_id(*node)));
                let _busy = free.map(|node| net.circuit.extend(net.now, crate::net::spec(node)));
            }
        }
        for _ in 0..10 {
            let last = net.circuit.path().last();
            if let Some(last) = last.filter(|_| net.circuit.is_ready()) {
                meant.insert(next, usize::from(last.0[0]));
                net.say(next);
                next += 1;
            }
        }
    }
    net.run(Duration::from_secs(60));
    net.weather = Weather::default();
    prove_usable(&mut net, &mut meant);
    let mut seen = BTreeMap::new();
    for (node, _, byte) in &net.delivered {
        assert_eq!(meant.get(byte), Some(node), "seed {seed}: cell {byte} came to the wrong hop");
        assert_eq!(seen.insert(*byte, ()), None, "seed {seed}: cell {byte} came twice");
    }
    let built = net.events.iter().any(|event| matches!(event, CircuitEvent::Extended { .. }));
    net.circuit.destroy(net.now);
    net.run(Duration::from_secs(1300));
    assert!(net.circuit.is_finished(), "seed {seed}");
    assert_eq!(net.circuits(), 0, "seed {seed}: a relay keeps a circuit");
    assert!(net.relays.iter().all(|relay| relay.poll_timeout().is_none()), "seed {seed}");
    assert_eq!(net.relays.iter().map(|relay| relay.waiting().count()).sum::<usize>(), 0, "seed {seed}");
    built
}

/// In good weather whatever state the circuit is in becomes one that works, or it is over.
fn prove_usable(net: &mut Net, meant: &mut BTreeMap<u8, usize>) {
    if let Some(last) = net.circuit.last().filter(|_| !net.circuit.is_ready()) {
        let _over = net.circuit.truncate(net.now, last);
        net.settle();
    }
    let node = net.circuit.path().last().map(|node| usize::from(node.0[0]));
    let Some(node) = node.filter(|_| net.circuit.is_ready()) else { return };
    meant.insert(255, node);
    net.say(255);
    net.settle();
    let came = net.delivered.iter().any(|cell| cell.2 == 255);
    let severed = matches!(net.events.last(), Some(CircuitEvent::Severed { .. } | CircuitEvent::Closed { .. }));
    assert!(came || severed, "a circuit that is ready works, or says why it does not");
}

#[test]
fn circuits_live_through_any_weather() {
    let built = (0..RUNS).filter(|seed| life(*seed)).count() as u64;
    assert!(built >= RUNS * 9 / 10, "{built} of {RUNS} circuits were built: the property says little");
}

/// The full size: `cargo test --release -p onion -- --ignored circuits_live_through_any_weather_long`.
#[test]
#[ignore = "half a minute: 20,000 lives"]
fn circuits_live_through_any_weather_long() {
    for seed in 0..LONG_RUNS {
        life(1_000_000 + seed);
    }
}

/// A fifth of all cells is lost on each link: three hops are built within the tries.
#[test]
fn three_hops_are_built_at_a_fifth_of_loss() {
    let (mut built, runs) = (0, 60);
    for seed in 0..runs {
        let mut net = Net::new(3, 7_000 + seed);
        net.weather = Weather { lost: 200, doubled: 50, jitter: Duration::from_millis(30) };
        for node in 1..=3 {
            if node > 1 && net.circuit.is_ready() {
                net.extend(node);
            }
            net.run(Duration::from_secs(25));
        }
        built += usize::from(net.circuit.is_ready() && net.circuit.path().count() == 3);
        assert_eq!(net.delivered.iter().filter(|cell| cell.0 == CLIENT).count(), 0);
    }
    // An extend to the third hop needs six to eight of ten cells in a row: 0.8^10 = 0.1 a try at worst. Fixed seeds.
    assert!(built >= 35, "{built} of {runs}");
}
