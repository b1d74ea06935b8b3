//! A service's end of circuits that are joined at rendezvous points: what a relay is for an exit ([`Circuits`]), a set of circuits
//! with a virtual hop is for a service. So the same [`CircuitExit`](crate::CircuitExit) is the join point of its tunnels.

use crate::exit::{CircuitGone, Circuits, ServedAs};
use link::{Endpoint, LinkEvent, LinkId, Now, Route};
use onion::{Circuit, CircuitKey, Reason, Received};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};
use thiserror::Error;
use wire::cell::{CellHead, CircuitId, Command};

/// Joined circuits that a service has at a time, those that are being taken down included. Further ones are not taken.
pub const JOINED_MAX: usize = 1_024;
/// Packets of one circuit that wait for [`ServiceCircuits::poll_packet`]; when there are so many it has no room.
pub const CELLS_PER_CIRCUIT_MAX: usize = 64;
/// Circuits that are gone and wait for [`ServiceCircuits::poll_released`]; of more, the oldest is forgotten.
const RELEASED_MAX: usize = 2 * JOINED_MAX;
/// A relay hears from a circuit at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A circuit that a service cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotJoined {
    /// It has no virtual hop.
    #[error("the circuit is not joined to another one")]
    NoVirtualHop,
    /// There are as many as a service may have.
    #[error("the service has as many circuits as it takes")]
    Full,
}

/// What became of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceCame {
    /// A cell of the client: this part of the region.
    Inner {
        /// On which circuit.
        circuit: CircuitKey,
        /// Where.
        inner: Range<usize>,
        /// Its number at the virtual hop.
        number: u64,
    },
    /// It was for the circuit itself.
    Handled,
    /// It was dropped.
    Dropped,
}

/// A circuit, and where its cells go.
struct Joined {
    link: LinkId,
    circuit: Circuit,
    served: Option<ServedAs>,
    /// Packets of it that wait.
    waiting: usize,
    /// When its relay is to hear of it if nothing else leaves before.
    silent_until: Instant,
    /// Whoever uses it knows that it is gone.
    is_told: bool,
    /// The inner part of a cell that is said outside of any tunnel.
    parting: Option<Vec<u8>>,
}

impl Joined {
    fn say_parting(&mut self, now: Instant, region: &mut [u8]) -> Option<CellHead> {
        let inner = self.parting.take()?;
        self.silent_until = now + KEEP_ALIVE;
        region.fill(0);
        region[self.circuit.inner()..][..inner.len()].copy_from_slice(&inner);
        self.circuit.seal(now, region).ok()?;
        Some(CellHead { circuit: self.circuit.id(), command: Command::Relay })
    }
}

/// All joined circuits of a service.
///
/// - What happened: [`ServiceCircuits::handle_cell`], [`ServiceCircuits::handle_link_event`].
/// - Commands: [`ServiceCircuits::add`]; and those of [`Circuits`], through [`ServiceCircuits::over`].
/// - What to do: [`ServiceCircuits::poll_gone`] (tell [`CircuitExit::handle_circuit_gone`](crate::CircuitExit::handle_circuit_gone)),
///   [`ServiceCircuits::poll_cell`] and [`ServiceCircuits::poll_packet`], each until `None`.
///   [`ServiceCircuits::poll_timeout`] says when to look again.
#[derive(Default)]
pub struct ServiceCircuits {
    circuits: BTreeMap<CircuitKey, Joined>,
    places: BTreeMap<(LinkId, CircuitId), CircuitKey>,
    loss: BTreeMap<LinkId, u16>,
    waiting: VecDeque<(CircuitKey, Route, Vec<u8>)>,
    gone: VecDeque<CircuitKey>,
    /// Those that were forgotten, of which nobody was told.
    released: VecDeque<(LinkId, CircuitId)>,
    last: u64,
}

impl fmt::Debug for ServiceCircuits {
    /// Nothing of any client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCircuits").field("circuits", &self.circuits.len()).finish_non_exhaustive()
    }
}

impl ServiceCircuits {
    /// Circuits that are there, those that are being taken down included.
    pub fn len(&self) -> usize {
        self.circuits.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.circuits.is_empty()
    }

    /// Takes a circuit with a virtual hop, and what stands behind tunnels over it (none: what stands behind the join point's own).
    /// Its key is never used again.
    ///
    /// # Errors
    /// Gives the circuit back when it has no virtual hop, or there are too many.
    pub fn add(
        &mut self,
        now: Now,
        link: LinkId,
        circuit: Circuit,
        served: Option<ServedAs>,
    ) -> Result<CircuitKey, (Box<Circuit>, NotJoined)> {
        if !circuit.is_virtual() {
            return Err((Box::new(circuit), NotJoined::NoVirtualHop));
        }
        if self.circuits.len() >= JOINED_MAX {
            return Err((Box::new(circuit), NotJoined::Full));
        }
        self.last += 1;
        let key = CircuitKey::numbered(self.last);
        self.places.insert((link, circuit.id()), key);
        let silent_until = now.instant + KEEP_ALIVE;
        self.circuits
            .insert(key, Joined { link, circuit, served, waiting: 0, silent_until, is_told: false, parting: None });
        Ok(key)
    }

