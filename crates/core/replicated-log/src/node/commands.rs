//! What clients and operators ask for.

use super::clients::Key;
use super::{Event, Node, Token};
use crate::checkpoint::BEHAVIOUR;
use crate::entry::{BODY_BYTES_MAX, Change, Command, Entry, Message};
use crate::ids::{AppId, Sequence, SessionId};
use std::time::Duration;
use thiserror::Error;

/// When to try again if there is no room.
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// Why a request is not taken. Nothing of it goes into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SubmitError {
    /// Too many wait already.
    #[error("too many requests wait; try again in {} ms", .retry_after.as_millis())]
    Busy {
        /// When.
        retry_after: Duration,
    },
    /// The body is too long.
    #[error("a message has at most {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// A session's numbers begin at 1.
    #[error("the numbers of a session begin at 1")]
    NoNumber,
    /// The node has no vote and forwards nothing.
    #[error("this node is no member of the present term; ask a member")]
    NoMember,
    /// It has stopped.
    #[error("this node has stopped")]
    Stopped,
}

impl Node {
    /// Opens a session; [`Event::Opened`] answers. A client draws the id at random, once, and opens it again as often as it
    /// likes until it has an answer. After [`crate::Outcome::Refused`] with `NotOpen` it needs another id.
    ///
    /// Any opening of the session answers, also one of before that takes effect here only now. So the session's next number in
    /// [`Self::machine`] counts for certain everything that was acknowledged elsewhere only after a [`Self::read`] behind it.
    ///
    /// # Errors
    /// When there is no room, or this node takes no requests.
    pub fn open_session(&mut self, token: Token, session: SessionId) -> Result<(), SubmitError> {
        let entry = Command::Open { session, log_time_ms: self.machine.log_time_ms() }.encode();
        self.insert(Key::Session(session, 0), entry, token)
    }

    /// Submits a message; [`Event::Acknowledged`], [`Event::Refused`] or [`Event::Busy`] answers, and none while no majority
    /// can be reached. Messages of a session may be submitted before the earlier ones are answered. Whoever is in doubt
    /// submits the same message with the same number again, here or at another member.
    ///
    /// # Errors
    /// When there is no room, or the message or this node cannot be used.
    pub fn submit(
        &mut self,
        token: Token,
        (session, sequence): (SessionId, Sequence),
        app: AppId,
        body: &[u8],
    ) -> Result<(), SubmitError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(SubmitError::TooLong);
        }
        if sequence == Sequence(0) {
            return Err(SubmitError::NoNumber);
        }
        if let Some((offset, result)) = self.machine.earlier(session, sequence).filter(|_| self.knows_repeats()) {
            self.begin_input();
            self.output.events.push(Event::Acknowledged { token, offset, result });
            return Ok(());
        }
        let entry = Message { session, sequence, app, body }.encode();
        self.insert(Key::Session(session, sequence.0), entry, token)
    }

    /// Asks for a moment from which on [`Self::machine`] has everything that was acknowledged before, anywhere;
    /// [`Event::ReadReady`] answers. All reads of a turn share one barrier in the log.
    ///
    /// # Errors
    /// When there is no room, or this node takes no requests.
    pub fn read(&mut self, token: Token) -> Result<(), SubmitError> {
        self.check_room(0)?;
        self.clients.insert_read(token);
        Ok(())
    }

    /// Plans a change of members, one at a time; [`Event::Controlled`] says whether it was planned. Whoever is added must be
    /// running as a newcomer: when it has caught up the term ends, and the next one has the new members.
    ///
    /// # Errors
    /// When there is no room, or this node takes no requests.
    pub fn change_members(&mut self, token: Token, change: Change) -> Result<(), SubmitError> {
        self.insert_control(token, &Command::Plan { term: self.beginning.term, change })
    }

    /// Withdraws the plan; [`Event::Controlled`] answers.
    ///
    /// # Errors
    /// When there is no room, or this node takes no requests.
    pub fn withdraw_change(&mut self, token: Token) -> Result<(), SubmitError> {
        self.insert_control(token, &Command::Unplan { term: self.beginning.term })
    }

    /// Ends the term: the log begins anew from a checkpoint. Also the way to an upgrade, when every member runs a program
    /// that knows the newer behaviour. [`Event::Controlled`] answers.
    ///
    /// # Errors
    /// When there is no room, or this node takes no requests.
    pub fn end_term(&mut self, token: Token) -> Result<(), SubmitError> {
        let (term, members) = (self.beginning.term, self.beginning.members.clone());
        self.insert_control(token, &Command::EndTerm { term, members, behaviour: BEHAVIOUR })
    }

    fn insert_control(&mut self, token: Token, command: &Command) -> Result<(), SubmitError> {
        let number = self.clients.next_number();
        self.insert(Key::Control(number), command.encode(), token)
    }

    fn insert(&mut self, key: Key, entry: Entry, token: Token) -> Result<(), SubmitError> {
        self.check_room(entry.as_bytes().len())?;
        self.clients.insert(key, entry, vec![token]);
        Ok(())
    }

    fn check_room(&self, bytes: usize) -> Result<(), SubmitError> {
        self.begin_input();
        if self.fatal.is_some() {
            return Err(SubmitError::Stopped);
        }
        if self.engine.is_none() {
            return Err(SubmitError::NoMember);
        }
        if self.clients.has_room(bytes) { Ok(()) } else { Err(SubmitError::Busy { retry_after: BUSY_RETRY }) }
    }

    #[cfg(not(feature = "planted-faults"))]
    #[expect(clippy::unused_self, reason = "with planted faults it looks at the settings")]
    fn knows_repeats(&self) -> bool {
        true
    }

    #[cfg(feature = "planted-faults")]
    fn knows_repeats(&self) -> bool {
        !self.tuning.without_sessions
    }

    /// The leader has no room for these.
    pub(super) fn handle_forward_busy(&mut self, entries: &[Entry]) {
        for entry in entries {
            let key = match Command::decode(entry) {
                Ok(Command::Submit { session, sequence, .. }) => Key::Session(session, sequence.0),
                Ok(Command::Open { session, .. }) => Key::Session(session, 0),
                // Barriers and commands about terms wait for the next retry.
                _ => continue,
            };
            let retry_after = BUSY_RETRY;
            self.clients.answer(key, &mut self.output.events, |token| Event::Busy { token, retry_after });
        }
    }
}
