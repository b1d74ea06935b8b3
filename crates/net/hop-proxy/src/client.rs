//! The client: hears programs, gives each its own socket towards the server, and changes the ports of the way there.

mod bookkeeping;
mod keyed;
mod keyless;
mod peers;
mod wires;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use os_net::datagram::{DatagramOptions, DatagramSocket, Departing, INBOX_TRAINS_MAX, Inbox};
use port_hopping::causes::Timers as HopTimers;
use port_hopping::memory::{BlockedPorts, UsedPairs};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::io::Errno;

use crate::counters::Counters;
use crate::engine::{self, End, Moment, READS_A_TURN_MAX, StartError};
use crate::limits::{DESCRIPTORS_KEPT, raise_descriptor_limit};
use crate::outlet::Outlet;
use crate::poller::{Kind, Poller, Ready, Token};
use crate::settings::{ClientSettings, Common};
use crate::share::{self, Share};
use crate::status::{STATUS_FLOWS_MAX, Status, Stay};
use crate::table::{Key, Table};
use crate::timers::Timers;
use crate::wake::Handle;
use keyed::KeyedRoute;
use keyless::KeylessRoute;
use peers::Peers;
use wires::Wire;

/// Descriptors that are counted on for a flow: the socket in use, one being tried, and two left lately. The core may ask
/// for eight; where there are none left, the flow that was idle for the longest makes room.
const WIRES_A_FLOW: u64 = 4;

/// The client side of a pair. [`Client::run`] is its loop.
#[derive(Debug)]
pub struct Client {
    common: Common,
    hop_timers: HopTimers,
    flows_max: usize,
    poller: Poller,
    handle: Handle,
    listeners: Table<Outlet>,
    flows: Table<Flow>,
    by_program: HashMap<SocketAddr, Key>,
    wires: Table<Wire>,
    peers: Peers,
    used: UsedPairs,
    blocked: BlockedPorts,
    rng: ChaCha20Rng,
    timers: Timers,
    counters: Counters,
    shares: Vec<Share>,
    clock_said: bool,
}

/// One local program's packets.
#[derive(Debug)]
struct Flow {
    program: SocketAddr,
    /// Where the program sends to; answers come from there.
    listener: Key,
    local: Option<IpAddr>,
    active: Instant,
    timer: Option<Instant>,
    /// Place in the list of servers.
    server: usize,
    route: Route,
    stay: Stay,
}

impl Flow {
    /// The socket in use and where it sends to.
    fn way(&self) -> Option<(Key, SocketAddr)> {
        match &self.route {
            Route::Keyless(route) => route.way(),
            Route::Keyed(route) => route.way(),
        }
    }
}

/// How a flow's packets get to the server.
#[derive(Debug)]
enum Route {
    Keyless(Box<KeylessRoute>),
    Keyed(Box<KeyedRoute>),
}

impl Client {
    /// Opens the sockets that programs send to.
    ///
    /// # Errors
    /// One of them cannot be opened, or the system refuses something else.
    pub fn new(settings: ClientSettings) -> Result<Self, StartError> {
        let ClientSettings { listen, servers, timers: hop_timers, common } = settings;
        if listen.is_empty() || servers.is_empty() {
            return Err(StartError::Empty);
        }
        let (poller, handle) = (Poller::new()?, Handle::new()?);
        engine::watch_bell(&poller, &handle)?;
        let wires_each = if common.key.is_some() { WIRES_A_FLOW } else { 1 };
        let others = listen.len() as u64 + DESCRIPTORS_KEPT;
        let limit = raise_descriptor_limit(u64::from(common.flows_max) * wires_each + others);
        let room = usize::try_from(limit.saturating_sub(others) / wires_each).unwrap_or(usize::MAX);
        let flows_max = (common.flows_max as usize).min(room).max(1);
        if flows_max < common.flows_max as usize {
            tracing::warn!(flows_max, limit, "the limit of open files allows fewer flows than were asked for");
        }
        let mut listeners = Table::new();
        for address in listen {
            let options = DatagramOptions {
                offload: common.offload,
                forbid_fragments: common.forbid_fragments,
                local_addresses: address.ip().is_unspecified(),
            };
            let socket =
                DatagramSocket::bind(address, options).map_err(|source| StartError::Listen { address, source })?;
            engine::look_at_buffers(&socket);
            listeners.try_insert_with(|key| Outlet::open(socket, Token { kind: Kind::Listener, key }, &poller))?;
        }
        let peers = Peers::new(servers, &handle, Moment::read().now)?;
        Ok(Self {
            flows_max,
            common,
            hop_timers,
            poller,
            handle,
            listeners,
            flows: Table::new(),
            by_program: HashMap::new(),
            wires: Table::new(),
            peers,
            used: UsedPairs::default(),
            blocked: BlockedPorts::default(),
            rng: ChaCha20Rng::from_seed(engine::seed()?),
            timers: Timers::default(),
            counters: Counters::default(),
            shares: Vec::new(),
            clock_said: false,
        })
    }

