//! Figures of a session.

use crate::tap::Sent;
use quinn_proto::ConnectionStats;
use std::time::Duration;

/// Figures of a session since it began. "Packets" are session packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Smallest round-trip time.
    pub rtt_min: Duration,
    /// Bytes that the controller lets be under way: 2^40 while wide open.
    pub window: u64,
    /// Times that the controller was told of losses.
    pub congestion_events: u64,
    /// Packets polled, those of the handshake included.
    pub packets_sent: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Of these, packets that held nothing but acknowledgements.
    pub ack_only_packets_sent: u64,
    /// Acknowledgements sent, alone or beside other things.
    pub acks_sent: u64,
    /// Acknowledgements received.
    pub acks_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Bytes of these.
    pub bytes_lost: u64,
    /// Packets given to `handle_packet`.
    pub packets_received: u64,
    /// Of these, packets that were none of this session's.
    pub packets_ignored: u64,
    /// Stream bytes that were in a packet, the first time each.
    pub stream_bytes_sent: u64,
    /// Stream bytes that were sent once more.
    pub stream_bytes_repeated: u64,
    /// Records refused since they do not fit two session datagrams.
    pub datagrams_too_large: u64,
    /// Records refused since too many wait.
    pub datagrams_full: u64,
    /// Received records, or halves, that were dropped: the other half lost, or no such flow.
    pub datagrams_dropped: u64,
    /// Packets of our own that could not be read while sealing. Always 0, or `unsent_bytes` is wrong.
    pub unreadable_packets: u64,
}

/// What the session itself counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) packets_received: u64,
    pub(crate) packets_ignored: u64,
    pub(crate) datagrams_too_large: u64,
    pub(crate) datagrams_full: u64,
    pub(crate) datagrams_dropped: u64,
}

impl SessionStats {
    pub(crate) fn new(quic: &ConnectionStats, own: &Counters, sent: &Sent, first_sent: u64) -> Self {
        Self {
            rtt: quic.path.rtt,
            rtt_min: quic.path.min_rtt,
            window: quic.path.cwnd,
            congestion_events: quic.path.congestion_events,
            packets_sent: quic.udp_tx.datagrams,
            bytes_sent: quic.udp_tx.bytes,
            ack_only_packets_sent: sent.ack_only_packets,
            acks_sent: quic.frame_tx.acks,
            acks_received: quic.frame_rx.acks,
            packets_lost: quic.path.lost_packets,
            bytes_lost: quic.path.lost_bytes,
            packets_received: own.packets_received,
            packets_ignored: own.packets_ignored,
            stream_bytes_sent: first_sent,
            stream_bytes_repeated: sent.stream_bytes.saturating_sub(first_sent),
            datagrams_too_large: own.datagrams_too_large,
            datagrams_full: own.datagrams_full,
            datagrams_dropped: own.datagrams_dropped,
            unreadable_packets: sent.unreadable,
        }
    }
}
