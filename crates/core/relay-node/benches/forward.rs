//! What a cell costs a relay from packet to packet, without sockets, and what a circuit takes: `cargo bench -p relay-node`.

#![expect(clippy::disallowed_methods, reason = "an origin for virtual time, and what the kernel says of this process")]
#![expect(clippy::print_stdout, reason = "a figure that is not a time")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use identity::{DoorKey, LinkSecret, NodeSecret, OperatorSecret};
use link::{Endpoint, EndpointConfig, LinkEvent, LinkId, Now, Peer, Received};
use network_document::{Charter, Descriptor, Draft, Label, NetworkDocument, OnionKeyFile, Roles};
use onion::{Circuit, CircuitConfig, Features, Interval};
use relay_node::{Came, Limits, RelayNode, RelayNodeConfig};
use shaping::RateClass;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::cell::CircuitId;

const INTERVAL: Interval = Interval(1);
/// The guard is relay 1, the exit relay 2, the client 3.
const GUARD: u8 = 1;
const EXIT: u8 = 2;
const CLIENT: u8 = 3;

/// Cells of one leg in a row: what conflux sends.
const RUN: usize = 16;

fn address(node: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, node, 1], 4433))
}

fn onion_keys(relay: u8) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    file.prepare(INTERVAL, [relay; 32]);
    file
}

fn document() -> NetworkDocument {
    let operator = OperatorSecret::from_seed([9; 32]);
    let label = || Label::new("bench", "name").expect("a label");
    let charter = Charter::new(label(), Default::default(), vec![operator.operator_key()], 1).expect("a charter");
    let describe = |relay: u8| {
        let secret = NodeSecret::from_seed([relay; 32]);
        let onion_key = onion_keys(relay).of(INTERVAL).expect("it was made").onion_key();
        let descriptor = Descriptor {
            node_id: secret.node_id(),
            link_key: LinkSecret::from_bytes([relay; 32]).link_key(),
            door_key: DoorKey::from_bytes([relay; 32]),
            onion_keys: vec![(INTERVAL, onion_key)],
            addresses: vec![address(relay)],
            hop_ports: None,
            roles: Roles { guard: true, middle: true, exit: relay == EXIT, directory: false },
            operator: label(),
            bandwidth: RateClass::FASTEST,
        };
        descriptor.sign(charter.network_id(), &secret).expect("a good descriptor")
    };
    let relays = vec![describe(GUARD), describe(EXIT)];
    let mut draft = Draft::new(charter.clone(), INTERVAL, relays).expect("a good draft");
    draft.sign(&operator).expect("the operator");
    draft.finish().expect("one is enough")
}

fn relay(node: u8, document: &NetworkDocument, bandwidth: Option<RateClass>) -> RelayNode {
    let limits = Limits {
        circuits: 20_000,
        circuits_per_client: 20_000,
        circuits_per_relay: 20_000,
        handshakes_per_client: 2_000,
        handshakes_per_relay: 2_000,
        ..Limits::default()
    };
    let config = RelayNodeConfig {
        node_id: NodeSecret::from_seed([node; 32]).node_id(),
        link_secret: LinkSecret::from_bytes([node; 32]),
        door_key: DoorKey::from_bytes([node; 32]),
        hops: None,
        bandwidth,
        limits,
    };
    RelayNode::new(config, document.clone(), &onion_keys(node), [node; 32]).expect("the document has it")
}

/// A client with circuits over both relays.
struct Bench {
    now: Now,
    document: NetworkDocument,
    endpoint: Endpoint,
    link: LinkId,
    guard: RelayNode,
    exit: RelayNode,
    built: u32,
    circuits: Vec<Circuit>,
}

