//! `hushwire cluster` as somebody sees it who has a terminal and a program at a pipe.

use crate::folder::Folder;
use crate::ports::free_address;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    session: String,
    lines: Option<BufReader<UnixStream>>,
}

impl Program {
    fn new(pipe: PathBuf, session: &str) -> Self {
        Self { pipe, session: session.to_owned(), lines: None }
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
            none => none.insert(greet(&self.pipe, &self.session)?),
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
    // One that was just killed learns what it missed before it tells anything.
    lines.get_mut().set_read_timeout(Some(PATIENCE))?;
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
    let (deadline, key) = (Instant::now() + PATIENCE, format!("\"{key}\": "));
    loop {
        let ran = folder.run(&["cluster", "status", "-c", &demo.file(node), "--json"])?;
        let text = ran.out.lines().find_map(|line| line.trim().strip_prefix(&key)?.strip_suffix(','));
        match text {
            Some(text) => return Ok(text.parse()?),
            // A node that is busy for some seconds gives no answer.
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            None => return Err(format!("no {key} in {ran:?}").into()),
        }
    }
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

/// A command at the pipe of a real node; killed if the test ends before it.
struct AtPipe(Option<Child>);

impl AtPipe {
    fn start(folder: &Folder, arguments: &[&str], pipe: &Path) -> TestResult<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        command.current_dir(&folder.0).arg("cluster").args(arguments).arg("--socket").arg(pipe);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(Some(command.spawn()?)))
    }

    fn child(&mut self) -> TestResult<&mut Child> {
        self.0.as_mut().ok_or_else(|| "it has ended".into())
    }

    /// What it printed, and said, once it has ended well.
    fn end(mut self) -> TestResult<(String, String)> {
        let mut child = self.0.take().ok_or("it has ended")?;
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        let said = String::from_utf8(output.stderr)?;
        if output.status.success() { Ok((String::from_utf8(output.stdout)?, said)) } else { Err(said.into()) }
    }
}

impl Drop for AtPipe {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn pub_and_feed_go_on_while_their_nodes_are_killed_and_sub_tells_the_same_everywhere() -> TestResult {
    let folder = Folder::new("cluster-lines")?;
    let demo = Demo::start(&folder)?;
    let count = ["sub", "t", "--count", "240"];
    let mut subs = Vec::new();
    for node in 1..=3 {
        subs.push(AtPipe::start(&folder, &count, &demo.pipe(node))?);
    }
    let mut feed = AtPipe::start(&folder, &["feed", "fifo", "t"], &demo.pipe(2))?;
    let mut publisher = AtPipe::start(&folder, &["pub", "t"], &demo.pipe(1))?;
    let mut input = publisher.child()?.stdin.take().ok_or("its input is piped")?;
    let deadline = Instant::now() + PATIENCE;
    while !folder.0.join("fifo").exists() {
        assert!(Instant::now() < deadline, "feed makes its FIFO");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut fifo = std::fs::File::options().write(true).open(folder.0.join("fifo"))?;
    // The subscription at the third node is read along, so that kills come in the middle.
    let output = BufReader::new(subs[2].child()?.stdout.take().ok_or("its output is piped")?);
    let (sender, along) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let mut third = String::new();
    for part in 0..4 {
        for number in part * 30..(part + 1) * 30 {
            writeln!(input, "pub {number}")?;
            writeln!(fifo, "feed {number}")?;
        }
        // Both commands were greeted in the first part. Nothing of this one may be acknowledged yet, or some, or all.
        if let Some(victim) = [None, Some(1), Some(2), Some(3)][part] {
            let pid = status(&folder, &demo, victim, "pid")?.to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status()?.success(), "n{victim} ran");
        }
        for _ in 0..60 {
            let line = along.recv_timeout(PATIENCE).map_err(|error| format!("{error} after: {third}"))?;
            third.push_str(&line);
            third.push('\n');
        }
    }
    drop((input, fifo));
    let (_, said) = publisher.end()?;
    assert!(said.starts_with("120 acknowledged"), "{said}");
    let pid = feed.child()?.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status()?.success());
    let (_, said) = feed.end()?;
    assert!(said.starts_with("120 acknowledged"), "{said}");
    for sub in subs.drain(..2) {
        assert_eq!(sub.end()?.0, third, "every node tells the same");
    }
    for writer in ["pub", "feed"] {
        let own: Vec<&str> = third.lines().filter(|line| line.starts_with(writer)).collect();
        let expected: Vec<String> = (0..120).map(|number| format!("{writer} {number}")).collect();
        assert_eq!(own, expected, "each line once, in its order");
    }
    demo.end()
}

