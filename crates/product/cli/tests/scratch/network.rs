//! A network of relays and an exit on loopback with an entry, made with the commands that people use.

use crate::folder::Folder;
use crate::outcome::good;
use crate::ports::free_address;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(120);
/// Guards and middles, then the exit.
pub(crate) const RELAYS: usize = 4;

/// Makes a network of four relays and an exit, each of its own operator but in one subnet, and writes all files. Returns the
/// address of the entry's proxy, and the relays' names.
pub(crate) fn make_network(folder: &Folder) -> (SocketAddr, Vec<String>) {
    // Of the relays, then of the exit.
    let addresses: Vec<SocketAddr> = (0..=RELAYS).map(|_| free_address()).collect();
    let operator = good(folder, &["network", "operator", "alice.key"]);
    let charter =
        ["network", "new", "--name", "example", "--operator-key", operator.trim(), "--threshold", "1", "charter"];
    good(folder, &charter);
    let mut ids = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let keys = format!("{number}.keys");
        ids.push(good(folder, &["keys", "new", &keys]).trim().to_owned());
        let text = format!(
            "key_file = \"{keys}\"\nonion_key_file = \"{number}.onion\"\nnetwork_file = \"document\"\n\
             listen = \"{address}\"\nreplay_file = \"{number}.replay\"\ndrain_s = 1\n"
        );
        std::fs::write(folder.0.join(format!("{number}.toml")), text).expect("a file");
    }
    write_document(folder, &addresses, 7, "document");
    let exit = format!(
        "role = \"exit\"\nkey_file = \"{RELAYS}.keys\"\n[network]\nbind = \"{}\"\nfile = \"document\"\n\
         onion_key_file = \"{RELAYS}.onion\"\n[shaping]\nmode = \"off\"\n[exit_policy]\nrules = [\"allow 127.0.0.0/8\"]\n\
         [directory]\nsocket = \"service.sock\"\n",
        addresses[RELAYS]
    );
    std::fs::write(folder.0.join("exit.toml"), exit).expect("a file");
    let proxy = free_address();
    good(folder, &["keys", "new", "entry.keys"]);
    write_entry(folder, proxy, "relax = \"shared-operators\"");
    (proxy, ids)
}

/// Describes all relays for an interval, and signs the document of them.
pub(crate) fn write_document(folder: &Folder, addresses: &[SocketAddr], interval: u64, name: &str) {
    let interval = interval.to_string();
    let mut parts = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let (keys, onion, address) = (format!("{number}.keys"), format!("{number}.onion"), address.to_string());
        let owner = format!("operator-{number}");
        let roles: &[&str] = if number == RELAYS {
            &["--role", "exit", "--role", "directory"]
        } else {
            &["--role", "guard", "--role", "middle"]
        };
        let files = ["network", "describe", "--charter", "charter", "--keys", &keys, "--onion-keys", &onion];
        let facts = ["--interval", &interval, "--address", &address, "--operator", &owner, "--rate", "20 Mbit/s"];
        let descriptor = good(folder, &[&files[..], &facts, roles].concat());
        parts.push(format!("{number}.descriptor"));
        std::fs::write(folder.0.join(&parts[number]), descriptor).expect("a file");
    }
    let parts = parts.iter().map(String::as_str).collect::<Vec<_>>();
    let assemble = [&["network", "assemble", "--charter", "charter", "--interval", &interval][..], &parts].concat();
    std::fs::write(folder.0.join(name), good(folder, &assemble)).expect("a file");
    good(folder, &["network", "sign", "--key", "alice.key", name]);
}

pub(crate) fn write_entry(folder: &Folder, proxy: SocketAddr, more: &str) {
    let text = format!(
        "role = \"entry\"\nkey_file = \"entry.keys\"\n[network]\nfile = \"document\"\nhops = 3\nlegs = 2\n{more}\n\
         [shaping]\nmode = \"off\"\n[[listen]]\nkind = \"directory\"\nunix = \"d.sock\"\n[[listen]]\nkind = \"proxy\"\naddress = \"{proxy}\"\n"
    );
    std::fs::write(folder.0.join("entry.toml"), text).expect("a file");
}

/// A process that goes with the value.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(folder: &Folder, args: &[&str], name: &str) -> Self {
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

    pub(crate) fn end(&mut self) {
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
pub(crate) fn echo_server() -> SocketAddr {
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

/// What the entry says of its tunnel.
pub(crate) fn tunnel(folder: &Folder) -> serde_json::Value {
    let ran = folder.run(&["circuit", "list", "--json"]).expect("the program can be run");
    serde_json::from_str(&ran.out).unwrap_or_default()
}

pub(crate) fn linked(tunnel: &serde_json::Value) -> usize {
    let legs = tunnel["legs"].as_array().cloned().unwrap_or_default();
    legs.iter().filter(|leg| leg["state"] == "linked").count()
}

pub(crate) fn wait_for_legs(folder: &Folder) -> serde_json::Value {
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
pub(crate) fn connect(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    connect_as(proxy, to, "")
}

/// The same with further lines in the request.
pub(crate) fn connect_as(proxy: SocketAddr, to: SocketAddr, lines: &str) -> TcpStream {
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
