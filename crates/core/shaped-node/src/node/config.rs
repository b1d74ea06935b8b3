//! What a node is told at its start, and what of that it tells others.

use crate::circuits::CircuitsConfig;
use crate::pacing::PacingConfig;
use crate::parameters::{Mode, Parameters};
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{HopConfig, Peer};
use session::CongestionControl;
use shaping::{RateClass, SlotLength};
use std::net::SocketAddr;
use std::time::Duration;
use wire::packet::PacketSize;

/// Which end of a pair this node is.
#[derive(Debug)]
pub enum Side {
    /// Flows come in here. It dials one exit.
    Entry {
        /// The exit.
        peer: Peer,
        /// Where the exit's door is.
        address: SocketAddr,
        /// Rate of the direction to the exit.
        up: RateClass,
        /// Rate asked of the exit.
        down: RateClass,
    },
    /// Flows come in here and go to an exit over circuits of a network.
    ///
    /// None once the node has taken it.
    Circuits(Option<Box<CircuitsConfig>>),
    /// Flows go out here. It answers the entries that it knows.
    Exit {
        /// Entries that are answered.
        entries: Vec<Peer>,
        /// Fastest class that an entry may ask for.
        fastest: RateClass,
    },
}

/// What a shaped node is told at its start.
#[derive(Debug)]
pub struct NodeConfig {
    /// Entry or exit.
    pub side: Side,
    /// How this node paces its links.
    pub mode: Mode,
    /// The rule of a paced direction.
    pub pacing: PacingConfig,
    /// P.
    pub packet_size: PacketSize,
    /// Length of a slot.
    pub slot: SlotLength,
    /// What the networks's links have in their prologue.
    pub network_id: [u8; 32],
    /// This node's Ed25519 secret.
    pub node_secret: NodeSecret,
    /// This node's link secret.
    pub link_secret: LinkSecret,
    /// What a stranger must know to be answered here.
    pub door_key: DoorKey,
    /// How long a session outlives its link.
    pub session_timeout: Duration,
    /// Number of queue pairs.
    pub max_flows: u16,
    /// Controller of a pair's session in mode `off`; over circuits each leg has one of its own.
    pub congestion: CongestionControl,
    /// How links change their ports; none: they do not.
    pub hops: Option<HopConfig>,
    /// From the system's random source.
    pub seed: [u8; 32],
}

impl NodeConfig {
    /// What this node says about itself in handshakes.
    pub(super) fn parameters(&self) -> Parameters {
        let (own, asked) = match &self.side {
            Side::Entry { up, down, .. } => (*up, *down),
            // Guards are dialled without any: a relay has no use for them.
            Side::Circuits(_) => (RateClass::SLOWEST, RateClass::SLOWEST),
            Side::Exit { fastest, .. } => (*fastest, *fastest),
        };
        Parameters { mode: self.mode, own, asked }
    }
}
