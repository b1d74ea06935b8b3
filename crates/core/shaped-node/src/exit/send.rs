//! Cells that leave. Tunnels take turns, a bounded number of cells each, so that none waits behind a long answer of another.

use super::circuits::Circuits;
use super::joined::Joined;
use super::{CircuitExit, ExitEvent};
use crate::memory::Holder;
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use conflux::LegId;
use link::Now;
use std::time::Duration;
use wire::leg::LegHeader;
use wire::packet::LEG_HEADER_LEN;

/// Cells of one tunnel before the next one has its turn.
pub const CELLS_A_TURN: usize = 32;
/// Cells of all tunnels in one [`CircuitExit::pump`], and at most one turn more; what is left comes in the next.
pub const CELLS_A_PUMP_MAX: usize = 1_024;
/// When a tunnel whose circuits have no room is looked at again, if nothing else happens.
const BLOCKED_WAIT: Duration = Duration::from_millis(5);

/// Why a tunnel's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing more may leave.
    Done,
    /// There may be more.
    More,
    /// The relay has no room on a circuit.
    Blocked,
}

/// What cells are made with.
struct Maker<'a, C> {
    circuits: &'a mut C,
    inner: &'a mut Vec<u8>,
    packet_bytes: u64,
    sent: Sent,
}

/// Cells of a turn.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    data: usize,
    own: usize,
    /// Session packets whose circuit was gone when they were made. The session repeats them.
    lost: u64,
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Sends what may leave now, and lets sessions and flows go on; with a schedule it sends nothing. To be called in each turn of the shell's loop, before
    /// the relay is asked for packets.
    pub fn pump(&mut self, now: Now, circuits: &mut impl Circuits) {
        self.now = Some(now.instant);
        if self.is_shaped() {
            self.settle_woken(now, circuits);
        } else {
            self.send_now(now, circuits);
        }
        self.is_woken = false;
        self.feed(now);
        self.follow_fault();
        if let Some(queues) = self.near.queues() {
            queues.flush();
        }
    }

    /// Lets the tunnels send, in turns.
    fn send_now(&mut self, now: Now, circuits: &mut impl Circuits) {
        let (mut cells, mut blocked) = (0, 0);
        // Once all that have a turn are blocked, another round brings nothing.
        while cells < CELLS_A_PUMP_MAX && blocked < self.turns.len() {
            let Some(id) = self.turns.pop_front() else { break };
            let (sent, after) = self.serve(now, id, circuits);
            cells += sent;
            blocked = if after == After::Blocked { blocked + 1 } else { 0 };
        }
    }

    /// Lets tunnels with a schedule go on with all but sending.
    fn settle_woken(&mut self, now: Now, circuits: &mut impl Circuits) {
        for id in std::mem::take(&mut self.turns) {
            let Some(joined) = self.tunnels.get_mut(&id) else { continue };
            joined.settle(now.instant, &mut self.near);
            joined.keep_account(now.instant, &mut self.memory);
            joined.has_turn = false;
            if std::mem::take(&mut joined.came_up) {
                self.note(ExitEvent::SessionUp(id));
            }
            self.follow_legs(now, id, circuits);
            self.plan(id, None);
        }
    }

    /// One turn of one tunnel.
    fn serve(&mut self, now: Now, id: u64, circuits: &mut impl Circuits) -> (usize, After) {
        let Some(joined) = self.tunnels.get_mut(&id) else { return (0, After::Done) };
        joined.settle(now.instant, &mut self.near);
        joined.keep_account(now.instant, &mut self.memory);
        let packet_bytes = self.config.session_packet as u64;
        let mut maker =
            Maker { circuits: &mut *circuits, inner: &mut self.scratch, packet_bytes, sent: Sent::default() };
        let after = maker.send(now, joined, &mut self.near);
        joined.keep_account(now.instant, &mut self.memory);
        let sent = maker.sent;
        self.counters.data_cells += sent.data as u64;
        self.counters.own_cells += sent.own as u64;
        self.counters.packets_lost += sent.lost;
        if after == After::Done && joined.lost.is_some() {
            joined.legs.close(now.instant);
        }
        joined.has_turn = after != After::Done;
        let came_up = std::mem::take(&mut joined.came_up);
        let again = match after {
            After::Done => None,
            After::More => Some(now.instant),
            After::Blocked => Some(now.instant + BLOCKED_WAIT),
        };
        if after != After::Done {
            self.turns.push_back(id);
        }
        if came_up {
            self.note(ExitEvent::SessionUp(id));
        }
        self.follow_legs(now, id, circuits);
        self.plan(id, again);
        (sent.data + sent.own, after)
    }

    /// Gives queue pairs that have become free to flows that wait for one.
    fn feed(&mut self, now: Now) {
        let hungry: Vec<u64> = self.hungry.iter().copied().collect();
        for id in hungry {
            let Some(joined) = self.tunnels.get_mut(&id) else { continue };
            joined.settle(now.instant, &mut self.near);
            let again = joined.deadline.filter(|_| joined.has_turn);
            if joined.lost.is_some() {
                self.wake(id);
            }
            self.plan(id, again);
        }
    }
}

