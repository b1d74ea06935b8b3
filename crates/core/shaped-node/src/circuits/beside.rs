//! What a node needs that keeps no tunnels, and whose circuits are all errands: links to its guards from the beginning, so that their
//! share of the schedule does not follow from what the errands are for, and a way into slots for cells of circuits that were taken
//! out.

use super::Circuits;
use super::errands::ErrandId;
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
        // What is over a link that lost its slots all the same begins anew over one that has some. Such a link says nothing more, not even
        // that its circuits end, so it is closed: its guard is dialled anew when it may be tried again.
        let slotless: Vec<LinkId> = shared.links.keys().copied().filter(|link| !shared.has_slots(*link)).collect();
        for link in slotless {
            self.errands.leave_guard(shared, now.instant, link);
            if !shared.spares.asks(link) && !self.errands.lends(link) {
                shared.ending.retain(|ending| ending.link != link);
                shared.forget_link(link, endpoint);
            }
        }
        self.beside.cells.retain(|link, _| shared.links.contains_key(link));
        self.beside.guards = guards;
    }

    /// Whether a link is kept although nothing goes over it.
    pub(super) fn is_kept(&self, link: LinkId) -> bool {
        self.shared.links.get(&link).is_some_and(|link| self.beside.guards.contains(&link.node))
    }

    /// Links to the guards that are kept, and their guards.
    fn kept_links(&self) -> impl Iterator<Item = (LinkId, NodeId)> + '_ {
        let links = self.shared.links.iter().map(|(link, guard)| (*link, guard.node));
        links.filter(|(_, guard)| self.beside.guards.contains(guard))
    }

    /// The link to the last of the kept guards that one comes before which may be had again, and that one. In slots a link goes when it
    /// loses its share, with all circuits over it: points are made anew, and clients' legs would have to be introduced again, so whoever
    /// is there is waited for.
    pub(super) fn kept_in_place_of(&self, free: &[NodeId]) -> Option<(LinkId, NodeId)> {
        let is_free = |link: LinkId| self.shared.uplink.is_none() || !self.errands.lends(link);
        let kept = self.kept_links().filter(|(link, _)| is_free(*link));
        let firsts = kept.filter_map(|(link, guard)| Some((link, *self.shared.before(&guard, free.to_vec()).first()?)));
        let order: Vec<NodeId> = self.shared.guards.status().map(|status| status.node_id).collect();
        let rank =
            |link: &LinkId| self.shared.links.get(link).and_then(|of| order.iter().position(|one| *one == of.node));
        firsts.max_by_key(|(link, _)| rank(link))
    }

    /// Whether one of the kept guards stands in for another one, which has no link.
    pub(super) fn keeps_stand_ins(&self) -> bool {
        let is_linked = |guard: &NodeId| self.shared.links.values().any(|link| link.node == *guard);
        let listed = self.shared.guards.status().filter(|guard| guard.unlisted_s.is_none()).map(|guard| guard.node_id);
        listed.skip_while(is_linked).any(|guard| self.beside.guards.contains(&guard))
    }

    /// A guard that comes before the one of a link takes its place among those that are kept.
    pub(super) fn keep_instead(&mut self, link: LinkId, guard: NodeId) {
        let Some(old) = self.shared.links.get(&link).map(|link| link.node) else { return };
        self.beside.guards.iter_mut().filter(|kept| **kept == old).for_each(|kept| *kept = guard);
    }

    /// Whether the circuit of an errand that is ready goes over a guard that another one has taken the place of, of a node without tunnels.
    /// It stays for as long as it is needed, and what comes after it goes over the other one.
    pub(crate) fn is_leaving(&self, id: ErrandId) -> bool {
        self.pool.is(PoolConfig::NONE) && self.errands.link_of(id).is_some_and(|link| !self.is_kept(link))
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
