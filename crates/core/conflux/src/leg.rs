//! The states of a leg as types. Each step consumes the state before it, so what must not happen cannot be written.
//!
//! At the client: [`Building`] → [`Built`] → (given to a tunnel: linking, linked, draining) → [`Released`].
//! At the exit: [`Fresh`] → [`Accepted`] → (given to a tunnel: linked, draining) → [`Released`].

use crate::asked::Asked;
use crate::flight::Flight;
use crate::ids::{DesiredUx, LegId, Nonce};
use crate::intake::Intake;
use crate::law::{Law, LegControl};
use crate::message::{Attempt, Message, Refusal};
use crate::repeat::Repeat;
use identity::NodeId;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Hops of a circuit: three relays, and the other end of two circuits that were joined.
pub const HOPS_MAX: usize = 4;

/// Messages that wait for a cell on one leg. When there are more the oldest goes; the other end asks again.
pub(crate) const MESSAGES_MAX: usize = 8;

/// A circuit as long as it can be changed, and what is left of it when it is a leg.
pub trait Circuit {
    /// Carries cells of the last hop, and can be neither extended nor cut.
    type Carrier;

    /// The circuit becomes part of a tunnel.
    fn into_carrier(self) -> Self::Carrier;
}

/// A circuit that is being built: the only state in which it can be changed.
///
/// A circuit that is still being built cannot be linked:
///
/// ```compile_fail,E0308
/// # use conflux::{Building, Circuit, Tunnel};
/// # use std::time::Instant;
/// fn link<C: Circuit>(tunnel: &mut Tunnel<C::Carrier>, leg: Building<C>, now: Instant) {
///     let _ = tunnel.add_leg(now, leg);
/// }
/// ```
#[derive(Debug)]
pub struct Building<C> {
    circuit: C,
}

impl<C: Circuit> Building<C> {
    /// A circuit to build.
    pub fn new(circuit: C) -> Self {
        Self { circuit }
    }

    /// The circuit.
    pub fn circuit(&self) -> &C {
        &self.circuit
    }

    /// The circuit, to be fed and extended.
    pub fn circuit_mut(&mut self) -> &mut C {
        &mut self.circuit
    }

    /// It did not come to be, or is wanted for something else.
    pub fn into_circuit(self) -> C {
        self.circuit
    }

    /// It has all its hops: `path`, the exit last. From here on it is not changed.
    ///
    /// # Errors
    /// Gives the leg back if that is no path.
    pub fn into_built(self, path: Vec<NodeId>) -> Result<Built<C>, (Self, PathError)> {
        let repeats = (1..path.len()).any(|place| path[..place].contains(&path[place]));
        match path.len() {
            0 => Err((self, PathError::Empty)),
            1..=HOPS_MAX if repeats => Err((self, PathError::Twice)),
            1..=HOPS_MAX => Ok(Built { circuit: self.circuit, path, way: 0 }),
            _ => Err((self, PathError::TooLong)),
        }
    }
}

/// Why a list of nodes is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// It has no node.
    #[error("a path has at least one hop")]
    Empty,
    /// It has more than [`HOPS_MAX`] nodes.
    #[error("a path has at most three relays and an end behind them")]
    TooLong,
    /// A node stands in it twice.
    #[error("a node stands in the path twice")]
    Twice,
}

