//! A pair of nodes on two sides of the provider, and flows through it.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::goodput::Goodput;
use lab::load::{self, Service, quantile, read_pattern, send_pattern};
use lab::network::{Family, FlowThrottle, Host, HostPlan, LinePlan, Network};
use lab::pair::{Mode, Pair, PairConfig, Places, Role};
use simnet::Path as NetworkPath;

use super::{Outcome, hops};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MEGABIT: f64 = 1e6;
/// A round trip within a country.
pub(super) const NEAR: Duration = Duration::from_millis(20);
/// Of the line.
const RATE: u64 = 50_000_000;
/// 50 ms of the line.
const QUEUE_BYTES: usize = 312_500;
/// The exit's door, and the ports that its links hop over: 30,000.
pub(super) const DOOR: u16 = 7000;
pub(super) const PORTS: (u16, u16) = (20_000, 49_999);
/// Windows of a download's record.
const WINDOW: Duration = Duration::from_millis(100);
/// How often a silent reader looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Small messages before the time is looked at.
const MESSAGES_AT_ONCE: usize = 10;
/// Between two small messages.
const MESSAGE_GAP: Duration = Duration::from_millis(10);

/// When an entry hops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hopping {
    enabled: bool,
    interval: &'static str,
    bytes: &'static str,
}

impl Hopping {
    /// As who writes nothing about hops.
    pub(super) const DEFAULT: Self = Self { enabled: true, interval: "20s..40s", bytes: "64 MB..256 MB" };

    pub(super) fn never() -> Self {
        Self { enabled: false, ..Self::every("86400s") }
    }

    pub(super) fn every(interval: &'static str) -> Self {
        Self { enabled: true, interval, bytes: "1000 GiB..1000 GiB" }
    }

    pub(super) fn each(bytes: &'static str) -> Self {
        Self { bytes, ..Self::every("86400s") }
    }

    pub(super) fn and_every(self, interval: &'static str) -> Self {
        Self { interval, ..self }
    }
}

/// A schedule that the line has room for: the class below is 39.0 Mbit/s, on the line 43.9.
pub(super) fn constant() -> Mode {
    Mode::constant("38 Mbit/s")
}

/// No schedule: the congestion controller finds the line's rate.
pub(super) fn off() -> Mode {
    Mode::Off { congestion: "bbr" }
}

/// An entry at a line of 50 Mbit/s and an exit at a cable.
pub(super) fn line(round_trip: Duration, throttle: Option<FlowThrottle>) -> anyhow::Result<Network> {
    let path = NetworkPath::with_delay(round_trip / 2).with_rate(RATE, QUEUE_BYTES);
    let mut plan = LinePlan::symmetric(path);
    if let Some(throttle) = throttle {
        plan = plan.with_throttle(throttle);
    }
    Network::start(&[HostPlan::line("entry", plan), HostPlan::cable("exit")])
}

/// A pair and the servers behind its exit. It ends with this value.
pub(super) struct Linked<'network> {
    pub(super) pair: Pair,
    pub(super) entry: &'network Host,
    pub(super) exit: &'network Host,
}

/// What came of a download.
pub(super) struct Downloaded {
    /// From the first byte on.
    pub(super) goodput: Goodput,
}

