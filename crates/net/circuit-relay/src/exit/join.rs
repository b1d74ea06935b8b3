//! Tunnels joined to the queues of the node, and the supervisor's orders.

use super::boot;
use super::slots::SlotClock;
use crate::counters::Snapshot;
use crate::join::JoinPoint;
use flow_queue::{Geometry, QueueSide, Side};
use link::Now;
use network_document::{NetworkDocument, OnionKeyFile};
use onion::CircuitKey;
use os_net::confine::Confinement;
use os_net::process_channel::{Channel, FromProcess, ReceiveError, ToProcess};
use relay_node::{NodeEvent, RelayNode};
use rustix::event::{PollFd, PollFlags};
use shaped_node::{CircuitExit, ExitEvent, NodeStatus};
use shaped_tunnel::{DocumentReader, ExitFigures, ExitNeighbour, Order, ShapedStatus};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// How often is looked whether a document has been read by another thread.
const DOCUMENT_LOOK: Duration = Duration::from_millis(20);
/// Messages of the supervisor in one turn; the rest comes in the next.
const MESSAGES_A_TURN: usize = 8;
/// So long before the supervisor would kill it the process ends by itself.
const BEFORE_DEADLINE: Duration = Duration::from_millis(100);
/// Share of the time until then that circuits which go on to others may use.
const DRAIN_SHARE: u32 = 4;

/// Relays that the status names at most: a message between processes has its bound too.
const NEIGHBOURS_SHOWN_MAX: usize = 128;

/// What an exit joins to its circuits.
pub(super) struct ExitJoin {
    exit: CircuitExit<QueueSide>,
    channel: Channel,
    geometry: Geometry,
    confinement: Option<Confinement>,
    /// When cells leave, where they leave in slots.
    clock: Option<SlotClock>,
    /// The doorbell of the queues is asked for.
    asks_bell: bool,
    /// How long circuits may go on, once asked to stop.
    stop: Option<Duration>,
    over_at: Option<Instant>,
    /// A document of the network that is on its way in, with the secrets of its interval.
    documents: DocumentReader<(NetworkDocument, OnionKeyFile)>,
}

impl ExitJoin {
    pub(super) fn new(
        mut exit: CircuitExit<QueueSide>,
        queues: QueueSide,
        channel: Channel,
        geometry: Geometry,
    ) -> Self {
        exit.attach_queues(crate::relay::now(), queues);
        Self {
            exit,
            channel,
            geometry,
            confinement: None,
            clock: None,
            asks_bell: false,
            stop: None,
            over_at: None,
            documents: DocumentReader::new(),
        }
    }

    /// Cells leave in slots from now on, if the exit has schedules.
    pub(super) fn set_clock(&mut self, clock: SlotClock) {
        self.clock = Some(clock);
    }

    /// Everything is set up.
    pub(super) fn begin(&mut self, confinement: Option<Confinement>) {
        self.confinement = confinement;
        self.tell(&FromProcess::Ready);
    }

    fn tell(&self, message: &FromProcess) {
        if let Err(error) = self.channel.send(message, &[]) {
            debug!(%error, "the supervisor does not take a message");
        }
    }

    /// Obeys the supervisor. Without one the process ends.
    fn handle_channel(&mut self, now: Now) {
        for _ in 0..MESSAGES_A_TURN {
            let received = match self.channel.try_receive::<ToProcess>() {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(error) => {
                    if !matches!(error, ReceiveError::Closed) {
                        error!(%error, "the process channel failed");
                    }
                    self.over_at = Some(now.instant);
                    return;
                }
            };
            match received.message {
                ToProcess::Attach { generation } => self.attach(now, generation, received.descriptors),
                ToProcess::Stop { deadline_ms } => self.stop(now, Duration::from_millis(deadline_ms)),
                ToProcess::Order { body } => self.obey(body, received.descriptors),
                ToProcess::Socket { .. } | ToProcess::Introduced { .. } => debug!("an answer that nobody asked for"),
                ToProcess::Boot { .. } => warn!("the supervisor sent a second boot message; it is ignored"),
            }
        }
    }

