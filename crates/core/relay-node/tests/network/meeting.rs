//! Clients meet at relays: introductions, rendezvous, joined circuits, and a hop from one end to the other.

use crate::net::{LATENCY, Net, Weather, client_address};
use identity::NodeSecret;
use onion::{
    Cause, CircuitEvent, CircuitMessage, CommandError, Cookie, INTRODUCTIONS_BURST, RENDEZVOUS_WAIT, RawKeys, Reason,
    SEALED_MAX, ServiceKey, Side,
};
use relay_node::Limits;
use shaping::RateClass;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Relay 0 is the guard, 5 the exit, the others are middles.
const RELAYS: usize = 6;
const POINT: usize = 4;
const RENDEZVOUS: usize = 3;
const CLIENT_WAY: [usize; 3] = [0, 1, RENDEZVOUS];
const SERVICE_WAY: [usize; 3] = [0, 2, RENDEZVOUS];
const COOKIE: Cookie = Cookie([7; 32]);

fn net(seed: u64) -> Net {
    Net::new(RELAYS, Limits::default(), seed)
}

fn secret() -> NodeSecret {
    NodeSecret::from_seed([77; 32])
}

fn key() -> ServiceKey {
    ServiceKey(secret().node_id().0)
}

fn keys() -> RawKeys {
    RawKeys { initiator: [0x11; 32].into(), responder: [0x22; 32].into() }
}

fn message(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|place| place as u8 ^ seed).collect()
}

fn failed(reason: Reason) -> Option<CircuitEvent> {
    Some(CircuitEvent::AskFailed { cause: Cause::Told(reason) })
}

/// One end: a client's number and one of its circuits.
type End = (usize, u32);

impl Net {
    fn newest(&self, (client, circuit): End) -> Option<CircuitEvent> {
        self.path(client, circuit).newest()
    }

    fn waits(&mut self, (client, circuit): End, cookie: Cookie) {
        let now = self.now.instant;
        self.path_mut(client, circuit).circuit.establish_rendezvous(now, cookie).expect("a circuit to a middle");
    }

    fn answers(&mut self, (client, circuit): End, cookie: Cookie, answer: &[u8]) {
        let now = self.now.instant;
        self.path_mut(client, circuit).circuit.rendezvous(now, cookie, answer).expect("a circuit to a middle");
    }

    fn is_introduced(&mut self, (client, circuit): End, by: &NodeSecret) {
        let now = self.now.instant;
        let circuit = &mut self.path_mut(client, circuit).circuit;
        let signature = by.sign(&circuit.introduction_proof().expect("it has hops"));
        circuit.establish_introduction(now, key(), &signature).expect("a circuit to a middle");
    }

    fn introduces(&mut self, (client, circuit): End, sealed: &[u8]) {
        let now = self.now.instant;
        self.path_mut(client, circuit).circuit.introduce(now, key(), sealed).expect("a circuit to a middle");
    }

    /// Both ends have the keys.
    fn join(&mut self, client: End, service: End) {
        for ((host, circuit), side) in [(client, Side::Client), (service, Side::Service)] {
            self.path_mut(host, circuit).circuit.add_virtual_hop(&keys(), side).expect("a joined circuit");
        }
    }

    /// A client and a service whose circuits are joined.
    fn met(&mut self) -> (End, End) {
        self.met_under(COOKIE, [1, 2])
    }

    fn met_under(&mut self, cookie: Cookie, addresses: [u8; 2]) -> (End, End) {
        let client = self.built(client_address(addresses[0]), &CLIENT_WAY);
        let service = self.built(client_address(addresses[1]), &SERVICE_WAY);
        self.waits(client, cookie);
        self.run(SECOND / 2);
        self.answers(service, cookie, b"answer");
        self.run(SECOND / 2);
        assert_eq!(self.newest(service), Some(CircuitEvent::Done));
        self.join(client, service);
        (client, service)
    }

    /// Bytes go both ways, each once, and whole.
    fn prove_joined(&mut self, client: End, service: End) {
        let before = [client, service].map(|end| self.path(end.0, end.1).answers.len());
        for byte in 0..50 {
            self.say(client.0, client.1, byte);
            self.say(service.0, service.1, 100 + byte);
            self.run(SECOND / 100);
        }
        self.run(SECOND);
        let came = [client, service].map(|end| self.path(end.0, end.1).bytes());
        assert_eq!(came[0][before[0]..], (100..150).collect::<Vec<u8>>());
        assert_eq!(came[1][before[1]..], (0..50).collect::<Vec<u8>>());
    }
}

