//! From a parsed configuration to what the supervisor opens and starts.

pub(crate) mod entry_network;
pub(crate) mod exit_network;
pub(crate) mod service_node;

use crate::failure::{Code, Failure};
use crate::settings;
use config::{Config, Congestion, Entry, Exit, Listen, ListenKind, Listener, Mode, Pacing, Role};
use flow_queue::Geometry;
use identity::{KeyFile, PeerAddress, PeerHost};
use node::{
    DocumentPlan, HopPorts, LaunchPlan, ListenerPlan, NodePlan, NodeRole, ProcessPlan, RestartPlan,
    STOP_DEADLINE_DEFAULT,
};
use port_hopping::causes::Timers;
use serde::Serialize;
use shaped_tunnel::{BootDp, BootHops, BootPacing, BootQueue, BootSide, CongestionName};
use shaping::SendingStrategy;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Names of the processes, on the hidden command line and in `status`.
pub(crate) mod names {
    pub(crate) const UNSHAPED_SERVER: &str = "unshaped-server";
    pub(crate) const SHAPED_CLIENT: &str = "shaped-client";
    pub(crate) const SHAPED_SERVER: &str = "shaped-server";
    pub(crate) const UNSHAPED_CLIENT: &str = "unshaped-client";
    /// The shaped process of an exit over circuits.
    pub(crate) const SHAPED_RELAY: &str = "shaped-relay";
    /// The shaped process of a service node.
    pub(crate) const SHAPED_SERVICE: &str = "shaped-service";
}

/// Where every role's boot message has the generation of its queues (RFC 6901).
const GENERATION: &str = "/queues/generation";

/// Priority of the sender thread where the configuration asks for real time: above ordinary real-time audio is not
/// needed, any real-time priority is.
const REALTIME_PRIORITY: u8 = 10;

/// The network of a pair without a directory.
const NO_NETWORK: [u8; 32] = [0; 32];

/// Permission bits of unix listeners.
const LISTENER_MODE: u32 = 0o600;

/// Reads keys and users, looks the exit's name up, and puts everything together.
pub(crate) fn node_plan(config: &Config) -> Result<NodePlan, Failure> {
    let keys = settings::keys(&config.key_file)?;
    let geometry = geometry(&config.queues)?;
    let (role, (side, mut document), listeners, unshaped) = match &config.role {
        Role::Entry(entry) => {
            let side = entry_side(config, entry)?;
            let (listeners, boot) = ingress(entry, geometry)?;
            (NodeRole::Entry, side, listeners, process(names::UNSHAPED_SERVER, &boot, config.process.unshaped_core)?)
        }
        Role::Exit(exit) => {
            let boot = egress(exit, geometry);
            let unshaped = process(names::UNSHAPED_CLIENT, &boot, config.process.unshaped_core)?;
            (NodeRole::Exit, (exit_side(exit), None), Vec::new(), unshaped)
        }
    };
    let name = match role {
        NodeRole::Entry => names::SHAPED_CLIENT,
        NodeRole::Exit | NodeRole::Service => names::SHAPED_SERVER,
    };
    // The shaped process pins itself, once its threads are there.
    let shaped = match &config.role {
        Role::Exit(Exit { network: Some(exit), max_rate, .. }) => {
            let (boot, of_exit) = exit_network::boot(config, exit, *max_rate, &keys, geometry)?;
            document = Some(of_exit);
            process(names::SHAPED_RELAY, &boot, None)?
        }
        Role::Entry(_) | Role::Exit(_) => process(name, &shaped(config, &keys, side, geometry), None)?,
    };
    let (udp, further_udp) = entry_network::sockets(config);
    Ok(NodePlan {
        role,
        queues: geometry,
        shaped,
        unshaped,
        udp,
        further_udp,
        hop_ports: hop_ports(config),
        listeners,
        replay_path: config.replay_file.clone(),
        document,
        kept: entry_network::kept(config),
        asks: None,
        stop_deadline: STOP_DEADLINE_DEFAULT,
        restart: RestartPlan::default(),
        launch: LaunchPlan::own_program(),
    })
}

fn geometry(queues: &config::Queues) -> Result<Geometry, Failure> {
    let size = u32::try_from(queues.queue_size.0).unwrap_or(u32::MAX);
    Geometry::new(queues.max_flows, size, 0).map_err(|error| Failure::from_error(Code::Configuration, &error))
}

