//! One try to reach a service: what [`ClientIntroduction`] wants done is done with questions and errands.

use super::{RecordsFrom, ServiceFailure};
use crate::circuits::errands::{ErrandId, ErrandNews, ErrandOwner, KeepApart, Last};
use crate::circuits::{Circuits, TunnelId};
use identity::NodeId;
use link::Now;
use onion::{CircuitEvent, CircuitMessage, Cookie, ServiceKey, Side};
use onion_service::{Action, ClientIntroduction, INTRODUCTION_LEN};
use relay_directory::{ServiceAnswer, ServiceRequest};
use session::FlowId;
use std::time::{Duration, Instant};

/// How long a try takes at most.
pub(super) const SEEK_MAX: Duration = Duration::from_secs(60);
/// How long a circuit to a relay has.
const ERRAND_MAX: Duration = Duration::from_secs(15);
/// How long the other rendezvous points are waited for when one is there. Fewer are fewer legs, which are made anew later.
const MEET_PATIENCE: Duration = Duration::from_secs(5);
/// How long other legs are waited for when one has its keys.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How often a record is asked for of whom did not answer, or said that it has no records just now: its directory may be a moment away, or
/// busy. That there is none is an answer.
const ASKS_MAX: u32 = 3;
/// How long after that it is asked again.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Rendezvous points that are tried for each leg.
const TRIES_OF_LEG_MAX: usize = 3;
/// Numbers that are tried for a service's work at a time: some 0.1 ms.
const WORK_PORTION: u32 = 512;
/// How long after a portion the next one comes.
const WORK_PAUSE: Duration = Duration::from_micros(500);
/// What a core may want at once.
const STEPS_MAX: usize = 16;

/// What a try has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on.
    Pending,
    /// Legs that could be had are the tunnel's.
    Done,
    /// There are none.
    Failed(ServiceFailure),
}

/// A record that is wanted, and where it was asked for.
struct Fetch {
    key: [u8; 32],
    asked: Option<(TunnelId, FlowId)>,
    /// Questions that were not answered, and when it may be asked again.
    unanswered: u32,
    not_before: Option<Instant>,
}

/// A circuit to a rendezvous point.
struct Meeting {
    errand: ErrandId,
    relay: Option<NodeId>,
    /// Which of the cookies it waits for.
    cookie: Option<usize>,
    /// The relay knows the cookie.
    waits: bool,
}

/// A circuit to an introduction point.
struct Call {
    errand: ErrandId,
    name: [u8; 32],
    message: Box<[u8; INTRODUCTION_LEN]>,
}

/// One try.
pub(super) struct Attempt {
    introduction: ClientIntroduction,
    records: RecordsFrom,
    until: Instant,
    fetch: Option<Fetch>,
    /// A directory has said at least once what it has.
    was_answered: bool,
    cookies: Vec<Cookie>,
    meetings: Vec<Meeting>,
    /// Rendezvous points are being looked for.
    collects: bool,
    tries_left: usize,
    /// With what there is by then the service is called.
    meet_until: Option<Instant>,
    /// To introduction points, until one has taken its introduction: one after another is tried beside those that are late.
    calls: Vec<Call>,
    work_at: Option<Instant>,
    answers_until: Option<Instant>,
    has_drawn: bool,
}

impl Attempt {
    pub(super) fn new(now: Instant, introduction: ClientIntroduction, records: RecordsFrom) -> Self {
        Self {
            introduction,
            records,
            until: now + SEEK_MAX,
            fetch: None,
            was_answered: false,
            cookies: Vec::new(),
            meetings: Vec::new(),
            collects: false,
            tries_left: 0,
            meet_until: None,
            calls: Vec::new(),
            work_at: None,
            answers_until: None,
            has_drawn: false,
        }
    }

    /// Whether a circuit was built to any relay that was drawn for a meeting, or could have been.
    pub(super) fn has_drawn(&self) -> bool {
        self.has_drawn
    }

