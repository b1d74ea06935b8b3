//! What the supervisor tells the process at its start.

use flow_queue::Geometry;
use identity::{DoorKey, LinkSecret, NodeSecret};
use network_document::OnionKeyFile;
use relay_node::{Limits, RelayNodeConfig};
use serde::{Deserialize, Serialize};
use shaped_node::{ExitConfig, ExitSchedule, Mode};
use shaped_tunnel::BootPacing;
use shaping::{RateClass, Sigma, SlotLength};
use std::time::Duration;
use thiserror::Error;
use wire::packet::PacketSize;

/// How the cells of an exit's tunnels leave in slots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSlots {
    /// The mode and its settings, but [`BootPacing::Off`].
    pub pacing: BootPacing,
    /// Number of the fastest rate class of one tunnel.
    pub fastest_class: u8,
    /// Length of a slot in milliseconds.
    pub slot_ms: u32,
    /// How long before its slot a packet is made, in microseconds.
    pub lead_us: u64,
    /// How long before a slot the sender starts to spin, in microseconds; 0: it does not.
    pub spin_us: u64,
    /// Real-time priority of the sender thread, 1..=99; the loop that makes packets gets one less.
    pub realtime: Option<u8>,
}

/// Configuration of the shaped process of an exit over circuits.
///
/// Descriptors that come with it, in this order: the queue set of the shaped side ([`flow_queue::Segments`]), the bound UDP
/// socket of the door, the replay file (opened for reading and appending), the network's document in sealed memory.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitBoot {
    /// Bytes of the network's document. It comes in sealed memory, the last descriptor.
    pub document_bytes: usize,
    /// Text of the file of onion secrets.
    pub onion_keys: String,
    /// Text form of the node's secret.
    pub node_secret: String,
    /// Text form of the link secret.
    pub link_secret: String,
    /// Text form of the door key.
    pub door_key: String,
    /// How long a tunnel outlives its last leg.
    pub session_timeout_ms: u64,
    /// Tunnels at a time.
    pub tunnels_max: u32,
    /// Flows of one tunnel at a time.
    pub flows_per_tunnel: u16,
    /// Bytes that all tunnels may hold together.
    pub memory_max: u64,
    /// The slots of its tunnels; none: mode `off`.
    pub slots: Option<BootSlots>,
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
    /// A setting of the slots is out of range.
    #[error("the boot message has a {0} out of range")]
    Range(&'static str),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl ExitBoot {
    pub(super) fn onion_keys(&self) -> Result<OnionKeyFile, BootError> {
        onion_keys(&self.onion_keys)
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
            session_packet: packet_size.session_packet(),
            node_secret: self.node_secret()?,
            session_timeout: Duration::from_millis(self.session_timeout_ms),
            tunnels_max: self.tunnels_max as usize,
            flows_per_tunnel: self.flows_per_tunnel,
            memory_max: self.memory_max,
            schedule: self.slots.as_ref().map(|slots| slots.schedule(packet_size)).transpose()?,
            seed: random()?,
        })
    }
}

impl BootSlots {
    fn slot(&self) -> Result<SlotLength, BootError> {
        SlotLength::from_millis(self.slot_ms).map_err(|_| BootError::Range("slot length"))
    }

    fn schedule(&self, packet: PacketSize) -> Result<ExitSchedule, BootError> {
        let slot = self.slot()?;
        let settings = self.pacing.settings(packet, slot).map_err(|_| BootError::Range("setting of its mode"))?;
        let (mode, pacing) = Some(settings).filter(|(mode, _)| *mode != Mode::Off).ok_or(BootError::Range("mode"))?;
        let fastest = RateClass::new(self.fastest_class).map_err(|_| BootError::Range("rate class"))?;
        Ok(ExitSchedule { mode, pacing, slot, fastest })
    }

    /// The scale of the noise that the mode needs, if it needs any.
    pub(super) fn sigma(&self, packet: PacketSize) -> Result<Option<Sigma>, BootError> {
        self.pacing.sigma(packet, self.slot()?).map_err(|_| BootError::Range("sigma"))
    }
}

/// The secrets in a text of the supervisor.
pub(super) fn onion_keys(text: &str) -> Result<OnionKeyFile, BootError> {
    OnionKeyFile::parse(text).map_err(|_| BootError::Text("file of onion secrets"))
}

/// Bytes of the system's random source.
pub(super) fn random() -> Result<[u8; 32], BootError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| BootError::Random)?;
    Ok(bytes)
}
