//! What was ordered, for those who follow it: the newest in memory, the rest in the kept terms' files.

use crate::application::Applications;
use crate::folder::{Archive, FolderError, TermLog};
use pipe_protocol::Of;
use replicated_log::apps::{self, Kv};
use replicated_log::{AppId, Applied, Checkpoint, LogIndex, Offset, Outcome, Replay, SessionId, Term};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::sync::watch;

/// Messages that are kept in memory. When there are more the oldest go: who wants them reads the files.
const RECENT_MAX: usize = 4_096;
/// Bytes of those.
const RECENT_BYTES_MAX: usize = 8 << 20;
/// Entries of a file that are gone through at once.
const PIECE_ENTRIES: u64 = 256;

/// A message of a topic, or a key's change, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place.
    pub offset: Offset,
    /// Which kind.
    pub of: Of,
    /// The topic or key.
    pub name: Vec<u8>,
    /// The number in the topic, or the key's version.
    pub number: u64,
    /// Who submitted it.
    pub session: SessionId,
    /// The log's time.
    pub time_s: u64,
    /// What it says; nothing if a key lost its value.
    pub data: Option<Vec<u8>>,
}

/// What an entry tells those who follow.
fn told(applied: Applied) -> impl Iterator<Item = Told> {
    let (offset, time_s) = (applied.offset, applied.log_time_ms / 1_000);
    let by = match applied.outcome {
        Outcome::Done { session, app, .. } => Some((session, app)),
        _ => None,
    };
    applied.notices.into_iter().filter_map(move |notice| {
        let (session, app): (SessionId, AppId) = by?;
        let (of, number, data) = match app {
            apps::LOG => (Of::Topics, notice.sequence, Some(notice.body)),
            // A notice counts a key's changes from 0, its versions count from 1.
            apps::KV => (Of::Keys, notice.sequence + 1, Kv::noticed(&notice.body)?),
            _ => return None,
        };
        Some(Told { offset, of, name: notice.channel, number, session, time_s, data })
    })
}

#[derive(Debug)]
struct Recent {
    /// From here on all that was told is in `told`.
    first: Offset,
    told: VecDeque<Arc<Told>>,
    bytes: usize,
    /// Behind what was applied; followers hear of it when the turn is over.
    end: Offset,
}

/// Why old messages cannot be told.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// They are not kept any more.
    #[error("what is before offset {} is no longer kept", oldest.0)]
    Horizon {
        /// From here on they are.
        oldest: Offset,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file is not what it should be.
    #[error("the log of term {term} does not fit its checkpoint")]
    Term {
        /// Which.
        term: Term,
    },
}

/// What was ordered. One writes it, any number read.
#[derive(Debug)]
pub struct History {
    recent: Mutex<Recent>,
    /// The offset behind what was applied.
    end: watch::Sender<Offset>,
    archive: Archive,
    applications: Applications,
}

impl History {
    /// Of a node that has applied everything before `end`.
    pub(crate) fn new(archive: Archive, end: Offset, applications: Applications) -> Self {
        let recent = Recent { first: end, told: VecDeque::new(), bytes: 0, end };
        Self { recent: Mutex::new(recent), end: watch::Sender::new(end), archive, applications }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says when more has been applied.
    pub fn end(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// The next entry was applied.
    pub(crate) fn push(&self, applied: Applied) {
        let offset = applied.offset;
        let mut recent = self.recent();
        for told in told(applied) {
            recent.bytes += told.data.as_ref().map_or(0, Vec::len) + told.name.len();
            recent.told.push_back(Arc::new(told));
        }
        while recent.told.len() > RECENT_MAX || recent.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = recent.told.pop_front() else { break };
            recent.bytes -= oldest.data.as_ref().map_or(0, Vec::len) + oldest.name.len();
            recent.first = Offset(oldest.offset.0 + 1);
        }
        recent.end = Offset(offset.0 + 1);
    }

    /// Tells those who follow how far it is, once for all that a turn applied.
    pub(crate) fn wake(&self) {
        let now = self.recent().end;
        self.end.send_if_modified(|end| std::mem::replace(end, now) != now);
    }

    /// The node missed entries in front of `base`; it has only what it knew to be decided.
    pub(crate) fn skip_to(&self, base: Offset) {
        *self.recent() = Recent { first: base, told: VecDeque::new(), bytes: 0, end: base };
        self.wake();
    }

    /// What is in memory from `position` on, at most `count`, and the place behind it; `None` when it is older.
    fn recent_from(&self, position: Offset, count: usize) -> Option<(Vec<Arc<Told>>, Offset)> {
        // The end is read before the messages: what comes between is told the next time.
        let end = *self.end.borrow();
        let recent = self.recent();
        if position < recent.first {
            return None;
        }
        let begin = recent.told.partition_point(|told| told.offset < position);
        let found: Vec<_> = recent.told.range(begin..).take(count).cloned().collect();
        let last = found.last().filter(|_| found.len() == count);
        let next = last.map_or(end.max(position), |last| Offset(last.offset.0 + 1));
        Some((found.into_iter().filter(|told| told.offset < next).collect(), next))
    }

    /// The oldest place from which on everything is kept.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn oldest(&self) -> Result<Offset, HistoryError> {
        let Some(term) = self.archive.terms()?.into_iter().find(|term| *term > Term(0)) else {
            return Ok(*self.end.borrow());
        };
        Ok(self.base(term)?.1)
    }