fn process(name: &str, boot: &impl Serialize, core: Option<u16>) -> Result<ProcessPlan, Failure> {
    let boot = serde_json::to_value(boot).map_err(|error| {
        Failure::new(Code::Software, format!("the boot message of {name} cannot be written: {error}"))
    })?;
    Ok(ProcessPlan {
        name: name.to_owned(),
        boot,
        generation_pointer: GENERATION.to_owned(),
        core: core.map(usize::from),
    })
}

/// A time as boot messages have it.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn shaped(config: &Config, keys: &KeyFile, side: BootSide, queues: Geometry) -> shaped_tunnel::Boot {
    shaped_tunnel::Boot {
        side,
        pacing: pacing(config),
        congestion: congestion(config),
        packet_size: config.network.packet_size.packet() as u32,
        slot_ms: config.shaping.slot.as_millis(),
        lead_us: micros(config.shaping.lead),
        spin_us: micros(config.shaping.spin),
        network_id: NO_NETWORK,
        node_secret: keys.node_secret.reveal().to_string(),
        link_secret: keys.link_secret.reveal().to_string(),
        door_key: keys.door_key.reveal().to_string(),
        session_timeout_ms: config.session_timeout.as_millis() as u64,
        queues,
        realtime: config.process.realtime.then_some(REALTIME_PRIORITY),
        core: config.process.shaped_core.map(usize::from),
        hops: hops(config),
        confine: true,
    }
}

fn congestion(config: &Config) -> CongestionName {
    match config.shaping.congestion {
        Congestion::Cubic => CongestionName::Cubic,
        Congestion::Bbr => CongestionName::Bbr,
    }
}

/// Ports that the shaped process may have sockets on.
fn hop_ports(config: &Config) -> HopPorts {
    match &config.role {
        Role::Entry(entry) if entry.hops.is_some() => HopPorts::Unprivileged,
        Role::Entry(_) => HopPorts::None,
        Role::Exit(exit) => exit.hop_ports.clone().map_or(HopPorts::None, HopPorts::Listed),
    }
}

/// How links hop, as the shaped process reads it. Only who dials has timers.
fn hops(config: &Config) -> Option<BootHops> {
    let (offer, timers, unsafe_timers) = match &config.role {
        Role::Entry(entry) => {
            let hops = entry.hops.as_ref()?;
            (None, hops.timers, hops.below_floor)
        }
        Role::Exit(exit) => (Some((exit.hop_ports.as_ref()?, &exit.hop_addresses)), Timers::default(), false),
    };
    let (interval, budget) = (timers.interval(), timers.budget());
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(BootHops {
        ports: offer.map(|(ports, _)| ports.to_string()),
        addresses: offer.into_iter().flat_map(|(_, addresses)| addresses).map(ToString::to_string).collect(),
        interval_ms: [millis(interval.min()), millis(interval.max())],
        budget_bytes: [budget.min(), budget.max()],
        unsafe_timers,
    })
}

/// The mode and its settings, as the shaped process reads them.
fn pacing(config: &Config) -> BootPacing {
    match &config.shaping.pacing {
        Pacing::Fixed if config.shaping.mode == Mode::Off => BootPacing::Off,
        Pacing::Fixed => BootPacing::Constant,
        Pacing::Stepped(parameters) => BootPacing::Stepped {
            classes: parameters.classes().iter().map(|class| class.number()).collect(),
            initial: parameters.initial().number(),
        },
        Pacing::Dp(dp) => {
            let settings = &dp.settings;
            BootPacing::Dp(BootDp {
                epoch_s: settings.epoch_s,
                delta_bytes: settings.delta_bytes,
                sigma_bytes: settings.sigma.bytes(),
                gain_per_1024: settings.gain.0,
                margin_per_1024: settings.margin.0,
                errors_per_1024: settings.errors.0,
                floor_class: settings.floor.number(),
                initial_class: settings.initial.number(),
                ceiling_class: settings.ceiling.number(),
                count_cap_bytes: settings.count_cap_bytes,
            })
        }
        Pacing::Queue(parameters) => {
            let settings = parameters.settings();
            BootPacing::Queue(BootQueue {
                noise_multiplier: settings.noise_multiplier,
                sensitivity: settings.sensitivity,
                min_decision_size: settings.min_decision_size,
                max_decision_size: settings.max_decision_size,
                dp_creditor_loop_interval_us: settings.dp_creditor_loop_interval_us,
                sending_loop_interval_us: settings.sending_loop_interval_us,
                uniform: settings.sending_strategy == SendingStrategy::Uniform,
                keep_rest: settings.keep_rest,
            })
        }
    }
}

