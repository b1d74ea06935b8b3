//! Unix sockets at which programs of this machine are served.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::UnixListener;

/// Mode of the socket: its owner and its group.
const MODE: u32 = 0o660;

/// The socket cannot be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Something stands there that is no socket.
    #[error("{} is no socket; choose another path", .0.display())]
    Occupied(PathBuf),
    /// Somebody serves it.
    #[error("{} is served by another process", .0.display())]
    Served(PathBuf),
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

/// Opens a socket at `path` for its owner and its group, in the place of one that nobody serves any more. It needs a tokio runtime with I/O.
///
/// # Errors
/// When something else stands there, somebody serves it, or the system refuses.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let system = |error| ListenError::System { path: path.to_owned(), error };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ListenError::Occupied(path.to_owned()));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ListenError::Served(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(system)?;
    }
    let listener = UnixListener::bind(path).map_err(system)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(system)?;
    Ok(listener)
}
