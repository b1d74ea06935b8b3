//! A network on loopback: relays and exits in threads, each exit with an unshaped process whose only server is an echo, and
//! directory nodes whose unshaped process is a real one.

use circuit_relay::{CircuitRelay, Door, ExitBoot, ExitError, Handle, NothingJoined, RelaySettings, run_exit};
use flow_queue::{Geometry, QueueSide, Segments, Side};
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OperatorSecret};
use network_document::{Charter, Contact, Descriptor, Draft, Label, NetworkDocument, OnionKeyFile, Roles};
use onion::Interval;
use os_net::process_channel::{Channel, FromProcess, ToProcess};
use os_net::udp::UdpSocket;
use relay_node::{Limits, RelayNodeConfig};
use shaped_node::queues::FlowQueues;
use shaping::RateClass;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::flow::{ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

const INTERVAL: Interval = Interval(3);
const NEXT: Interval = Interval(4);
/// Bytes that the echo moves in one go.
const PORTION: usize = 64 * 1024;
/// Nothing that a test waits for takes longer on the busiest machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The port on which nobody listens.
pub(crate) const REFUSED_PORT: u16 = 9;

/// Relays, exits behind them, and what all know of each other.
pub(crate) struct Net {
    pub(crate) document: NetworkDocument,
    relays: Vec<Handle>,
    exits: Vec<Option<Exit>>,
    directories: Vec<Option<Exit>>,
    first_exit: usize,
    first_directory: usize,
    addresses: Vec<SocketAddr>,
}

fn secret(relay: usize) -> [u8; 32] {
    [relay as u8 + 1; 32]
}

fn node_id(relay: usize) -> NodeId {
    NodeSecret::from_seed(secret(relay)).node_id()
}

fn onion_keys(relay: usize) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    file.prepare(INTERVAL, secret(relay));
    file.prepare_lasting(secret(relay + 100));
    file.prepare(NEXT, [relay as u8 + 101; 32]);
    file
}

/// An address that no other relay of any test has, in this process or another one: a port that was bound to find a free one may be
/// another's before it is bound again. Each relay is in a subnet of its own.
fn address(relay: usize) -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 201 + high % 50, relay as u8 + 10, low);
    (host, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}

