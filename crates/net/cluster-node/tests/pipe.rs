//! Three nodes in one process, with their folders, their pipes, and channels in the place of a network.

use cluster_node::driver::{Input, Peers, Running, Stopped, start};
use cluster_node::folder::Folder;
use cluster_node::pipe::Pipe;
use identity::NodeId;
use replicated_log::{Checkpoint, ClusterId, Members, Outgoing, SessionEpoch, Term, Tuning};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const CLUSTER: ClusterId = ClusterId([9; 32]);
const PATIENCE: Duration = Duration::from_secs(90);

fn node_id(number: u8) -> NodeId {
    NodeId([number; 32])
}

/// A network that connects everybody who is there.
#[derive(Default)]
struct Hub {
    nodes: Mutex<BTreeMap<NodeId, tokio::sync::mpsc::Sender<Input>>>,
    epochs: AtomicU64,
    lines: Mutex<BTreeMap<(NodeId, NodeId), SessionEpoch>>,
    /// Who hears nothing at the moment, and what is on its way there.
    held: Mutex<Option<(NodeId, VecDeque<Input>)>>,
}

impl Hub {
    fn join(&self, node: NodeId, inputs: tokio::sync::mpsc::Sender<Input>) {
        let mut nodes = self.nodes.lock().expect("nobody panics with it");
        let mut lines = self.lines.lock().expect("nobody panics with it");
        for (peer, its_inputs) in nodes.iter() {
            let epoch = SessionEpoch(self.epochs.fetch_add(1, Ordering::Relaxed) + 1);
            lines.insert((node, *peer), epoch);
            lines.insert((*peer, node), epoch);
            its_inputs.blocking_send(Input::Connected(node, epoch)).expect("it runs");
            inputs.blocking_send(Input::Connected(*peer, epoch)).expect("it runs");
        }
        nodes.insert(node, inputs);
    }

    fn leave(&self, node: NodeId) {
        let mut nodes = self.nodes.lock().expect("nobody panics with it");
        nodes.remove(&node);
        let mut lines = self.lines.lock().expect("nobody panics with it");
        for (peer, inputs) in nodes.iter() {
            if let Some(epoch) = lines.remove(&(*peer, node)) {
                inputs.blocking_send(Input::Lost(node, epoch)).expect("it runs");
            }
            lines.remove(&(node, *peer));
        }
    }

    /// Frames to this node wait.
    fn hold(&self, node: NodeId) {
        *self.held.lock().expect("nobody panics with it") = Some((node, VecDeque::new()));
    }

