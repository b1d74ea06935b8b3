//! Announcements in both forms, editions and their differences, and files of terms.

use identity::{DoorKey, LinkSecret, NodeSecret, OnionSecret, OperatorSecret};
use network_document::{
    ANNOUNCEMENT_BYTES_MAX, Announcement, Charter, Descriptor, Draft, Edition, EditionDiff, EditionHead, EditionName,
    Electorate, EncodingError, Founding, Label, NetworkDocument, NetworkId, Parameters, Problem, Roles,
    SignedAnnouncement, SignedEdition, TermFile, UnsignedError,
};
use onion::Interval;
use port_hopping::ports::{PortRange, PortSet};
use proptest::prelude::*;
use shaping::RateClass;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

const START_MS: u64 = 1_800_000_000_000;
/// Edition 30 has the onion keys of key interval 5.
const INDEX: u64 = 30;

fn operator(seed: u8) -> OperatorSecret {
    OperatorSecret::from_seed([seed; 32])
}

fn node(seed: u8) -> NodeSecret {
    NodeSecret::from_seed([seed; 32])
}

fn electorate(term: u64) -> Electorate {
    let members = (201..=204).map(|seed| node(seed).node_id()).collect();
    Electorate::new(term, members, 1).expect("four members")
}

fn plain_charter() -> Charter {
    let keys = (1..=2).map(|seed| operator(seed).operator_key()).collect();
    Charter::new(Label::new("example", "name").expect("a label"), Default::default(), keys, 2).expect("a charter")
}

fn charter() -> Arc<Charter> {
    let founding = Founding { key_intervals: 6, valid_intervals: 7, ..Founding::new(START_MS, electorate(1)) };
    Arc::new(plain_charter().with_directory(founding).expect("a founding"))
}

fn announcement(seed: u8) -> Announcement {
    let onion = |interval: u64| (Interval(interval), OnionSecret::from_bytes([seed ^ interval as u8; 32]).onion_key());
    Announcement {
        descriptor: Descriptor {
            node_id: node(seed).node_id(),
            link_key: LinkSecret::from_bytes([seed; 32]).link_key(),
            door_key: DoorKey::from_bytes([seed; 32]),
            onion_keys: vec![onion(5), (Interval(6), OnionSecret::from_bytes([seed + 100; 32]).onion_key())],
            addresses: vec![SocketAddr::from(([192, 0, 2, seed], 4433))],
            hop_ports: "40000-49999".parse().ok(),
            roles: Roles { guard: true, middle: false, exit: false, directory: false },
            operator: Label::new("alice", "operator").expect("a label"),
            bandwidth: RateClass::new(seed % 53).expect("a class"),
        },
        next_link_key: None,
        next_door_key: None,
        exit_ports: None,
        published_ms: START_MS + 1,
        expires_ms: START_MS + 2,
    }
}

fn signed(announcement: Announcement, seed: u8) -> Arc<SignedAnnouncement> {
    Arc::new(announcement.sign(charter().network_id(), &node(seed)).expect("a good announcement"))
}

fn head(index: u64) -> EditionHead {
    let previous = EditionName { index: 0, hash: charter().network_id().0 };
    EditionHead::new(charter(), index, previous, electorate(1), Parameters::default()).expect("a head")
}

fn edition(relays: &[u8]) -> SignedEdition {
    let relays = relays.iter().map(|seed| signed(announcement(*seed), *seed)).collect();
    SignedEdition::new(Arc::new(Edition::new(head(INDEX), relays).expect("an edition")))
}

