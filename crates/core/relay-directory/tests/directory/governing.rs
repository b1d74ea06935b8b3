//! What operators decide, and with whom.

use crate::network::{INTERVAL_MS, Network, START_MS, admission, announcement, electorate, member, operator, relay};
use identity::OperatorSecret;
use network_document::{Parameters, Problem, TermFile};
use relay_directory::{Command, Event, Order, Refusal, SignedOrder};

fn refused(refusal: Refusal) -> Vec<Event> {
    vec![Event::Refused(refusal)]
}

fn admit(number: u32) -> Order {
    Order::Admit { node: relay(number).node_id(), admission: admission() }
}

#[test]
fn a_threshold_of_operators_decides_once_and_in_order() {
    let mut network = Network::new(4, 1);
    let id = network.charter.network_id();
    let signed = |number, order, by: &[OperatorSecret]| {
        let mut signed = SignedOrder::new(number, order);
        by.iter().for_each(|secret| signed.sign(id, secret));
        Command::Govern(Box::new(signed))
    };
    let two = [operator(1), operator(3)];
    let few = refused(Refusal::TooFewOperators { found: 1, needed: 2 });
    assert_eq!(network.apply(&signed(1, admit(1), &two[..1])), few);
    assert_eq!(network.apply(&signed(1, admit(1), &[operator(1), operator(9)])), refused(Refusal::Signature));
    assert_eq!(network.apply(&signed(2, admit(1), &two)), refused(Refusal::OrderNumber { expected: 1 }));
    let first = signed(1, admit(1), &two);
    assert_eq!(network.apply(&first), [Event::Admitted(relay(1).node_id())]);
    let expel = signed(2, Order::Expel { node: relay(1).node_id() }, &two);
    assert_eq!(network.apply(&expel), [Event::Expelled(relay(1).node_id())]);
    assert_eq!(network.apply(&first), refused(Refusal::OrderNumber { expected: 3 }), "an old order does not come back");
    let again = signed(3, Order::Expel { node: relay(1).node_id() }, &two);
    assert_eq!(network.apply(&again), refused(Refusal::NotAdmitted));
    assert_eq!(network.directory.next_order(), 3, "what has no effect has no number");
}

#[test]
fn an_expelled_relay_is_out_at_once() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    network.join(1);
    let expel = network.order(Order::Expel { node: relay(1).node_id() });
    network.apply(&expel);
    let said = announcement(1, 0, START_MS + 9);
    assert_eq!(network.describe(said, 1), refused(Refusal::NotAdmitted));
    network.turn();
    assert!(network.directory.pending().expect("an edition").edition().relays().is_empty());
    // Its address is free again.
    network.admit(2);
    let mut said = announcement(2, 0, START_MS + 9);
    said.descriptor.addresses = announcement(1, 0, 1).descriptor.addresses;
    assert_eq!(network.describe(said, 2), [Event::Described(relay(2).node_id())]);
}

#[test]
fn parameters_are_those_of_the_next_edition() {
    let mut network = Network::new(4, 1);
    network.turn();
    let parameters = Parameters { legs: 4, ..Parameters::default() };
    let order = network.order(Order::Parameter(Box::new(parameters.clone())));
    assert_eq!(network.apply(&order), [Event::ParametersChanged]);
    let of_edition =
        |network: &Network| network.directory.pending().expect("an edition").edition().head().parameters().clone();
    assert_eq!(of_edition(&network), Parameters::default());
    network.turn();
    assert_eq!(of_edition(&network), parameters);
}

#[test]
fn members_change_with_the_consent_of_the_old_ones() {
    let mut network = Network::new(4, 1);
    let id = network.charter.network_id();
    let order = |term: u64, members: u32, consenting: &[u32]| {
        let mut signed = SignedOrder::new(1, Order::Members(electorate(term, members, 1)));
        [1, 2].iter().for_each(|by| signed.sign(id, &operator(*by)));
        consenting.iter().for_each(|by| signed.consent(id, &member(*by)));
        Command::Govern(Box::new(signed))
    };
    assert_eq!(network.apply(&order(2, 5, &[1, 2])), refused(Refusal::TooFewMembers));
    assert_eq!(network.apply(&order(2, 5, &[1, 2, 5])), refused(Refusal::TooFewMembers), "a new one is no old one");
    assert_eq!(network.apply(&order(3, 5, &[1, 2, 3])), refused(Refusal::Term { expected: 2 }));
    network.turn();
    assert_eq!(network.apply(&order(2, 5, &[1, 2, 3])), [Event::MembersChanged(2)]);
    // The edition of before is still signed by the members of before.
    assert_eq!(network.vote(5), refused(Refusal::NotMember));
    network.publish();
    network.members = 5;
    network.turn();
    let pending = network.directory.pending().expect("an edition").edition().clone();
    assert_eq!((pending.electorate().term(), pending.electorate().quorum()), (2, 4));
    network.publish();
}

#[test]
fn a_term_outside_the_log_begins_with_the_state_that_operators_name() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + INTERVAL_MS);
    network.join(1);
    let (id, hash) = (network.charter.network_id(), network.directory.hash());
    let file = |term, hash, by: &[u32]| {
        let mut file = TermFile::new(id, hash, electorate(term, 3, 0));
        by.iter().for_each(|by| file.sign(&operator(*by)));
        TermFile::parse(file.text().as_bytes()).expect("its own text")
    };
    let mut begin = |file: TermFile| network.directory.begin_term(&file);
    assert_eq!(begin(file(9, hash, &[1])), Err(Problem::TooFewSignatures { found: 1, needed: 2 }));
    assert_eq!(begin(file(9, hash, &[1, 8])), Err(Problem::UnknownOperator));
    assert_eq!(begin(file(9, [0; 32], &[1, 2])), Err(Problem::OtherDocument));
    assert_eq!(begin(file(1, hash, &[1, 2])), Err(Problem::Electorate));
    assert_eq!(begin(file(9, hash, &[1, 2])), Ok(()));
    assert_eq!(network.directory.electorate(), &electorate(9, 3, 0));
    assert!(network.directory.pending().is_none() && network.directory.relays().len() == 1);
    assert_eq!(network.tick(4, START_MS + 5 * INTERVAL_MS), refused(Refusal::NotMember), "the liar is out");
    network.members = 3;
    network.turn();
    network.publish();
    let foreign = TermFile::new(Network::new(7, 2).charter.network_id(), hash, electorate(9, 3, 0));
    assert_eq!(foreign.verify(&network.charter), Err(Problem::OtherDocument));
}
