//! Documents from charter to lookup, and what is refused.

use identity::{DoorKey, LinkSecret, NodeSecret, OnionSecret, OperatorSecret};
use network_document::{
    ADDRESSES_MAX, CONTACTS_MAX, Charter, Contact, Descriptor, DocumentError, Draft, HOP_RANGES_MAX, Label,
    NetworkDocument, Problem, Roles, SignedDescriptor,
};
use onion::Interval;
use port_hopping::ports::{PortRange, PortSet};
use proptest::prelude::*;
use shaping::RateClass;
use std::net::SocketAddr;
use wire::packet::PacketSize;

const INTERVAL: Interval = Interval(7);

fn label(text: &str) -> Label {
    Label::new(text, "name").expect("a label")
}

fn operator(seed: u8) -> OperatorSecret {
    OperatorSecret::from_seed([seed; 32])
}

fn charter(operators: u8, threshold: u8) -> Charter {
    let keys = (1..=operators).map(|seed| operator(seed).operator_key()).collect();
    Charter::new(label("example"), PacketSize::DEFAULT, keys, threshold).expect("a good charter")
}

fn node(seed: u8) -> NodeSecret {
    NodeSecret::from_seed([seed; 32])
}

fn descriptor(seed: u8) -> Descriptor {
    Descriptor {
        node_id: node(seed).node_id(),
        link_key: LinkSecret::from_bytes([seed; 32]).link_key(),
        door_key: DoorKey::from_bytes([seed; 32]),
        onion_keys: vec![(INTERVAL, OnionSecret::from_bytes([seed; 32]).onion_key())],
        addresses: vec![SocketAddr::from(([192, 0, 2, seed], 4433))],
        hop_ports: PortSet::from_ranges([PortRange::new(40_000, 49_999).expect("a range")]),
        roles: Roles { guard: true, middle: seed.is_multiple_of(2), exit: false, directory: false },
        operator: label("alice"),
        bandwidth: RateClass::new(seed % 53).expect("a class"),
    }
}

fn signed(seed: u8, charter: &Charter) -> SignedDescriptor {
    descriptor(seed).sign(charter.network_id(), &node(seed)).expect("a good descriptor")
}

/// Three relays, two of three operators.
fn document() -> String {
    let charter = charter(3, 2);
    let relays = [3, 1, 2].map(|seed| signed(seed, &charter)).to_vec();
    let mut draft = Draft::new(charter, INTERVAL, relays).expect("a good draft");
    draft.sign(&operator(1)).expect("an operator");
    draft.sign(&operator(3)).expect("an operator");
    draft.text()
}

fn refused(text: &str) -> DocumentError {
    NetworkDocument::parse(text.as_bytes()).expect_err("a mistake")
}

/// The number of the first line that begins so, and the text with that line changed.
fn with_line(text: &str, begins: &str, becomes: &str) -> (usize, String) {
    let line = text.lines().position(|line| line.starts_with(begins)).expect("the line is there");
    let lines: Vec<&str> = text.lines().enumerate().map(|(at, old)| if at == line { becomes } else { old }).collect();
    (line + 1, format!("{}\n", lines.join("\n")))
}

#[test]
fn a_document_is_found_by_name_and_by_key() {
    let text = document();
    let document = NetworkDocument::parse(text.as_bytes()).expect("a good document");
    assert_eq!(document.text(), text);
    assert_eq!((document.relays().len(), document.interval()), (3, INTERVAL));
    assert_eq!(document.charter().network().id, document.network_id().0);
    for seed in [1, 2, 3] {
        let wanted = descriptor(seed);
        assert!(document.relay(&wanted.node_id) == Some(&wanted), "relay {seed}");
        assert!(document.relay_of_link(&wanted.link_key) == Some(&wanted), "relay {seed}");
        let spec = document.spec(&wanted.node_id).expect("it is there");
        assert_eq!((spec.onion_key, spec.interval), (wanted.onion_keys[0].1, INTERVAL));
    }
    assert!(document.relay(&node(9).node_id()).is_none());
    let ids: Vec<_> = document.relays().map(|relay| relay.node_id).collect();
    assert!(ids.is_sorted());
}

