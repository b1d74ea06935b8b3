//! Cells a second that one core of a relay forwards, sockets and system calls included: `cargo bench -p circuit-relay`.
//!
//! A client sends over a guard, which is measured, to an exit that counts and perhaps sends back. What counts is the processor
//! time of the guard's thread for each cell, so it does not matter that the others share the machine.

#[path = "../tests/loopback/client.rs"]
mod client;
#[path = "../tests/loopback/rig.rs"]
mod rig;

use circuit_relay::{CircuitRelay, JoinPoint, NothingJoined};
use client::Client;
use link::Now;
use onion::CircuitKey;
use os_net::udp::UdpSocket as Batches;
use relay_node::{NodeEvent, RelayNode};
use rig::{addresses, document, node_id, settings};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
/// Cells of a measurement.
const CELLS: u64 = 1_000_000;
/// Cells under way: what the buffers of loopback hold without loss.
const WINDOW: u64 = 1_024;
/// Packets of one of the client's system calls.
const BATCH: u64 = 32;

/// Counts what comes out of circuits, and perhaps sends it back.
struct Count {
    came: Arc<AtomicU64>,
    echoes: bool,
}

impl JoinPoint for Count {
    fn handle_inner(&mut self, now: Now, circuit: CircuitKey, _: u64, inner: &[u8], node: &mut RelayNode) {
        self.came.fetch_add(1, Ordering::Relaxed);
        if self.echoes {
            node.send_inner(now, circuit, inner).expect("a cell just came from there");
        }
    }

    fn handle_event(&mut self, _: Now, _: NodeEvent, _: &mut RelayNode) {}

    fn handle_timeout(&mut self, _: Now, _: &mut RelayNode) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[expect(clippy::print_stdout, reason = "the figures of a benchmark")]
fn measure(echoes: bool) {
    let addresses = addresses(2);
    let document = document(&addresses);
    let came = Arc::new(AtomicU64::new(0));
    let guard = CircuitRelay::new(settings(1, addresses[0], &document), NothingJoined).expect("a relay");
    let count = Count { came: Arc::clone(&came), echoes };
    let exit = CircuitRelay::new(settings(2, addresses[1], &document), count).expect("a relay");
    let handles = [guard.handle(), exit.handle()];
    let guard = std::thread::spawn(move || guard.run().map(|()| thread_time()));
    let exit = std::thread::spawn(move || exit.run());
    let mut client = Client::dial(document, &node_id(1), [50; 32]);
    client.open(&[node_id(1), node_id(2)]);
    assert!(client.run_until(SOON, |client| client.is_built(2)), "{:?}", client.events);
    // The first cell tells the relays that the circuit is used.
    client.say(1);
    let clone = client.socket.try_clone().expect("a descriptor");
    let socket = Batches::from_owned_fd(OwnedFd::from(clone)).expect("a socket");
    let (start, mut sent, mut packets) = (Instant::now(), 0, Vec::new());
    while sent < CELLS {
        packets.clear();
        let mut to = addresses[0];
        for _ in 0..BATCH {
            to = client.seal(1, &mut packets);
        }
        while sent > came.load(Ordering::Relaxed) + WINDOW && start.elapsed() < Duration::from_secs(120) {
            std::thread::yield_now();
        }
        socket.send_batch(to, &packets, packets.len() / BATCH as usize).expect("loopback takes it");
        sent += BATCH;
    }
    let took = start.elapsed();
    for handle in &handles {
        handle.stop();
        handle.stop();
    }
    let used = guard.join().expect("no panic").expect("its sockets held");
    exit.join().expect("no panic").expect("its sockets held");
    let forwarded = handles[0].snapshot().sent;
    let each = used.as_nanos() as f64 / forwarded as f64;
    let (rate, wall) = (1e9 / each, forwarded as f64 / took.as_secs_f64());
    println!(
        "echoes {echoes}: {forwarded} cells, {each:.0} ns each: {rate:.0} cells/s a core ({wall:.0}/s went through)"
    );
}

fn main() {
    for echoes in [false, true] {
        for _ in 0..3 {
            measure(echoes);
        }
    }
}
