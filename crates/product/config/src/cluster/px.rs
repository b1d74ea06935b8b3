//! The JSON file of the original program.
//!
//! ```json
//! {
//!   "me": { "id": "n1.example", "addr": "192.0.2.1:4433",
//!           "tls_config_info": { "cert_path": "n1.crt", "key_path": "n1.key", "ca_cert_path": "ca.crt" } },
//!   "retry_delay": 1000,
//!   "servers": [ { "addr": "192.0.2.2:4433", "server_name": "n2.example" } ]
//! }
//! ```
//!
//! Older files also have `ping`, which is passed over, and `id` in each server.

use crate::diagnostic::{Diagnostics, Problem, Report};
use crate::reader::{Section, with_json};
use crate::{LoadError, load_with, value};
use cluster_node::member::{MEMBERS_MAX, Member, MemberName, Proof, id_of_name};
use identity::PeerAddress;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// The first wait of the original when nothing is said.
const RETRY_DELAY_MS: u64 = 1_000;
/// Longest wait that the original's file may ask for; ours never grows beyond it.
const RETRY_DELAY_MAX_MS: u64 = 10_000;

/// What a file of the original says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Px {
    /// What the file calls this node. Its name in the cluster is the one in its certificate.
    pub id: String,
    /// Where to listen. A name is looked up.
    pub listen: PeerAddress,
    /// Certificate, private key and roots, in PEM form.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
    /// The roots.
    pub root_file: PathBuf,
    /// Ceiling of the first wait before a node is dialled again.
    pub retry_delay: Duration,
    /// The other nodes.
    pub servers: Vec<PxServer>,
}

/// Another node in a file of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PxServer {
    /// Its number, in older files.
    pub number: Option<u64>,
    /// The name in its certificate.
    pub name: MemberName,
    /// Where it is dialled; without a port in the file, at this node's own.
    pub address: PeerAddress,
}

impl Px {
    /// All members with their numbers, this node included under the name in its certificate. A node without a number gets
    /// its rank by name, from 1. The file names no keys, so each is known by its name alone.
    ///
    /// `None` when two have the same name or number.
    pub fn members(&self, own: &MemberName) -> Option<Vec<(u64, Member)>> {
        let here = PxServer { number: self.id.parse().ok(), name: own.clone(), address: self.listen.clone() };
        let mut all: Vec<&PxServer> = self.servers.iter().chain([&here]).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let numbers: Vec<u64> = (1..).zip(&all).map(|(rank, server)| server.number.unwrap_or(rank)).collect();
        let names: BTreeSet<&MemberName> = all.iter().map(|server| &server.name).collect();
        if names.len() < all.len() || numbers.iter().collect::<BTreeSet<_>>().len() < all.len() {
            return None;
        }
        let member = |server: &PxServer| Member {
            id: id_of_name(&server.name),
            name: server.name.clone(),
            address: server.address.clone(),
            proof: Proof::Name,
        };
        Some(numbers.into_iter().zip(all.into_iter().map(member)).collect())
    }
}

/// Reads a file of the original. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_px(path: &Path) -> Result<Px, LoadError> {
    load_with(path, parse_px)
}

/// Parses the text of a file of the original. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file.
pub fn parse_px(text: &str, folder: &Path) -> Result<Px, Diagnostics> {
    with_json(text, |mut root, report| {
        let mut me = root.section(report, "me");
        let id = me.required(report, "id", text_or_number);
        let listen = me.required(report, "addr", |value| value::text(value)?.parse().map_err(Problem::Address));
        let mut tls = me.section(report, "tls_config_info");
        let certificate_file = tls.required(report, "cert_path", value::path(folder));
        let key_file = tls.required(report, "key_path", value::path(folder));
        let root_file = tls.required(report, "ca_cert_path", value::path(folder));
        tls.finish(report);
        me.finish(report);
        let milliseconds = value::integer(1, RETRY_DELAY_MAX_MS, "milliseconds");
        let retry_delay_ms = root.or(report, "retry_delay", RETRY_DELAY_MS, milliseconds);
        root.optional(report, "ping", value::boolean);
        let own_port = listen.as_ref().map(|listen: &PeerAddress| listen.port);
        let servers = servers(&mut root, report, own_port);
        root.finish(report);
        Some(Px {
            id: id?,
            listen: listen?,
            certificate_file: certificate_file?,
            key_file: key_file?,
            root_file: root_file?,
            retry_delay: Duration::from_millis(retry_delay_ms),
            servers,
        })
    })
}

fn servers(root: &mut Section<'_>, report: &mut Report, own_port: Option<u16>) -> Vec<PxServer> {
    let mut servers: Vec<PxServer> = Vec::new();
    for mut table in root.sections(report, "servers") {
        let number = table.optional(report, "id", number);
        let address = table.required(report, "addr", |value| with_port(value::text(value)?, own_port));
        let name = table.required(report, "server_name", super::member_name);
        table.finish(report);
        if name.as_ref().is_some_and(|name| servers.iter().any(|server| server.name == *name)) {
            table_twice(root, report);
        }
        if let (Some(name), Some(address)) = (name, address) {
            servers.push(PxServer { number, name, address });
        }
    }
    if report.is_empty() && !(1..MEMBERS_MAX).contains(&servers.len()) {
        root.refuse(report, "servers", Problem::MemberCount);
    }
    servers
}

fn table_twice(root: &Section<'_>, report: &mut Report) {
    root.refuse(report, "servers", Problem::MemberTwice);
}

/// `host:port`, or a host alone, which is then at this node's own port.
fn with_port(text: &str, own_port: Option<u16>) -> Result<PeerAddress, Problem> {
    text.parse().or_else(|error| {
        let port = own_port.ok_or(Problem::Address(error))?;
        format!("{text}:{port}").parse().map_err(|_| Problem::Address(error))
    })
}

fn text_or_number(value: &DeValue<'_>) -> Result<String, Problem> {
    match value::text(value) {
        Ok("") => Err(Problem::EmptyPath),
        Ok(text) => Ok(text.to_owned()),
        Err(problem) => number(value).map(|number| number.to_string()).map_err(|_| problem),
    }
}

/// A number, or a string that is one. Other strings are names that the certificate says better.
fn number(value: &DeValue<'_>) -> Result<u64, Problem> {
    match value::text(value) {
        Ok(text) => text.parse().map_err(|_| Problem::OutOfRange { min: 0, max: 1 << 32, unit: "as an id" }),
        Err(_) => value::integer(0, 1 << 32, "as an id")(value),
    }
}
