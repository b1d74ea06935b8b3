//! What needs the inside of a relay; how it lives with clients is tested in `tests/network`.

use super::circuit::RelayCircuit;
use super::table::Table;
use super::*;
use crate::keys::{Interval, OnionSecret};
use wire::packet::PacketSize;

fn config() -> RelayConfig {
    let network = Network { id: [0; 32], packet_size: PacketSize::DEFAULT };
    RelayConfig::new(network, NodeId([1; 32]))
}

/// What a circuit takes at a relay, keys on the heap and the answer of a half-open one included, is a few kilobytes.
#[test]
fn a_circuit_is_small() {
    let state = size_of::<RelayCircuit>();
    assert!(state <= 3 * 1024, "{state} bytes of state");
}

#[test]
fn a_key_of_a_circuit_that_is_gone_leads_nowhere() {
    let mut relay = Relay::new(config(), OnionKeys::new(Interval(1), OnionSecret::from_bytes([2; 32])), [3; 32]);
    let table = Table::new(&config(), [1, 2]);
    assert_eq!(table.len(), 0);
    let side = Side { neighbour: Neighbour(1), id: CircuitId(1) };
    assert!(table.find(side).is_none() && relay.table.find(side).is_none());
    assert_eq!(relay.poll_timeout(), None, "a relay without circuits has nothing to do");
    assert_eq!(relay.handle_destroyed(side), Err(Dropped::Unexpected));
}

mod bounds;
mod extending;
mod states;