/// A circuit with all its hops that is in no tunnel and carries no flow: a flow belongs to the session of a tunnel. Only this
/// state can be linked, and linking consumes it.
///
/// It cannot be extended any more:
///
/// ```compile_fail,E0599
/// # use conflux::{Built, Circuit};
/// fn extend<C: Circuit>(leg: &mut Built<C>) {
///     leg.circuit_mut();
/// }
/// ```
///
/// Nor linked twice:
///
/// ```compile_fail,E0382
/// # use conflux::{Built, Circuit, Tunnel};
/// # use std::time::Instant;
/// fn link<C: Circuit>(one: &mut Tunnel<C::Carrier>, other: &mut Tunnel<C::Carrier>, leg: Built<C>, now: Instant) {
///     let _ = one.add_leg(now, leg);
///     let _ = other.add_leg(now, leg);
/// }
/// ```
///
/// A leg of a tunnel cannot be taken out of it and freed; the tunnel gives it back as [`Released`] when it is out of use:
///
/// ```compile_fail,E0599
/// # use conflux::{LegId, Tunnel};
/// fn free<K>(tunnel: &mut Tunnel<K>, leg: LegId) -> Option<K> {
///     tunnel.leg(leg).map(|leg| leg.into_carrier())
/// }
/// ```
///
/// ```compile_fail,E0507
/// # use conflux::{LegId, Tunnel};
/// fn free<K>(tunnel: &mut Tunnel<K>, leg: LegId) -> Option<K> {
///     tunnel.carrier_mut(leg).map(|carrier| *carrier)
/// }
/// ```
///
/// This is how it is meant:
///
/// ```
/// # use conflux::{Building, Built, Circuit, Tunnel};
/// # use std::time::Instant;
/// fn link<C: Circuit>(tunnel: &mut Tunnel<C::Carrier>, leg: Built<C>, now: Instant) -> Result<(), Built<C>> {
///     tunnel.add_leg(now, leg).map(|_leg| ()).map_err(|(leg, _error)| leg)
/// }
/// ```
#[derive(Debug)]
pub struct Built<C> {
    circuit: C,
    path: Vec<NodeId>,
    way: u16,
}

impl<C: Circuit> Built<C> {
    /// The circuit.
    pub fn circuit(&self) -> &C {
        &self.circuit
    }

    /// Its hops, the exit last.
    pub fn path(&self) -> &[NodeId] {
        &self.path
    }

    /// The same, with a number for the way that its first link takes: from which address to which. Legs of one hop have no relay
    /// that could tell them apart, so they must differ in this; for longer ones it says nothing. 0 unless it is set.
    #[must_use]
    pub fn over(self, way: u16) -> Self {
        Self { way, ..self }
    }

    /// The number of the way of its first link.
    pub fn way(&self) -> u16 {
        self.way
    }

    /// The circuit is wanted for something else, such as another tunnel, or is not wanted.
    pub fn into_circuit(self) -> C {
        self.circuit
    }

    pub(crate) fn into_linking(
        self,
        now: Instant,
        leg: LegId,
        control: LegControl,
        asked: Asked,
        joins: bool,
    ) -> Linking<C::Carrier> {
        Linking {
            core: Core { way: self.way, ..Core::new(leg, self.circuit.into_carrier(), self.path, control, asked) },
            repeat: Repeat::new(now),
            joins,
        }
    }
}

/// An exit's end of a circuit that has brought nothing but cover cells. Only this state can become a leg there.
#[derive(Debug)]
pub struct Fresh<K> {
    pub(crate) carrier: K,
}

impl<K> Fresh<K> {
    /// A circuit that somebody has just built to here.
    pub fn new(carrier: K) -> Self {
        Self { carrier }
    }

    /// What carries its cells.
    pub fn carrier_mut(&mut self) -> &mut K {
        &mut self.carrier
    }

    /// It is given up.
    pub fn into_carrier(self) -> K {
        self.carrier
    }
}

/// A circuit whose LINK the [`crate::JoinPoint`] has taken. Made by it alone; give it to the tunnel.
#[derive(Debug)]
pub struct Accepted<K> {
    pub(crate) carrier: K,
    pub(crate) attempt: Attempt,
    pub(crate) leg: LegId,
    pub(crate) ux: DesiredUx,
    pub(crate) asked: Asked,
    pub(crate) nonce: Nonce,
    /// Layer number of the LINK, and tunnel number in front of it.
    pub(crate) number: u64,
    pub(crate) tunnel_number: u64,
}

impl<K> Accepted<K> {
    /// The schedule that the client wants this end's cells in. Whoever makes the tunnel must have it, or refuse.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Gives it up: what carries it, and what to say on it before it goes.
    pub fn refuse(self, reason: Refusal) -> (K, Message) {
        (self.carrier, Message::Refused { attempt: self.attempt, reason })
    }
}

/// A leg that is out of use: the tunnel has forgotten it, and its circuit can be taken down.
#[derive(Debug)]
pub struct Released<K> {
    /// What carried its cells.
    pub carrier: K,
    /// What it was called. The name may be used again.
    pub leg: LegId,
    /// Why it is out of use.
    pub why: LegEnd,
}

