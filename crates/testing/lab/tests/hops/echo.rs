//! A program that sends numbered datagrams at a steady rate and gets each of them back from the target.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::network::Network;
use lab::udp_load::{Load, send};
use os_net::clock::monotonic_ns;
use rustix::net::sockopt;

use super::{Family, Hops, PATIENCE, TARGET};

/// How often a silent socket looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Echoes that are on their way when the sender ends are waited for so long.
const LINGER: Duration = Duration::from_millis(600);
const BUFFER: usize = 1 << 16;
/// Bytes of the target's buffer in the kernel.
const SOCKET_BUFFER: usize = 8 << 20;

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    pub(super) sent: u64,
    pub(super) came: u64,
    /// Longest time between two echoes.
    pub(super) gap: Duration,
    /// From a datagram to its echo: the median and the most.
    pub(super) median: Duration,
    pub(super) most: Duration,
}

impl Echoes {
    pub(super) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.came)
    }
}

/// Runs a load through a pair, whose way is open before it begins; `meanwhile` runs beside it.
pub(super) fn run(
    network: &Network,
    hops: &Hops,
    family: Family,
    load: Load,
    meanwhile: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<Echoes> {
    let target = network.host("server")?.namespace().udp_socket(family.loopback(TARGET))?;
    let program = network.host("client")?.namespace().udp_socket(family.loopback(0))?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let target = scope.spawn(|| send_back(&target, &is_over));
        let measured = open(&program, hops.listen).and_then(|()| {
            let beside = scope.spawn(meanwhile);
            let receiver = scope.spawn(|| receive(&program, &is_over));
            let sent = send(&program, hops.listen, load);
            std::thread::sleep(LINGER);
            is_over.store(true, Ordering::Relaxed);
            let echoes = receiver.join().ok().context("the receiver panicked")??;
            beside.join().ok().context("what ran beside panicked")??;
            Ok(Echoes { sent: sent?.packets, ..echoes })
        });
        is_over.store(true, Ordering::Relaxed);
        target.join().ok().context("the target panicked")??;
        measured
    })
}

/// Asks until something comes back, and then until all that was asked has.
fn open(program: &UdpSocket, to: SocketAddr) -> anyhow::Result<()> {
    program.set_read_timeout(Some(5 * LOOK_EVERY))?;
    let began = Instant::now();
    loop {
        program.send_to(b"open", to)?;
        if program.recv(&mut [0; BUFFER]).is_ok() {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "nothing comes back from {to}");
    }
    while program.recv(&mut [0; BUFFER]).is_ok() {}
    Ok(())
}

fn send_back(socket: &UdpSocket, is_over: &AtomicBool) -> anyhow::Result<()> {
    // On a busy machine the target may stand still for longer than the usual buffer lasts.
    sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER)?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    let mut buffer = vec![0; BUFFER];
    while !is_over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from)?;
        }
    }
    Ok(())
}

fn receive(socket: &UdpSocket, is_over: &AtomicBool) -> anyhow::Result<Echoes> {
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    let (mut echoes, mut newest, mut delays) = (Echoes::default(), None, Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    let mut buffer = vec![0; BUFFER];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some((number, rest)) = buffer[..length].split_first_chunk::<8>() else { continue };
        let Some((sent_at, _)) = rest.split_first_chunk::<8>() else { continue };
        if !seen.insert(u64::from_be_bytes(*number)) {
            continue;
        }
        let now = monotonic_ns();
        delays.push(now.saturating_sub(u64::from_be_bytes(*sent_at)));
        let gap = Duration::from_nanos(now - newest.replace(now).unwrap_or(now));
        (echoes.came, echoes.gap) = (echoes.came + 1, echoes.gap.max(gap));
    }
    delays.sort_unstable();
    echoes.median = Duration::from_nanos(delays.get(delays.len() / 2).copied().unwrap_or(0));
    echoes.most = Duration::from_nanos(delays.last().copied().unwrap_or(0));
    Ok(echoes)
}
