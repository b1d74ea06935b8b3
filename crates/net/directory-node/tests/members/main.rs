//! Real members on loopback, in one process: with certificates, connections, logs, promises and sockets.

mod faults;
mod floods;
mod harness;
mod large;

use directory_node::{RECORD_EVERY, RECORDS_AT_ONCE_MAX, ServiceClient};
use floods::codes_at_once;
use harness::{Cluster, INTERVAL_MS, PATIENCE, announcement, now_ms, relay};
use identity::NodeSecret;
use network_document::{Announcement, EditionName};
use relay_directory::{
    Admission, CODE_TRY_AGAIN, ClientRefusal, Command, Directory, DirectoryClient, Order, Promise, Refusal, Request,
    SPONSORED_LIFE_MAX_MS, ServiceAnswer, ServiceRecord, ServiceRequest, SignedOrder, Taken,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// An order of the network's one operator.
fn order(cluster: &Cluster, number: u64, order: Order) -> Vec<u8> {
    let mut signed = SignedOrder::new(number, order);
    signed.sign(cluster.charter.network_id(), &cluster.operator);
    Command::Govern(Box::new(signed)).encode()
}

fn admit(cluster: &Cluster, number: u64, of: u32) -> Vec<u8> {
    let said = announcement(of, now_ms());
    let admission = Admission {
        roles: said.descriptor.roles,
        bandwidth: said.descriptor.bandwidth,
        operator: said.descriptor.operator,
    };
    order(cluster, number, Order::Admit { node: relay(of).node_id(), admission })
}

fn describe(cluster: &Cluster, of: u32) -> Vec<u8> {
    say(cluster, of, announcement(of, now_ms()))
}

/// What a relay says, signed.
fn say(cluster: &Cluster, of: u32, said: Announcement) -> Vec<u8> {
    let said = said.sign(cluster.charter.network_id(), &relay(of));
    Command::Describe(std::sync::Arc::new(said.expect("a good announcement"))).encode()
}

#[tokio::test]
async fn members_publish_editions_of_the_relays_that_come_through_any_of_them() {
    let mut cluster = Cluster::new("publish", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2], 1).await;
    let early = cluster.submit(1, describe(&cluster, 1)).await;
    assert_eq!(early.code, Refusal::NotAdmitted.code());
    assert!(early.sentence.contains("invitation"));
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    // A member knows what another one ordered a moment later.
    let is_known = |cluster: &Cluster, node| {
        cluster.look(node, |directory: &Directory| directory.admission(&relay(1).node_id()).is_some())
    };
    cluster.until("the admission at the others", |cluster| [1, 2].iter().all(|node| is_known(cluster, *node))).await;
    let again = cluster.submit(2, admit(&cluster, 1, 1)).await;
    assert_eq!(again.code, Refusal::OrderNumber { expected: 2 }.code(), "every command may be said twice");
    cluster.ordered(1, describe(&cluster, 1)).await;
    let described = cluster.look(1, |directory| directory.standing());
    cluster.until_published(&[0, 1, 2], described.waiting + 1).await;

    // A client that knows the network id and nothing else.
    let mut client = DirectoryClient::new(cluster.charter.network_id());
    let ServiceAnswer::Fetch(answer) = cluster.ask(2, ServiceRequest::Fetch(client.poll_request())).await else {
        panic!("another answer")
    };
    assert!(matches!(client.handle_answer(now_ms(), &answer.encode()), Ok(Taken::Edition(_))));
    let document = client.document(now_ms()).expect("it is valid");
    assert!(document.relay(&relay(1).node_id()).is_some());
    let edition = client.newest().expect("an edition").as_edition().expect("of members").clone();
    assert!(edition.signatures().len() >= 2);

    let deadline = Instant::now() + PATIENCE;
    let members = loop {
        let ServiceAnswer::Members(members) = cluster.ask(0, ServiceRequest::Members).await else {
            panic!("another answer")
        };
        // Two of them are enough for an edition.
        if members.members.iter().all(|member| member.clock.is_some()) {
            break members;
        }
        assert!(Instant::now() < deadline, "all say the time: {members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((members.term, members.liars, members.next_order), (1, 0, 2));
    assert_eq!((members.admitted, members.described, members.members.len()), (1, 1, 3));
}

#[tokio::test]
async fn editions_go_on_while_the_leader_dies_and_comes_back() {
    let mut cluster = Cluster::new("leader", 3, 0);
    cluster.start_all().await;
    for _ in 0..2 {
        cluster.until_published(&[0, 1, 2], cluster.highest() + 1).await;
        let leader = cluster.leader().await;
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        cluster.stop(leader).await;
        cluster.until_published(&others, cluster.highest() + 2).await;
        cluster.start(leader, false).await;
        cluster.until_published(&[0, 1, 2], cluster.highest() + 2).await;
    }
}

#[tokio::test]
async fn n_minus_k_dead_members_stop_nothing_and_one_more_does_until_it_is_back() {
    let mut cluster = Cluster::new("dead", 4, 1);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2, 3], 1).await;
    cluster.stop(3).await;
    cluster.until_published(&[0, 1, 2], cluster.highest() + 2).await;
    cluster.stop(2).await;
    let stood = standstill(&cluster).await;
    let begun = Instant::now();
    let waiting = cluster.submit(0, admit(&cluster, 1, 1)).await;
    assert_eq!(waiting.code, CODE_TRY_AGAIN, "{waiting:?}");
    assert!(begun.elapsed() >= directory_node::ORDER_PATIENCE);
    // Two of four are no majority. What there is goes on being fetched.
    assert_eq!(cluster.highest(), stood);
    let ServiceAnswer::Fetch(answer) = cluster.ask(0, ServiceRequest::Fetch(Request::Full)).await else {
        panic!("another answer")
    };
    let mut client = DirectoryClient::new(cluster.charter.network_id());
    assert!(client.handle_answer(now_ms(), &answer.encode()).is_ok());
    cluster.start(2, false).await;
    cluster.until_published(&[0, 1, 2], stood + 2).await;
}

