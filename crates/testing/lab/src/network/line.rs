//! A line with delay between two namespaces, which the kernel here cannot emulate: a TUN interface at each end, and a
//! thread between them. Each direction is a [`simnet::Path`] of its own on real time, and may throttle flows.
//!
//! What is for a group (multicast) ends here: it is the kernel's own talk about addresses, of which a line needs none.
//!
//! One thread carries about 40,000 packets a second without loss (0.4 Gbit/s in packets of 1,200 bytes), and
//! with its sender and sink takes a tenth of a core for 50 Mbit/s. A line that is to be faster is a cable with rules of nftables.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use os_net::clock::monotonic_ns;
use os_net::schedule::set_exact_timers;
use os_net::tun::Tun;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simnet::{Fate, PACKET_OVERHEAD, Path, Seed};

use super::namespace::Namespace;
use super::throttle::{FlowThrottle, Throttle, Tuple};

/// Packets that wait in one direction; more are dropped as by a full queue. Two seconds of all that a line carries.
const WAITING_MAX: usize = 1 << 16;
/// Packets read in one direction before it is the other's turn.
const READ_BURST: usize = 64;
/// Empty buffers kept for the next packets; more are freed.
const SPARE_MAX: usize = 1024;
/// The largest IP packet.
const PACKET_MAX: usize = 1 << 16;
/// How often an idle line looks whether it is to end.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// A direction of a host's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the host to the provider.
    Up,
    /// From the provider to the host.
    Down,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Up, Self::Down];

    fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

/// One direction of a line. The default is ideal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineSide {
    /// Delay, rate with its queue, seeded loss and whatever else a path has. Sizes count IP packets.
    pub path: Path,
    /// What happens to flows that live long or are large.
    pub throttle: Option<FlowThrottle>,
}

/// Both directions of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePlan {
    /// From the host to the provider.
    pub up: LineSide,
    /// From the provider to the host.
    pub down: LineSide,
    /// Of loss, jitter and reordering.
    pub seed: Seed,
}

impl LinePlan {
    /// A line that is the same in both directions.
    pub fn symmetric(path: Path) -> Self {
        Self::new(path.clone(), path)
    }

    /// A line whose directions differ.
    pub fn new(up: Path, down: Path) -> Self {
        let side = |path| LineSide { path, throttle: None };
        Self { up: side(up), down: side(down), seed: Seed::new(1) }
    }

    /// The same with this throttle in both directions.
    #[must_use]
    pub fn with_throttle(mut self, throttle: FlowThrottle) -> Self {
        self.up.throttle = Some(throttle);
        self.down.throttle = Some(throttle);
        self
    }
}

/// What a line did in one direction since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Packets sent on.
    pub forwarded: u64,
    /// Bytes of IP packets sent on.
    pub forwarded_bytes: u64,
    /// Packets lost by chance.
    pub lost: u64,
    /// Packets that found the queue full.
    pub queue_full: u64,
    /// Packets of throttled flows that were dropped.
    pub throttled: u64,
    /// Packets that were too large, met a cut line, or an interface that was down at the other end.
    pub refused: u64,
}

/// A running line; its interfaces go with it.
#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    sides: Mutex<[Side; 2]>,
}

#[derive(Debug)]
struct Side {
    line: simnet::Line,
    throttle: Option<Throttle>,
    counters: LineCounters,
}

