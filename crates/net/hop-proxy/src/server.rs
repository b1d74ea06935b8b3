//! The server: hears all ports, gives each sender a socket of its own towards the target.

mod keyed;
mod listeners;
mod targets;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use os_net::datagram::{Arrived, DatagramOptions, Inbox};
use port_hopping::keyed::FlowId;
use rustix::io::Errno;

use crate::counters::Counters;
use crate::engine::{self, End, FLOWS_A_TURN_MAX, Moment, READS_A_TURN_MAX, StartError};
use crate::limits::{DESCRIPTORS_KEPT, raise_descriptor_limit};
use crate::outlet::Outlet;
use crate::poller::{Kind, Poller, Ready, Token};
use crate::settings::{Common, ServerSettings};
use crate::share::{self, Share};
use crate::status::{STATUS_FLOWS_MAX, Status, Stay};
use crate::table::{Key, Table};
use crate::timers::Timers;
use crate::wake::Handle;
use keyed::{Keyed, Verdict};
use listeners::Listeners;
use targets::Targets;

/// The server side of a pair. [`Server::run`] is its loop.
#[derive(Debug)]
pub struct Server {
    common: Common,
    flows_max: usize,
    poller: Poller,
    handle: Handle,
    listeners: Listeners,
    keyed: Option<Keyed>,
    targets: Targets,
    flows: Table<Flow>,
    by_source: HashMap<SocketAddr, Key>,
    by_id: HashMap<FlowId, Key>,
    timers: Timers,
    counters: Counters,
    shares: Vec<Share>,
}

/// Whose flow it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// Without keys: one address and port.
    Source(SocketAddr),
    /// With keys: what the knocks say, through all ports and addresses.
    Id(FlowId),
}

#[derive(Debug)]
struct Flow {
    name: Name,
    upstream: Outlet,
    /// Place in the list of targets, and the address there.
    target: usize,
    peer: SocketAddr,
    /// The way that the sender used last; the target's answers go back on it. Without keys.
    way: Option<Way>,
    active: Instant,
    timer: Option<Instant>,
    stay: Stay,
}

/// A sender as a listener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    listener: Key,
    remote: SocketAddr,
    local: Option<IpAddr>,
}

impl Server {
    /// Opens the ports. What cannot be opened is logged; one port is enough to start.
    ///
    /// # Errors
    /// Not a single port can be opened, or the system refuses something else.
    pub fn new(settings: ServerSettings) -> Result<Self, StartError> {
        let ServerSettings { listen, ports, targets, common } = settings;
        if listen.is_empty() || targets.is_empty() {
            return Err(StartError::Empty);
        }
        let (poller, handle) = (Poller::new()?, Handle::new()?);
        engine::watch_bell(&poller, &handle)?;
        let moment = Moment::read();
        let targets = Targets::new(targets, &handle, moment.now)?;
        let seed = engine::seed()?;
        let keyed = common.key.as_ref().map(|key| Keyed::new(key, &ports, common.idle_timeout, seed));
        let wanted = match &keyed {
            Some(_) => u64::from(Keyed::OPEN_PORTS_MAX),
            None => u64::from(ports.len()),
        } * listen.len() as u64;
        let needed = wanted + u64::from(common.flows_max) + DESCRIPTORS_KEPT;
        let limit = raise_descriptor_limit(needed);
        let options = DatagramOptions {
            offload: common.offload,
            forbid_fragments: common.forbid_fragments,
            local_addresses: false,
        };
        let mut counters = Counters::default();
        let mut listeners = Listeners::new(listen, options);
        let open = keyed.as_ref().map(|keyed| keyed.ports_at(moment.unix));
        match open {
            Some(open) => listeners.open_first(open.into_iter(), limit, &poller, &ports)?,
            None => listeners.open_first(ports.iter(), limit, &poller, &ports)?,
        }
        let room = limit.saturating_sub(wanted.min(listeners.len() as u64) + DESCRIPTORS_KEPT);
        let flows_max = (common.flows_max as usize).min(usize::try_from(room).unwrap_or(usize::MAX)).max(1);
        if flows_max < common.flows_max as usize {
            tracing::warn!(flows_max, limit, "the limit of open files allows fewer flows than were asked for");
        }
        counters.ports_missing = listeners.missing();
        Ok(Self {
            common,
            flows_max,
            poller,
            handle,
            listeners,
            keyed,
            targets,
            flows: Table::new(),
            by_source: HashMap::new(),
            by_id: HashMap::new(),
            timers: Timers::default(),
            counters,
            shares: Vec::new(),
        })
    }