    /// Reaches the client from other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The addresses that programs can send to.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(_, outlet)| outlet.socket().local_addr().ok()).collect()
    }

    /// Runs until the handle stops it.
    ///
    /// # Errors
    /// Waiting for events fails, which no peer can cause.
    pub fn run(mut self) -> io::Result<()> {
        let handle = self.handle.clone();
        engine::run(&mut self, &handle)
    }

    /// Reads what programs sent.
    fn hear_programs(&mut self, listener: Key, inbox: &mut Inbox, moment: Moment) {
        for _ in 0..READS_A_TURN_MAX {
            let Some(outlet) = self.listeners.get(listener) else { return };
            let count = outlet.receive(inbox, &mut self.counters.up);
            self.shares.clear();
            let mut last: Option<(SocketAddr, Option<Key>)> = None;
            for index in 0..count {
                let Some(arrived) = inbox.train(index) else { continue };
                let flow = match last {
                    Some((from, flow)) if from == arrived.from => flow,
                    _ => self.flow_of(arrived.from, listener, arrived.to, moment),
                };
                last = Some((arrived.from, flow));
                match flow {
                    Some(flow) => self.shares.push(Share::whole(flow, index)),
                    None => self.counters.no_socket += arrived.train.datagrams() as u64,
                }
            }
            let mut shares = std::mem::take(&mut self.shares);
            share::group(&mut shares);
            for (flow, shares) in share::by_flow(&shares) {
                self.send_up(flow, shares, inbox, moment);
            }
            self.shares = shares;
            if count < INBOX_TRAINS_MAX {
                return;
            }
        }
    }

    /// The flow of a program; a new one if need be.
    fn flow_of(&mut self, program: SocketAddr, listener: Key, local: Option<IpAddr>, moment: Moment) -> Option<Key> {
        if let Some(key) = self.by_program.get(&program).copied() {
            if let Some(flow) = self.flows.get_mut(key) {
                (flow.listener, flow.local) = (listener, local);
            }
            return Some(key);
        }
        while self.flows.len() >= self.flows_max {
            self.evict()?;
        }
        let server = self.peers.best_server(moment.now);
        let route = if let Some(key) = self.common.key.clone() {
            let targets = self.peers.targets(server)?;
            let seed = self.draw_seed()?;
            Route::Keyed(Box::new(KeyedRoute::new(moment.now, key, targets, self.hop_timers, seed)))
        } else {
            let ports = self.peers.ports(server)?.clone();
            Route::Keyless(Box::new(KeylessRoute::new(moment.now, ports, self.hop_timers, &mut self.rng)))
        };
        let flow = Flow {
            program,
            listener,
            local,
            active: moment.now,
            timer: None,
            server,
            route,
            stay: Stay::new(moment.now),
        };
        let key = self.flows.insert(flow);
        self.by_program.insert(program, key);
        self.counters.opened += 1;
        self.tend(key, moment);
        Some(key)
    }

    /// Sends a batch of a program on its way.
    fn send_up(&mut self, key: Key, shares: &[Share], inbox: &Inbox, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        flow.active = moment.now;
        let way = flow.way();
        let trains = share::departures(inbox, shares, way.map(|(_, to)| to), None);
        let Some((wire, _)) = way else {
            self.wait_for_way(key, &trains, moment);
            return;
        };
        let bytes: usize = trains.iter().map(|departing| departing.train.bytes().len()).sum();
        let datagrams: usize = trains.iter().map(|departing| departing.train.datagrams()).sum();
        let Some(wire) = self.wires.get_mut(wire) else { return };
        let lost_before = self.counters.up.lost();
        let refusal = wire.outlet.send(&self.poller, &trains, &mut self.counters.up);
        // What did not leave here is no loss of the path.
        let datagrams = (datagrams as u64).saturating_sub(self.counters.up.lost() - lost_before);
        flow.stay.note_bytes(bytes);
        let urgent = match &mut flow.route {
            Route::Keyless(route) => {
                route.note_sent(moment.now, datagrams, bytes as u64) || flow.timer.is_none_or(|at| route.wake_at() < at)
            }
            Route::Keyed(route) => {
                route.note_sent(moment.now, datagrams, bytes as u64);
                // The core may have something to do earlier than was thought.
                flow.timer.is_none_or(|at| route.wake_at(moment) < at)
            }
        };
        if let Some(errno) = refusal {
            self.handle_refusal(key, errno, moment);
        } else if urgent {
            self.tend(key, moment);
        }
    }

    /// What is to be done with packets of a flow that has no way yet.
    fn wait_for_way(&mut self, key: Key, trains: &[Departing<'_>], moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        match &mut flow.route {
            Route::Keyed(route) => {
                self.counters.no_way += trains.iter().map(|departing| route.keep(moment.now, departing)).sum::<u64>();
            }
            Route::Keyless(_) => {
                self.counters.no_way += trains.iter().map(|departing| departing.train.datagrams() as u64).sum::<u64>();
            }
        }
        self.tend(key, moment);
    }

    /// Reads what came on a flow's socket.
    fn hear_server(&mut self, wire: Key, inbox: &mut Inbox, moment: Moment) {
        for _ in 0..READS_A_TURN_MAX {
            let Some(socket) = self.wires.get(wire) else { return };
            let key = socket.flow;
            let count = socket.outlet.receive(inbox, &mut self.counters.down);
            if count == 0 {
                return;
            }
            let Some(flow) = self.flows.get(key) else { return };
            let (program, local, server, listener) = (flow.program, flow.local, flow.server, flow.listener);
            let mut down = Vec::with_capacity(count);
            let mut urgent = false;
            let mut last: Option<(SocketAddr, bool)> = None;
            for arrived in inbox.iter() {
                let known = match last {
                    Some((from, known)) if from == arrived.from => known,
                    _ => {
                        let known = self.peers.may_answer(server, arrived.from);
                        urgent |= known && self.note_place(key, arrived.from, moment);
                        known
                    }
                };
                last = Some((arrived.from, known));
                if !known {
                    self.counters.strangers += arrived.train.datagrams() as u64;
                    continue;
                }
                self.take_answers(key, wire, arrived.train, moment, |train| {
                    down.push(Departing { to: Some(program), from: local, train });
                });
            }
            let bytes: usize = down.iter().map(|departing| departing.train.bytes().len()).sum();
            let Some(flow) = self.flows.get_mut(key) else { return };
            if !down.is_empty() {
                flow.active = moment.now;
                flow.stay.note_bytes(bytes);
                match &mut flow.route {
                    Route::Keyless(route) => route.note_bytes(bytes as u64),
                    Route::Keyed(route) => {
                        route.note_heard();
                        // What came may have used up the bytes of the pair.
                        urgent = flow.timer.is_none_or(|at| route.wake_at(moment) < at);
                    }
                }
            }
            if let Some(listener) = self.listeners.get_mut(listener) {
                listener.send(&self.poller, &down, &mut self.counters.down);
            }
            if urgent {
                self.tend(key, moment);
            }
            if count < INBOX_TRAINS_MAX {
                return;
            }
        }
    }

    /// Notes where something came from, of a batch from one place once; true if the flow is to be looked at.
    fn note_place(&mut self, key: Key, from: SocketAddr, moment: Moment) -> bool {
        match self.flows.get_mut(key).map(|flow| &mut flow.route) {
            Some(Route::Keyless(route)) => route.note_heard(moment.now, from),
            _ => false,
        }
    }

    /// A seed for a flow's own generator.
    fn draw_seed(&mut self) -> Option<[u8; 32]> {
        // Without random bytes there is no flow.
        engine::seed().ok()
    }

    /// Ends the flow that was idle for the longest.
    fn evict(&mut self) -> Option<()> {
        let idle = self.flows.iter().min_by_key(|(_, flow)| flow.active).map(|(key, _)| key)?;
        self.close(idle);
        self.counters.evicted += 1;
        Some(())
    }

    fn close(&mut self, key: Key) {
        let Some(mut flow) = self.flows.remove(key) else { return };
        self.timers.clear(key, &mut flow.timer);
        self.by_program.remove(&flow.program);
        let wires: Vec<Key> = match &flow.route {
            Route::Keyless(route) => route.wires().collect(),
            Route::Keyed(route) => route.wires().collect(),
        };
        for wire in wires {
            self.close_wire(wire);
        }
    }

    fn close_wire(&mut self, key: Key) {
        if let Some(wire) = self.wires.remove(key) {
            self.counters.up.dropped += wire.outlet.close(&self.poller);
        }
    }

    /// The system refused to send: the port, the address or the network is at fault.
    fn handle_refusal(&mut self, key: Key, errno: Errno, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Some((_, to)) = flow.way() else { return };
        match errno {
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::NETDOWN => {
                self.peers.fail(flow.server, to, moment.now);
            }
            Errno::PERM | Errno::ACCESS => self.blocked.note(moment.now, peers::canonical(to)),
            _ => return,
        }
        match &mut flow.route {
            Route::Keyless(route) => route.refused(moment.now),
            Route::Keyed(route) => route.refused(moment.now),
        }
        self.tend(key, moment);
    }
}

