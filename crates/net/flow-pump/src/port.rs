//! One flow's end of its queue pair.

use crate::board::Board;
use bytes::Bytes;
use flow_queue::{QueueSide, Room, Waiting};
use rustix::io::Errno;
use shaped_node::queues::{FlowQueues, QueueFault};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::Waker;
use wire::flow::ResetReason;
use wire::local::{LocalMessage, QueueRef};

/// One flow's end of its queue pair. Whatever becomes of it, the queue pair is closed properly: a port that
/// is dropped resets its flow.
///
/// Once the flow is reset or its generation is over nothing can be read or written any more;
/// [`FlowPort::reset_received`] says why. Nobody is rung before [`FlowPort::flush`].
pub struct FlowPort {
    board: Rc<Board>,
    queue: QueueRef,
}

impl FlowPort {
    pub(crate) fn new(board: Rc<Board>, queue: QueueRef) -> Self {
        Self { board, queue }
    }

    /// Has `waker` woken by the next thing that happens to the flow: a message, or a moved position.
    pub fn register(&self, waker: &Waker) {
        if let Some(slot) = self.board.state.borrow_mut().slot(self.queue) {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Why the flow is over, if the other side or the end of the generation reset it.
    pub fn reset_received(&self) -> Option<ResetReason> {
        match self.board.state.borrow_mut().slot(self.queue) {
            Some(slot) => slot.reset_received,
            None => Some(ResetReason::TunnelLost),
        }
    }

    /// Waits until the flow is reset. Cancel-safe.
    pub async fn wait_reset(&self) -> ResetReason {
        std::future::poll_fn(|context| {
            self.register(context.waker());
            match self.reset_received() {
                Some(reason) => std::task::Poll::Ready(reason),
                None => std::task::Poll::Pending,
            }
        })
        .await
    }

    /// The far end's own address, once it has answered.
    pub fn connected(&self) -> Option<SocketAddr> {
        self.board.state.borrow_mut().slot(self.queue).and_then(|slot| slot.connected)
    }

    /// Tells the other side that the destination answered.
    pub fn send_connected(&self, address: SocketAddr) {
        let mut state = self.board.state.borrow_mut();
        state.send(&LocalMessage::Connected(self.queue, address));
        state.flush();
    }

    /// Room in the out-ring, in bytes.
    pub fn room(&self) -> usize {
        self.with(|queues, index| queues.writable(index)).unwrap_or_default()
    }

    /// Writes what there is room for and returns how much that was.
    pub fn write(&self, bytes: &[u8]) -> usize {
        self.with(|queues, index| queues.write(index, bytes)).unwrap_or_default()
    }

    /// Reads at most `max` bytes from a socket straight into the out-ring, which has room. `Ok(0)`: end of file.
    pub fn fill_from(&self, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        self.transfer(|side, index| side.write_from_fd(index, socket, max))
    }

    /// Has `fill` put at most `max` bytes straight into the out-ring, which has room, and say how many. `Ok(0)`: end of file.
    pub fn fill_with(&self, max: usize, fill: impl FnOnce(&Room<'_>) -> Result<usize, Errno>) -> io::Result<usize> {
        self.transfer(|side, index| side.write_with(index, max, fill))
    }

    /// Bytes that wait in the in-ring and belong to this flow.
    pub fn unread(&self) -> usize {
        let end = self.fin_received();
        let read = self.with(|queues, index| Ok((queues.readable(index)?, queues.read_position(index))));
        let Some((readable, position)) = read else { return 0 };
        match end {
            Some(end) => readable.min(usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX)),
            None => readable,
        }
    }

    /// Whether the other side has finished and everything it wrote has been read.
    pub fn is_at_end(&self) -> bool {
        let end = self.fin_received();
        end.is_some_and(|end| self.with(|queues, index| Ok(queues.read_position(index))).is_some_and(|at| at >= end))
    }

    /// Writes at most `max` bytes, no more than [`FlowPort::unread`], from the in-ring straight into a socket.
    pub fn drain_into(&self, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        let max = max.min(self.unread());
        self.transfer(|side, index| side.read_into_fd(index, socket, max))
    }

    /// Has `take` take at most `max` bytes, no more than [`FlowPort::unread`], straight from the in-ring, and say how many.
    pub fn drain_with(&self, max: usize, take: impl FnOnce(&Waiting<'_>) -> Result<usize, Errno>) -> io::Result<usize> {
        let max = max.min(self.unread());
        self.transfer(|side, index| side.read_with(index, max, take))
    }

    /// Takes at most `max` bytes from the in-ring.
    pub fn read(&self, max: usize) -> Bytes {
        let max = max.min(self.unread());
        self.with(|queues, index| queues.read(index, max)).unwrap_or_default()
    }

    /// As [`FlowPort::read`], but leaves the bytes where they are.
    pub fn peek(&self, max: usize) -> Bytes {
        let max = max.min(self.unread());
        self.with(|queues, index| queues.peek(index, max)).unwrap_or_default()
    }

    /// Writes all parts, one behind the other, or nothing at all (false).
    #[must_use]
    pub fn write_all(&self, parts: &[&[u8]]) -> bool {
        self.with(|queues, index| queues.write_all(index, parts)).unwrap_or_default()
    }

    /// Bytes of one ring.
    pub fn ring_size(&self) -> usize {
        self.board.ring_size()
    }

    /// Half-close: nothing will be written behind what has been.
    pub fn send_fin(&self) {
        let mut state = self.board.state.borrow_mut();
        let Some(position) = state.side.as_ref().map(|side| side.write_position(self.queue.index)) else { return };
        match state.slot(self.queue) {
            Some(slot) if !slot.fin_sent && !slot.closed_sent => slot.fin_sent = true,
            Some(_) | None => return,
        }
        state.send(&LocalMessage::Fin(self.queue, position));
    }

    /// Ends the flow: in good order if both sides have finished, by a reset for `reason` otherwise.
    pub fn close(self, reason: ResetReason) {
        self.end(reason);
    }

    /// Rings the other side if it sleeps and there is something for it. To be called after a batch.
    pub fn flush(&self) {
        self.board.state.borrow_mut().flush();
    }

    fn end(&self, reason: ResetReason) {
        let at_end = self.is_at_end();
        let mut state = self.board.state.borrow_mut();
        let Some(slot) = state.slot(self.queue) else { return };
        if slot.closed_sent {
            return;
        }
        let in_order = slot.fin_sent && at_end;
        if !in_order && slot.reset_received.is_none() {
            state.send(&LocalMessage::Reset(self.queue, reason));
        }
        state.close(self.queue);
        state.flush();
        drop(state);
        self.board.announce_released();
    }

    fn fin_received(&self) -> Option<u64> {
        self.board.state.borrow_mut().slot(self.queue).and_then(|slot| slot.fin_received)
    }

    /// Moves bytes between a ring and a socket; an error of the ring ends the generation.
    fn transfer(&self, operation: impl FnOnce(&mut QueueSide, u16) -> io::Result<usize>) -> io::Result<usize> {
        let mut state = self.board.state.borrow_mut();
        let side = state.side.as_mut().ok_or(io::ErrorKind::ConnectionAborted)?;
        let moved = operation(side, self.queue.index);
        if let Err(error) = &moved
            && let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref::<QueueFault>())
        {
            state.fail(*fault);
        }
        moved
    }

    /// Runs an operation on the queues; a fault ends the generation. `None`: the generation is over.
    fn with<T>(&self, operation: impl FnOnce(&mut QueueSide, u16) -> Result<T, QueueFault>) -> Option<T> {
        let mut state = self.board.state.borrow_mut();
        match operation(state.side.as_mut()?, self.queue.index) {
            Ok(value) => Some(value),
            Err(fault) => {
                state.fail(fault);
                None
            }
        }
    }
}

impl Drop for FlowPort {
    fn drop(&mut self) {
        self.end(ResetReason::ByPeer);
    }
}
