//! What an exit needs of the relay that its circuits go through, and where each circuit stands.

use super::{CircuitExit, ServedAs};
use crate::queues::FlowQueues;
use conflux::LegId;
use link::{Now, Route};
use onion::{CircuitKey, Features, Reason};
use relay_node::RelayNode;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a circuit stays whose client has just been told something, so that the news does not come behind the end of
/// the circuit.
pub const LINGER: Duration = Duration::from_secs(1);
/// Circuits that stay so long at a time. When there are more, the oldest one goes at once.
pub const LEAVING_MAX: usize = 1_024;

/// A circuit takes no cell: it is gone, or ends elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the circuit takes no cells here")]
pub struct CircuitGone;

/// The relay's side of circuits that end at this exit. A key of a circuit is never used again.
pub trait Circuits {
    /// Whether both ends of a circuit agreed on linking ([`onion::Features::LINKING`]).
    fn can_link(&self, circuit: CircuitKey) -> bool;
    /// As what a tunnel over this circuit is served, at a service. `None`: as at an exit, under the node's own key and policy.
    fn served_as(&self, _circuit: CircuitKey) -> Option<&ServedAs> {
        None
    }
    /// The layer number of the next cell that is sent; none if the circuit is gone.
    fn sealed(&self, circuit: CircuitKey) -> Option<u64>;
    /// Cells that fit before the relay would drop one.
    fn room(&self, circuit: CircuitKey) -> usize;
    /// Says that a circuit becomes no leg. It is no tunnel's, so it has no slots of one.
    ///
    /// # Errors
    /// When the circuit takes no cell.
    fn refuse(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), CircuitGone> {
        self.send(now, circuit, inner)
    }
    /// Sends a cell to the client of a circuit; `inner` is filled up with zeros.
    ///
    /// # Errors
    /// When the circuit takes none.
    fn send(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), CircuitGone>;
    /// Seals a cell for a slot: appends the whole packet to `out` and says where it goes, or appends nothing.
    ///
    /// # Errors
    /// When the circuit takes none.
    fn seal(&mut self, now: Now, circuit: CircuitKey, inner: &[u8], out: &mut Vec<u8>) -> Result<Route, CircuitGone>;
    /// So many packets that were sealed for a circuit have not been sent, and will not be.
    fn take_back(&mut self, circuit: CircuitKey, packets: u32);
    /// Loss on the link over which a circuit's cells leave, in thousandths, by that link's own reports.
    fn link_loss(&mut self, circuit: CircuitKey) -> Option<u16>;
    /// Takes a circuit down; its client is told why. Nothing happens if it is gone.
    fn destroy(&mut self, now: Now, circuit: CircuitKey, reason: Reason);
}

impl Circuits for RelayNode {
    fn can_link(&self, circuit: CircuitKey) -> bool {
        self.features(circuit).is_some_and(|both| both.has(Features::LINKING))
    }

    fn sealed(&self, circuit: CircuitKey) -> Option<u64> {
        Self::sealed(self, circuit)
    }

    fn room(&self, circuit: CircuitKey) -> usize {
        Self::room(self, circuit)
    }

    fn send(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), CircuitGone> {
        self.send_inner(now, circuit, inner).map_err(|_| CircuitGone)
    }

    fn seal(&mut self, now: Now, circuit: CircuitKey, inner: &[u8], out: &mut Vec<u8>) -> Result<Route, CircuitGone> {
        self.seal_inner(now, circuit, inner, out).map_err(|_| CircuitGone)
    }

    fn take_back(&mut self, circuit: CircuitKey, packets: u32) {
        Self::take_back(self, circuit, packets);
    }

    fn link_loss(&mut self, circuit: CircuitKey) -> Option<u16> {
        Self::link_loss(self, circuit)
    }

    fn destroy(&mut self, now: Now, circuit: CircuitKey, reason: Reason) {
        Self::destroy(self, now, circuit, reason);
    }
}

/// Where a circuit stands that has brought more than cover cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is this leg of this tunnel.
    Leg(u64, LegId),
    /// It is out of use, and will be taken down. What still comes is dropped.
    Leaving,
}

/// Circuits that are taken down in a while, oldest first.
#[derive(Debug, Default)]
pub(super) struct Leaving(VecDeque<(Instant, CircuitKey)>);

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one; gives the oldest if there are too many.
    fn push(&mut self, until: Instant, circuit: CircuitKey) -> Option<CircuitKey> {
        let oldest = if self.0.len() >= LEAVING_MAX { self.0.pop_front() } else { None };
        self.0.push_back((until, circuit));
        oldest.map(|(_, circuit)| circuit)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<CircuitKey> {
        self.0.pop_front_if(|(until, _)| *until <= now).map(|(_, circuit)| circuit)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|(until, _)| *until)
    }
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// A circuit is over.
    pub fn handle_circuit_gone(&mut self, now: Now, circuit: CircuitKey, circuits: &mut impl Circuits) {
        self.now = Some(now.instant);
        if let Some(Place::Leg(id, leg)) = self.places.remove(&circuit)
            && let Some(joined) = self.tunnels.get_mut(&id)
        {
            joined.legs.handle_circuit_gone(now.instant, leg);
            self.follow_legs(now, id, circuits);
            self.wake(id);
        }
    }

    /// A circuit goes on to another relay, which no honest client lets a leg do.
    pub fn handle_circuit_extended(&mut self, now: Now, circuit: CircuitKey, circuits: &mut impl Circuits) {
        self.now = Some(now.instant);
        if let Some(Place::Leg(id, leg)) = self.places.get(&circuit).copied()
            && let Some(joined) = self.tunnels.get_mut(&id)
        {
            joined.legs.handle_extended(now.instant, leg);
            self.follow_legs(now, id, circuits);
            self.wake(id);
        }
    }

    pub(super) fn take_down(&mut self, now: Now, circuit: CircuitKey, why: Reason, circuits: &mut impl Circuits) {
        self.places.remove(&circuit);
        circuits.destroy(now, circuit, why);
    }

    /// Takes a circuit down when what was said on it has had time to arrive.
    pub(super) fn let_leave(&mut self, now: Now, circuit: CircuitKey, circuits: &mut impl Circuits) {
        self.places.insert(circuit, Place::Leaving);
        if let Some(oldest) = self.leaving.push(now.instant + LINGER, circuit) {
            self.take_down(now, oldest, Reason::Finished, circuits);
        }
    }
}
