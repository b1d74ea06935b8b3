//! Reading a log file from its start, in pieces of any length.

use super::{BATCH_BYTES_MAX, BATCH_HEADER_LEN, BATCH_MARKER, HEADER_LEN, Header, Record};
use crate::checksum::crc32c;
use thiserror::Error;
use wire::encoding::Reader;

/// Why a log file is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The header is of another kind of file, another version, or altered.
    #[error("the file does not begin like a log of this version")]
    NoLog,
    /// A good header of another cluster, node or term.
    #[error("the log is of another cluster, node or term")]
    Foreign,
    /// Bytes were altered that had been synced: the disk, or somebody, changed them.
    #[error(
        "the log is damaged at byte {position}, in a part that had been synced: take this node out and add it anew"
    )]
    Damaged {
        /// Where the damaged batch begins.
        position: u64,
    },
    /// A batch with a good checksum that says nothing: written by another version.
    #[error("the log has a record of another version at byte {position}")]
    Unknown {
        /// Where its batch begins.
        position: u64,
    },
}

/// How a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The length that is good; the shell cuts the file there before it appends. 0: not even the header is whole, so
    /// write it anew.
    pub length: u64,
    /// How many bytes that cuts off: a write that a crash interrupted.
    pub cut: u64,
}

/// Reads a file: push bytes, poll batches, and finish at its end.
#[derive(Debug)]
pub struct LogDecoder {
    expected: Option<Header>,
    buffer: Vec<u8>,
    /// How much of the buffer is done.
    taken: usize,
    /// The place in the file of the buffer's first byte that is not done.
    position: u64,
    /// A bad batch was met; nothing behind it is given out.
    bad: bool,
}

enum Step {
    Batch { synced_before: u64, length: usize },
    Short,
    Bad,
}

impl LogDecoder {
    /// Reads from the file's first byte, and refuses another header than this one.
    pub fn new(expected: Header) -> Self {
        Self { expected: Some(expected), buffer: Vec::new(), taken: 0, position: 0, bad: false }
    }

    /// Reads from a place where a batch begins.
    pub(super) fn resume(position: u64) -> Self {
        Self { expected: None, buffer: Vec::new(), taken: 0, position, bad: false }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole batch: where it begins, and its records. `None`: push more, or finish at the end of the file.
    ///
    /// # Errors
    /// When the header is not the expected one, or a record is of another version.
    pub fn poll_batch(&mut self) -> Result<Option<(u64, Vec<Record>)>, DecodeError> {
        if !self.header()? || self.bad {
            return Ok(None);
        }
        let rest = &self.buffer[self.taken..];
        match step(rest) {
            Step::Short => Ok(None),
            Step::Bad => {
                self.bad = true;
                Ok(None)
            }
            Step::Batch { length, .. } => {
                let position = self.position;
                let records = records(&rest[BATCH_HEADER_LEN..length]).ok_or(DecodeError::Unknown { position })?;
                self.taken += length;
                self.position += length as u64;
                Ok(Some((position, records)))
            }
        }
    }

    /// The file ends here.
    ///
    /// # Errors
    /// When what cannot be read had been synced. One kind of damage looks like a torn write and is cut: that of the very
    /// last batch.
    pub fn finish(mut self) -> Result<Tail, DecodeError> {
        if !self.header()? {
            return Ok(Tail { length: 0, cut: self.buffer.len() as u64 });
        }
        let rest = &self.buffer[self.taken..];
        let good = self.position;
        for place in 1..rest.len() {
            if !rest[place..].starts_with(&BATCH_MARKER) {
                continue;
            }
            if let Step::Batch { synced_before, .. } = step(&rest[place..])
                && synced_before > good
            {
                return Err(DecodeError::Damaged { position: good });
            }
        }
        Ok(Tail { length: good, cut: rest.len() as u64 })
    }

    fn header(&mut self) -> Result<bool, DecodeError> {
        let Some(expected) = self.expected else { return Ok(true) };
        let Some(head) = self.buffer.first_chunk::<HEADER_LEN>() else {
            // A file that is made is empty first; what is there of the header must be right.
            let whole = expected.encode();
            let begun = self.buffer.len().min(super::MAGIC.len());
            return if self.buffer[..begun] == whole[..begun] { Ok(false) } else { Err(DecodeError::NoLog) };
        };
        let checksum: [u8; 4] = *head.last_chunk().expect("the header is longer");
        if !head.starts_with(&super::MAGIC) || checksum != crc32c(&[&head[..HEADER_LEN - 4]]).to_be_bytes() {
            return Err(DecodeError::NoLog);
        }
        if *head != expected.encode() {
            return Err(DecodeError::Foreign);
        }
        self.expected = None;
        self.taken = HEADER_LEN;
        self.position = HEADER_LEN as u64;
        Ok(true)
    }
}

/// What stands at the beginning of `rest`.
fn step(rest: &[u8]) -> Step {
    let begun = rest.len().min(BATCH_MARKER.len());
    if rest[..begun] != BATCH_MARKER[..begun] {
        return Step::Bad;
    }
    let Some(head) = rest.first_chunk::<BATCH_HEADER_LEN>() else { return Step::Short };
    let mut fields = Reader::new(&head[4..]);
    let (Ok(length), Ok(synced_before), Ok(checksum)) = (fields.u32(), fields.u64(), fields.u32()) else {
        return Step::Bad;
    };
    let length = length as usize;
    if length > BATCH_BYTES_MAX {
        return Step::Bad;
    }
    let Some(body) = rest[BATCH_HEADER_LEN..].get(..length) else { return Step::Short };
    if crc32c(&[&head[..16], body]) != checksum {
        return Step::Bad;
    }
    Step::Batch { synced_before, length: BATCH_HEADER_LEN + length }
}

fn records(body: &[u8]) -> Option<Vec<Record>> {
    let mut reader = Reader::new(body);
    let mut records = Vec::new();
    while !reader.remaining().is_empty() {
        records.push(Record::decode(&mut reader).ok()?);
    }
    Some(records)
}
