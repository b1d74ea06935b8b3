//! What clients ask of whoever keeps editions, and what they get.

use crate::directory::SUCCESSIONS_MAX;
use crate::succession::{SUCCESSION_BYTES_MAX, Succession};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{EDITION_BYTES_MAX, EditionDiff, EncodingError, SignedEdition};
use std::collections::VecDeque;

/// Editions that a keeper has at most; the oldest goes for a new one.
pub const EDITIONS_KEPT: usize = 24;
/// Differences that a keeper has made and keeps; the oldest goes for a new one.
const DIFFS_KEPT: usize = 24;
/// Changes of members in one answer at most: a client that lacks more asks again.
pub const SUCCESSIONS_ANSWERED: usize = 32;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The newest edition, whole.
    Full,
    /// The newest edition, as a difference to the one with this hash if that is known and worth it.
    Diff {
        /// What the client has.
        base: [u8; 32],
    },
    /// The edition with this hash.
    ByHash {
        /// Its hash.
        hash: [u8; 32],
    },
    /// The changes of members after a term.
    Successions {
        /// The term that the client knows.
        after: u64,
    },
}

/// What it gets. It is data that anybody could have made: [`crate::DirectoryClient`] verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no such edition here.
    Unknown,
    /// The client has the newest one.
    Current,
    /// An edition, as [`SignedEdition::encode`] writes it.
    Full(Vec<u8>),
    /// A difference, as [`EditionDiff::encode`] writes it.
    Diff(Vec<u8>),
    /// Changes of members, the oldest first.
    Successions(Vec<Succession>),
}

impl Request {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Full => out.u8(1),
            Self::Diff { base } => {
                out.u8(2);
                out.raw(base);
            }
            Self::ByHash { hash } => {
                out.u8(3);
                out.raw(hash);
            }
            Self::Successions { after } => {
                out.u8(4);
                out.u64(*after);
            }
        }
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// When they are no request.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut input = Reader::new(bytes);
        let request = match input.u8()? {
            1 => Self::Full,
            2 => Self::Diff { base: input.array()? },
            3 => Self::ByHash { hash: input.array()? },
            4 => Self::Successions { after: input.u64()? },
            _ => return Err(ReadError::Range),
        };
        input.end()?;
        Ok(request)
    }
}

impl Answer {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Unknown => out.u8(0),
            Self::Current => out.u8(1),
            Self::Full(bytes) => {
                out.u8(2);
                out.bytes(bytes);
            }
            Self::Diff(bytes) => {
                out.u8(3);
                out.bytes(bytes);
            }
            Self::Successions(successions) => {
                out.u8(4);
                out.count(successions.len());
                successions.iter().for_each(|succession| out.bytes(&succession.encode()));
            }
        }
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// When they are no answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut input = Reader::new(bytes);
        let answer = match input.u8()? {
            0 => Self::Unknown,
            1 => Self::Current,
            2 => Self::Full(input.bytes(EDITION_BYTES_MAX)?.to_vec()),
            3 => Self::Diff(input.bytes(EDITION_BYTES_MAX)?.to_vec()),
            4 => {
                let mut successions = Vec::new();
                for _ in 0..input.count(SUCCESSIONS_ANSWERED)? {
                    successions.push(Succession::decode(input.bytes(SUCCESSION_BYTES_MAX)?)?);
                }
                Self::Successions(successions)
            }
            _ => return Err(ReadError::Range.into()),
        };
        input.end()?;
        Ok(answer)
    }
}

/// The newest editions, for whoever asks: members and relays have one each.
#[derive(Debug, Clone, Default)]
pub struct Keeper {
    /// The newest at the end.
    editions: VecDeque<SignedEdition>,
    successions: VecDeque<Succession>,
    /// From a base to the newest edition; the newest at the end.
    diffs: VecDeque<([u8; 32], Answer)>,
}

impl Keeper {
    /// Keeps a verified edition. One that is not newer than all others, but for more signatures, is not kept.
    pub fn keep(&mut self, edition: SignedEdition) {
        let name = edition.edition().name();
        let newest = self.editions.back().map(|newest| newest.edition().name());
        if newest == Some(name) {
            self.editions.pop_back();
        } else if newest.is_some_and(|newest| newest.index >= name.index) {
            return;
        }
        self.diffs.clear();
        self.editions.push_back(edition);
        if self.editions.len() > EDITIONS_KEPT {
            self.editions.pop_front();
        }
    }

    /// Keeps a change of members; of more than a directory has, the oldest goes.
    pub fn keep_succession(&mut self, succession: Succession) {
        self.successions.push_back(succession);
        if self.successions.len() > SUCCESSIONS_MAX {
            self.successions.pop_front();
        }
    }

    /// The newest edition.
    pub fn newest(&self) -> Option<&SignedEdition> {
        self.editions.back()
    }

    /// What a client gets.
    pub fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Full => self.newest().map_or(Answer::Unknown, |edition| Answer::Full(edition.encode())),
            Request::Diff { base } => self.diff(base),
            Request::ByHash { hash } => {
                self.find(hash).map_or(Answer::Unknown, |edition| Answer::Full(edition.encode()))
            }
            Request::Successions { after } => {
                let term = |succession: &&Succession| {
                    succession.electorate().is_some_and(|electorate| electorate.term() > *after)
                };
                let later = self.successions.iter().filter(term).take(SUCCESSIONS_ANSWERED);
                Answer::Successions(later.cloned().collect())
            }
        }
    }

    fn find(&self, hash: &[u8; 32]) -> Option<&SignedEdition> {
        self.editions.iter().rev().find(|edition| edition.edition().hash() == *hash)
    }

    fn diff(&mut self, base: &[u8; 32]) -> Answer {
        let Some(newest) = self.newest() else { return Answer::Unknown };
        if newest.edition().hash() == *base {
            return Answer::Current;
        }
        if let Some((_, answer)) = self.diffs.iter().find(|(known, _)| known == base) {
            return answer.clone();
        }
        let Some(old) = self.find(base) else { return Answer::Full(newest.encode()) };
        let (diff, full) = (EditionDiff::between(old.edition(), newest).encode(), newest.encode());
        let answer = if diff.len() < full.len() { Answer::Diff(diff) } else { Answer::Full(full) };
        self.diffs.push_back((*base, answer.clone()));
        if self.diffs.len() > DIFFS_KEPT {
            self.diffs.pop_front();
        }
        answer
    }
}