impl End for Client {
    fn keep_books(&mut self, moment: Moment) {
        self.expire_and_tend(moment);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.timers.next(), self.peers.deadline()].into_iter().flatten().min()
    }

    fn handle(&mut self, ready: Ready, inbox: &mut Inbox, moment: Moment) {
        let key = ready.token.key;
        match ready.token.kind {
            Kind::Listener => {
                if let Some(listener) = self.listeners.get_mut(key) {
                    listener.drain_if(ready, &self.poller, &mut self.counters.down);
                }
                if ready.readable {
                    self.hear_programs(key, inbox, moment);
                }
            }
            Kind::Flow => {
                if let Some(wire) = self.wires.get_mut(key) {
                    wire.outlet.drain_if(ready, &self.poller, &mut self.counters.up);
                }
                if ready.readable {
                    self.hear_server(key, inbox, moment);
                }
            }
            Kind::Wake => {
                if self.peers.take_answers(moment.now) {
                    self.tend_waiting(moment);
                }
            }
        }
    }

    fn status(&mut self, moment: Moment) -> Status {
        let counters = self.counters().clone();
        let local_of = |wire: Key| self.wires.get(wire)?.outlet.socket().local_addr().ok();
        let flows = self.flows.iter().take(STATUS_FLOWS_MAX).map(|(_, flow)| {
            let mut row = flow.stay.row(moment.now, flow.active);
            row.of = Some(flow.program);
            if let Some((wire, to)) = flow.way() {
                (row.local, row.remote) = (local_of(wire), Some(peers::canonical(to)));
            }
            row
        });
        let flows = flows.collect();
        let mut blocked: Vec<_> = self.blocked.iter(moment.now).collect();
        for (_, flow) in self.flows.iter().take(STATUS_FLOWS_MAX) {
            if let Route::Keyed(route) = &flow.route {
                blocked.extend(route.blocked(moment.now));
            }
        }
        blocked.sort_unstable();
        blocked.dedup_by_key(|(place, _)| *place);
        Status { flows, listening: self.local_addresses(), blocked, counters }
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

/// The least time between two hops of a flow that trouble causes.
const TROUBLE_GAP: Duration = Duration::from_secs(1);
