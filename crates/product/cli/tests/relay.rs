//! `hushwire network` and `hushwire relay`: three real relays on loopback, a client made of the cores, and a last hop that
//! echoes, made of the core as well. And `hushwire exit` of a network, with a client made of the cores.

#[path = "../../../net/circuit-relay/tests/loopback/client.rs"]
mod client;
#[path = "../../../net/circuit-relay/tests/exit/client.rs"]
mod tunnel_client;

use self::client::Client;
use crate::folder::Folder;
use crate::outcome::{bad, good};
use crate::ports::free_address;
use circuit_relay::{CircuitRelay, Door, Handle, JoinPoint, RelaySettings};
use identity::{KeyFile, NodeId};
use link::Now;
use network_document::{NetworkDocument, OnionKeyFile};
use onion::{CircuitEvent, CircuitKey, Reason};
use relay_node::{Limits, NodeEvent, RelayNode, RelayNodeConfig};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(120);

struct Echo;

impl JoinPoint for Echo {
    fn handle_inner(&mut self, now: Now, circuit: CircuitKey, _: u64, inner: &[u8], node: &mut RelayNode) {
        node.send_inner(now, circuit, inner).expect("a cell just came from there");
    }

    fn handle_event(&mut self, _: Now, _: NodeEvent, _: &mut RelayNode) {}

    fn handle_timeout(&mut self, _: Now, _: &mut RelayNode) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

fn addresses() -> [SocketAddr; 4] {
    [(); 4].map(|()| free_address())
}

/// Makes a network of four relays with the commands: the last one is the exit.
fn make_network(folder: &Folder, addresses: &[SocketAddr; 4]) -> NetworkDocument {
    let operators = ["alice.key", "bob.key"].map(|file| good(folder, &["network", "operator", file]));
    let [alice, bob] = operators.each_ref().map(|key| key.trim());
    let id = good(
        folder,
        &[
            "network",
            "new",
            "--name",
            "example",
            "--operator-key",
            alice,
            "--operator-key",
            bob,
            "--threshold",
            "2",
            "charter",
        ],
    );
    for (number, address) in addresses.iter().enumerate() {
        let (keys, onion, address) = (format!("{number}.keys"), format!("{number}.onion"), address.to_string());
        good(folder, &["keys", "new", &keys]);
        let role = ["guard", "middle", "middle", "exit"][number];
        let describe = |interval: &str| {
            good(
                folder,
                &[
                    "network",
                    "describe",
                    "--charter",
                    "charter",
                    "--keys",
                    &keys,
                    "--onion-keys",
                    &onion,
                    "--interval",
                    interval,
                    "--address",
                    &address,
                    "--role",
                    role,
                    "--operator",
                    "somebody",
                    "--rate",
                    "20 Mbit/s",
                ],
            )
        };
        let descriptor = describe("7");
        assert_eq!(describe("7"), descriptor, "the onion key of an interval is made once");
        std::fs::write(folder.0.join(format!("{number}.descriptor")), descriptor).expect("a file");
    }
    let parts = ["0.descriptor", "1.descriptor", "2.descriptor", "3.descriptor"];
    let assemble = [&["network", "assemble", "--charter", "charter", "--interval", "7"][..], &parts].concat();
    std::fs::write(folder.0.join("document"), good(folder, &assemble)).expect("a file");
    assert!(
        bad(folder, &["network", "show", "document"], 65).contains("0 of the network's operators signed, and 2 must")
    );
    good(folder, &["network", "sign", "--key", "alice.key", "document"]);
    assert!(bad(folder, &["network", "sign", "--key", "0.keys", "document"], 65).contains("not an operator's key"));
    good(folder, &["network", "sign", "--key", "bob.key", "document"]);
    let shown = good(folder, &["network", "show", "document"]);
    assert!(shown.contains(id.trim()) && shown.contains(alice) && shown.matches("relay   ").count() == 4, "{shown}");
    NetworkDocument::parse(&std::fs::read(folder.0.join("document")).expect("a file")).expect("two of two signed")
}

fn write_config(folder: &Folder, number: usize, listen: SocketAddr) -> String {
    let name = format!("{number}.toml");
    let text = format!(
        "key_file = \"{number}.keys\"\nonion_key_file = \"{number}.onion\"\nnetwork_file = \"document\"\n\
         listen = \"{listen}\"\nreplay_file = \"{number}.replay\"\ndrain_s = 1\n"
    );
    std::fs::write(folder.0.join(&name), text).expect("a file");
    name
}

fn read_keys(folder: &Folder, number: usize) -> KeyFile {
    let text = std::fs::read_to_string(folder.0.join(format!("{number}.keys"))).expect("a key file");
    KeyFile::parse(&text).expect("a key file")
}

fn node_id(folder: &Folder, number: usize) -> NodeId {
    read_keys(folder, number).node_secret.node_id()
}

/// The last hop, in this process.
fn start_exit(folder: &Folder, listen: SocketAddr, document: &NetworkDocument) -> Handle {
    let keys = read_keys(folder, 3);
    let onion = std::fs::read_to_string(folder.0.join("3.onion")).expect("a file");
    let node = RelayNodeConfig {
        node_id: keys.node_secret.node_id(),
        link_secret: keys.link_secret,
        door_key: keys.door_key,
        hops: None,
        bandwidth: None,
        limits: Limits::default(),
    };
    let settings = RelaySettings {
        door: Door::Listen(listen),
        node,
        document: document.clone(),
        onion_keys: OnionKeyFile::parse(&onion).expect("onion secrets"),
        replay: None,
        drain: Duration::ZERO,
        seed: [3; 32],
    };
    let relay = CircuitRelay::new(settings, Echo).expect("a relay");
    let handle = relay.handle();
    std::thread::spawn(move || relay.run());
    handle
}

struct Process(Child);

impl Process {
    fn start(folder: &Folder, config: &str) -> Self {
        Self::run(folder, &["relay", config], config)
    }

