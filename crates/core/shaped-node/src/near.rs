//! The near side: the queues to the unshaped process and the flows in them.

use crate::flow::{Far, Flow, FlowTable, Owner};
use crate::minute::Minute;
use crate::queues::{FlowQueues, QueueFault};
use std::time::Instant;
use wire::flow::ResetReason;
use wire::local::LocalMessage;

/// Most control messages taken from the queues in one call; the rest waits for the next.
const MESSAGES_PER_CALL_MAX: usize = 4096;

/// The queues of the present generation and the state of their flows.
pub(crate) struct Near<Q> {
    queues: Option<Q>,
    pub(crate) table: FlowTable,
    assigns: bool,
    /// Whether bytes may leave only after they were admitted.
    measures: bool,
    fault: Option<QueueFault>,
    /// Whether waiting times are noted: where there are slots to wait for.
    times: bool,
    pub(crate) minute: Minute,
    pub(crate) datagrams_dropped: u64,
}

impl<Q: FlowQueues> Near<Q> {
    /// `assigns`: this side hands out queue pairs (the exit's). `measures`: see [`Near::admit`]. `times`: waiting times are
    /// noted.
    pub(crate) fn new(assigns: bool, measures: bool, times: bool) -> Self {
        Self {
            queues: None,
            table: FlowTable::default(),
            assigns,
            measures,
            fault: None,
            times,
            minute: Minute::default(),
            datagrams_dropped: 0,
        }
    }

    /// Takes queues of a new generation. The flows of the old one must be over.
    pub(crate) fn attach(&mut self, queues: Q) {
        self.table = FlowTable::new(queues.queue_count());
        self.queues = Some(queues);
        self.fault = None;
    }

