//! What needs the inside of a circuit; how circuits live with relays is tested in `tests/network`.

mod meeting;
mod states;

use super::*;
use crate::keys::{OnionKeys, OnionSecret};
use crate::layer::RelayLayers;
use crate::message::Reply;
use crate::relay::{Neighbour, Relay, RelayConfig};
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

/// Between a circuit and one relay, until neither has anything to say.
fn talk(now: Instant, circuit: &mut Circuit, relay: &mut Relay) {
    let (from, mut cell) = (Neighbour(1), region());
    loop {
        let mut said = false;
        while let Some(head) = circuit.poll_cell(now, &mut cell) {
            said = true;
            relay.handle_cell(now, from, head, &mut cell);
        }
        while let Some(head) = relay.poll_cell(now, from, &mut cell) {
            said = true;
            circuit.handle_cell(now, head.command, &mut cell);
        }
        if !said {
            return;
        }
    }
}

/// A hop under a lasting key is alone: its client does not go on, and a client that would is refused.
#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn a_hop_under_a_lasting_key_is_the_only_one() {
    let now = Instant::now();
    let network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
    let (config, secret) = (CircuitConfig { network, features: Features::default() }, OnionSecret::from_bytes([3; 32]));
    let keys = OnionKeys::new(Interval(1), OnionSecret::from_bytes([4; 32])).with_lasting(Some(secret));
    let mut relay = Relay::new(RelayConfig::new(network, NodeId([2; 32])), keys, [5; 32]);
    let lasting = RelaySpec { interval: Interval::LASTING, ..spec() };
    let mut circuit = Circuit::new(now, config, CircuitId(9), lasting, [4; 32]).expect("the library works");
    talk(now, &mut circuit, &mut relay);
    assert!(circuit.is_ready() && relay.circuits() == 1);
    let next = RelaySpec { node_id: NodeId([7; 32]), ..spec() };
    assert_eq!(circuit.extend(now, next), Err(CommandError::Single));
    circuit.is_single = false;
    assert_eq!(circuit.extend(now, RelaySpec { node_id: NodeId([7; 32]), ..lasting }), Err(CommandError::Single));
    circuit.extend(now, next).expect("this client does not know");
    while circuit.poll_event().is_some() {}
    talk(now, &mut circuit, &mut relay);
    assert_eq!(relay.poll_order(), None, "nobody is looked for");
    let refused = CircuitEvent::ExtendFailed { cause: Cause::Told(Reason::Protocol) };
    assert_eq!(circuit.poll_event(), Some(refused));
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
