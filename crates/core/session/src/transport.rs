//! quinn's settings. Each differs from quinn's default for a reason, given here.

use crate::config::{ConfigError, SessionConfig};
use crate::control_law::{ControlSwitch, SwitchedFactory};
use crate::tap::{Tap, TappedClient, TappedServer};
use crate::tls::{self, WrongPeer};
use aws_lc_rs::{hkdf, hmac};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, ConnectionId, EndpointConfig, IdleTimeout, RandomConnectionIdGenerator,
    ServerConfig, TimeSource, TransportConfig, ValidationTokenConfig, VarInt,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// quinn routes by address. There is one session per endpoint, so one made-up address (RFC 5737) does.
pub(crate) const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

/// Bytes of datagrams that quinn may keep until it sends them. It is given what the packets of one poll can hold and keeps no
/// more; the rest waits in the session.
pub(crate) const DATAGRAM_SEND_BUFFER: usize = 256 * 1024;

/// Bytes of received datagrams that may wait for `poll_event`. When full, the oldest are dropped.
pub(crate) const DATAGRAM_RECEIVE_BUFFER: usize = 1024 * 1024;

/// What a session shares with the parts of it that quinn owns.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) switch: Arc<ControlSwitch>,
    pub(crate) tap: Arc<Tap>,
    pub(crate) wrong_peer: WrongPeer,
}

/// Endpoint settings; `random` is drawn from in a fixed order.
pub(crate) fn endpoint(config: &SessionConfig, random: &mut ChaCha20Rng) -> Result<EndpointConfig, ConfigError> {
    let packet_max = u16::try_from(config.packet_max).map_err(|_| ConfigError::PacketMax(config.packet_max))?;
    let mut endpoint = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &draw(random))));
    endpoint
        .max_udp_payload_size(packet_max)
        .map_err(|_| ConfigError::PacketMax(config.packet_max))?
        // One session per tunnel: a connection id would name nothing and cost 8 bytes a packet.
        .cid_generator(|| Box::new(RandomConnectionIdGenerator::new(0)))
        .grease_quic_bit(false)
        .supported_versions(vec![1])
        .rng_seed(Some(draw(random)));
    Ok(endpoint)
}

pub(crate) fn client(
    config: &SessionConfig,
    shared: &Shared,
    random: &mut ChaCha20Rng,
) -> Result<ClientConfig, ConfigError> {
    let inner = Arc::new(tls::client(config, &shared.wrong_peer)?);
    let mut client = ClientConfig::new(Arc::new(TappedClient { inner, tap: Arc::clone(&shared.tap) }));
    let first_id = ConnectionId::new(&draw(random)[..20]);
    let mut transport = transport(config, shared)?;
    transport.keep_alive_interval(Some(config.keep_alive()));
    client
        .initial_dst_cid_provider(Arc::new(move || first_id))
        .token_store(Arc::new(quinn_proto::NoneTokenStore))
        .transport_config(Arc::new(transport));
    Ok(client)
}

pub(crate) fn server(
    config: &SessionConfig,
    shared: &Shared,
    random: &mut ChaCha20Rng,
) -> Result<ServerConfig, ConfigError> {
    let inner = Arc::new(tls::server(config, &shared.wrong_peer)?);
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&draw(random));
    let crypto = Arc::new(TappedServer { inner, tap: Arc::clone(&shared.tap) });
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    let mut server = ServerConfig::new(crypto, Arc::new(token_key));
    server
        .transport_config(Arc::new(transport(config, shared)?))
        .migration(false)
        .validation_token_config(tokens)
        .time_source(Arc::new(NoTime))
        .max_incoming(1);
    Ok(server)
}

fn transport(config: &SessionConfig, shared: &Shared) -> Result<TransportConfig, ConfigError> {
    let packet_max = u16::try_from(config.packet_max).map_err(|_| ConfigError::PacketMax(config.packet_max))?;
    let idle = IdleTimeout::try_from(config.idle_timeout());
    let idle = idle.map_err(|_| ConfigError::Timeout(config.session_timeout))?;
    let factory = SwitchedFactory { kind: config.congestion, switch: Arc::clone(&shared.switch) };
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(config.ack_every))
        .max_ack_delay(Some(config.ack_delay))
        // An acknowledgement at once for a gap of three, as loss detection by time begins there.
        .reordering_threshold(VarInt::from_u32(3));
    let session_window = VarInt::try_from(config.session_window()).unwrap_or(VarInt::MAX);
    let mut transport = TransportConfig::default();
    transport
        // All three, or loss probes shrink to 1200 and discovery looks for more than a cell holds.
        .initial_mtu(packet_max)
        .min_mtu(packet_max)
        .mtu_discovery_config(None)
        .stream_receive_window(VarInt::from_u32(config.stream_window))
        // These two never bind: a window that does starves the small flows beside the large ones.
        .receive_window(session_window)
        .send_window(config.session_window())
        .max_concurrent_bidi_streams(VarInt::from_u32(config.streams_max()))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(idle))
        .initial_rtt(config.initial_rtt)
        .packet_threshold(config.paths.packet_threshold())
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(factory))
        .datagram_send_buffer_size(DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BUFFER))
        .allow_spin(false)
        .enable_segmentation_offload(true);
    Ok(transport)
}

fn draw(random: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    bytes
}

/// The generator of everything random in a session but TLS's own keys.
pub(crate) fn random(config: &SessionConfig) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(config.seed)
}

/// quinn asks for the time of day only for address tokens, which are neither given nor taken.
struct NoTime;

impl TimeSource for NoTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}
