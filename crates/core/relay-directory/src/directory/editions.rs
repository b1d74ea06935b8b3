//! Editions: made when an interval begins, published when enough members have signed.

use super::Directory;
use crate::command::Vote;
use crate::event::Event;
use crate::refusal::Refusal;
use identity::NodeId;
use network_document::{Edition, EditionHead, EditionName, SignedAnnouncement, SignedEdition};
use std::sync::Arc;

impl Directory {
    /// A new interval: what has ended goes, quotas begin anew, and its edition is made. Intervals that nobody saw begin, because
    /// the log stood still, have none.
    pub(super) fn turn(&mut self, index: u64, events: &mut Vec<Event>) {
        let unsigned = self.pending.take().map(|pending| pending.edition().name());
        if let Some(name) = unsigned.filter(|name| *name != self.published_name()) {
            events.push(Event::Empty(name.index));
        }
        self.expire(events);
        self.admitted.values_mut().for_each(|admitted| admitted.described = 0);
        self.index = index;
        let Some(edition) = self.make() else { return };
        events.push(Event::Made(edition.edition().name()));
        self.pending = Some(edition);
    }

    fn expire(&mut self, events: &mut Vec<Event>) {
        let now_ms = self.time_ms;
        let ended = |(node, relay): (&NodeId, &Arc<SignedAnnouncement>)| {
            (relay.announcement().expires_ms <= now_ms).then_some(*node)
        };
        let ended: Vec<NodeId> = self.relays.iter().filter_map(ended).collect();
        for node in ended {
            self.remove_relay(&node);
            events.push(Event::ExpiredRelay(node));
        }
        let services = self.services.turn(now_ms);
        if services > 0 {
            events.push(Event::ExpiredServices(services));
        }
    }

    /// `None` cannot be: claims keep relays apart and admissions keep them few. If it were, the index would stay empty.
    fn make(&self) -> Option<SignedEdition> {
        let (electorate, parameters) = (self.electorate.clone(), self.parameters.clone());
        let charter = Arc::clone(&self.charter);
        let head = EditionHead::new(charter, self.index, self.published_name(), electorate, parameters).ok()?;
        let interval = head.key_interval();
        let usable = |relay: &&Arc<SignedAnnouncement>| relay.descriptor().onion_key(interval).is_some();
        let relays = self.relays.values().filter(usable).cloned().collect();
        let edition = Edition::new(head, relays);
        debug_assert!(edition.is_ok(), "relays share nothing");
        edition.ok().map(|edition| SignedEdition::new(Arc::new(edition)))
    }

    pub(super) fn sign(&mut self, vote: &Vote, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let pending = self.pending.as_mut().ok_or(Refusal::OtherIndex)?;
        let (name, electorate) = (pending.edition().name(), pending.edition().electorate());
        if !electorate.contains(&vote.member) {
            return Err(Refusal::NotMember);
        }
        if vote.name.index != name.index {
            return Err(Refusal::OtherIndex);
        }
        if vote.name != name {
            return Err(Refusal::OtherEdition);
        }
        if pending.signatures().any(|(member, _)| member == vote.member) {
            return Err(Refusal::Old);
        }
        let quorum = electorate.quorum();
        pending.add(vote.member, vote.signature).map_err(|_| Refusal::NotMember)?;
        events.push(Event::Signed(vote.member));
        // Later signatures are kept too: whoever fetches the edition may have them.
        if pending.signatures().len() >= quorum {
            let first = pending.signatures().len() == quorum;
            self.published = Some(pending.clone());
            if first {
                events.push(Event::Published(name));
            }
        }
        Ok(())
    }

    /// True when the newest edition has enough signatures.
    pub fn is_published(&self) -> bool {
        let name = |edition: &SignedEdition| -> EditionName { edition.edition().name() };
        self.pending.as_ref().map(name).is_some_and(|name| name == self.published_name())
    }
}
