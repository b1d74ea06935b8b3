//! Documents that change under running nodes, as real processes on loopback: intervals that follow each other, what is refused, and
//! editions of a directory with two thousand relays.

use crate::folder::Folder;
use crate::network::{
    Process, RELAYS, SOON, connect, echo_server, make_network, wait_for_legs, write_document, write_entry,
};
use crate::outcome::{bad, good};
use identity::{DoorKey, KeyFile, LinkSecret, NodeId, NodeSecret, OnionSecret, OperatorSecret};
use network_document::{
    Announcement, Charter, Descriptor, Edition, EditionHead, EditionName, Electorate, Founding, Label, NetworkDocument,
    OnionKeyFile, Parameters, Roles, SignedAnnouncement, SignedEdition,
};
use onion::Interval;
use shaping::RateClass;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const TAKEN: &str = "another document of the network is in force";
const REFUSED: &str = "is refused, the one before stays in force";
/// Relays of an edition that nobody runs.
const NOBODYS: usize = 2_000;
/// Edition 1008 has the onion keys of interval 7.
const INDEX: u64 = 1_008;

/// All processes of a network, by the names of their logs.
struct Running(Vec<(String, Process)>);

impl Running {
    fn start(folder: &Folder) -> Self {
        let relays = (0..RELAYS).map(|number| format!("{number}.toml"));
        let mut all: Vec<(String, Process)> =
            relays.map(|file| (file.clone(), Process::start(folder, &["relay", &file], &file))).collect();
        for role in ["exit", "entry"] {
            let file = format!("{role}.toml");
            all.push((role.to_owned(), Process::start(folder, &[role, "-c", &file], role)));
        }
        Self(all)
    }

