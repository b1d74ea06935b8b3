//! Sockets towards the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use os_net::datagram::{DatagramOptions, DatagramSocket};
use port_hopping::source::{draw_source_port, source_ports};
use rustix::io::Errno;

use super::Client;
use super::peers::Family;
use crate::engine::Moment;
use crate::outlet::Outlet;
use crate::poller::{Kind, Token};
use crate::table::Key;

/// Source ports that are drawn until one is free. Then the system chooses.
const DRAWS_MAX: usize = 8;

/// One socket towards the server.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) outlet: Outlet,
    /// Whose it is.
    pub(super) flow: Key,
    pub(super) family: Family,
    pub(super) local_port: u16,
}

impl Client {
    /// Opens a socket for a flow, from a port below those of the server. Without a descriptor the flow that was idle for
    /// the longest makes room, unless it is this one.
    pub(super) fn open_wire(&mut self, flow: Key, server: usize, remote: SocketAddr, moment: Moment) -> Option<Key> {
        let mut family = self.peers.family(server);
        let mut socket = self.bind(family, server, remote, moment);
        if family == Family::Both
            && matches!(&socket, Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()))
        {
            // A system without IPv6.
            family = Family::V4;
            socket = self.bind(family, server, remote, moment);
        }
        if matches!(&socket, Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error())) {
            let idle = self.flows.iter().filter(|(key, _)| *key != flow).min_by_key(|(_, flow)| flow.active);
            let idle = idle.map(|(key, _)| key)?;
            self.close(idle);
            self.counters.evicted += 1;
            socket = self.bind(family, server, remote, moment);
        }
        let opened = socket.and_then(|socket| {
            let local_port = socket.local_addr()?.port();
            self.wires.try_insert_with(|key| {
                let outlet = Outlet::open(socket, Token { kind: Kind::Flow, key }, &self.poller)?;
                Ok(Wire { outlet, flow, family, local_port })
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

    fn bind(
        &mut self,
        family: Family,
        server: usize,
        remote: SocketAddr,
        moment: Moment,
    ) -> io::Result<DatagramSocket> {
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Both => Ipv6Addr::UNSPECIFIED.into(),
        };
        let options = DatagramOptions {
            offload: self.common.offload,
            forbid_fragments: self.common.forbid_fragments,
            local_addresses: false,
        };
        let range = self.peers.ports(server).and_then(|ports| source_ports(ports, remote.port()));
        if let Some(range) = range {
            for _ in 0..DRAWS_MAX {
                let port = draw_source_port(moment.now, range, remote, &self.used, &mut self.rng);
                match DatagramSocket::bind(SocketAddr::new(any, port), options) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    result => return result,
                }
            }
        }
        DatagramSocket::bind(SocketAddr::new(any, 0), options)
    }
}
