//! What relays of a world are called, where they are, and documents of them.

use super::relay::onion_keys;
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, Roles};
use onion::Interval;
use shaping::RateClass;
use std::net::SocketAddr;
use wire::packet::PacketSize;

/// The interval of the document.
pub(crate) const INTERVAL: Interval = Interval(5);

/// The seed of a relay's keys.
pub(super) fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

/// The name of a relay.
pub fn node_id(relay: usize) -> NodeId {
    NodeSecret::from_seed(secret(relay)).node_id()
}

pub(super) fn relay_address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 1], 4433))
}

pub(super) fn other_address(relay: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, relay as u8 + 10, 2], 4433))
}

/// A document of so many relays and exits; clients come to exits only over others, unless those have doors.
///
/// # Panics
/// Never: all of it is in order.
pub fn document(relays: usize, exits: usize, exits_have_doors: bool) -> NetworkDocument {
    document_of((relays, exits, exits_have_doors, false), INTERVAL, 1, Changes::default())
}

/// How the relays of a document differ from those of the first one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes<'a> {
    /// They are not in it.
    pub gone: &'a [usize],
    /// They have another address.
    pub moved: &'a [usize],
}

/// The same of another interval, with onion keys of its own.
pub(super) fn document_of(
    (relays, exits, doors, directories): (usize, usize, bool, bool),
    interval: Interval,
    addresses: usize,
    Changes { gone, moved }: Changes<'_>,
) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([200; 32]);
    let label = |text: &str| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("test"), PacketSize::DEFAULT, vec![operator.operator_key()], 1);
    let charter = charter.expect("a good charter");
    let describe = |relay: usize| {
        let secret_key = NodeSecret::from_seed(secret(relay));
        let onion_key = onion_keys(relay, interval).of(interval).expect("it was made").onion_key();
        let is_exit = relay >= relays;
        let descriptor = Descriptor {
            node_id: secret_key.node_id(),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
            onion_keys: vec![(interval, onion_key)],
            addresses: match (moved.contains(&relay), addresses) {
                (true, _) => vec![other_address(relay)],
                (false, 1) => vec![relay_address(relay)],
                (false, _) => vec![relay_address(relay), other_address(relay)],
            },
            hop_ports: None,
            roles: Roles {
                guard: !is_exit || doors,
                middle: !is_exit,
                exit: is_exit,
                directory: is_exit && directories,
            },
            operator: label(&format!("operator-{relay}")),
            bandwidth: RateClass::SLOWEST,
        };
        descriptor.sign(charter.network_id(), &secret_key).expect("a good descriptor")
    };
    let described = (0..relays + exits).filter(|relay| !gone.contains(relay)).map(describe).collect();
    let mut draft = Draft::new(charter.clone(), interval, described).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}
