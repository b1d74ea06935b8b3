//! What a transport is told.

use super::connection_ids::RandomIds;
use super::state::CLIENTS_MAX;
use crate::credentials::{CredentialStore, OwnKey};
use crate::frame::MESSAGE_MAX;
use crate::member::{Member, MembersError, Proof, Roster};
use aws_lc_rs::hmac;
use identity::NodeId;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// Streams to catch up with that one peer may have open at once.
const CATCH_UP_STREAMS: u32 = 16;

/// Bytes of one stream, and of all of one connection, that may be under way or unread.
const STREAM_WINDOW: u32 = MESSAGE_MAX as u32;
const WINDOW: u32 = 4 * STREAM_WINDOW;

/// Bytes of heartbeats that may wait in each direction; older ones give way.
const DATAGRAM_BUFFER: usize = 64 * 1024;

/// What a transport is made from.
#[derive(Clone)]
pub struct Settings {
    /// This node.
    pub own: NodeId,
    /// The cluster. A peer of another one is refused even under the same root.
    pub cluster: [u8; 32],
    /// Where to listen; peers are dialled from the same socket.
    pub listen: SocketAddr,
    /// Ceiling of the first wait before a peer is dialled again, 1 millisecond to 10 seconds; see
    /// [`crate::backoff::Backoff`].
    pub retry_delay: Duration,
    /// A connection ends when nothing came for so long, 1 second to 5 minutes: more than five of the engine's election
    /// timeouts. A third of it is the keep-alive interval.
    pub idle_timeout: Duration,
    /// Lets peers know a restart of this node at once: secret, and the same after it. [`Settings::reset_secret`] makes it.
    pub reset_secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(..)")
    }
}

/// Why there is no transport.
#[derive(Debug, Error)]
pub enum BindError {
    /// The socket cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The list of members cannot be used.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// This node is not on the list of members.
    #[error("this node is not on the list of members")]
    NotAMember,
    /// The certificate is of another key than this node's id.
    #[error("the certificate is not of this node's key")]
    OtherKey,
    /// The certificate lacks the name that the list of members has for this node.
    #[error("the certificate does not name this node `{0}`, as the list of members does")]
    OtherName(crate::member::MemberName),
    /// A time out of range.
    #[error("the retry delay is 1 ms to 10 s, the idle timeout 1 s to 5 min")]
    Times,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Settings {
    /// What [`Settings::reset_secret`] is: HMAC-SHA-256 of "hushwire cluster reset 1" with the node's key.
    pub fn reset_secret(key: &OwnKey<'_>) -> Zeroizing<[u8; 32]> {
        let bytes: &[u8] = match key {
            OwnKey::Node(secret) => secret.expose(),
            OwnKey::Pem(text) => text.as_bytes(),
        };
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"hushwire cluster reset 1");
        Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"))
    }

    pub(super) fn check(&self) -> Result<(), BindError> {
        let retry = Duration::from_millis(1)..=Duration::from_secs(10);
        let idle = Duration::from_secs(1)..=Duration::from_secs(300);
        if retry.contains(&self.retry_delay) && idle.contains(&self.idle_timeout) {
            Ok(())
        } else {
            Err(BindError::Times)
        }
    }

    pub(super) fn endpoint(&self, tls: Arc<QuicServerConfig>) -> Result<Endpoint, BindError> {
        let failed = |source| BindError::Listen { address: self.listen, source };
        let reset = hmac::Key::new(hmac::HMAC_SHA256, &*self.reset_secret);
        let mut config = EndpointConfig::new(Arc::new(reset));
        config.cid_generator(|| Box::new(RandomIds));
        let mut server = ServerConfig::with_crypto(tls);
        server.transport_config(self.transport());
        let socket = UdpSocket::bind(self.listen).map_err(failed)?;
        Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).map_err(failed)
    }

    pub(super) fn transport(&self) -> Arc<TransportConfig> {
        let mut config = TransportConfig::default();
        let idle = IdleTimeout::try_from(self.idle_timeout).expect("it was checked to be at most five minutes");
        let clients = u32::try_from(CLIENTS_MAX).expect("a small number");
        config
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(self.idle_timeout / 3))
            .initial_rtt(Duration::from_millis(100))
            .max_concurrent_uni_streams(VarInt::from_u32(CATCH_UP_STREAMS))
            // The engine's, and the clients'.
            .max_concurrent_bidi_streams(VarInt::from_u32(clients + 1))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(WINDOW))
            .send_window(u64::from(WINDOW))
            .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
            .datagram_send_buffer_size(DATAGRAM_BUFFER);
        Arc::new(config)
    }
}

/// What others will check of this node, checked before they are asked.
pub(super) fn check_own(own: Option<&Member>, credentials: &CredentialStore) -> Result<(), BindError> {
    let own = own.ok_or(BindError::NotAMember)?;
    let credentials = credentials.current();
    if own.proof == Proof::Key && credentials.node_id() != Some(own.id) {
        return Err(BindError::OtherKey);
    }
    let alone = Roster::new(NodeId([0; 32]), std::slice::from_ref(own))?;
    let certificate = credentials.own.cert.first().ok_or(BindError::OtherKey)?;
    if alone.identify(certificate).is_none() {
        return Err(BindError::OtherName(own.name.clone()));
    }
    Ok(())
}
