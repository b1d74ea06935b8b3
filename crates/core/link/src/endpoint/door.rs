//! Packets that no index knows: answers to this node's dials, and strangers at its door
//! (docs/spec/link.md, "Order of work").

use super::Endpoint;
use super::slots::Met;
use crate::admission::{COOKIES_ABOVE, Cached, HANDSHAKES_MAX, Source};
use crate::config::{Accept, PARAMETERS_LEN, Parameters};
use crate::door::{Message1, open_cookie, open_message_1, open_message_2, seal_cookie, seal_message_2};
use crate::event::{DownReason, DropReason, LinkEvent, Now, Received};
use crate::handshake::{ANSWER_PAYLOAD_LEN, Asked, EXTRA_MAX, KEY_LEN, SECOND_LEN};
use crate::keyset::KeySet;
use crate::route::{Route, Via};
use crate::schedule::{Role, utc_day};
use crate::state::{Asker, Next};
use identity::{LinkKey, NodeId};
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// Answers waiting for a slot (about 0.3 MB). When full, messages 1 are dropped before any work is done for them.
const DOOR_PACKETS_MAX: usize = 256;
/// How long an answer waits for a slot.
const DOOR_PACKET_LIFETIME: Duration = Duration::from_secs(5);
/// Links that wait for their first packet. When full, the oldest goes.
const HALF_OPEN_MAX: usize = 1024;

/// The handshake was accepted.
const STATUS_ACCEPTED: u8 = 0;
/// The versions differ; there is no link.
const STATUS_WRONG_VERSION: u8 = 1;

/// A packet for a stranger.
pub(super) struct DoorPacket {
    to: Route,
    made: Instant,
    packet: Vec<u8>,
}

/// What stands behind the KEM key in message 1: `boot 4 | number 4 | version 1 | parameters 7`.
pub(super) struct Hello {
    pub(super) boot: u32,
    pub(super) number: u32,
    pub(super) version: u8,
    pub(super) parameters: Parameters,
}

/// The payload of message 2: `version 1 | parameters 7 | status 1 | zero 3 | boot 4`.
struct Welcome {
    version: u8,
    parameters: Parameters,
    status: u8,
    boot: u32,
}

impl Endpoint {
    /// Appends one answer to a stranger; returns where it goes. On a grid one takes one slot.
    pub fn poll_door_packet(&mut self, now: Now, out: &mut Vec<u8>) -> Option<Route> {
        loop {
            let packet = self.door_packets.pop_front()?;
            if now.instant.saturating_duration_since(packet.made) < DOOR_PACKET_LIFETIME {
                out.extend_from_slice(&packet.packet);
                return Some(packet.to);
            }
        }
    }

    /// True when [`Endpoint::poll_door_packet`] has something.
    pub fn has_door_packet(&self) -> bool {
        !self.door_packets.is_empty()
    }

    #[cold]
    pub(super) fn handle_stranger(&mut self, now: Now, from: Route, packet: &[u8]) -> Received {
        if let Some(&slot) = self.dial_addresses.get(&(from.via, from.to))
            && let Some(received) = self.handle_answer(now, slot, from, packet)
        {
            return received;
        }
        // Handshakes are made at the door. Everywhere else a stranger meets silence.
        if from.via != Via::DOOR || matches!(self.config.accept, Accept::Nobody) {
            return self.drop_packet(DropReason::Stranger);
        }
        let today = utc_day(now.unix_s);
        self.door_days.prepare(today);
        let Some(message) = open_message_1(self.door_days.accepted(today), packet) else {
            return self.drop_packet(DropReason::Stranger);
        };
        match self.knock(now, from, &message) {
            Ok(()) => Received::Handled,
            Err(reason) => self.drop_packet(reason),
        }
    }

    /// A packet from an address that is dialled: None when it is no answer to the newest message 1.
    fn handle_answer(&mut self, now: Now, slot: u32, from: Route, packet: &[u8]) -> Option<Received> {
        let state = self.links[slot as usize].state.as_mut()?;
        let dial = state.dial.as_mut()?;
        let pending = dial.pending.as_mut()?;
        if let Some(cookie) = open_cookie(&pending.keys, &pending.tag, packet) {
            dial.handle_cookie(now.instant, cookie);
            self.arm(slot);
            return Some(Received::Handled);
        }
        let second = open_message_2(&pending.keys, packet)?;
        pending.reads_left = pending.reads_left.saturating_sub(1);
        let finished = pending.initiation.finish(&second);
        let rtt = now.instant.saturating_duration_since(pending.sent_at);
        if pending.reads_left == 0 || finished.is_ok() {
            dial.pending = None;
        }
        let Ok((raw, payload)) = finished else { return Some(self.drop_packet(DropReason::WrongAnswer)) };
        let welcome = Welcome::decode(&payload);
        let link = state.id;
        if welcome.status != STATUS_ACCEPTED || welcome.version != self.config.version {
            self.emit(LinkEvent::WrongVersion { link, theirs: welcome.version });
            return Some(Received::Handled);
        }
        let keys = KeySet::new(&raw, Role::Initiator, &state.index_mask, self.config.hopping());
        if !self.learn_keys(slot, &keys) {
            return Some(self.drop_packet(DropReason::WrongAnswer));
        }
        let (parameters, boot) = (welcome.parameters, welcome.boot);
        self.bring_up(now.instant, slot, Met { keys, address: from, rtt, parameters, boot });
        Some(Received::Handled)
    }

