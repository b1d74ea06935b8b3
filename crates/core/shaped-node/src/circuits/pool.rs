//! Which tunnels there are, and whose: some are kept ready, a group of flows takes one of them for itself, and one that is
//! retired ends when its flows have ended.
//!
//! Tunnels are made at looks, which come on a grid of their own, and whenever a program asks for one by name. What flows do makes
//! none: a group that finds no tunnel ready waits for the next look.

use super::services::{SERVICE_IDLE, service_name};
use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::flow::{Far, Owner};
use crate::near::Near;
use crate::node::NodeEvent;
use crate::queues::FlowQueues;
use link::Now;
use serde::{Deserialize, Serialize};
use session::EndReason;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;
use tunnel_plan::{PathRules, Refusal};
use wire::flow::{ResetReason, Syn};

/// Tunnels of a node at a time, whatever they are for. When there are as many, none is made until one has ended: groups wait for
/// as long as flows wait for a session, and are refused then.
pub const TUNNELS_MAX: usize = 32;
/// How often is looked at what is missing, what is too much, and what has had its time.
pub const POOL_LOOK: Duration = Duration::from_secs(2);
/// How long a group's tunnel is used at least. After that it is retired as soon as it has no flow: what a group does later goes
/// another way.
pub const DIRTY_AFTER: Duration = Duration::from_secs(600);
/// How long a tunnel takes new flows at most.
pub const TUNNEL_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a retired tunnel has no flow before it ends: what its flows said last may still be on its way.
pub const RETIRED_LINGER: Duration = Duration::from_secs(10);

/// What times are told apart by.
const TICK: Duration = Duration::from_micros(1);

/// Flows that may share a tunnel. No flow of another group is in it while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u64);

/// The group of all flows where nothing keeps them apart.
const EVERYBODY: Group = Group(0);

/// What makes flows a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All flows are one group.
    #[default]
    Nothing,
    /// Flows of one client are a group; its number stands in their SYN.
    Clients,
}

/// How many tunnels are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Tunnels that are kept. With [`Isolation::Nothing`] all of them, at least 1, of which one is in use; with groups, those that are
    /// ready beside the groups' own, of which there may be none.
    pub tunnels: u8,
    /// What makes flows a group.
    pub isolation: Isolation,
    /// How long a tunnel takes new flows at most; each draws its own time from the last quarter.
    pub life: Duration,
}

impl PoolConfig {
    /// One tunnel for everybody, for as long as it lives. Under a schedule there is no other way: each tunnel has cover of its
    /// own, so how many there are, and for how long one finishes its flows, would tell of flows.
    pub const ONE: Self =
        Self { tunnels: 1, isolation: Isolation::Nothing, life: Duration::from_secs(100 * 365 * 24 * 3600) };
}

impl PoolConfig {
    /// No tunnel but those that are asked for by name.
    pub const NONE: Self = Self { tunnels: 0, isolation: Isolation::Clients, life: TUNNEL_LIFE };
}

impl Default for PoolConfig {
    /// One tunnel for everybody.
    fn default() -> Self {
        Self { life: TUNNEL_LIFE, ..Self::ONE }
    }
}

/// Names a tunnel from its first leg to its end. What takes its place later has another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId {
    /// Its number among the tunnels of the node. It is used again.
    pub number: u64,
    /// Which of those with this number.
    pub life: u64,
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.life)
    }
}

/// There are [`TUNNELS_MAX`] tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there are {TUNNELS_MAX} tunnels, and one has to end before another can be made")]
pub struct TunnelsFull;

/// Whose a tunnel is, without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelHolder {
    /// Nobody's yet: it is kept ready.
    Pool,
    /// A group's.
    Group,
    /// That of a service, for whoever goes to it.
    Service,
    /// Nobody's any more: it finishes its flows.
    Nobody,
}

/// Whose a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody's yet.
    Pool,
    /// A group's, since then.
    Group(Group, Instant),
    /// It leads to a service. Since when it has no flow.
    Service { idle_since: Option<Instant> },
    /// A group's no longer. Since when it has no flow.
    Nobody { idle_since: Option<Instant> },
}