    /// Whether an errand is its own.
    pub(super) fn has(&self, errand: ErrandId) -> bool {
        self.calls.iter().any(|call| call.errand == errand)
            || self.meetings.iter().any(|meeting| meeting.errand == errand)
    }

    /// Does what can be done now.
    pub(super) fn follow(&mut self, circuits: &mut Circuits, now: Now, number: u64) -> Outcome {
        for _ in 0..STEPS_MAX {
            self.go_on_fetching(circuits, now);
            self.settle_meetings(circuits, now);
            self.go_on_working(now);
            match self.introduction.poll_action(now.instant) {
                Some(action) => self.begin(circuits, now, number, action),
                None => break,
            }
        }
        if let Some(refusal) = self.fetch.as_ref().and_then(|_| circuits.directory_refusal(self.records)) {
            return Outcome::Failed(ServiceFailure::NoPath(refusal));
        }
        if let Some(error) = self.introduction.error() {
            return Outcome::Failed(if self.was_answered {
                ServiceFailure::Introduction(error)
            } else {
                ServiceFailure::NoDirectory
            });
        }
        if self.introduction.is_met() {
            let until = *self.answers_until.get_or_insert(now.instant + ANSWER_PATIENCE);
            let is_over = self.meetings.is_empty() || until <= now.instant;
            return if is_over { Outcome::Done } else { Outcome::Pending };
        }
        if self.until <= now.instant {
            let failure = if self.was_answered { ServiceFailure::TimedOut } else { ServiceFailure::NoDirectory };
            return Outcome::Failed(failure);
        }
        Outcome::Pending
    }

    /// When [`Attempt::follow`] has something to do.
    pub(super) fn poll_timeout(&self) -> Instant {
        let ask = self.fetch.as_ref().filter(|fetch| fetch.asked.is_none()).and_then(|fetch| fetch.not_before);
        let own = [self.introduction.next_wake(), self.meet_until, self.work_at, self.answers_until, ask];
        own.into_iter().flatten().min().map_or(self.until, |at| at.min(self.until))
    }

    /// Nobody waits for it any more.
    pub(super) fn end(mut self, circuits: &mut Circuits, now: Instant) {
        let errands =
            self.meetings.iter().map(|meeting| meeting.errand).chain(self.calls.iter().map(|call| call.errand));
        errands.for_each(|errand| circuits.end_errand(now, errand));
        self.forget_question(circuits);
        circuits.leave_directory(self.records);
    }

    /// The answer to what was asked of a directory is not waited for any more.
    fn forget_question(&mut self, circuits: &mut Circuits) {
        if let Some(Fetch { asked: Some((tunnel, far)), .. }) = self.fetch.take()
            && let Some(tunnel) = circuits.session_of(tunnel)
        {
            tunnel.forget(far);
        }
    }

    fn begin(&mut self, circuits: &mut Circuits, now: Now, number: u64, action: Action) {
        match action {
            Action::Fetch { key } => {
                self.forget_question(circuits);
                self.fetch = Some(Fetch { key, asked: None, unanswered: 0, not_before: None });
            }
            Action::Meet { cookies } => {
                self.cookies = cookies.into_iter().map(Cookie).collect();
                (self.collects, self.tries_left) = (true, self.cookies.len() * TRIES_OF_LEG_MAX);
                for _ in 0..self.cookies.len() {
                    self.open_meeting(circuits, now, number, Vec::new());
                }
            }
            Action::Work => self.work_at = Some(now.instant),
            Action::Introduce { relay, name, message } => {
                let (last, deadline) = (Last::Relay(relay), now.instant + ERRAND_MAX);
                let opened =
                    circuits.open_errand_beside(now.instant, ErrandOwner::Seeker, last, KeepApart::default(), deadline);
                match opened {
                    Ok(errand) => self.calls.push(Call { errand, name, message }),
                    Err(_) => self.introduction.handle_introduced(now.instant, &name, false),
                }
            }
        }
    }

