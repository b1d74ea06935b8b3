//! Where a server's flows go.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use os_net::datagram::{DatagramOptions, DatagramSocket};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::settings::Target;
use crate::wake::Handle;

/// The targets with their addresses.
#[derive(Debug)]
pub(super) struct Targets {
    directory: Directory,
    ports: Vec<u16>,
    again: Option<Instant>,
}

impl Targets {
    pub(super) fn new(targets: Vec<Target>, wake: &Handle, now: Instant) -> io::Result<Self> {
        let ports = targets.iter().map(Target::port).collect();
        let mut directory = Directory::new(targets.iter().map(|target| target.host().clone()), wake, now)?;
        directory.wait_for_names();
        Ok(Self { directory, ports, again: None })
    }

    /// Where a new flow goes: the first target that has an address and did not refuse lately, else the first with one.
    pub(super) fn best(&self, now: Instant) -> Option<(usize, SocketAddr)> {
        let known = || (0..self.ports.len()).filter_map(|place| Some((place, self.address(place, now)?)));
        known().find(|(_, peer)| !self.directory.is_failing(peer.ip(), now)).or_else(|| known().next())
    }

    /// The address to use of a target.
    pub(super) fn address(&self, place: usize, now: Instant) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.directory.best(place, now)?, *self.ports.get(place)?))
    }

    /// Whether a target has that address.
    pub(super) fn has(&self, place: usize, peer: SocketAddr) -> bool {
        self.directory.contains(place, peer.ip())
    }

    /// Notes an error of a flow. One that says that nobody is there speaks against the address.
    pub(super) fn refused(&mut self, place: usize, peer: SocketAddr, errno: Errno, now: Instant) {
        if matches!(errno, Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) {
            self.directory.fail(place, peer.ip(), now);
        }
    }

    /// Takes what was resolved; returns the targets whose addresses changed.
    pub(super) fn take_answers(&mut self, now: Instant) -> Vec<usize> {
        self.directory.take_answers(now)
    }

    /// Asks again for what is not resolved.
    pub(super) fn poll(&mut self, now: Instant) {
        self.again = self.directory.poll(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }
}

/// A socket that is aimed at a peer, which is then the only one that it hears.
pub(super) fn aimed_socket(peer: SocketAddr, options: DatagramOptions) -> io::Result<DatagramSocket> {
    let any = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = DatagramSocket::bind(SocketAddr::new(any, 0), options)?;
    socket.connect(peer)?;
    Ok(socket)
}
