//! Hops: what comes about them, what is said about them, and what follows (docs/spec/link.md, "Hops").

use super::Endpoint;
use super::own::OwnCell;
use crate::event::{DropReason, LinkEvent, LinkId, Now};
use crate::hops::HopStatus;
use crate::offer::HopOffer;
use crate::path::{CHALLENGE_LEN, Place};
use crate::route::{Route, Via};
use crate::state::{Hops, InitiatorHops, LinkState, OFFER_INTERVAL, ResponderHops, pair};
use port_hopping::HopSecret;
use port_hopping::causes::Cause;
use port_hopping::initiator::{Initiator, InitiatorConfig, InitiatorOutput};
use port_hopping::responder::{Responder, ResponderOutput};
use port_hopping::targets::{TargetAddress, Targets};
use rand_chacha::rand_core::Rng;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use wire::cell::Command;

/// Payloads of the acknowledgement of an offer.
const DECLINED: u8 = 0;
const TAKEN: u8 = 1;

/// An authenticated packet.
#[derive(Clone, Copy)]
pub(super) struct Came {
    pub(super) place: Place,
    /// It is not for keys that were replaced.
    pub(super) current: bool,
    /// Current, and no packet of its key with a higher counter came before.
    pub(super) newest: bool,
    pub(super) counter: u64,
    /// None when it has no meaning.
    pub(super) command: Option<Command>,
}

impl Endpoint {
    /// Command: hop as soon as the limits allow. The end that was dialled asks the other one for it, at most every five
    /// seconds. False when the link does not hop, or was asked too often.
    pub fn hop(&mut self, now: Now, link: LinkId) -> bool {
        let Some(LinkState { up: Some(_), hops: Some(hops), .. }) = self.state_mut(link) else { return false };
        let done = match hops {
            Hops::Initiator(hops) => {
                hops.core.hop(now.instant);
                true
            }
            Hops::Responder(hops) => hops.core.ask_hop(now.instant),
        };
        self.drain_hops(now.instant, link.slot);
        done
    }

    /// Command: say whether congestion control holds back what there is to send on a link. For callers without a grid,
    /// whenever there is nothing to seal; what is said holds until the next time. A pair of ports whose rate falls is left
    /// only if this was true all the time: an application that has less to say is no sign of a bad pair.
    pub fn note_demand(&mut self, link: LinkId, is_held_back: bool) {
        if let Some(LinkState { hops: Some(hops), .. }) = self.state_mut(link) {
            hops.note_demand(is_held_back);
        }
    }

    /// The hops of a link that is up and may hop.
    pub fn hop_status(&self, now: Instant, link: LinkId) -> Option<HopStatus> {
        let LinkState { up: Some(up), hops: Some(hops), .. } = self.state(link)? else { return None };
        let (route, record) = (up.path.route(), hops.record());
        let of_dialler = || self.sockets.ends(route.via).and_then(|(_, port)| port);
        let of_start = || self.config.dial_ports.get((route.via.0 as usize).checked_sub(1)?).copied();
        let local_port = self.local_port(route.via).or_else(of_start).or_else(of_dialler);
        let blocked = match hops {
            Hops::Initiator(hops) => hops.core.blocked().iter(now).map(|(port, left)| (port.port(), left)).collect(),
            Hops::Responder(_) => Vec::new(),
        };
        Some(HopStatus {
            index: up.keys.hop(),
            local_port,
            remote_port: route.to.port(),
            age: now.saturating_duration_since(record.since),
            bytes: record.bytes,
            past: record.past.iter().copied().collect(),
            blocked,
        })
    }

