//! A server that sends, takes or echoes bytes, and the client's side of each.
//!
//! The client's first byte says what it wants. Plain blocking threads: what is measured is the pair, and nothing of
//! ours should share a runtime with it.

use crate::local::connect::FetchError;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one read or write.
const BUFFER: usize = 256 * 1024;
/// Bytes of one echo.
const ECHO_LEN: usize = 64;
/// Round trips before the first that counts.
const ECHO_WARM_UP: u32 = 10;
/// Longest pause between two round trips: as long as the longest slot that is usual. Without pauses every message
/// would leave at the same moment of a slot, just after the answer to the one before.
const ECHO_PAUSE_MAX: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Down => "download",
            Self::Up => "upload",
        }
    }

    fn command(self) -> u8 {
        match self {
            Self::Down => b'D',
            Self::Up => b'U',
        }
    }
}

/// Bytes that the server has taken.
pub(super) type Counter = Arc<AtomicU64>;

/// The server. Its threads live as long as the program.
pub(super) struct Probe {
    address: SocketAddr,
    taken: Counter,
}

impl Probe {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let taken = Counter::default();
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A client that goes away ends its own thread only.
                thread::spawn(move || serve(stream, &counter));
            }
        });
        Ok(Self { address, taken })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn counter(&self) -> Counter {
        Arc::clone(&self.taken)
    }
}

fn serve(mut stream: TcpStream, taken: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut command = [0];
    stream.read_exact(&mut command)?;
    let mut buffer = vec![0x5a; BUFFER];
    match command[0] {
        b'D' => loop {
            stream.write_all(&buffer)?;
        },
        b'U' => take_all(&mut stream, &mut buffer, taken),
        _ => loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
        },
    }
}

fn take_all(stream: &mut TcpStream, buffer: &mut [u8], taken: &AtomicU64) -> io::Result<()> {
    loop {
        let count = stream.read(buffer)?;
        if count == 0 {
            return Ok(());
        }
        taken.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Bytes on their way, counted where they arrive.
pub(super) struct Transfer {
    stream: TcpStream,
    arrived: Counter,
    worker: thread::JoinHandle<io::Result<()>>,
}

impl Transfer {
    pub(super) fn start(stream: TcpStream, direction: Direction, server: &Counter) -> Result<Self, FetchError> {
        (&stream).write_all(&[direction.command()])?;
        let arrived = match direction {
            Direction::Up => Arc::clone(server),
            Direction::Down => Counter::default(),
        };
        let (mut worker_stream, counter) = (stream.try_clone()?, Arc::clone(&arrived));
        let worker = thread::spawn(move || {
            let mut buffer = vec![0xa5; BUFFER];
            match direction {
                Direction::Down => take_all(&mut worker_stream, &mut buffer, &counter),
                Direction::Up => loop {
                    worker_stream.write_all(&buffer)?;
                },
            }
        });
        Ok(Self { stream, arrived, worker })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends it in the middle; what is still on its way does not matter.
    pub(super) fn stop(self) {
        // The worker's read or write fails, which is how it is meant to end.
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.worker.join();
    }
}

/// Sends and awaits `count` small messages, one after the other with pauses of many lengths.
pub(super) fn echo(stream: TcpStream, count: u32) -> Result<super::figures::Echo, FetchError> {
    (&stream).write_all(b"E")?;
    let mut message = [0x33; ECHO_LEN];
    let mut times: Vec<Duration> = Vec::with_capacity(count as usize);
    for round in 0..count + ECHO_WARM_UP {
        // Multiples of the golden ratio without their whole part lie evenly over 0 to 1, in a scattered order.
        thread::sleep(ECHO_PAUSE_MAX.mul_f64((f64::from(round) * 0.618_034).fract()));
        let begun = Instant::now();
        (&stream).write_all(&message)?;
        (&stream).read_exact(&mut message)?;
        if round >= ECHO_WARM_UP {
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    Ok(super::figures::Echo::new(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_moves_and_echoes_bytes() -> Result<(), FetchError> {
        let probe = Probe::start()?;
        for direction in [Direction::Down, Direction::Up] {
            let stream = TcpStream::connect(probe.address())?;
            let transfer = Transfer::start(stream, direction, &probe.counter())?;
            while transfer.bytes() < 1_000_000 {
                thread::yield_now();
            }
            transfer.stop();
        }
        let stream = TcpStream::connect(probe.address())?;
        let echo = echo(stream, 20)?;
        assert!(echo.p50_us > 0.0 && echo.p50_us <= echo.p99_us);
        Ok(())
    }
}