/// Why a leg is out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LegEnd {
    /// This end wanted it, and both ends have drained it.
    #[error("it was removed here")]
    Removed,
    /// The other end wanted it.
    #[error("the other end removed it")]
    RemovedByPeer,
    /// Its circuit is gone.
    #[error("its circuit is gone")]
    CircuitGone,
    /// No answer to LINK came.
    #[error("the exit did not answer LINK")]
    LinkTimedOut,
    /// The exit did not take it.
    #[error("the exit did not take it: {0}")]
    Refused(Refusal),
    /// The other end broke the protocol: the circuit must be closed.
    #[error("the other end broke the protocol: {0}")]
    Fault(Fault),
    /// The tunnel is over.
    #[error("the tunnel is over")]
    TunnelClosed,
}

/// How the other end broke the protocol of legs. Each of these must close the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Fault {
    /// A LINK came at a client.
    #[error("LINK at a client")]
    LinkAtClient,
    /// A LINK came on a leg that is linked and says something else than the LINK before, or says the same again.
    #[error("LINK on a leg that is linked")]
    LinkTwice,
    /// A LINK came on a circuit that has carried data.
    #[error("LINK on a circuit that is in use")]
    LinkOnUsed,
    /// A LINK names a leg that another circuit is.
    #[error("LINK names a leg that is there")]
    LegTaken,
    /// A LINK asks for another schedule than the legs that are there.
    #[error("LINK asks for another schedule than the tunnel has")]
    OtherSchedule,
    /// LINKED to a LINK that was not said, or at an exit.
    #[error("LINKED was not asked for")]
    LinkedUnasked,
    /// LINKED with another nonce or leg than the LINK.
    #[error("LINKED names another tunnel or leg")]
    WrongNonce,
    /// A second LINKED to one LINK.
    #[error("LINKED came twice")]
    LinkedTwice,
    /// LINKED_ACK at a client.
    #[error("LINKED_ACK at a client")]
    AckAtClient,
    /// A second LINKED_ACK to one LINKED.
    #[error("LINKED_ACK came twice")]
    AckTwice,
    /// LINKED_ACK to a LINKED that was not said, or on a circuit without LINK.
    #[error("LINKED_ACK was not asked for")]
    AckUnasked,
    /// REFUSED at an exit, or for a leg that is linked.
    #[error("REFUSED was not asked for")]
    RefusedUnasked,
    /// UNLINKED that was not asked for, a second one to one UNLINK, or either on a circuit without LINK.
    #[error("UNLINK or UNLINKED was not asked for")]
    UnlinkUnlinked,
    /// The circuit's hops have not agreed on linking.
    #[error("linking was not negotiated")]
    NotNegotiated,
    /// The circuit was extended behind the hop that is the join point.
    #[error("the circuit goes on behind the join point")]
    GoesOn,
    /// A header or message that cannot be read, though its layer authenticates.
    #[error("a header or message cannot be read")]
    Malformed,
    /// A tunnel number that nobody reaches.
    #[error("a tunnel number out of range")]
    Number,
}

/// What every leg in a tunnel has.
pub(crate) struct Core<K> {
    pub(crate) id: LegId,
    pub(crate) carrier: K,
    pub(crate) path: Vec<NodeId>,
    /// Tells legs of one hop apart, at the client.
    pub(crate) way: u16,
    pub(crate) asked: Asked,
    pub(crate) flight: Flight,
    pub(crate) intake: Intake,
    pub(crate) law: Law,
    /// Messages that wait for a cell, but LINK and UNLINK.
    pub(crate) messages: VecDeque<Message>,
    /// When the pace lets the next data cell go.
    pub(crate) paced_until: Option<Instant>,
    pub(crate) silence: Option<Silence>,
    /// Loss of the last ten seconds.
    pub(crate) loss: crate::loss::Loss,
}

/// A leg of which nothing was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    pub(crate) wait: Duration,
    pub(crate) next_probe: Instant,
    /// Count of the newest cell that had been sent: what came before says nothing about now.
    pub(crate) newest: u64,
}

