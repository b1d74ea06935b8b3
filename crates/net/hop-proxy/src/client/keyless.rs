//! The way of a flow to a server that knows nothing of keys: one socket, whose destination port changes.

use std::net::SocketAddr;
use std::time::Instant;

use port_hopping::causes::{Cause, Countdown, Timers};
use port_hopping::keyless::{Verdict, Walk, Watch};
use port_hopping::ports::PortSet;
use rand_chacha::ChaCha20Rng;

use super::{Client, Route, TROUBLE_GAP, peers};
use crate::engine::Moment;
use crate::table::Key;

/// After so many silent ports in a row the server is at fault.
const SILENT_PORTS_MAX: u32 = 3;
/// Ports that are drawn until one is not held for blocked.
const DRAWS_MAX: usize = 16;

/// The state of a flow's way.
#[derive(Debug)]
pub(super) struct KeylessRoute {
    wire: Option<Key>,
    to: Option<SocketAddr>,
    walk: Walk,
    countdown: Countdown,
    watch: Watch,
    /// Since the last hop.
    since: Instant,
    silent_ports: u32,
    refused: bool,
    /// What the watch wants.
    wanted: Option<Cause>,
}

impl KeylessRoute {
    pub(super) fn new(now: Instant, ports: PortSet, timers: Timers, rng: &mut ChaCha20Rng) -> Self {
        let countdown = Countdown::draw(now, timers, rng);
        let walk = Walk::new(ports, rng);
        let watch = Watch::new();
        Self { wire: None, to: None, walk, countdown, watch, since: now, silent_ports: 0, refused: false, wanted: None }
    }

    pub(super) fn way(&self) -> Option<(Key, SocketAddr)> {
        Some((self.wire?, self.to?))
    }

    pub(super) fn wires(&self) -> impl Iterator<Item = Key> {
        self.wire.into_iter()
    }

    /// Notes what was sent; true if the flow is to be looked at.
    pub(super) fn note_sent(&mut self, now: Instant, datagrams: u64, bytes: u64) -> bool {
        self.watch.handle_sent(now, datagrams);
        self.countdown.handle_bytes(bytes);
        self.is_due(now)
    }

    /// Notes that something came from a place; true if the flow is to be looked at.
    pub(super) fn note_heard(&mut self, now: Instant, from: SocketAddr) -> bool {
        self.silent_ports = 0;
        self.watch.handle_heard(now, peers::canonical(from));
        self.watch.poll_timeout().is_some_and(|at| now >= at) || self.watch.has_verdict()
    }

    /// Notes the bytes of what came.
    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.countdown.handle_bytes(bytes);
    }

    pub(super) fn refused(&mut self, _now: Instant) {
        self.refused = true;
    }

    fn is_due(&self, now: Instant) -> bool {
        self.cause(now).is_some() || self.watch.has_verdict() || self.watch.poll_timeout().is_some_and(|at| now >= at)
    }

    fn cause(&self, now: Instant) -> Option<Cause> {
        let age = now.saturating_duration_since(self.since);
        if self.refused && age >= TROUBLE_GAP {
            return Some(Cause::SocketFailed);
        }
        self.wanted.or(self.countdown.due(now))
    }

    /// When to look again, unless something is sent before.
    pub(super) fn wake_at(&self) -> Instant {
        self.watch.poll_timeout().map_or(self.countdown.due_at(), |at| at.min(self.countdown.due_at()))
    }
}

impl Client {
    /// Opens the flow's socket if it has none, and hops if it is time.
    pub(super) fn tend_keyless(&mut self, key: Key, moment: Moment) {
        self.obey_watch(key, moment);
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Route::Keyless(route) = &mut flow.route else { return };
        let cause = route.cause(moment.now);
        if route.way().is_some() && cause.is_none() {
            return;
        }
        let server = flow.server;
        let (known, mut wire) = (route.way().is_some(), route.wire);
        let Some(mut to) = self.next_place(key, server, moment) else { return };
        if wire.is_none() {
            wire = self.open_wire_below(key, server, to, moment.now);
        }
        let Some(family) = wire.and_then(|wire| self.wires.get(wire)).map(|wire| wire.family) else { return };
        to = peers::for_family(to, family);
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Route::Keyless(route) = &mut flow.route else { return };
        (route.wire, route.to) = (wire, Some(to));
        (route.since, route.refused, route.wanted) = (moment.now, false, None);
        route.watch.handle_hop(moment.now, peers::canonical(to));
        route.countdown = Countdown::draw(moment.now, self.hop_timers, &mut self.rng);
        let cause = cause.filter(|_| known);
        flow.stay.begin(moment.now, cause);
        if let Some(cause) = cause {
            *self.counters.hops.entry(cause).or_default() += 1;
        }
    }

    /// Does what the watch of a flow says.
    fn obey_watch(&mut self, key: Key, moment: Moment) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let Route::Keyless(route) = &mut flow.route else { return };
        while let Some(verdict) = route.watch.poll_verdict(moment.now) {
            match verdict {
                Verdict::GoBack(place) | Verdict::GoForward(place) => {
                    let family = route.wire.and_then(|wire| self.wires.get(wire)).map(|wire| wire.family);
                    route.to = family.map(|family| peers::for_family(place, family));
                    (route.since, route.wanted) = (moment.now, None);
                    flow.stay.begin(moment.now, None);
                    let undone = matches!(verdict, Verdict::GoBack(_));
                    self.counters.undone += u64::from(undone);
                    if !undone {
                        self.blocked.forgive(&place);
                    }
                }
                Verdict::Blocked(place) => self.blocked.note(moment.now, place),
                Verdict::TryNext => route.wanted = Some(Cause::Silence),
                Verdict::Silent => {
                    route.wanted = Some(Cause::Silence);
                    if let Some(to) = route.to {
                        self.blocked.note(moment.now, peers::canonical(to));
                    }
                    route.silent_ports += 1;
                    let lost = route.silent_ports >= SILENT_PORTS_MAX;
                    if lost && self.peers.pass_over(flow.server, moment.now) {
                        let server = self.peers.best_server(moment.now);
                        if server != flow.server
                            && let Some(ports) = self.peers.ports(server)
                        {
                            flow.server = server;
                            route.walk = Walk::new(ports.clone(), &mut self.rng);
                            route.silent_ports = 0;
                            route.watch.forget();
                        }
                    }
                }
            }
        }
    }

    /// Draws the next place of a flow, one that is not held for blocked if there is one.
    fn next_place(&mut self, key: Key, server: usize, moment: Moment) -> Option<SocketAddr> {
        let flow = self.flows.get_mut(key)?;
        let Route::Keyless(route) = &mut flow.route else { return None };
        let family = match route.wire.and_then(|wire| self.wires.get(wire)) {
            Some(wire) => wire.family,
            None => self.peers.family(server),
        };
        let mut place = None;
        for _ in 0..DRAWS_MAX {
            let port = route.walk.next_port(&mut self.rng);
            place = self.peers.place(server, port, family, moment.now, &mut self.rng);
            if place.is_none_or(|place| self.blocked.remaining(moment.now, &place).is_none()) {
                break;
            }
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn a_refusal_is_a_cause_but_not_at_once_after_a_hop() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let ports: PortSet = "20000-50000".parse().expect("ports");
        let mut route = KeylessRoute::new(now, ports, Timers::default(), &mut rng);
        route.refused(now);
        assert_eq!(route.cause(now + TROUBLE_GAP / 2), None);
        assert_eq!(route.cause(now + TROUBLE_GAP), Some(Cause::SocketFailed));
    }
}
