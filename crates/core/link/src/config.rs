//! What an endpoint is told when it is made.

use crate::hops::HopConfig;
use crate::keyset::Hopping;
use identity::{DoorKey, LinkKey, LinkSecret, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::packet::PacketSize;

/// Version of what travels in cells; peers with another one are refused by name.
pub const LINK_VERSION: u8 = 1;
/// Most links that any endpoint keeps, whatever its configuration says.
pub const MAX_LINKS: u32 = 20_000;
/// Bytes of [`Parameters`].
pub const PARAMETERS_LEN: usize = 7;
/// What a node tells its neighbour in the handshake: mode and rate classes. Their meaning is the caller's.
pub type Parameters = [u8; PARAMETERS_LEN];

/// Whose handshakes an endpoint answers.
#[derive(Clone)]
pub enum Accept {
    /// Nobody's: an entry, which only dials.
    Nobody,
    /// Those of these link keys.
    Only(BTreeMap<LinkKey, NodeId>),
    /// Those of any link key.
    Anyone,
    /// Those of these link keys, and of any others: a relay's door, at which clients come that it does not know.
    KnownAndStrangers {
        /// Who is known.
        known: BTreeMap<LinkKey, NodeId>,
        /// Links of strangers at most, half-open ones included: what is left of `max_links` is for those who are known and
        /// for dials, however many strangers there are.
        strangers_max: u32,
    },
}

/// The settings of an [`crate::Endpoint`].
#[derive(Clone)]
pub struct EndpointConfig {
    /// P, network-wide.
    pub packet_size: PacketSize,
    /// The network; a pair without a network uses zeros. Nodes of different networks do not understand each other.
    pub network_id: [u8; 32],
    /// This node's name: decides which of two crossing links stays.
    pub node_id: NodeId,
    /// The static key of this node's links.
    pub link_secret: LinkSecret,
    /// What strangers must know to be answered.
    pub door_key: DoorKey,
    /// Who is answered.
    pub accept: Accept,
    /// Links kept at most, half-open ones included; at most [`MAX_LINKS`].
    pub max_links: u32,
    /// Links accepted from one IPv4 address or IPv6 /64.
    pub links_per_source: u32,
    /// Age at which the initiator makes new keys (a tenth more or less, at random).
    pub rekey_after: Duration,
    /// Packets of one key, in either direction, at which the initiator makes new keys.
    pub rekey_packets: u64,
    /// True when packets leave in slots: then the link's own packets take slots, and reports go out every second.
    pub gridded: bool,
    /// Silence after which the initiator starts a handshake beside the old keys: on a gridded link since the last
    /// packet heard, otherwise since the first unanswered cell of a circuit.
    pub dead_after: Duration,
    /// Silence after which a link is down and its keys are erased. Without a grid at least a minute.
    pub down_after: Duration,
    /// Ports of further sockets that dials may leave from, which the caller has from the start: the first one's is that of
    /// `Via(1)`. Nothing but dials uses them.
    pub dial_ports: Vec<u16>,
    /// How links change their ports. `None`: every link stays on the pair of ports of its handshake.
    pub hops: Option<HopConfig>,
    /// What this node's answers carry.
    pub parameters: Parameters,
    /// Always [`LINK_VERSION`], except in tests of a mismatch.
    pub version: u8,
}

impl EndpointConfig {
    /// The defaults of a gridded node that accepts nobody.
    pub fn new(node_id: NodeId, link_secret: LinkSecret, door_key: DoorKey) -> Self {
        Self {
            packet_size: PacketSize::DEFAULT,
            network_id: [0; 32],
            node_id,
            link_secret,
            door_key,
            accept: Accept::Nobody,
            max_links: 1024,
            links_per_source: 16,
            rekey_after: Duration::from_secs(120),
            rekey_packets: 1 << 26,
            gridded: true,
            dead_after: Duration::from_secs(1),
            down_after: Duration::from_secs(30),
            dial_ports: Vec::new(),
            hops: None,
            parameters: [0; PARAMETERS_LEN],
            version: LINK_VERSION,
        }
    }

    /// How keys begin that a handshake at a door has made.
    pub(crate) fn hopping(&self) -> Hopping {
        if self.hops.is_some() { Hopping::At(0) } else { Hopping::Off }
    }

    /// What both ends of a handshake must agree on without saying it: name, version of the handshake, network, P.
    pub(crate) fn prologue(&self) -> Vec<u8> {
        let size = self.packet_size.packet() as u16;
        [b"hushwire link".as_slice(), &[HANDSHAKE_VERSION], &self.network_id, &size.to_be_bytes()].concat()
    }
}

/// Version of the handshake itself: nodes with another one meet silence.
const HANDSHAKE_VERSION: u8 = 1;