/// The whole way, with messages of full length in two parts.
#[test]
fn a_client_finds_a_service_and_both_speak_through_a_relay_that_delays_nothing() {
    let mut net = net(1);
    let (service, waiting) = net.built(client_address(2), &[0, 2, POINT]);
    net.is_introduced((service, waiting), &secret());
    let (client, asking) = net.built(client_address(1), &[0, 1, POINT]);
    let met = net.open(client, &CLIENT_WAY);
    net.run(SECOND);
    assert_eq!(net.newest((service, waiting)), Some(CircuitEvent::Done));
    net.waits((client, met), COOKIE);
    net.run(SECOND / 2);
    assert_eq!(net.newest((client, met)), Some(CircuitEvent::Done));
    let (sealed, answer) = (message(SEALED_MAX, 3), message(SEALED_MAX, 5));
    net.introduces((client, asking), &sealed);
    net.run(SECOND / 2);
    assert_eq!(net.newest((client, asking)), Some(CircuitEvent::Done), "the service has it");
    assert_eq!(net.path(service, waiting).messages, [CircuitMessage::Introduction(sealed)]);
    let meets = net.open(service, &SERVICE_WAY);
    net.run(SECOND / 2);
    net.answers((service, meets), COOKIE, &answer);
    net.run(SECOND / 2);
    assert_eq!(net.path(client, met).messages, [CircuitMessage::Answer(answer)]);
    assert_eq!(net.newest((service, meets)), Some(CircuitEvent::Done));
    net.join((client, met), (service, meets));
    for byte in 0..20 {
        let said = net.now.instant;
        net.say(client, met, byte);
        net.run(SECOND / 5);
        let (came, at) = *net.path(service, meets).answers.last().expect("a cell");
        assert_eq!((came, at - said), (byte, 6 * LATENCY), "arrival and departure are one instant at each relay");
    }
    net.prove_joined((client, met), (service, meets));
    for host in &net.relays {
        assert_eq!(host.node.counters().waited, 0);
        assert!(host.inner.is_empty(), "nothing comes out anywhere between");
        assert_eq!(host.node.onion_counters().dropped.values().sum::<u64>(), 0);
    }
    assert_eq!(net.relays[RENDEZVOUS].node.meetings(), (0, 0, 0));
    assert_eq!(net.relays[POINT].node.meetings(), (0, 1, 0));
    let counters = net.relays[RENDEZVOUS].node.onion_counters();
    assert_eq!((counters.spliced, counters.introduced), (1, 0));
}

#[test]
fn meetings_come_about_in_any_weather() {
    for seed in 1..7 {
        let mut net = net(seed);
        net.weather = Weather { lost: 50, doubled: 60, altered: 20, jitter: Duration::from_millis(40) };
        let ends = [(1, [0, 2, POINT]), (2, [0, 1, POINT]), (3, CLIENT_WAY), (4, SERVICE_WAY)];
        let ends = ends.map(|(number, way)| {
            let client = net.add_client(client_address(number), 0);
            (client, way)
        });
        let ends = ends.map(|(client, way)| (client, net.open(client, &way)));
        let wait = |net: &mut Net, done: &dyn Fn(&Net) -> bool| {
            for _ in 0..25 {
                if !done(net) {
                    net.run(SECOND);
                }
            }
            assert!(done(net), "seed {seed}");
        };
        wait(&mut net, &|net| ends.iter().all(|end| net.is_built(end.0, end.1, 3)));
        let [point, asking, client, service] = ends;
        net.is_introduced(point, &secret());
        net.waits(client, COOKIE);
        let is_done = |net: &Net, end| net.newest(end) == Some(CircuitEvent::Done);
        wait(&mut net, &|net| is_done(net, point) && is_done(net, client));
        let (sealed, answer) = (message(SEALED_MAX, 3), message(2_000, 5));
        net.introduces(asking, &sealed);
        wait(&mut net, &|net| is_done(net, asking));
        net.answers(service, COOKIE, &answer);
        wait(&mut net, &|net| is_done(net, service));
        assert_eq!(net.path(point.0, point.1).messages, [CircuitMessage::Introduction(sealed)], "seed {seed}: once");
        assert_eq!(net.path(client.0, client.1).messages, [CircuitMessage::Answer(answer)], "seed {seed}: once");
        net.join(client, service);
        for round in 0..250u32 {
            net.say(client.0, client.1, round as u8);
            net.say(service.0, service.1, round as u8);
            net.run(Duration::from_millis(7));
        }
        net.run(SECOND);
        // Six ways, each loses or alters 7 of 100.
        for end in [client, service] {
            let came = net.path(end.0, end.1).answers.len();
            assert!((110..=215).contains(&came), "seed {seed}: {came} of 250, each once at most");
        }
        assert_eq!(net.relays[RENDEZVOUS].node.meetings(), (0, 0, 0), "seed {seed}");
        assert_eq!(net.relays[POINT].node.meetings(), (0, 1, 0), "seed {seed}");
    }
}

