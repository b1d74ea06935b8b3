//! Whom to ask.

use crate::clock::random;
use directory_stream::{AskError, Asker, Open};
use network_document::NetworkId;
use relay_directory::{CODE_TRY_AGAIN, CommandOutcome, Refusal, ServiceAnswer, ServiceRecord, ServiceRequest};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Sources of a node at most; further ones are not asked.
pub const SOURCES_MAX: usize = 16;
/// How long one source may take to say what record there is; then the next one is asked.
const RECORD_SOURCE_PATIENCE: Duration = Duration::from_secs(6);
/// Sources that are asked for one thing before it has failed.
pub const SOURCES_TRIED_MAX: usize = 3;

/// Those who may be asked, all alike: each attempt draws whom it asks first.
#[derive(Clone)]
pub struct Sources(Arc<[Arc<dyn Open>]>);

impl Sources {
    /// At most [`SOURCES_MAX`] of these.
    pub fn new(sources: impl IntoIterator<Item = Arc<dyn Open>>) -> Self {
        Self(sources.into_iter().take(SOURCES_MAX).collect())
    }

    /// True when there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says a command or a service's record to one after the other until one says what became of it: the directory's word, or that of
    /// the last one that could not order it, or had no room for it. It may be known afterwards that a record was taken after all.
    ///
    /// # Errors
    /// Why nobody was reached, in words.
    pub(crate) async fn say(&self, request: &ServiceRequest) -> Result<CommandOutcome, String> {
        let (mut put_off, mut failed) = (None, "there is nobody to tell it to".to_owned());
        // Somebody may have had it ordered, and did not say so.
        let mut is_unknown = false;
        for source in self.draw() {
            match say_to(&*source, request).await {
                Ok(outcome) if outcome.code == CODE_TRY_AGAIN => {
                    is_unknown = true;
                    put_off = Some(outcome);
                }
                // Another member may have room, or be one still.
                Ok(outcome) if [Refusal::SponsorQuota.code(), Refusal::NotMember.code()].contains(&outcome.code) => {
                    put_off = Some(outcome);
                }
                Ok(outcome) if outcome.code == Refusal::Old.code() && is_unknown => {
                    return Ok(after_old(&*source, request, outcome).await);
                }
                Ok(outcome) => return Ok(outcome),
                Err(error) => {
                    is_unknown |= !matches!(error, AskError::Open(_));
                    failed = format!("{}: {error}", source.describe());
                }
            }
        }
        put_off.ok_or(failed)
    }

    /// A service's record, from the first one that has a good one: `Some(None)` if those who answer have none, `None` if nobody answers.
    pub(crate) async fn record(&self, network: NetworkId, key: [u8; 32]) -> Option<Option<ServiceRecord>> {
        let mut answered = None;
        for source in self.draw() {
            let asked = timeout(RECORD_SOURCE_PATIENCE, record_from(&*source, key)).await;
            match asked.unwrap_or(Err(AskError::Stalled)) {
                Ok(Some(record)) if record.verify(network).is_ok() => return Some(Some(record)),
                Ok(Some(_)) => tracing::debug!("a record with a wrong signature"),
                Ok(None) => answered = Some(None),
                Err(error) => tracing::debug!(%error, "no answer to a question for a record"),
            }
        }
        answered
    }

    /// [`SOURCES_TRIED_MAX`] of them, each at most once, in an order that is drawn now.
    pub(crate) fn draw(&self) -> Vec<Arc<dyn Open>> {
        let mut drawn: Vec<(u64, &Arc<dyn Open>)> = self.0.iter().map(|source| (random(), source)).collect();
        drawn.sort_unstable_by_key(|(by, _)| *by);
        drawn.into_iter().take(SOURCES_TRIED_MAX).map(|(_, source)| Arc::clone(source)).collect()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sources({})", self.0.len())
    }
}

async fn say_to(source: &dyn Open, request: &ServiceRequest) -> Result<CommandOutcome, AskError> {
    match Asker::open(source).await?.ask(request).await? {
        ServiceAnswer::Submit(outcome) => Ok(outcome),
        _ => Err(AskError::Unknown),
    }
}

/// What to make of it that something is old which may have been taken a moment ago: that it was, if it is there; else that it is old,
/// or, where nobody can tell, that it has to be said again. A later word of the same relay or service is as old to whoever hears of it
/// second, so nothing may be concluded from that alone.
async fn after_old(source: &dyn Open, request: &ServiceRequest, old: CommandOutcome) -> CommandOutcome {
    let unknown = CommandOutcome::try_again("it is not known whether this was taken or something later; try again");
    let ServiceRequest::Publish(record) = request else { return unknown };
    match timeout(RECORD_SOURCE_PATIENCE, record_from(source, record.key)).await {
        Ok(Ok(Some(there))) if there == *record => CommandOutcome::new(0, ""),
        Ok(Ok(Some(there))) if there.revision >= record.revision => old,
        // What a mirror keeps may be older.
        Ok(_) | Err(_) => unknown,
    }
}

async fn record_from(source: &dyn Open, key: [u8; 32]) -> Result<Option<ServiceRecord>, AskError> {
    match Asker::open(source).await?.ask(&ServiceRequest::Record { key }).await? {
        ServiceAnswer::Record(record) => Ok(record),
        _ => Err(AskError::Unknown),
    }
}
