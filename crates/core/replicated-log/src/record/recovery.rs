//! From records back to what the engine must remember.

use super::{Record, Round};
use crate::ids::LogIndex;

/// What a log file amounts to. The entries stay in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The last promise.
    pub promise: Option<Round>,
    /// The last round in which entries were accepted.
    pub accepted: Option<Round>,
    /// How many entries are decided. It may be less than it was, as it is written without a sync.
    pub decided: LogIndex,
    /// How many entries there are.
    pub length: LogIndex,
    /// The file's good length, in bytes; [`super::Tail::length`].
    pub file_length: u64,
}

impl Recovered {
    /// The next record.
    pub fn handle_record(&mut self, record: &Record) {
        self.promise = record.promise.or(self.promise);
        self.accepted = record.accepted.or(self.accepted);
        if let Some((from, entries)) = &record.entries {
            self.length = LogIndex(from.0 + entries.len() as u64);
        }
        if let Some(decided) = record.decided {
            self.decided = decided;
        }
        self.decided = self.decided.min(self.length);
    }
}
