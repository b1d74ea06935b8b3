//! What a session is made from.

use crate::control::MESSAGE_MAX;
use crate::control_law::CongestionControl;
use identity::{NodeId, NodeSecret};
use std::time::Duration;
use thiserror::Error;

/// Smallest [`SessionConfig::packet_max`]: QUIC works with nothing smaller (RFC 9000, section 14).
pub const PACKET_MIN: usize = 1200;
/// Largest [`SessionConfig::packet_max`]: what a P of 1452 bytes leaves, and some room.
pub const PACKET_MAX: usize = 1452;
/// Smallest [`SessionConfig::stream_window`].
pub const STREAM_WINDOW_MIN: u32 = 64 * 1024;
/// Largest [`SessionConfig::stream_window`]. quinn ends a connection when one stream's received bytes lie in more
/// than 1024 pieces; 2 MiB are 1,755 packets, which no random loss cuts into more than 440.
pub const STREAM_WINDOW_MAX: u32 = 2 * 1024 * 1024;

/// Round trips of a flow's rate that its window holds.
const WINDOW_ROUND_TRIPS: u64 = 8;
/// The smallest window that [`stream_window_for`] gives.
const USUAL_WINDOW_MIN: u64 = 256 * 1024;

/// A configuration that no session can be made from: our own fault, never the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// See [`SessionConfig::packet_max`].
    #[error("a session packet of {0} bytes is outside {PACKET_MIN}..={PACKET_MAX}")]
    PacketMax(usize),
    /// See [`SessionConfig::stream_window`].
    #[error("a stream window of {0} bytes is outside {STREAM_WINDOW_MIN}..={STREAM_WINDOW_MAX}")]
    StreamWindow(u32),
    /// See [`SessionConfig::max_flows`].
    #[error("a session needs room for at least one flow")]
    NoFlows,
    /// See [`SessionConfig::session_timeout`].
    #[error("a session timeout of {0:?} is outside 1 second..=1 day")]
    Timeout(Duration),
    /// A client that would take any server.
    #[error("a client has to name its server")]
    NoServer,
    /// The TLS library does not take this node's key.
    #[error("the TLS library does not take this node's key")]
    OwnKey,
}

/// How many paths cells take, which decides how late one may come without being lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// One leg: nothing below puts cells in order, so 64 packets of patience.
    One,
    /// Several legs: cells are put in order before the session sees them, so QUIC's usual 3.
    Several,
}

impl Paths {
    pub(crate) fn packet_threshold(self) -> u32 {
        match self {
            Self::One => 64,
            Self::Several => 3,
        }
    }
}

/// Who the other end may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPeer {
    /// This node alone.
    Node(NodeId),
    /// Whoever shows an Ed25519 key, such as a client that made its key for this session. Only a server may expect that.
    Anyone,
}

impl From<NodeId> for ExpectedPeer {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

/// What a session is made from. [`SessionConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Largest session packet in bytes, [`PACKET_MIN`]..=[`PACKET_MAX`]; both ends need the same. 1222 at P = 1350.
    pub packet_max: usize,
    /// This node's key.
    pub own: NodeSecret,
    /// Who the other end may be. A client names its server. A server of a pair takes the node that the link has
    /// authenticated; one whose clients come over circuits, and so without a name, takes anyone.
    pub peer: ExpectedPeer,
    /// The controller that brakes while the session is not wide open. Default BBR: on 100 Mbit/s and 40 ms it keeps
    /// 73 to 87 at up to 7 % loss, where Cubic falls to 7 at 0.1 %. Cubic is better on a path without loss whose
    /// queue is much smaller than its delay.
    pub congestion: CongestionControl,
    /// Begin wide open: always in shaped modes, where slots pace. Default true.
    pub wide_open: bool,
    /// Bytes of one flow that may be under way or unread, [`STREAM_WINDOW_MIN`]..=[`STREAM_WINDOW_MAX`];
    /// [`stream_window_for`] says how many are useful. Default 1 MiB.
    pub stream_window: u32,
    /// Flows that may be open at once, at least 1. Those whose end is still on its way when a new one comes do not
    /// count, up to as many again. Default 1024.
    pub max_flows: u16,
    /// An outage of the link of at most this length loses no flow, 1 second..=1 day. Default 30 seconds.
    pub session_timeout: Duration,
    /// Round-trip time that is assumed before it is measured. Default 100 ms.
    pub initial_rtt: Duration,
    /// The other end acknowledges after this many packets at the latest. Default 16.
    pub ack_every: u32,
    /// The other end acknowledges after this time at the latest. Default 5 ms; QUIC raises it to 25 ms while the
    /// round-trip time is unknown.
    pub ack_delay: Duration,
    /// Default [`Paths::One`].
    pub paths: Paths,
    /// 32 bytes from a cryptographic random source, used for no other session.
    pub seed: [u8; 32],
}

