//! Floods at the members' sockets: each is bounded, counted and explained, and others are served meanwhile.

use crate::harness::{Cluster, INTERVAL_MS, PATIENCE, announcement, now_ms};
use crate::{admit, describe, say};
use directory_node::{
    ALL_COMMANDS_A_SECOND, COMMANDS_A_SECOND, CONNECTIONS_MAX, STRANGER_REQUESTS_MAX, STRANGERS_MAX, ServiceClient,
};
use relay_directory::{
    CODE_TRY_AGAIN, DESCRIBES_MAX, FrameReader, OF_A_STRANGER, Refusal, Request, ServiceAnswer, ServiceRequest, frame,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What a stream says at once that hurries.
const HURRIED: u32 = 10 * COMMANDS_A_SECOND;
/// Others wait no longer than this, on a busy machine too: less than a stream that takes none of an answer is waited for.
const SOON: Duration = Duration::from_secs(20);

/// One client begins to say all of these; then the codes of what became of them.
fn say_all(cluster: &Cluster, node: usize, commands: Vec<Vec<u8>>) -> JoinHandle<Vec<u8>> {
    let socket = cluster.socket(node);
    let say = move || {
        let mut client = ServiceClient::connect(&socket).expect("it is served");
        let ask = |command| match client.ask(&ServiceRequest::Submit(command)).expect("an answer") {
            ServiceAnswer::Submit(outcome) => outcome.code,
            other => panic!("{other:?}"),
        };
        commands.into_iter().map(ask).collect()
    };
    tokio::task::spawn_blocking(say)
}

/// What became of all that several clients said at a time.
async fn codes(clients: Vec<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    let mut codes = Vec::new();
    for client in clients {
        codes.extend(client.await.expect("it was said"));
    }
    codes
}

/// Says all of these on one stream before an answer is read; then the codes of what became of them.
pub(crate) fn codes_at_once(socket: &Path, requests: &[Vec<u8>]) -> Vec<u8> {
    let stream = UnixStream::connect(socket).expect("it is served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let framed: Vec<u8> = requests.iter().flat_map(|request| frame(request)).collect();
    let mut reader = FrameReader::answers();
    let (mut codes, mut buffer) = (Vec::new(), [0; 4_096]);
    std::thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&framed).expect("it is served"));
        while codes.len() < requests.len() {
            let count = (&stream).read(&mut buffer).expect("an answer");
            let mut bytes = &buffer[..count];
            assert!(!bytes.is_empty(), "it goes on being served");
            while !bytes.is_empty() {
                let taken = reader.handle_bytes(bytes).expect("frames");
                bytes = &bytes[taken..];
                let Some(answer) = reader.poll_frame() else { continue };
                let Ok(ServiceAnswer::Submit(outcome)) = ServiceAnswer::decode(&answer) else { panic!("an answer") };
                codes.push(outcome.code);
            }
        }
    });
    codes
}

async fn is_served(cluster: &Cluster, node: usize) {
    let begun = Instant::now();
    assert!(matches!(cluster.ask(node, ServiceRequest::Standing).await, ServiceAnswer::Standing(_)));
    let fetched = cluster.ask(node, ServiceRequest::Fetch(Request::Full)).await;
    assert!(matches!(fetched, ServiceAnswer::Fetch(_)));
    assert!(begun.elapsed() < SOON, "others wait for {:?}", begun.elapsed());
}

/// An admitted relay says more than counts, to every member at once, and then nothing more: what the log refused binds nobody.
#[tokio::test]
async fn a_relay_that_says_more_than_counts_keeps_no_member_from_signing() {
    const WORDS: u64 = 24;
    let mut cluster = Cluster::new("quota", 4, 1);
    cluster.start_all().await;
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    cluster.until_published(&[0, 1, 2, 3], cluster.highest() + 1).await;
    let begun_ms = now_ms();
    let words = |node: u64| -> Vec<Vec<u8>> {
        (0..WORDS).map(|word| say(&cluster, 1, announcement(1, begun_ms + 4 * word + node))).collect()
    };
    let said = (0..4).map(|node| say_all(&cluster, node, words(node as u64))).collect();
    let codes = codes(said).await;
    let intervals = (now_ms() - begun_ms) / INTERVAL_MS + 2;
    let with = |code: u8| codes.iter().filter(|found| **found == code).count() as u64;
    assert!(with(0) >= 1 && with(0) <= intervals * u64::from(DESCRIBES_MAX), "{codes:?}");
    assert!(with(Refusal::Quota.code()) > 0, "{codes:?}");
    let mut over_quota = 0;
    for node in 0..4 {
        is_served(&cluster, node).await;
        let counts = cluster.counts(node);
        assert!(counts.commands >= WORDS && counts.streams > 1, "{counts:?}");
        over_quota += counts.over_quota;
    }
    assert_eq!(over_quota, with(Refusal::Quota.code()));
    // Every edition of the next intervals is signed, those in which the last words would be due among them.
    let index = cluster.due();
    cluster.until_published(&[0, 1, 2, 3], index + 4).await;
}

