//! A ledger of a test, in a folder of its own.

use ledger::{CreateError, LedgerId, Store};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The node whose ledger it is.
pub(crate) const NODE: [u8; 32] = [7; 32];
/// When it is made, in UTC seconds.
pub(crate) const START: u64 = 1_800_000_000;
/// The window that is asked for.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A folder of one test, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A fresh folder; `name` tells tests of one process apart.
    pub(crate) fn new(name: &str) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("hushwire-ledger-{name}-{}", std::process::id()));
        // Of a process that was killed and had the same number.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where its ledger is, once there is one.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("entry.ledger")
    }

    /// Makes its ledger.
    pub(crate) fn make_ledger(&self) -> Result<PathBuf, CreateError> {
        let path = self.ledger();
        Store::create(&path, NODE, LedgerId::from_bytes([9; 16]), START)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
