//! A circuit whose last hop is a place to meet: what is asked of it, what it passes on, and the hop to the other end.

use super::{BUILD_TRIES_MAX, Circuit, CircuitEvent, CommandError, Dropped, State};
use crate::handshake::Features;
use crate::layer::{Position, Side, Taken, VirtualLayer};
use crate::message::{EXTEND_OVERHEAD, Request, RequestNumber};
use crate::parts::{self, Assembly, Part};
use crate::repeat::{Repeat, Turn};
use crate::service::{Ask, Asked, Cookie, SEALED_MAX, ServiceKey, introduction_proof};
use packet_crypto::keys::RawKeys;
use packet_crypto::window::ReplayWindow;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Messages that wait for [`Circuit::poll_message`]. Further ones are not taken: the relay says them again as long as those who
/// sent them ask.
pub const MESSAGES_MAX: usize = 16;
/// Messages of which a part is missing. When there are more, the oldest one's parts go.
const ASSEMBLIES_MAX: usize = 8;
/// Messages whose arrival is to be told. Further ones are told when they come again.
const ACKNOWLEDGEMENTS_MAX: usize = 64;

/// What the client of another circuit said, through the last hop.
#[derive(Clone, PartialEq, Eq)]
pub enum CircuitMessage {
    /// To the key under which this circuit waits.
    Introduction(Vec<u8>),
    /// To the cookie under which it waits: the two circuits are joined as soon as the relay hears that it came.
    Answer(Vec<u8>),
}

impl std::fmt::Debug for CircuitMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Introduction(_) => "Introduction(..)",
            Self::Answer(_) => "Answer(..)",
        })
    }
}

/// What a circuit is at its last hop.
pub(super) enum Role {
    /// Nothing but a circuit.
    None,
    /// It waits for a service.
    Waiting(Cookie, RequestNumber),
    /// The service has answered, or was answered, and its circuit is or will be joined to this one.
    Joined(Cookie, RequestNumber),
    /// It waits for others.
    Point(Box<ReplayWindow>),
}

/// Something that is asked of the last hop.
pub(super) struct Asking {
    ask: Ask,
    cookie: Option<Cookie>,
    message: Vec<u8>,
    request: RequestNumber,
    repeat: Repeat,
    /// The part that this round says next; `None` between rounds.
    next_part: Option<u8>,
}

impl Asking {
    pub(super) fn request(&self) -> RequestNumber {
        self.request
    }

    pub(super) fn turn(&self, now: Instant) -> Turn {
        if self.next_part.is_some() { Turn::Say } else { self.repeat.turn(now) }
    }

    pub(super) fn deadline(&self) -> Instant {
        if self.next_part.is_some() { self.repeat.first() } else { self.repeat.deadline() }
    }

    /// Writes the next part that is due into the body of a control cell.
    pub(super) fn write(&mut self, now: Instant, rng: &mut ChaCha20Rng, body: &mut [u8]) -> Option<()> {
        let index = match self.next_part {
            Some(index) => index,
            None if self.repeat.turn(now) == Turn::Say => {
                self.repeat.said(now, rng);
                0
            }
            None => return None,
        };
        let part = parts::part(&self.message, index, body.len() - EXTEND_OVERHEAD)?;
        self.next_part = Some(index + 1).filter(|next| *next < part.count);
        Request::Ask(self.ask, part).write(self.request, body);
        Some(())
    }

    /// What the circuit is when this was done.
    fn role(&self) -> Role {
        match (self.ask, self.cookie) {
            (Ask::EstablishRendezvous, Some(cookie)) => Role::Waiting(cookie, self.request),
            (Ask::Rendezvous, Some(cookie)) => Role::Joined(cookie, self.request),
            (Ask::EstablishIntroduction, _) => Role::Point(Box::new(ReplayWindow::new())),
            _ => Role::None,
        }
    }
}

/// What comes to a circuit through a meeting, and what is told of it.
#[derive(Default)]
pub(super) struct Passed {
    assemblies: BTreeMap<RequestNumber, Assembly>,
    messages: VecDeque<CircuitMessage>,
    acknowledgements: VecDeque<(RequestNumber, Instant)>,
}