    /// Message 1 without its disguise: works in the order of cost.
    fn knock(&mut self, now: Now, from: Route, message: &Message1) -> Result<(), DropReason> {
        let mut ephemeral = [0; KEY_LEN];
        ephemeral.copy_from_slice(&message.first[..KEY_LEN]);
        self.replays.purge(utc_day(now.unix_s));
        match self.replays.look_up(now.instant, &ephemeral, &message.tag, from.to) {
            Some(Cached::Answer(answer)) => {
                let packet = answer.to_vec();
                self.queue_door_packet(now, from, packet)?;
                self.counters.repeated_answers += 1;
                return Ok(());
            }
            Some(Cached::Nothing) => return Err(DropReason::ReplayedHandshake),
            None => {}
        }
        if self.door_packets.len() >= DOOR_PACKETS_MAX {
            return Err(DropReason::Overload);
        }
        let crowded = self.arrivals.count(now.instant) > COOKIES_ABOVE || self.replays.is_full();
        if crowded && !self.cookies.accepts(now.instant, &mut self.rng, from.to, &message.cookie) {
            self.ask_for_cookie(now, from, message)?;
            return Err(DropReason::CookieNeeded);
        }
        if self.handshake_rate.count(now.instant) > HANDSHAKES_MAX {
            return Err(DropReason::Overload);
        }
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let asked = Asked::read(&self.local, secret, &message.first).map_err(|_| DropReason::WrongKey)?;
        let node_id = self.admitted(&asked.initiator)?;
        self.replays.remember(ephemeral, message.day);
        self.emit(LinkEvent::AcceptedEphemeral { ephemeral, day: message.day });
        self.welcome(now, from, message, ephemeral, asked, node_id)
    }

    /// The name of a link key that may come in, if it has one here.
    fn admitted(&self, key: &LinkKey) -> Result<Option<NodeId>, DropReason> {
        if *key == self.local_key {
            return Err(DropReason::UnknownPeer);
        }
        match &self.config.accept {
            Accept::Nobody => Err(DropReason::UnknownPeer),
            Accept::Only(known) => known.get(key).map(|node_id| Some(*node_id)).ok_or(DropReason::UnknownPeer),
            Accept::KnownAndStrangers { known, .. } => Ok(known.get(key).copied()),
            Accept::Anyone => Ok(None),
        }
    }

    fn ask_for_cookie(&mut self, now: Now, from: Route, message: &Message1) -> Result<(), DropReason> {
        let cookie = self.cookies.bake(now.instant, &mut self.rng, from.to);
        let mut packet = vec![0; self.config.packet_size.packet()];
        let keys = self.door_days.of(message.day).ok_or(DropReason::Stranger)?;
        seal_cookie(keys, &message.tag, &cookie, &mut self.rng, &mut packet);
        self.queue_door_packet(now, from, packet)?;
        self.counters.cookies_asked += 1;
        Ok(())
    }

