//! The flow queues as the shaped process sees them. The shell implements this over shared memory, the
//! simulator over plain vectors; the node never knows which.

use bytes::Bytes;
use thiserror::Error;
use wire::local::{LocalMessage, QueueRef};

/// The unshaped process broke the queue protocol, or its segment is gone. The generation of queues is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QueueFault {
    /// A position in shared memory is impossible: it went back, or lies beyond the ring.
    #[error("the other process wrote an impossible ring position")]
    Position,
    /// A control message cannot be decoded, or names a queue pair that does not exist.
    #[error("the other process wrote an undecodable control message")]
    Message,
    /// More control messages are outstanding than the protocol can produce.
    #[error("the control queue is full although the protocol bounds its messages")]
    ControlFull,
}

/// One side of all queue pairs of a node. `out` is the ring that this side writes, `in` the one it reads.
/// Positions are free-running byte counts of a ring and survive the reuse of a queue pair.
pub trait FlowQueues {
    /// Number of queue pairs; indices are below it.
    fn queue_count(&self) -> u16;
    /// Bytes that are set aside for a queue pair, both directions together.
    fn pair_bytes(&self) -> u64;
    /// The next control message of the other side, if there is one.
    fn poll_message(&mut self) -> Result<Option<LocalMessage>, QueueFault>;
    /// Puts a control message; it is seen when the other side looks next.
    fn send_message(&mut self, message: &LocalMessage) -> Result<(), QueueFault>;
    /// Takes a free queue pair whose rings are both empty (assigning side only). `None`: all are taken.
    fn allocate(&mut self) -> Option<QueueRef>;
    /// Returns a queue pair after `Closed` was sent and received (assigning side only).
    fn release(&mut self, queue: QueueRef);
    /// Takes the index of a queue pair in which the other side moved a position since it was last
    /// reported. `None`: nothing moved since. May report an index without need.
    fn poll_active(&mut self) -> Option<u16>;
    /// Bytes that wait in the in-ring.
    fn readable(&mut self, index: u16) -> Result<usize, QueueFault>;
    /// Copies at most `max` bytes out of the in-ring and frees their room.
    fn read(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault>;
    /// Copies at most `max` bytes out of the in-ring without freeing their room.
    fn peek(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault>;
    /// Position up to which this side has read.
    fn read_position(&self, index: u16) -> u64;
    /// Frees the in-ring up to `position` without reading.
    fn discard(&mut self, index: u16, position: u64) -> Result<(), QueueFault>;
    /// Room in the out-ring.
    fn writable(&mut self, index: u16) -> Result<usize, QueueFault>;
    /// Writes as much of `bytes` as there is room for and returns how much that was.
    fn write(&mut self, index: u16, bytes: &[u8]) -> Result<usize, QueueFault>;
    /// Position up to which this side has written.
    fn write_position(&self, index: u16) -> u64;
    /// Wakes the other side if it sleeps and something was written, read or sent since the last call.
    /// Called once after a batch.
    fn flush(&mut self);
}
