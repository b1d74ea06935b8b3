//! Who asked a node for something, and how the answer gets back.

use replicated_log::{Offset, OpenRefusal, Sequence, SessionId, SubmitError, SubmitRefusal, Token};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// An answer to one request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The session is open.
    Opened {
        /// The number of its next message.
        next: Sequence,
    },
    /// The session is not open.
    NotOpened(OpenRefusal),
    /// The message took effect, now or earlier.
    Done {
        /// Where it stands.
        offset: Offset,
        /// The application's answer.
        result: Vec<u8>,
    },
    /// The message does not count.
    Refused(SubmitRefusal),
    /// Nothing was done; ask again.
    Busy(Duration),
    /// What the application says, as it is with everything before `offset`.
    Read {
        /// The place that the answer reflects.
        offset: Offset,
        /// The application's answer.
        result: Vec<u8>,
    },
    /// A change of members or an end of the term was planned, or was not possible.
    Controlled(bool),
    /// The node takes no requests.
    NotTaken(SubmitError),
}

/// Where a client's answers go. Every request gets one answer, so what waits here is bounded by the client's own requests.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name for the request, and the answer.
    pub answers: mpsc::UnboundedSender<(u64, Answer)>,
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) client: Client,
    pub(crate) tag: u64,
    pub(crate) what: What,
}

/// What is needed for the answer.
#[derive(Debug)]
pub(crate) enum What {
    Open {
        session: SessionId,
        is_second_try: bool,
    },
    /// Open already, and what was acknowledged before the question is still to take effect here.
    Opened(SessionId),
    Submit,
    Read(replicated_log::AppId, Vec<u8>),
    Control,
}

impl Waiting {
    pub(crate) fn answer(self, answer: Answer) {
        // A client that is gone wants no answer.
        let _ = self.client.answers.send((self.tag, answer));
    }
}

/// All who wait. The node bounds them: it takes no more requests than it has room for.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    waiting: BTreeMap<Token, Waiting>,
}

impl Waiters {
    pub(crate) fn insert(&mut self, waiting: Waiting) -> Token {
        self.next += 1;
        self.waiting.insert(Token(self.next), waiting);
        Token(self.next)
    }

    /// The session that somebody wants to open for the first time, who wants it a second time from here on.
    pub(crate) fn take_second_try(&mut self, token: Token) -> Option<SessionId> {
        match &mut self.waiting.get_mut(&token)?.what {
            What::Open { session, is_second_try } if !*is_second_try => {
                *is_second_try = true;
                Some(*session)
            }
            _ => None,
        }
    }

    /// The session that is open now; whoever wanted that waits on until this node knows how far the session is.
    pub(crate) fn opened(&mut self, token: Token) {
        if let Some(waiting) = self.waiting.get_mut(&token)
            && let What::Open { session, .. } = waiting.what
        {
            waiting.what = What::Opened(session);
        }
    }

    pub(crate) fn take(&mut self, token: Token) -> Option<Waiting> {
        self.waiting.remove(&token)
    }
}