    fn base(&self, term: Term) -> Result<(Vec<u8>, Offset), HistoryError> {
        let bytes = self.archive.checkpoint(term)?;
        let checkpoint = Checkpoint::decode(&bytes, self.archive.cluster()).map_err(|_| HistoryError::Term { term })?;
        Ok((bytes, checkpoint.base))
    }

    /// Where the next kept term begins.
    fn base_behind(&self, term: Term) -> Result<Offset, HistoryError> {
        let next = self.archive.terms()?.into_iter().find(|kept| *kept > term);
        next.map_or(Ok(*self.end.borrow()), |next| Ok(self.base(next)?.1))
    }

    /// Goes through a kept term again, from its beginning on.
    fn begin_replay(&self, position: Offset) -> Result<Going, HistoryError> {
        let mut oldest = Offset(u64::MAX);
        for term in self.archive.terms()?.into_iter().rev().filter(|term| *term > Term(0)) {
            let (checkpoint, base) = self.base(term)?;
            oldest = base;
            if base <= position {
                let replay = Replay::new(self.archive.cluster(), &checkpoint, self.applications.make());
                let replay = replay.map_err(|_| HistoryError::Term { term })?;
                let (was_present, log) = (self.archive.present_term() == term, self.archive.log(term)?);
                return Ok(Going { term, was_present, replay, log, index: LogIndex(0) });
            }
        }
        Err(HistoryError::Horizon { oldest })
    }
}

struct Going {
    term: Term,
    /// The term was not over when this began, so its log may have more than was decided.
    was_present: bool,
    replay: Replay,
    log: TermLog,
    index: LogIndex,
}

/// One who follows, from a place on.
pub struct Follower {
    history: Arc<History>,
    position: Offset,
    going: Option<Box<Going>>,
}

impl Follower {
    /// Begins at `position`.
    pub fn new(history: Arc<History>, position: Offset) -> Self {
        Self { history, position, going: None }
    }

    /// The place from which on it has told nothing.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Whether more can be told without waiting.
    pub fn is_behind(&self) -> bool {
        self.position < *self.history.end.borrow()
    }

    /// The next messages, about `count` of them and maybe none, and the follower moves behind them. It may read files.
    ///
    /// # Errors
    /// When what comes next is not kept, or cannot be read.
    pub fn advance(&mut self, count: usize) -> Result<Vec<Arc<Told>>, HistoryError> {
        if let Some((found, next)) = self.history.recent_from(self.position, count) {
            self.going = None;
            self.position = next;
            return Ok(found);
        }
        // The end is read first. If a later term begins behind it, the log of the one before may have more than was decided,
        // and is opened anew.
        let end = *self.history.end.borrow();
        let present = self.history.archive.present_term();
        let going = self.going.take().filter(|going| !going.was_present || going.term == present);
        let mut going = match going {
            Some(going) => going,
            None => Box::new(self.history.begin_replay(self.position)?),
        };
        let count = PIECE_ENTRIES.min(end.0.saturating_sub(going.replay.next().0));
        let wanted = LogIndex(going.index.0 + count).min(going.log.end());
        let entries = going.log.read(going.index, wanted)?;
        if entries.is_empty() {
            // This node took a checkpoint in the place of the rest.
            let oldest = self.history.base_behind(going.term)?;
            return Err(HistoryError::Horizon { oldest });
        }
        let (mut found, mut is_over) = (Vec::new(), false);
        for entry in entries {
            going.index.0 += 1;
            let applied = going.replay.handle_entry(&entry).map_err(|_| HistoryError::Term { term: going.term })?;
            let Some(applied) = applied else {
                is_over = true;
                break;
            };
            is_over = matches!(applied.outcome, Outcome::Ended { .. });
            if applied.offset >= self.position {
                self.position = Offset(applied.offset.0 + 1);
                found.extend(told(applied).map(Arc::new));
            }
            if is_over {
                break;
            }
        }
        // Behind a term's end the next one's checkpoint goes on.
        self.going = (!is_over).then_some(going);
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
