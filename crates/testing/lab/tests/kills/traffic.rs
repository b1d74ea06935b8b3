//! Flows whose every byte is checked on both sides, through the entry's HTTP CONNECT port.
//!
//! A client sends a head (number of the flow, bytes up, bytes down), then its bytes; the origin sends its own when it
//! has all of these. Each flow has bytes of its own, so that a byte of another flow is a wrong byte.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::load::pattern;

/// Silence after which a flow counts as hanging. Everything that ends flows ends them much earlier.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(45);

const CHUNK: usize = 16 << 10;
const HEAD: usize = 24;
/// Bytes of the proxy's answer.
const ANSWER_MAX: usize = 4096;
/// Pause between two requests of one client.
const REQUEST_PAUSE: Duration = Duration::from_millis(20);

/// How many bytes a flow carries each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// How a flow ended on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All bytes came, and were the right ones.
    Complete,
    /// The proxy refused it with this line.
    Refused(String),
    /// The connection failed.
    Broken(ErrorKind),
    /// The connection ended in good order before all bytes had come.
    Short,
    /// Nothing happened for [`HANGS_AFTER`].
    Silent,
    /// A byte was not the one that was sent, or there were too many.
    Wrong(String),
}

impl End {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidData => Self::Wrong(error.to_string()),
            ErrorKind::UnexpectedEof => Self::Short,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent,
            kind => Self::Broken(kind),
        }
    }
}

/// A flow that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) began: Instant,
    pub(crate) at: Instant,
    pub(crate) end: End,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Bytes `from..` of a flow's direction.
fn fill(number: u64, outwards: bool, from: u64, bytes: &mut [u8]) {
    let begin = (number << 36) + (u64::from(outwards) << 35) + from;
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = pattern(begin + index as u64);
    }
}

fn send(to: &mut TcpStream, number: u64, outwards: bool, count: u64, moved: &AtomicU64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < count {
        let length = usize::try_from(count - sent).unwrap_or(CHUNK).min(CHUNK);
        fill(number, outwards, sent, &mut chunk[..length]);
        to.write_all(&chunk[..length])?;
        sent += length as u64;
        moved.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads `count` bytes and compares each.
fn receive(from: &mut TcpStream, number: u64, outwards: bool, count: u64, moved: &AtomicU64) -> io::Result<()> {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut received = 0;
    while received < count {
        let most = usize::try_from(count - received).unwrap_or(CHUNK).min(CHUNK);
        let length = match from.read(&mut chunk[..most]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        fill(number, outwards, received, &mut expected[..length]);
        if let Some(at) = (0..length).find(|at| chunk[*at] != expected[*at]) {
            return Err(wrong(format!("byte {} of flow {number} (outwards: {outwards})", received + at as u64)));
        }
        received += length as u64;
        moved.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Nothing may come any more but the end.
fn receive_end(from: &mut TcpStream, number: u64) -> io::Result<()> {
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(wrong(format!("a byte behind the last of flow {number}"))),
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// A thread that panicked while it held the lock has left whole entries behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server of all flows.
pub(crate) struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    open: BTreeMap<u64, Instant>,
    ended: Vec<Ended>,
}

impl Origin {
    /// Starts it on a free port of loopback; it runs until the test's process ends.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let all = Arc::clone(&all);
                std::thread::spawn(move || serve(stream, &all));
            }
        });
        Ok(Self { address, seen })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Flows of which the origin has the head and not the end.
    pub(crate) fn open(&self) -> Vec<u64> {
        lock(&self.seen).open.keys().copied().collect()
    }

    /// Flows that ended since the last call.
    pub(crate) fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut lock(&self.seen).ended)
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) {
    let mut head = [0; HEAD];
    if stream.set_nodelay(true).is_err() || stream.read_exact(&mut head).is_err() {
        return;
    }
    let word = |index: usize| head[8 * index..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let (number, size) = (word(0), Size { up: word(1), down: word(2) });
    let began = Instant::now();
    lock(seen).open.insert(number, began);
    let moved = AtomicU64::new(0);
    let served = receive(&mut stream, number, true, size.up, &moved)
        .and_then(|()| send(&mut stream, number, false, size.down, &moved))
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| receive_end(&mut stream, number));
    let end = served.map_or_else(|error| End::of(&error), |()| End::Complete);
    let mut seen = lock(seen);
    seen.open.remove(&number);
    seen.ended.push(Ended { number, began, at: Instant::now(), end });
}

/// One flow in a thread of its own.
pub(crate) struct Flow {
    pub(crate) number: u64,
    moved: Arc<AtomicU64>,
    thread: JoinHandle<Ended>,
}

impl Flow {
    pub(crate) fn start(proxy: SocketAddr, origin: SocketAddr, size: Size) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let moved = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&moved);
        let thread = std::thread::spawn(move || run(proxy, origin, number, size, true, &counted));
        Self { number, moved, thread }
    }

    /// A flow that sends its head and then nothing: an application that waits.
    pub(crate) fn start_idle(proxy: SocketAddr, origin: SocketAddr) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let moved = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&moved);
        let size = Size { up: 1, down: 1 };
        let thread = std::thread::spawn(move || run(proxy, origin, number, size, false, &counted));
        Self { number, moved, thread }
    }

    /// Bytes that the client has written and read.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn join(self) -> anyhow::Result<Ended> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the client of a flow panicked"))
    }
}