    /// Begins with an order. One that cannot be read is the supervisor's fault.
    fn obey(&mut self, body: serde_json::Value, descriptors: Vec<OwnedFd>) {
        let read = serde_json::from_value(body).map_err(|error| error.to_string());
        let order = read.and_then(|order: Order| match order {
            Order::Document { bytes, onion_keys: Some(text) } => {
                let keys = boot::onion_keys(&text).map_err(|error| error.to_string())?;
                Ok((bytes, keys))
            }
            Order::Document { onion_keys: None, .. } => Err("it has no onion secrets".to_owned()),
            Order::Grant { .. } | Order::DirectoryTime { .. } | Order::Published { .. } => {
                Err("an exit over circuits has no use for it".to_owned())
            }
        });
        match order {
            Ok((bytes, keys)) => {
                self.documents.begin(descriptors.into_iter().next(), bytes, move |document| (document, keys));
            }
            Err(error) => warn!("an order of the supervisor cannot be carried out: {error}"),
        }
    }

    /// Goes by a document that has been read.
    fn take_document(&mut self, now: Now, node: &mut RelayNode) {
        match self.documents.poll() {
            Some(Ok((document, keys))) => crate::relay::exchange(now, node, document, &keys),
            Some(Err(error)) => warn!("a document of the network is refused: {error}"),
            None => {}
        }
    }

    fn attach(&mut self, now: Now, generation: u64, descriptors: Vec<OwnedFd>) {
        self.geometry = self.geometry.with_generation(generation);
        match QueueSide::open(&self.geometry, Side::Shaped, true, descriptors) {
            Ok(queues) => {
                info!(generation, "queues of a new generation");
                self.exit.attach_queues(now, queues);
            }
            Err(error) => {
                self.tell(&FromProcess::Fault { sentence: format!("cannot map the queues: {error}") });
                self.over_at = Some(now.instant);
            }
        }
    }

    fn stop(&mut self, now: Now, deadline: Duration) {
        if self.over_at.is_some() {
            return;
        }
        self.exit.close(now);
        self.stop = Some(deadline / DRAIN_SHARE);
        self.over_at = Some(now.instant + deadline.saturating_sub(BEFORE_DEADLINE));
    }

    /// Logs what happened. Neither clients nor sizes reach the log.
    fn drain_events(&mut self) {
        while let Some(event) = self.exit.poll_event() {
            match event {
                ExitEvent::SessionUp(tunnel) => debug!(tunnel, "session up"),
                ExitEvent::TunnelOver(tunnel, why) => debug!(tunnel, ?why, "tunnel over"),
                ExitEvent::QueuesFailed(fault) => {
                    let sentence =
                        format!("the unshaped process broke the queue protocol ({fault}); its flows were reset");
                    self.tell(&FromProcess::Fault { sentence });
                }
            }
        }
    }

    /// The figures of the process, in the form of all shaped processes.
    fn status(&self, snapshot: &Snapshot, node: &RelayNode) -> ShapedStatus {
        let tunnels = self.exit.status();
        let mut counters: BTreeMap<String, u64> = tunnels.counters.clone();
        counters.extend([
            ("cells_relayed".to_owned(), snapshot.sent),
            ("packets_received".to_owned(), snapshot.received),
            ("dropped_no_room".to_owned(), snapshot.dropped),
        ]);
        let drops = node.link_counters().drops();
        counters.extend(drops.map(|(reason, count)| (format!("dropped_{reason:?}"), count)));
        ShapedStatus {
            node: NodeStatus {
                mode: self.exit.mode().name().to_owned(),
                links: Vec::new(),
                flows: tunnels.flows,
                counters,
                session_memory_max: tunnels.session_memory_max,
                memory: tunnels.memory,
                memory_peak: tunnels.memory_peak,
                last_minute: self.exit.last_minute(),
                circuits: None,
            },
            hops: Vec::new(),
            slots: self.clock.as_ref().map(SlotClock::statistics),
            packets_sent: snapshot.packets_sent,
            send_failures: snapshot.send_failed,
            too_narrow: 0,
            last_send_failure: None,
            confinement: self.confinement.clone(),
            service: None,
            exit: Some(ExitFigures {
                links: snapshot.links,
                clients: snapshot.clients,
                neighbours: neighbours(node),
                circuits: snapshot.circuits,
                waiting: snapshot.waiting,
                tunnels,
            }),
        }
    }
}

