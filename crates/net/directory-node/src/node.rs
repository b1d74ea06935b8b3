//! A member that runs: everything around a running node of the cluster.

use crate::counts::Counts;
use crate::member::{Member, SharedSigner};
use crate::orders::Orders;
use crate::service::Service;
use crate::shared::SharedDirectory;
use crate::state_files::{StateFiles, StateFilesError};
use cluster_node::driver::Running;
use directory_stream::ListenError;
use identity::NodeSecret;
use relay_directory::{Promise, Signer};
use std::path::PathBuf;
use thiserror::Error;
use tokio::task::JoinHandle;

/// What a member is made from.
#[derive(Debug)]
pub struct Settings {
    /// The directory, of which the log drives [`SharedDirectory::applications`].
    pub directory: SharedDirectory,
    /// With what it signs.
    pub secret: NodeSecret,
    /// Its folder, and what it promised in earlier runs.
    pub files: (StateFiles, Promise),
    /// Path of the service's socket.
    pub socket: PathBuf,
}

/// Why a member does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its socket.
    #[error(transparent)]
    Socket(#[from] ListenError),
}

/// Why a member ended by itself.
#[derive(Debug, Error)]
pub enum Stopped {
    /// A promise may not be on the disk, so it signs nothing more.
    #[error("the member's promise cannot be kept: {0}")]
    Files(#[from] StateFilesError),
    /// A defect.
    #[error("the member ended unexpectedly: this is a fault of the program, please report it")]
    Panicked,
}

/// A member that runs. Dropping it ends it; the log goes on.
#[derive(Debug)]
pub struct DirectoryNode {
    member: JoinHandle<Stopped>,
    rest: [JoinHandle<()>; 2],
    counts: Counts,
}

impl DirectoryNode {
    /// Starts a member around a node that runs. It needs the node's runtime around it.
    ///
    /// # Errors
    /// When its socket cannot be opened; nothing runs then.
    pub fn start(log: Running, settings: Settings) -> Result<Self, StartError> {
        let Settings { directory, secret, files: (files, promise), socket } = settings;
        let network = directory.look(relay_directory::Directory::network_id);
        let mut signer = Signer::new(network, secret.clone(), promise);
        if let Some(Err(error)) = files.held().map(|held| signer.restore_held(&held)) {
            tracing::warn!(%error, "what relays had handed to this member cannot be read; until they say it again it is less strict");
        }
        let signer = SharedSigner::new(signer);
        let (orders, ordering) = Orders::new(log);
        let (listener, service) = Service::listen(&socket, directory.clone(), secret, signer.clone(), orders.clone())?;
        let counts = service.counts();
        let member = Member { directory, signer, orders, files };
        let rest = [tokio::spawn(ordering), tokio::spawn(Service::serve(listener, service))];
        Ok(Self { member: tokio::spawn(member.run()), rest, counts })
    }

    /// What its service has done since it started, for the operator alone: it tells how many ask, and when.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Waits until it ends by itself, and says why. Cancel-safe.
    pub async fn ended(&mut self) -> Stopped {
        (&mut self.member).await.unwrap_or(Stopped::Panicked)
    }
}

impl Drop for DirectoryNode {
    fn drop(&mut self) {
        self.member.abort();
        self.rest.iter().for_each(JoinHandle::abort);
    }
}
