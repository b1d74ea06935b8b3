//! The session: one QUIC connection, pulled packet by packet.

use crate::config::{ConfigError, ExpectedPeer, SessionConfig};
use crate::control::ControlDecoder;
use crate::datagram::{Early, Outbox, Reassembly};
use crate::event::{CloseReason, EndReason, SessionEvent, Violation};
use crate::flow::{FlowId, FlowTable, control_stream};
use crate::memory::{FlowMemory, PIECE_OVERHEAD, SessionMemory};
use crate::stats::{Counters, SessionStats};
use crate::transport::{self, REMOTE, Shared};
use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, ConnectionHandle, DatagramEvent, Endpoint, Side, VarInt};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, warn};
use wire::flow::ResetReason;

mod commands;
mod incoming;

/// One session, as client (entry) or server (exit).
///
/// - `handle_packet`, `handle_timeout`: what happened. Time never goes back.
/// - commands: `open_flow`, `confirm_flow`, `write`, `read`, `finish`, `reset`, `send_datagram`, `ping`,
///   `set_wide_open`, `close`.
/// - `poll_packet` or `poll_packets`, `poll_timeout`, `poll_event`: what to do now. Poll after every handler and
///   command, events first; a slotted sender polls a packet when it has a slot for it.
///
/// A packet that was polled must be sent: the session believes that it was.
pub struct Session {
    side: Side,
    config: SessionConfig,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    phase: Phase,
    shared: Shared,
    flows: FlowTable,
    /// The newest announced flow with a stream, and without.
    newest_stream: Option<FlowId>,
    newest_datagrams: Option<FlowId>,
    datagram_flows: usize,
    control_in: ControlDecoder,
    /// What is kept of the control stream.
    control_memory: FlowMemory,
    /// Control messages that the control stream has not taken.
    control_out: Vec<u8>,
    reassembly: Reassembly,
    early: Early,
    datagram_number: u32,
    /// Datagrams that wait for a packet.
    outbox: Outbox,
    /// Bytes of datagrams that quinn has for its next packets.
    datagrams_handed: u64,
    events: VecDeque<SessionEvent>,
    counters: Counters,
    /// The next packet leaves whatever the controller says.
    probe: bool,
    /// The last poll gave nothing because the controller holds something back.
    held_back: bool,
    /// A server without a client gives up here.
    accept_until: Option<Instant>,
    now: Instant,
    packets: Vec<u8>,
    unwanted: Vec<u8>,
}

impl fmt::Debug for Session {
    /// Neither keys nor destinations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("side", &self.side).field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Connected,
    Closed,
}

/// Packets of one poll: all of `packet_size` bytes, but the last may be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketBatch {
    /// Bytes of each packet but the last.
    pub packet_size: usize,
    /// Bytes of all packets.
    pub total: usize,
}

impl Session {
    /// The side that begins: its first packets are ready at once.
    pub fn client(config: SessionConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        if config.peer == ExpectedPeer::Anyone {
            return Err(ConfigError::NoServer);
        }
        let shared = Shared::default();
        let mut random = transport::random(&config);
        let endpoint = transport::endpoint(&config, &mut random)?;
        let client = transport::client(&config, &shared, &mut random)?;
        let mut endpoint = Endpoint::new(Arc::new(endpoint), None, false, None);
        shared.switch.set_wide_open(config.wide_open);
        let connection = endpoint.connect(now, client, REMOTE, crate::tls::SERVER_NAME);
        let connection = connection.map_err(|_| ConfigError::OwnKey)?;
        let mut session = Self::new(Side::Client, config, endpoint, shared, now);
        session.connection = Some(connection);
        Ok(session)
    }