impl Holder {
    pub(super) fn is_nobody(self) -> bool {
        matches!(self, Self::Nobody { .. })
    }

    pub(super) fn public(self) -> TunnelHolder {
        match self {
            Self::Pool => TunnelHolder::Pool,
            Self::Group(..) => TunnelHolder::Group,
            Self::Service { .. } => TunnelHolder::Service,
            Self::Nobody { .. } => TunnelHolder::Nobody,
        }
    }
}

/// What is known of tunnels beyond each one's own.
pub(super) struct Pool {
    config: PoolConfig,
    groups: BTreeMap<Group, u64>,
    /// Groups with flows that wait for a tunnel, those first that have waited longest. Those without such flows are taken out at
    /// each look, so there are as many as there are queue pairs.
    waiting: VecDeque<Group>,
    next_number: u64,
    next_look: Instant,
    /// There was something to do at the next look when that was asked last.
    is_busy: bool,
    told_full: bool,
}

impl Pool {
    pub(super) fn new(now: Instant, config: PoolConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_number: 0,
            next_look: now + POOL_LOOK,
            is_busy: true,
            told_full: false,
        }
    }

    pub(super) fn is(&self, config: PoolConfig) -> bool {
        self.config == config
    }

    fn isolates(&self) -> bool {
        self.config.isolation != Isolation::Nothing
    }

    fn wait(&mut self, group: Group) {
        if !self.waiting.contains(&group) {
            self.waiting.push_back(group);
        }
    }

    /// The first look that is not before a time.
    fn look_from(&self, at: Instant) -> Instant {
        let late = at.saturating_duration_since(self.next_look).as_micros();
        let looks = late.div_ceil(POOL_LOOK.as_micros());
        self.next_look + POOL_LOOK.saturating_mul(u32::try_from(looks).unwrap_or(u32::MAX))
    }
}

impl Circuits {
    /// Makes the tunnels that are missing, unless there are too many already.
    pub(super) fn fill_up(&mut self, now: Instant) {
        let missing = self.wanted().saturating_sub(self.ready().count());
        for _ in 0..missing {
            if self.add(now, self.rules).is_err() {
                if !std::mem::replace(&mut self.pool.told_full, true) {
                    self.shared.events.push(NodeEvent::TunnelsFull);
                }
                return;
            }
        }
        self.pool.told_full = false;
    }

    pub(super) fn add(&mut self, now: Instant, rules: PathRules) -> Result<u64, TunnelsFull> {
        if self.tunnels.len() >= TUNNELS_MAX {
            return Err(TunnelsFull);
        }
        let number = self.pool.next_number;
        self.pool.next_number += 1;
        self.tunnels.insert(number, CircuitTunnel::new(now, number, rules));
        Ok(number)
    }

    fn ready(&self) -> impl Iterator<Item = &CircuitTunnel> {
        self.tunnels.values().filter(|tunnel| tunnel.holder == Holder::Pool)
    }

    /// How many are to be ready. What everybody uses counts as one, and needs a successor when its time is over.
    fn wanted(&self) -> usize {
        let kept = usize::from(self.pool.config.tunnels);
        if self.pool.isolates() {
            return kept;
        }
        let kept = kept.max(1);
        let held = self.tunnels.values().filter(|tunnel| matches!(tunnel.holder, Holder::Group(..)));
        kept.saturating_sub(held.filter(|tunnel| !tunnel.is_old).count())
    }

    /// Whose a new flow is: a tunnel's, or a group's that waits for one.
    ///
    /// # Errors
    /// Why a flow to a service is refused at once.
    pub(crate) fn owner_of(&mut self, now: Now, syn: &Syn) -> Result<Owner, ResetReason> {
        let group = if self.pool.isolates() { Group(syn.client) } else { EVERYBODY };
        // A service's name is for nobody but this node: no exit is asked for it.
        if let Some(name) = service_name(&syn.destination) {
            return self.seek(now, name, group, syn.client).map(Owner::Tunnel);
        }
        Ok(match self.take(now.instant, group) {
            Some(number) => Owner::Tunnel(number),
            None => {
                self.pool.wait(group);
                Owner::Group(group)
            }
        })
    }