impl Bench {
    fn new(circuits: u32, bandwidth: Option<RateClass>) -> Self {
        let document = document();
        let (network, now) = (document.charter().network(), Now { instant: Instant::now(), unix_s: 1_800_000_000 });
        let config = EndpointConfig {
            packet_size: network.packet_size,
            network_id: network.id,
            gridded: false,
            ..EndpointConfig::new(
                NodeSecret::from_seed([CLIENT; 32]).node_id(),
                LinkSecret::from_bytes([CLIENT; 32]),
                DoorKey::from_bytes([CLIENT; 32]),
            )
        };
        let mut endpoint = Endpoint::new(config, [CLIENT; 32]);
        let peer = Peer {
            node_id: NodeSecret::from_seed([GUARD; 32]).node_id(),
            link_key: LinkSecret::from_bytes([GUARD; 32]).link_key(),
            door_key: DoorKey::from_bytes([GUARD; 32]),
        };
        let link = endpoint.dial(now, &peer, address(GUARD), [0; 7]).expect("its only dial");
        let (guard, exit) = (relay(GUARD, &document, bandwidth), relay(EXIT, &document, None));
        let mut bench = Self { now, document, endpoint, link, guard, exit, built: 0, circuits: Vec::new() };
        bench.settle(&mut None);
        assert!(bench.endpoint.poll_event().is_some_and(|event| matches!(event, LinkEvent::Up { .. })));
        for _ in 0..circuits {
            let circuit = bench.build_next();
            bench.circuits.push(circuit);
        }
        bench
    }

    fn build_next(&mut self) -> Circuit {
        // Slower than the handshakes that a relay works on.
        self.now.instant += Duration::from_millis(1);
        self.built += 1;
        self.build(self.built)
    }

    fn build(&mut self, number: u32) -> Circuit {
        let config = CircuitConfig { network: self.document.charter().network(), features: Features::default() };
        let spec = |node| self.document.spec(&NodeSecret::from_seed([node; 32]).node_id()).expect("it is listed");
        let (first, second) = (spec(GUARD), spec(EXIT));
        let id = CircuitId(CircuitId::DIALLER_BIT | number);
        let circuit = Circuit::new(self.now.instant, config, id, first, [number as u8; 32]);
        let mut circuit = Some(circuit.expect("the library works"));
        self.settle(&mut circuit);
        let mut circuit = circuit.expect("it was put in");
        circuit.extend(self.now.instant, second).expect("a circuit that is ready");
        let mut circuit = Some(circuit);
        self.settle(&mut circuit);
        let circuit = circuit.expect("it was put in");
        assert!(circuit.is_ready() && circuit.path().count() == 2);
        circuit
    }

    /// Brings packets where they go, until none is left.
    fn settle(&mut self, circuit: &mut Option<Circuit>) {
        let now = self.now;
        let mut packets: Vec<(u8, SocketAddr, Vec<u8>)> = Vec::new();
        loop {
            let mut bytes = Vec::new();
            self.endpoint.handle_timeout(now);
            while let Some(to) = self.endpoint.poll_own_packet(now, self.link, &mut bytes) {
                packets.push((CLIENT, to.to, std::mem::take(&mut bytes)));
            }
            if let Some(circuit) = circuit.as_mut().filter(|_| self.endpoint.is_up(self.link)) {
                let mut region = vec![0; self.document.charter().packet_size().region()];
                while let Some(head) = circuit.poll_cell(now.instant, &mut region) {
                    let fill = |out: &mut [u8]| out.copy_from_slice(&region);
                    let to = self.endpoint.seal_cell(now, self.link, head, fill, &mut bytes).expect("the link is up");
                    packets.push((CLIENT, to.to, std::mem::take(&mut bytes)));
                }
            }
            for (number, node) in [(GUARD, &mut self.guard), (EXIT, &mut self.exit)] {
                node.handle_timeout(now);
                while let Some(to) = node.poll_packet(now, &mut bytes) {
                    packets.push((number, to.to, std::mem::take(&mut bytes)));
                }
                while node.poll_event().is_some() {}
            }
            let Some((from, to, mut packet)) = packets.pop() else { return };
            let from_address = address(from);
            if to == address(CLIENT) {
                let received = self.endpoint.handle_packet(now, from_address, false, &mut packet);
                if let (Received::Cell { head, .. }, Some(circuit)) = (received, circuit.as_mut()) {
                    let end = packet.len() - 16;
                    circuit.handle_cell(now.instant, head.command, &mut packet[21..end]);
                    while circuit.poll_event().is_some() {}
                }
                continue;
            }
            let number = if to == address(GUARD) { GUARD } else { EXIT };
            let node = if number == GUARD { &mut self.guard } else { &mut self.exit };
            if let Came::Send { to } = node.handle_packet(now, from_address, false, &mut packet) {
                packets.push((number, to.to, packet));
            }
        }
    }

