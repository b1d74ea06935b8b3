//! Links to next relays: those that are there, and dials.

use super::RelayNode;
use identity::NodeId;
use link::{LinkId, Now, Peer};
use onion::{CircuitKey, Order, Unreachable};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Dials under way at most. Further extensions to relays without a link are refused.
pub const DIALS_MAX: usize = 128;
/// Circuits that wait for one dial at most. Further ones are refused.
pub const WAITING_PER_DIAL_MAX: usize = 256;
/// A relay that has not answered in this time is not reached, and circuits that wait for it are told. A client asks for 15 s.
pub const DIAL_TIME: Duration = Duration::from_secs(5);
/// How long each of a relay's addresses is tried in turn.
pub const ADDRESS_TRY: Duration = Duration::from_millis(1_500);
/// A relay that was not reached is not dialled again so soon: extensions to it are refused at once. One entry for each
/// relay of the document at most.
const DIAL_AGAIN: Duration = Duration::from_secs(2);

/// Dials under way, and those that failed just now.
#[derive(Default)]
pub(super) struct Dials {
    under_way: BTreeMap<NodeId, Dial>,
    failed: BTreeMap<NodeId, Instant>,
}

struct Dial {
    link: LinkId,
    waiting: Vec<CircuitKey>,
    address: usize,
    next_address: Instant,
    until: Instant,
}

impl Dials {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.values().map(|dial| dial.until.min(dial.next_address)).min()
    }
}

impl RelayNode {
    /// A circuit is to go on to another relay.
    pub(super) fn follow_order(&mut self, now: Now, order: Order) {
        let Order { circuit, node } = order;
        let Some(relay) = self.document.relay(&node) else {
            return self.relay.not_connected(circuit, Unreachable::UnknownNode);
        };
        if let Some((neighbour, dialled, answers)) = self.links.to_relay(&node) {
            // A relay that has not answered for a second takes no new circuits; those that it has may wait for it.
            return if answers {
                self.relay.connected(now.instant, circuit, neighbour, dialled);
            } else {
                self.relay.not_connected(circuit, Unreachable::NoLink);
            };
        }
        if let Some(dial) = self.dials.under_way.get_mut(&node) {
            if dial.waiting.len() < WAITING_PER_DIAL_MAX {
                dial.waiting.push(circuit);
            } else {
                self.relay.not_connected(circuit, Unreachable::NoLink);
            }
            return;
        }
        let rests = self.dials.failed.get(&node).is_some_and(|until| now.instant < *until);
        let peer = Peer { node_id: node, link_key: relay.link_key, door_key: relay.door_key.clone() };
        let dialled = if rests || self.dials.under_way.len() >= DIALS_MAX {
            None
        } else {
            relay.addresses.first().and_then(|address| self.endpoint.dial(now, &peer, *address, [0; 7]).ok())
        };
        let Some(link) = dialled else { return self.relay.not_connected(circuit, Unreachable::NoLink) };
        self.counters.dials += 1;
        let (next_address, until) = (now.instant + ADDRESS_TRY, now.instant + DIAL_TIME);
        let dial = Dial { link, waiting: vec![circuit], address: 0, next_address, until };
        self.dials.under_way.insert(node, dial);
        self.due.push(link);
        self.rearm = true;
    }

    /// A link to a relay is up, by this dial or because the relay dialled itself.
    pub(super) fn dial_is_over(&mut self, now: Now, node: NodeId, up: LinkId) {
        self.dials.failed.remove(&node);
        let Some(dial) = self.dials.under_way.remove(&node) else { return };
        if dial.link != up {
            self.endpoint.close(dial.link);
        }
        let Some((neighbour, dialled, _)) = self.links.to_relay(&node) else { return };
        for circuit in dial.waiting {
            self.relay.connected(now.instant, circuit, neighbour, dialled);
        }
    }

    /// Tries other addresses, and gives up.
    pub(super) fn look_after_dials(&mut self, now: Now) {
        let over: Vec<NodeId> = self
            .dials
            .under_way
            .iter()
            .filter_map(|(node, dial)| (now.instant >= dial.until).then_some(*node))
            .collect();
        for node in over {
            let Some(dial) = self.dials.under_way.remove(&node) else { continue };
            self.counters.dials_failed += 1;
            self.endpoint.close(dial.link);
            self.dials.failed.insert(node, now.instant + DIAL_AGAIN);
            for circuit in dial.waiting {
                self.relay.not_connected(circuit, Unreachable::NoLink);
            }
        }
        self.dials.failed.retain(|_, until| now.instant < *until);
        for (node, dial) in &mut self.dials.under_way {
            if now.instant < dial.next_address {
                continue;
            }
            dial.next_address = now.instant + ADDRESS_TRY;
            let Some(relay) = self.document.relay(node) else { continue };
            dial.address = (dial.address + 1) % relay.addresses.len();
            // Where another relay's dial goes already, this one stays where it is.
            let _taken = self.endpoint.set_dial_address(now, dial.link, relay.addresses[dial.address]);
            self.due.push(dial.link);
            self.rearm = true;
        }
    }
}
