//! The thread that sends ready packets at the slots of a public grid, and does nothing else (docs/spec/slots.md).
//!
//! The main loop makes cells a lead time ahead and hands them over; the thread wakes shortly before the slot, spins to
//! it and sends. Which packets go at a slot is decided by [`SlotBook`], which is pure; this file is the thread around
//! it. Nothing that the thread does depends on what packets contain.

mod book;
mod statistics;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::futex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::book::{Grid, SlotBook};
use self::statistics::{Counters, LatenessLog};
pub use self::statistics::{LATENESS_EDGES_US, Lateness, LatenessHistogram, Statistics};
use crate::clock::{monotonic_ns, timespec};
use crate::schedule;
use crate::udp::{SendError, UdpSocket};

/// Most batches that may wait for their slot. A further one is given back to the main loop, which makes none while
/// there is no room.
pub const BATCHES_MAX: u64 = 16;

/// Most spare batches that may wait for their slot. A further one is given back.
pub const SPARES_MAX: u64 = 64;

/// Most refusals that wait to be looked at. Further ones are only counted: what is refused for good is refused again.
pub const UNREACHABLE_MAX: usize = 64;

/// Most emptied buffers that wait to be used again; further ones are freed.
const FREE_BUFFERS_MAX: usize = 256;

/// The way of packets: the socket and the address that they leave from, and where they go. Each packet names its own, so a new socket needs no
/// word to the thread, and an old one lives until the last packet made for it has left.
#[derive(Debug, Clone)]
pub struct Way {
    /// The socket.
    pub socket: Arc<UdpSocket>,
    /// The near address, of a socket that is bound to all; none: the system's choice.
    pub from: Option<IpAddr>,
    /// The far address.
    pub to: SocketAddr,
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket) && (self.from, self.to) == (other.from, other.to)
    }
}

impl Eq for Way {}

/// Packets of one link in one slot.
pub type Run = book::Run<Way>;
/// The packets of a slot.
pub type Batch = book::Batch<Way>;
type Piece = book::Piece<Way>;

/// Packets that the system refused: it knows no way, or a rule forbids it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The way that they were to take.
    pub way: Way,
    /// How many.
    pub packets: u64,
}

/// How the thread runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When slots are.
    pub grid: Grid,
    /// P, bytes of every packet.
    pub packet_bytes: usize,
    /// How long before a slot the thread wakes and spins. Zero: it sleeps up to the slot, which costs about 35 us of
    /// exactness at the median and saves 3 % of a core at 5 ms slots.
    pub spin: Duration,
    /// Number of links with cells of their own in each slot: lanes 0 to one less. Packets of further lanes are sent like
    /// the others and counted in the last lane.
    pub lanes: usize,
    /// `SCHED_FIFO` priority of the thread, if it is to have one.
    pub priority: Option<u8>,
    /// Core that the thread is to run on, if it is to be pinned.
    pub core: Option<usize>,
    /// How many of the newest lateness samples are kept one by one, for tests. Zero: only the histograms.
    pub raw_samples: usize,
}

impl Settings {
    /// Settings with the default of everything that has one: spin 150 us, one lane, no priority, no pinning.
    pub fn new(grid: Grid, packet_bytes: usize) -> Self {
        let spin = Duration::from_micros(150);
        Self { grid, packet_bytes, spin, lanes: 1, priority: None, core: None, raw_samples: 0 }
    }
}

/// Why a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// [`BATCHES_MAX`] or [`SPARES_MAX`] are waiting.
    #[error("the slot sender has no room for another batch")]
    Full,
    /// The thread has ended.
    #[error("the slot sender has ended")]
    Ended,
}

/// What was not taken, given back.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why.
    pub reason: RefusalReason,
    /// The batch as it was handed over.
    pub batch: Batch,
    /// The spare as it was handed over.
    pub spare: Option<Batch>,
}

