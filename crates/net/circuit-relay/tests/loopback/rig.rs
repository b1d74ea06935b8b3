//! A network of relays on loopback, for the tests and the benchmark.

use circuit_relay::{Door, RelaySettings};
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, OnionKeyFile, Roles};
use onion::Interval;
use port_hopping::ports::{PortRange, PortSet};
use relay_node::{Limits, RelayNodeConfig};
use shaping::RateClass;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

pub(crate) const INTERVAL: Interval = Interval(3);
pub(crate) const NEXT: Interval = Interval(4);

pub(crate) fn node_id(relay: u8) -> NodeId {
    NodeSecret::from_seed([relay; 32]).node_id()
}

pub(crate) fn onion_keys(relay: u8) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    file.prepare(INTERVAL, [relay; 32]);
    file.prepare(NEXT, [relay + 100; 32]);
    file
}

/// Addresses that no other relay of any test has, in this process or another one. A port that was bound to find a free one may be
/// another's before it is bound again.
pub(crate) fn addresses(count: u8) -> Vec<SocketAddr> {
    static PORTS: AtomicU16 = AtomicU16::new(30_000);
    let own = std::process::id();
    let host = Ipv4Addr::new(127, 1 + (own >> 16) as u8 % 200, (own >> 8) as u8, own as u8);
    (0..count).map(|_| (host, PORTS.fetch_add(1, Ordering::Relaxed)).into()).collect()
}

/// Ports over which links to a relay may hop: below those that the system hands out, and others for each test program.
fn hop_ports(place: usize) -> Option<PortRange> {
    let first = 10_000 + 200 * (std::process::id() % 80) as u16 + 60 * place as u16;
    PortRange::new(first, first + 49)
}

/// Relay 1 is the guard, the last one the exit.
pub(crate) fn document(addresses: &[SocketAddr]) -> NetworkDocument {
    document_of(addresses, INTERVAL)
}

/// The same of an interval, with its onion keys.
pub(crate) fn document_of(addresses: &[SocketAddr], interval: Interval) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([99; 32]);
    let label = || Label::new("loopback", "name").expect("a label");
    let charter = Charter::new(label(), Default::default(), vec![operator.operator_key()], 1).expect("a charter");
    let describe = |(place, address): (usize, &SocketAddr)| {
        let relay = place as u8 + 1;
        let secret = NodeSecret::from_seed([relay; 32]);
        let (guard, exit) = (place == 0, place + 1 == addresses.len());
        let descriptor = Descriptor {
            node_id: secret.node_id(),
            link_key: LinkSecret::from_bytes([relay; 32]).link_key(),
            door_key: DoorKey::from_bytes([relay; 32]),
            onion_keys: vec![(interval, onion_keys(relay).of(interval).expect("it was made").onion_key())],
            addresses: vec![*address],
            hop_ports: PortSet::from_ranges(hop_ports(place)),
            roles: Roles { guard, middle: !guard && !exit, exit, directory: false },
            operator: label(),
            bandwidth: RateClass::FASTEST,
        };
        descriptor.sign(charter.network_id(), &secret).expect("a good descriptor")
    };
    let relays = addresses.iter().enumerate().map(describe).collect();
    let mut draft = Draft::new(charter.clone(), interval, relays).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

pub(crate) fn settings(relay: u8, listen: SocketAddr, document: &NetworkDocument) -> RelaySettings {
    let node = RelayNodeConfig {
        node_id: node_id(relay),
        link_secret: LinkSecret::from_bytes([relay; 32]),
        door_key: DoorKey::from_bytes([relay; 32]),
        hops: None,
        bandwidth: None,
        limits: Limits::default(),
    };
    RelaySettings {
        door: Door::Listen(listen),
        node,
        document: document.clone(),
        onion_keys: onion_keys(relay),
        replay: None,
        drain: Duration::from_secs(1),
        seed: [relay; 32],
    }
}
