//! What circuits are built for: to wait at introduction points, and to meet clients.

use super::ServiceNode;
use crate::circuits::{Circuits, ErrandId, ErrandNews, ErrandOwner, KeepApart, Last};
use crate::exit::ServedAs;
use crate::queues::FlowQueues;
use crate::service::JOINED_MAX;
use identity::{NodeId, NodeSecret};
use link::Now;
use onion::{CircuitEvent, CircuitMessage, Cookie, ServiceKey, Side};
use onion_service::{Introduced, Meeting, PointId, PointOrder, RENDEZVOUS_MAX};
use std::time::{Duration, Instant};

/// Meetings that are under way at a time. Introductions beyond wait in their services, which refuse more than
/// [`onion_service::INTRODUCED_MAX`].
pub const MEETINGS_MAX: usize = 32;
/// How long a circuit to an introduction point may take. The service gives an order up after 60 s.
const POINT_PATIENCE: Duration = Duration::from_secs(45);
/// How long one to a client may take. Its cookie waits for 60 s, and the introduction has taken some.
const MEETING_PATIENCE: Duration = Duration::from_secs(40);

/// What a circuit is built for.
pub(super) enum Purpose {
    /// To wait for introductions.
    Point(Point),
    /// To meet a client.
    Meeting(Box<Visit>),
}

/// An introduction point.
pub(super) struct Point {
    service: usize,
    point: PointId,
    secret: NodeSecret,
    /// Where it waits, once it does.
    relay: Option<NodeId>,
}

/// A client that waits at a relay.
pub(super) struct Visit {
    meeting: Meeting,
    served: ServedAs,
    /// When the client is not there any more.
    until: Instant,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Clients that were let in.
    introduced: u64,
    /// Meetings that came about.
    pub(super) met: u64,
    /// Those that did not.
    pub(super) missed: u64,
    /// Points that were lost or did not come.
    pub(super) points_lost: u64,
}

impl<Q: FlowQueues> ServiceNode<Q> {
    fn circuits(&mut self) -> Option<&mut Circuits> {
        self.node.circuits.as_mut()
    }

    /// Meetings under way.
    pub(super) fn meetings(&self) -> usize {
        self.errands.values().filter(|purpose| matches!(purpose, Purpose::Meeting(_))).count()
    }

    /// Lets services say what they want. True if a circuit was begun.
    pub(super) fn follow_services(&mut self, now: Now) -> bool {
        if self.is_closing {
            return false;
        }
        let mut any = false;
        self.replace_leaving_points(now);
        for number in 0..self.services.len() {
            self.services[number].follow_days(now.instant);
            while let Some(order) = self.services[number].core.poll_point(now.instant) {
                any |= self.obey(now, number, order);
            }
        }
        any | self.meet_clients(now)
    }

    /// Has points replaced whose circuits go over guards that others have taken the place of.
    fn replace_leaving_points(&mut self, now: Now) {
        let Some(circuits) = &self.node.circuits else { return };
        for (errand, purpose) in &self.errands {
            if let Purpose::Point(Point { service, point, relay: Some(_), .. }) = purpose
                && circuits.is_leaving(*errand)
            {
                self.services[*service].core.handle_point_leaving(now.instant, *point);
            }
        }
    }

    fn obey(&mut self, now: Now, service: usize, order: PointOrder) -> bool {
        match order {
            PointOrder::Close { point } => {
                if let Some(errand) = self.services[service].points.remove(&point) {
                    self.errands.remove(&errand);
                    self.circuits().into_iter().for_each(|circuits| circuits.end_errand(now.instant, errand));
                }
                false
            }
            PointOrder::Open { point, secret, avoid } => {
                let opened = self.circuits().and_then(|circuits| {
                    circuits.open_errand(now.instant, Last::Drawn { avoid }, now.instant + POINT_PATIENCE).ok()
                });
                let Some(errand) = opened else {
                    self.counters.points_lost += 1;
                    self.services[service].core.handle_point_lost(now.instant, point);
                    return false;
                };
                self.services[service].points.insert(point, errand);
                self.errands.insert(errand, Purpose::Point(Point { service, point, secret, relay: None }));
                true
            }
        }
    }

