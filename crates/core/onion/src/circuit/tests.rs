//! What needs the inside of a circuit; how circuits live with relays is tested in `tests/network`.

mod meeting;

use super::*;
use crate::keys::{Interval, OnionSecret};
use crate::layer::RelayLayers;
use crate::message::Reply;
use crate::schedule::test_keys;
use packet_crypto::filler::Filler;
use wire::packet::PacketSize;

const REGION: usize = 1313;

fn region() -> Vec<u8> {
    vec![0; REGION]
}

fn spec() -> RelaySpec {
    let onion_key = OnionSecret::from_bytes([3; 32]).onion_key();
    RelaySpec { node_id: NodeId([2; 32]), onion_key, interval: Interval(1) }
}

/// A circuit with one hop whose keys are known, and its relay's side.
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn one_hop() -> (Instant, Circuit, RelayLayers) {
    one_hop_with(Instant::now(), (1, 2), Features::default())
}

fn one_hop_with(now: Instant, (first, second): (u8, u8), features: Features) -> (Instant, Circuit, RelayLayers) {
    let network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
    let config = CircuitConfig { network, features };
    let mut circuit = Circuit::new(now, config, CircuitId(9), spec(), [4; 32]).expect("the library works");
    let keys = test_keys(first, second);
    let relay = RelayLayers::new(&keys, Position::FIRST, REGION);
    circuit.layers.push(&keys);
    let figures = HopFigures { handshake_time: None, features };
    circuit.hops.push(Hop { node_id: NodeId([2; 32]), figures, binding: keys.binding });
    circuit.state = State::Ready;
    (now, circuit, relay)
}

fn reply(relay: &mut RelayLayers, number: u32, reply: Reply<'_>) -> Vec<u8> {
    let mut cell = region();
    let body = relay.body();
    reply.write(RequestNumber(number), &mut cell[body]);
    relay.seal(&mut cell, true, &mut Filler::new(&[5; 16])).expect("a fresh key");
    cell
}

#[test]
fn a_worn_out_circuit_takes_itself_down() {
    let (now, mut circuit, _) = one_hop();
    circuit.layers.wear(2);
    assert!(circuit.seal(now, &mut region()).is_ok() && circuit.seal(now, &mut region()).is_ok());
    assert_eq!(circuit.seal(now, &mut region()), Err(SealError::WornOut));
    assert_eq!(circuit.poll_event(), Some(CircuitEvent::Closed { cause: Cause::WornOut }));
    assert_eq!(circuit.seal(now, &mut region()), Err(SealError::NotReady));
    let told = circuit.poll_cell(now, &mut region()).map(|head| head.command);
    assert_eq!(told, Some(Command::Destroy));
}

#[test]
fn answers_to_other_requests_mean_nothing() {
    let (now, mut circuit, mut relay) = one_hop();
    circuit.truncate(now, Position::FIRST).expect("the only hop");
    let mut cell = reply(&mut relay, 7, Reply::Truncated(Reason::Finished));
    assert_eq!(circuit.handle_cell(now, Command::Relay, &mut cell), Received::Dropped(Dropped::Unexpected));
    for answer in [Reply::Refused(Reason::Full), Reply::Truncated(Reason::Finished)] {
        let known = matches!(answer, Reply::Truncated(_));
        let mut cell = reply(&mut relay, 1, answer);
        let received = circuit.handle_cell(now, Command::Relay, &mut cell);
        assert_eq!(received == Received::Handled, known);
    }
    assert!(circuit.is_ready());
    let mut nothing = region();
    relay.seal(&mut nothing, true, &mut Filler::new(&[5; 16])).expect("a fresh key");
    assert_eq!(circuit.handle_cell(now, Command::Relay, &mut nothing), Received::Dropped(Dropped::Malformed));
}

#[test]
fn the_last_hop_cannot_say_that_something_behind_it_is_gone() {
    let (now, mut circuit, mut relay) = one_hop();
    let mut cell = reply(&mut relay, 0, Reply::Truncated(Reason::LinkDown));
    assert_eq!(circuit.handle_cell(now, Command::Relay, &mut cell), Received::Dropped(Dropped::Unexpected));
    assert!(circuit.is_ready() && circuit.poll_event().is_none());
}

/// Each destroy is answered, also the second: the answer may have been lost.
#[test]
fn a_neighbour_that_says_it_is_over_is_answered_each_time() {
    let (now, mut circuit, _) = one_hop();
    for _ in 0..3 {
        let mut cell = region();
        cell[0] = Reason::Draining as u8;
        assert_eq!(circuit.handle_cell(now, Command::Destroy, &mut cell), Received::Handled);
        assert!(!circuit.is_finished());
        let answer = circuit.poll_cell(now, &mut cell).map(|head| head.command);
        assert_eq!(answer, Some(Command::Destroyed));
        assert!(circuit.is_finished() && circuit.poll_cell(now, &mut cell).is_none());
    }
    assert_eq!(circuit.poll_event(), Some(CircuitEvent::Closed { cause: Cause::Told(Reason::Draining) }));
    assert_eq!(circuit.poll_event(), None);
}

#[test]
fn events_that_nobody_takes_are_bounded() {
    let (now, mut circuit, mut relay) = one_hop();
    for number in 1..=40 {
        circuit.truncate(now, Position::FIRST).expect("the only hop");
        let mut cell = reply(&mut relay, number, Reply::Truncated(Reason::Finished));
        assert_eq!(circuit.handle_cell(now, Command::Relay, &mut cell), Received::Handled);
    }
    assert_eq!(std::iter::from_fn(|| circuit.poll_event()).count(), EVENTS_MAX);
}

#[test]
fn a_link_that_is_down_ends_the_circuit_without_a_word() {
    let (now, mut circuit, _) = one_hop();
    circuit.handle_link_down();
    assert!(circuit.is_finished() && circuit.poll_cell(now, &mut region()).is_none());
    assert_eq!(circuit.poll_event(), Some(CircuitEvent::Closed { cause: Cause::Told(Reason::LinkDown) }));
}
