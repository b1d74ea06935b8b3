//! Reading what was written, beside the writer.

use super::SegmentNumber;
use super::error::DiskError;
use super::files::{Layout, on};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Up to where the segment that is written holds records, for readers beside the writer.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<Option<(SegmentNumber, u64)>>>);

impl Written {
    pub(super) fn note(&self, number: SegmentNumber, end: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, end));
    }

    /// The end of this segment, if it is the one that is written.
    fn end_of(&self, number: SegmentNumber) -> Option<u64> {
        let written = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.filter(|(written, _)| *written == number).map(|(_, end)| end)
    }
}

/// Reads segments and checkpoints. It keeps the file open that it read last, so a segment that is removed meanwhile can
/// still be read to its end.
///
/// A clone has nothing open.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    written: Written,
    open: Option<(SegmentNumber, bool, File)>,
}

impl Reader {
    pub(super) fn new(layout: Layout, written: Written) -> Self {
        Self { layout, written, open: None }
    }

    /// Every segment that is whole, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<SegmentNumber>, DiskError> {
        self.layout.segments()
    }

    /// At most `length` bytes of a segment from the byte `at` on; none behind its end.
    ///
    /// # Errors
    /// When the segment is not there or cannot be read.
    pub fn read(&mut self, number: SegmentNumber, at: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let there = self.there(number, false, at)?;
        self.read_of(number, false, at, there.min(length))
    }

    /// Fills a buffer with a segment's bytes from the byte `at` on, and says how many there were.
    ///
    /// # Errors
    /// When the segment is not there or cannot be read.
    pub fn read_into(&mut self, number: SegmentNumber, at: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let count = self.there(number, false, at)?.min(buffer.len());
        self.fill(number, false, at, &mut buffer[..count])?;
        Ok(count)
    }

    /// At most `length` bytes of a segment's checkpoint from the byte `at` on; none behind its end.
    ///
    /// # Errors
    /// When the checkpoint is not there or cannot be read.
    pub fn read_checkpoint(&mut self, number: SegmentNumber, at: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let there = self.there(number, true, at)?;
        self.read_of(number, true, at, there.min(length))
    }

    fn read_of(
        &mut self,
        number: SegmentNumber,
        is_checkpoint: bool,
        at: u64,
        length: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; length];
        self.fill(number, is_checkpoint, at, &mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes there are from the byte `at` on. What a caller asks for is bounded by it before anything is taken.
    fn there(&mut self, number: SegmentNumber, is_checkpoint: bool, at: u64) -> Result<usize, DiskError> {
        let written = self.written.end_of(number).filter(|_| !is_checkpoint);
        let (path, file) = self.open(number, is_checkpoint)?;
        let length = file.metadata().map_err(on("read", &path))?.len();
        let end = written.unwrap_or(length).min(length);
        Ok(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX))
    }

    fn fill(&mut self, number: SegmentNumber, is_checkpoint: bool, at: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        let (path, file) = self.open(number, is_checkpoint)?;
        file.read_exact_at(bytes, at).map_err(on("read", &path))
    }

    fn open(&mut self, number: SegmentNumber, is_checkpoint: bool) -> Result<(PathBuf, &File), DiskError> {
        let path = if is_checkpoint { self.layout.checkpoint(number) } else { self.layout.log(number) };
        let file = match self.open.take() {
            Some((open, kind, file)) if (open, kind) == (number, is_checkpoint) => file,
            _ => File::open(&path).map_err(on("open", &path))?,
        };
        let (_, _, file) = self.open.insert((number, is_checkpoint, file));
        Ok((path, file))
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(self.layout.clone(), self.written.clone())
    }
}
