//! What clients believe.

use crate::network::{INTERVAL_MS, Network, START_MS, announcement, electorate, member, operator};
use network_document::{Edition, EditionHead, EditionName, NetworkId, SignedEdition, TermFile, UnsignedError};
use relay_directory::{
    Answer, CLOCK_BEHIND_MAX_MS, ClientRefusal, Command, DirectoryClient, EVIDENCE_MAX, Evidence, Keeper, Order,
    Request, SignedOrder, Succession, Taken,
};
use std::sync::Arc;

/// A network that has published an edition with three relays.
fn network() -> Network {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    (1..=3).for_each(|number| network.join(number));
    network.turn();
    network.publish();
    network
}

fn next(network: &mut Network) -> Vec<u8> {
    network.turn();
    network.publish()
}

fn client(network: &Network) -> DirectoryClient {
    DirectoryClient::new(network.charter.network_id())
}

fn now_ms(network: &Network) -> u64 {
    network.directory.time_ms() + 5
}

fn published(network: &Network) -> SignedEdition {
    network.directory.published().expect("an edition").clone()
}

/// The same edition with other relays, parameters and so on, signed by these.
fn forged(edition: &Edition, previous: EditionName, by: &[u32]) -> Vec<u8> {
    let head = edition.head();
    let charter = Arc::new(edition.charter().clone());
    let (electorate, parameters) = (edition.electorate().clone(), head.parameters().clone());
    let head = EditionHead::new(charter, edition.index(), previous, electorate, parameters).expect("a head");
    let relays = edition.relays()[1..].to_vec();
    let mut signed = SignedEdition::new(Arc::new(Edition::new(head, relays).expect("an edition")));
    by.iter().for_each(|by| signed.sign(&member(*by)).expect("a member"));
    signed.encode()
}

#[test]
fn an_invitation_is_enough_to_begin() {
    let network = network();
    let mut client = client(&network);
    assert_eq!(client.poll_request(), Request::Full);
    let mut keeper = Keeper::default();
    assert_eq!(keeper.answer(&Request::Full), Answer::Unknown);
    keeper.keep(published(&network));
    let answer = keeper.answer(&client.poll_request()).encode();
    let name = network.directory.published_name();
    assert_eq!(client.handle_answer(now_ms(&network), &answer), Ok(Taken::Edition(name)));
    let document = client.document(now_ms(&network)).expect("a document");
    assert_eq!((document.relays().len(), document.network_id()), (3, network.charter.network_id()));
    let relay = document.relays().next().expect("a relay").clone();
    assert_eq!(document.relay_of_link(&relay.link_key), Some(&relay));
    assert_eq!(document.spec(&relay.node_id).map(|spec| spec.onion_key), Some(relay.onion_keys[0].1));
    let whole = document.announcement(&relay.node_id).expect("it is there");
    assert!(whole.is_for(client.network_id()), "its own signature is there for whoever wants to look");
    assert!(document.text().contains("member-signature"));
    assert_eq!(client.poll_request(), Request::Diff { base: document.hash() });
    let current = keeper.answer(&client.poll_request()).encode();
    assert_eq!(client.handle_answer(now_ms(&network), &current), Ok(Taken::Known));
    // The next one is due at a public time, and asked for within a spread behind it.
    let due = START_MS + 2 * INTERVAL_MS;
    assert_eq!([0, 7, 1_003].map(|random| client.fetch_at_ms(random, 1_000)), [due, due + 7, due + 3]);
}

#[test]
fn a_client_goes_forward_by_differences() {
    let mut network = network();
    let (mut client, mut keeper) = (client(&network), Keeper::default());
    keeper.keep(published(&network));
    client.handle_answer(now_ms(&network), &keeper.answer(&Request::Full).encode()).expect("a good edition");
    for number in 4..20 {
        network.join(number);
        if number % 5 == 0 {
            let expel = network.order(Order::Expel { node: crate::network::relay(number - 2).node_id() });
            network.apply(&expel);
        }
        next(&mut network);
        keeper.keep(published(&network));
        let answer = keeper.answer(&client.poll_request());
        assert!(matches!(answer, Answer::Diff(_)), "{number}");
        let name = network.directory.published_name();
        assert_eq!(client.handle_answer(now_ms(&network), &answer.encode()), Ok(Taken::Edition(name)));
        assert_eq!(client.newest().and_then(|document| document.as_edition()), network.directory.published());
    }
    // By hash, an old one: nobody goes back to it.
    let old = keeper.answer(&Request::ByHash { hash: published(&network).edition().previous().hash });
    let back = client.handle_answer(now_ms(&network), &old.encode());
    assert_eq!(back, Err(ClientRefusal::RollBack { index: client.index() - 1, known: client.index() }));
    assert_eq!(keeper.answer(&Request::ByHash { hash: [0; 32] }), Answer::Unknown);
    assert!(matches!(keeper.answer(&Request::Diff { base: [0; 32] }), Answer::Full(_)), "a base that nobody knows");
    // A difference to something else: the whole is asked for.
    let mut other = DirectoryClient::new(network.charter.network_id());
    other.handle_full(now_ms(&network), &next(&mut network)).expect("a good edition");
    let stray = keeper.answer(&Request::Diff { base: client.newest().map_or([0; 32], |of| of.hash()) }).encode();
    assert!(matches!(other.handle_answer(now_ms(&network), &stray), Ok(Taken::Known)), "the keeper is behind");
    let bytes = match keeper.answer(&Request::Diff { base: published(&network).edition().previous().hash }) {
        Answer::Diff(bytes) => bytes,
        _ => {
            keeper.keep(published(&network));
            match keeper.answer(&Request::Diff { base: published(&network).edition().previous().hash }) {
                Answer::Diff(bytes) => bytes,
                answer => panic!("{answer:?}"),
            }
        }
    };
    assert!(matches!(other.handle_diff(now_ms(&network), &bytes), Err(ClientRefusal::Diff(_))));
    assert_eq!(other.poll_request(), Request::Full);
    assert!(other.document(now_ms(&network)).is_some(), "what was good stays good");
}

