//! The tunnel: its legs, and the session over them.

use super::carrier::Carrier;
use super::{CircuitTunnel, Shared, TUNNEL_RETRY};
use crate::flow::Owner;
use crate::near::Near;
use crate::node::NodeEvent;
use crate::queues::FlowQueues;
use crate::tunnel::{ACK_DELAY, ACK_EVERY, Tunnel, TunnelEvent as FlowsEvent};
use conflux::{LegEnd, LegId, LegState, Nonce, Pace, Refusal, Sharing, TunnelConfig, TunnelEnd, TunnelEvent};
use identity::{NodeId, NodeSecret};
use link::Now;
use session::{Paths, Session, SessionConfig, stream_window_for};
use std::time::{Duration, Instant};
use tunnel_plan::{PathRules, Relaxation};
use wire::flow::ResetReason;

/// A session's first estimate of its round trip is at least this.
const INITIAL_RTT_MIN: Duration = Duration::from_millis(20);

/// One tunnel.
pub(super) struct Joined {
    pub(super) legs: conflux::Tunnel<Carrier>,
    /// From the first leg on.
    pub(super) tunnel: Option<Tunnel>,
    pub(super) exit: NodeId,
    pub(super) began: Instant,
    /// The session is lost: when the legs go as well.
    pub(super) over_at: Option<Instant>,
}

impl Joined {
    pub(super) fn new(
        now: Instant,
        exit: NodeId,
        rules: PathRules,
        pace: Pace,
        orphan_after: Duration,
        nonce: [u8; 32],
        random: [u8; 32],
    ) -> Self {
        let shares = rules.relaxation() >= Relaxation::SharedMiddles;
        let sharing = if shares { Sharing::MiddlesToo } else { Sharing::ExitOnly };
        let config = TunnelConfig { pace, sharing, orphan_after, ..TunnelConfig::default() };
        let legs = conflux::Tunnel::client(now, config, Nonce::new(nonce), random);
        Self { legs, tunnel: None, exit, began: now, over_at: None }
    }
}

