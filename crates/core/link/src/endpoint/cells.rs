//! Cells of circuit 0 that came: reports, challenges, rekeys; and the first packet under unconfirmed keys.

use super::Endpoint;
use super::hops::Came;
use super::slots::Met;
use crate::event::{DownReason, DropReason, LinkEvent, Now, Received};
use crate::handshake::{ANSWER_PAYLOAD_LEN, Asked, FIRST_LEN, SECOND_LEN};
use crate::keyset::{Hopping, KeySet};
use crate::report::Report;
use crate::route::Route;
use crate::schedule::Role;
use crate::state::Next;
use rand_chacha::rand_core::Rng;
use redact::Sensitive;
use wire::cell::Command;
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, TAG_LEN};

impl Endpoint {
    /// Acts on an authenticated cell of circuit 0.
    #[cold]
    pub(super) fn handle_own_cell(
        &mut self,
        now: Now,
        slot: u32,
        command: Command,
        came: Came,
        packet: &[u8],
    ) -> Received {
        let region = &packet[HEADER_LEN + CELL_HEAD_LEN..packet.len() - TAG_LEN];
        let handled = match command {
            Command::Report => self.handle_report(now, slot, came.place.hop, region),
            Command::Challenge => self.handle_challenge(slot, region),
            Command::ChallengeAnswer => self.handle_challenge_answer(now, slot, region),
            Command::RekeyInit => self.handle_rekey_init(now, slot, came.counter, region),
            Command::RekeyAnswer => self.handle_rekey_answer(now, slot, region),
            Command::HopOffer => self.handle_hop_offer(now, slot, region),
            Command::HopOfferTaken => self.handle_hop_offer_taken(now, slot, came, region),
            Command::HopProbe => self.handle_hop_probe(slot),
            Command::HopAnswer => self.handle_hop_answer(slot, came, region),
            Command::HopAsk => self.handle_hop_ask(now, slot, came),
            Command::Farewell if self.at(slot).dial.is_none() && came.current => {
                self.take_down(slot, DownReason::Left, false);
                return Received::Handled;
            }
            // Only who dialled a link ends it; and the process before that one did so in vain.
            Command::Farewell => Err(DropReason::BadCell),
            Command::Cover
            | Command::Relay
            | Command::Create
            | Command::Created
            | Command::Destroy
            | Command::Destroyed => Err(DropReason::BadCell),
        };
        match handled {
            Ok(()) => {
                self.arm(slot);
                Received::Handled
            }
            Err(reason) => self.drop_packet(reason),
        }
    }

    /// The initiator uses the keys that it was given: they carry the link from now on.
    #[cold]
    pub(super) fn confirm(&mut self, now: Now, slot: u32, from: Route) {
        let Some(Next { keys, asked_at, door }) = self.at(slot).next.take() else { return };
        match door {
            Some(asker) => {
                let rtt = now.instant.saturating_duration_since(asked_at);
                let (address, parameters, boot) = (asker.address, asker.parameters, asker.boot);
                self.bring_up(now.instant, slot, Met { keys, address, rtt, parameters, boot });
                if from != address {
                    tracing::debug!(?from, "the initiator moved during its handshake");
                }
            }
            None => self.take_new_keys(now, slot, keys),
        }
        // Without a grid the initiator waits for a sign that its keys are in use.
        let state = self.links[slot as usize].state.as_mut();
        if let Some(up) = state.and_then(|state| state.up.as_mut()).filter(|_| !self.config.gridded) {
            up.traffic.report_at_once(now.instant);
            self.arm(slot);
        }
    }

    fn take_new_keys(&mut self, now: Now, slot: u32, keys: KeySet) {
        let rekey_at = self.rekey_instant(now.instant);
        let state = self.at(slot);
        let link = state.id;
        let Some(up) = &mut state.up else { return self.forget_keys(slot, Some(keys)) };
        let secret = keys.hop_secret().clone();
        let fallen = up.replace_keys(now.instant, keys, rekey_at);
        if state.dial.is_some() {
            up.expect_confirmation(now.instant);
        }
        self.forget_keys(slot, fallen);
        self.hops_under_new_keys(now, slot, secret);
        self.emit(LinkEvent::Rekeyed { link });
        self.arm(slot);
    }

