//! A tunnel: its legs, the order of its cells, and what goes where.

mod linking;
mod memory;
mod receive;
mod send;
mod timing;

pub use linking::NotAccepted;
pub use memory::{LEG_BYTES, LegsMemory};
pub use send::SlotUse;

use crate::asked::Asked;
use crate::flight::LegOutbound;
use crate::ids::{DesiredUx, LEG_IDS, LegId, Nonce};
use crate::law::LegControl;
use crate::leg::{Accepted, Built, Circuit, Fault, LegEnd, LegState, Member, Released};
use crate::message::Refusal;
use crate::reorder::{Reorder, ReorderFigures};
use crate::schedule::{Choice, START_CLASS, Scheduler};
use identity::NodeId;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Legs that a tunnel can have, those on their way in or out included. A further one is refused.
pub const LEGS_MAX: u8 = 8;
/// Events that wait for [`Tunnel::poll_event`]; when there are more the oldest goes. A caller that polls after each call has
/// at most a few for each leg.
pub const TUNNEL_EVENTS_MAX: usize = 64;

/// What a tunnel is made from. [`TunnelConfig::default`] has mode `off` and two ends without wishes.
#[derive(Debug, Clone, Copy)]
pub struct TunnelConfig {
    /// Who decides how fast cells leave.
    pub pace: Pace,
    /// What this end wishes for what it receives.
    pub ux: DesiredUx,
    /// How a leg is chosen (mode `off`).
    pub scheduler: Scheduler,
    /// Which controller each leg has (mode `off`).
    pub control: LegControl,
    /// Legs whose round trip is at most this much longer than the shortest are equal at the start of a burst: each has the
    /// same chance. So much a guard can be faster without getting more of it. Zero: the fastest leg takes it all.
    pub start_class: Duration,
    /// Most legs, 1..=[`LEGS_MAX`].
    pub legs_max: u8,
    /// Which relays two legs may share, at the client.
    pub sharing: Sharing,
    /// A tunnel without a leg is over after this: the session's timeout.
    pub orphan_after: Duration,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            pace: Pace::Controlled,
            ux: DesiredUx::NoOpinion,
            scheduler: Scheduler::default(),
            control: LegControl::default(),
            start_class: START_CLASS,
            legs_max: LEGS_MAX,
            sharing: Sharing::ExitOnly,
            orphan_after: Duration::from_secs(30),
        }
    }
}

/// Who decides how fast cells leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A controller per leg: mode `off`.
    Controlled,
    /// The schedule of each leg's link: the tunnel only fills slots.
    Slots,
}

/// Which relays two legs of a tunnel may have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The exit, and no other: what a tunnel should have.
    ExitOnly,
    /// Middles as well, and a leg's middle may be another one's guard: for networks too small for anything else. Two legs never
    /// have the same guard.
    MiddlesToo,
}

/// Which end of the tunnel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Exit,
}

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEvent {
    /// A leg is in use. From the second one on the session must be wide open. The round trip is the handshake's; an exit
    /// tells it when LINKED_ACK or feedback has come.
    LegLinked(LegId, Option<Duration>),
    /// Nothing was heard of what went on a leg: it is written off, and only tried.
    LegSilent(LegId),
    /// A silent leg answers again.
    LegBack(LegId),
    /// A leg is out of use; see [`Tunnel::poll_released`].
    LegEnded(LegId, LegEnd),
    /// The tunnel is over. Nothing follows.
    Ended(TunnelEnd),
}

/// Why a tunnel is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TunnelEnd {
    /// It was closed here.
    #[error("it was closed")]
    Closed,
    /// It had no leg for too long.
    #[error("it had no leg for too long")]
    Orphaned,
    /// The exit does not have it any more.
    #[error("the exit does not have it any more")]
    Gone,
}

/// Why a circuit was not taken as a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddLegError {
    /// The tunnel is over.
    #[error("the tunnel is over")]
    Over,
    /// This end is the exit, which takes legs that clients link.
    #[error("only a client adds legs")]
    NotClient,
    /// It has as many legs as it may.
    #[error("the tunnel has as many legs as it may")]
    TooMany,
    /// It has another number of hops than the legs that are there.
    #[error("the circuit has another number of hops")]
    OtherLength,
    /// It ends at another exit.
    #[error("the circuit ends at another exit")]
    OtherExit,
    /// It shares a guard with a leg, or has a leg's guard or middle at another place where that is not allowed.
    #[error("the circuit shares a guard with a leg")]
    SharedGuard,
    /// It has one hop and takes the same way there as a leg: whatever ends one of them ends both.
    #[error("the circuit takes a leg's way to the exit")]
    SharedWay,
    /// It shares a middle with a leg.
    #[error("the circuit shares a middle with a leg")]
    SharedMiddle,
    /// It asks for another schedule than the legs before.
    #[error("the circuit asks for another schedule than the tunnel has")]
    OtherSchedule,
    /// It asks for the share of a leg that is there.
    #[error("another leg has this share of the schedule")]
    ShareTaken,
}