    /// The tunnel of a group; one that is ready becomes it if there is none.
    pub(crate) fn take(&mut self, now: Instant, group: Group) -> Option<u64> {
        if let Some(number) = self.pool.groups.get(&group) {
            return Some(*number);
        }
        let number = self.ready().find(|tunnel| tunnel.is_up() && !tunnel.is_old)?.number;
        self.give(now, number, group);
        Some(number)
    }

    /// The tunnel of a group; one is built by these rules if there is none.
    pub(super) fn take_or_build(&mut self, now: Instant, group: Group, rules: PathRules) -> Result<u64, TunnelsFull> {
        if let Some(number) = self.number_of(group) {
            return Ok(number);
        }
        let number = self.add(now, rules)?;
        self.give(now, number, group);
        Ok(number)
    }

    /// The tunnel that a group has, whether it is up or not.
    pub(super) fn number_of(&self, group: Group) -> Option<u64> {
        self.pool.groups.get(&group).copied()
    }

    /// Retires the tunnel of a group that has no flows: it was for the node's own questions.
    pub(super) fn let_go(&mut self, group: Group) {
        if let Some(tunnel) = self.pool.groups.remove(&group).and_then(|number| self.tunnels.get_mut(&number)) {
            tunnel.holder = Holder::Nobody { idle_since: None };
        }
    }

    fn give(&mut self, now: Instant, number: u64, group: Group) {
        if let Some(tunnel) = self.tunnels.get_mut(&number) {
            tunnel.holder = Holder::Group(group, now);
            self.pool.groups.insert(group, number);
        }
    }

    /// The tunnel of a group, once its session is up.
    pub(crate) fn tunnel_of(&self, group: Group) -> Option<TunnelId> {
        let tunnel = self.tunnels.get(self.pool.groups.get(&group)?)?;
        tunnel.is_up().then(|| tunnel.id())
    }

    /// Why no tunnel of the pool has a path, if the network has none for it.
    pub(crate) fn pool_refusal(&self) -> Option<Refusal> {
        let mut refusals = self.ready().map(|tunnel| self.refusal_of(tunnel.number));
        refusals.next().flatten().filter(|_| refusals.all(|refusal| refusal.is_some()))
    }

    /// Makes a tunnel for a group now. What the group had before is retired.
    pub(crate) fn launch<Q: FlowQueues>(
        &mut self,
        now: Instant,
        group: Group,
        rules: PathRules,
        near: &mut Near<Q>,
    ) -> Result<u64, TunnelsFull> {
        let number = self.add(now, rules)?;
        if let Some(old) = self.pool.groups.get(&group) {
            self.retire(*old, near);
        }
        self.give(now, number, group);
        Ok(number)
    }

    /// Lets the flows of a tunnel finish and gives it no new ones. Those that it does not carry yet wait for another.
    pub(crate) fn retire<Q: FlowQueues>(&mut self, number: u64, near: &mut Near<Q>) {
        let Some(tunnel) = self.tunnels.get_mut(&number) else { return };
        let holder = std::mem::replace(&mut tunnel.holder, Holder::Nobody { idle_since: None });
        if let Holder::Group(group, _) = holder {
            self.pool.groups.remove(&group);
            self.send_back(number, group, near);
        } else if let Holder::Nobody { .. } = holder {
            tunnel.holder = holder;
        }
    }

    /// Flows that a tunnel does not carry yet are their group's again.
    fn send_back<Q: FlowQueues>(&mut self, number: u64, group: Group, near: &mut Near<Q>) {
        for index in near.table.indices() {
            if let Some(flow) = near.table.at(index)
                && flow.owner == Owner::Tunnel(number)
                && matches!(flow.far, Far::Waiting(_))
            {
                flow.owner = Owner::Group(group);
                self.pool.wait(group);
            }
        }
    }

