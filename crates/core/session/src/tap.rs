//! Wraps the TLS session so that every 1-RTT packet is read before it is sealed and after it is opened, and counts what
//! quinn keeps until it is acknowledged.

use crate::flow::control_stream;
use crate::frames::{PacketFrame, read_frames};
use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What left in sealed packets since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Stream frames: stream id, offset behind the last byte.
    pub(crate) stream_ends: Vec<(u64, u64)>,
    /// Bytes of flows' stream frames, repeated ones included.
    pub(crate) stream_bytes: u64,
    /// Bytes of datagrams.
    pub(crate) datagram_bytes: u64,
    /// Packets.
    pub(crate) packets: u64,
    /// Packets that held nothing but acknowledgements.
    pub(crate) ack_only_packets: u64,
    /// Packets with a frame that could not be read.
    pub(crate) unreadable: u64,
    /// Stream frames of packets that came.
    pub(crate) came: Vec<CameFrame>,
    /// Bytes of streams that quinn let go of: stream id, bytes.
    pub(crate) freed: Vec<(u64, u64)>,
    /// Bytes of streams that quinn keeps, and in how many pieces.
    pub(crate) kept: u64,
    pub(crate) kept_pieces: u64,
}

/// A stream frame that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CameFrame {
    /// The QUIC stream id.
    pub(crate) stream: u64,
    /// Offset behind the last byte.
    pub(crate) end: u64,
    /// Bytes of the packet, all of which are kept while the frame is not read.
    pub(crate) packet_len: u64,
}

/// Shared by a session, its packet keys and the bytes that quinn keeps for it. All live on one thread, so the lock never
/// waits.
#[derive(Debug, Default)]
pub(crate) struct Tap(Mutex<Sent>);

/// Bytes of a stream as quinn keeps them until the other end has acknowledged them, or the stream is reset. It lets go of
/// them by dropping them, which is where they are counted out: so the count is of memory, whatever quinn's own books say.
struct Kept {
    bytes: Bytes,
    stream: u64,
    tap: Arc<Tap>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let bytes = self.bytes.len() as u64;
        let mut sent = self.tap.lock();
        sent.kept -= bytes;
        sent.kept_pieces -= 1;
        sent.freed.push((self.stream, bytes));
    }
}

/// The same bytes, counted as long as anybody has them.
pub(crate) fn counted(tap: &Arc<Tap>, stream: u64, bytes: Bytes) -> Bytes {
    let mut sent = tap.lock();
    sent.kept += bytes.len() as u64;
    sent.kept_pieces += 1;
    drop(sent);
    Bytes::from_owner(Kept { bytes, stream, tap: Arc::clone(tap) })
}

impl Tap {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, payload: &[u8]) {
        let mut sent = self.lock();
        sent.packets += 1;
        let (mut acks, mut others) = (false, false);
        let outcome = read_frames(payload, |frame| {
            acks |= frame == PacketFrame::Ack;
            others |= frame != PacketFrame::Ack;
            match frame {
                PacketFrame::Stream { id, end, length } => {
                    if id != u64::from(control_stream()) {
                        sent.stream_ends.push((id, end));
                        sent.stream_bytes += length;
                    }
                }
                PacketFrame::Datagram(length) => sent.datagram_bytes += length,
                PacketFrame::Ack | PacketFrame::Other => {}
            }
        });
        sent.unreadable += u64::from(outcome.is_err());
        sent.ack_only_packets += u64::from(acks && !others);
    }

    /// A packet that is not one is quinn's to refuse: it ends the connection.
    fn read_incoming(&self, payload: &[u8]) {
        let mut sent = self.lock();
        let packet_len = payload.len() as u64;
        let _ = read_frames(payload, |frame| {
            if let PacketFrame::Stream { id, end, .. } = frame {
                sent.came.push(CameFrame { stream: id, end, packet_len });
            }
        });
    }
}

/// A client's TLS configuration whose sessions are tapped.
pub(crate) struct TappedClient {
    pub(crate) inner: Arc<dyn ClientConfig>,
    pub(crate) tap: Arc<Tap>,
}

impl ClientConfig for TappedClient {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.inner).start_session(version, server_name, params)?;
        Ok(Box::new(TappedSession { inner, tap: Arc::clone(&self.tap), has_handshake_keys: false }))
    }
}

/// A server's TLS configuration whose sessions are tapped.
pub(crate) struct TappedServer {
    pub(crate) inner: Arc<dyn ServerConfig>,
    pub(crate) tap: Arc<Tap>,
}

impl ServerConfig for TappedServer {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let inner = Arc::clone(&self.inner).start_session(version, params);
        Box::new(TappedSession { inner, tap: Arc::clone(&self.tap), has_handshake_keys: false })
    }
}

struct TappedSession {
    inner: Box<dyn Session>,
    tap: Arc<Tap>,
    has_handshake_keys: bool,
}

impl TappedSession {
    fn tapped(&self, keys: KeyPair<Box<dyn PacketKey>>) -> KeyPair<Box<dyn PacketKey>> {
        let [local, remote] = [keys.local, keys.remote]
            .map(|inner| -> Box<dyn PacketKey> { Box::new(TappedKey { inner, tap: Arc::clone(&self.tap) }) });
        KeyPair { local, remote }
    }
}

impl Session for TappedSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    /// The first keys are those of the handshake, the second the 1-RTT ones.
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let keys = self.inner.write_handshake(buf)?;
        if !self.has_handshake_keys {
            self.has_handshake_keys = true;
            return Some(keys);
        }
        Some(Keys { header: keys.header, packet: self.tapped(keys.packet) })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.inner.next_1rtt_keys()?;
        Some(self.tapped(keys))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

struct TappedKey {
    inner: Box<dyn PacketKey>,
    tap: Arc<Tap>,
}

impl PacketKey for TappedKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let payload_end = buf.len().saturating_sub(self.inner.tag_len());
        self.tap.read(buf.get(header_len..payload_end).unwrap_or_default());
        self.inner.encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)?;
        self.tap.read_incoming(payload);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}
