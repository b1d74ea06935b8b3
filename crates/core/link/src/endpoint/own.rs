//! Packets of a link's own: message 1 and cells of circuit 0. On a grid each takes a slot.

use super::Endpoint;
use super::door::Hello;
use crate::door::{DOOR_FIRST_LEN, seal_message_1};
use crate::event::{DownReason, LinkEvent, LinkId, Now};
use crate::handshake::{FIRST_LEN, Initiation};
use crate::path::Place;
use crate::route::Route;
use crate::schedule::{DayKeys, utc_day};
use crate::state::{LinkState, MESSAGE_2_READS_MAX, PendingDoor};
use rand_chacha::rand_core::Rng;
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, TAG_LEN};

/// A cell of circuit 0, and where it goes.
pub(super) struct OwnCell {
    pub(super) command: Command,
    pub(super) payload: Vec<u8>,
    pub(super) to: Place,
}

impl Endpoint {
    /// Appends one packet of the link's own that is due; returns where it goes. `None` leaves the slot to a cell.
    pub fn poll_own_packet(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        self.state(link)?;
        self.flush_hops(now, link.slot);
        if let Some(to) = self.poll_message_1(now, link.slot, out) {
            return Some(to);
        }
        let cell = self.poll_own_cell(now, link.slot)?;
        let start = out.len();
        out.resize(start + self.config.packet_size.packet(), 0);
        let packet = &mut out[start..];
        let head = CellHead { circuit: CircuitId::LINK, command: cell.command };
        packet[HEADER_LEN..HEADER_LEN + CELL_HEAD_LEN].copy_from_slice(&head.encode());
        let end = packet.len() - TAG_LEN;
        packet[HEADER_LEN + CELL_HEAD_LEN..end][..cell.payload.len()].copy_from_slice(&cell.payload);
        let LinkState { up, hops, .. } = &mut **self.links[link.slot as usize].state.as_mut()?;
        let up = up.as_mut()?;
        if up.keys.seal(cell.to.hop, packet).is_err() {
            out.truncate(start);
            return None;
        }
        up.traffic.count_sent(cell.command == Command::Report);
        if cell.to == up.path.place() {
            up.path.count_sent();
            if let Some(hops) = hops {
                hops.count_sent(packet.len(), self.config.gridded);
            }
        }
        up.liveness.sent(now.instant, false);
        if cell.command == Command::Farewell {
            self.take_down(link.slot, DownReason::Closed, false);
        }
        Some(cell.to.route)
    }

    /// Message 1, if this link wants a handshake and its back-off is over.
    fn poll_message_1(&mut self, now: Now, slot: u32, out: &mut Vec<u8>) -> Option<Route> {
        let state = self.links[slot as usize].state.as_mut()?;
        let wanted = state.up.as_ref().is_none_or(|up| up.wants_handshake(now.instant, &self.config));
        let dial = state.dial.as_mut().filter(|dial| wanted && !dial.parked && now.instant >= dial.next_at)?;
        self.handshakes = self.handshakes.wrapping_add(1);
        let (version, parameters) = (self.config.version, dial.parameters);
        let hello = Hello { boot: self.boot, number: self.handshakes, version, parameters };
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        let mut first = [0; DOOR_FIRST_LEN];
        let local = dial.own.as_ref().unwrap_or(&self.local);
        let begun = Initiation::begin(local, &state.peer, ephemeral, &hello.encode(), &mut first);
        let unanswered = dial.count_try(now.instant, &mut self.rng);
        let (link, to) = (state.id, Route { via: dial.via, from: None, to: dial.address });
        let Ok(initiation) = begun else {
            // Out of memory or of randomness: the back-off tries again.
            tracing::warn!("the cryptographic library failed to begin a handshake");
            return None;
        };
        let keys = DayKeys::derive(&dial.door_key, utc_day(now.unix_s));
        let start = out.len();
        out.resize(start + self.config.packet_size.packet(), 0);
        let tag = seal_message_1(&keys, &dial.cookie(now.instant), &first, &mut self.rng, &mut out[start..]);
        let (sent_at, reads_left) = (now.instant, MESSAGE_2_READS_MAX);
        dial.pending = Some(Box::new(PendingDoor { initiation, keys, tag, sent_at, reads_left }));
        if let Some(up) = &mut state.up {
            up.path.count_sent();
        }
        if unanswered {
            self.emit(LinkEvent::Unanswered { link });
        }
        self.arm(slot);
        Some(to)
    }

