//! Programs under `hushwire swap` at a unix listener of an entry: their bytes go by shared memory, others' do not, and whoever
//! breaks that harms himself only.

use admin::status::Status;
use lab::load::{self, Service, read_pattern};
use lab::pair::{Mode, Pair, PairConfig, Role, swap_library};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers::Nginx;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long anything here may take.
const WITHIN: Duration = Duration::from_secs(120);
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

fn echo_client(path: &Path, seed: u32, count: u32, way: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(programs::find("python3")?);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/unix_echo_client.py"));
    command.arg(path).args([&seed.to_string(), &count.to_string(), way]);
    Ok(command)
}

/// The same program under the library, which counts into a file.
fn swapped(mut command: Command, counts: &Path) -> anyhow::Result<Command> {
    command.env("LD_PRELOAD", swap_library()?).env("HUSHWIRE_SWAP_STATS", counts);
    Ok(command)
}

/// What the library of the process that had a connection counted.
fn count(counts: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(counts).unwrap_or_default();
    let line = text.lines().rfind(|line| !line.contains(" connections=0 ")).unwrap_or_default();
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    found.unwrap_or_else(|| panic!("no count of {name} in: {text}"))
}

/// What the entry says it has swapped.
fn swaps(pair: &Pair, name: &str) -> u64 {
    let status = pair.status(Role::Entry).expect("the entry answers");
    status.flows.swapped.unwrap_or_default().get(name).copied().unwrap_or_default()
}

