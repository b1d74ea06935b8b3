//! Nodes, their addresses, and the packets on their way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::path::{Line, Path};
use crate::recording::{Fate, Keep, Record, Recording};
use crate::seed::Seed;

/// One host of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// A packet that reached its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The node it reached.
    pub node: NodeId,
    /// The sender's address.
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// What [`Network::step`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A packet arrived; the time is its arrival.
    Delivered(Packet),
    /// The caller's deadline came first; the time is the deadline.
    Deadline,
    /// No packet is on its way and there is no deadline; the time stands still.
    Idle,
}

/// The network and its clock.
///
/// Nodes send with [`Network::send`] at the present virtual time. The driver's loop is: let every node act and send,
/// then [`Network::step`] with the earliest of the nodes' own deadlines, then hand on what it returned. Packets that
/// arrive at the same nanosecond are delivered in the order in which they were sent; a packet that arrives exactly at
/// the deadline is delivered before it.
#[derive(Debug)]
pub struct Network {
    seed: Seed,
    start: Instant,
    elapsed: Duration,
    nodes: u32,
    addresses: BTreeMap<SocketAddr, NodeId>,
    lines: BTreeMap<(NodeId, NodeId), Line>,
    on_the_way: BinaryHeap<Reverse<OnTheWay>>,
    packets_sent: u64,
    recording: Recording,
}

