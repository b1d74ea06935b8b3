//! The two ends as two processes: bytes, hops, keys, words, and programs that nobody here wrote.

use crate::ports::free_port;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type TestResult = Result<(), Box<dyn Error>>;

/// Far longer than anything here takes: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

static HOSTS: AtomicU8 = AtomicU8::new(1);

/// An address of the loopback that no other test of this process has.
fn own_host() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, low | 0x80, high, HOSTS.fetch_add(1, Ordering::Relaxed))
}

/// A fresh folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hushwire-hop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `hushwire` to its end: exit code, stdout, stderr.
fn run(arguments: &[&str]) -> Result<(Option<i32>, String, String), Box<dyn Error>> {
    let ran = Command::new(env!("CARGO_BIN_EXE_hushwire")).args(arguments).stdin(Stdio::null()).output()?;
    Ok((ran.status.code(), String::from_utf8(ran.stdout)?, String::from_utf8(ran.stderr)?))
}

/// One end in a process.
struct End {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl End {
    fn start(arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        command.arg("hop").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.env_remove("HUSHWIRE_LOG").env("NO_COLOR", "1").spawn()?;
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().ok_or("stderr is piped")?);
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Ok(mut log) = kept.lock() {
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        Ok(Self { child, log, reader: Some(reader) })
    }

