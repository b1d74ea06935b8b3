//! One log file, at its end.

use super::error::DiskError;
use super::files::{Disk, create, on};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room is taken ahead in steps of so many bytes, so that a sync need not write the file's length, and a full disk is noticed
/// before a record is half written. Behind the last record of the segment that is written stand at most as many zeros.
pub const PREALLOCATE_BYTES: u64 = 16 << 20;

/// Records of one call are put together up to this size, for one write.
const GATHER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    disk: Arc<dyn Disk>,
    end: u64,
    /// Up to where room is taken.
    allocated: u64,
    gathered: Vec<u8>,
}

impl Segment {
    pub(super) fn create(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, DiskError> {
        let file = create(path)?;
        Ok(Self { path: path.to_owned(), file, disk, end: 0, allocated: 0, gathered: Vec::new() })
    }

    /// Cuts the file at `end`, and syncs it.
    pub(super) fn resume(path: &Path, end: u64, disk: Arc<dyn Disk>) -> Result<Self, DiskError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(on("open", path))?;
        file.set_len(end).map_err(on("cut", path))?;
        disk.sync(&file).map_err(on("sync", path))?;
        Ok(Self { path: path.to_owned(), file, disk, end, allocated: end, gathered: Vec::new() })
    }

    pub(super) fn position(&self) -> u64 {
        self.end
    }

    pub(super) fn append(&mut self, records: &[&[u8]]) -> Result<u64, DiskError> {
        let begin = self.end;
        let length: usize = records.iter().map(|record| record.len()).sum();
        self.reserve(begin + length as u64)?;
        if let [record] = records {
            self.write(record)?;
            return Ok(begin);
        }
        self.gathered.clear();
        for record in records {
            if !self.gathered.is_empty() && self.gathered.len() + record.len() > GATHER_BYTES {
                self.flush()?;
            }
            self.gathered.extend_from_slice(record);
        }
        self.flush()?;
        Ok(begin)
    }

    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.disk.sync(&self.file).map_err(on("sync", &self.path))
    }

    /// Gives back the room that was not used.
    pub(super) fn end(&self) -> Result<(), DiskError> {
        self.file.set_len(self.end).map_err(on("cut", &self.path))
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let written = self.write(&gathered);
        gathered.clear();
        gathered.shrink_to(GATHER_BYTES);
        self.gathered = gathered;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.write_at(&self.file, bytes, self.end).map_err(on("write", &self.path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn reserve(&mut self, end: u64) -> Result<(), DiskError> {
        if end > self.allocated {
            let until = end.next_multiple_of(PREALLOCATE_BYTES);
            let taken = self.disk.allocate(&self.file, self.allocated, until - self.allocated);
            taken.map_err(on("take room for", &self.path))?;
            self.allocated = until;
        }
        Ok(())
    }
}