/// Waits until the entry's status, which is new each second, is as it should be.
fn settles(pair: &Pair, what: &str, holds: impl Fn(&Status) -> bool) {
    let began = Instant::now();
    loop {
        let status = pair.status(Role::Entry).expect("the entry answers");
        if holds(&status) {
            return;
        }
        assert!(began.elapsed() < SETTLES_WITHIN, "{what}: {:?}\n{}", status.flows, pair.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// So many connections have come, and all have ended.
fn have_ended(connections: u64) -> impl Fn(&Status) -> bool {
    move |status| {
        let swapped = status.flows.swapped.clone().unwrap_or_default();
        let is_quiet = status.flows.open == Some(0) && swapped.get("now") == Some(&0);
        is_quiet && swapped.get("connections") == Some(&connections)
    }
}

/// A plain program has its answers, and no process of the entry was started again.
fn all_is_well(pair: &Pair) -> Outcome {
    let mut stream = UnixStream::connect(pair.unix_forward(0))?;
    stream.set_read_timeout(Some(SETTLES_WITHIN))?;
    for _ in 0..40 {
        stream.write_all(b"is all well?")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"is all well?");
    }
    let restarts: u64 = pair.status(Role::Entry)?.processes.iter().map(|process| process.restarts).sum();
    assert_eq!(restarts, 0, "{}", pair.logs());
    Ok(())
}

fn echo_pair(mode: Mode) -> anyhow::Result<Pair> {
    Pair::start(PairConfig::new(mode).with_unix_forward(load::start(Service::Echo)?))
}

/// In mode `constant` only the clock wakes the shaped process, and whatever the unshaped one does with rings stays with it. There each slot
/// brings a small piece, so what the entry sends to its programs stays at the socket.
#[test]
fn swapped_and_plain_programs_side_by_side() -> Outcome {
    for (mode, messages, are_answers_large) in
        [(Mode::Off { congestion: "bbr" }, 300, true), (Mode::constant("40 Mbit/s"), 80, false)]
    {
        let pair = echo_pair(mode)?;
        let scratch = Scratch::new()?;
        let path = pair.unix_forward(0);
        let counts: Vec<_> = (0..2).map(|number| scratch.join(&format!("counts-{number}"))).collect();
        std::thread::scope(|scope| {
            let clients = [
                swapped(echo_client(&path, 1, messages, "stay")?, &counts[0])?,
                swapped(echo_client(&path, 2, messages, "stay")?, &counts[1])?,
                echo_client(&path, 3, messages, "stay")?,
            ];
            let running = clients.map(|mut client| scope.spawn(move || process::run(&mut client, WITHIN)));
            running.into_iter().try_for_each(|client| client.join().expect("it only waits").map(drop))
        })?;
        for counts in &counts {
            assert_eq!(count(counts, "linked"), 1);
            assert!(count(counts, "ring_sends") > 10, "what it sent");
            assert!(!are_answers_large || count(counts, "ring_receives") > 10, "what it received");
        }
        settles(&pair, "all flows have ended", have_ended(3));
        assert_eq!(swaps(&pair, "linked"), 2);
        assert!(swaps(&pair, "ring_receives") > 20, "what the entry received");
        assert!(!are_answers_large || swaps(&pair, "ring_sends") > 20, "what the entry sent");
        all_is_well(&pair)?;
    }
    Ok(())
}

/// A small message to an end that sleeps would need a doorbell besides, so it goes through the socket, whichever way.
#[test]
fn small_messages_never_go_by_the_ring() -> Outcome {
    let pair = echo_pair(Mode::Off { congestion: "bbr" })?;
    let scratch = Scratch::new()?;
    let counts = scratch.join("counts");
    process::run(&mut swapped(echo_client(&pair.unix_forward(0), 1, 400, "small")?, &counts)?, WITHIN)?;
    settles(&pair, "the flow has ended", have_ended(1));
    for name in ["linked", "ring_sends", "ring_receives", "bells", "spills"] {
        assert_eq!((count(&counts, name), swaps(&pair, name)), (0, 0), "{name} at the program and at the entry");
    }
    Ok(())
}

/// One connection has a third of small messages, a third of large ones, and a third of small ones again.
#[test]
fn a_connection_uses_its_rings_while_its_messages_are_large() -> Outcome {
    const THIRD: u32 = 200;
    /// Small messages that a direction lets ring before it goes back, with those that meet a reader who is awake.
    const LATE: u64 = 100;
    let third = u64::from(THIRD);
    let pair = echo_pair(Mode::Off { congestion: "bbr" })?;
    let scratch = Scratch::new()?;
    let counts = scratch.join("counts");
    let mut client = echo_client(&pair.unix_forward(0), 1, 3 * THIRD, "small-large-small")?;
    client = swapped(client, &counts)?;
    process::run(&mut client, WITHIN)?;
    settles(&pair, "the flow has ended", have_ended(1));
    assert_eq!((count(&counts, "linked"), swaps(&pair, "linked")), (1, 1));
    let sends = count(&counts, "ring_sends");
    // One call sends one message.
    assert!((third / 2..=third + LATE).contains(&sends), "the program sent {sends} messages by its ring");
    assert!(swaps(&pair, "ring_receives") > third / 2, "the entry received by the ring");
    assert!(swaps(&pair, "ring_sends") > third / 2, "the entry sent by the ring");
    for (side, spills) in [("program", count(&counts, "spills")), ("entry", swaps(&pair, "spills"))] {
        assert!(spills > 0, "the {side} has gone back to its socket");
    }
    Ok(())
}

#[test]
fn curl_downloads_and_uploads_by_shared_memory() -> Outcome {
    const BYTES: u64 = 20_000_000;
    let nginx = Nginx::start()?;
    nginx.publish("object", BYTES)?;
    let config = PairConfig::new(Mode::Off { congestion: "bbr" }).with_unix_forward(nginx.http.address);
    let pair = Pair::start(config)?;
    let scratch = Scratch::new()?;
    let (file, counts) = (scratch.join("object"), scratch.join("counts"));
    let curl = |words: &[&str]| -> anyhow::Result<Command> {
        let mut command = Command::new(programs::find("curl")?);
        command.args(["--silent", "--show-error", "--fail", "--max-time", "100", "--unix-socket"]);
        command.arg(pair.unix_forward(0)).args(words);
        swapped(command, &counts)
    };
    process::run(curl(&["http://x/object", "--output"])?.arg(&file), WITHIN)?;
    assert_eq!(read_pattern(&mut BufReader::new(File::open(&file)?))?, BYTES);
    assert!(count(&counts, "ring_receives") > 100, "the answer came by the ring");
    process::run(curl(&["http://x/upload/copy", "--upload-file"])?.arg(&file), WITHIN)?;
    assert!(count(&counts, "ring_sends") > 100, "the body went by the ring");
    process::run(curl(&["http://x/upload/copy", "--output"])?.arg(&file), WITHIN)?;
    assert_eq!(read_pattern(&mut BufReader::new(File::open(&file)?))?, BYTES);
    settles(&pair, "all flows have ended", have_ended(3));
    Ok(())
}

/// The other program reads the bare socket: the entry gives back what was unread in its ring, at that byte.
#[test]
fn a_connection_that_is_handed_over_goes_on_at_its_byte() -> Outcome {
    let pair = echo_pair(Mode::Off { congestion: "bbr" })?;
    let scratch = Scratch::new()?;
    for seed in 10..16 {
        let counts = scratch.join(&format!("counts-{seed}"));
        process::run(&mut swapped(echo_client(&pair.unix_forward(0), seed, 100, "hand-over")?, &counts)?, WITHIN)?;
    }
    settles(&pair, "all flows have ended", have_ended(6));
    assert_eq!(swaps(&pair, "linked"), 6, "all were swapped before");
    all_is_well(&pair)
}

#[test]
fn programs_that_are_killed_end_their_flows_only() -> Outcome {
    let pair = echo_pair(Mode::Off { congestion: "bbr" })?;
    let scratch = Scratch::new()?;
    for kill in 0..12 {
        let counts = scratch.join(&format!("counts-{kill}"));
        let mut client = swapped(echo_client(&pair.unix_forward(0), kill, 1_000_000, "stay")?, &counts)?;
        let mut client: Child = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        settles(&pair, "a flow is open", |status| status.flows.opened > Some(u64::from(kill)));
        // From before it is linked to well after it.
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 7));
        client.kill()?;
        client.wait()?;
    }
    settles(&pair, "all flows have ended", have_ended(12));
    assert!(swaps(&pair, "linked") > 6, "most were swapped when they were killed");
    all_is_well(&pair)
}

/// Ways to break the protocol, of the attacker that `socket-swap` is tested with.
const WAYS: [&str; 9] =
    ["unsealed", "short", "too-far", "huge", "back", "read-ahead", "many-rings", "wants-plain", "noise"];

#[test]
fn a_program_that_breaks_the_protocol_breaks_its_own_flow() -> Outcome {
    let pair = echo_pair(Mode::Off { congestion: "bbr" })?;
    let scratch = Scratch::new()?;
    let attacker = scratch.join("attacker");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../os/socket-swap/tests/programs/attacker.c");
    process::run(Command::new(programs::find("cc")?).args(["-O1", "-o"]).arg(&attacker).arg(source), WITHIN)?;
    for way in WAYS {
        let ran = Command::new(&attacker).arg(pair.unix_forward(0)).arg(way).output()?;
        assert!(ran.status.success(), "{way}: the attacker did not come to its point: {}", ran.status);
        let is_refused = ["unsealed", "short"].contains(&way);
        assert!(is_refused || ran.stdout.is_empty(), "{way}: the entry did not link: nothing was attacked");
        all_is_well(&pair).map_err(|error| format!("after {way}: {error}"))?;
    }
    settles(&pair, "all flows have ended", have_ended(18));
    assert!(swaps(&pair, "ring_sends") > 0, "the entry sent into a ring that was read wrongly");
    Ok(())
}
