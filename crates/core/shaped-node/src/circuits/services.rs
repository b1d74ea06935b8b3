//! Services that flows go to by their address: each has a tunnel of its own, whose legs meet the service's at rendezvous points.
//!
//! A tunnel is made when the first flow asks for it, and for one service and group. Its record is asked for inside an ordinary tunnel;
//! introductions and rendezvous points are [errands](super::errands). What a service's tunnel lost it gets back by another introduction.

mod attempt;
mod legs;
mod wish;

pub use wish::{SeekRefused, ServiceState, ServiceWish};

use super::errands::ErrandOwner;
use super::pool::Holder;
use super::{CircuitTunnel, Circuits, Group};
use crate::flow::Owner;
use crate::near::Near;
use crate::node::NodeEvent;
use crate::parameters::Mode;
use crate::queues::FlowQueues;
use attempt::{Attempt, Outcome, SEEK_MAX};
use identity::AccessSecret;
use link::Now;
use onion_service::{
    ADDRESS_SUFFIX, ClientConfig, ClientError, ClientIntroduction, Day, RENDEZVOUS_MAX, ServiceAddress,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::{HOPS_MAX, PathRules, Refusal, Target};
use wire::flow::{Destination, Host, ResetReason};

/// Services that are sought or held at a time; one that two groups want counts twice. Flows to further ones are refused.
pub const SOUGHT_MAX: usize = 16;
/// How many of these one client has, so that none keeps all others out. A flow to a further one ends the client's tunnel that has had no flow
/// for longest; if all have flows, it is refused.
pub const SOUGHT_OF_CLIENT_MAX: usize = SOUGHT_MAX / 2;
/// How long a service's tunnel has no flow before it ends.
pub const SERVICE_IDLE: Duration = Duration::from_secs(300);
/// How long after a loss, or after the last time, legs are made anew. Whoever makes a client lose legs makes it draw relays, so the wait
/// doubles with each time, up to the second value, which is that of other tunnels: meanwhile the tunnel goes on with what it has.
const REPAIR_WAIT: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// So long without a repair, and the wait is short again.
const REPAIRS_FORGOTTEN: Duration = Duration::from_secs(120);

/// What an entry is told about services.
#[derive(Debug, Clone, Default)]
pub struct ServicesConfig {
    /// The key for services that let in only those that they know. It opens their records here and is shown to nobody.
    pub access: Option<AccessSecret>,
}

/// Why a service was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServiceFailure {
    /// What was said or not said on the way.
    #[error("{0}")]
    Introduction(ClientError),
    /// There was nobody to ask for the record.
    #[error(
        "nobody could be asked for the service's record: no tunnel led to an exit that is a directory node too, or that one did not answer"
    )]
    NoDirectory,
    /// The network has no tunnel to a directory.
    #[error("{0}")]
    NoPath(Refusal),
    /// It took longer than anybody waits.
    #[error(
        "the service was not reached within a minute: its network or this one is slow or losing much; try again later"
    )]
    TimedOut,
    /// It has as many clients as it takes at a time, or no memory for a further one.
    #[error("the service is full: it has as many clients as it takes at a time; try again later")]
    Full,
    /// It sends in another mode than this entry. A service is in mode `constant` or `off`, and an entry with a schedule asks for the former.
    #[error("the service is in mode `{}` and this entry in mode `{}`: {}", mode_of_service(*entry), entry.name(), mode_remedy(*entry))]
    Mode {
        /// That of this entry.
        entry: Mode,
    },
}

/// Of a service that refuses an entry in this mode.
fn mode_of_service(entry: Mode) -> &'static str {
    if entry.is_shaped() { Mode::Off.name() } else { Mode::Constant.name() }
}

fn mode_remedy(entry: Mode) -> &'static str {
    if entry.is_shaped() {
        "reach it from an entry in mode `off`, or ask its operator for mode `constant`"
    } else {
        "reach it from an entry in mode `constant`"
    }
}

