//! Mode `off`: no grid, no cover but what feedback and NAT mappings need.

use crate::node::ShapedNode;
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use link::{LinkId, Now, Route};

impl<Q: FlowQueues> ShapedNode<Q> {
    /// Appends up to `max` packets, all for one route, and returns it. `None`: nothing may be sent now.
    pub fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route> {
        if let Some((to, packet)) = self.held.pop_front() {
            out.extend_from_slice(&packet);
            return Some(to);
        }
        if self.circuits.is_some() {
            return self.poll_circuits(now, max, out);
        }
        if let Some(to) = self.endpoint.poll_door_packet(now, out) {
            return Some(to);
        }
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        links.into_iter().find_map(|link| self.poll_link(now, link, max, out))
    }

    fn poll_link(&mut self, now: Now, link: LinkId, max: usize, out: &mut Vec<u8>) -> Option<Route> {
        if let Some(to) = self.endpoint.poll_own_packet(now, link, out) {
            self.counters.link_cells += 1;
            return Some(to);
        }
        let mut packets = std::mem::take(&mut self.scratch);
        packets.clear();
        let direct = self.peers.get_mut(&link).and_then(|peer| peer.direct.as_mut());
        let batch = direct
            .and_then(|direct| direct.tunnel.pull_batch(now.instant, &mut self.near, Portions::OFF, max, &mut packets));
        if batch.is_none() {
            let direct = self.peers.get(&link).and_then(|peer| peer.direct.as_ref());
            let is_held_back = direct.is_some_and(|direct| direct.tunnel.session.is_held_back());
            self.endpoint.note_demand(link, is_held_back);
        }
        let mut destination = None;
        if let Some(batch) = batch {
            for packet in packets.chunks(batch.packet_size) {
                let before = out.len();
                let to = self.seal_data(now, link, packet, out);
                if destination.is_none() {
                    destination = to;
                } else if to.is_some() && to != destination {
                    // Only while a new address of the peer is tried: the batch before it is full for now.
                    let packet = out.split_off(before);
                    self.held.extend(to.map(|to| (to, packet)));
                }
            }
        }
        self.scratch = packets;
        destination.or_else(|| self.owed_cover(now, link, out))
    }

    /// A feedback cell when one is owed and no data cell carried it.
    fn owed_cover(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        let direct = self.peers.get_mut(&link)?.direct.as_mut()?;
        if direct.leg.feedback_due().is_none_or(|at| at > now.instant) {
            return None;
        }
        self.seal_cover(now, link, out)
    }
}
