//! Cells that come out of circuits.

use super::circuits::{Circuits, Place};
use super::joined::Joined;
use super::schedule::Schedule;
use super::{CircuitExit, ServedAs, TunnelOver};
use crate::flow::Owner;
use crate::queues::FlowQueues;
use crate::tunnel::{ACK_DELAY, ACK_EVERY, Tunnel};
use conflux::{
    Accepted, Asked, First, Fresh, LegEnd, LegId, Message, NotAccepted, Pace, Refusal, TunnelConfig, TunnelEnd,
    TunnelEvent, TunnelId,
};
use link::Now;
use onion::{CircuitKey, Reason};
use rand_chacha::rand_core::Rng;
use session::{ExpectedPeer, Paths, Session, SessionConfig};
use std::sync::Arc;
use std::time::Instant;
use wire::leg::{Feedback, LegHeader, LegKind};

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Takes the inner part of a cell that came out of a circuit; `number` is its layer number at this hop. Whatever becomes
    /// of its flows, it is taken at once: what readers do not take stays under the flow control of the session.
    pub fn handle_inner(
        &mut self,
        now: Now,
        circuit: CircuitKey,
        number: u64,
        inner: &[u8],
        circuits: &mut impl Circuits,
    ) {
        self.now = Some(now.instant);
        match self.places.get(&circuit).copied() {
            None => self.handle_first(now, circuit, number, inner, circuits),
            Some(Place::Leaving) => {}
            Some(Place::Leg(id, leg)) => {
                let Some(joined) = self.tunnels.get_mut(&id) else { return };
                joined.handle_cell(now.instant, leg, number, inner);
                self.keep_account(now, id);
                self.follow_legs(now, id, circuits);
                self.wake(id);
            }
        }
    }

    /// A cell of a circuit that has brought nothing but cover cells: it may become a leg.
    fn handle_first(&mut self, now: Now, circuit: CircuitKey, number: u64, inner: &[u8], circuits: &mut impl Circuits) {
        let can_link = circuits.can_link(circuit);
        match self.join_point.handle_first(now.instant, Fresh::new(circuit), can_link, number, inner) {
            First::Nothing(_) => {}
            First::New(TunnelId(id), accepted) => self.add_tunnel(now, id, circuit, accepted, circuits),
            First::Joins(TunnelId(id), accepted) => self.add_leg(now, id, circuit, accepted, circuits),
            First::Refused(circuit, _, message) => self.refuse(now, circuit, &message, circuits),
            // Data without LINK would be a tunnel of one circuit, such as a pair's. Clients link each.
            First::InUse(circuit) | First::Fault(circuit, _) => {
                self.counters.faults += 1;
                self.take_down(now, circuit, Reason::Protocol, circuits);
            }
        }
    }

    fn add_tunnel(
        &mut self,
        now: Now,
        id: u64,
        circuit: CircuitKey,
        accepted: Accepted<CircuitKey>,
        circuits: &mut impl Circuits,
    ) {
        if self.is_closing {
            self.join_point.forget(TunnelId(id));
            return self.take_down(now, circuit, Reason::Draining, circuits);
        }
        let schedule = if self.memory.is_full() {
            self.memory.refused += 1;
            Err(Refusal::Full)
        } else {
            self.schedule_for(now, accepted.asked())
        };
        let schedule = match schedule {
            Ok(schedule) => schedule,
            Err(reason) => {
                self.join_point.forget(TunnelId(id));
                let (circuit, message) = accepted.refuse(reason);
                return self.refuse(now, circuit, &message, circuits);
            }
        };
        let served = circuits.served_as(circuit);
        let made = self.make_tunnel(now.instant, id, accepted, schedule.is_some(), served);
        let service = served.map(|served| (served.service, served.session.node_id()));
        let Some((legs, tunnel, leg)) = made else {
            schedule.iter().for_each(|schedule| self.lanes.give_back(schedule));
            self.join_point.forget(TunnelId(id));
            return self.take_down(now, circuit, Reason::Full, circuits);
        };
        self.tunnels.insert(id, Joined { service, ..Joined::new(legs, tunnel, schedule) });
        self.places.insert(circuit, Place::Leg(id, leg));
        self.keep_account(now, id);
        self.follow_legs(now, id, circuits);
        self.wake(id);
    }

    /// The schedule that a client asks for; none in mode `off`.
    fn schedule_for(&mut self, now: Now, asked: Asked) -> Result<Option<Schedule>, Refusal> {
        let Some(config) = &self.config.schedule else {
            return if asked.is_shaped() { Err(Refusal::NotOffered) } else { Ok(None) };
        };
        let class = config.class_for(asked).ok_or(Refusal::NotOffered)?;
        let lanes = self.lanes.take(asked.shares())?;
        let place = (self.config.session_packet, self.present_slot);
        Ok(Some(Schedule::new(config, class, place, now, lanes)))
    }

    /// None: no session could be made, which is our own fault.
    fn make_tunnel(
        &mut self,
        now: Instant,
        id: u64,
        accepted: Accepted<CircuitKey>,
        is_shaped: bool,
        served: Option<&ServedAs>,
    ) -> Option<(conflux::Tunnel<CircuitKey>, Tunnel, LegId)> {
        let [mut session_seed, mut client_secret, mut legs_seed] = [[0; 32]; 3];
        for seed in [&mut session_seed, &mut client_secret, &mut legs_seed] {
            self.rng.fill_bytes(seed);
        }
        let config = SessionConfig {
            // Slots decide how fast it goes, or a controller of each leg, also of a single one; two over each other fill no path.
            wide_open: true,
            max_flows: self.config.flows_per_tunnel.max(1),
            session_timeout: self.config.session_timeout,
            // Cells of several legs are put in order before the session sees them.
            paths: Paths::Several,
            ack_every: ACK_EVERY,
            ack_delay: ACK_DELAY,
            ..SessionConfig::new(
                self.config.session_packet,
                served.map_or(&self.config.node_secret, |served| &served.session).clone(),
                ExpectedPeer::Anyone,
                session_seed,
            )
        };
        let Ok(session) = Session::server(config, now) else {
            self.counters.session_failures += 1;
            return None;
        };
        let pace = if is_shaped { Pace::Slots } else { Pace::Controlled };
        let config = TunnelConfig { pace, orphan_after: self.config.session_timeout, ..TunnelConfig::default() };
        let legs = conflux::Tunnel::exit(now, config, accepted, legs_seed);
        let leg = legs.legs().next()?.leg;
        let ports = served.map(|served| Arc::clone(&served.ports));
        Some((legs, Tunnel::new(Owner::Tunnel(id), session, client_secret).leading_to(ports), leg))
    }

    fn add_leg(
        &mut self,
        now: Now,
        id: u64,
        circuit: CircuitKey,
        accepted: Accepted<CircuitKey>,
        circuits: &mut impl Circuits,
    ) {
        let Some(joined) = self.tunnels.get_mut(&id) else { return };
        if joined.service.map(|(service, _)| service) != circuits.served_as(circuit).map(|it| it.service) {
            // A client that lost a leg is introduced anew, so sessions differ. Only it knows the tunnel's nonce.
            self.counters.faults += 1;
            return self.take_down(now, circuit, Reason::Protocol, circuits);
        }
        match joined.legs.accept(now.instant, accepted) {
            Ok(leg) => {
                self.places.insert(circuit, Place::Leg(id, leg));
                self.follow_legs(now, id, circuits);
                self.wake(id);
            }
            Err((circuit, NotAccepted::Refused(_, message))) => self.refuse(now, circuit, &message, circuits),
            Err((circuit, NotAccepted::Fault(_))) => {
                self.counters.faults += 1;
                self.take_down(now, circuit, Reason::Protocol, circuits);
            }
        }
    }

    /// Says why a circuit does not become a leg. It is of no use then.
    fn refuse(&mut self, now: Now, circuit: CircuitKey, message: &Message, circuits: &mut impl Circuits) {
        debug_assert!(matches!(message, Message::Refused { .. }), "nothing else is said outside of a tunnel");
        self.counters.refused += 1;
        let mut body = Vec::new();
        message.encode(&mut body);
        let header = LegHeader {
            kind: LegKind::Link,
            feedback_leg: 0,
            length: body.len() as u16,
            tunnel_number: 0,
            feedback: Feedback::default(),
        };
        let inner = [&header.encode()[..], &body].concat();
        match circuits.refuse(now, circuit, &inner) {
            Ok(()) => self.let_leave(now, circuit, circuits),
            Err(_) => self.take_down(now, circuit, Reason::Full, circuits),
        }
    }

    /// Does what the legs of a tunnel want: circuits of legs that are out of use go, and a tunnel that is over ends.
    pub(super) fn follow_legs(&mut self, now: Now, id: u64, circuits: &mut impl Circuits) {
        let Some(joined) = self.tunnels.get_mut(&id) else { return };
        let mut over = None;
        while let Some(event) = joined.legs.poll_event() {
            if let TunnelEvent::Ended(why) = event {
                over = Some(why);
            }
        }
        let released: Vec<_> = std::iter::from_fn(|| joined.legs.poll_released()).collect();
        let lost = joined.lost.take_if(|_| over.is_some());
        for leg in released {
            match leg.why {
                LegEnd::Fault(_) => {
                    self.counters.faults += 1;
                    self.take_down(now, leg.carrier, Reason::Protocol, circuits);
                }
                // Its session's farewell may be under way.
                LegEnd::TunnelClosed => self.let_leave(now, leg.carrier, circuits),
                LegEnd::Removed
                | LegEnd::RemovedByPeer
                | LegEnd::CircuitGone
                | LegEnd::LinkTimedOut
                | LegEnd::Refused(_) => {
                    self.take_down(now, leg.carrier, Reason::Finished, circuits);
                }
            }
        }
        if let Some(why) = over {
            let why = match (lost, why) {
                (Some(reason), TunnelEnd::Closed) => TunnelOver::Session(reason),
                (_, why) => TunnelOver::Legs(why),
            };
            self.end_tunnel(id, why);
        }
    }
}
