//! The byte ring: one writer, one reader, each in its own process.

mod transfer;

pub use transfer::TransferError;

use crate::cursor::{Capacity, Fault, ReadCursor, WriteCursor};
use crate::memory::{Readable, View, Writable};
use bytes::{BufMut, BytesMut};
use std::mem::MaybeUninit;

/// Where the parts of one ring lie. Both sides compute it from their own configuration; none of it is
/// ever taken from shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLayout {
    /// Bytes that the ring holds.
    pub capacity: Capacity,
    /// Offset of the bytes in the writer's segment.
    pub bytes_at: usize,
    /// Offset of the write position in the writer's segment, a multiple of 8.
    pub write_at: usize,
    /// Offset of the read position in the reader's segment, a multiple of 8.
    pub read_at: usize,
}

/// The writing end. Its methods take the [`View`] of the side that writes.
#[derive(Debug)]
pub struct RingWriter {
    cursor: WriteCursor,
    bytes_at: usize,
}

impl RingWriter {
    /// A writer at position 0, which is what a fresh segment holds.
    pub fn new(layout: RingLayout) -> Self {
        Self::starting_at(layout, 0)
    }

    /// A writer at `position`. Both positions must already stand in the segments.
    pub fn starting_at(layout: RingLayout, position: u64) -> Self {
        let cursor = WriteCursor::new(layout.capacity, layout.write_at, layout.read_at, position);
        Self { cursor, bytes_at: layout.bytes_at }
    }

    /// Bytes written since the ring was made.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Bytes that fit now.
    pub fn room<O, T: Readable>(&mut self, view: &View<O, T>) -> Result<usize, Fault> {
        self.cursor.refresh(&view.other)
    }

    /// Whether the reader has read everything.
    pub fn is_drained<O, T: Readable>(&mut self, view: &View<O, T>) -> Result<bool, Fault> {
        Ok(self.cursor.refresh(&view.other)? as u64 == self.cursor.capacity().units())
    }

    /// Writes as much of `bytes` as fits, and returns how much that was.
    pub fn write<O: Writable, T: Readable>(&mut self, view: &View<O, T>, bytes: &[u8]) -> Result<usize, Fault> {
        let count = self.cursor.room_for(&view.other, bytes.len())?;
        if count > 0 {
            self.copy_in(&view.own, 0, &bytes[..count]);
            self.cursor.publish(&view.own, count);
        }
        Ok(count)
    }

    /// Writes all `parts`, one behind the other, or nothing. They become visible at once.
    pub fn write_all<O: Writable, T: Readable>(&mut self, view: &View<O, T>, parts: &[&[u8]]) -> Result<bool, Fault> {
        let total = parts.iter().map(|part| part.len()).sum();
        if self.cursor.room_for(&view.other, total)? < total {
            return Ok(false);
        }
        let mut skip = 0;
        for part in parts {
            self.copy_in(&view.own, skip, part);
            skip += part.len();
        }
        self.cursor.publish(&view.own, total);
        Ok(true)
    }

    /// Copies behind the published bytes, `skip` bytes further on. Room was checked.
    fn copy_in<W: Writable>(&self, own: &W, skip: usize, bytes: &[u8]) {
        let position = self.cursor.position().wrapping_add(skip as u64);
        let [(first, length), (second, rest)] = self.cursor.capacity().spans(position, bytes.len());
        own.copy_in(self.bytes_at + first, &bytes[..length]);
        if rest > 0 {
            own.copy_in(self.bytes_at + second, &bytes[length..]);
        }
    }
}

/// The reading end. Its methods take the [`View`] of the side that reads.
#[derive(Debug)]
pub struct RingReader {
    cursor: ReadCursor,
    bytes_at: usize,
}

impl RingReader {
    /// A reader at position 0, which is what a fresh segment holds.
    pub fn new(layout: RingLayout) -> Self {
        Self::starting_at(layout, 0)
    }

    /// A reader at `position`. Both positions must already stand in the segments.
    pub fn starting_at(layout: RingLayout, position: u64) -> Self {
        let cursor = ReadCursor::new(layout.capacity, layout.write_at, layout.read_at, position);
        Self { cursor, bytes_at: layout.bytes_at }
    }

    /// Bytes read since the ring was made.
    pub fn position(&self) -> u64 {
        self.cursor.position()
    }

    /// Bytes that wait now.
    pub fn unread<O, T: Readable>(&mut self, view: &View<O, T>) -> Result<usize, Fault> {
        self.cursor.refresh(&view.other)
    }

    /// Reads at most `into.len()` bytes and returns how many.
    pub fn read<O: Writable, T: Readable>(&mut self, view: &View<O, T>, into: &mut [u8]) -> Result<usize, Fault> {
        let count = self.cursor.unread_of(&view.other, into.len())?;
        if count > 0 {
            // SAFETY: `u8` and `MaybeUninit<u8>` have one layout, and `copy_out` only ever writes initialised bytes.
            let into = unsafe { &mut *(std::ptr::from_mut(&mut into[..count]) as *mut [MaybeUninit<u8>]) };
            self.copy_out(&view.other, into);
            self.cursor.publish(&view.own, count);
        }
        Ok(count)
    }

    /// Appends at most `max` bytes to `into` and returns how many; their room is freed.
    pub fn read_to<O: Writable, T: Readable>(
        &mut self,
        view: &View<O, T>,
        max: usize,
        into: &mut BytesMut,
    ) -> Result<usize, Fault> {
        let count = self.peek_to(view, max, into)?;
        if count > 0 {
            self.cursor.publish(&view.own, count);
        }
        Ok(count)
    }

    /// Appends at most `max` bytes to `into` and returns how many; they stay in the ring.
    pub fn peek_to<O, T: Readable>(
        &mut self,
        view: &View<O, T>,
        max: usize,
        into: &mut BytesMut,
    ) -> Result<usize, Fault> {
        let count = self.cursor.unread_of(&view.other, max)?;
        into.reserve(count);
        let spare = &mut into.spare_capacity_mut()[..count];
        self.copy_out(&view.other, spare);
        // SAFETY: `reserve` made room for `count` bytes and `copy_out` has initialised them.
        unsafe { into.advance_mut(count) };
        Ok(count)
    }

    /// Frees everything up to `position` unread. A position behind us or ahead of the writer is a fault.
    pub fn skip_to<O: Writable, T: Readable>(&mut self, view: &View<O, T>, position: u64) -> Result<(), Fault> {
        let distance = position.wrapping_sub(self.position());
        if distance > self.cursor.refresh(&view.other)? as u64 {
            return Err(Fault::Position);
        }
        if distance > 0 {
            self.cursor.publish(&view.own, distance as usize);
        }
        Ok(())
    }

    fn copy_out<R: Readable>(&self, other: &R, into: &mut [MaybeUninit<u8>]) {
        let [(first, length), (second, rest)] = self.cursor.capacity().spans(self.position(), into.len());
        let (head, tail) = into.split_at_mut(length);
        other.copy_out(self.bytes_at + first, head);
        if rest > 0 {
            other.copy_out(self.bytes_at + second, tail);
        }
    }
}
