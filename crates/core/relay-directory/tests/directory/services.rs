//! Records of services: owners, members, quotas.

use crate::network::{Network, member};
use network_document::encoding::WriteBytes;
use relay_directory::{
    Command, Event, KEPT_RECORDS_MAX, NEW_BYTES_MAX, NEW_RECORDS_MAX, RECORDS_MAX, REVISIONS_MAX, Refusal,
    SERVICE_BYTES_MAX, SPONSOR_BYTES_MAX, ServiceRecord,
};

fn key_of(command: &Command) -> [u8; 32] {
    match command {
        Command::PublishService(service) => service.record.key,
        _ => [0; 32],
    }
}

fn refused(refusal: Refusal) -> Vec<Event> {
    vec![Event::Refused(refusal)]
}

#[test]
fn a_record_is_its_owners_and_ends() {
    let mut network = Network::new(4, 1);
    network.turn();
    let first = network.service(1, 1, 5, b"sealed".to_vec());
    let key = key_of(&first);
    assert_eq!(network.apply(&first), [Event::Stored(key)]);
    assert_eq!(network.directory.service(&key).map(|record| record.content.as_slice()), Some(&b"sealed"[..]));
    for revision in [4, 5] {
        let old = network.service(1, 2, revision, b"old".to_vec());
        assert_eq!(network.apply(&old), refused(Refusal::Old));
    }
    let newer = network.service(1, 2, 6, b"newer".to_vec());
    assert_eq!(network.apply(&newer), [Event::Stored(key)]);
    let mut bytes = newer.encode();
    for place in [1, 40, 66, 80, 90, 150] {
        bytes[place] ^= 1;
        assert!(matches!(network.directory.apply(&bytes)[..], [Event::Refused(_)]), "byte {place}");
        bytes[place] ^= 1;
    }
    let stranger = network.service(2, 9, 1, Vec::new());
    assert_eq!(network.apply(&stranger), refused(Refusal::NotMember));
    for _ in 0..4 {
        assert!(!network.turn().iter().any(|event| matches!(event, Event::ExpiredServices(_))));
    }
    assert!(network.turn().contains(&Event::ExpiredServices(1)));
    assert!(network.directory.service(&key).is_none());
}

#[test]
fn revisions_are_counted_by_interval_and_bytes_by_member() {
    let mut network = Network::new(4, 1);
    for revision in 1..=u64::from(REVISIONS_MAX) {
        network.apply(&network.service(1, 1, revision, Vec::new()));
    }
    let more = network.service(1, 1, 100, Vec::new());
    assert_eq!(network.apply(&more), refused(Refusal::Quota));
    network.turn();
    assert_eq!(network.apply(&more), [Event::Stored(key_of(&more))]);

    let room = SPONSOR_BYTES_MAX / (SERVICE_BYTES_MAX + 256);
    for owner in 0..room as u32 {
        let command = network.service(100 + owner, 2, 1, vec![1; SERVICE_BYTES_MAX]);
        assert_eq!(network.apply(&command), [Event::Stored(key_of(&command))], "owner {owner}");
    }
    let full = network.service(99_999, 2, 1, vec![1; SERVICE_BYTES_MAX]);
    assert_eq!(network.apply(&full), refused(Refusal::SponsorQuota));
    // What a member has let in stands in nobody else's account, and moves when another lets in the next revision.
    let elsewhere = network.service(99_999, 3, 1, vec![1; SERVICE_BYTES_MAX]);
    assert_eq!(network.apply(&elsewhere), [Event::Stored(key_of(&elsewhere))]);
    let moved = network.service(100, 3, 2, vec![1; SERVICE_BYTES_MAX]);
    assert_eq!(network.apply(&moved), [Event::Stored(key_of(&moved))]);
    assert_eq!(network.apply(&network.service(100_000, 2, 1, vec![1; SERVICE_BYTES_MAX])).len(), 1);
    assert!(network.directory.encode().len() < SPONSOR_BYTES_MAX + (1 << 20));
}

#[test]
fn a_member_lets_in_a_bounded_number_an_interval() {
    let mut network = Network::new(4, 1);
    // Signatures are most of the time of this test, so each key comes once and the rest is counted by the quota.
    for owner in 0..RECORDS_MAX {
        network.apply(&network.service(owner, 1, 1, Vec::new()));
    }
    let more = network.service(RECORDS_MAX, 1, 1, Vec::new());
    assert_eq!(network.apply(&more), refused(Refusal::SponsorQuota));
    assert_eq!(network.apply(&network.service(RECORDS_MAX, 2, 1, Vec::new())).len(), 1);
    network.turn();
    assert_eq!(network.apply(&more), refused(Refusal::Old), "another member let it in");
}

fn record_of(command: Command) -> ServiceRecord {
    match command {
        Command::PublishService(service) => service.record,
        _ => panic!("another command"),
    }
}