#[test]
fn what_too_few_signed_is_nothing() {
    let network = network();
    let edition = published(&network);
    let mut few = SignedEdition::new(Arc::clone(edition.edition()));
    [1, 2].iter().for_each(|by| few.sign(&member(*by)).expect("a member"));
    let now_ms = now_ms(&network);
    let mut client = client(&network);
    let too_few = ClientRefusal::Unsigned(UnsignedError::TooFew { found: 2, needed: 3 });
    assert_eq!(client.handle_full(now_ms, &few.encode()), Err(too_few));
    // A third signature that is another edition's.
    few.add(member(3).node_id(), [7; 64]).expect("a member");
    assert!(matches!(client.handle_full(now_ms, &few.encode()), Err(ClientRefusal::Unsigned(_))));
    assert!(few.sign(&member(9)).is_err(), "no member");
    let other = DirectoryClient::new(NetworkId([9; 32])).handle_full(now_ms, &edition.encode());
    assert_eq!(other, Err(ClientRefusal::OtherNetwork));
    assert!(client.document(now_ms).is_none() && client.evidence().is_empty());
}

#[test]
fn no_byte_can_be_changed_or_missing() {
    let mut network = network();
    let mut client = client(&network);
    let (base, now_ms) = (published(&network), now_ms(&network));
    client.handle_full(now_ms, &base.encode()).expect("a good edition");
    network.join(4);
    let bytes = next(&mut network);
    let diff = network_document::EditionDiff::between(base.edition(), &published(&network)).encode();
    for (what, bytes, step) in [("full", &bytes, 5), ("diff", &diff, 3)] {
        for place in (0..bytes.len()).step_by(step) {
            let mut bad = bytes.clone();
            bad[place] ^= 1;
            let mut take = |bytes: &[u8]| match what {
                "full" => client.handle_full(now_ms, bytes),
                _ => client.handle_diff(now_ms, bytes),
            };
            assert!(take(&bad).is_err(), "{what}: byte {place}");
            assert!(take(&bytes[..place]).is_err(), "{what}: cut at {place}");
        }
    }
    assert_eq!(client.index(), 1);
    assert!(client.evidence().is_empty(), "what nobody signed proves nothing");
    assert!(client.handle_diff(now_ms, &diff).is_ok());
}

#[test]
fn two_editions_of_one_index_are_kept_as_evidence() {
    let mut network = network();
    let mut client = client(&network);
    let (first, now_ms) = (published(&network), now_ms(&network));
    client.handle_full(now_ms, &first.encode()).expect("a good edition");
    let second = forged(first.edition(), first.edition().previous(), &[2, 3, 4]);
    let fork = Err(ClientRefusal::Fork { index: 1 });
    assert_eq!(client.handle_full(now_ms, &second), fork);
    assert_eq!(client.document(now_ms).map(|document| document.hash()), Some(first.edition().hash()));
    let evidence = &client.evidence()[0];
    assert_eq!((evidence.known.name, evidence.other.clone()), (first.edition().name(), second));
    // Whoever has the evidence can check it without the client.
    let id = network.charter.network_id();
    let message = evidence.known.name.message(id);
    assert!(evidence.known.signatures.iter().all(|(by, bytes)| by.verify(&message, bytes)));
    // One that says another edition was the first, and enough signed it.
    next(&mut network);
    let after = published(&network);
    for seed in 0..EVIDENCE_MAX as u8 + 2 {
        let previous = EditionName { index: 1, hash: [seed; 32] };
        for _ in 0..2 {
            assert_eq!(client.handle_full(now_ms, &forged(after.edition(), previous, &[1, 2, 3, 4])), fork);
        }
        let proofs = client.evidence();
        assert_eq!(proofs.len(), EVIDENCE_MAX.min(usize::from(seed) + 2), "each once, the first ones");
        let file = proofs[0].encode(id);
        assert_eq!(Evidence::decode(&file), Ok((id, proofs[0].clone())));
    }
    assert!(client.handle_full(now_ms, &after.encode()).is_ok(), "the honest chain goes on");
}