    fn text(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Waits for a line with `words`; returns it.
    fn line(&self, words: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(line) = self.text().lines().find(|line| line.contains(words)) {
                return Ok(line.to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("`{words}` is never said:\n{}", self.text()))
    }

    /// The address that programs can send to.
    fn address(&self) -> Result<String, Box<dyn Error>> {
        let line = self.line("programs may send here")?;
        Ok(line.rsplit_once("address=").ok_or("an address in the line")?.1.trim().to_owned())
    }

    /// Ends it as a service manager does; returns all that it said.
    fn end(mut self) -> Result<String, Box<dyn Error>> {
        let ended = Command::new("kill").arg(self.child.id().to_string()).status()?;
        assert!(ended.success());
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        assert_eq!(status.code(), Some(0), "{}", self.text());
        Ok(self.text())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends everything back, for as long as the process lives.
fn echo() -> Result<String, Box<dyn Error>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?.to_string();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    Ok(address)
}

/// Questions between two looks at what they have led to.
const QUESTIONS: u64 = 50;

/// Asks until `is_enough`, which is told how often it has asked; every answer is what was asked.
fn ask(address: &str, mut is_enough: impl FnMut(u64) -> bool) -> Result<u64, Box<dyn Error>> {
    let program = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    program.connect(address)?;
    program.set_read_timeout(Some(PATIENCE))?;
    let (deadline, mut asked, mut buffer) = (Instant::now() + PATIENCE, 0u64, vec![0; 1 << 16]);
    while asked % QUESTIONS != 0 || !is_enough(asked) {
        assert!(Instant::now() < deadline, "not enough after {asked} questions");
        let question: Vec<u8> = (0..1 + asked % 1_400).map(|byte| (byte ^ asked) as u8).collect();
        program.send(&question)?;
        let length = program.recv(&mut buffer)?;
        assert_eq!(buffer[..length], question, "byte for byte");
        asked += 1;
    }
    Ok(asked)
}

/// The number behind `name=` in the last line of counters.
fn counter(text: &str, name: &str) -> u64 {
    let line = text.lines().rfind(|line| line.contains("flows=")).unwrap_or_default();
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.split('/').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn two_processes_without_a_key_carry_bytes_over_many_ports() -> TestResult {
    let (host, target) = (own_host().to_string(), echo()?);
    let ports = format!("{host}:20000-20199");
    let server = End::start(&["server", "--listen", &host, "--ports", "20000-20199", "--to", &target])?;
    server.line("hearing clients")?;
    assert!(server.line("there is no key")?.contains("WARN"));
    let fast = ["--interval", "10ms..20ms", "--unsafe-interval", "--counters", "1"];
    let client = End::start(&[&["client", "--listen", "127.0.0.1:0", "--server", &ports], &fast[..]].concat())?;
    assert!(client.line("hops every 10ms")?.contains("observer"));
    let asked = ask(&client.address()?, |_| counter(&client.text(), "hops_interval") >= 60)?;
    client.line("flows=1")?;
    let (client, server) = (client.end()?, server.end()?);
    assert!(counter(&client, "hops_interval") >= 60, "{client}");
    assert_eq!((counter(&client, "up"), counter(&server, "down")), (asked, asked), "{client}{server}");
    Ok(())
}

#[test]
fn a_client_and_a_server_tell_their_state_over_a_socket() -> TestResult {
    let (folder, host, target) = (Folder::new("status")?, own_host().to_string(), echo()?);
    let (near, far) = (folder.path("client.socket"), folder.path("server.socket"));
    let server = ["server", "--listen", &host, "--ports", "20000-20007", "--to", &target, "--socket", &far];
    let server = End::start(&server)?;
    server.line("hearing clients")?;
    let ports = format!("{host}:20000-20007");
    let client =
        ["client", "--listen", "127.0.0.1:0", "--server", &ports, "--bytes", "200KB..200KB", "--socket", &near];
    let client = End::start(&client)?;
    let address = client.address()?;
    assert!(client.line("8 ports for about")?.contains("an observer sees"));
    // A budget is 200 KB, and a question 700 bytes.
    ask(&address, |asked| {
        asked > 300 && run(&["hop", "status", &near]).is_ok_and(|(_, text, _)| text.contains("byte budget used"))
    })?;
    let (code, text, _) = run(&["hop", "status", &near])?;
    assert_eq!(code, Some(0));
    assert!(text.contains("hop client, 1 flows") && text.contains(&format!("{host}:2000")), "{text}");
    assert!(text.contains("last: byte budget used"), "{text}");
    let (code, json, _) = run(&["hop", "status", &far, "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!((code, told["flows"][0]["remote"].as_str()), (Some(0), Some(target.as_str())), "{json}");
    assert_eq!(told["listening"].as_array().map(Vec::len), Some(8), "{json}");
    let (code, _, said) = run(&["hop", "status", &folder.path("nobody.socket")])?;
    assert!(code == Some(69) && said.contains("--socket"), "{said}");
    let (code, _, said) =
        run(&["hop", "server", "--ports", "1", "--to", &target, "--listen", &host, "--socket", &far])?;
    assert!(code.is_some_and(|code| code != 0) && !said.is_empty(), "a second one does not take the socket");
    client.end()?;
    server.end()?;
    assert!(!std::path::Path::new(&near).exists(), "the socket's file goes with its owner");
    Ok(())
}

#[test]
fn two_processes_with_a_key_file_and_configuration_files() -> TestResult {
    let (folder, host, target) = (Folder::new("keyed")?, own_host().to_string(), echo()?);
    let key = folder.path("hop.key");
    assert_eq!(run(&["hop", "key", &key])?.0, Some(0));
    assert_eq!(run(&["hop", "key", &key])?.0, Some(73), "a key is never overwritten");
    let server_file = folder.path("server.toml");
    std::fs::write(
        &server_file,
        format!("listen = [\"{host}\"]\nports = \"20000-29999\"\ntargets = [\"{target}\"]\nkey_file = \"hop.key\"\n"),
    )?;
    let client_file = folder.path("client.toml");
    std::fs::write(
        &client_file,
        format!("listen = [\"127.0.0.1:0\"]\nservers = [\"{host}:20000-29999\"]\nkey_file = \"hop.key\"\n"),
    )?;
    let server = End::start(&["server", "-c", &server_file])?;
    server.line("hearing clients")?;
    let fast = ["--interval", "10ms..20ms", "--unsafe-interval", "--counters", "1"];
    let client = End::start(&[&["client", "-c", &client_file], &fast[..]].concat())?;
    // With a key a flow hops at most some times a second: old sockets are heard for two seconds, and there are eight.
    let asked = ask(&client.address()?, |_| counter(&client.text(), "hops_interval") >= 4)?;
    let (client, server) = (client.end()?, server.end()?);
    assert!(counter(&client, "hops_interval") >= 4, "{client}");
    assert_eq!(counter(&client, "up"), asked, "{client}");
    assert!(counter(&server, "ports") <= 8, "{server}");
    // The plan names the ports that were open.
    let (code, plan, _) = run(&["hop", "plan", "--ports", "20000-29999", "--key", &key, "--windows", "3", "--json"])?;
    assert_eq!(code, Some(0));
    assert!(plan.contains("\"open_until_unix\"") && plan.matches("\"window\"").count() == 3, "{plan}");
    Ok(())
}

#[test]
fn mistakes_are_refused_in_a_sentence() -> TestResult {
    let folder = Folder::new("mistakes")?;
    let (key, open) = (folder.path("hop.key"), folder.path("open.key"));
    run(&["hop", "key", &key])?;
    std::fs::copy(&key, &open)?;
    Command::new("chmod").args(["644", &open]).status()?;
    let text = std::fs::read_to_string(&key)?;
    let client = ["hop", "client", "--listen", "127.0.0.1:0", "--server", "127.0.0.1:20000-20009"];
    let server = ["hop", "server", "--to", "127.0.0.1:9"];
    let cases: [(Vec<&str>, i32, &str); 9] = [
        (vec!["hop", "client", "--server", "127.0.0.1:1"], 64, "--listen is not given"),
        (vec!["hop", "client", "--listen", "127.0.0.1:0", "--server", "127.0.0.1"], 64, "ports are missing"),
        ([&server[..], &["--ports", "20001-20000"]].concat(), 64, "lower port first"),
        ([&server[..], &["--ports", "0-65535"]].concat(), 64, "port 0"),
        ([&client[..], &["--interval", "1s..2s"]].concat(), 65, "5s"),
        ([&client[..], &["--bytes", "2 MB..1 MB"]].concat(), 65, "smaller one first"),
        ([&client[..], &["--key", &open]].concat(), 77, "chmod 600"),
        ([&client[..], &["--key", text.trim()]].concat(), 66, "hushwire hop key"),
        ([&client[..], &["-c", "/nowhere.toml"]].concat(), 66, "/nowhere.toml"),
    ];
    for (arguments, expected, words) in cases {
        let (code, out, said) = run(&arguments)?;
        assert_eq!((code, out.as_str()), (Some(expected), ""), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port().to_string();
    let (code, _, said) = run(&[&server[..], &["--listen", "127.0.0.1", "--ports", &port]].concat())?;
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains(&port) && said.contains("ss -ulpn"), "{said}");
    Ok(())
}

/// A pair before `target`, without and with a key.
fn pairs(folder: &Folder, target: &str) -> Result<Vec<(End, End)>, Box<dyn Error>> {
    let key = folder.path("hop.key");
    run(&["hop", "key", &key])?;
    let mut pairs = Vec::new();
    for with_key in [&[][..], &["--key", &key]] {
        let host = own_host().to_string();
        let ports = format!("{host}:20000-29999");
        let server = [&["server", "--listen", &host, "--ports", "20000-29999", "--to", target], with_key].concat();
        let server = End::start(&server)?;
        server.line("hearing clients")?;
        let client = ["client", "--listen", "127.0.0.1:0", "--server", &ports];
        let fast = ["--interval", "300ms..500ms", "--unsafe-interval"];
        pairs.push((server, End::start(&[&client[..], &fast, with_key].concat())?));
    }
    Ok(pairs)
}

/// Sends a signal to a process of the test.
fn signal(end: &End, name: &str) -> TestResult {
    let sent = Command::new("kill").args([name, &end.child.id().to_string()]).status()?;
    assert!(sent.success());
    Ok(())
}

#[test]
fn a_client_that_stood_still_for_longer_than_its_flow_lives_goes_on_by_itself() -> TestResult {
    let (folder, target) = (Folder::new("still")?, echo()?);
    let key = folder.path("hop.key");
    run(&["hop", "key", &key])?;
    for with_key in [&[][..], &["--key", &key]] {
        let host = own_host().to_string();
        let ports = format!("{host}:20000-29999");
        let server = ["server", "--listen", &host, "--ports", "20000-29999", "--to", &target, "--idle", "1"];
        let server = End::start(&[&server[..], with_key].concat())?;
        server.line("hearing clients")?;
        let client = End::start(&[&["client", "--listen", "127.0.0.1:0", "--server", &ports], with_key].concat())?;
        let address = client.address()?;
        ask(&address, |asked| asked > 0)?;
        // As a machine that sleeps: nothing of it runs, and the other end goes on.
        signal(&client, "-STOP")?;
        std::thread::sleep(Duration::from_millis(2_500));
        signal(&client, "-CONT")?;
        let program = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        program.connect(&address)?;
        program.set_read_timeout(Some(Duration::from_millis(200)))?;
        let begin = Instant::now();
        loop {
            program.send(b"awake")?;
            if program.recv(&mut [0; 16]).is_ok() {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{}{}", client.text(), server.text());
        }
        client.end()?;
        assert!(counter(&server.end()?, "expired") >= 1, "the server had forgotten the flow");
    }
    Ok(())
}

#[test]
fn dig_asks_dnsmasq_through_the_pair() -> TestResult {
    let folder = Folder::new("dns")?;
    let free = free_port().to_string();
    let mut dns = Command::new("dnsmasq")
        .args(["--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces"])
        .args(["--user=", "--pid-file=", &format!("--port={free}"), "--address=/hop.test/192.0.2.53"])
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the program `dnsmasq` (dnsmasq-base) is needed: {error}"))?;
    let asked = (|| {
        for (_server, client) in pairs(&folder, &format!("127.0.0.1:{free}"))? {
            let address = client.address()?;
            let (host, port) = address.rsplit_once(':').ok_or("a port")?;
            for _ in 0..5 {
                let found = Command::new("dig")
                    .args([&format!("@{host}"), "-p", port, "+short", "+tries=10", "+timeout=2", "www.hop.test"])
                    .output()
                    .map_err(|error| format!("the program `dig` (bind9-dnsutils) is needed: {error}"))?;
                assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "192.0.2.53");
            }
        }
        Ok(())
    })();
    dns.kill()?;
    dns.wait()?;
    asked
}

#[test]
#[ignore = "twelve seconds of iperf3: `cargo xtask long hop`"]
fn iperf3_measures_through_the_pair_with_its_control_carried_by_socat() -> TestResult {
    let folder = Folder::new("iperf3")?;
    let port = free_port();
    let mut server = Command::new("iperf3")
        .args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("the program `iperf3` is needed: {error}"))?;
    let measured = (|| {
        for (hop_server, client) in pairs(&folder, &format!("127.0.0.1:{port}"))? {
            let address = client.address()?;
            let (_, entry) = address.rsplit_once(':').ok_or("a port")?;
            // The control connection has the port of the datagrams, so socat listens there on TCP.
            let mut control = Command::new("socat")
                .arg(format!("TCP-LISTEN:{entry},bind=127.0.0.1,fork,reuseaddr"))
                .arg(format!("TCP:127.0.0.1:{port}"))
                .spawn()
                .map_err(|error| format!("the program `socat` is needed: {error}"))?;
            std::thread::sleep(Duration::from_millis(300));
            for reverse in [false, true] {
                let mut iperf = Command::new("iperf3");
                iperf.args(["-c", "127.0.0.1", "-p", entry, "-u", "-b", "50M", "-l", "1200", "-t", "3", "-J"]);
                let ran = iperf.args(reverse.then_some("-R")).output()?;
                let text = String::from_utf8(ran.stdout)?;
                assert!(ran.status.success(), "{text}");
                let report: serde_json::Value = serde_json::from_str(&text)?;
                let sum = &report["end"]["sum"];
                let (packets, lost) = (sum["packets"].as_u64(), sum["lost_packets"].as_u64());
                // iperf3's own buffer holds 90 datagrams, 17 ms of them: on a busy machine it loses some itself.
                assert!(packets > Some(10_000) && lost <= Some(packets.unwrap_or(0) / 20), "{sum}");
            }
            control.kill()?;
            control.wait()?;
            let said = client.end()?;
            assert!(counter(&said, "hops_interval") > 4, "{said}");
            // The pair itself loses nothing: what one end sent the other one received.
            for said in [&said, &hop_server.end()?] {
                for loss in ["up_dropped", "down_dropped", "down_refused", "no_way", "no_socket"] {
                    assert_eq!(counter(said, loss), 0, "{loss}: {said}");
                }
            }
        }
        Ok(())
    })();
    server.kill()?;
    let mut rest = String::new();
    let _ = server.stdout.take().map(|mut out| out.read_to_string(&mut rest));
    server.wait()?;
    measured
}
