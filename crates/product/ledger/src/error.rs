//! What goes wrong with a ledger, where, and what to do.

use shaping::ledger::Refusal;
use std::path::PathBuf;
use thiserror::Error;

/// A ledger could not be made.
#[derive(Debug, Error)]
pub enum CreateError {
    /// Something has that name already.
    #[error("{} exists already, and a ledger is never replaced; keep it, or choose another name", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot make the ledger {}: {reason}; see to its folder, or name another place", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system or the database said.
        reason: String,
    },
}

/// A ledger cannot be used. It is never replaced by an empty one: what was spent would be forgotten.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No file.
    #[error(
        "there is no ledger at {}; a node that has never released anything makes one with `hushwire ledger new`, \
         any other needs its own back", .0.display()
    )]
    Missing(PathBuf),
    /// A directory, pipe, device or symbolic link.
    #[error("{} is not a regular file; name the ledger itself", .0.display())]
    NotAFile(PathBuf),
    /// Others than its owner may use it.
    #[error(
        "the ledger {path} has mode {mode:04o}: other users can read or write what it says; run `chmod 600 {path}`",
        path = .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "the ledger {path} belongs to user {owner}, who could replace it; run `chown {me} {path}`, or run as its owner",
        path = .path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// Another process has it open.
    #[error("another process has the ledger {} open; stop the other node", .0.display())]
    InUse(PathBuf),
    /// Not a ledger, torn, altered, or of another version.
    #[error(
        "the ledger {} is damaged ({reason}); put back a copy that was made since the node last stopped, or, knowing \
         that what was spent is forgotten, move it away and run `hushwire ledger new`", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It belongs to another node.
    #[error("the ledger {} belongs to another node; set budget.ledger_file to this node's own", .0.display())]
    Foreign(PathBuf),
    /// The system does not let it be read.
    #[error(
        "cannot open the ledger {}: {source}; see that this user may read and write it, and that its disk has room",
        .path.display()
    )]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Nothing was reserved, so nothing may be released.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// The books do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An earlier write failed, and the file cannot be opened again.
    #[error(transparent)]
    Unreadable(#[from] OpenError),
    /// It could not be written. What of it is on the disk counts as spent.
    #[error("the ledger cannot be written ({0}); free space on its disk, or see to the disk")]
    Storage(String),
}