    /// Takes in which tunnels have come to their end, and gives those that are ready to groups that wait.
    pub(super) fn settle_pool<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>) {
        while let Some(tunnel) = self.tunnels.values_mut().find(|tunnel| tunnel.has_ended) {
            tunnel.has_ended = false;
            let (number, holder, is_kept) = (tunnel.number, tunnel.holder, tunnel.rules == self.rules);
            let refused = tunnel.refused.take();
            tunnel.holder = Holder::Pool;
            if let Holder::Group(group, _) = holder {
                self.pool.groups.remove(&group);
                self.send_back(number, group, near);
            }
            if let Holder::Service { .. } = holder
                && let Some(refusal) = refused
            {
                self.tell_refused(number, refusal, near);
            } else if let Holder::Service { .. } = holder {
                reset_flows(number, ResetReason::TunnelLost, near);
            }
            if matches!(holder, Holder::Nobody { .. }) || !is_kept {
                self.remove_tunnel(number);
            }
        }
        while let Some(group) = self.pool.waiting.front().copied()
            && (self.pool.groups.contains_key(&group) || self.has_ready())
        {
            self.pool.waiting.pop_front();
            // Flows that have waited for too long are gone.
            if owners(near).contains(&Owner::Group(group))
                && let Some(number) = self.take(now, group)
            {
                self.hand_over(number, group, near);
            }
        }
        self.keep_to_the_grid(now);
    }

    /// Looks at which nothing was to be done pass by: what begins between two of them waits for the next.
    fn keep_to_the_grid(&mut self, now: Instant) {
        let (was_busy, is_busy) = (self.pool.is_busy, self.is_busy());
        self.pool.is_busy = is_busy;
        if !(was_busy && is_busy) && self.pool.next_look <= now {
            self.pool.next_look = self.pool.look_from(now + TICK);
        }
    }

    fn has_ready(&self) -> bool {
        self.ready().any(|tunnel| tunnel.is_up() && !tunnel.is_old)
    }

    fn hand_over<Q: FlowQueues>(&mut self, number: u64, group: Group, near: &mut Near<Q>) {
        for index in near.table.indices() {
            if let Some(flow) = near.table.at(index).filter(|flow| flow.owner == Owner::Group(group)) {
                flow.owner = Owner::Tunnel(number);
            }
        }
        if let Some(tunnel) = self.tunnel_mut(number) {
            tunnel.open_waiting(near);
        }
    }

    /// Looks at every tunnel if it is time to.
    pub(super) fn look_at_pool<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>) {
        if self.pool_timeout().is_none_or(|at| at > now) {
            return;
        }
        self.pool.next_look = self.pool.look_from(now + TICK);
        for tunnel in self.tunnels.values_mut() {
            tunnel.is_old |= tunnel.life_ends.is_some_and(|at| at <= now);
        }
        let owners = owners(near);
        self.pool.waiting.retain(|group| owners.contains(&Owner::Group(*group)));
        for number in self.tunnels.keys().copied().collect::<Vec<_>>() {
            self.look_at(now, number, owners.contains(&Owner::Tunnel(number)), near);
        }
        self.drop_surplus();
        self.fill_up(now);
    }

    fn look_at<Q: FlowQueues>(&mut self, now: Instant, number: u64, has_flows: bool, near: &mut Near<Q>) {
        let has_successor = self.pool.isolates() || self.has_ready();
        let Some(tunnel) = self.tunnels.get_mut(&number) else { return };
        let (is_old, ends_at, is_up) = (tunnel.is_old, tunnel.ends_at, tunnel.is_up());
        match &mut tunnel.holder {
            Holder::Pool if is_old => self.retire(number, near),
            Holder::Pool => {}
            Holder::Group(_, since) => {
                let is_dirty = self.pool.isolates() && !has_flows && *since + DIRTY_AFTER <= now;
                if is_dirty || (is_old && has_successor) {
                    self.retire(number, near);
                }
            }
            Holder::Service { idle_since } if has_flows => *idle_since = None,
            Holder::Service { idle_since } => {
                let since = *idle_since.get_or_insert(now);
                // One that was never there ends when the service is given up.
                if tunnel.joined.is_some() && (is_old || since + SERVICE_IDLE <= now) {
                    tunnel.holder = Holder::Nobody { idle_since: Some(now) };
                    tunnel.finish(&mut self.shared, now);
                }
            }
            Holder::Nobody { .. } if ends_at.is_some() => {
                if !is_up || ends_at.is_some_and(|at| at <= now) {
                    tunnel.finish(&mut self.shared, now);
                }
            }
            Holder::Nobody { idle_since } if has_flows => *idle_since = None,
            Holder::Nobody { idle_since } => {
                let since = *idle_since.get_or_insert(now);
                if since + RETIRED_LINGER <= now || !tunnel.is_up() {
                    tunnel.finish(&mut self.shared, now);
                }
            }
        }
    }

    /// Retires tunnels that nobody needs: one whose group has lost it is ready again.
    fn drop_surplus(&mut self) {
        let wanted = self.wanted();
        while self.ready().count() > wanted {
            let worst = self.ready().min_by_key(|tunnel| (tunnel.is_up(), std::cmp::Reverse(tunnel.number)));
            let Some(number) = worst.map(|tunnel| tunnel.number) else { return };
            if let Some(tunnel) = self.tunnels.get_mut(&number) {
                tunnel.holder = Holder::Nobody { idle_since: None };
            }
        }
    }

    /// Whether there is something to do at the next look.
    fn is_busy(&self) -> bool {
        let is_leaving = |tunnel: &CircuitTunnel| match tunnel.holder {
            _ if tunnel.is_old => true,
            Holder::Pool => false,
            Holder::Group(..) => self.pool.isolates(),
            Holder::Service { .. } | Holder::Nobody { .. } => true,
        };
        !self.pool.waiting.is_empty() || self.ready().count() != self.wanted() || self.tunnels.values().any(is_leaving)
    }

    /// When the pool is to be looked at next.
    pub(super) fn pool_timeout(&self) -> Option<Instant> {
        if self.shared.stopping {
            return None;
        }
        if self.is_busy() {
            return Some(self.pool.next_look);
        }
        self.tunnels.values().filter_map(|tunnel| tunnel.life_ends).min().map(|at| self.pool.look_from(at))
    }
}

