//! Positions of a queue with one writer and one reader.
//!
//! Both positions run freely and wrap at 2^64: the queue is empty when they are equal and full when they
//! differ by the capacity, so no slot and no counter is lost to tell the two apart. Each side keeps its own
//! position privately and publishes it; of the other's it keeps the last value that was possible.

use crate::memory::{Readable, Writable};
use std::sync::atomic::Ordering;
use thiserror::Error;

/// The other side broke the protocol of the queue. Nothing that it wrote can be trusted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// A position went back, or says that more was read than written or more written than fits.
    #[error("the other side published an impossible position")]
    Position,
}

/// Units (bytes or messages) that a queue holds: a power of two, 1 to 2^62.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity(u64);

/// The number is no power of two, or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a queue's capacity must be a power of two of at most 2^62")]
pub struct CapacityError;

impl Capacity {
    /// Checks `units`.
    pub const fn new(units: u64) -> Result<Self, CapacityError> {
        if units.is_power_of_two() && units <= 1 << 62 { Ok(Self(units)) } else { Err(CapacityError) }
    }

    /// The number of units.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Where `position` lies in the queue's storage.
    #[inline]
    pub(crate) const fn index(self, position: u64) -> usize {
        (position & (self.0 - 1)) as usize
    }

    /// The run of `count` units from `position`: first unit and length, before and behind the wrap.
    #[inline]
    pub(crate) fn spans(self, position: u64, count: usize) -> [(usize, usize); 2] {
        debug_assert!(count as u64 <= self.0);
        let first = self.index(position);
        let length = count.min(self.0 as usize - first);
        [(first, length), (0, count - length)]
    }
}

/// The writer's half of a queue's positions.
#[derive(Debug)]
pub(crate) struct WriteCursor {
    capacity: Capacity,
    /// Offset of our word in our segment.
    write_at: usize,
    /// Offset of the reader's word in the reader's segment.
    read_at: usize,
    written: u64,
    /// The newest read position that was possible.
    seen_read: u64,
}

impl WriteCursor {
    pub(crate) fn new(capacity: Capacity, write_at: usize, read_at: usize, start: u64) -> Self {
        Self { capacity, write_at, read_at, written: start, seen_read: start }
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.written
    }

    #[inline]
    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Room as far as we know without looking: never more than there is.
    #[inline]
    pub(crate) fn known_room(&self) -> usize {
        (self.capacity.0 - self.written.wrapping_sub(self.seen_read)) as usize
    }

    /// Looks at the reader's position and returns the room.
    pub(crate) fn refresh<R: Readable>(&mut self, other: &R) -> Result<usize, Fault> {
        let read = other.load(self.read_at, Ordering::Acquire);
        let unread = self.written.wrapping_sub(self.seen_read);
        if read.wrapping_sub(self.seen_read) > unread {
            return Err(Fault::Position);
        }
        self.seen_read = read;
        Ok(self.known_room())
    }

    /// Room for `wanted` units or, where that is less, all the room there is.
    pub(crate) fn room_for<R: Readable>(&mut self, other: &R, wanted: usize) -> Result<usize, Fault> {
        let known = self.known_room();
        if known >= wanted { Ok(wanted) } else { Ok(self.refresh(other)?.min(wanted)) }
    }

    /// Shows the reader `units` more. They were copied in before, and fit.
    pub(crate) fn publish<W: Writable>(&mut self, own: &W, units: usize) {
        debug_assert!(units <= self.known_room());
        self.written = self.written.wrapping_add(units as u64);
        own.store(self.write_at, self.written, Ordering::Release);
    }
}

/// The reader's half of a queue's positions.
#[derive(Debug)]
pub(crate) struct ReadCursor {
    capacity: Capacity,
    /// Offset of the writer's word in the writer's segment.
    write_at: usize,
    /// Offset of our word in our segment.
    read_at: usize,
    read: u64,
    /// The newest write position that was possible.
    seen_written: u64,
}

impl ReadCursor {
    pub(crate) fn new(capacity: Capacity, write_at: usize, read_at: usize, start: u64) -> Self {
        Self { capacity, write_at, read_at, read: start, seen_written: start }
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.read
    }

    #[inline]
    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Unread units as far as we know without looking: never more than there are.
    #[inline]
    pub(crate) fn known_unread(&self) -> usize {
        self.seen_written.wrapping_sub(self.read) as usize
    }

    /// Looks at the writer's position and returns the number of unread units.
    pub(crate) fn refresh<R: Readable>(&mut self, other: &R) -> Result<usize, Fault> {
        let written = other.load(self.write_at, Ordering::Acquire);
        let room = self.capacity.0 - self.seen_written.wrapping_sub(self.read);
        if written.wrapping_sub(self.seen_written) > room {
            return Err(Fault::Position);
        }
        self.seen_written = written;
        Ok(self.known_unread())
    }

    /// `wanted` units or, where that is less, all that there are.
    pub(crate) fn unread_of<R: Readable>(&mut self, other: &R, wanted: usize) -> Result<usize, Fault> {
        let known = self.known_unread();
        if known >= wanted { Ok(wanted) } else { Ok(self.refresh(other)?.min(wanted)) }
    }

    /// Whether the writer's word differs from what we last took over. Decides only about sleeping.
    pub(crate) fn moved<R: Readable>(&self, other: &R) -> bool {
        other.load(self.write_at, Ordering::Acquire) != self.seen_written
    }

    /// Gives the room of `units` back to the writer. They were copied out before.
    pub(crate) fn publish<W: Writable>(&mut self, own: &W, units: usize) {
        debug_assert!(units <= self.known_unread());
        self.read = self.read.wrapping_add(units as u64);
        own.store(self.read_at, self.read, Ordering::Release);
    }
}
