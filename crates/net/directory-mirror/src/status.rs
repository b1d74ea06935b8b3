//! How a mirror stands, for people.

use network_document::{EditionName, NetworkDocument};
use std::path::PathBuf;

/// From here on a clock that differs from the directory's is warned of, in milliseconds.
pub const SKEW_WARNED_MS: u64 = 30_000;

/// How a mirror stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorStatus {
    /// The newest edition that was believed, ended or not.
    pub held: Option<HeldEdition>,
    /// Whether there is an edition to go by.
    pub is_valid: bool,
    /// When somebody last gave the edition of the interval, in milliseconds since 1970 UTC.
    pub fetched_ms: Option<u64>,
    /// When to ask next, in milliseconds since 1970 UTC.
    pub next_ms: u64,
    /// What is wrong, if anything is.
    pub error: Option<String>,
    /// Proofs that the directory has forked: the files that they were written to.
    pub forks: Vec<PathBuf>,
    /// The directory's time less this machine's, in milliseconds, as whoever was asked last says. The directory's time stands still
    /// between the words of its members, so it may lag.
    pub skew_ms: Option<i64>,
    /// Half of the time that the answer took, in milliseconds: by so much the number above may be wrong.
    pub skew_uncertain_ms: u64,
    /// Whether that is more than a clock may be off: it was warned of.
    pub clock_is_wrong: bool,
    /// What happened since the start.
    pub counts: Counts,
}

impl MirrorStatus {
    /// What of [`MirrorStatus::skew_ms`] the time that the answer took does not explain: nobody is told that a clock is wrong because a
    /// machine or a path is slow. 0 when nothing is known.
    pub(crate) fn sure_skew_ms(&self) -> i64 {
        let skew_ms = self.skew_ms.unwrap_or(0);
        let sure_ms = skew_ms.unsigned_abs().saturating_sub(self.skew_uncertain_ms).min(i64::MAX as u64);
        skew_ms.signum() * sure_ms.cast_signed()
    }
}

/// An edition, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldEdition {
    /// Which.
    pub name: EditionName,
    /// Until when it may be gone by, in milliseconds since 1970 UTC.
    pub valid_until_ms: u64,
    /// How many relays it has.
    pub relays: usize,
    /// The term of those who signed it.
    pub term: u64,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Editions that were believed.
    pub editions: u64,
    /// Answers to requests for editions or changes of members.
    pub answers: u64,
    /// Streams that did not open, broke, or carried no answer.
    pub broken: u64,
    /// Answers that were not believed.
    pub refused: u64,
}

impl HeldEdition {
    /// `None` for a document of operators.
    pub(crate) fn of(document: &NetworkDocument) -> Option<Self> {
        let edition = document.as_edition()?.edition();
        Some(Self {
            name: edition.name(),
            valid_until_ms: edition.valid_until_ms(),
            relays: edition.relays().len(),
            term: edition.electorate().term(),
        })
    }
}
