//! The client's side: from an address to keys with the service, over one introduction point after the other.

use crate::day::DayKey;
use crate::descriptor::{Descriptor, IntroductionPoint, OpenError, WORK_BITS_MAX};
use crate::introduction::{
    AnswerError, Context, Cookie, Greeting, INTRODUCTION_LEN, Payload, RENDEZVOUS_MAX, WORK_AT, WORK_END, cookie,
};
use crate::work::Search;
use identity::{AccessSecret, NodeId};
use network_document::NetworkId;
use packet_crypto::keys::RawKeys;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relay_directory::ServiceRecord;
use std::time::{Duration, Instant};
use thiserror::Error;
use zeroize::Zeroizing;

/// Introductions that one attempt to reach a service sends at most.
pub const INTRODUCTIONS_MAX: usize = 6;
/// Days under which a client looks.
const DAYS_MAX: usize = 3;
/// How long the shell may take for a record.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for one that may have taken the place of the record which named a point that was not there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take until the rendezvous points are there.
const MEET_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the search for work may take.
const WORK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a point has to take an introduction before another one is tried beside it: where it is may be gone, which shows only when a
/// circuit there is given up. One that takes it later is as good.
const BESIDE_AFTER: Duration = Duration::from_millis(2_500);
/// How long points that have not taken their introduction are waited for when there is no other one.
const INTRODUCE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the service may take to answer, from then on, before another point is tried beside: a relay on the way from the service to its
/// point may have gone, which neither of them knows yet. An answer that comes later is as good.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);

/// What a client wants of a service.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The network.
    pub network: NetworkId,
    /// Legs of the tunnel, one rendezvous point each: 1 to [`RENDEZVOUS_MAX`].
    pub legs: usize,
    /// This client's access key, for services that do not let in everybody.
    pub access: Option<AccessSecret>,
    /// Bits that it wants, if the record offers them.
    pub features: u32,
}

/// What the shell does next. Each is given once and answered once; what is not answered in time counts as failed.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the directory for the record of this key. Answer: [`ClientIntroduction::handle_record`].
    Fetch {
        /// The key of a day.
        key: [u8; 32],
    },
    /// Have one relay wait for each of these cookies, all different. Answer: [`ClientIntroduction::handle_meeting`].
    Meet {
        /// One for each leg, in the order of legs.
        cookies: Vec<Cookie>,
    },
    /// Call [`ClientIntroduction::work`] until it is done.
    Work,
    /// Bring this to a relay, beside those that are still on their way. Answer: [`ClientIntroduction::handle_introduced`].
    Introduce {
        /// The relay.
        relay: NodeId,
        /// Who waits there.
        name: [u8; 32],
        /// For the service.
        message: Box<[u8; INTRODUCTION_LEN]>,
    },
}

impl std::fmt::Debug for Action {
    /// Names no relay and no service.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fetch { .. } => "Fetch(..)",
            Self::Meet { .. } => "Meet(..)",
            Self::Work => "Work",
            Self::Introduce { .. } => "Introduce(..)",
        })
    }
}

/// Why a service was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Nothing lies under the keys of the days.
    #[error("no such service or its record has expired: it is not running, or it belongs to another network")]
    NoRecord,
    /// Something lies there, but it is of no use.
    #[error("no usable record of the service was found: {0}")]
    Record(OpenError),
    /// There is a list of clients, and this one is not on it.
    #[error(
        "the service needs authorisation: its operator must add this client's access key, and this client must have it"
    )]
    Authorisation,
    /// The shell had no relays to meet at.
    #[error("no rendezvous point could be reached: the network is down, or too small")]
    Rendezvous,
    /// The search took too long.
    #[error("the service is flooded and asks for work that this machine did not finish in a minute: try again later")]
    Work,
    /// All introduction points were tried.
    #[error(
        "the service was found, but none of {tried} introductions was answered: it is overloaded or has just gone; try again later"
    )]
    Unanswered {
        /// How many were sent.
        tried: usize,
    },
}

