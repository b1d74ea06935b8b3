//! The file of the network's document: read at the start, and looked at while the node runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use network_document::{DOCUMENT_BYTES_MAX, LoadError, NetworkDocument};
use serde_json::Value;
use thiserror::Error;

/// How often the file is looked at.
pub const DOCUMENT_LOOK: Duration = Duration::from_secs(1);

/// Why a file has no document. Each text names the file.
#[derive(Debug, Error)]
pub enum DocumentFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else, or something that does not count.
    #[error("{}, {error}", path.display())]
    Load {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: LoadError,
    },
}

/// Reads a file that holds a document in either of its forms.
///
/// # Errors
/// [`DocumentFileError`].
pub fn read_document(path: &Path) -> Result<NetworkDocument, DocumentFileError> {
    let mut bytes = Vec::new();
    // No more than a document may have.
    let taken = File::open(path).and_then(|file| file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    taken.map_err(|source| DocumentFileError::Read { path: path.to_owned(), source })?;
    NetworkDocument::load(&bytes).map_err(|error| DocumentFileError::Load { path: path.to_owned(), error })
}

/// What tells whether a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let about = path.metadata().ok()?;
        let changed = (about.mtime(), about.mtime_nsec());
        Some(Self { device: about.dev(), inode: about.ino(), length: about.len(), changed })
    }
}

/// Looks at the file of a document, and at one beside it that must fit.
#[derive(Debug)]
pub struct DocumentWatch {
    file: PathBuf,
    beside: Option<PathBuf>,
    seen: Option<[Option<Stamp>; 2]>,
}

/// What a look at the file has brought.
#[derive(Debug)]
pub enum Found {
    /// The file is as it was, or says what is in force.
    Nothing,
    /// A document that may take the place of the one in force.
    Later(Box<NetworkDocument>),
    /// Something that may not, in one sentence with what to do.
    Refused(String),
}

impl DocumentWatch {
    /// Of a file that was read, and of one that is read with it, such as a relay's secrets. The first look reads them again: they may
    /// have changed meanwhile.
    pub fn new(file: PathBuf, beside: Option<PathBuf>) -> Self {
        Self { file, beside, seen: None }
    }

    /// Which file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is new in the file, if one of the two has changed since the last look.
    pub fn look(&mut self, in_force: &NetworkDocument) -> Found {
        let stamps = [Stamp::of(&self.file), self.beside.as_deref().and_then(Stamp::of)];
        if self.seen.replace(stamps) == Some(stamps) {
            return Found::Nothing;
        }
        self.read(in_force)
    }

    /// The same whether it has changed or not.
    pub fn look_again(&mut self, in_force: &NetworkDocument) -> Found {
        self.seen = None;
        self.look(in_force)
    }

    fn read(&self, in_force: &NetworkDocument) -> Found {
        let document = match read_document(&self.file) {
            Ok(document) => document,
            Err(error) => return Found::Refused(error.to_string()),
        };
        if document.hash() == in_force.hash() {
            return Found::Nothing;
        }
        if document.supersedes(in_force) {
            return Found::Later(Box::new(document));
        }
        let file = self.file.display();
        Found::Refused(if document.network_id() == in_force.network_id() {
            let (found, known) = (number(&document), number(in_force));
            format!("{file} has {found}, which is not later than {known}, which is in force; put a later one there")
        } else {
            let (found, known) = (document.charter().name(), in_force.charter().name());
            format!(
                "{file} is of another network (`{found}`, {}) than the one in force (`{known}`, {}); restart the node if it is \
                 to change to that network",
                document.network_id(),
                in_force.network_id()
            )
        })
    }
}

/// Which document, for people.
fn number(document: &NetworkDocument) -> String {
    match document.as_edition() {
        Some(edition) => format!("edition {}", edition.edition().index()),
        None => format!("the document of interval {}", document.interval().0),
    }
}

/// What a node does with documents of its network.
#[derive(Clone)]
pub struct DocumentPlan {
    /// The file.
    pub file: PathBuf,
    /// A file that is read with it: when it changes, the document is looked at again.
    pub beside: Option<PathBuf>,
    /// The document that the boot message of the shaped process is made for.
    pub document: NetworkDocument,
    /// What the role makes of a later one.
    pub role: Arc<dyn DocumentRole>,
}

impl fmt::Debug for DocumentPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentPlan").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What a role of a node makes of a later document.
pub trait DocumentRole: Send + Sync {
    /// Whether the node can go by a document, and what its shaped process is told. `bytes`: its length in sealed memory.
    ///
    /// # Errors
    /// Why not, in one sentence with what to do.
    fn take(&self, document: &NetworkDocument, bytes: usize) -> Result<TakenDocument, String>;
}

/// A document that a role takes.
#[derive(Clone)]
pub struct TakenDocument {
    /// The order for the process that runs.
    pub order: Value,
    /// Where boot messages of later processes have something else (RFC 6901), and what.
    pub boot: Vec<(&'static str, Value)>,
}

#[cfg(test)]
mod tests;
