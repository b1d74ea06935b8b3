//! Applications and servers: what the unshaped processes of the two nodes do, in the simplest form that keeps
//! the queue protocol. They act on a clock of their own, at times that have nothing to do with slots.

use crate::memory_queues::MemoryQueues;
use relay_directory::ServiceRecord;
use relay_directory::{FrameReader, ServiceAnswer, ServiceRequest, frame};
use shaped_node::queues::{FlowQueues, QueueFault};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use wire::flow::{Destination, FlowKind, Host, HostName, ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

/// A server's behaviour, chosen by the destination's port.
pub mod port {
    /// Answers each byte with the same byte.
    pub const ECHO: u16 = 7;
    /// Swallows everything.
    pub const SINK: u16 = 9;
    /// Sends a megabyte as soon as the flow is open, then ends.
    pub const MEGABYTE: u16 = 80;
    /// Sends for ever.
    pub const ENDLESS: u16 = 81;
    /// Takes the flow and never reads.
    pub const STALLED: u16 = 82;
    /// Refuses.
    pub const REFUSED: u16 = 1;
}

/// Bytes that [`port::MEGABYTE`] sends.
pub const MEGABYTE: u64 = 1_000_000;

/// The byte at a position of any generated stream: lost, repeated or swapped bytes are noticed.
pub fn pattern(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Records of services, by key of the day, as a directory has them.
pub type Records = Rc<RefCell<BTreeMap<[u8; 32], ServiceRecord>>>;

/// What an application at the entry does with its flow.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Destination port, see [`port`].
    pub port: u16,
    /// Whose flow it is.
    pub client: u64,
    /// Bytes to send; then the application half-closes.
    pub send: u64,
    /// Bytes that it reads in each step. 0: it never reads.
    pub read_per_step: usize,
}

impl Plan {
    /// Of client 7, who reads whatever comes.
    pub fn new(port: u16, send: u64) -> Self {
        Self { port, client: 7, send, read_per_step: usize::MAX }
    }
}

/// State of a flow at its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The destination answered.
    pub connected: bool,
    /// Bytes sent into the queue.
    pub sent: u64,
    /// Bytes received, all of them equal to what was expected.
    pub received: u64,
    /// The other side half-closed and everything before it was read.
    pub ended: bool,
    /// The flow was reset.
    pub reset: Option<ResetReason>,
    /// The queue pair was given back.
    pub released: bool,
}

/// One end of a flow at an unshaped process.
#[derive(Debug)]
struct End {
    queue: QueueRef,
    plan: Plan,
    outcome: Outcome,
    fin_sent: bool,
    peer_fin: Option<u64>,
    closed_sent: bool,
    peer_closed: Option<u64>,
    echo: bool,
    /// What it was asked, as a directory.
    asked: Option<FrameReader>,
}

impl End {
    fn new(queue: QueueRef, plan: Plan) -> Self {
        Self {
            queue,
            plan,
            outcome: Outcome::default(),
            fin_sent: false,
            peer_fin: None,
            closed_sent: false,
            peer_closed: None,
            echo: false,
            asked: None,
        }
    }

    fn step(&mut self, queues: &mut MemoryQueues, records: Option<&Records>) -> Result<(), QueueFault> {
        let index = self.queue.index;
        if self.outcome.reset.is_none() && self.asked.is_some() {
            self.answer(queues, records)?;
        } else if self.outcome.reset.is_none() {
            self.read(queues)?;
            if !self.echo {
                self.write(queues)?;
            }
        }
        let over = self.outcome.reset.is_some() || (self.outcome.ended && self.fin_sent);
        if over && !self.closed_sent {
            self.closed_sent = true;
            queues.send_message(&LocalMessage::Closed(self.queue, queues.write_position(index)))?;
        }
        Ok(())
    }

