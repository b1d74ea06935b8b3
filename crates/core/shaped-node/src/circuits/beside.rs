//! What a node needs that keeps no tunnels, and whose circuits are all errands: links to its guards from the beginning, so that their
//! share of the schedule does not follow from what the errands are for, and a way into slots for cells of circuits that were taken
//! out.

use super::Circuits;
use super::pool::PoolConfig;
use identity::NodeId;
use link::{Endpoint, LinkId, Now};
use std::collections::BTreeMap;
use wire::cell::CellHead;

/// See the module.
#[derive(Default)]
pub(super) struct Beside {
    /// Guards whose links are kept.
    guards: Vec<NodeId>,
    /// One cell of each link, ready for its slot.
    cells: BTreeMap<LinkId, (CellHead, Vec<u8>)>,
}

impl Circuits {
    /// Dials the guards that are wanted, and gives their links the shares of the schedule.
    pub(super) fn keep_guards(&mut self, now: Now, endpoint: &mut Endpoint) {
        if !self.pool.is(PoolConfig::NONE) {
            return;
        }
        let shared = &mut self.shared;
        let usable = shared.guards.usable(now.unix_s).into_iter().filter(|guard| shared.first_way_to(guard).is_some());
        // A link that carries circuits keeps its slots: who is only due to be tried again waits until one fails.
        let is_held = |guard: &NodeId| {
            self.beside.guards.contains(guard) && shared.links.values().any(|link| link.node == *guard && link.up)
        };
        let (held, others): (Vec<NodeId>, Vec<NodeId>) = usable.partition(is_held);
        let guards: Vec<NodeId> = held.into_iter().chain(others).take(usize::from(self.rules.legs())).collect();
        let dialled = guards.iter().filter_map(|guard| {
            let way = shared.first_way_to(guard)?;
            shared.link_to(now, endpoint, *guard, way)
        });
        let links: Vec<LinkId> = dialled.collect();
        if let Some(uplink) = &mut shared.uplink {
            for link in &links {
                uplink.add_link(*link, |of| links.contains(&of));
            }
        }
        // What is over a link that lost its slots all the same begins anew over one that has some.
        let has_slots = |link: &LinkId| shared.uplink.as_ref().is_none_or(|uplink| uplink.share_of(*link).is_some());
        let slotless: Vec<LinkId> = shared.links.keys().copied().filter(|link| !has_slots(link)).collect();
        for link in slotless {
            self.errands.leave_guard(shared, now.instant, link);
        }
        self.beside.cells.retain(|link, _| shared.links.contains_key(link));
        self.beside.guards = guards;
    }

    /// Whether a link is kept although nothing goes over it.
    pub(super) fn is_kept(&self, link: LinkId) -> bool {
        self.shared.links.get(&link).is_some_and(|link| self.beside.guards.contains(&link.node))
    }

    /// Whether a link has room for a cell that waits for its slot.
    pub(crate) fn takes_beside(&self, link: LinkId) -> bool {
        self.shared.is_up(link) && !self.beside.cells.contains_key(&link)
    }

    /// Gives a cell of a circuit that was taken out to the next slot of its link that no circuit here needs.
    pub(crate) fn put_beside(&mut self, link: LinkId, head: CellHead, region: &[u8]) {
        self.beside.cells.insert(link, (head, region.to_vec()));
    }

    /// Such a cell, if there is one.
    pub(super) fn take_beside(&mut self, link: LinkId, region: &mut [u8]) -> Option<CellHead> {
        let (head, cell) = self.beside.cells.remove(&link)?;
        region.copy_from_slice(&cell);
        Some(head)
    }
}
