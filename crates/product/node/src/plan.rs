//! What a supervisor is to run, already checked by whoever read the configuration.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use flow_queue::{Geometry, Side};
use port_hopping::ports::PortSet;
use serde::{Deserialize, Serialize};

use crate::backoff::RestartPlan;
use crate::documents::DocumentPlan;
use crate::orders::AskHandle;

/// How long a stopping node waits for its flows if nothing else is configured.
pub const STOP_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// Ports below are for services that the system starts.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Flows come in here: `UnshapedServer` and `ShapedClient`.
    Entry,
    /// Flows go out here: `ShapedServer` and `UnshapedClient`.
    Exit,
    /// Services are reached here: a shaped process that dials like an entry's, and an `UnshapedClient`.
    Service,
}

/// Everything that the supervisor opens and starts.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Entry or exit.
    pub role: NodeRole,
    /// Number and size of the queues. The generation is the supervisor's own business.
    pub queues: Geometry,
    /// The process that faces the network. Beside the queue set it gets the UDP socket and the replay file.
    pub shaped: ProcessPlan,
    /// The process that faces applications or destinations. Beside the queue set it gets the listeners, in order.
    pub unshaped: ProcessPlan,
    /// The UDP socket; port 0 lets the kernel choose.
    pub udp: UdpPlan,
    /// Further UDP sockets of the shaped process, which get to it behind all else. Packets leave from there as well.
    pub further_udp: Vec<UdpPlan>,
    /// Ports that the shaped process may ask for sockets on, beside the one of `udp`.
    pub hop_ports: HopPorts,
    /// Where applications connect. None at an exit.
    pub listeners: Vec<ListenerPlan>,
    /// File in which the shaped process remembers handshakes over a restart.
    pub replay_path: PathBuf,
    /// The document of the network that the shaped process goes by, if it goes by one. It gets it in sealed memory, behind the
    /// replay file.
    pub document: Option<DocumentPlan>,
    /// What the shaped process may keep over a restart, if anything.
    pub kept: Option<KeptText>,
    /// Who answers what the shaped process asks, if it may ask anything.
    pub asks: Option<AskHandle>,
    /// How long a stopping node waits for its flows before it kills its processes.
    pub stop_deadline: Duration,
    /// How a process that died is started again.
    pub restart: RestartPlan,
    /// How the two processes are started.
    pub launch: LaunchPlan,
}

/// A UDP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpPlan {
    /// Where it is bound.
    pub address: SocketAddr,
    /// The network interface that it is bound to beside, if it is to one.
    pub interface: Option<String>,
}

impl From<SocketAddr> for UdpPlan {
    fn from(address: SocketAddr) -> Self {
        Self { address, interface: None }
    }
}

/// A file that only the supervisor writes, with what the shaped process gives it to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptText {
    /// The file. A new one takes its place in one step, with mode 0600.
    pub path: PathBuf,
    /// Where the process's boot message has the text (RFC 6901), so that a later start gets the last one.
    pub pointer: String,
}

/// Ports for hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopPorts {
    /// None.
    None,
    /// Those that peers are told of.
    Listed(PortSet),
    /// Any that needs no privilege: links are dialled from there.
    Unprivileged,
}

impl HopPorts {
    /// Whether a port may be bound; 0 is the system's choice.
    pub(crate) fn allows(&self, port: u16) -> bool {
        match self {
            Self::None => false,
            Self::Listed(ports) => ports.contains(port),
            Self::Unprivileged => port == 0 || port >= FIRST_UNPRIVILEGED,
        }
    }
}

/// One of the two processes.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// Name of the role, as [`process_main`](crate::process_main) knows it.
    pub name: String,
    /// The role's `Boot` as JSON.
    pub boot: serde_json::Value,
    /// Where in it the generation of the queues stands (RFC 6901), such as `/queues/generation`.
    pub generation_pointer: String,
    /// Core that the process is pinned to, unless it does that by itself.
    pub core: Option<usize>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerPlan {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket with this path and these permission bits. A dead one with the same path is replaced.
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// Permission bits, usually 0600.
        mode: u32,
    },
}

