//! What the supervisor tells a shaped process at its start.

use flow_queue::Geometry;
use identity::{DoorKey, LinkSecret, NodeSecret, PeerString};
use link::Peer;
use serde::{Deserialize, Serialize};
use session::CongestionControl;
use shaped_node::{Mode, NodeConfig, Side};
use shaping::{RateClass, SlotLength};
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use wire::packet::PacketSize;

/// Which end of a pair the process serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BootSide {
    /// `ShapedClient`.
    Entry {
        /// The exit's peer string.
        peer: String,
        /// The exit's door, resolved.
        address: SocketAddr,
        /// Rate class towards the exit.
        up_class: u8,
        /// Rate class asked of the exit.
        down_class: u8,
    },
    /// `ShapedServer`.
    Exit {
        /// Peer strings of the entries that are answered.
        entries: Vec<String>,
        /// Fastest rate class that an entry may ask for.
        fastest_class: u8,
    },
}

/// Configuration of a shaped process.
///
/// Descriptors that come with it, in this order: the queue set of the shaped side
/// ([`flow_queue::Segments`]), the bound UDP socket, the replay file (opened for reading and appending).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Entry or exit.
    pub side: BootSide,
    /// False: mode `off`. True: mode `constant`.
    pub shaped: bool,
    /// `cubic` or `bbr`: the session's controller in mode `off`.
    pub congestion: CongestionName,
    /// P in bytes.
    pub packet_size: u32,
    /// Length of a slot in milliseconds.
    pub slot_ms: u32,
    /// How long before its slot a packet is made, in microseconds.
    pub lead_us: u64,
    /// How long before a slot the sender starts to spin, in microseconds; 0: it does not.
    pub spin_us: u64,
    /// The network id in hexadecimal: 32 bytes.
    pub network_id: [u8; 32],
    /// Text form of the node's secret.
    pub node_secret: String,
    /// Text form of the link secret.
    pub link_secret: String,
    /// Text form of the door key.
    pub door_key: String,
    /// How long a session outlives its link.
    pub session_timeout_ms: u64,
    /// Number, size and generation of the queues that come with this message.
    pub queues: Geometry,
    /// Real-time priority of the sender thread, 1..=99; the loop that makes packets gets one less.
    pub realtime: Option<u8>,
    /// Core to which the process is pinned.
    pub core: Option<usize>,
    /// Whether the process confines itself.
    pub confine: bool,
}

/// A session controller by its name in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CongestionName {
    /// RFC 9438.
    Cubic,
    /// BBR as quinn has it.
    Bbr,
}

/// The supervisor sent something that cannot be used. The supervisor's fault, not the user's.
#[derive(Debug, Error)]
pub enum BootError {
    /// A key is not in the form that `identity` prints.
    #[error("the boot message has a malformed {0}")]
    Key(&'static str),
    /// A number is out of range.
    #[error("the boot message has a {0} out of range")]
    Range(&'static str),
}

impl Boot {
    /// True for a `ShapedServer`.
    pub fn is_exit(&self) -> bool {
        matches!(self.side, BootSide::Exit { .. })
    }

    /// The node that this describes.
    pub(crate) fn node_config(&self) -> Result<NodeConfig, BootError> {
        let class = |number| RateClass::new(number).map_err(|_| BootError::Range("rate class"));
        let side = match &self.side {
            BootSide::Entry { peer, address, up_class, down_class } => Side::Entry {
                peer: parse_peer(peer)?,
                address: *address,
                up: class(*up_class)?,
                down: class(*down_class)?,
            },
            BootSide::Exit { entries, fastest_class } => Side::Exit {
                entries: entries.iter().map(|entry| parse_peer(entry)).collect::<Result<_, _>>()?,
                fastest: class(*fastest_class)?,
            },
        };
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| BootError::Key("random source"))?;
        Ok(NodeConfig {
            side,
            mode: if self.shaped { Mode::Constant } else { Mode::Off },
            packet_size: PacketSize::new(self.packet_size).map_err(|_| BootError::Range("packet size"))?,
            slot: SlotLength::from_millis(self.slot_ms).map_err(|_| BootError::Range("slot length"))?,
            network_id: self.network_id,
            node_secret: self.node_secret.parse::<NodeSecret>().map_err(|_| BootError::Key("node secret"))?,
            link_secret: self.link_secret.parse::<LinkSecret>().map_err(|_| BootError::Key("link secret"))?,
            door_key: self.door_key.parse::<DoorKey>().map_err(|_| BootError::Key("door key"))?,
            session_timeout: Duration::from_millis(self.session_timeout_ms),
            max_flows: self.queues.max_flows(),
            congestion: match self.congestion {
                CongestionName::Cubic => CongestionControl::Cubic,
                CongestionName::Bbr => CongestionControl::Bbr,
            },
            seed,
        })
    }
}

fn parse_peer(text: &str) -> Result<Peer, BootError> {
    let peer: PeerString = text.parse().map_err(|_| BootError::Key("peer string"))?;
    Ok(Peer { node_id: peer.node_id, link_key: peer.link_key, door_key: peer.door_key.clone() })
}
