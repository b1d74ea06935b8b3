//! Keys that only an exit has.

use crate::circuits;
use crate::diagnostic::{Problem, Report};
use crate::hops;
use crate::reader::Section;
use crate::units::parse_rate;
use crate::value;
use identity::{PeerAddress, PeerHost, PeerString};
use port_hopping::ports::PortSet;
use port_hopping::targets::TargetAddress;
use proxy_protocols::exit_policy::ExitPolicy;
use shaping::RateClass;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Most entries of one exit; each needs its own schedule.
pub const PEERS_MAX: usize = 1024;

/// Most tunnels of an exit over circuits.
const TUNNELS_MAX: u64 = 65_536;

/// What an exit has beside the common tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Entries that are answered; everybody else meets silence.
    pub peers: Vec<PeerString>,
    /// The fastest class that an entry may ask for, in each direction; over circuits that of one tunnel's answers.
    pub max_rate: RateClass,
    /// What is told to entries: the address under which the node is reached from outside.
    pub public_address: Option<PeerAddress>,
    /// Ports that links of entries may hop over; none: they stay at the address.
    pub hop_ports: Option<PortSet>,
    /// Addresses and prefixes that links may hop between; none: they stay at the one that they came to.
    pub hop_addresses: Vec<TargetAddress>,
    /// Which destinations are dialled.
    pub policy: ExitPolicy,
    /// Addresses that connections to servers leave from; none: the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// The unix socket of the directory's service, where directory streams go; none: they are refused.
    pub directory: Option<PathBuf>,
    /// How long a connection to a server may take, with looking up its name.
    pub connect_timeout: Duration,
    /// How long a UDP association may be silent.
    pub udp_idle_timeout: Duration,
    /// The network of an exit over circuits; none: it answers the entries that it knows.
    pub network: Option<ExitNetwork>,
}

/// What makes a node an exit over circuits: a relay of a network, at which tunnels of anybody end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitNetwork {
    /// The network's document, which has the node with its keys.
    pub file: PathBuf,
    /// Secrets of the node's onion keys.
    pub onion_key_file: PathBuf,
    /// Tunnels of clients at a time; the next one is refused.
    pub tunnels: u32,
}

/// Reads `peers`, `[exit_policy]`, `[directory]`, `[limits]` and the exit's keys of `[shaping]` and `[network]`.
pub(crate) fn read(
    root: &mut Section<'_>,
    shaping: &mut Section<'_>,
    network: &mut Section<'_>,
    folder: &Path,
    report: &mut Report,
) -> Option<Exit> {
    let is_over_circuits = circuits::is_wanted(network);
    let mut peers: Vec<PeerString> = Vec::new();
    let read = |value: &DeValue<'_>| value::text(value)?.parse::<PeerString>().map_err(Problem::Peer);
    for peer in root.list(report, "peers", read) {
        if peers.iter().any(|other| other.node_id == peer.node_id) {
            root.refuse(report, "peers", Problem::PeerTwice);
        } else {
            peers.push(peer);
        }
    }
    if peers.len() > PEERS_MAX {
        root.refuse(report, "peers", Problem::TooManyPeers(PEERS_MAX));
    }
    let fast = RateClass::at_least(50_000_000).unwrap_or(RateClass::FASTEST);
    let max_rate = shaping.or(report, "max_rate", fast, |value| parse_rate(value::text(value)?));
    let public_address = network.optional(report, "public_address", public_address);
    let hop_ports = network.or(report, "hop_ports", None, hops::ports);
    let hop_addresses = network.list(report, "hop_addresses", hops::address);
    let source_addresses = network.list(report, "source_addresses", value::ip_address);
    let policy = policy(root, report);
    let mut directory = root.section(report, "directory");
    let directory_socket = directory.optional(report, "socket", value::socket_path(folder));
    directory.finish(report);
    let mut limits = root.section(report, "limits");
    let connect_timeout = limits.or(report, "connect_timeout_s", Duration::from_secs(15), value::seconds(300));
    let udp_idle_timeout = limits.or(report, "udp_idle_timeout_s", Duration::from_secs(60), value::seconds(3600));
    let tunnels = limits.or(report, "tunnels", 1_024, value::integer(1, TUNNELS_MAX, "tunnels"));
    limits.finish(report);
    let files = circuits::files(network, folder, "onion_key_file", report);
    if is_over_circuits {
        root.refuse_present(report, "peers", Problem::NotOverCircuits);
        for key in ["packet_size", "public_address", "hop_ports", "hop_addresses"] {
            network.refuse_present(report, key, Problem::NotOverCircuits);
        }
    }
    Some(Exit {
        peers,
        max_rate,
        public_address,
        hop_ports,
        hop_addresses,
        policy,
        source_addresses,
        directory: directory_socket,
        connect_timeout,
        udp_idle_timeout,
        network: files.map(|[file, onion_key_file]| ExitNetwork { file, onion_key_file, tunnels: tunnels as u32 }),
    })
}

/// Where entries dial: a name or an address that means something elsewhere.
fn public_address(value: &DeValue<'_>) -> Result<PeerAddress, Problem> {
    let address: PeerAddress = value::text(value)?.parse().map_err(Problem::Address)?;
    match address.host {
        PeerHost::Ip(ip) if ip.is_unspecified() => Err(Problem::Unspecified),
        PeerHost::Ip(_) | PeerHost::Name(_) => Ok(address),
    }
}

/// Each rule is read alone, for its own place in the file, then all together, for their number.
fn policy(root: &mut Section<'_>, report: &mut Report) -> ExitPolicy {
    let mut section = root.section(report, "exit_policy");
    let rules = section.list(report, "rules", |value| {
        let rule = value::text(value)?;
        match ExitPolicy::from_lines([rule]) {
            Ok(_) => Ok(rule.to_owned()),
            Err(error) => Err(Problem::Rule { fault: error.fault, column: error.column }),
        }
    });
    let policy = ExitPolicy::from_lines(rules.iter().map(String::as_str)).unwrap_or_else(|error| {
        section.refuse(report, "rules", Problem::Rule { fault: error.fault, column: error.column });
        ExitPolicy::default()
    });
    section.finish(report);
    policy
}
