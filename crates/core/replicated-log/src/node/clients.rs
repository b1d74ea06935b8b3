//! What clients of this node wait for.

use super::{Event, Token};
use crate::entry::Entry;
use crate::ids::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most requests that wait; one more is told to come again.
pub(super) const WAITING_MAX: usize = 16_384;

/// Most bytes of waiting requests; one more is told to come again.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// A message, or with number 0 the opening.
    Session(SessionId, u64),
    /// A barrier, by its tag.
    Read(u64),
    /// A command about terms.
    Control(u64),
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    tokens: Vec<Token>,
    /// When it was last given to a leader.
    sent: Option<Duration>,
}

/// Requests until their answer. Those of a session are sent in their order.
#[derive(Debug, Default)]
pub(super) struct Clients {
    waiting: BTreeMap<Key, Waiting>,
    unsent: BTreeSet<Key>,
    bytes: usize,
    /// Reads that the next barrier will serve.
    reads: Vec<Token>,
    numbers: u64,
}

impl Clients {
    pub(super) fn count(&self) -> usize {
        self.waiting.len() + self.reads.len()
    }

    pub(super) fn has_room(&self, entry: usize) -> bool {
        self.count() < WAITING_MAX && self.bytes + entry <= WAITING_BYTES_MAX
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes a request in. Whoever asks the same again is the one who gets the answer.
    pub(super) fn insert(&mut self, key: Key, entry: Entry, tokens: Vec<Token>) {
        self.remove(key);
        self.bytes += entry.as_bytes().len();
        self.waiting.insert(key, Waiting { entry, tokens, sent: None });
        self.unsent.insert(key);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Vec<Token>> {
        self.unsent.remove(&key);
        let gone = self.waiting.remove(&key)?;
        self.bytes -= gone.entry.as_bytes().len();
        Some(gone.tokens)
    }

    /// Answers a request, if it waits here.
    pub(super) fn answer(&mut self, key: Key, events: &mut Vec<Event>, event: impl Fn(Token) -> Event) {
        events.extend(self.remove(key).unwrap_or_default().into_iter().map(event));
    }

    pub(super) fn insert_read(&mut self, token: Token) {
        self.reads.push(token);
    }

    pub(super) fn take_reads(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.reads)
    }

    /// The control request whose entry this is.
    pub(super) fn control(&self, entry: &Entry) -> Option<Key> {
        let controls = self.waiting.range(Key::Control(0)..);
        controls.filter(|(_, waiting)| waiting.entry == *entry).map(|(key, _)| *key).next()
    }

    pub(super) fn controls(&self) -> Vec<(Key, Entry)> {
        self.waiting.range(Key::Control(0)..).map(|(key, waiting)| (*key, waiting.entry.clone())).collect()
    }

    /// How many are to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    pub(super) fn peek_unsent(&self) -> Option<(Key, &Entry)> {
        let key = *self.unsent.first()?;
        self.waiting.get(&key).map(|waiting| (key, &waiting.entry))
    }

    pub(super) fn mark_sent(&mut self, key: Key, now: Duration) {
        self.unsent.remove(&key);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.sent = Some(now);
        }
    }

    /// Whoever led is gone, or what was sent may be lost.
    pub(super) fn resend_all(&mut self) {
        self.unsent.extend(self.waiting.keys());
    }

    /// What was sent at `until` or before may be lost.
    pub(super) fn resend_since(&mut self, until: Duration) {
        let old = self.waiting.iter().filter(|(_, waiting)| waiting.sent.is_some_and(|sent| sent <= until));
        self.unsent.extend(old.map(|(key, _)| *key));
    }

    /// A message came before its predecessor; if that waits here as well, both are sent again in their order.
    pub(super) fn resend_from(&mut self, session: SessionId, expected: u64) -> bool {
        if !self.waiting.contains_key(&Key::Session(session, expected)) {
            return false;
        }
        let behind = self.waiting.range(Key::Session(session, expected)..=Key::Session(session, u64::MAX));
        self.unsent.extend(behind.map(|(key, _)| *key));
        true
    }
}