impl CircuitTunnel {
    /// Handles what legs and session have to say.
    pub(super) fn settle_tunnel<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Now, near: &mut Near<Q>) {
        self.find_broken_legs(now.instant);
        let mut ended = None;
        while let Some(event) = self.joined.as_mut().and_then(|joined| joined.legs.poll_event()) {
            match event {
                TunnelEvent::LegLinked(leg, rtt) => self.handle_linked(shared, now, leg, rtt),
                TunnelEvent::LegSilent(leg) if self.take_outgoing(leg) => {
                    if let Some(joined) = &mut self.joined {
                        joined.legs.handle_circuit_gone(now.instant, leg);
                    }
                }
                TunnelEvent::LegSilent(leg) => self.note_silence(leg, Some(now.instant)),
                TunnelEvent::LegBack(leg) => {
                    self.note_silence(leg, None);
                    self.wake_session(now.instant);
                }
                TunnelEvent::LegEnded(leg, why) => self.handle_ended(shared, now, leg, why),
                TunnelEvent::Ended(why) => ended = Some(why),
            }
        }
        self.take_released(shared, now.instant);
        if let Some(why) = ended {
            return self.end_tunnel(shared, now.instant, why, near);
        }
        self.settle_session(shared, now, near);
    }

    fn settle_session<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Now, near: &mut Near<Q>) {
        let (is_wanted, is_service) = (!self.holder.is_nobody(), self.is_of_service());
        let Some(Joined { tunnel: Some(tunnel), over_at, exit, .. }) = &mut self.joined else { return };
        let (exit, was_up) = (*exit, tunnel.is_up());
        match tunnel.settle(now.instant, near) {
            Some(FlowsEvent::Up) => shared.events.push(NodeEvent::TunnelUp),
            Some(FlowsEvent::Lost(reason)) => {
                // The legs stay for a moment: the session may have one packet left, its farewell.
                tunnel.abandon(ResetReason::TunnelLost, near);
                over_at.get_or_insert(now.instant + TUNNEL_RETRY);
                if is_wanted {
                    shared.events.push(NodeEvent::TunnelLost(reason));
                }
                if !was_up && is_wanted && !is_service {
                    // It takes legs and makes no session of them.
                    shared.avoid(now.instant, exit);
                }
            }
            None => {}
        }
        // An entry gives leave and gets none.
        self.session_mut().map(Tunnel::take_granted);
    }

    /// Ends the tunnel whose session was lost, when its farewell has had its time.
    pub(super) fn end_lost_tunnel<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Instant, near: &mut Near<Q>) {
        let Some(joined) = self.joined.as_mut().filter(|joined| joined.over_at.is_some_and(|at| at <= now)) else {
            return;
        };
        joined.legs.close(now);
        self.end_tunnel(shared, now, TunnelEnd::Closed, near);
    }

    fn end_tunnel<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Instant, why: TunnelEnd, near: &mut Near<Q>) {
        for number in 0..self.places.len() {
            self.vacate(shared, now, number, false);
        }
        self.take_released(shared, now);
        let Some(mut joined) = self.joined.take() else { return };
        // Flows that no session has carried yet wait for the next one.
        if let Some(tunnel) = joined.tunnel.as_mut().filter(|tunnel| tunnel.is_up()) {
            tunnel.abandon(ResetReason::TunnelLost, near);
        }
        shared.carriers.retain(|_, tunnel| *tunnel != self.number);
        self.routes.clear();
        (self.exit, self.life_ends, self.is_old, self.has_ended) = (None, None, false, true);
        (self.exit_is_gone, self.ends_at) = (false, None);
        if why == TunnelEnd::Orphaned && !self.is_of_service() {
            shared.avoid(now, joined.exit);
        }
        let until = now.max(joined.began + TUNNEL_RETRY);
        for place in &mut self.places {
            let stage = super::Stage::at(until);
            *place = super::Place { stage, failures: place.failures, up_link: None, outgoing: None };
        }
        if !self.holder.is_nobody() {
            shared.events.push(NodeEvent::TunnelEnded(why));
        }
    }

    /// Forgets what a tunnel has come to that never had a session. Its flows wait for what it comes to next.
    pub(super) fn begin_again<Q: FlowQueues>(&mut self, shared: &mut Shared, now: Instant, near: &mut Near<Q>) {
        if let Some(joined) = &mut self.joined {
            joined.legs.close(now);
        }
        self.end_tunnel(shared, now, TunnelEnd::Closed, near);
        self.has_ended = false;
    }

    /// Circuits of legs that were cut, taken down or worn out.
    fn find_broken_legs(&mut self, now: Instant) {
        let Some(joined) = &mut self.joined else { return };
        for leg in self.routes.values() {
            if joined.legs.carrier_mut(*leg).is_some_and(Carrier::is_broken) {
                joined.legs.handle_circuit_gone(now, *leg);
            }
        }
    }

    /// Takes down the circuits of legs that are out of use.
    fn take_released(&mut self, shared: &mut Shared, now: Instant) {
        while let Some(released) = self.joined.as_mut().and_then(|joined| joined.legs.poll_released()) {
            let (link, id) = (released.carrier.link(), released.carrier.id());
            self.routes.remove(&(link, id));
            shared.carriers.remove(&(link, id));
            shared.end_circuit(now, link, released.carrier.into_circuit());
        }
    }

    fn handle_linked(&mut self, shared: &mut Shared, now: Now, leg: LegId, rtt: Option<Duration>) {
        if let Some(number) = self.place_of(leg) {
            self.places[number].failures = 0;
        }
        shared.events.push(NodeEvent::LegUp(leg.number()));
        if self.joined.as_ref().is_some_and(|joined| joined.tunnel.is_none()) {
            self.start_session(shared, now.instant, rtt.unwrap_or_default());
        } else {
            self.wake_session(now.instant);
        }
    }

    fn note_silence(&mut self, leg: LegId, since: Option<Instant>) {
        if let Some(number) = self.place_of(leg)
            && let super::Stage::Joined { silent_since, .. } = &mut self.places[number].stage
        {
            *silent_since = since;
        }
    }

    /// A leg answers after none did: the session need not wait out its back-off.
    fn wake_session(&mut self, now: Instant) {
        if let Some(Joined { legs, tunnel: Some(tunnel), .. }) = &mut self.joined
            && legs.legs().filter(|leg| leg.state == LegState::Linked).count() == 1
        {
            tunnel.session.ping(now);
        }
    }

    fn handle_ended(&mut self, shared: &mut Shared, now: Now, leg: LegId, why: LegEnd) {
        shared.events.push(NodeEvent::LegDown(leg.number(), why));
        if self.take_outgoing(leg) {
            return;
        }
        let Some(number) = self.place_of(leg) else { return };
        let path = self.places[number].stage.path().cloned();
        self.fail(shared, now.instant, number);
        let Some(path) = path else { return };
        match why {
            LegEnd::Refused(refusal @ Refusal::NotOffered) if self.is_of_service() => self.refused = Some(refusal),
            LegEnd::Refused(refusal @ Refusal::Full) if self.is_of_service() && !self.is_up() => {
                self.refused = Some(refusal);
            }
            // Whoever is there is the service, and there is no other one.
            LegEnd::LinkTimedOut | LegEnd::Refused(_) if self.is_of_service() => {}
            LegEnd::LinkTimedOut
            | LegEnd::Refused(Refusal::Full | Refusal::TooManyLegs | Refusal::Version | Refusal::NotOffered) => {
                shared.avoid(now.instant, path.exit());
            }
            LegEnd::CircuitGone | LegEnd::Fault(_) | LegEnd::RemovedByPeer => {
                if let Some(middle) = path.middle() {
                    shared.avoid(now.instant, middle);
                }
            }
            LegEnd::Removed | LegEnd::TunnelClosed | LegEnd::Refused(_) => {}
        }
    }

    /// The first leg is there. The client is nobody: its key is made for this session.
    fn start_session(&mut self, shared: &mut Shared, now: Instant, rtt: Duration) {
        let (own, seed, client_secret) = (NodeSecret::from_seed(shared.random()), shared.random(), shared.random());
        let setting = shared.session;
        // One layer more than to an exit.
        let of_service = shared.virtual_packet().filter(|_| self.is_of_service());
        let packet_max = of_service.unwrap_or(setting.packet_max);
        let Some(joined) = &mut self.joined else { return };
        let config = SessionConfig {
            stream_window: stream_window_for(setting.rate, rtt + setting.slack),
            initial_rtt: rtt.max(INITIAL_RTT_MIN),
            // A schedule decides, or each leg has a controller of its own, and two over each other fill no path.
            wide_open: true,
            max_flows: setting.max_flows,
            session_timeout: setting.timeout,
            paths: if self.rules.legs() > 1 { Paths::Several } else { Paths::One },
            ack_every: ACK_EVERY,
            ack_delay: ACK_DELAY,
            ..SessionConfig::new(packet_max, own, joined.exit, seed)
        };
        match Session::client(config, now) {
            Ok(session) => joined.tunnel = Some(Tunnel::new(Owner::Tunnel(self.number), session, client_secret)),
            Err(_) => shared.session_failures += 1,
        }
    }
}
