//! Where in the file an entry is, sparsely.

use super::{LogDecoder, Record};
use crate::entry::Entry;
use crate::ids::LogIndex;
use thiserror::Error;

/// At most so many entries lie between two marks, unless one batch has more.
const ENTRIES_BETWEEN_MARKS: u64 = 64;

/// At most so many bytes lie between two marks, unless one batch has more.
const BYTES_BETWEEN_MARKS: u64 = 1 << 16;

/// How much of the file is read at once.
const PIECE_BYTES: usize = 1 << 16;

/// A mark for about every 64th entry: 16 bytes of memory each. It follows every batch that is written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Sorted by both.
    marks: Vec<Mark>,
    end: LogIndex,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    from: LogIndex,
    position: u64,
}

/// Why entries could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PlaceError<Fault> {
    /// The file could not be read.
    #[error("reading the log failed")]
    File(Fault),
    /// The file does not have what the marks say.
    #[error("the log does not have the entries that were written")]
    Missing,
}

impl Places {
    /// A batch stands at `position` of the file and has these records.
    pub fn handle_batch(&mut self, position: u64, records: &[Record]) {
        let runs = records.iter().filter_map(|record| record.entries.as_ref());
        for (from, entries) in runs {
            self.handle_run(position, *from, entries.len());
        }
    }

    /// A batch at `position` cuts the log at `from` and puts `count` entries there.
    pub fn handle_run(&mut self, position: u64, from: LogIndex, count: usize) {
        let cuts = from < self.end;
        if cuts {
            self.truncate(from);
        }
        let near = self.marks.last().is_some_and(|last| {
            last.position == position
                || (from.0 - last.from.0 < ENTRIES_BETWEEN_MARKS && position - last.position < BYTES_BETWEEN_MARKS)
        });
        // Where the log was cut a mark must stand, or a reader would find the entries that do not count any more.
        if count > 0 && (cuts || !near) {
            self.marks.push(Mark { from, position });
        } else if cuts {
            // An empty run is a cut alone; the next entries begin a new stretch.
            self.marks.push(Mark { from, position });
        }
        self.end = LogIndex(from.0 + count as u64);
    }

    /// Forgets all entries from `end` on.
    pub fn truncate(&mut self, end: LogIndex) {
        let kept = self.marks.partition_point(|mark| mark.from < end);
        self.marks.truncate(kept);
        self.end = self.end.min(end);
    }

    /// How many entries the log has.
    pub fn end(&self) -> LogIndex {
        self.end
    }

    /// Reads the entries `from..to` with `read_at`, which fills a buffer from a position of the file and says how much of
    /// it there was.
    ///
    /// # Errors
    /// When `read_at` fails, or the file does not have them.
    pub fn read<Fault>(
        &self,
        from: LogIndex,
        to: LogIndex,
        mut read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, Fault>,
    ) -> Result<Vec<Entry>, PlaceError<Fault>> {
        let mut found = Vec::new();
        let mut wanted = from;
        while wanted < to {
            let next = self.marks.partition_point(|mark| mark.from <= wanted);
            let mark = self.marks[..next].last().ok_or(PlaceError::Missing)?;
            let until = self.marks.get(next).map_or(to, |following| following.from.min(to));
            let mut stretch = Stretch { from: wanted, to: until, entries: Vec::new(), behind: mark.from };
            let (mut decoder, mut position) = (LogDecoder::resume(mark.position), mark.position);
            let mut piece = vec![0; PIECE_BYTES];
            while !stretch.is_complete() {
                match decoder.poll_batch().map_err(|_| PlaceError::Missing)? {
                    Some((_, records)) => records.iter().for_each(|record| stretch.handle_record(record)),
                    None => {
                        let got = read_at(position, &mut piece).map_err(PlaceError::File)?;
                        if got == 0 {
                            return Err(PlaceError::Missing);
                        }
                        decoder.push(&piece[..got]);
                        position += got as u64;
                    }
                }
            }
            found.append(&mut stretch.entries);
            wanted = until;
        }
        Ok(found)
    }
}

/// The entries of one stretch between two marks.
struct Stretch {
    from: LogIndex,
    to: LogIndex,
    entries: Vec<Entry>,
    behind: LogIndex,
}

impl Stretch {
    /// Complete only with the batch that has the last of them: a later record of the same batch may have cut it again.
    fn is_complete(&self) -> bool {
        self.behind >= self.to
    }

    fn handle_record(&mut self, record: &Record) {
        let Some((from, entries)) = &record.entries else { return };
        self.entries.truncate(from.0.saturating_sub(self.from.0) as usize);
        let (skip, take) = (self.from.0.saturating_sub(from.0), self.to.0.saturating_sub(from.0));
        let wanted = entries.iter().take(take as usize).skip(skip as usize);
        self.entries.extend(wanted.cloned());
        self.behind = LogIndex(from.0 + entries.len() as u64);
    }
}
