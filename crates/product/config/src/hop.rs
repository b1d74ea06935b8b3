//! The files of the stand-alone hopper. Every key is optional there, because the command line may give it instead.

use crate::diagnostic::{Problem, Report};
use crate::reader::{Section, with_document};
use crate::units::parse_bytes;
use crate::{Diagnostics, LoadError, load_with, value};
use hop_proxy::{FLOWS_MAX, IDLE_TIMEOUT_MAX, LIST_MAX, Target};
use port_hopping::causes::ByteBudget;
use port_hopping::hosts::Endpoints;
use port_hopping::interval::Interval;
use port_hopping::ports::PortSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Longest time between two lines of counters.
const COUNTERS_MAX_S: u64 = 86_400;

/// What the files of both ends have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HopCommon {
    /// File of the key that both ends share.
    pub key_file: Option<PathBuf>,
    /// How long a flow may be silent.
    pub idle_timeout: Option<Duration>,
    /// Most flows.
    pub flows: Option<u32>,
    /// Whether the kernel may take several datagrams as one.
    pub offload: Option<bool>,
    /// Whether the kernel may cut datagrams into fragments.
    pub fragments: Option<bool>,
    /// Time between two lines of counters in the log.
    pub counters: Option<Duration>,
    /// Socket that tells the state.
    pub socket: Option<PathBuf>,
}

/// The file of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HopClient {
    /// Where programs send to.
    pub listen: Vec<SocketAddr>,
    /// The servers, best first.
    pub servers: Vec<Endpoints>,
    /// Time between two hops.
    pub interval: Option<Interval>,
    /// Bytes between two hops.
    pub bytes: Option<ByteBudget>,
    /// What both have.
    pub common: HopCommon,
}

/// The file of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HopServer {
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// The ports that are hopped over.
    pub ports: Option<PortSet>,
    /// Where flows go, best first.
    pub targets: Vec<Target>,
    /// What both have.
    pub common: HopCommon,
}

/// Reads the file of a client. Relative paths in it are taken from its folder.
pub fn load_hop_client(path: &Path) -> Result<HopClient, LoadError> {
    load_with(path, parse_client)
}

/// Reads the file of a server. Relative paths in it are taken from its folder.
pub fn load_hop_server(path: &Path) -> Result<HopServer, LoadError> {
    load_with(path, parse_server)
}

/// Reads `64 MB..256 MB`, or one size for both.
pub fn parse_byte_span(text: &str) -> Result<ByteBudget, Problem> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    ByteBudget::new(parse_bytes(min)?.0, parse_bytes(max)?.0).ok_or(Problem::ByteSpan)
}

fn parse_client(text: &str, folder: &Path) -> Result<HopClient, Diagnostics> {
    with_document(text, |mut root, report| {
        let listen = list(&mut root, report, "listen", value::socket_address);
        let servers =
            list(&mut root, report, "servers", |value| value::text(value)?.parse().map_err(Problem::Endpoints));
        let interval =
            root.optional(report, "interval", |value| value::text(value)?.parse().map_err(Problem::Interval));
        let bytes = root.optional(report, "bytes", |value| parse_byte_span(value::text(value)?));
        let common = common(&mut root, folder, report);
        root.finish(report);
        Some(HopClient { listen, servers, interval, bytes, common })
    })
}

fn parse_server(text: &str, folder: &Path) -> Result<HopServer, Diagnostics> {
    with_document(text, |mut root, report| {
        let listen = list(&mut root, report, "listen", value::ip_address);
        let ports = root.optional(report, "ports", |value| value::text(value)?.parse().map_err(Problem::Ports));
        let targets =
            list(&mut root, report, "targets", |value| value::text(value)?.parse().map_err(|_| Problem::HopTarget));
        let common = common(&mut root, folder, report);
        root.finish(report);
        Some(HopServer { listen, ports, targets, common })
    })
}

fn common(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> HopCommon {
    let flows = value::integer(1, FLOWS_MAX.into(), "flows");
    HopCommon {
        key_file: root.optional(report, "key_file", value::path(folder)),
        idle_timeout: root.optional(report, "idle_timeout_s", value::seconds(IDLE_TIMEOUT_MAX.as_secs())),
        flows: root.optional(report, "flows", |value| Ok(u32::try_from(flows(value)?).unwrap_or(FLOWS_MAX))),
        offload: root.optional(report, "offload", value::boolean),
        fragments: root.optional(report, "fragments", value::boolean),
        counters: root.optional(report, "counters_s", value::seconds(COUNTERS_MAX_S)),
        socket: root.optional(report, "socket", value::path(folder)),
    }
}

/// A list of at most [`LIST_MAX`] values.
fn list<'d, T>(
    root: &mut Section<'d>,
    report: &mut Report,
    key: &'static str,
    read: impl Fn(&DeValue<'d>) -> Result<T, Problem>,
) -> Vec<T> {
    let found = root.list(report, key, read);
    if found.len() > LIST_MAX {
        root.refuse(report, key, Problem::TooManyOfThese(LIST_MAX));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::everything::everything;
    use crate::{EXAMPLE_HOP_CLIENT, EXAMPLE_HOP_SERVER};

    #[test]
    fn the_examples_are_read_and_name_every_key() {
        let client = parse_client(&everything(EXAMPLE_HOP_CLIENT), Path::new("/etc")).expect("the example is good");
        assert_eq!((client.listen.len(), client.servers.len()), (1, 1));
        assert!(client.interval.is_some() && client.bytes == Some(ByteBudget::DEFAULT));
        let server = parse_server(&everything(EXAMPLE_HOP_SERVER), Path::new("/etc")).expect("the example is good");
        assert_eq!((server.listen.len(), server.targets.len()), (1, 1));
        for common in [client.common, server.common] {
            assert_eq!(common.key_file, Some(PathBuf::from("/etc/hop.key")));
            assert_eq!((common.idle_timeout, common.flows), (Some(Duration::from_secs(120)), Some(4_096)));
            assert_eq!((common.offload, common.fragments), (Some(true), Some(true)));
            assert_eq!(common.counters, Some(Duration::from_secs(60)));
            assert_eq!(common.socket, Some(PathBuf::from("/run/hushwire-hop/hop.socket")));
        }
        assert!(parse_client(EXAMPLE_HOP_CLIENT, Path::new("")).is_ok());
        assert!(parse_server(EXAMPLE_HOP_SERVER, Path::new("")).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_at_its_key() {
        let text = "servers = [\"hop.example:20001-20000\"]\nbytes = \"2 MB..1 MB\"\ninterval = \"soon\"\nport = 1\n";
        let found = parse_client(text, Path::new("")).expect_err("four mistakes");
        let keys: Vec<&str> = found.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["servers[0]", "bytes", "interval", "port"]);
        assert!(found.iter().all(|one| !one.problem.remedy().is_empty()));
        let many = format!("targets = [{}]", vec!["\"127.0.0.1:1\""; 17].join(","));
        assert!(parse_server(&many, Path::new("")).is_err());
    }
}