    /// An allowed peer asks: gives it unconfirmed keys and an answer.
    fn welcome(
        &mut self,
        now: Now,
        from: Route,
        message: &Message1,
        ephemeral: [u8; 32],
        asked: Asked,
        node_id: Option<NodeId>,
    ) -> Result<(), DropReason> {
        let (hello, peer) = (Hello::decode(&asked.extra), asked.initiator);
        let wrong_version = hello.version != self.config.version;
        let known = self.accepted.get(&peer).copied();
        if !wrong_version {
            self.check_place(known, from, &hello, node_id.is_none())?;
        }
        let status = if wrong_version { STATUS_WRONG_VERSION } else { STATUS_ACCEPTED };
        let (version, parameters) = (self.config.version, self.config.parameters);
        let payload = Welcome { version, parameters, status, boot: self.boot }.encode();
        let mut second = [0; SECOND_LEN];
        let raw = asked.answer(&payload, &mut second).map_err(|_| DropReason::WrongKey)?;
        let mut packet = vec![0; self.config.packet_size.packet()];
        let day_keys = self.door_days.of(message.day).ok_or(DropReason::Stranger)?;
        seal_message_2(day_keys, &second, &mut self.rng, &mut packet);
        if wrong_version {
            self.queue_door_packet(now, from, packet)?;
            return Err(DropReason::WrongVersion);
        }
        let mask = self.door_mask.clone().ok_or(DropReason::UnknownPeer)?;
        let keys = KeySet::new(&raw, Role::Responder, &mask, self.config.hopping());
        if keys.receive_indices().any(|index| self.table.slot(index).is_some()) {
            return Err(DropReason::WrongKey);
        }
        let slot = known.unwrap_or_else(|| {
            let slot = self.add_link(peer, node_id, mask, None);
            self.accepted.insert(peer, slot);
            self.strangers += u32::from(node_id.is_none());
            self.charge_source(slot, Source::from(from.to));
            self.mark_half_open(slot);
            slot
        });
        self.learn_keys(slot, &keys);
        let asker = Asker { address: from, parameters: hello.parameters, boot: hello.boot };
        let state = self.at(slot);
        state.boots.newest_asked = Some((hello.boot, hello.number));
        let replaced = state.next.replace(Next { keys, asked_at: now.instant, door: Some(asker) });
        self.forget_keys(slot, replaced.map(|next| next.keys));
        self.replays.keep_answer(now.instant, ephemeral, message.tag, from.to, packet.clone());
        self.queue_door_packet(now, from, packet)?;
        self.counters.answered += 1;
        self.arm(slot);
        Ok(())
    }

    /// Whether there is room for a peer's link, and its message was not overtaken. Makes room among half-open links.
    fn check_place(
        &mut self,
        known: Option<u32>,
        from: Route,
        hello: &Hello,
        is_stranger: bool,
    ) -> Result<(), DropReason> {
        if let Some(slot) = known {
            let newest = self.at(slot).boots.newest_asked;
            let overtaken = newest.is_some_and(|(boot, number)| boot == hello.boot && hello.number <= number);
            return if overtaken { Err(DropReason::StaleHandshake) } else { Ok(()) };
        }
        if self.sources.count(Source::from(from.to)) >= self.config.links_per_source {
            return Err(DropReason::TooManyFromSource);
        }
        let strangers_full = match &self.config.accept {
            Accept::KnownAndStrangers { strangers_max, .. } => is_stranger && self.strangers >= *strangers_max,
            _ => false,
        };
        if strangers_full {
            // Known peers are few, so the search is short.
            let of_stranger =
                |slot: &&u32| self.links[**slot as usize].state.as_ref().is_some_and(|state| state.node_id.is_none());
            let oldest = self.half_open.values().find(of_stranger).copied().ok_or(DropReason::TooManyLinks)?;
            self.take_down(oldest, DownReason::Silent, false);
        } else if self.half_open.len() >= HALF_OPEN_MAX || self.link_count() >= self.links_max() {
            let oldest = self.half_open.values().next().copied().ok_or(DropReason::TooManyLinks)?;
            self.take_down(oldest, DownReason::Silent, false);
        }
        Ok(())
    }

    fn queue_door_packet(&mut self, now: Now, to: Route, packet: Vec<u8>) -> Result<(), DropReason> {
        if self.door_packets.len() >= DOOR_PACKETS_MAX {
            return Err(DropReason::Overload);
        }
        self.door_packets.push_back(DoorPacket { to, made: now.instant, packet });
        Ok(())
    }
}

impl Hello {
    pub(super) fn encode(&self) -> [u8; EXTRA_MAX] {
        let mut bytes = [0; EXTRA_MAX];
        bytes[..4].copy_from_slice(&self.boot.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8] = self.version;
        bytes[9..].copy_from_slice(&self.parameters);
        bytes
    }

    fn decode(bytes: &[u8; EXTRA_MAX]) -> Self {
        let [a, b, c, d, e, f, g, h, version, parameters @ ..] = *bytes;
        let (boot, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Self { boot, number, version, parameters }
    }
}

impl Welcome {
    fn encode(&self) -> [u8; ANSWER_PAYLOAD_LEN] {
        let mut bytes = [0; ANSWER_PAYLOAD_LEN];
        bytes[0] = self.version;
        bytes[1..1 + PARAMETERS_LEN].copy_from_slice(&self.parameters);
        bytes[8] = self.status;
        bytes[12..].copy_from_slice(&self.boot.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ANSWER_PAYLOAD_LEN]) -> Self {
        let mut parameters = [0; PARAMETERS_LEN];
        parameters.copy_from_slice(&bytes[1..1 + PARAMETERS_LEN]);
        let boot = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        Self { version: bytes[0], parameters, status: bytes[8], boot }
    }
}
