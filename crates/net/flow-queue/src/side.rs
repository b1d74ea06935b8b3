//! One side of all queue pairs.

mod queues;
mod waiting;

use crate::free::FreePairs;
use crate::geometry::Geometry;
use crate::layout::{ACTIVITY_AT, HEADER_WORDS, Layout, SLEEP_AT};
use crate::segments::{DESCRIPTORS, Side};
use crate::uses::Uses;
use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use shaped_node::queues::QueueFault;
use shm_ring::{
    ActivityWatch, ActivityWriter, Bell, ControlReader, ControlWriter, Fault, OtherSegment, OwnSegment, Readable,
    RingReader, RingWriter, Ringer, Room, SegmentError, Sleeper, TransferError, View, Waiting, Waker,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;
use wire::local::MESSAGE_LEN;

/// Reads shorter than this share a block of memory; longer ones get their own.
const OWN_BLOCK_BYTES: usize = 4096;
/// Size of a shared block. It lives until the last read from it is dropped, so it is not large.
const SHARED_BLOCK_BYTES: usize = 16 * 1024;

/// Why a side could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The wrong number of descriptors was handed over.
    #[error("a side of the flow queues has 4 descriptors, not {0}")]
    Descriptors(usize),
    /// A segment cannot be mapped.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A segment was made for another geometry, generation or side.
    #[error("the flow queues' segment was made for another configuration or generation")]
    Mismatch,
    /// The segments could not be made in the first place.
    #[error("the flow queues could not be made: {0}")]
    Environment(io::ErrorKind),
}

/// One side of all queue pairs of a node, over shared memory. `out` rings are written by this side, `in`
/// rings read by it.
///
/// Methods that take an `index` panic if it is not below [`queue_count`](shaped_node::queues::FlowQueues::queue_count).
#[derive(Debug)]
pub struct QueueSide {
    layout: Layout,
    view: View<OwnSegment, OtherSegment>,
    pairs: Vec<Pair>,
    control_out: ControlWriter<MESSAGE_LEN>,
    control_in: ControlReader<MESSAGE_LEN>,
    activity: ActivityWriter,
    changes: Changes,
    uses: Uses,
    /// Only on the assigning side.
    free: Option<FreePairs>,
    sleeper: Sleeper,
    bell: Arc<Bell>,
    waker: Waker,
    ringer: Ringer,
    /// Something was published that the other side may sleep on.
    unannounced: bool,
    /// What short reads are cut from.
    block: BytesMut,
}

#[derive(Debug)]
struct Pair {
    out: RingWriter,
    input: RingReader,
    /// The other side's positions (write, read) when the pair was last reported as active.
    reported: (u64, u64),
}

/// How far the present pass over the activity words has come.
#[derive(Debug)]
struct Changes {
    watch: ActivityWatch,
    /// Next group to look at in this pass.
    next_group: usize,
    /// Queues of the group before that which are still to be reported, one bit each.
    pending: u64,
}

impl QueueSide {
    /// Maps the segments behind `fds` (the order is that of [`DESCRIPTORS`]) as `side`. Exactly one of the two
    /// sides `assigns`.
    pub fn open(geometry: &Geometry, side: Side, assigns: bool, fds: Vec<OwnedFd>) -> Result<Self, OpenError> {
        let count = fds.len();
        let Ok([own, other, bell, ringer]) = <[OwnedFd; DESCRIPTORS]>::try_from(fds) else {
            return Err(OpenError::Descriptors(count));
        };
        let layout = Layout::new(geometry);
        let own_again = OtherSegment::map(own.as_fd(), layout.segment_len())?;
        let view = View {
            own: OwnSegment::map(own.as_fd(), layout.segment_len())?,
            other: OtherSegment::map(other.as_fd(), layout.segment_len())?,
        };
        let is_shaped = side == Side::Shaped;
        if header(&own_again) != layout.header(is_shaped) || header(&view.other) != layout.header(!is_shaped) {
            return Err(OpenError::Mismatch);
        }
        let flows = geometry.max_flows();
        let pair = |index| Pair {
            out: RingWriter::new(layout.ring(index)),
            input: RingReader::new(layout.ring(index)),
            reported: (0, 0),
        };
        Ok(Self {
            layout,
            view,
            pairs: (0..usize::from(flows)).map(pair).collect(),
            control_out: ControlWriter::new(layout.control()),
            control_in: ControlReader::new(layout.control()),
            activity: ActivityWriter::new(ACTIVITY_AT, flows.into()),
            changes: Changes { watch: ActivityWatch::new(ACTIVITY_AT, flows.into()), next_group: 0, pending: 0 },
            uses: Uses::new(flows, geometry.queue_size(), assigns),
            free: assigns.then(|| FreePairs::new(flows)),
            sleeper: Sleeper::new(SLEEP_AT),
            bell: Arc::new(Bell::new(bell)),
            waker: Waker::new(SLEEP_AT),
            ringer: Ringer::new(ringer),
            unannounced: false,
            block: BytesMut::new(),
        })
    }