impl Passed {
    pub(super) fn due(&self) -> Option<Instant> {
        self.acknowledgements.front().map(|(_, since)| *since)
    }

    pub(super) fn next(&mut self) -> Option<RequestNumber> {
        self.acknowledgements.pop_front().map(|(number, _)| number)
    }

    fn acknowledge(&mut self, now: Instant, number: RequestNumber) {
        let is_known = self.acknowledgements.iter().any(|(known, _)| *known == number);
        if !is_known && self.acknowledgements.len() < ACKNOWLEDGEMENTS_MAX {
            self.acknowledgements.push_back((number, now));
        }
    }

    /// The whole message, once all its parts are there.
    fn assemble(&mut self, number: RequestNumber, part: &Part<'_>) -> Option<Vec<u8>> {
        if !self.assemblies.contains_key(&number) && self.assemblies.len() >= ASSEMBLIES_MAX {
            self.assemblies.pop_first();
        }
        let message = self.assemblies.entry(number).or_default().take(part)?;
        self.assemblies.remove(&number);
        Some(message)
    }
}

impl Circuit {
    /// Asks the last hop to be a rendezvous point: whoever says `cookie` there may meet this circuit's client. Then
    /// [`CircuitEvent::Done`] comes, and later [`CircuitMessage::Answer`].
    ///
    /// # Errors
    /// When the circuit is doing something else, or the hop does not offer it.
    pub fn establish_rendezvous(&mut self, now: Instant, cookie: Cookie) -> Result<(), CommandError> {
        self.ask(now, Asked::EstablishRendezvous(cookie))
    }

    /// What a service signs with its key for [`Circuit::establish_introduction`]: it belongs to the last hop of this circuit. `None`
    /// before there is a hop.
    pub fn introduction_proof(&self) -> Option<Vec<u8>> {
        self.hops.last().map(|hop| introduction_proof(&hop.binding))
    }

    /// Asks the last hop to be an introduction point: what clients say to `key` there comes as
    /// [`CircuitMessage::Introduction`]. `signature` is that of the key over [`Circuit::introduction_proof`].
    ///
    /// # Errors
    /// When the circuit is doing something else, or the hop does not offer it.
    pub fn establish_introduction(
        &mut self,
        now: Instant,
        key: ServiceKey,
        signature: &[u8; 64],
    ) -> Result<(), CommandError> {
        self.ask(now, Asked::EstablishIntroduction(key, signature))
    }

    /// Asks the last hop to pass this on to the service that waits there under `key`: 1 to [`SEALED_MAX`] bytes.
    /// [`CircuitEvent::Done`] says that the service has it.
    ///
    /// # Errors
    /// When the circuit is doing something else, the hop does not offer it, or the message has another length.
    pub fn introduce(&mut self, now: Instant, key: ServiceKey, sealed: &[u8]) -> Result<(), CommandError> {
        self.ask(now, Asked::Introduce(key, sealed))
    }

    /// Asks the last hop to pass this on to the client that waits there under `cookie` (1 to [`SEALED_MAX`] bytes), and to join the
    /// two circuits. [`CircuitEvent::Done`] says that they are: then [`Circuit::add_virtual_hop`].
    ///
    /// # Errors
    /// As with [`Circuit::introduce`].
    pub fn rendezvous(&mut self, now: Instant, cookie: Cookie, answer: &[u8]) -> Result<(), CommandError> {
        self.ask(now, Asked::Rendezvous(cookie, answer))
    }

    /// What came through the last hop.
    pub fn poll_message(&mut self) -> Option<CircuitMessage> {
        self.passed.messages.pop_front()
    }

    /// The circuit is joined to another one (for a client: [`CircuitMessage::Answer`] came), and a handshake between the two ends
    /// has given these keys: from now on the last hop is the other end. Cells have [`Circuit::inner`] bytes less.
    ///
    /// # Errors
    /// When the circuit is not joined, has such a hop, or the network's packets have no room for one. Nothing has changed then.
    pub fn add_virtual_hop(&mut self, keys: &RawKeys, side: Side) -> Result<(), CommandError> {
        let Role::Joined(cookie, _) = &self.role else { return Err(CommandError::NotJoined) };
        if self.far.is_some() || !matches!(self.state, State::Ready) {
            return Err(CommandError::Busy);
        }
        if self.config.network.packet_size.session_packet_virtual().is_none() {
            return Err(CommandError::NotOffered);
        }
        self.far = Some(Box::new(VirtualLayer::new(keys, cookie, side)));
        Ok(())
    }