#[test]
fn a_charter_with_a_directory_is_another_network() {
    let (with, without) = (charter(), plain_charter());
    assert_ne!(with.network_id(), without.network_id());
    assert_eq!(Charter::parse(with.text().as_bytes()).as_ref(), Ok(&*with));
    assert_eq!(Charter::parse(without.text().as_bytes()), Ok(without.clone()));
    let founding = with.founding().expect("it has one");
    assert_eq!((founding.index_at(0), founding.index_at(START_MS + 600_000)), (0, 1));
    assert_eq!((founding.begin_ms(2), founding.key_interval(INDEX)), (START_MS + 1_200_000, Interval(5)));
    assert_eq!(founding.begin_ms(u64::MAX), u64::MAX, "no index makes a time overflow");
    for (old, new) in [
        ("interval-ms 600000", "interval-ms 999"),
        ("key-intervals 6", "key-intervals 0"),
        ("valid-intervals 7", "valid-intervals 1"),
        ("valid-intervals 7", "valid-intervals 8"),
        ("liars 1", "liars 2"),
        ("term 1", "term 01"),
        ("legs 2", "legs 0"),
        ("hushwire-network 2", "hushwire-network 1"),
    ] {
        let text = with.text().replace(old, new);
        assert!(text != with.text() && Charter::parse(text.as_bytes()).is_err(), "{new}");
    }
    // Operators sign no documents of such a network, and members none of another.
    assert_eq!(Draft::new((*with).clone(), Interval(1), Vec::new()), Err(Problem::OtherKind));
    let text = format!("{}interval 1\n", with.text());
    assert_eq!(NetworkDocument::parse(text.as_bytes()).expect_err("a directory").problem, Problem::OtherKind);
    let previous = EditionName { index: 0, hash: without.network_id().0 };
    let other = EditionHead::new(Arc::new(without), 1, previous, electorate(1), Parameters::default());
    assert_eq!(other, Err(Problem::OtherKind));
}

#[test]
fn one_signature_is_good_for_both_forms() {
    let id = charter().network_id();
    let said = signed(announcement(1), 1);
    let of_text = SignedAnnouncement::parse(said.text().as_bytes(), id).expect("its own text");
    let of_bytes = SignedAnnouncement::decode(&said.encode()).expect("its own bytes");
    assert_eq!((&of_text, &of_bytes), (&*said, &*said));
    assert!(of_bytes.is_for(id) && !of_bytes.is_for(NetworkId([0; 32])));
    assert!(SignedAnnouncement::parse(said.text().as_bytes(), NetworkId([0; 32])).is_err());
    assert!(said.encode().len() < 290, "{} bytes", said.encode().len());
    let bytes = said.encode();
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 1;
        let still = SignedAnnouncement::decode(&bad).is_ok_and(|bad| bad.is_for(id));
        assert!(!still, "byte {place}");
        assert!(SignedAnnouncement::decode(&bytes[..place]).is_err());
    }
    // A descriptor of a network without a directory is none of one with it.
    let plain = announcement(1).descriptor.sign(id, &node(1)).expect("a good descriptor");
    let signature = plain.text().lines().last().map(str::to_owned).expect("a line");
    let text = said.text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.pop();
    lines.push(&signature);
    let text = format!("{}\n", lines.join("\n"));
    assert_eq!(
        SignedAnnouncement::parse(text.as_bytes(), id).expect_err("a stolen one").problem,
        Problem::NodeSignature
    );
}

