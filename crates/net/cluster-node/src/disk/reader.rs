//! Reading what was written, beside the writer.

use super::SegmentNumber;
use super::error::DiskError;
use super::files::{Layout, on};
use std::fs::File;
use std::os::unix::fs::FileExt;
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

    /// At most `length` bytes of a segment from the byte `at` on; none behind its end.
    ///
    /// # Errors
    /// When the segment is not there or cannot be read.
    pub fn read(&mut self, number: SegmentNumber, at: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.read_of(number, false, at, length)
    }

    /// At most `length` bytes of a segment's checkpoint from the byte `at` on; none behind its end.
    ///
    /// # Errors
    /// When the checkpoint is not there or cannot be read.
    pub fn read_checkpoint(&mut self, number: SegmentNumber, at: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.read_of(number, true, at, length)
    }

    fn read_of(
        &mut self,
        number: SegmentNumber,
        is_checkpoint: bool,
        at: u64,
        length: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let path = if is_checkpoint { self.layout.checkpoint(number) } else { self.layout.log(number) };
        let file = match self.open.take() {
            Some((open, kind, file)) if (open, kind) == (number, is_checkpoint) => file,
            _ => File::open(&path).map_err(on("open", &path))?,
        };
        // What a caller asks for is bounded by what is there.
        let length_of_file = file.metadata().map_err(on("read", &path))?.len();
        let end = self.written.end_of(number).filter(|_| !is_checkpoint).unwrap_or(length_of_file);
        let there = end.min(length_of_file).saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX).min(length)];
        file.read_exact_at(&mut bytes, at).map_err(on("read", &path))?;
        self.open = Some((number, is_checkpoint, file));
        Ok(bytes)
    }
}
