//! Cells for circuits that end here whose time somebody else decides: the slots of a schedule.

use super::RelayNode;
use super::packets::REGION;
use link::{Now, Route};
use onion::{CircuitKey, RelaySealError};
use wire::packet::TAG_LEN;

impl RelayNode {
    /// Seals a cell for the client of a circuit that ends here and appends the whole packet to `out`; returns where it goes.
    /// `inner` is as in [`RelayNode::send_inner`]. The caller sends it at its slot: the packet waits for no turn, and the rate of
    /// the relay is that of what goes beside the slots, which have one of their own.
    ///
    /// # Errors
    /// When the circuit or its link is gone, it goes on to another relay, or is worn out: then it is taken down. Nothing is
    /// appended then.
    ///
    /// # Panics
    /// When `inner` is longer than a cell takes.
    pub fn seal_inner(
        &mut self,
        now: Now,
        circuit: CircuitKey,
        inner: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Route, RelaySealError> {
        let place = self.relay.inner(circuit).ok_or(RelaySealError::Unknown)?;
        let start = out.len();
        out.resize(start + self.document.charter().packet_size().packet(), 0);
        let end = out.len() - TAG_LEN;
        let region = &mut out[start + REGION..end];
        region[place][..inner.len()].copy_from_slice(inner);
        let sealed = self.relay.seal(now.instant, circuit, region);
        let route =
            sealed.and_then(|(to, head)| self.seal(now, to, head, &mut out[start..]).ok_or(RelaySealError::Unknown));
        if route.is_err() {
            out.truncate(start);
        }
        self.follow_relay(now);
        route
    }

    /// Packets that [`RelayNode::seal_inner`] made for a circuit were not sent: the neighbour is not to count them as lost.
    pub fn take_back(&mut self, circuit: CircuitKey, packets: u32) {
        let link = self.relay.towards_client(circuit).and_then(|(to, _)| self.links.of(to)).map(|up| up.link);
        if let Some(link) = link {
            self.endpoint.take_back(link, packets);
            self.counters.sent -= u64::from(packets).min(self.counters.sent);
        }
    }

    /// How much of what goes to the neighbour on the way to a circuit's client is lost, in thousandths of the last ten seconds:
    /// by the reports of that very link, whose own business it is. None if there is no such circuit or link.
    pub fn link_loss(&mut self, circuit: CircuitKey) -> Option<u16> {
        let (to, _) = self.relay.towards_client(circuit)?;
        self.links.of(to).map(|up| up.loss_per_mille)
    }
}