#[test]
fn documents_have_a_window_and_the_last_good_one_lasts_as_long() {
    let mut network = network();
    let mut client = client(&network);
    let bytes = published(&network).encode();
    let begin = START_MS + INTERVAL_MS;
    let end = begin + 3 * INTERVAL_MS;
    let early = begin - CLOCK_BEHIND_MAX_MS - 1;
    let ahead = CLOCK_BEHIND_MAX_MS + 1;
    assert_eq!(client.handle_full(early, &bytes), Err(ClientRefusal::Ahead { ahead_ms: ahead }));
    assert_eq!(client.handle_full(end, &bytes), Err(ClientRefusal::Expired { ago_ms: 0 }));
    assert!(client.handle_full(early + 1, &bytes).is_ok(), "a clock a day behind is warned of elsewhere");
    assert!(client.document(end - 1).is_some() && client.document(end).is_none());
    // Offline for a month: the newest is taken, whatever lies between.
    network.time(START_MS + 43_200 * INTERVAL_MS);
    network.publish();
    assert!(client.handle_full(now_ms(&network), &bytes).is_err());
    let name = network.directory.published_name();
    let newest = published(&network).encode();
    assert_eq!(client.handle_full(now_ms(&network), &newest), Ok(Taken::Edition(name)));
    let forgotten = ClientRefusal::RollBack { index: 1, known: 43_200 };
    assert_eq!(client.handle_full(now_ms(&network), &bytes), Err(forgotten));
}

