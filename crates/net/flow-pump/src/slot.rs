//! What is known about the present use of one queue pair.

use std::net::SocketAddr;
use std::task::Waker;
use wire::flow::ResetReason;
use wire::local::QueueRef;

/// One queue pair between its SYN and the second `Closed`.
///
/// A use ends when both sides have sent `Closed`. Whoever has sent and received it frees what is left in its
/// in-ring; the assigning side may then give the pair to another flow.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) queue: QueueRef,
    /// The client's number from the SYN.
    pub(crate) client: u64,
    /// The far end answered from this address.
    pub(crate) connected: Option<SocketAddr>,
    /// The other side writes up to this position.
    pub(crate) fin_received: Option<u64>,
    /// The other side, or the end of the generation, reset the flow.
    pub(crate) reset_received: Option<ResetReason>,
    pub(crate) fin_sent: bool,
    pub(crate) closed_sent: bool,
    /// The other side's last write position.
    pub(crate) closed_received: Option<u64>,
    /// Whoever serves the flow.
    pub(crate) waker: Option<Waker>,
}

impl Slot {
    pub(crate) fn new(queue: QueueRef, client: u64) -> Self {
        Self {
            queue,
            client,
            connected: None,
            fin_received: None,
            reset_received: None,
            fin_sent: false,
            closed_sent: false,
            closed_received: None,
            waker: None,
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The other side's last position, once both sides are done.
    pub(crate) fn finished(&self) -> Option<u64> {
        self.closed_received.filter(|_| self.closed_sent)
    }
}