    /// A packet under keys in use came from elsewhere than the link's own place, or was made for another hop.
    #[cold]
    pub(super) fn heard_elsewhere(&mut self, now: Now, slot: u32, came: Came) {
        let Place { route, hop } = came.place;
        let local_port = self.local_port(route.via);
        let LinkState { up: Some(up), hops, .. } = self.at(slot) else { return };
        let present = match hops {
            None => true,
            Some(Hops::Initiator(hops)) => {
                if let Some(id) = hops.socket(route.via) {
                    hops.core.handle_packet(now.instant, id, hop);
                }
                route.via == up.path.route().via
            }
            Some(Hops::Responder(hops)) => {
                let Some(port) = local_port else { return };
                if came.command == Some(Command::HopProbe) {
                    hops.core.handle_probe(pair(port, route), hop);
                    return;
                }
                hops.core.handle_packet(now.instant, pair(port, route), hop, came.newest);
                port == hops.core.present().local.port()
            }
        };
        self.drain_hops(now.instant, slot);
        let at_hop = self.at(slot).up.as_ref().is_some_and(|up| up.keys.hop() == hop);
        if came.newest && present && at_hop {
            self.heard_from(now, slot, came);
        }
    }

    /// The newest packet of a link came from a place that is not proven, or from the proven one while another is not.
    #[cold]
    pub(super) fn heard_from(&mut self, now: Now, slot: u32, came: Came) {
        let mut challenge = [0; CHALLENGE_LEN];
        self.rng.fill_bytes(&mut challenge);
        let LinkState { up: Some(up), hops, .. } = self.at(slot) else { return };
        // What went with the answer to a probe proves its pair at once.
        let answered = hops.as_mut().and_then(Hops::responder).and_then(|hops| hops.challenge_of(came.place.route));
        up.path.heard(now.instant, up.traffic.rtt(), came.place, || answered.unwrap_or(challenge));
        self.arm(slot);
    }

    /// The port of a socket that listens; that of the door too.
    fn local_port(&self, via: Via) -> Option<u16> {
        let door_port = self.config.hops.as_ref().map(|config| config.door_port);
        if via == Via::DOOR { door_port } else { self.sockets.port(via) }
    }

    /// The initiator learns where it may hop to.
    pub(super) fn handle_hop_offer(&mut self, now: Now, slot: u32, region: &[u8]) -> Result<(), DropReason> {
        let offer = HopOffer::decode(region).map_err(|_| DropReason::BadCell)?;
        let timers = self.config.hops.as_ref().map(|config| config.timers);
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let state = self.at(slot);
        let (Some(up), Some(dial)) = (&mut state.up, &state.dial) else { return Err(DropReason::BadCell) };
        let via = dial.via;
        up.debts.taken = Some(timers.is_some());
        let Some(timers) = timers else { return Ok(()) };
        let door = up.path.route().to;
        let Some(targets) = targets(&offer, door) else { return Ok(()) };
        match state.hops.as_mut().and_then(Hops::initiator) {
            Some(hops) if hops.offer == offer => {}
            Some(hops) => {
                hops.offer = offer;
                hops.core.handle_new_targets(now.instant, targets);
            }
            None => {
                let (secret, rtt) = (up.keys.hop_secret().clone(), up.traffic.rtt());
                let config = InitiatorConfig { secret, targets: std::sync::Arc::new(targets), door, rtt, timers, seed };
                let (core, id) = Initiator::new(now.instant, config);
                state.hops = Some(Hops::Initiator(Box::new(InitiatorHops::new(now.instant, core, id, via, offer))));
            }
        }
        self.drain_hops(now.instant, slot);
        Ok(())
    }

    /// The initiator has the offer: from here on the responder listens on what it may come to.
    pub(super) fn handle_hop_offer_taken(
        &mut self,
        now: Now,
        slot: u32,
        came: Came,
        region: &[u8],
    ) -> Result<(), DropReason> {
        let ports = self.offer().map(|offer| offer.ports().clone()).ok_or(DropReason::BadCell)?;
        let door_port = self.local_port(Via::DOOR).ok_or(DropReason::BadCell)?;
        let state = self.at(slot);
        let up = state.up.as_mut().filter(|_| state.dial.is_none()).ok_or(DropReason::BadCell)?;
        if !came.current {
            // What another process of the peer took says nothing about this one.
            return Ok(());
        }
        match (*region.first().ok_or(DropReason::BadCell)?, &state.hops) {
            (TAKEN, None) => {
                let (secret, rtt) = (up.keys.hop_secret().clone(), up.traffic.rtt());
                let core = Responder::new(now.instant, secret, ports, rtt, pair(door_port, up.path.route()));
                state.hops = Some(Hops::Responder(Box::new(ResponderHops::new(now.instant, core))));
            }
            (TAKEN, Some(_)) | (DECLINED, None) => {}
            (DECLINED, Some(_)) if up.keys.hop() == 0 => {
                up.debts.offer_at = None;
                self.hops_down(slot, false);
                return Ok(());
            }
            _ => return Err(DropReason::BadCell),
        }
        up.debts.offer_at = None;
        self.drain_hops(now.instant, slot);
        Ok(())
    }

