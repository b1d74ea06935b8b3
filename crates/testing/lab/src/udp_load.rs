//! A sender of numbered UDP packets at a steady rate, and a sink that says which of them came, when, how late and from
//! whom. Both ends read the same clock, so they must be on one machine, in whatever namespaces.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use os_net::clock::monotonic_ns;
use serde::{Deserialize, Serialize};

use crate::goodput::Goodput;

/// Bytes at the beginning of a payload: its number and the time it was sent, big-endian.
const HEADER: usize = 16;
/// The largest UDP payload.
const PAYLOAD_MAX: usize = 65_507;
/// Packets of one flow; later ones are neither counted as lost nor as repeated.
const NUMBERS_MAX: u64 = 1 << 26;
/// Delays kept, four bytes each; those of later packets are not.
const DELAYS_MAX: usize = 1 << 22;
/// Senders kept; later ones are not.
const SENDERS_MAX: usize = 4096;
/// The longest pause between two bursts of the sender.
const TICK: Duration = Duration::from_millis(1);
/// How often a silent sink looks whether it is to end.
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);
/// Bytes of the kernel's buffer.
const SOCKET_BUFFER: usize = 8 << 20;

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of UDP payload.
    pub bits_per_second: u64,
    /// Of each packet, at least 16.
    pub payload_bytes: usize,
    /// For how long.
    pub lasting: Duration,
}

impl Load {
    /// Packets of 1,200 bytes.
    pub fn new(bits_per_second: u64, lasting: Duration) -> Self {
        Self { bits_per_second, payload_bytes: 1200, lasting }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Packets that the kernel took.
    pub packets: u64,
    /// Packets that it did not: no route, or a full queue. Their numbers are missing at the sink.
    pub refused: u64,
}

/// Sends a load to its end.
///
/// # Errors
/// If a packet is to be smaller than its header or larger than UDP allows.
pub fn send(socket: &UdpSocket, to: SocketAddr, load: Load) -> anyhow::Result<Sent> {
    ensure!((HEADER..=PAYLOAD_MAX).contains(&load.payload_bytes), "a payload has {HEADER} to {PAYLOAD_MAX} bytes");
    enlarge(socket);
    let mut payload = vec![0; load.payload_bytes];
    let (started, mut sent) = (now(), Sent::default());
    loop {
        let elapsed = now().saturating_sub(started);
        let due_bits = elapsed.min(load.lasting).as_nanos() * u128::from(load.bits_per_second) / 1_000_000_000;
        let due = due_bits / (load.payload_bytes as u128 * 8);
        while u128::from(sent.packets + sent.refused) < due {
            payload[..8].copy_from_slice(&(sent.packets + sent.refused).to_be_bytes());
            payload[8..HEADER].copy_from_slice(&monotonic_ns().to_be_bytes());
            match socket.send_to(&payload, to) {
                Ok(_) => sent.packets += 1,
                Err(_) => sent.refused += 1,
            }
        }
        if elapsed >= load.lasting {
            return Ok(sent);
        }
        std::thread::sleep(TICK);
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrived {
    /// Payloads over time.
    pub goodput: Goodput,
    /// Packets with different numbers.
    pub packets: u64,
    /// Numbers below the highest that never came.
    pub missing: u64,
    /// Packets whose number had come already.
    pub repeated: u64,
    /// Packets that came after one with a higher number.
    pub overtaken: u64,
    /// Addresses in the order in which they first appeared.
    pub senders: Vec<SocketAddr>,
    /// Times from the sender's call to the sink's, in microseconds, sorted.
    pub delays_us: Vec<u32>,
}

impl Arrived {
    /// The delay that a share (0 to 1) of the packets does not exceed; `None` without packets.
    pub fn delay(&self, share: f64) -> Option<Duration> {
        let last = self.delays_us.len().checked_sub(1)?;
        let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        self.delays_us.get(index).map(|delay| Duration::from_micros(u64::from(*delay)))
    }

    /// The share of what was sent that did not come.
    pub fn share_lost(&self, sent: Sent) -> f64 {
        sent.packets.saturating_sub(self.packets) as f64 / sent.packets.max(1) as f64
    }
}

/// A running sink; it ends with this value.
#[derive(Debug)]
pub struct Sink {
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    thread: Option<JoinHandle<io::Result<Arrived>>>,
}

impl Sink {
    /// Begins to receive. The record has windows of length `every`.
    ///
    /// # Errors
    /// If the socket has no address or the thread cannot be made.
    pub fn start(socket: UdpSocket, every: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(LOOK_UP_EVERY))?;
        enlarge(&socket);
        let (stop, address) = (Arc::new(AtomicBool::new(false)), socket.local_addr()?);
        let stopped = Arc::clone(&stop);
        let receive = move || Receiver::new(every).run(&socket, || stopped.load(Ordering::Relaxed));
        let thread = std::thread::Builder::new().name("sink".to_owned()).spawn(receive)?;
        Ok(Self { stop, address, thread: Some(thread) })
    }

    /// Where it receives.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and says what came.
    ///
    /// # Errors
    /// If receiving failed.
    pub fn finish(mut self) -> anyhow::Result<Arrived> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a sink finishes once")?;
        Ok(thread.join().ok().context("the thread of the sink panicked")??)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed itself; a drop has nobody to report it to.
            let _ = thread.join();
        }
    }
}

