#![doc = include_str!("../README.md")]

mod budget;
mod circuits;
mod cluster;
mod diagnostic;
mod entry;
#[cfg(test)]
mod everything;
mod exit;
mod files;
mod hop;
mod hops;
mod listener;
mod mirror;
mod node;
mod pacing;
mod part;
mod reader;
mod relay;
mod sections;
mod service;
mod spell;
mod units;
mod value;
mod warning;

pub use budget::{Allowance, Budget};
pub use cluster::{Cluster, Directory, Px, PxServer, load_cluster, load_px, parse_cluster, parse_px};
pub use diagnostic::{Diagnostic, Diagnostics, Problem};
pub use entry::{Entry, EntryNetwork, NearAddress};
pub use exit::{Exit, ExitNetwork, PEERS_MAX};
pub use files::{
    SECRET_FILE_SIZE_MAX, SecretFileError, create_secret_file, read_access_secret, read_hop_key, read_keys,
    read_secret_file, read_service_secret, read_users,
};
pub use hop::{HopClient, HopCommon, HopServer, load_hop_client, load_hop_server, parse_byte_span};
pub use hops::Hops;
pub use listener::{LISTENERS_MAX, Listen, ListenKind, Listener};
pub use mirror::{Announce, Mirror, load_mirror, parse_mirror};
pub use node::{NodeFile, load_node, parse_node};
pub use pacing::{Dp, Pacing, Price, QUOTA_DOWN, QUOTA_UP, default_classes};
pub use part::{NodePart, PartPath};
pub use reader::keys_of;
pub use relay::{Relay, load_relay, parse_relay};
pub use sections::{
    Admin, Congestion, Log, LogFormat, LogLevel, Mode, Network, Process, QUEUE_MEMORY_MAX, Queues, Shaping,
};
pub use service::{
    HOST_CLIENTS_MAX, HOST_PORTS_MAX, HOSTS_MAX, Host, HostPort, Service, ServiceNetwork, load_service, parse_service,
};
pub use units::{ByteCount, parse_bytes, parse_rate};
pub use warning::Warning;

use diagnostic::Report;
use reader::Section;
use shaping::RateClass;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use wire::packet::PacketSize;

/// The commented example file of an entry: every key, at its default.
pub const EXAMPLE_ENTRY: &str = include_str!("../example-entry.toml");
/// The commented example file of a node of a cluster.
pub const EXAMPLE_CLUSTER: &str = include_str!("../example-cluster.toml");
/// The commented example file of a hop client.
pub const EXAMPLE_HOP_CLIENT: &str = include_str!("../example-hop-client.toml");
/// The commented example file of a hop server.
pub const EXAMPLE_HOP_SERVER: &str = include_str!("../example-hop-server.toml");
/// The commented example file of a relay.
pub const EXAMPLE_RELAY: &str = include_str!("../example-relay.toml");
/// The commented example file of a mirror.
pub const EXAMPLE_MIRROR: &str = include_str!("../example-mirror.toml");
/// The commented example file of a node of several roles.
pub const EXAMPLE_NODE: &str = include_str!("../example-node.toml");
/// The commented example file of a service node.
pub const EXAMPLE_SERVICE: &str = include_str!("../example-service.toml");
/// The commented example file of an exit: every key, at its default.
pub const EXAMPLE_EXIT: &str = include_str!("../example-exit.toml");

/// Largest configuration file that is read, in bytes; a larger one is refused before it is parsed.
pub const FILE_SIZE_MAX: u64 = 1 << 20;

/// One node's configuration. Whoever holds one need not check it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What the node is, with the keys of that role.
    pub role: Role,
    /// File of the node's secret keys.
    pub key_file: PathBuf,
    /// File in which the node remembers handshakes over a restart, so that none is answered twice.
    pub replay_file: PathBuf,
    /// How long a lost link may be away before its flows are reset.
    pub session_timeout: Duration,
    /// What must be the same on both nodes of a link, and where packets are sent from.
    pub network: Network,
    /// Mode and grid.
    pub shaping: Shaping,
    /// Shared memory between the two processes of the node.
    pub queues: Queues,
    /// Cores and priority.
    pub process: Process,
    /// The admin socket.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
}

/// The role of a node and the keys that only it has.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Flows come in here.
    Entry(Entry),
    /// Flows go out here.
    Exit(Exit),
}

impl Role {
    /// `entry` or `exit`, as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Entry(_) => "entry",
            Self::Exit(_) => "exit",
        }
    }
}

/// Why a configuration file gives no [`Config`].
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than [`FILE_SIZE_MAX`].
    #[error("{} is larger than 1 MiB, so it is no configuration file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is read, but what it says cannot be used.
    #[error("{} cannot be used: {} found", .path.display(), .diagnostics.summary())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The whole text, for [`Diagnostics::render`].
        text: String,
        /// All problems, in the order of the file.
        diagnostics: Diagnostics,
    },
}