    fn run(folder: &Folder, args: &[&str], config: &str) -> Self {
        let started = Command::new(env!("CARGO_BIN_EXE_hushwire"))
            .current_dir(&folder.0)
            .args(args)
            .env("HUSHWIRE_LOG", "trace")
            .stderr(std::fs::File::create(folder.0.join(format!("{config}.log"))).expect("a file"))
            .stdout(Stdio::null())
            .spawn();
        Self(started.expect("the program can be run"))
    }

    fn terminate(&self) {
        let done = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn three_relays_forward_a_circuit_whose_last_hop_echoes() {
    let (folder, addresses) = (&Folder::new("relay").expect("a folder"), addresses());
    let document = make_network(folder, &addresses);
    let configs: Vec<String> = (0..3).map(|number| write_config(folder, number, addresses[number])).collect();
    assert!(good(folder, &["check", "-c", &configs[0]]).contains("a relay of `example`"));
    let exit = start_exit(folder, addresses[3], &document);
    let mut relays: Vec<Process> = configs.iter().map(|config| Process::start(folder, config)).collect();
    let ids: Vec<NodeId> = (0..4).map(|number| node_id(folder, number)).collect();

    // Two circuits after each other, so that each of the three relays carries one.
    let mut client = Client::dial(document, &ids[0], [77; 32]);
    for middle in [1, 2] {
        client.events.clear();
        client.answers.clear();
        client.open(&[ids[0], ids[middle], ids[3]]);
        assert!(client.run_until(SOON, |client| client.is_built(3)), "{:?}", client.events);
        for byte in 0..50 {
            client.say(byte);
        }
        assert!(client.run_until(SOON, |client| client.answers.len() == 50), "{} of 50", client.answers.len());
    }

    // A relay that is told to end says so to the clients of its circuits, and ends well.
    relays[2].terminate();
    let told =
        |client: &Client| matches!(client.events.last(), Some(CircuitEvent::Severed { reason: Reason::Draining, .. }));
    assert!(client.run_until(SOON, told), "{:?}", client.events);
    assert!(relays[2].0.wait().is_ok_and(|status| status.success()));
    exit.stop();

    // At the most talkative level, logs name nobody.
    drop(relays);
    let private = ids.iter().map(ToString::to_string).chain(addresses.iter().map(ToString::to_string));
    let private: Vec<String> = private.chain(["127.0.0.1".to_owned()]).collect();
    for config in &configs {
        let log = std::fs::read_to_string(folder.0.join(format!("{config}.log"))).expect("a log");
        assert!(log.contains("relaying"), "{log}");
        let named = private.iter().find(|name| log.contains(name.as_str()));
        assert!(named.is_none(), "{config}: {named:?} is in the log");
    }
}

/// A server that sends back what comes, for one connection after another.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut back = stream.try_clone().expect("a second handle");
            let _ = std::io::copy(&mut stream, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        }
    });
    address
}

/// A client goes on until `done`; false when that takes too long.
fn run_until(client: &mut tunnel_client::Client, done: impl Fn(&tunnel_client::Client) -> bool) -> bool {
    let end = Instant::now() + SOON;
    while Instant::now() < end && !done(client) {
        client.turn();
    }
    done(client)
}

