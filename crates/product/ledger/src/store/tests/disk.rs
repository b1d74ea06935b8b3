//! A disk in memory, whose power can fail between any two operations.

use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;

/// Clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Platter {
    /// What a power failure leaves for certain.
    synced: Vec<u8>,
    /// What readers see: `synced` and all of `unsynced`.
    cached: Vec<u8>,
    unsynced: Vec<Operation>,
    /// Writes, changes of length and syncs until the power fails.
    left: u64,
    /// Whether a sync makes anything lasting.
    is_honest: bool,
}

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// A disk with this content, whose power never fails.
    pub(super) fn new(content: Vec<u8>) -> Self {
        let platter =
            Platter { synced: content.clone(), cached: content, unsynced: Vec::new(), left: u64::MAX, is_honest: true };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// The power fails after this number of operations; then every operation is an error.
    pub(super) fn failing_after(self, operations: u64) -> Self {
        self.platter().left = operations;
        self
    }

    /// A sync returns at once and keeps nothing.
    pub(super) fn lying(self) -> Self {
        self.platter().is_honest = false;
        self
    }

    /// Whether the power has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.platter().left == 0
    }

    /// What a reader of the running machine sees.
    pub(super) fn content(&self) -> Vec<u8> {
        self.platter().cached.clone()
    }

    /// What is found when the power is back: all that was synced, and of the rest any sectors, in any order.
    pub(super) fn after_power_failure(&self, mut chance: impl FnMut() -> bool) -> Vec<u8> {
        let platter = self.platter();
        let mut found = platter.synced.clone();
        for operation in &platter.unsynced {
            match operation {
                Operation::Length(length) if chance() => found.resize(*length, 0),
                Operation::Length(_) => {}
                Operation::Write(offset, bytes) => {
                    for (sector, piece) in bytes.chunks(SECTOR).enumerate() {
                        let start = offset + sector * SECTOR;
                        let fits = start + piece.len() <= found.len();
                        if fits && chance() {
                            found[start..start + piece.len()].copy_from_slice(piece);
                        }
                    }
                }
            }
        }
        found
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The platter for one more operation, while there is power.
    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        platter.left = platter.left.checked_sub(1).ok_or_else(no_power)?;
        Ok(platter)
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power has failed")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = platter.cached.get(start..).and_then(|tail| tail.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.powered()?;
        let length = usize::try_from(len).map_err(io::Error::other)?;
        platter.cached.resize(length, 0);
        platter.unsynced.push(Operation::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.powered()?;
        if platter.is_honest {
            platter.synced = platter.cached.clone();
            platter.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.powered()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = platter.cached.get_mut(start..).and_then(|tail| tail.get_mut(..data.len()));
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        platter.unsynced.push(Operation::Write(start, data.to_vec()));
        Ok(())
    }

    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}