impl ServiceFailure {
    /// What a flow is told.
    fn reason(self) -> ResetReason {
        match self {
            Self::Introduction(ClientError::NoRecord | ClientError::Record(_)) => ResetReason::NoService,
            Self::Introduction(ClientError::Authorisation) => ResetReason::NotAuthorised,
            Self::Introduction(ClientError::Rendezvous) | Self::NoDirectory | Self::NoPath(_) => {
                ResetReason::Unreachable
            }
            Self::Introduction(ClientError::Work | ClientError::Unanswered { .. }) | Self::TimedOut | Self::Full => {
                ResetReason::ServiceSilent
            }
            Self::Mode { entry } if entry.is_shaped() => ResetReason::ServiceIsOff,
            Self::Mode { .. } => ResetReason::ServiceIsShaped,
        }
    }
}

/// Through which tunnel a record is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordsFrom {
    /// The group's own, as far as it leads to a directory.
    Group(Group),
    /// One that is built for it.
    Built(Group, PathRules),
}

/// A service that somebody wants.
struct Sought {
    /// Its tunnel.
    tunnel: u64,
    /// Who wanted it first.
    client: u64,
    access: Option<AccessSecret>,
    records: RecordsFrom,
    attempt: Option<Box<Attempt>>,
    /// How often relays were drawn for legs that were missing, until none were for [`REPAIRS_FORGOTTEN`].
    repairs: u32,
    repaired_at: Option<Instant>,
    /// When legs that are missing are sought.
    repair_at: Option<Instant>,
    /// It has no leg at all.
    is_bare: bool,
    /// How long it is sought anew if it is lost before its session is up.
    until: Instant,
}

impl Sought {
    /// A try is over. One for missing legs is counted if it has drawn relays: there may have been none to draw.
    fn note_end(&mut self, now: Instant, has_drawn: bool) {
        if self.repair_at.take().is_some() && has_drawn {
            (self.repairs, self.repaired_at) = (self.repairs.saturating_add(1), Some(now));
        }
    }

    /// When legs are sought that are found missing now. A tunnel that has none does not wait longer each time: it would be over before, and
    /// the next flow to the service would draw relays at once.
    fn next_repair(&mut self, now: Instant) -> Instant {
        let [shortest, longest] = REPAIR_WAIT;
        if self.repaired_at.is_some_and(|at| at + REPAIRS_FORGOTTEN <= now) {
            self.repairs = 0;
        }
        if self.is_bare {
            return now + shortest;
        }
        now + shortest.saturating_mul(1_u32.checked_shl(self.repairs).unwrap_or(u32::MAX)).min(longest)
    }
}

/// All services that are sought or held.
#[derive(Default)]
pub(super) struct Services {
    /// None: flows to services are refused.
    config: Option<ServicesConfig>,
    sought: BTreeMap<(ServiceAddress, Group), Sought>,
    /// Why services were not reached, by the numbers of their tunnels: programs that wished for one ask. Of more than [`SOUGHT_MAX`] the
    /// oldest are forgotten.
    failures: VecDeque<(u64, ServiceFailure)>,
    /// Why a service was not reached at last, if it was for its mode and none was reached since.
    pub(super) mode_refusal: Option<ServiceFailure>,
}

impl Services {
    pub(super) fn new(config: Option<ServicesConfig>) -> Self {
        Self { config, sought: BTreeMap::new(), failures: VecDeque::new(), mode_refusal: None }
    }

    fn note_failure(&mut self, number: u64, failure: ServiceFailure) {
        if self.failures.len() >= SOUGHT_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back((number, failure));
    }
}

/// The name of a service, if a flow goes to one.
pub(super) fn service_name(destination: &Destination) -> Option<&str> {
    match &destination.host {
        // With a dot at its end it is no address, and no less private.
        Host::Name(name) if name.as_str().trim_end_matches('.').ends_with(ADDRESS_SUFFIX) => Some(name.as_str()),
        Host::Name(_) | Host::Ip(_) => None,
    }
}

