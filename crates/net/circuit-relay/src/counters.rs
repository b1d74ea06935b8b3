//! What a relay tells of itself: sums, and nothing about anybody.

use std::fmt;

/// The state of a relay, a second old at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Links, half-open ones included.
    pub links: usize,
    /// Links of clients, and of nodes that the document does not have.
    pub clients: usize,
    /// Circuits.
    pub circuits: u32,
    /// Cells that wait for the rate.
    pub waiting: usize,
    /// Cells that went on.
    pub sent: u64,
    /// Cells that were dropped for want of room, or because they had waited too long.
    pub dropped: u64,
    /// Hop handshakes that were worked on.
    pub handshakes: u64,
    /// How often its links went to another pair of ports.
    pub hops: u64,
    /// Packets that came and were no packet of a link: strangers, copies, what was altered.
    pub refused: u64,
    /// Packets that the system did not take.
    pub send_failed: u64,
    /// Packets that the system took.
    pub packets_sent: u64,
    /// Packets that came and belonged to a link.
    pub received: u64,
}

impl Snapshot {
    /// What a relay says of itself now.
    pub(crate) fn of(node: &relay_node::RelayNode, packets_sent: u64, send_failed: u64) -> Self {
        let counters = node.counters();
        let dropped = counters.dropped_circuit_full
            + counters.dropped_neighbour_full
            + counters.dropped_memory_full
            + counters.dropped_stale
            + counters.dropped_link_down;
        Self {
            links: node.link_count(),
            clients: node.client_links(),
            circuits: node.circuits(),
            waiting: node.waiting(),
            sent: counters.sent,
            dropped,
            handshakes: node.onion_counters().handshakes,
            hops: counters.hops,
            refused: node.link_counters().drops().map(|(_, count)| count).sum(),
            send_failed,
            packets_sent,
            received: node.link_counters().opened,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, circuits, waiting, sent, dropped, handshakes, hops, refused, send_failed, .. } = self;
        write!(
            f,
            "{links} links, {circuits} circuits, {waiting} cells waiting; {sent} cells sent, {dropped} dropped, \
             {handshakes} handshakes, {hops} hops, {refused} packets refused, {send_failed} not sent"
        )
    }
}
