//! Sockets towards the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use os_net::datagram::{DatagramOptions, DatagramSocket};
use port_hopping::source::{draw_source_port, source_ports};
use rustix::io::Errno;

use super::Client;
use super::peers::Family;
use crate::outlet::Outlet;
use crate::poller::{Kind, Token};
use crate::table::Key;

/// One socket towards the server.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) outlet: Outlet,
    /// Whose it is.
    pub(super) flow: Key,
    pub(super) family: Family,
}

impl Client {
    /// Opens a socket for a flow, from `local_port` if that is free. Without a descriptor the flow that was idle for the
    /// longest makes room, unless it is this one.
    pub(super) fn open_wire(&mut self, flow: Key, family: Family, local_port: Option<u16>) -> Option<Key> {
        let mut socket = self.bind(family, local_port);
        if matches!(&socket, Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error())) {
            let idle = self.flows.iter().filter(|(key, _)| *key != flow).min_by_key(|(_, flow)| flow.active);
            let idle = idle.map(|(key, _)| key)?;
            self.close(idle);
            self.counters.evicted += 1;
            socket = self.bind(family, local_port);
        }
        let opened = socket.and_then(|socket| {
            self.wires.try_insert_with(|key| {
                let outlet = Outlet::open(socket, Token { kind: Kind::Flow, key }, &self.poller)?;
                Ok(Wire { outlet, flow, family })
            })
        });
        match opened {
            Ok(key) => Some(key),
            Err(error) => {
                self.counters.up.refuse(Errno::from_io_error(&error).unwrap_or(Errno::IO), 0);
                None
            }
        }
    }

    /// A socket for all addresses of a server, from a port below those that it has.
    pub(super) fn open_wire_below(
        &mut self,
        flow: Key,
        server: usize,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<Key> {
        let family = self.peers.family(server);
        let range = self.peers.ports(server).and_then(|ports| source_ports(ports, remote.port()));
        let port = range.map(|range| draw_source_port(now, range, remote, &self.used, &mut self.rng));
        let wire = self.open_wire(flow, family, port);
        // A system without IPv6 has no socket for both.
        if wire.is_none() && family == Family::Both { self.open_wire(flow, Family::V4, port) } else { wire }
    }

    fn bind(&mut self, family: Family, local_port: Option<u16>) -> io::Result<DatagramSocket> {
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 | Family::Both => Ipv6Addr::UNSPECIFIED.into(),
        };
        let options = DatagramOptions {
            offload: self.common.offload,
            forbid_fragments: self.common.forbid_fragments,
            local_addresses: false,
        };
        match DatagramSocket::bind(SocketAddr::new(any, local_port.unwrap_or(0)), options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                DatagramSocket::bind(SocketAddr::new(any, 0), options)
            }
            result => result,
        }
    }
}
