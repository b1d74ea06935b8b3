//! Queues in plain memory with the same protocol as the shared-memory ones.

use bytes::Bytes;
use shaped_node::queues::{FlowQueues, QueueFault};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use wire::local::{LocalMessage, QueueRef};

/// Messages that one direction can hold per queue pair, as in the shared-memory control queue.
const MESSAGES_PER_QUEUE: usize = 8;

#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
    written: u64,
    read: u64,
}

#[derive(Debug, Default)]
struct Direction {
    rings: Vec<Ring>,
    messages: VecDeque<LocalMessage>,
    /// Queue pairs in which the writer of this direction moved something that its reader has not looked at.
    active: BTreeSet<u16>,
}

#[derive(Debug)]
struct Shared {
    directions: [Direction; 2],
    capacity: usize,
    uses: Vec<u32>,
    free: VecDeque<u16>,
}

/// One side of the queues.
#[derive(Debug, Clone)]
pub struct MemoryQueues {
    shared: Rc<RefCell<Shared>>,
    /// Index of the direction that this side writes.
    out: usize,
}

/// Both sides of `count` queue pairs with rings of `capacity` bytes.
pub fn pair(count: u16, capacity: usize) -> (MemoryQueues, MemoryQueues) {
    let direction = || Direction {
        rings: std::iter::repeat_with(Ring::default).take(usize::from(count)).collect(),
        ..Direction::default()
    };
    let shared = Rc::new(RefCell::new(Shared {
        directions: [direction(), direction()],
        capacity,
        uses: vec![0; usize::from(count)],
        free: (0..count).collect(),
    }));
    (MemoryQueues { shared: Rc::clone(&shared), out: 0 }, MemoryQueues { shared, out: 1 })
}

impl MemoryQueues {
    fn with_ring<T>(
        &self,
        direction: usize,
        index: u16,
        act: impl FnOnce(&mut Ring, usize) -> T,
    ) -> Result<T, QueueFault> {
        let mut shared = self.shared.borrow_mut();
        let capacity = shared.capacity;
        let ring = shared.directions[direction].rings.get_mut(usize::from(index)).ok_or(QueueFault::Message)?;
        Ok(act(ring, capacity))
    }

    fn inward(&self) -> usize {
        1 - self.out
    }

    fn touch(&self, index: u16) {
        self.shared.borrow_mut().directions[self.out].active.insert(index);
    }

    /// Whether this side has done something that the other one has not looked at: what a doorbell says.
    pub fn rings(&self) -> bool {
        let direction = &self.shared.borrow().directions[self.out];
        !direction.messages.is_empty() || !direction.active.is_empty()
    }

    /// Queue pairs that are free now.
    pub fn free_count(&self) -> usize {
        self.shared.borrow().free.len()
    }
}

impl FlowQueues for MemoryQueues {
    fn queue_count(&self) -> u16 {
        self.shared.borrow().uses.len() as u16
    }

    fn pair_bytes(&self) -> u64 {
        2 * self.shared.borrow().capacity as u64
    }

    fn poll_message(&mut self) -> Result<Option<LocalMessage>, QueueFault> {
        let inward = self.inward();
        Ok(self.shared.borrow_mut().directions[inward].messages.pop_front())
    }

    fn send_message(&mut self, message: &LocalMessage) -> Result<(), QueueFault> {
        let mut shared = self.shared.borrow_mut();
        let bound = MESSAGES_PER_QUEUE * shared.uses.len();
        let messages = &mut shared.directions[self.out].messages;
        if messages.len() == bound {
            return Err(QueueFault::ControlFull);
        }
        messages.push_back(message.clone());
        Ok(())
    }