fn run(proxy: SocketAddr, origin: SocketAddr, number: u64, size: Size, sends: bool, moved: &AtomicU64) -> Ended {
    let began = Instant::now();
    let carried = || -> io::Result<Option<String>> {
        let mut stream = match connect(proxy, origin)? {
            Ok(stream) => stream,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let head: Vec<u8> = [number, size.up, size.down].iter().flat_map(|word| word.to_be_bytes()).collect();
        stream.write_all(&head)?;
        if sends {
            send(&mut stream, number, true, size.up, moved)?;
        }
        receive(&mut stream, number, false, size.down, moved)?;
        stream.shutdown(Shutdown::Write)?;
        receive_end(&mut stream, number)?;
        Ok(None)
    };
    let end = match carried() {
        Ok(None) => End::Complete,
        Ok(Some(refusal)) => End::Refused(refusal),
        Err(error) => End::of(&error),
    };
    Ended { number, began, at: Instant::now(), end }
}

/// Asks the proxy for a connection; the inner error is its answer.
fn connect(proxy: SocketAddr, to: SocketAddr) -> io::Result<Result<TcpStream, String>> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANGS_AFTER))?;
    stream.set_write_timeout(Some(HANGS_AFTER))?;
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER_MAX {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = answer.lines().next().unwrap_or_default().to_owned();
    Ok(if line.contains(" 200 ") { Ok(stream) } else { Err(line) })
}

/// Clients that make one small request after the other.
pub(crate) struct Requests {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Orders {
    stop: AtomicBool,
    pause: AtomicBool,
    done: Mutex<Vec<Ended>>,
}

impl Requests {
    pub(crate) const SIZE: Size = Size { up: 2_000, down: 20_000 };

    pub(crate) fn start(clients: usize, proxy: SocketAddr, origin: SocketAddr) -> Self {
        let orders = Arc::new(Orders::default());
        let begin = |_| {
            let orders = Arc::clone(&orders);
            std::thread::spawn(move || request_after_request(proxy, origin, &orders))
        };
        let threads = (0..clients).map(begin).collect();
        Self { orders, threads }
    }

    /// Begin no more requests for now, or go on.
    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.orders.pause.store(is_paused, Ordering::Relaxed);
    }

    /// The requests that ended since the last [`Requests::take_ended`], in the order of their ends.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        lock(&self.orders.done).clone()
    }

    pub(crate) fn take_ended(&self) -> Vec<Ended> {
        std::mem::take(&mut lock(&self.orders.done))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread has printed itself.
            let _ = thread.join();
        }
    }
}

fn request_after_request(proxy: SocketAddr, origin: SocketAddr, orders: &Orders) {
    let moved = AtomicU64::new(0);
    while !orders.stop.load(Ordering::Relaxed) {
        if !orders.pause.load(Ordering::Relaxed) {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
            let ended = run(proxy, origin, number, Requests::SIZE, true, &moved);
            lock(&orders.done).push(ended);
        }
        std::thread::sleep(REQUEST_PAUSE);
    }
}
