//! `hushwire node`: an exit and an entry from one file, while parts die, the file changes and the node is ended.

use crate::folder::Folder;
use crate::outcome::{bad, good};
use crate::ports::free_address;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take before the test fails.
const SOON: Duration = Duration::from_secs(120);

/// A node that runs; killed with the value.
struct Node<'f> {
    folder: &'f Folder,
    child: Child,
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node<'_> {
    fn status(&self) -> Option<Value> {
        let ran = self.folder.run(&["status", "-c", "node.toml", "--json"]).expect("the program can be run");
        serde_json::from_str(&ran.out).ok()
    }

    /// What the node says of a part.
    fn part(&self, name: &str) -> Option<Value> {
        let parts = self.status()?["node"]["parts"].as_array()?.clone();
        parts.into_iter().find(|part| part["name"] == name)
    }

    fn pid(&self, part: &str) -> u64 {
        self.until(part, |part| part["pid"].is_u64())["pid"].as_u64().expect("a number")
    }

    fn until(&self, part: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let found = self.part(part);
            if let Some(found) = found.as_ref().filter(|found| is_so(found)) {
                return found.clone();
            }
            assert!(begun.elapsed() < SOON, "{part} does not come to it: {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The files of a pair as parts of one.
fn as_one(folder: &Folder) -> String {
    let part = |name: &str| {
        let text = fs::read_to_string(folder.0.join(format!("{name}.toml"))).expect("init wrote it");
        let mut out = format!("[{name}]\n");
        for line in text.lines() {
            let line = match line.strip_prefix("[[").or(line.strip_prefix('[')) {
                Some(rest) if line.starts_with("[[") => format!("[[{name}.{rest}"),
                Some(rest) => format!("[{name}.{rest}"),
                None => line.to_owned(),
            };
            out.push_str(&line);
            out.push('\n');
        }
        out
    };
    part("exit") + &part("entry")
}

/// Says a word to an echoing server through the proxy. None: it cannot be reached, yet or any more.
fn echo(proxy: SocketAddr, server: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(proxy).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\nhello").ok()?;
    let mut answer = Vec::new();
    let mut bytes = [0; 256];
    while !answer.ends_with(b"hello") {
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => answer.extend_from_slice(&bytes[..count]),
            _ => return None,
        }
    }
    Some(())
}

fn until_echoed(proxy: SocketAddr, server: SocketAddr) {
    let begun = Instant::now();
    while echo(proxy, server).is_none() {
        assert!(begun.elapsed() < SOON, "nothing comes back");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (&stream, &stream);
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    address
}

/// Files of a node with an exit and an entry that are each other's peers.
fn make_files(folder: &Folder, server: SocketAddr) -> SocketAddr {
    let (udp, proxy) = (free_address(), free_address());
    let (udp, proxy_text) = (udp.to_string(), proxy.to_string());
    let line =
        |said: String| said.lines().find(|line| line.starts_with("hushwire:")).expect("a peer's line").to_owned();
    let exit = line(good(folder, &["init", "--role", "exit", "--rate", "10 Mbit/s", "--public-address", &udp]));
    let entry = ["init", "--role", "entry", "--rate", "10 Mbit/s", "--peer", &exit, "--proxy", &proxy_text];
    let entry = line(good(folder, &entry));
    let text = as_one(folder)
        .replace("peers = []", &format!("peers = [{entry:?}]"))
        .replace("# rules = []", &format!("rules = [\"allow 127.0.0.1:{}\"]", server.port()));
    fs::write(folder.0.join("node.toml"), text).expect("a file");
    proxy
}

fn start(folder: &Folder) -> Node<'_> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
    command.args(["node", "node.toml"]).current_dir(&folder.0).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    Node { folder, child }
}

/// Both parts' peers, once their links are up.
fn until_peers(folder: &Folder) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let said: Value =
            serde_json::from_str(&good(folder, &["peers", "-c", "node.toml", "--json"])).expect("it answers in JSON");
        let peers = said["peers"].as_array().expect("a list").clone();
        if peers.len() == 2 && peers.iter().all(|peer| peer["state"] == "up") {
            return peers;
        }
        assert!(begun.elapsed() < SOON, "links do not come up: {peers:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_exit_and_an_entry_of_one_file_outlive_each_others_deaths_and_changes() {
    let folder = Folder::new("node").expect("a folder");
    let server = echo_server();
    let proxy = make_files(&folder, server);
    let checked = good(&folder, &["check", "-c", "node.toml"]);
    assert!(
        checked.contains("node.toml#exit is good: an exit") && checked.contains("node.toml#entry is good"),
        "{checked}"
    );
    let mut node = start(&folder);
    until_echoed(proxy, server);
    let shown = good(&folder, &["status", "-c", "node.toml"]);
    assert!(shown.contains("node of 2 parts") && shown.contains("exit") && shown.contains("runs, process"), "{shown}");
    assert!(good(&folder, &["status", "-c", "node.toml#entry"]).contains("entry"), "a part can be asked alone");

    // The whole of it in one answer, and its neighbours by name.
    let whole = node.status().expect("it answers");
    let role = |part: &str| whole[part]["role"].as_str().unwrap_or_default().to_owned();
    assert_eq!((whole["schema"].as_u64(), role("exit"), role("entry")), (Some(1), "exit".into(), "entry".into()));
    assert_eq!(whole["silent"], serde_json::json!([]));
    // Each part is the other one's peer. What they say of links is a second old.
    let peers = until_peers(&folder);
    assert!(peers.iter().all(|peer| peer["node_id"].as_str().is_some_and(|id| id.len() > 50)), "{peers:?}");
    let screen = good(&folder, &["peers", "-c", "node.toml#entry"]);
    assert!(screen.contains("entry") && screen.contains("up for") && !screen.contains("exit "), "{screen}");
    assert!(bad(&folder, &["circuit", "list", "-c", "node.toml"], 69).contains("no tunnel over circuits"));

    // A part dies: it comes back, and the other one has not noticed.
    let (exit, entry) = (node.pid("exit"), node.pid("entry"));
    assert!(Command::new("kill").args(["-9", &exit.to_string()]).status().expect("kill runs").success());
    let again = node.until("exit", |part| part["restarts"] == 1 && part["pid"].is_u64());
    assert!(again["last_fault"].as_str().is_some_and(|fault| fault.contains("signal 9")), "{again}");
    until_echoed(proxy, server);
    assert_eq!(node.pid("entry"), entry);

    // The file changes: a plan first, then only what has changed is started again.
    let text = fs::read_to_string(folder.0.join("node.toml")).expect("the file");
    let changed = text.replace("[exit]\n", "[exit]\nsession_timeout_s = 31\n");
    fs::write(folder.0.join("node.toml"), changed).expect("a file");
    let exit = node.pid("exit");
    let plan = "entry  unchanged\n";
    let said = good(&folder, &["reload", "--plan", "node.toml"]);
    assert!(
        said.ends_with(plan) && said.contains("exit   needs restart") && said.contains("session_timeout_s"),
        "{said}"
    );
    assert_eq!(node.pid("exit"), exit, "a plan does nothing");
    assert_eq!(good(&folder, &["reload", "node.toml"]), said);
    node.until("exit", |part| part["state"] == "running" && part["pid"] != exit);
    until_echoed(proxy, server);
    assert_eq!(node.pid("entry"), entry);

    // A file with a mistake changes nothing.
    fs::write(folder.0.join("node.toml"), text.replace("[exit]\n", "[exit]\nsession_timeout_s = 0\n")).expect("a file");
    assert!(bad(&folder, &["reload", "node.toml"], 78).contains("session_timeout_s"));
    fs::write(folder.0.join("node.toml"), &text).expect("a file");
    assert_eq!(node.pid("entry"), entry);

    good(&folder, &["drain", "node.toml"]);
    assert!(node.child.wait().expect("it ends").success());
    assert!(!folder.0.join("node.admin").exists());
    assert!(bad(&folder, &["drain", "node.toml"], 69).contains("no node is running"));
}

#[test]
fn a_node_ends_gently_with_the_program_that_started_it() {
    let folder = Folder::new("node-leash").expect("a folder");
    make_files(&folder, SocketAddr::from(([127, 0, 0, 1], 9)));
    // Its input is at its end, as when who started it is gone.
    let ran = folder.run(&["node", "node.toml", "--leash"]).expect("the program can be run");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("ending") && !folder.0.join("node.admin").exists(), "{}", ran.err);
}