enum State {
    /// The day's place in the list, and whether it was asked for.
    Fetching { day: usize, asked: bool },
    /// Rendezvous points are made.
    Meeting { asked: bool },
    /// An introduction wants work.
    Working { asked: bool, search: Search },
    /// An introduction is on its way.
    Introducing { asked: bool },
    /// A point was not there: the service may have said by now where it is. Before the next one is tried the record is asked for again.
    Looking { asked: bool },
    /// One was taken and the service may answer; or all are on their way.
    Waiting,
    /// At least one leg has its keys.
    Met,
    /// The end.
    Failed(ClientError),
}

/// What was opened.
struct Found {
    day: usize,
    revision: u64,
    descriptor: Descriptor,
    /// Those that were not tried yet.
    untried: Vec<IntroductionPoint>,
}

struct Sent {
    point: IntroductionPoint,
    message: Box<[u8; INTRODUCTION_LEN]>,
}

/// One attempt to reach a service, as a state machine.
///
/// Fed by `handle_*` and [`work`](Self::work); drained by [`poll_action`](Self::poll_action) and
/// [`next_wake`](Self::next_wake). It ends with keys out of [`handle_answer`](Self::handle_answer) or with an
/// [`error`](Self::error).
pub struct ClientIntroduction {
    config: ClientConfig,
    days: Vec<DayKey>,
    directory_ms: u64,
    rng: ChaCha20Rng,
    state: State,
    until: Instant,
    found: Option<Found>,
    /// The worst that was said of a record so far.
    record_error: Option<OpenError>,
    seed: Zeroizing<[u8; 32]>,
    relays: Vec<NodeId>,
    next: Option<Sent>,
    /// The names of points beside which another one is tried, and that may still take their introduction: [`INTRODUCTIONS_MAX`] at most.
    late: Vec<[u8; 32]>,
    greetings: Vec<Greeting>,
    fetched_again: bool,
}

impl ClientIntroduction {
    /// Begins. `days` are the keys of [`Day::sought_at`](crate::Day::sought_at) this `directory_ms`, in that order; `seed`
    /// comes from a cryptographic random source.
    pub fn new(now: Instant, config: ClientConfig, mut days: Vec<DayKey>, directory_ms: u64, seed: [u8; 32]) -> Self {
        days.truncate(DAYS_MAX);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let legs = config.legs.clamp(1, RENDEZVOUS_MAX);
        Self {
            config: ClientConfig { legs, ..config },
            state: if days.is_empty() {
                State::Failed(ClientError::NoRecord)
            } else {
                State::Fetching { day: 0, asked: false }
            },
            days,
            directory_ms,
            rng,
            until: now + FETCH_TIMEOUT,
            found: None,
            record_error: None,
            seed,
            relays: Vec::new(),
            next: None,
            late: Vec::new(),
            greetings: Vec::new(),
            fetched_again: false,
        }
    }

    /// Why it failed, if it has.
    pub fn error(&self) -> Option<ClientError> {
        if let State::Failed(error) = self.state { Some(error) } else { None }
    }

    /// True when at least one leg has its keys.
    pub fn is_met(&self) -> bool {
        matches!(self.state, State::Met)
    }

    /// When to poll again, if nothing happens before; `None` at the end.
    pub fn next_wake(&self) -> Option<Instant> {
        (!matches!(self.state, State::Met | State::Failed(_))).then_some(self.until)
    }