    fn open_meeting(&mut self, circuits: &mut Circuits, now: Now, number: u64, avoid: Vec<NodeId>) {
        if self.tries_left == 0 {
            return;
        }
        self.tries_left -= 1;
        let beside = KeepApart { kin: Some(number), paths: Vec::new() };
        let (last, deadline) = (Last::Drawn { avoid }, now.instant + ERRAND_MAX);
        let opened = circuits.open_errand_beside(now.instant, ErrandOwner::Seeker, last, beside, deadline);
        if let Ok(errand) = opened {
            self.meetings.push(Meeting { errand, relay: None, cookie: None, waits: false });
        }
    }

    /// Asks for the record as soon as there is a tunnel to a directory, and takes the answer.
    fn go_on_fetching(&mut self, circuits: &mut Circuits, now: Now) {
        let Some(fetch) = &mut self.fetch else { return };
        if fetch.not_before.is_some_and(|at| at > now.instant) {
            return;
        }
        let Some((tunnel, far)) = fetch.asked else {
            fetch.not_before = None;
            fetch.asked = circuits.ask_directory(now.instant, &ServiceRequest::Record { key: fetch.key }, self.records);
            return;
        };
        let answer = match circuits.session_of(tunnel) {
            Some(tunnel) => tunnel.take_answer(far),
            // Another tunnel may be there soon.
            None => {
                fetch.asked = None;
                return;
            }
        };
        let Some(answer) = answer else { return };
        let record = match answer {
            Ok(ServiceAnswer::Record(record)) => {
                self.was_answered = true;
                record
            }
            Ok(_) | Err(_) => {
                fetch.unanswered += 1;
                if fetch.unanswered < ASKS_MAX {
                    (fetch.asked, fetch.not_before) = (None, Some(now.instant + ASK_PAUSE));
                    return;
                }
                None
            }
        };
        let key = fetch.key;
        self.fetch = None;
        self.introduction.handle_record(now.instant, &key, record.as_ref());
    }

    fn go_on_working(&mut self, now: Now) {
        if self.work_at.is_some_and(|at| at <= now.instant) {
            let is_done = self.introduction.work(now.instant, WORK_PORTION);
            self.work_at = (!is_done).then_some(now.instant + WORK_PAUSE);
        }
    }

    /// Calls the service once as many rendezvous points wait as are wanted, or can be had in time.
    fn settle_meetings(&mut self, circuits: &mut Circuits, now: Now) {
        if !self.collects {
            return;
        }
        let waiting = self.meetings.iter().filter(|meeting| meeting.waits).count();
        if waiting > 0 {
            self.meet_until.get_or_insert(now.instant + MEET_PATIENCE);
        }
        let is_late = self.meet_until.is_some_and(|until| until <= now.instant);
        if waiting < self.cookies.len() && !self.meetings.is_empty() && !is_late {
            return;
        }
        (self.collects, self.meet_until) = (false, None);
        let waits_for = |cookie: usize| {
            let mut meetings = self.meetings.iter().filter(|meeting| meeting.waits);
            meetings.find(|meeting| meeting.cookie == Some(cookie)).and_then(|meeting| meeting.relay)
        };
        // In the order of cookies, so those behind one that is missing are of no use.
        let relays: Vec<NodeId> = (0..self.cookies.len()).map_while(waits_for).collect();
        self.meetings.retain(|meeting| {
            let is_used = meeting.waits && meeting.cookie.is_some_and(|cookie| cookie < relays.len());
            if !is_used {
                circuits.end_errand(now.instant, meeting.errand);
            }
            is_used
        });
        self.introduction.handle_meeting(now.instant, &relays);
    }

