//! Whom to ask.

use crate::clock::random;
use directory_stream::{AskError, Asker, Open};
use relay_directory::{CODE_TRY_AGAIN, CommandOutcome, Refusal, ServiceAnswer, ServiceRequest};
use std::fmt;
use std::sync::Arc;

/// Sources of a node at most; further ones are not asked.
pub const SOURCES_MAX: usize = 16;
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

    /// Hands a command to one after the other until one says what became of it: the directory's word, or that of the last one that
    /// could not order it.
    ///
    /// # Errors
    /// Why nobody was reached, in words.
    pub(crate) async fn submit(&self, command: Vec<u8>) -> Result<CommandOutcome, String> {
        let request = ServiceRequest::Submit(command);
        let (mut unordered, mut failed) = (None, "there is nobody to tell it to".to_owned());
        for source in self.draw() {
            match submit_to(&*source, &request).await {
                Ok(outcome) if outcome.code == CODE_TRY_AGAIN => unordered = Some(outcome),
                // It was ordered after all, by one of whom that was not known in time.
                Ok(outcome) if outcome.code == Refusal::Old.code() && unordered.is_some() => {
                    return Ok(CommandOutcome::new(0, ""));
                }
                Ok(outcome) => return Ok(outcome),
                Err(error) => failed = format!("{}: {error}", source.describe()),
            }
        }
        unordered.ok_or(failed)
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

async fn submit_to(source: &dyn Open, request: &ServiceRequest) -> Result<CommandOutcome, AskError> {
    match Asker::open(source).await?.ask(request).await? {
        ServiceAnswer::Submit(outcome) => Ok(outcome),
        _ => Err(AskError::Unknown),
    }
}
