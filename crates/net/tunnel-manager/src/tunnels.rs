//! Who has which tunnel, and who waits for one.

mod seekers;

use crate::bell::Bell;
use crate::engine::{Engine, Inner};
use crate::error::{Closed, ConnectError, TunnelError};
use crate::parameters::{Isolation, Purpose, TunnelParameters};
use crate::queues::StreamQueues;
use crate::request::{Command, Got, Summary, To};
use crate::stream::TunnelStream;
use identity::AccessKey;
use link::Now;
use onion_service::ServiceAddress;
use seekers::{Seeker, service_syn};
use shaped_node::{Group, ServiceState, ShapedNode, TunnelHolder, TunnelId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tunnel_plan::PathRules;
use wire::flow::{FlowKind, Syn};

/// Requests that wait for a tunnel. Further ones are refused.
const REQUESTS_MAX: usize = 1024;
/// Isolation groups that are remembered. When there are more, those without a tunnel are forgotten: they get another number, and
/// so a fresh tunnel, as they would anyway.
const GROUPS_MAX: usize = 256;

type Node = ShapedNode<StreamQueues>;

/// What makes requests a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    purpose: Purpose,
    isolation: Isolation,
    end: End,
}

/// Where tunnels of a group lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// To exits and directories.
    Relay,
    /// To services, which are shown to know this key if there is one.
    Service(Option<AccessKey>),
}

/// A tunnel that somebody has.
struct Held {
    handle: Weak<Inner>,
    closed: watch::Sender<Option<Closed>>,
    /// Of a service's tunnel: whether anybody ever had a handle of it.
    was_had: Arc<AtomicBool>,
    group: Group,
    /// The service that it leads to, if it does.
    service: Option<ServiceAddress>,
    is_alone: bool,
    is_retired: bool,
}

/// Somebody waits for a tunnel.
struct Request {
    group: Group,
    is_alone: bool,
    /// The number of the one that is built for it; none: one of the pool's will do.
    launched: Option<u64>,
    until: Instant,
    patience: Duration,
    answer: oneshot::Sender<Got>,
}

/// All of them.
pub(crate) struct Tunnels {
    commands: mpsc::WeakSender<Command>,
    bell: Arc<Bell>,
    rules: PathRules,
    groups: BTreeMap<GroupKey, Group>,
    next_group: u64,
    held: BTreeMap<TunnelId, Held>,
    requests: VecDeque<Request>,
    seekers: Vec<Seeker>,
}

impl Held {
    fn was_had(&self) -> bool {
        self.was_had.load(Ordering::Acquire)
    }

    /// Whether it is still its group's, and takes streams.
    fn is_current(&self, node: &Node, id: TunnelId) -> bool {
        match self.service {
            None => node.tunnel_of(self.group) == Some(id),
            Some(_) => node.service_state(id.number) == ServiceState::Up(id),
        }
    }
}

impl Tunnels {
    pub(crate) fn new(commands: mpsc::WeakSender<Command>, bell: Arc<Bell>, rules: PathRules) -> Self {
        Self {
            commands,
            bell,
            rules,
            groups: BTreeMap::new(),
            next_group: 0,
            held: BTreeMap::new(),
            requests: VecDeque::new(),
            seekers: Vec::new(),
        }
    }

    /// The group of a request.
    fn group(&mut self, node: &Node, key: GroupKey) -> Group {
        if let Some(group) = self.groups.get(&key) {
            return *group;
        }
        let group = self.fresh_group();
        if key.isolation != Isolation::Alone {
            if self.groups.len() >= GROUPS_MAX {
                let mut used: BTreeSet<Group> = self.requests.iter().map(|request| request.group).collect();
                used.extend(self.seekers.iter().map(|seeker| seeker.group));
                used.extend(self.held.values().filter(|held| held.service.is_some()).map(|held| held.group));
                self.groups.retain(|_, group| node.tunnel_of(*group).is_some() || used.contains(group));
            }
            self.groups.insert(key, group);
        }
        group
    }

    /// A group that nobody else is in.
    fn fresh_group(&mut self) -> Group {
        let group = Group(self.next_group);
        self.next_group += 1;
        group
    }

