//! All queue pairs of one generation: takes the other process's messages, wakes the flow that they are about.

use crate::port::FlowPort;
use crate::slot::Slot;
use flow_queue::{Geometry, QueueSide};
use shaped_node::queues::{FlowQueues, QueueFault};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use thiserror::Error;
use tokio::sync::Notify;
use wire::flow::{ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

/// Messages and moved queue pairs that are looked at before other tasks get their turn. What is left is looked
/// at right after them.
const TURN_BUDGET: usize = 256;

/// The queues of a generation cannot be used any more.
#[derive(Debug, Error)]
pub enum BoardError {
    /// The other process broke the protocol.
    #[error("the queues between the node's processes are broken: {0}; the node starts new ones")]
    Queues(#[from] QueueFault),
    /// The doorbell cannot be waited for.
    #[error("the doorbell of the queues failed: {0}")]
    Bell(#[from] io::Error),
}

/// One generation of queue pairs as all flows of an unshaped process share it.
///
/// [`Board::run`] must be polled for as long as the generation lives: it alone sleeps on the doorbell and wakes
/// just the flows that something happened to. Nothing here polls on a timer.
pub struct Board {
    pub(crate) state: RefCell<State>,
    ring_size: usize,
    arrived: Notify,
    freed: Notify,
}

pub(crate) struct State {
    /// `None`: the generation is over.
    pub(crate) side: Option<QueueSide>,
    assigns: bool,
    slots: Vec<Option<Slot>>,
    used: usize,
    /// SYNs of the assigning side that nobody has taken up. At most one a queue pair.
    arrivals: VecDeque<(QueueRef, Syn)>,
    /// Clients of released queue pairs that nobody has asked for. At most one a queue pair and turn.
    released: Vec<u64>,
    fault: Option<QueueFault>,
}

impl Board {
    /// Takes the queues of a generation into use. `assigns`: this process opens the flows.
    pub fn new(side: QueueSide, geometry: &Geometry, assigns: bool) -> Rc<Self> {
        let state = State {
            assigns,
            slots: (0..side.queue_count()).map(|_| None).collect(),
            side: Some(side),
            used: 0,
            arrivals: VecDeque::new(),
            released: Vec::new(),
            fault: None,
        };
        let ring_size = usize::try_from(geometry.queue_size()).unwrap_or(usize::MAX);
        Rc::new(Self { state: RefCell::new(state), ring_size, arrived: Notify::new(), freed: Notify::new() })
    }

    /// Bytes of each ring.
    pub fn ring_size(&self) -> usize {
        self.ring_size
    }

    /// Opens a flow (assigning side). `None`: every queue pair is taken, or the generation is over.
    pub fn open(self: &Rc<Self>, syn: Syn) -> Option<FlowPort> {
        let mut state = self.state.borrow_mut();
        let client = syn.client;
        let queue = state.side.as_mut()?.allocate()?;
        state.put(Slot::new(queue, client));
        state.send(&LocalMessage::Syn(queue, syn));
        state.flush();
        drop(state);
        Some(FlowPort::new(self.clone(), queue))
    }

    /// Waits for the next flow that the assigning side opens. Cancel-safe. Never resolves once the generation is over.
    pub async fn next_arrival(self: &Rc<Self>) -> (Syn, FlowPort) {
        loop {
            let arrival = self.state.borrow_mut().arrivals.pop_front();
            if let Some((queue, syn)) = arrival {
                return (syn, FlowPort::new(self.clone(), queue));
            }
            self.arrived.notified().await;
        }
    }

    /// Waits until a queue pair may have become free. Cancel-safe. One waiter at a time.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Clients whose flows gave back their queue pair since the last call, one entry a flow.
    pub fn take_released(&self) -> Vec<u64> {
        std::mem::take(&mut self.state.borrow_mut().released)
    }

    /// Queue pairs in use, those included that only wait for the other side's `Closed`.
    pub fn used(&self) -> usize {
        self.state.borrow().used
    }

    /// Ends the generation: every flow sees a reset for this reason, nothing is written to the queues any more.
    pub fn detach(&self, reason: ResetReason) {
        self.state.borrow_mut().end(reason);
    }

    /// Moves messages to flows until the queues break. Cancel-safe.
    pub async fn run(&self) -> BoardError {
        loop {
            match self.turn() {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => {
                    if let Err(error) = self.sleep().await {
                        return error.into();
                    }
                }
                Err(fault) => return fault.into(),
            }
        }
    }

    /// One look at messages and positions. True: there may be more at once.
    fn turn(&self) -> Result<bool, QueueFault> {
        let mut state = self.state.borrow_mut();
        let (arrivals, releases) = (state.arrivals.len(), state.released.len());
        let mut freed = false;
        let more = state.turn(&mut freed);
        state.flush();
        if state.arrivals.len() > arrivals {
            self.arrived.notify_one();
        }
        if freed || state.released.len() > releases {
            self.freed.notify_one();
        }
        match state.fault {
            Some(fault) => Err(fault),
            None => Ok(more),
        }
    }

    async fn sleep(&self) -> io::Result<()> {
        // `None`: the generation is over. `Some(None)`: there are news already.
        let bell = {
            let state = self.state.borrow();
            state.side.as_ref().map(|side| side.prepare_sleep().then(|| side.bell()))
        };
        let bell = match bell {
            Some(Some(bell)) => bell,
            Some(None) => {
                // The flows get their turn first.
                tokio::task::yield_now().await;
                return Ok(());
            }
            None => return std::future::pending().await,
        };
        let rung = bell.rung().await;
        if let Some(side) = &self.state.borrow().side {
            side.awake();
        }
        rung
    }

    /// Tells the waiter for free queue pairs that a flow's end may have made one.
    pub(crate) fn announce_released(&self) {
        if !self.state.borrow().released.is_empty() {
            self.freed.notify_one();
        }
    }
}

impl State {
    /// The slot of a flow, unless its use or the generation is over.
    pub(crate) fn slot(&mut self, queue: QueueRef) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(queue.index))?.as_mut().filter(|slot| slot.queue == queue)
    }

    /// Sends a message; a fault ends the generation.
    pub(crate) fn send(&mut self, message: &LocalMessage) {
        if let Some(side) = &mut self.side
            && let Err(fault) = side.send_message(message)
        {
            self.fail(fault);
        }
    }

    /// Rings the other side if it sleeps and there is something for it.
    pub(crate) fn flush(&mut self) {
        if let Some(side) = &mut self.side {
            side.flush();
        }
    }

    /// Ends the generation because the other process broke the protocol.
    pub(crate) fn fail(&mut self, fault: QueueFault) {
        self.fault = Some(fault);
        self.end(ResetReason::TunnelLost);
    }

    /// Sends `Closed` and gives the queue pair back if the other side has closed it too.
    pub(crate) fn close(&mut self, queue: QueueRef) {
        let Some(side) = &self.side else { return };
        let position = side.write_position(queue.index);
        match self.slot(queue) {
            Some(slot) if !slot.closed_sent => slot.closed_sent = true,
            Some(_) | None => return,
        }
        self.send(&LocalMessage::Closed(queue, position));
        self.finish(queue);
    }

    fn put(&mut self, slot: Slot) {
        let index = usize::from(slot.queue.index);
        self.slots[index] = Some(slot);
        self.used += 1;
    }

    fn end(&mut self, reason: ResetReason) {
        self.side = None;
        self.arrivals.clear();
        for slot in self.slots.iter_mut().flatten() {
            slot.reset_received.get_or_insert(reason);
            slot.wake();
        }
    }

    fn turn(&mut self, freed: &mut bool) -> bool {
        for _ in 0..TURN_BUDGET {
            let Some(side) = &mut self.side else { return false };
            match side.poll_message() {
                Ok(Some(message)) => self.take(message),
                Ok(None) => return self.wake_moved(freed),
                Err(fault) => self.fail(fault),
            }
        }
        true
    }

    fn wake_moved(&mut self, freed: &mut bool) -> bool {
        for _ in 0..TURN_BUDGET {
            let Some(side) = &mut self.side else { return false };
            let Some(index) = side.poll_active() else { return false };
            match self.slots.get_mut(usize::from(index)) {
                Some(Some(slot)) => slot.wake(),
                // The other side emptied its ring of a pair that we released: now it can be allocated.
                Some(None) => *freed = true,
                None => self.fail(QueueFault::Message),
            }
        }
        true
    }

    fn take(&mut self, message: LocalMessage) {
        let queue = message.queue();
        if let LocalMessage::Syn(_, syn) = message {
            return self.take_syn(queue, syn);
        }
        let Some(side) = &self.side else { return };
        let read_position = side.read_position(queue.index.min(side.queue_count() - 1));
        // A message about an earlier use is ignored.
        let Some(slot) = self.slot(queue) else { return };
        let is_behind = |position: u64| position < read_position;
        match message {
            LocalMessage::Syn(..) => {}
            LocalMessage::Connected(_, address) => slot.connected = slot.connected.or(Some(address)),
            LocalMessage::Fin(_, position) | LocalMessage::Closed(_, position) if is_behind(position) => {
                return self.fail(QueueFault::Position);
            }
            LocalMessage::Fin(_, position) => slot.fin_received = slot.fin_received.or(Some(position)),
            LocalMessage::Reset(_, reason) => slot.reset_received = slot.reset_received.or(Some(reason)),
            LocalMessage::Closed(_, position) => {
                slot.closed_received = slot.closed_received.or(Some(position));
                if slot.fin_received.is_none() {
                    // It neither writes nor reads any more and did not say why.
                    slot.reset_received.get_or_insert(ResetReason::ByPeer);
                }
            }
        }
        slot.wake();
        self.finish(queue);
    }

    fn take_syn(&mut self, queue: QueueRef, syn: Syn) {
        let free = self.slots.get(usize::from(queue.index)).is_some_and(Option::is_none);
        if self.assigns || !free {
            return self.fail(QueueFault::Message);
        }
        self.put(Slot::new(queue, syn.client));
        self.arrivals.push_back((queue, syn));
    }

    /// Gives a queue pair back once both sides have closed it.
    fn finish(&mut self, queue: QueueRef) {
        let Some(position) = self.slot(queue).and_then(|slot| slot.finished()) else { return };
        let Some(slot) = self.slots[usize::from(queue.index)].take() else { return };
        self.used -= 1;
        let Some(side) = &mut self.side else { return };
        if let Err(fault) = side.discard(queue.index, position) {
            return self.fail(fault);
        }
        if self.assigns {
            side.release(queue);
            self.released.push(slot.client);
        }
    }
}

#[cfg(test)]
mod tests;
