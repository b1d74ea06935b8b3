//! A document of one relay.

use identity::{DoorKey, LinkSecret, NodeSecret, OnionSecret, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, Roles};
use onion::Interval;
use shaping::RateClass;

/// Of the network of this operator.
pub(crate) fn document(operator: u8, interval: u64) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([operator; 32]);
    let label = |text| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("test"), Default::default(), vec![operator.operator_key()], 1).expect("a charter");
    let interval = Interval(interval);
    let descriptor = Descriptor {
        node_id: NodeSecret::from_seed([1; 32]).node_id(),
        link_key: LinkSecret::from_bytes([1; 32]).link_key(),
        door_key: DoorKey::from_bytes([1; 32]),
        onion_keys: vec![(interval, OnionSecret::from_bytes([1; 32]).onion_key())],
        addresses: vec![([192, 0, 2, 1], 4433).into()],
        hop_ports: None,
        roles: Roles { guard: true, middle: true, ..Roles::default() },
        operator: label("alice"),
        bandwidth: RateClass::SLOWEST,
    };
    let signed = descriptor.sign(charter.network_id(), &NodeSecret::from_seed([1; 32])).expect("a descriptor");
    let mut draft = Draft::new(charter, interval, vec![signed]).expect("a draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("signed")
}
