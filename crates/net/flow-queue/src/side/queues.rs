//! The trait by which cores and shells use the queues.

use super::{QueueSide, position};
use crate::free::FreePairs;
use crate::uses::Verdict;
use bytes::Bytes;
use shaped_node::queues::{FlowQueues, QueueFault};
use shm_ring::{QUEUES_PER_WORD, Readable};
use std::sync::atomic::Ordering;
use wire::local::{LocalMessage, QueueRef};

/// Messages about earlier uses that one [`QueueSide::poll_message`] passes over. An honest neighbour leaves
/// fewer; after more the call says `None`, and the next one goes on.
const STALE_MESSAGES_MAX: usize = 64;

impl FlowQueues for QueueSide {
    fn queue_count(&self) -> u16 {
        self.pairs.len() as u16
    }

    fn pair_bytes(&self) -> u64 {
        2 * self.layout.ring(0).capacity.units()
    }

    /// Messages about earlier uses of a queue pair are dropped here.
    fn poll_message(&mut self) -> Result<Option<LocalMessage>, QueueFault> {
        for _ in 0..STALE_MESSAGES_MAX {
            let Some(message) = self.control_in.take(&self.view).map_err(position)? else { return Ok(None) };
            let message = LocalMessage::decode(&message).map_err(|_| QueueFault::Message)?;
            match self.uses.handle_received(&message) {
                Verdict::Breach => return Err(QueueFault::Message),
                Verdict::Stale => tracing::trace!(queue = message.queue().index, "message about an earlier use"),
                Verdict::Current => {
                    self.note_closed(&message, false);
                    return Ok(Some(message));
                }
            }
        }
        Ok(None)
    }

    fn send_message(&mut self, message: &LocalMessage) -> Result<(), QueueFault> {
        if !self.control_out.put(&self.view, &message.encode()).map_err(position)? {
            return Err(QueueFault::ControlFull);
        }
        self.unannounced = true;
        self.note_closed(message, true);
        Ok(())
    }

    fn allocate(&mut self) -> Option<QueueRef> {
        let Self { free, pairs, view, uses, .. } = self;
        // A fault counts as "not drained": the pair is lost, the others are not, and the next look at the
        // pair reports the fault.
        let is_drained = |index: u16| {
            let pair = &mut pairs[usize::from(index)];
            pair.out.is_drained(view) == Ok(true) && pair.input.unread(view) == Ok(0)
        };
        Some(uses.begin(free.as_mut()?.take(is_drained)?))
    }

    fn release(&mut self, queue: QueueRef) {
        if usize::from(queue.index) < self.pairs.len() && self.uses.end(queue) {
            self.free.iter_mut().for_each(|free: &mut FreePairs| free.put(queue.index));
        }
    }

    /// A pass over all queue pairs reports each at most once and ends with `None`; what moves during a pass is
    /// reported in the next. So a caller that asks until `None` comes to an end however busy the other side is.
    fn poll_active(&mut self) -> Option<u16> {
        while self.changes.pending == 0 {
            if self.changes.next_group == self.changes.watch.groups() {
                self.changes.next_group = 0;
                return None;
            }
            self.scan_next_group();
        }
        let bit = self.changes.pending.trailing_zeros() as usize;
        self.changes.pending &= self.changes.pending - 1;
        Some(((self.changes.next_group - 1) * QUEUES_PER_WORD + bit) as u16)
    }

    fn readable(&mut self, index: u16) -> Result<usize, QueueFault> {
        self.pairs[usize::from(index)].input.unread(&self.view).map_err(position)
    }

    fn read(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        self.copy_out(index, max, true)
    }

    fn peek(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        self.copy_out(index, max, false)
    }

    fn read_position(&self, index: u16) -> u64 {
        self.pairs[usize::from(index)].input.position()
    }

    fn discard(&mut self, index: u16, to: u64) -> Result<(), QueueFault> {
        let input = &mut self.pairs[usize::from(index)].input;
        let before = input.position();
        input.skip_to(&self.view, to).map_err(position)?;
        if to != before {
            self.published(index);
        }
        Ok(())
    }

    fn writable(&mut self, index: u16) -> Result<usize, QueueFault> {
        self.pairs[usize::from(index)].out.room(&self.view).map_err(position)
    }

    fn write(&mut self, index: u16, bytes: &[u8]) -> Result<usize, QueueFault> {
        let count = self.pairs[usize::from(index)].out.write(&self.view, bytes).map_err(position)?;
        if count > 0 {
            self.published(index);
        }
        Ok(count)
    }

    fn write_position(&self, index: u16) -> u64 {
        self.pairs[usize::from(index)].out.position()
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.unannounced) && self.waker.must_ring(&self.view.own, &self.view.other) {
            self.ringer.ring();
        }
    }
}

impl QueueSide {
    /// After `Closed` in both directions nobody reads our ring any more, so its memory may go.
    fn note_closed(&mut self, message: &LocalMessage, sent: bool) {
        let LocalMessage::Closed(queue, _) = message else { return };
        let index = usize::from(queue.index);
        if !self.uses.note_closed(*queue, sent)
            || !self.uses.must_give_back(queue.index, self.pairs[index].out.position())
        {
            return;
        }
        let ring = self.layout.ring(index);
        if let Err(error) = self.view.own.give_back(ring.bytes_at, ring.capacity.units() as usize) {
            tracing::debug!(%error, "the memory of a ring stays taken");
        }
    }

    /// Sets `pending` to the queues of the next group whose positions moved.
    fn scan_next_group(&mut self) {
        let group = self.changes.next_group;
        self.changes.next_group += 1;
        if !self.changes.watch.take_changed(&self.view.other, group) {
            return;
        }
        let first = group * QUEUES_PER_WORD;
        for (bit, pair) in self.pairs[first..].iter_mut().take(QUEUES_PER_WORD).enumerate() {
            let word = |at| self.view.other.load(at, Ordering::Relaxed);
            let now = (word(self.layout.write_at(first + bit)), word(self.layout.read_at(first + bit)));
            if std::mem::replace(&mut pair.reported, now) != now {
                self.changes.pending |= 1 << bit;
            }
        }
    }
}
