//! What a mirror answers those who ask it.

use crate::mirror::Shared;
use crate::sources::Sources;
use directory_stream::Answers;
use network_document::{NetworkDocument, NetworkId};
use relay_directory::{Answer, Command, CommandOutcome, Refusal, ServiceAnswer, ServiceRequest};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Commands that are passed on at once; a further one is told to come again.
pub const PASSED_ON_MAX: usize = 8;

/// Editions and changes of members are answered from what the mirror keeps; commands are passed on to a member.
#[derive(Debug, Clone)]
pub struct MirrorService {
    network: NetworkId,
    shared: Arc<Shared>,
    documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
    members: Sources,
    room: Arc<Semaphore>,
}

impl MirrorService {
    pub(crate) fn new(
        network: NetworkId,
        shared: Arc<Shared>,
        documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
        members: Sources,
    ) -> Self {
        Self { network, shared, documents, members, room: Arc::new(Semaphore::new(PASSED_ON_MAX)) }
    }

    async fn submit(&self, bytes: Vec<u8>) -> CommandOutcome {
        if self.members.is_empty() {
            return CommandOutcome::try_again("this node keeps editions and passes no commands on; ask a member");
        }
        // What no member would take stops here.
        let Ok(command) = Command::decode(&bytes) else { return Refusal::Malformed.into() };
        let document = self.documents.borrow().clone();
        if let Some(document) = document
            && let Err(refusal) = command.check(document.charter(), self.network)
        {
            return refusal.into();
        }
        let Ok(_room) = self.room.try_acquire() else {
            return CommandOutcome::try_again("too many commands are on their way through this node");
        };
        self.members.submit(bytes).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a command could not be passed on");
            CommandOutcome::try_again("this node reaches no member at the moment")
        })
    }

    /// What a source said, and how long ago: the time goes on meanwhile.
    fn standing(&self) -> ServiceAnswer {
        let Some((mut standing, since)) = *self.shared.standing() else {
            return ServiceAnswer::Fetch(Answer::Unknown);
        };
        let passed_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        standing.time_ms = standing.time_ms.saturating_add(passed_ms);
        ServiceAnswer::Standing(standing)
    }
}

impl Answers for MirrorService {
    async fn answer(&self, request: ServiceRequest) -> ServiceAnswer {
        match request {
            ServiceRequest::Fetch(request) => {
                let shared = Arc::clone(&self.shared);
                // A difference of large editions takes a while.
                let work = tokio::task::spawn_blocking(move || shared.keeper().answer(&request));
                ServiceAnswer::Fetch(work.await.unwrap_or(Answer::Unknown))
            }
            ServiceRequest::Submit(command) => ServiceAnswer::Submit(self.submit(command).await),
            ServiceRequest::Standing => self.standing(),
            // Only a member knows, and nobody asks a mirror instead.
            ServiceRequest::Members => ServiceAnswer::Fetch(Answer::Unknown),
        }
    }
}
