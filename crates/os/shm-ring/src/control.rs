//! The control queue: messages of one fixed length, each written and read whole.

use crate::cursor::{Capacity, Fault, ReadCursor, WriteCursor};
use crate::memory::{Readable, View, Writable};
use std::mem::MaybeUninit;

/// Where the parts of one control queue lie; see [`crate::RingLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlLayout {
    /// Messages that the queue holds.
    pub capacity: Capacity,
    /// Offset of the messages in the writer's segment.
    pub messages_at: usize,
    /// Offset of the write position (in messages) in the writer's segment.
    pub write_at: usize,
    /// Offset of the read position (in messages) in the reader's segment.
    pub read_at: usize,
}

/// The writing end of a queue of messages of `LEN` bytes.
#[derive(Debug)]
pub struct ControlWriter<const LEN: usize> {
    cursor: WriteCursor,
    messages_at: usize,
}

impl<const LEN: usize> ControlWriter<LEN> {
    /// A writer at position 0.
    pub fn new(layout: ControlLayout) -> Self {
        let cursor = WriteCursor::new(layout.capacity, layout.write_at, layout.read_at, 0);
        Self { cursor, messages_at: layout.messages_at }
    }

    /// Puts one message. `false`: the queue is full and nothing was written.
    pub fn put<O: Writable, T: Readable>(&mut self, view: &View<O, T>, message: &[u8; LEN]) -> Result<bool, Fault> {
        if self.cursor.room_for(&view.other, 1)? == 0 {
            return Ok(false);
        }
        let index = self.cursor.capacity().index(self.cursor.position());
        view.own.copy_in(self.messages_at + index * LEN, message);
        self.cursor.publish(&view.own, 1);
        Ok(true)
    }
}

/// The reading end of a queue of messages of `LEN` bytes.
#[derive(Debug)]
pub struct ControlReader<const LEN: usize> {
    cursor: ReadCursor,
    messages_at: usize,
}

impl<const LEN: usize> ControlReader<LEN> {
    /// A reader at position 0.
    pub fn new(layout: ControlLayout) -> Self {
        let cursor = ReadCursor::new(layout.capacity, layout.write_at, layout.read_at, 0);
        Self { cursor, messages_at: layout.messages_at }
    }

    /// Takes the next message. The result is a private copy: parse that, never the queue.
    pub fn take<O: Writable, T: Readable>(&mut self, view: &View<O, T>) -> Result<Option<[u8; LEN]>, Fault> {
        if self.cursor.unread_of(&view.other, 1)? == 0 {
            return Ok(None);
        }
        let index = self.cursor.capacity().index(self.cursor.position());
        let mut message = [0; LEN];
        {
            // SAFETY: `u8` and `MaybeUninit<u8>` have one layout, and `copy_out` only ever writes initialised bytes.
            let into = unsafe { &mut *(std::ptr::from_mut(message.as_mut_slice()) as *mut [MaybeUninit<u8>]) };
            view.other.copy_out(self.messages_at + index * LEN, into);
        }
        self.cursor.publish(&view.own, 1);
        Ok(Some(message))
    }

    /// Whether a message waits (or the writer's position is impossible, which `take` will say).
    pub fn has_message<O, T: Readable>(&self, view: &View<O, T>) -> bool {
        self.cursor.known_unread() > 0 || self.cursor.moved(&view.other)
    }
}
