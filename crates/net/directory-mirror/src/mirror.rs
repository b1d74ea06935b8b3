//! The mirror: one task that fetches, believes or does not, writes and tells.

use crate::clock::Clock;
use crate::files::FileError;
use crate::service::MirrorService;
use crate::sources::Sources;
use crate::status::MirrorStatus;
use believed::Believed;
use directory_stream::{AskError, Asker, Open};
use network_document::{NetworkDocument, NetworkId, SignedEdition};
use relay_directory::{Answer, Keeper, Request, ServiceAnswer, ServiceRequest, Standing};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use task::Task;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod believed;
mod round;
mod task;

/// What a mirror needs.
#[derive(Debug, Clone)]
pub struct MirrorConfig {
    /// The network: of an invitation, or of a charter.
    pub network: NetworkId,
    /// Whom to ask. Members themselves have a keeper of their own and need no mirror.
    pub sources: Sources,
    /// Where to write.
    pub files: MirrorFiles,
    /// The time of day.
    pub clock: Clock,
}

/// A mirror's files, all of mode 0600.
#[derive(Debug, Clone)]
pub struct MirrorFiles {
    /// What it must not forget over a start: members, the names of the last editions, the newest one.
    pub cache: PathBuf,
    /// The newest edition with its signatures, for processes that go by a document; `None` when nobody does.
    pub network: Option<PathBuf>,
    /// The folder for proofs that the directory has forked. It is made with the first of them.
    pub evidence: PathBuf,
}

/// A mirror cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file is another network's.
    #[error(
        "{} is of another network than the invitation; give each network a folder of its own, or move the file away", .0.display()
    )]
    OtherNetwork(PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nobody to ask.
    #[error("a mirror needs at least one source: a socket of an entry or a member, or a tunnel")]
    NoSources,
}

/// What the task and the services share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    keeper: Mutex<Keeper>,
    /// What a source said of the directory, and when.
    standing: Mutex<Option<(Standing, Instant)>>,
}

impl Shared {
    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn standing(&self) -> MutexGuard<'_, Option<(Standing, Instant)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running mirror. It ends with this value.
#[derive(Debug)]
pub struct Mirror {
    network: NetworkId,
    shared: Arc<Shared>,
    documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
    status: watch::Receiver<MirrorStatus>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Reads what an earlier run left, and begins. In a tokio runtime with time.
    ///
    /// # Errors
    /// [`StartError`]. A damaged cache is set aside and said in the status.
    pub fn start(config: MirrorConfig) -> Result<Self, StartError> {
        if config.sources.is_empty() {
            return Err(StartError::NoSources);
        }
        let network = config.network;
        let (believed, note) = Believed::open(network, config.files)?;
        let shared = Arc::new(Shared::default());
        let status = MirrorStatus { error: note, ..MirrorStatus::default() };
        let ((tell_documents, documents), (tell_status, status)) = (watch::channel(None), watch::channel(status));
        let task = Task::new(believed, config.sources, config.clock, Arc::clone(&shared), tell_documents, tell_status);
        let task = tokio::spawn(task.run());
        Ok(Self { network, shared, documents, status, task })
    }

    /// The newest edition, whenever there is another one; `None` while there is none to go by. It is on the disk before it is here.
    pub fn documents(&self) -> watch::Receiver<Option<Arc<NetworkDocument>>> {
        self.documents.clone()
    }

    /// How it stands, whenever that changes.
    pub fn status(&self) -> watch::Receiver<MirrorStatus> {
        self.status.clone()
    }

    /// What answers those who ask this mirror: for `directory_stream::serve`. Commands are passed on to one of `members`, or refused
    /// if there is none.
    pub fn service(&self, members: Sources) -> MirrorService {
        MirrorService::new(self.network, Arc::clone(&self.shared), self.documents(), members)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An edition by its hash, for whoever looks at old ones. That it has this hash and is of this network is checked, its signatures
/// are not: an edition that a verified one names as the one before it needs none.
///
/// # Errors
/// Why there is none, in words.
pub async fn fetch_edition(source: &dyn Open, network: NetworkId, hash: [u8; 32]) -> Result<SignedEdition, AskError> {
    let request = ServiceRequest::Fetch(Request::ByHash { hash });
    match Asker::open(source).await?.ask(&request).await? {
        ServiceAnswer::Fetch(Answer::Full(bytes)) => {
            let signed = SignedEdition::decode(&bytes).map_err(AskError::Answer)?;
            let edition = signed.edition();
            let fits = edition.hash() == hash && edition.network_id() == network;
            if fits { Ok(signed) } else { Err(AskError::OtherAnswer) }
        }
        ServiceAnswer::Fetch(Answer::Unknown) => Err(AskError::Unknown),
        _ => Err(AskError::OtherAnswer),
    }
}
