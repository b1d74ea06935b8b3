//! The sockets of a relay: the door's, and those of links that hop.

use link::{Route, SocketOrder, Via};
use os_net::udp::UdpSocket;
use rustix::event::{PollFd, PollFlags};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// All open sockets, the door's always.
#[derive(Debug)]
pub(crate) struct Sockets {
    address: IpAddr,
    open: BTreeMap<Via, UdpSocket>,
}

impl Sockets {
    pub(crate) fn new(door: UdpSocket) -> io::Result<Self> {
        Ok(Self { address: door.local_addr()?.ip(), open: BTreeMap::from([(Via::DOOR, door)]) })
    }

    /// Opens or closes what the links want; the address of what was opened.
    pub(crate) fn follow(&mut self, order: SocketOrder) -> Option<(Via, io::Result<SocketAddr>)> {
        let (via, port) = match order {
            SocketOrder::Close { via } => {
                self.open.remove(&via);
                return None;
            }
            SocketOrder::Open { via, local_port, .. } => (via, local_port.unwrap_or(0)),
            SocketOrder::Listen { via, port } => (via, port),
        };
        let bound = UdpSocket::bind((self.address, port).into()).and_then(|socket| {
            let local = socket.local_addr()?;
            self.open.insert(via, socket);
            Ok(local)
        });
        Some((via, bound))
    }

    /// The socket of a route. A route whose socket was closed goes by the door: the packet is not lost.
    pub(crate) fn of(&self, route: &Route) -> Option<&UdpSocket> {
        self.open.get(&route.via).or_else(|| self.open.get(&Via::DOOR))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Via, &UdpSocket)> {
        self.open.iter().map(|(via, socket)| (*via, socket))
    }

    pub(crate) fn watched(&self, flags: PollFlags) -> Vec<PollFd<'_>> {
        self.open.values().map(|socket| PollFd::new(socket, flags)).collect()
    }
}