impl Downloaded {
    /// Bits a second from a time after the first byte.
    pub(super) fn rate(&self, from: Duration) -> f64 {
        self.goodput.bits_per_second(from, Duration::MAX / 2)
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Echoed {
    pub(super) bytes: u64,
    /// Longest time between two pieces of the bulk.
    pub(super) stall: Duration,
    /// Round trips of small messages: the median and the longest.
    pub(super) median: Duration,
    pub(super) most: Duration,
}

impl<'network> Linked<'network> {
    /// Starts a pair between the hosts `entry` and `exit`.
    pub(super) fn start(
        network: &'network Network,
        family: Family,
        mode: Mode,
        hopping: Hopping,
    ) -> anyhow::Result<Self> {
        Self::between(network, ["entry", "exit"], family, mode, hopping)
    }

    pub(super) fn between(
        network: &'network Network,
        names: [&str; 2],
        family: Family,
        mode: Mode,
        hopping: Hopping,
    ) -> anyhow::Result<Self> {
        let (entry, exit) = (network.host(names[0])?, network.host(names[1])?);
        let serve = |service| exit.namespace().within(|| Ok(load::start(service)?));
        let (source, echo) = (serve(Service::Source { bytes: u64::MAX })?, serve(Service::Echo)?);
        let (first, last) = PORTS;
        // Real-time priority keeps other programs of a busy machine from deciding when packets leave.
        let config = PairConfig::new(mode)
            .with_forward(source)
            .with_forward(echo)
            .with_line("process", "realtime = true")
            .with_line_of(Role::Exit, "network", &format!("hop_ports = \"{first}-{last}\""))
            .with_line_of(Role::Entry, "hops", &format!("enabled = {}", hopping.enabled))
            .with_line_of(Role::Entry, "hops", &format!("interval = \"{}\"", hopping.interval))
            .with_line_of(Role::Entry, "hops", &format!("bytes = \"{}\"", hopping.bytes))
            .with_line_of(Role::Entry, "hops", "unsafe_below_floor = true");
        let exit_address = SocketAddr::from((family.of(exit), DOOR));
        let places = Places { entry: entry.namespace(), exit: exit.namespace(), exit_address };
        Ok(Self { pair: Pair::start_in(config, places)?, entry, exit })
    }

    fn connect(&self, forward: usize) -> anyhow::Result<TcpStream> {
        let to = self.pair.forward(forward);
        self.entry.namespace().within(|| Ok(TcpStream::connect(to)?))
    }

    /// Reads from the source behind the exit for so long and compares every byte.
    pub(super) fn download(&self, lasting: Duration) -> anyhow::Result<Downloaded> {
        let stream = self.connect(0)?;
        let mut timed = Timed::new(&stream, Some(lasting))?;
        let bytes = read_pattern(&mut timed).with_context(|| self.pair.logs())?;
        ensure!(timed.is_over(), "the flow ended after {bytes} bytes\n{}", self.pair.logs());
        Ok(Downloaded { goodput: timed.finish() })
    }

    /// Sends bytes to the echo behind the exit for so long and compares every byte that comes back, which are all; beside
    /// it, the round trips of small messages.
    pub(super) fn echo(&self, lasting: Duration) -> anyhow::Result<Echoed> {
        let (bulk, mut messages) = (self.connect(1)?, self.connect(1)?);
        let began = Instant::now();
        let (bytes, sent, goodput, times) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| -> io::Result<u64> {
                let mut until = Until { stream: &bulk, began, lasting, sent: 0 };
                // It ends with an error when the time is over, in the middle of the pattern.
                let _ = send_pattern(&mut until, u64::MAX);
                bulk.shutdown(Shutdown::Write)?;
                Ok(until.sent)
            });
            let small = scope.spawn(move || -> io::Result<Vec<Duration>> {
                let mut times = Vec::new();
                while began.elapsed() < lasting {
                    times.extend(load::latencies(&mut messages, MESSAGES_AT_ONCE, MESSAGE_GAP)?);
                }
                Ok(times)
            });
            let mut timed = Timed::new(&bulk, None)?;
            let bytes = read_pattern(&mut timed);
            let goodput = timed.finish();
            let sent = writer.join().ok().context("the writer panicked")??;
            let times = small.join().ok().context("the messenger panicked")??;
            anyhow::Ok((bytes?, sent, goodput, times))
        })
        .with_context(|| self.pair.logs())?;
        ensure!(bytes == sent, "{bytes} of {sent} bytes came back\n{}", self.pair.logs());
        let of = |share| quantile(&times, share).context("messages were sent");
        Ok(Echoed { bytes, stall: goodput.longest_stall(), median: of(0.5)?, most: of(1.0)? })
    }

    /// How often the entry has hopped.
    pub(super) fn hop_count(&self) -> anyhow::Result<u64> {
        Ok(hops(&self.pair, Role::Entry)?.map_or(0, |hops| hops.hops))
    }

    /// Waits until the entry has hopped.
    pub(super) fn wait_for_hops(&self, count: u64) -> Outcome {
        let began = Instant::now();
        while self.hop_count()? < count {
            ensure!(began.elapsed() < super::WITHIN, "no {count} hops\n{}", self.pair.logs());
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The ports of the UDP sockets that a node has open, those of all its processes.
    pub(super) fn udp_ports(&self, role: Role) -> anyhow::Result<Vec<u16>> {
        udp_ports(&self.pair.pids(role)?.into_iter().map(|(_, pid)| pid).collect::<Vec<_>>())
    }

    /// Does something while the node's UDP sockets are counted, and says how many there were at most.
    pub(super) fn counting_sockets<T>(
        &self,
        role: Role,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, usize)> {
        let pids: Vec<u32> = self.pair.pids(role)?.into_iter().map(|(_, pid)| pid).collect();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let counter = scope.spawn(|| {
                let mut most = 0;
                while !is_over.load(Ordering::Relaxed) {
                    most = most.max(udp_ports(&pids)?.len());
                    std::thread::sleep(LOOK_EVERY);
                }
                anyhow::Ok(most)
            });
            let done = work();
            is_over.store(true, Ordering::Relaxed);
            Ok((done?, counter.join().ok().context("the counter panicked")??))
        })
    }
}

