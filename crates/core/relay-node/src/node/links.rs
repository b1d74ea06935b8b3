//! The neighbours of a relay: which link is whose, and what ends when one goes down.

use super::RelayNode;
use crate::event::NodeEvent;
use identity::{LinkKey, NodeId};
use link::{LinkEvent, LinkId, Now};
use onion::{Dialled, Neighbour};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// All links that are up. As many as the endpoint may have.
#[derive(Default)]
pub(super) struct Links {
    places: Vec<Option<Up>>,
    relays: BTreeMap<NodeId, Neighbour>,
}

/// A link that is up.
pub(super) struct Up {
    pub(super) link: LinkId,
    /// The relay at its other end; `None` for a client.
    pub(super) relay: Option<NodeId>,
    pub(super) dialled: Dialled,
    /// When a cell of a circuit went over it last.
    pub(super) used: Instant,
    /// Since when the neighbour answers nothing.
    pub(super) quiet: Option<Instant>,
    /// Lost of a thousand packets sent to it in the last ten seconds, by its own reports.
    pub(super) loss_per_mille: u16,
}

impl Links {
    #[inline]
    pub(super) fn of(&mut self, neighbour: Neighbour) -> Option<&mut Up> {
        self.places.get_mut(neighbour.0 as usize)?.as_mut()
    }

    /// The neighbour at the other end of a link.
    #[inline]
    pub(super) fn neighbour(&mut self, link: LinkId) -> Option<(Neighbour, &mut Up)> {
        let up = self.places.get_mut(link.place())?.as_mut().filter(|up| up.link == link)?;
        Some((Neighbour(link.place() as u32), up))
    }

    /// A link to this relay, who dialled it, and whether the relay answers.
    pub(super) fn to_relay(&self, node: &NodeId) -> Option<(Neighbour, Dialled, bool)> {
        let neighbour = *self.relays.get(node)?;
        let up = self.places.get(neighbour.0 as usize)?.as_ref()?;
        Some((neighbour, up.dialled, up.quiet.is_none()))
    }

    pub(super) fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        let up = self.places.iter().enumerate().filter(|(_, up)| up.is_some());
        up.map(|(place, _)| Neighbour(place as u32))
    }

    fn insert(&mut self, up: Up) -> Neighbour {
        let place = up.link.place();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let neighbour = Neighbour(place as u32);
        if let Some(relay) = up.relay {
            self.relays.entry(relay).or_insert(neighbour);
        }
        self.places[place] = Some(up);
        neighbour
    }

    /// The neighbour whose link this was. Another link to the same relay takes its part.
    fn remove(&mut self, link: LinkId) -> Option<Neighbour> {
        let (neighbour, _) = self.neighbour(link)?;
        let up = self.places[link.place()].take()?;
        if let Some(relay) = up.relay.filter(|relay| self.relays.get(relay) == Some(&neighbour)) {
            self.relays.remove(&relay);
            let is_other = |up: &Option<Up>| up.as_ref().is_some_and(|up| up.relay == Some(relay));
            if let Some(place) = self.places.iter().position(is_other) {
                self.relays.insert(relay, Neighbour(place as u32));
            }
        }
        Some(neighbour)
    }

    fn links(&self, which: impl Fn(&Up) -> bool) -> Vec<LinkId> {
        self.places.iter().flatten().filter(|up| which(up)).map(|up| up.link).collect()
    }
}

/// A relay at the other end of a link. What goes over the link, and to whom, it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourFigures {
    /// Which relay.
    pub node: NodeId,
    /// Whether this relay dialled it.
    pub dialled: bool,
    /// Whether it answers.
    pub answers: bool,
    /// Smoothed round trip, once there is one.
    pub rtt: Option<Duration>,
    /// Lost of a thousand packets sent to it in the last ten seconds, by its own reports.
    pub loss_per_mille: u16,
    /// How often the link went to another pair of ports.
    pub hops: u64,
}

impl RelayNode {
    /// Relays at the other ends of links, by name, the first `most` of them.
    pub fn neighbours(&self, now: Now, most: usize) -> Vec<NeighbourFigures> {
        let figures = |(node, neighbour): (&NodeId, &Neighbour)| {
            let up = self.links.places.get(neighbour.0 as usize)?.as_ref()?;
            let rtt = self.endpoint.figures(up.link).map(|figures| figures.rtt).filter(|rtt| !rtt.is_zero());
            Some(NeighbourFigures {
                node: *node,
                dialled: up.dialled == Dialled::ByUs,
                answers: up.quiet.is_none(),
                rtt,
                loss_per_mille: up.loss_per_mille,
                hops: self.endpoint.hop_status(now.instant, up.link).map_or(0, |hops| hops.index),
            })
        };
        self.links.relays.iter().filter_map(figures).take(most).collect()
    }

    /// Links of clients, and of nodes that the document does not have.
    pub fn client_links(&self) -> usize {
        self.links.places.iter().flatten().filter(|up| up.relay.is_none()).count()
    }

    /// What the links say.
    #[inline]
    pub(super) fn follow_links(&mut self, now: Now) {
        while let Some(event) = self.endpoint.poll_event() {
            self.follow_link(now, event);
        }
    }