    /// A probe was looked at when it was heard; on the link's own place it is one whose answer was late.
    pub(super) fn handle_hop_probe(&mut self, slot: u32) -> Result<(), DropReason> {
        let known = self.at(slot).hops.as_mut().and_then(Hops::responder).is_some();
        if known { Ok(()) } else { Err(DropReason::BadCell) }
    }

    /// The answer to a probe has moved the link when it was heard. What it holds proves the new pair to the responder.
    pub(super) fn handle_hop_answer(&mut self, slot: u32, came: Came, region: &[u8]) -> Result<(), DropReason> {
        let challenge = region.first_chunk().ok_or(DropReason::BadCell)?;
        let LinkState { up: Some(up), hops: Some(Hops::Initiator(_)), .. } = self.at(slot) else {
            return Err(DropReason::BadCell);
        };
        if came.place.route.via == up.path.route().via {
            up.path.handle_challenge(*challenge);
        }
        Ok(())
    }

    /// The responder asks to leave the pair of this packet. From an earlier pair it has been done.
    pub(super) fn handle_hop_ask(&mut self, now: Now, slot: u32, came: Came) -> Result<(), DropReason> {
        let hops = self.at(slot).hops.as_mut().and_then(Hops::initiator).ok_or(DropReason::BadCell)?;
        if came.current && came.place.hop == hops.core.index() {
            hops.core.handle_peer_asked(now.instant);
        }
        self.drain_hops(now.instant, slot);
        Ok(())
    }

    /// The cell about hops that is most urgent.
    pub(super) fn poll_hop_cell(&mut self, now: Now, slot: u32) -> Option<OwnCell> {
        if self.config.hops.is_none() {
            return self.poll_hop_words(now, slot);
        }
        let mut challenge = [0; CHALLENGE_LEN];
        self.rng.fill_bytes(&mut challenge);
        let state = self.links[slot as usize].state.as_mut()?;
        match &mut state.hops {
            Some(Hops::Responder(hops)) => {
                while let Some(answer) = hops.core.poll_answer() {
                    let (near, to) = (answer.pair.local, answer.pair.remote);
                    let port = near.port();
                    let is_door = self.config.hops.as_ref().is_some_and(|config| config.door_port == port);
                    let via = if is_door { Some(Via::DOOR) } else { self.sockets.listener(port) };
                    // A port that was closed meanwhile has no answer to give.
                    let Some(via) = via else { continue };
                    let from = Some(near.ip()).filter(|ip| !ip.is_unspecified());
                    let route = Route { via, from, to };
                    let payload = hops.answer(route, challenge).to_vec();
                    let to = Place { route, hop: answer.index };
                    return Some(OwnCell { command: Command::HopAnswer, payload, to });
                }
                if hops.core.poll_ask(now.instant) {
                    let to = state.up.as_ref()?.path.place();
                    return Some(OwnCell { command: Command::HopAsk, payload: Vec::new(), to });
                }
            }
            Some(Hops::Initiator(hops)) => {
                if let Some(probe) = hops.core.poll_probe(now.instant) {
                    let via = *hops.vias.get(&probe.id)?;
                    let (to, _) = self.sockets.ends(via)?;
                    let to = Place { route: Route { via, from: None, to }, hop: probe.index };
                    return Some(OwnCell { command: Command::HopProbe, payload: Vec::new(), to });
                }
            }
            None => {}
        }
        self.poll_hop_words(now, slot)
    }

