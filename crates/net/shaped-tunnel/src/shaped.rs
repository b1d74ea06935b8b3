//! The loop of shaped modes. **Here the secret meets the clock**, with `shaped_node::slots`: this loop wakes
//! for the slot clock, for packets from the network and for the supervisor, and for nothing else. In
//! particular it never watches the doorbell of the queues (I10).

use crate::driven::Driven;
use crate::process::{Going, Pace, RunError, Shell, now};
use link::Now;
use os_net::clock::{MonotonicAnchor, monotonic_ns, unix_time};
use os_net::schedule;
use os_net::slot_sender::{Batch, Grid, Run, Settings, SlotSender, Unreachable};
use os_net::udp::RecvBuffers;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shaped_node::SlotPlan;
use std::time::{Duration, Instant};
use tracing::warn;

/// Slots between the start of the process and the grid's first one.
const FIRST_SLOT_AFTER: u64 = 4;

/// State of the loop.
pub(crate) struct ShapedLoop<'a, N> {
    shell: &'a mut Shell<N>,
    sender: SlotSender,
    grid: Grid,
    anchor: MonotonicAnchor,
    lead: Duration,
    buffers: RecvBuffers,
    plan: SlotPlan,
    /// The next slot for which packets are made.
    next: Option<u64>,
    /// No slot up to this one is made again.
    made: u64,
    spares_sent: u64,
}

impl<'a, N: Driven> ShapedLoop<'a, N> {
    /// Confines the process, starts the sender thread and says that all is ready.
    pub(crate) fn start(shell: &'a mut Shell<N>, pace: &Pace) -> Result<Self, RunError> {
        // Before the sender thread exists: a thread is confined by what its parent had given up.
        shell.confine(pace);
        let grid = aligned_grid(pace.slot_ms);
        let settings = Settings {
            spin: Duration::from_micros(pace.spin_us),
            lanes: shell.node.lanes(),
            priority: pace.realtime,
            core: pace.core,
            ..Settings::new(grid, shell.packet_bytes)
        };
        let sender = SlotSender::start(&settings).map_err(|error| RunError::Setup(std::io::Error::other(error)))?;
        if let Some(priority) = pace.realtime
            && let Err(error) = schedule::set_fifo(priority.saturating_sub(1).max(1))
        {
            warn!(%error, "the loop that makes packets has no real-time priority");
        }
        shell.ready();
        Ok(Self {
            shell,
            sender,
            grid,
            anchor: MonotonicAnchor::now(),
            lead: Duration::from_micros(pace.lead_us),
            buffers: RecvBuffers::new(),
            plan: SlotPlan::default(),
            next: None,
            made: 0,
            spares_sent: 0,
        })
    }

    pub(crate) fn run(mut self) -> Result<(), RunError> {
        loop {
            self.schedule();
            self.wait()?;
            self.shell.receive(&mut self.buffers)?;
            let now = now();
            if self.next.is_some_and(|slot| self.due(slot, now.instant)) {
                self.make_slot();
            } else if self.next.is_none() {
                self.shell.node.handle_timeout_if_due(now);
                self.shell.node.handle_queues(now);
            }
            self.shell.drain_events();
            self.report(now);
            if self.shell.handle_channel()? == Going::Ended {
                return Ok(());
            }
        }
    }

    /// Finds the next slot whose packets can still be made in time.
    fn schedule(&mut self) {
        let reachable = self.grid.first_slot_after(monotonic_ns()).max(self.made + 1);
        let from = self.next.map_or(reachable, |next| next.min(reachable).max(self.made + 1));
        self.next = self.shell.node.next_busy_slot(from);
    }

    fn due(&self, slot: u64, now: Instant) -> bool {
        now >= self.make_at(slot)
    }

    /// When the packets of a slot are made.
    fn make_at(&self, slot: u64) -> Instant {
        let at = self.anchor.instant_of(self.grid.time_of(slot));
        at.checked_sub(self.lead).unwrap_or(at)
    }

    /// Reads the queues, makes the packets of the next slot, and hands them over.
    fn make_slot(&mut self) {
        let Some(slot) = self.next.take() else { return };
        self.made = slot;
        while let Some(Unreachable { way, packets }) = self.sender.poll_unreachable() {
            self.shell.handle_unreachable(&way, packets);
        }
        let now = now();
        self.shell.node.handle_timeout(now);
        self.shell.node.handle_queues(now);
        let spares_sent = self.sender.statistics().cover_packets;
        let spare_used = spares_sent > std::mem::replace(&mut self.spares_sent, spares_sent);
        let sender = &self.sender;
        let late = |lane| sender.unsent_packets(lane);
        self.shell.node.prepare_slot(now, slot, spare_used, &late, &mut self.plan);
        let sockets = &self.shell.sockets;
        let to_send = |run: shaped_node::Run| Run { lane: run.lane, way: sockets.way(run.to), packets: run.packets };
        let batch = Batch { slot, runs: self.plan.runs.drain(..).map(to_send).collect() };
        let spare = self.plan.next.map(|slot| Batch { slot, runs: self.plan.spare.drain(..).map(to_send).collect() });
        if let Err(refused) = self.sender.hand_over(batch, spare) {
            // Sixteen batches wait: the machine has stood still for many slots. What was sealed is lost as
            // if on the network, and the session repeats it.
            warn!(reason = %refused.reason, "the sender is far behind; packets of a slot are given up");
        }
    }

    /// Sleeps until the next slot is to be made, or a packet or the supervisor comes.
    fn wait(&self) -> Result<(), RunError> {
        let longest = self.shell.sleep_max();
        let until =
            self.next.map_or(longest, |slot| self.make_at(slot).saturating_duration_since(Instant::now())).min(longest);
        let timeout = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: i64::from(until.subsec_nanos()) };
        let mut watched = self.shell.sockets.watched(PollFlags::IN);
        watched.push(PollFd::new(self.shell.channel(), PollFlags::IN));
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(RunError::Socket(error.into())),
        }
    }

    fn report(&mut self, now: Now) {
        if self.shell.reporter.is_due(now.instant) {
            self.shell.reporter.slots(self.sender.statistics());
            self.shell.report(now);
        }
    }
}

/// A grid whose slots lie at whole multiples of the slot length in UTC, as all nodes of the network have it. It begins some
/// slots from now.
pub fn aligned_grid(slot_ms: u32) -> Grid {
    let slot_ns = u64::from(slot_ms) * 1_000_000;
    let unix_ns = u64::try_from(unix_time().as_nanos()).unwrap_or(0);
    let to_next = slot_ns - unix_ns % slot_ns;
    Grid { t0_ns: monotonic_ns() + to_next + FIRST_SLOT_AFTER * slot_ns, slot_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_that_of_utc() {
        for slot_ms in [1, 5, 10, 50] {
            let grid = aligned_grid(slot_ms);
            let unix_ns = unix_time().as_nanos() as i128 - i128::from(monotonic_ns());
            let off = (i128::from(grid.t0_ns) + unix_ns).rem_euclid(i128::from(grid.slot_ns));
            let off = off.min(i128::from(grid.slot_ns) - off);
            assert!(off < 500_000, "{slot_ms} ms: {off} ns off");
            assert!(grid.t0_ns > monotonic_ns());
        }
    }
}
