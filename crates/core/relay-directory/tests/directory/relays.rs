//! What relays say, and what of it counts.

use crate::network::{INTERVAL_MS, KEY_INTERVALS, Network, START_MS, announcement, relay};
use network_document::{Announcement, Roles};
use port_hopping::ports::PortSet;
use relay_directory::{CLOCK_SKEW_MAX_MS, Command, DESCRIBES_MAX, Event, Refusal, Withdrawal};
use shaping::RateClass;

const NOW_MS: u64 = START_MS + 5 * INTERVAL_MS;

type Change = fn(&mut Announcement);

fn network() -> Network {
    let mut network = Network::new(4, 1);
    network.time(NOW_MS);
    for number in [1, 2] {
        network.admit(number);
    }
    network
}

fn refused(refusal: Refusal) -> Vec<Event> {
    vec![Event::Refused(refusal)]
}

#[test]
fn a_relay_counts_within_what_operators_and_clocks_allow() {
    let cases: [(&str, Refusal, Change); 11] = [
        ("old", Refusal::Old, |said| said.published_ms = 0),
        ("ahead", Refusal::Ahead, |said| {
            said.published_ms = NOW_MS + CLOCK_SKEW_MAX_MS + 1;
            said.expires_ms = said.published_ms + 1;
        }),
        ("expired", Refusal::Expired, |said| {
            said.published_ms = NOW_MS - 5;
            said.expires_ms = NOW_MS;
        }),
        ("lasting", Refusal::Lasting, |said| said.expires_ms += 1),
        ("an exit", Refusal::NotVouchedFor, |said| {
            said.descriptor.operator = network_document::Label::new("mallory", "operator").expect("a label");
        }),
        ("ports", Refusal::HopPorts, |said| said.descriptor.hop_ports = "1000-1001".parse::<PortSet>().ok()),
        ("more ports", Refusal::HopPorts, |said| said.descriptor.hop_ports = "60000-61000".parse::<PortSet>().ok()),
        ("an old key", Refusal::OnionKeys, |said| {
            said.descriptor.onion_keys[0].0.0 = 5;
            said.descriptor.onion_keys[1].0.0 = 6;
        }),
        ("a late key", Refusal::OnionKeys, |said| said.descriptor.onion_keys[1].0.0 = 2),
        ("one key twice", Refusal::SharedKey, |said| {
            said.descriptor.onion_keys[1].1 = said.descriptor.onion_keys[0].1;
        }),
        ("an address", Refusal::SharedAddress, |said| {
            said.descriptor.addresses = announcement(2, 0, 1).descriptor.addresses;
        }),
    ];
    for (what, refusal, change) in cases {
        let mut network = network();
        network.join(2);
        let mut said = announcement(1, 0, NOW_MS - 1);
        change(&mut said);
        assert_eq!(network.describe(said, 1), refused(refusal), "{what}");
        assert_eq!(network.directory.relays().len(), 1, "{what}");
    }
    let mut network = network();
    let events = network.describe(announcement(1, 0, NOW_MS - 1), 1);
    assert_eq!(events, [Event::Described(relay(1).node_id())]);
    assert_eq!(network.describe(announcement(3, 0, NOW_MS - 1), 3), refused(Refusal::NotAdmitted));
}

#[test]
fn roles_and_bandwidth_are_bounded_by_the_admission() {
    let mut network = network();
    let node = relay(1).node_id();
    let mut admission = crate::network::admission();
    admission.roles = Roles { guard: false, middle: true, exit: false, directory: false };
    admission.bandwidth = RateClass::at_least(1_000_000).expect("a class");
    network.describe(announcement(1, 0, NOW_MS), 1);
    let order = network.order(relay_directory::Order::Admit { node, admission: admission.clone() });
    assert_eq!(network.apply(&order), [Event::Admitted(node), Event::Outgrown(node)]);
    assert!(network.directory.relay(&node).is_none() && network.directory.admission(&node) == Some(&admission));
    let mut said = announcement(1, 0, NOW_MS + 1);
    assert_eq!(network.describe(said.clone(), 1), refused(Refusal::NotVouchedFor));
    said.descriptor.roles.guard = false;
    assert_eq!(network.describe(said.clone(), 1), refused(Refusal::NotVouchedFor));
    said.descriptor.bandwidth = admission.bandwidth;
    said.descriptor.roles.directory = true;
    assert_eq!(network.describe(said.clone(), 1), refused(Refusal::NotVouchedFor));
    said.descriptor.roles.directory = false;
    assert_eq!(network.describe(said.clone(), 1), [Event::Described(node)]);
    let mut wider = admission;
    wider.roles.directory = true;
    let order = network.order(relay_directory::Order::Admit { node, admission: wider });
    assert_eq!(network.apply(&order), [Event::Admitted(node)]);
    (said.descriptor.roles.directory, said.published_ms) = (true, NOW_MS + 2);
    assert_eq!(network.describe(said, 1), [Event::Described(node)]);
}

