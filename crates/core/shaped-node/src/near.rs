//! The near side: the queues to the unshaped process and the flows in them.

use crate::flow::{Far, Flow, FlowTable};
use crate::queues::{FlowQueues, QueueFault};
use wire::flow::ResetReason;
use wire::local::LocalMessage;

/// The queues of the present generation and the state of their flows.
pub(crate) struct Near<Q> {
    queues: Option<Q>,
    pub(crate) table: FlowTable,
    assigns: bool,
    fault: Option<QueueFault>,
    pub(crate) datagrams_dropped: u64,
}

impl<Q: FlowQueues> Near<Q> {
    /// `assigns`: this side hands out queue pairs (the exit's).
    pub(crate) fn new(assigns: bool) -> Self {
        Self { queues: None, table: FlowTable::default(), assigns, fault: None, datagrams_dropped: 0 }
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
    pub(crate) fn insert(&mut self, flow: Flow) -> bool {
        self.table.insert(flow)
    }
}