/// Reads and parses a file, or a part of a node's file ([`PartPath`]). Relative paths in it are taken from the folder that the
/// file is in.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    load_part(path, read_config)
}

/// Reads a file, or a part of a node's file, table by table.
fn load_part<T>(path: &Path, read: impl FnOnce(Section<'_>, &Path, &mut Report) -> Option<T>) -> Result<T, LoadError> {
    let PartPath { file, part } = PartPath::of(path);
    load_with(&file, |text, folder| match part {
        None => reader::with_document(text, |root, report| read(root, folder, report)),
        Some(part) => part::with_part(text, part, |root, report| read(root, folder, report)),
    })
}

/// Reads a file and has `parse` make something of its text, and of the folder that it is in.
fn load_with<T>(path: &Path, parse: impl FnOnce(&str, &Path) -> Result<T, Diagnostics>) -> Result<T, LoadError> {
    let read_error = |source| LoadError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read_error)?.len() > FILE_SIZE_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(read_error)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    match parse(&text, folder) {
        Ok(parsed) => Ok(parsed),
        Err(diagnostics) => Err(LoadError::Invalid { path: path.to_owned(), text, diagnostics }),
    }
}

/// Parses a file's text. `folder` is what relative paths are taken from.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Diagnostics> {
    reader::with_document(text, |root, report| read_config(root, folder, report))
}

fn read_config(mut root: Section<'_>, folder: &Path, report: &mut Report) -> Option<Config> {
    let role_name = match report.role {
        // Part of a node's file: its name is the role.
        Some(role) => {
            root.optional(report, "role", value::one_of(if role == "entry" { &["entry"] } else { &["exit"] }));
            Some(role)
        }
        None => root.required(report, "role", value::one_of(&["entry", "exit"])),
    };
    // Without a role nobody knows which of the other keys belong here.
    let role_name = role_name?;
    report.role = Some(role_name);
    let key_file = root.required(report, "key_file", value::path(folder));
    let replay_default = folder.join(format!("{role_name}.replay"));
    let replay_file = root.or(report, "replay_file", replay_default, value::path(folder));
    let session_timeout_s = root.or(report, "session_timeout_s", 30, value::integer(1, 600, "seconds"));
    let mut network = root.section(report, "network");
    let mut shaping = root.section(report, "shaping");
    let role = match role_name {
        "entry" => entry::read(&mut root, &mut shaping, &mut network, folder, report).map(Role::Entry),
        _ => exit::read(&mut root, &mut shaping, &mut network, folder, report).map(Role::Exit),
    };
    let pool_keys = ["tunnels", "isolate"].into_iter().filter(|key| network.has(key));
    let pool_keys: Vec<_> = pool_keys.map(|key| (network.path_of(key), network.place_of(key))).collect();
    let network = sections::network(network, role_name, role.as_ref(), report);
    let packet = network.as_ref().map_or(PacketSize::DEFAULT, |network| network.packet_size);
    let shaping = sections::shaping(&mut root, shaping, rates(role.as_ref()), packet, report);
    if shaping.mode != Mode::Off && role.as_ref().is_some_and(has_several_tunnels) {
        pool_keys.into_iter().for_each(|(path, place)| report.add(path, place, Problem::OneTunnelWhenShaped));
    }
    let queues = sections::queues(&mut root, report);
    let process = sections::process(&mut root, report);
    let admin = sections::admin(&mut root, role_name, folder, report);
    let log = sections::log(&mut root, report);
    if let Some(Role::Entry(entry)) = &role
        && report.is_empty()
    {
        // Limits are compared with what releases cost, once both can be read.
        entry.budget.check(&mut root, &shaping, report);
    }
    root.finish(report);
    Some(Config {
        role: role?,
        key_file: key_file?,
        replay_file,
        session_timeout: Duration::from_secs(session_timeout_s),
        network: network?,
        shaping,
        queues,
        process,
        admin,
        log,
    })
}

/// Whether flows of one entry may be in several tunnels at a time.
fn has_several_tunnels(role: &Role) -> bool {
    let Role::Entry(entry) = role else { return false };
    entry.network.as_ref().is_some_and(|network| network.tunnels > 1 || network.isolates_clients)
}

/// What the modes need to know of the role: fastest classes, and how much a client brings into an epoch. An upload is a
/// request, a download an answer.
fn rates(role: Option<&Role>) -> sections::Rates {
    match role {
        Some(Role::Entry(entry)) => sections::Rates { own: entry.up, other: entry.down, quota: pacing::QUOTA_UP },
        Some(Role::Exit(exit)) => {
            sections::Rates { own: exit.max_rate, other: exit.max_rate, quota: pacing::QUOTA_DOWN }
        }
        // Something of the role was wrong and is reported; any rates do.
        None => sections::Rates { own: RateClass::FASTEST, other: RateClass::FASTEST, quota: pacing::QUOTA_UP },
    }
}
