//! The file of a mirror: who keeps a network's newest document on this machine, and announces its relay.

use crate::diagnostic::{Diagnostics, Problem, Report};
use crate::reader::{Section, with_document};
use crate::units::parse_rate;
use crate::{LoadError, hops, load_part, value};
use network_document::{Label, Roles};
use port_hopping::ports::PortSet;
use shaping::RateClass;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// Where commands ask a mirror that is a part of a node, beside the node's file.
const ADMIN: &str = "mirror.admin";

/// What a mirror is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The invitation into the network: whom to ask while nothing is known.
    pub invitation_file: PathBuf,
    /// Where the newest document goes.
    pub network_file: PathBuf,
    /// What it must not forget over a start.
    pub cache_file: PathBuf,
    /// Where proofs go that the directory has forked.
    pub evidence_dir: PathBuf,
    /// Unix socket at which it answers others: a node's exit names it.
    pub socket: Option<PathBuf>,
    /// Unix sockets to ask in place of tunnels: of a member on this machine, or of another mirror.
    pub sources: Vec<PathBuf>,
    /// The directory listener of this machine's entry. Once there is a document, nobody else is asked.
    pub entry: Option<PathBuf>,
    /// What is said of this machine's relay.
    pub announce: Option<Announce>,
    /// The unix socket at which commands ask it; a mirror that is a part of a node always has one.
    pub admin_socket: Option<PathBuf>,
}

/// What a relay says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// File of its keys.
    pub key_file: PathBuf,
    /// File of its onion secrets; made if there is none.
    pub onion_key_file: PathBuf,
    /// Where it is reached, the best one first.
    pub addresses: Vec<SocketAddr>,
    /// Ports that links may hop to.
    pub hop_ports: Option<PortSet>,
    /// Its places on circuits.
    pub roles: Roles,
    /// Who runs it.
    pub operator: Label,
    /// What it forwards at most.
    pub rate: RateClass,
    /// Ports that it reaches as an exit.
    pub exit_ports: Option<PortSet>,
}

/// Reads the file of a mirror. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_mirror(path: &Path) -> Result<Mirror, LoadError> {
    load_part(path, read_mirror)
}

/// Parses a file's text. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file.
pub fn parse_mirror(text: &str, folder: &Path) -> Result<Mirror, Diagnostics> {
    with_document(text, |root, report| read_mirror(root, folder, report))
}

pub(crate) fn read_mirror(mut root: Section<'_>, folder: &Path, report: &mut Report) -> Option<Mirror> {
    let invitation_file = root.required(report, "invitation_file", value::path(folder));
    let network_file = root.or(report, "network_file", folder.join("network.document"), value::path(folder));
    let cache_file = root.or(report, "cache_file", folder.join("directory.cache"), value::path(folder));
    let evidence_dir = root.or(report, "evidence_dir", folder.join("directory-evidence"), value::path(folder));
    let socket = root.optional(report, "socket", value::socket_path(folder));
    let sources = root.list(report, "sources", value::socket_path(folder));
    let entry = root.optional(report, "entry", value::socket_path(folder));
    let announces = root.has("announce");
    let section = root.section(report, "announce");
    let announce = if announces { read_announce(section, folder, report) } else { None };
    let admin_socket = root.optional(report, "admin_socket", value::socket_path(folder));
    let admin_socket = admin_socket.or_else(|| root.is_part().then(|| folder.join(ADMIN)));
    root.finish(report);
    Some(Mirror {
        invitation_file: invitation_file?,
        network_file,
        cache_file,
        evidence_dir,
        socket,
        sources,
        entry,
        announce,
        admin_socket,
    })
}