#[test]
fn the_network_id_is_the_charter_alone() {
    let (one, other) = (charter(3, 2), charter(3, 2));
    assert_eq!(one.network_id(), other.network_id());
    let keys = || (1..=3).map(|seed| operator(seed).operator_key()).collect::<Vec<_>>();
    let others = [
        Charter::new(label("another"), PacketSize::DEFAULT, keys(), 2),
        Charter::new(label("example"), PacketSize::new(1400).expect("a size"), keys(), 2),
        Charter::new(label("example"), PacketSize::DEFAULT, keys(), 3),
        Charter::new(label("example"), PacketSize::DEFAULT, keys()[..2].to_vec(), 2),
    ];
    for other in others {
        assert_ne!(other.expect("a good charter").network_id(), one.network_id());
    }
    let draft = |interval, seeds: &[u8]| {
        let charter = charter(1, 1);
        let relays = seeds.iter().map(|seed| signed(*seed, &charter)).collect();
        let mut draft = Draft::new(charter, interval, relays).expect("a good draft");
        draft.sign(&operator(1)).expect("an operator");
        draft.finish().expect("one is enough")
    };
    let (old, new) = (draft(INTERVAL, &[1, 2]), draft(INTERVAL, &[1]));
    assert_eq!(old.network_id(), new.network_id());
    assert_ne!(old.hash(), new.hash());
    assert!(!new.supersedes(&old), "the same interval");
    assert_eq!(Charter::parse(one.text().as_bytes()), Ok(one));
}

/// Whatever single byte is changed, the document is refused, and at the line of the change or behind it.
#[test]
fn no_byte_can_be_changed() {
    let text = document();
    for place in (0..text.len()).step_by(3) {
        for change in [0x01, 0x20] {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= change;
            let line = 1 + text[..place].matches('\n').count();
            let error = NetworkDocument::parse(&bytes).expect_err("it was changed");
            assert!(error.line >= line.saturating_sub(1), "byte {place} in line {line}: {error}");
        }
    }
    for cut in 0..text.lines().count() {
        let cut: String = text.lines().take(cut).map(|line| format!("{line}\n")).collect();
        assert!(NetworkDocument::parse(cut.as_bytes()).is_err());
    }
}

#[test]
fn signatures_are_counted_and_put_together() {
    let charter = charter(3, 2);
    let draft = Draft::new(charter.clone(), INTERVAL, vec![signed(1, &charter)]).expect("a good draft");
    let (mut mine, mut yours) = (draft.clone(), draft.clone());
    mine.sign(&operator(2)).expect("an operator");
    mine.sign(&operator(2)).expect("twice is once");
    let few = Problem::TooFewSignatures { found: 1, needed: 2 };
    assert_eq!(mine.clone().finish().expect_err("one of two"), few);
    assert_eq!(refused(&mine.text()).problem, few);
    assert_eq!(mine.sign(&operator(9)), Err(Problem::UnknownOperator));
    yours.sign(&operator(1)).expect("an operator");
    yours.merge(&Draft::parse(mine.text().as_bytes()).expect("a draft")).expect("the same document");
    assert!(yours.clone().finish().is_ok());
    let other = Draft::new(charter.clone(), Interval(7), vec![signed(2, &charter)]).expect("a good draft");
    assert_eq!(yours.merge(&other), Err(Problem::OtherDocument));
    // A signature of another document does not count, whoever's it is.
    let mut other = other;
    other.sign(&operator(3)).expect("an operator");
    let stolen = other.text().lines().last().map(str::to_owned).expect("its signature");
    let error = refused(&format!("{}{stolen}\n", mine.text()));
    let ascending = operator(2).operator_key() < operator(3).operator_key();
    let expected =
        if ascending { Problem::OperatorSignature } else { Problem::Order { keyword: "operator-signature" } };
    assert_eq!(error.problem, expected);
}

#[test]
fn a_descriptor_is_its_nodes_and_for_one_network() {
    let (charter, other) = (charter(3, 2), charter(2, 2));
    assert_eq!(descriptor(1).sign(charter.network_id(), &node(2)).err(), Some(Problem::OtherNode));
    let text = signed(1, &charter).text();
    assert!(SignedDescriptor::parse(text.as_bytes(), charter.network_id()).is_ok());
    let wrong = SignedDescriptor::parse(text.as_bytes(), other.network_id()).expect_err("another network");
    assert_eq!(wrong.problem, Problem::NodeSignature);
    let drafted = Draft::new(other, INTERVAL, vec![signed(1, &charter)]);
    assert_eq!(drafted.err(), Some(Problem::NodeSignature));
    let (_, faster) = with_line(&text, "bandwidth-class", "bandwidth-class 52");
    let wrong = SignedDescriptor::parse(faster.as_bytes(), charter.network_id()).expect_err("altered");
    assert_eq!(wrong.problem, Problem::NodeSignature);
}

