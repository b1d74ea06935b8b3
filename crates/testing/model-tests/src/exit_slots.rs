//! The slot clock of an exit on virtual time: what its shell does with the plans of slots, late ones included.

use crate::leaks::Leak;
use crate::memory_queues::MemoryQueues;
use link::Now;
use shaped_node::{CircuitExit, Circuits, Run, SlotPlan};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A packet of a slot: its lane, where it goes, and its bytes.
type Made = (usize, SocketAddr, Vec<u8>);
/// How late a leaking shell sends a slot with data.
const LATER: Duration = Duration::from_micros(50);

/// What leaves, and when.
pub struct Departure {
    /// Not before the present.
    pub at: Instant,
    /// Where to.
    pub to: SocketAddr,
    /// One packet.
    pub bytes: Vec<u8>,
}

/// Makes the packets of each slot at the slot and sends them, or, if the slot is late, the spare in their place.
pub struct SlotDriver {
    start: Instant,
    slot: Duration,
    /// The newest slot that was made.
    made: u64,
    plan: SlotPlan,
    spare_used: bool,
    /// Packets of late slots, which go before those of the next.
    waiting: VecDeque<Made>,
    packet_bytes: usize,
    /// One slot of so many is late; 0: none is.
    pub late_every: u64,
    /// What this shell does wrong.
    pub leak: Option<Leak>,
}

impl SlotDriver {
    /// Slot 0 is at `start`.
    pub fn new(start: Instant, slot: Duration, packet_bytes: usize) -> Self {
        Self {
            start,
            slot,
            made: 0,
            plan: SlotPlan::default(),
            spare_used: false,
            waiting: VecDeque::new(),
            packet_bytes,
            late_every: 0,
            leak: None,
        }
    }

    fn time_of(&self, slot: u64) -> Instant {
        self.start + self.slot * u32::try_from(slot).expect("a short run")
    }

    fn next_slot(&self, now: Instant, exit: &CircuitExit<MemoryQueues>) -> Option<u64> {
        let passed = now.saturating_duration_since(self.start).as_nanos() / self.slot.as_nanos();
        let reachable = if self.time_of(passed as u64) < now { passed as u64 + 1 } else { passed as u64 };
        exit.next_busy_slot(reachable.max(self.made + 1))
    }

    /// When there is something to do.
    pub fn next_time(&self, now: Instant, exit: &CircuitExit<MemoryQueues>) -> Option<Instant> {
        self.next_slot(now, exit).map(|slot| self.time_of(slot))
    }

    /// Lets the present slot pass, if it is one. Reads the queues then, and at no other time while there are tunnels.
    pub fn turn(
        &mut self,
        now: Now,
        exit: &mut CircuitExit<MemoryQueues>,
        circuits: &mut impl Circuits,
    ) -> Vec<Departure> {
        let Some(slot) = self.next_slot(now.instant, exit) else {
            exit.handle_queues(now);
            return Vec::new();
        };
        if self.time_of(slot) > now.instant {
            return Vec::new();
        }
        self.made = slot;
        let before = data_cells(exit);
        let mut spare = packets(std::mem::take(&mut self.plan.spare), self.packet_bytes);
        exit.handle_timeout(now, circuits);
        exit.handle_queues(now);
        let waiting = &self.waiting;
        let late = |lane: usize| waiting.iter().filter(|(of, ..)| *of == lane).count() as u64;
        let spare_used = std::mem::take(&mut self.spare_used);
        exit.prepare_slot(now, slot, spare_used, &late, circuits, &mut self.plan);
        let has_data = data_cells(exit) > before;
        let made = packets(std::mem::take(&mut self.plan.runs), self.packet_bytes);
        let mut leaving: Vec<Made> = self.waiting.drain(..).collect();
        let is_late = self.late_every > 0 && slot.is_multiple_of(self.late_every) && !spare.is_empty();
        if is_late {
            // Of each lane as many as it has in this slot: what waited, then of the spare.
            for lane in leaving.iter().map(|(lane, ..)| *lane).collect::<Vec<_>>() {
                if let Some(place) = spare.iter().position(|(of, ..)| *of == lane) {
                    spare.remove(place);
                }
            }
            leaving.append(&mut spare);
            self.waiting.extend(made);
            self.spare_used = true;
        } else {
            leaving.extend(made);
        }
        match self.leak {
            // Late, and nothing to stand in: the slot goes without its packets.
            Some(Leak::SpareNeverReady) if has_data => leaving.clear(),
            Some(Leak::LongerWithData) if has_data => leaving.iter_mut().for_each(|(.., bytes)| bytes.extend([0; 16])),
            _ => {}
        }
        let delay = if has_data && self.leak == Some(Leak::LaterWithData) { LATER } else { Duration::ZERO };
        let departure = |(_, to, bytes)| Departure { at: now.instant + delay, to, bytes };
        leaving.into_iter().map(departure).collect()
    }
}

fn data_cells(exit: &CircuitExit<MemoryQueues>) -> u64 {
    exit.status().counters["data_cells_sent"]
}

fn packets(runs: Vec<Run>, packet_bytes: usize) -> Vec<Made> {
    let of_run = |run: Run| {
        let packets: Vec<Vec<u8>> = run.packets.chunks(packet_bytes).map(<[u8]>::to_vec).collect();
        packets.into_iter().map(move |bytes| (run.lane, run.to.to, bytes))
    };
    runs.into_iter().flat_map(of_run).collect()
}