    fn allocate(&mut self) -> Option<QueueRef> {
        let mut shared = self.shared.borrow_mut();
        let place = shared.free.iter().position(|&index| {
            shared.directions.iter().all(|direction| direction.rings[usize::from(index)].bytes.is_empty())
        })?;
        let index = shared.free.remove(place)?;
        let use_count = &mut shared.uses[usize::from(index)];
        *use_count += 1;
        Some(QueueRef { index, use_count: *use_count })
    }

    fn release(&mut self, queue: QueueRef) {
        self.shared.borrow_mut().free.push_back(queue.index);
    }

    fn poll_active(&mut self) -> Option<u16> {
        let inward = self.inward();
        self.shared.borrow_mut().directions[inward].active.pop_first()
    }

    fn readable(&mut self, index: u16) -> Result<usize, QueueFault> {
        self.with_ring(self.inward(), index, |ring, _| ring.bytes.len())
    }

    fn read(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        let bytes = self.with_ring(self.inward(), index, |ring, _| {
            let count = max.min(ring.bytes.len());
            ring.read += count as u64;
            ring.bytes.drain(..count).collect::<Bytes>()
        })?;
        if !bytes.is_empty() {
            self.touch(index);
        }
        Ok(bytes)
    }

    fn peek(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        self.with_ring(self.inward(), index, |ring, _| ring.bytes.iter().copied().take(max).collect())
    }

    fn read_position(&self, index: u16) -> u64 {
        self.with_ring(self.inward(), index, |ring, _| ring.read).unwrap_or(0)
    }

    fn discard(&mut self, index: u16, position: u64) -> Result<(), QueueFault> {
        self.with_ring(self.inward(), index, |ring, _| {
            let count = position.checked_sub(ring.read).ok_or(QueueFault::Position)? as usize;
            if count > ring.bytes.len() {
                return Err(QueueFault::Position);
            }
            ring.bytes.drain(..count);
            ring.read = position;
            Ok(())
        })??;
        self.touch(index);
        Ok(())
    }

    fn writable(&mut self, index: u16) -> Result<usize, QueueFault> {
        self.with_ring(self.out, index, |ring, capacity| capacity - ring.bytes.len())
    }

    fn write(&mut self, index: u16, bytes: &[u8]) -> Result<usize, QueueFault> {
        let count = self.with_ring(self.out, index, |ring, capacity| {
            let count = bytes.len().min(capacity - ring.bytes.len());
            ring.bytes.extend(&bytes[..count]);
            ring.written += count as u64;
            count
        })?;
        if count > 0 {
            self.touch(index);
        }
        Ok(count)
    }

    fn write_position(&self, index: u16) -> u64 {
        self.with_ring(self.out, index, |ring, _| ring.written).unwrap_or(0)
    }

    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_positions_move_as_in_shared_memory() -> Result<(), QueueFault> {
        let (mut one, mut other) = pair(2, 8);
        assert_eq!(one.write(1, b"0123456789")?, 8);
        assert_eq!((one.writable(1)?, one.write_position(1)), (0, 8));
        assert_eq!(other.poll_active(), Some(1));
        assert_eq!(other.poll_active(), None);
        assert_eq!(&other.peek(1, 3)?[..], b"012");
        assert_eq!(&other.read(1, 5)?[..], b"01234");
        other.discard(1, 7)?;
        assert_eq!((other.readable(1)?, other.read_position(1)), (1, 7));
        assert_eq!(other.discard(1, 9), Err(QueueFault::Position));
        assert_eq!(one.poll_active(), Some(1));
        Ok(())
    }

    #[test]
    fn only_drained_queue_pairs_are_given_out_again() -> Result<(), QueueFault> {
        let (mut one, mut other) = pair(1, 8);
        let first = one.allocate().expect("one queue pair is free");
        assert_eq!(one.allocate(), None);
        one.write(0, b"x")?;
        one.release(first);
        assert_eq!(one.allocate(), None);
        other.read(0, 1)?;
        assert_eq!(one.allocate(), Some(QueueRef { index: 0, use_count: 2 }));
        Ok(())
    }
}
