//! `demo`, `bench` and running nodes, as programs on this machine.

use crate::ports::free_address;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

type TestResult = Result<(), Box<dyn Error>>;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fresh folder for temporary files, and every process that was started with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        // Short, because unix sockets have short paths.
        let path = std::env::temp_dir().join(format!("hw-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        command.args(arguments).current_dir(&self.0).env("TMPDIR", &self.0).env_remove("HUSHWIRE_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Numbers of all processes that have this folder as theirs: the nodes' and their processes', too.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let inside = |path: &Path| std::fs::read_link(path.join("cwd")).is_ok_and(|folder| folder.starts_with(&self.0));
        let numbers = entries.map(|entry| entry.path()).filter(|path| inside(path));
        numbers.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect()
    }

    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(&self.0)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    /// Waits until no process is left.
    fn wait_until_quiet(&self) -> TestResult {
        let begun = Instant::now();
        while !self.processes().is_empty() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("still running: {:?}", self.processes()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Reads lines of a running program until one contains `wanted`; returns it.
fn line_with(lines: &mut impl BufRead, wanted: &str) -> Result<String, Box<dyn Error>> {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(format!("no line with {wanted:?} in:\n{seen}").into());
        }
        if line.contains(wanted) {
            return Ok(line);
        }
        seen.push_str(&line);
    }
}

fn signal(child: &Child, name: &str) -> TestResult {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err("kill failed".into()) }
}

