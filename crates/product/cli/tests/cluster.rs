//! `hushwire cluster` as somebody sees it who has a terminal and a program at a pipe.

use folder::Folder;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "scratch/folder.rs"]
mod folder;

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Nothing that a test waits for takes longer on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A demo, ended at the end of the test.
struct Demo {
    child: Child,
    home: PathBuf,
}

impl Demo {
    /// Starts three nodes and waits until they take messages.
    fn start(folder: &Folder) -> TestResult<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hushwire"))
            .args(["cluster", "demo", "--nodes", "3", "--keep", "three"])
            .current_dir(&folder.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (sender, receiver) = std::sync::mpsc::channel();
        // It reads on to the end, or the demo would have nobody to write to.
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let demo = Self { child, home: folder.0.join("three") };
        while !receiver.recv_timeout(PATIENCE)?.starts_with("Try it") {}
        Ok(demo)
    }

    fn pipe(&self, node: usize) -> PathBuf {
        self.home.join(format!("n{node}/cluster.pipe"))
    }

    fn file(&self, node: usize) -> String {
        format!("three/n{node}/cluster.toml")
    }

    /// Ends it as Ctrl-D does.
    fn end(mut self) -> TestResult {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the demo ended with {status}").into()) }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program at a pipe, in a session of its own. It connects again as often as it must.
struct Program {
    pipe: PathBuf,
    session: &'static str,
    lines: Option<BufReader<UnixStream>>,
}

impl Program {
    fn new(pipe: PathBuf, session: &'static str) -> Self {
        Self { pipe, session, lines: None }
    }

    /// Says it until the answer is one that begins like this.
    fn insist(&mut self, line: &str, answer: &str) -> TestResult<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(line) {
                Ok(found) if found.starts_with(answer) => return Ok(found),
                Ok(found) if Instant::now() > deadline => return Err(format!("to {line}: {found}").into()),
                Err(error) if Instant::now() > deadline => return Err(error),
                // Nobody leads at the moment, or the node is gone.
                Ok(_) => {}
                Err(_) => self.lines = None,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&mut self, line: &str) -> TestResult<String> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => none.insert(greet(&self.pipe, self.session)?),
        };
        lines.get_mut().write_all(format!("{line}\n").as_bytes())?;
        hear(lines)
    }
}

fn greet(pipe: &Path, session: &str) -> TestResult<BufReader<UnixStream>> {
    let socket = UnixStream::connect(pipe)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(socket);
    lines.get_mut().write_all(format!("{{\"op\":\"hello\",\"session\":\"{session}\"}}\n").as_bytes())?;
    let welcome = hear(&mut lines)?;
    if welcome.starts_with("{\"op\":\"welcome\"") { Ok(lines) } else { Err(welcome.into()) }
}

fn hear(lines: &mut BufReader<UnixStream>) -> TestResult<String> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Err("the node is gone".into());
    }
    Ok(line.trim_end().to_owned())
}

/// So many messages from the oldest on.
fn followed(pipe: &Path, count: usize) -> TestResult<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    // A node that has just been started may not lead or follow yet.
    let mut lines = loop {
        match greet(pipe, "000000000000000000000000000000ff") {
            Ok(lines) => break lines,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    lines
        .get_mut()
        .write_all(b"{\"op\":\"sub\",\"from\":\"oldest\",\"names\":[\"t\"]}\n{\"op\":\"credit\",\"n\":1000}\n")?;
    let mut found = Vec::new();
    while found.len() < count {
        let line = hear(&mut lines)?;
        if line.starts_with("{\"op\":\"msg\"") {
            found.push(line);
        }
    }
    Ok(found)
}

/// A number of a node's status.
fn status(folder: &Folder, demo: &Demo, node: usize, key: &str) -> TestResult<u64> {
    let ran = folder.run(&["cluster", "status", "-c", &demo.file(node), "--json"])?;
    let key = format!("\"{key}\": ");
    let text = ran.out.lines().find_map(|line| line.trim().strip_prefix(&key)?.strip_suffix(','));
    Ok(text.ok_or_else(|| format!("no {key} in {ran:?}"))?.parse()?)
}

#[test]
fn lines_come_out_of_all_pipes_in_one_order_while_nodes_are_killed() -> TestResult {
    let folder = Folder::new("cluster-demo")?;
    let demo = Demo::start(&folder)?;
    let mut program = Program::new(demo.pipe(1), "00000000000000000000000000000001");
    for number in 1..=60 {
        program.insist(
            &format!("{{\"op\":\"pub\",\"seq\":{number},\"topic\":\"t\",\"data\":\"line {number}\"}}"),
            &format!("{{\"op\":\"ack\",\"seq\":{number},"),
        )?;
        // The one that the program is at, too.
        let victim = match number {
            15 => 3,
            30 => 1,
            45 => 2,
            _ => continue,
        };
        let pid = status(&folder, &demo, victim, "pid")?.to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status()?;
        assert!(killed.success(), "process {pid} of n{victim} was there");
    }
    let first = followed(&demo.pipe(1), 60)?;
    for node in [2, 3] {
        assert_eq!(followed(&demo.pipe(node), 60)?, first, "n{node} tells the same");
    }
    for (number, line) in (1..).zip(&first) {
        assert!(line.contains(&format!("\"n\":{},", number - 1)), "each counts once: {line}");
        assert!(line.ends_with(&format!("\"data\":\"line {number}\"}}")), "{line}");
    }
    let ended = folder.run(&["cluster", "checkpoint", "-c", &demo.file(3)])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(status(&folder, &demo, 3, "term")? >= 2);
    let removed = folder.run(&["cluster", "member", "remove", "n9", "-c", &demo.file(3)])?;
    assert!(removed.code == Some(69) && removed.err.contains("n9 is no node id"), "{removed:?}");
    demo.end()
}

#[test]
fn every_refusal_says_what_to_try() -> TestResult {
    let folder = Folder::new("cluster-refusals")?;
    let refused = |arguments: &[&str], code: i32, part: &str| -> TestResult {
        let ran = folder.run(arguments)?;
        assert!(ran.code == Some(code) && ran.err.contains(part), "{arguments:?}: {ran:?}");
        assert!(code == 64 || ran.err.contains("try:"), "{arguments:?}: {ran:?}");
        Ok(())
    };
    refused(&["cluster", "run", "nothing.toml"], 66, "cannot read")?;
    refused(&["cluster", "run", "x.toml", "--found", "--join"], 64, "cannot be used with")?;
    refused(&["cluster", "status", "--admin", "nobody"], 69, "no node is running")?;
    refused(&["cluster", "status"], 64, "--config")?;
    std::fs::write(folder.0.join("letter.txt"), "dear")?;
    refused(&["cluster", "demo", "--keep", "."], 73, "holds no demo")?;
    Ok(())
}