/// The thread cannot be started.
#[derive(Debug, Error)]
#[error("cannot start the sender thread: {0}")]
pub struct StartError(#[from] std::io::Error);

/// One hand-over of the main loop.
struct Offer {
    batch: Batch,
    spare: Option<Batch>,
}

/// What both threads see. All figures are counts since the start.
struct Shared {
    counters: Counters,
    log: LatenessLog,
    stop: AtomicBool,
    /// Slot up to which the thread sleeps: `u64::MAX` without limit, 0 while it is awake.
    sleeps_until: AtomicU64,
    /// Changes whenever the thread is to wake; the futex it sleeps on.
    wake: AtomicU32,
}

/// The main loop's side of the sender thread. Dropping it stops the thread.
pub struct SlotSender {
    offers: rtrb::Producer<Offer>,
    free: rtrb::Consumer<Vec<u8>>,
    unreachable: rtrb::Consumer<Unreachable>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    batches_handed: u64,
    spares_handed: u64,
    /// Packets handed over in batches, per lane.
    packets_handed: Vec<u64>,
    packet_bytes: usize,
}

impl SlotSender {
    /// Starts the thread. It sleeps until the first batch is handed over.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let lanes = settings.lanes.max(1);
        let capacity = usize::try_from(BATCHES_MAX + SPARES_MAX).unwrap_or(usize::MAX);
        let (offers, incoming) = rtrb::RingBuffer::new(capacity);
        let (outgoing, free) = rtrb::RingBuffer::new(FREE_BUFFERS_MAX);
        let (refusals, unreachable) = rtrb::RingBuffer::new(UNREACHABLE_MAX);
        let shared = Arc::new(Shared {
            counters: Counters::new(lanes),
            log: LatenessLog::new(settings.raw_samples),
            stop: AtomicBool::new(false),
            sleeps_until: AtomicU64::new(0),
            wake: AtomicU32::new(0),
        });
        let worker = Worker {
            book: SlotBook::new(settings.grid, settings.packet_bytes),
            settings: settings.clone(),
            incoming,
            free: outgoing,
            refusals,
            shared: Arc::clone(&shared),
            pieces: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("slot-sender".to_owned()).spawn(move || worker.run())?;
        Ok(Self {
            offers,
            free,
            unreachable,
            shared,
            thread: Some(thread),
            batches_handed: 0,
            spares_handed: 0,
            packets_handed: vec![0; lanes],
            packet_bytes: settings.packet_bytes.max(1),
        })
    }

    /// Hands over the cells of a slot, and cover packets for the place of those of a later slot.
    ///
    /// The spare states what is public about its slot: as many packets per lane as its slot has. It goes in place of
    /// cells that are not there in time. A spare for a slot that has one already replaces it; one whose slot went
    /// without it is recycled. The first slot needs no spare, every later slot should have had one. Slots with
    /// neither a batch nor a spare are slept through.
    ///
    /// A batch whose slot has passed goes at the next slots, in order, within the number of packets that their spares
    /// state: nothing handed over is ever dropped, and no slot ever carries more. See [`SlotSender::unsent_packets`].
    /// A batch without packets is a way to hand over a spare alone.
    pub fn hand_over(&mut self, batch: Batch, spare: Option<Batch>) -> Result<(), Box<Refused>> {
        let has_packets = batch.runs.iter().any(|run| !run.packets.is_empty());
        let counters = &self.shared.counters;
        let batches = self.batches_handed - counters.batches_done.load(Ordering::Acquire);
        let spares = self.spares_handed - counters.spares_done.load(Ordering::Acquire);
        if (has_packets && batches >= BATCHES_MAX) || (spare.is_some() && spares >= SPARES_MAX) {
            return Err(Box::new(Refused { reason: RefusalReason::Full, batch, spare }));
        }
        if self.offers.is_abandoned() {
            return Err(Box::new(Refused { reason: RefusalReason::Ended, batch, spare }));
        }
        let earliest = batch.slot.min(spare.as_ref().map_or(u64::MAX, |spare| spare.slot));
        let packets: Vec<(usize, usize)> =
            batch.runs.iter().map(|run| (run.lane, run.packets.len() / self.packet_bytes)).collect();
        let (with_batch, with_spare) = (u64::from(has_packets), u64::from(spare.is_some()));
        if let Err(rtrb::PushError::Full(Offer { batch, spare })) = self.offers.push(Offer { batch, spare }) {
            return Err(Box::new(Refused { reason: RefusalReason::Full, batch, spare }));
        }
        self.batches_handed += with_batch;
        self.spares_handed += with_spare;
        let last = self.packets_handed.len() - 1;
        for (lane, count) in packets {
            self.packets_handed[lane.min(last)] += count as u64;
        }
        // Pairs with the fence in `Worker::sleep`: either the thread sees the offer before it sleeps, or this side
        // sees that it sleeps.
        fence(Ordering::SeqCst);
        if earliest < self.shared.sleeps_until.load(Ordering::Relaxed) {
            self.shared.ring();
        }
        Ok(())
    }

    /// Packets of a lane that were handed over and have not gone out yet. Asked after a slot and before the next
    /// batch is made, it is the number of late packets: make so many fewer, since they take the places.
    pub fn unsent_packets(&self, lane: usize) -> u64 {
        let lane = lane.min(self.packets_handed.len() - 1);
        self.packets_handed[lane].saturating_sub(self.shared.counters.lane_packets(lane))
    }

    /// An empty buffer, used before if there is one.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// The next packets that the system refused, oldest first.
    pub fn poll_unreachable(&mut self) -> Option<Unreachable> {
        self.unreachable.pop().ok()
    }

    /// Counts since the start.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.snapshot()
    }

    /// The newest single samples, oldest first; empty unless [`Settings::raw_samples`] asked for them.
    pub fn lateness_samples(&self) -> Vec<Lateness> {
        self.shared.log.snapshot()
    }

    /// Ends the thread after the slot that it is busy with and waits for it. Batches that wait are not sent.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the slot sender thread had panicked");
        }
    }
}

