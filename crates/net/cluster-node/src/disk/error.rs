//! What goes wrong with the log's files, where, and what to do.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The system refused something.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", .path.display())]
pub struct DiskError {
    /// What was tried.
    pub action: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// The disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on that disk and start the node again; nothing that was acknowledged is lost"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "see that the node's user may write there, and start the node again"
            }
            _ => {
                "check the disk (`dmesg`), then start the node again; if it fails again, take the node out of the \
                  cluster and add it anew on another disk"
            }
        }
    }
}

/// A folder cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refused something.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has it open.
    #[error("another process has the log in {} open; stop the other node", .0.display())]
    Locked(PathBuf),
    /// The log of another cluster.
    #[error("{} holds the log of another cluster; name another folder, or this cluster's", .0.display())]
    OtherCluster(PathBuf),
    /// The log of another node.
    #[error(
        "{} holds the log of another node; a node that takes over another's log breaks promises it does not know of. \
         Name another folder", .0.display()
    )]
    OtherNode(PathBuf),
    /// Files, but not those of a log of this version.
    #[error("{} is neither empty nor a log of this version; name another folder", .0.display())]
    NoLog(PathBuf),
}

/// A segment cannot be gone on with.
#[derive(Debug, Error)]
pub enum ResumeError<E> {
    /// The system refused something.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its bytes were refused.
    #[error("the log cannot be used")]
    Refused(#[source] E),
}
