//! Between a ring and a file descriptor without a copy in this process: the kernel reads from or writes to
//! shared memory itself. And between a ring and another ring that this crate does not know, by one copy.

use super::{RingReader, RingWriter};
use crate::cursor::Fault;
use crate::memory::View;
use crate::segment::{OtherSegment, OwnSegment, Room, Waiting};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use thiserror::Error;

/// Why nothing moved between ring and descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransferError {
    /// The other process broke the protocol of the ring.
    #[error(transparent)]
    Ring(#[from] Fault),
    /// The ring has no room, so the descriptor was not touched. Not to be mistaken for a descriptor that
    /// would block: that one wakes by itself.
    #[error("the ring is full")]
    Full,
    /// The kernel refused; `Errno::AGAIN` where the descriptor would block.
    #[error("reading or writing the descriptor failed: {0}")]
    Descriptor(Errno),
}

impl From<TransferError> for io::Error {
    /// `Ring` becomes `InvalidData`, `Full` becomes `StorageFull`, `Descriptor` keeps its number.
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Ring(fault) => Self::new(io::ErrorKind::InvalidData, fault),
            TransferError::Full => io::ErrorKind::StorageFull.into(),
            TransferError::Descriptor(errno) => errno.into(),
        }
    }
}

impl RingReader {
    /// Writes at most `max` bytes of the ring to `fd` and frees what was taken. `Ok(0)`: the ring is empty.
    pub fn read_into_fd(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        fd: BorrowedFd<'_>,
        max: usize,
    ) -> Result<usize, TransferError> {
        self.read_by(view, max, |spans| view.other.write_to_fd(fd, spans))
    }

    /// Has `take` take at most `max` bytes of the ring, which says how many it took; they are freed. `Ok(0)`: the ring is
    /// empty.
    pub fn read_with(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        max: usize,
        take: impl FnOnce(&Waiting<'_>) -> Result<usize, Errno>,
    ) -> Result<usize, TransferError> {
        self.read_by(view, max, |spans| take(&view.other.waiting(spans)))
    }

    fn read_by(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        max: usize,
        take: impl FnOnce([(usize, usize); 2]) -> Result<usize, Errno>,
    ) -> Result<usize, TransferError> {
        let count = self.cursor.unread_of(&view.other, max)?;
        if count == 0 {
            return Ok(0);
        }
        let spans = self.cursor.capacity().spans(self.position(), count);
        let spans = spans.map(|(first, length)| (self.bytes_at + first, length));
        let taken = take(spans).map_err(TransferError::Descriptor)?.min(count);
        self.cursor.publish(&view.own, taken);
        Ok(taken)
    }
}

impl RingWriter {
    /// Reads at most `max` bytes from `fd` into the ring. `Ok(0)`: end of file, or `max` is 0.
    pub fn write_from_fd(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        fd: BorrowedFd<'_>,
        max: usize,
    ) -> Result<usize, TransferError> {
        self.write_by(view, max, |spans| view.own.read_from_fd(fd, spans))
    }

    /// Has `fill` put at most `max` bytes into the ring, which says how many it put; they are published. `Ok(0)`: it had
    /// none, or `max` is 0.
    pub fn write_with(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        max: usize,
        fill: impl FnOnce(&Room<'_>) -> Result<usize, Errno>,
    ) -> Result<usize, TransferError> {
        self.write_by(view, max, |spans| fill(&view.own.room(spans)))
    }

    fn write_by(
        &mut self,
        view: &View<OwnSegment, OtherSegment>,
        max: usize,
        fill: impl FnOnce([(usize, usize); 2]) -> Result<usize, Errno>,
    ) -> Result<usize, TransferError> {
        let count = self.cursor.room_for(&view.other, max)?;
        if count == 0 {
            return if max == 0 { Ok(0) } else { Err(TransferError::Full) };
        }
        let spans = self.cursor.capacity().spans(self.position(), count);
        let spans = spans.map(|(first, length)| (self.bytes_at + first, length));
        let arrived = fill(spans).map_err(TransferError::Descriptor)?.min(count);
        if arrived > 0 {
            self.cursor.publish(&view.own, arrived);
        }
        Ok(arrived)
    }
}