    /// Offers and their acknowledgement.
    fn poll_hop_words(&mut self, now: Now, slot: u32) -> Option<OwnCell> {
        let offer = self.config.hops.as_ref().and_then(|config| config.offer.as_ref());
        let up = self.links[slot as usize].state.as_mut()?.up.as_mut()?;
        let to = up.path.place();
        let cell = |command, payload| Some(OwnCell { command, payload, to });
        if let Some(taken) = up.debts.taken.take() {
            return cell(Command::HopOfferTaken, vec![if taken { TAKEN } else { DECLINED }]);
        }
        if let Some(offer) = offer
            && up.debts.offer_at.is_some_and(|at| now.instant >= at)
        {
            up.debts.offer_at = Some(now.instant + OFFER_INTERVAL);
            return cell(Command::HopOffer, offer.encode());
        }
        None
    }

    fn offer(&self) -> Option<&HopOffer> {
        self.config.hops.as_ref().and_then(|config| config.offer.as_ref())
    }

    /// Tells an initiator's core what was counted since the last time.
    pub(super) fn flush_hops(&mut self, now: Now, slot: u32) {
        let state = self.at(slot);
        if let (Some(_), Some(Hops::Initiator(hops))) = (&state.up, &mut state.hops) {
            hops.flush(now.instant);
            self.drain_hops(now.instant, slot);
        }
    }

    /// Time has passed for a link that is up.
    pub(super) fn hops_timeout(&mut self, now: Instant, slot: u32) {
        let state = self.at(slot);
        if state.up.is_none() {
            return;
        }
        match &mut state.hops {
            Some(Hops::Initiator(hops)) => hops.flush(now),
            Some(Hops::Responder(hops)) => hops.core.handle_timeout(now),
            None => return,
        }
        self.drain_hops(now, slot);
    }

    /// A report came: the figures of the present pair are judged.
    pub(super) fn hops_report(&mut self, now: Now, slot: u32, hop: u64) {
        let is_scheduled = self.config.gridded;
        let LinkState { up: Some(up), hops, .. } = self.at(slot) else { return };
        let (rtt, stretches) = (up.traffic.rtt(), up.traffic.take_stretches());
        match hops {
            Some(Hops::Initiator(hops)) => hops.handle_report(now.instant, hop, rtt, stretches, is_scheduled),
            Some(Hops::Responder(hops)) => hops.handle_report(now.instant, rtt, stretches[0], is_scheduled),
            None => return,
        }
        self.drain_hops(now.instant, slot);
    }

    /// The peer proved that it is elsewhere, without a hop.
    pub(super) fn hops_moved(&mut self, now: Now, slot: u32, to: SocketAddr) {
        let Some(hops) = self.at(slot).hops.as_mut().and_then(Hops::initiator) else { return };
        follow(hops, now.instant, to);
        self.drain_hops(now.instant, slot);
    }

    /// A rekey has made other keys.
    pub(super) fn hops_under_new_keys(&mut self, now: Now, slot: u32, secret: HopSecret) {
        match &mut self.at(slot).hops {
            Some(Hops::Initiator(hops)) => hops.core.handle_new_secret(now.instant, secret),
            Some(Hops::Responder(hops)) => hops.core.handle_new_secret(now.instant, secret),
            None => return,
        }
        self.drain_hops(now.instant, slot);
    }

    /// A link has come up through a door, perhaps once more.
    pub(super) fn hops_through_door(&mut self, now: Instant, slot: u32) {
        let (offers, door_port) = (self.offer().is_some(), self.local_port(Via::DOOR).unwrap_or(0));
        let state = self.at(slot);
        let via = state.dial.as_ref().map_or(Via::DOOR, |dial| dial.via);
        let Some(up) = &mut state.up else { return };
        if offers && state.dial.is_none() {
            up.debts.offer_at = Some(now);
        }
        let (secret, route) = (up.keys.hop_secret().clone(), up.path.route());
        match &mut state.hops {
            Some(Hops::Initiator(hops)) => {
                let id = hops.core.handle_door_opened(now, secret, route.to);
                hops.vias.insert(id, via);
                hops.door_opened(now);
                // The door may be elsewhere than before. The offer that comes through it is the same then, and changes nothing.
                follow(hops, now, route.to);
            }
            Some(Hops::Responder(hops)) => {
                hops.core.handle_door_opened(now, secret, pair(door_port, route));
                hops.door_opened(now);
            }
            None => return,
        }
        self.drain_hops(now, slot);
    }

