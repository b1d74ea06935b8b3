//! What time brings, and when.

use super::build::HOP_PATIENCE;
use super::{CircuitTunnel, Circuits, Shared, Stage};
use crate::memory::pass_on;
use crate::near::Near;
use crate::queues::FlowQueues;
use conflux::{LegFigures, LegId, LegState};
use link::{Endpoint, Now};
use std::time::{Duration, Instant};

/// How long a leg may be silent while its guard is heard, before its circuit is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How often legs are compared.
const LOSS_LOOK: Duration = Duration::from_secs(5);
/// A leg that loses so much of a thousand cells, and four times as much as the best of its sisters, is replaced.
const LOSS_ABNORMAL: u32 = 50;
/// A leg is not replaced for its loss before it is so old. With one at a time, that many are built at most.
const LEG_LIFE_MIN: Duration = Duration::from_secs(60);
/// A leg on which nothing left for so long gets a cover cell: relays forget circuits of whose client they hear nothing for ten
/// minutes.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The same for an errand's circuit in shaped modes, where the cell leaves in a slot that exists anyway: it is how a service learns that an
/// introduction point or a relay on the way there is gone while nobody calls. Without slots all circuits have one rhythm, by which no guard
/// tells a service's from an entry's.
pub(super) const KEEP_ALIVE_IN_SLOTS: Duration = Duration::from_secs(10);

impl Circuits {
    /// Lets time pass for all tunnels. [`Circuits::advance`] is to follow.
    pub(crate) fn handle_timeout<Q: FlowQueues>(&mut self, now: Now, near: &mut Near<Q>) {
        let Self { shared, tunnels, .. } = self;
        if shared.look_at <= now.instant {
            shared.look_through_guards(now);
        }
        shared.ending.iter_mut().for_each(|ending| ending.circuit.handle_timeout(now.instant));
        self.errands.handle_timeout(shared, now.instant);
        for tunnel in tunnels.values_mut() {
            tunnel.handle_timeout(shared, now, near);
        }
        self.look_at_pool(now.instant, near);
        self.keep_accounts(now.instant);
    }

    /// Goes on with everything: what has happened is taken in, and what can be begun is begun.
    pub(crate) fn advance<Q: FlowQueues>(&mut self, now: Now, endpoint: &mut Endpoint, near: &mut Near<Q>) {
        let Self { shared, tunnels, .. } = self;
        shared.ending.retain(|ending| !ending.circuit.is_finished());
        for tunnel in tunnels.values_mut() {
            tunnel.begin_circuits(shared, now);
            tunnel.follow_builds(shared, now);
            tunnel.settle_tunnel(shared, now, near);
        }
        self.follow_errands(now);
        self.settle_pool(now.instant, near);
        self.follow_services(now, near);
        if !self.shared.stopping {
            self.follow_guards(now, endpoint);
            self.ask_spare_guards(now, endpoint);
            self.give_up_silent_guards(now, endpoint);
            for tunnel in self.tunnels.values_mut() {
                tunnel.look_for_better_ways(&mut self.shared, now, endpoint);
                tunnel.plan(&mut self.shared, now, endpoint);
            }
            self.keep_guards(now, endpoint);
            self.plan_errands(now, endpoint);
        }
        self.close_unused_links(now.instant, endpoint);
        let is_refused = |place: &super::Place| matches!(place.stage, Stage::Waiting { refused: true, .. });
        let all_heard = self.shared.links.values().all(|guard| guard.silent_since.is_none());
        if all_heard && !self.tunnels.values().flat_map(|tunnel| &tunnel.places).any(is_refused) {
            self.shared.refusal = None;
        }
    }

    /// When [`Circuits::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let (pool, services) = (self.pool_timeout(), self.services_timeout());
        let spares = if self.shared.stopping { None } else { self.spares_timeout() };
        let Self { shared, tunnels, .. } = self;
        let guards = shared.links.values().filter(|_| !shared.stopping);
        let guards = guards.filter_map(|guard| shared.patience_ends(guard)).min();
        let ending = shared.ending.iter().filter_map(|ending| ending.circuit.poll_timeout()).min();
        let tunnels = tunnels.values_mut().filter_map(|tunnel| tunnel.poll_timeout(shared)).min();
        let errands = self.errands.poll_timeout(shared);
        [guards, spares, ending, errands, services, tunnels, pool, Some(shared.look_at)].into_iter().flatten().min()
    }
}