#[test]
fn a_cookie_is_good_for_one_who_knows_it() {
    let mut net = net(3);
    let client = net.built(client_address(1), &CLIENT_WAY);
    let other = net.built(client_address(2), &SERVICE_WAY);
    net.waits(client, COOKIE);
    net.run(SECOND);
    net.waits(other, COOKIE);
    net.run(SECOND);
    assert_eq!(net.newest(other), failed(Reason::Taken));
    net.answers(other, Cookie([8; 32]), b"wrong");
    net.run(SECOND);
    assert_eq!(net.newest(other), failed(Reason::UnknownName));
    assert!(net.path(client.0, client.1).messages.is_empty());
    // After what was refused the circuit is as good as before.
    net.answers(other, COOKIE, b"right");
    net.run(SECOND);
    assert_eq!(net.newest(other), Some(CircuitEvent::Done));
    let late = net.open(other.0, &SERVICE_WAY);
    net.run(SECOND);
    net.answers((other.0, late), COOKIE, b"again");
    net.run(SECOND);
    assert_eq!(net.newest((other.0, late)), failed(Reason::UnknownName), "it was used");
    assert_eq!(net.path(client.0, client.1).messages, [CircuitMessage::Answer(b"right".to_vec())]);
    net.join(client, other);
    net.prove_joined(client, other);
}

#[test]
fn one_client_can_have_both_ends() {
    let mut net = net(4);
    let client = net.built(client_address(1), &CLIENT_WAY);
    let service = (client.0, net.open(client.0, &SERVICE_WAY));
    net.run(SECOND);
    net.waits(client, COOKIE);
    net.run(SECOND / 2);
    net.answers(service, COOKIE, b"it is me");
    net.run(SECOND / 2);
    net.join(client, service);
    net.prove_joined(client, service);
}

/// Until both ends have keys nothing goes over, and what was sealed for the relay is not handed on.
#[test]
fn what_was_sealed_for_the_relay_stays_there() {
    let mut net = net(5);
    let client = net.built(client_address(1), &CLIENT_WAY);
    let service = net.built(client_address(2), &SERVICE_WAY);
    net.say(client.0, client.1, 1);
    net.run(SECOND / 5);
    net.waits(client, COOKIE);
    net.run(SECOND / 5);
    for _ in 0..20 {
        // Covers of a client that waits.
        net.say(client.0, client.1, 2);
    }
    net.answers(service, COOKIE, b"answer");
    let hop = CommandError::NotJoined;
    assert_eq!(net.path_mut(client.0, client.1).circuit.add_virtual_hop(&keys(), Side::Client), Err(hop));
    net.run(SECOND);
    assert!(!net.path(client.0, client.1).circuit.is_ready(), "it would speak to it does not know whom");
    net.join(client, service);
    assert_eq!(net.path(client.0, client.1).circuit.inner(), 92);
    net.run(SECOND);
    assert_eq!(net.path(service.0, service.1).forged, 0, "nothing of it came to the other end");
    net.prove_joined(client, service);
}

/// Whoever has other keys reads nothing and is not heard.
#[test]
fn an_end_with_other_keys_is_nobody() {
    let mut net = net(6);
    let client = net.built(client_address(1), &CLIENT_WAY);
    let service = net.built(client_address(2), &SERVICE_WAY);
    net.waits(client, COOKIE);
    net.run(SECOND / 2);
    net.answers(service, COOKIE, b"answer");
    net.run(SECOND / 2);
    let other = RawKeys { initiator: [0x12; 32].into(), responder: [0x22; 32].into() };
    net.path_mut(client.0, client.1).circuit.add_virtual_hop(&keys(), Side::Client).expect("it is joined");
    net.path_mut(service.0, service.1).circuit.add_virtual_hop(&other, Side::Service).expect("it is joined");
    for byte in 0..10 {
        net.say(client.0, client.1, byte);
    }
    net.run(SECOND);
    let path = net.path(service.0, service.1);
    assert_eq!((path.answers.len(), path.forged), (0, 10));
}

