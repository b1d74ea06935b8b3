//! Mode `queue` of one direction: NetShaper's decisions on our slots, behind leave for epochs of five seconds.

use super::rules::Leave;
use super::{Grounds, ReleaseFigures};
use shaping::{DOWN_EDGE_S, QueueParameters, QueueSchedule, ReadyNoise};
use wire::grant::Grant;

#[derive(Debug)]
pub(super) struct QueuePacing {
    schedule: QueueSchedule,
    leave: Leave,
    /// The epoch whose decisions were last asked for, and whether they are paid.
    epoch: Option<(u64, bool)>,
}

impl QueuePacing {
    pub(super) fn new(parameters: QueueParameters, cost_each: u128, grounds: Grounds) -> Self {
        let schedule = QueueSchedule::new(parameters, grounds.from_slot);
        Self { schedule, leave: Leave::new(cost_each, DOWN_EDGE_S), epoch: None }
    }

    pub(super) fn handle_grant(&mut self, grant: Grant) {
        self.leave.handle_grant(grant);
    }

    /// Whether a decision is due in this slot.
    pub(super) fn is_due(&self, slot: u64) -> bool {
        self.schedule.is_due(slot)
    }

    pub(super) fn poll(&mut self, slot: u64, unix_s: u64, backlog: u64, noise: &mut impl ReadyNoise) {
        let Some(due) = self.schedule.poll(slot) else { return };
        let epoch = unix_s / DOWN_EDGE_S;
        let paid = match self.epoch {
            Some((present, paid)) if present == epoch => paid,
            _ => self.leave.take(epoch),
        };
        self.epoch = Some((epoch, paid));
        self.schedule.release(due, backlog, paid, noise);
    }

    /// Whether the budget is spent, so that the configured class is in force and not decisions.
    pub(super) fn is_spent(&self) -> bool {
        self.leave.is_spent()
    }

    /// The next slot in which a decision is due.
    pub(super) fn next_decision(&self, from: u64) -> u64 {
        self.schedule.next_decision().max(from)
    }

    pub(super) fn cells_in_slot(&self, slot: u64) -> u32 {
        self.schedule.cells_in_slot(slot)
    }

    pub(super) fn next_slot(&self, from: u64) -> u64 {
        self.schedule.next_slot(from)
    }

    pub(super) fn figures(&self) -> ReleaseFigures {
        self.leave.figures(self.schedule.counts())
    }
}
