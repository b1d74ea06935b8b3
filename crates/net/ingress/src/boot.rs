//! What the supervisor tells the process at its start.

use flow_queue::Geometry;
use proxy_protocols::access::{Access, AccessError};
use redact::Sensitive;
use serde::{Deserialize, Serialize};
use std::fmt;
use wire::flow::{Destination, Host, HostName};

/// Configuration of an ingress. Descriptors that come with it: the queue set of the unshaped side, then one
/// listening socket for each of `listeners`, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Number and size of the queues.
    pub queues: Geometry,
    /// What each listening socket is for.
    pub listeners: Vec<Listener>,
    /// Whether names of onion services lead anywhere.
    #[serde(default)]
    pub services: bool,
    /// How much applications may take.
    #[serde(default)]
    pub limits: Limits,
}

/// One listening socket, bound and listening already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its kind.
    pub socket: SocketKind,
    /// What its connections get.
    pub service: Service,
}

/// Kind of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A unix stream socket.
    Unix,
}

/// What the connections of a listener get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Every connection goes to one destination.
    Forward(ForwardTo),
    /// Every connection is a directory stream.
    Directory,
    /// SOCKS5 and HTTP CONNECT.
    Proxy {
        /// Known users.
        #[serde(default)]
        logins: Vec<Login>,
        /// Whether nobody else is served.
        #[serde(default)]
        login_required: bool,
    },
}

/// The destination of a forward.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardTo {
    /// An address or a name, which the exit resolves.
    pub host: String,
    /// 1..=65535.
    pub port: u16,
}

/// A known user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// 1..=255 bytes.
    pub user: String,
    /// 1..=255 bytes.
    pub password: String,
}

/// How much applications may take. See the table on the crate's front page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds from accepting a connection until its request must be complete.
    pub request_timeout_ms: u64,
    /// Connections that have not said their request.
    pub half_open_max: usize,
    /// Milliseconds that a flow waits for a queue pair.
    pub flow_wait_ms: u64,
    /// Flows that wait for a queue pair at once.
    pub waiting_max: usize,
    /// Queue pairs that one client may have. `None`: half of all while another client is there, else all but
    /// one in 64, so that a newcomer finds one at once.
    pub flows_per_client: Option<u16>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout_ms: 10_000,
            half_open_max: 1024,
            flow_wait_ms: 10_000,
            waiting_max: 1024,
            flows_per_client: None,
        }
    }
}

impl ForwardTo {
    /// The destination, if it is one.
    pub(crate) fn destination(&self) -> Option<Destination> {
        let host = match self.host.parse() {
            Ok(address) => Host::Ip(address),
            Err(_) => Host::Name(HostName::new(&self.host).ok()?),
        };
        (self.port != 0).then_some(Destination { host, port: self.port })
    }
}

impl From<&Destination> for ForwardTo {
    fn from(destination: &Destination) -> Self {
        let host = match &destination.host {
            Host::Ip(address) => address.to_string(),
            Host::Name(name) => name.as_str().to_owned(),
        };
        Self { host, port: destination.port }
    }
}

impl fmt::Debug for ForwardTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardTo").field(&Sensitive::new(&self.host)).finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&Sensitive::new(&self.user)).finish()
    }
}

/// The logins of a proxy, checked.
pub(crate) fn access(logins: &[Login], required: bool) -> Result<Access, AccessError> {
    let logins: Vec<_> = logins.iter().map(|login| (login.user.clone(), login.password.clone())).collect();
    Access::new(&logins, required)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_message_survives_json_and_shows_no_secret() {
        let boot = Boot {
            queues: Geometry::new(16, 16 << 10, 7).expect("in range"),
            listeners: vec![
                Listener {
                    socket: SocketKind::Tcp,
                    service: Service::Forward(ForwardTo { host: "secret.example".to_owned(), port: 80 }),
                },
                Listener {
                    socket: SocketKind::Unix,
                    service: Service::Proxy {
                        logins: vec![Login { user: "ann".to_owned(), password: "word".to_owned() }],
                        login_required: true,
                    },
                },
            ],
            limits: Limits { flows_per_client: Some(3), ..Limits::default() },
            services: true,
        };
        let json = serde_json::to_value(&boot).expect("plain data");
        assert_eq!(serde_json::from_value::<Boot>(json).ok(), Some(boot.clone()));
        let shown = format!("{boot:?}");
        assert!(!shown.contains("secret") && !shown.contains("ann") && !shown.contains("word"), "{shown}");
    }

    #[test]
    fn forwards_are_checked() {
        let to = |host: &str, port| ForwardTo { host: host.to_owned(), port }.destination().map(|to| to.to_string());
        assert_eq!(to("::1", 80).as_deref(), Some("[::1]:80"));
        assert_eq!(to("example.org", 80).as_deref(), Some("example.org:80"));
        assert_eq!(to("example.org", 0), None);
        assert_eq!(to("a b", 80), None);
    }
}
