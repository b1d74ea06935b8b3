//! What the supervisor tells a shaped process at its start.

use crate::documents::{HandedDocumentError, handed_document};
use crate::process::Pace;
use flow_queue::Geometry;
use identity::{DoorKey, LinkSecret, NodeSecret, PeerString};
use link::{HopConfig, HopOffer, Peer};
use network_document::{NetworkDocument, NetworkId};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use port_hopping::interval::Interval;
use serde::{Deserialize, Serialize};
use session::CongestionControl;
use shaped_node::{
    CircuitsConfig, Isolation, Mode, NearEnd, NodeConfig, PacingConfig, PoolConfig, ServicesConfig, Side,
};
use shaping::accountant::MuSquared;
use shaping::{
    DpSettings, Per1024, QueueParameters, QueueSettings, RateClass, SendingStrategy, Sigma, SlotLength,
    SteppedParameters,
};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use thiserror::Error;
use tunnel_plan::{Guards, PathRules, Relaxation, Target};
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
    /// `ShapedClient` over circuits.
    Circuits(BootCircuits),
    /// `ShapedServer`.
    Exit {
        /// Peer strings of the entries that are answered.
        entries: Vec<String>,
        /// Fastest rate class that an entry may ask for.
        fastest_class: u8,
    },
}

/// Settings of an entry over circuits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootCircuits {
    /// Bytes of the network's document. It comes in sealed memory, the last descriptor.
    pub document_bytes: usize,
    /// The guards of the last run, as their file has them; none: there was none. The process gives a newer text to
    /// the supervisor when it changes.
    pub guards: Option<String>,
    /// Hops of each leg, 1..=3.
    pub hops: u8,
    /// Legs, 1..=8.
    pub legs: u8,
    /// Whether the tunnels carry directory streams, and so lead to exits that are directory nodes too.
    #[serde(default)]
    pub directory: bool,
    /// What paths may do that they should not.
    pub relax: BootRelaxation,
    /// What this machine's ends are called that links leave from, in the order of their sockets; none: the first one has no name.
    /// The first socket is the one that every process gets, the others come behind the document.
    #[serde(default)]
    pub from: Vec<String>,
    /// Text form of the only exit's node id; none: any.
    pub exit: Option<String>,
    /// Tunnels that are kept, at least 1.
    pub tunnels: u8,
    /// Whether clients have tunnels of their own.
    pub isolate_clients: bool,
    /// Whether flows may go to onion services.
    #[serde(default)]
    pub services: bool,
    /// Text form of the key for those that let in only whom they know.
    #[serde(default)]
    pub access_key: Option<String>,
    /// Bytes that all tunnels may hold together.
    pub memory_max: u64,
    /// Rate class towards guards, all of them together, in shaped modes.
    pub up_class: u8,
    /// Rate class asked of the exit, likewise.
    pub down_class: u8,
}

/// What a network that is too small may do, as [`tunnel_plan::Relaxation`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is documented where it is used")]
pub enum BootRelaxation {
    Nothing,
    SharedMiddles,
    SharedOperators,
}

/// How the process paces its own direction.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BootPacing {
    /// No schedule.
    Off,
    /// One class.
    Constant,
    /// One of these classes, chosen at slow edges.
    Stepped {
        /// Numbers of the classes.
        classes: Vec<u8>,
        /// Number of the first one.
        initial: u8,
    },
    /// Noisy counts of arrivals.
    Dp(BootDp),
    /// NetShaper's own mechanism.
    Queue(BootQueue),
}

/// Settings of mode `queue`, as [`shaping::QueueSettings`] has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented where it is used")]
pub struct BootQueue {
    pub noise_multiplier: f64,
    pub sensitivity: u64,
    pub min_decision_size: u64,
    pub max_decision_size: u64,
    pub dp_creditor_loop_interval_us: u32,
    pub sending_loop_interval_us: u32,
    pub uniform: bool,
    pub keep_rest: bool,
}