#[test]
fn the_end_of_one_circuit_is_that_of_the_other() {
    for who in ["client", "service", "relay", "restarted"] {
        let mut net = net(7);
        let (client, service) = net.met();
        net.prove_joined(client, service);
        let now = net.now.instant;
        match who {
            "client" => net.path_mut(client.0, client.1).circuit.destroy(now),
            "service" => net.path_mut(service.0, service.1).circuit.destroy(now),
            "relay" => net.relays[RENDEZVOUS].asleep = true,
            _ => net.restart(RENDEZVOUS),
        }
        for _ in 0..25 {
            for end in [client, service] {
                if net.path(end.0, end.1).circuit.is_ready() {
                    net.say(end.0, end.1, 9);
                }
            }
            net.run(SECOND);
        }
        let told = [client, service].map(|end| net.newest(end));
        let gone = told.map(|event| match event {
            Some(CircuitEvent::Severed { reason, .. }) => Some(reason),
            Some(CircuitEvent::Closed { cause: Cause::Asked }) => None,
            other => panic!("{who}: {other:?}"),
        });
        let expected = match who {
            "client" => [None, Some(Reason::Finished)],
            "service" => [Some(Reason::Finished), None],
            _ => [Some(Reason::LinkDown); 2],
        };
        assert_eq!(gone, expected, "{who}");
        for end in [client, service] {
            assert!(!net.path(end.0, end.1).circuit.is_virtual(), "{who}: the other end is gone");
            let now = net.now.instant;
            net.path_mut(end.0, end.1).circuit.destroy(now);
        }
        net.relays[RENDEZVOUS].asleep = false;
        net.run(90 * SECOND);
        assert_eq!(net.relays.iter().map(|host| host.node.circuits()).sum::<u32>(), 0, "{who}: nothing is left");
    }
}

/// An end that was told can meet somebody else with the same circuit.
#[test]
fn a_circuit_whose_other_end_is_gone_can_be_used_again() {
    let mut net = net(8);
    let (client, service) = net.met();
    let now = net.now.instant;
    net.path_mut(service.0, service.1).circuit.destroy(now);
    net.run(SECOND);
    let again = (service.0, net.open(service.0, &SERVICE_WAY));
    net.run(SECOND);
    net.waits(client, Cookie([9; 32]));
    net.run(SECOND / 2);
    net.answers(again, Cookie([9; 32]), b"another");
    net.run(SECOND / 2);
    net.join(client, again);
    net.prove_joined(client, again);
}

#[test]
fn nobody_waits_for_ever() {
    let mut net = net(9);
    let client = net.built(client_address(1), &CLIENT_WAY);
    net.waits(client, COOKIE);
    net.run(RENDEZVOUS_WAIT - SECOND);
    assert_eq!((net.newest(client), net.relays[RENDEZVOUS].node.meetings()), (Some(CircuitEvent::Done), (1, 0, 0)));
    net.run(4 * SECOND);
    let severed = matches!(net.newest(client), Some(CircuitEvent::Severed { reason: Reason::TimedOut, .. }));
    assert!(severed, "{:?}", net.newest(client));
    assert_eq!(net.relays[RENDEZVOUS].node.meetings(), (0, 0, 0));
}

/// The client vanishes while the service answers: the service is told, the relay keeps nothing.
#[test]
fn a_meeting_that_comes_to_nothing_leaves_nothing() {
    let mut net = net(10);
    let client = net.built(client_address(1), &CLIENT_WAY);
    let service = net.built(client_address(2), &SERVICE_WAY);
    net.waits(client, COOKIE);
    net.run(SECOND);
    // It hears nothing more and says nothing more.
    net.clients[client.0].paths.clear();
    net.answers(service, COOKIE, b"anybody?");
    net.run(SECOND);
    assert_eq!(net.relays[RENDEZVOUS].node.meetings(), (1, 0, 1));
    net.run(40 * SECOND);
    assert!(matches!(net.newest(service), Some(CircuitEvent::AskFailed { .. } | CircuitEvent::Severed { .. })));
    assert_eq!(net.relays[RENDEZVOUS].node.meetings(), (0, 0, 0));
}