/// Waits until no edition is published any more: what was on its way comes a little later. The last one's index.
async fn standstill(cluster: &Cluster) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stood = cluster.highest();
        tokio::time::sleep(Duration::from_millis(2 * INTERVAL_MS)).await;
        if cluster.highest() == stood {
            return stood;
        }
        assert!(Instant::now() < deadline, "editions go on");
    }
}

#[tokio::test]
async fn a_member_that_starts_again_keeps_its_promise() {
    let mut cluster = Cluster::new("promise", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2], 1).await;
    cluster.stop(2).await;
    let (files, promise) = cluster.files(2).expect("its promise");
    assert!(promise.signed.is_some(), "it has signed");
    // It promised another edition of an index that is still to come.
    let (stopped, index) = (cluster.due(), cluster.due() + 6);
    let planted = Promise { signed: Some(EditionName { index, hash: [0xee; 32] }), ..promise };
    files.store_promise(&planted).expect("its folder");
    cluster.start(2, false).await;
    let mut known = index + 3;
    let deadline = Instant::now() + PATIENCE;
    loop {
        cluster.until_published(&[0, 1], known).await;
        let (signed, refused) = signed_and_not(&cluster, 2).await;
        let broken: Vec<&u64> = signed.iter().filter(|signed| (stopped + 1..=index).contains(*signed)).collect();
        assert!(broken.is_empty(), "it signed {broken:?}, and had promised another {index}");
        // An edition has the signatures of the two that were first.
        if signed.iter().any(|signed| *signed > index) {
            let refused = refused.iter().any(|refused| (stopped + 1..=index).contains(refused));
            assert!(refused, "there were editions that it could not sign");
            break;
        }
        assert!(Instant::now() < deadline, "it signs again behind its promise");
        known = cluster.highest() + 1;
    }
    std::fs::remove_file(cluster.folder.join("state-1").join("promise")).expect("it is there");
    assert!(cluster.files(1).is_err(), "without a promise it does not begin");
}

/// The editions that a member has signed, and those that it has not, from the newest that another one knows back to the oldest.
async fn signed_and_not(cluster: &Cluster, member: usize) -> (Vec<u64>, Vec<u64>) {
    let member = cluster.secrets[member].node_id();
    let (mut signed, mut not) = (Vec::new(), Vec::new());
    let mut next = cluster.look(0, |directory| directory.published_name());
    while let Some(edition) = cluster.fetch(0, next.hash).await {
        let has = edition.signatures().any(|(by, _)| by == member);
        let list = if has { &mut signed } else { &mut not };
        list.push(edition.edition().name().index);
        next = edition.edition().previous();
    }
    (signed, not)
}