/// One end of a tunnel.
///
/// - What happened: [`Tunnel::handle_cell`], [`Tunnel::handle_timeout`], [`Tunnel::handle_circuit_gone`],
///   [`Tunnel::handle_extended`], [`Tunnel::handle_idle`].
/// - Commands: [`Tunnel::add_leg`], [`Tunnel::accept`], [`Tunnel::remove_leg`], [`Tunnel::close`]; and for each cell that
///   leaves [`Tunnel::data_header`] or [`Tunnel::own_header`].
/// - What to do: [`Tunnel::poll_packet`] until it gives nothing, after each handler; then [`Tunnel::poll_event`] and
///   [`Tunnel::poll_released`]. In mode `off`, [`Tunnel::poll_own`] and [`Tunnel::poll_data`] say on which leg a cell may leave;
///   with slots, [`Tunnel::slot_use`] says what a slot of a leg takes. [`Tunnel::poll_timeout`] says when to look again.
///
/// *number* is everywhere the layer number of the cell at the last hop of its circuit, counted from 0.
pub struct Tunnel<K> {
    pub(crate) config: TunnelConfig,
    pub(crate) side: Side,
    pub(crate) nonce: Nonce,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) members: BTreeMap<LegId, Member<K>>,
    pub(crate) reorder: Reorder,
    /// Number of the newest data cell sent.
    pub(crate) newest: u64,
    pub(crate) choice: Choice,
    /// The leg whose feedback went last.
    pub(crate) turn: u8,
    next_leg: u8,
    pub(crate) was_linked: bool,
    pub(crate) is_over: bool,
    pub(crate) legless_since: Option<Instant>,
    /// When a leg has room again, if a cell was asked for and none had.
    pub(crate) room_at: Option<Instant>,
    /// When the order was looked at last.
    pub(crate) looked_at: Option<Instant>,
    pub(crate) peer_ux: DesiredUx,
    /// What the first leg asked for.
    pub(crate) asked: Option<Asked>,
    pub(crate) stray: u64,
    /// Less than usual may be held.
    pub(crate) is_limited: bool,
    released: VecDeque<Released<K>>,
    events: VecDeque<TunnelEvent>,
}

impl<K> fmt::Debug for Tunnel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("side", &self.side).field("legs", &self.members).finish_non_exhaustive()
    }
}

/// What is known of a leg.
#[derive(Debug, Clone)]
pub struct LegFigures {
    /// Its name.
    pub leg: LegId,
    /// What it is doing.
    pub state: LegState,
    /// Its relays, the exit last; empty at the exit.
    pub path: Vec<NodeId>,
    /// Smoothed round trip of what went on it and was answered on it; at first the handshake's.
    pub rtt: Option<Duration>,
    /// What went.
    pub outbound: LegOutbound,
    /// Cells of all kinds that came.
    pub received: u64,
    /// Lost of a thousand cells sent in the last 5 to 10 s, if that can be told. A leg that loses much more than its sisters
    /// should be replaced.
    pub loss_per_mille: Option<u32>,
    /// Data cells that may be in flight (mode `off`).
    pub window: u64,
    /// Cells a second that it is thought to deliver (mode `off`).
    pub rate: f64,
}

impl<K> Tunnel<K> {
    /// A client's end, without legs. `nonce` and `random` are fresh from a cryptographic random source.
    pub fn client(now: Instant, config: TunnelConfig, nonce: Nonce, random: [u8; 32]) -> Self {
        Self::new(now, config, Side::Client, nonce, random)
    }

    /// The exit's end of a tunnel that the [`crate::JoinPoint`] called new. `random` is as for a client.
    pub fn exit(now: Instant, config: TunnelConfig, accepted: Accepted<K>, random: [u8; 32]) -> Self {
        let mut tunnel = Self::new(now, config, Side::Exit, accepted.nonce.clone(), random);
        tunnel.enroll(now, accepted);
        tunnel
    }

