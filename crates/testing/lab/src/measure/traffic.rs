//! Transfers whose bytes are counted where they arrive.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often arrived bytes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 << 10;
/// A transfer that is silent for so long has failed.
const SILENCE: Duration = Duration::from_secs(30);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the entry to the exit.
    Up,
    /// From the exit to the entry.
    Down,
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::Down, Self::Up];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A server that sends or takes bytes without end, whichever the client's first byte asks for. Its threads end with
/// their connections.
#[derive(Debug)]
pub(super) struct Endless {
    pub(super) address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Endless {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A connection that breaks is how every transfer ends.
                std::thread::spawn(move || serve(stream, &counter));
            }
        });
        Ok(Self { address, taken })
    }
}

fn serve(mut stream: TcpStream, taken: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut way = [0];
    stream.read_exact(&mut way)?;
    if way[0] == b'd' { give(&mut stream) } else { take(&mut stream, taken) }
}

fn give(stream: &mut TcpStream) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    loop {
        stream.write_all(&chunk)?;
    }
}

fn take(stream: &mut TcpStream, taken: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        taken.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// A transfer that goes on until it is dropped.
#[derive(Debug)]
pub(super) struct Transfer {
    stream: TcpStream,
    arrived: Arc<AtomicU64>,
}

impl Transfer {
    /// Connects to `through`, behind which `server` answers.
    pub(super) fn start(through: SocketAddr, server: &Endless, way: Way) -> io::Result<Self> {
        let mut stream = TcpStream::connect(through)?;
        stream.set_nodelay(true)?;
        let mut worker = stream.try_clone()?;
        let arrived = match way {
            Way::Down => Arc::new(AtomicU64::new(0)),
            Way::Up => Arc::clone(&server.taken),
        };
        stream.write_all(match way {
            Way::Down => b"d",
            Way::Up => b"u",
        })?;
        let counter = Arc::clone(&arrived);
        // It ends when the transfer is dropped, with the failure of its read or write.
        std::thread::spawn(move || match way {
            Way::Down => take(&mut worker, &counter),
            Way::Up => give(&mut worker),
        });
        Ok(Self { stream, arrived })
    }

    /// Watches arriving bytes for `time`.
    ///
    /// # Errors
    /// If nothing arrives for very long.
    pub(super) fn watch(&self, time: Duration) -> io::Result<Seen> {
        let begin = Instant::now();
        let first = self.arrived.load(Ordering::Relaxed);
        let (mut last, mut last_at, mut stall) = (first, begin, Duration::ZERO);
        while begin.elapsed() < time {
            std::thread::sleep(LOOK_EVERY);
            let bytes = self.arrived.load(Ordering::Relaxed);
            if bytes != last {
                (last, last_at) = (bytes, Instant::now());
            } else if last_at.elapsed() > SILENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived for half a minute"));
            }
            stall = stall.max(last_at.elapsed());
        }
        let megabits = (self.arrived.load(Ordering::Relaxed) - first) as f64 * 8.0 / 1e6;
        Ok(Seen { megabits_per_second: megabits / begin.elapsed().as_secs_f64(), stall })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // It may have broken already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// Application bytes.
    pub(super) megabits_per_second: f64,
    /// The longest time without a byte, to the nearest 50 ms.
    pub(super) stall: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_both_ways() {
        let server = Endless::start().expect("loopback has free ports");
        let watched = Duration::from_millis(200);
        for way in Way::BOTH {
            let counted = || {
                let transfer = Transfer::start(server.address, &server, way)?;
                let seen = transfer.watch(watched)?;
                anyhow::ensure!(seen.megabits_per_second > 1.0 && seen.stall < watched, "{seen:?}");
                Ok(())
            };
            crate::attempts::within_three(counted).expect("bytes are counted");
        }
    }

    #[test]
    fn a_silent_line_is_a_stall() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let silent = Endless { address: listener.local_addr().expect("it is bound"), taken: Arc::default() };
        let transfer = Transfer::start(silent.address, &silent, Way::Down).expect("the port is open");
        let seen = transfer.watch(Duration::from_millis(200)).expect("half a minute has not passed");
        assert!(seen.stall >= Duration::from_millis(200) && seen.megabits_per_second == 0.0, "{seen:?}");
    }
}