    fn handle_report(&mut self, now: Now, slot: u32, hop: u64, region: &[u8]) -> Result<(), DropReason> {
        let report = Report::decode(region).map_err(|_| DropReason::BadCell)?;
        let state = self.at(slot);
        let link = state.id;
        let figures = state.up.as_mut().and_then(|up| up.traffic.handle_report(now.instant, report));
        if let Some(figures) = figures {
            self.hops_report(now, slot, hop);
            self.emit(LinkEvent::Report { link, figures });
        }
        Ok(())
    }

    fn handle_challenge(&mut self, slot: u32, region: &[u8]) -> Result<(), DropReason> {
        let challenge = region.first_chunk().ok_or(DropReason::BadCell)?;
        if let Some(up) = &mut self.at(slot).up {
            up.path.handle_challenge(*challenge);
        }
        Ok(())
    }

    fn handle_challenge_answer(&mut self, now: Now, slot: u32, region: &[u8]) -> Result<(), DropReason> {
        let answer = region.first_chunk().ok_or(DropReason::BadCell)?;
        let state = self.at(slot);
        let (link, up) = (state.id, state.up.as_mut().ok_or(DropReason::BadCell)?);
        let before = up.path.place();
        // A hop is an event of its own.
        if let Some(place) = up.path.handle_answer(answer).filter(|place| place.hop == before.hop) {
            self.hops_moved(now, slot, place.route.to);
            self.emit(LinkEvent::PeerAddressChanged { link, address: Sensitive::new(place.route.to) });
        }
        Ok(())
    }

    /// The responder makes new keys; the answer waits for a slot.
    fn handle_rekey_init(&mut self, now: Now, slot: u32, counter: u64, region: &[u8]) -> Result<(), DropReason> {
        let first = region.first_chunk::<FIRST_LEN>().ok_or(DropReason::BadCell)?;
        let state = self.links[slot as usize].state.as_mut().ok_or(DropReason::BadCell)?;
        let up = state.up.as_mut().filter(|_| state.dial.is_none()).ok_or(DropReason::BadCell)?;
        if !up.rekey.admits(now.instant, counter) {
            return Err(DropReason::TooManyRekeys);
        }
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        let asked = Asked::read(&self.local, ephemeral, first).map_err(|_| DropReason::BadCell)?;
        if asked.initiator != state.peer {
            return Err(DropReason::BadCell);
        }
        let mut answer = Box::new([0; SECOND_LEN]);
        let raw = asked.answer(&[0; ANSWER_PAYLOAD_LEN], &mut answer).map_err(|_| DropReason::BadCell)?;
        let hopping = if self.config.hops.is_some() { Hopping::At(up.keys.hop()) } else { Hopping::Off };
        let keys = KeySet::new(&raw, Role::Responder, &state.index_mask, hopping);
        if !self.learn_keys(slot, &keys) {
            return Err(DropReason::BadCell);
        }
        let state = self.at(slot);
        if let Some(up) = &mut state.up {
            up.rekey.set_answer(answer);
        }
        let replaced = state.next.replace(Next { keys, asked_at: now.instant, door: None });
        self.forget_keys(slot, replaced.map(|next| next.keys));
        Ok(())
    }

    /// The initiator has new keys and uses them from its next packet on.
    fn handle_rekey_answer(&mut self, now: Now, slot: u32, region: &[u8]) -> Result<(), DropReason> {
        let second = region.first_chunk::<SECOND_LEN>().ok_or(DropReason::BadCell)?;
        let state = self.links[slot as usize].state.as_mut().ok_or(DropReason::BadCell)?;
        let up = state.up.as_mut().ok_or(DropReason::BadCell)?;
        let initiation = up.rekey.pending().ok_or(DropReason::WrongAnswer)?;
        let (raw, _) = initiation.finish(second).map_err(|_| DropReason::WrongAnswer)?;
        let hopping = if self.config.hops.is_some() { Hopping::At(up.keys.hop()) } else { Hopping::Off };
        let keys = KeySet::new(&raw, Role::Initiator, &state.index_mask, hopping);
        if !self.learn_keys(slot, &keys) {
            return Err(DropReason::WrongAnswer);
        }
        self.take_new_keys(now, slot, keys);
        Ok(())
    }
}