#[test]
fn announcements_are_bounded_and_sensible() {
    let refused = |change: &dyn Fn(&mut Announcement)| {
        let mut bad = announcement(1);
        change(&mut bad);
        bad.sign(charter().network_id(), &node(1)).expect_err("a mistake")
    };
    assert!(matches!(refused(&|bad| bad.exit_ports = "80".parse().ok()), Problem::Value { keyword: "exit-ports", .. }));
    let exit = |bad: &mut Announcement| bad.descriptor.roles.exit = true;
    assert!(matches!(refused(&exit), Problem::Value { keyword: "exit-ports", .. }));
    assert!(matches!(refused(&|bad| bad.expires_ms = bad.published_ms), Problem::Value { keyword: "expires-ms", .. }));
    let same = |bad: &mut Announcement| bad.next_link_key = Some(bad.descriptor.link_key);
    assert_eq!(refused(&same), Problem::Shared { keyword: "next-link-key" });
    let ports =
        |count: u16| PortSet::from_ranges((0..count).filter_map(|at| PortRange::new(100 + 2 * at, 100 + 2 * at)));
    let ranges = |bad: &mut Announcement| {
        bad.descriptor.roles.exit = true;
        bad.exit_ports = ports(25);
    };
    assert_eq!(refused(&ranges), Problem::TooMany { keyword: "exit-ports", max: 24 });
    let bulky = |bad: &mut Announcement| {
        bad.descriptor.addresses =
            (1..=8).map(|at| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, at), 1))).collect();
    };
    assert_eq!(refused(&bulky), Problem::Bulky);
    assert_eq!(announcement(1).sign(charter().network_id(), &node(2)), Err(Problem::OtherNode));
    assert_eq!(format!("{:?}", announcement(1)), "Announcement(..)");
    // What is bulky is refused as text too, although the text is not.
    let mut said = announcement(1);
    said.descriptor.hop_ports = ports(20);
    let good = signed(said.clone(), 1).text();
    assert!(good.contains("hop-ports 100,102"));
    let bad = good.replace("hop-ports 100,", "hop-ports 40,42,44,46,48,50,52,54,56,58,60,62,100,");
    let error = SignedAnnouncement::parse(bad.as_bytes(), charter().network_id()).expect_err("more than may be");
    assert_eq!(error.problem, Problem::Bulky);
    assert_eq!(SignedAnnouncement::decode(&[0; ANNOUNCEMENT_BYTES_MAX + 1]), Err(EncodingError::Value(Problem::Bulky)));
    // Ports that could be written in another way.
    let bytes = signed(announcement(1), 1).encode();
    let place = bytes.windows(5).position(|five| five == [1, 0x9c, 0x40, 0xc3, 0x4f]).expect("40000-49999");
    let mut touching = bytes.clone();
    touching.splice(place..place + 5, [2, 0x9c, 0x40, 0xc3, 0x4e, 0xc3, 0x4f, 0xc3, 0x4f]);
    assert!(matches!(SignedAnnouncement::decode(&touching), Err(EncodingError::Bytes(_))));
}

