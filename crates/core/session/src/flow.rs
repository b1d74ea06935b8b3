//! Flows: their numbers and what the session remembers of each.

use crate::event::SessionEvent;
use crate::memory::{Burden, FlowMemory};
use quinn_proto::{Dir, Side, StreamId, VarInt};
use std::collections::BTreeMap;
use std::fmt;
use wire::flow::{FlowKind, ResetReason};

/// Names a flow for as long as the session lives; numbers are never used again.
///
/// A stream flow has the number of its QUIC stream (RFC 9000, section 2.1: always a client's bidirectional one).
/// A datagram flow has no stream; its number is of the kind that QUIC gives to a client's unidirectional
/// streams, of which there are none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub(crate) u64);

impl FlowId {
    const KIND_MASK: u64 = 0b11;
    const STREAM: u64 = 0b00;
    const DATAGRAMS: u64 = 0b10;
    /// Room that the two kind bits leave, and the largest number that QUIC can write.
    const INDEX_MAX: u64 = (1 << 60) - 1;

    /// The `index`-th datagram flow.
    pub(crate) fn datagrams(index: u64) -> Self {
        Self(index << 2 | Self::DATAGRAMS)
    }

    /// Reads a number that came from the other end. `None`: no flow can have it.
    pub(crate) fn from_wire(number: u64) -> Option<Self> {
        let id = Self(number);
        let known = matches!(number & Self::KIND_MASK, Self::STREAM | Self::DATAGRAMS);
        (known && number >> 2 <= Self::INDEX_MAX && id.stream() != Some(control_stream())).then_some(id)
    }

    /// The number as it travels.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Counts flows of one kind from 0, the control stream included.
    pub(crate) fn index(self) -> u64 {
        self.0 >> 2
    }

    /// What kind of flow the number is for: streams, of whatever kind, or datagrams.
    pub fn kind(self) -> FlowKind {
        if self.0 & Self::KIND_MASK == Self::STREAM { FlowKind::Stream } else { FlowKind::Datagrams }
    }

    /// The stream of a stream flow.
    pub(crate) fn stream(self) -> Option<StreamId> {
        let number = VarInt::from_u64(self.0).ok()?;
        (self.kind() == FlowKind::Stream).then(|| StreamId::from(number))
    }
}

impl From<StreamId> for FlowId {
    fn from(stream: StreamId) -> Self {
        Self(u64::from(stream))
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The first stream of the client: it carries control messages and no flow.
pub(crate) fn control_stream() -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, 0)
}

/// What the session remembers of one flow, from its first sign until both directions are over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    /// Its SYN was sent or has come. A server keeps streams that are ahead of their SYN, unread.
    pub(crate) announced: bool,
    /// `CONNECTED` was sent or has come.
    pub(crate) confirmed: bool,
    /// Bytes accepted by `write`.
    pub(crate) written: u64,
    /// Of these, bytes that were in a packet at least once.
    pub(crate) sent: u64,
    /// `finish` was called.
    pub(crate) finished: bool,
    /// The other end has acknowledged everything up to the finish.
    pub(crate) finish_acked: bool,
    /// The other end finished a datagram flow.
    pub(crate) peer_finished: bool,
    /// `read` has returned `Finished`.
    pub(crate) read_finished: bool,
    /// A server knows of a reset whose SYN has not come. Of what still comes nothing is kept.
    pub(crate) early_reset: Option<ResetReason>,
    /// What is kept of it.
    pub(crate) memory: FlowMemory,
    readable_queued: bool,
    writable_queued: bool,
}

impl Flow {
    /// Bytes that were written and never sent.
    pub(crate) fn unsent(&self) -> u64 {
        self.written - self.sent
    }

    /// Nothing of the flow is left to do, in either direction.
    pub(crate) fn is_over(&self) -> bool {
        self.finish_acked && self.read_finished
    }

    /// The caller has nothing left to do with it; only the other end's acknowledgement is missing.
    fn is_closing(&self) -> bool {
        self.finished && self.read_finished
    }

    /// Takes the flow's `Readable` if none is queued.
    pub(crate) fn readable(&mut self, id: FlowId) -> Option<SessionEvent> {
        let fresh = self.announced && !std::mem::replace(&mut self.readable_queued, true);
        fresh.then_some(SessionEvent::Readable(id))
    }

    /// Takes the flow's `Writable` if none is queued.
    pub(crate) fn writable(&mut self, id: FlowId) -> Option<SessionEvent> {
        let fresh = self.announced && !std::mem::replace(&mut self.writable_queued, true);
        fresh.then_some(SessionEvent::Writable(id))
    }

    /// The caller has an event now; the next one may be queued.
    pub(crate) fn taken(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Readable(_) => self.readable_queued = false,
            SessionEvent::Writable(_) => self.writable_queued = false,
            _ => {}
        }
    }
}

/// All flows and the sum of their unsent bytes.
#[derive(Debug, Default)]
pub(crate) struct FlowTable {
    flows: BTreeMap<FlowId, Flow>,
    unsent: u64,
    unannounced: usize,
    /// Bytes that were in a packet for the first time.
    pub(crate) first_sent: u64,
    unread: u64,
    unread_overhead: u64,
}

