//! As many relays as an edition may have.

use crate::network::{Network, START_MS, announcement, relay};
use network_document::{EDITION_BYTES_MAX, EDITION_RELAYS_MAX, EditionDiff, SignedEdition};
use relay_directory::{DirectoryClient, Event, Order, Refusal};

const RELAYS: u32 = EDITION_RELAYS_MAX as u32;

/// 5,000 relays; then an hour in which one in 24 renews its keys, ten go and ten come.
#[test]
fn a_document_of_5000_relays_and_its_differences_are_small() {
    let mut network = Network::new(7, 2);
    network.time(START_MS + 1);
    (1..=RELAYS).for_each(|number| network.join(number));
    let full = vec![Event::Refused(Refusal::TooManyRelays)];
    assert_eq!(network.admit(RELAYS + 1), full);
    network.turn();
    let first = network.publish();
    assert!(first.len() <= EDITION_BYTES_MAX && first.len() < 1_600_000, "{} bytes", first.len());

    let now_ms = network.directory.time_ms();
    for number in (1..=RELAYS).step_by(24) {
        assert_eq!(network.describe(announcement(number, 0, now_ms + 2), number).len(), 1);
    }
    for number in 0..10 {
        let expel = network.order(Order::Expel { node: relay(2 + 24 * number).node_id() });
        assert_eq!(network.apply(&expel).len(), 1);
        network.join(RELAYS + 10 + number);
    }
    network.turn();
    let second = network.publish();
    let base = SignedEdition::decode(&first).expect("an edition");
    let diff = EditionDiff::between(base.edition(), network.directory.published().expect("an edition")).encode();
    let per_mille = diff.len() * 1_000 / second.len();
    assert!(per_mille <= 50, "{} bytes of {}: {per_mille} in 1000", diff.len(), second.len());

    let mut client = DirectoryClient::new(network.charter.network_id());
    client.handle_full(now_ms, &first).expect("a good edition");
    client.handle_diff(now_ms, &diff).expect("a good difference");
    assert_eq!(client.document(now_ms).map(|document| document.relays().len()), Some(EDITION_RELAYS_MAX));
    let state = network.directory.encode();
    assert!(state.len() < 6_000_000, "a state of {} bytes", state.len());
    let again = relay_directory::Directory::decode(network.charter.clone(), &state).expect("its own state");
    assert_eq!(again, network.directory);
}