/// Files as an operator of the original program has them: certificates made with openssl, and `px.json`.
fn write_px_files(folder: &Folder) -> TestResult {
    let openssl = |line: &str| -> TestResult {
        let made = Command::new("openssl").args(line.split(' ')).current_dir(&folder.0).output();
        let made = made.map_err(|error| format!("this test needs openssl, of the Debian package openssl: {error}"))?;
        if made.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&made.stderr).into()) }
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=px -days 30"))?;
    let addresses = [(); 3].map(|()| free_address());
    for (node, address) in (1..).zip(&addresses) {
        let name = format!("n{node}.example");
        openssl(&format!(
            "req {key} -keyout n{node}.key -out n{node}.csr -subj /CN={name} -addext subjectAltName=DNS:{name}"
        ))?;
        openssl(&format!(
            "x509 -req -in n{node}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out n{node}.crt -days 30 \
             -copy_extensions copy"
        ))?;
        let others = (1..).zip(&addresses).filter(|(other, _)| *other != node);
        let server = |(other, address)| format!(r#"{{ "addr": "{address}", "server_name": "n{other}.example" }}"#);
        let servers: Vec<String> = others.map(server).collect();
        let text = format!(
            r#"{{ "me": {{ "id": "{name}", "addr": "{address}",
                 "tls_config_info": {{ "cert_path": "n{node}.crt", "key_path": "n{node}.key", "ca_cert_path": "ca.crt" }} }},
                 "retry_delay": 200, "ping": true, "servers": [ {} ] }}"#,
            servers.join(", ")
        );
        std::fs::write(folder.0.join(format!("n{node}.json")), text)?;
    }
    Ok(())
}

#[test]
fn three_nodes_with_the_originals_files_are_a_cluster() -> TestResult {
    let folder = Folder::new("cluster-px")?;
    write_px_files(&folder)?;
    let mut nodes = Vec::new();
    for node in 1..=3 {
        let checked = folder.run(&["check", "-c", &format!("n{node}.json")])?;
        assert!(checked.code == Some(0) && checked.out.contains("a node of a cluster of 3"), "{checked:?}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        command.args(["cluster", "run", &format!("n{node}.json"), "--found"]).current_dir(&folder.0);
        let log = std::fs::File::create(folder.0.join(format!("n{node}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        nodes.push(AtPipe(Some(child)));
    }
    let pipe = |node: usize| folder.0.join(format!("n{node}.pipe"));
    for node in 1..=3 {
        let session = format!("{node:032x}");
        let mut program = Program::new(pipe(node), &session);
        program.insist(r#"{"op":"pub","seq":1,"topic":"t","data":"x"}"#, r#"{"op":"ack","seq":1,"#)?;
    }
    let first = followed(&pipe(1), 3)?;
    for node in [2, 3] {
        assert_eq!(followed(&pipe(node), 3)?, first, "n{node} tells the same");
    }
    let shown = folder.run(&["cluster", "status", "-c", "n2.json"])?;
    assert!(shown.code == Some(0) && shown.out.contains("n3.example"), "{shown:?}");
    Ok(())
}

#[test]
fn check_says_what_is_wrong_with_a_nodes_file() -> TestResult {
    let folder = Folder::new("cluster-check")?;
    let demo = Demo::start(&folder)?;
    let good = folder.run(&["check", "-c", &demo.file(2)])?;
    assert!(good.code == Some(0) && good.out.contains("a node of a cluster of 3, n2"), "{good:?}");
    let path = folder.0.join(demo.file(2));
    let text = std::fs::read_to_string(&path)?;
    let refused = |text: &str, code: i32, part: &str| -> TestResult {
        std::fs::write(&path, text)?;
        let ran = folder.run(&["check", "-c", &demo.file(2)])?;
        assert!(ran.code == Some(code) && ran.err.contains(part) && ran.err.contains("try:"), "{ran:?}");
        Ok(())
    };
    refused(&text.replace("listen =", "listens ="), 78, "did you mean")?;
    refused(&text.replace("\"node.crt\"", "\"none.crt\""), 66, "cannot read")?;
    std::fs::copy(folder.0.join("three/n1/node.crt"), folder.0.join("three/n2/other.crt"))?;
    refused(&text.replace("\"node.crt\"", "\"other.crt\""), 65, "other.crt")?;
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
