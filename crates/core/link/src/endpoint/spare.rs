//! Spare cover: packets that are sealed in advance and mostly never leave (docs/spec/link.md, "Report").

use super::Endpoint;
use crate::event::LinkId;

impl Endpoint {
    /// Takes `packets` sealed packets of a link that were not sent out of its count of sent packets, so that reports
    /// do not show them as lost. Their counters stay used.
    pub fn take_back(&mut self, link: LinkId, packets: u32) {
        if let Some(up) = self.state_mut(link).and_then(|state| state.up.as_mut()) {
            up.traffic.take_back(packets);
        }
    }
}
