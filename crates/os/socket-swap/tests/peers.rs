//! Peers that break the protocol, die, or come in great number: the process at the other end goes on as it was.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "peers/strangers.rs"]
mod strangers;
#[path = "support/preload.rs"]
mod support;
#[path = "support/victim.rs"]
mod victim;

use c_programs::compile;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, library};
use victim::Victim;

/// What an attacker does, and how the victim's connection may end.
const WAYS: &[(&str, &[&str])] = &[
    ("unsealed", &["end"]),
    ("short", &["end"]),
    ("too-far", &["ECONNRESET"]),
    ("huge", &["ECONNRESET"]),
    ("back", &["ECONNRESET"]),
    ("read-ahead", &["ECONNRESET", "EPIPE"]),
    ("many-rings", &["end", "ECONNRESET", "EPIPE"]),
    ("wants-plain", &["end", "ECONNRESET", "EPIPE"]),
    ("noise", &["end", "ECONNRESET", "EPIPE"]),
];

fn connect(path: &Path) -> UnixStream {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_breaks_its_connection_only() {
    let folder = Folder::new();
    let attacker = folder.path("attacker");
    compile(&["programs/attacker.c"], &attacker);
    // Twice, as the victim reads every other connection in another manner.
    let mut victim = Victim::start(&folder, 2 * WAYS.len() + 2, false);
    let mut endings = Vec::new();
    for round in 0..2 {
        for (way, allowed) in WAYS {
            let ran = Command::new(&attacker).arg(folder.path("s")).arg(way).output().expect("it was compiled");
            let ending = victim.ending().expect("the victim is there").how;
            assert!(ran.status.success(), "{way}: the attacker did not come to its point: {}", ran.status);
            let is_refused = ["unsealed", "short"].contains(way);
            assert!(is_refused || ran.stdout.is_empty(), "{way}: the victim did not link: nothing was attacked");
            assert!(allowed.contains(&ending.as_str()), "{way}: ended with {ending}");
            endings.push(ending);
        }
        // A round has an odd number of ways; one more keeps the manners apart.
        let mut stream = connect(&folder.path("s"));
        stream.write_all(b"is all well").expect("the victim reads");
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).expect("the victim answers");
        assert_eq!(&answer, b"is all well", "round {round}");
        drop(stream);
        assert_eq!(victim.ending().expect("the victim is there").how, "end");
    }
    assert!(victim.finish().contains("more descriptors 0, more segments 0"), "the attacks left something behind");
}

#[test]
fn a_peer_that_is_killed_is_noticed_within_100_ms() {
    const KILLS: u64 = 30;
    let folder = Folder::new();
    let client = folder.path("client");
    compile(&["programs/client.c"], &client);
    let mut victim = Victim::start(&folder, usize::MAX >> 1, false);
    for kill in 0..KILLS {
        // From right after it connected to well after it is linked.
        let pause = Duration::from_micros((kill * 7919) % 12_000);
        // A busy machine may be late. A fault of ours is late each time.
        let mut took = Vec::new();
        for attempt in 0..strangers::TRIES {
            took.push(kill_one(&folder, &client, &mut victim, pause));
            if took.last().is_some_and(|took| *took < NOTICED) {
                break;
            }
            std::thread::sleep(strangers::PAUSE * (1 << attempt));
        }
        assert!(took.iter().any(|took| *took < NOTICED), "kill {kill}: late each time: {took:?}");
    }
}

/// That a peer was killed is noticed so soon.
const NOTICED: Duration = Duration::from_millis(100);

/// Kills a peer so long after it has connected. Returns how long that took to be noticed.
fn kill_one(folder: &Folder, client: &Path, victim: &mut Victim, pause: Duration) -> Duration {
    let mut command = Command::new(client);
    command.arg(folder.path("s")).args(["1", "1000000000"]).env("LD_PRELOAD", library()).stdout(Stdio::piped());
    let mut peer = command.spawn().expect("it was compiled");
    let mut said = String::new();
    let mut out = BufReader::new(peer.stdout.take().expect("its output is a pipe"));
    out.read_line(&mut said).expect("the client's output is text");
    assert_eq!(said, "connected\n");
    std::thread::sleep(pause);
    peer.kill().expect("it runs");
    let killed = Instant::now();
    let ending = victim.ending().expect("the victim is there");
    let took = killed.elapsed();
    peer.wait().expect("it was started");
    assert!(["end", "ECONNRESET", "EPIPE"].contains(&ending.how.as_str()), "{pause:?}: {ending:?}");
    assert_eq!(ending.left_behind, [0, 0], "{pause:?}: {ending:?}");
    took
}

fn many(connections: usize) {
    let folder = Folder::new();
    let client = folder.path("client");
    compile(&["programs/client.c"], &client);
    // Read all the time: it says more than a pipe holds.
    let victim = Victim::start(&folder, connections, false);
    let reading = std::thread::spawn(move || victim.finish());
    let mut command = Command::new(client);
    command.arg(folder.path("s")).arg(connections.to_string()).arg("30");
    command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", folder.path("counts"));
    let ran = command.output().expect("it was compiled");
    assert!(ran.status.success(), "{}", ran.status);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("more descriptors 0, more segments 0"), "{ran:?}");
    let rest = reading.join().expect("the victim ends well");
    let tail: String = rest.lines().last().unwrap_or_default().to_owned();
    assert_eq!(tail, "more descriptors 0, more segments 0");
    let counts = std::fs::read_to_string(folder.path("counts")).expect("the library counts");
    let all = format!(" connections={connections} linked={connections} ");
    assert!(counts.lines().all(|line| line.contains(&all)), "not every connection was linked:\n{counts}");
}

#[test]
fn connections_leave_nothing_behind() {
    many(500);
}

#[test]
#[ignore = "10,000 connections take ten seconds; cargo xtask long swap"]
fn connections_leave_nothing_behind_at_full_size() {
    many(10_000);
}
