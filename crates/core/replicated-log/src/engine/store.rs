//! The engine's storage: its state, a bounded window of the newest entries, and the records that are to be saved.

use crate::entry::Entry;
use crate::ids::{LogIndex, Term};
use crate::record::{Record, Recovered, Round};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Saved entries stay in memory up to this number of bytes.
pub(crate) const WINDOW_BYTES_MAX: usize = 16 << 20;

/// Reads back what the shell has saved. The engine asks in the middle of a step, so this is a call and not a request with a
/// later answer; in a node it is a file, in the simulator a vector. Only old entries are asked for, by laggards.
pub trait LogReader: Send {
    /// The entries `from..to` of a term's log, all of which were saved.
    ///
    /// # Errors
    /// When the disk fails; the node stops then.
    fn read_entries(&mut self, term: Term, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, ReadError>;

    /// At most `length` bytes of a term's checkpoint from the byte `at` on; none behind its end.
    ///
    /// # Errors
    /// When the disk fails; the node stops then.
    fn read_checkpoint(&mut self, term: Term, at: u64, length: usize) -> Result<Vec<u8>, ReadError>;
}

/// What was saved cannot be read. Which file and why is the shell's to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("what was saved cannot be read back")]
pub struct ReadError;

/// Why the engine cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreFailure {
    /// The reader failed.
    Read,
    /// A log with a hole was to be written.
    Hole,
    /// What is decided was to be replaced or given up.
    Decided,
    /// A call outside the clean subset.
    Forbidden,
}

/// What is to be saved, and synced before anything leaves that rests on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unsaved {
    /// Encoded records, without a batch's header.
    pub(crate) records: Vec<u8>,
    /// Where entries go: from which index how many.
    pub(crate) runs: Vec<(LogIndex, usize)>,
    /// Whether anything but the decided index changed.
    pub(crate) needs_sync: bool,
}

struct State {
    term: Term,
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    /// The newest entries; the first is at `base`.
    window: VecDeque<Entry>,
    window_bytes: usize,
    base: usize,
    /// Saved entries stay in memory up to this number.
    window_entries_max: usize,
    unsaved: Unsaved,
    failure: Option<StoreFailure>,
    reader: Box<dyn LogReader>,
}

/// A handle to the storage; the engine has one and the node another.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<State>>);

