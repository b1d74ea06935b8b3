//! The sockets of a shaped process, by the numbers that routes name.

use link::{Route, Via};
use os_net::slot_sender::Way;
use os_net::udp::UdpSocket;
use rustix::event::{PollFd, PollFlags};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All open sockets. The door's is always there.
#[derive(Debug)]
pub(crate) struct Sockets {
    door: Arc<UdpSocket>,
    others: BTreeMap<Via, Arc<UdpSocket>>,
}

impl Sockets {
    pub(crate) fn new(door: UdpSocket) -> Self {
        Self { door: Arc::new(door), others: BTreeMap::new() }
    }

    /// The way of a route. A route whose socket was closed goes by the door's: the packet is not lost, and no slot stays
    /// empty.
    pub(crate) fn way(&self, route: Route) -> Way {
        Way { socket: Arc::clone(self.others.get(&route.via).unwrap_or(&self.door)), to: route.to }
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