    /// Shows the relay at which a circuit is joined that its client is there; the other end gets nothing. For those who have had nothing
    /// to say for long: a relay takes silent circuits down.
    pub fn keep_alive(&mut self, now: Instant) {
        if let Role::Joined(_, request) = self.role {
            self.passed.acknowledge(now, request);
        }
    }

    /// True when the last hop is the other end of a joined circuit.
    pub fn is_virtual(&self) -> bool {
        self.far.is_some()
    }

    fn ask(&mut self, now: Instant, asked: Asked<'_>) -> Result<(), CommandError> {
        self.changeable()?;
        let is_offered = self.hops.last().is_some_and(|hop| hop.figures.features.has(Features::RENDEZVOUS));
        if !is_offered {
            return Err(CommandError::NotOffered);
        }
        let cookie = match &asked {
            Asked::EstablishRendezvous(cookie) | Asked::Rendezvous(cookie, _) => Some(*cookie),
            Asked::Introduce(..) | Asked::EstablishIntroduction(..) => None,
        };
        if let Asked::Introduce(_, sealed) | Asked::Rendezvous(_, sealed) = &asked
            && !(1..=SEALED_MAX).contains(&sealed.len())
        {
            return Err(CommandError::Length);
        }
        let (ask, message) = asked.write();
        let (request, repeat) = (self.next_request(), Repeat::new(now, BUILD_TRIES_MAX));
        self.leave_meeting();
        self.state = State::Asking(Box::new(Asking { ask, cookie, message, request, repeat, next_part: None }));
        Ok(())
    }

    /// What was asked of the last hop before is over: a request ends it.
    pub(super) fn leave_meeting(&mut self) {
        self.role = Role::None;
        self.far = None;
        self.passed.assemblies.clear();
        self.passed.acknowledgements.clear();
    }

    /// The hop has done what it was asked.
    pub(super) fn handle_done(&mut self, taken: Taken, number: RequestNumber) -> Result<(), Dropped> {
        let State::Asking(asking) = &self.state else { return Err(Dropped::Unexpected) };
        if asking.request() != number || Some(taken.hop) != self.layers.last() {
            return Err(Dropped::Unexpected);
        }
        self.role = asking.role();
        self.state = State::Ready;
        self.tell(CircuitEvent::Done);
        Ok(())
    }

    /// A part of what another client says. It is acknowledged each time: the acknowledgement may have been lost.
    pub(super) fn handle_passed(
        &mut self,
        now: Instant,
        hop: Position,
        number: RequestNumber,
        part: &Part<'_>,
    ) -> Result<(), Dropped> {
        if Some(hop) != self.layers.last() || !matches!(self.state, State::Ready) {
            return Err(Dropped::Unexpected);
        }
        let is_new = match &self.role {
            Role::Waiting(_, request) if *request == number => true,
            Role::Joined(_, request) if *request == number => false,
            Role::Point(seen) => seen.is_new(u64::from(number.0)),
            _ => return Err(Dropped::Unexpected),
        };
        if !is_new {
            self.passed.acknowledge(now, number);
            return Ok(());
        }
        if self.passed.messages.len() >= MESSAGES_MAX {
            return Err(Dropped::Full);
        }
        let Some(message) = self.passed.assemble(number, part) else { return Ok(()) };
        if !(1..=SEALED_MAX).contains(&message.len()) {
            return Err(Dropped::Malformed);
        }
        let message = match &mut self.role {
            Role::Point(seen) => {
                seen.accept(u64::from(number.0));
                CircuitMessage::Introduction(message)
            }
            Role::Waiting(cookie, request) => {
                self.role = Role::Joined(*cookie, *request);
                CircuitMessage::Answer(message)
            }
            Role::Joined(..) | Role::None => return Err(Dropped::Unexpected),
        };
        self.passed.messages.push_back(message);
        self.passed.acknowledge(now, number);
        Ok(())
    }
}
