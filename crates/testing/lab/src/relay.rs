//! A UDP relay that records what passes and can be a bad line.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use adversary::{Direction, Sighting};
use os_net::arrival::StampedSocket;
use os_net::clock::monotonic_ns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simnet::{Fate, Line, Path, Seed};

use crate::recording::{Limits, Recording};

/// Packets that wait in the relay for their time, in one direction; more are dropped and noted as such.
const WAITING_MAX: usize = 200_000;
/// Packets read from one socket before the other gets its turn.
const READ_BURST: usize = 128;
/// How often the thread looks whether it is to end.
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);
/// The largest UDP payload.
const PAYLOAD_MAX: usize = 65_535;

/// What a relay does.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it sends what comes from the first side.
    pub to: SocketAddr,
    /// The line from the listening side to `to`.
    pub outward: Path,
    /// The line back.
    pub inward: Path,
    /// Decides about loss and jitter.
    pub seed: Seed,
    /// What it keeps.
    pub limits: Limits,
}

impl RelayConfig {
    /// An ideal line to `to` that records no bytes, on a free port.
    pub fn to(to: SocketAddr) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            to,
            outward: Path::default(),
            inward: Path::default(),
            seed: Seed::new(1),
            limits: Limits::default(),
        }
    }

    /// The same with this path in both directions.
    #[must_use]
    pub fn with_paths(self, path: Path) -> Self {
        Self { outward: path.clone(), inward: path, ..self }
    }

    /// The same with these limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

/// A running relay; it ends with this value.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    lines: Mutex<[Line; 2]>,
    recording: Mutex<Recording>,
    limits: Limits,
    injected: Mutex<Vec<(Direction, Vec<u8>)>>,
}

impl Relay {
    /// Binds and starts forwarding.
    ///
    /// # Errors
    /// If a socket or the thread cannot be made.
    pub fn start(config: RelayConfig) -> io::Result<Self> {
        let near = StampedSocket::bind(config.listen)?;
        let far = StampedSocket::bind((config.listen.ip(), 0).into())?;
        let lines = [Line::new(config.outward, config.seed, 0), Line::new(config.inward, config.seed, 1)];
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            lines: Mutex::new(lines),
            recording: Mutex::new(Recording::new(config.limits)),
            limits: config.limits,
            injected: Mutex::default(),
        });
        let address = near.local_addr()?;
        let pump = Pump {
            sockets: [near, far],
            peers: [None, Some(config.to)],
            waiting: [BinaryHeap::new(), BinaryHeap::new()],
            number: 0,
            buffer: vec![0; PAYLOAD_MAX],
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || pump.run())?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where to send instead of to the far side.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the line of one direction.
    pub fn set_path(&self, direction: Direction, path: Path) {
        *lock(&self.shared.lines)[side(direction)].path_mut() = path;
    }

    /// Cuts or mends both directions. Packets that wait in the relay still leave.
    pub fn set_cut(&self, is_cut: bool) {
        lock(&self.shared.lines).iter_mut().for_each(|line| line.path_mut().is_cut = is_cut);
    }

    /// A copy of what was noted so far.
    pub fn recording(&self) -> Recording {
        lock(&self.shared.recording).clone()
    }

    /// What was noted so far; the relay begins a new recording.
    pub fn take_recording(&self) -> Recording {
        std::mem::replace(&mut *lock(&self.shared.recording), Recording::new(self.shared.limits))
    }

    /// Sends a packet of the caller's as if it had come from the node on the other side: from the address that the
    /// receiver knows, undisturbed by the line, within 20 ms. It is not recorded.
    pub fn inject(&self, direction: Direction, payload: &[u8]) {
        lock(&self.shared.injected).push((direction, payload.to_vec()));
    }

    /// The clock of the recording: time since the machine started.
    pub fn now() -> Duration {
        Duration::from_nanos(monotonic_ns())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed itself; a drop has nobody to report it to.
            let _ = thread.join();
        }
    }
}