impl CircuitTunnel {
    /// Lets time pass for circuits, legs and session. [`Circuits::advance`] is to follow.
    fn handle_timeout<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Now, near: &mut Near<Q>) {
        for place in &mut self.places {
            if let Stage::Building { circuit, .. } = &mut place.stage {
                circuit.circuit_mut().circuit.handle_timeout(now.instant);
            }
        }
        if let Some(joined) = &mut self.joined {
            joined.legs.handle_timeout(now.instant);
            pass_on(now.instant, &mut joined.legs, joined.tunnel.as_mut());
            if let Some(tunnel) = &mut joined.tunnel {
                tunnel.session.handle_timeout(now.instant);
                tunnel.forget_room_due(now.instant);
            }
        }
        self.end_outgoing(now.instant);
        self.replace_silent_legs(shared, now.instant);
        if self.next_loss_look <= now.instant {
            self.next_loss_look = now.instant + LOSS_LOOK;
            self.retire_lossy_leg(shared, now.instant);
        }
        self.end_lost_tunnel(shared, now.instant, near);
    }

    /// Legs of which nothing comes although their guard is heard: a relay behind it is gone and nobody has said so.
    fn replace_silent_legs(&mut self, shared: &mut Shared, now: Instant) {
        for number in 0..self.places.len() {
            if self.silent_leg_ends(shared, number).is_some_and(|at| at <= now) {
                self.avoid_middle(shared, now, number);
                self.vacate(shared, now, number, false);
            }
        }
    }

    fn silent_leg_ends(&self, shared: &Shared, number: usize) -> Option<Instant> {
        let Stage::Joined { link, silent_since: Some(since), .. } = &self.places[number].stage else { return None };
        let heard = shared.links.get(link).is_some_and(|guard| guard.up && guard.silent_since.is_none());
        heard.then_some(*since + SILENCE_MAX)
    }

    fn avoid_middle(&self, shared: &mut Shared, now: Instant, number: usize) {
        if let Some(middle) = self.places[number].stage.path().and_then(tunnel_plan::Path::middle) {
            shared.avoid(now, middle);
        }
    }

    /// A leg that loses much more than its sisters is replaced through the same guard: one at a time, and only when all are
    /// there.
    fn retire_lossy_leg(&mut self, shared: &mut Shared, now: Instant) {
        // Another leg to a service costs an introduction.
        let Some(joined) = self.joined.as_ref().filter(|_| !self.is_of_service()) else { return };
        let figures: Vec<LegFigures> = joined.legs.legs().collect();
        if figures.len() < self.places.len().max(2) || figures.iter().any(|leg| leg.state != LegState::Linked) {
            return;
        }
        let old_enough = |leg: LegId| {
            self.place_of(leg).is_some_and(|number| {
                matches!(self.places[number].stage, Stage::Joined { since, .. } if since + LEG_LIFE_MIN <= now)
            })
        };
        if let Some(leg) = worst(&figures).filter(|leg| old_enough(*leg))
            && let Some(number) = self.place_of(leg)
        {
            self.avoid_middle(shared, now, number);
            self.vacate(shared, now, number, true);
        }
    }

    /// When [`CircuitTunnel::handle_timeout`] has something to do.
    fn poll_timeout(&mut self, shared: &Shared) -> Option<Instant> {
        let places = (0..self.places.len()).filter_map(|number| self.place_timeout(shared, number)).min();
        // Slots keep legs alive.
        let idle = || shared.uplink.is_none().then(|| self.next_keep_alive()).flatten();
        let keep_alive = idle().map(|(at, _)| at);
        let several = self.routes.len() > 1;
        let tunnel = self.joined.as_mut().and_then(|joined| {
            let session = joined.tunnel.as_mut();
            let session = session.and_then(|tunnel| {
                let flows = [tunnel.arrivals_due(), tunnel.room_due()];
                tunnel.session.poll_timeout().into_iter().chain(flows.into_iter().flatten()).min()
            });
            let loss = several.then_some(self.next_loss_look);
            [joined.legs.poll_timeout(), session, joined.over_at, loss].into_iter().flatten().min()
        });
        let ways = (self.rules.has_only_ways() && !shared.stopping).then_some(self.next_way_look);
        let own = self
            .joined
            .as_ref()
            .filter(|_| self.is_of_service())
            .and_then(|joined| self.routes.values().filter_map(|leg| joined.legs.carrier(*leg)?.own_due()).min());
        [places, keep_alive, tunnel, ways, own].into_iter().flatten().min()
    }

    fn place_timeout(&self, shared: &Shared, number: usize) -> Option<Instant> {
        let place = &self.places[number];
        let outgoing = place.outgoing.as_ref().map(|outgoing| outgoing.until);
        let stage = match &place.stage {
            Stage::Waiting { until, .. } if !shared.stopping && !self.exit_is_gone && !self.is_of_service() => {
                Some(*until)
            }
            Stage::Waiting { .. } | Stage::Dialling { .. } => None,
            Stage::Building { circuit, since, .. } => {
                let own = circuit.circuit().circuit.poll_timeout();
                own.into_iter().chain([*since + HOP_PATIENCE]).min()
            }
            Stage::Joined { .. } => self.silent_leg_ends(shared, number),
        };
        stage.into_iter().chain(outgoing).min()
    }

    /// When a leg is to be kept alive next, and which.
    pub(super) fn next_keep_alive(&self) -> Option<(Instant, LegId)> {
        let joined = self.joined.as_ref()?;
        let legs = joined.legs.legs().filter(|leg| matches!(leg.state, LegState::Linked | LegState::Silent));
        let sent = legs.filter_map(|leg| Some((joined.legs.carrier(leg.leg)?.cover_at()?, leg.leg)));
        sent.min()
    }
}

/// The leg that loses most, if it loses abnormally much.
fn worst(legs: &[LegFigures]) -> Option<LegId> {
    let loss = |leg: &LegFigures| leg.loss_per_mille;
    let best = legs.iter().filter_map(loss).min()?;
    let (worst, leg) = legs.iter().filter_map(|leg| Some((loss(leg)?, leg.leg))).max()?;
    (legs.iter().all(|leg| loss(leg).is_some()) && worst >= LOSS_ABNORMAL && worst >= 4 * best).then_some(leg)
}
