//! A circuit before and after it is linked.

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
        Carrier { circuit: self.circuit, link: self.link, sent_at: None }
    }
}

/// What carries a leg's cells. It cannot be extended.
pub(super) struct Carrier {
    circuit: onion::Circuit,
    link: LinkId,
    sent_at: Option<Instant>,
}

impl Carrier {
    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    pub(super) fn id(&self) -> CircuitId {
        self.circuit.id()
    }

    /// The layer number of the next cell.
    pub(super) fn sealed(&self) -> u64 {
        self.circuit.sealed()
    }

    pub(super) fn head(&self) -> CellHead {
        CellHead { circuit: self.circuit.id(), command: Command::Relay }
    }

    /// When the last cell left.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    pub(super) fn seal(&mut self, now: Instant, region: &mut [u8]) -> Result<(), SealError> {
        self.sent_at = Some(now);
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