    /// They arrive, one after another, so that the node takes each as it comes.
    fn release(&self) {
        loop {
            let mut held = self.held.lock().expect("nobody panics with it");
            let Some((node, frames)) = held.as_mut() else { return };
            let (node, Some(frame)) = (*node, frames.pop_front()) else {
                *held = None;
                return;
            };
            drop(held);
            let target = self.nodes.lock().expect("nobody panics with it").get(&node).cloned();
            target.expect("it runs").blocking_send(frame).expect("it runs");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Line {
    own: NodeId,
    hub: Arc<Hub>,
}

impl Peers for Line {
    fn send(&mut self, frame: Outgoing) {
        if self.hub.lines.lock().expect("nobody panics with it").get(&(self.own, frame.to)) != Some(&frame.epoch) {
            return;
        }
        let target = self.hub.nodes.lock().expect("nobody panics with it").get(&frame.to).cloned();
        if let Some((node, frames)) = self.hub.held.lock().expect("nobody panics with it").as_mut()
            && *node == frame.to
        {
            return frames.push_back(Input::Frame(self.own, frame.epoch, frame.bytes));
        }
        // A full node would be a session that ends; the tests stay far below.
        if let Some(target) = target {
            let _ = target.try_send(Input::Frame(self.own, frame.epoch, frame.bytes));
        }
    }

    fn refuse(&mut self, peer: NodeId, _: SessionEpoch) {
        panic!("a frame of {peer} was refused");
    }

    fn set_members(&mut self, _: &Members) {}
}

/// A node and the thread of its pipe.
struct Runs {
    node: Running,
    ended: mpsc::Receiver<Stopped>,
    close_pipe: tokio::sync::oneshot::Sender<()>,
    pipe: std::thread::JoinHandle<()>,
}

struct Cluster {
    folder: PathBuf,
    hub: Arc<Hub>,
    running: BTreeMap<u8, Runs>,
    incarnation: u64,
    tuning: Tuning,
}

impl Cluster {
    fn new(name: &str, tuning: Tuning) -> Self {
        let folder = std::env::temp_dir().join(format!("hushwire-pipe-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let members = Members::new([1, 2, 3].map(node_id)).expect("three");
        let genesis = Checkpoint::genesis(CLUSTER, members).encode();
        let mut cluster = Self { folder, hub: Arc::default(), running: BTreeMap::new(), incarnation: 0, tuning };
        for number in [1, 2, 3] {
            let home = cluster.home(number);
            Folder::create(&home, (CLUSTER, node_id(number)), Term(1), &genesis).expect("a new folder");
            cluster.start(number);
        }
        cluster
    }

    fn home(&self, number: u8) -> PathBuf {
        self.folder.join(format!("node-{number}"))
    }

    fn pipe(&self, number: u8) -> PathBuf {
        self.folder.join(format!("pipe-{number}"))
    }

    fn start(&mut self, number: u8) {
        let own = node_id(number);
        self.incarnation += 1;
        let opened = Folder::open(&self.home(number), (CLUSTER, own)).expect("its folder");
        let line = Line { own, hub: self.hub.clone() };
        let (sender, ended) = mpsc::channel();
        let say = move |why| drop(sender.send(why));
        let (close_pipe, closed) = tokio::sync::oneshot::channel();
        let (path, identity, incarnation, tuning) = (self.pipe(number), (CLUSTER, own), self.incarnation, self.tuning);
        let (ready, is_ready) = mpsc::channel();
        let pipe = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let apps = Default::default();
                let node = start(opened, identity, incarnation, tuning, apps, line, say).expect("it starts");
                let pipe = Pipe::listen(&path, []).expect("its pipe");
                ready.send(node.clone()).expect("somebody waits");
                tokio::select! {
                    () = pipe.serve(node) => {}
                    _ = closed => {}
                }
            });
        });
        let node = is_ready.recv().expect("its pipe");
        self.hub.join(own, node.inputs.clone());
        self.running.insert(number, Runs { node, ended, close_pipe, pipe });
    }

    fn stop(&mut self, number: u8) {
        let Runs { node, ended, close_pipe, pipe } = self.running.remove(&number).expect("it runs");
        self.hub.leave(node_id(number));
        node.inputs.blocking_send(Input::Stop).expect("it runs");
        assert!(matches!(ended.recv_timeout(PATIENCE), Ok(Stopped::Asked)));
        close_pipe.send(()).expect("its pipe is open");
        pipe.join().expect("its pipe ends");
    }

    fn connect(&self, number: u8) -> Program {
        Program::connect(&self.pipe(number))
    }

    fn leader(&self) -> u8 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (number, runs) in &self.running {
                if runs.node.view.borrow().status.leads {
                    return *number;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            if !std::thread::panicking() {
                self.stop(number);
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A program at a pipe.
struct Program {
    socket: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Program {
    fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).expect("the pipe");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let lines = BufReader::new(socket.try_clone().expect("a socket"));
        Self { socket, lines }
    }

    fn say(&mut self, line: &str) {
        self.socket.write_all(format!("{line}\n").as_bytes()).expect("the node reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the node answers");
        line.trim_end().to_owned()
    }

    /// The next line that is a message or what else was asked for: not the subscription's place.
    fn hear_more(&mut self) -> String {
        loop {
            let line = self.hear();
            if !line.contains("\"op\":\"cp\"") {
                return line;
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear_more()
    }
}

fn tuned() -> Tuning {
    Tuning { tick_ms: 10, ..Tuning::default() }
}

fn field(line: &str, key: &str) -> u64 {
    let begin = line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {line}")) + key.len() + 3;
    let digits: String = line[begin..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{key} is no number in {line}"))
}

#[test]
fn what_one_node_takes_all_tell_in_one_order() {
    let cluster = Cluster::new("order", tuned());
    let mut programs = [1, 2, 3].map(|number| cluster.connect(number));
    for (place, program) in programs.iter_mut().enumerate() {
        assert!(program.ask("{\"op\":\"hello\"}").contains("\"next\":1"));
        for sequence in 1..=50 {
            program.say(&format!(
                "{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"t\",\"data\":\"{place}-{sequence}\"}}\r"
            ));
        }
    }
    for program in &mut programs {
        for sequence in 1..=50 {
            let line = program.hear();
            assert!(line.starts_with(&format!("{{\"op\":\"ack\",\"seq\":{sequence},")), "{line}");
        }
    }
    let followed = [1, 2, 3].map(|number| {
        let mut program = cluster.connect(number);
        program.ask("{\"op\":\"hello\"}");
        program.say("{\"op\":\"sub\",\"from\":\"oldest\",\"names\":[\"t\"]}");
        program.say("{\"op\":\"credit\",\"n\":1000}");
        (0..150).map(|_| program.hear_more()).collect::<Vec<_>>()
    });
    assert_eq!(followed[0], followed[1]);
    assert_eq!(followed[0], followed[2]);
    for (number, line) in followed[0].iter().enumerate() {
        assert_eq!(field(line, "n"), number as u64, "{line}");
    }
}

#[test]
fn keys_are_put_compared_and_read_anywhere() {
    let cluster = Cluster::new("keys", tuned());
    let (mut one, mut other) = (cluster.connect(1), cluster.connect(2));
    one.ask("{\"op\":\"hello\"}");
    other.ask("{\"op\":\"hello\"}");
    assert!(
        one.ask("{\"op\":\"put\",\"seq\":1,\"key\":\"k\",\"if\":0,\"data\":\"a\"}").starts_with("{\"op\":\"changed\"")
    );
    let line = other.ask("{\"op\":\"read\",\"id\":7,\"key\":\"k\",\"level\":\"linear\"}");
    assert!(
        line.starts_with("{\"op\":\"value\",\"id\":7,") && line.ends_with("\"version\":1,\"data\":\"a\"}"),
        "{line}"
    );
    let line = other.ask("{\"op\":\"put\",\"seq\":1,\"key\":\"k\",\"if\":0,\"data\":\"b\"}");
    assert!(line.starts_with("{\"op\":\"differs\"") && line.ends_with("\"version\":1,\"data\":\"a\"}"), "{line}");
    other.say("{\"op\":\"sub\",\"of\":\"keys\",\"from\":\"oldest\"}");
    other.say("{\"op\":\"credit\",\"n\":9}");
    let line = other.hear_more();
    assert!(line.contains("\"name\":\"k\",\"n\":1,") && line.ends_with("\"data\":\"a\"}"), "{line}");
    one.ask("{\"op\":\"put\",\"seq\":2,\"key\":\"k\"}");
    let line = other.hear_more();
    assert!(line.contains("\"name\":\"k\",\"n\":2,") && !line.contains("data"), "{line}");
    assert!(one.ask("{\"op\":\"call\",\"seq\":3,\"app\":3,\"data\":\"ping\"}").contains("\"data\":\"pong"));
}

#[test]
fn a_message_that_is_sent_again_counts_once_over_a_change_of_leader() {
    let mut cluster = Cluster::new("again", tuned());
    let hello = "{\"op\":\"hello\",\"session\":\"00000000000000000000000000000007\"}";
    let publish = |sequence| format!("{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"t\",\"data\":\"{sequence}\"}}");
    let leader = cluster.leader();
    let others = [1, 2, 3].into_iter().filter(|number| *number != leader).collect::<Vec<_>>();
    let mut program = cluster.connect(leader);
    assert!(program.ask(hello).contains("\"next\":1"));
    let first = program.ask(&publish(1));
    cluster.stop(leader);
    let mut program = cluster.connect(others[0]);
    assert!(program.ask(hello).contains("\"next\":2"));
    assert_eq!(program.ask(&publish(1)), first, "the same answer");
    let second = program.ask(&publish(2));
    assert_eq!(field(&second, "n"), 1);
    let line = program.ask(&publish(9));
    assert!(line.contains("\"code\":\"gap\"") && field(&line, "expected") == 3, "{line}");
    cluster.start(leader);
    let mut program = cluster.connect(leader);
    assert!(program.ask(hello).contains("\"next\":3"));
    assert_eq!(program.ask(&publish(2)), second, "the same answer from the disk");
}

/// What opens the session is an opening of before, to which the node only comes when the next one waits.
#[test]
fn a_node_that_is_behind_greets_with_what_was_acknowledged_elsewhere() {
    let cluster = Cluster::new("behind", tuned());
    let hello = "{\"op\":\"hello\",\"session\":\"00000000000000000000000000000007\"}";
    let leader = cluster.leader();
    let behind = [1, 2, 3].into_iter().find(|number| *number != leader).expect("three nodes");
    assert!(cluster.connect(behind).ask(hello).contains("\"next\":1"));
    let ordered = || cluster.running[&leader].node.view.borrow().status.next;
    let before = ordered();
    cluster.hub.hold(node_id(behind));
    let mut unheard = cluster.connect(behind);
    unheard.say(hello);
    let deadline = Instant::now() + PATIENCE;
    while ordered() == before {
        assert!(Instant::now() < deadline, "the leader hears it");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut program = cluster.connect(leader);
    assert!(program.ask(hello).contains("\"next\":1"));
    for sequence in 1..=20 {
        let publish = format!("{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"t\",\"data\":\"x\"}}");
        assert!(program.ask(&publish).starts_with("{\"op\":\"ack\""), "a majority is there");
    }
    let mut again = cluster.connect(behind);
    again.say(hello);
    // The node reads it meanwhile; without that the test shows less, and fails no more.
    std::thread::sleep(Duration::from_millis(100));
    cluster.hub.release();
    let welcome = again.hear();
    assert!(welcome.contains("\"next\":21"), "{welcome}");
}

#[test]
fn one_who_begins_long_ago_is_told_from_the_files_over_terms() {
    let mut cluster = Cluster::new("files", Tuning { term_entries_max: 1_000, ..tuned() });
    let mut program = cluster.connect(1);
    program.ask("{\"op\":\"hello\"}");
    for sequence in 1..=6_000 {
        program.say(&format!("{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"t\",\"data\":\"x\"}}"));
        // A window of as many as the node reads ahead.
        if sequence > 500 {
            let line = program.hear();
            assert!(line.starts_with("{\"op\":\"ack\""), "{line}");
        }
    }
    for _ in 0..500 {
        program.hear();
    }
    // After a restart nothing of the older terms is in memory.
    for number in [1, 2] {
        cluster.stop(number);
        cluster.start(number);
        let mut follower = cluster.connect(number);
        follower.ask("{\"op\":\"hello\"}");
        follower.say("{\"op\":\"sub\",\"from\":\"oldest\"}");
        follower.say("{\"op\":\"credit\",\"n\":10000}");
        for number in 0..6_000 {
            let line = follower.hear_more();
            assert_eq!(field(&line, "n"), number, "{line}");
        }
    }
    assert!(cluster.running[&1].node.view.borrow().status.term > Term(4));
}

#[test]
fn one_who_does_not_read_holds_up_nobody() {
    let cluster = Cluster::new("slow", tuned());
    let mut slow = cluster.connect(1);
    slow.ask("{\"op\":\"hello\"}");
    slow.say("{\"op\":\"sub\",\"from\":\"tail\"}");
    slow.say("{\"op\":\"credit\",\"n\":100000}");
    // It asks for much and reads nothing of it.
    for id in 0..5_000 {
        slow.say(&format!("{{\"op\":\"read\",\"id\":{id},\"key\":\"k\",\"level\":\"local\"}}"));
    }
    let mut program = cluster.connect(1);
    program.ask("{\"op\":\"hello\"}");
    let data = "x".repeat(10_000);
    for sequence in 1..=200 {
        let line = program.ask(&format!("{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"t\",\"data\":\"{data}\"}}"));
        assert!(line.starts_with("{\"op\":\"ack\""), "{line}");
    }
    let mut messages = 0;
    while messages < 200 {
        messages += usize::from(slow.hear().starts_with("{\"op\":\"msg\""));
    }
}

#[test]
fn the_example_in_python_publishes_and_follows() {
    let cluster = Cluster::new("python", tuned());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/pipe.py");
    let run = |number: u8, arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(&example).arg(cluster.pipe(number)).args(arguments);
        command
    };
    let mut publish =
        run(1, &["pub", "t"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let publish = publish.as_mut().expect("python3 is installed");
    publish.stdin.take().expect("piped").write_all(b"one\ntwo\r\n\xff\n").expect("it reads");
    assert!(publish.wait().expect("it ends").success());
    let mut follow = run(3, &["sub", "0"]).stdout(std::process::Stdio::piped()).spawn().expect("python3 is installed");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let told: Vec<String> = (0..3).map(|_| lines.next().expect("a line").expect("text")).collect();
    follow.kill().expect("it runs");
    follow.wait().expect("it ends");
    let words: Vec<_> = told.iter().map(|line| line.split_once(" t ").expect("a topic").1).collect();
    assert_eq!(words, ["one", "two", "\u{fffd}"]);
}
