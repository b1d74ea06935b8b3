//! What stands behind the tunnels of a service: no policy of an exit, but a list of its own ports.

use identity::NodeSecret;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::flow::{Destination, FlowKind, Host, ResetReason, Syn};

/// Ports of a service, and the server behind each. Nothing else can be reached through its tunnels.
#[derive(Clone, PartialEq, Eq)]
pub struct ServicePorts(BTreeMap<u16, SocketAddr>);

impl ServicePorts {
    /// Of two servers for one port the last one counts.
    pub fn new(ports: impl IntoIterator<Item = (u16, SocketAddr)>) -> Self {
        Self(ports.into_iter().collect())
    }

    /// Turns a client's wish into what the unshaped process is told. The name in it does not matter: the client has found this very
    /// service under it, or its session would not be here.
    pub(crate) fn lead(&self, syn: Syn) -> Result<Syn, ResetReason> {
        match syn.kind {
            FlowKind::Stream => {}
            FlowKind::Datagrams | FlowKind::Directory => return Err(ResetReason::NotOffered),
        }
        let to = self.0.get(&syn.destination.port).ok_or(ResetReason::Refused)?;
        Ok(Syn { destination: Destination { host: Host::Ip(to.ip()), port: to.port() }, ..syn })
    }
}

impl fmt::Debug for ServicePorts {
    /// Names no server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServicePorts({})", self.0.len())
    }
}

/// As what tunnels over a circuit are served: each introduction to a service has its own.
#[derive(Clone)]
pub struct ServedAs {
    /// The number of the service among those of its node.
    pub service: usize,
    /// What this end of the session authenticates with.
    pub session: NodeSecret,
    /// Where its flows may go.
    pub ports: Arc<ServicePorts>,
}

impl fmt::Debug for ServedAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServedAs(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::flow::HostName;

    #[test]
    fn a_client_gets_to_the_ports_of_the_service_and_nowhere_else() {
        let server = SocketAddr::from(([127, 0, 0, 1], 8080));
        let ports = ServicePorts::new([(80, server)]);
        let syn = |kind, host: Host, port| Syn { kind, client: 1, destination: Destination { host, port } };
        let name = || Host::Name(HostName::new("whatever.hush").expect("a name"));
        let led = ports.lead(syn(FlowKind::Stream, name(), 80)).expect("it has this port");
        assert_eq!((led.destination, led.client), (server.into(), 1));
        // Neither another port, nor the server's own, nor an address, nor datagrams lead anywhere else.
        for (host, port) in [(name(), 81), (name(), 8080), (Host::Ip([127, 0, 0, 1].into()), 22)] {
            assert_eq!(ports.lead(syn(FlowKind::Stream, host, port)).err(), Some(ResetReason::Refused));
        }
        let elsewhere = ports.lead(syn(FlowKind::Stream, Host::Ip([192, 0, 2, 1].into()), 80));
        assert_eq!(elsewhere.map(|syn| syn.destination), Ok(server.into()));
        for kind in [FlowKind::Datagrams, FlowKind::Directory] {
            assert_eq!(ports.lead(syn(kind, name(), 80)).err(), Some(ResetReason::NotOffered));
        }
    }
}
