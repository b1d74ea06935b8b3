//! The sockets that hops need, as orders to the caller. Several links may listen on one port: the socket is theirs
//! together, and goes with the last of them.

use super::Endpoint;
use crate::event::Now;
use crate::hops::SocketOrder;
use crate::route::Via;
use crate::state::Hops;
use port_hopping::SocketId;
use port_hopping::initiator::SocketFailure;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// All sockets but the door's. Each link has at most [`crate::SOCKETS_MAX`], and orders wait only until they are taken.
#[derive(Default)]
pub(super) struct Sockets {
    newest: u32,
    uses: BTreeMap<Via, Use>,
    /// Which socket listens on a port.
    ports: BTreeMap<u16, Via>,
    orders: VecDeque<SocketOrder>,
}

enum Use {
    Dialler {
        slot: u32,
        id: SocketId,
        remote: SocketAddr,
        /// Once it is open, or what was ordered.
        local_port: Option<u16>,
    },
    Listener {
        port: u16,
        wanted_by: BTreeSet<u32>,
    },
}

impl Sockets {
    /// The link that dials from this socket.
    pub(super) fn dialler(&self, via: Via) -> Option<u32> {
        if let Some(Use::Dialler { slot, .. }) = self.uses.get(&via) { Some(*slot) } else { None }
    }

    /// Where the packets of a dialler go, and its port.
    pub(super) fn ends(&self, via: Via) -> Option<(SocketAddr, Option<u16>)> {
        match self.uses.get(&via)? {
            Use::Dialler { remote, local_port, .. } => Some((*remote, *local_port)),
            Use::Listener { .. } => None,
        }
    }

    /// The port that a socket listens on.
    pub(super) fn port(&self, via: Via) -> Option<u16> {
        if let Some(Use::Listener { port, .. }) = self.uses.get(&via) { Some(*port) } else { None }
    }

    /// The socket that listens on a port.
    pub(super) fn listener(&self, port: u16) -> Option<Via> {
        self.ports.get(&port).copied()
    }

    pub(super) fn open(&mut self, slot: u32, id: SocketId, remote: SocketAddr, local_port: Option<u16>) -> Via {
        let via = self.fresh();
        self.uses.insert(via, Use::Dialler { slot, id, remote, local_port });
        self.orders.push_back(SocketOrder::Open { via, remote, local_port });
        via
    }

    pub(super) fn listen(&mut self, slot: u32, port: u16) {
        if let Some(Use::Listener { wanted_by, .. }) = self.ports.get(&port).and_then(|via| self.uses.get_mut(via)) {
            wanted_by.insert(slot);
            return;
        }
        let via = self.fresh();
        self.uses.insert(via, Use::Listener { port, wanted_by: BTreeSet::from([slot]) });
        self.ports.insert(port, via);
        self.orders.push_back(SocketOrder::Listen { via, port });
    }

    /// A dialler is not needed any more. The door stays, and so does what is not known.
    pub(super) fn close(&mut self, via: Via) {
        if self.uses.remove(&via).is_some() {
            self.orders.push_back(SocketOrder::Close { via });
        }
    }

    /// A link does not listen on a port any more.
    pub(super) fn stop_listening(&mut self, slot: u32, port: u16) {
        let Some(via) = self.listener(port) else { return };
        if let Some(Use::Listener { wanted_by, .. }) = self.uses.get_mut(&via) {
            wanted_by.remove(&slot);
            if wanted_by.is_empty() {
                self.ports.remove(&port);
                self.close(via);
            }
        }
    }

    /// A number that no socket has. They come back after 2^32 sockets.
    fn fresh(&mut self) -> Via {
        loop {
            self.newest = self.newest.wrapping_add(1);
            let via = Via(self.newest);
            if via != Via::DOOR && !self.uses.contains_key(&via) {
                return via;
            }
        }
    }
}

impl Endpoint {
    /// The next thing to do with sockets. Until [`Endpoint::handle_socket_opened`] nothing is sent on a new one.
    pub fn poll_socket_order(&mut self) -> Option<SocketOrder> {
        self.sockets.orders.pop_front()
    }

    /// A socket that was ordered is there, bound to this port. A number that is not wanted any more is ignored: its
    /// [`SocketOrder::Close`] is on its way.
    pub fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr) {
        let Some(Use::Dialler { slot, id, local_port, .. }) = self.sockets.uses.get_mut(&via) else { return };
        *local_port = Some(local.port());
        let (slot, id) = (*slot, *id);
        if let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::initiator) {
            hops.core.handle_opened(now.instant, id, local);
            self.drain_hops(now.instant, slot);
        }
    }

    /// A socket could not be opened, or the system refused to send on it. Not for a full buffer, and not for errors of
    /// a single packet (its size).
    pub fn handle_socket_failed(&mut self, now: Now, via: Via, failure: SocketFailure) {
        match self.sockets.uses.get(&via) {
            Some(Use::Dialler { slot, id, .. }) => {
                let (slot, id) = (*slot, *id);
                if failure == SocketFailure::CannotOpen {
                    self.sockets.uses.remove(&via);
                }
                if let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::initiator) {
                    if failure == SocketFailure::CannotOpen {
                        hops.vias.remove(&id);
                    }
                    hops.core.handle_socket_failed(now.instant, id, failure);
                    self.drain_hops(now.instant, slot);
                }
            }
            Some(Use::Listener { port, wanted_by }) if failure == SocketFailure::CannotOpen => {
                let (port, wanted_by) = (*port, wanted_by.clone());
                self.sockets.uses.remove(&via);
                self.sockets.ports.remove(&port);
                for slot in wanted_by {
                    if let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::responder) {
                        hops.core.handle_open_failed(now.instant, port);
                        self.drain_hops(now.instant, slot);
                    }
                }
            }
            Some(Use::Listener { .. }) | None => {}
        }
    }
}
