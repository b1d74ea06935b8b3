//! The pipe: local programs at a unix socket (docs/spec/pipe.md).

use crate::driver::Running;
use os_net::unix_socket::listen;
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

pub use os_net::unix_socket::ListenError;

mod serve;
mod subscription;

/// Programs that are served at once. One more waits until another is done.
const CONNECTIONS_MAX: usize = 1_024;

/// The listening socket.
#[derive(Debug)]
pub struct Pipe {
    listener: UnixListener,
    allowed: BTreeSet<u32>,
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
