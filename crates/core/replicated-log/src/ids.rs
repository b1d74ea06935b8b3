//! Names and counters, each a type of its own.

use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Which cluster: the hash of its genesis, or 32 bytes that its members agreed on outside the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClusterId(pub [u8; 32]);

/// The number of a term, from 1. A term is one instance of the engine, with its members and a log of its own that
/// begins with the checkpoint of everything before. Term 0 is that of a node that has not joined yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The place of an entry in the log of its term, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// As an index in memory; logs of a term are far shorter than any `usize`.
    pub(crate) fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn at(place: usize) -> Self {
        Self(place as u64)
    }
}

/// The place of an entry among all entries that ever counted, over all terms, from 0. It only grows; within a term it
/// grows by 1 from entry to entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Offset(pub u64);

/// A client's session: 128 bits from a random source, never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionId(u128);

/// A session id of 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a session id is 128 random bits and never 0")]
pub struct SessionIdError;

impl SessionId {
    /// From 128 random bits.
    ///
    /// # Errors
    /// When they are all 0, which no random source gives.
    pub fn new(random: u128) -> Result<Self, SessionIdError> {
        if random == 0 { Err(SessionIdError) } else { Ok(Self(random)) }
    }

    /// The 128 bits.
    pub fn bits(self) -> u128 {
        self.0
    }
}

/// The number of a message within its session: 1 for the first, then one more each time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sequence(pub u64);

/// Which connection between two members: both ends know it from the connection's start, and no two connections of a pair
/// have the same. Frames of another connection are dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct SessionEpoch(pub u64);

/// Which application an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AppId(pub u16);

/// The time, as a shell hands it in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Since any fixed moment; never goes back. Timeouts use this one.
    pub monotonic: Duration,
    /// Milliseconds since 1970 in UTC. A leader writes it into the log; nothing else uses it, and it may jump.
    pub utc_ms: u64,
}
