//! `[[listen]]`: where applications connect to an entry.

use crate::diagnostic::{Problem, Report};
use crate::reader::Section;
use crate::value;
use identity::{PeerAddress, PeerHost};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::de::DeValue;
use wire::flow::{Destination, Host, HostName};

/// Most listeners of an entry; each holds a socket for ever.
pub const LISTENERS_MAX: usize = 64;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// What a listener does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenKind {
    /// Speaks SOCKS5 and HTTP CONNECT, told apart by the first byte.
    Proxy {
        /// File of `user:password` lines; the client of a flow is then its user.
        users_file: Option<PathBuf>,
        /// Whether a connection without one of these logins is refused.
        login_required: bool,
    },
    /// Every connection is a stream to the directory behind the exit.
    Directory,
    /// Every connection goes to this destination.
    Forward {
        /// Resolved at the exit.
        to: Destination,
    },
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub listen: Listen,
    /// What for.
    pub kind: ListenKind,
}

/// Reads all `[[listen]]` tables.
pub(crate) fn read_all(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    let sections = root.sections(report, "listen");
    if sections.is_empty() && !root.has("listen") {
        root.refuse(report, "listen", Problem::NoListener);
    }
    if sections.len() > LISTENERS_MAX {
        root.refuse(report, "listen", Problem::TooManyListeners(LISTENERS_MAX));
        return listeners;
    }
    for mut section in sections {
        let listener = read(&mut section, folder, report);
        if let Some(listener) = listener {
            if listeners.iter().any(|other| other.listen == listener.listen) {
                let key = if matches!(listener.listen, Listen::Tcp(_)) { "address" } else { "unix" };
                section.refuse(report, key, Problem::ListenerTwice);
            }
            listeners.push(listener);
        }
        section.finish(report);
    }
    listeners
}

fn read(section: &mut Section<'_>, folder: &Path, report: &mut Report) -> Option<Listener> {
    let kind = section.required(report, "kind", value::one_of(&["proxy", "forward", "directory"]));
    let address = section.optional(report, "address", |value| match value::socket_address(value)? {
        address if address.port() == 0 => Err(Problem::PortZero),
        address => Ok(address),
    });
    let unix = section.optional(report, "unix", value::socket_path(folder));
    let to = section.optional(report, "to", destination);
    let users_file = section.optional(report, "users_file", value::path(folder));
    let login_required = section.or(report, "login_required", true, value::boolean);
    if section.has("address") == section.has("unix") {
        section.refuse(report, "address", Problem::AddressOrUnix);
    }
    let kind = match kind? {
        "proxy" => {
            refuse_keys(section, report, "proxy", &["to"]);
            ListenKind::Proxy { login_required: login_required && users_file.is_some(), users_file }
        }
        "directory" => {
            // What comes in is nobody's login to check, so nobody else's machine may connect.
            refuse_keys(section, report, "directory", &["address", "to", "users_file", "login_required"]);
            ListenKind::Directory
        }
        _ => {
            refuse_keys(section, report, "forward", &["users_file", "login_required"]);
            if !section.has("to") {
                section.refuse(report, "to", Problem::Missing { role: report.role });
            }
            ListenKind::Forward { to: to? }
        }
    };
    let listen = address.map(Listen::Tcp).or(unix.map(Listen::Unix))?;
    Some(Listener { listen, kind })
}

fn refuse_keys(section: &Section<'_>, report: &mut Report, kind: &'static str, keys: &[&'static str]) {
    for key in keys {
        if section.has(key) {
            section.refuse(report, key, Problem::NotOfThisKind { kind });
        }
    }
}

/// `host:port`, `address:port` or `[v6 address]:port`, with a port that can be connected to.
fn destination(value: &DeValue<'_>) -> Result<Destination, Problem> {
    let address: PeerAddress = value::text(value)?.parse().map_err(Problem::Destination)?;
    let host = match &address.host {
        PeerHost::Ip(ip) => Host::Ip(*ip),
        PeerHost::Name(name) => {
            Host::Name(HostName::new(name).map_err(|_| Problem::Destination(identity::AddressError::Host))?)
        }
    };
    Ok(Destination { host, port: address.port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, Problem> {
        destination(&DeValue::String(text.into())).map(|destination| destination.to_string())
    }

    #[test]
    fn destinations_are_hosts_with_ports() {
        assert_eq!(parsed("Example.org:443"), Ok("example.org:443".to_owned()));
        assert_eq!(parsed("192.0.2.7:80"), Ok("192.0.2.7:80".to_owned()));
        assert_eq!(parsed("[2001:db8::1]:80"), Ok("[2001:db8::1]:80".to_owned()));
        for wrong in ["example.org", "example.org:0", "::1:80", ":80", "http://example.org:80", "[::1:80", "a b:80", ""]
        {
            assert!(matches!(parsed(wrong), Err(Problem::Destination(_))), "{wrong}");
        }
    }
}
