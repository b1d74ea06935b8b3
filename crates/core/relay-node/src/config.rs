//! What a relay is told when it is made.

use identity::{DoorKey, LinkSecret, NodeId};
use link::{HopConfig, HopOffer};
use network_document::{Descriptor, NetworkDocument, OnionKeyFile};
use onion::{Interval, OnionSecret};
use port_hopping::causes::Timers;
use shaping::RateClass;
use std::time::Duration;
use thiserror::Error;

/// The settings of a [`crate::RelayNode`].
#[derive(Clone)]
pub struct RelayNodeConfig {
    /// Its name.
    pub node_id: NodeId,
    /// The static key of its links.
    pub link_secret: LinkSecret,
    /// What its door wants strangers to know.
    pub door_key: DoorKey,
    /// How its links hop; `None`: they stay at the door.
    pub hops: Option<HopConfig>,
    /// What it sends at most. `None`: as fast as it can.
    pub bandwidth: Option<RateClass>,
    /// Its bounds.
    pub limits: Limits,
}

impl RelayNodeConfig {
    /// How the links of a relay hop: those that it dials over the ports of whoever answers, those that others dial over the ports
    /// that the document has of this relay, or not at all if it has none. `door_port`: the port that the relay listens at.
    pub fn hops_of(document: &NetworkDocument, relay: &NodeId, door_port: u16) -> HopConfig {
        let ports = document.relay(relay).and_then(|relay| relay.hop_ports.clone());
        // A descriptor has no more ranges than an offer may have.
        let offer = ports.and_then(|ports| HopOffer::new(ports, Vec::new()).ok());
        HopConfig { offer, door_port, timers: Timers::default() }
    }
}

/// How much of everything a relay has, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Links, half-open ones included; at most [`link::MAX_LINKS`]. Further handshakes meet silence.
    pub links: u32,
    /// Of these, links of clients. Further handshakes of clients meet silence; those of relays do not.
    pub clients: u32,
    /// Links from one IPv4 address or IPv6 /64. Further handshakes meet silence.
    pub links_per_source: u32,
    /// Circuits; at most [`onion::CIRCUITS_MAX`]. Further ones are refused by name.
    pub circuits: u32,
    /// Circuits that begin at one other relay. Further ones are refused by name.
    pub circuits_per_relay: u32,
    /// Circuits that begin at one client. Further ones are refused by name.
    pub circuits_per_client: u32,
    /// Hop handshakes a second; at most [`onion::HANDSHAKES_PER_SECOND_MAX`]. Further ones are dropped.
    pub handshakes_per_second: u32,
    /// Hop handshakes of one other relay a second. Further ones are dropped.
    pub handshakes_per_relay: u32,
    /// Hop handshakes of one client a second. Further ones are dropped.
    pub handshakes_per_client: u32,
    /// Cells of one circuit and direction that wait. When there are more, the oldest one goes.
    pub cells_per_circuit: usize,
    /// Waiting cells that came from one neighbour. When there are more, one of the arriving cell's circuit goes.
    pub cells_per_neighbour: usize,
    /// Waiting cells in all, each P bytes. When there are more, the oldest one of the circuit with most goes.
    pub cells: usize,
    /// A cell that waited longer is dropped when its turn comes.
    pub cell_age: Duration,
    /// A circuit whose client was not heard for so long is taken down.
    pub circuit_idle: Duration,
    /// A link that this relay dialled is closed when nothing has used it for so long. Longer than `circuit_idle`.
    pub link_idle: Duration,
    /// A link whose neighbour answers nothing for so long is closed, and its circuits end.
    pub link_dead: Duration,
}

impl Default for Limits {
    /// 4,096 links, of which 3,584 may be clients'; 16,384 circuits, a quarter of them of one relay and 64 of one client; 2,000 handshakes a second, a quarter
    /// of them of one relay and 50 of one client; 64 cells of a circuit, 16,384 in all (22 MB), a quarter of them of one
    /// neighbour, half a second old; ten and eleven minutes, fifteen seconds.
    fn default() -> Self {
        Self {
            links: 4_096,
            clients: 3_584,
            links_per_source: 16,
            circuits: 16_384,
            circuits_per_relay: 4_096,
            circuits_per_client: 64,
            handshakes_per_second: 2_000,
            handshakes_per_relay: 500,
            handshakes_per_client: 50,
            cells_per_circuit: 64,
            cells_per_neighbour: 4_096,
            cells: 16_384,
            cell_age: Duration::from_millis(500),
            circuit_idle: Duration::from_secs(600),
            link_idle: Duration::from_secs(660),
            link_dead: Duration::from_secs(15),
        }
    }
}

/// Why a relay cannot work with a document. The operator's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// It is not in it.
    #[error("the document does not list this relay: give its operators the relay's descriptor")]
    NotListed,
    /// It is there with another link key or door key.
    #[error("the document has other keys of this relay than its key file: give its operators a new descriptor")]
    OtherKeys,
    /// The secret of the document's interval is missing, or belongs to another key.
    #[error(
        "the onion key file has no secret for the document's interval: use the file that the descriptor was made with"
    )]
    NoOnionSecret,
    /// Another network's document, or one that is not later than the present one.
    #[error("the document is of another network, or not later than the one in use")]
    NotLater,
}

/// What a document says of this relay, if it fits its keys.
pub(crate) fn own<'a>(
    config: &RelayNodeConfig,
    document: &'a NetworkDocument,
    onion_keys: &OnionKeyFile,
) -> Result<(&'a Descriptor, Interval, OnionSecret), ConfigError> {
    let own = document.relay(&config.node_id).ok_or(ConfigError::NotListed)?;
    if own.link_key != config.link_secret.link_key() || own.door_key != config.door_key {
        return Err(ConfigError::OtherKeys);
    }
    let interval = document.interval();
    let secret = onion_keys.of(interval).filter(|secret| own.onion_key(interval) == Some(secret.onion_key()));
    Ok((own, interval, secret.ok_or(ConfigError::NoOnionSecret)?.clone()))
}