#[test]
fn relays_share_nothing_and_have_a_key_of_the_interval() {
    let charter = charter(1, 1);
    let network = charter.network_id();
    let draft = |change: fn(&mut Descriptor)| {
        let mut second = descriptor(2);
        change(&mut second);
        let second = second.sign(network, &node(2)).expect("good alone");
        Draft::new(charter.clone(), INTERVAL, vec![signed(1, &charter), second]).err()
    };
    assert_eq!(draft(|_| {}), None);
    let shared = |keyword| Some(Problem::Shared { keyword });
    assert_eq!(draft(|second| second.link_key = descriptor(1).link_key), shared("link-key"));
    assert_eq!(draft(|second| second.onion_keys = descriptor(1).onion_keys), shared("onion-key"));
    assert_eq!(draft(|second| second.addresses.extend(descriptor(1).addresses)), shared("address"));
    assert_eq!(draft(|second| second.onion_keys[0].0 = Interval(8)), Some(Problem::NoOnionKey));
    let twice = Draft::new(charter.clone(), INTERVAL, vec![signed(1, &charter), signed(1, &charter)]);
    assert_eq!(twice.err(), Some(Problem::Order { keyword: "relay" }));
}

#[test]
fn descriptors_are_bounded_and_sensible() {
    let network = charter(1, 1).network_id();
    let refused = |change: &dyn Fn(&mut Descriptor)| {
        let mut bad = descriptor(1);
        change(&mut bad);
        bad.sign(network, &node(1)).expect_err("a mistake")
    };
    let bad_address = |text: &str| {
        let address: SocketAddr = text.parse().expect("an address");
        refused(&|bad| bad.addresses = vec![address])
    };
    for text in ["0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:9", "[::ffff:192.0.2.1]:5", "[fe80::1%3]:5", "[::]:5"] {
        assert!(matches!(bad_address(text), Problem::Value { keyword: "address", .. }), "{text}");
    }
    let many = |bad: &mut Descriptor| bad.addresses = (1..=9).map(|port| ([192, 0, 2, 1], port).into()).collect();
    assert_eq!(refused(&many), Problem::TooMany { keyword: "address", max: ADDRESSES_MAX });
    assert_eq!(refused(&|bad| bad.addresses.clear()), Problem::TooMany { keyword: "address", max: ADDRESSES_MAX });
    let twice = |bad: &mut Descriptor| bad.addresses.push(bad.addresses[0]);
    assert!(matches!(refused(&twice), Problem::Value { keyword: "address", .. }));
    let keys = |bad: &mut Descriptor| bad.onion_keys.push(bad.onion_keys[0]);
    assert_eq!(refused(&keys), Problem::Order { keyword: "onion-key" });
    assert!(matches!(refused(&|bad| bad.onion_keys.clear()), Problem::TooMany { keyword: "onion-key", .. }));
    assert_eq!(refused(&|bad| bad.onion_keys[0].0 = Interval::LASTING), Problem::Lasting);
    let ports = |bad: &mut Descriptor| {
        bad.hop_ports =
            PortSet::from_ranges((0..40).filter_map(|place| PortRange::new(100 + 2 * place, 100 + 2 * place)));
    };
    assert_eq!(refused(&ports), Problem::TooMany { keyword: "hop-ports", max: HOP_RANGES_MAX });
    let none = Roles::default();
    assert!(matches!(refused(&|bad| bad.roles = none), Problem::Value { keyword: "roles", .. }));
    assert!(Label::new("", "name").is_err() && Label::new(&"a".repeat(64), "name").is_err());
    assert!(Label::new("A b", "name").is_err() && Label::new("a-b.9", "name").is_ok());
}

#[test]
fn charters_are_sensible() {
    let key = |seed| operator(seed).operator_key();
    let made = |keys: Vec<_>, threshold| Charter::new(label("x"), PacketSize::DEFAULT, keys, threshold).err();
    assert_eq!(made(vec![key(1), key(2)], 2), None);
    assert_eq!(made(vec![key(1), key(1)], 1), Some(Problem::Order { keyword: "operator-key" }));
    assert_eq!(made(vec![], 0), Some(Problem::Threshold));
    assert_eq!(made(vec![key(1)], 2), Some(Problem::Threshold));
    assert_eq!(made((1..=17).map(key).collect(), 1), Some(Problem::Threshold));
}

