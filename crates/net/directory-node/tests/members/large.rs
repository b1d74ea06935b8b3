//! A directory with very many relays, all of whom come through the members' sockets.

use crate::harness::{Cluster, announcement, now_ms, relay};
use crate::{admit, say};
use directory_node::{COMMANDS_A_SECOND, ServiceClient};
use network_document::{EDITION_BYTES_MAX, EDITION_RELAYS_MAX};
use relay_directory::{
    Answer, CODE_TRY_AGAIN, DirectoryClient, Refusal, Request, ServiceAnswer, ServiceRequest, Taken,
};
use std::time::{Duration, Instant};

/// One in so many relays changes what it says before the second edition.
const CHANGED: u32 = 24;
/// Programs that speak for relays, at each member.
const SPEAKERS: usize = 32;

/// What was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// From the first admission to the last, in turn.
    admitted: Duration,
    /// From the first describe to the last.
    described: Duration,
    /// From the last describe to an edition with all of them at every member.
    published: Duration,
    /// From the beginning of the interval to that.
    signed: Duration,
    whole_bytes: usize,
    difference_bytes: usize,
    /// Until all of it had come, and then until it was believed.
    fetched: Duration,
    verified: Duration,
    difference_verified: Duration,
}

#[tokio::test]
async fn an_edition_of_300_relays_comes_through_the_sockets() {
    let found = many_relays("relays-300", 3, 0, 300, 3_000).await;
    assert!(found.whole_bytes < 300 * EDITION_BYTES_MAX / EDITION_RELAYS_MAX, "{found:?}");
}

/// `cargo xtask long directory-5000`
#[tokio::test]
#[ignore = "a minute"]
#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
async fn an_edition_of_5000_relays_comes_through_the_sockets() {
    let found = many_relays("relays-5000", 4, 1, EDITION_RELAYS_MAX as u32, 10_000).await;
    let Found { admitted, described, published, signed, fetched, verified, difference_verified, .. } = found;
    println!(
        "admitted in {admitted:?}, described in {described:?}; signed {signed:?} after the interval began, {published:?} after the last word"
    );
    println!("{} bytes, {} as a difference", found.whole_bytes, found.difference_bytes);
    println!("fetched in {fetched:?}, verified in {verified:?}, as a difference in {difference_verified:?}");
    println!("{:.0} descriptors a second", EDITION_RELAYS_MAX as f64 / found.described.as_secs_f64());
    assert!(found.whole_bytes <= 2_000_000 && found.difference_bytes * 20 <= found.whole_bytes, "{found:?}");
    assert!(found.verified <= Duration::from_millis(50) && found.difference_verified <= Duration::from_millis(50));
}

async fn many_relays(name: &str, members: u8, liars: u8, relays: u32, interval_ms: u64) -> Found {
    let mut cluster = Cluster::with_interval(name, members, liars, interval_ms);
    cluster.start_all().await;
    let all: Vec<usize> = (0..usize::from(members)).collect();
    cluster.until_published(&all, 1).await;

    let begun = Instant::now();
    let orders = (1..=relays).map(|number| admit(&cluster, number.into(), number)).collect();
    said_at(&cluster, &[0], 1, orders).await;
    let admitted = begun.elapsed();
    let words: Vec<Vec<u8>> = (1..=relays).map(|of| say(&cluster, of, announcement(of, now_ms()))).collect();
    let begun = Instant::now();
    said_at(&cluster, &all, SPEAKERS, words).await;
    let (described, last) = (begun.elapsed(), Instant::now());
    // A word is done when the member that took it has applied it; another one may do so a moment later.
    let has_all = |cluster: &Cluster| cluster.look(0, |directory| directory.relays().len()) == relays as usize;
    cluster.until("the first member knows all relays", has_all).await;
    let index = until_all(&cluster, &all, relays).await;
    let (published, now) = (last.elapsed(), now_ms());
    let signed = Duration::from_millis(now - cluster.charter.founding().expect("a directory").begin_ms(index));

    let mut client = DirectoryClient::new(cluster.charter.network_id());
    let whole = fetched(&cluster, 0, &mut client, &Request::Full).await;
    let document = client.document(now_ms()).expect("it is valid");
    assert_eq!(document.relays().len(), relays as usize);

    // Some change their keys, as many as in an hour of a network.
    let changes = (1..=relays).step_by(CHANGED as usize).map(|of| {
        let mut said = announcement(of, now_ms());
        said.descriptor.onion_keys.iter_mut().for_each(|(_, key)| key.0[31] ^= 1);
        say(&cluster, of, said)
    });
    said_at(&cluster, &all, SPEAKERS, changes.collect()).await;
    let changed = cluster.look(0, |directory| directory.standing()).waiting + 1;
    cluster.until_published(&all, changed).await;
    let request = client.poll_request();
    let difference = fetched(&cluster, 1, &mut client, &request).await;
    assert!(client.index() >= changed && client.evidence().is_empty());
    let document = client.document(now_ms()).expect("it is valid");
    let key = document.relay(&relay(1).node_id()).expect("it is there").onion_keys[0].1;
    assert_eq!(key.0[31] ^ 1, announcement(1, 0).descriptor.onion_keys[0].1.0[31], "what it said last");
    let (whole_bytes, fetched, verified) = whole;
    let (difference_bytes, _, difference_verified) = difference;
    assert!(difference_bytes * 10 < whole_bytes, "{difference_bytes} of {whole_bytes}");
    Found {
        admitted,
        described,
        published,
        signed,
        whole_bytes,
        difference_bytes,
        fetched,
        verified,
        difference_verified,
    }
}