    /// Goes to the clients that were let in, service by service in turn.
    fn meet_clients(&mut self, now: Now) -> bool {
        let mut any = false;
        let mut idle = 0;
        while idle < self.services.len() && self.meetings() + RENDEZVOUS_MAX <= MEETINGS_MAX {
            let service = self.turn % self.services.len();
            self.turn = service + 1;
            match self.services[service].core.poll_introduced() {
                Some(introduced) => {
                    idle = 0;
                    any |= self.visit(now, service, introduced);
                }
                None => idle += 1,
            }
        }
        any
    }

    fn visit(&mut self, now: Now, service: usize, introduced: Introduced) -> bool {
        let until = now.instant + MEETING_PATIENCE;
        let served = self.services[service].serve(service, introduced.session);
        self.counters.introduced += 1;
        // Legs of one tunnel, so they share no relay.
        let beside = KeepApart { kin: Some(self.counters.introduced), paths: Vec::new() };
        let mut any = false;
        for meeting in introduced.meetings {
            let (last, beside) = (Last::Relay(meeting.relay), beside.clone());
            let is_known = self.node.document().is_some_and(|document| document.relay(&meeting.relay).is_some());
            let opened = self.circuits().filter(|_| is_known).and_then(|circuits| {
                circuits.open_errand_beside(now.instant, ErrandOwner::Node, last, beside, until).ok()
            });
            match opened {
                Some(errand) => {
                    let visit = Box::new(Visit { meeting, served: served.clone(), until });
                    self.errands.insert(errand, Purpose::Meeting(visit));
                    any = true;
                }
                None => self.counters.missed += 1,
            }
        }
        any
    }

    /// Goes on with everything that circuits say.
    pub(super) fn follow_errands(&mut self, now: Now) {
        while let Some(news) = self.circuits().and_then(|circuits| circuits.poll_errand(now.instant)) {
            match news {
                ErrandNews::Ready { id, relay } => self.handle_ready(now, id, relay),
                ErrandNews::Message { id, message: CircuitMessage::Introduction(bytes) } => {
                    if let Some(Purpose::Point(point)) = self.errands.get(&id) {
                        let (service, point) = (point.service, point.point);
                        // What is refused is counted there and answered by nothing.
                        let _ = self.services[service].core.handle_introduction(now.instant, point, &bytes);
                    }
                }
                ErrandNews::Message { message: CircuitMessage::Answer(_), .. } => {}
                ErrandNews::Event { id, event: CircuitEvent::Done } => self.handle_done(now, id),
                ErrandNews::Event { event: CircuitEvent::Extended { .. }, .. } => {}
                ErrandNews::Event { id, .. } | ErrandNews::Failed { id, .. } | ErrandNews::Gone { id } => {
                    self.give_up(now, id);
                }
            }
        }
        self.end_late_visits(now);
    }

    /// Whether another point of the same service is at this relay, or will be.
    fn has_point_at(&self, id: ErrandId, relay: NodeId) -> bool {
        let Some(Purpose::Point(own)) = self.errands.get(&id) else { return false };
        self.errands.iter().filter(|(other, _)| **other != id).any(|(_, purpose)| {
            matches!(purpose, Purpose::Point(point) if point.service == own.service && point.relay == Some(relay))
        })
    }

    /// A circuit is at its relay: now it is asked for what it was built for.
    fn handle_ready(&mut self, now: Now, id: ErrandId, relay: NodeId) {
        if self.has_point_at(id, relay) {
            // Two were drawn at the same time; the next draw avoids it.
            return self.give_up(now, id);
        }
        let Some(purpose) = self.errands.get_mut(&id) else { return };
        let circuit = self.node.circuits.as_mut().and_then(|circuits| circuits.errand_mut(id));
        let asked = circuit.is_some_and(|circuit| match purpose {
            Purpose::Point(point) => {
                point.relay = Some(relay);
                let key = ServiceKey(point.secret.node_id().0);
                circuit.introduction_proof().is_some_and(|proof| {
                    circuit.establish_introduction(now.instant, key, &point.secret.sign(&proof)).is_ok()
                })
            }
            Purpose::Meeting(visit) => {
                circuit.rendezvous(now.instant, Cookie(visit.meeting.cookie), &visit.meeting.answer).is_ok()
            }
        });
        if !asked {
            self.give_up(now, id);
        }
    }