impl<C: Circuits> Maker<'_, C> {
    fn send<Q: FlowQueues>(&mut self, now: Now, joined: &mut Joined, near: &mut Near<Q>) -> After {
        while let Some(leg) = joined.legs.poll_own(now.instant) {
            if self.cells() >= CELLS_A_TURN {
                return After::More;
            }
            if !self.own_cell(now, joined, leg) {
                return After::Blocked;
            }
        }
        loop {
            if self.cells() >= CELLS_A_TURN {
                return After::More;
            }
            joined.tunnel.top_up(now.instant, near, Portions::OFF);
            let waiting = joined.tunnel.session.unsent_bytes().div_ceil(self.packet_bytes);
            let Some(leg) = joined.legs.poll_data(now.instant, waiting) else { return After::Done };
            match self.data_cell(now, joined, leg) {
                After::More => joined.settle(now.instant, near),
                After::Done => {
                    joined.legs.handle_idle(now.instant);
                    return After::Done;
                }
                After::Blocked => return After::Blocked,
            }
        }
    }

    fn cells(&self) -> usize {
        self.sent.data + self.sent.own
    }

    /// A message about a leg, or feedback. False: its circuit has no room.
    fn own_cell(&mut self, now: Now, joined: &mut Joined, leg: LegId) -> bool {
        let Some(circuit) = joined.legs.carrier(leg).copied() else { return true };
        let Some(number) = self.circuits.sealed(circuit) else {
            joined.legs.handle_circuit_gone(now.instant, leg);
            return true;
        };
        if self.circuits.room(circuit) == 0 {
            return false;
        }
        let mut message = Vec::new();
        let Some(header) = joined.legs.own_header(now.instant, leg, number, &mut message) else { return true };
        put(self.inner, &header, &message);
        match self.circuits.send(now, circuit, self.inner) {
            Ok(()) => self.sent.own += 1,
            Err(_) => joined.legs.handle_circuit_gone(now.instant, leg),
        }
        true
    }

    /// A session packet on the leg that the tunnel named, if its circuit has room and the session has one.
    fn data_cell(&mut self, now: Now, joined: &mut Joined, leg: LegId) -> After {
        let Some(circuit) = joined.legs.carrier(leg).copied() else { return After::Done };
        let Some(number) = self.circuits.sealed(circuit) else {
            joined.legs.handle_circuit_gone(now.instant, leg);
            return After::More;
        };
        if self.circuits.room(circuit) == 0 {
            return After::Blocked;
        }
        let mut packet = Vec::new();
        let Some(length) = joined.tunnel.session.poll_packet(now.instant, &mut packet) else { return After::Done };
        let Some(header) = joined.legs.data_header(now.instant, leg, number, length as u16) else {
            self.sent.lost += 1;
            return After::Done;
        };
        put(self.inner, &header, &packet);
        match self.circuits.send(now, circuit, self.inner) {
            Ok(()) => self.sent.data += 1,
            Err(_) => {
                self.sent.lost += 1;
                joined.legs.handle_circuit_gone(now.instant, leg);
            }
        }
        self.copies(now, joined, &packet);
        After::More
    }

    /// The packet that was sent last, on the other legs that the tunnel wants it on and whose circuits have room.
    fn copies(&mut self, now: Now, joined: &mut Joined, packet: &[u8]) {
        while let Some(leg) = joined.legs.poll_copy() {
            let Some(circuit) = joined.legs.carrier(leg).copied() else { continue };
            let Some(number) = self.circuits.sealed(circuit).filter(|_| self.circuits.room(circuit) > 0) else {
                continue;
            };
            let Some(header) = joined.legs.copy_header(now.instant, leg, number, packet.len() as u16) else { continue };
            put(self.inner, &header, packet);
            match self.circuits.send(now, circuit, self.inner) {
                Ok(()) => self.sent.data += 1,
                Err(_) => joined.legs.handle_circuit_gone(now.instant, leg),
            }
        }
    }
}

/// Writes the inner part of a cell.
pub(super) fn put(inner: &mut Vec<u8>, header: &LegHeader, body: &[u8]) {
    inner.clear();
    inner.reserve(LEG_HEADER_LEN + body.len());
    inner.extend_from_slice(&header.encode());
    inner.extend_from_slice(body);
}