    /// A packet of the client with a cell of a circuit.
    fn packet(&mut self, circuit: usize) -> Vec<u8> {
        let mut region = vec![0; self.document.charter().packet_size().region()];
        let head = self.circuits[circuit].seal(self.now.instant, &mut region).expect("a circuit that is ready");
        let mut packet = Vec::new();
        let fill = |out: &mut [u8]| out.copy_from_slice(&region);
        self.endpoint.seal_cell(self.now, self.link, head, fill, &mut packet).expect("the link is up");
        packet
    }
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay forwards");
    group.throughput(Throughput::Elements(1));
    // Circuits that are open; how many of them are in use; how many cells of one come in a row, as a client sends them.
    for (open, used, run) in
        [(1, 1, 1), (100, 100, 1), (1_000, 1_000, 1), (10_000, 100, 1), (10_000, 10_000, RUN), (10_000, 10_000, 1)]
    {
        let mut bench = Bench::new(open, None);
        let mut guard = std::mem::replace(&mut bench.guard, relay(EXIT, &bench.document, None));
        let (now, mut cells) = (bench.now, 0);
        group.bench_function(format!("{open} circuits, {used} in turn, {run} cells each"), |bencher| {
            bencher.iter_batched_ref(
                || {
                    cells += 1;
                    bench.packet(cells / run % used)
                },
                |packet| {
                    let came = guard.handle_packet(now, address(CLIENT), false, packet);
                    assert!(matches!(came, Came::Send { .. }), "{came:?}");
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A relay with a rate that is spent: cells wait and are taken in turn.
fn wait(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay forwards at its rate");
    group.throughput(Throughput::Elements(1));
    for count in [1, 1_000] {
        let mut bench = Bench::new(count, Some(RateClass::FASTEST));
        let mut guard = std::mem::replace(&mut bench.guard, relay(EXIT, &bench.document, None));
        // Something always waits.
        let mut now = bench.now;
        let mut first = bench.packet(0);
        while !matches!(guard.handle_packet(now, address(CLIENT), false, &mut first), Came::Handled) {
            first = bench.packet(0);
        }
        let (mut next, mut out) = (0, Vec::new());
        group.bench_function(format!("{count} circuits in turn"), |bencher| {
            bencher.iter_batched_ref(
                || {
                    next = (next + 1) % bench.circuits.len();
                    bench.packet(next)
                },
                |packet| {
                    let came = guard.handle_packet(now, address(CLIENT), false, packet);
                    assert!(matches!(came, Came::Handled), "{came:?}");
                    now.instant += Duration::from_micros(5);
                    out.clear();
                    assert!(guard.poll_packet(now, &mut out).is_some());
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// What a relay takes for a circuit, its keys, tables and unheard answers included: two relays with so many circuits each, whose client
/// forgets its own end.
fn memory(_: &mut Criterion) {
    const CIRCUITS: u32 = 10_000;
    let mut bench = Bench::new(0, None);
    drop(bench.build_next());
    let before = resident();
    (1..CIRCUITS).for_each(|_| drop(bench.build_next()));
    let each = (resident() - before) / u64::from(2 * (CIRCUITS - 1));
    assert_eq!([bench.guard.circuits(), bench.exit.circuits()], [CIRCUITS; 2]);
    println!("{CIRCUITS} circuits over two relays: {each} bytes for each at a relay");
}

criterion_group!(benches, memory, forward, wait);
criterion_main!(benches);
