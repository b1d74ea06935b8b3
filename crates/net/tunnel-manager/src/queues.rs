//! The queues between the streams of applications and the core, in plain memory.

use crate::bell::Bell;
use crate::flow::Flow;
use bytes::{BufMut, Bytes, BytesMut};
use shaped_node::queues::{FlowQueues, QueueFault};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use wire::flow::{ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

/// How long a stream that nobody holds any more waits for the other end to finish, before it is reset.
const ORPHAN_LIFE: Duration = Duration::from_secs(60);
/// What clients of a service are told of where their streams went.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One use of a queue pair.
#[derive(Debug)]
struct Use {
    flow: Arc<Flow>,
    /// The other end opened it, and was not told yet that it was taken.
    is_unanswered: bool,
    fin_sent: bool,
    reset_sent: bool,
    closed_sent: bool,
    closed_received: bool,
    is_orphan: bool,
}

#[derive(Debug, Default)]
struct Slot {
    use_count: u32,
    present: Option<Use>,
    /// It is in `active`.
    is_active: bool,
}

/// The queue pairs of all streams.
#[derive(Debug)]
pub(crate) struct StreamQueues {
    slots: Vec<Slot>,
    free: Vec<u16>,
    buffer: usize,
    bell: Arc<Bell>,
    /// To the core: at most a Syn, a Fin, a Reset and a Closed for each use.
    messages: VecDeque<LocalMessage>,
    active: VecDeque<u16>,
    /// Streams that nobody holds, in the order in which their time ends; each is in it once.
    orphans: VecDeque<(Instant, QueueRef)>,
    /// Those that this side has closed.
    closing: Vec<QueueRef>,
    /// Streams that the other end opened, with their ports, until they are fetched; at most as many as there are queue pairs. None where
    /// nobody may open any.
    came: Option<VecDeque<(u16, Arc<Flow>)>>,
}

impl StreamQueues {
    /// `count` queue pairs of two pipes of `buffer` bytes.
    pub(crate) fn new(count: u16, buffer: usize, bell: Arc<Bell>) -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(usize::from(count)).collect(),
            free: (0..count).rev().collect(),
            buffer,
            bell,
            messages: VecDeque::new(),
            active: VecDeque::new(),
            orphans: VecDeque::new(),
            closing: Vec::new(),
            came: None,
        }
    }

    /// The same for streams that the other end opens.
    pub(crate) fn taking(count: u16, buffer: usize, bell: Arc<Bell>) -> Self {
        Self { came: Some(VecDeque::new()), ..Self::new(count, buffer, bell) }
    }

    /// The next stream that the other end opened, and its port.
    pub(crate) fn poll_came(&mut self) -> Option<(u16, Arc<Flow>)> {
        self.came.as_mut()?.pop_front()
    }

    /// Opens a stream. `None`: all queue pairs are taken.
    pub(crate) fn open(&mut self, syn: Syn) -> Option<Arc<Flow>> {
        debug_assert!(syn.kind.is_stream(), "there are streams only");
        let flow = self.take_pair(false)?;
        self.messages.push_back(LocalMessage::Syn(flow.queue, syn));
        Some(flow)
    }

    fn take_pair(&mut self, is_unanswered: bool) -> Option<Arc<Flow>> {
        let index = self.free.pop()?;
        let slot = &mut self.slots[usize::from(index)];
        slot.use_count = slot.use_count.wrapping_add(1);
        let queue = QueueRef { index, use_count: slot.use_count };
        let flow = Arc::new(Flow::new(queue, self.buffer, Arc::clone(&self.bell)));
        slot.present = Some(Use {
            flow: Arc::clone(&flow),
            is_unanswered,
            fin_sent: false,
            reset_sent: false,
            closed_sent: false,
            closed_received: false,
            is_orphan: false,
        });
        Some(flow)
    }

    /// Streams that are not over on both sides.
    pub(crate) fn open_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Passes on what an application has done with a stream.
    pub(crate) fn look_at(&mut self, now: Instant, queue: QueueRef) {
        let Some(present) = self.of(queue) else { return };
        let mut state = present.flow.look();
        let over = state.reset.is_some();
        let mut messages = Vec::new();
        if !state.is_waiting && !over && !state.given_up && std::mem::take(&mut present.is_unanswered) {
            messages.push(LocalMessage::Connected(queue, NOWHERE));
        }
        if state.given_up && !over && !present.reset_sent {
            messages.push(LocalMessage::Reset(queue, state.refusal.unwrap_or(ResetReason::ByPeer)));
            present.reset_sent = true;
            state.wake_all();
        } else if state.fin_up && !over && !present.fin_sent && !present.reset_sent {
            messages.push(LocalMessage::Fin(queue, state.up.written));
            present.fin_sent = true;
        }
        let is_over = over || present.reset_sent || (present.fin_sent && state.is_at_end());
        if is_over && !present.closed_sent {
            messages.push(LocalMessage::Closed(queue, state.up.written));
            present.closed_sent = true;
        }
        let is_closing = matches!(messages.last(), Some(LocalMessage::Closed(..)));
        let is_new_orphan = state.dropped && !is_over && !present.is_orphan;
        drop(state);
        present.is_orphan |= is_new_orphan;
        if is_new_orphan {
            self.orphans.push_back((now + ORPHAN_LIFE, queue));
        }
        self.messages.extend(messages);
        self.closing.extend(is_closing.then_some(queue));
        self.activate(queue.index);
    }

    fn handle_syn(&mut self, queue: QueueRef, syn: &Syn) -> Result<(), QueueFault> {
        let flow = self.of(queue).map(|present| Arc::clone(&present.flow)).ok_or(QueueFault::Message)?;
        let came = self.came.as_mut().ok_or(QueueFault::Message)?;
        came.push_back((syn.destination.port, flow));
        Ok(())
    }

    /// When [`StreamQueues::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.orphans.front().map(|(at, _)| *at)
    }

    /// Resets streams that nobody holds and whose other end does not finish.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, queue)) = self.orphans.pop_front_if(|(at, _)| *at <= now) {
            if let Some(present) = self.of(queue) {
                present.flow.lock().given_up = true;
                self.look_at(now, queue);
            }
        }
    }

    /// Ends every stream.
    pub(crate) fn end_all(&mut self, reason: ResetReason) {
        for present in self.slots.iter_mut().filter_map(|slot| slot.present.as_mut()) {
            let mut state = present.flow.lock();
            state.reset = state.reset.or(Some(reason));
            state.wake_all();
        }
    }

    fn of(&mut self, queue: QueueRef) -> Option<&mut Use> {
        self.slots.get_mut(usize::from(queue.index))?.present.as_mut().filter(|present| present.flow.queue == queue)
    }

    fn flow(&self, index: u16) -> Result<&Arc<Flow>, QueueFault> {
        let slot = self.slots.get(usize::from(index)).ok_or(QueueFault::Message)?;
        slot.present.as_ref().map(|present| &present.flow).ok_or(QueueFault::Message)
    }

    fn activate(&mut self, index: u16) {
        let slot = &mut self.slots[usize::from(index)];
        if !std::mem::replace(&mut slot.is_active, true) {
            self.active.push_back(index);
        }
    }

    /// Frees queue pairs that both sides have closed. To be called when the core has taken all messages: before, it would take
    /// what is said about an old use for the new one's.
    pub(crate) fn free_closed(&mut self) {
        if !self.messages.is_empty() {
            return;
        }
        for queue in std::mem::take(&mut self.closing) {
            if self.of(queue).is_some_and(|present| present.closed_received) {
                self.slots[usize::from(queue.index)].present = None;
                self.free.push(queue.index);
            } else {
                self.closing.push(queue);
            }
        }
    }

    /// Takes bytes out of a pipe whose application waits for room when half of it is free.
    fn take(flow: &Flow, count: usize) {
        let mut state = flow.lock();
        state.up.take(count);
        if state.up.bytes.len() <= flow.buffer / 2 {
            state.writer.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl FlowQueues for StreamQueues {
    fn queue_count(&self) -> u16 {
        // It was made from a `u16`.
        self.slots.len() as u16
    }

    fn pair_bytes(&self) -> u64 {
        2 * self.buffer as u64
    }

    fn poll_message(&mut self) -> Result<Option<LocalMessage>, QueueFault> {
        Ok(self.messages.pop_front())
    }

    fn send_message(&mut self, message: &LocalMessage) -> Result<(), QueueFault> {
        let queue = message.queue();
        if let LocalMessage::Syn(_, syn) = message {
            return self.handle_syn(queue, syn);
        }
        let Some(present) = self.of(queue) else { return Ok(()) };
        let mut state = present.flow.lock();
        match message {
            LocalMessage::Syn(..) => {}
            LocalMessage::Connected(..) => state.connected = true,
            LocalMessage::Fin(_, position) => state.fin_down = Some(*position),
            LocalMessage::Reset(_, reason) => state.reset = state.reset.or(Some(*reason)),
            LocalMessage::Closed(..) => present.closed_received = true,
        }
        state.wake_all();
        drop(state);
        // What follows for this side is said at the next look.
        self.bell.touch(queue);
        Ok(())
    }

    fn allocate(&mut self) -> Option<QueueRef> {
        // Elsewhere streams are opened by applications alone.
        self.came.as_ref()?;
        let flow = self.take_pair(true)?;
        let mut state = flow.lock();
        (state.connected, state.is_waiting) = (true, true);
        Some(flow.queue)
    }

    fn release(&mut self, _queue: QueueRef) {
        // It is given back when this side sees that both have closed.
    }

    fn poll_active(&mut self) -> Option<u16> {
        let index = self.active.pop_front()?;
        self.slots[usize::from(index)].is_active = false;
        Some(index)
    }

    fn readable(&mut self, index: u16) -> Result<usize, QueueFault> {
        Ok(self.flow(index)?.lock().up.bytes.len())
    }

    fn read(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        let bytes = self.peek(index, max)?;
        Self::take(self.flow(index)?, bytes.len());
        Ok(bytes)
    }

    fn peek(&mut self, index: u16, max: usize) -> Result<Bytes, QueueFault> {
        let state = self.flow(index)?.lock();
        let (one, other) = state.up.front(max);
        let mut bytes = BytesMut::with_capacity(one.len() + other.len());
        bytes.put_slice(one);
        bytes.put_slice(other);
        Ok(bytes.freeze())
    }

    fn read_position(&self, index: u16) -> u64 {
        self.flow(index).map_or(0, |flow| flow.lock().up.read)
    }

    fn discard(&mut self, index: u16, position: u64) -> Result<(), QueueFault> {
        let flow = self.flow(index)?;
        let state = flow.lock();
        let count = position.checked_sub(state.up.read).ok_or(QueueFault::Position)?;
        let count = usize::try_from(count).ok().filter(|count| *count <= state.up.bytes.len());
        drop(state);
        Self::take(flow, count.ok_or(QueueFault::Position)?);
        Ok(())
    }

    fn writable(&mut self, index: u16) -> Result<usize, QueueFault> {
        let flow = self.flow(index)?;
        let mut state = flow.lock();
        let room = flow.buffer.saturating_sub(state.down.bytes.len());
        state.was_full = room == 0;
        Ok(room)
    }

    fn write(&mut self, index: u16, bytes: &[u8]) -> Result<usize, QueueFault> {
        let flow = self.flow(index)?;
        let mut state = flow.lock();
        let count = bytes.len().min(flow.buffer - state.down.bytes.len());
        state.down.push(&bytes[..count]);
        state.was_full = state.down.bytes.len() == flow.buffer;
        let is_unwanted = state.dropped && count > 0;
        if is_unwanted {
            // As a socket does that was closed: who goes on sending is told.
            state.down.take(count);
            state.given_up = true;
        }
        state.reader.take().into_iter().for_each(Waker::wake);
        let queue = flow.queue;
        drop(state);
        if is_unwanted {
            self.bell.touch(queue);
        }
        Ok(count)
    }

    fn write_position(&self, index: u16) -> u64 {
        self.flow(index).map_or(0, |flow| flow.lock().down.written)
    }

    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests;