    pub(crate) fn get(
        &mut self,
        now: Now,
        node: &mut Node,
        parameters: &TunnelParameters,
        until: Option<Instant>,
        answer: oneshot::Sender<Got>,
    ) {
        if parameters.rules.is_some_and(|rules| rules != self.rules) {
            return reply(answer, Err(TunnelError::NotKept));
        }
        let group = self.group(node, key_of(parameters));
        let is_alone = parameters.isolation == Isolation::Alone;
        // Who came before is served before.
        let waits = |request: &Request| request.launched.is_none() && request.group != group;
        let found =
            if self.requests.iter().any(waits) { node.tunnel_of(group) } else { node.take_tunnel(now.instant, group) };
        match (found, until) {
            (Some(id), _) => reply(answer, Ok(self.engine(id, group, is_alone, None))),
            (None, Some(until)) => {
                self.wait(Request { group, is_alone, launched: None, until, patience: parameters.deadline, answer });
            }
            (None, None) => reply(answer, node.pool_refusal().map_or(Ok(None), |why| Err(TunnelError::NoPath(why)))),
        }
    }

    pub(crate) fn launch(
        &mut self,
        now: Now,
        node: &mut Node,
        parameters: &TunnelParameters,
        until: Instant,
        answer: oneshot::Sender<Got>,
    ) {
        let rules = parameters.rules.unwrap_or(self.rules);
        let (asked, kept) = (rules.legs(), self.rules.legs());
        if asked > kept {
            return reply(answer, Err(TunnelError::Legs { asked, kept }));
        }
        if self.requests.len() >= REQUESTS_MAX {
            return reply(answer, Err(TunnelError::Busy));
        }
        let group = self.group(node, key_of(parameters));
        let is_alone = parameters.isolation == Isolation::Alone;
        match node.launch_tunnel(now, group, rules) {
            Ok(number) => {
                let (launched, patience) = (Some(number), parameters.deadline);
                self.wait(Request { group, is_alone, launched, until, patience, answer });
            }
            Err(full) => reply(answer, Err(full.into())),
        }
    }

    fn wait(&mut self, request: Request) {
        if self.requests.len() >= REQUESTS_MAX {
            return reply(request.answer, Err(TunnelError::Busy));
        }
        self.requests.push_back(request);
    }

    /// A handle of a tunnel; `None` when nobody is left who could use it.
    fn engine(
        &mut self,
        id: TunnelId,
        group: Group,
        is_alone: bool,
        service: Option<ServiceAddress>,
    ) -> Option<Engine> {
        let held = self.held.entry(id).or_insert_with(|| Held {
            handle: Weak::new(),
            closed: watch::Sender::new(None),
            was_had: Arc::default(),
            group,
            service,
            is_alone,
            is_retired: false,
        });
        if let Some(inner) = held.handle.upgrade() {
            return Some(Engine::from_inner(inner));
        }
        let (commands, bell, was_had) = (self.commands.upgrade()?, Arc::clone(&self.bell), Arc::clone(&held.was_had));
        let engine = Engine::new(id, commands, bell, held.closed.subscribe(), was_had);
        held.handle = Arc::downgrade(engine.inner());
        Some(engine)
    }

    /// Answers requests as far as that is possible now, and tells handles of tunnels that are over.
    pub(crate) fn answer(&mut self, now: Instant, node: &mut Node) {
        self.follow(node);
        self.answer_seekers(now, node);
        if self.requests.is_empty() {
            return;
        }
        for request in std::mem::take(&mut self.requests) {
            if request.answer.is_closed() {
                forget(node, request.launched);
                continue;
            }
            if let Some(id) = find(now, node, &request) {
                let engine = self.engine(id, request.group, request.is_alone, None);
                reply(request.answer, Ok(engine));
                continue;
            }
            let refusal = match request.launched {
                Some(number) => node.refusal_of(number),
                None => node.pool_refusal(),
            };
            let error = match refusal {
                Some(refusal) => Some(TunnelError::NoPath(refusal)),
                None => (request.until <= now).then_some(TunnelError::Deadline(request.patience)),
            };
            match error {
                Some(error) => {
                    forget(node, request.launched);
                    reply(request.answer, Err(error));
                }
                None => self.requests.push_back(request),
            }
        }
    }

    /// Tells handles of tunnels that are over.
    fn follow(&mut self, node: &Node) {
        self.held.retain(|id, held| {
            let holder = node.tunnel_holder(*id);
            held.is_retired |= holder == Some(TunnelHolder::Nobody);
            // A session that is lost has its legs for a moment longer; it carries nothing any more.
            let is_over = holder.is_none() || (!held.is_retired && !held.is_current(node, *id));
            if is_over {
                held.closed.send_replace(Some(if held.is_retired { Closed::Retired } else { Closed::Lost }));
            }
            !is_over
        });
    }

