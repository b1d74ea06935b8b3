//! Looking for another way: candidates are knocked at one after the other until one answers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use port_hopping::causes::Cause;
use port_hopping::keyed::{FlowId, Purpose, SealedKnock};

use super::{Client, Route, peers};
use crate::engine::Moment;
use crate::table::Key;

/// Knocks at one candidate before the next one is tried; its answer still counts then.
const KNOCKS_A_PLACE: u8 = 2;
/// Attempts that fail in a row before another server is tried.
const FAILURES_MAX: u8 = 1;

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) wire: Key,
    /// Why; `None` for a flow that has no way yet, which is no hop.
    pub(super) cause: Option<Cause>,
    candidates: VecDeque<SocketAddr>,
    to: SocketAddr,
    knocked: u8,
    /// Every knock of the attempt, where it went and when. At most two a candidate.
    pub(super) knocks: Vec<(SealedKnock, SocketAddr, Instant)>,
    pub(super) next_at: Instant,
}

impl Client {
    /// Opens a socket and knocks at the best candidate.
    pub(super) fn begin_attempt(&mut self, key: Key, cause: Option<Cause>, moment: Moment) {
        let Some(flow) = self.flows.get(key) else { return };
        let server = flow.server;
        let Route::Keyed(route) = &flow.route else { return };
        let present = route.way().map(|(_, to)| peers::canonical(to));
        let mut candidates = self.candidates(server, present, moment);
        let first = candidates.pop_front();
        let opened = first.and_then(|to| Some((to, self.open_wire(key, server, to, moment)?)));
        let family = opened.and_then(|(_, wire)| self.wires.get(wire)).map(|wire| wire.family);
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return };
        let (Some((to, wire)), Some(family)) = (opened, family) else {
            route.note_failure(moment.now, &mut self.rng);
            return;
        };
        let candidates = candidates.into_iter().map(|to| peers::for_family(to, family)).collect();
        let to = peers::for_family(to, family);
        let next_at = moment.now;
        route.attempt = Some(Attempt { wire, cause, candidates, to, knocked: 0, knocks: Vec::new(), next_at });
        self.go_on(key, moment);
    }

    /// Where to knock: the ports of these windows, those that did not answer lately last, the one in use not at all.
    fn candidates(&mut self, server: usize, present: Option<SocketAddr>, moment: Moment) -> VecDeque<SocketAddr> {
        let Some(ports) = self.peers.schedule(server).map(|schedule| schedule.candidates(moment.unix)) else {
            return VecDeque::new();
        };
        let family = self.peers.family(server);
        let mut places: Vec<SocketAddr> = Vec::new();
        for port in ports {
            let place = self.peers.place(server, port, family, moment.now, &mut self.rng);
            places.extend(place.map(peers::canonical));
        }
        if places.iter().any(|place| Some(*place) != present) {
            places.retain(|place| Some(*place) != present);
        }
        self.blocked.order(moment.now, &mut places);
        places.into()
    }

    /// Knocks again, or at the next candidate, or gives up.
    pub(super) fn go_on(&mut self, key: Key, moment: Moment) {
        let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route) else { return };
        let patience = route.patience();
        let Some(attempt) = &mut route.attempt else { return };
        if attempt.next_at > moment.now {
            return;
        }
        if attempt.knocked >= KNOCKS_A_PLACE {
            self.counters.unanswered += 1;
            self.blocked.note(moment.now, peers::canonical(attempt.to));
            match attempt.candidates.pop_front() {
                Some(to) => (attempt.to, attempt.knocked) = (to, 0),
                None => {
                    self.give_up(key, moment);
                    return;
                }
            }
        }
        attempt.knocked += 1;
        attempt.next_at = moment.now + patience;
        let (wire, to) = (attempt.wire, attempt.to);
        if let Some(knock) = self.knock(key, wire, to, Purpose::Try, moment)
            && let Some(Route::Keyed(route)) = self.flows.get_mut(key).map(|flow| &mut flow.route)
            && let Some(attempt) = &mut route.attempt
        {
            attempt.knocks.push((knock, to, moment.now));
        }
    }

    /// No candidate answered.
    fn give_up(&mut self, key: Key, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let server = flow.server;
        let Route::Keyed(route) = &mut flow.route else { return };
        let wire = route.attempt.take().map(|attempt| attempt.wire);
        route.failures = route.failures.saturating_add(1);
        route.note_failure(moment.now, &mut self.rng);
        // While the old way answers, the flow stays on it; a server that is silent on all ports is left.
        let silent = route.present.as_ref().is_none_or(|present| !present.knocks.is_empty());
        if silent && route.failures > FAILURES_MAX && self.peers.pass_over(server, moment.now) {
            let other = self.peers.best_server(moment.now);
            if other != server {
                flow.server = other;
                (route.id, route.failures) = (FlowId::draw(&mut self.rng), 0);
                route.retry_at = None;
                if let Some(present) = route.present.take() {
                    route.left.push((present.wire, moment.now + super::DRAIN_MIN));
                }
            }
        }
        if let Some(wire) = wire {
            self.close_wire(wire);
        }
    }
}
