//! The service: local programs, the node's own relay among them, at a unix socket (docs/spec/relay-directory.md, section 10).

use crate::limits::Bucket;
use crate::member::SharedSigner;
use crate::orders::Orders;
use crate::shared::SharedDirectory;
use os_net::unix_socket::{ListenError, listen};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

mod connection;

/// Programs that are served at once. One more waits until another is done.
pub const CONNECTIONS_MAX: usize = 256;
/// Commands of one connection in a second; a further one is answered with "try again".
pub const COMMANDS_A_SECOND: u32 = 32;
/// Commands of all connections in a second, likewise.
pub const ALL_COMMANDS_A_SECOND: u32 = 1_024;
/// KiB of answers that wait to be read, of all connections. Whoever asks for more waits until others have read theirs.
pub const ANSWERS_KIB_MAX: u32 = 64 * 1_024;
/// A connection that takes none of its answer for so long is closed.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// A connection on which nothing is asked for so long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// After an error of the system nobody is accepted for so long.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What all connections share.
pub(crate) struct Shared {
    directory: SharedDirectory,
    signer: SharedSigner,
    orders: Orders,
    commands: Mutex<Bucket>,
    answers: Arc<Semaphore>,
}

/// The listening socket.
pub(crate) struct Service {
    listener: UnixListener,
    shared: Arc<Shared>,
}

impl Service {
    pub(crate) fn listen(
        path: &Path,
        directory: SharedDirectory,
        signer: SharedSigner,
        orders: Orders,
    ) -> Result<Self, ListenError> {
        let commands = Mutex::new(Bucket::new(ALL_COMMANDS_A_SECOND, Instant::now()));
        let answers = Arc::new(Semaphore::new(ANSWERS_KIB_MAX as usize));
        let shared = Arc::new(Shared { directory, signer, orders, commands, answers });
        Ok(Self { listener: listen(path)?, shared })
    }

    /// Until the future is dropped, and all connections with it.
    pub(crate) async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // The room is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(async move {
                        let _permit = permit;
                        if let Err(error) = connection::serve(stream, shared).await {
                            tracing::debug!(%error, "a program at the directory's socket");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a program could not be accepted at the directory's socket");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }
}