impl FlowTable {
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether the caller has at least so many flows. Those of which only the end is still under way do not count.
    pub(crate) fn is_full(&self, max: usize) -> bool {
        // The exact count costs a look at each flow and is seldom needed.
        self.flows.len() >= max && self.flows.values().filter(|flow| !flow.is_closing()).count() >= max
    }

    /// Flows whose SYN has not come.
    pub(crate) fn unannounced(&self) -> usize {
        self.unannounced
    }

    pub(crate) fn unsent(&self) -> u64 {
        self.unsent
    }

    pub(crate) fn at(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    /// A flow that the caller knows of.
    pub(crate) fn announced(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(&id).filter(|flow| flow.announced)
    }

    /// A stream that is ahead of its SYN.
    pub(crate) fn await_syn(&mut self, id: FlowId) {
        self.flows.entry(id).or_insert_with(|| {
            self.unannounced += 1;
            Flow::default()
        });
    }

    /// A flow whose SYN was sent or has come.
    pub(crate) fn announce(&mut self, id: FlowId) {
        self.await_syn(id);
        if let Some(flow) = self.flows.get_mut(&id)
            && !std::mem::replace(&mut flow.announced, true)
        {
            self.unannounced -= 1;
        }
    }

    pub(crate) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.unsent -= flow.unsent();
        self.unread -= flow.memory.unread();
        self.unread_overhead -= flow.memory.overhead();
        self.unannounced -= usize::from(!flow.announced);
        Some(flow)
    }

    pub(crate) fn record_written(&mut self, id: FlowId, bytes: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.written += bytes;
            self.unsent += bytes;
        }
    }

    /// A packet held bytes of this flow up to `end`. Repeats change nothing.
    pub(crate) fn record_sent(&mut self, id: FlowId, end: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let end = end.min(flow.written);
        let fresh = end.saturating_sub(flow.sent);
        flow.sent += fresh;
        self.unsent -= fresh;
        self.first_sent += fresh;
    }

    /// Bytes of flows that came and were not read, gaps before them included; and what packets keep beside them.
    pub(crate) fn unread(&self) -> (u64, u64) {
        (self.unread, self.unread_overhead)
    }

    /// A packet of so many bytes had bytes of this flow up to `end`.
    pub(crate) fn record_came(&mut self, id: FlowId, end: u64, packet_len: u64) {
        self.change_memory(id, |memory| memory.take(end, packet_len));
    }

    /// So many bytes of this flow were read.
    pub(crate) fn record_read(&mut self, id: FlowId, bytes: u64) {
        self.change_memory(id, |memory| memory.read(bytes));
    }

    /// Everything of a flow was dropped that came, and all that comes will be.
    pub(crate) fn record_stopped(&mut self, id: FlowId) {
        self.change_memory(id, FlowMemory::stop);
    }

    /// Bytes of this flow are kept until they are acknowledged.
    pub(crate) fn record_kept(&mut self, id: FlowId, bytes: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.memory.kept += bytes;
        }
    }

    /// Kept bytes of this flow are gone.
    pub(crate) fn record_freed(&mut self, id: FlowId, bytes: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.memory.kept = flow.memory.kept.saturating_sub(bytes);
        }
    }

    /// Flows of which bytes are kept, and how many.
    pub(crate) fn held(&self, of: Burden) -> impl Iterator<Item = (FlowId, u64)> {
        self.flows.iter().map(move |(id, flow)| (*id, flow.memory.held(of))).filter(|(_, held)| *held > 0)
    }

    /// All flows that have a stream.
    pub(crate) fn streams(&self) -> impl Iterator<Item = StreamId> {
        self.flows.keys().filter_map(|id| id.stream())
    }

    fn change_memory(&mut self, id: FlowId, change: impl FnOnce(&mut FlowMemory)) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        self.unread -= flow.memory.unread();
        self.unread_overhead -= flow.memory.overhead();
        change(&mut flow.memory);
        self.unread += flow.memory.unread();
        self.unread_overhead += flow.memory.overhead();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_kind_and_stream() {
        let stream = StreamId::new(Side::Client, Dir::Bi, 3);
        assert_eq!(FlowId::from(stream), FlowId(12));
        assert_eq!(FlowId(12).stream(), Some(stream));
        assert_eq!(FlowId(12).kind(), FlowKind::Stream);
        assert_eq!(FlowId::datagrams(3), FlowId(14));
        assert_eq!(FlowId(14).kind(), FlowKind::Datagrams);
        assert_eq!(FlowId(14).stream(), None);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let refused = [0, 1, 3, 5, u64::MAX, 1 << 62];
        assert!(refused.into_iter().all(|number| FlowId::from_wire(number).is_none()));
        assert_eq!(FlowId::from_wire(4), Some(FlowId(4)));
        assert_eq!(FlowId::from_wire(2), Some(FlowId(2)), "the first datagram flow");
    }

    #[test]
    fn unsent_bytes_are_counted_once() {
        let mut table = FlowTable::default();
        let (one, two) = (FlowId(4), FlowId(8));
        table.announce(one);
        table.announce(two);
        table.record_written(one, 100);
        table.record_written(two, 10);
        table.record_sent(one, 60);
        table.record_sent(one, 40);
        assert_eq!(table.unsent(), 50);
        table.record_sent(one, 1000);
        assert_eq!(table.unsent(), 10, "more than was written cannot be sent");
        table.remove(two);
        assert_eq!(table.unsent(), 0);
        assert_eq!(table.first_sent, 100);
    }
}