impl<K> Core<K> {
    pub(crate) fn new(id: LegId, carrier: K, path: Vec<NodeId>, control: LegControl, asked: Asked) -> Self {
        Self {
            id,
            carrier,
            path,
            way: 0,
            asked,
            flight: Flight::new(),
            intake: Intake::default(),
            law: Law::new(control),
            messages: VecDeque::new(),
            paced_until: None,
            silence: None,
            loss: crate::loss::Loss::default(),
        }
    }

    pub(crate) fn say(&mut self, message: Message) {
        if self.messages.len() >= MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }
}

/// A client's leg whose LINK is not answered.
pub(crate) struct Linking<K> {
    pub(crate) core: Core<K>,
    pub(crate) repeat: Repeat,
    pub(crate) joins: bool,
}

impl<K> Linking<K> {
    pub(crate) fn into_linked(self) -> Linked<K> {
        Linked { core: self.core, role: Role::Client { repeat: self.repeat } }
    }
}

/// A leg in use.
pub(crate) struct Linked<K> {
    pub(crate) core: Core<K>,
    pub(crate) role: Role,
}

/// What an end knows of how the leg was linked.
pub(crate) enum Role {
    /// LINKs that were said.
    Client { repeat: Repeat },
    /// LINKs that came, and when each was answered.
    Exit { answered: [Option<Instant>; 8], asked: u8, acked: u8, is_confirmed: bool },
}

impl<K> Linked<K> {
    pub(crate) fn into_draining(self, now: Instant, why: LegEnd, forget_at: Instant) -> Draining<K> {
        let repeat = (why == LegEnd::Removed).then(|| Repeat::new(now));
        Draining { core: self.core, repeat, is_answered: false, why, forget_at }
    }
}

/// A leg that takes no more data, and brings what is on its way.
pub(crate) struct Draining<K> {
    pub(crate) core: Core<K>,
    /// UNLINK, until it is answered.
    pub(crate) repeat: Option<Repeat>,
    pub(crate) is_answered: bool,
    pub(crate) why: LegEnd,
    pub(crate) forget_at: Instant,
}

impl<K> Draining<K> {
    pub(crate) fn says_unlink(&self, now: Instant) -> bool {
        !self.is_answered && self.repeat.as_ref().is_some_and(|repeat| repeat.is_due(now))
    }

    pub(crate) fn may_say_again(&self) -> bool {
        self.repeat.as_ref().is_some_and(|repeat| !repeat.is_over(repeat.due()))
    }
}

/// A leg of a tunnel.
pub(crate) enum Member<K> {
    Linking(Linking<K>),
    Linked(Linked<K>),
    Draining(Draining<K>),
}

impl<K> Member<K> {
    pub(crate) fn core(&self) -> &Core<K> {
        match self {
            Self::Linking(leg) => &leg.core,
            Self::Linked(leg) => &leg.core,
            Self::Draining(leg) => &leg.core,
        }
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core<K> {
        match self {
            Self::Linking(leg) => &mut leg.core,
            Self::Linked(leg) => &mut leg.core,
            Self::Draining(leg) => &mut leg.core,
        }
    }

    pub(crate) fn into_released(self, why: LegEnd) -> Released<K> {
        let core = match self {
            Self::Linking(leg) => leg.core,
            Self::Linked(leg) => leg.core,
            Self::Draining(leg) => leg.core,
        };
        Released { carrier: core.carrier, leg: core.id, why }
    }

    pub(crate) fn is_linked(&self) -> bool {
        matches!(self, Self::Linked(_))
    }

    pub(crate) fn state(&self) -> LegState {
        match self {
            Self::Linking(_) => LegState::Linking,
            Self::Linked(leg) if leg.core.silence.is_some() => LegState::Silent,
            Self::Linked(_) => LegState::Linked,
            Self::Draining(_) => LegState::Draining,
        }
    }
}

/// What a leg of a tunnel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LegState {
    /// LINK is not answered.
    Linking,
    /// In use.
    Linked,
    /// Linked, and nothing was heard of what went on it.
    Silent,
    /// On its way out.
    Draining,
}

impl<K> fmt::Debug for Member<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.core().id, self.state())
    }
}