impl SessionConfig {
    /// A configuration with all defaults.
    pub fn new(packet_max: usize, own: NodeSecret, peer: impl Into<ExpectedPeer>, seed: [u8; 32]) -> Self {
        Self {
            packet_max,
            own,
            peer: peer.into(),
            congestion: CongestionControl::Bbr,
            wide_open: true,
            stream_window: 1024 * 1024,
            max_flows: 1024,
            session_timeout: Duration::from_secs(30),
            initial_rtt: Duration::from_millis(100),
            ack_every: 16,
            ack_delay: Duration::from_millis(5),
            paths: Paths::One,
            seed,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(PACKET_MIN..=PACKET_MAX).contains(&self.packet_max) {
            return Err(ConfigError::PacketMax(self.packet_max));
        }
        if !(STREAM_WINDOW_MIN..=STREAM_WINDOW_MAX).contains(&self.stream_window) {
            return Err(ConfigError::StreamWindow(self.stream_window));
        }
        if self.max_flows == 0 {
            return Err(ConfigError::NoFlows);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&self.session_timeout) {
            return Err(ConfigError::Timeout(self.session_timeout));
        }
        Ok(())
    }

    /// How often an idle client shows that it is there.
    pub(crate) fn keep_alive(&self) -> Duration {
        (self.session_timeout / 6).min(Duration::from_secs(10))
    }

    /// QUIC's idle timeout. When an outage begins, the last packet may be a keep-alive interval and a
    /// round trip old; the outage itself may last `session_timeout`.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.session_timeout + self.keep_alive() + Duration::from_secs(1)
    }

    /// Streams that a client may have open, the control stream included; see [`SessionConfig::max_flows`].
    pub(crate) fn streams_max(&self) -> u32 {
        2 * u32::from(self.max_flows) + 16
    }

    /// Bytes of control messages that may wait for the other end to take them: two SYNs for each flow. A client
    /// refuses new flows at half of it; a server whose client takes nothing ends the session when it is full.
    pub(crate) fn control_backlog_max(&self) -> usize {
        (MESSAGE_MAX + 2) * self.streams_max() as usize
    }

    /// Windows of session and sender: more than all streams together can fill, so they never bind.
    pub(crate) fn session_window(&self) -> u64 {
        (u64::from(self.streams_max()) * u64::from(self.stream_window)).max(64 * 1024 * 1024)
    }
}

/// The stream window for a flow that shall reach `bits_per_second` on a path of that round-trip time: eight times the
/// product, between 256 KiB and [`STREAM_WINDOW_MAX`]. While a lost packet is repaired, the bytes behind it fill the
/// window, and at 7 % loss a packet is often lost twice: with twice the product 9 % of the cells of a download
/// stay empty, with eight times none.
pub fn stream_window_for(bits_per_second: u64, rtt: Duration) -> u32 {
    let rtt_us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
    let bytes = bits_per_second.saturating_mul(rtt_us) / 8_000_000;
    let window = bytes.saturating_mul(WINDOW_ROUND_TRIPS).clamp(USUAL_WINDOW_MIN, u64::from(STREAM_WINDOW_MAX));
    u32::try_from(window).unwrap_or(STREAM_WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_rate_and_delay_within_its_bounds() {
        assert_eq!(stream_window_for(5_000_000, Duration::from_millis(40)), 256 * 1024);
        assert_eq!(stream_window_for(20_000_000, Duration::from_millis(40)), 800_000);
        assert_eq!(stream_window_for(u64::MAX, Duration::MAX), 2 * 1024 * 1024);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = SessionConfig::new(1222, NodeSecret::from_seed([1; 32]), NodeId([2; 32]), [3; 32]);
        assert_eq!(good.check(), Ok(()));
        let cases = [
            (SessionConfig { packet_max: 1199, ..good.clone() }, ConfigError::PacketMax(1199)),
            (SessionConfig { stream_window: 1, ..good.clone() }, ConfigError::StreamWindow(1)),
            (SessionConfig { max_flows: 0, ..good.clone() }, ConfigError::NoFlows),
            (SessionConfig { session_timeout: Duration::ZERO, ..good.clone() }, ConfigError::Timeout(Duration::ZERO)),
        ];
        for (config, error) in cases {
            assert_eq!(config.check(), Err(error));
        }
    }

    #[test]
    fn all_streams_together_fit_the_session_window() {
        let config = SessionConfig::new(1222, NodeSecret::from_seed([1; 32]), NodeId([2; 32]), [3; 32]);
        assert!(config.session_window() >= u64::from(config.max_flows) * u64::from(config.stream_window));
        assert!(config.session_window() >= 64 * 1024 * 1024);
    }
}