    /// The relay has done what it was asked.
    fn handle_done(&mut self, now: Now, id: ErrandId) {
        match self.errands.get(&id) {
            Some(Purpose::Point(Point { service, point, relay: Some(relay), .. })) => {
                self.services[*service].core.handle_point_open(now.instant, *point, *relay);
            }
            Some(Purpose::Meeting(_)) => self.join(now, id),
            Some(Purpose::Point(_)) | None => {}
        }
    }

    /// The circuit is joined to the client's: it goes where cells of tunnels come from.
    fn join(&mut self, now: Now, id: ErrandId) {
        let Some(Purpose::Meeting(visit)) = self.errands.remove(&id) else { return };
        let Some(circuits) = self.node.circuits.as_mut() else { return };
        let has_room = self.joined.len() < JOINED_MAX;
        let keyed = circuits
            .errand_mut(id)
            .filter(|_| has_room)
            .is_some_and(|circuit| circuit.add_virtual_hop(&visit.meeting.keys, Side::Service).is_ok());
        let taken = if keyed { circuits.take_errand(id) } else { None };
        let Some((link, circuit, _)) = taken else {
            circuits.end_errand(now.instant, id);
            self.counters.missed += 1;
            return;
        };
        match self.joined.add(now, link, circuit, Some(visit.served)) {
            Ok(_) => self.counters.met += 1,
            Err((circuit, _)) => {
                circuits.give_back(link, circuit.id());
                self.counters.missed += 1;
            }
        }
    }

    /// A circuit came to nothing.
    fn give_up(&mut self, now: Now, id: ErrandId) {
        match self.errands.remove(&id) {
            Some(Purpose::Point(Point { service, point, .. })) => {
                self.counters.points_lost += 1;
                self.services[service].points.remove(&point);
                self.services[service].core.handle_point_lost(now.instant, point);
            }
            Some(Purpose::Meeting(_)) => self.counters.missed += 1,
            None => {}
        }
        self.circuits().into_iter().for_each(|circuits| circuits.end_errand(now.instant, id));
    }

    /// Gives up meetings whose client has gone: relays would say so, if they still could.
    fn end_late_visits(&mut self, now: Now) {
        let is_late = |purpose: &Purpose| matches!(purpose, Purpose::Meeting(visit) if visit.until <= now.instant);
        let late: Vec<ErrandId> =
            self.errands.iter().filter(|(_, purpose)| is_late(purpose)).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.give_up(now, id));
    }

    /// When a client is not waited for any more.
    pub(super) fn visits_end(&self) -> Option<Instant> {
        let visits = self.errands.values().filter_map(|purpose| match purpose {
            Purpose::Meeting(visit) => Some(visit.until),
            Purpose::Point(_) => None,
        });
        visits.min()
    }

    /// Leaves points at relays that the document has no more.
    pub(super) fn leave_missing_points(&mut self, now: Now) {
        let Some(document) = self.node.document() else { return };
        let is_gone = |purpose: &Purpose| matches!(purpose, Purpose::Point(Point { relay: Some(relay), .. }) if document.relay(relay).is_none());
        let gone: Vec<ErrandId> =
            self.errands.iter().filter(|(_, purpose)| is_gone(purpose)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.give_up(now, id));
    }

    /// Ends all that was begun.
    pub(super) fn end_errands(&mut self, now: Now) {
        for id in std::mem::take(&mut self.errands).into_keys() {
            self.circuits().into_iter().for_each(|circuits| circuits.end_errand(now.instant, id));
        }
        self.services.iter_mut().for_each(|service| service.points.clear());
    }

    /// Counts by name.
    pub(super) fn errand_counters(&self) -> [(&'static str, u64); 3] {
        let Counters { introduced: _, met, missed, points_lost } = self.counters;
        [("meetings", met), ("meetings_missed", missed), ("points_lost", points_lost)]
    }
}