fn read_announce(mut section: Section<'_>, folder: &Path, report: &mut Report) -> Option<Announce> {
    let key_file = section.required(report, "key_file", value::path(folder));
    let onion_key_file = section.required(report, "onion_key_file", value::path(folder));
    let addresses = section.list(report, "addresses", value::socket_address);
    let hop_ports = section.or(report, "hop_ports", None, hops::ports);
    let roles = section.required(report, "roles", roles);
    let operator = section.required(report, "operator", |value| {
        Label::new(value::text(value)?, "operator").map_err(|problem| Problem::OfNetwork(problem.to_string().into()))
    });
    let rate = section.required(report, "rate", |value| parse_rate(value::text(value)?));
    let exit_ports = section.or(report, "exit_ports", None, hops::ports);
    if addresses.is_empty() {
        section.refuse(report, "addresses", Problem::Missing { role: None });
    }
    if roles.is_some_and(|roles| roles.exit != exit_ports.is_some()) {
        section.refuse(report, "exit_ports", Problem::ExitPortsOfExits);
    }
    section.finish(report);
    Some(Announce {
        key_file: key_file?,
        onion_key_file: onion_key_file?,
        addresses,
        hop_ports,
        roles: roles?,
        operator: operator?,
        rate: rate?,
        exit_ports,
    })
}

/// Roles with blanks between them, as in a document.
fn roles(value: &DeValue<'_>) -> Result<Roles, Problem> {
    Roles::parse(value::text(value)?).map_err(|problem| Problem::OfNetwork(problem.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EXAMPLE_MIRROR;
    use crate::everything::everything;

    const WHOLE: &str = "invitation_file = \"invitation\"\nsocket = \"d.sock\"\nentry = \"e.sock\"\n[announce]\nkey_file = \"k\"\n\
        onion_key_file = \"o\"\naddresses = [\"192.0.2.1:4433\"]\nroles = \"guard middle exit\"\noperator = \"alice\"\n\
        rate = \"20 Mbit/s\"\nexit_ports = \"80,443\"\n";

    #[test]
    fn the_example_is_read_and_its_comments_are_the_defaults() {
        let plain = parse_mirror(EXAMPLE_MIRROR, Path::new("/etc")).expect("the example is good");
        let text = everything(EXAMPLE_MIRROR).replace("\"guard middle\"", "\"guard middle exit\"");
        let all = parse_mirror(&text, Path::new("/etc")).expect("the example is good");
        assert!(all.announce.is_some() && all.socket.is_some() && all.entry.is_some() && !all.sources.is_empty());
        assert_eq!(all.admin_socket.as_deref(), Some(Path::new("/etc/mirror.admin")));
        assert_eq!(
            Mirror { announce: None, socket: None, entry: None, sources: Vec::new(), admin_socket: None, ..all },
            plain
        );
    }

    #[test]
    fn a_mirror_has_defaults_and_may_announce() {
        let least = parse_mirror("invitation_file = \"i\"\n", Path::new("/etc")).expect("enough");
        assert_eq!(least.network_file, Path::new("/etc/network.document"));
        assert!(least.announce.is_none() && least.socket.is_none());
        let whole = parse_mirror(WHOLE, Path::new("/etc")).expect("a good file");
        let announce = whole.announce.expect("it announces");
        assert!(announce.roles.exit && announce.exit_ports.is_some_and(|ports| ports.len() == 2));
        assert_eq!(whole.socket.as_deref(), Some(Path::new("/etc/d.sock")));
    }

    #[test]
    fn what_is_wrong_is_said_at_its_key() {
        let text = WHOLE
            .replace("exit_ports = \"80,443\"\n", "")
            .replace("\"guard middle exit\"", "\"exit exit\"")
            .replace("alice", "Alice!")
            .replace("addresses", "adresses");
        let problems = parse_mirror(&text, Path::new("")).expect_err("four mistakes");
        let mut keys: Vec<&str> = problems.iter().map(|one| one.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["announce.addresses", "announce.adresses", "announce.operator", "announce.roles"]);
        let no_ports = WHOLE.replace("exit_ports = \"80,443\"\n", "");
        let problems = parse_mirror(&no_ports, Path::new("")).expect_err("an exit has ports");
        assert!(problems.iter().all(|one| one.key == "announce.exit_ports" && !one.problem.remedy().is_empty()));
    }
}