/// Whoever makes identities gets nowhere with them: not to the log, and not in the way of others.
#[tokio::test]
async fn identities_that_nobody_admitted_do_not_get_to_the_log() {
    const STRANGERS: u32 = 240;
    const STREAMS: u32 = 12;
    let mut cluster = Cluster::new("strangers", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2], 1).await;
    let (before, begun) = (cluster.applied(0), Instant::now());
    let of_stream = |stream: u32| {
        let each = STRANGERS / STREAMS;
        say_all(&cluster, 0, (0..each).map(|number| describe(&cluster, 100 + stream * each + number)).collect())
    };
    let said = codes((0..STREAMS).map(of_stream).collect()).await;
    assert!(said.iter().all(|code| *code == Refusal::NotAdmitted.code()), "{said:?}");
    is_served(&cluster, 0).await;
    let counts = cluster.counts(0);
    assert_eq!((counts.strangers, counts.commands, counts.refused), (STRANGERS.into(), STRANGERS.into(), 0));
    // Ticks and signatures of three members: a dozen and more in each interval.
    let own = 40 * (begun.elapsed().as_millis() as u64 / INTERVAL_MS + 1);
    let applied = cluster.applied(0) - before;
    assert!(applied < own, "{applied} entries, and the members' own are {own} at most");
    // One stream that hurries is put off and told so; there are as many more as the member bears. All is there before an answer is
    // read, so that it hurries on a busy machine too.
    let words: Vec<Vec<u8>> =
        (0..HURRIED).map(|number| ServiceRequest::Submit(describe(&cluster, 900 + number)).encode()).collect();
    let socket = cluster.socket(1);
    let hurried = tokio::task::spawn_blocking(move || codes_at_once(&socket, &words)).await.expect("it went through");
    let put_off = hurried.iter().filter(|code| **code == CODE_TRY_AGAIN).count() as u64;
    assert!(put_off > 0 && put_off < u64::from(ALL_COMMANDS_A_SECOND), "{hurried:?}");
    assert_eq!(cluster.counts(1).put_off, put_off);
}

/// Streams that say nothing, half a thing, or ask a lot and read none of it.
#[tokio::test]
async fn streams_that_stand_still_cost_others_nothing() {
    let mut cluster = Cluster::new("still", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0], 1).await;
    let connect = || UnixStream::connect(cluster.socket(0)).expect("it is served");
    let begun = Instant::now();
    let mut silent: Vec<UnixStream> = (0..CONNECTIONS_MAX - 40).map(|_| connect()).collect();
    silent.iter().step_by(2).for_each(|mut stream| stream.write_all(&[0, 0]).expect("it is served"));
    // Requests for the members until the member reads no more, and none of the answers is read.
    let asked = frame(&ServiceRequest::Members.encode()).repeat(1_000);
    for _ in 0..8 {
        let mut stream = connect();
        stream.set_nonblocking(true).expect("a socket");
        let mut taken = 0;
        // Its end is the kernel's to choose: when it takes nothing ten times in a row, both directions are full.
        let mut refused = 0;
        while refused < 10 {
            match stream.write(&asked) {
                Ok(count) => (taken, refused) = (taken + count, 0),
                Err(_) => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        assert!(taken > 0);
        silent.push(stream);
    }
    for node in 0..3 {
        is_served(&cluster, node).await;
    }
    let counts = cluster.counts(0);
    assert!(counts.open <= CONNECTIONS_MAX as u64, "{counts:?}");
    // Those that take none of an answer are given up after half a minute.
    if begun.elapsed() < SOON {
        assert!(counts.open >= silent.len() as u64, "{counts:?}");
    }
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    cluster.until_published(&[0, 1, 2], cluster.highest() + 2).await;
    drop(silent);
    cluster.until("their places are free again", |cluster| cluster.counts(0).open == 0).await;
    // What is no request is counted too.
    let mut wrong = UnixStream::connect(cluster.socket(0)).expect("it is served");
    wrong.write_all(&[0xff; 8]).expect("it is served");
    cluster.until("it is counted", |cluster| cluster.counts(0).invalid > 0).await;
}

/// Strangers take all places that strangers have, and ask as much as they may: this machine's own programs have theirs.
#[tokio::test]
async fn strangers_have_places_of_their_own_and_take_nobody_elses() {
    let mut cluster = Cluster::new("strangers-streams", 3, 0);
    cluster.start_all().await;
    cluster.until_published(&[0], 1).await;
    let socket = cluster.socket(0);
    let standing = frame(&ServiceRequest::Standing.encode());
    let strangers = move || {
        let stranger = || {
            let mut stream = UnixStream::connect(&socket).expect("it is served");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            stream.write_all(&OF_A_STRANGER).expect("it is served");
            stream
        };
        // 0 when the stream is closed instead, whatever was asked on it.
        let asked = |stream: &mut UnixStream| {
            let _ = stream.write_all(&standing);
            stream.read(&mut [0; 256]).unwrap_or(0)
        };
        let mut places: Vec<UnixStream> = (0..STRANGERS_MAX).map(|_| stranger()).collect();
        assert!(places.iter_mut().all(|stream| asked(stream) > 0), "each has a place");
        assert_eq!(asked(&mut stranger()), 0, "one too many is closed");
        let one = &mut places[0];
        assert!((1..STRANGER_REQUESTS_MAX).all(|_| asked(one) > 0));
        assert_eq!(asked(one), 0, "it has asked as much as it may");
        places
    };
    let places = tokio::task::spawn_blocking(strangers).await.expect("it went through");
    is_served(&cluster, 0).await;
    // Whoever was closed may know it before it is counted.
    let is_counted = |cluster: &Cluster| {
        let counts = cluster.counts(0);
        (counts.strangers_open, counts.strangers_closed) == (STRANGERS_MAX as u64 - 1, 1)
    };
    cluster.until("the places of strangers are counted", is_counted).await;
    drop(places);
    cluster.until("their places are free again", |cluster| cluster.counts(0).strangers_open == 0).await;
}