/// Whether a tunnel is a service's and takes flows, or will. One whose session is lost finishes by itself.
fn takes_flows(tunnel: &CircuitTunnel) -> bool {
    let is_over = tunnel.joined.as_ref().is_some_and(|joined| joined.over_at.is_some());
    matches!(tunnel.holder, Holder::Service { .. }) && !tunnel.has_ended && !is_over
}

impl Circuits {
    /// The tunnel of a service that a flow goes to. Without one it is sought from now on.
    pub(super) fn seek(&mut self, now: Now, name: &str, group: Group, client: u64) -> Result<u64, ResetReason> {
        let address = name.parse::<ServiceAddress>().ok();
        if let Some(number) = address.and_then(|address| self.tunnel_to(address, group)) {
            return Ok(number);
        }
        let config = self.services.config.as_ref().ok_or(ResetReason::NotOffered)?;
        let (access, records) = (config.access.clone(), RecordsFrom::Group(group));
        if self.shared.virtual_packet().is_none() {
            return Err(ResetReason::NotOffered);
        }
        let address = address.ok_or(ResetReason::NameUnknown)?;
        if self.held_of(client).count() >= SOUGHT_OF_CLIENT_MAX {
            self.give_up_idle(client);
        }
        self.seek_anew(now, (address, group), client, access, records).map_err(SeekRefused::reason)
    }

    /// The tunnel that a group has to a service, or that is being made.
    fn tunnel_to(&self, address: ServiceAddress, group: Group) -> Option<u64> {
        let number = self.services.sought.get(&(address, group))?.tunnel;
        self.tunnels.get(&number).filter(|tunnel| takes_flows(tunnel)).map(|_| number)
    }

    /// The tunnels to services that a client has or seeks.
    fn held_of(&self, client: u64) -> impl Iterator<Item = &CircuitTunnel> {
        let of_client = self.services.sought.values().filter(move |sought| sought.client == client);
        of_client.filter_map(|sought| self.tunnels.get(&sought.tunnel)).filter(|tunnel| takes_flows(tunnel))
    }

    /// Lets the tunnel of a client go that has had no flow for longest.
    fn give_up_idle(&mut self, client: u64) {
        let idle = self.held_of(client).filter_map(|tunnel| match tunnel.holder {
            Holder::Service { idle_since } => Some((idle_since?, tunnel.number)),
            _ => None,
        });
        if let Some((since, number)) = idle.min()
            && let Some(tunnel) = self.tunnels.get_mut(&number)
        {
            tunnel.holder = Holder::Nobody { idle_since: Some(since) };
        }
    }

    fn seek_anew(
        &mut self,
        now: Now,
        (address, group): (ServiceAddress, Group),
        client: u64,
        access: Option<AccessSecret>,
        records: RecordsFrom,
    ) -> Result<u64, SeekRefused> {
        if self.shared.virtual_packet().is_none() {
            return Err(SeekRefused::PacketSize);
        }
        let live = self.services.sought.values().filter_map(|sought| self.tunnels.get(&sought.tunnel));
        if live.filter(|tunnel| takes_flows(tunnel)).count() >= SOUGHT_MAX {
            return Err(SeekRefused::Full);
        }
        if self.held_of(client).count() >= SOUGHT_OF_CLIENT_MAX {
            return Err(SeekRefused::ClientFull);
        }
        let rules = PathRules::new(HOPS_MAX, self.rules.legs().min(RENDEZVOUS_MAX as u8)).unwrap_or(self.rules);
        let rules = rules.relaxed(self.rules.relaxation()).to(Target::Meeting);
        let legs = usize::from(rules.legs());
        let attempt = self.attempt(now, address, legs, access.clone(), records).ok_or(SeekRefused::Address)?;
        let number = self.add(now.instant, rules)?;
        if let Some(tunnel) = self.tunnels.get_mut(&number) {
            tunnel.holder = Holder::Service { idle_since: None };
        }
        let attempt = Some(attempt);
        let sought = Sought {
            tunnel: number,
            client,
            access,
            records,
            attempt,
            repairs: 0,
            repaired_at: None,
            repair_at: None,
            is_bare: false,
            until: now.instant + SEEK_MAX,
        };
        if let Some(Sought { attempt: Some(old), .. }) = self.services.sought.insert((address, group), sought) {
            old.end(self, now.instant);
        }
        Ok(number)
    }