    /// Reaches the server from other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The addresses that it listens on at present.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Runs until the handle stops it.
    ///
    /// # Errors
    /// Waiting for events fails, which no peer can cause.
    pub fn run(mut self) -> io::Result<()> {
        let handle = self.handle.clone();
        engine::run(&mut self, &handle)
    }

    /// Reads one listener.
    fn hear(&mut self, key: Key, inbox: &mut Inbox, moment: Moment) {
        for _ in 0..READS_A_TURN_MAX {
            let Some(listener) = self.listeners.get(key) else { return };
            let count = listener.outlet.receive(inbox, &mut self.counters.up);
            self.shares.clear();
            let mut last: Option<(SocketAddr, Option<Key>)> = None;
            for index in 0..count {
                let Some(arrived) = inbox.train(index) else { continue };
                if self.keyed.is_some() {
                    self.judge(key, index, &arrived, moment);
                    continue;
                }
                let flow = match last {
                    Some((from, flow)) if from == arrived.from => flow,
                    _ => self.flow_of_source(arrived.from, moment),
                };
                last = Some((arrived.from, flow));
                let Some(flow) = flow else {
                    self.counters.no_socket += arrived.train.datagrams() as u64;
                    continue;
                };
                if let Some(flow) = self.flows.get_mut(flow) {
                    flow.way = Some(Way { listener: key, remote: arrived.from, local: arrived.to });
                }
                self.shares.push(Share::whole(flow, index));
            }
            self.forward(inbox, moment);
            if count < os_net::datagram::INBOX_TRAINS_MAX {
                return;
            }
        }
    }

    /// Sends the batch to the target, flow by flow.
    fn forward(&mut self, inbox: &Inbox, moment: Moment) {
        share::group(&mut self.shares);
        for (key, shares) in share::by_flow(&self.shares) {
            let Some(flow) = self.flows.get_mut(key) else { continue };
            flow.active = moment.now;
            let trains = share::departures(inbox, shares, None, None);
            flow.stay.note_bytes(trains.iter().map(|departing| departing.train.bytes().len()).sum());
            let refusal = flow.upstream.send(&self.poller, &trains, &mut self.counters.up);
            if let Some(errno) = refusal {
                self.targets.refused(flow.target, flow.peer, errno, moment.now);
            }
        }
    }

    /// The flow of a sender without a key; a new one if need be.
    fn flow_of_source(&mut self, source: SocketAddr, moment: Moment) -> Option<Key> {
        if let Some(key) = self.by_source.get(&source) {
            return Some(*key);
        }
        while self.flows.len() >= self.flows_max {
            self.evict()?;
        }
        let key = self.open_flow(Name::Source(source), moment)?;
        self.by_source.insert(source, key);
        Some(key)
    }

    /// Decides about a train of a sender who must have a key.
    fn judge(&mut self, listener: Key, index: usize, arrived: &Arrived<'_>, moment: Moment) {
        let Some(place) = self.listeners.get(listener) else { return };
        let way = Way { listener, remote: arrived.from, local: arrived.to };
        let pair = place.pair(way.remote, way.local);
        let Some(keyed) = &mut self.keyed else { return };
        let verdicts = keyed.judge(pair, &arrived.train, moment);
        for verdict in verdicts {
            match verdict {
                Verdict::Forward { flow, first, count } => match self.by_id.get(&flow) {
                    Some(key) => self.shares.push(Share { flow: *key, train: index, first, count }),
                    None => self.counters.no_socket += count as u64,
                },
                Verdict::Answer { flow, new_flow, answer } => {
                    self.counters.knocks += 1;
                    if (new_flow || !self.by_id.contains_key(&flow)) && !self.open_keyed(flow, moment) {
                        continue;
                    }
                    if let Some(listener) = self.listeners.get_mut(listener) {
                        listener.answer(&self.poller, way.remote, way.local, &answer);
                    }
                }
                Verdict::Silent { datagrams } => self.counters.strangers += datagrams,
            }
        }
    }

    /// Gives a flow with a key its socket. Without one the knock stays unanswered.
    fn open_keyed(&mut self, id: FlowId, moment: Moment) -> bool {
        // The table of pairs is the bound: it ends flows whose last pair had to go.
        self.end_silent_flows(moment);
        if self.by_id.contains_key(&id) {
            return true;
        }
        let opened = (self.flows.len() < self.flows_max).then(|| self.open_flow(Name::Id(id), moment)).flatten();
        match (opened, &mut self.keyed) {
            (Some(key), _) => {
                self.by_id.insert(id, key);
                true
            }
            (None, Some(keyed)) => {
                self.counters.no_socket += 1;
                keyed.end_flow(id);
                false
            }
            (None, None) => false,
        }
    }

