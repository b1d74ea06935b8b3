//! The servers of a client: where they are and which ports they have.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use port_hopping::hosts::{Endpoints, Host};
use port_hopping::ports::PortSet;
use port_hopping::targets::{TargetAddress, Targets};
use rand_chacha::rand_core::Rng;

use crate::directory::Directory;
use crate::wake::Handle;

/// How long a server that did not answer is passed over while there is another one.
const SERVER_PASSED_OVER: Duration = Duration::from_secs(60);

/// All servers.
#[derive(Debug)]
pub(super) struct Peers {
    servers: Vec<Peer>,
    directory: Directory,
    again: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    /// Places in the directory.
    hosts: std::ops::Range<usize>,
    ports: PortSet,
    /// What is known of its addresses, as flows with a key want it.
    targets: Option<Arc<Targets>>,
    passed_over_until: Option<Instant>,
}

/// Which families a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    /// An IPv6 socket, which takes IPv4 too.
    Both,
}

impl Peers {
    pub(super) fn new(servers: Vec<Endpoints>, wake: &Handle, now: Instant) -> io::Result<Self> {
        let mut hosts = Vec::new();
        let servers = servers
            .into_iter()
            .map(|server| {
                let first = hosts.len();
                hosts.extend(server.hosts.iter().cloned());
                Peer { hosts: first..hosts.len(), ports: server.ports, targets: None, passed_over_until: None }
            })
            .collect();
        let mut directory = Directory::new(hosts, wake, now)?;
        directory.wait_for_names();
        let mut peers = Self { servers, directory, again: None };
        peers.note_addresses();
        Ok(peers)
    }

    /// The server for a flow that has none: the first that answers and has an address.
    pub(super) fn best_server(&self, now: Instant) -> usize {
        let usable =
            |server: &Peer| server.passed_over_until.is_none_or(|until| until <= now) && self.has_address(server);
        self.servers.iter().position(usable).unwrap_or(0)
    }

    fn has_address(&self, server: &Peer) -> bool {
        server.hosts.clone().any(|place| {
            matches!(self.directory.host(place), Some(Host::Prefix(_))) || !self.directory.addresses(place).is_empty()
        })
    }

    /// Notes that a server did not answer. True if there is another one.
    pub(super) fn pass_over(&mut self, server: usize, now: Instant) -> bool {
        if let Some(peer) = self.servers.get_mut(server) {
            peer.passed_over_until = Some(now + SERVER_PASSED_OVER);
            for place in peer.hosts.clone() {
                self.directory.ask(place, now);
            }
        }
        self.servers.len() > 1
    }

    /// The ports of a server.
    pub(super) fn ports(&self, server: usize) -> Option<&PortSet> {
        self.servers.get(server).map(|server| &server.ports)
    }

    /// The addresses and ports of a server; none while no address is known.
    pub(super) fn targets(&self, server: usize) -> Option<Arc<Targets>> {
        self.servers.get(server)?.targets.clone()
    }

    /// Puts what is resolved into [`Peers::targets`].
    fn note_addresses(&mut self) {
        for server in &mut self.servers {
            let mut addresses: Vec<TargetAddress> = Vec::new();
            for place in server.hosts.clone() {
                match self.directory.host(place) {
                    Some(Host::Prefix(prefix)) => addresses.push(TargetAddress::Prefix(*prefix)),
                    _ => addresses.extend(self.directory.addresses(place).iter().copied().map(TargetAddress::One)),
                }
            }
            let targets = Targets::new(addresses, server.ports.clone());
            if server.targets.as_deref() != targets.as_ref() {
                server.targets = targets.map(Arc::new);
            }
        }
    }

    /// The family of a socket that reaches all addresses of a server.
    pub(super) fn family(&self, server: usize) -> Family {
        let Some(server) = self.servers.get(server) else { return Family::V4 };
        let v6 = server.hosts.clone().any(|place| {
            matches!(self.directory.host(place), Some(Host::Prefix(_)))
                || self.directory.addresses(place).iter().any(IpAddr::is_ipv6)
        });
        if v6 { Family::Both } else { Family::V4 }
    }

    /// A place to send to on a server: any of its hosts, those that fail only if all do.
    pub(super) fn place(
        &self,
        server: usize,
        port: u16,
        family: Family,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<SocketAddr> {
        let hosts = self.servers.get(server)?.hosts.clone();
        let mut found: Vec<IpAddr> = hosts
            .filter_map(|place| match self.directory.host(place)? {
                Host::Prefix(prefix) => {
                    Some(prefix.address(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())).into())
                }
                Host::Name(_) | Host::Address(_) => self.directory.best(place, now),
            })
            .filter(|address| family != Family::V4 || address.is_ipv4())
            .collect();
        if found.iter().any(|address| !self.directory.is_failing(*address, now)) {
            found.retain(|address| !self.directory.is_failing(*address, now));
        }
        let number = usize::try_from(rng.next_u32()).unwrap_or(0);
        let address = *found.get(number.checked_rem(found.len())?)?;
        Some(SocketAddr::new(address, port))
    }

    /// Whether a datagram from there may be an answer of a server.
    pub(super) fn may_answer(&self, server: usize, from: SocketAddr) -> bool {
        let Some(server) = self.servers.get(server) else { return false };
        let address = from.ip().to_canonical();
        server.ports.contains(from.port()) && server.hosts.clone().any(|place| self.directory.contains(place, address))
    }

    /// Notes that an address of a server cannot be reached.
    pub(super) fn fail(&mut self, server: usize, to: SocketAddr, now: Instant) {
        let address = to.ip().to_canonical();
        let Some(hosts) = self.servers.get(server).map(|server| server.hosts.clone()) else { return };
        for place in hosts {
            if self.directory.contains(place, address) {
                self.directory.fail(place, address, now);
            }
        }
    }

    /// Asks again for what is not resolved.
    pub(super) fn poll(&mut self, now: Instant) {
        self.again = self.directory.poll(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// Takes what was resolved; true if something changed.
    pub(super) fn take_answers(&mut self, now: Instant) -> bool {
        let changed = !self.directory.take_answers(now).is_empty();
        if changed {
            self.note_addresses();
        }
        changed
    }
}

/// The address as a socket of a family takes it.
pub(super) fn for_family(to: SocketAddr, family: Family) -> SocketAddr {
    match (to, family) {
        (SocketAddr::V4(to), Family::Both) => SocketAddr::new(to.ip().to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

/// The address without regard to the socket that it came on.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