    /// Writes at most `max` bytes of the in-ring to `fd` and frees what was taken, without a copy in this
    /// process. `Ok(0)`: the ring is empty. `WouldBlock` comes from `fd`; `InvalidData` carries a
    /// [`QueueFault`].
    pub fn read_into_fd(&mut self, index: u16, fd: impl AsFd, max: usize) -> io::Result<usize> {
        let pair = &mut self.pairs[usize::from(index)];
        let moved = pair.input.read_into_fd(&self.view, fd.as_fd(), max).map_err(transfer_error)?;
        if moved > 0 {
            self.published(index);
        }
        Ok(moved)
    }

    /// Reads at most `max` bytes from `fd` into the out-ring, without a copy in this process. `Ok(0)`: end of
    /// file (or `max` is 0). `WouldBlock` comes from `fd`. `StorageFull`: the ring has no room and `fd` was not
    /// touched; room shows as activity of this queue pair. `InvalidData` carries a [`QueueFault`].
    pub fn write_from_fd(&mut self, index: u16, fd: impl AsFd, max: usize) -> io::Result<usize> {
        let pair = &mut self.pairs[usize::from(index)];
        let moved = pair.out.write_from_fd(&self.view, fd.as_fd(), max).map_err(transfer_error)?;
        if moved > 0 {
            self.published(index);
        }
        Ok(moved)
    }

    /// As [`QueueSide::read_into_fd`], by `take`, which copies at most `max` bytes by itself and says how many it took.
    pub fn read_with(
        &mut self,
        index: u16,
        max: usize,
        take: impl FnOnce(&Waiting<'_>) -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        let pair = &mut self.pairs[usize::from(index)];
        let moved = pair.input.read_with(&self.view, max, take).map_err(transfer_error)?;
        if moved > 0 {
            self.published(index);
        }
        Ok(moved)
    }

    /// As [`QueueSide::write_from_fd`], by `fill`, which copies at most `max` bytes by itself and says how many it put.
    pub fn write_with(
        &mut self,
        index: u16,
        max: usize,
        fill: impl FnOnce(&Room<'_>) -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        let pair = &mut self.pairs[usize::from(index)];
        let moved = pair.out.write_with(&self.view, max, fill).map_err(transfer_error)?;
        if moved > 0 {
            self.published(index);
        }
        Ok(moved)
    }

    /// Writes all `parts`, one behind the other, or nothing (`false`). For records of datagram flows.
    pub fn write_all(&mut self, index: u16, parts: &[&[u8]]) -> Result<bool, QueueFault> {
        let written = self.pairs[usize::from(index)].out.write_all(&self.view, parts).map_err(position)?;
        if written {
            self.published(index);
        }
        Ok(written)
    }

    /// Whether the other side has read everything that this side wrote.
    pub fn is_out_drained(&mut self, index: u16) -> Result<bool, QueueFault> {
        self.pairs[usize::from(index)].out.is_drained(&self.view).map_err(position)
    }

    /// A position of that queue pair was published.
    fn published(&mut self, index: u16) {
        self.activity.raise(&self.view.own, index.into());
        self.unannounced = true;
    }

    /// Memory for a read of at most `max` bytes of which `unread` wait.
    fn copy_out(&mut self, index: u16, max: usize, free: bool) -> Result<Bytes, QueueFault> {
        let input = &mut self.pairs[usize::from(index)].input;
        let count = input.unread(&self.view).map_err(position)?.min(max);
        if count == 0 {
            return Ok(Bytes::new());
        }
        let mut own = BytesMut::new();
        let block = if count >= OWN_BLOCK_BYTES { &mut own } else { &mut self.block };
        if block.capacity() < count {
            *block = BytesMut::with_capacity(if count >= OWN_BLOCK_BYTES { count } else { SHARED_BLOCK_BYTES });
        }
        if free { input.read_to(&self.view, count, block) } else { input.peek_to(&self.view, count, block) }
            .map_err(position)?;
        let bytes = block.split().freeze();
        if free {
            self.published(index);
        }
        Ok(bytes)
    }
}

fn header(segment: &OtherSegment) -> [u64; HEADER_WORDS] {
    std::array::from_fn(|word| segment.load(word * 8, Ordering::Acquire))
}

fn position(fault: Fault) -> QueueFault {
    match fault {
        Fault::Position => QueueFault::Position,
    }
}

fn transfer_error(error: TransferError) -> io::Error {
    match error {
        TransferError::Ring(fault) => io::Error::new(io::ErrorKind::InvalidData, position(fault)),
        error => error.into(),
    }
}
