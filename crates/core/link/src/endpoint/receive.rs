//! The way of a packet that came: which link's it is, and the data path.

use super::Endpoint;
use super::hops::Came;
use crate::event::{DropReason, LinkEvent, LinkId, Now, Received};
use crate::keyset::{OpenError, Opened};
use crate::path::Place;
use crate::route::Route;
use crate::state::LinkState;
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::{HEADER_LEN, TAG_LEN};

/// Dialled peers whose door key is tried on a packet from an address that was not dialled: a responder that moved.
const MOVED_DIALS_TRIED: usize = 8;

/// Which of a link's keys a packet is for.
enum Which {
    Current,
    Previous,
    Next,
}

impl Endpoint {
    /// Takes one UDP payload from `from`; `ce` says whether it came with the congestion mark. A packet that carries
    /// a cell is decrypted in place; any other may be left overwritten.
    #[inline]
    pub fn handle_packet(&mut self, now: Now, from: impl Into<Route>, ce: bool, packet: &mut [u8]) -> Received {
        let from = from.into();
        if packet.len() != self.config.packet_size.packet() {
            return self.drop_packet(DropReason::WrongSize);
        }
        let Some(&tag) = packet.last_chunk::<TAG_LEN>() else { return self.drop_packet(DropReason::WrongSize) };
        match self.find(from, packet, &tag) {
            Some((slot, index)) => self.open(now, slot, index, from, ce, &tag, packet),
            None => self.handle_stranger(now, from, packet),
        }
    }

    pub(super) fn drop_packet(&mut self, reason: DropReason) -> Received {
        self.counters.count(reason);
        tracing::trace!(?reason, "packet dropped");
        Received::Dropped(reason)
    }

    /// The link that the index names, under this node's own door key or that of a node it dials.
    #[inline]
    fn find(&self, from: Route, packet: &[u8], tag: &[u8; TAG_LEN]) -> Option<(u32, u64)> {
        let masked = u64::from_be_bytes(*packet.first_chunk()?);
        let look_up = |word: u64| {
            let index = masked ^ word;
            self.table.slot(index).map(|slot| (slot, index))
        };
        if let Some(mask) = &self.door_mask
            && let Some(found) = look_up(mask.word(tag))
        {
            return Some(found);
        }
        let under = |slot: &u32| {
            let state = self.links[*slot as usize].state.as_ref()?;
            look_up(state.index_mask.word(tag))
        };
        if !self.is_for_dials(from.via) {
            return self.sockets.dialler(from.via).as_ref().and_then(under);
        }
        let dialled = self.dial_addresses.get(&(from.via, from.to)).and_then(under);
        let from_here = || self.dial_addresses.iter().filter(|((via, _), _)| *via == from.via).map(|(_, slot)| slot);
        dialled.or_else(|| from_here().take(MOVED_DIALS_TRIED).find_map(under))
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the data path: what was found out is handed on, not found again")]
    fn open(
        &mut self,
        now: Now,
        slot: u32,
        index: u64,
        from: Route,
        ce: bool,
        tag: &[u8; TAG_LEN],
        packet: &mut [u8],
    ) -> Received {
        let state = self.links[slot as usize].state.as_mut().expect("the table names only slots that are taken");
        let (which, hop, opened) = match open_with(state, index, tag, packet) {
            Ok(found) => found,
            Err(OpenError::Replayed) => return self.drop_packet(DropReason::Replayed),
            Err(OpenError::Forged) => return self.drop_packet(DropReason::Forged),
        };
        self.counters.opened += 1;
        let link = state.id;
        if matches!(which, Which::Next) {
            self.confirm(now, slot, from);
        }
        // None when these keys came up only to make way for the other link of two crossing dials.
        let state = self.links[slot as usize].state.as_mut().filter(|state| state.id == link);
        let Some(LinkState { up: Some(up), hops, .. }) = state.map(|state| &mut **state) else {
            return Received::Handled;
        };
        let head = CellHead::decode(&packet[HEADER_LEN..]);
        let report = matches!(head, Ok(CellHead { circuit: CircuitId::LINK, command: Command::Report }));
        let worth_reporting = up.traffic.count_received(ce, report);
        let back = up.liveness.heard(now.instant);
        let place = Place { route: from, hop };
        let (current, command) = (!matches!(which, Which::Previous), head.ok().map(|head| head.command));
        let came = Came { place, current, newest: current && opened.newest, counter: opened.counter, command };
        if place == up.path.place() {
            if let Some(hops) = hops.as_mut().filter(|_| current) {
                hops.count_received(now.instant, hop, packet.len());
                if command != Some(Command::HopAnswer) {
                    up.was_followed();
                }
            }
            if came.newest && up.path.deadline().is_some() {
                self.heard_from(now, slot, came);
            }
        } else if current {
            self.heard_elsewhere(now, slot, came);
        }
        if back {
            self.heard_again(link);
        }
        if worth_reporting && !self.config.gridded {
            self.arm(slot);
        }
        let Ok(head) = head else { return self.drop_packet(DropReason::BadCell) };
        match head.command {
            command if command.is_of_circuit() && head.circuit != CircuitId::LINK => Received::Cell { link, head },
            Command::Cover if head.circuit == CircuitId::LINK => Received::Cell { link, head },
            _ if head.circuit == CircuitId::LINK => self.handle_own_cell(now, slot, head.command, came, packet),
            _ => self.drop_packet(DropReason::BadCell),
        }
    }

    #[cold]
    fn heard_again(&mut self, link: LinkId) {
        if let Some(dial) = self.state_mut(link).and_then(|state| state.dial.as_mut()) {
            dial.pending = None;
        }
        self.emit(LinkEvent::Back { link });
    }
}

#[inline]
fn open_with(
    state: &mut LinkState,
    index: u64,
    tag: &[u8; TAG_LEN],
    packet: &mut [u8],
) -> Result<(Which, u64, Opened), OpenError> {
    if let Some(up) = &mut state.up {
        if let Some(hop) = up.keys.hop_of(index) {
            return up.keys.open(index, tag, packet).map(|opened| (Which::Current, hop, opened));
        }
        if let Some((keys, _)) = &mut up.previous
            && let Some(hop) = keys.hop_of(index)
        {
            return keys.open(index, tag, packet).map(|opened| (Which::Previous, hop, opened));
        }
    }
    let next = state.next.as_mut().ok_or(OpenError::Forged)?;
    let hop = next.keys.hop_of(index).ok_or(OpenError::Forged)?;
    next.keys.open(index, tag, packet).map(|opened| (Which::Next, hop, opened))
}
