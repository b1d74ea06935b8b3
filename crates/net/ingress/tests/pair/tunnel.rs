//! The smallest tunnel: joins the shaped sides of an entry and an exit in one thread by copying messages and bytes.
//! It keeps to the queue protocol and does nothing else that a real one does.

use flow_queue::QueueSide;
use shaped_node::queues::{FlowQueues, QueueFault};
use std::collections::{BTreeMap, VecDeque};
use wire::flow::{ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

/// Bytes that are copied at a time.
const PIECE: usize = 64 * 1024;

/// Runs until `stop` resolves.
pub(crate) async fn join(entry: QueueSide, exit: QueueSide, mut stop: tokio::sync::oneshot::Receiver<()>) {
    let mut tunnel = Tunnel { entry, exit, flows: BTreeMap::new(), by_exit: BTreeMap::new(), syns: VecDeque::new() };
    loop {
        while tunnel.turn().expect("both neighbours keep to the protocol") {}
        tokio::select! {
            biased;
            _ = &mut stop => return,
            woken = tunnel.entry.wait_async() => woken.expect("the bell works"),
            woken = tunnel.exit.wait_async() => woken.expect("the bell works"),
        }
    }
}

/// One side of a flow.
struct Half {
    queue: QueueRef,
    fin_received: Option<u64>,
    fin_sent: bool,
    reset: bool,
    closed_sent: bool,
    closed_received: Option<u64>,
}

impl Half {
    fn new(queue: QueueRef) -> Self {
        Self { queue, fin_received: None, fin_sent: false, reset: false, closed_sent: false, closed_received: None }
    }
}

struct Flow {
    entry: Half,
    exit: Half,
}

struct Tunnel {
    entry: QueueSide,
    exit: QueueSide,
    /// By index at the entry.
    flows: BTreeMap<u16, Flow>,
    /// Index at the exit to index at the entry.
    by_exit: BTreeMap<u16, u16>,
    /// Flows that wait for a queue pair at the exit.
    syns: VecDeque<(QueueRef, Syn)>,
}

impl Tunnel {
    /// One look at everything. True: there is more to do at once.
    fn turn(&mut self) -> Result<bool, QueueFault> {
        while let Some(message) = self.entry.poll_message()? {
            self.take_from_entry(message)?;
        }
        while let Some(message) = self.exit.poll_message()? {
            self.take_from_exit(message)?;
        }
        self.open_waiting()?;
        while self.entry.poll_active().is_some() {}
        while self.exit.poll_active().is_some() {}
        let Self { entry, exit, flows, .. } = self;
        let mut over = Vec::new();
        for (index, flow) in flows.iter_mut() {
            copy(entry, &mut flow.entry, exit, &mut flow.exit)?;
            copy(exit, &mut flow.exit, entry, &mut flow.entry)?;
            let entry_over = close(entry, &mut flow.entry)?;
            let exit_over = close(exit, &mut flow.exit)?;
            if entry_over && exit_over {
                exit.release(flow.exit.queue);
                over.push((*index, flow.exit.queue.index));
            }
        }
        let ends = over.len();
        for (at_entry, at_exit) in over {
            self.flows.remove(&at_entry);
            self.by_exit.remove(&at_exit);
        }
        self.entry.flush();
        self.exit.flush();
        // An end may have made room for a flow that waits.
        Ok(ends > 0 && !self.syns.is_empty())
    }

    fn take_from_entry(&mut self, message: LocalMessage) -> Result<(), QueueFault> {
        let queue = message.queue();
        if let LocalMessage::Syn(_, syn) = message {
            self.syns.push_back((queue, syn));
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(&queue.index) else { return Ok(()) };
        take(message, &mut flow.entry, &mut self.exit, &mut flow.exit)
    }

    fn take_from_exit(&mut self, message: LocalMessage) -> Result<(), QueueFault> {
        let queue = message.queue();
        let Some(flow) = self.by_exit.get(&queue.index).and_then(|index| self.flows.get_mut(index)) else {
            return Ok(());
        };
        take(message, &mut flow.exit, &mut self.entry, &mut flow.entry)
    }

    fn open_waiting(&mut self) -> Result<(), QueueFault> {
        while let Some((queue, syn)) = self.syns.pop_front() {
            // The entry reuses the pair as soon as both of *its* sides are done.
            let at_exit = if self.flows.contains_key(&queue.index) { None } else { self.exit.allocate() };
            let Some(at_exit) = at_exit else {
                self.syns.push_front((queue, syn));
                return Ok(());
            };
            self.exit.send_message(&LocalMessage::Syn(at_exit, syn))?;
            self.flows.insert(queue.index, Flow { entry: Half::new(queue), exit: Half::new(at_exit) });
            self.by_exit.insert(at_exit.index, queue.index);
        }
        Ok(())
    }
}

fn take(message: LocalMessage, from: &mut Half, to_side: &mut QueueSide, to: &mut Half) -> Result<(), QueueFault> {
    match message {
        LocalMessage::Syn(..) => {}
        LocalMessage::Connected(_, address) => {
            if !to.closed_sent {
                to_side.send_message(&LocalMessage::Connected(to.queue, address))?;
            }
        }
        LocalMessage::Fin(_, position) => from.fin_received = Some(position),
        LocalMessage::Reset(_, reason) => {
            from.reset = true;
            reset(to_side, to, reason)?;
        }
        LocalMessage::Closed(_, position) => from.closed_received = Some(position),
    }
    Ok(())
}

fn reset(side: &mut QueueSide, half: &mut Half, reason: ResetReason) -> Result<(), QueueFault> {
    if !half.closed_sent && !half.reset {
        half.reset = true;
        side.send_message(&LocalMessage::Reset(half.queue, reason))?;
    }
    Ok(())
}

/// Copies what waits and there is room for, and the end of file behind it.
fn copy(from_side: &mut QueueSide, from: &mut Half, to_side: &mut QueueSide, to: &mut Half) -> Result<(), QueueFault> {
    if from.reset || to.reset || from.closed_sent || to.closed_sent {
        return Ok(());
    }
    loop {
        let room = to_side.writable(to.queue.index)?.min(PIECE);
        let bytes = from_side.read(from.queue.index, room)?;
        if bytes.is_empty() {
            break;
        }
        assert_eq!(to_side.write(to.queue.index, &bytes)?, bytes.len(), "there was room");
    }
    if from.fin_received == Some(from_side.read_position(from.queue.index)) && !to.fin_sent {
        to.fin_sent = true;
        let position = to_side.write_position(to.queue.index);
        to_side.send_message(&LocalMessage::Fin(to.queue, position))?;
    }
    Ok(())
}

/// Says `Closed` when this half is done. True: both neighbours are.
fn close(side: &mut QueueSide, half: &mut Half) -> Result<bool, QueueFault> {
    let read_all = half.fin_received == Some(side.read_position(half.queue.index));
    if !half.closed_sent && (half.reset || (half.fin_sent && read_all)) {
        half.closed_sent = true;
        let position = side.write_position(half.queue.index);
        side.send_message(&LocalMessage::Closed(half.queue, position))?;
    }
    let Some(position) = half.closed_received.filter(|_| half.closed_sent) else { return Ok(false) };
    side.discard(half.queue.index, position)?;
    Ok(true)
}