impl Drop for SlotSender {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for SlotSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotSender").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

impl Shared {
    fn ring(&self) {
        self.wake.fetch_add(1, Ordering::SeqCst);
        // Fails only for an invalid address, which a reference is not.
        let _ = futex::wake(&self.wake, futex::Flags::PRIVATE, 1);
    }
}

/// The thread's side.
struct Worker {
    book: SlotBook<Way>,
    settings: Settings,
    incoming: rtrb::Consumer<Offer>,
    free: rtrb::Producer<Vec<u8>>,
    refusals: rtrb::Producer<Unreachable>,
    shared: Arc<Shared>,
    /// Kept to be used again.
    pieces: Vec<Piece>,
}

impl Worker {
    fn run(mut self) {
        self.prepare_thread();
        let spin_ns = u64::try_from(self.settings.spin.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let seen = self.shared.wake.load(Ordering::SeqCst);
            if self.shared.stop.load(Ordering::SeqCst) {
                return;
            }
            self.take_offers();
            let Some(slot) = self.book.next_due() else {
                self.sleep(seen, u64::MAX, None);
                continue;
            };
            let slot_ns = self.settings.grid.time_of(slot);
            let wake_ns = slot_ns.saturating_sub(spin_ns);
            if monotonic_ns() < wake_ns {
                self.sleep(seen, slot, Some(wake_ns));
                continue;
            }
            while monotonic_ns() < slot_ns {
                std::hint::spin_loop();
            }
            self.take_offers();
            self.serve(slot, slot_ns);
        }
    }

