//! The file of a node of a cluster, and that of the original program, which is taken as it is.

mod px;

pub use px::{Px, PxServer, load_px, parse_px};

use crate::diagnostic::{Diagnostics, Problem, Report};
use crate::reader::{Section, with_document};
use crate::{LoadError, load_part, value};
use cluster_node::member::{MEMBERS_MAX, Member, MemberName, Proof};
use identity::NodeId;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Where the log is, beside the file.
const DATA_DIR: &str = "cluster-log";
/// Where local programs speak to the node, beside the file.
const PIPE: &str = "cluster.pipe";
/// Where a member of a directory keeps its promise, beside the file.
const STATE_DIR: &str = "directory";
/// Where programs ask a member of a directory, beside the file.
const SOCKET: &str = "directory.socket";
/// Where commands ask the node, beside the file.
const ADMIN: &str = "cluster.admin";
/// Largest number of a user; the one above it means none.
const USER_MAX: u64 = u32::MAX as u64 - 1;
/// Ceiling of the first wait before a member is dialled again.
const RETRY_DELAY_MS: u64 = 100;
/// A connection ends when nothing came for so long.
const IDLE_TIMEOUT_S: u64 = 10;

/// What a member of a network's directory is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The network's charter.
    pub charter_file: PathBuf,
    /// Folder of the member's promise and of the newest state.
    pub state_dir: PathBuf,
    /// Unix socket of the service.
    pub socket: PathBuf,
    /// The operators' file of the term that began outside the log, and the state that it begins with.
    pub term: Option<(PathBuf, PathBuf)>,
}

/// What a node of a cluster is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster.
    pub cluster: [u8; 32],
    /// File of the node's secret keys.
    pub key_file: PathBuf,
    /// Its certificate.
    pub certificate_file: PathBuf,
    /// The cluster's roots.
    pub root_file: PathBuf,
    /// Node ids that are not let in.
    pub revoked_file: Option<PathBuf>,
    /// Folder of the log.
    pub data_dir: PathBuf,
    /// Unix socket of the pipe.
    pub pipe: PathBuf,
    /// Users that may open the pipe, beside the node's own and root.
    pub pipe_users: Vec<u32>,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Ceiling of the first wait before a member is dialled again, 1 ms to 10 s.
    pub retry_delay: Duration,
    /// A connection ends when nothing came for so long, 1 s to 5 min.
    pub idle_timeout: Duration,
    /// All members, this node among them: at least two, with different ids and names.
    pub members: Vec<Member>,
    /// The directory that it is a member of.
    pub directory: Option<Directory>,
}

/// Reads the file of a node of a cluster. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_cluster(path: &Path) -> Result<Cluster, LoadError> {
    load_part(path, read_cluster)
}

/// Parses a file's text. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file.
pub fn parse_cluster(text: &str, folder: &Path) -> Result<Cluster, Diagnostics> {
    with_document(text, |root, report| read_cluster(root, folder, report))
}

pub(crate) fn read_cluster(mut root: Section<'_>, folder: &Path, report: &mut Report) -> Option<Cluster> {
    let cluster = root.required(report, "cluster", cluster_id);
    let key_file = root.required(report, "key_file", value::path(folder));
    let certificate_file = root.required(report, "certificate_file", value::path(folder));
    let root_file = root.required(report, "root_file", value::path(folder));
    let revoked_file = root.optional(report, "revoked_file", value::path(folder));
    let data_dir = root.or(report, "data_dir", folder.join(DATA_DIR), value::path(folder));
    let pipe = root.or(report, "pipe", folder.join(PIPE), value::socket_path(folder));
    let pipe_users = root.list(report, "pipe_users", user);
    let admin_socket = root.or(report, "admin_socket", folder.join(ADMIN), value::socket_path(folder));
    let listen = root.required(report, "listen", listen);
    let milliseconds = value::integer(1, 10_000, "milliseconds");
    let retry_delay_ms = root.or(report, "retry_delay_ms", RETRY_DELAY_MS, milliseconds);
    let idle_timeout_s = root.or(report, "idle_timeout_s", IDLE_TIMEOUT_S, value::integer(1, 300, "seconds"));
    let directory = directory(&mut root, report, folder);
    let members = members(&mut root, report);
    root.finish(report);
    Some(Cluster {
        cluster: cluster?,
        key_file: key_file?,
        certificate_file: certificate_file?,
        root_file: root_file?,
        revoked_file,
        data_dir,
        pipe,
        pipe_users,
        admin_socket,
        listen: listen?,
        retry_delay: Duration::from_millis(retry_delay_ms),
        idle_timeout: Duration::from_secs(idle_timeout_s),
        members,
        directory,
    })
}

fn directory(root: &mut Section<'_>, report: &mut Report, folder: &Path) -> Option<Directory> {
    let is_there = root.has("directory");
    let mut table = root.section(report, "directory");
    if !is_there {
        return None;
    }
    let charter_file = table.required(report, "charter_file", value::path(folder));
    let state_dir = table.or(report, "state_dir", folder.join(STATE_DIR), value::path(folder));
    let socket = table.or(report, "socket", folder.join(SOCKET), value::socket_path(folder));
    let term_file = table.optional(report, "term_file", value::path(folder));
    let term_state_file = table.optional(report, "term_state_file", value::path(folder));
    if term_file.is_some() != term_state_file.is_some() {
        table.refuse(report, "term_file", Problem::TermFiles);
    }
    table.finish(report);
    Some(Directory { charter_file: charter_file?, state_dir, socket, term: term_file.zip(term_state_file) })
}

fn members(root: &mut Section<'_>, report: &mut Report) -> Vec<Member> {
    let mut members = Vec::new();
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for mut table in root.sections(report, "members") {
        let id = table.required(report, "node_id", node_id);
        let name = table.required(report, "name", member_name);
        let address = table.required(report, "address", address);
        if id.is_some_and(|id| !ids.insert(id)) {
            table.refuse(report, "node_id", Problem::MemberTwice);
        }
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            table.refuse(report, "name", Problem::MemberTwice);
        }
        table.finish(report);
        if let (Some(id), Some(name), Some(address)) = (id, name, address) {
            members.push(Member { id, name, address, proof: Proof::Key });
        }
    }
    if report.is_empty() && !(2..=MEMBERS_MAX).contains(&members.len()) {
        root.refuse(report, "members", Problem::MemberCount);
    }
    members
}

fn cluster_id(value: &DeValue<'_>) -> Result<[u8; 32], Problem> {
    let digits = value::text(value)?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok()).ok_or(Problem::ClusterId)
}

fn node_id(value: &DeValue<'_>) -> Result<NodeId, Problem> {
    value::text(value)?.parse().map_err(Problem::NodeId)
}

fn user(value: &DeValue<'_>) -> Result<u32, Problem> {
    let unit = "as a user's number";
    let number = value::integer(0, USER_MAX, unit)(value)?;
    u32::try_from(number).map_err(|_| Problem::OutOfRange { min: 0, max: USER_MAX, unit })
}

fn member_name(value: &DeValue<'_>) -> Result<MemberName, Problem> {
    value::text(value)?.parse().map_err(Problem::MemberName)
}

fn address(value: &DeValue<'_>) -> Result<identity::PeerAddress, Problem> {
    value::text(value)?.parse().map_err(Problem::Address)
}

fn listen(value: &DeValue<'_>) -> Result<SocketAddr, Problem> {
    let address = value::socket_address(value)?;
    if address.port() == 0 { Err(Problem::PortZero) } else { Ok(address) }
}

#[cfg(test)]
mod tests;