    /// One try to get so many legs to a service. None for an address whose key is none.
    fn attempt(
        &mut self,
        now: Now,
        address: ServiceAddress,
        legs: usize,
        access: Option<AccessSecret>,
        records: RecordsFrom,
    ) -> Option<Box<Attempt>> {
        let network = self.shared.document.network_id();
        let directory_ms = now.unix_s.saturating_mul(1_000);
        let days = Day::sought_at(directory_ms).into_iter().map(|day| address.day_key(network, day).ok());
        let days = days.collect::<Option<Vec<_>>>()?;
        let config = ClientConfig { network, legs, access, features: 0 };
        let seed = self.shared.random();
        let introduction = ClientIntroduction::new(now.instant, config, days, directory_ms, seed);
        Some(Box::new(Attempt::new(now.instant, introduction, records)))
    }

    /// Goes on with all services.
    pub(super) fn follow_services<Q: FlowQueues>(&mut self, now: Now, near: &mut Near<Q>) {
        if self.services.sought.is_empty() {
            return;
        }
        let mut services = std::mem::take(&mut self.services);
        while let Some(news) = self.poll_errand_of(now.instant, ErrandOwner::Seeker) {
            let mut attempts = services.sought.values_mut().filter_map(|sought| {
                let number = sought.tunnel;
                sought.attempt.as_mut().map(|attempt| (number, attempt))
            });
            match attempts.find(|(_, attempt)| attempt.has(news.id())) {
                Some((number, attempt)) => attempt.handle_news(self, now, number, news),
                None => self.end_errand(now.instant, news.id()),
            }
        }
        let before = std::mem::take(&mut services.sought);
        self.services = services;
        for (key, mut sought) in before {
            if self.follow_service(now, key.0, &mut sought, near) {
                self.services.sought.insert(key, sought);
            }
        }
    }

    /// Goes on with one service. False when nobody wants it any more, or it was not found.
    fn follow_service<Q: FlowQueues>(
        &mut self,
        now: Now,
        address: ServiceAddress,
        sought: &mut Sought,
        near: &mut Near<Q>,
    ) -> bool {
        let number = sought.tunnel;
        let is_wanted = self.tunnels.get(&number).is_some_and(|tunnel| matches!(tunnel.holder, Holder::Service { .. }));
        if !is_wanted {
            if let Some(attempt) = sought.attempt.take() {
                attempt.end(self, now.instant);
            }
            return false;
        }
        if self.end_refused(now.instant, number, near) {
            if let Some(attempt) = sought.attempt.take() {
                attempt.end(self, now.instant);
            }
            return false;
        }
        self.seek_again(now, address, sought, near);
        self.repair(now, address, sought);
        if let Some(attempt) = &mut sought.attempt {
            let outcome = attempt.follow(self, now, number);
            if outcome != Outcome::Pending
                && let Some(attempt) = sought.attempt.take()
            {
                sought.note_end(now.instant, attempt.has_drawn());
                attempt.end(self, now.instant);
            }
            let failure = match outcome {
                Outcome::Pending => None,
                // Answers came, and none of them made a leg.
                Outcome::Done => Some(ServiceFailure::TimedOut),
                Outcome::Failed(failure) => Some(failure),
            };
            let is_there = self.tunnels.get(&number).is_some_and(|tunnel| tunnel.joined.is_some());
            if let Some(failure) = failure.filter(|_| !is_there) {
                self.remove_tunnel(number);
                self.tell_failure(number, failure, near);
                return false;
            }
        }
        true
    }