    /// Answers questions about records. Answers are short, so the ring takes them whole.
    #[expect(clippy::unwrap_in_result, reason = "a model's own client writes frames")]
    fn answer(&mut self, queues: &mut MemoryQueues, records: Option<&Records>) -> Result<(), QueueFault> {
        let index = self.queue.index;
        let bytes = queues.read(index, usize::MAX)?;
        let Some(reader) = &mut self.asked else { return Ok(()) };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = reader.handle_bytes(rest).expect("frames");
            rest = &rest[taken..];
            while let Some(body) = reader.poll_frame() {
                let Ok(ServiceRequest::Record { key }) = ServiceRequest::decode(&body) else {
                    panic!("another question")
                };
                let record = records.and_then(|records| records.borrow().get(&key).cloned());
                let answer = frame(&ServiceAnswer::Record(record).encode());
                assert_eq!(queues.write(index, &answer)?, answer.len(), "an answer fits into a ring");
            }
        }
        if self.peer_fin == Some(queues.read_position(index)) {
            self.outcome.ended = true;
            self.finish(queues)?;
        }
        Ok(())
    }

    fn read(&mut self, queues: &mut MemoryQueues) -> Result<(), QueueFault> {
        let index = self.queue.index;
        let room = if self.echo { queues.writable(index)? } else { usize::MAX };
        let bytes = queues.read(index, self.plan.read_per_step.min(room))?;
        for (offset, byte) in (0..).zip(&bytes) {
            assert_eq!(
                *byte,
                pattern(self.outcome.received + offset),
                "byte {} of a flow",
                self.outcome.received + offset
            );
        }
        self.outcome.received += bytes.len() as u64;
        if self.echo && !bytes.is_empty() {
            self.outcome.sent += queues.write(index, &bytes)? as u64;
        }
        if self.peer_fin == Some(queues.read_position(index)) {
            self.outcome.ended = true;
            if self.echo {
                self.finish(queues)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, queues: &mut MemoryQueues) -> Result<(), QueueFault> {
        let index = self.queue.index;
        let left = self.plan.send - self.outcome.sent;
        let count = left.min(queues.writable(index)? as u64);
        let bytes: Vec<u8> = (self.outcome.sent..self.outcome.sent + count).map(pattern).collect();
        self.outcome.sent += queues.write(index, &bytes)? as u64;
        if self.outcome.sent == self.plan.send {
            self.finish(queues)?;
        }
        Ok(())
    }

    fn finish(&mut self, queues: &mut MemoryQueues) -> Result<(), QueueFault> {
        if !std::mem::replace(&mut self.fin_sent, true) {
            let position = queues.write_position(self.queue.index);
            queues.send_message(&LocalMessage::Fin(self.queue, position))?;
        }
        Ok(())
    }

    fn handle(&mut self, message: &LocalMessage) {
        match message {
            LocalMessage::Connected(..) => self.outcome.connected = true,
            LocalMessage::Fin(_, position) => self.peer_fin = Some(*position),
            LocalMessage::Reset(_, reason) => self.outcome.reset = Some(*reason),
            LocalMessage::Closed(_, position) => self.peer_closed = Some(*position),
            LocalMessage::Syn(..) => {}
        }
    }

    /// Both sides are done: what was never read is dropped.
    fn settle(&mut self, queues: &mut MemoryQueues) -> Result<bool, QueueFault> {
        let Some(position) = self.peer_closed.filter(|_| self.closed_sent) else { return Ok(false) };
        queues.discard(self.queue.index, position)?;
        self.outcome.released = true;
        Ok(true)
    }
}

/// The unshaped process of one node.
#[derive(Debug)]
pub struct Unshaped {
    queues: MemoryQueues,
    /// The entry's opens flows; the exit's serves them.
    opens: bool,
    ends: BTreeMap<u16, End>,
    opened: Vec<Outcome>,
    places: BTreeMap<u16, usize>,
    /// Bytes that a server reads in each step.
    pub server_reads: usize,
    newly_opened: bool,
    newly_full: bool,
    /// What a directory behind an exit knows; without it directory streams are echoed.
    pub records: Option<Records>,
    /// Whether directory streams are refused: the directory is not reached.
    pub is_directory_away: bool,
}

impl Unshaped {
    /// Takes one side of the queues.
    pub fn new(queues: MemoryQueues, opens: bool) -> Self {
        Self {
            queues,
            opens,
            ends: BTreeMap::new(),
            opened: Vec::new(),
            places: BTreeMap::new(),
            server_reads: 64 * 1024,
            newly_opened: false,
            newly_full: false,
            records: None,
            is_directory_away: false,
        }
    }

    /// Opens a flow and returns its number, or `None` when all queue pairs are taken.
    pub fn open(&mut self, plan: Plan) -> Option<usize> {
        let destination = Destination::from(SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port)));
        self.open_as(plan, Syn { kind: FlowKind::Stream, client: plan.client, destination })
    }

    /// The same to a name.
    pub fn open_name(&mut self, plan: Plan, name: &str) -> Option<usize> {
        let host = Host::Name(HostName::new(name).ok()?);
        let destination = Destination { host, port: plan.port };
        self.open_as(plan, Syn { kind: FlowKind::Stream, client: plan.client, destination })
    }

    /// The same to the directory of the exit, which sends back what comes; the plan's port has no meaning.
    pub fn open_directory(&mut self, plan: Plan) -> Option<usize> {
        self.open_as(plan, Syn::directory(plan.client))
    }

    fn open_as(&mut self, plan: Plan, syn: Syn) -> Option<usize> {
        let queue = self.queues.allocate()?;
        self.queues.send_message(&LocalMessage::Syn(queue, syn)).ok()?;
        self.ends.insert(queue.index, End::new(queue, plan));
        self.newly_opened = true;
        self.opened.push(Outcome::default());
        self.places.insert(queue.index, self.opened.len() - 1);
        Some(self.opened.len() - 1)
    }

    /// Aborts a flow.
    pub fn abort(&mut self, number: usize) {
        let Some((&index, _)) = self.places.iter().find(|(_, place)| **place == number) else { return };
        if let Some(end) = self.ends.get_mut(&index) {
            end.outcome.reset = Some(ResetReason::ByPeer);
            let _ = self.queues.send_message(&LocalMessage::Reset(end.queue, ResetReason::ByPeer));
        }
    }

    /// What became of a flow that was opened here.
    pub fn outcome(&self, number: usize) -> Outcome {
        self.opened[number]
    }

    /// Whether a flow was opened since this was last asked (for planted leaks).
    pub fn opened_since_asked(&mut self) -> bool {
        std::mem::take(&mut self.newly_opened)
    }

    /// Whether a ring became full since this was last asked (for planted leaks).
    pub fn ring_filled_since_asked(&mut self) -> bool {
        std::mem::take(&mut self.newly_full)
    }

    /// Bytes that flows which are open here have received.
    pub fn served(&self) -> u64 {
        self.ends.values().map(|end| end.outcome.received).sum()
    }

    /// Flows that are open here.
    pub fn open_count(&self) -> usize {
        self.ends.len()
    }

    /// Queue pairs that are free.
    pub fn free_count(&self) -> usize {
        self.queues.free_count()
    }

    /// Whether ends have done something that the shaped side has not looked at.
    pub fn rings(&self) -> bool {
        self.queues.rings()
    }

    /// Lets all ends act once.
    ///
    /// # Errors
    /// When the shaped side broke the queue protocol.
    pub fn step(&mut self) -> Result<(), QueueFault> {
        while let Some(message) = self.queues.poll_message()? {
            self.handle(&message)?;
        }
        while self.queues.poll_active().is_some() {}
        let mut over = Vec::new();
        for (&index, end) in &mut self.ends {
            let room = self.queues.writable(index)?;
            end.step(&mut self.queues, self.records.as_ref())?;
            self.newly_full |= room > 0 && self.queues.writable(index)? == 0;
            if end.settle(&mut self.queues)? {
                over.push((index, end.queue));
            }
            if let Some(&place) = self.places.get(&index) {
                self.opened[place] = end.outcome;
            }
        }
        for (index, queue) in over {
            self.ends.remove(&index);
            self.places.remove(&index);
            if self.opens {
                self.queues.release(queue);
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: &LocalMessage) -> Result<(), QueueFault> {
        let queue = message.queue();
        if let LocalMessage::Syn(queue, syn) = message {
            return self.serve(*queue, syn);
        }
        if let Some(end) = self.ends.get_mut(&queue.index).filter(|end| end.queue == queue) {
            end.handle(message);
        }
        Ok(())
    }

    fn serve(&mut self, queue: QueueRef, syn: &Syn) -> Result<(), QueueFault> {
        let is_directory = syn.kind == FlowKind::Directory;
        let port = if is_directory { port::ECHO } else { syn.destination.port };
        let send = match port {
            port::MEGABYTE => MEGABYTE,
            port::ENDLESS => u64::MAX,
            _ => 0,
        };
        let read_per_step = if port == port::STALLED { 0 } else { self.server_reads };
        let plan = Plan { port, client: syn.client, send, read_per_step };
        let mut end = End::new(queue, plan);
        end.asked = self.records.as_ref().filter(|_| is_directory).map(|_| FrameReader::requests());
        end.echo = port == port::ECHO && end.asked.is_none();
        if port == port::REFUSED || (is_directory && self.is_directory_away) {
            end.outcome.reset = Some(ResetReason::Refused);
            self.queues.send_message(&LocalMessage::Reset(queue, ResetReason::Refused))?;
        } else {
            let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
            self.queues.send_message(&LocalMessage::Connected(queue, bound))?;
        }
        self.ends.insert(queue.index, end);
        Ok(())
    }
}
