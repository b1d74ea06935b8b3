//! Time, intervals, signatures, and the state as bytes.

use crate::network::{INTERVAL_MS, Network, START_MS, charter, member, operator};
use network_document::{EditionName, SignedEdition};
use relay_directory::{Command, Directory, Event, Refusal, Tick, Vote};
use std::sync::Arc;

fn refused(refusal: Refusal) -> Vec<Event> {
    vec![Event::Refused(refusal)]
}

#[test]
fn liars_do_not_move_the_time() {
    // Of seven members two lie, so five clocks are needed.
    let mut network = Network::new(7, 2);
    for (number, utc_ms) in [(1, u64::MAX), (2, u64::MAX), (3, START_MS + 30), (4, START_MS + 10)] {
        network.tick(number, utc_ms);
        assert_eq!(network.directory.time_ms(), START_MS, "too few");
    }
    assert_eq!(network.tick(5, START_MS + 20).last(), Some(&Event::Time(START_MS + 30)));
    network.tick(1, 0);
    network.tick(2, 0);
    assert_eq!(network.directory.time_ms(), START_MS + 30, "it never goes back");
    for (number, utc_ms) in [(3, 100), (4, 101), (5, 102)] {
        network.tick(number, START_MS + utc_ms);
    }
    assert_eq!(network.directory.time_ms(), START_MS + 100, "two who stop it are too few");
}

#[test]
fn a_clock_can_be_put_right_and_an_old_tick_does_not_come_back() {
    let mut network = Network::new(4, 1);
    let id = network.charter.network_id();
    let old = Command::Tick(Tick::new(id, &member(1), 1, START_MS + 5_000_000));
    network.apply(&old);
    network.tick(1, START_MS + 5);
    assert_eq!(network.apply(&old), refused(Refusal::OldTick));
    network.tick(2, START_MS + 7);
    network.tick(3, START_MS + 9);
    assert_eq!(network.directory.time_ms(), START_MS + 7);
    let stranger = Command::Tick(Tick::new(id, &member(9), 1, START_MS));
    assert_eq!(network.apply(&stranger), refused(Refusal::NotMember));
}

#[test]
fn an_edition_needs_k_signatures_and_names_the_last_one_that_had_them() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    network.join(1);
    assert_eq!(network.directory.published_name(), EditionName { index: 0, hash: network.charter.network_id().0 });
    assert!(matches!(network.turn()[..], [.., Event::Time(_), Event::Made(_), Event::Ticked(_)]));
    let first = network.directory.pending().expect("an edition").edition().clone();
    assert_eq!((first.index(), first.previous()), (1, network.directory.published_name()));
    assert_eq!(first.valid_after_ms(), START_MS + INTERVAL_MS);
    assert_eq!(first.fresh_until_ms(), START_MS + 2 * INTERVAL_MS);
    assert_eq!(first.valid_until_ms(), START_MS + 4 * INTERVAL_MS);
    assert_eq!(network.vote(1), [Event::Signed(member(1).node_id())]);
    assert_eq!(network.vote(1), refused(Refusal::Old), "one member counts once");
    network.vote(2);
    assert!(!network.directory.is_published());
    assert_eq!(network.vote(3), [Event::Signed(member(3).node_id()), Event::Published(first.name())]);
    assert_eq!(network.vote(4), [Event::Signed(member(4).node_id())], "one more does no harm");
    assert_eq!(network.directory.published().expect("it is").signatures().len(), 4);

    // Two of four: the second index stays empty, and the third names the first.
    network.turn();
    network.vote(1);
    network.vote(2);
    assert!(network.turn().contains(&Event::Empty(2)));
    let third = network.directory.pending().expect("an edition").edition().clone();
    assert_eq!((third.index(), third.previous()), (3, first.name()));
    // A month in which nobody could write the log.
    network.publish();
    let later = network.time(START_MS + 44_640 * INTERVAL_MS);
    assert!(!later.contains(&Event::Empty(3)));
    let after = network.directory.pending().expect("an edition").edition().clone();
    assert_eq!((after.index(), after.previous()), (44_640, third.name()));
}

#[test]
fn only_the_present_edition_is_signed() {
    let mut network = Network::new(4, 1);
    let id = network.charter.network_id();
    let vote = |name| Command::Sign(Vote::new(id, &member(1), name));
    assert_eq!(network.apply(&vote(EditionName { index: 1, hash: [1; 32] })), refused(Refusal::OtherIndex));
    network.turn();
    let name = network.directory.pending().expect("an edition").edition().name();
    assert_eq!(network.apply(&vote(EditionName { hash: [1; 32], ..name })), refused(Refusal::OtherEdition));
    assert_eq!(network.apply(&vote(EditionName { index: 2, ..name })), refused(Refusal::OtherIndex));
    let stranger = Command::Sign(Vote::new(id, &member(5), name));
    assert_eq!(network.apply(&stranger), refused(Refusal::NotMember));
    network.turn();
    assert_eq!(network.apply(&vote(name)), refused(Refusal::OtherIndex), "too late");
}

#[test]
fn the_state_comes_back_and_goes_on_alike() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    (1..=20).for_each(|number| network.join(number));
    network.apply(&network.service(1, 2, 1, vec![7; 100]));
    network.apply(&network.service(2, 3, 1, vec![8; 10]));
    network.turn();
    network.publish();
    network.turn();
    network.vote(2);
    let bytes = network.directory.encode();
    let copy = Directory::decode(Arc::clone(&network.charter), &bytes).expect("its own state");
    assert_eq!(copy, network.directory);
    let mut other = Network { charter: Arc::clone(&network.charter), directory: copy, members: 4 };
    for _ in 0..3 {
        assert_eq!(network.turn(), other.turn());
        assert_eq!(network.publish(), other.publish());
        assert_eq!(network.directory.hash(), other.directory.hash());
    }
    assert!(Directory::decode(charter(7, 2), &bytes).is_err(), "another network");
    for cut in (0..bytes.len()).step_by(37) {
        assert!(Directory::decode(Arc::clone(&network.charter), &bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Directory::new(Arc::new(plain_charter())).is_err(), "no directory");
}

fn plain_charter() -> network_document::Charter {
    let keys = vec![operator(1).operator_key()];
    network_document::Charter::new(crate::network::label("x"), Default::default(), keys, 1).expect("a charter")
}

#[test]
fn the_same_commands_make_the_same_bytes() {
    let made = || {
        let mut network = Network::new(5, 1);
        network.time(START_MS + 1);
        (1..=9).for_each(|number| network.join(number));
        network.turn();
        network.publish()
    };
    let (one, other) = (made(), made());
    assert_eq!(one, other);
    assert_eq!(SignedEdition::decode(&one).expect("an edition").encode(), one);
}