    /// Runs an operation on the queues. `None` when there are no queues or the operation found a fault,
    /// which ends the generation: see [`Near::take_fault`].
    pub(crate) fn with<T>(&mut self, operation: impl FnOnce(&mut Q) -> Result<T, QueueFault>) -> Option<T> {
        match operation(self.queues.as_mut()?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.queues = None;
                self.fault = Some(fault);
                None
            }
        }
    }

    /// The fault that ended the generation, once.
    pub(crate) fn take_fault(&mut self) -> Option<QueueFault> {
        self.fault.take()
    }

    pub(crate) fn queues(&mut self) -> Option<&mut Q> {
        self.queues.as_mut()
    }

    pub(crate) fn queues_ref(&self) -> Option<&Q> {
        self.queues.as_ref()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.queues.is_some()
    }

    pub(crate) fn send(&mut self, message: &LocalMessage) {
        self.with(|queues| queues.send_message(message));
    }

    /// Reads what the unshaped process wrote, for the node whose near side this is: its messages, and then which queue pairs it has
    /// filled. In shaped modes only the slot clock may lead here (I10).
    pub(crate) fn read<N>(
        node: &mut N,
        now: Instant,
        near: fn(&mut N) -> &mut Self,
        mut handle_message: impl FnMut(&mut N, LocalMessage),
        mut handle_filled: impl FnMut(&mut N, u16),
    ) {
        near(node).minute.handle_time(now);
        for _ in 0..MESSAGES_PER_CALL_MAX {
            let Some(Some(message)) = near(node).with(FlowQueues::poll_message) else { break };
            handle_message(node, message);
        }
        let bound = near(node).queues().map_or(0, |queues| queues.queue_count());
        for _ in 0..bound {
            let Some(index) = near(node).queues().and_then(FlowQueues::poll_active) else { break };
            near(node).note_filled(now, index);
            handle_filled(node, index);
        }
    }

    /// Tells the unshaped process that a flow is over, and why.
    pub(crate) fn reset(&mut self, index: u16, reason: ResetReason) {
        let Some(flow) = self.table.at(index) else { return };
        flow.far = Far::Gone;
        let (queue, silent) = (flow.queue, flow.closed_sent || flow.closed_at.is_some());
        if !silent {
            self.send(&LocalMessage::Reset(queue, reason));
        }
        self.close_if_done(index);
    }

    /// Sends `Closed` when nothing is left to move; forgets the flow when the other side has closed too.
    pub(crate) fn close_if_done(&mut self, index: u16) {
        let Some(flow) = self.table.at(index) else { return };
        if !flow.is_done() {
            return;
        }
        let (queue, closed_at, tell) = (flow.queue, flow.closed_at, !flow.closed_sent);
        flow.closed_sent = true;
        if tell && let Some(position) = self.queues().map(|queues| queues.write_position(index)) {
            self.send(&LocalMessage::Closed(queue, position));
        }
        let Some(position) = closed_at else { return };
        let assigns = self.assigns;
        self.with(|queues| {
            queues.discard(index, position)?;
            if assigns {
                queues.release(queue);
            }
            Ok(())
        });
        self.table.remove(index);
    }

    /// The unshaped process wrote `Closed`.
    pub(crate) fn handle_closed(&mut self, index: u16, position: u64) {
        let Some(flow) = self.table.at(index) else { return };
        flow.closed_at = Some(position);
        self.close_if_done(index);
    }

    /// Enters a flow that the other side or the session opened.
    pub(crate) fn insert(&mut self, mut flow: Flow) -> bool {
        if self.measures {
            flow.admitted = self.queues_ref().map_or(0, |queues| queues.read_position(flow.queue.index));
        }
        self.table.insert(flow)
    }

    /// Lets what the unshaped process wrote count as arrived, as far as `pay(client, bytes)` goes. What it does not
    /// pay stays in the ring and is asked for again. Returns the bytes that were admitted.
    pub(crate) fn admit(&mut self, index: u16, pay: impl FnOnce(u64, u64) -> u64) -> u64 {
        let Some(flow) = self.table.at(index).filter(|flow| flow.admitted < u64::MAX) else { return 0 };
        let (client, admitted) = (flow.client, flow.admitted);
        let written = self.with(|queues| Ok(queues.read_position(index) + queues.readable(index)? as u64));
        let wanted = written.map_or(0, |written| written.saturating_sub(admitted));
        let paid = if wanted > 0 { pay(client, wanted).min(wanted) } else { 0 };
        if let Some(flow) = self.table.at(index) {
            flow.admitted += paid;
        }
        paid
    }

    /// Bytes that wait in the in-rings of these flows.
    pub(crate) fn waiting_of(&mut self, of: impl Fn(Owner) -> bool) -> u64 {
        let mut bytes = 0;
        for index in self.table.indices() {
            if self.table.at(index).is_some_and(|flow| of(flow.owner)) {
                bytes += self.with(|queues| queues.readable(index)).unwrap_or(0) as u64;
            }
        }
        bytes
    }

    /// Bytes of the queue pairs that these flows have.
    pub(crate) fn set_aside_for(&self, of: impl Fn(Owner) -> bool) -> u64 {
        let flows = self.table.flows().filter(|flow| of(flow.owner)).count() as u64;
        self.queues.as_ref().map_or(0, |queues| flows * queues.pair_bytes())
    }

    /// Notes when the bytes came that are in the in-ring.
    pub(crate) fn note_filled(&mut self, now: Instant, index: u16) {
        if !self.times || self.table.at(index).is_none() {
            return;
        }
        let end = self.with(|queues| Ok(queues.read_position(index) + queues.readable(index)? as u64));
        if let Some((end, flow)) = end.zip(self.table.at(index)) {
            flow.arrived.handle_filled(now, end);
        }
    }

    /// Frees the next bytes of the in-ring, which have gone into a packet.
    pub(crate) fn take_out(&mut self, now: Instant, index: u16, bytes: u64) {
        let Some(from) = self.queues_ref().map(|queues| queues.read_position(index)) else { return };
        self.with(|queues| queues.discard(index, from + bytes));
        if self.times
            && let Some(flow) = self.table.at(index)
        {
            flow.arrived.handle_left(now, from, from + bytes, &mut self.minute);
        }
    }

    /// Bytes of the in-ring that may leave now.
    pub(crate) fn may_leave(&mut self, index: u16) -> usize {
        let Some(read) = self.queues_ref().map(|queues| queues.read_position(index)) else { return 0 };
        let admitted = self.table.at(index).map_or(0, |flow| flow.admitted);
        usize::try_from(admitted.saturating_sub(read)).unwrap_or(usize::MAX)
    }
}