/// The local ports of UDP sockets that processes of one namespace have open; a socket of several processes counts once.
fn udp_ports(pids: &[u32]) -> anyhow::Result<Vec<u16>> {
    let first = pids.first().context("the node has processes")?;
    let mut open = BTreeSet::new();
    for pid in pids {
        // A process or a descriptor may end meanwhile.
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            open.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
        }
    }
    let mut ports = Vec::new();
    for table in ["udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{first}/net/{table}"))?;
        for line in table.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(inode)) = (words.get(1), words.get(9)) else { continue };
            let (_, port) = local.rsplit_once(':').context("an address has a port")?;
            if open.contains(&inode.parse()?) {
                ports.push(u16::from_str_radix(port, 16)?);
            }
        }
    }
    Ok(ports)
}

/// Reads a stream, notes when bytes came, and ends by itself after a time.
struct Timed<'stream> {
    stream: &'stream TcpStream,
    /// Since the first byte, and without one since the beginning.
    lasting: Option<Duration>,
    created: Instant,
    began: Option<Instant>,
    goodput: Goodput,
}

impl<'stream> Timed<'stream> {
    fn new(stream: &'stream TcpStream, lasting: Option<Duration>) -> io::Result<Self> {
        stream.set_read_timeout(lasting.map(|_| LOOK_EVERY))?;
        Ok(Self {
            stream,
            lasting,
            created: Instant::now(),
            began: None,
            goodput: Goodput::new(Duration::ZERO, WINDOW),
        })
    }

    /// Since the first byte.
    fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn is_over(&self) -> bool {
        self.lasting.is_some_and(|lasting| self.began.unwrap_or(self.created).elapsed() >= lasting)
    }

    fn finish(mut self) -> Goodput {
        self.goodput.finish(self.elapsed());
        self.goodput
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_over() {
                return Ok(0);
            }
            match self.stream.read(buffer) {
                Ok(length) => {
                    self.began.get_or_insert_with(Instant::now);
                    self.goodput.record(self.elapsed(), length as u64);
                    return Ok(length);
                }
                Err(error) if self.lasting.is_some() && error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes to a stream until its time is over.
struct Until<'stream> {
    stream: &'stream TcpStream,
    began: Instant,
    lasting: Duration,
    sent: u64,
}

impl io::Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.began.elapsed() >= self.lasting {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let length = (&mut &*self.stream).write(bytes)?;
        self.sent += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
