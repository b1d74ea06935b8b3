//! The file of a term's log, byte-exact: docs/spec/cluster-log.md.
//!
//! A file is a header and then *batches*, each with one checksum. A batch holds the records of one turn. Each batch says up
//! to where the file was synced before it was written, so a reader can tell a torn end, which is cut, from damage to
//! what had been synced, which is refused.

use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::entry::Entry;
use crate::ids::{ClusterId, LogIndex, Term};
use identity::NodeId;
use wire::encoding::{ReadError, Reader, WriteBytes};

mod decode;
mod places;
mod recovery;

pub use decode::{DecodeError, LogDecoder, Tail};
pub use places::{PlaceError, Places};
pub use recovery::Recovered;

/// Length of a file's header, in bytes.
pub const HEADER_LEN: usize = 88;

/// Length of what stands before a batch's records, in bytes.
pub const BATCH_HEADER_LEN: usize = 20;

/// Longest batch, in bytes. A writer never makes one, since terms end long before; a reader takes a longer one for damage.
pub const BATCH_BYTES_MAX: usize = 1 << 28;

const MAGIC: [u8; 8] = *b"HWTERM\0\x01";

const BATCH_MARKER: [u8; 4] = *b"HWb\xa7";

const HAS_PROMISE: u8 = 1;
const HAS_ACCEPTED: u8 = 2;
const HAS_DECIDED: u8 = 4;
const HAS_ENTRIES: u8 = 8;

/// A round of the engine: its ballot without the configuration, which is the term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// The ballot's number.
    pub number: u32,
    /// The engine's priority, 0 here.
    pub priority: u32,
    /// The engine's id of whoever leads it, from 1; 0 in the round before any.
    pub engine_id: u64,
}

/// What changed, all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The round that was promised.
    pub promise: Option<Round>,
    /// The round in which entries were accepted.
    pub accepted: Option<Round>,
    /// How many entries are decided.
    pub decided: Option<LogIndex>,
    /// The log is cut at the index, and these entries follow there.
    pub entries: Option<(LogIndex, Vec<Entry>)>,
}

/// A file's header: whose log and of which term it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node whose file it is.
    pub node: NodeId,
    /// The term.
    pub term: Term,
}

impl Header {
    /// The first bytes of the file.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.raw(&MAGIC);
        out.raw(&self.cluster.0);
        out.raw(&self.node.0);
        out.u64(self.term.0);
        out.u32(0);
        let checksum = crate::checksum::crc32c(&[&out]);
        out.u32(checksum);
        out.try_into().expect("the parts add up to the header's length")
    }
}

impl Round {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u32(self.number);
        out.u32(self.priority);
        out.u64(self.engine_id);
    }

    fn decode(bytes: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { number: bytes.u32()?, priority: bytes.u32()?, engine_id: bytes.u64()? })
    }
}

impl Record {
    /// Appends the record to the records of a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = [
            (self.promise.is_some(), HAS_PROMISE),
            (self.accepted.is_some(), HAS_ACCEPTED),
            (self.decided.is_some(), HAS_DECIDED),
            (self.entries.is_some(), HAS_ENTRIES),
        ];
        out.u8(flags.iter().filter(|(there, _)| *there).map(|(_, flag)| flag).sum());
        self.promise.iter().chain(&self.accepted).for_each(|round| round.encode(out));
        if let Some(decided) = self.decided {
            out.u64(decided.0);
        }
        if let Some((from, entries)) = &self.entries {
            out.u64(from.0);
            out.u32(u32::try_from(entries.len()).expect("a term has far fewer entries"));
            entries.iter().for_each(|entry| out.bytes(entry.as_bytes()));
        }
    }

    fn decode(bytes: &mut Reader<'_>) -> Result<Self, ReadError> {
        let flags = bytes.u8()?;
        if flags == 0 || flags > (HAS_PROMISE | HAS_ACCEPTED | HAS_DECIDED | HAS_ENTRIES) {
            return Err(ReadError::Range);
        }
        let mut record = Self::default();
        if flags & HAS_PROMISE != 0 {
            record.promise = Some(Round::decode(bytes)?);
        }
        if flags & HAS_ACCEPTED != 0 {
            record.accepted = Some(Round::decode(bytes)?);
        }
        if flags & HAS_DECIDED != 0 {
            record.decided = Some(LogIndex(bytes.u64()?));
        }
        if flags & HAS_ENTRIES != 0 {
            let (from, count) = (LogIndex(bytes.u64()?), bytes.u32()? as usize);
            // Each entry has a length of 4 bytes, so a count that cannot be true reserves nothing.
            let mut entries = Vec::with_capacity(count.min(bytes.remaining().len() / 4));
            for _ in 0..count {
                entries.push(Entry::from_bytes(bytes.bytes(CHECKPOINT_BYTES_MAX)?).map_err(|_| ReadError::Range)?);
            }
            record.entries = Some((from, entries));
        }
        Ok(record)
    }
}

/// Puts header and checksum before the records of one batch. `synced_before` is the file's length that had been synced
/// when the batch was made.
pub fn encode_batch(records: &[u8], synced_before: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BATCH_HEADER_LEN + records.len());
    out.raw(&BATCH_MARKER);
    out.u32(u32::try_from(records.len()).expect("a batch is bounded by its term"));
    out.u64(synced_before);
    let checksum = crate::checksum::crc32c(&[&out, records]);
    out.u32(checksum);
    out.raw(records);
    out
}

pub(crate) mod fuzz {
    //! Any bytes as a log file.

    use super::*;

    /// Reads the input as a file in pieces of several lengths; each gives the same, and what is read is written as it was.
    ///
    /// # Panics
    /// When that does not hold: that is the finding.
    pub fn log_file(input: &[u8]) {
        let header = Header { cluster: ClusterId([1; 32]), node: NodeId([2; 32]), term: Term(3) };
        let whole = read(input, header, usize::MAX);
        for piece in [1, 7, 64] {
            assert_eq!(read(input, header, piece), whole, "in pieces of {piece}");
        }
        let Ok((records, tail)) = whole else { return };
        assert!(tail.length <= input.len() as u64 && tail.cut == input.len() as u64 - tail.length);
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Record::decode(&mut reader), Ok(record), "a record is read as it was written");
        }
    }

    fn read(input: &[u8], header: Header, piece: usize) -> Result<(Vec<Record>, Tail), DecodeError> {
        let mut decoder = LogDecoder::new(header);
        let mut records = Vec::new();
        for bytes in input.chunks(piece.min(input.len().max(1))) {
            decoder.push(bytes);
            while let Some((_, batch)) = decoder.poll_batch()? {
                records.extend(batch);
            }
        }
        Ok((records, decoder.finish()?))
    }
}
