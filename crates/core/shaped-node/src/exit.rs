//! The exit's end of tunnels over circuits: which circuit is a leg of which tunnel, a session and its flows for each
//! tunnel, and one set of queues for all.

mod circuits;
mod joined;
mod memory;
mod queues;
mod receive;
mod schedule;
mod send;
mod served;
mod slots;
mod status;

pub use circuits::{CircuitGone, Circuits, LEAVING_MAX, LINGER};
pub use schedule::{ExitSchedule, SHARES_MAX};
pub use send::{CELLS_A_PUMP_MAX, CELLS_A_TURN};
pub use served::{ServedAs, ServicePorts};
pub use status::ExitStatus;

use crate::memory::MemoryPool;
use crate::near::Near;
use crate::queues::{FlowQueues, QueueFault};
use circuits::{Leaving, Place};
use conflux::{JoinPoint, JoinPointConfig, TunnelEnd, TunnelId};
use identity::NodeSecret;
use joined::Joined;
use link::Now;
use onion::CircuitKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use schedule::Lanes;
use session::{CloseReason, EndReason};
use shaping::ReadyNoise;
use slots::SpareCells;
use status::Counters;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};
use wire::flow::ResetReason;
use wire::packet::PacketSize;

/// Events that nobody fetched: the oldest are dropped beyond this number.
const EVENTS_MAX: usize = 1024;

/// What the exit's end of tunnels is told at its start.
#[derive(Clone)]
pub struct ExitConfig {
    /// P.
    pub packet_size: PacketSize,
    /// Largest session packet in bytes; both ends need the same. At an exit [`PacketSize::session_packet`], at a service
    /// [`PacketSize::session_packet_virtual`].
    pub session_packet: usize,
    /// This node's Ed25519 secret: clients name it. They themselves are anonymous.
    pub node_secret: NodeSecret,
    /// How long a tunnel outlives its last leg.
    pub session_timeout: Duration,
    /// Tunnels at a time, each with one session; at most [`conflux::TUNNELS_MAX`]. A LINK that would make another is refused by
    /// name.
    pub tunnels_max: usize,
    /// Flows of one tunnel at a time. The next one is refused; so no client takes all queue pairs.
    pub flows_per_tunnel: u16,
    /// Bytes that all tunnels may hold together, at least [`crate::memory::MEMORY_MAX_LEAST`]; see [`crate::memory`].
    pub memory_max: u64,
    /// How cells leave in slots. None: mode `off`, as soon as there is a packet and room. An exit has one or the other, so that no
    /// doorbell of one tunnel wakes it while another's cells wait for their slots.
    pub schedule: Option<ExitSchedule>,
    /// From the system's random source.
    pub seed: [u8; 32],
}

/// What the shell may want to log. Tunnels are counted from 1; nothing here says whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitEvent {
    /// The session of a tunnel is up.
    SessionUp(u64),
    /// A tunnel is over, and with it its session and flows.
    TunnelOver(u64, TunnelOver),
    /// The unshaped process broke the queue protocol; all flows were reset.
    QueuesFailed(QueueFault),
}

/// Why a tunnel is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelOver {
    /// Its session is.
    Session(CloseReason),
    /// It had no leg for too long.
    Legs(TunnelEnd),
}

/// The exit's end of all tunnels that end here. Cells come from and go to a relay: see [`Circuits`].
///
/// - What happened: [`CircuitExit::handle_inner`], [`CircuitExit::handle_circuit_gone`],
///   [`CircuitExit::handle_circuit_extended`], [`CircuitExit::handle_queues`], [`CircuitExit::handle_timeout`].
/// - Commands: [`CircuitExit::attach_queues`], [`CircuitExit::close`].
/// - What to do: [`CircuitExit::pump`] after anything of the above (a shell does so after a batch of packets), then
///   [`CircuitExit::poll_event`] until `None`. [`CircuitExit::poll_timeout`] says when to look again: then
///   [`CircuitExit::handle_timeout`], and `pump`. With a schedule, cells of tunnels come out of
///   [`CircuitExit::prepare_slot`] alone, for the slots that [`CircuitExit::next_busy_slot`] names; before it the slot's clock
///   reads the queues.
pub struct CircuitExit<Q> {
    config: ExitConfig,
    near: Near<Q>,
    join_point: JoinPoint,
    /// Circuits that are legs, and those that are on their way out. Any other has brought nothing but cover cells.
    places: BTreeMap<CircuitKey, Place>,
    leaving: Leaving,
    tunnels: BTreeMap<u64, Joined>,
    memory: MemoryPool,
    /// Tunnels that may have something to do, each once, in turn.
    turns: VecDeque<u64>,
    /// When tunnels are to be looked at.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Tunnels with flows that wait for a queue pair.
    hungry: BTreeSet<u64>,
    rng: ChaCha20Rng,
    events: VecDeque<ExitEvent>,
    counters: Counters,
    scratch: Vec<u8>,
    lanes: Lanes,
    spares: Vec<SpareCells>,
    noise: Box<dyn ReadyNoise + Send>,
    /// The newest slot that was made.
    present_slot: u64,
    is_closing: bool,
    /// The newest time that was told, and whether a tunnel got its turn since the last [`CircuitExit::pump`].
    now: Option<Instant>,
    is_woken: bool,
}