/// Settings of mode `dp`, as [`shaping::DpSettings`] has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented where it is used")]
pub struct BootDp {
    pub epoch_s: u32,
    pub delta_bytes: u64,
    pub sigma_bytes: u64,
    pub gain_per_1024: u32,
    pub margin_per_1024: u32,
    pub errors_per_1024: u32,
    pub floor_class: u8,
    pub initial_class: u8,
    pub ceiling_class: u8,
    pub count_cap_bytes: u64,
}

/// How links hop.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootHops {
    /// At an exit, the ports that entries are told of; none: they stay at the door.
    pub ports: Option<String>,
    /// Addresses and IPv6 prefixes that they are told of beside; none: links stay at the one that they came to.
    pub addresses: Vec<String>,
    /// Shortest and longest life of a pair of ports, in milliseconds.
    pub interval_ms: [u64; 2],
    /// Fewest and most bytes of a pair.
    pub budget_bytes: [u64; 2],
    /// Whether the interval may be below the floor, for tests.
    pub unsafe_timers: bool,
}

/// Configuration of a shaped process.
///
/// Descriptors that come with it, in this order: the queue set of the shaped side
/// ([`flow_queue::Segments`]), the bound UDP socket, the replay file (opened for reading and appending), and at an entry over
/// circuits the network's document in sealed memory and the further UDP sockets that its `from` names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Entry or exit.
    pub side: BootSide,
    /// The mode and its settings.
    pub pacing: BootPacing,
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
    /// How links hop; none: not at all.
    pub hops: Option<BootHops>,
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
    /// The network's document cannot be had.
    #[error(transparent)]
    Document(#[from] HandedDocumentError),
    /// The guards' file cannot be used.
    #[error("the guards' file cannot be used: {0}; move it away, and new guards are drawn")]
    Guards(#[from] tunnel_plan::GuardsFileError),
    /// There is no such service node.
    #[error(transparent)]
    Service(#[from] shaped_node::ServiceNodeError),
    /// There is no such tunnel.
    #[error("there is no such tunnel: {0}")]
    Rules(#[from] tunnel_plan::RulesError),
}

impl Boot {
    /// True for a `ShapedServer`.
    pub fn is_exit(&self) -> bool {
        matches!(self.side, BootSide::Exit { .. })
    }

    /// True where cells leave on the slot grid.
    pub(crate) fn is_shaped(&self) -> bool {
        !matches!(self.pacing, BootPacing::Off)
    }

    /// How the process runs its loop.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            is_shaped: self.is_shaped(),
            slot_ms: self.slot_ms,
            lead_us: self.lead_us,
            spin_us: self.spin_us,
            realtime: self.realtime,
            core: self.core,
            confine: self.confine,
        }
    }

    /// The scale of the noise that the process needs, if it needs any.
    pub(crate) fn sigma(&self) -> Result<Option<Sigma>, BootError> {
        let (packet, slot) = self.sizes()?;
        self.pacing.sigma(packet, slot)
    }

    fn sizes(&self) -> Result<(PacketSize, SlotLength), BootError> {
        let packet = PacketSize::new(self.packet_size).map_err(|_| BootError::Range("packet size"))?;
        Ok((packet, SlotLength::from_millis(self.slot_ms).map_err(|_| BootError::Range("slot length"))?))
    }

    /// The node that this describes, with sockets at these addresses, of which there is one at least. `document`: the memory with it, at an entry over circuits.
    pub(crate) fn node_config(&self, bound: &[SocketAddr], document: Option<OwnedFd>) -> Result<NodeConfig, BootError> {
        let side = match &self.side {
            BootSide::Entry { peer, address, up_class, down_class } => Side::Entry {
                peer: parse_peer(peer)?,
                address: *address,
                up: class(*up_class)?,
                down: class(*down_class)?,
            },
            BootSide::Circuits(circuits) => {
                let document = handed_document(document, circuits.document_bytes)?;
                Side::Circuits(Some(Box::new(circuits.config(bound, document)?)))
            }
            BootSide::Exit { entries, fastest_class } => Side::Exit {
                entries: entries.iter().map(|entry| parse_peer(entry)).collect::<Result<_, _>>()?,
                fastest: class(*fastest_class)?,
            },
        };
        let (packet_size, slot) = self.sizes()?;
        // A network says it in its document.
        let packet_size = match &side {
            Side::Circuits(Some(circuits)) => circuits.document.charter().packet_size(),
            _ => packet_size,
        };
        let (mode, pacing) = self.pacing.settings(packet_size, slot)?;
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| BootError::Key("random source"))?;
        Ok(NodeConfig {
            side,
            mode,
            pacing,
            packet_size,
            slot,
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
            hops: self.hops.as_ref().map(|hops| hops.config(bound.first().map_or(0, SocketAddr::port))).transpose()?,
            seed,
        })
    }
}

