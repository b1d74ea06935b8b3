//! `hushwire cluster pub`, `sub` and `feed` at a pipe that fails in every way that a connection can.

use crate::folder::Folder;
use crate::pipe::{Faults, Pipe};
use pipe_protocol::{Name, SessionId};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with a pipe in it.
struct Place {
    /// Closed before its folder goes away.
    pipe: Pipe,
    folder: Folder,
}

impl Place {
    fn new(name: &str, seed: u64, faults: Faults) -> Self {
        let folder = Folder::new(name).expect("a folder");
        let path = folder.0.join("pipe");
        let _ = std::fs::remove_file(&path);
        let pipe = Pipe::open(&path, seed, faults);
        Self { pipe, folder }
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut run = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        run.current_dir(&self.folder.0).args(["cluster", command]).args(arguments).arg("--socket").arg(&self.pipe.path);
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run
    }

    fn start(&self, command: &str, arguments: &[&str]) -> Child {
        self.command(command, arguments).spawn().expect("the program can be run")
    }

    /// Runs a command to its end with this input.
    fn run(&self, command: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = self.start(command, arguments);
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        // It may end before it has read all.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("it ends");
        output
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn lines(count: u64) -> (Vec<String>, String) {
    let lines: Vec<String> = (0..count).map(|number| format!("line {number}")).collect();
    let text = lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    (lines, text)
}

fn topic() -> Name {
    Name::new("t").expect("a topic")
}

fn fill(place: &Place, count: u64) -> String {
    let (lines, text) = lines(count);
    let mut known = place.pipe.known();
    for line in lines {
        known.publish(SessionId::from_bytes([9; 16]), &topic(), line.into_bytes());
    }
    text
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_line_counts_once_wherever_connections_are_cut() {
    for seed in 1..=3 {
        let faults = Faults { cut: 70, twice: 5, no_leader: 150, ..Faults::default() };
        let place = Place::new(&format!("pub-{seed}"), seed, faults);
        let (lines, text) = lines(800);
        let output = place.run("pub", &["t"], &text);
        assert!(output.status.success() && output.stdout.is_empty(), "seed {seed}: {output:?}");
        let known = place.pipe.known();
        assert_eq!(known.lines(), lines, "seed {seed}");
        assert!(known.cuts > 5, "seed {seed}: the run was idle");
        assert!(said(&output).starts_with("800 acknowledged, "), "seed {seed}: {}", said(&output));
    }
}

#[test]
fn a_node_that_is_started_again_is_gone_on_with() {
    let mut place = Place::new("pub-restart", 1, Faults { pause: Duration::from_millis(1), ..Faults::default() });
    let mut publisher = place.start("pub", &["t"]);
    let (lines, text) = lines(600);
    let mut input = publisher.stdin.take().expect("piped");
    // In three parts, so that it is not through before a node ends.
    let parts = text.as_bytes().chunks(text.len() / 3 + 1);
    for (part, counted) in parts.zip([100, 300, 0]) {
        input.write_all(part).expect("it reads");
        if counted > 0 {
            place.wait("lines count", |place| place.pipe.known().log.len() >= counted);
            place.pipe.stop();
            std::thread::sleep(Duration::from_millis(100));
            place.pipe.start();
        }
    }
    drop(input);
    let output = publisher.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(place.pipe.known().lines(), lines);
    assert!(said(&output).contains("times connected again"), "{}", said(&output));
}

#[test]
fn a_publisher_that_is_killed_goes_on_with_its_session() {
    let place = Place::new("pub-session", 4, Faults { pause: Duration::from_millis(1), cut: 200, ..Faults::default() });
    let (lines, text) = lines(500);
    let arguments = ["t", "--session", "s"];
    let mut killed = place.start("pub", &arguments);
    // Its input stays open, so that it goes on until it is killed.
    let mut input = killed.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    place.wait("lines count", |place| place.pipe.known().log.len() >= 150);
    let busy = place.run("pub", &arguments, &text);
    assert!(busy.status.code() == Some(69) && said(&busy).contains("is in use"), "{busy:?}");
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    let output = place.run("pub", &arguments, &text);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(place.pipe.known().lines(), lines);
    assert!(said(&output).contains("counted before"), "{}", said(&output));
    let again = place.run("pub", &arguments, &text);
    assert!(again.status.success() && said(&again) == "0 acknowledged, 500 counted before\n", "{again:?}");
    assert_eq!(place.pipe.known().log.len(), 500);
    place.pipe.known().forget();
    let forgotten = place.run("pub", &arguments, &text);
    assert!(forgotten.status.code() == Some(65) && said(&forgotten).contains("forgotten"), "{forgotten:?}");
    assert_eq!(place.pipe.known().log.len(), 500);
}

#[test]
fn what_does_not_count_is_told_with_an_exit_code() {
    let place = Place::new("pub-refused", 1, Faults { refuse: 3, ..Faults::default() });
    let output = place.run("pub", &["t"], "1\n2\n3\n4\n");
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(said(&output).starts_with("2 acknowledged, 2 not acknowledged"), "{}", said(&output));
    assert!(said(&output).contains("of message 3: as a test wants it"), "{}", said(&output));
    let long = "x".repeat(1_000_001);
    let output = place.run("pub", &["t"], &format!("before\n{long}\nbehind\n"));
    assert!(output.status.code() == Some(65) && said(&output).contains("line 2 of the input is longer"), "{output:?}");
    assert_eq!(place.pipe.known().lines(), ["1", "2", "before"]);
    let wrong = place.folder.run(&["cluster", "sub", "t", "--from", "newest"]).expect("it can be run");
    assert!(wrong.code == Some(64) && wrong.out.is_empty() && wrong.err.contains("neither an offset"), "{wrong:?}");
}

#[test]
fn a_node_that_is_not_there_or_goes_for_good_is_told_with_what_to_do() {
    // So slow that both have most of it before them when the node goes.
    let mut place = Place::new("pub-gone", 1, Faults { pause: Duration::from_millis(20), ..Faults::default() });
    let mut publisher = place.start("pub", &["t", "--patience", "1"]);
    publisher.stdin.take().expect("piped").write_all(lines(500).1.as_bytes()).expect("it reads");
    let follower = place.start("sub", &["t", "--patience", "1"]);
    place.wait("lines count", |place| {
        let known = place.pipe.known();
        known.log.len() >= 20 && known.told > 20
    });
    place.pipe.stop();
    let output = publisher.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(said(&output).contains("not acknowledged: they may count or not"), "{}", said(&output));
    let output = follower.wait_with_output().expect("it ends");
    assert!(output.status.code() == Some(69) && said(&output).contains("Go on with --from "), "{output:?}");
    for command in ["pub", "sub"] {
        let output = place.run(command, &["t"], "1\n");
        assert!(output.status.code() == Some(69) && said(&output).contains("try: start the node"), "{output:?}");
    }
}

#[test]
fn every_message_is_printed_once_wherever_connections_are_cut() {
    for seed in 1..=3 {
        let place = Place::new(&format!("sub-{seed}"), seed, Faults { cut: 70, twice: 5, ..Faults::default() });
        let expected = fill(&place, 1000);
        let output = place.run("sub", &["t", "--count", "1000"], "");
        assert!(output.status.success(), "seed {seed}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "seed {seed}");
        assert!(place.pipe.known().cuts > 5, "seed {seed}: the run was idle");
        assert_eq!(said(&output), "Go on with --from 3003\n");
    }
}

#[test]
fn a_follower_goes_on_over_a_restart_from_where_it_was() {
    let mut place = Place::new("sub-restart", 1, Faults::default());
    fill(&place, 10);
    let mut follower = place.start("sub", &["--from", "tail", "--count", "3", "--json"]);
    let mut out = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let publish = |place: &Place, line: &str| {
        place.pipe.known().publish(SessionId::from_bytes([9; 16]), &topic(), line.into());
    };
    place.wait("it subscribes", |place| place.pipe.known().subscribed == 1);
    publish(&place, "one");
    let first = out.next().expect("a line").expect("text");
    assert!(first.starts_with("{\"op\":\"msg\",\"off\":35,") && first.ends_with("\"data\":\"one\"}"), "{first}");
    place.pipe.stop();
    publish(&place, "while it was away");
    place.pipe.start();
    place.wait("it subscribes again", |place| place.pipe.known().subscribed == 2);
    publish(&place, "behind");
    let rest: Vec<String> = out.map(|line| line.expect("text")).collect();
    let [away, behind] = rest.as_slice() else { panic!("{rest:?}") };
    assert!(away.ends_with("\"data\":\"while it was away\"}") && behind.ends_with("\"data\":\"behind\"}"), "{rest:?}");
    assert!(follower.wait().expect("it ends").success());
}

#[test]
fn a_slow_reader_has_no_more_than_its_credit_on_the_way() {
    let place = Place::new("sub-slow", 1, Faults::default());
    let line = "x".repeat(100);
    for _ in 0..5000 {
        place.pipe.known().publish(SessionId::from_bytes([9; 16]), &topic(), line.clone().into_bytes());
    }
    let mut follower = place.start("sub", &["t", "--count", "5000"]);
    place.wait("it begins", |place| place.pipe.known().told > 600);
    std::thread::sleep(Duration::from_millis(300));
    let told = place.pipe.known().told;
    // The credit, what was printed since it was given, and 64 KiB in the system's pipe.
    assert!(told < 1200, "{told}");
    let mut text = String::new();
    follower.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    assert_eq!(text.lines().count(), 5000);
    assert!(follower.wait().expect("it ends").success());
    let mut follower = place.start("sub", &["t"]);
    drop(follower.stdout.take());
    assert!(follower.wait().expect("it ends").success(), "who reads no more has had enough");
}

#[test]
fn programs_that_can_only_write_a_file_publish_through_a_fifo() {
    let place = Place::new("feed", 2, Faults { cut: 40, twice: 5, ..Faults::default() });
    let feeder = place.start("feed", &["fifo", "t"]);
    let fifo = place.folder.0.join("fifo");
    place.wait("the FIFO is made", |_| fifo.exists());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let script = format!("for n in $(seq 50); do echo {writer}-$n > fifo; done");
            Command::new("sh").args(["-c", &script]).current_dir(&place.folder.0).spawn().expect("a shell")
        })
        .collect();
    for mut writer in writers {
        assert!(writer.wait().expect("it ends").success());
    }
    let pid = rustix::process::Pid::from_child(&feeder);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let output = feeder.wait_with_output().expect("it ends");
    assert!(output.status.success() && said(&output).starts_with("200 acknowledged"), "{output:?}");
    let found = place.pipe.known().lines();
    for writer in 0..4 {
        let own = found.iter().filter(|line| line.starts_with(&format!("{writer}-")));
        let expected: Vec<String> = (1..=50).map(|number| format!("{writer}-{number}")).collect();
        assert!(own.eq(&expected), "{found:?}");
    }
    assert!(found.len() == 200 && !fifo.exists());
}

/// It had written its lines before the node ever answered: they are not forgotten when it is stopped.
#[test]
fn what_was_written_before_the_first_answer_is_not_lost_in_silence() {
    let place = Place::new("early", 1, Faults::default());
    let (mute, fifo) = (place.folder.0.join("mute"), place.folder.0.join("fifo"));
    let _ = std::fs::remove_file(&mute);
    // Connections wait there for ever.
    let node = std::os::unix::net::UnixListener::bind(&mute).expect("a socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
    command.current_dir(&place.folder.0).args(["cluster", "feed", "fifo", "t", "--socket", "mute"]);
    let mut feeder = command.stderr(Stdio::piped()).spawn().expect("the program can be run");
    place.wait("the FIFO is made", |_| fifo.exists());
    std::fs::write(&fifo, "one\ntwo\n").expect("it is read");
    let pid = rustix::process::Pid::from_child(&feeder);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(feeder.try_wait().expect("it can be asked"), None, "it waits for the node");
    drop(node);
    let output = feeder.wait_with_output().expect("it ends");
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn forty_lines_of_python_speak_it() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/pipe.py");
    let text = std::fs::read_to_string(&example).expect("the example is there");
    assert!(text.lines().count() <= 40, "{} lines", text.lines().count());
    let place = Place::new("python", 1, Faults::default());
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(&example).arg(PathBuf::from(&place.pipe.path)).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is installed")
    };
    let mut publisher = python(&["pub", "t"]);
    publisher.stdin.take().expect("piped").write_all(b"one\ntwo\r\n\xff\n").expect("it reads");
    assert!(publisher.wait().expect("it ends").success());
    let mut follower = python(&["sub", "0"]);
    let told: Vec<String> = BufReader::new(follower.stdout.take().expect("piped"))
        .lines()
        .take(3)
        .map(|line| line.expect("text"))
        .collect();
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
    assert_eq!(told, ["5 t one", "8 t two", "11 t \u{fffd}"]);
}

/// The page names a file and its tests in each row of a table.
#[test]
fn the_tests_that_the_page_names_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let page = std::fs::read_to_string(top.join("docs/cluster.md")).expect("the page is there");
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let Some((_, rest)) = row.split_once("| `crates/") else { continue };
        let (file, rest) = rest.split_once('`').expect("the end of a name");
        let text =
            std::fs::read_to_string(top.join("crates").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for test in rest.split('`').skip(1).step_by(2) {
            assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
            named += 1;
        }
    }
    assert!(named > 15, "{named} tests");
}
