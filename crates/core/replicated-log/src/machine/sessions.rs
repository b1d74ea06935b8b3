//! Exactly once: the replicated table of clients' sessions.
//!
//! A message counts when its number is one above the session's last one. Whoever hears no answer sends it again with the
//! same number, through whichever member; it has an effect once and the first answer twice. Which sessions are
//! forgotten, and when, follows from the log alone.

use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::ids::{Offset, Sequence, SessionId};
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error;
use wire::encoding::{ReadError, Reader, WriteBytes};

/// Most sessions. For one more, the one that was used longest ago is forgotten, unless even that was used within
/// twice [`SESSION_OPEN_WINDOW_MS`]; then the new one is refused.
pub const SESSIONS_MAX: usize = 4_096;

/// So many of a session's last answers are kept.
pub const RESULTS_KEPT: usize = 64;

/// Longest answer, in bytes.
pub const RESULT_BYTES_MAX: usize = 1_024;

/// A session that was not used for this long, in milliseconds of the log's time, is forgotten.
pub const SESSION_IDLE_MS: u64 = 24 * 3_600 * 1_000;

/// An opening that comes so many milliseconds of the log's time after it was asked for is a leftover and opens nothing. It
/// is shorter than the time that a session is surely kept, so no leftover opens a forgotten session again.
pub const SESSION_OPEN_WINDOW_MS: u64 = 30_000;

/// Why a session was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenRefusal {
    /// It came too late; ask again.
    #[error("the opening came too late; ask again")]
    Late,
    /// There are too many, all in use.
    #[error("{SESSIONS_MAX} sessions are open and in use; ask again in a minute")]
    Full,
}

/// Why a message does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SubmitRefusal {
    /// A message before it is missing.
    #[error("a message is missing: the session expects number {}", .expected.0)]
    Gap {
        /// What the session expects.
        expected: Sequence,
    },
    /// It counted so long ago that its answer is not kept.
    #[error("the message counted long ago and its answer is not kept")]
    Old,
    /// The session was never opened, or was forgotten. What is unanswered may have counted or not.
    #[error("the session is not open: it was unused too long, or never opened; open another one")]
    NotOpen,
}

