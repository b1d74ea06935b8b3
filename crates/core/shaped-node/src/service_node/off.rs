//! Mode `off`: what leaves, as soon as there is something.

use super::ServiceNode;
use crate::queues::FlowQueues;
use link::{Now, Route};

impl<Q: FlowQueues> ServiceNode<Q> {
    /// Appends up to `max` packets, all for one route, and returns it. `None`: nothing may be sent now.
    pub fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route> {
        if self.held.is_empty() {
            if let Some(route) = self.node.poll_transmit(now, max, out) {
                return Some(route);
            }
            self.collect(now, max);
        }
        let (route, batch) = self.held.pop_front()?;
        out.extend_from_slice(&batch);
        Some(route)
    }

    /// Takes packets of tunnels, then cells of joined circuits' own, way by way.
    fn collect(&mut self, now: Now, max: usize) {
        let mut left = max;
        while left > 0
            && let Some((route, packet)) = self.joined.poll_packet()
        {
            self.hold(route, &packet);
            left -= 1;
        }
        let mut packet = Vec::new();
        while left > 0
            && let Some((link, head)) = self.joined.poll_cell(now, &mut self.region)
        {
            packet.clear();
            let region = &self.region;
            let fill = |out: &mut [u8]| out.copy_from_slice(region);
            // A link that is down takes none; what matters is said again.
            if let Ok(route) = self.node.endpoint.seal_cell(now, link, head, fill, &mut packet) {
                self.hold(route, &packet);
                left -= 1;
            }
        }
    }

    fn hold(&mut self, route: Route, packet: &[u8]) {
        match self.held.iter_mut().find(|(to, _)| *to == route) {
            Some((_, batch)) => batch.extend_from_slice(packet),
            None => self.held.push_back((route, packet.to_vec())),
        }
    }
}
