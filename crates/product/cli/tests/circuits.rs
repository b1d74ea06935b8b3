//! An entry over circuits, four relays and an exit as real processes on loopback: a page through the proxy, a guard that is
//! killed, a restart with the same guards, and what keeps it from running.

#[path = "scratch/folder.rs"]
mod folder;
#[path = "scratch/outcome.rs"]
mod outcome;

use folder::Folder;
use outcome::{bad, good};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// Guards and middles, then the exit.
const RELAYS: usize = 4;

/// Makes a network of four relays and an exit, each of its own operator but in one subnet, and writes all files. Returns the
/// address of the entry's proxy, and the relays' names.
fn make_network(folder: &Folder) -> (SocketAddr, Vec<String>) {
    let sockets: Vec<UdpSocket> = (0..=RELAYS).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().expect("its address")).collect();
    let operator = good(folder, &["network", "operator", "alice.key"]);
    let charter =
        ["network", "new", "--name", "example", "--operator-key", operator.trim(), "--threshold", "1", "charter"];
    good(folder, &charter);
    let mut ids = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let (keys, onion, address) = (format!("{number}.keys"), format!("{number}.onion"), address.to_string());
        let owner = format!("operator-{number}");
        ids.push(good(folder, &["keys", "new", &keys]).trim().to_owned());
        let roles: &[&str] = if number == RELAYS {
            &["--role", "exit", "--role", "directory"]
        } else {
            &["--role", "guard", "--role", "middle"]
        };
        let files = ["network", "describe", "--charter", "charter", "--keys", &keys, "--onion-keys", &onion];
        let facts = ["--interval", "7", "--address", &address, "--operator", &owner, "--rate", "20 Mbit/s"];
        let descriptor = good(folder, &[&files[..], &facts, roles].concat());
        std::fs::write(folder.0.join(format!("{number}.descriptor")), descriptor).expect("a file");
        let text = format!(
            "key_file = \"{keys}\"\nonion_key_file = \"{onion}\"\nnetwork_file = \"document\"\nlisten = \"{address}\"\n\
             replay_file = \"{number}.replay\"\ndrain_s = 1\n"
        );
        std::fs::write(folder.0.join(format!("{number}.toml")), text).expect("a file");
    }
    let parts: Vec<String> = (0..=RELAYS).map(|number| format!("{number}.descriptor")).collect();
    let parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
    let assemble = [&["network", "assemble", "--charter", "charter", "--interval", "7"][..], &parts].concat();
    std::fs::write(folder.0.join("document"), good(folder, &assemble)).expect("a file");
    good(folder, &["network", "sign", "--key", "alice.key", "document"]);
    let exit = format!(
        "role = \"exit\"\nkey_file = \"{RELAYS}.keys\"\n[network]\nbind = \"{}\"\nfile = \"document\"\n\
         onion_key_file = \"{RELAYS}.onion\"\n[shaping]\nmode = \"off\"\n[exit_policy]\nrules = [\"allow 127.0.0.0/8\"]\n\
         [directory]\nsocket = \"service.sock\"\n",
        addresses[RELAYS]
    );
    std::fs::write(folder.0.join("exit.toml"), exit).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let proxy = listener.local_addr().expect("its address");
    good(folder, &["keys", "new", "entry.keys"]);
    write_entry(folder, proxy, "relax = \"shared-operators\"");
    (proxy, ids)
}

fn write_entry(folder: &Folder, proxy: SocketAddr, more: &str) {
    let text = format!(
        "role = \"entry\"\nkey_file = \"entry.keys\"\n[network]\nfile = \"document\"\nhops = 3\nlegs = 2\n{more}\n\
         [shaping]\nmode = \"off\"\n[[listen]]\nkind = \"directory\"\nunix = \"d.sock\"\n[[listen]]\nkind = \"proxy\"\naddress = \"{proxy}\"\n"
    );
    std::fs::write(folder.0.join("entry.toml"), text).expect("a file");
}

struct Process(Child);

