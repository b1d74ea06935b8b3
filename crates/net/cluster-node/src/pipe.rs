//! The pipe: local programs at a unix socket (docs/spec/pipe.md).

use crate::driver::Running;
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

mod serve;
mod subscription;

/// Programs that are served at once. One more waits until another is done.
const CONNECTIONS_MAX: usize = 1_024;
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

/// The listening socket.
#[derive(Debug)]
pub struct Pipe {
    listener: UnixListener,
    allowed: BTreeSet<u32>,
}

/// Opens a socket at `path` for its owner and its group, in the place of one that nobody serves any more.
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

impl Pipe {
    /// Opens the socket at `path`, in the place of one that nobody serves any more. This process's user, root and the
    /// users of `allowed` may connect.
    ///
    /// # Errors
    /// When something else stands there, somebody serves it, or the system refuses.
    pub fn listen(path: &Path, allowed: impl IntoIterator<Item = u32>) -> Result<Self, ListenError> {
        let allowed = allowed.into_iter().chain([0, geteuid().as_raw()]).collect();
        Ok(Self { listener: listen(path)?, allowed })
    }

    /// Serves programs until the future is dropped.
    pub async fn serve(self, node: Running) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            // The room is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: who is there is served on.
                    tracing::warn!(%error, "a program could not be accepted at the pipe");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !self.admits(&stream) {
                continue;
            }
            let node = node.clone();
            connections.spawn(async move {
                let _permit = permit;
                if let Err(error) = serve::Served::new(stream, node).run().await {
                    tracing::debug!(%error, "a program at the pipe");
                }
            });
        }
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(credentials) if self.allowed.contains(&credentials.uid()) => true,
            Ok(credentials) => {
                tracing::warn!(uid = credentials.uid(), "a user that may not use the pipe");
                false
            }
            Err(_) => false,
        }
    }
}
