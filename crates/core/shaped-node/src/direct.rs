//! The tunnel of a pair: its one circuit is the link itself, and its one leg is never linked.

use crate::flow::Owner;
use crate::tunnel::Tunnel;
use conflux::OnlyLeg;
use link::LinkId;
use session::Session;
use std::time::Instant;
use wire::cell::CircuitId;
use wire::leg::{LegHeader, LegKind};

/// A tunnel with the circuit and the leg that carry it.
pub(crate) struct Direct {
    pub(crate) circuit: CircuitId,
    pub(crate) leg: OnlyLeg,
    pub(crate) tunnel: Tunnel,
}

impl Direct {
    pub(crate) fn new(link: LinkId, circuit: CircuitId, session: Session, client_secret: [u8; 32]) -> Self {
        Self { circuit, leg: OnlyLeg::new(), tunnel: Tunnel::new(Owner::Link(link), session, client_secret) }
    }

    /// Takes what stands behind a leg header: a session packet, or nothing.
    pub(crate) fn handle_cell(&mut self, now: Instant, header: &LegHeader, packet: &[u8]) {
        if self.leg.handle_cell(now, header) && header.kind == LegKind::Data {
            self.tunnel.handle_packet(now, packet);
        }
    }
}