#[test]
fn editions_survive_a_round_trip_and_have_one_hash() {
    let mut edition = edition(&[3, 1, 2]);
    for seed in [202, 204, 201] {
        edition.sign(&node(seed)).expect("a member");
    }
    assert_eq!(edition.sign(&node(1)), Err(Problem::UnknownMember));
    let bytes = edition.encode();
    let again = SignedEdition::decode(&bytes).expect("its own bytes");
    assert_eq!((again.encode(), again.edition().hash()), (bytes.clone(), edition.edition().hash()));
    let document = again.clone().verify(&electorate(1)).expect("three of four signed");
    assert_eq!((document.interval(), document.relays().len()), (Interval(5), 3));
    assert_eq!(document.hash(), edition.edition().hash());
    let ids: Vec<_> = document.relays().map(|relay| relay.node_id).collect();
    assert!(ids.is_sorted());
    assert!(document.as_draft().is_none() && document.as_edition() == Some(&edition));
    assert!(NetworkDocument::parse(document.text().as_bytes()).is_err(), "its text is for people");
    let later = again.clone().verify(&electorate(2)).err();
    assert_eq!(later, Some(UnsignedError::OtherElectorate { found: 1, needed: 2 }));
    assert!(!document.supersedes(&document));
    for place in (0..bytes.len()).step_by(3) {
        let mut bad = bytes.clone();
        bad[place] ^= 1;
        let taken = SignedEdition::decode(&bad).ok().and_then(|bad| bad.verify(&electorate(1)).ok());
        assert!(taken.is_none(), "byte {place}");
        assert!(SignedEdition::decode(&bytes[..place]).is_err(), "cut at {place}");
    }
    assert!(SignedEdition::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn relays_of_an_edition_share_nothing_and_have_a_key_of_it() {
    let made = |change: fn(&mut Announcement)| {
        let mut second = announcement(2);
        change(&mut second);
        let relays = vec![signed(announcement(1), 1), signed(second, 2)];
        Edition::new(head(INDEX), relays).err()
    };
    assert_eq!(made(|_| {}), None);
    let shared = |keyword| Some(Problem::Shared { keyword });
    assert_eq!(made(|second| second.descriptor.link_key = announcement(1).descriptor.link_key), shared("link-key"));
    let next = made(|second| second.next_link_key = Some(announcement(1).descriptor.link_key));
    // Whichever of the two stands first by its name.
    assert!(next == shared("next-link-key") || next == shared("link-key"), "{next:?}");
    let address = made(|second| second.descriptor.addresses = announcement(1).descriptor.addresses);
    assert_eq!(address, shared("address"));
    assert_eq!(made(|second| second.descriptor.onion_keys[0].0 = Interval(4)), Some(Problem::NoOnionKey));
    let first = head(INDEX).founding().start_ms;
    let edition = edition(&[1]);
    assert_eq!(edition.edition().valid_after_ms(), first + INDEX * 600_000);
    let before = |index, hash| {
        let previous = EditionName { index, hash };
        EditionHead::new(charter(), 3, previous, electorate(1), Parameters::default()).err()
    };
    assert!(before(3, [0; 32]).is_some() && before(0, [0; 32]).is_some() && before(2, [0; 32]).is_none());
}

#[test]
fn differences_lead_from_one_edition_to_another() {
    let old = edition(&[1, 2, 3, 4]);
    let mut changed = announcement(3);
    changed.published_ms += 1;
    changed.expires_ms += 1;
    let relays = vec![signed(announcement(1), 1), signed(changed, 3), signed(announcement(9), 9)];
    let mut new = SignedEdition::new(Arc::new(Edition::new(head(INDEX + 1), relays).expect("an edition")));
    for seed in 201..=203 {
        new.sign(&node(seed)).expect("a member");
    }
    let bytes = EditionDiff::between(old.edition(), &new).encode();
    let diff = EditionDiff::decode(&bytes).expect("its own bytes");
    assert_eq!((diff.encode(), diff.base()), (bytes.clone(), old.edition().hash()));
    assert_eq!(diff.clone().apply(old.edition()).as_ref(), Ok(&new));
    assert_eq!(diff.clone().apply(edition(&[1, 2]).edition()), Err(Problem::OtherDocument));
    assert!(bytes.len() < new.encode().len());
    for place in (0..bytes.len()).step_by(3) {
        let mut bad = bytes.clone();
        bad[place] ^= 1;
        let made = EditionDiff::decode(&bad).ok().and_then(|bad| bad.apply(old.edition()).ok());
        assert!(made.is_none_or(|made| made.verify(&electorate(1)).is_err()), "byte {place}");
        assert!(EditionDiff::decode(&bytes[..place]).is_err(), "cut at {place}");
    }
    // Nothing changed but the index.
    let same = SignedEdition::new(Arc::new(
        Edition::new(head(INDEX + 1), old.edition().relays().to_vec()).expect("an edition"),
    ));
    let diff = EditionDiff::between(old.edition(), &same);
    assert_eq!(diff.apply(old.edition()), Ok(same));
}

#[test]
fn term_files_are_read_as_they_are_written() {
    let mut file = TermFile::new(charter().network_id(), [7; 32], electorate(9));
    assert_eq!(file.verify(&charter()), Err(Problem::TooFewSignatures { found: 0, needed: 2 }));
    file.sign(&operator(2));
    file.sign(&operator(1));
    let text = file.text();
    let again = TermFile::parse(text.as_bytes()).expect("its own text");
    assert_eq!((&again, again.verify(&charter())), (&file, Ok(())));
    assert_eq!((again.checkpoint(), again.electorate()), ([7; 32], &electorate(9)));
    for place in 0..text.len() {
        let mut bad = text.clone().into_bytes();
        bad[place] ^= 1;
        assert!(TermFile::parse(&bad).map_or(true, |bad| bad.verify(&charter()).is_err()), "byte {place}");
    }
    assert!(TermFile::parse(format!("{text}x\n").as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any announcement is read as it was written, in both forms.
    #[test]
    fn announcements_survive_both_forms(
        (seed, flags) in (1_u8..100, any::<[bool; 8]>()),
        addresses in prop::collection::vec((any::<[u8; 4]>(), 1_u16..), 1..4),
        ports in prop::collection::vec((1_u16..60_000, 0_u16..5_000), 1..6),
        (published_ms, lasts_ms) in (any::<u32>(), 1_u64..1_000),
    ) {
        let mut said = announcement(seed);
        said.descriptor.roles = Roles { guard: flags[0], middle: !flags[0] || flags[1], exit: flags[2], directory: flags[7] };
        if flags[3] {
            said.descriptor.onion_keys.pop();
        }
        let ranges = || ports.iter().filter_map(|(first, more)| PortRange::new(*first, first + more));
        said.descriptor.hop_ports = if flags[4] { PortSet::from_ranges(ranges()) } else { None };
        said.exit_ports = if flags[2] { PortSet::from_ranges(ranges().take(2)) } else { None };
        said.next_link_key = flags[5].then(|| LinkSecret::from_bytes([seed + 1; 32]).link_key());
        said.next_door_key = (flags[6] && !flags[5]).then(|| DoorKey::from_bytes([seed + 2; 32]));
        let usable = |ip: &std::net::Ipv4Addr| !ip.is_multicast() && !ip.is_unspecified();
        let more = addresses.iter().map(|(ip, port)| (std::net::Ipv4Addr::from(*ip), *port));
        for (ip, port) in more.filter(|(ip, _)| usable(ip)) {
            let address = SocketAddr::from((ip, port));
            if !said.descriptor.addresses.contains(&address) {
                said.descriptor.addresses.push(address);
            }
        }
        (said.published_ms, said.expires_ms) = (u64::from(published_ms), u64::from(published_ms) + lasts_ms);
        let id = charter().network_id();
        let signed = said.sign(id, &node(seed)).expect("a good announcement");
        prop_assert_eq!(&SignedAnnouncement::parse(signed.text().as_bytes(), id), &Ok(signed.clone()));
        prop_assert_eq!(SignedAnnouncement::decode(&signed.encode()), Ok(signed));
    }
}

/// A file says by its first bytes what it is, and only what counts is a document.
#[test]
fn a_file_holds_either_form() {
    use network_document::{DOCUMENT_BYTES_MAX, LoadError};
    let mut signed = edition(&[1, 2]);
    for member in 201..=203 {
        signed.sign(&node(member)).expect("a member");
    }
    let document = NetworkDocument::load(&signed.encode()).expect("three of four signed");
    assert_eq!((document.network_id(), document.relays().len()), (charter().network_id(), 2));
    assert_eq!(document.encode(), signed.encode());
    let mut few = edition(&[1, 2]);
    few.sign(&node(201)).expect("a member");
    let refused = NetworkDocument::load(&few.encode()).expect_err("one of four");
    assert_eq!(refused, LoadError::Unsigned(UnsignedError::TooFew { found: 1, needed: 3 }));
    let bytes = signed.encode();
    assert!(matches!(NetworkDocument::load(&bytes[..bytes.len() - 1]), Err(LoadError::Edition(_))));
    let long = [&bytes[..], &vec![0; DOCUMENT_BYTES_MAX]].concat();
    assert!(matches!(NetworkDocument::load(&long), Err(LoadError::Edition(_))));
    assert!(matches!(NetworkDocument::load(b"HWEDTN02"), Err(LoadError::Text(_))));

    // The other form.
    let id = plain_charter().network_id();
    let relay = announcement(1).descriptor.sign(id, &node(1)).expect("a good descriptor");
    let mut draft = Draft::new(plain_charter(), Interval(5), vec![relay]).expect("a draft");
    [1, 2].iter().for_each(|seed| draft.sign(&operator(*seed)).expect("an operator"));
    let document = NetworkDocument::load(draft.text().as_bytes()).expect("two of two signed");
    assert_eq!(document.encode(), draft.text().as_bytes());
}

/// Whoever writes a file may name later members; the first ones are the charter's.
#[test]
fn the_first_members_of_a_file_are_those_of_the_charter() {
    let others = |term| Electorate::new(term, (211..=214).map(|seed| node(seed).node_id()).collect(), 1);
    let made = |term| {
        let previous = EditionName { index: 0, hash: charter().network_id().0 };
        let electorate = others(term).expect("four members");
        let head = EditionHead::new(charter(), INDEX, previous, electorate, Parameters::default()).expect("a head");
        let mut signed = SignedEdition::new(Arc::new(Edition::new(head, Vec::new()).expect("an edition")));
        (211..=214).for_each(|seed| signed.sign(&node(seed)).expect("a member"));
        NetworkDocument::load(&signed.encode())
    };
    assert!(made(1).is_err() && made(0).is_err(), "they are not the members of term 1, and there is none before");
    assert!(made(2).is_ok());
}
