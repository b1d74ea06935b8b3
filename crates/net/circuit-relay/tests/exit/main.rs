//! The shaped process of an exit over circuits in a thread, on real sockets: behind a guard, between a supervisor and an
//! unshaped process that are this test.

mod client;
#[path = "../loopback/rig.rs"]
mod rig;
mod unshaped;

use circuit_relay::{BootSlots, CircuitRelay, ExitBoot, ExitError, Handle, NothingJoined, run_exit};
use client::Client;
use conflux::Asked;
use flow_queue::{Geometry, Segments};
use identity::{DoorKey, LinkSecret, NodeSecret};
use network_document::NetworkDocument;
use os_net::process_channel::{Channel, FromProcess, ToProcess};
use os_net::udp::UdpSocket;
use rig::{NEXT, addresses, document, document_of, node_id, onion_keys, settings};
use shaped_tunnel::{BootPacing, Order, ShapedStatus};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unshaped::Echo;

const SOON: Duration = Duration::from_secs(60);
const EXIT: u8 = 2;
const MEGABYTE: u64 = 1_000_000;

/// The exit, and what this test holds of it.
struct Exit {
    supervisor: Channel,
    geometry: Geometry,
    echo: Echo,
    thread: JoinHandle<Result<(), ExitError>>,
}

fn boot(document: &NetworkDocument, queues: Geometry) -> ExitBoot {
    ExitBoot {
        document_bytes: document.encode().len(),
        onion_keys: onion_keys(EXIT).reveal().to_string(),
        node_secret: NodeSecret::from_seed([EXIT; 32]).reveal().to_string(),
        link_secret: LinkSecret::from_bytes([EXIT; 32]).reveal().to_string(),
        door_key: DoorKey::from_bytes([EXIT; 32]).reveal().to_string(),
        session_timeout_ms: 10_000,
        tunnels_max: 8,
        flows_per_tunnel: 8,
        memory_max: shaped_node::memory::MEMORY_MAX,
        slots: None,
        queues,
        core: None,
        // It would confine this test.
        confine: false,
    }
}

/// Descriptors of a generation: those of the process, and the queues of the unshaped side.
fn generation(geometry: &Geometry) -> (Vec<OwnedFd>, Echo) {
    let segments = Segments::create(geometry).expect("memory");
    let unshaped = segments.unshaped_side().expect("descriptors");
    (segments.shaped_side().expect("descriptors"), Echo::open(geometry, unshaped))
}

/// Where the echo is, for clients.
fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 80], 7))
}

fn sealed(document: &[u8]) -> OwnedFd {
    shm_ring::seal(c"document", document).expect("memory")
}

fn replay_file() -> OwnedFd {
    let path = std::env::temp_dir().join(format!("hushwire-exit-replay-{}-{:?}", std::process::id(), Instant::now()));
    let file = std::fs::File::options().read(true).append(true).create(true).open(&path).expect("a file");
    std::fs::remove_file(path).expect("it is there");
    file.into()
}

impl Exit {
    fn start(document: &NetworkDocument, door: UdpSocket, slots: Option<BootSlots>) -> Self {
        let geometry = Geometry::new(16, 65_536, 1).expect("a good geometry");
        let (mut fds, echo) = generation(&geometry);
        fds.extend([door.into(), replay_file(), sealed(&document.encode())]);
        let (supervisor, process) = Channel::pair().expect("a channel");
        let boot = ExitBoot { slots, ..boot(document, geometry) };
        let thread = std::thread::spawn(move || run_exit(boot, process, fds));
        Self { supervisor, geometry, echo, thread }
    }

