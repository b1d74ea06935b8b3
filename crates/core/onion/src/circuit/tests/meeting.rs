//! Circuits that meet, with the relay between them in the hands of the test: it may do whatever it likes.

use super::*;
use crate::layer::Side;
use crate::parts::Part;
use crate::service::{Cookie, ServiceKey};
use packet_crypto::keys::RawKeys;

const COOKIE: Cookie = Cookie([6; 32]);
const INNER: std::ops::Range<usize> = 24..1265;

fn keys() -> RawKeys {
    RawKeys { initiator: [0x11; 32].into(), responder: [0x22; 32].into() }
}

/// A circuit to the relay.
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn to_relay(keys: (u8, u8)) -> (Instant, Circuit, RelayLayers) {
    one_hop_with(Instant::now(), keys, Features::RENDEZVOUS)
}

fn say(now: Instant, circuit: &mut Circuit, relay: &mut RelayLayers, number: u32, said: Reply<'_>) -> Received {
    let mut cell = reply(relay, number, said);
    circuit.handle_cell(now, Command::Relay, &mut cell)
}

fn whole(bytes: &[u8]) -> Reply<'_> {
    Reply::Passed(Part { index: 0, count: 1, bytes })
}

/// What the circuit says next to the relay: the number of a *received*.
fn acknowledged(now: Instant, circuit: &mut Circuit, relay: &mut RelayLayers) -> Option<u32> {
    let mut cell = region();
    circuit.poll_cell(now, &mut cell)?;
    assert!(relay.open(&mut cell).expect("a cell for the relay").addressed);
    match Request::read(&cell[relay.body()]) {
        Ok((number, Request::Received)) => Some(number.0),
        other => panic!("{other:?}"),
    }
}

/// Two circuits that are joined at one relay, and its side of both.
struct Joined {
    now: Instant,
    client: Circuit,
    service: Circuit,
    towards_client: RelayLayers,
    towards_service: RelayLayers,
    filler: Filler,
}

impl Joined {
    fn new() -> Self {
        let (now, mut client, mut towards_client) = to_relay((1, 2));
        let (_, mut service, mut towards_service) = to_relay((3, 4));
        client.establish_rendezvous(now, COOKIE).expect("it is offered");
        say(now, &mut client, &mut towards_client, 1, Reply::Done);
        say(now, &mut client, &mut towards_client, 1, whole(b"answer"));
        assert_eq!(client.poll_message(), Some(CircuitMessage::Answer(b"answer".to_vec())));
        assert_eq!(acknowledged(now, &mut client, &mut towards_client), Some(1));
        service.rendezvous(now, COOKIE, b"answer").expect("it is offered");
        say(now, &mut service, &mut towards_service, 1, Reply::Done);
        client.add_virtual_hop(&keys(), Side::Client).expect("it is joined");
        service.add_virtual_hop(&keys(), Side::Service).expect("it is joined");
        let filler = Filler::new(&[5; 16]);
        Self { now, client, service, towards_client, towards_service, filler }
    }

    /// What the relay has in its hands of a cell of the client.
    fn said(&mut self, byte: u8) -> Vec<u8> {
        let mut cell = region();
        let from = self.client.inner();
        cell[from..].fill(byte);
        self.client.seal(self.now, &mut cell).expect("it is joined");
        self.towards_client.open(&mut cell).expect("a cell for the relay");
        cell[self.towards_client.inner()].to_vec()
    }

    fn hand_over(&mut self, inner: &[u8]) -> (Received, Vec<u8>) {
        let mut cell = region();
        cell[self.towards_service.inner()].copy_from_slice(inner);
        self.towards_service.seal(&mut cell, false, &mut self.filler).expect("a fresh key");
        (self.service.handle_cell(self.now, Command::Relay, &mut cell), cell)
    }
}

#[test]
fn a_relay_that_alters_any_bit_or_says_anything_twice_is_not_believed() {
    let mut joined = Joined::new();
    let mut number = 0;
    for place in 0..INNER.len() * 8 {
        let mut inner = joined.said(7);
        number += 1;
        inner[place / 8] ^= 1 << (place % 8);
        let (received, _) = joined.hand_over(&inner);
        assert!(matches!(received, Received::Dropped(Dropped::Forged | Dropped::Replayed)), "bit {place}");
    }
    let inner = joined.said(9);
    let (received, cell) = joined.hand_over(&inner);
    assert_eq!(received, Received::Inner { number });
    assert!(cell[joined.service.inner()..].iter().all(|byte| *byte == 9));
    assert_eq!(joined.hand_over(&inner).0, Received::Dropped(Dropped::Replayed));
    // What the client said does not open at the client either.
    let inner = joined.said(9);
    let mut back = region();
    back[joined.towards_client.inner()].copy_from_slice(&inner);
    joined.towards_client.seal(&mut back, false, &mut joined.filler).expect("a fresh key");
    let received = joined.client.handle_cell(joined.now, Command::Relay, &mut back);
    assert_eq!(received, Received::Dropped(Dropped::Forged));
}