#[test]
fn keys_are_taken_by_the_first_and_free_when_it_goes() {
    let mut network = network();
    network.join(2);
    let of_two = announcement(2, 0, 1).descriptor;
    let same_key = |published_ms| {
        let mut said = announcement(1, 0, published_ms);
        said.descriptor.link_key = of_two.link_key;
        said
    };
    let same_next_key = |published_ms| {
        let mut said = announcement(1, 0, published_ms);
        said.next_link_key = Some(of_two.link_key);
        said
    };
    let same_onion_key = |published_ms| {
        let mut said = announcement(1, 0, published_ms);
        said.descriptor.onion_keys[0].1 = of_two.onion_keys[1].1;
        said
    };
    for said in [same_key(NOW_MS), same_next_key(NOW_MS), same_onion_key(NOW_MS)] {
        assert_eq!(network.describe(said, 1), refused(Refusal::SharedKey));
    }
    // The other relay moves to the next key, says so first, and only then is the old one free.
    let mut moving = announcement(2, 0, NOW_MS + 2);
    moving.next_link_key = Some(announcement(9, 0, 1).descriptor.link_key);
    network.describe(moving.clone(), 2);
    assert_eq!(network.describe(same_key(NOW_MS), 1), refused(Refusal::SharedKey));
    moving.published_ms += 1;
    moving.expires_ms -= 1;
    moving.descriptor.link_key = announcement(9, 0, 1).descriptor.link_key;
    moving.next_link_key = None;
    network.describe(moving, 2);
    assert_eq!(network.describe(same_key(NOW_MS), 1), [Event::Described(relay(1).node_id())]);
}

#[test]
fn what_is_withdrawn_does_not_come_back() {
    let mut network = network();
    let (node, id) = (relay(1).node_id(), network.charter.network_id());
    let gone = |until_ms| Command::Withdraw(Withdrawal::new(id, &relay(1), until_ms));
    assert_eq!(network.apply(&gone(NOW_MS)), refused(Refusal::NotDescribed));
    network.describe(announcement(1, 0, NOW_MS), 1);
    assert_eq!(network.apply(&gone(NOW_MS - 1)), refused(Refusal::Old));
    assert_eq!(network.apply(&gone(NOW_MS + CLOCK_SKEW_MAX_MS + 1)), refused(Refusal::Ahead));
    assert_eq!(network.apply(&gone(NOW_MS + 5)), [Event::Withdrawn(node)]);
    for published_ms in [NOW_MS, NOW_MS + 5] {
        assert_eq!(network.describe(announcement(1, 0, published_ms), 1), refused(Refusal::Old));
    }
    assert_eq!(network.describe(announcement(1, 0, NOW_MS + 6), 1), [Event::Described(node)]);
    assert_eq!(network.apply(&gone(NOW_MS + 5)), refused(Refusal::Old), "the old withdrawal again");
    let stranger = Command::Withdraw(Withdrawal::new(id, &relay(7), NOW_MS));
    assert_eq!(network.apply(&stranger), refused(Refusal::NotAdmitted));
}

#[test]
fn a_relay_may_describe_itself_a_few_times_an_interval() {
    let mut network = network();
    for published in 0..u64::from(DESCRIBES_MAX) {
        network.describe(announcement(1, 0, NOW_MS + published), 1);
    }
    let said = || announcement(1, 0, NOW_MS + 100);
    assert_eq!(network.describe(said(), 1), refused(Refusal::Quota));
    network.turn();
    assert_eq!(network.describe(said(), 1), [Event::Described(relay(1).node_id())]);
}

#[test]
fn descriptors_end_and_keys_run_out() {
    let mut network = network();
    network.join(1);
    let node = relay(1).node_id();
    let names = |network: &Network| {
        let edition = network.directory.pending().expect("an edition").edition().clone();
        edition.relays().iter().map(|relay| relay.node_id()).collect::<Vec<_>>()
    };
    network.turn();
    assert_eq!(names(&network), [node]);
    // It has keys of intervals 0 and 1; in interval 2 it is of no use, and soon after it has expired.
    network.time(START_MS + KEY_INTERVALS * INTERVAL_MS);
    assert_eq!(names(&network), [node]);
    let expired = network.time(NOW_MS + 1 + 2 * KEY_INTERVALS * INTERVAL_MS - INTERVAL_MS);
    assert!(names(&network).is_empty() && !expired.contains(&Event::ExpiredRelay(node)));
    assert!(network.directory.relay(&node).is_some());
    assert!(!network.turn().contains(&Event::ExpiredRelay(node)), "a millisecond is left");
    assert!(network.turn().contains(&Event::ExpiredRelay(node)));
    assert!(network.directory.relay(&node).is_none());
}

#[test]
fn what_is_altered_or_made_for_another_network_is_refused() {
    let mut network = network();
    let other = Network::new(7, 2);
    let foreign = Command::Describe(other.sign(announcement(1, 0, NOW_MS), 1));
    assert_eq!(network.apply(&foreign), refused(Refusal::Signature));
    let good = Command::Describe(network.sign(announcement(1, 0, NOW_MS), 1)).encode();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(matches!(network.directory.apply(&bad)[..], [Event::Refused(_)]), "byte {place}");
    }
    assert_eq!(network.directory.apply(&good[1..]), refused(Refusal::Malformed));
    assert_eq!(network.directory.apply(&[]), refused(Refusal::Malformed));
    let checked = Command::decode(&good).expect("a command").check(&network.charter, network.charter.network_id());
    let mut elsewhere = Network::new(7, 2);
    let events = elsewhere.directory.apply_checked(checked.expect("good signatures"));
    assert_eq!(events, refused(Refusal::OtherNetwork));
}