    /// The next message that is wanted; others are passed over.
    fn heard<T>(&self, wanted: impl Fn(FromProcess) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < end, "the exit says nothing of the kind");
            let received = self.supervisor.receive::<FromProcess>(Some(SOON)).expect("a channel");
            if let Some(found) = received.and_then(|received| wanted(received.message)) {
                return found;
            }
        }
    }

    fn status(&self, wanted: impl Fn(&ShapedStatus) -> bool) -> ShapedStatus {
        self.heard(|message| match message {
            FromProcess::Status { body } => {
                serde_json::from_value::<ShapedStatus>(body).ok().filter(|status| wanted(status))
            }
            _ => None,
        })
    }

    /// Goes on with everything in this thread until `done`.
    fn run_until(&mut self, client: &mut Client, done: impl Fn(&Client) -> bool) -> bool {
        let end = Instant::now() + SOON;
        while Instant::now() < end && !done(client) {
            client.turn();
            self.echo.turn();
        }
        done(client)
    }

    /// Waits until it ends by itself.
    fn end(self) {
        let end = Instant::now() + SOON;
        while !self.thread.is_finished() {
            assert!(Instant::now() < end, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.thread.join().expect("no panic").expect("it ends in order");
    }
}

fn network() -> (NetworkDocument, Handle, Exit) {
    network_with(None)
}

fn network_with(slots: Option<BootSlots>) -> (NetworkDocument, Handle, Exit) {
    let guard = addresses(1);
    let door = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let document = document(&[guard[0], door.local_addr().expect("its address")]);
    let relay = CircuitRelay::new(settings(1, guard[0], &document), NothingJoined).expect("a relay");
    let handle = relay.handle();
    std::thread::spawn(move || relay.run());
    let exit = Exit::start(&document, door, slots);
    exit.heard(|message| matches!(message, FromProcess::Ready).then_some(()));
    (document, handle, exit)
}

#[test]
fn flows_go_through_a_circuit_into_the_queues_and_back() {
    let (document, guard, mut exit) = network();
    let mut client = Client::dial(document, vec![node_id(1), node_id(EXIT)], [60; 32]);
    assert!(exit.run_until(&mut client, Client::is_connected), "{:?}", client.events);
    client.start(server(), MEGABYTE);
    assert!(exit.run_until(&mut client, |client| client.is_finished), "{} bytes", client.received);
    assert_eq!(client.received, MEGABYTE);
    // Figures are a second old at most; those of the seconds before wait in the channel.
    let status = exit.status(|status| status.node.counters["data_cells_sent"] > MEGABYTE / 1_222);
    let figures = status.exit.expect("it is an exit");
    let tunnels = figures.tunnels;
    assert_eq!((tunnels.tunnels, tunnels.sessions, tunnels.legs, figures.circuits), (1, 1, 1, 1));
    assert!(status.node.links.is_empty(), "nothing tells who is there");

    // Another unshaped process.
    client.start(server(), u64::MAX);
    assert!(exit.run_until(&mut client, |client| client.received > 0));
    exit.geometry = exit.geometry.with_generation(2);
    let (fds, echo) = generation(&exit.geometry);
    let descriptors: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    exit.supervisor.send(&ToProcess::Attach { generation: 2 }, &descriptors).expect("it listens");
    exit.echo = echo;
    assert!(exit.run_until(&mut client, |client| client.is_reset));
    client.start(server(), MEGABYTE);
    assert!(exit.run_until(&mut client, |client| client.is_finished), "{} bytes", client.received);

    exit.supervisor.send(&ToProcess::Stop { deadline_ms: 4_000 }, &[]).expect("it listens");
    assert!(exit.run_until(&mut client, |client| client.is_lost), "the client is told");
    exit.end();
    guard.stop();
}

#[test]
fn cells_of_a_shaped_exit_leave_in_its_slots_and_at_its_rate() {
    const CLASS: u8 = 17;
    const BYTES: u64 = MEGABYTE / 4;
    let slots = BootSlots {
        pacing: BootPacing::Constant,
        fastest_class: CLASS,
        slot_ms: 5,
        lead_us: 1_000,
        spin_us: 0,
        realtime: None,
    };
    let (document, guard, mut exit) = network_with(Some(slots));
    let mut client = Client::dial(document, vec![node_id(1), node_id(EXIT)], [61; 32]);
    // It asks for more than there is.
    client.asks = Asked::new(1, CLASS + 5, 0, 1).expect("the whole schedule");
    assert!(exit.run_until(&mut client, Client::is_connected), "{:?}", client.events);
    let from = Instant::now();
    client.start(server(), BYTES);
    assert!(exit.run_until(&mut client, |client| client.is_finished), "{} bytes", client.received);
    assert_eq!(client.received, BYTES);
    let class = shaping::RateClass::new(CLASS).expect("a class");
    let ideal = (8 * BYTES) as f64 / class.bits_per_second() as f64;
    assert!(from.elapsed().as_secs_f64() > ideal, "{:?}, {ideal} s at the class", from.elapsed());

    let status = exit.status(|status| status.node.counters["data_cells_sent"] > BYTES / 1_222);
    assert_eq!(status.node.mode, "constant");
    let slots = status.slots.expect("it sends in slots");
    assert!(slots.sent >= status.node.counters["data_cells_sent"], "{slots:?}");
    assert!(status.node.last_minute.is_some_and(|minute| minute.cells > minute.data_cells), "cover goes as well");
    // Nothing is asked for, and cells leave all the same.
    exit.status(|later| later.slots.as_ref().is_some_and(|later| later.sent > slots.sent + 500));

    exit.supervisor.send(&ToProcess::Stop { deadline_ms: 4_000 }, &[]).expect("it listens");
    assert!(exit.run_until(&mut client, |client| client.is_lost), "the client is told");
    exit.end();
    guard.stop();
}

/// Onion keys are renewed under a transfer, at the guard by its handle and at the exit by an order; circuits of both intervals are
/// answered afterwards, and an order that does not fit changes nothing.
#[test]
fn a_later_document_is_gone_by_while_a_transfer_runs() {
    let (document, guard, mut exit) = network();
    let path = || vec![node_id(1), node_id(EXIT)];
    let addresses: Vec<SocketAddr> =
        [1, EXIT].map(|relay| document.relay(&node_id(relay)).expect("it is there").addresses[0]).to_vec();
    let later = document_of(&addresses, NEXT);
    let mut client = Client::dial(document.clone(), path(), [62; 32]);
    assert!(exit.run_until(&mut client, Client::is_connected), "{:?}", client.events);
    client.start(server(), 4 * MEGABYTE);
    assert!(exit.run_until(&mut client, |client| client.received > MEGABYTE / 4));

    guard.set_document(later.clone(), onion_keys(1));
    let order = |document: &NetworkDocument, keys: Option<String>| {
        let bytes = document.encode();
        let body = Order::Document { bytes: bytes.len(), onion_keys: keys };
        (ToProcess::Order { body: serde_json::to_value(body).expect("an order") }, sealed(&bytes))
    };
    let secrets = || Some(onion_keys(EXIT).reveal().to_string());
    let good = order(&later, secrets());
    // Too early, without secrets, with another's secrets, and without memory.
    let bad =
        [order(&document, secrets()), order(&later, None), order(&later, Some(onion_keys(1).reveal().to_string()))];
    exit.supervisor.send(&good.0, &[]).expect("it listens");
    for (message, memory) in bad.iter().chain([&good, &bad[0]]) {
        exit.supervisor.send(message, &[memory.as_fd()]).expect("it listens");
        let until = Instant::now() + Duration::from_millis(300);
        exit.run_until(&mut client, |_| Instant::now() > until);
    }
    assert!(exit.run_until(&mut client, |client| client.is_finished), "{} bytes", client.received);
    assert_eq!((client.received, client.is_reset, client.is_lost), (4 * MEGABYTE, false, false));
    for (document, seed) in [(&later, 63), (&document, 64)] {
        let mut client = Client::dial(document.clone(), path(), [seed; 32]);
        assert!(exit.run_until(&mut client, Client::is_connected), "{seed}: {:?}", client.events);
    }
    drop(exit.supervisor);
    exit.thread.join().expect("no panic").expect("it ends in order");
    guard.stop();
}

#[test]
fn it_ends_with_its_supervisor() {
    let (_, guard, exit) = network();
    let Exit { supervisor, thread, .. } = exit;
    drop(supervisor);
    thread.join().expect("no panic").expect("it ends in order");
    guard.stop();
}

#[test]
fn what_cannot_be_an_exit_says_so() {
    let addresses = addresses(2);
    let document = document(&addresses);
    let geometry = Geometry::new(16, 65_536, 1).expect("a good geometry");
    let start = |boot: ExitBoot, file: &[u8]| {
        let (_supervisor, process) = Channel::pair().expect("a channel");
        let door = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let (mut fds, _echo) = generation(&geometry);
        fds.extend([door.into(), replay_file(), sealed(file)]);
        run_exit(boot, process, fds).expect_err("it is none").to_string()
    };
    let guard = ExitBoot {
        onion_keys: onion_keys(1).reveal().to_string(),
        node_secret: NodeSecret::from_seed([1; 32]).reveal().to_string(),
        link_secret: LinkSecret::from_bytes([1; 32]).reveal().to_string(),
        door_key: DoorKey::from_bytes([1; 32]).reveal().to_string(),
        ..boot(&document, geometry)
    };
    let bytes = document.encode();
    assert!(start(guard, &bytes).contains("does not have this node as an exit"));
    let nonsense = start(ExitBoot { document_bytes: 8, ..boot(&document, geometry) }, b"nonsense");
    assert!(nonsense.starts_with("the network's document cannot be used: line 1"), "{nonsense}");
    let short = start(boot(&document, geometry), &bytes[1..]);
    assert!(short.starts_with("the network's document cannot be read"), "{short}");
}
