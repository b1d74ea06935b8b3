//! Neighbours that ask for too much harm themselves.

use crate::net::{Net, client_address};
use onion::Reason;
use relay_node::Limits;
use std::net::SocketAddr;
use std::time::Duration;
use wire::cell::{CellHead, CircuitId, Command};

const SECOND: Duration = Duration::from_secs(1);

/// A client floods its guard with circuits, whole and half; another one builds and uses its own meanwhile as if alone.
#[test]
fn a_flood_of_circuits_leaves_others_theirs() {
    let mut net = Net::new(3, Limits::default(), 1);
    let flooder = net.add_client(client_address(1), 0);
    net.run(SECOND);
    let region = vec![0; net.document.charter().packet_size().region()];
    let mut half = region.clone();
    half[..3].copy_from_slice(&[0x02, 4, 0]);
    let mut good = None;
    for round in 0..40u32 {
        for _ in 0..10 {
            net.open(flooder, &[0]);
        }
        for place in 0..40 {
            let id = CircuitId(CircuitId::DIALLER_BIT | (100_000 + round * 100 + place));
            net.send_region(flooder, CellHead { circuit: id, command: Command::Create }, &half);
            let unknown = CircuitId(CircuitId::DIALLER_BIT | (900_000 + round * 100 + place));
            net.send_region(flooder, CellHead { circuit: unknown, command: Command::Relay }, &region);
        }
        if round == 10 {
            let client = net.add_client(client_address(2), 0);
            good = Some((client, net.open(client, &[0, 1, 2])));
        }
        net.run(SECOND / 20);
    }
    let (client, circuit) = good.expect("it was opened");
    assert!(net.is_built(client, circuit, 3));
    net.say(client, circuit, 9);
    net.run(SECOND);
    assert_eq!(net.path(client, circuit).bytes(), [9]);
    let host = &net.relays[0].node;
    assert_eq!(host.circuits(), 64 + 1, "the flooder has a client's share");
    assert!(host.onion_counters().handshakes <= 64 + 3, "{} handshakes", host.onion_counters().handshakes);
    let full = net.clients[flooder].paths.values().flat_map(|path| &path.events);
    let full =
        full.filter(|event| matches!(event, onion::CircuitEvent::Closed { cause: onion::Cause::Told(Reason::Full) }));
    assert!(full.count() > 200, "those who ask for more are told");
}

/// Handshakes at the door that are never finished, from one address and from many, do not keep others out.
#[test]
fn half_open_handshakes_leave_the_door_open() {
    let mut net = Net::new(3, Limits { links: 64, clients: 56, ..Limits::default() }, 1);
    for number in 0..40 {
        net.add_client(SocketAddr::from(([203, 0, 113, 9], 6000 + number)), 0);
    }
    net.run(SECOND / 200);
    // They asked, and never say a word again.
    net.clients.clear();
    net.run(SECOND / 20);
    assert_eq!(net.relays[0].node.link_count(), 16, "of one address");
    for number in 0..60 {
        net.add_client(SocketAddr::from(([203, 0, number, 10], 6000)), 0);
    }
    net.run(SECOND / 200);
    net.clients.clear();
    net.run(SECOND / 20);
    assert_eq!(net.relays[0].node.link_count(), 56, "what is left is for relays");
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    net.say(client, circuit, 1);
    net.run(SECOND);
    assert_eq!(net.path(client, circuit).bytes(), [1]);
}