    /// What has become of an errand.
    pub(super) fn handle_news(&mut self, circuits: &mut Circuits, now: Now, number: u64, news: ErrandNews) {
        if let Some(place) = self.calls.iter().position(|call| call.errand == news.id()) {
            return self.handle_call(circuits, now, place, news);
        }
        let Some(place) = self.meetings.iter().position(|meeting| meeting.errand == news.id()) else { return };
        self.has_drawn |= !matches!(news, ErrandNews::Failed { relay: None, .. });
        match news {
            ErrandNews::Ready { id, relay } => {
                let taken: Vec<usize> = self.meetings.iter().filter_map(|meeting| meeting.cookie).collect();
                let free = (0..self.cookies.len()).find(|cookie| !taken.contains(cookie));
                let asked =
                    free.filter(|_| self.collects).zip(circuits.errand_mut(id)).is_some_and(|(free, circuit)| {
                        circuit.establish_rendezvous(now.instant, self.cookies[free]).is_ok()
                    });
                if !asked {
                    return self.lose_meeting(circuits, now, number, place, Some(relay));
                }
                let meeting = &mut self.meetings[place];
                (meeting.relay, meeting.cookie) = (Some(relay), free);
            }
            ErrandNews::Event { event: CircuitEvent::Done, .. } => self.meetings[place].waits = true,
            ErrandNews::Message { message: CircuitMessage::Answer(answer), .. } => {
                self.meet(circuits, now, number, place, &answer);
            }
            ErrandNews::Failed { relay, .. } => self.lose_meeting(circuits, now, number, place, relay),
            ErrandNews::Event { .. } | ErrandNews::Gone { .. } | ErrandNews::Message { .. } => {
                let relay = self.meetings[place].relay;
                self.lose_meeting(circuits, now, number, place, relay);
            }
        }
    }

    /// A rendezvous point is not to be had, or was lost. Another one is looked for while there is time.
    fn lose_meeting(&mut self, circuits: &mut Circuits, now: Now, number: u64, place: usize, relay: Option<NodeId>) {
        let lost = self.meetings.swap_remove(place);
        circuits.end_errand(now.instant, lost.errand);
        if self.collects {
            self.open_meeting(circuits, now, number, relay.into_iter().collect());
        }
    }

    /// The service has come to a rendezvous point, or somebody who says so.
    fn meet(&mut self, circuits: &mut Circuits, now: Now, number: u64, place: usize, answer: &[u8]) {
        let Meeting { errand, cookie, .. } = self.meetings.swap_remove(place);
        let keys = cookie.and_then(|leg| self.introduction.handle_answer(leg, answer).ok());
        let is_joined = keys
            .zip(circuits.errand_mut(errand))
            .is_some_and(|(keys, circuit)| circuit.add_virtual_hop(&keys, Side::Client).is_ok());
        let leg = if is_joined { circuits.take_errand(errand) } else { None };
        match leg.zip(self.introduction.session()) {
            Some((leg, session)) => circuits.join_service(now, number, leg, session),
            // A cookie is good for one claim.
            None => circuits.end_errand(now.instant, errand),
        }
    }

    fn handle_call(&mut self, circuits: &mut Circuits, now: Now, place: usize, news: ErrandNews) {
        let taken = match news {
            ErrandNews::Ready { id, .. } => {
                let call = &self.calls[place];
                let circuit = circuits.errand_mut(id);
                let asked = circuit
                    .map(|circuit| circuit.introduce(now.instant, ServiceKey(call.name), call.message.as_slice()));
                if let Some(Ok(())) = asked {
                    return;
                }
                false
            }
            ErrandNews::Event { event: CircuitEvent::Done, .. } => true,
            ErrandNews::Event { .. }
            | ErrandNews::Failed { .. }
            | ErrandNews::Gone { .. }
            | ErrandNews::Message { .. } => false,
        };
        let call = self.calls.swap_remove(place);
        circuits.end_errand(now.instant, call.errand);
        if taken {
            self.calls.drain(..).for_each(|late| circuits.end_errand(now.instant, late.errand));
        }
        self.introduction.handle_introduced(now.instant, &call.name, taken);
    }
}