/// Receives in this thread for a time, and says what came.
///
/// # Errors
/// If receiving fails.
pub fn receive_for(socket: &UdpSocket, lasting: Duration, every: Duration) -> io::Result<Arrived> {
    socket.set_read_timeout(Some(LOOK_UP_EVERY))?;
    enlarge(socket);
    let end = now() + lasting;
    Receiver::new(every).run(socket, || now() >= end)
}

struct Receiver {
    arrived: Arrived,
    /// One bit a number.
    seen: Vec<u64>,
    next: u64,
}

impl Receiver {
    fn new(every: Duration) -> Self {
        let arrived = Arrived {
            goodput: Goodput::new(now(), every),
            packets: 0,
            missing: 0,
            repeated: 0,
            overtaken: 0,
            senders: Vec::new(),
            delays_us: Vec::new(),
        };
        Self { arrived, seen: Vec::new(), next: 0 }
    }

    fn run(mut self, socket: &UdpSocket, is_over: impl Fn() -> bool) -> io::Result<Arrived> {
        let mut buffer = vec![0; PAYLOAD_MAX];
        while !is_over() {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(&buffer[..length], from),
                // A port that the sink itself sent to was closed: it sends nothing, so this is not about a packet.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut arrived = self.arrived;
        arrived.goodput.finish(now());
        arrived.missing = self.next - arrived.packets.min(self.next);
        arrived.delays_us.sort_unstable();
        Ok(arrived)
    }

    fn take(&mut self, payload: &[u8], from: SocketAddr) {
        let Some((number, rest)) = payload.split_first_chunk() else { return };
        let Some((sent_at, _)) = rest.split_first_chunk() else { return };
        let (number, sent_at) = (u64::from_be_bytes(*number), u64::from_be_bytes(*sent_at));
        if number >= NUMBERS_MAX {
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let arrived = &mut self.arrived;
        if self.seen[word] & bit != 0 {
            arrived.repeated += 1;
            return;
        }
        self.seen[word] |= bit;
        arrived.packets += 1;
        arrived.overtaken += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
        let now = now();
        arrived.goodput.record(now, payload.len() as u64);
        if arrived.senders.len() < SENDERS_MAX && !arrived.senders.contains(&from) {
            arrived.senders.push(from);
        }
        if arrived.delays_us.len() < DELAYS_MAX {
            let delay = now.saturating_sub(Duration::from_nanos(sent_at)).as_micros();
            arrived.delays_us.push(u32::try_from(delay).unwrap_or(u32::MAX));
        }
    }
}

/// Errors after which a socket goes on receiving.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionRefused)
}

/// Asks for large buffers beyond the system's limit where that is allowed; smaller ones only lose more.
fn enlarge(socket: &UdpSocket) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER);
    let _ = sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER);
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    fn socket() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports")
    }

    #[test]
    fn a_steady_load_arrives_whole() -> anyhow::Result<()> {
        let sink = Sink::start(socket(), TENTH)?;
        let sent = send(&socket(), sink.address(), Load::new(8_000_000, 5 * TENTH))?;
        assert_eq!(sent, Sent { packets: 416, refused: 0 }, "8 Mbit/s for half a second");
        let began = now();
        while now() - began < TENTH {
            std::thread::sleep(TICK);
        }
        let arrived = sink.finish()?;
        assert_eq!((arrived.packets, arrived.missing, arrived.repeated, arrived.overtaken), (416, 0, 0, 0));
        assert_eq!((arrived.senders.len(), arrived.share_lost(sent)), (1, 0.0));
        assert!(arrived.delay(0.5).is_some_and(|delay| delay < 5 * TENTH));
        let again: Arrived = serde_json::from_str(&serde_json::to_string(&arrived)?)?;
        assert_eq!(again, arrived);
        Ok(())
    }

    #[test]
    fn gaps_repetitions_and_disorder_are_counted() {
        let mut receiver = Receiver::new(TENTH);
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut take = |number: u64| {
            let payload = [number.to_be_bytes(), monotonic_ns().to_be_bytes()].concat();
            receiver.take(&payload, from);
        };
        [0, 1, 5, 3, 3, NUMBERS_MAX].into_iter().for_each(&mut take);
        receiver.take(&[0; HEADER - 1], from);
        let arrived = receiver.run(&socket(), || true).expect("it does not receive");
        let counted = (arrived.packets, arrived.missing, arrived.repeated, arrived.overtaken);
        assert_eq!(counted, (4, 2, 1, 1));
        assert_eq!(arrived.goodput.bytes(), 64);
    }

    #[test]
    fn impossible_payloads_are_refused() {
        for payload_bytes in [0, HEADER - 1, PAYLOAD_MAX + 1] {
            let load = Load { payload_bytes, ..Load::new(1, TENTH) };
            assert!(send(&socket(), (Ipv4Addr::LOCALHOST, 1).into(), load).is_err());
        }
    }
}