#[tokio::test]
async fn a_term_outside_the_log_goes_on_with_fewer_members_and_clients_follow() {
    let mut cluster = Cluster::new("term", 3, 0);
    cluster.start_all().await;
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    cluster.until_published(&[0, 1, 2], cluster.highest() + 2).await;
    let mut client = DirectoryClient::new(cluster.charter.network_id());
    fetch(&cluster, 0, &mut client).await;
    // The log stands; what a member kept does not.
    for node in 0..3 {
        cluster.stop(node).await;
    }
    cluster.begin_term(2, &[1, 2], 9);
    for node in [1, 2] {
        cluster.start(node, true).await;
    }
    let newest = client.newest().and_then(|document| document.as_edition()).expect("an edition").edition().index();
    cluster.until_published(&[1, 2], newest + 1).await;
    assert_eq!(cluster.look(1, |directory| (directory.electorate().term(), directory.admissions())), (9, 1));
    fetch(&cluster, 1, &mut client).await;
    let edition = client.newest().and_then(|document| document.as_edition()).expect("an edition");
    assert!(edition.edition().index() > newest && edition.edition().electorate().term() == 9);
    assert!(client.evidence().is_empty(), "nobody signed two of one index");
}

/// Asks until the client has the newest edition.
async fn fetch(cluster: &Cluster, node: usize, client: &mut DirectoryClient) {
    for _ in 0..4 {
        let request = client.poll_request();
        let ServiceAnswer::Fetch(answer) = cluster.ask(node, ServiceRequest::Fetch(request)).await else {
            panic!("another answer")
        };
        match client.handle_answer(now_ms(), &answer.encode()) {
            Ok(Taken::Edition(_)) => return,
            other => assert!(matches!(other, Ok(_) | Err(ClientRefusal::LaterMembers { .. })), "{other:?}"),
        }
    }
    panic!("no edition in four answers");
}

#[tokio::test]
async fn whatever_comes_at_the_socket_others_are_served() {
    let mut cluster = Cluster::new("hostile", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0], 1).await;
    let socket = cluster.socket(0);
    let hostile = move || {
        let closed = |bytes: &[u8]| {
            let mut stream = UnixStream::connect(&socket).expect("it is served");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            // It may be closed before all is written.
            let _ = stream.write_all(bytes);
            assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "{bytes:?}: closed without an answer");
        };
        closed(&[0, 0, 0, 0]);
        closed(&[0xff; 64]);
        closed(&[0, 0, 0x40, 1]);
        closed(&[0, 0, 0, 1, 9]);
        closed(&[0, 0, 0, 2, 6, 6]);
        // Some that ask nothing, or half a thing.
        let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).expect("it is served")).collect();
        silent.iter().for_each(|mut stream| stream.write_all(&[0, 0]).expect("it is served"));
        // Garbage that is well-framed is answered, and too much of it is put off.
        let garbage = ServiceRequest::Submit(vec![1; 40]).encode();
        let codes = codes_at_once(&socket, &vec![garbage; 200]);
        assert_eq!(codes[0], Refusal::Malformed.code());
        assert!(codes.contains(&CODE_TRY_AGAIN));
        silent
    };
    let silent = tokio::task::spawn_blocking(hostile).await.expect("it went through");
    assert!(matches!(cluster.ask(0, ServiceRequest::Standing).await, ServiceAnswer::Standing(_)));
    drop(silent);
}

/// A service's record of a size that real ones have.
fn record(cluster: &Cluster, owner: u32, revision: u64) -> ServiceRecord {
    let mut seed = [0x33; 32];
    seed[..4].copy_from_slice(&owner.to_be_bytes());
    let secret = NodeSecret::from_seed(seed);
    let expires_ms = now_ms() + 300_000;
    let mut record =
        ServiceRecord { key: secret.node_id().0, revision, expires_ms, content: vec![7; 2_681], signature: [0; 64] };
    record.signature = secret.sign(&record.message(cluster.charter.network_id()));
    record
}