#[test]
fn mistakes_are_named_with_their_line() {
    let text = document();
    let cases = [
        ("hushwire-network", "hushwire-network 3", Problem::Value { keyword: "hushwire-network", rule: "" }),
        ("name", "name Example", Problem::Value { keyword: "name", rule: "" }),
        ("packet-size", "packet-size 1200", Problem::Value { keyword: "packet-size", rule: "" }),
        ("packet-size", "packet-size 01350", Problem::Form),
        ("threshold", "threshold 4", Problem::Threshold),
        ("interval", "interval seven", Problem::Value { keyword: "interval", rule: "" }),
        ("interval", "interval 07", Problem::Form),
        ("relay", "relays", Problem::Behind),
        ("link-key", "door-key x", Problem::Expected { keyword: "link-key" }),
        ("onion-key", "onion-key 7", Problem::Value { keyword: "onion-key", rule: "" }),
        ("address", "address localhost:1", Problem::Value { keyword: "address", rule: "" }),
        ("hop-ports", "hop-ports 5-1", Problem::Value { keyword: "hop-ports", rule: "" }),
        ("hop-ports", "hop-ports 40000-45000,45001-49999", Problem::Form),
        ("roles", "roles guard guard", Problem::Value { keyword: "roles", rule: "" }),
        ("roles", "roles exit guard", Problem::Form),
        ("roles", "roles directory guard", Problem::Form),
        ("interval", "interval 18446744073709551615", Problem::Lasting),
        ("bandwidth-class", "bandwidth-class 53", Problem::Value { keyword: "bandwidth-class", rule: "" }),
        ("node-signature", "node-signature 00", Problem::Value { keyword: "node-signature", rule: "" }),
        ("operator-signature", "operator-signature 00", Problem::Value { keyword: "operator-signature", rule: "" }),
    ];
    for (begins, becomes, expected) in cases {
        let (line, changed) = with_line(&text, begins, becomes);
        let error = refused(&changed);
        assert_eq!(error.line, line, "{becomes}: {error}");
        let same = match (error.problem, expected) {
            (Problem::Value { keyword, .. }, Problem::Value { keyword: wanted, .. }) => keyword == wanted,
            (found, wanted) => found == wanted,
        };
        assert!(same, "{becomes}: {error}");
        assert!(error.to_string().starts_with(&format!("line {line}: ")));
    }
    let key = text.lines().find(|line| line.starts_with("relay ")).expect("a relay");
    let (line, changed) = with_line(&text, "relay ", &key[..key.len() - 1]);
    assert_eq!(refused(&changed).line, line);
    assert_eq!(
        refused(&format!("{text}x\n")),
        DocumentError { line: text.lines().count() + 1, problem: Problem::Behind }
    );
    let unended = &text[..text.len() - 1];
    assert_eq!(refused(unended).problem, Problem::NotPlain);
    assert_eq!(refused(&text.replace('\n', "\r\n")), DocumentError { line: 1, problem: Problem::NotPlain });
    assert_eq!(refused(&"x".repeat(1 << 21)).problem, Problem::TooLong);
}

#[test]
fn debug_shows_no_relay() {
    assert_eq!(format!("{:?}", descriptor(1)), "Descriptor(..)");
    assert_eq!(format!("{:?}", contact(1)), "Contact(..)");
}

fn contact(seed: u8) -> Contact {
    let Descriptor { node_id, link_key, door_key, onion_keys, addresses, .. } = descriptor(seed);
    Contact { node_id, link_key, door_key, onion_key: onion_keys[0].1, addresses }
}

