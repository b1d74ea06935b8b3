//! What an end is told. Checked where it is made; what is allowed but unwise is a [`Warning`].

mod warning;

pub use warning::Warning;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use identity::HopKey;
use port_hopping::causes::Timers;
use port_hopping::hosts::{Endpoints, Host, HostName};
use port_hopping::ports::PortSet;
use thiserror::Error;

/// Longest idle timeout.
pub const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// The idle timeout unless another is given: what RFC 4787 asks of a NAT at least.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Most flows unless another number is given.
pub const FLOWS: u32 = 4_096;
/// Most flows that can be asked for.
pub const FLOWS_MAX: u32 = 1 << 20;
/// Most servers, targets and listening addresses.
pub const LIST_MAX: usize = 16;

/// What both ends have.
#[derive(Debug, Clone)]
pub struct Common {
    /// The key that both ends share; without one the other end may be a plain program.
    pub key: Option<HopKey>,
    /// How long a flow may be without a packet in either direction. At most [`IDLE_TIMEOUT_MAX`].
    pub idle_timeout: Duration,
    /// Most flows; what happens beyond is the business of the end.
    pub flows_max: u32,
    /// Whether the kernel may hand over and take several datagrams as one.
    pub offload: bool,
    /// Whether datagrams above the path's MTU are dropped instead of cut into fragments.
    pub forbid_fragments: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self { key: None, idle_timeout: IDLE_TIMEOUT, flows_max: FLOWS, offload: true, forbid_fragments: false }
    }
}

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Where programs send to.
    pub listen: Vec<SocketAddr>,
    /// The servers, best first. The hosts of one are all the same machine; a flow stays with one server while it answers.
    pub servers: Vec<Endpoints>,
    /// When to hop. Each flow draws its own times.
    pub timers: Timers,
    /// What both ends have.
    pub common: Common,
}

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Addresses to listen on. The unspecified IPv6 address takes IPv4 too.
    pub listen: Vec<IpAddr>,
    /// The ports that are hopped over.
    pub ports: PortSet,
    /// Where flows go, best first.
    pub targets: Vec<Target>,
    /// What both ends have.
    pub common: Common,
}

/// A host and one port.
///
/// As text: `127.0.0.1:53`, `[::1]:443`, `server.example:51820`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address; never a prefix.
    host: Host,
    port: u16,
}

impl Target {
    /// The name or address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("write a host and one port, such as 127.0.0.1:53, [::1]:443 or server.example:51820")]
pub struct TargetError;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(TargetError) } else { Ok(address.into()) };
        }
        let (name, port) = text.rsplit_once(':').ok_or(TargetError)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(TargetError)?;
        let host = Host::Name(HostName::new(name).ok_or(TargetError)?);
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written() {
        for good in ["127.0.0.1:53", "[::1]:443", "server.example:51820"] {
            assert_eq!(good.parse::<Target>().map(|target| target.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "127.0.0.1", "127.0.0.1:0", "::1:53:x", "a b:1", "name:70000", "1.2.3:5"] {
            assert_eq!(bad.parse::<Target>(), Err(TargetError), "{bad}");
        }
    }
}
