//! One tunnel's session and the flows that it carries. What carries the session's packets is not known here.
//!
//! Bytes are bound to packets at the last moment: [`Tunnel::pull`] first lets the flows whose turn it is
//! put just enough into the session for one packet, then takes that packet. So a byte that arrives now is
//! not behind a backlog that some other flow built up, and fairness between clients is decided here.

use self::arrivals::Arrivals;
use self::question::Questions;
use crate::exit::ServicePorts;
use crate::fair::FairQueue;
use crate::flow::{Far, Flow, Owner};
use crate::near::Near;
use crate::queues::FlowQueues;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use session::{FlowId, PacketBatch, Session, SessionEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::flow::{ResetReason, Syn};
use wire::grant::Grant;
use wire::local::LocalMessage;

mod arrivals;
mod datagrams;
mod inbound;
mod messages;
mod outbound;
mod question;

pub(crate) use messages::handle_message;

/// Most session events that are handled in one go; the rest waits for the next.
const EVENTS_PER_SETTLE_MAX: usize = 4096;

/// How much a tunnel puts into the session ahead of its packets, and in which portions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portions {
    /// Unsent bytes that the session should hold before a packet is taken.
    pub(crate) ahead: u64,
    /// Bytes of one flow's turn.
    pub(crate) turn: usize,
}

impl Portions {
    /// Without slots. Ahead: several batches of packets, so that no poll finds the session empty, and a tunnel sees whether enough
    /// waits for a slower leg to be worth using. A turn: enough for its cost to vanish, few enough bytes for flows to mix.
    pub(crate) const OFF: Self = Self { ahead: 192 * 1024, turn: 16 * 1024 };
}

/// Over circuits a session acknowledges after so many packets or this time. Legs have feedback of their own, so an acknowledgement
/// only frees memory, and each is a cell that a relay with a limit could have used for data.
pub(crate) const ACK_EVERY: u32 = 32;
pub(crate) const ACK_DELAY: Duration = Duration::from_millis(25);

/// What happened to the tunnel as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TunnelEvent {
    /// The session is up.
    Up,
    /// The session is over.
    Lost(session::CloseReason),
}

pub(crate) struct Tunnel {
    owner: Owner,
    pub(crate) session: Session,
    fair: FairQueue,
    by_far: BTreeMap<FlowId, u16>,
    arrivals: Arrivals,
    client_secret: [u8; 32],
    /// At a service: where flows may go.
    ports: Option<Arc<ServicePorts>>,
    up: bool,
    heard: bool,
    /// Leave to release that came and was not fetched; at most what a session keeps waiting.
    granted: Vec<Grant>,
    /// What the node itself has asked.
    questions: Questions,
    /// Bytes that may still be taken from flows; see [`crate::memory`].
    room: u64,
    /// Flows wait for room: when to look again.
    room_at: Option<Instant>,
}

impl Tunnel {
    pub(crate) fn new(owner: Owner, session: Session, client_secret: [u8; 32]) -> Self {
        Self {
            owner,
            session,
            fair: FairQueue::default(),
            by_far: BTreeMap::new(),
            arrivals: Arrivals::default(),
            client_secret,
            ports: None,
            up: false,
            heard: false,
            granted: Vec::new(),
            questions: Questions::default(),
            room: u64::MAX,
            room_at: None,
        }
    }

    /// How many more bytes may be taken from flows from now on. Without any no flow is opened either.
    pub(crate) fn set_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// When flows that wait for room want to be looked at again.
    pub(crate) fn room_due(&self) -> Option<Instant> {
        self.room_at
    }

    /// They are looked at: time has come for that, or there was another reason.
    pub(crate) fn forget_room_due(&mut self, now: Instant) {
        self.room_at.take_if(|at| *at <= now);
    }

