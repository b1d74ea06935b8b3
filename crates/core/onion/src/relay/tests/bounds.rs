//! How many may wait at a relay, of one neighbour and in all.

use crate::fuzz::{NETWORK, NODE, good_circuit, keys};
use crate::handshake::Features;
use crate::layer::{ClientLayers, Position};
use crate::message::{Reply, Request, RequestNumber};
use crate::parts;
use crate::reason::Reason;
use crate::relay::{INTRODUCTION_POINTS_MAX, Neighbour, RENDEZVOUS_MAX, Relay, RelayConfig};
use crate::service::{Asked, Cookie, ServiceKey, introduction_proof};
use identity::NodeSecret;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Done,
    Refused(Reason),
}

struct Crowd {
    relay: Relay,
    now: Instant,
    next: u32,
}

impl Crowd {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new() -> Self {
        let config = RelayConfig {
            features: Features::RENDEZVOUS,
            circuits_per_neighbour: 16_384,
            handshakes_per_neighbour: 2_000,
            ..RelayConfig::new(NETWORK, NODE)
        };
        Self { relay: Relay::new(config, keys(), [4; 32]), now: Instant::now(), next: 1 }
    }

    /// A fresh circuit of a neighbour asks to wait under a name of its own; what it is told.
    fn waits(&mut self, neighbour: u32, is_service: bool) -> Told {
        self.now += Duration::from_millis(1);
        let (neighbour, number) = (Neighbour(neighbour), self.next);
        let id = CircuitId(CircuitId::DIALLER_BIT | number);
        self.next += 1;
        let (mut client, binding) = good_circuit(&mut self.relay, self.now, (neighbour, id)).expect("a good handshake");
        let mut name = [0; 32];
        name[..4].copy_from_slice(&number.to_be_bytes());
        let secret = NodeSecret::from_seed(name);
        let signature = secret.sign(&introduction_proof(&binding));
        let asked = if is_service {
            Asked::EstablishIntroduction(ServiceKey(secret.node_id().0), &signature)
        } else {
            Asked::EstablishRendezvous(Cookie(name))
        };
        self.ask(&mut client, (neighbour, id), asked)
    }

    fn ask(&mut self, client: &mut ClientLayers, (neighbour, id): (Neighbour, CircuitId), asked: Asked<'_>) -> Told {
        let (ask, message) = asked.write();
        let mut region = vec![0; NETWORK.packet_size.region()];
        let part = parts::part(&message, 0, 1_000).expect("it is short");
        Request::Ask(ask, part).write(RequestNumber(1), &mut region[24..]);
        client.seal(Position::FIRST, true, &mut region).expect("a fresh key");
        let head = CellHead { circuit: id, command: Command::Relay };
        self.relay.handle_cell(self.now, neighbour, head, &mut region);
        self.relay.poll_cell(self.now, neighbour, &mut region).expect("an answer");
        client.open(&mut region).expect("a cell for this client");
        match Reply::read(&region[24..]).expect("a reply").1 {
            Reply::Done => Told::Done,
            Reply::Refused(reason) => Told::Refused(reason),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_neighbour_has_a_quarter_of_all_places() {
    for (is_service, all) in [(true, INTRODUCTION_POINTS_MAX), (false, RENDEZVOUS_MAX)] {
        let mut crowd = Crowd::new();
        for number in 0..all / 4 {
            assert_eq!(crowd.waits(1, is_service), Told::Done, "{number}");
        }
        assert_eq!(crowd.waits(1, is_service), Told::Refused(Reason::Full));
        assert_eq!(crowd.waits(2, is_service), Told::Done, "others have theirs");
        // The link of the first one is down: its places are free.
        crowd.relay.handle_link_down(crowd.now, Neighbour(1));
        let waiting = crowd.relay.introduction_points() + crowd.relay.rendezvous();
        assert_eq!((waiting, crowd.waits(1, is_service)), (1, Told::Done));
        assert!(crowd.relay.is_consistent());
    }
}

#[test]
fn a_relay_has_so_many_introduction_points_and_no_more() {
    let mut crowd = Crowd::new();
    for number in 0..INTRODUCTION_POINTS_MAX {
        assert_eq!(crowd.waits(1 + (number / 205) as u32, true), Told::Done, "{number}");
    }
    assert_eq!(crowd.waits(9, true), Told::Refused(Reason::Full));
    assert_eq!(crowd.relay.introduction_points(), INTRODUCTION_POINTS_MAX);
}
