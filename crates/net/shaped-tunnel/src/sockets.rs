//! The sockets of a shaped process, by the numbers that routes name.

use link::{Route, Via};
use os_net::slot_sender::Way;
use os_net::udp::UdpSocket;
use rustix::event::{PollFd, PollFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All open sockets. The door's is always there.
#[derive(Debug)]
pub(crate) struct Sockets {
    door: Arc<UdpSocket>,
    others: BTreeMap<Via, Arc<UdpSocket>>,
    /// Ordered and not there yet. As many as links may have, since nobody else orders.
    awaited: BTreeSet<Via>,
}

impl Sockets {
    /// Those that are there from the start: the door's, and further ones that links are dialled from.
    pub(crate) fn new(door: UdpSocket, further: Vec<UdpSocket>) -> Self {
        let others = (1..).map(Via).zip(further.into_iter().map(Arc::new)).collect();
        Self { door: Arc::new(door), others, awaited: BTreeSet::new() }
    }

    /// A socket was ordered.
    pub(crate) fn order(&mut self, via: Via) {
        self.awaited.insert(via);
    }

    /// A socket is not wanted any more, whether it is there or not. Packets that are ready keep it open until they
    /// have left.
    pub(crate) fn close(&mut self, via: Via) {
        self.awaited.remove(&via);
        self.others.remove(&via);
    }

    /// An ordered socket came, or did not. False: it is not wanted any more.
    pub(crate) fn handle_answer(&mut self, via: Via, socket: Option<UdpSocket>) -> bool {
        let wanted = self.awaited.remove(&via);
        if let Some(socket) = socket.filter(|_| wanted) {
            self.others.insert(via, Arc::new(socket));
        }
        wanted
    }

    /// The way of a route. A route whose socket was closed goes by the door's: the packet is not lost, and no slot stays
    /// empty.
    pub(crate) fn way(&self, route: Route) -> Way {
        let socket = Arc::clone(self.others.get(&route.via).unwrap_or(&self.door));
        Way { socket, from: route.from, to: route.to }
    }

    /// The route that a way was made for; none when its socket was closed meanwhile.
    pub(crate) fn route(&self, way: &Way) -> Option<Route> {
        let via = self.iter().find(|(_, socket)| Arc::ptr_eq(socket, &way.socket)).map(|(via, _)| via)?;
        Some(Route { via, from: way.from, to: way.to })
    }

    /// Every socket with its number, the door's first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Via, &Arc<UdpSocket>)> {
        let others = self.others.iter().map(|(via, socket)| (*via, socket));
        std::iter::once((Via::DOOR, &self.door)).chain(others)
    }

    /// What `poll` has to watch.
    pub(crate) fn watched(&self, flags: PollFlags) -> Vec<PollFd<'_>> {
        self.iter().map(|(_, socket)| PollFd::new(&**socket, flags)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn socket() -> std::io::Result<UdpSocket> {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())
    }

    #[test]
    fn an_answer_is_taken_once_and_only_while_it_is_wanted() -> std::io::Result<()> {
        let mut sockets = Sockets::new(socket()?, Vec::new());
        let (kept, closed, refused) = (Via(1), Via(2), Via(3));
        for via in [kept, closed, refused] {
            sockets.order(via);
        }
        sockets.close(closed);
        assert!(sockets.handle_answer(kept, Some(socket()?)));
        assert!(!sockets.handle_answer(kept, Some(socket()?)), "a second one");
        assert!(!sockets.handle_answer(closed, Some(socket()?)), "not wanted any more");
        assert!(sockets.handle_answer(refused, None));
        assert_eq!(sockets.iter().map(|(via, _)| via).collect::<Vec<_>>(), [Via::DOOR, kept]);
        sockets.close(kept);
        assert_eq!(sockets.iter().count(), 1);
        Ok(())
    }

    #[test]
    fn a_route_without_a_socket_goes_by_the_door() -> std::io::Result<()> {
        let mut sockets = Sockets::new(socket()?, Vec::new());
        let to = (Ipv4Addr::LOCALHOST, 9).into();
        sockets.order(Via(1));
        sockets.handle_answer(Via(1), Some(socket()?));
        let port = |sockets: &Sockets, via| {
            sockets.way(Route { via, from: None, to }).socket.local_addr().map(|local| local.port())
        };
        assert_ne!(port(&sockets, Via(1))?, port(&sockets, Via::DOOR)?);
        let route = Route { via: Via(1), from: None, to };
        let way = sockets.way(route);
        assert_eq!(sockets.route(&way), Some(route));
        sockets.close(Via(1));
        assert_eq!(port(&sockets, Via(1))?, port(&sockets, Via::DOOR)?);
        assert_eq!(sockets.route(&way), None, "its socket is no link's any more");
        Ok(())
    }
}