#[test]
fn a_member_keeps_room_for_services_that_are_there() {
    let mut network = Network::new(4, 1);
    let (sponsor, other) = (member(2).node_id(), member(3).node_id());
    let big = |network: &Network, owner, revision| network.service(owner, 2, revision, vec![1; SERVICE_BYTES_MAX]);
    let mut let_in = 0;
    loop {
        let command = big(&network, 100 + let_in, 1);
        let Err(refusal) = network.directory.judge_record(&record_of(command.clone()), &sponsor) else {
            assert_eq!(network.apply(&command), [Event::Stored(key_of(&command))]);
            let_in += 1;
            continue;
        };
        assert_eq!(refusal, Refusal::SponsorQuota);
        break;
    }
    assert_eq!(let_in as usize, NEW_BYTES_MAX / (SERVICE_BYTES_MAX + 256));
    let standing = network.directory.services_standing(&sponsor);
    assert_eq!((standing.records_64ths, standing.bytes_64ths), (6, 48));
    assert_eq!(network.directory.services_standing(&other).bytes_64ths, 0);
    // Who is there may speak again, and others find a member with room.
    let again = record_of(big(&network, 100, 2));
    assert_eq!(network.directory.judge_record(&again, &sponsor), Ok(()));
    let stranger = record_of(big(&network, 99, 1));
    assert_eq!(network.directory.judge_record(&stranger, &sponsor), Err(Refusal::SponsorQuota));
    assert_eq!(network.directory.judge_record(&stranger, &other), Ok(()));
    assert_eq!(network.directory.judge_record(&stranger, &member(9).node_id()), Err(Refusal::NotMember));
}

/// Lets a record in at member 2, as far as that would.
fn brought(network: &mut Network, owner: u32, revision: u64, bytes: usize) -> Result<(), Refusal> {
    let command = network.service(owner, 2, revision, vec![1; bytes]);
    let judged = network.directory.judge_record(&record_of(command.clone()), &member(2).node_id());
    if judged.is_ok() {
        assert_eq!(network.apply(&command), [Event::Stored(key_of(&command))], "what a member lets in the log takes");
    }
    judged
}

/// Keys that were collected, each let in once and half of them elsewhere, are said again as often as they may be.
#[test]
fn a_flood_of_collected_keys_stops_no_service_that_is_there() {
    const COLLECTED: u32 = 1_100;
    let mut network = Network::new(4, 1);
    let services = 0..4;
    for owner in services.clone() {
        assert_eq!(brought(&mut network, owner, 1, 2_681), Ok(()));
    }
    for owner in 100..100 + COLLECTED {
        let command = network.service(owner, 2 + owner % 2, 1, Vec::new());
        network.apply(&command);
    }
    network.turn();
    let mut let_in = 0;
    for revision in 2..=1 + u64::from(REVISIONS_MAX) {
        for owner in 100..100 + COLLECTED {
            match brought(&mut network, owner, revision, 0) {
                Ok(()) => let_in += 1,
                Err(refusal) => assert_eq!(refusal, Refusal::SponsorQuota),
            }
        }
    }
    assert_eq!(let_in, NEW_RECORDS_MAX);
    for owner in services {
        assert_eq!(brought(&mut network, owner, 2, 2_681), Ok(()), "service {owner} renews");
        // That was its renewal of this interval, and a longer record is another matter.
        assert_eq!(brought(&mut network, owner, 3, 2_681), Err(Refusal::SponsorQuota));
    }
    network.turn();
    assert_eq!(brought(&mut network, 0, 3, 2_682), Ok(()), "another interval has room again");
}

#[test]
fn a_member_keeps_no_more_services_than_it_can_renew() {
    let mut network = Network::new(4, 1);
    let kept = (0..).take_while(|owner| brought(&mut network, *owner, 1, 0).is_ok()).count();
    assert_eq!(kept as u32, KEPT_RECORDS_MAX);
    let standing = network.directory.services_standing(&member(2).node_id());
    assert_eq!((standing.kept_64ths, standing.bytes_64ths), (64, 4), "its bytes would have room for more");
    // Nor does it take over what another member keeps. What ends makes room, also after the state was read again.
    network.apply(&network.service(5_000, 3, 1, Vec::new()));
    assert_eq!(brought(&mut network, 5_000, 2, 0), Err(Refusal::SponsorQuota));
    let read = network.directory.encode();
    network.directory = relay_directory::Directory::decode(network.charter.clone(), &read).expect("its own bytes");
    assert_eq!(brought(&mut network, 5_000, 2, 0), Err(Refusal::SponsorQuota));
    (0..5).for_each(|_| drop(network.turn()));
    assert_eq!(brought(&mut network, 5_000, 2, 0), Ok(()));
}

#[test]
fn too_long_a_record_is_no_command() {
    let mut network = Network::new(4, 1);
    let good = network.service(1, 1, 1, vec![0; SERVICE_BYTES_MAX]).encode();
    assert!(matches!(network.directory.apply(&good)[..], [Event::Stored(_)]));
    let mut long = good[..1 + 32 + 32 + 8 + 8].to_vec();
    long.bytes(&vec![0; SERVICE_BYTES_MAX + 1]);
    long.raw(&good[good.len() - 128..]);
    assert_eq!(network.directory.apply(&long), refused(Refusal::Malformed));
}