impl BootHops {
    /// What links are told. `door_port`: where this node is reached.
    pub(crate) fn config(&self, door_port: u16) -> Result<HopConfig, BootError> {
        let offer = match &self.ports {
            Some(ports) => {
                let ports = ports.parse().map_err(|_| BootError::Range("list of ports"))?;
                let addresses = self.addresses.iter().map(|text| text.parse().map_err(|_| BootError::Range("address")));
                let offer = HopOffer::new(ports, addresses.collect::<Result<_, _>>()?);
                Some(offer.map_err(|_| BootError::Range("list of ports"))?)
            }
            None => None,
        };
        let [shortest, longest] = self.interval_ms.map(Duration::from_millis);
        let interval = Interval::new(shortest, longest).map_err(|_| BootError::Range("interval of hops"))?;
        let [least, most] = self.budget_bytes;
        let budget = ByteBudget::new(least, most).ok_or(BootError::Range("bytes of a pair of ports"))?;
        let timers = if self.unsafe_timers {
            Timers::below_floor(interval, budget, UnsafeTimers)
        } else {
            Timers::new(interval, budget).map_err(|_| BootError::Range("interval of hops"))?
        };
        Ok(HopConfig { offer, door_port, timers })
    }
}

impl fmt::Debug for BootCircuits {
    /// There is a secret in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootCircuits(..)")
    }
}

impl BootCircuits {
    fn config(&self, bound: &[SocketAddr], document: NetworkDocument) -> Result<CircuitsConfig, BootError> {
        let network = document.network_id();
        let guards = known_guards(self.guards.as_deref(), network, self.legs)?;
        let target = if self.directory { Target::ExitAndDirectory } else { Target::Exit };
        let rules = if self.hops == 1 { PathRules::direct(self.legs)? } else { PathRules::new(self.hops, self.legs)? };
        let rules = rules.relaxed(self.relax.into()).to(target);
        let names = self.from.iter().cloned().chain(std::iter::repeat(String::new()));
        let near =
            bound.iter().zip(names).map(|(bound, name)| NearEnd { ipv4: bound.is_ipv4(), port: bound.port(), name });
        let near = near.collect();
        let exit = self.exit.as_ref().map(|exit| exit.parse().map_err(|_| BootError::Key("exit"))).transpose()?;
        let isolation = if self.isolate_clients { Isolation::Clients } else { Isolation::Nothing };
        let pool = PoolConfig { tunnels: self.tunnels, isolation, ..PoolConfig::default() };
        let (up, down) = (class(self.up_class)?, class(self.down_class)?);
        let access = self.access_key.as_ref().map(|key| key.parse().map_err(|_| BootError::Key("access key")));
        let services = self.services.then_some(ServicesConfig { access: access.transpose()? });
        let memory_max = self.memory_max;
        Ok(CircuitsConfig { document, guards, rules, exit, near, pool, services, memory_max, up, down })
    }
}

