//! The state that all members have alike, and what each command makes of it.

use crate::command::{Checked, Command};
use crate::event::Event;
use crate::order::Admission;
use crate::refusal::Refusal;
use crate::succession::Succession;
use claims::Claims;
use identity::NodeId;
use network_document::{
    Charter, EDITION_RELAYS_MAX, EditionName, Electorate, Founding, NetworkId, Parameters, Problem, SignedAnnouncement,
    SignedEdition,
};
use services::Services;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod checkpoint;
mod claims;
mod clock;
mod editions;
mod govern;
mod relays;
mod services;

pub use services::{
    JUDGED_AT_ONCE_MAX, KEPT_RECORDS_MAX, NEW_BYTES_MAX, NEW_RECORDS_MAX, RECORDS_MAX, REVISIONS_MAX,
    SPONSOR_BYTES_MAX, SPONSORED_LIFE_MAX_MS,
};

/// Descriptors of one relay that count in one interval at most; further ones are refused. One is the rule; the others are for
/// whoever changes an address twice.
pub const DESCRIBES_MAX: u8 = 4;
/// Nodes that may be admitted at a time: as many as an edition has room for. A further one is refused.
pub const ADMISSIONS_MAX: usize = EDITION_RELAYS_MAX;
/// How far ahead of the directory's time somebody's clock may be, in milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 600_000;
/// Changes of members that are remembered, for clients that were away; a further one is refused.
pub const SUCCESSIONS_MAX: usize = 256;

/// A node that may describe itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Admitted {
    bounds: Admission,
    /// What it published until then does not count any more, in milliseconds since 1970 UTC.
    floor_ms: u64,
    /// Its descriptors that counted in this interval.
    described: u8,
}

/// The newest time that a member said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    sequence: u64,
    utc_ms: u64,
}

/// The directory: a deterministic function of the charter and the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    charter: Arc<Charter>,
    founding: Founding,
    network: NetworkId,
    time_ms: u64,
    clocks: BTreeMap<NodeId, Clock>,
    orders: u64,
    electorate: Electorate,
    parameters: Parameters,
    admitted: BTreeMap<NodeId, Admitted>,
    relays: BTreeMap<NodeId, Arc<SignedAnnouncement>>,
    claims: Claims,
    /// The index of the newest edition that was made; 0 before the first.
    index: u64,
    /// The edition of that index, with the signatures so far. `None` before the first, and after a term began outside the log.
    pending: Option<SignedEdition>,
    /// The newest edition that enough members signed.
    published: Option<SignedEdition>,
    successions: VecDeque<Succession>,
    services: Services,
}

impl Directory {
    /// As the charter has it: no relays, no edition.
    ///
    /// # Errors
    /// [`Problem::OtherKind`] for a charter without a directory.
    pub fn new(charter: Arc<Charter>) -> Result<Self, Problem> {
        let founding = charter.founding().ok_or(Problem::OtherKind)?.clone();
        Ok(Self {
            network: charter.network_id(),
            time_ms: founding.start_ms,
            clocks: BTreeMap::new(),
            orders: 0,
            electorate: founding.electorate.clone(),
            parameters: founding.parameters.clone(),
            admitted: BTreeMap::new(),
            relays: BTreeMap::new(),
            claims: Claims::default(),
            index: 0,
            pending: None,
            published: None,
            successions: VecDeque::new(),
            services: Services::default(),
            charter,
            founding,
        })
    }

    /// What the network is.
    pub fn charter(&self) -> &Arc<Charter> {
        &self.charter
    }

    /// What names the network.
    pub fn network_id(&self) -> NetworkId {
        self.network
    }

    /// The directory's time, in milliseconds since 1970 UTC. It never goes back.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The present members.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// The present parameters; the next edition has them.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The number that the operators' next order must have.
    pub fn next_order(&self) -> u64 {
        self.orders + 1
    }

    /// The number that a member's next tick must have.
    pub fn next_tick(&self, member: &NodeId) -> u64 {
        self.clocks.get(member).map_or(1, |clock| clock.sequence.saturating_add(1))
    }

    /// The number of a member's last tick, and what time it said, in milliseconds since 1970 UTC.
    pub fn clock(&self, member: &NodeId) -> Option<(u64, u64)> {
        self.clocks.get(member).map(|clock| (clock.sequence, clock.utc_ms))
    }

    /// How many nodes are admitted.
    pub fn admissions(&self) -> usize {
        self.admitted.len()
    }

    /// What operators vouch for of a node; `None` when it is not admitted.
    pub fn admission(&self, node: &NodeId) -> Option<&Admission> {
        self.admitted.get(node).map(|admitted| &admitted.bounds)
    }