#[test]
fn only_the_holder_of_a_key_waits_under_it_and_the_newest_counts() {
    let mut net = net(11);
    let first = net.built(client_address(1), &[0, 1, POINT]);
    let second = (first.0, net.open(first.0, &[0, 2, POINT]));
    let asking = net.built(client_address(2), &[0, 3, POINT]);
    net.run(SECOND);
    net.introduces(asking, b"early");
    net.is_introduced(first, &NodeSecret::from_seed([78; 32]));
    net.run(SECOND);
    assert_eq!(net.newest(asking), failed(Reason::UnknownName));
    assert_eq!(net.newest(first), failed(Reason::Handshake));
    net.is_introduced(first, &secret());
    net.run(SECOND);
    assert_eq!(net.newest(first), Some(CircuitEvent::Done));
    net.is_introduced(second, &secret());
    net.run(SECOND);
    assert!(matches!(net.newest(first), Some(CircuitEvent::Severed { reason: Reason::Finished, .. })));
    net.introduces(asking, b"hello");
    net.run(SECOND);
    assert_eq!(net.newest(asking), Some(CircuitEvent::Done));
    assert_eq!(net.path(second.0, second.1).messages, [CircuitMessage::Introduction(b"hello".to_vec())]);
    assert!(net.path(first.0, first.1).messages.is_empty());
}

/// Who asks a key too often is told so; the service gets no more than its rate, and none of it twice.
#[test]
fn introductions_have_a_rate() {
    let mut net = net(12);
    let service = net.built(client_address(1), &[0, 1, POINT]);
    net.is_introduced(service, &secret());
    let client = net.add_client(client_address(2), 0);
    let asking: Vec<u32> = (0..12).map(|_| net.open(client, &[0, 2, POINT])).collect();
    net.run(2 * SECOND);
    let mut refused = 0;
    for round in 0..60u8 {
        for circuit in &asking {
            if !matches!(net.newest((client, *circuit)), Some(CircuitEvent::Extended { .. })) {
                refused += usize::from(net.newest((client, *circuit)) == failed(Reason::TooMany));
            }
            net.introduces((client, *circuit), &[round, *circuit as u8]);
        }
        net.run(SECOND / 4);
    }
    net.run(SECOND);
    let came = &net.path(service.0, service.1).messages;
    let bound = INTRODUCTIONS_BURST as usize + 25 * 16;
    assert!(came.len() >= INTRODUCTIONS_BURST as usize && came.len() <= bound, "{}", came.len());
    let mut once: Vec<_> = came.iter().map(|message| format!("{:?}", bytes(message))).collect();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), came.len(), "none twice");
    assert!(refused > 50, "{refused} were told");
    assert_eq!(net.relays[POINT].node.meetings(), (0, 1, 0));
}

fn bytes(message: &CircuitMessage) -> &[u8] {
    match message {
        CircuitMessage::Introduction(bytes) | CircuitMessage::Answer(bytes) => bytes,
    }
}

/// A service that takes nothing stops nobody else: what is not taken is bounded, and those who asked are told.
#[test]
fn a_service_that_does_not_listen_costs_a_bounded_amount() {
    let mut net = net(13);
    let service = net.built(client_address(1), &[0, 1, POINT]);
    net.is_introduced(service, &secret());
    net.run(SECOND);
    net.clients[service.0].paths.clear();
    let client = net.add_client(client_address(2), 0);
    let asking: Vec<u32> = (0..40).map(|_| net.open(client, &[0, 2, POINT])).collect();
    let other = net.add_client(client_address(3), 0);
    let others: Vec<u32> = (0..40).map(|_| net.open(other, &[0, 3, POINT])).collect();
    net.run(3 * SECOND);
    let ends: Vec<End> =
        asking.iter().map(|circuit| (client, *circuit)).chain(others.iter().map(|circuit| (other, *circuit))).collect();
    for end in &ends {
        net.introduces(*end, b"anybody?");
    }
    net.run(SECOND);
    let full = ends.iter().filter(|end| net.newest(**end) == failed(Reason::Full)).count();
    assert_eq!((full, net.relays[POINT].node.meetings()), (80 - 64, (0, 1, 64)));
    net.run(60 * SECOND);
    assert_eq!(net.relays[POINT].node.meetings().2, 0, "it is given up");
    let failed = ends.iter().filter(|end| matches!(net.newest(**end), Some(CircuitEvent::AskFailed { .. }))).count();
    assert!(failed >= 64, "{failed}");
}