    fn prepare_thread(&self) {
        let exact = schedule::set_exact_timers();
        let pinned = self.settings.core.map_or(Ok(()), schedule::pin_to_core);
        let prioritised = self.settings.priority.map_or(Ok(()), schedule::set_fifo);
        for error in [exact, pinned, prioritised].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "the sender thread is less exact than asked for");
        }
    }

    fn take_offers(&mut self) {
        while let Ok(Offer { batch, spare }) = self.incoming.pop() {
            let replaced = spare.and_then(|spare| self.book.add_spare(spare, monotonic_ns()));
            if let Some(replaced) = replaced {
                self.shared.counters.spares_done.fetch_add(1, Ordering::Release);
                self.recycle(replaced);
            }
            if batch.runs.iter().any(|run| !run.packets.is_empty()) {
                let passed = self.book.add_batch(batch, monotonic_ns());
                self.shared.counters.missed.fetch_add(u64::from(passed), Ordering::Relaxed);
            }
        }
    }

    /// Sleeps until `until_ns` or until the main loop hands over something for a slot before `until_slot`.
    fn sleep(&self, seen: u32, until_slot: u64, until_ns: Option<u64>) {
        self.shared.sleeps_until.store(until_slot, Ordering::Relaxed);
        // Pairs with the fence in `hand_over`.
        fence(Ordering::SeqCst);
        if self.incoming.is_empty() {
            let deadline = until_ns.map(timespec);
            // A wait until an absolute time of CLOCK_MONOTONIC, as clock_nanosleep(TIMER_ABSTIME) is, that the main
            // loop can end. All its errors (time over, woken, signal) mean to look again.
            let _ =
                futex::wait_bitset(&self.shared.wake, futex::Flags::PRIVATE, seen, deadline.as_ref(), NonZeroU32::MAX);
        }
        self.shared.sleeps_until.store(0, Ordering::Relaxed);
    }

    fn serve(&mut self, slot: u64, slot_ns: u64) {
        let before_ns = monotonic_ns();
        let mut pieces = std::mem::take(&mut self.pieces);
        let decision = self.book.decide(slot, before_ns, &mut pieces);
        let counters = &self.shared.counters;
        if decision.missed {
            counters.missed.fetch_add(1, Ordering::Relaxed);
        } else if !pieces.is_empty() {
            for piece in &pieces {
                if let Some(refusal) = send(counters, piece, self.settings.packet_bytes) {
                    // A full ring means that the main loop has not looked for a while; the counter has it.
                    let _ = self.refusals.push(refusal);
                }
            }
            let after_ns = monotonic_ns();
            let lateness = Lateness::new(slot_ns, before_ns, after_ns);
            counters.note_slot(lateness, &decision);
            self.shared.log.push(lateness);
        }
        for piece in pieces.drain(..) {
            if let Some(lane) = piece.prepared_lane {
                let packets = piece.packets.len() / self.settings.packet_bytes.max(1);
                self.shared.counters.add_lane_packets(lane, packets as u64);
            }
            self.give_back(piece.packets);
        }
        self.pieces = pieces;
        if let Some(spare) = decision.unused_spare {
            self.recycle(spare);
        }
        let counters = &self.shared.counters;
        counters.batches_done.fetch_add(decision.batches_done, Ordering::Release);
        counters.spares_done.fetch_add(decision.spares_done, Ordering::Release);
    }

    fn recycle(&mut self, batch: Batch) {
        for run in batch.runs {
            self.give_back(run.packets);
        }
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() > 0 {
            // A full ring means that the main loop needs none; the buffer is freed.
            let _ = self.free.push(buffer);
        }
    }
}

/// Sends packets, and counts what became of them.
fn send(counters: &Counters, piece: &Piece, packet_bytes: usize) -> Option<Unreachable> {
    let packets = (piece.packets.len() / packet_bytes.max(1)) as u64;
    let Way { socket, from, to } = &piece.way;
    let (counter, refusal) = match socket.send_batch_from(*from, *to, &piece.packets, packet_bytes) {
        Ok(sent) => {
            counters.sent.fetch_add(sent.packets as u64, Ordering::Relaxed);
            counters.blocked.fetch_add(packets.saturating_sub(sent.packets as u64), Ordering::Relaxed);
            return None;
        }
        Err(SendError::TooNarrow { .. }) => (&counters.too_narrow, None),
        Err(SendError::Unreachable(_)) => {
            (&counters.unreachable, Some(Unreachable { way: piece.way.clone(), packets }))
        }
        Err(SendError::System(_)) => (&counters.failed, None),
    };
    counter.fetch_add(packets, Ordering::Relaxed);
    refusal
}

#[cfg(test)]
mod tests;