impl BootPacing {
    /// The scale of the noise that the rule needs, if it needs any.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn sigma(&self, packet: PacketSize, slot: SlotLength) -> Result<Option<Sigma>, BootError> {
        match self {
            Self::Off | Self::Constant | Self::Stepped { .. } => Ok(None),
            Self::Dp(dp) => Sigma::new(dp.sigma_bytes).map(Some).map_err(|_| BootError::Range("sigma")),
            Self::Queue(queue) => Ok(Some(queue.parameters(packet, slot)?.sigma())),
        }
    }

    /// The mode, and the rule of a direction.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn settings(&self, packet: PacketSize, slot: SlotLength) -> Result<(Mode, PacingConfig), BootError> {
        Ok(match self {
            Self::Off => (Mode::Off, PacingConfig::Constant),
            Self::Constant => (Mode::Constant, PacingConfig::Constant),
            Self::Dp(dp) => {
                let cost =
                    MuSquared::from_ratio(dp.delta_bytes, dp.sigma_bytes).map_err(|_| BootError::Range("sigma"))?;
                (Mode::Dp, PacingConfig::Dp { settings: dp.settings()?, cost_each: cost.raw() })
            }
            Self::Stepped { classes, initial } => {
                let classes = classes.iter().map(|number| class(*number)).collect::<Result<Vec<_>, _>>()?;
                let parameters = SteppedParameters::new(&classes, class(*initial)?);
                (Mode::Stepped, PacingConfig::Stepped(parameters.map_err(|_| BootError::Range("set of classes"))?))
            }
            Self::Queue(queue) => {
                let parameters = queue.parameters(packet, slot)?;
                let cost_each = parameters.cost_each().ok_or(BootError::Range("sigma"))?.raw();
                (Mode::Queue, PacingConfig::Queue { parameters, cost_each })
            }
        })
    }
}

impl BootQueue {
    fn parameters(&self, packet: PacketSize, slot: SlotLength) -> Result<QueueParameters, BootError> {
        let settings = QueueSettings {
            noise_multiplier: self.noise_multiplier,
            sensitivity: self.sensitivity,
            min_decision_size: self.min_decision_size,
            max_decision_size: self.max_decision_size,
            dp_creditor_loop_interval_us: self.dp_creditor_loop_interval_us,
            sending_loop_interval_us: self.sending_loop_interval_us,
            sending_strategy: if self.uniform { SendingStrategy::Uniform } else { SendingStrategy::Burst },
            keep_rest: self.keep_rest,
        };
        QueueParameters::new(settings, slot, packet.session_packet()).map_err(|_| BootError::Range("decision"))
    }
}

impl BootDp {
    fn settings(&self) -> Result<DpSettings, BootError> {
        Ok(DpSettings {
            epoch_s: self.epoch_s,
            delta_bytes: self.delta_bytes,
            sigma: Sigma::new(self.sigma_bytes).map_err(|_| BootError::Range("sigma"))?,
            gain: Per1024(self.gain_per_1024),
            margin: Per1024(self.margin_per_1024),
            errors: Per1024(self.errors_per_1024),
            floor: class(self.floor_class)?,
            initial: class(self.initial_class)?,
            ceiling: class(self.ceiling_class)?,
            count_cap_bytes: self.count_cap_bytes,
        })
    }
}

/// The guards of the last run, of which so many are to be used at the same time.
pub(crate) fn known_guards(text: Option<&str>, network: NetworkId, primaries: u8) -> Result<Guards, BootError> {
    let range = |_| BootError::Range("number of legs");
    let mut guards = match text {
        Some(text) => Guards::parse(text, network)?,
        None => Guards::new(network, primaries).map_err(range)?,
    };
    guards.set_primaries(primaries).map_err(range)?;
    Ok(guards)
}

impl From<Relaxation> for BootRelaxation {
    fn from(relaxation: Relaxation) -> Self {
        match relaxation {
            Relaxation::Nothing => Self::Nothing,
            Relaxation::SharedMiddles => Self::SharedMiddles,
            Relaxation::SharedOperators => Self::SharedOperators,
        }
    }
}

impl From<BootRelaxation> for Relaxation {
    fn from(relax: BootRelaxation) -> Self {
        match relax {
            BootRelaxation::Nothing => Self::Nothing,
            BootRelaxation::SharedMiddles => Self::SharedMiddles,
            BootRelaxation::SharedOperators => Self::SharedOperators,
        }
    }
}

pub(crate) fn class(number: u8) -> Result<RateClass, BootError> {
    RateClass::new(number).map_err(|_| BootError::Range("rate class"))
}

fn parse_peer(text: &str) -> Result<Peer, BootError> {
    let peer: PeerString = text.parse().map_err(|_| BootError::Key("peer string"))?;
    Ok(Peer { node_id: peer.node_id, link_key: peer.link_key, door_key: peer.door_key.clone() })
}