pub(super) enum Verdict {
    New,
    Repeated(Offset, Vec<u8>),
    Refused(SubmitRefusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    last: Sequence,
    used: Offset,
    used_ms: u64,
    /// Of the last messages, the newest at the end.
    answers: VecDeque<(Offset, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    /// By the offset of their last use; each use has an offset of its own.
    by_use: BTreeMap<Offset, SessionId>,
    #[cfg(feature = "planted-faults")]
    forgetful: bool,
}

impl Sessions {
    pub(super) fn open(
        &mut self,
        offset: Offset,
        now_ms: u64,
        session: SessionId,
        asked_ms: u64,
    ) -> Result<(), OpenRefusal> {
        if self.open.contains_key(&session) {
            self.touch(offset, now_ms, session);
            return Ok(());
        }
        if now_ms.saturating_sub(asked_ms) > SESSION_OPEN_WINDOW_MS {
            return Err(OpenRefusal::Late);
        }
        if self.open.len() >= SESSIONS_MAX {
            let (_, oldest) = self.by_use.first_key_value().ok_or(OpenRefusal::Full)?;
            let (oldest, used_ms) = (*oldest, self.open[oldest].used_ms);
            if now_ms.saturating_sub(used_ms) <= 2 * SESSION_OPEN_WINDOW_MS {
                return Err(OpenRefusal::Full);
            }
            self.forget(oldest);
        }
        let fresh = Session { last: Sequence(0), used: offset, used_ms: now_ms, answers: VecDeque::new() };
        self.open.insert(session, fresh);
        self.by_use.insert(offset, session);
        Ok(())
    }

    /// What [`Self::judge`] would take as new.
    pub(super) fn next_sequence(&self, session: SessionId) -> Option<Sequence> {
        self.open.get(&session).map(|present| Sequence(present.last.0 + 1))
    }

    /// Whether a message counts. One that does must be followed by [`Self::keep`].
    pub(super) fn judge(&mut self, offset: Offset, now_ms: u64, session: SessionId, sequence: Sequence) -> Verdict {
        let Some(present) = self.open.get(&session) else { return Verdict::Refused(SubmitRefusal::NotOpen) };
        #[cfg(feature = "planted-faults")]
        if self.forgetful {
            return Verdict::New;
        }
        let expected = Sequence(present.last.0 + 1);
        self.touch(offset, now_ms, session);
        match sequence {
            _ if sequence == expected => Verdict::New,
            _ if sequence > expected => Verdict::Refused(SubmitRefusal::Gap { expected }),
            _ => match self.earlier(session, sequence) {
                Some((first, result)) => Verdict::Repeated(first, result),
                None => Verdict::Refused(SubmitRefusal::Old),
            },
        }
    }

    /// A message counted, and this was its answer.
    pub(super) fn keep(&mut self, session: SessionId, offset: Offset, result: &[u8]) {
        let Some(session) = self.open.get_mut(&session) else { return };
        session.last.0 += 1;
        session.answers.push_back((offset, result.to_vec()));
        if session.answers.len() > RESULTS_KEPT {
            session.answers.pop_front();
        }
    }

    pub(super) fn earlier(&self, session: SessionId, sequence: Sequence) -> Option<(Offset, Vec<u8>)> {
        let session = self.open.get(&session)?;
        let back = usize::try_from(session.last.0.checked_sub(sequence.0)?).ok()?;
        let place = session.answers.len().checked_sub(back + 1)?;
        session.answers.get(place).cloned()
    }

    pub(super) fn expire(&mut self, now_ms: u64) {
        while let Some((_, session)) = self.by_use.first_key_value() {
            let session = *session;
            // Uses come in the order of offsets, and the log's time never goes back.
            if now_ms.saturating_sub(self.open[&session].used_ms) <= SESSION_IDLE_MS {
                return;
            }
            self.forget(session);
        }
    }

    fn touch(&mut self, offset: Offset, now_ms: u64, id: SessionId) {
        let Some(session) = self.open.get_mut(&id) else { return };
        self.by_use.remove(&session.used);
        (session.used, session.used_ms) = (offset, now_ms);
        self.by_use.insert(offset, id);
    }

    fn forget(&mut self, session: SessionId) {
        if let Some(gone) = self.open.remove(&session) {
            self.by_use.remove(&gone.used);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.u32(self.open.len() as u32);
        for (id, session) in &self.open {
            out.u128(id.bits());
            out.u64(session.last.0);
            out.u64(session.used.0);
            out.u64(session.used_ms);
            out.u8(session.answers.len() as u8);
            for (offset, result) in &session.answers {
                out.u64(offset.0);
                out.bytes(result);
            }
        }
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let mut sessions = Self::default();
        for _ in 0..input.u32()? {
            let id = SessionId::new(input.u128()?).map_err(|_| ReadError::Range)?;
            let (last, used, used_ms) = (Sequence(input.u64()?), Offset(input.u64()?), input.u64()?);
            let mut answers = VecDeque::new();
            for _ in 0..input.u8()? {
                answers.push_back((Offset(input.u64()?), input.bytes(CHECKPOINT_BYTES_MAX)?.to_vec()));
            }
            if answers.len() > RESULTS_KEPT || sessions.by_use.insert(used, id).is_some() {
                return Err(ReadError::Range);
            }
            sessions.open.insert(id, Session { last, used, used_ms, answers });
        }
        if sessions.open.len() != sessions.by_use.len() {
            return Err(ReadError::Range);
        }
        Ok(sessions)
    }

    #[cfg(feature = "planted-faults")]
    pub(super) fn plant_forgetful(&mut self) {
        self.forgetful = true;
    }
}