#[test]
fn the_demo_serves_a_page_counts_packets_and_leaves_nothing() -> TestResult {
    let folder = Folder::new("demo")?;
    let ran = folder.command(&["demo", "--pair", "--for", "5", "--rate", "2 Mbit/s"]).output()?;
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    assert!(out.contains("Fetched the page through the pair:") && out.contains("identical"), "{out}");
    let curl = out.lines().find(|line| line.trim_start().starts_with("curl ")).ok_or("a curl line")?;
    assert!(curl.contains("--proxy socks5h://127.0.0.1:") && !curl.contains('|'), "{curl}");
    assert!(out.lines().filter(|line| line.starts_with("wire:")).count() >= 2, "{out}");
    assert!(out.contains("/s down, 1350 bytes each | apps: "), "{out}");
    assert_eq!(folder.processes(), Vec::<String>::new());
    assert_eq!(folder.files()?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn ctrl_c_ends_the_demo_cleanly_and_its_proxy_works_until_then() -> TestResult {
    let folder = Folder::new("ctrlc")?;
    let mut demo = folder.command(&["demo", "--pair", "--mode", "off"]).spawn()?;
    let mut lines = BufReader::new(demo.stdout.take().ok_or("stdout")?);
    let curl = line_with(&mut lines, "curl --proxy")?;
    let (_, rest) = curl.split_once("socks5h://").ok_or("a proxy")?;
    let (proxy, page) = rest.trim().split_once(" http://").ok_or("a page")?;
    let server = page.trim_end_matches('/');

    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.contains("<h1>It works</h1>"), "{answer}");

    line_with(&mut lines, "wire:")?;
    signal(&demo, "-INT")?;
    line_with(&mut lines, "Nothing is left behind")?;
    assert!(demo.wait()?.success());
    assert_eq!(folder.processes(), Vec::<String>::new());
    assert_eq!(folder.files()?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn nodes_end_with_a_demo_that_is_killed() -> TestResult {
    let folder = Folder::new("kill")?;
    let mut demo = folder.command(&["demo", "--pair"]).spawn()?;
    let mut lines = BufReader::new(demo.stdout.take().ok_or("stdout")?);
    line_with(&mut lines, "wire:")?;
    assert!(folder.processes().len() >= 7, "the demo, two supervisors, four processes: {:?}", folder.processes());
    demo.kill()?;
    demo.wait()?;
    folder.wait_until_quiet()
}

#[test]
fn the_bench_measures_both_directions_and_four_processes() -> TestResult {
    let folder = Folder::new("bench")?;
    let ran = folder.command(&["bench", "--seconds", "1", "--echoes", "20", "--json"]).output()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    for direction in ["download", "upload"] {
        let rate = figures[direction]["megabits_per_second"].as_f64().ok_or("a rate")?;
        assert!(rate > 0.0, "{figures}");
    }
    assert_eq!(figures["processes"].as_array().map(Vec::len), Some(4), "{figures}");
    assert!(figures["echo"]["p50_us"].as_f64() > figures["echo_direct"]["p50_us"].as_f64(), "{figures}");
    assert_eq!(folder.processes(), Vec::<String>::new());
    assert_eq!(folder.files()?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_node_says_in_one_sentence_why_it_does_not_start() -> TestResult {
    let folder = Folder::new("start")?;
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let made =
        folder.command(&["init", "--role", "exit", "--rate", "2 Mbit/s", "--public-address", &address]).output()?;
    assert!(made.status.success(), "{made:?}");
    let ran = folder.command(&["exit", "-c", "exit.toml"]).output()?;
    let err = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(71), "{err}");
    let port = taken.local_addr()?.port();
    assert!(err.contains(&format!("error: cannot open the UDP socket 0.0.0.0:{port}: ")), "{err}");
    assert!(err.contains("\n  try: another program has it"), "{err}");
    assert!(!folder.0.join("exit.admin").exists(), "the admin socket goes, too");
    Ok(())
}

#[test]
fn a_running_node_has_a_status_and_can_be_stopped() -> TestResult {
    let folder = Folder::new("status")?;
    let address = free_address().to_string();
    let made =
        folder.command(&["init", "--role", "exit", "--rate", "2 Mbit/s", "--public-address", &address]).output()?;
    assert!(made.status.success(), "{made:?}");
    let mut node = folder.command(&["exit", "-c", "exit.toml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let begun = Instant::now();
    let status = loop {
        let asked = folder.command(&["status", "--json"]).output()?;
        if asked.status.success() {
            break serde_json::from_slice::<serde_json::Value>(&asked.stdout)?;
        }
        assert_eq!(asked.status.code(), Some(69));
        assert!(begun.elapsed() < PATIENCE && node.try_wait()?.is_none(), "the node does not serve");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((&status[0]["role"], &status[0]["mode"]), (&"exit".into(), &"constant".into()), "{status}");
    assert_eq!(status[0]["processes"].as_array().map(Vec::len), Some(3), "{status}");

    let second = folder.command(&["exit", "-c", "exit.toml"]).output()?;
    let err = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(71) && err.contains("a node is already running"), "{err}");

    signal(&node, "-TERM")?;
    assert!(node.wait()?.success());
    folder.wait_until_quiet()?;
    assert!(!folder.0.join("exit.admin").exists());
    Ok(())
}

/// A server that answers every connection with `greeting` and closes.
fn greeter(greeting: &'static str) -> std::io::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that has gone away misses its greeting.
            let _ = stream.write_all(greeting.as_bytes());
        }
    });
    Ok(address)
}

/// A service that repeats what it is asked and has an answer, once it was told that a stranger speaks.
fn directory_service(path: &Path) -> TestResult {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = String::new();
            let _ = stream.read_exact(&mut [0; 5]);
            if stream.read_to_string(&mut asked).is_ok() {
                let _ = write!(stream, "{asked} the newest");
            }
        }
    });
    Ok(())
}

