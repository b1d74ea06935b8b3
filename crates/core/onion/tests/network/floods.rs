//! Neighbours that want more than their share.

use crate::net::{NETWORK, node_id, region, spec};
use onion::{
    CELLS_PER_NEIGHBOUR_MAX, Circuit, CircuitConfig, Dropped, Features, Handled, Interval, Neighbour, OnionKeys,
    OnionSecret, Relay, RelayConfig,
};
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};

/// A first message for relay 1, under this circuit id.
fn create(now: Instant, id: u32) -> (CellHead, Vec<u8>) {
    let config = CircuitConfig { network: NETWORK, features: Features::default() };
    let id = CircuitId(CircuitId::DIALLER_BIT | id);
    let mut circuit = Circuit::new(now, config, id, spec(1), [7; 32]).expect("the library works");
    let mut cell = region();
    let head = circuit.poll_cell(now, &mut cell).expect("the first message is due");
    (head, cell)
}

fn flooded(config: RelayConfig) -> Relay {
    Relay::new(config, OnionKeys::new(Interval(1), OnionSecret::from_bytes([101; 32])), [1; 32])
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn handshakes_and_circuits_of_one_neighbour_are_bounded() {
    let mut now = Instant::now();
    let mut relay = flooded(RelayConfig {
        handshakes_per_neighbour: 10,
        circuits_per_neighbour: 25,
        ..RelayConfig::new(NETWORK, node_id(1))
    });
    let (_, message) = create(now, 1);
    let mut next = 0;
    let mut flood = |relay: &mut Relay, now: Instant, neighbour: u32, cells: u32| {
        for _ in 0..cells {
            next += 1;
            let head = CellHead { circuit: CircuitId(CircuitId::DIALLER_BIT | next), command: Command::Create };
            relay.handle_cell(now, Neighbour(neighbour), head, &mut message.clone());
        }
    };
    flood(&mut relay, now, 1, 200);
    assert_eq!((relay.circuits(), relay.counters().handshakes), (10, 10));
    assert_eq!(relay.counters().dropped.get(&Dropped::Full), Some(&190));
    flood(&mut relay, now, 2, 5);
    assert_eq!(relay.circuits(), 15, "the other neighbour has its own share");
    for _ in 0..10 {
        now += Duration::from_secs(1);
        flood(&mut relay, now, 1, 50);
    }
    assert_eq!(relay.circuits(), 30, "25 of the first");
    assert_eq!(relay.counters().handshakes, 30, "who has all circuits costs no more work");
    let mut own = 0;
    while relay.poll_cell(now, Neighbour(1), &mut region()).is_some() {
        own += 1;
    }
    assert!(own <= CELLS_PER_NEIGHBOUR_MAX, "{own} own cells");
    assert!(relay.counters().own_cells_lost > 0);
    now += Duration::from_secs(60);
    relay.handle_timeout(now);
    assert_eq!(relay.circuits(), 0, "nobody used them");
    flood(&mut relay, now, 1, 1);
    assert_eq!(relay.circuits(), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn a_full_or_draining_relay_refuses_by_name() {
    let now = Instant::now();
    let mut relay = flooded(RelayConfig { circuits_max: 3, ..RelayConfig::new(NETWORK, node_id(1)) });
    let refused = |relay: &mut Relay, id| {
        let (head, mut cell) = create(now, id);
        relay.handle_cell(now, Neighbour(1), head, &mut cell) == Handled::Dropped(Dropped::Full)
    };
    assert_eq!((1..6).map(|id| refused(&mut relay, id)).collect::<Vec<_>>(), [false, false, false, true, true]);
    relay.handle_link_down(now, Neighbour(1));
    assert_eq!(relay.circuits(), 0);
    relay.drain();
    assert!(refused(&mut relay, 9));
    let mut cell = region();
    let head = relay.poll_cell(now, Neighbour(1), &mut cell).expect("a refusal");
    assert_eq!((head.command, cell[0]), (Command::Destroy, onion::Reason::Draining as u8));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn parts_that_never_become_whole_are_bounded_and_go() {
    let mut now = Instant::now();
    let mut relay = flooded(RelayConfig::new(NETWORK, node_id(1)));
    let mut half = region();
    half[..3].copy_from_slice(&[0x02, 4, 0]);
    let mut taken = 0;
    for id in 1..3_000 {
        let head = CellHead { circuit: CircuitId(id), command: Command::Create };
        taken += u32::from(relay.handle_cell(now, Neighbour(1), head, &mut half.clone()) == Handled::Done);
    }
    assert_eq!(taken, 1_024);
    now += Duration::from_secs(31);
    relay.handle_timeout(now);
    let head = CellHead { circuit: CircuitId(5_000), command: Command::Create };
    assert_eq!(relay.handle_cell(now, Neighbour(1), head, &mut half), Handled::Done);
    assert_eq!(relay.counters().handshakes, 0);
}
