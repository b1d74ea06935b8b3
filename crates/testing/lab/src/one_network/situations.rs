//! What applications of one entry do while its lines are watched, in turns, so that a slow change of the machine falls on all alike.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use os_net::clock::monotonic_ns;

use crate::bulk::{Bulk, SETTLE, Trickle, Window};
use crate::load::{self, Service, read_pattern};
use crate::process::sleeps;
use crate::socks::{self, Place};

/// Bytes that a slow reader takes when it reads at last.
const LATE_BYTES: u64 = 1_000_000;
/// How long it takes at the slowest rate here until the queues on its way are full.
const FILLS_WITHIN: Duration = Duration::from_millis(2500);
/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    /// No flow at all.
    Idle,
    /// Bytes in both directions as fast as they are taken, a trickle of single bytes, and what the service brings.
    Loaded,
    /// One flow of an exit and one of the service bring what they can and their readers take nothing; beside them another one is read.
    SlowReader,
}

/// What was seen of one situation beside the lines.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// When it was.
    pub windows: Vec<Window>,
    /// How often the process with the schedule went to sleep meanwhile.
    pub sleeps: u64,
    /// Bytes that came to whoever read beside a slow reader, or from the service, in the windows.
    pub read: u64,
}

impl Watched {
    /// All windows together.
    pub fn lasting(&self) -> Duration {
        self.windows.iter().map(|window| window.to - window.from).sum()
    }
}

/// The servers for it, and the entry's proxy.
#[derive(Debug, Clone)]
pub struct Stage {
    service: Option<Place>,
    proxy: SocketAddr,
    source: SocketAddr,
    sink: SocketAddr,
    echo: SocketAddr,
}

impl Stage {
    /// Starts servers; `source` is there already, and everything is reached without a proxy's help.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(source: SocketAddr) -> std::io::Result<Self> {
        let (sink, echo) = (load::start(Service::Sink)?, load::start(Service::Echo)?);
        Ok(Self { service: None, proxy: source, source, sink, echo })
    }

    /// The same for the applications of an entry, who may know a service.
    #[must_use]
    pub fn through(self, proxy: SocketAddr, service: Option<&Place>) -> Self {
        Self { proxy, service: service.cloned(), ..self }
    }

    /// The ports that exits have to allow.
    pub fn ports(&self) -> [u16; 2] {
        [self.sink.port(), self.echo.port()]
    }

    /// Plays silence and load in turns, then as long as one of them the slow reader, who needs a while until all queues on his way
    /// are full. `pid` is the process with the schedule.
    ///
    /// # Errors
    /// When a flow is not served.
    pub fn play(&self, turns: u32, lasting: Duration, pid: u32) -> anyhow::Result<[Watched; 3]> {
        let [mut idle, mut loaded, mut slow]: [Watched; 3] = Default::default();
        for _ in 0..turns {
            for (situation, watched) in [(Situation::Idle, &mut idle), (Situation::Loaded, &mut loaded)] {
                let running = self.begin(situation)?;
                running.watch(watched, lasting, pid)?;
                running.end()?;
            }
        }
        let running = self.begin(Situation::SlowReader)?;
        for _ in 0..turns {
            running.watch(&mut slow, lasting, pid)?;
        }
        running.end()?;
        Ok([idle, loaded, slow])
    }

    fn connect(&self, to: SocketAddr) -> anyhow::Result<TcpStream> {
        socks::connect(self.proxy, to, SILENCE)
    }

    /// A long download from the service.
    fn visit(&self) -> anyhow::Result<Option<TcpStream>> {
        let visit = |service: &Place| socks::ask(self.proxy, service.clone(), "bulk", SILENCE);
        self.service.as_ref().map(visit).transpose()
    }

    fn begin(&self, situation: Situation) -> anyhow::Result<Running> {
        Ok(match situation {
            Situation::Idle => Running::Idle,
            Situation::Loaded => {
                let bulk = Bulk::over(self.connect(self.source)?, self.connect(self.sink)?)?;
                let trickle = Trickle::over(self.connect(self.echo)?)?;
                Running::Loaded(bulk, trickle, self.visit()?.map(Reader::start).transpose()?)
            }
            Situation::SlowReader => {
                let slow = std::iter::once(self.connect(self.source)?).chain(self.visit()?).collect();
                std::thread::sleep(FILLS_WITHIN);
                Running::Slow(slow, Reader::start(self.connect(self.source)?)?)
            }
        })
    }
}

enum Running {
    Idle,
    Loaded(Bulk, Trickle, Option<Reader>),
    Slow(Vec<TcpStream>, Reader),
}

impl Running {
    fn watch(&self, watched: &mut Watched, lasting: Duration, pid: u32) -> anyhow::Result<()> {
        let now = || Duration::from_nanos(monotonic_ns());
        std::thread::sleep(SETTLE);
        let (from, slept, read) = (now(), sleeps(pid)?, self.read());
        std::thread::sleep(lasting);
        watched.windows.push(Window { from, to: now() });
        watched.sleeps += sleeps(pid)? - slept;
        watched.read += self.read() - read;
        Ok(())
    }

    fn read(&self) -> u64 {
        match self {
            Self::Slow(_, reader) => reader.read.load(Ordering::Relaxed),
            Self::Loaded(_, _, visit) => visit.as_ref().map_or(0, |visit| visit.read.load(Ordering::Relaxed)),
            Self::Idle => 0,
        }
    }

    /// What slow readers take at last is what was sent.
    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Idle => {}
            Self::Loaded(bulk, trickle, visit) => {
                drop((bulk, trickle));
                visit.map_or(Ok(()), Reader::end)?;
            }
            Self::Slow(slow, reader) => {
                reader.end()?;
                for slow in slow {
                    let late = read_pattern(&mut slow.take(LATE_BYTES)).context("a slow reader")?;
                    anyhow::ensure!(late == LATE_BYTES, "a slow reader got {late} bytes");
                }
            }
        }
        Ok(())
    }
}

/// Reads the pattern and counts.
struct Reader {
    stream: TcpStream,
    read: Arc<AtomicU64>,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl Reader {
    fn start(stream: TcpStream) -> std::io::Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut from = Counted { stream: stream.try_clone()?, counted: Arc::clone(&read) };
        let thread = std::thread::spawn(move || read_pattern(&mut from));
        Ok(Self { stream, read, thread })
    }

    fn end(self) -> anyhow::Result<()> {
        // Its reader sees the end of the stream.
        self.stream.shutdown(Shutdown::Both)?;
        let read = self.thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(error.into()),
            _ => Ok(()),
        }
    }
}

struct Counted {
    stream: TcpStream,
    counted: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.counted.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