    /// The newest descriptor of a relay.
    pub fn relay(&self, node: &NodeId) -> Option<&Arc<SignedAnnouncement>> {
        self.relays.get(node)
    }

    /// All newest descriptors, ascending by name.
    pub fn relays(&self) -> impl ExactSizeIterator<Item = &Arc<SignedAnnouncement>> {
        self.relays.values()
    }

    /// The newest edition, with the signatures so far. `None` before the first.
    pub fn pending(&self) -> Option<&SignedEdition> {
        self.pending.as_ref()
    }

    /// The newest edition that enough members signed. `None` before the first.
    pub fn published(&self) -> Option<&SignedEdition> {
        self.published.as_ref()
    }

    /// What names the newest published edition; the charter before the first.
    pub fn published_name(&self) -> EditionName {
        let first = EditionName { index: 0, hash: self.network.0 };
        self.published.as_ref().map_or(first, |edition| edition.edition().name())
    }

    /// The changes of members, the oldest first.
    pub fn successions(&self) -> impl ExactSizeIterator<Item = &Succession> {
        self.successions.iter()
    }

    /// A service's newest record, under its key.
    pub fn service(&self, key: &[u8; 32]) -> Option<&crate::ServiceRecord> {
        self.services.get(key)
    }

    /// What a member has let in: records in this interval, and keys and bytes of those that have not ended.
    pub(crate) fn let_in(&self, member: &NodeId) -> (u32, u32, usize) {
        self.services.let_in(member)
    }

    /// Whether a record renews, for the first time in this interval and without more bytes, what this member let in before: a renewal
    /// that always has room. Nobody looks at signatures here.
    pub fn is_renewal_due(&self, record: &crate::ServiceRecord, sponsor: &NodeId) -> bool {
        self.services.is_due(record, sponsor)
    }

    /// Whether this member let in the record that stands under a key.
    pub fn is_sponsor(&self, key: &[u8; 32], member: &NodeId) -> bool {
        self.services.is_sponsor(key, member)
    }

    /// Whether a member would let a record in: what the log would refuse, and what the member keeps room or time for others from.
    /// Nobody looks at signatures here.
    ///
    /// # Errors
    /// Why not, in the words of the log.
    pub fn judge_record(&self, record: &crate::ServiceRecord, sponsor: &NodeId) -> Result<(), Refusal> {
        if !self.electorate.contains(sponsor) {
            return Err(Refusal::NotMember);
        }
        let last_ms = self.time_ms.saturating_add(SPONSORED_LIFE_MAX_MS);
        self.services.judge_sponsored(record, sponsor, self.time_ms, last_ms)
    }

    /// Applies the bytes of a command.
    pub fn apply(&mut self, bytes: &[u8]) -> Vec<Event> {
        let checked = match Command::decode(bytes) {
            Ok(command) => command.check(&self.charter, self.network),
            Err(_) => Err(Refusal::Malformed),
        };
        checked.map_or_else(|refusal| vec![Event::Refused(refusal)], |checked| self.apply_checked(checked))
    }

    /// Applies a command whose signatures somebody looked at already.
    pub fn apply_checked(&mut self, checked: Checked) -> Vec<Event> {
        let mut events = Vec::new();
        let done = if checked.network == self.network {
            match checked.command {
                Command::Describe(announcement) => self.describe(announcement, &mut events),
                Command::Withdraw(said) => self.withdraw(said, &mut events),
                Command::Govern(order) => self.govern(*order, &mut events),
                Command::Tick(tick) => self.tick(tick, &mut events),
                Command::Sign(vote) => self.sign(&vote, &mut events),
                Command::PublishService(service) => self.publish_service(*service, &mut events),
            }
        } else {
            Err(Refusal::OtherNetwork)
        };
        if let Err(refusal) = done {
            debug_assert!(events.is_empty(), "a refused command has no effect");
            events.push(Event::Refused(refusal));
        }
        events
    }

    fn publish_service(&mut self, service: crate::SponsoredService, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if !self.electorate.contains(&service.sponsor) {
            return Err(Refusal::NotMember);
        }
        // Intervals are the operators' choice, and how long a service's record is good is the service's.
        let life_ms = self.founding.lifetime_max_ms().max(SPONSORED_LIFE_MAX_MS);
        let last_ms = self.time_ms.saturating_add(life_ms);
        let key = service.record.key;
        self.services.store(service, self.time_ms, last_ms)?;
        events.push(Event::Stored(key));
        Ok(())
    }
}
