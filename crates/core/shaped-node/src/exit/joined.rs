//! One tunnel at the exit: its legs, and its session with the flows.

use super::schedule::Schedule;
use crate::memory::{Charge, Holder};
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::tunnel::{Tunnel, TunnelEvent};
use conflux::LegId;
use identity::NodeId;
use onion::CircuitKey;
use session::CloseReason;
use std::fmt;
use std::time::Instant;
use wire::flow::ResetReason;

/// A tunnel and where it stands.
pub(super) struct Joined {
    pub(super) legs: conflux::Tunnel<CircuitKey>,
    pub(super) tunnel: Tunnel,
    /// At a service: which one of the node's, and under which key its session runs.
    pub(super) service: Option<(usize, NodeId)>,
    /// When its cells leave; none in mode `off`.
    pub(super) schedule: Option<Schedule>,
    /// It is among those that have a turn.
    pub(super) has_turn: bool,
    /// When it is to be looked at.
    pub(super) deadline: Option<Instant>,
    /// The session is over. It may have a packet left, its farewell.
    pub(super) lost: Option<CloseReason>,
    /// The session has come up and nobody was told.
    pub(super) came_up: bool,
    /// What the exit was told that it holds.
    pub(super) charge: Charge,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("legs", &self.legs.linked()).finish_non_exhaustive()
    }
}

impl Joined {
    pub(super) fn new(legs: conflux::Tunnel<CircuitKey>, tunnel: Tunnel, schedule: Option<Schedule>) -> Self {
        Self {
            legs,
            tunnel,
            service: None,
            schedule,
            has_turn: false,
            deadline: None,
            lost: None,
            came_up: false,
            charge: Charge::default(),
        }
    }

    /// Takes a cell of a leg, and gives the session what is in order now.
    pub(super) fn handle_cell(&mut self, now: Instant, leg: LegId, number: u64, inner: &[u8]) {
        self.legs.handle_cell(now, leg, number, inner);
        self.take_packets(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.legs.handle_timeout(now);
        self.take_packets(now);
        if self.tunnel.session.poll_timeout().is_some_and(|at| at <= now) {
            self.tunnel.session.handle_timeout(now);
        }
        self.tunnel.forget_room_due(now);
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let session = self.tunnel.session.poll_timeout();
        let flows = [self.tunnel.arrivals_due(), self.tunnel.room_due()];
        [self.legs.poll_timeout(), session].into_iter().chain(flows).flatten().min()
    }

    /// Handles what the session has to say.
    pub(super) fn settle<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>) {
        // Each of the two comes once, and nothing after `Lost`.
        while let Some(event) = self.tunnel.settle(now, near) {
            match event {
                TunnelEvent::Up => self.came_up = true,
                TunnelEvent::Lost(reason) => {
                    self.tunnel.abandon(ResetReason::TunnelLost, near);
                    self.lost = Some(reason);
                }
            }
        }
        // Leave to release measurements means nothing where nothing is measured.
        for grant in self.tunnel.take_granted() {
            if let Some(schedule) = &mut self.schedule {
                schedule.pacing.handle_grant(grant);
            }
        }
    }

    /// A session packet of so many bytes has gone into a cell.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        if let Some(schedule) = &mut self.schedule {
            schedule.sent_bytes += bytes as u64;
        }
    }
}
