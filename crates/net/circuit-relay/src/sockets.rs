//! The sockets of a relay: the door's, and those of links that hop.

use link::{Route, SocketOrder, Via};
use os_net::udp::UdpSocket;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// Sockets from which one turn receives. Others that have something are told of again in the next turn.
const READY_MAX: usize = 64;

/// All open sockets, the door's always. A relay whose links hop has several for each link, so only those are read that have
/// something.
#[derive(Debug)]
pub(crate) struct Sockets {
    address: IpAddr,
    open: BTreeMap<Via, UdpSocket>,
    epoll: OwnedFd,
}

impl Sockets {
    pub(crate) fn new(door: UdpSocket) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut sockets = Self { address: door.local_addr()?.ip(), open: BTreeMap::new(), epoll };
        sockets.add(Via::DOOR, door)?;
        Ok(sockets)
    }

    /// Closing it takes it out of the set as well.
    fn add(&mut self, via: Via, socket: UdpSocket) -> io::Result<()> {
        epoll::add(&self.epoll, &socket, EventData::new_u64(via.0.into()), EventFlags::IN)?;
        self.open.insert(via, socket);
        Ok(())
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
            self.add(via, socket)?;
            Ok(local)
        });
        Some((via, bound))
    }

    /// The socket of a route. A route whose socket was closed goes by the door: the packet is not lost.
    pub(crate) fn of(&self, route: &Route) -> Option<&UdpSocket> {
        self.open.get(&route.via).or_else(|| self.open.get(&Via::DOOR))
    }

    /// The door's socket.
    pub(crate) fn door(&self) -> Option<&UdpSocket> {
        self.open.get(&Via::DOOR)
    }

    /// The sockets from which something can be received now. A single one is not asked: receiving tells as well.
    pub(crate) fn ready(&self) -> io::Result<Vec<(Via, &UdpSocket)>> {
        if let (1, Some(door)) = (self.open.len(), self.door()) {
            return Ok(vec![(Via::DOOR, door)]);
        }
        let mut room = [MaybeUninit::<Event>::uninit(); READY_MAX];
        let events = match epoll::wait(&self.epoll, &mut room[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let vias = events.iter().filter_map(|event| u32::try_from(event.data.u64()).ok()).map(Via);
        Ok(vias.filter_map(|via| Some((via, self.open.get(&via)?))).collect())
    }

    /// What to wait for until something can be received.
    pub(crate) fn readable(&self) -> PollFd<'_> {
        PollFd::new(&self.epoll, PollFlags::IN)
    }

    /// What to wait for until something can be sent.
    pub(crate) fn writable(&self) -> Vec<PollFd<'_>> {
        self.open.values().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn only_sockets_that_have_something_are_ready_and_a_closed_one_never_is() -> io::Result<()> {
        let local = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into());
        let mut sockets = Sockets::new(local()?)?;
        assert_eq!(sockets.ready()?.len(), 1, "the door alone is tried");
        let mut opened = Vec::new();
        for number in 1..=3 {
            let listening = sockets.follow(SocketOrder::Listen { via: Via(number), port: 0 });
            opened.extend(listening.map(|(via, address)| address.map(|address| (via, address))).transpose()?);
        }
        assert!(sockets.ready()?.is_empty());
        let sender = local()?;
        for (_, address) in &opened[..2] {
            sender.send_batch_from(None, *address, &[7; 100], 100).map_err(io::Error::other)?;
        }
        let ready = |sockets: &Sockets| -> io::Result<Vec<u32>> {
            Ok(sockets.ready()?.into_iter().map(|(via, _)| via.0).collect())
        };
        assert_eq!(ready(&sockets)?, [1, 2]);
        assert!(sockets.follow(SocketOrder::Close { via: Via(1) }).is_none());
        assert_eq!(ready(&sockets)?, [2]);
        Ok(())
    }
}