/// The file of an exit of the network; `more` stands at its end.
fn write_exit(folder: &Folder, listen: SocketAddr, more: &str) {
    let text = format!(
        "role = \"exit\"\nkey_file = \"3.keys\"\n\n[network]\nbind = \"{listen}\"\nfile = \"document\"\n\
         onion_key_file = \"3.onion\"\n\n[shaping]\nmode = \"off\"\n\n[exit_policy]\n\
         rules = [\"allow 127.0.0.0/8\"]\n{more}"
    );
    std::fs::write(folder.0.join("exit.toml"), text).expect("a file");
}

#[test]
fn an_exit_of_a_network_joins_tunnels_to_servers() {
    let (folder, addresses) = (&Folder::new("exit").expect("a folder"), addresses());
    let document = make_network(folder, &addresses);
    write_exit(folder, addresses[3], "");
    let checked = good(folder, &["check", "-c", "exit.toml"]);
    assert!(checked.contains("`example`, interval 7, with 4 relays"), "{checked}");
    let configs: Vec<String> = (0..2).map(|number| write_config(folder, number, addresses[number])).collect();
    let _relays: Vec<Process> = configs.iter().map(|config| Process::start(folder, config)).collect();
    let mut exit = Process::run(folder, &["exit", "-c", "exit.toml"], "exit.toml");
    let path = vec![node_id(folder, 0), node_id(folder, 1), node_id(folder, 3)];
    let mut client = tunnel_client::Client::dial(document, path, [78; 32]);
    assert!(run_until(&mut client, |client| client.is_connected()), "{:?}", client.events);
    client.start(echo_server(), 1_000_000);
    assert!(run_until(&mut client, |client| client.is_finished), "{} bytes", client.received);
    assert_eq!(client.received, 1_000_000);

    // What an operator sees are counts.
    let counts = || {
        let status = good(folder, &["status", "-c", "exit.toml", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status[0]["exit"].clone()
    };
    let wanted = serde_json::json!({ "links": 1, "circuits": 1, "tunnels": 1, "sessions": 1, "legs": 1 });
    let end = Instant::now() + SOON;
    while counts() != wanted && Instant::now() < end {
        client.turn();
    }
    assert_eq!(counts(), wanted);

    exit.terminate();
    assert!(run_until(&mut client, |client| client.is_lost), "its clients are told");
    assert!(exit.0.wait().is_ok_and(|status| status.success()));
}

#[test]
fn what_keeps_an_exit_of_a_network_from_running_is_said_with_a_remedy() {
    let (folder, addresses) = (&Folder::new("exit-refused").expect("a folder"), addresses());
    make_network(folder, &addresses);
    write_exit(folder, addresses[3], "");
    let file = folder.0.join("exit.toml");
    let good_file = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, good_file.replace("mode = \"off\"", "mode = \"constant\"")).expect("a file");
    let report = good(folder, &["check", "-c", "exit.toml"]);
    assert!(report.contains("for the answers of each tunnel"), "{report}");
    for number in [0, 1] {
        let other =
            good_file.replace("3.keys", &format!("{number}.keys")).replace("3.onion", &format!("{number}.onion"));
        std::fs::write(&file, other).expect("a file");
        let complaint = bad(folder, &["exit", "-c", "exit.toml"], 78);
        assert!(
            complaint.contains("neither as an exit nor as a directory") && complaint.contains("try: "),
            "{complaint}"
        );
    }
}

#[test]
fn what_keeps_a_relay_from_running_is_said_with_a_remedy() {
    let (folder, addresses) = (&Folder::new("relay-refused").expect("a folder"), addresses());
    make_network(folder, &addresses);
    let config = write_config(folder, 0, addresses[0]);
    let _taken = UdpSocket::bind(addresses[0]).expect("free just now");
    let complaint = bad(folder, &["relay", &config], 71);
    assert!(complaint.contains("cannot listen on") && complaint.contains("try: "), "{complaint}");
    std::fs::copy(folder.0.join("1.keys"), folder.0.join("0.keys")).expect("a file");
    let complaint = bad(folder, &["check", "-c", &config], 78);
    assert!(complaint.contains("no secret for the document's interval"), "{complaint}");
    let document = std::fs::read_to_string(folder.0.join("document")).expect("a file");
    std::fs::write(folder.0.join("document"), document.replace("interval 7\n", "interval 8\n")).expect("a file");
    let complaint = bad(folder, &["relay", &config], 65);
    assert!(complaint.contains("document, line "), "{complaint}");
    assert!(bad(folder, &["relay", "nothing.toml"], 66).contains("nothing.toml"));
}