/// What an invitation says can be used like a document, leads to the directory alone, and gives way to any document.
#[test]
fn contacts_are_a_document_of_directory_nodes_with_lasting_keys() {
    let charter = charter(1, 1);
    let made = |contacts| NetworkDocument::of_contacts(charter.clone(), contacts);
    let document = made(vec![contact(2), contact(1), contact(3)]).expect("good contacts");
    assert!(document.is_of_contacts() && document.as_draft().is_none() && document.as_edition().is_none());
    assert_eq!((document.interval(), document.network_id()), (Interval::LASTING, charter.network_id()));
    assert!(document.relays().is_sorted_by_key(|relay| relay.node_id));
    for seed in 1..4 {
        let known = descriptor(seed);
        let spec = document.spec(&known.node_id).expect("a key to extend with");
        assert_eq!((spec.onion_key, spec.interval), (known.onion_keys[0].1, Interval::LASTING));
        let relay = document.relay_of_link(&known.link_key).expect("it is there");
        assert_eq!((relay.node_id, &relay.addresses), (known.node_id, &known.addresses));
        assert_eq!(relay.roles, Roles { guard: true, directory: true, ..Roles::default() });
    }
    let later = self::document();
    let later = NetworkDocument::parse(later.as_bytes()).expect("a document");
    let own = NetworkDocument::of_contacts(later.charter().clone(), vec![contact(1)]).expect("good contacts");
    assert!(later.supersedes(&own) && !own.supersedes(&later) && !own.supersedes(&own));
    assert!(!later.supersedes(&document), "another network");
    assert!(NetworkDocument::parse(own.text().as_bytes()).is_err() && own.hash() != document.hash());

    assert_eq!(made(vec![]).err(), Some(Problem::Expected { keyword: "relay" }));
    let many = (1..=CONTACTS_MAX as u8 + 1).map(contact).collect();
    assert_eq!(made(many).err(), Some(Problem::TooMany { keyword: "relay", max: CONTACTS_MAX }));
    assert_eq!(made(vec![contact(1), contact(1)]).err(), Some(Problem::Order { keyword: "relay" }));
    let with = |change: fn(&mut Contact)| {
        let mut second = contact(2);
        change(&mut second);
        made(vec![contact(1), second]).err()
    };
    assert_eq!(with(|second| second.link_key = contact(1).link_key), Some(Problem::Shared { keyword: "link-key" }));
    assert_eq!(with(|second| second.onion_key = contact(1).onion_key), Some(Problem::Shared { keyword: "onion-key" }));
    assert!(matches!(with(|second| second.addresses.clear()), Some(Problem::TooMany { keyword: "address", .. })));
    assert!(matches!(with(|second| second.addresses[0].set_port(0)), Some(Problem::Value { keyword: "address", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any network is read as it was written, and written the same again.
    #[test]
    fn documents_survive_a_round_trip(
        seeds in proptest::collection::btree_set(1u8..200, 0..8),
        addresses in proptest::collection::btree_set((any::<u128>(), 1u16..), 1..5),
        (interval, class) in (0..u64::MAX, 0u8..53),
        (guard, middle, directory, name) in (any::<bool>(), any::<bool>(), any::<bool>(), "[a-z0-9.-]{1,63}"),
        ports in proptest::collection::vec((1u16..60_000, 0u16..5_000), 0..6),
    ) {
        let charter = charter(3, 1);
        let mut relays = Vec::new();
        for seed in seeds {
            let mut relay = descriptor(seed);
            relay.onion_keys = vec![(Interval(interval), relay.onion_keys[0].1)];
            relay.roles = Roles { guard, middle, exit: true, directory };
            relay.operator = label(&name);
            relay.bandwidth = RateClass::new(class).expect("a class");
            let ranges = ports.iter().filter_map(|(first, more)| PortRange::new(*first, first + more));
            relay.hop_ports = PortSet::from_ranges(ranges);
            // Addresses of one relay: the others would share them.
            if relays.is_empty() {
                relay.addresses.extend(addresses.iter().filter_map(|(bits, port)| {
                    let address = std::net::Ipv6Addr::from(*bits);
                    let usable = address.to_ipv4_mapped().is_none() && !address.is_multicast() && !address.is_unspecified();
                    usable.then(|| SocketAddr::from((address, *port)))
                }));
            }
            relays.push(relay.sign(charter.network_id(), &node(seed)).expect("a good descriptor"));
        }
        let mut draft = Draft::new(charter, Interval(interval), relays).expect("a good draft");
        prop_assert_eq!(&Draft::parse(draft.text().as_bytes()), &Ok(draft.clone()));
        draft.sign(&operator(2)).expect("an operator");
        let document = NetworkDocument::parse(draft.text().as_bytes()).expect("a good document");
        prop_assert_eq!(document.as_draft(), Some(&draft));
    }
}