    fn new(now: Instant, config: TunnelConfig, side: Side, nonce: Nonce, random: [u8; 32]) -> Self {
        let legs_max = config.legs_max.clamp(1, LEGS_MAX);
        Self {
            config: TunnelConfig { legs_max, ..config },
            side,
            nonce,
            rng: ChaCha20Rng::from_seed(random),
            members: BTreeMap::new(),
            reorder: Reorder::new(),
            newest: 0,
            choice: Choice::new(config.scheduler, config.start_class),
            turn: LEG_IDS - 1,
            next_leg: 0,
            was_linked: false,
            is_over: false,
            legless_since: Some(now),
            room_at: None,
            looked_at: None,
            peer_ux: DesiredUx::NoOpinion,
            asked: None,
            stray: 0,
            is_limited: false,
            released: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Whether data can go: a leg is linked.
    pub fn is_usable(&self) -> bool {
        self.members.values().any(Member::is_linked)
    }

    /// Whether every leg that was added is linked, so that none has a start over the others.
    pub fn is_settled(&self) -> bool {
        self.is_usable() && !self.members.values().any(|leg| matches!(leg, Member::Linking(_)))
    }

    /// Legs that are linked. With more than one the session must be wide open; see `session::Session::set_wide_open`.
    pub fn linked(&self) -> usize {
        self.members.values().filter(|leg| leg.is_linked()).count()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What the other end wishes for what this end sends.
    pub fn peer_wish(&self) -> DesiredUx {
        self.peer_ux
    }

    /// All its legs, by id.
    pub fn legs(&self) -> impl Iterator<Item = LegFigures> + '_ {
        self.members.values().map(figures)
    }

    /// One leg.
    pub fn leg(&self, leg: LegId) -> Option<LegFigures> {
        self.members.get(&leg).map(figures)
    }

    /// What carries a leg's cells.
    pub fn carrier(&self, leg: LegId) -> Option<&K> {
        self.members.get(&leg).map(|member| &member.core().carrier)
    }

    /// What carries a leg's cells, to seal and open them.
    pub fn carrier_mut(&mut self, leg: LegId) -> Option<&mut K> {
        self.members.get_mut(&leg).map(|member| &mut member.core_mut().carrier)
    }

    /// What came of data cells.
    pub fn order(&self) -> ReorderFigures {
        self.reorder.figures
    }

    /// The schedule that the tunnel's legs ask the exit for; none before the first leg. Its share is that of the first.
    pub fn asked(&self) -> Option<Asked> {
        self.asked
    }

    /// The leg whose cells take the slots of a share: the one in use that has it, else one on its way out.
    pub fn leg_of_share(&self, share: u8) -> Option<LegId> {
        let legs = || self.members.values().filter(|leg| leg.core().asked.share() == share);
        let leg = legs().find(|leg| !matches!(leg, Member::Draining(_))).or_else(|| legs().next());
        leg.map(|leg| leg.core().id)
    }

    /// Data cells sent.
    pub fn data_sent(&self) -> u64 {
        self.newest
    }

    /// Cells that named a leg which is not there.
    pub fn stray_cells(&self) -> u64 {
        self.stray
    }

    /// Client: adds a circuit, which is linked from now on. Works on a live tunnel as well. The exit answers in mode `off`.
    ///
    /// # Errors
    /// Gives the circuit back, unchanged, if it does not fit.
    pub fn add_leg<C: Circuit<Carrier = K>>(
        &mut self,
        now: Instant,
        leg: Built<C>,
    ) -> Result<LegId, (Built<C>, AddLegError)> {
        self.add_leg_asking(now, leg, Asked::OFF)
    }

    /// Client: adds a circuit, and says what schedule the exit's cells are wanted in and which share of it goes on this leg.
    /// All legs ask for one schedule in as many shares, and each for another share; that of a leg is free when it drains.
    ///
    /// # Errors
    /// Gives the circuit back, unchanged, if it does not fit.
    pub fn add_leg_asking<C: Circuit<Carrier = K>>(
        &mut self,
        now: Instant,
        leg: Built<C>,
        asked: Asked,
    ) -> Result<LegId, (Built<C>, AddLegError)> {
        match self.check_fit(leg.path(), leg.way(), asked) {
            Ok(id) => {
                self.next_leg = (id.number() + 1) % LEG_IDS;
                self.asked.get_or_insert(asked);
                let linking = leg.into_linking(now, id, self.config.control, asked, self.was_linked);
                self.members.insert(id, Member::Linking(linking));
                Ok(id)
            }
            Err(error) => Err((leg, error)),
        }
    }

    fn check_fit(&self, path: &[NodeId], way: u16, asked: Asked) -> Result<LegId, AddLegError> {
        if self.is_over {
            return Err(AddLegError::Over);
        }
        if self.side != Side::Client {
            return Err(AddLegError::NotClient);
        }
        if self.asked.is_some_and(|before| !before.is_of_one(&asked)) {
            return Err(AddLegError::OtherSchedule);
        }
        for member in self.members.values().filter(|leg| !matches!(leg, Member::Draining(_))) {
            check_paths(path, &member.core().path, self.config.sharing)?;
            if path.len() == 1 && way == member.core().way {
                return Err(AddLegError::SharedWay);
            }
            if member.core().asked.is_same_share(&asked) {
                return Err(AddLegError::ShareTaken);
            }
        }
        self.free_id().ok_or(AddLegError::TooMany)
    }

    /// The next id in a circle: one that was used lately comes last.
    fn free_id(&self) -> Option<LegId> {
        if self.members.len() >= usize::from(self.config.legs_max) {
            return None;
        }
        let circle = (0..LEG_IDS).filter_map(|step| LegId::new((self.next_leg + step) % LEG_IDS));
        circle.into_iter().find(|id| !self.members.contains_key(id))
    }

    /// Stops data on a leg and takes it out when what is on its way has come.
    pub fn remove_leg(&mut self, now: Instant, leg: LegId) {
        match self.members.get(&leg) {
            Some(Member::Linked(_)) => self.drain(now, leg, LegEnd::Removed),
            Some(Member::Linking(_)) => self.release(now, leg, LegEnd::Removed),
            Some(Member::Draining(_)) | None => {}
        }
    }

    /// The circuit of a leg is gone.
    pub fn handle_circuit_gone(&mut self, now: Instant, leg: LegId) {
        self.release(now, leg, LegEnd::CircuitGone);
    }

    /// Exit: the client has extended a leg's circuit behind this hop, which no honest client does.
    pub fn handle_extended(&mut self, now: Instant, leg: LegId) {
        self.release(now, leg, LegEnd::Fault(Fault::GoesOn));
    }

    /// Ends the tunnel: every leg comes back, and none is taken any more.
    pub fn close(&mut self, now: Instant) {
        self.end(now, TunnelEnd::Closed);
    }

    pub(crate) fn end(&mut self, now: Instant, why: TunnelEnd) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let legs: Vec<LegId> = self.members.keys().copied().collect();
        for leg in legs {
            self.release(now, leg, LegEnd::TunnelClosed);
        }
        self.tell(TunnelEvent::Ended(why));
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.events.pop_front()
    }

    /// A leg that is out of use, whose circuit can be taken down. At most as many wait as there were legs.
    pub fn poll_released(&mut self) -> Option<Released<K>> {
        self.released.pop_front()
    }

    /// The next packet for the session, in order as far as order is waited for. Nothing is given twice.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (past, timeout) = self.progress(now);
        self.looked_at = Some(now);
        self.reorder.pop(now, past, timeout)
    }

