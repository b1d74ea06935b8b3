//! The file of a service node: which services it has, where each of their ports leads, and how it is on the network.

use crate::circuits;
use crate::diagnostic::{Diagnostics, Problem, Report};
use crate::pacing::QUOTA_DOWN;
use crate::reader::{Section, with_document};
use crate::sections::{self, Admin, Log, Mode, Process, Queues, Rates, Shaping};
use crate::units::parse_rate;
use crate::{LoadError, load_part, value};
use identity::AccessKey;
use shaping::RateClass;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;
use tunnel_plan::{LEGS_MAX, Relaxation};
use wire::packet::PacketSize;

/// Services of one node.
pub const HOSTS_MAX: usize = 16;
/// Ports of one service.
pub const HOST_PORTS_MAX: usize = 64;
/// Clients on the list of one service: what its records have room for.
pub const HOST_CLIENTS_MAX: usize = 16;
/// Letters of a service's name.
const NAME_MAX: usize = 32;
/// Most introduction points of one service.
const POINTS_MAX: u64 = 6;
/// Tunnels of clients, most: each has one share of the schedule at least, of which there are 256.
const TUNNELS_MAX: u64 = 256;

/// What a service node is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The services; at least one.
    pub hosts: Vec<Host>,
    /// The directory listener of this machine's entry: records are published and the directory's time is asked there.
    pub directory: PathBuf,
    /// How it is on the network.
    pub network: ServiceNetwork,
    /// Mode and grid.
    pub shaping: Shaping,
    /// What leaves for introductions, and as cover when nobody asks, over all guards together.
    pub base_rate: RateClass,
    /// The fastest class of one client's answers.
    pub max_rate: RateClass,
    /// Tunnels of clients at a time.
    pub tunnels: u16,
    /// How long a server may take to answer.
    pub connect_timeout: Duration,
    /// How long a tunnel outlives its last leg.
    pub session_timeout: Duration,
    /// Shared memory between the two processes of the node.
    pub queues: Queues,
    /// Cores and priority.
    pub process: Process,
    /// The admin socket.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What `status` calls it; nobody else learns that.
    pub name: String,
    /// File of its secret, from which its address follows.
    pub key_file: PathBuf,
    /// Its ports; at least one, each number once.
    pub ports: Vec<HostPort>,
    /// Who is let in; empty for everybody who knows the address.
    pub clients: Vec<AccessKey>,
    /// Introduction points.
    pub points: u8,
}

/// A port of a service, and the server behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// What clients ask for.
    pub port: u16,
    /// Where that leads, on this machine or beside it.
    pub to: SocketAddr,
}

/// `[network]` of a service node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNetwork {
    /// The network's document.
    pub file: PathBuf,
    /// Where the node's guards are written down.
    pub guards_file: PathBuf,
    /// Guards that are used at the same time.
    pub guards: u8,
    /// What paths may share that they should not.
    pub relax: Relaxation,
    /// Address of the UDP socket.
    pub bind: SocketAddr,
}

/// Reads the file of a service node. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_service(path: &Path) -> Result<Service, LoadError> {
    load_part(path, read_service)
}

/// Parses a file's text. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file.
pub fn parse_service(text: &str, folder: &Path) -> Result<Service, Diagnostics> {
    with_document(text, |mut root, report| {
        root.required(report, "role", value::one_of(&["service"]));
        read_service(root, folder, report)
    })
}

pub(crate) fn read_service(mut root: Section<'_>, folder: &Path, report: &mut Report) -> Option<Service> {
    // A file of its own says what it is; as a part of a node's file it has that name.
    root.optional(report, "role", value::one_of(&["service"]));
    let directory = root.required(report, "directory", value::socket_path(folder));
    let session_timeout = root.or(report, "session_timeout_s", Duration::from_secs(30), value::seconds(600));
    let hosts = read_hosts(&mut root, folder, report);
    let network = read_network(&mut root, folder, report);
    let mut section = root.section(report, "shaping");
    let rate = |value: &DeValue<'_>| parse_rate(value::text(value)?);
    let base_rate = section.or(report, "base_rate", RateClass::SLOWEST, rate);
    let max_rate = section.or(report, "max_rate", RateClass::SLOWEST, rate);
    let mode = section.place_of("mode");
    let rates = Rates { own: max_rate, other: max_rate, quota: QUOTA_DOWN };
    let shaping = sections::shaping(&mut root, section, rates, PacketSize::DEFAULT, report);
    if !matches!(shaping.mode, Mode::Constant | Mode::Off) {
        report.add("shaping.mode".into(), mode, Problem::ServiceMode);
    }
    let mut limits = root.section(report, "limits");
    let tunnels = limits.or(report, "tunnels", 64, value::integer(1, TUNNELS_MAX, "tunnels")) as u16;
    let connect_timeout = limits.or(report, "connect_timeout_s", Duration::from_secs(15), value::seconds(120));
    limits.finish(report);
    let queues = sections::queues(&mut root, report);
    let process = sections::process(&mut root, report);
    let admin = sections::admin(&mut root, "service", folder, report);
    let log = sections::log(&mut root, report);
    root.finish(report);
    Some(Service {
        hosts,
        directory: directory?,
        network: network?,
        shaping,
        base_rate,
        max_rate,
        tunnels,
        connect_timeout,
        session_timeout,
        queues,
        process,
        admin,
        log,
    })
}