    /// The side that answers: it has nothing to send before a client's packet came.
    pub fn server(config: SessionConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Shared::default();
        let mut random = transport::random(&config);
        let endpoint = transport::endpoint(&config, &mut random)?;
        let server = transport::server(&config, &shared, &mut random)?;
        let endpoint = Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), false, None);
        shared.switch.set_wide_open(config.wide_open);
        let mut session = Self::new(Side::Server, config, endpoint, shared, now);
        session.accept_until = Some(now + session.config.idle_timeout());
        Ok(session)
    }

    fn new(side: Side, config: SessionConfig, endpoint: Endpoint, shared: Shared, now: Instant) -> Self {
        Self {
            side,
            config,
            endpoint,
            connection: None,
            phase: Phase::Handshake,
            shared,
            flows: FlowTable::default(),
            newest_stream: None,
            newest_datagrams: None,
            datagram_flows: 0,
            control_in: ControlDecoder::new(),
            control_memory: FlowMemory::default(),
            control_out: Vec::new(),
            reassembly: Reassembly::default(),
            early: Early::default(),
            datagram_number: 0,
            outbox: Outbox::default(),
            datagrams_handed: 0,
            events: VecDeque::new(),
            counters: Counters::default(),
            probe: false,
            held_back: false,
            accept_until: None,
            now,
            packets: Vec::new(),
            unwanted: Vec::new(),
        }
    }

    /// Whether the handshake is done and the session is not over.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether the session is over. It may still have one packet to send, which tells the other end.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Flows that are open here.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Bytes that `write` and `send_datagram` took and that were never in a packet. Exact: it is counted in the
    /// packets themselves, so it does not drift. Lost bytes that wait to be repeated are not in it. 0 whenever
    /// `poll_packet` gave nothing and [`Session::is_held_back`] is false.
    pub fn unsent_bytes(&self) -> u64 {
        self.flows.unsent() + self.datagrams_unsent()
    }

    /// Whether the last poll gave no packet although something waits, because the congestion controller or its
    /// pacing holds it back. Never in a wide open session.
    pub fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Whether the controller is wide open.
    pub fn is_wide_open(&self) -> bool {
        self.shared.switch.is_wide_open()
    }

    /// Figures for status pages and tests.
    pub fn stats(&self) -> SessionStats {
        let quic = self.connection.as_ref().map(|(_, connection)| connection.stats());
        let sent = self.shared.tap.lock();
        let mut counters = self.counters;
        counters.datagrams_dropped += self.reassembly.dropped + self.early.dropped;
        SessionStats::new(&quic.unwrap_or_default(), &counters, &sent, self.flows.first_sent)
    }

    /// The most memory in bytes that the other end and the caller together can make the session hold, not counting
    /// a few hundred bytes a flow: unread and unacknowledged stream bytes, datagrams, control messages, events.
    pub fn memory_max_bytes(&self) -> u64 {
        let windows = 2 * self.config.session_window();
        let unsent = crate::datagram::UNSENT_BYTES_MAX + transport::DATAGRAM_SEND_BUFFER;
        let datagrams = unsent + transport::DATAGRAM_RECEIVE_BUFFER;
        let parts = (crate::datagram::PARTS_MAX + crate::datagram::EARLY_MAX) * 2 * self.config.packet_max;
        windows + (datagrams + parts + self.config.control_backlog_max()) as u64
    }

    /// What the session holds now. Not counted: a few hundred bytes for each flow and each packet under way.
    pub fn memory(&self) -> SessionMemory {
        let (unread, unread_overhead) = self.flows.unread();
        let sent = self.shared.tap.lock();
        let parts = ((self.reassembly.waiting() + 2 * self.early.waiting()) * self.config.packet_max) as u64;
        let unread = unread + self.control_memory.unread();
        let unread_overhead = unread_overhead + self.control_memory.overhead();
        SessionMemory {
            unread,
            unacknowledged: sent.kept,
            waiting: self.datagrams_unsent() + self.control_out.len() as u64 + parts,
            overhead: unread_overhead + sent.kept_pieces * PIECE_OVERHEAD,
            pushed: unread + unread_overhead + parts,
        }
    }

    /// Takes one session packet. Anything that is not one, or not of this session, does nothing.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.advance(now);
        self.counters.packets_received += 1;
        self.unwanted.clear();
        let bytes = BytesMut::from(packet);
        match self.endpoint.handle(self.now, REMOTE, None, None, bytes, &mut self.unwanted) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(incoming),
            // Made without keys, for strangers: version negotiation, stateless reset. There are none here.
            Some(DatagramEvent::Response(_)) | None => self.counters.packets_ignored += 1,
        }
        self.pump();
        self.account_came();
    }

    /// Lets time pass. Call it when [`Session::poll_timeout`] is reached; calling it earlier does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if self.accept_until.is_some_and(|until| until <= self.now) {
            self.accept_until = None;
            self.end(CloseReason::TimedOut);
        }
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(self.now);
        }
        self.pump();
        self.account_came();
    }

    /// When [`Session::handle_timeout`] is to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let connection = self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
        connection.into_iter().chain(self.accept_until).min()
    }

    /// Appends the next packet, of at most `packet_max` bytes, and returns its length. `None`: there is nothing
    /// to send, or the controller holds it back.
    pub fn poll_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        self.poll_packets(now, 1, out).map(|batch| batch.total)
    }

    /// Appends at most `max` packets that are all of one size, but the last may be smaller. Quicker than one
    /// poll for each, for a sender without slots.
    pub fn poll_packets(&mut self, now: Instant, max: usize, out: &mut Vec<u8>) -> Option<PacketBatch> {
        self.advance(now);
        self.flush_control();
        self.hand_over_datagrams(max);
        let (_, connection) = self.connection.as_mut()?;
        let probe = std::mem::take(&mut self.probe);
        let max = if probe { 1 } else { max.max(1) };
        // quinn wants its buffer empty: it takes the length for the place where a packet begins.
        let is_empty = out.is_empty();
        self.packets.clear();
        let packets = if is_empty { &mut *out } else { &mut self.packets };
        self.shared.switch.begin_poll();
        self.shared.switch.set_probe(probe);
        let transmit = connection.poll_transmit(self.now, max, packets);
        self.shared.switch.set_probe(false);
        self.held_back = transmit.is_none() && self.shared.switch.was_asked();
        self.account();
        let transmit = transmit?;
        let batch = PacketBatch { packet_size: transmit.segment_size.unwrap_or(transmit.size), total: transmit.size };
        debug_assert!(batch.packet_size <= self.config.packet_max, "no packet is larger than a cell holds");
        if !is_empty {
            out.extend_from_slice(&self.packets);
        }
        self.pump();
        Some(batch)
    }

    /// The next event. `Readable` and `Writable` never name a flow that is gone.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        loop {
            if self.events.is_empty() {
                self.take_datagram();
            }
            let event = self.events.pop_front()?;
            let (SessionEvent::Readable(flow) | SessionEvent::Writable(flow)) = &event else { return Some(event) };
            if let Some(flow) = self.flows.at(*flow) {
                flow.taken(&event);
                return Some(event);
            }
        }
    }

    /// Opens the congestion controller wide, or closes it again to what it has learnt. Wide open always in shaped
    /// modes and with several legs.
    pub fn set_wide_open(&mut self, on: bool) {
        self.shared.switch.set_wide_open(on);
    }

    /// Sends something that asks for an answer in the next packet, past the controller. Call it when a link is
    /// back: the session then need not wait out the back-off of its own probes.
    pub fn ping(&mut self, now: Instant) {
        self.advance(now);
        if self.phase == Phase::Connected
            && let Some((_, connection)) = &mut self.connection
        {
            connection.ping();
            self.probe = true;
        }
    }

    /// Ends the session. One more packet tells the other end.
    pub fn close(&mut self, now: Instant, reason: EndReason) {
        self.advance(now);
        self.close_connection(reason);
        self.end(CloseReason::Local(reason));
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn violate(&mut self, violation: Violation) {
        warn!(%violation, "the other end broke the session's protocol");
        self.close_connection(EndReason::Violation);
        self.end(CloseReason::Violation(violation));
    }

    fn close_connection(&mut self, reason: EndReason) {
        if let Some((_, connection)) = &mut self.connection {
            connection.close(self.now, VarInt::from_u32(reason as u32), Bytes::new());
        }
    }

    fn datagrams_unsent(&self) -> u64 {
        self.outbox.bytes() + self.datagrams_handed
    }

    /// Gives quinn the datagrams that so many packets can hold.
    fn hand_over_datagrams(&mut self, packets: usize) {
        let Some((_, connection)) = self.connection.as_mut().filter(|_| self.outbox.bytes() > 0) else { return };
        let enough = (packets.max(1) * self.config.packet_max) as u64;
        let mut datagrams = connection.datagrams();
        while self.datagrams_handed < enough && datagrams.send_buffer_space() >= self.config.packet_max {
            let Some(datagram) = self.outbox.pop() else { break };
            let length = datagram.len() as u64;
            // They were cut to a size that does not change, and there is room.
            if datagrams.send(datagram, false).is_ok() {
                self.datagrams_handed += length;
            }
        }
    }

    /// Lets go of all that is kept for flows. quinn would keep it for as long as the farewell may have to be repeated.
    fn let_go(&mut self) {
        let streams: Vec<_> = self.flows.streams().chain([control_stream()]).collect();
        streams.into_iter().for_each(|stream| self.abort_stream(stream, ResetReason::TunnelLost));
        if let Some((_, connection)) = &mut self.connection {
            while connection.datagrams().recv().is_some() {}
        }
        self.flows = FlowTable::default();
        self.control_memory.stop();
        (self.outbox, self.datagrams_handed) = (Outbox::default(), 0);
        self.reassembly.clear();
        self.early.clear();
        self.control_out = Vec::new();
    }

    /// The session is over; only the first reason counts. Events that were not taken are about flows that are gone.
    fn end(&mut self, reason: CloseReason) {
        if self.phase == Phase::Closed {
            return;
        }
        debug!(side = ?self.side, %reason, "session over");
        self.phase = Phase::Closed;
        self.accept_until = None;
        self.let_go();
        self.events.clear();
        self.events.push_back(SessionEvent::Closed(reason));
    }

    /// Takes over what the packets of this poll carried.
    fn account(&mut self) {
        let mut sent = self.shared.tap.lock();
        for (stream, end) in sent.stream_ends.drain(..) {
            self.flows.record_sent(FlowId(stream), end);
        }
        let datagrams = std::mem::take(&mut sent.datagram_bytes);
        drop(sent);
        self.datagrams_handed = self.datagrams_handed.saturating_sub(datagrams);
    }

    /// Takes over what packets brought, and what quinn let go of. All streams are known by now.
    fn account_came(&mut self) {
        let mut sent = self.shared.tap.lock();
        let (mut came, mut freed) = (std::mem::take(&mut sent.came), std::mem::take(&mut sent.freed));
        drop(sent);
        for frame in came.drain(..) {
            let id = FlowId(frame.stream);
            if id == FlowId::from(control_stream()) {
                self.control_memory.take(frame.end, frame.packet_len);
            } else {
                self.flows.record_came(id, frame.end, frame.packet_len);
            }
        }
        for (stream, bytes) in freed.drain(..) {
            self.flows.record_freed(FlowId(stream), bytes);
        }
        // Their room is used again.
        let mut sent = self.shared.tap.lock();
        if sent.came.is_empty() && sent.freed.is_empty() {
            (sent.came, sent.freed) = (came, freed);
        }
    }

    fn rtt(&self) -> Duration {
        self.connection.as_ref().map_or(Duration::ZERO, |(_, connection)| connection.rtt())
    }
}