/// A storm of requests costs others nothing: it is counted and dropped beyond the neighbour's share.
#[test]
fn a_storm_of_asks_leaves_others_theirs() {
    let mut net = net(14);
    // Each begins with a neighbour of its own at the rendezvous point.
    let flooder = net.built(client_address(1), &CLIENT_WAY);
    let (client, service) = (net.built(client_address(2), &SERVICE_WAY), net.built(client_address(3), &[0, 4, 3]));
    for round in 0..2_000u32 {
        let mut cookie = [1; 32];
        cookie[..4].copy_from_slice(&round.to_be_bytes());
        let now = net.now.instant;
        let circuit = &mut net.path_mut(flooder.0, flooder.1).circuit;
        // It does not wait for answers: each request ends the one before.
        let _busy = circuit.truncate(now, circuit.last().expect("three"));
        net.run(Duration::from_micros(200));
        if round == 500 {
            net.waits(client, COOKIE);
        }
        let now = net.now.instant;
        let circuit = &mut net.path_mut(flooder.0, flooder.1).circuit;
        let _busy = circuit.establish_rendezvous(now, Cookie(cookie));
        net.run(Duration::from_micros(200));
    }
    net.run(SECOND);
    net.answers(service, COOKIE, b"through");
    net.run(SECOND);
    net.join(client, service);
    net.prove_joined(client, service);
    assert!(net.relays[RENDEZVOUS].node.meetings().0 <= 1, "a circuit waits under one cookie");
}

#[test]
fn an_exit_and_a_guard_offer_no_meeting() {
    let mut net = net(15);
    let exit = net.built(client_address(1), &[0, 1, 5]);
    let now = net.now.instant;
    let asked = net.path_mut(exit.0, exit.1).circuit.establish_rendezvous(now, COOKIE);
    assert_eq!(asked, Err(CommandError::NotOffered));
    let middle = net.built(client_address(2), &CLIENT_WAY);
    let circuit = &mut net.path_mut(middle.0, middle.1).circuit;
    for wrong in [vec![], vec![0; SEALED_MAX + 1]] {
        assert_eq!(circuit.introduce(now, key(), &wrong), Err(CommandError::Length));
        assert_eq!(circuit.rendezvous(now, COOKIE, &wrong), Err(CommandError::Length));
    }
}

/// A rendezvous point of about 1 Mbit/s: a pair of joined circuits that floods has what another one, which asks for a third of the
/// rate, leaves.
#[test]
fn joined_circuits_have_their_share_of_a_rate() {
    let mut net = net(16);
    let class = RateClass::at_least(1_000_000).expect("a class");
    net.limit(RENDEZVOUS, Limits::default(), class);
    let rate = class.bits_per_second() / 8 / 1222;
    let (flooder, flooded) = net.met_under(Cookie([1; 32]), [1, 2]);
    let (modest, friend) = net.met_under(Cookie([2; 32]), [3, 4]);
    let (start, mut said) = (net.relays[RENDEZVOUS].node.counters().sent, 0);
    for step in 0..500u64 {
        for _ in 0..8 {
            net.say(flooder.0, flooder.1, 1);
        }
        if step * rate / 300 > said {
            said += 1;
            net.say(modest.0, modest.1, 2);
        }
        net.run(SECOND / 100);
    }
    let sent = net.relays[RENDEZVOUS].node.counters().sent - start;
    let came = [flooded, friend].map(|end| net.path(end.0, end.1).answers.len() as u64);
    // Beside the rate there is its burst of 16 packets.
    assert!((rate * 5..rate * 5 + 20).contains(&sent), "{sent} cells in 5 s at {rate} a second");
    assert!(came[1] + 12 >= said, "{came:?} of {said}");
    assert!(came[0] > rate * 5 / 2, "{came:?}: the flood has what the other leaves");
    let counters = net.relays[RENDEZVOUS].node.counters();
    assert!(counters.dropped_circuit_full > 1_000, "{counters:?}");
    assert!(net.relays[RENDEZVOUS].node.waiting() <= 64 + 8);
}

/// Ends that have nothing to say show that they are there; those that do not are forgotten.
#[test]
fn silent_ends_stay_joined_as_long_as_they_show_that_they_are_there() {
    let mut net = net(17);
    let (client, service) = net.met();
    for _ in 0..12 {
        net.run(60 * SECOND);
        for end in [client, service] {
            let now = net.now.instant;
            net.path_mut(end.0, end.1).circuit.keep_alive(now);
        }
    }
    net.run(SECOND);
    net.prove_joined(client, service);
    let unexpected = net.relays[RENDEZVOUS].node.onion_counters().dropped.len();
    assert_eq!(unexpected, 0, "a relay knows what that is");
    net.run(700 * SECOND);
    assert_eq!(net.relays[RENDEZVOUS].node.circuits(), 0);
}