#[test]
fn a_virtual_hop_ends_with_what_it_stands_on() {
    let mut joined = Joined::new();
    assert_eq!((joined.client.inner(), joined.client.sealed()), (92, 0));
    let again = joined.client.add_virtual_hop(&keys(), Side::Client);
    assert_eq!(again, Err(CommandError::Busy), "it has one");
    let now = joined.now;
    say(now, &mut joined.client, &mut joined.towards_client, 0, Reply::Truncated(Reason::Finished));
    let severed = CircuitEvent::Severed { last: Position::FIRST, reason: Reason::Finished };
    assert_eq!(std::iter::from_fn(|| joined.client.poll_event()).last(), Some(severed));
    assert!(!joined.client.is_virtual() && !joined.client.is_ready());
    assert_eq!(joined.client.add_virtual_hop(&keys(), Side::Client), Err(CommandError::NotJoined));
    // The service goes on to something else: what it had is over.
    joined.service.establish_rendezvous(now, COOKIE).expect("a circuit that is ready");
    assert!(!joined.service.is_virtual());
}

#[test]
fn messages_that_nobody_takes_are_bounded_and_come_again() {
    let (now, mut circuit, mut relay) = to_relay((1, 2));
    circuit.establish_introduction(now, ServiceKey([1; 32]), &[2; 64]).expect("it is offered");
    say(now, &mut circuit, &mut relay, 1, Reply::Done);
    for number in 1..=MESSAGES_MAX as u32 + 4 {
        let received = say(now, &mut circuit, &mut relay, number, whole(&[number as u8]));
        let is_taken = number <= MESSAGES_MAX as u32;
        assert_eq!(received == Received::Handled, is_taken, "{number}");
        assert_eq!(acknowledged(now, &mut circuit, &mut relay), is_taken.then_some(number));
    }
    let taken = std::iter::from_fn(|| circuit.poll_message()).count();
    assert_eq!(taken, MESSAGES_MAX);
    // One that was taken is acknowledged again, and is not taken again.
    say(now, &mut circuit, &mut relay, 3, whole(&[3]));
    assert_eq!((acknowledged(now, &mut circuit, &mut relay), circuit.poll_message()), (Some(3), None));
    // One that was not taken is now.
    say(now, &mut circuit, &mut relay, 18, whole(&[18]));
    assert_eq!(circuit.poll_message(), Some(CircuitMessage::Introduction(vec![18])));
}

#[test]
fn parts_of_many_messages_take_bounded_room() {
    let (now, mut circuit, mut relay) = to_relay((1, 2));
    circuit.establish_introduction(now, ServiceKey([1; 32]), &[2; 64]).expect("it is offered");
    say(now, &mut circuit, &mut relay, 1, Reply::Done);
    for number in 1..=9u32 {
        let bytes = [number as u8];
        say(now, &mut circuit, &mut relay, number, Reply::Passed(Part { index: 0, count: 2, bytes: &bytes }));
    }
    for number in 1..=9u32 {
        let bytes = [number as u8 + 100];
        say(now, &mut circuit, &mut relay, number, Reply::Passed(Part { index: 1, count: 2, bytes: &bytes }));
    }
    // The first one's half went for the ninth's, and its second half drove out another.
    let whole: Vec<_> = std::iter::from_fn(|| circuit.poll_message()).collect();
    assert!((6..=8).contains(&whole.len()), "{}", whole.len());
    assert!(whole.contains(&CircuitMessage::Introduction(vec![9, 109])));
}

#[test]
fn what_was_not_asked_for_means_nothing() {
    let (now, mut circuit, mut relay) = to_relay((1, 2));
    for said in [Reply::Done, whole(b"x")] {
        let received = say(now, &mut circuit, &mut relay, 1, said);
        assert_eq!(received, Received::Dropped(Dropped::Unexpected));
    }
    circuit.establish_rendezvous(now, COOKIE).expect("it is offered");
    let received = say(now, &mut circuit, &mut relay, 2, Reply::Done);
    assert_eq!(received, Received::Dropped(Dropped::Unexpected), "another number");
    say(now, &mut circuit, &mut relay, 1, Reply::Done);
    let received = say(now, &mut circuit, &mut relay, 2, whole(b"x"));
    assert_eq!(received, Received::Dropped(Dropped::Unexpected), "another number");
    let long = vec![1; 1_200];
    for index in 0..2 {
        let part = Part { index, count: 2, bytes: &long[..] };
        say(now, &mut circuit, &mut relay, 1, Reply::Passed(part));
    }
    assert!(matches!(circuit.poll_message(), Some(CircuitMessage::Answer(bytes)) if bytes.len() == 2_400));
}

#[test]
fn an_ask_that_nobody_answers_is_given_up() {
    let (mut now, mut circuit, _) = to_relay((1, 2));
    circuit.introduce(now, ServiceKey([1; 32]), &[1; 2_400]).expect("it is offered");
    let mut cells = 0;
    while let Some(at) = circuit.poll_timeout() {
        now = now.max(at);
        cells += std::iter::from_fn(|| circuit.poll_cell(now, &mut region())).count();
    }
    assert_eq!(cells, 2 * usize::from(BUILD_TRIES_MAX), "two parts each time");
    assert_eq!(circuit.poll_event(), Some(CircuitEvent::AskFailed { cause: Cause::TimedOut }));
    assert!(!circuit.is_ready());
    assert_eq!(circuit.truncate(now, Position::FIRST), Ok(()), "and can be made usable again");
}