impl JoinPoint for ExitJoin {
    fn handle_inner(&mut self, now: Now, circuit: CircuitKey, number: u64, inner: &[u8], node: &mut RelayNode) {
        self.exit.handle_inner(now, circuit, number, inner, node);
    }

    fn handle_event(&mut self, now: Now, event: NodeEvent, node: &mut RelayNode) {
        match event {
            NodeEvent::NotLast { circuit } => self.exit.handle_circuit_extended(now, circuit, node),
            NodeEvent::Closed { circuit, .. } => self.exit.handle_circuit_gone(now, circuit, node),
            NodeEvent::Opened { .. }
            | NodeEvent::AcceptedEphemeral { .. }
            | NodeEvent::SameKeyElsewhere
            | NodeEvent::Drained => {}
        }
    }

    fn handle_timeout(&mut self, now: Now, node: &mut RelayNode) {
        self.exit.handle_timeout(now, node);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let slot = self.clock.as_ref().and_then(SlotClock::poll_timeout);
        let document = self.documents.is_busy().then(|| Instant::now() + DOCUMENT_LOOK);
        [self.exit.poll_timeout(), self.over_at, slot, document].into_iter().flatten().min()
    }

    fn pump(&mut self, now: Now, node: &mut RelayNode) {
        self.handle_channel(now);
        self.take_document(now, node);
        match &mut self.clock {
            Some(clock) => clock.turn(now, &mut self.exit, node),
            None => self.exit.handle_queues(now),
        }
        self.exit.pump(now, node);
        self.drain_events();
    }

    fn handle_snapshot(&mut self, snapshot: &Snapshot, node: &RelayNode) {
        match serde_json::to_value(self.status(snapshot, node)) {
            Ok(body) => self.tell(&FromProcess::Status { body }),
            Err(error) => debug!(%error, "the status cannot be written"),
        }
    }

    fn poll_stop(&mut self) -> Option<Duration> {
        self.stop.take()
    }

    fn is_over(&self, now: Now) -> bool {
        self.over_at.is_some_and(|at| at <= now.instant)
    }

    fn prepare_sleep(&mut self) -> bool {
        // The slot clock alone leads to the queues (I10).
        match self.exit.queues_ref().filter(|_| self.clock.is_none()) {
            Some(queues) => {
                self.asks_bell = queues.prepare_sleep();
                self.asks_bell
            }
            None => true,
        }
    }

    fn watched(&self) -> Vec<PollFd<'_>> {
        let mut watched = vec![PollFd::new(&self.channel, PollFlags::IN)];
        if let Some(queues) = self.exit.queues_ref().filter(|_| self.asks_bell) {
            watched.push(PollFd::from_borrowed_fd(queues.bell_fd(), PollFlags::IN));
        }
        watched
    }

    fn handle_woken(&mut self) {
        if let Some(queues) = self.exit.queues_ref().filter(|_| std::mem::take(&mut self.asks_bell)) {
            queues.awake();
        }
    }
}

/// The relays at the other ends of links. Clients have no name.
fn neighbours(node: &RelayNode) -> Vec<ExitNeighbour> {
    let found = node.neighbours(crate::relay::now(), NEIGHBOURS_SHOWN_MAX);
    let row = |neighbour: relay_node::NeighbourFigures| ExitNeighbour {
        node: neighbour.node.to_string(),
        answers: neighbour.answers,
        dialled: neighbour.dialled,
        rtt_us: neighbour.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        loss_per_mille: neighbour.loss_per_mille,
        hops: neighbour.hops,
    };
    found.into_iter().map(row).collect()
}
