//! The sockets that hops need, as orders to the caller. Several links may listen on one port: the socket is theirs
//! together, and goes with the last of them.

use super::Endpoint;
use crate::event::Now;
use crate::hops::SocketOrder;
use crate::route::{Route, Via};
use crate::state::{Hops, LinkState};
use port_hopping::SocketId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// All sockets but those that are there from the start. Each link has at most [`crate::SOCKETS_MAX`], and orders wait only until they are taken.
pub(super) struct Sockets {
    /// Those that are there from the start have this number or a lower one.
    fixed: u32,
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
    /// None yet. `dialling`: how many are there from the start beside the door's.
    pub(super) fn beside(dialling: usize) -> Self {
        let fixed = u32::try_from(dialling).unwrap_or(u32::MAX);
        Self { fixed, newest: fixed, uses: BTreeMap::new(), ports: BTreeMap::new(), orders: VecDeque::new() }
    }

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

    pub(super) fn open(
        &mut self,
        slot: u32,
        beside: Via,
        id: SocketId,
        remote: SocketAddr,
        local_port: Option<u16>,
    ) -> Via {
        let via = self.fresh();
        self.uses.insert(via, Use::Dialler { slot, id, remote, local_port });
        self.orders.push_back(SocketOrder::Open { via, beside, remote, local_port });
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
            if via.0 > self.fixed && !self.uses.contains_key(&via) {
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

    /// A socket could not be opened.
    pub fn handle_socket_failed(&mut self, now: Now, via: Via) {
        match self.sockets.uses.remove(&via) {
            Some(Use::Dialler { slot, id, .. }) => {
                if let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::initiator) {
                    hops.vias.remove(&id);
                    hops.core.handle_open_failed(now.instant, id);
                    self.drain_hops(now.instant, slot);
                }
            }
            Some(Use::Listener { port, wanted_by }) => {
                self.sockets.ports.remove(&port);
                for slot in wanted_by {
                    if let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::responder) {
                        hops.core.handle_open_failed(now.instant, port);
                        self.drain_hops(now.instant, slot);
                    }
                }
            }
            None => {}
        }
    }

    /// The system refused so many packets on this way: a local firewall, no route, no interface. A link that was dialled
    /// from here leaves a pair that is refused, as rarely as its detector allows. Not for a full buffer, and not for
    /// errors of a single packet (its size).
    ///
    /// A link that was accepted has nothing to do: it is the other end that hops, and it hears the silence.
    pub fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
        let dialled =
            if self.is_for_dials(route.via) { self.dialled_by(route) } else { self.sockets.dialler(route.via) };
        let Some(slot) = dialled else { return };
        let LinkState { up: Some(_), hops: Some(Hops::Initiator(hops)), .. } = self.at(slot) else { return };
        let Some(id) = hops.socket(route.via) else { return };
        hops.core.handle_send_refused(now.instant, id, packets);
        self.drain_hops(now.instant, slot);
    }

    /// The link that was dialled, and whose packets take this way by a socket that was there from the start.
    fn dialled_by(&self, route: Route) -> Option<u32> {
        let goes = |slot: &u32| {
            let up = self.links[*slot as usize].state.as_ref().and_then(|state| state.up.as_ref());
            up.is_some_and(|up| up.path.route() == route)
        };
        self.dial_addresses.values().copied().find(goes)
    }
}