    /// A link is down: its sockets are closed. A dial that goes on keeps what it knows of ports.
    pub(super) fn hops_down(&mut self, slot: u32, dial_goes_on: bool) {
        let Self { links, sockets, .. } = self;
        let Some(state) = links[slot as usize].state.as_mut() else { return };
        match &mut state.hops {
            Some(Hops::Initiator(hops)) => {
                std::mem::take(&mut hops.vias).into_values().for_each(|via| sockets.close(via));
                hops.core.handle_down();
                while hops.core.poll_output().is_some() {}
            }
            Some(Hops::Responder(hops)) => hops.core.open_ports().for_each(|port| sockets.stop_listening(slot, port)),
            None => {}
        }
        if !dial_goes_on {
            state.hops = None;
        }
    }

    /// Does what the link's core wants.
    pub(super) fn drain_hops(&mut self, now: Instant, slot: u32) {
        match &self.at(slot).hops {
            Some(Hops::Initiator(_)) => self.drain_initiator(now, slot),
            Some(Hops::Responder(_)) => self.drain_responder(now, slot),
            None => return,
        }
        self.arm(slot);
    }

    fn drain_initiator(&mut self, now: Instant, slot: u32) {
        loop {
            let Self { links, sockets, .. } = self;
            let Some(LinkState { hops: Some(Hops::Initiator(hops)), up, dial, .. }) =
                links[slot as usize].state.as_deref_mut()
            else {
                return;
            };
            let Some(output) = hops.core.poll_output() else { return };
            match output {
                InitiatorOutput::Open { id, remote, local_port } => {
                    let beside = dial.as_ref().map_or(Via::DOOR, |dial| dial.via);
                    hops.vias.insert(id, sockets.open(slot, beside, id, remote, local_port));
                }
                InitiatorOutput::Close { id } => {
                    if let Some(via) = hops.vias.remove(&id) {
                        sockets.close(via);
                    }
                }
                InitiatorOutput::ThroughDoor { .. } => {
                    if let (Some(up), Some(dial)) = (up, dial) {
                        up.debts.through_door = true;
                        dial.restart(now);
                    }
                }
                InitiatorOutput::Switch { id, index, cause } => {
                    let Some(via) = hops.vias.get(&id).copied() else { continue };
                    let Some((to, _)) = sockets.ends(via) else { continue };
                    self.switch(now, slot, Place { route: Route { via, from: None, to }, hop: index }, cause);
                }
            }
        }
    }

    /// The initiator got an answer on another pair: everything goes there.
    fn switch(&mut self, now: Instant, slot: u32, place: Place, cause: Cause) {
        self.move_to_hop(slot, place.hop);
        let gridded = self.config.gridded;
        let state = self.at(slot);
        let (link, Some(up)) = (state.id, &mut state.up) else { return };
        up.path.set_valid(place);
        up.debts.through_door = false;
        if !gridded {
            up.expect_following(now);
        }
        let sent = up.traffic.sent();
        if let Some(hops) = state.hops.as_mut().and_then(Hops::initiator) {
            hops.switched(now, sent, place.hop, cause);
        }
        self.emit(LinkEvent::Hopped { link, index: place.hop, cause: Some(cause) });
    }

    fn drain_responder(&mut self, now: Instant, slot: u32) {
        loop {
            let door_port = self.local_port(Via::DOOR);
            let Self { links, sockets, .. } = self;
            let Some(LinkState { hops: Some(Hops::Responder(hops)), up, .. }) =
                links[slot as usize].state.as_deref_mut()
            else {
                return;
            };
            let Some(output) = hops.core.poll_output() else { return };
            match output {
                ResponderOutput::Open { port } if Some(port) == door_port => {}
                ResponderOutput::Open { port } => sockets.listen(slot, port),
                ResponderOutput::Close { port } => sockets.stop_listening(slot, port),
                ResponderOutput::Switch { index, .. } => {
                    if up.as_ref().is_some_and(|up| up.keys.hop() != index) {
                        self.follow(now, slot, index);
                    }
                }
            }
        }
    }