impl<Q> fmt::Debug for CircuitExit<Q> {
    /// Neither nonces nor keys, and nothing of any client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitExit").field("tunnels", &self.tunnels.len()).finish_non_exhaustive()
    }
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// An exit without tunnels and queues. `noise`: where ready samples are taken, for rules that release measurements;
    /// others never look there.
    pub fn new(config: ExitConfig, noise: Box<dyn ReadyNoise + Send>) -> Self {
        let join_point = JoinPointConfig { tunnels_max: config.tunnels_max, ..JoinPointConfig::default() };
        let is_shaped = config.schedule.is_some();
        let measures = config.schedule.as_ref().is_some_and(|schedule| schedule.pacing.measures());
        Self {
            rng: ChaCha20Rng::from_seed(config.seed),
            // Every flow is opened by the other end, so this one hands out queue pairs.
            near: Near::new(true, measures, is_shaped),
            join_point: JoinPoint::new(join_point),
            memory: MemoryPool::new(config.memory_max),
            config,
            places: BTreeMap::new(),
            leaving: Leaving::default(),
            tunnels: BTreeMap::new(),
            turns: VecDeque::new(),
            deadlines: BTreeSet::new(),
            hungry: BTreeSet::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            scratch: Vec::new(),
            lanes: Lanes::default(),
            spares: Vec::new(),
            noise,
            present_slot: 0,
            is_closing: false,
            now: None,
            is_woken: false,
        }
    }

    /// The queues, to sleep on their doorbell.
    pub fn queues(&mut self) -> Option<&mut Q> {
        self.near.queues()
    }

    /// The queues, to look at.
    pub fn queues_ref(&self) -> Option<&Q> {
        self.near.queues_ref()
    }

    /// Whether no tunnel is left and no circuit waits to be taken down.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty() && self.leaving.is_empty()
    }

    /// Takes queues of a new generation: the flows of the old one are reset towards their clients.
    pub fn attach_queues(&mut self, now: Now, queues: Q) {
        self.now = Some(now.instant);
        self.reset_flows();
        self.near.attach(queues);
    }

    /// Ends all sessions so that their clients learn of it, and takes no new tunnel from now on.
    pub fn close(&mut self, now: Now) {
        self.now = Some(now.instant);
        self.is_closing = true;
        for joined in self.tunnels.values_mut() {
            joined.tunnel.session.close(now.instant, EndReason::Stopping);
        }
        self.wake_all();
    }

    /// Lets time pass for the tunnels whose time has come.
    pub fn handle_timeout(&mut self, now: Now, circuits: &mut impl Circuits) {
        self.now = Some(now.instant);
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.instant) {
            self.deadlines.pop_first();
            let Some(joined) = self.tunnels.get_mut(&id) else { continue };
            joined.deadline = None;
            joined.handle_timeout(now.instant);
            self.keep_account(now, id);
            self.follow_legs(now, id, circuits);
            self.wake(id);
        }
        while let Some(circuit) = self.leaving.pop_due(now.instant) {
            self.take_down(now, circuit, onion::Reason::Finished, circuits);
        }
    }

    /// When [`CircuitExit::handle_timeout`] and [`CircuitExit::pump`] have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let at_once = self.now.filter(|_| self.is_woken);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [at_once, deadline, self.leaving.next()].into_iter().flatten().min()
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<ExitEvent> {
        self.events.pop_front()
    }

    fn note(&mut self, event: ExitEvent) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// A tunnel may have something to do: it gets its turn.
    fn wake(&mut self, id: u64) {
        if let Some(joined) = self.tunnels.get_mut(&id)
            && !std::mem::replace(&mut joined.has_turn, true)
        {
            self.turns.push_back(id);
        }
        self.is_woken = true;
    }

    fn wake_all(&mut self) {
        let all: Vec<u64> = self.tunnels.keys().copied().collect();
        all.into_iter().for_each(|id| self.wake(id));
    }

    /// Ends every flow towards its client: the queues are gone.
    fn reset_flows(&mut self) {
        self.tunnels.values_mut().for_each(|joined| joined.tunnel.reset_all(ResetReason::TunnelLost));
        self.wake_all();
    }

    /// Notes when a tunnel is to be looked at again: then, or when it says so itself.
    fn plan(&mut self, id: u64, again: Option<Instant>) {
        let Some(joined) = self.tunnels.get_mut(&id) else { return };
        if let Some(before) = joined.deadline.take() {
            self.deadlines.remove(&(before, id));
        }
        joined.deadline = again.or_else(|| joined.poll_timeout());
        if let Some(at) = joined.deadline {
            self.deadlines.insert((at, id));
        }
        if joined.tunnel.arrivals_due().is_some() {
            self.hungry.insert(id);
        } else {
            self.hungry.remove(&id);
        }
    }

    /// A tunnel is over: its nonce never means anything again, and its flows end.
    fn end_tunnel(&mut self, id: u64, why: TunnelOver) {
        let Some(mut joined) = self.tunnels.remove(&id) else { return };
        joined.tunnel.abandon(ResetReason::TunnelLost, &mut self.near);
        self.join_point.forget(TunnelId(id));
        self.memory.give_back(&mut joined.charge);
        if let Some(at) = joined.deadline {
            self.deadlines.remove(&(at, id));
        }
        if let Some(schedule) = &joined.schedule {
            self.lanes.give_back(schedule);
        }
        self.hungry.remove(&id);
        self.note(ExitEvent::TunnelOver(id, why));
    }
}
