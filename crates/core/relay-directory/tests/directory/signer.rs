//! What an honest member signs, and what it does not.

use crate::network::{INTERVAL_MS, Network, START_MS, announcement, member, relay};
use network_document::EditionName;
use relay_directory::{Command, DESCRIBES_MAX, Directory, Event, Promise, Refusal, SignRefusal, Signer};
use std::sync::Arc;

fn signer(network: &Network, number: u32, promise: Promise) -> Signer {
    Signer::new(network.charter.network_id(), member(number), promise)
}

/// By a clock of the member's own.
const NOW_MS: u64 = 77;

#[test]
fn what_a_member_signs_counts_and_is_promised_first() {
    let mut network = Network::new(4, 1);
    let mut one = signer(&network, 1, Promise::default());
    assert_eq!(one.consider(NOW_MS, &network.directory), Err(SignRefusal::Nothing));
    network.turn();
    let name = network.directory.pending().expect("an edition").edition().name();
    let vow = one.consider(NOW_MS, &network.directory).expect("an honest edition");
    assert_eq!(vow.promise, Promise { signed: Some(name), published: None });
    assert_eq!(one.consider(NOW_MS, &network.directory), Ok(vow.clone()), "a lost message is sent again");
    assert_eq!(network.apply(&vow.command), [Event::Signed(one.member())]);
    assert_eq!(one.consider(NOW_MS, &network.directory), Err(SignRefusal::Nothing));
    let stranger = signer(&network, 9, Promise::default()).consider(NOW_MS, &network.directory);
    assert_eq!(stranger, Err(SignRefusal::NotMember));
    let tick = one.tick(&network.directory, START_MS + 9);
    assert_eq!(network.apply(&tick), [Event::Ticked(one.member())]);
}

#[test]
fn a_member_never_signs_two_editions_of_one_index() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    let mut other = Network::new(4, 1);
    other.time(START_MS + 1);
    other.join(1);
    network.turn();
    other.turn();
    let mut one = signer(&network, 1, Promise::default());
    let vow = one.consider(NOW_MS, &network.directory).expect("an honest edition");
    let promised = Err(SignRefusal::Promised { promised: 1 });
    assert_eq!(one.consider(NOW_MS, &other.directory), promised, "another log");
    // Nor after a start, of which the promise is all that is left.
    let kept = Promise::decode(&vow.promise.encode()).expect("its own bytes");
    assert_eq!(kept, vow.promise);
    let mut again = signer(&network, 1, kept);
    assert_eq!(again.consider(NOW_MS, &other.directory), promised);
    assert!(again.consider(NOW_MS, &network.directory).is_ok(), "the same one");
    assert!(Promise::decode(&vow.promise.encode()[1..]).is_err());
}

#[test]
fn an_edition_follows_what_is_known_to_be_published() {
    let mut network = Network::new(4, 1);
    network.turn();
    let before = network.directory.clone();
    network.publish();
    let name = network.directory.published_name();
    network.turn();
    let mut one = signer(&network, 4, Promise::default());
    one.note_published(&network.directory);
    assert_eq!(one.promise().published, Some(name));
    // Another log in which the first edition never had its signatures.
    let mut other = Network { charter: Arc::clone(&network.charter), directory: before, members: 4 };
    other.turn();
    let skipped = one.consider(NOW_MS, &other.directory);
    assert_eq!(skipped, Err(SignRefusal::Skips { follows: 0, known: 1 }));
    assert!(one.consider(NOW_MS, &network.directory).is_ok());
    let forged = Promise { signed: None, published: Some(EditionName { index: 1, hash: [3; 32] }) };
    let skipped = signer(&network, 4, forged).consider(NOW_MS, &network.directory);
    assert_eq!(skipped, Err(SignRefusal::Skips { follows: 1, known: 1 }));
}