    pub(crate) fn release(&mut self, now: Instant, leg: LegId, why: LegEnd) {
        let Some(member) = self.members.remove(&leg) else { return };
        self.released.push_back(member.into_released(why));
        self.tell(TunnelEvent::LegEnded(leg, why));
        if self.members.is_empty() {
            self.legless_since = Some(now);
        }
        if matches!(why, LegEnd::Refused(Refusal::UnknownTunnel | Refusal::Closing)) {
            self.end(now, TunnelEnd::Gone);
        }
    }

    pub(crate) fn tell(&mut self, event: TunnelEvent) {
        if self.events.len() >= TUNNEL_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn figures<K>(member: &Member<K>) -> LegFigures {
    let core = member.core();
    LegFigures {
        leg: core.id,
        state: member.state(),
        path: core.path.clone(),
        rtt: core.flight.rtt(),
        outbound: core.flight.figures,
        received: core.intake.received,
        loss_per_mille: core.loss.per_mille(),
        window: core.law.window(),
        rate: core.law.rate(core.flight.rtt()),
    }
}

/// Two legs have the same exit, as many hops, and nobody else in common.
fn check_paths(one: &[NodeId], other: &[NodeId], sharing: Sharing) -> Result<(), AddLegError> {
    if one.len() != other.len() {
        return Err(AddLegError::OtherLength);
    }
    let (Some((exit, before)), Some((their_exit, theirs))) = (one.split_last(), other.split_last()) else {
        return Err(AddLegError::OtherLength);
    };
    if exit != their_exit {
        return Err(AddLegError::OtherExit);
    }
    let (Some((guard, middles)), Some((their_guard, their_middles))) = (before.split_first(), theirs.split_first())
    else {
        return Ok(());
    };
    let is_elsewhere = sharing == Sharing::ExitOnly && (theirs.contains(guard) || before.contains(their_guard));
    if guard == their_guard || is_elsewhere {
        return Err(AddLegError::SharedGuard);
    }
    if sharing == Sharing::ExitOnly && middles.iter().any(|middle| their_middles.contains(middle)) {
        return Err(AddLegError::SharedMiddle);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