    fn open_flow(&mut self, name: Name, moment: Moment) -> Option<Key> {
        let (target, peer) = self.targets.best(moment.now)?;
        let options = DatagramOptions {
            offload: self.common.offload,
            forbid_fragments: self.common.forbid_fragments,
            local_addresses: false,
        };
        let mut socket = targets::aimed_socket(peer, options);
        if matches!(&socket, Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error())) {
            // Something else took the descriptors that were counted on.
            self.evict()?;
            socket = targets::aimed_socket(peer, options);
        }
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                self.counters.up.refuse(errno, 0);
                self.targets.refused(target, peer, errno, moment.now);
                return None;
            }
        };
        let poller = &self.poller;
        let opened = self.flows.try_insert_with(|key| {
            let upstream = Outlet::open(socket, Token { kind: Kind::Flow, key }, poller)?;
            let (active, stay) = (moment.now, Stay::new(moment.now));
            Ok::<_, io::Error>(Flow { name, upstream, target, peer, way: None, active, timer: None, stay })
        });
        let key = match opened {
            Ok(key) => key,
            Err(error) => {
                self.counters.up.refuse(Errno::from_io_error(&error).unwrap_or(Errno::IO), 0);
                return None;
            }
        };
        if let (Name::Source(_), Some(flow)) = (name, self.flows.get_mut(key)) {
            self.timers.set(key, &mut flow.timer, moment.now + self.common.idle_timeout);
        }
        self.counters.opened += 1;
        Some(key)
    }

    /// Ends the flow without a key that was idle for the longest.
    fn evict(&mut self) -> Option<()> {
        loop {
            let (at, key) = self.timers.pop_first()?;
            let Some(flow) = self.flows.get_mut(key) else { continue };
            flow.timer = None;
            let due = flow.active + self.common.idle_timeout;
            if due > at {
                // It was active since; look at the next one.
                self.timers.set(key, &mut flow.timer, due);
                continue;
            }
            self.close(key);
            self.counters.evicted += 1;
            return Some(());
        }
    }

    fn close(&mut self, key: Key) {
        let Some(mut flow) = self.flows.remove(key) else { return };
        self.timers.clear(key, &mut flow.timer);
        match flow.name {
            Name::Source(source) => {
                self.by_source.remove(&source);
            }
            Name::Id(id) => {
                self.by_id.remove(&id);
            }
        }
        self.counters.up.dropped += flow.upstream.close(&self.poller);
    }

    fn end_silent_flows(&mut self, moment: Moment) {
        for _ in 0..FLOWS_A_TURN_MAX {
            let Some(id) = self.keyed.as_mut().and_then(|keyed| keyed.ended_flow(moment.now)) else { return };
            if let Some(key) = self.by_id.get(&id).copied() {
                self.close(key);
                self.counters.expired += 1;
            }
        }
    }

    /// Reads the answers of a target.
    fn answer(&mut self, key: Key, inbox: &mut Inbox, moment: Moment) {
        for _ in 0..READS_A_TURN_MAX {
            let Some(flow) = self.flows.get_mut(key) else { return };
            let errors = self.counters.down.errors.values().sum::<u64>();
            let count = flow.upstream.receive(inbox, &mut self.counters.down);
            if count == 0 {
                if self.counters.down.errors.values().sum::<u64>() > errors {
                    self.targets.refused(flow.target, flow.peer, Errno::CONNREFUSED, moment.now);
                }
                return;
            }
            flow.active = moment.now;
            let pair = match (flow.name, &self.keyed) {
                (Name::Id(id), Some(keyed)) => keyed.answers_of(id),
                _ => None,
            };
            let way = pair.map_or(flow.way, |pair| self.listeners.way_of(&pair));
            let listener = way.and_then(|way| Some((way, self.listeners.get_mut(way.listener)?)));
            // Between its opening and its aiming a socket hears everybody.
            let strangers = inbox.iter().filter(|arrived| arrived.from != flow.peer).count();
            self.counters.strangers += strangers as u64;
            let trains = inbox.iter().filter(|arrived| arrived.from == flow.peer).map(|arrived| arrived.train);
            match listener {
                Some((way, listener)) => {
                    let trains: Vec<_> = trains.collect();
                    flow.stay.note_bytes(trains.iter().map(|train| train.bytes().len()).sum());
                    let (all, lost) = (share::datagrams(&trains), self.counters.down.lost());
                    listener.send(&self.poller, way.remote, way.local, &trains, &mut self.counters.down);
                    if let (Some(pair), Some(keyed)) = (pair, &mut self.keyed) {
                        // What did not leave here is no loss of the path.
                        keyed.note_sent(moment.now, &pair, all.saturating_sub(self.counters.down.lost() - lost));
                    }
                }
                None => self.counters.no_way += share::datagrams(&trains.collect::<Vec<_>>()),
            }
            if count < os_net::datagram::INBOX_TRAINS_MAX {
                return;
            }
        }
    }

    /// Moves flows to the addresses that their targets have got.
    fn follow_targets(&mut self, now: Instant) {
        for place in self.targets.take_answers(now) {
            let stale: Vec<Key> = self
                .flows
                .iter()
                .filter(|(_, flow)| flow.target == place && !self.targets.has(place, flow.peer))
                .map(|(key, _)| key)
                .collect();
            for key in stale {
                let Some(peer) = self.targets.address(place, now) else { break };
                let Some(flow) = self.flows.get_mut(key) else { continue };
                // Another family needs another socket, which the flow's next life gets.
                if flow.peer.is_ipv4() == peer.is_ipv4() && flow.upstream.socket().connect(peer).is_ok() {
                    flow.peer = peer;
                }
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        for _ in 0..FLOWS_A_TURN_MAX {
            let Some(key) = self.timers.pop_due(now) else { return };
            let Some(flow) = self.flows.get_mut(key) else { continue };
            flow.timer = None;
            let due = flow.active + self.common.idle_timeout;
            if due > now {
                self.timers.set(key, &mut flow.timer, due);
            } else {
                self.close(key);
                self.counters.expired += 1;
            }
        }
    }
}

impl End for Server {
    fn keep_books(&mut self, moment: Moment) {
        self.expire(moment.now);
        self.end_silent_flows(moment);
        self.targets.poll(moment.now);
        if let Some(keyed) = &mut self.keyed
            && let Some(open) = keyed.ports_if_changed(moment)
        {
            let closed = self.listeners.reconcile(&open, &self.poller);
            self.counters.ports_missing = self.listeners.missing();
            for port in closed {
                keyed.close_port(port);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let keyed = self.keyed.as_ref().and_then(Keyed::deadline);
        [self.timers.next(), keyed, self.targets.deadline()].into_iter().flatten().min()
    }

    fn handle(&mut self, ready: Ready, inbox: &mut Inbox, moment: Moment) {
        match ready.token.kind {
            Kind::Listener => {
                if let Some(listener) = self.listeners.get_mut(ready.token.key) {
                    listener.outlet.drain_if(ready, &self.poller, &mut self.counters.down);
                }
                if ready.readable {
                    self.hear(ready.token.key, inbox, moment);
                }
            }
            Kind::Flow => {
                if let Some(flow) = self.flows.get_mut(ready.token.key) {
                    flow.upstream.drain_if(ready, &self.poller, &mut self.counters.up);
                }
                if ready.readable {
                    self.answer(ready.token.key, inbox, moment);
                }
            }
            Kind::Wake => self.follow_targets(moment.now),
        }
    }

    fn status(&mut self, moment: Moment) -> Status {
        let counters = self.counters().clone();
        let flows = self.flows.iter().take(STATUS_FLOWS_MAX).map(|(_, flow)| {
            let mut row = flow.stay.row(moment.now, flow.active);
            let way = match (flow.name, &self.keyed) {
                (Name::Id(id), Some(keyed)) => keyed.answers_of(id).map(|pair| (pair.local, pair.remote)),
                _ => flow.way.and_then(|way| {
                    let pair = self.listeners.get(way.listener)?.pair(way.remote, way.local);
                    Some((pair.local, pair.remote))
                }),
            };
            row.remote = Some(flow.peer);
            (row.local, row.of) = way.unzip();
            row
        });
        let flows = flows.collect();
        let listening = self.listeners.addresses().into_iter().take(STATUS_FLOWS_MAX).collect();
        Status { flows, listening, blocked: Vec::new(), counters }
    }

    fn counters(&mut self) -> &Counters {
        self.counters.flows = self.flows.len() as u64;
        self.counters.ports = self.listeners.len() as u64;
        &self.counters
    }

    fn poller(&self) -> &Poller {
        &self.poller
    }
}

/// How long the list of open ports is good when the system's clock is not trusted to run evenly.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