fn read_network(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> Option<ServiceNetwork> {
    let mut section = root.section(report, "network");
    let file = section.required(report, "file", value::path(folder));
    let guards_file = section.or(report, "guards_file", folder.join("service.guards"), value::path(folder));
    let guards = section.or(report, "guards", 2, value::integer(1, LEGS_MAX.into(), "guards")) as u8;
    let relax = circuits::relaxation(&mut section, report);
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let bind = section.or(report, "bind", any, value::socket_address);
    section.finish(report);
    Some(ServiceNetwork { file: file?, guards_file, guards, relax, bind })
}

fn read_hosts(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> Vec<Host> {
    let (whole, found) = (root.place_of("host"), root.sections(report, "host"));
    match found.len() {
        0 => report.add("host".into(), whole, Problem::NoHost),
        1..=HOSTS_MAX => {}
        _ => report.add("host".into(), whole, Problem::TooManyHosts(HOSTS_MAX)),
    }
    let mut hosts: Vec<Host> = Vec::with_capacity(found.len());
    for section in found {
        if let Some(host) = read_host(section, &hosts, folder, report) {
            hosts.push(host);
        }
    }
    hosts
}

fn read_host(mut section: Section<'_>, others: &[Host], folder: &Path, report: &mut Report) -> Option<Host> {
    let name = section.required(report, "name", name);
    let key_file = section.required(report, "key_file", value::path(folder));
    let ports = section.list(report, "ports", port);
    let clients = section.list(report, "clients", |value| value::text(value)?.parse().map_err(Problem::AccessKey));
    let points = section.or(report, "points", 3, value::integer(1, POINTS_MAX, "introduction points")) as u8;
    if ports.is_empty() {
        section.refuse(report, "ports", Problem::NoHostPort);
    }
    let twice = |at: usize| ports[..at].iter().any(|port: &HostPort| port.port == ports[at].port);
    if ports.len() > HOST_PORTS_MAX {
        section.refuse(report, "ports", Problem::TooManyOfThese(HOST_PORTS_MAX));
    } else if (0..ports.len()).any(twice) {
        section.refuse(report, "ports", Problem::HostTwice);
    }
    if clients.len() > HOST_CLIENTS_MAX {
        section.refuse(report, "clients", Problem::TooManyOfThese(HOST_CLIENTS_MAX));
    }
    for (key, is_twice) in [
        ("name", others.iter().any(|other| Some(&other.name) == name.as_ref())),
        ("key_file", others.iter().any(|other| Some(&other.key_file) == key_file.as_ref())),
    ] {
        if is_twice {
            section.refuse(report, key, Problem::HostTwice);
        }
    }
    section.finish(report);
    Some(Host { name: name?, key_file: key_file?, ports, clients, points })
}

fn name(value: &DeValue<'_>) -> Result<String, Problem> {
    let name = value::text(value)?;
    let is_good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    let fits = (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_good);
    if fits { Ok(name.to_owned()) } else { Err(Problem::HostName) }
}

/// `{ port = 80, to = "127.0.0.1:8080" }`.
fn port(value: &DeValue<'_>) -> Result<HostPort, Problem> {
    let table = value.as_table().ok_or_else(|| value::wrong_type("a table", value))?;
    let mut found = (None, None);
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            "port" => found.0 = Some(value::integer(1, 65_535, "ports")(value.get_ref())? as u16),
            "to" => found.1 = Some(target(value.get_ref())?),
            _ => return Err(Problem::HostPort),
        }
    }
    let (Some(port), Some(to)) = found else { return Err(Problem::HostPort) };
    Ok(HostPort { port, to })
}

fn target(value: &DeValue<'_>) -> Result<SocketAddr, Problem> {
    match value::socket_address(value)? {
        to if to.port() == 0 => Err(Problem::PortZero),
        to if to.ip().is_unspecified() => Err(Problem::Unspecified),
        to => Ok(to),
    }
}

#[cfg(test)]
mod tests;
