//! What the caller does with flows.

use super::{Phase, Session};
use crate::control::ControlMessage;
use crate::datagram;
use crate::event::{DatagramError, OpenError, ReadOutcome, SessionEvent, StreamState, Violation, WriteError};
use crate::flow::{FlowId, control_stream};
use crate::memory::Burden;
use crate::tap;
use bytes::Bytes;
use quinn_proto::{Chunks, Dir, ReadError, Side, StreamId, VarInt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use wire::flow::{FlowKind, ResetReason, Syn};
use wire::grant::Grant;

/// Bytes of control messages that are given to quinn as one piece: it keeps the whole of a piece for any part of it.
const CONTROL_PIECE: usize = 1024;

impl Session {
    /// Client: opens a flow. It may be written to at once, before the destination has answered.
    pub fn open_flow(&mut self, syn: &Syn) -> Result<FlowId, OpenError> {
        if self.side != Side::Client {
            return Err(OpenError::NotClient);
        }
        let (Phase::Connected, Some((_, connection))) = (self.phase, &mut self.connection) else {
            return Err(OpenError::NotConnected);
        };
        if self.flows.is_full(self.config.max_flows.into()) {
            return Err(OpenError::TooManyFlows);
        }
        // Half of the room for control messages is kept for those that close flows.
        if self.control_out.len() > self.config.control_backlog_max() / 2 {
            return Err(OpenError::TooManyFlows);
        }
        let id = match syn.kind {
            FlowKind::Stream | FlowKind::Directory => {
                connection.streams().open(Dir::Bi).map(FlowId::from).ok_or(OpenError::TooManyFlows)?
            }
            FlowKind::Datagrams => FlowId::datagrams(self.newest_datagrams.map_or(0, |newest| newest.index() + 1)),
        };
        self.announce(id);
        self.send_control(&ControlMessage::Syn(id, syn.clone()));
        Ok(id)
    }

    /// Server: the destination of a flow answered; `bound` is this node's end of that connection. Ignored for a
    /// flow that is gone or confirmed.
    pub fn confirm_flow(&mut self, id: FlowId, bound: SocketAddr) {
        let Some(flow) = self.flows.announced(id) else { return };
        if self.side == Side::Server && !std::mem::replace(&mut flow.confirmed, true) {
            self.send_control(&ControlMessage::Connected(id, bound));
        }
    }

    /// Client: gives the other end leave to release measurements. False if that cannot be sent now; the leave is spent
    /// all the same, since it cannot be known later whether it went out.
    pub fn grant(&mut self, grant: Grant) -> bool {
        let can = self.side == Side::Client && self.phase == Phase::Connected;
        if can {
            self.send_control(&ControlMessage::Grant(grant));
        }
        can
    }

    /// Gives bytes to a stream flow and returns how many it took. When it took fewer than it was given, a
    /// `Writable` event tells when it may take more.
    pub fn write(&mut self, id: FlowId, data: Bytes) -> Result<usize, WriteError> {
        let flow = self.flows.announced(id).ok_or(WriteError::UnknownFlow)?;
        let stream = id.stream().filter(|_| !flow.finished).ok_or(WriteError::NotWritable)?;
        let (_, connection) = self.connection.as_mut().ok_or(WriteError::UnknownFlow)?;
        // A piece of which quinn takes a part is kept as a whole.
        self.flows.record_kept(id, data.len() as u64);
        let data = tap::counted(&self.shared.tap, id.number(), data);
        match connection.send_stream(stream).write_chunks(&mut [data]) {
            Ok(written) => {
                self.flows.record_written(id, written.bytes as u64);
                Ok(written.bytes)
            }
            Err(quinn_proto::WriteError::Blocked) => Ok(0),
            Err(quinn_proto::WriteError::Stopped(_) | quinn_proto::WriteError::ClosedStream) => {
                Err(WriteError::UnknownFlow)
            }
        }
    }

    /// Hands at most `bytes_max` bytes of a stream flow to `take`, in pieces, without a copy. What is not read
    /// stays under the flow's own window, so a slow reader holds back only itself.
    pub fn read(&mut self, now: Instant, id: FlowId, bytes_max: usize, take: &mut dyn FnMut(&[u8])) -> ReadOutcome {
        self.advance(now);
        let Some(flow) = self.flows.announced(id) else {
            return ReadOutcome { bytes: 0, state: StreamState::Reset(self.why_gone(id)) };
        };
        let gone = ReadOutcome { bytes: 0, state: StreamState::Reset(ResetReason::TunnelLost) };
        if flow.read_finished {
            return ReadOutcome { bytes: 0, state: StreamState::Finished };
        }
        let outcome = match (id.stream(), &mut self.connection) {
            (None, _) => {
                let state = if flow.peer_finished { StreamState::Finished } else { StreamState::Open };
                ReadOutcome { bytes: 0, state }
            }
            (Some(stream), Some((_, connection))) => match connection.recv_stream(stream).read(true) {
                Ok(chunks) => read_chunks(chunks, bytes_max, take),
                Err(_) => gone,
            },
            (Some(_), None) => gone,
        };
        self.flows.record_read(id, outcome.bytes as u64);
        match outcome.state {
            StreamState::Open => {}
            StreamState::Finished => {
                if let Some(flow) = self.flows.at(id) {
                    flow.read_finished = true;
                }
                self.remove_if_over(id);
            }
            StreamState::Reset(reason) => self.drop_flow(id, reason),
        }
        outcome
    }

    /// No more bytes or records follow. Everything accepted before still arrives; the other direction goes on.
    /// Ignored for a flow that is gone or finished.
    pub fn finish(&mut self, id: FlowId) {
        let Some(flow) = self.flows.announced(id) else { return };
        if std::mem::replace(&mut flow.finished, true) {
            return;
        }
        match (id.stream(), &mut self.connection) {
            (Some(stream), Some((_, connection))) => {
                // Fails only for a stream that the other end has stopped: its `FlowReset` is on its way.
                let _ = connection.send_stream(stream).finish();
            }
            (Some(_), None) => {}
            (None, _) => {
                flow.finish_acked = true;
                self.send_control(&ControlMessage::Finished(id));
                self.remove_if_over(id);
            }
        }
    }

    /// Ends a flow at once, in both directions; the other end learns the reason. The flow is gone: no event about
    /// it follows that was not queued before. Ignored for a flow that is gone.
    pub fn reset(&mut self, id: FlowId, reason: ResetReason) {
        if self.flows.announced(id).is_some() {
            self.drop_flow(id, reason);
        }
    }

    /// Ends the flow that holds most memory: of what was pushed, or unread and unacknowledged bytes and datagrams that wait
    /// together. A `FlowReset` tells the caller, and the other end learns the reason. False if none holds anything.
    pub fn shed(&mut self, now: Instant, of: Burden, reason: ResetReason) -> bool {
        self.advance(now);
        self.account_came();
        let Some(id) = self.largest_flow(of) else { return false };
        if self.flows.announced(id).is_some() {
            self.drop_flow(id, reason);
            self.events.push_back(SessionEvent::FlowReset(id, reason));
            return true;
        }
        // Its SYN has not come, or it is gone.
        self.forget_datagrams(id);
        if let (Some(flow), Some(stream)) = (self.flows.at(id), id.stream()) {
            flow.early_reset.get_or_insert(reason);
            self.flows.record_stopped(id);
            self.abort_stream(stream, reason);
        }
        true
    }

    /// The flow that holds most, if any holds something; datagrams cost what [`Session::memory`] says.
    fn largest_flow(&self, of: Burden) -> Option<FlowId> {
        let packet = self.config.packet_max as u64;
        let halves = self.reassembly.flows().map(|flow| (flow, packet));
        let early = self.early.flows().map(|flow| (flow, 2 * packet));
        let unsent = self.outbox.held().filter(|_| of == Burden::All);
        let mut held: BTreeMap<FlowId, u64> = self.flows.held(of).collect();
        for (flow, bytes) in unsent.chain(halves).chain(early) {
            *held.entry(flow).or_default() += bytes;
        }
        held.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(flow, _)| flow)
    }

    /// Lets go of the records of a flow, in both directions, whose ends do not want them any more.
    pub(super) fn forget_datagrams(&mut self, id: FlowId) {
        if id.stream().is_none() {
            self.outbox.forget(id);
            self.reassembly.forget(id);
            drop(self.early.release(id));
        }
    }

    /// Sends a record of a datagram flow, whole or in two parts. It may be lost, and may overtake another.
    pub fn send_datagram(&mut self, now: Instant, id: FlowId, record: &[u8]) -> Result<(), DatagramError> {
        self.advance(now);
        let flow = self.flows.announced(id).filter(|flow| id.stream().is_none() && !flow.finished);
        let (Some(_), Some((_, connection))) = (flow, &mut self.connection) else {
            return Err(DatagramError::UnknownFlow);
        };
        let datagram_max = connection.datagrams().max_size().ok_or(DatagramError::Full)?;
        let parts = datagram::split(id, self.datagram_number, record, datagram_max);
        let Some((first, second)) = parts else {
            self.counters.datagrams_too_large += 1;
            return Err(DatagramError::TooLarge);
        };
        let is_split = second.is_some();
        if !self.outbox.push(id, [Some(first), second]) {
            self.counters.datagrams_full += 1;
            return Err(DatagramError::Full);
        }
        self.datagram_number = self.datagram_number.wrapping_add(u32::from(is_split));
        Ok(())
    }

    /// The reason of a reset that the caller has not been told of yet.
    fn why_gone(&self, id: FlowId) -> ResetReason {
        let told = self.events.iter().find_map(|event| match event {
            SessionEvent::FlowReset(flow, reason) if *flow == id => Some(*reason),
            _ => None,
        });
        told.unwrap_or(ResetReason::TunnelLost)
    }

    /// A flow is known to both sides from here on.
    pub(super) fn announce(&mut self, id: FlowId) {
        self.flows.announce(id);
        match id.kind() {
            FlowKind::Stream | FlowKind::Directory => self.newest_stream = Some(id),
            FlowKind::Datagrams => {
                self.newest_datagrams = Some(id);
                self.datagram_flows += 1;
            }
        }
    }

    /// Forgets a flow and tells the other end why.
    pub(super) fn drop_flow(&mut self, id: FlowId, reason: ResetReason) {
        self.remove(id);
        self.forget_datagrams(id);
        match id.stream() {
            Some(stream) => self.abort_stream(stream, reason),
            None => self.send_control(&ControlMessage::Reset(id, reason)),
        }
    }

    pub(super) fn remove(&mut self, id: FlowId) {
        if self.flows.remove(id).is_some_and(|flow| flow.announced) && id.stream().is_none() {
            self.datagram_flows -= 1;
        }
    }

    pub(super) fn remove_if_over(&mut self, id: FlowId) {
        if self.flows.at(id).is_some_and(|flow| flow.is_over()) {
            self.remove(id);
        }
    }

    /// Resets what is sent and stops what comes. Halves that are over already stay as they are.
    pub(super) fn abort_stream(&mut self, stream: StreamId, reason: ResetReason) {
        if let Some((_, connection)) = &mut self.connection {
            let code = VarInt::from_u32(reason as u32);
            let _ = connection.send_stream(stream).reset(code);
            let _ = connection.recv_stream(stream).stop(code);
        }
    }

    pub(super) fn send_control(&mut self, message: &ControlMessage) {
        if self.phase != Phase::Connected {
            return;
        }
        message.encode(&mut self.control_out);
        self.flush_control();
        if self.control_out.len() > self.config.control_backlog_max() {
            self.violate(Violation::ControlStalled);
        }
    }

    /// Moves control messages into the control stream as far as it takes them.
    pub(super) fn flush_control(&mut self) {
        if self.control_out.is_empty() || self.phase != Phase::Connected {
            return;
        }
        let Some((_, connection)) = &mut self.connection else { return };
        let mut taken = 0;
        for piece in self.control_out.chunks(CONTROL_PIECE) {
            let stream = u64::from(control_stream());
            let counted = tap::counted(&self.shared.tap, stream, Bytes::copy_from_slice(piece));
            let written = connection.send_stream(control_stream()).write_chunks(&mut [counted]);
            let bytes = written.map_or(0, |written| written.bytes);
            taken += bytes;
            if bytes < piece.len() {
                break;
            }
        }
        self.control_out.drain(..taken);
    }
}

fn read_chunks(mut chunks: Chunks<'_>, bytes_max: usize, take: &mut dyn FnMut(&[u8])) -> ReadOutcome {
    let mut bytes = 0;
    let state = loop {
        if bytes >= bytes_max {
            break StreamState::Open;
        }
        match chunks.next(bytes_max - bytes) {
            Ok(Some(chunk)) => {
                bytes += chunk.bytes.len();
                take(&chunk.bytes);
            }
            Ok(None) => break StreamState::Finished,
            Err(ReadError::Blocked) => break StreamState::Open,
            Err(ReadError::Reset(code)) => break StreamState::Reset(super::incoming::reason_of(code)),
        }
    };
    // The next packet carries the new window, if it is due.
    let _ = chunks.finalize();
    ReadOutcome { bytes, state }
}
