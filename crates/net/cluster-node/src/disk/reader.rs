//! Reading what was written, beside the writer.

use super::SegmentNumber;
use super::error::DiskError;
use super::files::{Layout, on};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Reads segments and checkpoints. It keeps the file open that it read last, so a segment that is removed meanwhile can
/// still be read to its end.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    open: Option<(SegmentNumber, bool, File)>,
}

impl Reader {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, open: None }
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
        let there = file.metadata().map_err(on("read", &path))?.len().saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX).min(length)];
        file.read_exact_at(&mut bytes, at).map_err(on("read", &path))?;
        self.open = Some((number, is_checkpoint, file));
        Ok(bytes)
    }
}
