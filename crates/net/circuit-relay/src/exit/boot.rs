//! What the supervisor tells the process at its start.

use flow_queue::Geometry;
use identity::{DoorKey, LinkSecret, NodeSecret};
use network_document::{NetworkDocument, OnionKeyFile};
use relay_node::{Limits, RelayNodeConfig};
use serde::{Deserialize, Serialize};
use session::CongestionControl;
use shaped_node::ExitConfig;
use shaped_tunnel::CongestionName;
use std::time::Duration;
use thiserror::Error;
use wire::packet::PacketSize;

/// Configuration of the shaped process of an exit over circuits.
///
/// Descriptors that come with it, in this order: the queue set of the shaped side ([`flow_queue::Segments`]), the bound UDP
/// socket of the door, the replay file (opened for reading and appending).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitBoot {
    /// Text of the network's document.
    pub document: String,
    /// Text of the file of onion secrets.
    pub onion_keys: String,
    /// Text form of the node's secret.
    pub node_secret: String,
    /// Text form of the link secret.
    pub link_secret: String,
    /// Text form of the door key.
    pub door_key: String,
    /// `cubic` or `bbr`: the controller of a session whose tunnel has one leg.
    pub congestion: CongestionName,
    /// How long a tunnel outlives its last leg.
    pub session_timeout_ms: u64,
    /// Tunnels at a time.
    pub tunnels_max: u32,
    /// Flows of one tunnel at a time.
    pub flows_per_tunnel: u16,
    /// Number, size and generation of the queues that come with this message.
    pub queues: Geometry,
    /// Core to which the process is pinned.
    pub core: Option<usize>,
    /// Whether the process confines itself.
    pub confine: bool,
}

/// The supervisor sent something that cannot be used. Its fault, not the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BootError {
    /// A text is not in the form that its maker writes.
    #[error("the boot message has a malformed {0}")]
    Text(&'static str),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl ExitBoot {
    pub(super) fn document(&self) -> Result<NetworkDocument, BootError> {
        NetworkDocument::parse(self.document.as_bytes()).map_err(|_| BootError::Text("network document"))
    }

    pub(super) fn onion_keys(&self) -> Result<OnionKeyFile, BootError> {
        OnionKeyFile::parse(&self.onion_keys).map_err(|_| BootError::Text("file of onion secrets"))
    }

    fn node_secret(&self) -> Result<NodeSecret, BootError> {
        self.node_secret.parse().map_err(|_| BootError::Text("node secret"))
    }

    pub(super) fn relay_config(&self) -> Result<RelayNodeConfig, BootError> {
        Ok(RelayNodeConfig {
            node_id: self.node_secret()?.node_id(),
            link_secret: self.link_secret.parse::<LinkSecret>().map_err(|_| BootError::Text("link secret"))?,
            door_key: self.door_key.parse::<DoorKey>().map_err(|_| BootError::Text("door key"))?,
            hops: None,
            bandwidth: None,
            limits: Limits::default(),
        })
    }

    pub(super) fn exit_config(&self, packet_size: PacketSize) -> Result<ExitConfig, BootError> {
        Ok(ExitConfig {
            packet_size,
            node_secret: self.node_secret()?,
            session_timeout: Duration::from_millis(self.session_timeout_ms),
            congestion: match self.congestion {
                CongestionName::Cubic => CongestionControl::Cubic,
                CongestionName::Bbr => CongestionControl::Bbr,
            },
            tunnels_max: self.tunnels_max as usize,
            flows_per_tunnel: self.flows_per_tunnel,
            seed: random()?,
        })
    }
}

/// Bytes of the system's random source.
pub(super) fn random() -> Result<[u8; 32], BootError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| BootError::Random)?;
    Ok(bytes)
}