fn document(
    addresses: &[SocketAddr],
    first_exit: usize,
    first_directory: usize,
    interval: Interval,
) -> NetworkDocument {
    let operator = OperatorSecret::from_seed([99; 32]);
    let label = |text: &str| Label::new(text, "name").expect("a label");
    let charter = Charter::new(label("loopback"), Default::default(), vec![operator.operator_key()], 1);
    let charter = charter.expect("a charter");
    let describe = |(relay, address): (usize, &SocketAddr)| {
        let (is_exit, is_directory) = (relay >= first_exit && relay < first_directory, relay >= first_directory);
        let descriptor = Descriptor {
            node_id: node_id(relay),
            link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
            door_key: DoorKey::from_bytes(secret(relay)),
            onion_keys: vec![(interval, onion_keys(relay).of(interval).expect("it was made").onion_key())],
            addresses: vec![*address],
            hop_ports: None,
            roles: Roles { guard: !is_exit, middle: !is_exit && !is_directory, exit: is_exit, directory: is_directory },
            operator: label(&format!("operator-{relay}")),
            bandwidth: RateClass::FASTEST,
        };
        descriptor.sign(charter.network_id(), &NodeSecret::from_seed(secret(relay))).expect("a good descriptor")
    };
    let relays = addresses.iter().enumerate().map(describe).collect();
    let mut draft = Draft::new(charter.clone(), interval, relays).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

impl Net {
    /// So many guards that are middles as well, and so many exits.
    pub(crate) fn start(relays: usize, exits: usize) -> Self {
        Self::with_directories(relays, exits, &[])
    }

    /// The same with directory nodes, which are guards as well, and their services.
    pub(crate) fn with_directories(relays: usize, exits: usize, services: &[Option<PathBuf>]) -> Self {
        let first_directory = relays + exits;
        let addresses: Vec<SocketAddr> = (0..first_directory + services.len()).map(address).collect();
        let document = document(&addresses, relays, first_directory, INTERVAL);
        let start = |relay: usize| {
            let settings = RelaySettings {
                door: Door::Listen(addresses[relay]),
                node: RelayNodeConfig {
                    node_id: node_id(relay),
                    link_secret: LinkSecret::from_bytes(secret(relay)),
                    door_key: DoorKey::from_bytes(secret(relay)),
                    hops: None,
                    bandwidth: None,
                    limits: Limits::default(),
                },
                document: document.clone(),
                onion_keys: onion_keys(relay),
                replay: None,
                drain: Duration::from_secs(1),
                seed: secret(relay),
            };
            let relay = CircuitRelay::new(settings, NothingJoined).expect("a relay");
            let handle = relay.handle();
            std::thread::spawn(move || relay.run());
            handle
        };
        let handles = (0..relays).map(start).collect();
        let exits = (relays..relays + exits).map(|exit| Some(Exit::start(&document, exit, addresses[exit]))).collect();
        let directory = |(number, service): (usize, &Option<PathBuf>)| {
            let relay = first_directory + number;
            Some(Exit::directory(&document, relay, addresses[relay], service.clone()))
        };
        let directories = services.iter().enumerate().map(directory).collect();
        Self { document, relays: handles, exits, directories, first_exit: relays, first_directory, addresses }
    }

    /// The name of a directory node.
    pub(crate) fn directory(&self, number: usize) -> NodeId {
        node_id(self.first_directory + number)
    }

    /// What an invitation to these directory nodes says.
    pub(crate) fn contacts(&self, numbers: &[usize]) -> NetworkDocument {
        let contact = |number: &usize| {
            let relay = self.first_directory + number;
            Contact {
                node_id: node_id(relay),
                link_key: LinkSecret::from_bytes(secret(relay)).link_key(),
                door_key: DoorKey::from_bytes(secret(relay)),
                onion_key: onion_keys(relay).lasting().expect("it was made").onion_key(),
                addresses: vec![self.addresses[relay]],
            }
        };
        let charter = self.document.charter().clone();
        NetworkDocument::of_contacts(charter, numbers.iter().map(contact).collect()).expect("good contacts")
    }

    /// Ends the processes of a directory node.
    pub(crate) fn stop_directory(&mut self, number: usize) {
        self.directories[number].take().expect("it runs").stop();
    }

    /// The document of the next interval, by which the relays go from now on. Exits go on by the old one.
    pub(crate) fn renew(&self) -> NetworkDocument {
        let later = document(&self.addresses, self.first_exit, self.first_directory, NEXT);
        for (relay, handle) in self.relays.iter().enumerate() {
            handle.set_document(later.clone(), onion_keys(relay));
        }
        later
    }

    /// Stops a relay at once.
    pub(crate) fn kill(&self, relay: NodeId) {
        let number = (0..self.relays.len()).find(|number| node_id(*number) == relay).expect("a relay of the network");
        self.relays[number].stop();
        self.relays[number].stop();
    }

    /// Ends the process of an exit and starts another.
    pub(crate) fn restart_exit(&mut self, exit: NodeId) {
        let number = (0..self.exits.len()).find(|number| node_id(self.first_exit + number) == exit).expect("an exit");
        self.exits[number].take().expect("it runs").stop();
        let relay = self.first_exit + number;
        self.exits[number] = Some(Exit::start(&self.document, relay, self.addresses[relay]));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.relays.iter().for_each(|relay| relay.stop());
        self.exits.iter_mut().chain(&mut self.directories).filter_map(Option::take).for_each(Exit::stop);
    }
}

/// The shaped process of an exit in a thread, and its unshaped one in another.
struct Exit {
    supervisor: Channel,
    is_over: Arc<AtomicBool>,
    process: JoinHandle<Result<(), ExitError>>,
    unshaped: Unshaped,
}

enum Unshaped {
    Echo(JoinHandle<()>),
    Egress(Channel, JoinHandle<Result<(), egress::RunError>>),
}

fn replay_file() -> OwnedFd {
    let path = std::env::temp_dir().join(format!("hushwire-manager-{}-{:?}", std::process::id(), Instant::now()));
    let file = std::fs::File::options().read(true).append(true).create(true).open(&path).expect("a file");
    std::fs::remove_file(path).expect("it is there");
    file.into()
}

impl Exit {
    fn start(document: &NetworkDocument, relay: usize, listen: SocketAddr) -> Self {
        Self::with_unshaped(document, relay, listen, |geometry, fds, over| {
            let mut echo = Echo::open(geometry, fds);
            Unshaped::Echo(std::thread::spawn(move || {
                while !over.load(Ordering::Acquire) {
                    if !echo.turn() {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            }))
        })
    }

    /// One whose policy lets nobody out. `service`: the socket that it is told of.
    fn directory(document: &NetworkDocument, relay: usize, listen: SocketAddr, service: Option<PathBuf>) -> Self {
        Self::with_unshaped(document, relay, listen, |geometry, fds, _| {
            let mut boot = egress::Boot::new(*geometry);
            (boot.policy, boot.directory) = (vec!["deny *".to_owned()], service);
            let (supervisor, process) = Channel::pair().expect("a channel");
            Unshaped::Egress(supervisor, std::thread::spawn(move || egress::run(boot, process, fds)))
        })
    }

    fn with_unshaped(
        document: &NetworkDocument,
        relay: usize,
        listen: SocketAddr,
        unshaped: impl FnOnce(&Geometry, Vec<OwnedFd>, Arc<AtomicBool>) -> Unshaped,
    ) -> Self {
        let geometry = Geometry::new(64, 1 << 18, 1).expect("a good geometry");
        let segments = Segments::create(&geometry).expect("memory");
        let mut fds = segments.shaped_side().expect("descriptors");
        let is_over = Arc::new(AtomicBool::new(false));
        let unshaped = unshaped(&geometry, segments.unshaped_side().expect("descriptors"), Arc::clone(&is_over));
        let memory = shm_ring::seal(c"document", &document.encode()).expect("memory");
        fds.extend([UdpSocket::bind(listen).expect("its address").into(), replay_file(), memory]);
        let (supervisor, process) = Channel::pair().expect("a channel");
        let boot = ExitBoot {
            slots: None,
            document_bytes: document.encode().len(),
            onion_keys: onion_keys(relay).reveal().to_string(),
            node_secret: NodeSecret::from_seed(secret(relay)).reveal().to_string(),
            link_secret: LinkSecret::from_bytes(secret(relay)).reveal().to_string(),
            door_key: DoorKey::from_bytes(secret(relay)).reveal().to_string(),
            session_timeout_ms: 30_000,
            tunnels_max: 32,
            flows_per_tunnel: 32,
            memory_max: shaped_node::memory::MEMORY_MAX,
            queues: geometry,
            core: None,
            // It would confine this test.
            confine: false,
        };
        let process = std::thread::spawn(move || run_exit(boot, process, fds));
        let is_ready = |message| matches!(message, FromProcess::Ready);
        let end = Instant::now() + SOON;
        while !supervisor.receive(Some(SOON)).expect("a channel").is_some_and(|received| is_ready(received.message)) {
            assert!(Instant::now() < end, "the exit does not start");
        }
        Self { supervisor, is_over, process, unshaped }
    }

    fn stop(self) {
        self.supervisor.send(&ToProcess::Stop { deadline_ms: 1_000 }, &[]).expect("it listens");
        self.process.join().expect("no panic").expect("it ends in order");
        self.is_over.store(true, Ordering::Release);
        match self.unshaped {
            Unshaped::Echo(echo) => echo.join().expect("no panic"),
            Unshaped::Egress(supervisor, process) => {
                drop(supervisor);
                process.join().expect("no panic").expect("it ends in order");
            }
        }
    }
}

/// An unshaped process whose only server is an echo.
struct Echo {
    queues: QueueSide,
    flows: Vec<EchoFlow>,
}

struct EchoFlow {
    queue: QueueRef,
    /// The other side's end.
    fin: Option<u64>,
    is_over: bool,
}

impl Echo {
    fn open(geometry: &Geometry, fds: Vec<OwnedFd>) -> Self {
        let queues = QueueSide::open(geometry, Side::Unshaped, false, fds).expect("good segments");
        Self { queues, flows: Vec::new() }
    }

    /// True if anything was moved.
    fn turn(&mut self) -> bool {
        let mut any = false;
        while let Some(message) = self.queues.poll_message().expect("the exit keeps the protocol") {
            any = true;
            self.handle(&message);
        }
        while self.queues.poll_active().is_some() {}
        for flow in &mut self.flows {
            any |= flow.turn(&mut self.queues);
        }
        self.flows.retain(|flow| !flow.is_over);
        self.queues.flush();
        any
    }

    fn handle(&mut self, message: &LocalMessage) {
        let queue = message.queue();
        match message {
            LocalMessage::Syn(_, Syn { destination, .. }) if destination.port == REFUSED_PORT => {
                self.send(&LocalMessage::Reset(queue, ResetReason::Refused));
                self.send(&LocalMessage::Closed(queue, self.queues.write_position(queue.index)));
            }
            LocalMessage::Syn(..) => {
                self.send(&LocalMessage::Connected(queue, SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000))));
                self.flows.push(EchoFlow { queue, fin: None, is_over: false });
            }
            _ => {}
        }
        let Some(flow) = self.flows.iter_mut().find(|flow| flow.queue == queue) else { return };
        match message {
            LocalMessage::Fin(_, position) => flow.fin = Some(*position),
            LocalMessage::Reset(..) => {
                flow.is_over = true;
                self.send(&LocalMessage::Closed(queue, self.queues.write_position(queue.index)));
            }
            _ => {}
        }
    }

    fn send(&mut self, message: &LocalMessage) {
        self.queues.send_message(message).expect("there is room");
    }
}

impl EchoFlow {
    fn turn(&mut self, queues: &mut QueueSide) -> bool {
        let index = self.queue.index;
        let room = queues.writable(index).expect("a good ring");
        let bytes = queues.read(index, room.min(PORTION)).expect("a good ring");
        queues.write(index, &bytes).expect("there is room");
        if self.fin == Some(queues.read_position(index)) && !self.is_over {
            self.is_over = true;
            let position = queues.write_position(index);
            for message in [LocalMessage::Fin(self.queue, position), LocalMessage::Closed(self.queue, position)] {
                queues.send_message(&message).expect("there is room");
            }
        }
        !bytes.is_empty()
    }
}