/// What the service answers to a question through the entry's listener.
fn ask_directory(listener: &Path) -> Result<String, Box<dyn Error>> {
    let mut stream = std::os::unix::net::UnixStream::connect(listener)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"which edition?")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn what_the_files_say_is_what_the_nodes_do() -> TestResult {
    let folder = Folder::new("files")?;
    let (open, closed) = (greeter("hello from the forward\n")?, greeter("never seen\n")?);
    let (udp, proxy) = (free_address().to_string(), free_address().to_string());
    let line = |out: &[u8]| {
        let out = String::from_utf8_lossy(out).into_owned();
        out.lines().find(|line| line.starts_with("hushwire:")).map(str::to_owned).ok_or("a line for the other node")
    };
    let exit = ["init", "--role", "exit", "--rate", "10 Mbit/s", "--public-address", &udp];
    let exit_line = line(&folder.command(&exit).output()?.stdout)?;
    let entry = ["init", "--role", "entry", "--rate", "10 Mbit/s", "--peer", &exit_line, "--proxy", &proxy];
    let entry_line = line(&folder.command(&entry).output()?.stdout)?;
    let change = |file: &str, from: &str, to: &str| -> TestResult {
        let text = std::fs::read_to_string(folder.0.join(file))?;
        assert!(text.contains(from), "{file} has {from}");
        Ok(std::fs::write(folder.0.join(file), text.replace(from, to))?)
    };
    change("exit.toml", "peers = []", &format!("peers = [{entry_line:?}]"))?;
    change("exit.toml", "# rules = []", &format!("rules = [\"allow 127.0.0.1:{}\"]", open.port()))?;
    let directory = "[[listen]]\nkind = \"directory\"\nunix = \"d.sock\"\n";
    let forward = format!("{directory}[[listen]]\nkind = \"forward\"\nunix = \"f.sock\"\nto = \"{open}\"\n\n[queues]");
    change("exit.toml", "# socket = \"directory.socket\"", "socket = \"service.sock\"")?;
    directory_service(&folder.0.join("service.sock"))?;
    change("entry.toml", "[queues]", &forward)?;
    change("entry.toml", "# users_file = \"entry.users\"", "users_file = \"entry.users\"")?;
    change("entry.toml", "# format = \"text\"", "format = \"json\"")?;
    config::create_secret_file(&folder.0.join("entry.users"), "ann:secret\n")?;

    let start = |role: &str| folder.command(&[role, "-c", &format!("{role}.toml")]).stdout(Stdio::null()).spawn();
    let (mut exit, mut entry) = (start("exit")?, start("entry")?);
    let begun = Instant::now();
    let mut greeting = String::new();
    while greeting.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err("the forward does not serve".into());
        }
        // Until the link is up, there is no socket or the connection is reset.
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(folder.0.join("f.sock")) {
            stream.set_read_timeout(Some(PATIENCE))?;
            let _ = stream.read_to_string(&mut greeting);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(greeting, "hello from the forward\n");
    assert_eq!(ask_directory(&folder.0.join("d.sock"))?, "which edition? the newest");

    let answer = |to: std::net::SocketAddr, login: &str| -> Result<String, Box<dyn Error>> {
        let mut stream = TcpStream::connect(&proxy)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic {login}\r\n\r\n")?;
        let mut answer = Vec::new();
        // A reset after the answer is no less an answer.
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let (ann, eve) = ("YW5uOnNlY3JldA==", "ZXZlOnNlY3JldA==");
    let served = answer(open, ann)?;
    assert!(served.starts_with("HTTP/1.1 200") && served.ends_with("hello from the forward\n"), "{served}");
    assert!(answer(open, eve)?.starts_with("HTTP/1.1 407"), "a stranger has no login");
    let denied = answer(closed, ann)?;
    assert!(denied.starts_with("HTTP/1.1 403") && !denied.contains("never seen"), "{denied}");

    for node in [&mut entry, &mut exit] {
        signal(node, "-TERM")?;
        assert!(node.wait()?.success());
    }
    let mut log = String::new();
    entry.stderr.take().ok_or("stderr")?.read_to_string(&mut log)?;
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).map_err(|error| format!("{error}: {line}"))?;
        assert!(!line.contains(&open.port().to_string()), "no destination in a log: {line}");
    }
    folder.wait_until_quiet()
}
