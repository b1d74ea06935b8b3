//! Slots of a service node. **Here the secret meets the clock**: review every change of this file by hand.
//!
//! Two kinds of schedules meet in a slot. The *base* is one schedule over the links to all guards, there from the first minute to the last: it carries
//! the links' own packets, circuits that are built, introductions, and cover. Beside it each tunnel has a schedule of its own, as at an
//! exit, while it is there. Neither looks at what the other has to carry.

use super::ServiceNode;
use crate::exit::SHARES_MAX;
use crate::plan::SlotPlan;
use crate::queues::FlowQueues;
use link::Now;

impl<Q: FlowQueues> ServiceNode<Q> {
    /// Lanes that slot plans can name: one for each guard's link, then those of tunnels.
    pub fn lanes(&self) -> usize {
        self.node.lanes() + SHARES_MAX
    }

    /// The first slot at `from` or later in which this node sends something.
    pub fn next_busy_slot(&self, from: u64) -> Option<u64> {
        [self.node.next_busy_slot(from), self.exit.next_busy_slot(from)].into_iter().flatten().min()
    }

    /// Makes the packets of slot `slot` and the spare for the next busy one, as [`crate::ShapedNode::prepare_slot`] does.
    pub fn prepare_slot(
        &mut self,
        now: Now,
        slot: u64,
        spare_used: bool,
        late: &dyn Fn(usize) -> u64,
        plan: &mut SlotPlan,
    ) {
        self.hand_over_own_cells(now);
        let lanes = self.node.lanes();
        self.node.prepare_slot(now, slot, spare_used, late, plan);
        let mut tunnels = SlotPlan::default();
        let late = |lane| late(lanes + lane);
        let mut circuits = self.joined.over(&mut self.node.endpoint);
        self.exit.prepare_slot(now, slot, spare_used, &late, &mut circuits, &mut tunnels);
        let next = [plan.next, tunnels.next].into_iter().flatten().min();
        // A spare stands in for the packets of one slot. A schedule that rests in it has none there.
        if plan.next != next {
            plan.spare.clear();
            self.node.retire_spare(false);
        }
        if tunnels.next != next {
            tunnels.spare.clear();
            self.exit.retire_spare(false, &mut self.joined.over(&mut self.node.endpoint));
        }
        let behind = |mut run: crate::Run| {
            run.lane += lanes;
            run
        };
        plan.runs.extend(tunnels.runs.into_iter().map(behind));
        plan.spare.extend(tunnels.spare.into_iter().map(behind));
        plan.next = next;
    }

    /// What joined circuits say for themselves leaves in slots of the base, one cell of each link at a time.
    fn hand_over_own_cells(&mut self, now: Now) {
        let Some(circuits) = self.node.circuits.as_mut() else { return };
        let links: Vec<_> = circuits.links().copied().collect();
        for link in links {
            if circuits.takes_beside(link)
                && let Some(head) = self.joined.poll_cell_over(now, link, &mut self.region)
            {
                circuits.put_beside(link, head, &self.region);
            }
        }
    }
}
