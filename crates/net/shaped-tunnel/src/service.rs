//! The shaped process of a service node.

use crate::boot::{BootError, BootHops, BootPacing, BootRelaxation, class, known_guards};
use crate::documents::handed_document;
use crate::order::Ask;
use crate::process::{Handed, Pace, RunError, Shell, now};
use flow_queue::Geometry;
use identity::AccessKey;
use network_document::NetworkDocument;
use onion_service::{ServiceAddress, ServiceConfig};
use os_net::process_channel::Channel;
use serde::{Deserialize, Serialize};
use shaped_node::{Mode, ServiceNode, ServiceNodeConfig, ServicePorts, ServiceSetting};
use shaping::SlotLength;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tunnel_plan::{HOPS_MAX, PathRules};

/// One service, as the process is told of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootHost {
    /// Its address as users write it. The secret to it is not here.
    pub address: String,
    /// Its ports, and where each leads.
    pub ports: Vec<(u16, SocketAddr)>,
    /// Text forms of the keys of those who are let in; empty for everybody.
    pub clients: Vec<String>,
    /// Introduction points.
    pub points: u8,
}

impl fmt::Debug for BootHost {
    /// Names neither the service nor its servers and clients.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootHost(..)")
    }
}

/// Configuration of the shaped process of a service node.
///
/// Descriptors that come with it, in this order: the queue set of the shaped side, the bound UDP socket, the replay file (which it has no
/// use for), the network's document in sealed memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceBoot {
    /// Bytes of the network's document.
    pub document_bytes: usize,
    /// The guards of the last run, as their file has them; none: there was none.
    pub guards: Option<String>,
    /// Guards that are used at the same time, 1..=8.
    pub guards_used: u8,
    /// What paths may do that they should not.
    pub relax: BootRelaxation,
    /// The services.
    pub hosts: Vec<BootHost>,
    /// [`BootPacing::Off`] or [`BootPacing::Constant`].
    pub pacing: BootPacing,
    /// Rate class of what leaves beside tunnels.
    pub base_class: u8,
    /// Fastest rate class of one tunnel.
    pub fastest_class: u8,
    /// Length of a slot in milliseconds.
    pub slot_ms: u32,
    /// How long before its slot a packet is made, in microseconds.
    pub lead_us: u64,
    /// How long before a slot the sender starts to spin, in microseconds; 0: it does not.
    pub spin_us: u64,
    /// How long a tunnel outlives its last leg.
    pub session_timeout_ms: u64,
    /// Tunnels of clients at a time.
    pub tunnels_max: u32,
    /// Bytes that all tunnels may hold together.
    pub memory_max: u64,
    /// Number, size and generation of the queues that come with this message.
    pub queues: Geometry,
    /// How links hop; none: not at all.
    pub hops: Option<BootHops>,
    /// Real-time priority of the sender thread, 1..=99.
    pub realtime: Option<u8>,
    /// Core to which the process is pinned.
    pub core: Option<usize>,
    /// Whether the process confines itself.
    pub confine: bool,
}

/// Runs the shaped process of a service node until its channel closes or it is told to stop. `fds` are in the order that
/// [`ServiceBoot`] states.
///
/// # Errors
/// When the process cannot do its work; the text is one sentence for the supervisor's user.
pub fn run_service(boot: ServiceBoot, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), RunError> {
    let mut handed = Handed::new(channel, boot.queues, true, fds)?;
    let bound = handed.socket.local_addr().map_err(RunError::Socket)?;
    let document = handed_document(handed.document.take(), boot.document_bytes).map_err(BootError::from)?;
    let packet_bytes = document.charter().packet_size().packet();
    let node = ServiceNode::new(boot.node_config(bound, document)?, now()).map_err(BootError::from)?;
    let mut shell = Shell::new(node, packet_bytes, false, handed);
    // Before it knows the directory's time it makes no record.
    shell.ask(Ask::Time);
    shell.run(&boot.pace())
}

impl ServiceBoot {
    fn pace(&self) -> Pace {
        Pace {
            is_shaped: !matches!(self.pacing, BootPacing::Off),
            slot_ms: self.slot_ms,
            lead_us: self.lead_us,
            spin_us: self.spin_us,
            realtime: self.realtime,
            core: self.core,
            confine: self.confine,
        }
    }

    fn node_config(&self, bound: SocketAddr, document: NetworkDocument) -> Result<ServiceNodeConfig, BootError> {
        let network = document.network_id();
        let mode = match &self.pacing {
            BootPacing::Off => Mode::Off,
            BootPacing::Constant => Mode::Constant,
            _ => return Err(BootError::Range("mode")),
        };
        let services = self.hosts.iter().map(|host| {
            let address: ServiceAddress = host.address.parse().map_err(|_| BootError::Key("address of a service"))?;
            let clients = host.clients.iter().map(|key| key.parse::<AccessKey>());
            let clients = clients.collect::<Result<_, _>>().map_err(|_| BootError::Key("access key"))?;
            let config = ServiceConfig { points: host.points.into(), clients, ..ServiceConfig::new(network) };
            Ok(ServiceSetting { address, config, ports: ServicePorts::new(host.ports.iter().copied()) })
        });
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| BootError::Key("random source"))?;
        Ok(ServiceNodeConfig {
            services: services.collect::<Result<_, BootError>>()?,
            guards: known_guards(self.guards.as_deref(), network, self.guards_used)?,
            document,
            rules: PathRules::new(HOPS_MAX, self.guards_used)?.relaxed(self.relax.into()),
            ipv4: bound.is_ipv4(),
            mode,
            slot: SlotLength::from_millis(self.slot_ms).map_err(|_| BootError::Range("slot length"))?,
            base: class(self.base_class)?,
            fastest: class(self.fastest_class)?,
            session_timeout: Duration::from_millis(self.session_timeout_ms),
            tunnels_max: self.tunnels_max as usize,
            memory_max: self.memory_max,
            max_flows: self.queues.max_flows(),
            hops: self.hops.as_ref().map(|hops| hops.config(bound.port())).transpose()?,
            seed,
        })
    }
}
