//! What a member keeps on its own disk: its promise, what relays handed to it, and the newest state for operators who need one outside
//! the log.

use relay_directory::Promise;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the promise's file.
const PROMISE: &str = "promise";
/// Name of the state's file.
const STATE: &str = "directory.state";
/// Name of the file of what relays handed over.
const HELD: &str = "held";
/// Its bytes at most; a longer one is none. That is far more than a member may hold.
const HELD_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a promise's file at most; a longer one is none.
const PROMISE_BYTES_MAX: u64 = 1_024;
/// Mode of the files.
const MODE: u32 = 0o600;

/// Why a member does not begin, or cannot go on.
#[derive(Debug, Error)]
pub enum StateFilesError {
    /// There is no promise where there must be one.
    #[error(
        "{} is not there, and this member has signed before: it may have promised anything. Never begin with an empty one; bring \
         the folder back, or let the node come in again with new keys",
        .0.display()
    )]
    Lost(PathBuf),
    /// The promise is none.
    #[error("{} holds no promise; bring it back, or let the node come in again with new keys", .0.display())]
    Unusable(PathBuf),
    /// A defect.
    #[error("a write ended unexpectedly: this is a fault of the program, please report it")]
    Task,
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The folder of a member.
#[derive(Debug, Clone)]
pub struct StateFiles {
    folder: PathBuf,
}

impl StateFiles {
    /// Opens the folder of a member that ran before, and reads its promise.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<(Self, Promise), StateFilesError> {
        let path = folder.join(PROMISE);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(PROMISE_BYTES_MAX).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StateFilesError::Lost(path)),
            Err(error) => return Err(StateFilesError::System { path, error }),
            Ok(_) => {}
        }
        let promise = Promise::decode(&bytes).map_err(|_| StateFilesError::Unusable(path))?;
        Ok((Self { folder: folder.to_owned() }, promise))
    }

    /// Makes the folder of a member that has never signed anything. One that is there is opened: whoever begins anew outside the
    /// log keeps its promise.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(folder: &Path) -> Result<(Self, Promise), StateFilesError> {
        std::fs::create_dir_all(folder).map_err(|error| StateFilesError::System { path: folder.to_owned(), error })?;
        match Self::open(folder) {
            Err(StateFilesError::Lost(_)) => {
                let files = Self { folder: folder.to_owned() };
                files.store_promise(&Promise::default())?;
                Ok((files, Promise::default()))
            }
            other => other,
        }
    }

    /// Puts a promise on the disk. When it returns without an error, it is there after a crash.
    ///
    /// # Errors
    /// When it may not be; the signature must not leave then.
    pub fn store_promise(&self, promise: &Promise) -> Result<(), StateFilesError> {
        self.replace(PROMISE, &promise.encode())
    }

    /// Keeps what relays have handed over.
    ///
    /// # Errors
    /// When it cannot be written; what was written before is still there.
    pub fn store_held(&self, held: &[u8]) -> Result<(), StateFilesError> {
        self.replace(HELD, held)
    }

    /// What relays had handed over in an earlier run; `None` when there is nothing, or nothing that can be read. A member that forgets
    /// it is only less strict.
    pub fn held(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.folder.join(HELD)).ok()?;
        file.take(HELD_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Keeps the newest state: when the log cannot go on, operators begin a term with that of the member who is farthest.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there.
    pub fn store_state(&self, state: &[u8]) -> Result<(), StateFilesError> {
        self.replace(STATE, state)
    }

    /// A new file in the place of an old one: after a crash there is one or the other.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StateFilesError> {
        let (path, fresh) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let write = || {
            let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| StateFilesError::System { path: path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use network_document::EditionName;

    #[test]
    fn a_promise_is_there_after_a_restart_and_never_made_up() {
        let folder = std::env::temp_dir().join(format!("hushwire-promise-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        assert!(matches!(StateFiles::open(&folder), Err(StateFilesError::Lost(_))));
        let (files, promise) = StateFiles::create(&folder).expect("a new folder");
        assert_eq!(promise, Promise::default());
        let promise = Promise { signed: Some(EditionName { index: 7, hash: [7; 32] }), published: None };
        files.store_promise(&promise).expect("it is written");
        assert_eq!(StateFiles::open(&folder).expect("it is there").1, promise);
        assert_eq!(StateFiles::create(&folder).expect("it is there").1, promise, "nobody begins twice");
        std::fs::write(folder.join(PROMISE), b"HWSIGN01").expect("a file");
        assert!(matches!(StateFiles::create(&folder), Err(StateFilesError::Unusable(_))));
        std::fs::remove_dir_all(&folder).expect("it is there");
    }
}