/// A leader that leaves a relay out of the log gets no signature once a member has held the descriptor for an interval.
#[test]
fn a_member_does_not_sign_what_leaves_a_relay_out() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    for number in [1, 2] {
        network.admit(number);
    }
    let mut one = signer(&network, 1, Promise::default());
    let said = network.sign(announcement(1, 0, START_MS + 2), 1);
    assert_eq!(one.hold(NOW_MS, &network.directory, Arc::clone(&said)), Ok(()));
    assert_eq!(one.hold(NOW_MS, &network.directory, Arc::clone(&said)), Err(Refusal::Old));
    let stranger = network.sign(announcement(3, 0, START_MS + 2), 3);
    assert_eq!(one.hold(NOW_MS, &network.directory, stranger), Err(Refusal::NotAdmitted));
    let foreign = Network::new(7, 2).sign(announcement(2, 0, START_MS + 2), 2);
    assert_eq!(one.hold(NOW_MS, &network.directory, foreign), Err(Refusal::Signature));
    network.turn();
    assert!(one.consider(NOW_MS + INTERVAL_MS - 1, &network.directory).is_ok(), "not yet for an interval");
    let newer = network.sign(announcement(1, 0, START_MS + 3), 1);
    assert_eq!(one.hold(NOW_MS + 9, &network.directory, newer), Ok(()));
    network.turn();
    let left_out = || Err(SignRefusal::LeavesOut(relay(1).node_id()));
    assert_eq!(one.consider(NOW_MS + INTERVAL_MS, &network.directory), left_out());
    // What it holds outlives a start.
    let mut again = signer(&network, 1, one.promise());
    again.restore_held(&one.encode_held()).expect("its own bytes");
    assert_eq!((again.held(), again.consider(NOW_MS + INTERVAL_MS, &network.directory)), (1, left_out()));
    assert!(again.restore_held(&one.encode_held()[1..]).is_err());
    // A descriptor that does not count any more is nothing to hold out for.
    let mut expelled = network.directory.clone();
    apply(&mut expelled, &network.order(relay_directory::Order::Expel { node: relay(1).node_id() }));
    assert!(again.consider(NOW_MS + INTERVAL_MS, &expelled).is_ok());
    // In the log, but too late for this edition: it is not signed, and the next one is.
    network.apply(&Command::Describe(said));
    assert_eq!(one.consider(NOW_MS + INTERVAL_MS, &network.directory), left_out());
    network.turn();
    assert!(one.consider(NOW_MS + INTERVAL_MS, &network.directory).is_ok(), "the newer one is not held for so long");
    assert_eq!(one.held(), 1);
    network.turn();
    assert_eq!(one.consider(NOW_MS + INTERVAL_MS + 9, &network.directory), left_out(), "now it is");
    network.describe(announcement(1, 0, START_MS + 3), 1);
    network.turn();
    assert!(one.consider(NOW_MS + 9 * INTERVAL_MS, &network.directory).is_ok());
    assert_eq!(one.held(), 0);
}

/// However often a relay changes its mind, an edition that has none of it is not signed.
#[test]
fn a_relay_that_changes_often_is_not_left_out_for_ever() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    network.admit(1);
    let mut one = signer(&network, 1, Promise::default());
    for published in 0..20 {
        let said = network.sign(announcement(1, 0, START_MS + 2 + published), 1);
        one.hold(NOW_MS + published * INTERVAL_MS / 10, &network.directory, said).expect("it counts");
    }
    network.turn();
    let left_out = || Err(SignRefusal::LeavesOut(relay(1).node_id()));
    assert_eq!(one.consider(NOW_MS + 2 * INTERVAL_MS, &network.directory), left_out());
}

/// A relay that says more than counts keeps nobody from signing: what the log refused is not held, and what it never had is taken
/// there by whoever holds it.
#[test]
fn a_relay_that_floods_keeps_no_member_from_signing() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    network.admit(1);
    let (mut one, mut strict) = (signer(&network, 1, Promise::default()), signer(&network, 2, Promise::default()));
    let node = relay(1).node_id();
    let mut refused = 0;
    for published in 0..12 {
        let said = network.sign(announcement(1, 0, START_MS + 2 + published), 1);
        for signer in [&mut one, &mut strict] {
            signer.hold(NOW_MS, &network.directory, Arc::clone(&said)).expect("it would count but for the quota");
        }
        if network.describe(announcement(1, 0, START_MS + 2 + published), 1) == [Event::Refused(Refusal::Quota)] {
            one.forget(&node, START_MS + 2 + published);
            refused += 1;
        }
    }
    assert!(refused == 12 - u64::from(DESCRIBES_MAX) && network.directory.is_over_quota(&node));
    let due_ms = NOW_MS + INTERVAL_MS;
    assert!(strict.unordered(&network.directory, due_ms, 9).is_empty(), "not in this interval");
    network.turn();
    assert!(!network.directory.is_over_quota(&node));
    assert!(one.consider(due_ms, &network.directory).is_ok());
    assert_eq!((one.held(), one.unordered(&network.directory, due_ms, 9).len()), (0, 0));
    // Whoever does not know that the log refused it takes it there once more, and then signs too.
    assert_eq!(strict.consider(due_ms, &network.directory), Err(SignRefusal::LeavesOut(node)));
    assert!(strict.unordered(&network.directory, NOW_MS - 1, 9).is_empty(), "not held for so long");
    assert!(strict.unordered(&network.directory, due_ms, 0).is_empty());
    let [said] = &strict.unordered(&network.directory, due_ms, 9)[..] else { panic!("one relay") };
    assert_eq!(said.announcement().published_ms, START_MS + 2 + 11, "the newest");
    apply(&mut network.directory, &Command::Describe(Arc::clone(said)));
    network.turn();
    let before = strict.held_changes();
    assert!(strict.consider(due_ms, &network.directory).is_ok());
    assert!(strict.held() == 0 && strict.held_changes() != before);
}

fn apply(directory: &mut Directory, command: &Command) {
    assert!(!matches!(directory.apply(&command.encode())[..], [Event::Refused(_)]));
}