impl Store {
    pub(crate) fn new(term: Term, recovered: &Recovered, window_entries_max: u64, reader: Box<dyn LogReader>) -> Self {
        let length = recovered.length.place();
        Self(Arc::new(Mutex::new(State {
            term,
            promise: recovered.promise.map(|round| ballot(term, round)),
            accepted: recovered.accepted.map(|round| ballot(term, round)),
            decided: recovered.decided.place(),
            window: VecDeque::new(),
            window_bytes: 0,
            base: length,
            window_entries_max: usize::try_from(window_entries_max).unwrap_or(usize::MAX),
            unsaved: Unsaved::default(),
            failure: None,
            reader,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // One thread uses it; a panic inside would have ended the node.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the engine must not go on; its messages are to be thrown away then.
    pub(crate) fn failure(&self) -> Option<StoreFailure> {
        self.state().failure
    }

    /// Takes what is to be saved.
    pub(crate) fn take_unsaved(&self) -> Unsaved {
        std::mem::take(&mut self.state().unsaved)
    }

    /// What was taken is in the file: the window may shrink.
    pub(crate) fn handle_saved(&self) {
        self.state().shrink();
    }

    /// The entries `from..to`; none when they are not all there or cannot be read, which [`Self::failure`] tells.
    pub(crate) fn entries(&self, from: LogIndex, to: LogIndex) -> Vec<Entry> {
        self.state().entries(from.place(), to.place())
    }

    /// For a node that follows without a vote: decided entries from `from` on.
    pub(crate) fn append_decided(&self, from: LogIndex, entries: Vec<Entry>) {
        let mut state = self.state();
        let decided = from.place() + entries.len();
        state.append(from.place(), entries, None, Some(decided));
    }

    pub(crate) fn decided(&self) -> LogIndex {
        LogIndex::at(self.state().decided)
    }

    pub(crate) fn length(&self) -> LogIndex {
        LogIndex::at(self.state().length())
    }

    pub(crate) fn read_checkpoint(&self, term: Term, at: u64, length: usize) -> Vec<u8> {
        let mut state = self.state();
        match state.reader.read_checkpoint(term, at, length) {
            Ok(bytes) => bytes,
            Err(ReadError) => {
                state.failure = Some(StoreFailure::Read);
                Vec::new()
            }
        }
    }

    /// Ends this handle's term and begins the next with the same reader and an empty log.
    pub(crate) fn begin_term(&self, term: Term) {
        let mut state = self.state();
        *state = State {
            term,
            promise: None,
            accepted: None,
            decided: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            base: 0,
            window_entries_max: state.window_entries_max,
            unsaved: Unsaved::default(),
            failure: state.failure,
            reader: std::mem::replace(&mut state.reader, Box::new(NoReader)),
        };
    }
}

/// Stands in while the reader moves from one term to the next.
struct NoReader;

impl LogReader for NoReader {
    fn read_entries(&mut self, _: Term, _: LogIndex, _: LogIndex) -> Result<Vec<Entry>, ReadError> {
        Err(ReadError)
    }
    fn read_checkpoint(&mut self, _: Term, _: u64, _: usize) -> Result<Vec<u8>, ReadError> {
        Err(ReadError)
    }
}

impl State {
    fn length(&self) -> usize {
        self.base + self.window.len()
    }

    fn save(&mut self, record: &Record) {
        record.encode(&mut self.unsaved.records);
        self.unsaved.needs_sync |= record.promise.is_some() || record.accepted.is_some() || record.entries.is_some();
        if let Some((from, entries)) = &record.entries {
            self.unsaved.runs.push((*from, entries.len()));
        }
    }

    /// Cuts the log at `from` and puts the entries there; with a round or a decided index, in one record.
    fn append(&mut self, from: usize, entries: Vec<Entry>, accepted: Option<Ballot>, decided: Option<usize>) {
        if from > self.length() {
            self.failure = Some(StoreFailure::Hole);
            return;
        }
        if from < self.decided && !self.keeps_decided(from, &entries) {
            self.failure = Some(StoreFailure::Decided);
            return;
        }
        if entries.is_empty() && from == self.length() && accepted.is_none() && decided.is_none() {
            return;
        }
        if from < self.base {
            self.window.clear();
            self.window_bytes = 0;
            self.base = from;
        }
        while self.length() > from {
            self.window_bytes -= self.window.pop_back().map_or(0, |entry| entry.as_bytes().len());
        }
        self.window_bytes += entries.iter().map(|entry| entry.as_bytes().len()).sum::<usize>();
        self.window.extend(entries.iter().cloned());
        self.accepted = accepted.or(self.accepted);
        self.decide(decided);
        self.save(&Record {
            promise: None,
            accepted: accepted.map(round),
            decided: decided.map(LogIndex::at),
            entries: Some((LogIndex::at(from), entries)),
        });
    }

    /// Whether what is decided stays as it is when the log is cut at `from` and goes on with `entries`.
    fn keeps_decided(&mut self, from: usize, entries: &[Entry]) -> bool {
        let decided = self.entries(from, self.decided);
        entries.starts_with(&decided) && decided.len() == self.decided - from
    }

    /// What is decided stays decided.
    fn decide(&mut self, index: Option<usize>) {
        match index {
            Some(index) if index < self.decided => self.failure = Some(StoreFailure::Decided),
            index => self.decided = index.unwrap_or(self.decided),
        }
    }

    /// Throws saved entries out of the window while it is too large.
    fn shrink(&mut self) {
        while self.window.len() > self.window_entries_max || self.window_bytes > WINDOW_BYTES_MAX {
            let Some(entry) = self.window.pop_front() else { return };
            self.window_bytes -= entry.as_bytes().len();
            self.base += 1;
        }
    }

    fn entries(&mut self, from: usize, to: usize) -> Vec<Entry> {
        if from >= to || to > self.length() {
            return Vec::new();
        }
        let mut found = Vec::new();
        if from < self.base {
            let (first, last) = (LogIndex::at(from), LogIndex::at(to.min(self.base)));
            match self.reader.read_entries(self.term, first, last) {
                Ok(entries) if entries.len() as u64 == last.0 - first.0 => found = entries,
                _ => {
                    self.failure = Some(StoreFailure::Read);
                    return Vec::new();
                }
            }
        }
        let skip = from.saturating_sub(self.base);
        found.extend(self.window.range(skip..to.saturating_sub(self.base).max(skip)).cloned());
        found
    }

    /// Someone left the clean subset. In a test that is a panic; a node stops before anything leaves it.
    fn forbid(&mut self, call: &str) {
        self.failure = Some(StoreFailure::Forbidden);
        debug_assert!(false, "the engine called {call}, which lies outside the clean subset");
    }
}

/// The engine's number for a term.
pub(super) fn configuration(term: Term) -> u32 {
    // It must not be 0, and is compared for equality only.
    (term.0 as u32).max(1)
}

pub(super) fn ballot(term: Term, round: Round) -> Ballot {
    Ballot { config_id: configuration(term), n: round.number, priority: round.priority, pid: round.engine_id }
}

pub(super) fn round(ballot: Ballot) -> Round {
    Round { number: ballot.n, priority: ballot.priority, engine_id: ballot.pid }
}

impl Storage<Entry> for Store {
    fn write_atomically(&mut self, operations: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        let (mut accepted, mut decided, mut appended) = (None, None, None);
        for operation in operations {
            match operation {
                StorageOp::SetAcceptedRound(ballot) => accepted = Some(ballot),
                StorageOp::SetDecidedIndex(index) => decided = Some(index),
                StorageOp::AppendOnPrefix(from, entries) => appended = Some((from, entries)),
                other => self.state().forbid(&format!("{other:?}")),
            }
        }
        let mut state = self.state();
        match appended {
            Some((from, entries)) => state.append(from, entries, accepted, decided),
            None => {
                state.accepted = accepted.or(state.accepted);
                state.decide(decided);
                state.save(&Record {
                    accepted: accepted.map(round),
                    decided: decided.map(LogIndex::at),
                    ..Record::default()
                });
            }
        }
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.append_entries(vec![entry])
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        let mut state = self.state();
        let from = state.length();
        state.append(from, entries, None, None);
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Entry>) -> StorageResult<()> {
        self.state().append(from, entries, None, None);
        Ok(())
    }

    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        let mut state = self.state();
        state.promise = Some(promise);
        state.save(&Record { promise: Some(round(promise)), ..Record::default() });
        Ok(())
    }

    fn set_decided_idx(&mut self, decided: usize) -> StorageResult<()> {
        let mut state = self.state();
        state.decide(Some(decided));
        state.save(&Record { decided: Some(LogIndex::at(decided)), ..Record::default() });
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.state().decided)
    }

    fn set_accepted_round(&mut self, accepted: Ballot) -> StorageResult<()> {
        let mut state = self.state();
        state.accepted = Some(accepted);
        state.save(&Record { accepted: Some(round(accepted)), ..Record::default() });
        Ok(())
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.state().accepted)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        Ok(self.state().entries(from, to))
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.state().length())
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        let mut state = self.state();
        let to = state.length();
        Ok(state.entries(from, to))
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.state().promise)
    }

    fn set_stopsign(&mut self, _: Option<StopSign>) -> StorageResult<()> {
        self.state().forbid("set_stopsign");
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }

    fn trim(&mut self, _: usize) -> StorageResult<()> {
        self.state().forbid("trim");
        Ok(())
    }

    fn set_compacted_idx(&mut self, _: usize) -> StorageResult<()> {
        self.state().forbid("set_compacted_idx");
        Ok(())
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(0)
    }

    fn set_snapshot(&mut self, _: Option<NoSnapshot>) -> StorageResult<()> {
        self.state().forbid("set_snapshot");
        Ok(())
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