/// What is executed.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// The executable.
    pub executable: PathBuf,
    /// Arguments before the role's name.
    pub arguments: Vec<OsString>,
    /// The whole environment of the processes.
    pub environment: Vec<(OsString, OsString)>,
}

impl LaunchPlan {
    /// The running program itself as `hushwire process <role>`, with `RUST_LOG` and the `HUSHWIRE_` variables of
    /// this process and no others.
    pub fn own_program() -> Self {
        let passed = |key: &OsString| key == "RUST_LOG" || key.as_encoded_bytes().starts_with(b"HUSHWIRE_");
        Self {
            executable: "/proc/self/exe".into(),
            arguments: vec!["process".into()],
            environment: std::env::vars_os().filter(|(key, _)| passed(key)).collect(),
        }
    }
}

impl NodePlan {
    /// The UDP socket of a number that the shaped process knows: 0 is the first.
    pub(crate) fn udp_of(&self, number: u32) -> Option<&UdpPlan> {
        std::iter::once(&self.udp).chain(&self.further_udp).nth(number as usize)
    }

    pub(crate) fn process(&self, side: Side) -> &ProcessPlan {
        match side {
            Side::Shaped => &self.shaped,
            Side::Unshaped => &self.unshaped,
        }
    }
}

impl ProcessPlan {
    /// Puts a value where the boot message has one, for later starts. False: the pointer leads nowhere.
    pub(crate) fn set(&mut self, pointer: &str, value: impl Into<serde_json::Value>) -> bool {
        let place = self.boot.pointer_mut(pointer);
        place.map(|place| *place = value.into()).is_some()
    }

    /// The boot message's configuration for queues of a generation. `None`: the pointer leads nowhere.
    pub(crate) fn boot_for(&self, generation: u64) -> Option<serde_json::Value> {
        let mut boot = self.boot.clone();
        *boot.pointer_mut(&self.generation_pointer)? = generation.into();
        Some(boot)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_generation_is_put_where_the_role_has_it() {
        let plan = |pointer: &str| ProcessPlan {
            name: "dummy".to_owned(),
            boot: json!({ "queues": { "generation": 0, "max_flows": 8 }, "generation": 0 }),
            generation_pointer: pointer.to_owned(),
            core: None,
        };
        let nested = json!({ "queues": { "generation": 7, "max_flows": 8 }, "generation": 0 });
        assert_eq!(plan("/queues/generation").boot_for(7), Some(nested));
        let flat = json!({ "queues": { "generation": 0, "max_flows": 8 }, "generation": 7 });
        assert_eq!(plan("/generation").boot_for(7), Some(flat));
        assert_eq!(plan("/nothing/here").boot_for(7), None);
    }

    #[test]
    fn kept_text_is_in_the_next_boot_message() {
        let boot = json!({ "side": { "guards": null }, "generation": 0 });
        let (name, generation_pointer) = ("dummy".to_owned(), "/generation".to_owned());
        let mut plan = ProcessPlan { name, boot, generation_pointer, core: None };
        assert!(plan.set("/side/guards", "text") && !plan.set("/nothing/here", "text"));
        assert_eq!(plan.boot_for(1), Some(json!({ "side": { "guards": "text" }, "generation": 1 })));
    }

    #[test]
    fn only_ports_of_the_plan_are_bound() {
        let allowed = |ports: &HopPorts| [0, 22, 1024, 20_000].map(|port| ports.allows(port));
        assert_eq!(allowed(&HopPorts::None), [false; 4]);
        assert_eq!(allowed(&HopPorts::Unprivileged), [true, false, true, true]);
        let listed = "22,20000-50000".parse().map(HopPorts::Listed);
        assert_eq!(listed.map(|ports| allowed(&ports)), Ok([false, true, false, true]));
    }

    #[test]
    fn only_our_own_variables_are_passed_on() {
        let launch = LaunchPlan::own_program();
        let ours = |key: &OsString| key == "RUST_LOG" || key.to_string_lossy().starts_with("HUSHWIRE_");
        assert!(launch.environment.iter().all(|(key, _)| ours(key)));
    }
}
