//! Who is in the network.

use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OperatorSecret};
use link::{Endpoint, EndpointConfig, LinkId, Now, Peer};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, OnionKeyFile, Roles};
use onion::Interval;
use relay_node::{Limits, RelayNode, RelayNodeConfig};
use shaping::RateClass;
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(super) const DOCUMENT_SEED: u8 = 99;
const INTERVAL: Interval = Interval(3);

fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

pub(super) fn node_secret(relay: usize) -> NodeSecret {
    NodeSecret::from_seed(secret(relay))
}

pub(super) fn node_id(relay: usize) -> NodeId {
    node_secret(relay).node_id()
}

pub(super) fn peer(relay: usize) -> Peer {
    Peer {
        node_id: node_id(relay),
        link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
        door_key: DoorKey::from_bytes(secret(relay)),
    }
}

/// Each relay in a network of its own.
pub(super) fn address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 1], 4433))
}

fn onion_keys(relay: usize) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    file.prepare(INTERVAL, [relay as u8 + 50; 32]);
    file
}

/// Two guards, two middles, the exit, and behind that more middles, if there are so many relays.
pub(super) fn document(relays: usize) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([DOCUMENT_SEED; 32]);
    let label = || Label::new("model", "name").expect("a label");
    let charter = Charter::new(label(), Default::default(), vec![operator.operator_key()], 1).expect("a charter");
    let describe = |relay: usize| {
        let Peer { node_id, link_key, door_key } = peer(relay);
        let descriptor = Descriptor {
            node_id,
            link_key,
            door_key,
            onion_keys: vec![(INTERVAL, onion_keys(relay).of(INTERVAL).expect("it was made").onion_key())],
            addresses: vec![address(relay)],
            hop_ports: None,
            roles: Roles {
                guard: relay < 2,
                middle: relay >= 2 && relay != super::EXIT,
                exit: relay == super::EXIT,
                directory: false,
            },
            operator: label(),
            bandwidth: RateClass::FASTEST,
        };
        descriptor.sign(charter.network_id(), &node_secret(relay)).expect("a good descriptor")
    };
    let mut draft = Draft::new(charter.clone(), INTERVAL, (0..relays).map(describe).collect()).expect("a draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

pub(super) fn relay(number: usize, document: &NetworkDocument) -> RelayNode {
    let config = RelayNodeConfig {
        node_id: node_id(number),
        link_secret: LinkSecret::from_bytes(secret(number)),
        door_key: DoorKey::from_bytes(secret(number)),
        hops: None,
        bandwidth: RateClass::at_least(super::EXIT_RATE).ok().filter(|_| number == super::EXIT),
        limits: Limits {
            circuits_per_client: 4_096,
            handshakes_per_client: 2_000,
            handshakes_per_relay: 2_000,
            ..Limits::default()
        },
    };
    RelayNode::new(config, document.clone(), &onion_keys(number), [number as u8; 32]).expect("the document has it")
}

/// An end with the keys of this seed that has dialled both guards.
pub(super) fn dialler(now: Now, document: &NetworkDocument, seed: [u8; 32]) -> (Endpoint, BTreeMap<usize, LinkId>) {
    let network = document.charter().network();
    let own = (NodeSecret::from_seed(seed).node_id(), LinkSecret::from_bytes(seed), DoorKey::from_bytes(seed));
    let config = EndpointConfig {
        packet_size: network.packet_size,
        network_id: network.id,
        gridded: false,
        ..EndpointConfig::new(own.0, own.1, own.2)
    };
    let mut endpoint = Endpoint::new(config, seed);
    let dial = |guard| (guard, endpoint.dial(now, &peer(guard), address(guard), [0; 7]).expect("its only dial"));
    let links = [0, 1].map(dial).into();
    (endpoint, links)
}