/// Ordered by arrival, then by the order of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OnTheWay {
    arrival: Duration,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    /// An empty network at time zero; its recording keeps lengths only.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            start: Instant::now(),
            elapsed: Duration::ZERO,
            nodes: 0,
            addresses: BTreeMap::new(),
            lines: BTreeMap::new(),
            on_the_way: BinaryHeap::new(),
            packets_sent: 0,
            recording: Recording::new(Keep::Lengths),
        }
    }

    /// The same network with a recording that keeps more; packets recorded so far are forgotten.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        Self { recording: Recording::new(keep), ..self }
    }

    /// The seed of this run.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The virtual time as the cores take it. Only differences between two of these mean anything.
    pub fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    /// The virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// A time since the start, as the cores take it.
    pub fn instant(&self, elapsed: Duration) -> Instant {
        self.start + elapsed
    }

    /// What was sent so far.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The recording, to be cleared between two phases of a test.
    pub fn recording_mut(&mut self) -> &mut Recording {
        &mut self.recording
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.peek().map(|Reverse(packet)| self.start + packet.arrival)
    }

    /// Packets on their way.
    pub fn in_flight(&self) -> usize {
        self.on_the_way.len()
    }

    /// Adds a host without addresses and paths.
    pub fn add_node(&mut self) -> NodeId {
        self.nodes += 1;
        NodeId(self.nodes - 1)
    }

    /// Gives an address to a node, and takes it from whoever had it. A node may have many.
    pub fn bind(&mut self, node: NodeId, address: SocketAddr) {
        self.addresses.insert(address, node);
    }

    /// Takes an address out of use: packets to it, those on their way included, go nowhere.
    pub fn unbind(&mut self, address: SocketAddr) {
        self.addresses.remove(&address);
    }

    /// Sets the same path for both directions between two nodes. A line that exists keeps its queue and its luck.
    pub fn set_paths(&mut self, one: NodeId, other: NodeId, path: Path) {
        self.set_path(one, other, path.clone());
        self.set_path(other, one, path);
    }

    /// Sets the path of one direction. A line that exists keeps its queue and its luck.
    pub fn set_path(&mut self, from: NodeId, to: NodeId, path: Path) {
        match self.lines.get_mut(&(from, to)) {
            Some(line) => *line.path_mut() = path,
            None => {
                let stream = (u64::from(from.0) << 32) | u64::from(to.0);
                let line = Line::new(path, self.seed, stream);
                self.lines.insert((from, to), line);
            }
        }
    }

    /// The path of one direction.
    pub fn path(&self, from: NodeId, to: NodeId) -> Option<&Path> {
        self.lines.get(&(from, to)).map(Line::path)
    }

    /// Cuts or mends both directions between two nodes. Packets on their way still arrive.
    pub fn set_cut(&mut self, one: NodeId, other: NodeId, is_cut: bool) {
        for ends in [(one, other), (other, one)] {
            if let Some(line) = self.lines.get_mut(&ends) {
                line.path_mut().is_cut = is_cut;
            }
        }
    }

    /// Sends a payload now and returns what becomes of it. The sender's address must belong to a node.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Fate {
        let fate = self.route(from, to, payload);
        let at = self.elapsed;
        self.recording.add(Record { at, from, to, length: payload.len(), fate, bytes: Vec::new() }, payload);
        fate
    }

    /// Moves the time to the next arrival or to `deadline`, whichever is first. A deadline in the past counts as now.
    pub fn step(&mut self, deadline: Option<Instant>) -> Step {
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(self.start).max(self.elapsed));
        while let Some(Reverse(packet)) = self.on_the_way.peek() {
            if deadline.is_some_and(|deadline| deadline < packet.arrival) {
                break;
            }
            let Some(Reverse(packet)) = self.on_the_way.pop() else { break };
            self.elapsed = self.elapsed.max(packet.arrival);
            if let Some(&node) = self.addresses.get(&packet.to) {
                return Step::Delivered(Packet { node, from: packet.from, to: packet.to, bytes: packet.bytes });
            }
        }
        match deadline {
            Some(deadline) => {
                self.elapsed = deadline;
                Step::Deadline
            }
            None => Step::Idle,
        }
    }

    fn route(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Fate {
        let (Some(&sender), Some(&receiver)) = (self.addresses.get(&from), self.addresses.get(&to)) else {
            return Fate::NoSuchAddress;
        };
        let Some(line) = self.lines.get_mut(&(sender, receiver)) else { return Fate::NoPath };
        let verdict = line.judge(self.elapsed, payload.len());
        for arrival in verdict.arrivals.into_iter().flatten() {
            let number = self.packets_sent;
            self.packets_sent += 1;
            self.on_the_way.push(Reverse(OnTheWay { arrival, number, from, to, bytes: payload.to_vec() }));
        }
        verdict.fate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::Loss;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1000))
    }

    fn pair(seed: u64, path: Path) -> Network {
        let mut network = Network::new(Seed::new(seed));
        let nodes = [network.add_node(), network.add_node()];
        network.bind(nodes[0], address(1));
        network.bind(nodes[1], address(2));
        network.set_paths(nodes[0], nodes[1], path);
        network
    }

    /// One packet a millisecond each way for a while, with the arrivals.
    fn traffic(network: &mut Network, packets: u32) -> Vec<(Duration, u8)> {
        let mut arrivals = Vec::new();
        for index in 0..packets {
            network.send(address(1), address(2), &index.to_be_bytes());
            network.send(address(2), address(1), &index.to_be_bytes());
            let deadline = network.instant(MILLISECOND * (index + 1));
            while let Step::Delivered(packet) = network.step(Some(deadline)) {
                arrivals.push((network.elapsed(), packet.bytes[3]));
            }
        }
        arrivals
    }

    #[test]
    fn the_same_seed_replays() {
        let path = Path { jitter: 3 * MILLISECOND, ..Path::with_delay(MILLISECOND).with_loss(Loss::Independent(0.2)) };
        let run = |seed| {
            let mut network = pair(seed, path.clone());
            (traffic(&mut network, 300), network.recording().clone())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn time_stops_at_deadlines_and_at_the_end() {
        let mut network = pair(1, Path::with_delay(5 * MILLISECOND));
        network.send(address(1), address(2), b"x");
        assert_eq!(network.step(Some(network.instant(2 * MILLISECOND))), Step::Deadline);
        assert_eq!(network.elapsed(), 2 * MILLISECOND);
        assert!(matches!(network.step(Some(network.instant(5 * MILLISECOND))), Step::Delivered(_)));
        assert_eq!(network.step(Some(network.instant(MILLISECOND))), Step::Deadline);
        assert_eq!(network.elapsed(), 5 * MILLISECOND);
        assert_eq!(network.step(None), Step::Idle);
    }

    #[test]
    fn cut_lines_drop_and_mended_ones_pass() {
        let mut network = pair(1, Path::default());
        let (one, other) = (NodeId(0), NodeId(1));
        network.set_cut(one, other, true);
        assert_eq!(network.send(address(1), address(2), b"x"), Fate::Cut);
        network.set_cut(one, other, false);
        assert_eq!(network.send(address(1), address(2), b"x"), Fate::Arrives { at: Duration::ZERO });
    }

    #[test]
    fn addresses_move() {
        let mut network = pair(1, Path::with_delay(MILLISECOND));
        let stranger = SocketAddr::from(([10, 0, 0, 9], 9));
        assert_eq!(network.send(address(1), stranger, b"x"), Fate::NoSuchAddress);
        network.bind(NodeId(0), stranger);
        network.send(stranger, address(2), b"from the new address");
        network.unbind(address(2));
        assert_eq!(network.step(None), Step::Idle);
        assert_eq!(network.elapsed(), MILLISECOND);
    }

    #[test]
    fn nodes_without_a_path_do_not_reach_each_other() {
        let mut network = pair(1, Path::default());
        let third = network.add_node();
        network.bind(third, address(3));
        assert_eq!(network.send(address(1), address(3), b"x"), Fate::NoPath);
        assert_eq!(network.recording().records()[0].fate, Fate::NoPath);
    }

    proptest! {
        #[test]
        fn nothing_is_made_up(seed: u64, loss in 0.0..1.0f64, jitter in 0u64..20, duplicate in 0.0..1.0f64) {
            let jitter = Duration::from_millis(jitter);
            let path = Path { jitter, duplicate, ..Path::default().with_loss(Loss::Independent(loss)) };
            let mut network = pair(seed, path);
            let sent = 50;
            let mut arrived = traffic(&mut network, sent).len();
            while let Step::Delivered(_) = network.step(None) {
                arrived += 1;
            }
            let fates = network.recording().records();
            let surviving = fates.iter().filter(|record| matches!(record.fate, Fate::Arrives { .. })).count();
            prop_assert_eq!(fates.len(), 2 * sent as usize);
            prop_assert!(arrived >= surviving && arrived <= 2 * surviving);
        }
    }
}