/// Says all of these at several members at a time, at each by so many programs; whoever hurries too much waits.
async fn said_at(cluster: &Cluster, members: &[usize], speakers: usize, commands: Vec<Vec<u8>>) {
    let places = members.len() * speakers;
    let mut shares: Vec<Vec<Vec<u8>>> = vec![Vec::new(); places];
    commands.into_iter().enumerate().for_each(|(number, command)| shares[number % places].push(command));
    let speak = |(place, share): (usize, Vec<Vec<u8>>)| {
        let socket = cluster.socket(members[place % members.len()]);
        tokio::task::spawn_blocking(move || {
            let mut client = ServiceClient::connect(&socket).expect("it is served");
            for (number, command) in share.into_iter().enumerate() {
                // A program has so many commands a second: another one is as good as waiting.
                if number > 0 && number % COMMANDS_A_SECOND as usize == 0 {
                    client = ServiceClient::connect(&socket).expect("it is served");
                }
                let mut put_off = false;
                while !is_taken(&mut client, &command, put_off) {
                    put_off = true;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        })
    };
    let running: Vec<_> = shares.into_iter().enumerate().map(speak).collect();
    for speaker in running {
        speaker.await.expect("all of it was taken");
    }
}

/// What was put off may have been ordered later.
fn is_taken(client: &mut ServiceClient, command: &[u8], put_off: bool) -> bool {
    let is_old = |code| code == Refusal::Old.code() || code == Refusal::OrderNumber { expected: 0 }.code();
    match client.ask(&ServiceRequest::Submit(command.to_vec())).expect("an answer") {
        ServiceAnswer::Submit(outcome) if outcome.is_done() => true,
        ServiceAnswer::Submit(outcome) if outcome.code == CODE_TRY_AGAIN => false,
        ServiceAnswer::Submit(outcome) if put_off && is_old(outcome.code) => true,
        other => panic!("{other:?}"),
    }
}

/// Until all members have a published edition with so many relays: its index.
async fn until_all(cluster: &Cluster, members: &[usize], relays: u32) -> u64 {
    let has = |cluster: &Cluster, member: &usize| {
        cluster.look(*member, |directory| {
            directory.published().is_some_and(|edition| edition.edition().relays().len() == relays as usize)
        })
    };
    cluster.until("an edition of all relays", |cluster| members.iter().all(|member| has(cluster, member))).await;
    cluster.look(members[0], |directory| directory.published_name().index)
}

/// Asks, and believes what comes: its bytes, how long it took to come, and to be believed.
async fn fetched(
    cluster: &Cluster,
    node: usize,
    client: &mut DirectoryClient,
    request: &Request,
) -> (usize, Duration, Duration) {
    let begun = Instant::now();
    let answer = match cluster.ask(node, ServiceRequest::Fetch(*request)).await {
        ServiceAnswer::Fetch(answer) => answer,
        other => panic!("{other:?}"),
    };
    let came = begun.elapsed();
    let bytes = match (request, &answer) {
        (Request::Full, Answer::Full(bytes)) | (Request::Diff { .. }, Answer::Diff(bytes)) => bytes.len(),
        other => panic!("{other:?}"),
    };
    let begun = Instant::now();
    assert!(matches!(client.handle_decoded(now_ms(), answer), Ok(Taken::Edition(_))));
    (bytes, came, begun.elapsed())
}
