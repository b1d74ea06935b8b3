//! Keys that only an entry has.

use crate::budget::Budget;
use crate::circuits;
use crate::diagnostic::{Problem, Report};
use crate::hops::{self, Hops};
use crate::listener::{self, Listener};
use crate::reader::Section;
use crate::units::parse_rate;
use crate::value;
use identity::{NodeId, PeerString};
use shaping::RateClass;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tunnel_plan::PathRules;

/// What an entry has beside the common tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The exit of a pair; none: the entry is one over circuits. There is always one of the two.
    pub peer: Option<PeerString>,
    /// The network of an entry over circuits; none: it is one of a pair.
    pub network: Option<EntryNetwork>,
    /// Rate from this entry to the exit; over circuits that of all legs together.
    pub up: RateClass,
    /// Rate from the exit to this entry, likewise.
    pub down: RateClass,
    /// Where applications connect; at least one.
    pub listeners: Vec<Listener>,
    /// How long an application may take to say where it wants to go.
    pub handshake_timeout: Duration,
    /// When the link changes its ports, if the exit offers any; none: never.
    pub hops: Option<Hops>,
    /// What may be spent on releases of both directions.
    pub budget: Box<Budget>,
}

/// What makes a node an entry over circuits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryNetwork {
    /// The network's document.
    pub file: PathBuf,
    /// Where the node's guards are written down.
    pub guards_file: PathBuf,
    /// How long paths are, how many there are, and what they may share.
    pub rules: PathRules,
    /// Where links leave this machine; none: wherever the system lets them. Only legs of one hop have several.
    pub from: Vec<NearAddress>,
    /// The only exit, if it is not left to chance.
    pub exit: Option<NodeId>,
    /// Tunnels that are kept: all that there are, or those that are ready beside the ones that clients have.
    pub tunnels: u8,
    /// Whether each client has a tunnel of its own.
    pub isolates_clients: bool,
    /// Whether flows may go to onion services.
    pub services: bool,
    /// The key for those services that let in only whom they know.
    pub access_key_file: Option<PathBuf>,
}

/// One of this machine's ends that links leave from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearAddress {
    /// An address of its own.
    Address(IpAddr),
    /// The IPv4 side of a network interface, whatever its address is.
    Interface(String),
}

impl std::fmt::Display for NearAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// Reads `peer`, `[[listen]]`, `[limits]`, `[hops]`, `[budget]` and the entry's keys of `[shaping]`.
pub(crate) fn read(
    root: &mut Section<'_>,
    shaping: &mut Section<'_>,
    network: &mut Section<'_>,
    folder: &Path,
    report: &mut Report,
) -> Option<Entry> {
    let is_over_circuits = circuits::is_wanted(network);
    let peer_string = |value: &toml::de::DeValue<'_>| {
        let peer: PeerString = value::text(value)?.parse().map_err(Problem::Peer)?;
        if peer.address.is_none() { Err(Problem::PeerWithoutAddress) } else { Ok(peer) }
    };
    let peer = if is_over_circuits {
        root.optional(report, "peer", peer_string)
    } else {
        root.required(report, "peer", peer_string)
    };
    let rate = |value: &toml::de::DeValue<'_>| parse_rate(value::text(value)?);
    let up = shaping.or(report, "up", RateClass::SLOWEST, rate);
    let down = shaping.or(report, "down", RateClass::SLOWEST, rate);
    let listeners = listener::read_all(root, folder, report);
    let mut limits = root.section(report, "limits");
    let handshake_timeout = limits.or(report, "handshake_timeout_s", Duration::from_secs(10), value::seconds(120));
    limits.finish(report);
    let hops = hops::read(root, report);
    let budget = Box::new(Budget::read(root, folder, report));
    let over_circuits = circuits::entry(network, folder, report);
    if is_over_circuits {
        root.refuse_present(report, "peer", Problem::NotOverCircuits);
        network.refuse_present(report, "packet_size", Problem::NotOverCircuits);
    }
    Some(Entry { peer, network: over_circuits, up, down, listeners, handshake_timeout, hops, budget })
}