    /// Seeks legs that a tunnel with a session has lost.
    fn repair(&mut self, now: Now, address: ServiceAddress, sought: &mut Sought) {
        let Some(tunnel) = self.tunnels.get(&sought.tunnel).filter(|_| sought.attempt.is_none()) else { return };
        let missing = tunnel.free_places();
        let is_done = missing == 0 || !tunnel.is_up() || self.shared.stopping;
        let was_bare = std::mem::replace(&mut sought.is_bare, tunnel.is_bare());
        if sought.is_bare && !was_bare {
            // Whatever it waited for while it had one.
            sought.repair_at = sought.repair_at.map(|at| at.min(now.instant + REPAIR_WAIT[0]));
        }
        sought.repair_at = match sought.repair_at {
            _ if is_done => None,
            None => Some(sought.next_repair(now.instant)),
            Some(at) if at > now.instant => Some(at),
            Some(_) => {
                let (access, records) = (sought.access.clone(), sought.records);
                sought.attempt = self.attempt(now, address, missing, access, records);
                Some(sought.next_repair(now.instant))
            }
        };
    }

    /// Begins anew with a tunnel that lost all legs before its session was up. The service may never have heard of it, and another
    /// introduction's session is another one; flows wait on.
    fn seek_again<Q: FlowQueues>(
        &mut self,
        now: Now,
        address: ServiceAddress,
        sought: &mut Sought,
        near: &mut Near<Q>,
    ) {
        if sought.attempt.is_some() || sought.until <= now.instant || self.shared.stopping {
            return;
        }
        let Some(tunnel) = self.tunnels.get_mut(&sought.tunnel).filter(|tunnel| tunnel.is_stillborn()) else { return };
        tunnel.begin_again(&mut self.shared, now.instant, near);
        let legs = usize::from(tunnel.rules.legs());
        sought.attempt = self.attempt(now, address, legs, sought.access.clone(), sought.records);
    }

    /// Ends the tunnel of a service that has refused it, and tells its flows. False if it has not.
    fn end_refused<Q: FlowQueues>(&mut self, now: Instant, number: u64, near: &mut Near<Q>) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&number) else { return false };
        if tunnel.is_up() {
            self.services.mode_refusal = None;
        }
        let Some(refusal) = tunnel.refused.take() else { return false };
        tunnel.holder = Holder::Nobody { idle_since: Some(now) };
        tunnel.finish(&mut self.shared, now);
        self.tell_refused(number, refusal, near);
        true
    }

    /// Tells everybody who waits for a service's tunnel why the service has refused it; that it is in another mode, also whoever looks at
    /// `status`.
    pub(super) fn tell_refused<Q: FlowQueues>(&mut self, number: u64, refusal: conflux::Refusal, near: &mut Near<Q>) {
        if refusal == conflux::Refusal::Full {
            return self.tell_failure(number, ServiceFailure::Full, near);
        }
        let entry = self.shared.uplink.as_ref().map_or(Mode::Off, super::Uplink::mode);
        let failure = ServiceFailure::Mode { entry };
        self.services.mode_refusal = Some(failure);
        self.tell_failure(number, failure, near);
    }

    /// A service was not reached: its flows hear why, and so does a program that wished for it.
    fn tell_failure<Q: FlowQueues>(&mut self, number: u64, failure: ServiceFailure, near: &mut Near<Q>) {
        super::pool::reset_flows(number, failure.reason(), near);
        self.services.note_failure(number, failure);
        self.shared.events.push(NodeEvent::ServiceFailed(failure));
    }

    /// Whether a flow's tunnel is a service's.
    pub(crate) fn is_of_service(&self, owner: Owner) -> bool {
        let Owner::Tunnel(number) = owner else { return false };
        self.tunnels.get(&number).is_some_and(CircuitTunnel::is_of_service)
    }

    /// When [`Circuits::follow_services`] has something to do.
    pub(super) fn services_timeout(&self) -> Option<Instant> {
        let sought = self.services.sought.values();
        let due = sought.flat_map(|sought| {
            let attempt = sought.attempt.as_ref().map(|attempt| attempt.poll_timeout());
            attempt.into_iter().chain(sought.repair_at.filter(|_| sought.attempt.is_none()))
        });
        due.min()
    }
}
