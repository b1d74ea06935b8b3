//! Wraps the TLS session so that every 1-RTT packet is read before it is sealed.

use crate::flow::control_stream;
use crate::frames::{SentFrame, read_frames};
use bytes::BytesMut;
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
}

/// Shared by a session and its packet keys. Both live on one thread, so the lock never waits.
#[derive(Debug, Default)]
pub(crate) struct Tap(Mutex<Sent>);

impl Tap {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, payload: &[u8]) {
        let mut sent = self.lock();
        sent.packets += 1;
        let (mut acks, mut others) = (false, false);
        let outcome = read_frames(payload, |frame| {
            acks |= frame == SentFrame::Ack;
            others |= frame != SentFrame::Ack;
            match frame {
                SentFrame::Stream { id, end, length } => {
                    if id != u64::from(control_stream()) {
                        sent.stream_ends.push((id, end));
                        sent.stream_bytes += length;
                    }
                }
                SentFrame::Datagram(length) => sent.datagram_bytes += length,
                SentFrame::Ack | SentFrame::Other => {}
            }
        });
        sent.unreadable += u64::from(outcome.is_err());
        sent.ack_only_packets += u64::from(acks && !others);
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
        let local = Box::new(TappedKey { inner: keys.local, tap: Arc::clone(&self.tap) });
        KeyPair { local, remote: keys.remote }
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
        self.inner.decrypt(packet, header, payload)
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