fn entry_side(config: &Config, entry: &Entry) -> Result<(BootSide, Option<DocumentPlan>), Failure> {
    if let Some(network) = &entry.network {
        let (side, document) = entry_network::side(network, entry, config.network.bind, &config.queues)?;
        return Ok((side, Some(document)));
    }
    let Some((peer, address)) = entry.peer.as_ref().and_then(|peer| Some((peer, peer.address.as_ref()?))) else {
        return Err(Failure::new(Code::Configuration, "`peer` has no address"));
    };
    let side = BootSide::Entry {
        peer: peer.reveal().to_string(),
        address: resolve(address, config.network.bind)?,
        up_class: entry.up.number(),
        down_class: entry.down.number(),
    };
    Ok((side, None))
}

fn exit_side(exit: &Exit) -> BootSide {
    let entries = exit.peers.iter().map(|peer| peer.reveal().to_string()).collect();
    BootSide::Exit { entries, fastest_class: exit.max_rate.number() }
}

/// The exit's address in the family of the socket that packets leave from.
fn resolve(address: &PeerAddress, bind: SocketAddr) -> Result<SocketAddr, Failure> {
    let found: Vec<SocketAddr> = match &address.host {
        PeerHost::Ip(ip) => vec![SocketAddr::new(*ip, address.port)],
        PeerHost::Name(name) => (name.as_str(), address.port)
            .to_socket_addrs()
            .map_err(|error| {
                Failure::new(Code::Unavailable, format!("the name of the exit, {name}, cannot be looked up: {error}"))
                    .remedy("check the name in `peer` and this machine's name resolution")
            })?
            .collect(),
    };
    found.iter().copied().find(|candidate| candidate.is_ipv4() == bind.is_ipv4()).ok_or_else(|| {
        let (family, other) = if bind.is_ipv4() { ("IPv4", "[::]:0") } else { ("IPv6", "0.0.0.0:0") };
        Failure::new(Code::Configuration, format!("the exit has no {family} address, and `network.bind` is {family}"))
            .remedy(format!("set network.bind = \"{other}\""))
    })
}

fn ingress(entry: &Entry, queues: Geometry) -> Result<(Vec<ListenerPlan>, ingress::Boot), Failure> {
    let mut plans = Vec::new();
    let mut listeners = Vec::new();
    for listener in &entry.listeners {
        let (plan, socket) = match &listener.listen {
            Listen::Tcp(address) => (ListenerPlan::Tcp(*address), ingress::SocketKind::Tcp),
            Listen::Unix(path) => {
                (ListenerPlan::Unix { path: path.clone(), mode: LISTENER_MODE }, ingress::SocketKind::Unix)
            }
        };
        plans.push(plan);
        listeners.push(ingress::Listener { socket, service: service(listener)? });
    }
    let limits = ingress::Limits {
        request_timeout_ms: entry.handshake_timeout.as_millis() as u64,
        ..ingress::Limits::default()
    };
    let services = entry_network::leads_to_services(entry);
    Ok((plans, ingress::Boot { queues, listeners, services, limits }))
}

fn service(listener: &Listener) -> Result<ingress::Service, Failure> {
    match &listener.kind {
        ListenKind::Directory => Ok(ingress::Service::Directory),
        ListenKind::Forward { to } => Ok(ingress::Service::Forward(ingress::ForwardTo::from(to))),
        ListenKind::Proxy { users_file, login_required } => {
            let users = match users_file {
                Some(file) => config::read_users(file).map_err(|error| settings::secret(&error))?,
                None => Vec::new(),
            };
            let logins = users.into_iter().map(|(user, password)| ingress::Login { user, password }).collect();
            Ok(ingress::Service::Proxy { logins, login_required: *login_required })
        }
    }
}

fn egress(exit: &Exit, queues: Geometry) -> egress::Boot {
    egress::Boot {
        queues,
        policy: exit.policy.to_string().lines().map(str::to_owned).collect(),
        connect_timeout_ms: exit.connect_timeout.as_millis() as u64,
        datagram_idle_ms: exit.udp_idle_timeout.as_millis() as u64,
        bind: exit.source_addresses.clone(),
        directory: exit.directory.clone(),
    }
}