impl Process {
    fn start(folder: &Folder, args: &[&str], name: &str) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.0.join(format!("{name}.log")));
        let started = Command::new(env!("CARGO_BIN_EXE_hushwire"))
            .current_dir(&folder.0)
            .args(args)
            .env("HUSHWIRE_LOG", "trace")
            .stderr(log.expect("a file"))
            .stdout(Stdio::null())
            .spawn();
        Self(started.expect("the program can be run"))
    }

    fn end(&mut self) {
        let done = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()));
        assert!(self.0.wait().is_ok_and(|status| status.success()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that sends back what comes, for one connection after another.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut back = stream.try_clone().expect("a second handle");
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// The directory's service behind the exit, which sends back what comes.
fn directory_service(folder: &Folder) {
    let listener = UnixListener::bind(folder.0.join("service.sock")).expect("a socket");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut back = stream.try_clone().expect("a second handle");
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
}

/// A question and its echo through the listener for directory streams.
fn ask_directory(folder: &Folder) {
    let mut stream = UnixStream::connect(folder.0.join("d.sock")).expect("the entry listens");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    stream.write_all(b"which edition?").expect("it takes a question");
    stream.shutdown(Shutdown::Write).expect("a half-close");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "which edition?");
}

/// What the entry says of its tunnel.
fn tunnel(folder: &Folder) -> serde_json::Value {
    let ran = folder.run(&["circuit", "list", "--json"]).expect("the program can be run");
    serde_json::from_str(&ran.out).unwrap_or_default()
}

fn linked(tunnel: &serde_json::Value) -> usize {
    let legs = tunnel["legs"].as_array().cloned().unwrap_or_default();
    legs.iter().filter(|leg| leg["state"] == "linked").count()
}

fn wait_for_legs(folder: &Folder) -> serde_json::Value {
    let end = Instant::now() + SOON;
    loop {
        let seen = tunnel(folder);
        if linked(&seen) == 2 && seen["session_up"] == true {
            return seen;
        }
        assert!(Instant::now() < end, "{seen}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A connection through the proxy.
fn connect(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    connect_as(proxy, to, "")
}

/// The same with further lines in the request.
fn connect_as(proxy: SocketAddr, to: SocketAddr, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{lines}\r\n").expect("it takes a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Sends bytes and takes them back.
fn echo(stream: &mut TcpStream, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|place| (place % 251) as u8).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&to_send));
    let mut received = vec![0; bytes];
    stream.read_exact(&mut received).expect("the bytes come back");
    assert!(received == sent && writing.join().is_ok_and(|written| written.is_ok()));
}

fn guards(tunnel: &serde_json::Value) -> std::collections::BTreeSet<String> {
    let legs = tunnel["legs"].as_array().cloned().unwrap_or_default();
    legs.iter().filter_map(|leg| leg["path"][0].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_page_comes_over_circuits_and_a_guard_that_is_killed_is_replaced() {
    let folder = &Folder::new("circuits").expect("a folder");
    let (proxy, ids) = make_network(folder);
    let checked = good(folder, &["check", "-c", "entry.toml"]);
    assert!(
        checked.contains("`example`, interval 7, with 5 relays") && checked.contains("2 legs of 3 hops"),
        "{checked}"
    );
    let files: Vec<String> = (0..RELAYS).map(|number| format!("{number}.toml")).collect();
    let mut relays: Vec<Process> = files.iter().map(|file| Process::start(folder, &["relay", file], file)).collect();
    let _exit = Process::start(folder, &["exit", "-c", "exit.toml"], "exit");
    let mut entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    let before = wait_for_legs(folder);
    let server = echo_server();
    let mut stream = connect(proxy, server);
    echo(&mut stream, 2_000_000);
    directory_service(folder);
    ask_directory(folder);
    let shown = good(folder, &["status", "-c", "entry.toml"]);
    assert!(shown.contains("tunnel") && shown.contains("linked"), "{shown}");
    assert!(good(folder, &["circuit", "show", "0"]).contains("guard"));
    assert!(bad(folder, &["circuit", "show", "9"], 64).contains("there is no leg 9"));

    // The entry comes back through the guards that it had.
    entry.end();
    let stored = std::fs::read_to_string(folder.0.join("guards")).expect("the guards' file");
    assert!(guards(&before).iter().all(|guard| stored.contains(guard.as_str())), "{stored}");
    let _entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    let again = wait_for_legs(folder);
    assert_eq!(guards(&again), guards(&before));

    // A guard dies; the connection goes on, and the leg is built again.
    let mut stream = connect(proxy, server);
    echo(&mut stream, 100_000);
    let dead = again["legs"][0]["path"][0].as_str().expect("a guard").to_owned();
    let place = ids.iter().position(|id| *id == dead).expect("one of the relays");
    relays[place].0.kill().expect("it runs");
    echo(&mut stream, 2_000_000);
    let end = Instant::now() + SOON;
    while linked(&tunnel(folder)) != 2 || guards(&tunnel(folder)).contains(&dead) {
        assert!(Instant::now() < end, "{}", tunnel(folder));
        std::thread::sleep(Duration::from_millis(200));
    }
    echo(&mut stream, 100_000);

    let log = std::fs::read_to_string(folder.0.join("entry.log")).expect("a log");
    assert!(log.contains("a leg is in use"), "{log}");
    let named = ids.iter().find(|id| log.contains(id.as_str()));
    assert!(named.is_none(), "the log names a relay");
}

#[test]
fn clients_have_tunnels_of_their_own_if_wanted() {
    let folder = &Folder::new("circuits-clients").expect("a folder");
    let (proxy, _) = make_network(folder);
    write_entry(folder, proxy, "relax = \"shared-operators\"\ntunnels = 1\nisolate = \"clients\"");
    let (file, users) = (folder.0.join("entry.toml"), folder.0.join("users"));
    let text = std::fs::read_to_string(&file).expect("it was written") + "users_file = \"users\"\n";
    std::fs::write(file, text).expect("a file");
    std::fs::write(&users, "ann:x\nbob:x\n").expect("a file");
    Command::new("chmod").args(["600"]).arg(users).status().expect("chmod");
    let checked = good(folder, &["check", "-c", "entry.toml"]);
    assert!(checked.contains("one for each client, 1 ready"), "{checked}");
    let files: Vec<String> = (0..RELAYS).map(|number| format!("{number}.toml")).collect();
    let _relays: Vec<Process> = files.iter().map(|file| Process::start(folder, &["relay", file], file)).collect();
    let _exit = Process::start(folder, &["exit", "-c", "exit.toml"], "exit");
    let _entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    wait_for_legs(folder);
    let server = echo_server();
    // The logins of both.
    let lines = ["YW5uOng=", "Ym9iOng="].map(|login| format!("Proxy-Authorization: Basic {login}\r\n"));
    for line in &lines {
        echo(&mut connect_as(proxy, server, line), 200_000);
    }
    // All directory streams are a client of their own.
    directory_service(folder);
    ask_directory(folder);
    ask_directory(folder);
    let end = Instant::now() + SOON;
    loop {
        let listed = good(folder, &["circuit", "list"]);
        if listed.matches(", in use").count() == 3 && listed.matches(", ready").count() == 1 {
            break;
        }
        assert!(Instant::now() < end, "{listed}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(tunnel(folder)["others"].as_array().map(Vec::len), Some(3));
    assert!(good(folder, &["circuit", "show", "3"]).contains("guard"));
}

#[test]
fn what_keeps_an_entry_over_circuits_from_running_is_said_with_a_remedy() {
    let folder = &Folder::new("circuits-refused").expect("a folder");
    let (proxy, ids) = make_network(folder);
    // All relays are on one machine.
    write_entry(folder, proxy, "");
    for command in [["check", "-c", "entry.toml"], ["entry", "-c", "entry.toml"]] {
        let complaint = bad(folder, &command, 78);
        assert!(complaint.contains("no paths for 2 legs of 3 hops") && complaint.contains("try: "), "{complaint}");
    }
    write_entry(folder, proxy, &format!("relax = \"shared-operators\"\nexit = \"{}\"", ids[0]));
    let complaint = bad(folder, &["check", "-c", "entry.toml"], 78);
    assert!(complaint.contains("which `network.exit` names"), "{complaint}");
    write_entry(folder, proxy, "relax = \"shared-operators\"");
    let other = "hushwire-guards 1\nnetwork 00\nprimaries 2\n";
    std::fs::write(folder.0.join("guards"), other).expect("a file");
    Command::new("chmod").args(["600"]).arg(folder.0.join("guards")).status().expect("chmod");
    let complaint = bad(folder, &["check", "-c", "entry.toml"], 65);
    assert!(complaint.contains("no file of guards of this network"), "{complaint}");
}