    /// Waits until each process has said something so often.
    fn wait_for(&self, folder: &Folder, words: &str, times: usize) {
        let end = Instant::now() + SOON;
        for (name, _) in &self.0 {
            while said(folder, name, words) < times {
                assert!(Instant::now() < end, "{name}: {}", log(folder, name));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn hang_up(&self) {
        for (name, process) in &self.0 {
            let sent = Command::new("kill").args(["-HUP", &process.0.id().to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "{name}");
        }
    }
}

fn log(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.0.join(format!("{name}.log"))).unwrap_or_default()
}

fn said(folder: &Folder, name: &str, words: &str) -> usize {
    log(folder, name).lines().filter(|line| line.contains(words)).count()
}

/// Puts a file in place of another one in one step.
fn replace(folder: &Folder, fresh: &str) {
    std::fs::rename(folder.0.join(fresh), folder.0.join("document")).expect("it is there");
}

/// Bytes go to the echo and come back, compared one by one, until told to end. Returns how many.
struct Transfer {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Transfer {
    fn start(stream: TcpStream) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let (mut reader, mut writer, mut moved) = (stream.try_clone().expect("a second handle"), stream, 0);
            // Once at least, however late this thread begins.
            while moved == 0 || !told.load(Ordering::Acquire) {
                let sent: Vec<u8> = (moved..moved + 20_000).map(|place| (place % 251) as u8).collect();
                writer.write_all(&sent).expect("it takes bytes");
                let mut back = vec![0; sent.len()];
                reader.read_exact(&mut back).expect("the bytes come back");
                assert!(back == sent, "other bytes behind {moved}");
                moved += sent.len();
            }
            moved
        });
        Self { ends, thread }
    }

    fn end(self) -> usize {
        self.ends.store(true, Ordering::Release);
        self.thread.join().expect("each byte came back")
    }
}

fn addresses_of(folder: &Folder) -> Vec<SocketAddr> {
    let document = std::fs::read(folder.0.join("document")).expect("a document");
    let document = NetworkDocument::load(&document).expect("a good one");
    let address = |id: NodeId| document.relay(&id).expect("it is there").addresses[0];
    (0..=RELAYS).map(|number| address(keys_of(folder, number).node_secret.node_id())).collect()
}

fn keys_of(folder: &Folder, number: usize) -> KeyFile {
    let text = std::fs::read_to_string(folder.0.join(format!("{number}.keys"))).expect("a key file");
    KeyFile::parse(&text).expect("keys")
}

#[test]
fn intervals_follow_each_other_under_a_transfer() {
    let folder = &Folder::new("documents").expect("a folder");
    let (proxy, ids) = make_network(folder);
    let addresses = addresses_of(folder);
    let mut running = Running::start(folder);
    wait_for_legs(folder);
    let transfer = Transfer::start(connect(proxy, echo_server()));
    for (interval, times) in [(8, 1), (9, 2)] {
        // The secrets of the interval are in the relays' files before anybody has the document.
        write_document(folder, &addresses, interval, "fresh");
        std::fs::copy(folder.0.join("fresh"), folder.0.join(format!("document-{interval}"))).expect("a copy");
        replace(folder, "fresh");
        running.wait_for(folder, TAKEN, times);
    }

    // An older one, and one that was cut, are refused once each; a signal makes them look again.
    std::fs::copy(folder.0.join("document-8"), folder.0.join("old")).expect("a copy");
    replace(folder, "old");
    running.wait_for(folder, REFUSED, 1);
    std::thread::sleep(Duration::from_secs(3));
    running.hang_up();
    running.wait_for(folder, REFUSED, 2);
    assert!(running.0.iter().all(|(name, _)| said(folder, name, REFUSED) == 2), "once for each look");
    let whole = std::fs::read(folder.0.join("document-9")).expect("a copy");
    std::fs::write(folder.0.join("cut"), &whole[..whole.len() / 2]).expect("a file");
    replace(folder, "cut");
    running.wait_for(folder, REFUSED, 3);
    assert!(log(folder, "entry").contains("document, line "), "it says where");

    assert!(transfer.end() > 100_000, "it went on all the time");
    let lost = running.0.iter().find(|(name, _)| said(folder, name, "a leg is out of use") > 0);
    assert!(lost.is_none(), "nothing was retired");

    // The document of the last interval is good for a start too.
    std::fs::copy(folder.0.join("document-9"), folder.0.join("good")).expect("a copy");
    replace(folder, "good");
    let (_, mut entry) = running.0.pop().expect("the entry came last");
    entry.end();
    let _entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry-again");
    wait_for_legs(folder);
    let again = Transfer::start(connect(proxy, echo_server()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(again.end() > 0);
    for (name, _) in &running.0 {
        let log = log(folder, name);
        assert!(ids.iter().all(|id| !log.contains(id.as_str())), "{name} names a relay");
    }
}

/// A network with a directory: its charter, its members, and what the relays of the folder and 2,000 others say of themselves.
struct Directory {
    charter: Arc<Charter>,
    members: Vec<NodeSecret>,
    said: Vec<Arc<SignedAnnouncement>>,
}

impl Directory {
    fn new(folder: &Folder, addresses: &[SocketAddr]) -> Self {
        let members: Vec<NodeSecret> = (201..=203).map(|seed| NodeSecret::from_seed([seed; 32])).collect();
        let electorate = Electorate::new(1, members.iter().map(NodeSecret::node_id).collect(), 0).expect("members");
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let founding = Founding::new(now_ms - INDEX * 600_000, electorate);
        let operator = OperatorSecret::from_seed([200; 32]);
        let charter = Charter::new(label("large"), Default::default(), vec![operator.operator_key()], 1);
        let charter = charter.and_then(|charter| charter.with_directory(founding)).expect("a charter");
        let real = addresses.iter().enumerate().map(|(number, address)| {
            let keys = keys_of(folder, number);
            let onion = std::fs::read_to_string(folder.0.join(format!("{number}.onion"))).expect("a file");
            let onion_key =
                OnionKeyFile::parse(&onion).expect("secrets").of(Interval(7)).expect("it is there").onion_key();
            let is_exit = number == RELAYS;
            let roles = Roles { guard: !is_exit, middle: !is_exit, exit: is_exit, directory: is_exit };
            let said = Descriptor {
                node_id: keys.node_secret.node_id(),
                link_key: keys.link_secret.link_key(),
                door_key: keys.door_key.clone(),
                onion_keys: vec![(Interval(7), onion_key)],
                addresses: vec![*address],
                hop_ports: None,
                roles,
                operator: label(&format!("operator-{number}")),
                bandwidth: RateClass::FASTEST,
            };
            announce(said, &charter, &keys.node_secret)
        });
        let said = real.chain((0..NOBODYS).map(|number| nobodys(number, &charter))).collect();
        Self { charter: Arc::new(charter), members, said }
    }

    fn edition(&self, index: u64, signers: usize) -> Vec<u8> {
        let previous = EditionName { index: 0, hash: self.charter.network_id().0 };
        let electorate = self.charter.founding().expect("it has one").electorate.clone();
        let head = EditionHead::new(Arc::clone(&self.charter), index, previous, electorate, Parameters::default());
        let edition = Edition::new(head.expect("a head"), self.said.clone()).expect("an edition");
        let mut signed = SignedEdition::new(Arc::new(edition));
        self.members.iter().take(signers).for_each(|member| signed.sign(member).expect("a member"));
        signed.encode()
    }
}

fn label(text: &str) -> Label {
    Label::new(text, "name").expect("a label")
}

fn announce(descriptor: Descriptor, charter: &Charter, secret: &NodeSecret) -> Arc<SignedAnnouncement> {
    let exit_ports = descriptor.roles.exit.then(|| "80,443".parse().expect("ports"));
    let (next_link_key, next_door_key) = (None, None);
    let said =
        Announcement { descriptor, next_link_key, next_door_key, exit_ports, published_ms: 1, expires_ms: u64::MAX };
    Arc::new(said.sign(charter.network_id(), secret).expect("a good announcement"))
}

/// An exit that is not there: nobody who names another one comes by.
fn nobodys(number: usize, charter: &Charter) -> Arc<SignedAnnouncement> {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let secret = NodeSecret::from_seed(seed);
    let [high, low] = (number as u16).to_be_bytes();
    let descriptor = Descriptor {
        node_id: secret.node_id(),
        link_key: LinkSecret::from_bytes(seed).link_key(),
        door_key: DoorKey::from_bytes(seed),
        onion_keys: vec![(Interval(7), OnionSecret::from_bytes(seed).onion_key())],
        addresses: vec![SocketAddr::from(([10, high, low, 1], 4433))],
        hop_ports: "40000-49999".parse().ok(),
        roles: Roles { exit: true, ..Roles::default() },
        operator: label(&format!("nobody-{number}")),
        bandwidth: RateClass::SLOWEST,
    };
    announce(descriptor, charter, &secret)
}

/// Far more than a message between processes holds, at the start and while all run.
#[test]
fn an_edition_of_two_thousand_relays_is_gone_by_at_every_node() {
    let folder = &Folder::new("documents-large").expect("a folder");
    let (proxy, ids) = make_network(folder);
    let directory = Directory::new(folder, &addresses_of(folder));
    write_entry(folder, proxy, &format!("relax = \"shared-operators\"\nexit = \"{}\"", ids[RELAYS]));
    let write = |bytes: &[u8]| {
        std::fs::write(folder.0.join("fresh"), bytes).expect("a file");
        replace(folder, "fresh");
    };
    write(&directory.edition(INDEX, 1));
    for command in [["check", "-c", "entry.toml"], ["check", "-c", "exit.toml"], ["check", "-c", "0.toml"]] {
        let complaint = bad(folder, &command, 65);
        assert!(complaint.contains("document, it is an edition") && complaint.contains("1 members"), "{complaint}");
    }
    assert!(bad(folder, &["network", "show", "document"], 65).contains("2 must"));
    let first = directory.edition(INDEX, 2);
    assert!(first.len() > 500_000, "{} bytes", first.len());
    write(&first);
    for command in [["check", "-c", "entry.toml"], ["check", "-c", "exit.toml"], ["check", "-c", "0.toml"]] {
        assert!(good(folder, &command).contains("with 2005 relays"));
    }
    let shown = good(folder, &["network", "show", "document"]);
    assert!(shown.contains("edition    1008, after 0") && shown.contains("of whom 2 must sign"), "{shown}");

    let running = Running::start(folder);
    wait_for_legs(folder);
    let transfer = Transfer::start(connect(proxy, echo_server()));
    write(&directory.edition(INDEX + 1, 3));
    running.wait_for(folder, TAKEN, 1);
    std::thread::sleep(Duration::from_millis(300));
    assert!(transfer.end() > 0);
    assert_eq!(said(folder, "entry", "a leg is out of use"), 0);
    assert_eq!(said(folder, "entry", REFUSED), 0);
}
