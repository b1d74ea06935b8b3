//! The file of a relay.

use crate::diagnostic::{Diagnostics, Report};
use crate::reader::{Section, with_document};
use crate::units::parse_rate;
use crate::{LoadError, load_part, value};
use shaping::RateClass;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time that circuits may go on when a relay is stopped.
const DRAIN_MAX_S: u64 = 86_400;
/// Longest time between two lines of counters.
const COUNTERS_MAX_S: u64 = 86_400;
/// How long circuits may go on, unless the file says something else.
const DRAIN_S: u64 = 30;

/// Where commands ask a relay that is a part of a node, beside the node's file.
const ADMIN: &str = "relay.admin";

/// What a relay is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// File of its keys.
    pub key_file: PathBuf,
    /// File of its onion secrets.
    pub onion_key_file: PathBuf,
    /// The document of its network.
    pub network_file: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// In which it remembers handshakes over a restart.
    pub replay_file: PathBuf,
    /// What it sends at most.
    pub max_rate: Option<RateClass>,
    /// How long circuits may go on when it is stopped.
    pub drain: Duration,
    /// Time between two lines of counters in the log.
    pub counters: Option<Duration>,
    /// The unix socket at which commands ask it; a relay that is a part of a node always has one.
    pub admin_socket: Option<PathBuf>,
    /// Links.
    pub links: u32,
    /// Of these, links of clients.
    pub clients: u32,
    /// Links from one source.
    pub links_per_source: u32,
    /// Circuits.
    pub circuits: u32,
    /// Circuits of one client.
    pub circuits_per_client: u32,
    /// Cells that wait.
    pub cells: u32,
    /// Cells of one circuit that wait.
    pub cells_per_circuit: u32,
}

/// Reads the file of a relay. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_relay(path: &Path) -> Result<Relay, LoadError> {
    load_part(path, read_relay)
}

/// Parses a file's text. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file.
pub fn parse_relay(text: &str, folder: &Path) -> Result<Relay, Diagnostics> {
    with_document(text, |root, report| read_relay(root, folder, report))
}

pub(crate) fn read_relay(mut root: Section<'_>, folder: &Path, report: &mut Report) -> Option<Relay> {
    let key_file = root.required(report, "key_file", value::path(folder));
    let onion_key_file = root.required(report, "onion_key_file", value::path(folder));
    let network_file = root.required(report, "network_file", value::path(folder));
    let listen = root.required(report, "listen", value::socket_address);
    let replay_file = root.or(report, "replay_file", folder.join("relay.replay"), value::path(folder));
    let max_rate = root.optional(report, "max_rate", |value| parse_rate(value::text(value)?));
    let drain = root.or(report, "drain_s", Duration::from_secs(DRAIN_S), value::seconds(DRAIN_MAX_S));
    let counters = root.optional(report, "counters_s", value::seconds(COUNTERS_MAX_S));
    let mut number = |key, default: u32, max: u32, unit| {
        let read = value::integer(1, max.into(), unit);
        root.or(report, key, default, |value| Ok(u32::try_from(read(value)?).unwrap_or(max)))
    };
    let links = number("links", 4_096, 20_000, "links");
    let clients = number("clients", 3_584, 20_000, "links");
    let links_per_source = number("links_per_source", 16, 20_000, "links");
    let circuits = number("circuits", 16_384, 65_536, "circuits");
    let circuits_per_client = number("circuits_per_client", 64, 65_536, "circuits");
    let cells = number("cells", 16_384, 1_048_576, "cells");
    let cells_per_circuit = number("cells_per_circuit", 64, 4_096, "cells");
    let admin_socket = root.optional(report, "admin_socket", value::socket_path(folder));
    let admin_socket = admin_socket.or_else(|| root.is_part().then(|| folder.join(ADMIN)));
    root.finish(report);
    Some(Relay {
        key_file: key_file?,
        onion_key_file: onion_key_file?,
        network_file: network_file?,
        listen: listen?,
        replay_file,
        max_rate,
        drain,
        counters,
        admin_socket,
        links,
        clients,
        links_per_source,
        circuits,
        circuits_per_client,
        cells,
        cells_per_circuit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EXAMPLE_RELAY;
    use crate::everything::everything;

    #[test]
    fn the_example_is_read_and_its_comments_are_the_defaults() {
        let plain = parse_relay(EXAMPLE_RELAY, Path::new("/etc")).expect("the example is good");
        let spelled_out = parse_relay(&everything(EXAMPLE_RELAY), Path::new("/etc")).expect("the example is good");
        assert_eq!(plain.key_file, PathBuf::from("/etc/relay.keys"));
        assert_eq!(spelled_out.counters, Some(Duration::from_secs(60)));
        assert_eq!(spelled_out.max_rate, RateClass::at_least(20_000_000).ok());
        assert_eq!(spelled_out.admin_socket.as_deref(), Some(Path::new("/etc/relay.admin")));
        assert_eq!(Relay { counters: None, max_rate: None, admin_socket: None, ..spelled_out }, plain);
    }

    #[test]
    fn what_is_wrong_is_said_at_its_key() {
        let text = "key_file = 1\nlisten = \"here\"\nnetwork_file = \"n\"\nlinks = 0\nport = 1\n";
        let found = parse_relay(text, Path::new("")).expect_err("five mistakes");
        let mut keys: Vec<&str> = found.iter().map(|one| one.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["key_file", "links", "listen", "onion_key_file", "port"]);
        assert!(found.iter().all(|one| !one.problem.remedy().is_empty()));
    }
}
