//! What quinn tells: handshake, streams, control messages, datagrams.

use super::{Phase, Session};
use crate::control::{ControlDecoder, ControlMessage};
use crate::event::{CloseReason, EndReason, GRANTS_WAITING_MAX, SessionEvent, Violation};
use crate::flow::{FlowId, control_stream};
use quinn_proto::{
    ConnectionError, Dir, Event, Incoming, ReadError, Side, StreamEvent, StreamId, TransportErrorCode, VarInt,
};
use std::sync::atomic::Ordering;
use tracing::debug;
use wire::flow::{FlowKind, ResetReason, Syn};

/// The control stream goes before all data.
const CONTROL_PRIORITY: i32 = 1;

/// The first QUIC error code that stands for a TLS alert (RFC 9001, section 4.8).
const TLS_ALERT_BASE: u64 = 0x100;

impl Session {
    /// A client's first packet. A session has one client: a second one is another session's business.
    pub(super) fn accept(&mut self, incoming: Incoming) {
        if self.connection.is_some() || self.phase == Phase::Closed {
            self.endpoint.ignore(incoming);
            self.counters.packets_ignored += 1;
            return;
        }
        match self.endpoint.accept(incoming, self.now, &mut self.unwanted, None) {
            Ok(connection) => {
                self.accept_until = None;
                self.connection = Some(connection);
            }
            Err(_) => self.counters.packets_ignored += 1,
        }
    }

    /// Handles all that quinn has to say.
    pub(super) fn pump(&mut self) {
        while let Some((handle, connection)) = &mut self.connection {
            if let Some(event) = connection.poll_endpoint_events() {
                if let Some(answer) = self.endpoint.handle_event(*handle, event) {
                    connection.handle_event(answer);
                }
            } else if let Some(event) = connection.poll() {
                self.handle_quic(event);
            } else {
                break;
            }
        }
        self.flush_control();
    }

    fn handle_quic(&mut self, event: Event) {
        match event {
            Event::Connected => self.handle_connected(),
            Event::ConnectionLost { reason } => {
                let reason = self.close_reason(reason);
                self.end(reason);
            }
            Event::Stream(_) if self.phase == Phase::Closed => {}
            Event::Stream(StreamEvent::Opened { .. }) => self.accept_streams(),
            Event::Stream(StreamEvent::Readable { id }) => self.handle_readable(id),
            Event::Stream(StreamEvent::Writable { id }) => {
                let id = FlowId::from(id);
                let event = self.flows.at(id).and_then(|flow| flow.writable(id));
                self.events.extend(event);
            }
            Event::Stream(StreamEvent::Finished { id }) => {
                let id = FlowId::from(id);
                if let Some(flow) = self.flows.at(id) {
                    flow.finish_acked = true;
                    self.remove_if_over(id);
                }
            }
            Event::Stream(StreamEvent::Stopped { id, error_code }) => self.handle_reset(id, error_code),
            Event::Stream(StreamEvent::Available { .. })
            | Event::HandshakeDataReady
            | Event::DatagramReceived
            | Event::DatagramsUnblocked => {}
        }
    }

    fn handle_connected(&mut self) {
        if self.phase != Phase::Handshake {
            return;
        }
        let rtt = self.rtt();
        let Some((_, connection)) = &mut self.connection else { return };
        if self.side == Side::Client && connection.streams().open(Dir::Bi) != Some(control_stream()) {
            return self.violate(Violation::ControlEnded);
        }
        // Cannot fail: the stream is open at a client and permitted at a server.
        let _ = connection.send_stream(control_stream()).set_priority(CONTROL_PRIORITY);
        debug!(side = ?self.side, "session connected");
        self.phase = Phase::Connected;
        self.events.push_back(SessionEvent::Connected { rtt });
    }

    fn accept_streams(&mut self) {
        while let Some((_, connection)) = &mut self.connection {
            let Some(stream) = connection.streams().accept(Dir::Bi) else { break };
            let id = FlowId::from(stream);
            if self.side == Side::Client {
                // Only clients open flows.
                return self.violate(Violation::FlowNumber);
            }
            if stream != control_stream() && Some(id) > self.newest_stream {
                self.flows.await_syn(id);
                if self.flows.unannounced() > self.config.streams_max() as usize {
                    return self.violate(Violation::Unannounced);
                }
            } else if stream != control_stream() && self.flows.at(id).is_none() {
                // Its turn has passed, or it was reset before its first byte came. Nobody will read it.
                self.abort_stream(stream, ResetReason::Protocol);
            }
            self.handle_readable(stream);
        }
    }