    /// Lets flows of the other node lead to these ports alone, if there are any to name.
    pub(crate) fn leading_to(self, ports: Option<Arc<ServicePorts>>) -> Self {
        Self { ports, ..self }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// True once a session packet came from the other node.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard
    }

    /// Leave to release that the other node has sent since the last call.
    pub(crate) fn take_granted(&mut self) -> Vec<Grant> {
        std::mem::take(&mut self.granted)
    }

    /// A number for a client that only this tunnel uses: the keystream of a secret drawn for the tunnel,
    /// at a place that the local number names.
    fn client_number(&self, local: u64) -> u64 {
        let mut stream = ChaCha20Rng::from_seed(self.client_secret);
        stream.set_stream(local);
        stream.next_u64()
    }

    /// Takes a session packet, and what may follow it.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.heard = true;
        self.session.handle_packet(now, packet);
    }

    /// The next session packet, or none; appended to `out`.
    pub(crate) fn pull<Q: FlowQueues>(
        &mut self,
        now: Instant,
        near: &mut Near<Q>,
        portions: Portions,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        self.top_up(now, near, portions);
        self.session.poll_packet(now, out)
    }

    /// Up to `max` session packets at once, for a sender without slots.
    pub(crate) fn pull_batch<Q: FlowQueues>(
        &mut self,
        now: Instant,
        near: &mut Near<Q>,
        portions: Portions,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<PacketBatch> {
        self.top_up(now, near, portions);
        self.session.poll_packets(now, max, out)
    }

    /// Handles what the session has to say. Call it after packets, time-outs and near activity.
    pub(crate) fn settle<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>) -> Option<TunnelEvent> {
        self.serve_arrivals(now, near);
        for _ in 0..EVENTS_PER_SETTLE_MAX {
            match self.session.poll_event()? {
                SessionEvent::Connected { .. } => {
                    self.up = true;
                    self.open_waiting(near);
                    return Some(TunnelEvent::Up);
                }
                SessionEvent::Closed(reason) => return Some(TunnelEvent::Lost(reason)),
                SessionEvent::FlowOpened(far, syn) => self.handle_opened(now, far, syn, near),
                SessionEvent::FlowConnected(far, address) => {
                    if let Some(queue) = self.near_queue(far, near) {
                        near.send(&LocalMessage::Connected(queue, address));
                    }
                }
                SessionEvent::Readable(far) => {
                    if let Some(&index) = self.by_far.get(&far) {
                        self.pump_in(now, index, near);
                    } else {
                        self.listen(now, far);
                    }
                }
                SessionEvent::Writable(far) => {
                    self.say(far);
                    if let Some(&index) = self.by_far.get(&far)
                        && let Some(flow) = near.table.at(index)
                    {
                        flow.credit_wait = false;
                        self.fair.push(flow.client, index);
                    }
                }
                SessionEvent::FlowReset(far, reason) => {
                    self.arrivals.forget(far);
                    self.questions.handle_reset(far);
                    if let Some(index) = self.by_far.remove(&far) {
                        near.reset(index, reason);
                    }
                }
                SessionEvent::Granted(grant) => self.granted.push(grant),
                SessionEvent::Datagram(far, record) => {
                    if let Some(&index) = self.by_far.get(&far) {
                        datagrams::deliver(index, &record, near);
                    }
                }
            }
        }
        None
    }

    fn near_queue<Q: FlowQueues>(&self, far: FlowId, near: &mut Near<Q>) -> Option<wire::local::QueueRef> {
        near.table.at(*self.by_far.get(&far)?).map(|flow| flow.queue)
    }

    /// The unshaped process opened a flow.
    pub(crate) fn handle_syn<Q: FlowQueues>(&mut self, queue: wire::local::QueueRef, syn: Syn, near: &mut Near<Q>) {
        let flow = Flow::new(queue, self.owner, syn.client, syn.kind, Far::Waiting(syn));
        if near.insert(flow) && self.up {
            self.open(queue.index, near);
        }
    }

    /// Opens the flows that waited for this session.
    pub(crate) fn open_waiting<Q: FlowQueues>(&mut self, near: &mut Near<Q>) {
        if !self.up {
            return;
        }
        for index in near.table.indices() {
            self.open(index, near);
        }
    }

    /// Opens the session side of a waiting flow.
    fn open<Q: FlowQueues>(&mut self, index: u16, near: &mut Near<Q>) {
        let Some(flow) = near.table.at(index).filter(|flow| flow.owner == self.owner) else { return };
        let Far::Waiting(syn) = &flow.far else { return };
        let mut syn = syn.clone();
        syn.client = self.client_number(syn.client);
        if self.room == 0 {
            return near.reset(index, ResetReason::NoMemory);
        }
        match self.session.open_flow(&syn) {
            Ok(far) => {
                flow.far = Far::Open(far);
                self.by_far.insert(far, index);
                self.fair.push(flow.client, index);
            }
            Err(_) => near.reset(index, ResetReason::TooManyFlows),
        }
    }

    /// The unshaped process moved something in one of this tunnel's queue pairs, or said something about it.
    pub(crate) fn handle_active<Q: FlowQueues>(&mut self, now: Instant, index: u16, near: &mut Near<Q>) {
        let Some(flow) = near.table.at(index) else { return };
        if flow.far_id().is_none() {
            return;
        }
        if !flow.finished_out && !flow.credit_wait {
            self.fair.push(flow.client, index);
        }
        if flow.room_wait {
            self.pump_in(now, index, near);
        }
    }

    /// The destination answered (exit).
    pub(crate) fn handle_connected<Q: FlowQueues>(
        &mut self,
        index: u16,
        address: std::net::SocketAddr,
        near: &mut Near<Q>,
    ) {
        if let Some(far) = near.table.at(index).and_then(|flow| flow.far_id()) {
            self.session.confirm_flow(far, address);
        }
    }

    /// The unshaped process ended a flow at once.
    pub(crate) fn handle_near_reset<Q: FlowQueues>(&mut self, index: u16, reason: ResetReason, near: &mut Near<Q>) {
        let Some(flow) = near.table.at(index) else { return };
        if let Far::Open(far) = std::mem::replace(&mut flow.far, Far::Gone) {
            self.by_far.remove(&far);
            self.session.reset(far, reason);
        }
        near.close_if_done(index);
    }

    /// Ends every flow of this tunnel towards the unshaped process.
    pub(crate) fn abandon<Q: FlowQueues>(&mut self, reason: ResetReason, near: &mut Near<Q>) {
        for index in near.table.indices() {
            if near.table.at(index).is_some_and(|flow| flow.owner == self.owner) {
                near.reset(index, reason);
            }
        }
        self.by_far.clear();
        self.questions.abandon();
        self.arrivals = Arrivals::default();
        self.fair = FairQueue::default();
        self.up = false;
    }

    /// Ends every flow of this tunnel towards the other node: the queues are gone.
    pub(crate) fn reset_all(&mut self, reason: ResetReason) {
        for far in std::mem::take(&mut self.by_far).into_keys().chain(self.arrivals.take()) {
            self.session.reset(far, reason);
        }
        self.fair = FairQueue::default();
    }

    /// A flow whose bytes and ends have all passed is forgotten on the session's side too.
    fn forget_if_finished<Q: FlowQueues>(&mut self, index: u16, near: &mut Near<Q>) {
        let finished = near.table.at(index).filter(|flow| flow.is_done());
        if let Some(far) = finished.and_then(|flow| flow.far_id()) {
            self.by_far.remove(&far);
            near.close_if_done(index);
        }
    }

    /// True when a flow waits for its turn.
    pub(crate) fn has_waiting_flows(&self) -> bool {
        !self.fair.is_empty()
    }

    fn is_stream(flow: &Flow) -> bool {
        flow.kind.is_stream()
    }
}
