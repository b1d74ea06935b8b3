//! The data path: packets that came, and packets that leave.

use super::RelayNode;
use crate::event::Came;
use crate::queues::Onward;
use link::{LinkId, Now, Received, Route};
use onion::{Handled, Neighbour};
use wire::cell::{CellHead, Command};
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, TAG_LEN};

/// Where the region begins in a packet.
pub(super) const REGION: usize = HEADER_LEN + CELL_HEAD_LEN;

impl RelayNode {
    /// Takes one UDP payload; `ce` says whether it came with the congestion mark. A cell that goes on is sealed in place.
    #[inline]
    pub fn handle_packet(&mut self, now: Now, from: impl Into<Route>, ce: bool, packet: &mut [u8]) -> Came {
        let received = self.endpoint.handle_packet(now, from, ce, packet);
        // Before the cell, since a link may have come up with it, or gone down for it.
        self.follow_links(now);
        match received {
            Received::Cell { link, head } if head.command.is_of_circuit() => self.handle_cell(now, link, head, packet),
            Received::Cell { .. } | Received::Handled => Came::Handled,
            Received::Dropped(_) => Came::Dropped,
        }
    }

    #[inline]
    fn handle_cell(&mut self, now: Now, link: LinkId, head: CellHead, packet: &mut [u8]) -> Came {
        let Some((from, up)) = self.links.neighbour(link) else { return Came::Dropped };
        up.used = now.instant;
        let end = packet.len() - TAG_LEN;
        match self.relay.handle_cell(now.instant, from, head, &mut packet[REGION..end]) {
            Handled::Forward { to, head } => self.forward(now, from, (to, head), packet),
            Handled::Inner { circuit, inner, number } => {
                self.follow_relay(now);
                if !self.is_exit {
                    self.counters.undeliverable += 1;
                    return Came::Dropped;
                }
                self.counters.delivered += 1;
                Came::Inner { circuit, inner: REGION + inner.start..REGION + inner.end, number }
            }
            Handled::Done => {
                self.follow_relay(now);
                Came::Handled
            }
            Handled::Dropped(_) => Came::Dropped,
        }
    }

    /// A cell goes on: at once if nothing waits and the rate allows it, else in its turn.
    #[inline]
    fn forward(&mut self, now: Now, from: Neighbour, (to, head): (Neighbour, CellHead), packet: &mut [u8]) -> Came {
        if self.queues.is_empty() && self.bucket.take(now.instant) {
            return match self.seal(now, to, head, packet) {
                Some(to) => Came::Send { to },
                None => Came::Dropped,
            };
        }
        let end = packet.len() - TAG_LEN;
        let way = (from, Onward { to, circuit: head.circuit });
        self.queues.push(now.instant, way, &packet[REGION..end], &mut self.counters);
        Came::Handled
    }

    /// Makes a packet of a cell whose region stands in it.
    #[inline]
    pub(super) fn seal(&mut self, now: Now, to: Neighbour, head: CellHead, packet: &mut [u8]) -> Option<Route> {
        let link = self.links.of(to).map(|up| {
            up.used = now.instant;
            up.link
        });
        let route = link.and_then(|link| self.endpoint.seal_packet(now, link, head, packet).ok());
        match route {
            Some(_) => self.counters.sent += 1,
            None => self.counters.dropped_link_down += 1,
        }
        route
    }

    /// Appends the next packet that may leave; returns where it goes.
    pub fn poll_packet(&mut self, now: Now, out: &mut Vec<u8>) -> Option<Route> {
        if let Some(to) = self.poll_link_packet(now, out) {
            // The links' own packets are few and cannot wait; they take from the cells' rate.
            self.bucket.charge(now.instant);
            return Some(to);
        }
        while self.waits() && self.bucket.has_room(now.instant) {
            let start = out.len();
            out.resize(start + self.document.charter().packet_size().packet(), 0);
            let packet = &mut out[start..];
            let Some((to, head)) = self.next_cell(now, packet) else {
                out.truncate(start);
                continue;
            };
            if let Some(to) = self.seal(now, to, head, packet) {
                self.bucket.charge(now.instant);
                return Some(to);
            }
            out.truncate(start);
        }
        None
    }

    /// Answers at the door, handshakes, reports.
    fn poll_link_packet(&mut self, now: Now, out: &mut Vec<u8>) -> Option<Route> {
        if let Some(to) = self.endpoint.poll_door_packet(now, out) {
            return Some(to);
        }
        while let Some(link) = self.due.last().copied() {
            if let Some(to) = self.endpoint.poll_own_packet(now, link, out) {
                return Some(to);
            }
            self.due.pop();
        }
        if std::mem::take(&mut self.rearm) {
            self.endpoint.handle_timeout(now);
            self.follow_links(now);
        }
        None
    }

    /// The next cell, written to its place in a packet: the circuits' own and those that wait, in turns.
    fn next_cell(&mut self, now: Now, packet: &mut [u8]) -> Option<(Neighbour, CellHead)> {
        let end = packet.len() - TAG_LEN;
        let region = &mut packet[REGION..end];
        self.own_turn = !self.own_turn;
        if self.own_turn || self.queues.is_empty() {
            let next = self.relay.next_waiting(self.served).or_else(|| self.relay.next_waiting(None));
            self.served = next;
            if let Some(to) = next {
                let head = self.relay.poll_cell(now.instant, to, region);
                self.follow_relay(now);
                return head.map(|head| (to, head));
            }
        }
        let onward = self.queues.pop(now.instant, region, &mut self.counters)?;
        self.counters.waited += 1;
        Some((onward.to, CellHead { circuit: onward.circuit, command: Command::Relay }))
    }
}