    /// Takes a cell that came over a link, whose region is opened in place. `None`: it is of no circuit of these.
    pub fn handle_cell(&mut self, now: Now, link: LinkId, head: CellHead, region: &mut [u8]) -> Option<ServiceCame> {
        let key = *self.places.get(&(link, head.circuit))?;
        let joined = self.circuits.get_mut(&key)?;
        let received = joined.circuit.handle_cell(now.instant, head.command, region);
        let came = match received {
            Received::Inner { number } => {
                ServiceCame::Inner { circuit: key, inner: joined.circuit.inner()..region.len(), number }
            }
            Received::Handled => ServiceCame::Handled,
            Received::Dropped(_) => ServiceCame::Dropped,
        };
        self.follow(now, key);
        Some(came)
    }

    /// What a link says: losses, and its end.
    pub fn handle_link_event(&mut self, now: Now, event: &LinkEvent) {
        match event {
            LinkEvent::Report { link, figures } => {
                let loss = u16::try_from(figures.outbound.per_mille()).unwrap_or(u16::MAX);
                if self.circuits.values().any(|joined| joined.link == *link) {
                    self.loss.insert(*link, loss);
                }
            }
            LinkEvent::Down { link, .. } | LinkEvent::Replaced { link, fresh: true, .. } => {
                let of = self.circuits.iter().filter(|(_, joined)| joined.link == *link);
                let keys: Vec<CircuitKey> = of.map(|(key, _)| *key).collect();
                for key in keys {
                    if let Some(joined) = self.circuits.get_mut(&key) {
                        joined.circuit.handle_link_down();
                    }
                    self.follow(now, key);
                }
                self.loss.remove(link);
            }
            _ => {}
        }
    }

    /// A circuit that brings and takes nothing any more, once each.
    pub fn poll_gone(&mut self) -> Option<CircuitKey> {
        self.gone.pop_front()
    }

    /// A circuit of which nothing is left, and the link that it went over; to be asked until `None`, or there are as many as there
    /// were circuits.
    pub fn poll_released(&mut self) -> Option<(LinkId, CircuitId)> {
        self.released.pop_front()
    }

    /// The next cell of the circuits' own, if one is due: its region is written, and it goes over this link. A caller that could not send
    /// it need do nothing: what matters is said again.
    pub fn poll_cell(&mut self, now: Now, region: &mut [u8]) -> Option<(LinkId, CellHead)> {
        self.poll_cell_of(now, region, |_| true)
    }

    /// The same of the circuits over one link.
    pub fn poll_cell_over(&mut self, now: Now, link: LinkId, region: &mut [u8]) -> Option<CellHead> {
        self.poll_cell_of(now, region, |of| of == link).map(|(_, head)| head)
    }

    fn poll_cell_of(
        &mut self,
        now: Now,
        region: &mut [u8],
        is_wanted: impl Fn(LinkId) -> bool,
    ) -> Option<(LinkId, CellHead)> {
        let wanted = self.circuits.iter().filter(|(_, joined)| is_wanted(joined.link));
        let keys: Vec<CircuitKey> = wanted.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(joined) = self.circuits.get_mut(&key) else { continue };
            if let Some(head) = joined.say_parting(now.instant, region) {
                return Some((joined.link, head));
            }
            if joined.silent_until <= now.instant && joined.circuit.is_virtual() {
                joined.silent_until = now.instant + KEEP_ALIVE;
                joined.circuit.keep_alive(now.instant);
            }
            let (link, head) = (joined.link, joined.circuit.poll_cell(now.instant, region));
            self.follow(now, key);
            if let Some(head) = head {
                return Some((link, head));
            }
        }
        None
    }

    /// The next packet that was sent on a circuit, and where it goes.
    pub fn poll_packet(&mut self) -> Option<(Route, Vec<u8>)> {
        let (key, route, packet) = self.waiting.pop_front()?;
        if let Some(joined) = self.circuits.get_mut(&key) {
            joined.waiting = joined.waiting.saturating_sub(1);
        }
        Some((route, packet))
    }

    /// When [`ServiceCircuits::poll_cell`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.circuits.values().filter_map(|joined| joined.circuit.poll_timeout());
        let silent = self.circuits.values().filter(|joined| joined.circuit.is_virtual());
        own.chain(silent.map(|joined| joined.silent_until)).min()
    }

    /// The circuits with the links that they go over: what the join point of tunnels needs.
    pub fn over<'a>(&'a mut self, endpoint: &'a mut Endpoint) -> ServiceLinks<'a> {
        ServiceLinks { circuits: self, endpoint }
    }

    /// Looks at what has become of a circuit. One that lost its other end is of no use to a service: its client comes anew.
    fn follow(&mut self, now: Now, key: CircuitKey) {
        let Some(joined) = self.circuits.get_mut(&key) else { return };
        while joined.circuit.poll_event().is_some() {}
        while joined.circuit.poll_message().is_some() {}
        if !joined.circuit.is_virtual() {
            joined.circuit.destroy(now.instant);
            while joined.circuit.poll_event().is_some() {}
            if !std::mem::replace(&mut joined.is_told, true) {
                self.gone.push_back(key);
            }
        }
        if joined.circuit.is_finished() {
            let place = (joined.link, joined.circuit.id());
            self.places.remove(&place);
            self.circuits.remove(&key);
            if self.released.len() >= RELEASED_MAX {
                self.released.pop_front();
            }
            self.released.push_back(place);
        }
    }
}