    /// The most urgent cell of circuit 0 that is due.
    fn poll_own_cell(&mut self, now: Now, slot: u32) -> Option<OwnCell> {
        let (gridded, ask_after) = (self.config.gridded, self.config.dead_after / 4);
        let state = self.links[slot as usize].state.as_mut()?;
        let up = state.up.as_mut()?;
        if up.leaves {
            return Some(OwnCell { command: Command::Farewell, payload: Vec::new(), to: up.path.place() });
        }
        if let Some((challenge, to)) = up.path.poll_challenge(now.instant, gridded) {
            return Some(OwnCell { command: Command::Challenge, payload: challenge.to_vec(), to });
        }
        let to = up.path.place();
        let cell = |command, payload: &[u8]| Some(OwnCell { command, payload: payload.to_vec(), to });
        if let Some(answer) = up.path.poll_answer() {
            return cell(Command::ChallengeAnswer, &answer);
        }
        if let Some(cell) = self.poll_hop_cell(now, slot) {
            return Some(cell);
        }
        let up = self.links[slot as usize].state.as_mut()?.up.as_mut()?;
        if let Some(answer) = up.rekey.poll_answer() {
            return cell(Command::RekeyAnswer, &*answer);
        }
        if let Some(first) = self.poll_rekey(now, slot) {
            return cell(Command::RekeyInit, &first);
        }
        let LinkState { up, dial, .. } = &mut **self.links[slot as usize].state.as_mut()?;
        let up = up.as_mut()?;
        let past = |at| now.instant >= at;
        let is_unheard = || past(up.traffic.question_due(up.liveness.last_heard(), ask_after));
        if gridded && dial.is_some() && !up.liveness.is_quiet() && is_unheard() {
            // Whoever has no slots says nothing but a report a second to a link that carries nothing, which is longer than silence takes.
            return cell(Command::Report, &up.traffic.make_question(now.instant).encode());
        }
        if up.traffic.report_due(gridded).is_some_and(past) {
            return cell(Command::Report, &up.traffic.make_report(now.instant).encode());
        }
        let confirm = up.confirm_due().is_some_and(past);
        let keep_alive = past(up.liveness.keep_alive_at());
        if gridded || dial.is_none() || !(confirm || keep_alive) {
            return None;
        }
        if confirm {
            up.count_confirm(now.instant);
        }
        cell(Command::Cover, &[])
    }

    /// The first message of a rekey, if this end is the initiator and one is due.
    fn poll_rekey(&mut self, now: Now, slot: u32) -> Option<[u8; FIRST_LEN]> {
        let state = self.links[slot as usize].state.as_mut()?;
        let (Some(up), Some(dial)) = (&mut state.up, &state.dial) else { return None };
        if now.instant < up.rekey.due_at(up.born, &up.keys, &self.config) {
            return None;
        }
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        let mut first = [0; FIRST_LEN];
        let local = dial.own.as_ref().unwrap_or(&self.local);
        let begun = Initiation::begin(local, &state.peer, ephemeral, &[], &mut first).ok();
        let rtt = up.traffic.rtt();
        if begun.is_none() {
            tracing::warn!("the cryptographic library failed to begin a rekey");
        }
        let made = begun.is_some();
        up.rekey.begin(now.instant, rtt, begun);
        made.then_some(first)
    }
}
