//! A circuit before and after it is linked.

use super::timing::KEEP_ALIVE;
use link::LinkId;
use onion::{CircuitEvent, Received, SealError};
use std::time::Instant;
use wire::cell::{CellHead, CircuitId, Command};

/// A circuit that can be extended.
pub(super) struct OnionCircuit {
    pub(super) circuit: onion::Circuit,
    pub(super) link: LinkId,
}

impl conflux::Circuit for OnionCircuit {
    type Carrier = Carrier;

    fn into_carrier(self) -> Carrier {
        Carrier { circuit: self.circuit, link: self.link, cover_at: None }
    }
}

/// What carries a leg's cells. It cannot be extended.
pub(super) struct Carrier {
    circuit: onion::Circuit,
    link: LinkId,
    /// When a cover cell is due if nothing else leaves before.
    cover_at: Option<Instant>,
}

impl Carrier {
    /// Whether it can be sealed for: it was neither cut nor worn out.
    pub(super) fn takes_cells(&self) -> bool {
        self.circuit.is_ready()
    }

    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    pub(super) fn id(&self) -> CircuitId {
        self.circuit.id()
    }

    /// Where the inner part begins in a region.
    pub(super) fn inner(&self) -> usize {
        self.circuit.inner()
    }

    /// The circuit's next own cell: at a meeting it goes on to say that it was told.
    pub(super) fn poll_cell(&mut self, now: Instant, region: &mut [u8]) -> Option<CellHead> {
        self.circuit.poll_cell(now, region)
    }

    /// When [`Carrier::poll_cell`] has something.
    pub(super) fn own_due(&self) -> Option<Instant> {
        self.circuit.poll_timeout()
    }

    /// The layer number of the next cell.
    pub(super) fn sealed(&self) -> u64 {
        self.circuit.sealed()
    }

    pub(super) fn head(&self) -> CellHead {
        CellHead { circuit: self.circuit.id(), command: Command::Relay }
    }

    /// When a cover cell is due if nothing else leaves before; none before the first cell.
    pub(super) fn cover_at(&self) -> Option<Instant> {
        self.cover_at
    }

    /// Wants a cell at once, for its neighbour to show that it is there.
    pub(super) fn ask(&mut self, now: Instant) {
        self.cover_at = self.cover_at.map(|at| at.min(now));
    }

    pub(super) fn seal(&mut self, now: Instant, region: &mut [u8]) -> Result<(), SealError> {
        self.cover_at = Some(now + KEEP_ALIVE);
        self.circuit.seal(now, region).map(|_| ())
    }

    pub(super) fn handle_cell(&mut self, now: Instant, command: Command, region: &mut [u8]) -> Received {
        self.circuit.handle_cell(now, command, region)
    }

    /// Whether something has happened that ends the leg: a circuit that is ready changes in no other way.
    pub(super) fn is_broken(&mut self) -> bool {
        std::iter::from_fn(|| self.circuit.poll_event()).any(|event| !matches!(event, CircuitEvent::Extended { .. }))
            || !self.circuit.is_ready()
    }

    pub(super) fn into_circuit(self) -> onion::Circuit {
        self.circuit
    }
}