    /// What is to be done.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if now >= self.until {
            self.time_out(now);
        }
        match &mut self.state {
            State::Fetching { day, asked } => {
                let key = self.days.get(*day)?.blinded;
                (!std::mem::replace(asked, true)).then_some(Action::Fetch { key })
            }
            State::Meeting { asked } => {
                let cookies = (0..self.config.legs as u8).map(|leg| cookie(&self.seed, leg)).collect();
                (!std::mem::replace(asked, true)).then_some(Action::Meet { cookies })
            }
            State::Working { asked, .. } => (!std::mem::replace(asked, true)).then_some(Action::Work),
            State::Introducing { asked } => {
                let Sent { point, message } = self.next.as_ref()?;
                let introduce = Action::Introduce { relay: point.relay, name: point.name, message: message.clone() };
                (!std::mem::replace(asked, true)).then_some(introduce)
            }
            State::Looking { asked } => {
                let key = self.days.get(self.found.as_ref()?.day)?.blinded;
                (!std::mem::replace(asked, true)).then_some(Action::Fetch { key })
            }
            State::Waiting | State::Met | State::Failed(_) => None,
        }
    }

    /// What the directory has under a key that was asked for; `None` for nothing, or no answer. What comes after its time is
    /// dropped.
    pub fn handle_record(&mut self, now: Instant, key: &[u8; 32], record: Option<&ServiceRecord>) {
        let (day, is_look) = match (&self.state, &self.found) {
            (State::Fetching { day, asked: true }, _) => (*day, false),
            (State::Looking { asked: true }, Some(found)) => (found.day, true),
            _ => return,
        };
        let Some(key) = self.days.get(day).filter(|day| day.blinded == *key) else { return };
        let opened = record.map(|record| {
            let access = self.config.access.as_ref();
            Descriptor::open(self.config.network, key, record, self.directory_ms, access)
                .map(|found| (record.revision, found))
        });
        match opened {
            Some(Ok((revision, _))) if is_look && !self.is_newer(day, revision) => self.introduce(now),
            None | Some(Err(_)) if is_look => self.introduce(now),
            Some(Ok((revision, descriptor))) => self.take(now, day, revision, descriptor),
            Some(Err(OpenError::Authorisation)) => self.state = State::Failed(ClientError::Authorisation),
            Some(Err(error)) => {
                self.record_error = Some(error);
                self.next_day(now, day);
            }
            None => self.next_day(now, day),
        }
    }

    /// The relays that wait for the cookies, in the order of legs. Fewer than there are cookies are fewer legs; none is a failure.
    pub fn handle_meeting(&mut self, now: Instant, relays: &[NodeId]) {
        if !matches!(self.state, State::Meeting { asked: true }) {
            return;
        }
        self.relays = relays.iter().take(self.config.legs).copied().collect();
        if self.relays.is_empty() {
            self.state = State::Failed(ClientError::Rendezvous);
        } else {
            self.introduce(now);
        }
    }

    /// Tries so many numbers for the work that the service asks for; true when there is nothing left to do.
    pub fn work(&mut self, now: Instant, tries: u32) -> bool {
        let State::Working { search, .. } = &mut self.state else { return true };
        let Some(number) = search.run(tries) else { return false };
        if let Some(next) = &mut self.next {
            next.message[WORK_AT..WORK_END].copy_from_slice(&number.to_be_bytes());
        }
        (self.state, self.until) = (State::Introducing { asked: false }, now + BESIDE_AFTER);
        true
    }

    /// The relay has taken the introduction for the service that waits under this name, or not: unreachable, or nobody waits there. Once
    /// one has taken it, those that are still on their way need not arrive. What comes after its time is dropped.
    pub fn handle_introduced(&mut self, now: Instant, name: &[u8; 32], taken: bool) {
        let is_next = matches!(self.state, State::Introducing { asked: true })
            && self.next.as_ref().is_some_and(|next| next.point.name == *name);
        let late = self.late.iter().position(|late| late == name).map(|place| self.late.swap_remove(place));
        if !is_next && late.is_none() {
            return;
        }
        let is_last = self.found.as_ref().is_none_or(|found| found.untried.is_empty());
        if taken {
            self.late.clear();
            (self.state, self.until) = (State::Waiting, now + ANSWER_TIMEOUT);
        } else if is_next && !is_last {
            (self.state, self.until) = (State::Looking { asked: false }, now + LOOK_TIMEOUT);
        } else if is_next || (self.late.is_empty() && matches!(self.state, State::Waiting)) {
            self.introduce(now);
        }
    }

    /// What came over a leg's rendezvous point: the raw keys of the hop to the service over that leg. Legs answer in any order, also
    /// to an introduction before the last one.
    ///
    /// # Errors
    /// [`AnswerError`]; whatever else came or comes is not affected.
    pub fn handle_answer(&mut self, leg: usize, answer: &[u8]) -> Result<RawKeys, AnswerError> {
        if matches!(self.state, State::Failed(_)) {
            return Err(AnswerError::Unawaited);
        }
        let mut error = AnswerError::Unawaited;
        for (place, greeting) in self.greetings.iter_mut().enumerate() {
            match greeting.read(leg, answer) {
                Ok(keys) => {
                    // All legs belong to one handshake.
                    self.greetings.swap(0, place);
                    self.greetings.truncate(1);
                    self.late.clear();
                    self.state = State::Met;
                    return Ok(keys);
                }
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    /// Whom the session over the legs is to expect at its other end; known with the first leg's keys. It is made of the handshake, so
    /// it is another one each time.
    pub fn session(&self) -> Option<NodeId> {
        self.greetings.first().and_then(Greeting::session)
    }

    fn time_out(&mut self, now: Instant) {
        match self.state {
            State::Fetching { day, .. } => self.next_day(now, day),
            State::Meeting { .. } => self.state = State::Failed(ClientError::Rendezvous),
            State::Working { .. } => self.state = State::Failed(ClientError::Work),
            State::Introducing { .. } => {
                self.late.extend(self.next.take().map(|next| next.point.name));
                self.introduce(now);
            }
            State::Waiting => {
                self.late.clear();
                self.introduce(now);
            }
            State::Looking { .. } => self.introduce(now),
            State::Met | State::Failed(_) => {}
        }
    }

    fn next_day(&mut self, now: Instant, day: usize) {
        (self.state, self.until) = (State::Fetching { day: day + 1, asked: false }, now + FETCH_TIMEOUT);
        if day + 1 >= self.days.len() {
            let error = match (&self.found, self.record_error) {
                // It was there before, and was tried.
                (Some(_), _) => ClientError::Unanswered { tried: self.greetings.len() },
                (None, Some(error)) if error != OpenError::Expired => ClientError::Record(error),
                (None, _) => ClientError::NoRecord,
            };
            self.state = State::Failed(error);
        }
    }

    /// Whether a record is another one than the one that is known, and later.
    fn is_newer(&self, day: usize, revision: u64) -> bool {
        self.found.as_ref().is_none_or(|found| found.day != day || found.revision < revision)
    }

    fn take(&mut self, now: Instant, day: usize, revision: u64, descriptor: Descriptor) {
        // The same record again has nothing that was not tried.
        if !self.is_newer(day, revision) {
            self.state = State::Failed(ClientError::Unanswered { tried: self.greetings.len() });
            return;
        }
        let untried = descriptor.points.clone();
        self.found = Some(Found { day, revision, descriptor, untried });
        if self.relays.is_empty() {
            (self.state, self.until) = (State::Meeting { asked: false }, now + MEET_TIMEOUT);
        } else {
            self.introduce(now);
        }
    }

    /// Takes the next introduction point, drawn; when there is none, waits for those that are late, and then asks for the record once more,
    /// since it may be old.
    fn introduce(&mut self, now: Instant) {
        let tried = self.greetings.len();
        let Some(found) = self.found.as_mut().filter(|found| tried < INTRODUCTIONS_MAX && !found.untried.is_empty())
        else {
            if !self.late.is_empty() {
                (self.state, self.until) = (State::Waiting, now + INTRODUCE_TIMEOUT);
            } else if self.fetched_again || tried >= INTRODUCTIONS_MAX {
                self.state = State::Failed(ClientError::Unanswered { tried });
            } else {
                self.fetched_again = true;
                (self.state, self.until) = (State::Fetching { day: 0, asked: false }, now + FETCH_TIMEOUT);
            }
            return;
        };
        let drawn = self.rng.next_u32() as usize % found.untried.len();
        let point = found.untried.swap_remove(drawn);
        let (descriptor, features) = (&found.descriptor, self.config.features & found.descriptor.features);
        let payload = Payload { features, seed: self.seed.clone(), relays: self.relays.clone() };
        let context = Context { network: self.config.network, day: &self.days[found.day], cookie: &descriptor.cookie };
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        let Some((greeting, message)) = Greeting::new(&context, &point.key, &descriptor.kem_key, &payload, ephemeral)
        else {
            // A key that is none: another point may have a better one. Each is taken out of the list once.
            return self.introduce(now);
        };
        let bits = descriptor.work_bits.min(WORK_BITS_MAX);
        if bits == 0 {
            (self.state, self.until) = (State::Introducing { asked: false }, now + BESIDE_AFTER);
        } else {
            let search = Search::new(&message, bits);
            (self.state, self.until) = (State::Working { asked: false, search }, now + WORK_TIMEOUT);
        }
        self.greetings.push(greeting);
        self.next = Some(Sent { point, message });
    }
}
