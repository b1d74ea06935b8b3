//! What the supervisor tells the process at its start.

use flow_queue::Geometry;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// Configuration of an egress. Descriptors that come with it: the queue set of the unshaped side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Size of the queue set.
    pub queues: Geometry,
    /// Rules of the exit policy, one in each element, in order; see `proxy_protocols::exit_policy`.
    #[serde(default)]
    pub policy: Vec<String>,
    /// Milliseconds from a flow's SYN until its destination must have answered, looking up its name included.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Milliseconds after which a UDP association that carries nothing ends.
    #[serde(default = "default_datagram_idle_ms")]
    pub datagram_idle_ms: u64,
    /// Addresses that connections and datagrams leave from, at most one of each family that counts. A family
    /// without one is left to the system.
    #[serde(default)]
    pub bind: Vec<IpAddr>,
    /// The unix socket of the directory's service, where directory streams go. `None`: they are refused.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

impl Boot {
    /// Default of [`Boot::connect_timeout_ms`].
    pub const CONNECT_TIMEOUT_MS: u64 = 15_000;
    /// Default of [`Boot::datagram_idle_ms`].
    pub const DATAGRAM_IDLE_MS: u64 = 60_000;

    /// The defaults with this queue set.
    pub fn new(queues: Geometry) -> Self {
        Self {
            queues,
            policy: Vec::new(),
            connect_timeout_ms: Self::CONNECT_TIMEOUT_MS,
            datagram_idle_ms: Self::DATAGRAM_IDLE_MS,
            bind: Vec::new(),
            directory: None,
        }
    }
}

fn default_connect_timeout_ms() -> u64 {
    Boot::CONNECT_TIMEOUT_MS
}

fn default_datagram_idle_ms() -> u64 {
    Boot::DATAGRAM_IDLE_MS
}
