//! The slot clock of an exit. **Here the secret meets the clock**, with `shaped_node`'s `exit/slots.rs`: while there is a tunnel
//! the queues are read for a slot and at no other time, and what they hold decides about the inside of cells alone (I10).

use super::boot::BootSlots;
use flow_queue::QueueSide;
use link::{Now, Route, Via};
use os_net::clock::{MonotonicAnchor, monotonic_ns};
use os_net::schedule;
use os_net::slot_sender::{Batch, Grid, Run, Settings, SlotSender, Statistics, Unreachable, Way};
use os_net::udp::UdpSocket;
use relay_node::RelayNode;
use shaped_node::{CircuitExit, SHARES_MAX, SlotPlan};
use shaped_tunnel::aligned_grid;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// When slots are, and who sends at them.
pub(super) struct SlotClock {
    sender: SlotSender,
    grid: Grid,
    anchor: MonotonicAnchor,
    lead: Duration,
    /// The links of an exit do not hop: all leave from its door.
    door: Arc<UdpSocket>,
    plan: SlotPlan,
    /// The next slot for which packets are made.
    next: Option<u64>,
    /// No slot up to this one is made again.
    made: u64,
    spares_sent: u64,
}

impl SlotClock {
    /// Starts the sender thread; to be called when the process has given up what it will not need.
    pub(super) fn start(
        slots: &BootSlots,
        core: Option<usize>,
        door: UdpSocket,
        packet_bytes: usize,
    ) -> io::Result<Self> {
        let grid = aligned_grid(slots.slot_ms);
        let settings = Settings {
            spin: Duration::from_micros(slots.spin_us),
            lanes: SHARES_MAX,
            priority: slots.realtime,
            core,
            ..Settings::new(grid, packet_bytes)
        };
        let sender = SlotSender::start(&settings).map_err(io::Error::other)?;
        if let Some(priority) = slots.realtime
            && let Err(error) = schedule::set_fifo(priority.saturating_sub(1).max(1))
        {
            warn!(%error, "the loop that makes packets has no real-time priority");
        }
        Ok(Self {
            sender,
            grid,
            anchor: MonotonicAnchor::now(),
            lead: Duration::from_micros(slots.lead_us),
            door: Arc::new(door),
            plan: SlotPlan::default(),
            next: None,
            made: 0,
            spares_sent: 0,
        })
    }

    /// What the sender has done.
    pub(super) fn statistics(&self) -> Statistics {
        self.sender.statistics()
    }

    /// When packets are to be made.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next.map(|slot| self.make_at(slot))
    }

    /// In each turn of the loop: makes the packets of a slot if it is time, and finds the next one.
    pub(super) fn turn(&mut self, now: Now, exit: &mut CircuitExit<QueueSide>, node: &mut RelayNode) {
        self.schedule(exit);
        match self.next {
            Some(slot) if now.instant >= self.make_at(slot) => {
                self.make_slot(now, slot, exit, node);
                self.schedule(exit);
            }
            Some(_) => {}
            // Without a tunnel there is nothing that anybody could learn.
            None => exit.handle_queues(now),
        }
    }

    /// Finds the next slot whose packets can still be made in time.
    fn schedule(&mut self, exit: &CircuitExit<QueueSide>) {
        let reachable = self.grid.first_slot_after(monotonic_ns()).max(self.made + 1);
        let from = self.next.map_or(reachable, |next| next.min(reachable).max(self.made + 1));
        self.next = exit.next_busy_slot(from);
    }

    /// When the packets of a slot are made.
    fn make_at(&self, slot: u64) -> Instant {
        let at = self.anchor.instant_of(self.grid.time_of(slot));
        at.checked_sub(self.lead).unwrap_or(at)
    }

    /// Reads the queues, makes the packets of a slot, and hands them over.
    fn make_slot(&mut self, now: Now, slot: u64, exit: &mut CircuitExit<QueueSide>, node: &mut RelayNode) {
        (self.made, self.next) = (slot, None);
        while let Some(Unreachable { way, packets }) = self.sender.poll_unreachable() {
            node.handle_send_refused(now, Route { via: Via::DOOR, from: way.from, to: way.to }, packets);
        }
        exit.handle_timeout(now, node);
        exit.handle_queues(now);
        let spares_sent = self.sender.statistics().cover_packets;
        let spare_used = spares_sent > std::mem::replace(&mut self.spares_sent, spares_sent);
        let sender = &self.sender;
        let late = |lane| sender.unsent_packets(lane);
        exit.prepare_slot(now, slot, spare_used, &late, node, &mut self.plan);
        let door = &self.door;
        let to_send = |run: shaped_node::Run| {
            let way = Way { socket: Arc::clone(door), from: run.to.from, to: run.to.to };
            Run { lane: run.lane, way, packets: run.packets }
        };
        let batch = Batch { slot, runs: self.plan.runs.drain(..).map(to_send).collect() };
        let spare = self.plan.next.map(|slot| Batch { slot, runs: self.plan.spare.drain(..).map(to_send).collect() });
        if let Err(refused) = self.sender.hand_over(batch, spare) {
            // Sixteen batches wait: the machine has stood still for many slots. What was sealed is lost as if on the network,
            // and the sessions repeat it.
            warn!(reason = %refused.reason, "the sender is far behind; packets of a slot are given up");
        }
    }
}
