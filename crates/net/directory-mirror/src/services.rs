//! What the node of onion services has of the directory: its time, and a way for records.

use crate::clock::random;
use crate::publisher::plain;
use crate::sources::Sources;
use directory_stream::{AskError, Asker, Open};
use network_document::NetworkId;
use relay_directory::timetable::Retries;
use relay_directory::{CODE_TRY_AGAIN, Refusal, ServiceAnswer, ServiceRecord, ServiceRequest};
use std::fmt;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Records on their way at once; a further one waits, within [`PUBLISH_PATIENCE`].
pub const PUBLISHING_MAX: usize = 4;
/// A record of which nobody said in this time what became of it counts as not taken. It may have been.
pub const PUBLISH_PATIENCE: Duration = Duration::from_secs(55);
/// The time is asked for again after half of this to all of it, drawn.
pub const TIME_EVERY_MAX: Duration = Duration::from_secs(3_600);
/// One question for the time takes no longer, whoever is asked.
const TIME_PATIENCE: Duration = Duration::from_secs(90);

/// The directory's time, as whoever was asked says. It is believed and not proved.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryTime {
    utc_ms: u64,
    since: Instant,
}

impl DirectoryTime {
    /// In milliseconds since 1970 UTC, now: the time goes on since it was said.
    pub fn now_ms(&self) -> u64 {
        let passed_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.utc_ms.saturating_add(passed_ms)
    }
}

/// A record is not in the directory, as far as anybody said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// Nobody was reached, or nobody knows what became of it.
    #[error("the directory was not reached with a service's record: {0}")]
    Unreached(String),
    /// The directory, or who passes on, has too much to do.
    #[error("the directory puts a service's record off: {0}")]
    PutOff(String),
    /// The directory's word.
    #[error("the directory does not take a service's record: {sentence}")]
    Refused {
        /// [`Refusal::code`].
        code: u8,
        /// Why, and what to do.
        sentence: String,
    },
}

/// A way to the directory for records of services. It asks for the time in the background, and ends with this value.
///
/// Each record goes on a stream of its own. When to publish, and when again after a failure, is for whoever makes records to say.
pub struct ServicePublisher {
    sources: Sources,
    network: NetworkId,
    room: Semaphore,
    time: watch::Receiver<Option<DirectoryTime>>,
    task: JoinHandle<()>,
}

impl ServicePublisher {
    /// Begins to ask for the time. `sources` are the directory listeners of this machine's entry, or members. In a tokio runtime with
    /// time.
    pub fn start(network: NetworkId, sources: Sources) -> Self {
        let (tell, time) = watch::channel(None);
        let task = tokio::spawn(ask_time(sources.clone(), tell));
        Self { sources, network, room: Semaphore::new(PUBLISHING_MAX), time, task }
    }

    /// The directory's time, whenever it was asked for; `None` before it was first heard.
    pub fn time(&self) -> watch::Receiver<Option<DirectoryTime>> {
        self.time.clone()
    }

    /// Says a record to the directory.
    ///
    /// # Errors
    /// [`PublishError`], within [`PUBLISH_PATIENCE`]. It may be said again as it is: when it was taken after all that counts as done.
    pub async fn publish(&self, record: &ServiceRecord) -> Result<(), PublishError> {
        record.verify(self.network).map_err(refused)?;
        let request = ServiceRequest::Publish(record.clone());
        let said = async {
            // It is never closed.
            let _room = self.room.acquire().await;
            self.sources.say(&request).await
        };
        let outcome = match timeout(PUBLISH_PATIENCE, said).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return Err(PublishError::Unreached(plain(&error))),
            Err(_) => return Err(PublishError::Unreached("nobody said in time what became of it".to_owned())),
        };
        let sentence = plain(&outcome.sentence);
        match outcome.code {
            0 => Ok(()),
            CODE_TRY_AGAIN => Err(PublishError::PutOff(sentence)),
            code if code == Refusal::SponsorQuota.code() => Err(PublishError::PutOff(sentence)),
            code => Err(PublishError::Refused { code, sentence: advice(code, sentence) }),
        }
    }
}

impl Drop for ServicePublisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for ServicePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServicePublisher(..)")
    }
}

fn refused(refusal: Refusal) -> PublishError {
    PublishError::Refused { code: refusal.code(), sentence: refusal.to_string() }
}

/// The directory's sentence with what the operator of a service can do.
fn advice(code: u8, sentence: String) -> String {
    let is = |refusals: &[Refusal]| refusals.iter().any(|refusal| refusal.code() == code);
    if is(&[Refusal::Old]) {
        format!("{sentence}: another machine runs with this service's key, most likely; only one may")
    } else if is(&[Refusal::Expired, Refusal::Lasting]) {
        format!("{sentence}: the directory's time was heard wrong, most likely; it is asked for again")
    } else if is(&[Refusal::Quota]) {
        format!("{sentence}: it is said again later")
    } else {
        sentence
    }
}

async fn ask_time(sources: Sources, tell: watch::Sender<Option<DirectoryTime>>) {
    let mut retries = Retries::default();
    while !tell.is_closed() {
        let mut heard = None;
        for source in sources.draw() {
            match timeout(TIME_PATIENCE, time_from(&*source)).await {
                Ok(Ok(time)) => {
                    heard = Some(time);
                    break;
                }
                Ok(Err(error)) => tracing::debug!(%error, "the directory's time"),
                Err(_) => tracing::debug!("the directory's time was not said in time"),
            }
        }
        let wait_ms = if heard.is_some() {
            retries.handle_success();
            tell.send_replace(heard);
            let half_ms = TIME_EVERY_MAX.as_millis() as u64 / 2;
            half_ms + random() % half_ms
        } else {
            retries.handle_failure(None, random())
        };
        sleep(Duration::from_millis(wait_ms)).await;
    }
}

async fn time_from(source: &dyn Open) -> Result<DirectoryTime, AskError> {
    let mut asker = Asker::open(source).await?;
    match asker.ask(&ServiceRequest::Standing).await? {
        ServiceAnswer::Standing(standing) => Ok(DirectoryTime { utc_ms: standing.time_ms, since: Instant::now() }),
        _ => Err(AskError::Unknown),
    }
}