impl Line {
    /// Makes an interface called `at_host` in one namespace and `at_provider` in the other, and carries packets between
    /// them. Addresses and the state "up" are the caller's.
    ///
    /// # Errors
    /// If an interface or the thread cannot be made.
    pub fn start(
        (host, at_host): (&Namespace, &str),
        (provider, at_provider): (&Namespace, &str),
        plan: LinePlan,
    ) -> anyhow::Result<Self> {
        let create = |namespace: &Namespace, name: &str| namespace.within(|| Ok(Tun::create(name)?));
        let ends = [create(host, at_host)?, create(provider, at_provider)?];
        let side = |side: LineSide, stream| Side {
            line: simnet::Line::new(side.path, plan.seed, stream),
            throttle: side.throttle.map(Throttle::new),
            counters: LineCounters::default(),
        };
        let sides = Mutex::new([side(plan.up, 0), side(plan.down, 1)]);
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), sides });
        let pump = Pump {
            ends,
            waiting: [BinaryHeap::new(), BinaryHeap::new()],
            number: 0,
            buffer: vec![0; PACKET_MAX],
            spare: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("line".to_owned()).spawn(move || pump.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes the path of one direction; its queue, luck and throttle stay.
    pub fn set_path(&self, way: Way, path: Path) {
        *self.shared.sides()[way.index()].line.path_mut() = path;
    }

    /// Changes the throttle of one direction. It knows no flow yet.
    pub fn set_throttle(&self, way: Way, throttle: Option<FlowThrottle>) {
        self.shared.sides()[way.index()].throttle = throttle.map(Throttle::new);
    }

    /// What happened in one direction so far.
    pub fn counters(&self, way: Way) -> LineCounters {
        self.shared.sides()[way.index()].counters
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed itself; a drop has nobody to report it to.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A thread that panicked while it held the lock has left whole values behind.
    fn sides(&self) -> MutexGuard<'_, [Side; 2]> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pump {
    /// The interface at the host and the one at the provider.
    ends: [Tun; 2],
    /// Packets on their way up and down.
    waiting: [BinaryHeap<Reverse<Waiting>>; 2],
    number: u64,
    buffer: Vec<u8>,
    spare: Vec<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    number: u64,
    packet: Vec<u8>,
}

impl Pump {
    fn run(mut self) {
        // Where the kernel does not allow it, packets are up to 50 µs late.
        let _ = set_exact_timers();
        while !self.shared.stop.load(Ordering::Relaxed) {
            Way::BOTH.into_iter().for_each(|way| self.forward_due(way));
            let Ok(readable) = self.wait() else { return };
            for way in Way::BOTH.into_iter().filter(|way| readable[way.index()]) {
                self.read(way);
            }
        }
    }

    /// Sleeps until a packet comes, until one is due, or for a while, and says where packets can be read.
    fn wait(&self) -> rustix::io::Result<[bool; 2]> {
        let due = self.waiting.iter().filter_map(|waiting| waiting.peek().map(|Reverse(next)| next.due));
        let longest = due.map(|due| due.saturating_sub(now())).min().unwrap_or(LOOK_UP_EVERY).min(LOOK_UP_EVERY);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(longest.subsec_nanos()) };
        let [host, provider] = &self.ends;
        let mut ends = [host, provider].map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN));
        match poll(&mut ends, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(ends.map(|end| end.revents().contains(PollFlags::IN))),
            Err(errno) => Err(errno),
        }
    }

    fn read(&mut self, way: Way) {
        for _ in 0..READ_BURST {
            // An interface that is down has nothing to read.
            let Ok(length) = self.ends[way.index()].read(&mut self.buffer) else { return };
            self.take(way, length);
        }
    }

    /// Decides about the packet in the buffer and lets it wait for its time.
    fn take(&mut self, way: Way, length: usize) {
        let packet = &self.buffer[..length];
        if is_multicast(packet) {
            return;
        }
        let now = now();
        let mut sides = self.shared.sides();
        let Side { line, throttle, counters } = &mut sides[way.index()];
        if let (Some(throttle), Some(tuple)) = (throttle, Tuple::of(packet))
            && !throttle.admit(now, tuple, length)
        {
            counters.throttled += 1;
            return;
        }
        // The model counts payloads and adds the headers of IPv4 and UDP itself.
        let verdict = line.judge(now, length.saturating_sub(PACKET_OVERHEAD));
        match verdict.fate {
            Fate::Lost => counters.lost += 1,
            Fate::QueueFull => counters.queue_full += 1,
            Fate::Arrives { .. } => {}
            _ => counters.refused += 1,
        }
        for due in verdict.arrivals.into_iter().flatten() {
            if self.waiting[way.index()].len() >= WAITING_MAX {
                counters.queue_full += 1;
                continue;
            }
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.extend_from_slice(packet);
            self.waiting[way.index()].push(Reverse(Waiting { due, number: self.number, packet: copy }));
            self.number += 1;
        }
    }

    fn forward_due(&mut self, way: Way) {
        let (now, waiting) = (now(), &mut self.waiting[way.index()]);
        let mut sent = LineCounters::default();
        while waiting.peek().is_some_and(|Reverse(next)| next.due <= now) {
            let Some(Reverse(Waiting { mut packet, .. })) = waiting.pop() else { break };
            if self.ends[1 - way.index()].write(&packet).is_ok() {
                sent.forwarded += 1;
                sent.forwarded_bytes += packet.len() as u64;
            } else {
                sent.refused += 1;
            }
            if self.spare.len() < SPARE_MAX {
                packet.clear();
                self.spare.push(packet);
            }
        }
        if sent != LineCounters::default() {
            let counters = &mut self.shared.sides()[way.index()].counters;
            counters.forwarded += sent.forwarded;
            counters.forwarded_bytes += sent.forwarded_bytes;
            counters.refused += sent.refused;
        }
    }
}

/// Whether a packet is for a group. There is nobody else on a line; the kernel tells groups about itself at times of
/// its own, and these packets must not take the luck of others, or no seed would repeat a run.
fn is_multicast(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(16).is_some_and(|first| (224..240).contains(first)),
        Some(6) => packet.get(24) == Some(&0xff),
        _ => false,
    }
}

/// Monotonic time, in which lines judge.
fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}