#[tokio::test]
async fn records_come_through_one_member_and_are_found_at_another() {
    let mut cluster = Cluster::new("records", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2], 1).await;
    let first = record(&cluster, 1, 5);
    let key = first.key;
    let ask = async |node| match cluster.ask(node, ServiceRequest::Record { key }).await {
        ServiceAnswer::Record(record) => record,
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(1).await, None);
    let put_off = cluster.said(0, ServiceRequest::Publish(first.clone())).await;
    let has = |cluster: &Cluster, node| cluster.look(node, |directory: &Directory| directory.service(&key).is_some());
    cluster.until("the others have it", |cluster| [1, 2].iter().all(|node| has(cluster, *node))).await;
    assert_eq!(ask(1).await, Some(first.clone()));
    assert_eq!(cluster.publish(2, first.clone()).await.code, Refusal::Old.code());
    cluster.said(2, ServiceRequest::Publish(record(&cluster, 1, 6))).await;
    // What a member does not sponsor does not come to the log.
    let altered = ServiceRecord { revision: 7, ..first.clone() };
    assert_eq!(cluster.publish(0, altered).await.code, Refusal::Signature.code());
    let mut late = ServiceRecord { revision: 8, expires_ms: now_ms() + SPONSORED_LIFE_MAX_MS + 600_000, ..first };
    let mut seed = [0x33; 32];
    seed[..4].copy_from_slice(&1u32.to_be_bytes());
    late.signature = NodeSecret::from_seed(seed).sign(&late.message(cluster.charter.network_id()));
    assert_eq!(cluster.publish(0, late).await.code, Refusal::Lasting.code(), "beyond six hours");
    let is_replaced = |cluster: &Cluster| {
        cluster.look(0, |directory| directory.service(&key).is_some_and(|record| record.revision == 6))
    };
    cluster.until("the first member has the other's", is_replaced).await;
    let ServiceAnswer::Services(standing) = cluster.ask(0, ServiceRequest::Services).await else { panic!("another") };
    assert_eq!((standing.refused, standing.put_off), (2 + put_off.old, put_off.late));
    assert_eq!(standing.bytes_64ths, 0, "its record was replaced by one that another member let in");
}

/// Ten thousand records on one stream, as fast as they go.
fn flood(socket: &std::path::Path, records: &[ServiceRecord], count: usize) -> Vec<u8> {
    let mut client = ServiceClient::connect(socket).expect("it is served");
    let mut codes = Vec::with_capacity(count);
    for number in 0..count {
        let request = ServiceRequest::Publish(records[number % records.len()].clone());
        match client.ask(&request).expect("an answer") {
            ServiceAnswer::Submit(outcome) => codes.push(outcome.code),
            other => panic!("{other:?}"),
        }
    }
    codes
}

#[tokio::test]
async fn a_flood_of_records_is_put_off_and_others_are_served() {
    const FLOOD: usize = 10_000;
    let mut cluster = Cluster::new("flood", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2], 1).await;
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    // Keys are the dear part of making a flood, so a few hundred come again and again.
    let records: Vec<ServiceRecord> = (0..500).map(|owner| record(&cluster, 1_000 + owner, 1)).collect();
    let (socket, begun) = (cluster.socket(0), Instant::now());
    let flooding = tokio::task::spawn_blocking(move || (flood(&socket, &records, FLOOD), begun.elapsed()));
    // Meanwhile: editions, a relay's words, a service's record on another stream.
    let highest = cluster.highest();
    cluster.ordered(0, describe(&cluster, 1)).await;
    // Another stream has its share: nothing but the log may put it off.
    let own = cluster.said(0, ServiceRequest::Publish(record(&cluster, 1, 1))).await;
    cluster.until_published(&[0, 1, 2], highest + 2).await;
    let (codes, took) = flooding.await.expect("it ends");
    let taken = codes.iter().filter(|code| **code == 0).count();
    let put_off = codes.iter().filter(|code| **code == CODE_TRY_AGAIN).count();
    let may = RECORDS_AT_ONCE_MAX as usize + took.as_secs() as usize / RECORD_EVERY.as_secs() as usize + 1;
    assert!((1..=may).contains(&taken), "{taken} of {may} in {took:?}");
    assert!(put_off >= FLOOD - may, "{put_off}");
    let ServiceAnswer::Services(standing) = cluster.ask(0, ServiceRequest::Services).await else { panic!("another") };
    assert_eq!(standing.put_off, put_off as u64 + own.late, "each is counted");
    assert_eq!(standing.put_off + standing.refused + taken as u64, FLOOD as u64 + own.late + own.old);
}