/// A thread that panicked while it held the lock has left whole records behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The index of the socket on which packets of a direction come in.
fn side(direction: Direction) -> usize {
    match direction {
        Direction::Outward => 0,
        Direction::Inward => 1,
    }
}

struct Pump {
    /// The one that clients send to, and the one towards the far side.
    sockets: [StampedSocket; 2],
    /// Whom each socket sends to: the newest sender on the near side, the configured address on the far side.
    peers: [Option<SocketAddr>; 2],
    /// Packets that came in on each socket and wait to leave by the other.
    waiting: [BinaryHeap<Reverse<Waiting>>; 2],
    number: u64,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    number: u64,
    bytes: Vec<u8>,
}

impl Pump {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.take_injected();
            self.forward_due();
            if self.wait().is_err() {
                return;
            }
            for direction in [Direction::Outward, Direction::Inward] {
                self.read(direction);
            }
        }
    }

    /// Sleeps until a packet comes, until one is due, or for a while.
    fn wait(&self) -> io::Result<()> {
        let now = Relay::now();
        let due = self.waiting.iter().filter_map(|waiting| waiting.peek().map(|Reverse(next)| next.due));
        let longest = due.map(|due| due.saturating_sub(now)).min().unwrap_or(LOOK_UP_EVERY).min(LOOK_UP_EVERY);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(longest.subsec_nanos()) };
        let mut sockets =
            [0, 1].map(|index: usize| PollFd::from_borrowed_fd(self.sockets[index].as_fd(), PollFlags::IN));
        match poll(&mut sockets, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, direction: Direction) {
        let side = side(direction);
        for _ in 0..READ_BURST {
            let arrival = match self.sockets[side].receive(&mut self.buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A node that is down answers with an error here; the next packet may find it up.
                Err(_) => continue,
            };
            if direction == Direction::Outward {
                self.peers[0] = Some(arrival.from);
            }
            let at = Duration::from_nanos(arrival.at_monotonic_ns);
            self.take(Sighting { at, direction, length: arrival.length });
        }
    }

    /// Notes the packet in the buffer and lets it wait for its time.
    fn take(&mut self, sighting: Sighting) {
        let side = side(sighting.direction);
        let payload = &self.buffer[..sighting.length];
        let mut verdict = lock(&self.shared.lines)[side].judge(sighting.at, sighting.length);
        if self.waiting[side].len() >= WAITING_MAX {
            verdict.fate = Fate::QueueFull;
            verdict.arrivals = [None, None];
        }
        lock(&self.shared.recording).add(sighting, verdict.fate, payload);
        for due in verdict.arrivals.into_iter().flatten() {
            self.waiting[side].push(Reverse(Waiting { due, number: self.number, bytes: payload.to_vec() }));
            self.number += 1;
        }
        self.forward_due();
    }

    fn take_injected(&mut self) {
        let injected = std::mem::take(&mut *lock(&self.shared.injected));
        for (direction, bytes) in injected {
            self.waiting[side(direction)].push(Reverse(Waiting { due: Duration::ZERO, number: self.number, bytes }));
            self.number += 1;
        }
    }

    fn forward_due(&mut self) {
        let now = Relay::now();
        for side in 0..2 {
            while self.waiting[side].peek().is_some_and(|Reverse(next)| next.due <= now) {
                let Some(Reverse(next)) = self.waiting[side].pop() else { break };
                let other = 1 - side;
                if let Some(peer) = self.peers[other] {
                    // What the kernel refuses is lost, as on any line.
                    let _ = self.sockets[other].send_to(&next.bytes, peer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use simnet::Loss;

    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a minute is a valid timeout");
        socket
    }

    fn start(server: &UdpSocket, path: Path, limits: Limits) -> Relay {
        let to = server.local_addr().expect("the socket is bound");
        let config = RelayConfig::to(to).with_paths(path).with_limits(limits);
        Relay::start(config).expect("loopback has free ports")
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (length, from) = socket.recv_from(&mut buffer).expect("a packet is on its way");
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn forwards_both_ways_and_records() {
        let (client, server) = (socket(), socket());
        let limits = Limits { bytes_each: 3, ..Limits::default() };
        let relay = start(&server, Path::default(), limits);
        let before = Relay::now();
        client.send_to(b"question", relay.address()).expect("loopback takes it");
        let (question, from) = receive(&server);
        assert_eq!(question, b"question");
        server.send_to(b"answer", from).expect("loopback takes it");
        assert_eq!(receive(&client).0, b"answer");
        let recording = relay.take_recording();
        let seen: Vec<_> = recording.sightings().iter().map(|it| (it.direction, it.length)).collect();
        assert_eq!(seen, [(Direction::Outward, 8), (Direction::Inward, 6)]);
        assert_eq!(recording.payloads(Direction::Inward), [b"ans"]);
        assert!(
            recording.sightings().iter().all(|it| it.at + Duration::from_millis(2) > before && it.at <= Relay::now())
        );
        assert_eq!(relay.recording().records(), []);
    }

    #[test]
    fn delays_by_the_kernels_clock() {
        let delay = Duration::from_millis(30);
        let taken = || {
            let (client, server) = (socket(), socket());
            let relay = start(&server, Path::with_delay(delay), Limits::default());
            client.send_to(b"x", relay.address())?;
            receive(&server);
            let taken = Relay::now() - relay.recording().sightings()[0].at;
            anyhow::ensure!(taken >= delay && taken < delay * 10, "{taken:?}");
            Ok(())
        };
        crate::attempts::within_three(taken).expect("as long as it shall take");
    }

    #[test]
    fn loses_and_cuts_and_mends() {
        let (client, server) = (socket(), socket());
        let relay = start(&server, Path::default().with_loss(Loss::Independent(1.0)), Limits::default());
        client.send_to(b"lost", relay.address()).expect("loopback takes it");
        wait_until(|| relay.recording().dropped() == 1);
        relay.set_path(Direction::Outward, Path::default());
        relay.set_cut(true);
        client.send_to(b"cut", relay.address()).expect("loopback takes it");
        wait_until(|| relay.recording().dropped() == 2);
        relay.set_cut(false);
        client.send_to(b"through", relay.address()).expect("loopback takes it");
        assert_eq!(receive(&server).0, b"through");
        let fates: Vec<Fate> = relay.recording().records().iter().map(|record| record.fate).collect();
        assert!(matches!(fates[..], [Fate::Lost, Fate::Cut, Fate::Arrives { .. }]), "{fates:?}");
    }

    #[test]
    fn injected_packets_come_from_the_known_address_and_are_not_recorded() {
        let (client, server) = (socket(), socket());
        let relay = start(&server, Path::default(), Limits::default());
        client.send_to(b"own", relay.address()).expect("loopback takes it");
        let (_, known) = receive(&server);
        relay.inject(Direction::Outward, b"injected");
        assert_eq!(receive(&server), (b"injected".to_vec(), known));
        assert_eq!(relay.recording().records().len(), 1);
    }

    #[test]
    fn the_newest_sender_gets_the_answers() {
        let (first, second, server) = (socket(), socket(), socket());
        let relay = start(&server, Path::default(), Limits::default());
        first.send_to(b"1", relay.address()).expect("loopback takes it");
        receive(&server);
        second.send_to(b"2", relay.address()).expect("loopback takes it");
        let (_, from) = receive(&server);
        server.send_to(b"to the second", from).expect("loopback takes it");
        assert_eq!(receive(&second).0, b"to the second");
    }

    fn wait_until(holds: impl Fn() -> bool) {
        let deadline = Relay::now() + Duration::from_secs(5);
        while !holds() {
            assert!(Relay::now() < deadline, "it did not happen within 5 s");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
