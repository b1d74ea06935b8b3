//! What a mirror answers those who ask it.

use crate::mirror::Shared;
use crate::sources::Sources;
use directory_stream::{Answers, Bucket};
use network_document::{NetworkDocument, NetworkId};
use records::Records;
use relay_directory::{Answer, Command, CommandOutcome, Refusal, ServiceAnswer, ServiceRecord, ServiceRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

mod records;

pub use records::{NO_RECORD_AGE_MAX, QUESTIONS_MAX, RECORD_AGE_MAX, RECORD_PATIENCE, RECORDS_KEPT_MAX};

/// Commands and records that are passed on at once; a further one is told to come again.
pub const PASSED_ON_MAX: usize = 8;
/// Whoever has a command or a record is told to try again when nobody said in this time what became of it.
/// It is shorter than those who ask wait for a byte.
pub const PASS_PATIENCE: Duration = Duration::from_secs(25);
/// Records that one stream may bring at once; a further one is told to come again. A service brings two.
pub const STREAM_RECORDS_MAX: u32 = 8;
/// After so many, one in this time.
pub const STREAM_RECORD_EVERY: Duration = Duration::from_secs(2);
/// Questions for records of one stream at once; to a further one there is no answer here. A client has three for a service.
pub const STREAM_QUESTIONS_MAX: u32 = 32;
/// After so many, one in this time.
pub const STREAM_QUESTION_EVERY: Duration = Duration::from_millis(250);

/// Editions and changes of members are answered from what the mirror keeps; commands, and records of services, are passed on to a
/// member, and so are questions for records, whose answers it keeps for a short time. So nobody who asks a mirror talks to a member.
#[derive(Debug, Clone)]
pub struct MirrorService {
    network: NetworkId,
    shared: Arc<Shared>,
    documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
    members: Sources,
    room: Arc<Semaphore>,
    records: Arc<Records>,
}

/// What one stream may still say and ask.
#[derive(Debug)]
pub struct MirrorStream {
    records: Bucket,
    questions: Bucket,
}

impl Default for MirrorStream {
    fn default() -> Self {
        Self {
            records: Bucket::new(STREAM_RECORD_EVERY, STREAM_RECORDS_MAX),
            questions: Bucket::new(STREAM_QUESTION_EVERY, STREAM_QUESTIONS_MAX),
        }
    }
}

impl MirrorService {
    pub(crate) fn new(
        network: NetworkId,
        shared: Arc<Shared>,
        documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
        members: Sources,
    ) -> Self {
        let (room, records) = (Arc::new(Semaphore::new(PASSED_ON_MAX)), Arc::new(Records::default()));
        Self { network, shared, documents, members, room, records }
    }

    async fn submit(&self, bytes: Vec<u8>) -> CommandOutcome {
        if self.members.is_empty() {
            return alone();
        }
        // What no member would take stops here.
        let Ok(command) = Command::decode(&bytes) else { return Refusal::Malformed.into() };
        let document = self.documents.borrow().clone();
        if let Some(document) = document
            && let Err(refusal) = command.check(document.charter(), self.network)
        {
            return refusal.into();
        }
        self.pass_on(ServiceRequest::Submit(bytes)).await
    }

    async fn publish(&self, own: &mut Bucket, record: ServiceRecord) -> CommandOutcome {
        if self.members.is_empty() {
            return alone();
        }
        if !own.take(Instant::now()) {
            return CommandOutcome::try_again(
                "more records than this node passes on at a time; try again in a few seconds",
            );
        }
        if let Err(refusal) = record.verify(self.network) {
            return refusal.into();
        }
        let outcome = self.pass_on(ServiceRequest::Publish(record.clone())).await;
        if outcome.is_done() {
            // Who asks here next finds what was said here last.
            self.records.keep(record.key, Some(record), Instant::now());
        }
        outcome
    }

    async fn pass_on(&self, request: ServiceRequest) -> CommandOutcome {
        let Ok(_room) = self.room.try_acquire() else {
            return CommandOutcome::try_again("too many commands are on their way through this node");
        };
        let Ok(said) = timeout(PASS_PATIENCE, self.members.say(&request)).await else {
            return CommandOutcome::try_again("no member said in time what became of it");
        };
        said.unwrap_or_else(|error| {
            tracing::debug!(%error, "what was said could not be passed on");
            CommandOutcome::try_again("this node reaches no member at the moment")
        })
    }

    async fn record(&self, own: &mut Bucket, key: [u8; 32]) -> ServiceAnswer {
        if self.members.is_empty() || !own.take(Instant::now()) {
            return ServiceAnswer::Fetch(Answer::Unknown);
        }
        let asked = self.records.get(key, || self.members.record(self.network, key)).await;
        asked.map_or(ServiceAnswer::Fetch(Answer::Unknown), ServiceAnswer::Record)
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

fn alone() -> CommandOutcome {
    CommandOutcome::try_again("this node keeps editions and passes no commands on; ask a member")
}

impl Answers for MirrorService {
    type Stream = MirrorStream;

    /// A question waits for a member, or for others who ask the same. Commands and records go on: they are on their way.
    fn ends_with_its_asker(&self, request: &ServiceRequest) -> bool {
        matches!(request, ServiceRequest::Record { .. })
    }

    async fn answer(&self, stream: &mut MirrorStream, request: ServiceRequest) -> ServiceAnswer {
        match request {
            ServiceRequest::Fetch(request) => {
                let shared = Arc::clone(&self.shared);
                // A difference of large editions takes a while.
                let work = tokio::task::spawn_blocking(move || shared.keeper().answer(&request));
                ServiceAnswer::Fetch(work.await.unwrap_or(Answer::Unknown))
            }
            ServiceRequest::Submit(command) => ServiceAnswer::Submit(self.submit(command).await),
            ServiceRequest::Publish(record) => ServiceAnswer::Submit(self.publish(&mut stream.records, record).await),
            ServiceRequest::Record { key } => self.record(&mut stream.questions, key).await,
            ServiceRequest::Standing => self.standing(),
            // Only a member knows, and nobody asks a mirror instead.
            ServiceRequest::Members | ServiceRequest::Services => ServiceAnswer::Fetch(Answer::Unknown),
        }
    }
}
