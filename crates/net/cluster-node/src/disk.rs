//! The log's files: append-only segments, each beside the checkpoint that it begins with, with one sync for as many records
//! as one wants.
//!
//! Records are bytes; what they mean, and where the good ones end after a crash, is the core's to say. A folder belongs to
//! one node of one cluster. What fails here is final: after a failed write or sync nobody knows what is on the disk, so
//! everything later is refused, and the process has to end. The next start reads what is really there.

mod error;
mod files;
mod reader;
mod segment;

pub use error::{DiskError, OpenError, ResumeError};
pub use reader::Reader;
pub use segment::PREALLOCATE_BYTES;

use files::{Disk, Kernel, Layout};
use identity::NodeId;
use reader::Written;
use segment::Segment;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Bytes of one piece that [`Store::resume`] hands over.
const PIECE: usize = 1 << 20;

/// The number of a segment: that of the term whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentNumber(pub u64);

/// Whose log it is. It stands in the folder, and another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: [u8; 32],
    /// The node.
    pub node: NodeId,
}

/// The files of one node's log. One process at a time has them open.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    disk: Arc<dyn Disk>,
    /// Locked as long as the store is open.
    _lock: File,
    /// The segment that is written.
    current: Option<(SegmentNumber, Segment)>,
    written: Written,
    has_failed: bool,
}

impl Store {
    /// Opens the folder of a log, or makes it. What a crash left half made is removed.
    ///
    /// # Errors
    /// When the folder is another node's or cluster's, another process has it open, or the system refuses.
    pub fn open(folder: &Path, owner: Owner) -> Result<Self, OpenError> {
        Self::open_on(folder, owner, Arc::new(Kernel))
    }

    fn open_on(folder: &Path, owner: Owner, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let layout = Layout::new(folder);
        layout.make_folder()?;
        let lock = layout.lock()?;
        layout.check_owner(owner)?;
        layout.remove_unfinished()?;
        Ok(Self { layout, disk, _lock: lock, current: None, written: Written::default(), has_failed: false })
    }

    /// Every segment that is whole, oldest first. The newest one is the one to resume.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<SegmentNumber>, DiskError> {
        self.layout.segments()
    }

    /// Begins a segment: its checkpoint, and `header` as the first bytes of its log. All of it is on disk when this returns,
    /// or after a crash none of it. Later records go into this one.
    ///
    /// # Errors
    /// When the system refuses; that is final.
    pub fn begin(&mut self, number: SegmentNumber, checkpoint: &[u8], header: &[u8]) -> Result<(), DiskError> {
        self.guarded(|store| {
            // Whoever reads the segment before this one later finds it whole.
            if let Some((_, before)) = &store.current {
                before.sync()?;
            }
            let unfinished = store.layout.unfinished(number);
            store.layout.write_whole(&unfinished, checkpoint, &*store.disk)?;
            let mut segment = Segment::create(&store.layout.log(number), Arc::clone(&store.disk))?;
            segment.append(&[header])?;
            segment.sync()?;
            store.layout.publish(&unfinished, &store.layout.checkpoint(number))?;
            if let Some((_, before)) = store.current.take() {
                before.end()?;
            }
            store.written.note(number, segment.position());
            store.current = Some((number, segment));
            Ok(())
        })
    }

    /// Goes on with a segment after a start: hands all its bytes to `push`, in pieces and in order, zeros for which room was
    /// taken among them ([`PREALLOCATE_BYTES`]), then asks `finish` up to where they are good, cuts the file there, and syncs
    /// it: what was read may not have been on the disk yet. `state` goes through all of them.
    ///
    /// # Errors
    /// When `finish` refuses the bytes, in which case the file is as it was; or when the system refuses, which is final.
    pub fn resume<S, T, E>(
        &mut self,
        number: SegmentNumber,
        mut state: S,
        push: impl Fn(&mut S, &[u8]),
        finish: impl FnOnce(S) -> Result<(u64, T), E>,
    ) -> Result<T, ResumeError<E>> {
        let path = self.layout.log(number);
        let mut reader = self.reader();
        let mut at = 0;
        loop {
            let piece = reader.read(number, at, PIECE)?;
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
            push(&mut state, &piece);
        }
        let (good, found) = finish(state).map_err(ResumeError::Refused)?;
        self.guarded(|store| {
            let segment = Segment::resume(&path, good.min(at), Arc::clone(&store.disk))?;
            store.written.note(number, segment.position());
            store.current = Some((number, segment));
            Ok(())
        })?;
        Ok(found)
    }

    /// Appends records to the segment that is written, as they are, and says where the first one begins. They are on disk
    /// after the next [`Store::sync`].
    ///
    /// # Errors
    /// When the system refuses, which is final.
    ///
    /// # Panics
    /// Before [`Store::begin`] or [`Store::resume`].
    pub fn append(&mut self, records: &[&[u8]]) -> Result<u64, DiskError> {
        self.guarded(|store| {
            let (number, segment) = store.segment();
            let begin = segment.append(records)?;
            let (number, end) = (*number, segment.position());
            store.written.note(number, end);
            Ok(begin)
        })
    }

    /// Everything that was appended is on disk when this returns.
    ///
    /// # Errors
    /// When the system refuses. Whatever was appended since the last sync may or may not be on disk then, and a second
    /// attempt could not tell, so that is final.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.guarded(|store| store.segment().1.sync())
    }

    /// Where the next record begins.
    pub fn position(&self) -> u64 {
        self.current.as_ref().map_or(0, |(_, segment)| segment.position())
    }

    /// Removes every segment before this one, with its checkpoint, and says how many.
    ///
    /// # Errors
    /// When the system refuses. That is not final: what is left over is tried again the next time.
    pub fn remove_before(&mut self, number: SegmentNumber) -> Result<usize, DiskError> {
        let old: Vec<SegmentNumber> = self.segments()?.into_iter().filter(|segment| *segment < number).collect();
        for segment in &old {
            self.layout.remove(*segment)?;
        }
        self.layout.sync_folder()?;
        Ok(old.len())
    }

    /// The whole checkpoint of a segment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn checkpoint(&self, number: SegmentNumber) -> Result<Vec<u8>, DiskError> {
        self.layout.read_whole(&self.layout.checkpoint(number))
    }

    /// Reads beside the store, from wherever it is moved to.
    pub fn reader(&self) -> Reader {
        Reader::new(self.layout.clone(), self.written.clone())
    }

    fn segment(&mut self) -> &mut (SegmentNumber, Segment) {
        self.current.as_mut().expect("a segment is begun or resumed before anything is appended")
    }

    /// Lets nothing happen after a failure.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, DiskError>) -> Result<T, DiskError> {
        if self.has_failed {
            return Err(self.layout.failed_before());
        }
        let done = act(self);
        self.has_failed = done.is_err();
        done
    }
}

#[cfg(test)]
mod tests;