    #[cold]
    fn follow_link(&mut self, now: Now, event: LinkEvent) {
        match event {
            LinkEvent::Up { link, link_key, dialled, .. } => self.link_up(now, link, link_key, dialled),
            LinkEvent::Down { link, .. } => self.link_down(now, link),
            LinkEvent::Replaced { link, fresh, .. } => self.link_replaced(now, link, fresh),
            LinkEvent::Quiet { link } => {
                if let Some((_, up)) = self.links.neighbour(link) {
                    up.quiet = Some(now.instant);
                }
            }
            LinkEvent::Back { link } => {
                if let Some((_, up)) = self.links.neighbour(link) {
                    up.quiet = None;
                }
            }
            LinkEvent::AcceptedEphemeral { ephemeral, day } => {
                self.tell(NodeEvent::AcceptedEphemeral { ephemeral, day })
            }
            LinkEvent::SameKeyElsewhere { .. } => self.tell(NodeEvent::SameKeyElsewhere),
            LinkEvent::Hopped { .. } => self.counters.hops += 1,
            LinkEvent::Report { link, figures } => {
                if let Some((_, up)) = self.links.neighbour(link) {
                    up.loss_per_mille = u16::try_from(figures.outbound.per_mille()).unwrap_or(u16::MAX);
                }
            }
            LinkEvent::Rekeyed { .. }
            | LinkEvent::PeerAddressChanged { .. }
            | LinkEvent::WrongVersion { .. }
            | LinkEvent::Unanswered { .. } => {}
        }
    }

    fn link_up(&mut self, now: Now, link: LinkId, key: LinkKey, dialled: bool) {
        let relay = self.document.relay_of_link(&key).map(|relay| relay.node_id);
        let dialled = if dialled { Dialled::ByUs } else { Dialled::ByThem };
        let neighbour =
            self.links.insert(Up { link, relay, dialled, used: now.instant, quiet: None, loss_per_mille: 0 });
        self.limit(neighbour);
        self.sweep_soon(now.instant);
        if let Some(relay) = relay {
            self.dial_is_over(now, relay, link);
        }
    }

    fn link_replaced(&mut self, now: Now, link: LinkId, fresh: bool) {
        let Some((neighbour, up)) = self.links.neighbour(link) else { return };
        up.quiet = None;
        if fresh {
            // The neighbour's process is another one and knows none of the circuits.
            self.end_circuits(now, neighbour);
            self.limit(neighbour);
        }
    }

    /// A client may have less than a relay, behind which there are many.
    fn limit(&mut self, neighbour: Neighbour) {
        let limits = self.config.limits;
        if self.links.of(neighbour).is_some_and(|up| up.relay.is_none()) {
            self.relay.limit_neighbour(neighbour, limits.circuits_per_client, limits.handshakes_per_client);
        }
    }

    fn link_down(&mut self, now: Now, link: LinkId) {
        let Some(neighbour) = self.links.remove(link) else { return };
        // Whoever needs a link dials anew.
        self.endpoint.close(link);
        self.end_circuits(now, neighbour);
    }

    fn end_circuits(&mut self, now: Now, neighbour: Neighbour) {
        self.counters.dropped_link_down += self.queues.forget(neighbour);
        self.relay.handle_link_down(now.instant, neighbour);
        self.follow_relay(now);
    }

    /// Closes links that nobody has used for long, and those whose neighbours do not answer.
    pub(super) fn sweep_links(&mut self, now: Now) {
        let limits = self.config.limits;
        let since = |at: Instant| now.instant.saturating_duration_since(at);
        let is_dead = |up: &Up| up.quiet.is_some_and(|quiet| since(quiet) >= limits.link_dead);
        let dead = self.links.links(is_dead);
        // Who dialled a link decides whether it is still wanted: clients keep theirs.
        let idle =
            self.links.links(|up| up.dialled == Dialled::ByUs && since(up.used) >= limits.link_idle && !is_dead(up));
        self.counters.links_dead += dead.len() as u64;
        self.counters.links_idle += idle.len() as u64;
        for link in dead.into_iter().chain(idle) {
            self.endpoint.close(link);
        }
        self.follow_links(now);
        if self.links.places.iter().any(Option::is_some) {
            self.sweep_soon(now.instant);
        }
    }

    /// Links that this relay dialled to others that stand elsewhere now make a handshake at the new address. Nothing may be heard of those any
    /// more, and on a link over which nothing goes nobody would notice: circuits that are gone would be waited for until somebody speaks
    /// on them, and new ones be sent into the silence. With the same process a link keeps its circuits, and while nobody answers there it goes
    /// on where it is.
    pub(super) fn follow_moved(&mut self, now: Now) {
        for up in self.links.places.iter().flatten() {
            let relay = up.relay.and_then(|relay| self.document.relay(&relay));
            let dialled = self.endpoint.dial_address(up.link);
            let Some((relay, dialled)) = relay.zip(dialled) else { continue };
            if relay.addresses.contains(&dialled) {
                continue;
            }
            let moved = relay.addresses.first().map(|address| self.endpoint.move_dial(now, up.link, *address));
            if moved.is_some_and(|moved| moved.is_ok()) {
                self.due.push(up.link);
                self.rearm = true;
            }
        }
    }

    /// Closes links to relays that the document does not have, and to clients if it is no guard any more.
    pub(super) fn close_strangers(&mut self, now: Now) {
        let document = &self.document;
        let is_guard = document.relay(&self.config.node_id).is_some_and(|own| own.roles.guard);
        let strangers = self.links.links(|up| match up.relay {
            Some(relay) => document.relay(&relay).is_none(),
            None => !is_guard,
        });
        for link in strangers {
            self.endpoint.close(link);
        }
        self.follow_links(now);
    }
}