#[test]
fn nobody_takes_a_client_back_over_a_start() {
    let mut network = network();
    let id = network.charter.network_id();
    let mut client = client(&network);
    let old = published(&network).encode();
    client.handle_full(now_ms(&network), &old).expect("a good edition");
    let newer = next(&mut network);
    client.handle_full(now_ms(&network), &newer).expect("a good edition");
    let file = client.save();
    let mut again = DirectoryClient::restore(id, &file).expect("its own file");
    assert_eq!((again.save(), again.newest().is_some()), (file.clone(), true));
    let back = again.handle_full(now_ms(&network), &old);
    assert_eq!(back, Err(ClientRefusal::RollBack { index: 1, known: 2 }));
    let second = forged(published(&network).edition(), published(&network).edition().previous(), &[1, 2, 3]);
    assert_eq!(again.handle_full(now_ms(&network), &second), Err(ClientRefusal::Fork { index: 2 }));
    assert!(DirectoryClient::restore(NetworkId([1; 32]), &file).is_err());
    for cut in (0..file.len()).step_by(41) {
        assert!(DirectoryClient::restore(id, &file[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn clients_follow_members_from_term_to_term() {
    let mut network = network();
    let id = network.charter.network_id();
    let (mut client, mut keeper) = (client(&network), Keeper::default());
    client.handle_full(now_ms(&network), &published(&network).encode()).expect("a good edition");
    // On the log: five members. Then outside of it: three others.
    let mut order = SignedOrder::new(network.directory.next_order(), Order::Members(electorate(2, 5, 1)));
    [1, 3].iter().for_each(|by| order.sign(id, &operator(*by)));
    (1..=3).for_each(|by| order.consent(id, &member(by)));
    network.apply(&Command::Govern(Box::new(order)));
    network.members = 5;
    let second = next(&mut network);
    let mut file = TermFile::new(id, network.directory.hash(), electorate(7, 3, 0));
    [2, 3].iter().for_each(|by| file.sign(&operator(*by)));
    network.directory.begin_term(&file).expect("the state that it names");
    network.members = 3;
    let third = next(&mut network);
    network.directory.successions().cloned().for_each(|succession| keeper.keep_succession(succession));

    let later = ClientRefusal::LaterMembers { known: 1, needed: 7 };
    assert_eq!(client.handle_full(now_ms(&network), &third), Err(later));
    assert_eq!(client.poll_request(), Request::Successions { after: 1 });
    let answer = keeper.answer(&client.poll_request()).encode();
    assert_eq!(client.handle_answer(now_ms(&network), &answer), Ok(Taken::Members(2)));
    assert_eq!(client.electorate(), Some(&electorate(7, 3, 0)));
    let earlier = ClientRefusal::EarlierMembers { known: 7, found: 2 };
    assert_eq!(client.handle_full(now_ms(&network), &second), Err(earlier));
    let name = network.directory.published_name();
    assert_eq!(client.handle_full(now_ms(&network), &third), Ok(Taken::Edition(name)));
    assert_eq!(keeper.answer(&Request::Successions { after: 7 }), Answer::Successions(Vec::new()));
    // The same over a start.
    let again = DirectoryClient::restore(id, &client.save()).expect("its own file");
    assert_eq!(again.electorate(), client.electorate());
}

/// Offline for a month, in which the members changed more often than one answer tells.
#[test]
fn a_client_that_was_offline_for_a_month_follows_forty_changes_of_members() {
    const CHANGES: u64 = 40;
    let mut network = network();
    let id = network.charter.network_id();
    let mut client = client(&network);
    client.handle_full(now_ms(&network), &published(&network).encode()).expect("a good edition");
    for change in 1..=CHANGES {
        let (old, new) = if change % 2 == 1 { (4, 5) } else { (5, 4) };
        let mut order =
            SignedOrder::new(network.directory.next_order(), Order::Members(electorate(1 + change, new, 1)));
        [1, 3].iter().for_each(|by| order.sign(id, &operator(*by)));
        (1..=network.directory.electorate().quorum() as u32).for_each(|by| order.consent(id, &member(by)));
        network.apply(&Command::Govern(Box::new(order)));
        assert_eq!((network.directory.electorate().term(), network.members), (1 + change, old));
        network.members = new;
        network.time(START_MS + change * 1_080 * INTERVAL_MS);
        network.publish();
    }
    let mut keeper = Keeper::default();
    keeper.keep(published(&network));
    network.directory.successions().cloned().for_each(|succession| keeper.keep_succession(succession));
    assert!(client.document(now_ms(&network)).is_none(), "what it had has long ended");
    let mut asked = Vec::new();
    while client.document(now_ms(&network)).is_none() {
        asked.push(client.poll_request());
        // That the members are others is told by the first edition that comes.
        let _ = client.handle_answer(now_ms(&network), &keeper.answer(&client.poll_request()).encode());
        assert!(asked.len() <= 5, "{asked:?}");
    }
    assert_eq!((client.index(), client.electorate().map(|members| members.term())), (43_200, Some(1 + CHANGES)));
    assert!(asked.contains(&Request::Successions { after: 33 }) && client.evidence().is_empty(), "{asked:?}");
}

#[test]
fn members_do_not_follow_without_those_who_must_agree() {
    let network = network();
    let id = network.charter.network_id();
    let mut client = client(&network);
    let order = |operators: &[u32], members: &[u32], term| {
        let mut order = SignedOrder::new(4, Order::Members(electorate(term, 7, 2)));
        operators.iter().for_each(|by| order.sign(id, &operator(*by)));
        members.iter().for_each(|by| order.consent(id, &member(*by)));
        vec![Succession::Order(Box::new(order))]
    };
    let term = |operators: &[u32], term| {
        let mut file = TermFile::new(id, [0; 32], electorate(term, 7, 2));
        operators.iter().for_each(|by| file.sign(&operator(*by)));
        vec![Succession::Term(Box::new(file))]
    };
    let good = order(&[1, 2], &[1, 2, 3], 2);
    assert_eq!(client.handle_successions(&good), Err(ClientRefusal::NoCharter));
    client.handle_full(now_ms(&network), &published(&network).encode()).expect("a good edition");
    let bad = [
        order(&[1], &[1, 2, 3], 2),
        order(&[1, 2], &[1, 2], 2),
        order(&[1, 2], &[1, 2, 7], 2),
        order(&[1, 2], &[1, 2, 3], 3),
        order(&[1, 2], &[1, 2, 3], 1),
        term(&[3], 5),
        term(&[1, 9], 5),
        term(&[1, 2], 1),
    ];
    for (place, bad) in bad.iter().enumerate() {
        let refused = client.handle_successions(bad);
        assert!(matches!(refused, Err(ClientRefusal::Succession(_))), "case {place}: {refused:?}");
    }
    assert_eq!(client.electorate().map(|known| known.term()), Some(1));
    assert_eq!(client.handle_successions(&good), Ok(Taken::Members(1)));
}

#[test]
fn an_old_descriptor_in_an_edition_is_still_signed_by_its_relay() {
    let mut network = network();
    network.describe(announcement(1, 0, network.directory.time_ms() + 3), 1);
    let bytes = next(&mut network);
    let edition = SignedEdition::decode(&bytes).expect("an edition");
    let id = network.charter.network_id();
    assert!(edition.edition().relays().iter().all(|relay| relay.is_for(id)));
    assert!(edition.edition().relays().iter().all(|relay| !relay.is_for(NetworkId([2; 32]))));
}
