//! What peers did that they must not, counted for `status`.

use std::collections::BTreeMap;

/// One thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Bytes that are no frames, or frames out of place.
    Garbage,
    /// A length or a message beyond what may be sent.
    TooLong,
    /// A frame of another term; counted by whoever reads frames.
    WrongTerm,
    /// A hello for another node, of another node, or of another cluster.
    ForeignId,
    /// It dialled although its node id is the lower one.
    WrongDirection,
    /// The connection stood, but nothing or not enough was said on it in time.
    Silent,
    /// It took so little that the queue for it was full.
    Overflow,
}

impl Fault {
    /// Every one, in the order of `status`.
    pub const ALL: [Self; 7] = [
        Self::Garbage,
        Self::TooLong,
        Self::WrongTerm,
        Self::ForeignId,
        Self::WrongDirection,
        Self::Silent,
        Self::Overflow,
    ];

    /// Its name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::TooLong => "too_long",
            Self::WrongTerm => "wrong_term",
            Self::ForeignId => "foreign_id",
            Self::WrongDirection => "wrong_direction",
            Self::Silent => "silent",
            Self::Overflow => "overflow",
        }
    }
}

/// How often each fault was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<Fault, u64>);

impl Counters {
    /// How often this one was.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, fault: Fault) {
        let count = self.0.entry(fault).or_insert(0);
        *count = count.saturating_add(1);
    }
}