/// Joined circuits and the links below them.
pub struct ServiceLinks<'a> {
    circuits: &'a mut ServiceCircuits,
    endpoint: &'a mut Endpoint,
}

impl fmt::Debug for ServiceLinks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.circuits.fmt(f)
    }
}

impl ServiceLinks<'_> {
    fn usable(&self, circuit: CircuitKey) -> Option<&Joined> {
        self.circuits.circuits.get(&circuit).filter(|joined| joined.circuit.is_virtual() && joined.circuit.is_ready())
    }
}

impl Circuits for ServiceLinks<'_> {
    fn can_link(&self, circuit: CircuitKey) -> bool {
        // A virtual hop is for nothing else.
        self.usable(circuit).is_some()
    }

    fn served_as(&self, circuit: CircuitKey) -> Option<&ServedAs> {
        self.circuits.circuits.get(&circuit)?.served.as_ref()
    }

    fn sealed(&self, circuit: CircuitKey) -> Option<u64> {
        self.usable(circuit).map(|joined| joined.circuit.sealed())
    }

    fn room(&self, circuit: CircuitKey) -> usize {
        self.usable(circuit).map_or(0, |joined| CELLS_PER_CIRCUIT_MAX.saturating_sub(joined.waiting))
    }

    fn send(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), CircuitGone> {
        let mut packet = Vec::new();
        let route = self.seal(now, circuit, inner, &mut packet)?;
        let joined = self.circuits.circuits.get_mut(&circuit).ok_or(CircuitGone)?;
        if joined.waiting >= CELLS_PER_CIRCUIT_MAX {
            // Whoever sends without room loses the newest; the session repeats it.
            self.take_back(circuit, 1);
            return Ok(());
        }
        joined.waiting += 1;
        self.circuits.waiting.push_back((circuit, route, packet));
        Ok(())
    }

    fn refuse(&mut self, now: Now, circuit: CircuitKey, inner: &[u8]) -> Result<(), CircuitGone> {
        // With a schedule, what is sent leaves in a tunnel's slots, and here there is no tunnel: it goes with the circuit's own cells.
        let joined =
            self.circuits.circuits.get_mut(&circuit).filter(|joined| joined.circuit.is_virtual()).ok_or(CircuitGone)?;
        joined.parting = Some(inner.to_vec());
        joined.silent_until = now.instant;
        Ok(())
    }

    fn seal(&mut self, now: Now, circuit: CircuitKey, inner: &[u8], out: &mut Vec<u8>) -> Result<Route, CircuitGone> {
        let joined = self.circuits.circuits.get_mut(&circuit).ok_or(CircuitGone)?;
        if !joined.circuit.is_virtual() {
            return Err(CircuitGone);
        }
        let (mut worn, head) = (false, CellHead { circuit: joined.circuit.id(), command: Command::Relay });
        let Joined { link, circuit: sealing, silent_until, .. } = joined;
        let start = out.len();
        let sealed = self.endpoint.seal_cell(
            now,
            *link,
            head,
            |region| {
                region.fill(0);
                region[sealing.inner()..][..inner.len()].copy_from_slice(inner);
                worn = sealing.seal(now.instant, region).is_err();
            },
            out,
        );
        *silent_until = now.instant + KEEP_ALIVE;
        if worn {
            out.truncate(start);
            self.circuits.follow(now, circuit);
            return Err(CircuitGone);
        }
        sealed.map_err(|_| CircuitGone)
    }

    fn take_back(&mut self, circuit: CircuitKey, packets: u32) {
        if let Some(joined) = self.circuits.circuits.get(&circuit) {
            self.endpoint.take_back(joined.link, packets);
        }
    }

    fn link_loss(&mut self, circuit: CircuitKey) -> Option<u16> {
        let link = self.circuits.circuits.get(&circuit)?.link;
        Some(self.circuits.loss.get(&link).copied().unwrap_or_default())
    }

    fn destroy(&mut self, now: Now, circuit: CircuitKey, _reason: Reason) {
        if let Some(joined) = self.circuits.circuits.get_mut(&circuit) {
            // A relay is told nothing but that it is over.
            joined.circuit.destroy(now.instant);
            joined.is_told = true;
        }
        self.circuits.follow(now, circuit);
    }
}