    pub(crate) fn close_all(&mut self, why: Closed) {
        for held in self.held.values() {
            held.closed.send_replace(Some(why));
        }
        self.held.clear();
        for request in self.requests.drain(..) {
            reply(request.answer, Err(TunnelError::Stopped));
        }
        for seeker in self.seekers.drain(..) {
            seeker.reply(Err(TunnelError::Stopped.into()));
        }
    }

    /// When [`Tunnels::answer`] has something to say that time alone brings.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let seekers = self.seekers.iter().map(|seeker| seeker.until);
        self.requests.iter().map(|request| request.until).chain(seekers).min()
    }

    pub(crate) fn retire(&mut self, node: &mut Node, id: TunnelId) {
        if let Some(held) = self.held.get_mut(&id) {
            held.is_retired = true;
            node.retire_tunnel(id.number);
        }
    }

    /// The last handles of these tunnels are gone. Who shares one with others may come back for it, but not who never had it.
    pub(crate) fn handle_released(&mut self, node: &mut Node, released: &[TunnelId]) {
        for id in released {
            let comes_back = |held: &Held| !held.is_alone && (held.service.is_none() || held.was_had());
            if self.held.get(id).is_some_and(|held| held.handle.strong_count() == 0 && !comes_back(held)) {
                self.retire(node, *id);
            }
        }
    }

    /// Opens a stream in exactly this tunnel.
    pub(crate) fn connect(
        &mut self,
        node: &mut Node,
        id: TunnelId,
        to: To,
        streams_max: u16,
    ) -> Result<TunnelStream, ConnectError> {
        let Some(held) = self.held.get(&id) else { return Err(Closed::Lost.into()) };
        if !held.is_current(node, id) || held.is_retired {
            let is_retired = held.is_retired || node.tunnel_holder(id) == Some(TunnelHolder::Nobody);
            return Err(if is_retired { Closed::Retired } else { Closed::Lost }.into());
        }
        let client = held.group.0;
        let syn = match to {
            To::Server(destination) => Syn { kind: FlowKind::Stream, client, destination },
            To::Directory => Syn::directory(client),
            To::Service(port) => service_syn(client, held.service, port).ok_or(Closed::Lost)?,
        };
        let flow = node.queues().and_then(|queues| queues.open(syn));
        flow.map(TunnelStream::new).ok_or(ConnectError::TooManyStreams(streams_max))
    }

    pub(crate) fn summary(&self, node: &mut Node) -> Summary {
        let mut summary = Summary {
            ready: 0,
            in_use: 0,
            services: 0,
            seeking: 0,
            retired: 0,
            building: 0,
            streams: node.queues().map_or(0, |queues| queues.open_count()),
            refusal: node.pool_refusal(),
        };
        for (holder, is_up) in node.tunnel_holders() {
            match (holder, is_up) {
                (TunnelHolder::Service, true) => summary.services += 1,
                (TunnelHolder::Service, false) => summary.seeking += 1,
                (TunnelHolder::Nobody, _) => summary.retired += 1,
                (_, false) => summary.building += 1,
                (TunnelHolder::Pool, true) => summary.ready += 1,
                (TunnelHolder::Group, true) => summary.in_use += 1,
            }
        }
        summary
    }
}

fn key_of(parameters: &TunnelParameters) -> GroupKey {
    GroupKey { purpose: parameters.purpose, isolation: parameters.isolation, end: End::Relay }
}

/// The tunnel of a request, if there is one now.
fn find(now: Instant, node: &mut Node, request: &Request) -> Option<TunnelId> {
    match request.launched {
        Some(number) => node.tunnel_of(request.group).filter(|id| id.number == number),
        None => node.take_tunnel(now, request.group),
    }
}

fn reply(answer: oneshot::Sender<Got>, got: Got) {
    // Who asked may have gone; a handle that nobody takes is dropped.
    let _ = answer.send(got);
}

/// Nobody waits for a tunnel any more that is being built.
fn forget(node: &mut Node, launched: Option<u64>) {
    if let Some(number) = launched {
        node.retire_tunnel(number);
    }
}