impl CircuitTunnel {
    pub(super) fn id(&self) -> TunnelId {
        TunnelId { number: self.number, life: self.made }
    }

    /// Ends what it has. Its session has time for its farewell.
    pub(super) fn finish(&mut self, shared: &mut Shared, now: Instant) {
        if let Some(joined) = &mut self.joined {
            match &mut joined.tunnel {
                Some(tunnel) if !tunnel.session.is_closed() => tunnel.session.close(now, EndReason::Replaced),
                Some(_) => {}
                None => joined.over_at = joined.over_at.or(Some(now)),
            }
            return;
        }
        for number in 0..self.places.len() {
            self.vacate(shared, now, number, false);
            self.places[number].stage = Stage::at(now);
        }
        self.has_ended = true;
    }
}

/// Tells the flows of a tunnel that it is over.
pub(super) fn reset_flows<Q: FlowQueues>(number: u64, reason: ResetReason, near: &mut Near<Q>) {
    for index in near.table.indices() {
        if near.table.at(index).is_some_and(|flow| flow.owner == Owner::Tunnel(number)) {
            near.reset(index, reason);
        }
    }
}

/// Whose the flows are that are not over.
fn owners<Q: FlowQueues>(near: &mut Near<Q>) -> BTreeSet<Owner> {
    let indices = near.table.indices();
    let open = |index: u16| near.table.at(index).filter(|flow| !flow.is_done()).map(|flow| flow.owner);
    indices.into_iter().filter_map(open).collect()
}
