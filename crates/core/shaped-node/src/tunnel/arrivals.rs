//! Flows that the other node opened: each gets a queue pair, at once or as soon as one is given back.

use super::Tunnel;
use crate::flow::{Far, Flow};
use crate::near::Near;
use crate::queues::FlowQueues;
use session::FlowId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::flow::{ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

/// How long a flow waits for a queue pair. The other node uses its own again as soon as a flow is over there, while
/// the flow's last bytes are on their way to a server here.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Flows that wait at once, as many as there can be queue pairs; further ones are refused at once.
const WAITING_MAX: usize = 4096;

/// Flows that wait for a queue pair, oldest first.
#[derive(Default)]
pub(super) struct Arrivals(VecDeque<Arrival>);

struct Arrival {
    far: FlowId,
    syn: Syn,
    until: Instant,
}

impl Arrivals {
    /// The other node gave one up.
    pub(super) fn forget(&mut self, far: FlowId) {
        self.0.retain(|arrival| arrival.far != far);
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = FlowId> {
        std::mem::take(&mut self.0).into_iter().map(|arrival| arrival.far)
    }
}

impl Tunnel {
    /// When the first of the flows that wait for a queue pair is refused.
    pub(crate) fn arrivals_due(&self) -> Option<Instant> {
        self.arrivals.0.front().map(|arrival| arrival.until)
    }

    /// The other node opened a flow: it gets a queue pair, waits for one, or is refused.
    pub(super) fn handle_opened<Q: FlowQueues>(&mut self, now: Instant, far: FlowId, syn: Syn, near: &mut Near<Q>) {
        let led = self.ports.as_ref().map_or_else(|| Ok(syn.clone()), |ports| ports.lead(syn.clone()));
        let syn = match led {
            Ok(syn) => syn,
            Err(reason) => return self.session.reset(far, reason),
        };
        if !near.is_attached() {
            self.session.reset(far, ResetReason::TunnelLost);
        } else if self.room == 0 {
            self.session.reset(far, ResetReason::NoMemory);
        } else if self.arrivals.0.len() >= WAITING_MAX {
            self.session.reset(far, ResetReason::TooManyFlows);
        } else {
            self.arrivals.0.push_back(Arrival { far, syn, until: now + WAIT_MAX });
            self.serve_arrivals(now, near);
        }
    }

    /// Gives free queue pairs to flows that wait, and refuses those that have waited long enough.
    pub(super) fn serve_arrivals<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>) {
        while !self.arrivals.0.is_empty()
            && let Some(queue) = near.queues().and_then(FlowQueues::allocate)
            && let Some(Arrival { far, syn, .. }) = self.arrivals.0.pop_front()
        {
            self.take_in(now, far, queue, syn, near);
        }
        while let Some(late) = self.arrivals.0.pop_front_if(|arrival| arrival.until <= now) {
            self.session.reset(late.far, ResetReason::TooManyFlows);
        }
    }

    fn take_in<Q: FlowQueues>(&mut self, now: Instant, far: FlowId, queue: QueueRef, syn: Syn, near: &mut Near<Q>) {
        let flow = Flow::new(queue, self.owner, syn.client, syn.kind, Far::Open(far));
        if !near.insert(flow) {
            self.session.reset(far, ResetReason::TooManyFlows);
            return;
        }
        self.by_far.insert(far, queue.index);
        near.send(&LocalMessage::Syn(queue, syn));
        // What came while it waited has been announced already.
        self.pump_in(now, queue.index, near);
    }
}