    /// The initiator sends on another pair. Packets go there when the pair has proved itself.
    fn follow(&mut self, now: Instant, slot: u32, index: u64) {
        self.move_to_hop(slot, index);
        let gridded = self.config.gridded;
        let state = self.at(slot);
        let link = state.id;
        if let (Some(up), Some(Hops::Responder(hops))) = (&mut state.up, &mut state.hops) {
            hops.followed(now, up.traffic.sent(), index);
            if !gridded {
                up.traffic.report_at_once(now);
            }
        }
        self.emit(LinkEvent::Hopped { link, index, cause: None });
    }

    /// Moves all keys of the link's present hop to another one, and the table with them. Those of before the last door
    /// handshake stand at a hop of their own until they end.
    fn move_to_hop(&mut self, slot: u32, hop: u64) {
        let Self { links, table, .. } = self;
        let Some(state) = links[slot as usize].state.as_mut() else { return };
        let Some(up) = &mut state.up else { return };
        let old = up.keys.hop();
        let previous = up.previous.as_mut().map(|(keys, _)| keys).filter(|keys| keys.hop() == old);
        let next = state.next.as_mut().filter(|next| next.door.is_none()).map(|next| &mut next.keys);
        for keys in std::iter::once(&mut up.keys).chain(previous).chain(next) {
            keys.receive_indices().for_each(|index| table.remove(index, slot));
            keys.move_to_hop(hop);
            for index in keys.receive_indices() {
                // One that another link has leads there: a chance of 2^-48, and the next hop is another one.
                table.insert(index, slot);
            }
        }
    }
}

/// Ports that were offered without an address are at the peer's own, wherever that is now.
fn follow(hops: &mut InitiatorHops, now: Instant, to: SocketAddr) {
    if hops.offer.addresses().is_empty()
        && let Some(targets) = targets(&hops.offer, to)
    {
        hops.core.handle_new_targets(now, targets);
    }
}

/// Where a link may hop to that an offer was made for; its packets go to `to`. Addresses of the other family are left out,
/// since its sockets may not reach them.
fn targets(offer: &HopOffer, to: SocketAddr) -> Option<Targets> {
    let v4 = to.ip().to_canonical().is_ipv4();
    let own_form = |address: &TargetAddress| match *address {
        TargetAddress::One(IpAddr::V4(ip)) if to.is_ipv6() => TargetAddress::One(ip.to_ipv6_mapped().into()),
        other => other,
    };
    let is_near = |address: &&TargetAddress| matches!(address, TargetAddress::One(IpAddr::V4(_))) == v4;
    let mut addresses: Vec<TargetAddress> = offer.addresses().iter().filter(is_near).map(own_form).collect();
    if addresses.is_empty() {
        addresses.push(TargetAddress::One(to.ip()));
    }
    Targets::new(addresses, offer.ports().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_of_the_links_own_family() -> Result<(), Box<dyn std::error::Error>> {
        let one = |text: &str| text.parse().map(TargetAddress::One);
        let prefix = TargetAddress::Prefix("2001:db8::/64".parse()?);
        let offer = HopOffer::new("443".parse()?, vec![one("192.0.2.1")?, prefix, one("2001:db8:1::1")?])?;
        let of = |to: &str| -> Result<Vec<TargetAddress>, Box<dyn std::error::Error>> {
            Ok(targets(&offer, to.parse()?).ok_or("no address")?.addresses().to_vec())
        };
        assert_eq!(of("192.0.2.9:1")?, [one("192.0.2.1")?]);
        assert_eq!(of("[::ffff:192.0.2.9]:1")?, [one("::ffff:192.0.2.1")?]);
        assert_eq!(of("[2001:db8::9]:1")?, [prefix, one("2001:db8:1::1")?]);
        let offer = HopOffer::new("443".parse()?, vec![prefix])?;
        let own = targets(&offer, "192.0.2.9:1".parse()?).ok_or("no address")?;
        assert_eq!(own.addresses(), [one("192.0.2.9")?], "without one it stays at its address");
        Ok(())
    }
}
