//! A load in both directions that is switched on and off, to compare what is seen with it and without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use os_net::clock::monotonic_ns;

/// Time after a change of phase that belongs to neither.
pub const SETTLE: Duration = Duration::from_millis(300);

/// Moves bytes in both directions as fast as they are taken, until it is dropped.
#[derive(Debug)]
pub struct Bulk {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Bulk {
    /// Connects to a source and to a sink, usually through plain forwards of an entry.
    ///
    /// # Errors
    /// When one of them cannot be reached.
    pub fn start(source: SocketAddr, sink: SocketAddr) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(source)?, TcpStream::connect(sink)?)
    }

    /// The same over connections that are there.
    ///
    /// # Errors
    /// When they are not any more.
    pub fn over(mut down: TcpStream, mut up: TcpStream) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for stream in [&down, &up] {
            stream.set_read_timeout(Some(Duration::from_millis(50)))?;
            stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        }
        let (stop_down, stop_up) = (Arc::clone(&stop), Arc::clone(&stop));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while !stop_down.load(Ordering::Relaxed) {
                let _ = down.read(&mut buffer);
            }
        });
        let writer = std::thread::spawn(move || {
            while !stop_up.load(Ordering::Relaxed) {
                let _ = up.write(&[0x55; 16_384]);
            }
        });
        Ok(Self { stop, threads: vec![reader, writer] })
    }
}

/// Time between two writes of a trickle.
const TRICKLE: Duration = Duration::from_micros(300);

/// Writes one byte every `TRICKLE` to an echo server, until it is dropped: some three thousand writes a second into the rings of
/// both nodes, for next to no bytes.
#[derive(Debug)]
pub struct Trickle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    /// Over a connection to the server.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn over(mut stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_micros(1)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) && stream.write_all(b"x").is_ok() {
                // What came back is taken away; nothing may be there yet.
                let _ = stream.read(&mut buffer);
                std::thread::sleep(TRICKLE);
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panicked load thread has shown its message already.
            let _ = thread.join();
        }
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panicked load thread has shown its message already.
            let _ = thread.join();
        }
    }
}

/// From when to when something lasted, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
}

/// Alternates phases without and with a load, and returns the windows without and those with it. They alternate so that a slow
/// change of the machine falls on both.
///
/// # Errors
/// When a load cannot be started.
pub fn alternate(
    phases: usize,
    phase: Duration,
    source: SocketAddr,
    sink: SocketAddr,
) -> std::io::Result<[Vec<Window>; 2]> {
    let now = || Duration::from_nanos(monotonic_ns());
    let mut windows = [Vec::new(), Vec::new()];
    for _ in 0..phases {
        for loaded in [false, true] {
            let bulk = if loaded { Some(Bulk::start(source, sink)?) } else { None };
            std::thread::sleep(SETTLE);
            let from = now();
            std::thread::sleep(phase);
            windows[usize::from(loaded)].push(Window { from, to: now() });
            drop(bulk);
        }
    }
    Ok(windows)
}