    fn handle_readable(&mut self, stream: StreamId) {
        if stream == control_stream() {
            return self.read_control();
        }
        let Some((_, connection)) = &mut self.connection else { return };
        if let Ok(Some(code)) = connection.recv_stream(stream).received_reset() {
            return self.handle_reset(stream, code);
        }
        let id = FlowId::from(stream);
        let event = self.flows.at(id).and_then(|flow| flow.readable(id));
        self.events.extend(event);
    }

    /// The other end gave up one half of a stream; a reset is always of both.
    fn handle_reset(&mut self, stream: StreamId, code: VarInt) {
        if stream == control_stream() {
            return self.violate(Violation::ControlEnded);
        }
        let reason = reason_of(code);
        let id = FlowId::from(stream);
        self.abort_stream(stream, reason);
        let Some(flow) = self.flows.at(id) else { return };
        if flow.announced {
            self.remove(id);
            self.events.push_back(SessionEvent::FlowReset(id, reason));
        } else {
            flow.early_reset.get_or_insert(reason);
            self.flows.record_stopped(id);
        }
    }

    fn read_control(&mut self) {
        let Some((_, connection)) = &mut self.connection else { return };
        let mut messages = Vec::new();
        let mut outcome = Ok(());
        let mut decoder = std::mem::take(&mut self.control_in);
        if let Ok(mut chunks) = connection.recv_stream(control_stream()).read(true) {
            while outcome.is_ok() {
                outcome = match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => {
                        self.control_memory.read(chunk.bytes.len() as u64);
                        decoder.push(&chunk.bytes, |message| {
                            messages.push(message);
                            Ok(())
                        })
                    }
                    Ok(None) | Err(ReadError::Reset(_)) => Err(Violation::ControlEnded),
                    Err(ReadError::Blocked) => break,
                };
            }
            // The next packet carries the new window, if it is due.
            let _ = chunks.finalize();
        }
        self.control_in = decoder;
        let outcome = messages.into_iter().try_for_each(|message| self.handle_control(message)).and(outcome);
        if let Err(violation) = outcome {
            self.control_in = ControlDecoder::new();
            self.violate(violation);
        }
    }

    fn handle_control(&mut self, message: ControlMessage) -> Result<(), Violation> {
        match message {
            // An earlier message of the same packet ended the session.
            _ if self.phase == Phase::Closed => Ok(()),
            ControlMessage::Syn(id, syn) => self.handle_syn(id, syn),
            ControlMessage::Grant(grant) => {
                if self.side != Side::Server {
                    return Err(Violation::Side);
                }
                let waiting = self.events.iter().filter(|event| matches!(event, SessionEvent::Granted(_))).count();
                if waiting >= GRANTS_WAITING_MAX {
                    return Err(Violation::Grants);
                }
                self.events.push_back(SessionEvent::Granted(grant));
                Ok(())
            }
            ControlMessage::Connected(id, address) => {
                if self.side != Side::Client {
                    return Err(Violation::Side);
                }
                self.check_known(id)?;
                let Some(flow) = self.flows.at(id) else { return Ok(()) };
                if std::mem::replace(&mut flow.confirmed, true) {
                    return Err(Violation::ConfirmedTwice);
                }
                self.events.push_back(SessionEvent::FlowConnected(id, address));
                Ok(())
            }
            ControlMessage::Finished(id) => {
                self.check_known(id)?;
                // Records that have come stand before the end. Those that come after it are too late.
                while self.take_datagram() {}
                if let Some(flow) = self.flows.at(id) {
                    flow.peer_finished = true;
                    self.events.extend(flow.readable(id));
                }
                Ok(())
            }
            ControlMessage::Reset(id, reason) => {
                self.check_known(id)?;
                if self.flows.at(id).is_some() {
                    // Streams are reset by QUIC's own means; whoever does it this way gets no bytes kept for it.
                    if let Some(stream) = id.stream() {
                        self.abort_stream(stream, reason);
                    }
                    self.remove(id);
                    self.forget_datagrams(id);
                    self.events.push_back(SessionEvent::FlowReset(id, reason));
                }
                Ok(())
            }
        }
    }

    fn handle_syn(&mut self, id: FlowId, syn: Syn) -> Result<(), Violation> {
        if self.side != Side::Server {
            return Err(Violation::Side);
        }
        let newest = match syn.kind {
            FlowKind::Stream | FlowKind::Directory => self.newest_stream,
            FlowKind::Datagrams => self.newest_datagrams,
        };
        if Some(id) <= newest {
            return Err(Violation::FlowNumber);
        }
        let streams_max = self.config.streams_max();
        let came_early = self.flows.at(id).is_some();
        if let Some(stream) = id.stream() {
            let Some((_, connection)) = &mut self.connection else { return Ok(()) };
            // A stream beyond what the client may open.
            if !came_early && connection.send_stream(stream).stopped().is_err() {
                return Err(Violation::FlowNumber);
            }
        }
        let too_many = id.stream().is_none() && self.datagram_flows >= streams_max as usize;
        self.announce(id);
        if too_many {
            self.drop_flow(id, ResetReason::TooManyFlows);
            return Ok(());
        }
        self.events.push_back(SessionEvent::FlowOpened(id, syn));
        let early_reset = self.flows.at(id).and_then(|flow| flow.early_reset);
        if let Some(reason) = early_reset {
            self.remove(id);
            self.events.push_back(SessionEvent::FlowReset(id, reason));
        } else if came_early && let Some(flow) = self.flows.at(id) {
            self.events.extend(flow.readable(id));
        }
        let records = self.early.release(id);
        self.events.extend(records.into_iter().map(|record| SessionEvent::Datagram(id, record)));
        Ok(())
    }

    /// A message may name a flow that is gone here, but none that never was.
    fn check_known(&self, id: FlowId) -> Result<(), Violation> {
        let newest = match id.kind() {
            FlowKind::Stream | FlowKind::Directory => self.newest_stream,
            FlowKind::Datagrams => self.newest_datagrams,
        };
        if Some(id) <= newest { Ok(()) } else { Err(Violation::UnknownFlow) }
    }

    /// Queues the next record that is for somebody. False if there is none.
    pub(super) fn take_datagram(&mut self) -> bool {
        while self.phase == Phase::Connected {
            let Some((_, connection)) = &mut self.connection else { return false };
            let Some(datagram) = connection.datagrams().recv() else { return false };
            let (id, record) = match self.reassembly.push(self.now, &datagram) {
                Ok(Some(complete)) => complete,
                Ok(None) => continue,
                Err(_) => {
                    self.violate(Violation::Datagram);
                    return true;
                }
            };
            match self.flows.announced(id) {
                Some(flow) if !flow.peer_finished => {
                    self.events.push_back(SessionEvent::Datagram(id, record));
                    return true;
                }
                Some(_) => self.counters.datagrams_dropped += 1,
                None if Some(id) <= self.newest_datagrams => self.counters.datagrams_dropped += 1,
                None if self.side == Side::Server => self.early.keep(id, record),
                None => {
                    self.violate(Violation::UnknownFlow);
                    return true;
                }
            }
        }
        false
    }

    fn close_reason(&self, error: ConnectionError) -> CloseReason {
        let is_wrong_peer = self.shared.wrong_peer.load(Ordering::Relaxed);
        match error {
            ConnectionError::TransportError(_) if is_wrong_peer => CloseReason::WrongPeer,
            ConnectionError::TransportError(error) => match alert_of(error.code) {
                Some(alert) => CloseReason::Handshake(alert),
                None => CloseReason::Transport(error.code.into()),
            },
            ConnectionError::ConnectionClosed(close) => match alert_of(close.error_code) {
                Some(alert) => CloseReason::Refused(alert),
                None => CloseReason::Transport(close.error_code.into()),
            },
            ConnectionError::ApplicationClosed(close) => {
                CloseReason::Peer(EndReason::from_code(close.error_code.into_inner()))
            }
            ConnectionError::TimedOut => CloseReason::TimedOut,
            ConnectionError::LocallyClosed => CloseReason::Local(EndReason::Unknown),
            ConnectionError::VersionMismatch | ConnectionError::Reset | ConnectionError::CidsExhausted => {
                CloseReason::Transport(TransportErrorCode::PROTOCOL_VIOLATION.into())
            }
        }
    }
}

/// The reason behind a stream's error code. A code of no meaning is the other end's mistake.
pub(super) fn reason_of(code: VarInt) -> ResetReason {
    let byte = u8::try_from(code.into_inner()).ok();
    byte.and_then(|byte| ResetReason::try_from(byte).ok()).unwrap_or(ResetReason::Protocol)
}

/// The TLS alert that a QUIC error code stands for.
fn alert_of(code: TransportErrorCode) -> Option<u8> {
    let code: u64 = code.into();
    u8::try_from(code.checked_sub(TLS_ALERT_BASE)?).ok()
}

#[cfg(test)]
mod tests;
