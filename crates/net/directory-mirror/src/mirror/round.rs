//! One source, asked until it has said all that is wanted of it.

use super::Shared;
use super::believed::Believed;
use crate::clock::Clock;
use crate::files::FileError;
use crate::status::Counts;
use directory_stream::{AskError, Asker, Open};
use network_document::Electorate;
use relay_directory::{
    Answer, ClientRefusal, Request, SUCCESSIONS_MAX, ServiceAnswer, ServiceRequest, Succession, Taken,
};
use thiserror::Error;
use tokio::time::Instant;

/// Questions to one source in a row: the whole edition, again after a difference that does not fit, and all changes of members that a
/// directory can have, 32 at a time. More is the doing of whoever answers.
const QUESTIONS_MAX: usize = 12;

/// A source was of no use.
#[derive(Debug, Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Refused(#[from] ClientRefusal),
    #[error("it answers without end")]
    Endless,
    #[error("what came cannot be kept: {0}")]
    File(#[from] FileError),
    #[error("the program could not check what came")]
    Lost,
}

/// What is carried from source to source.
pub(super) struct Round<'a> {
    pub(super) clock: &'a Clock,
    pub(super) shared: &'a Shared,
    pub(super) counts: &'a mut Counts,
    pub(super) skew_ms: &'a mut Option<i64>,
    pub(super) skew_uncertain_ms: &'a mut u64,
    /// The term of the last change of members that this mirror can give to others.
    pub(super) kept_term: &'a mut u64,
}

impl Round<'_> {
    /// Asks for what is new, and keeps it if it is to be believed. `believed` is there again whatever happens, unless the program
    /// is broken.
    pub(super) async fn ask(&mut self, source: &dyn Open, believed: &mut Option<Believed>) -> Result<(), RoundError> {
        let mut asker = Asker::open(source).await?;
        self.ask_time(&mut asker).await?;
        for _ in 0..QUESTIONS_MAX {
            let request = believed.as_ref().ok_or(RoundError::Lost)?.client.poll_request();
            let answer = self.fetch(&mut asker, request).await?;
            let taken = self.take(answer, believed).await?;
            self.counts.editions += u64::from(matches!(taken, Ok(Taken::Edition(_))));
            match taken {
                Ok(Taken::Edition(_) | Taken::Known) => {
                    if let Err(error) = self.ask_members(&mut asker, believed).await {
                        // What was wanted for this node is there.
                        tracing::debug!(%error, "changes of members");
                    }
                    return Ok(());
                }
                Ok(Taken::Members(_)) => {}
                // Other members, or a difference that does not fit: there is something else to ask for now.
                Err(_) if believed.as_ref().is_some_and(|believed| believed.client.poll_request() != request) => {}
                Err(refusal) => {
                    self.counts.refused += 1;
                    return Err(refusal.into());
                }
            }
        }
        Err(RoundError::Endless)
    }

    async fn fetch(&mut self, asker: &mut Asker, request: Request) -> Result<Answer, RoundError> {
        match asker.ask(&ServiceRequest::Fetch(request)).await? {
            ServiceAnswer::Fetch(answer) => {
                self.counts.answers += 1;
                Ok(answer)
            }
            _ => Err(AskError::OtherAnswer.into()),
        }
    }

    /// Signatures and disks take a while.
    async fn take(
        &self,
        answer: Answer,
        believed: &mut Option<Believed>,
    ) -> Result<Result<Taken, ClientRefusal>, RoundError> {
        let mut held = believed.take().ok_or(RoundError::Lost)?;
        let now_ms = self.clock.now_ms();
        let work = tokio::task::spawn_blocking(move || {
            let taken = held.take(now_ms, answer);
            let saved = held.save(now_ms);
            (held, taken, saved)
        });
        let (held, taken, saved) = work.await.map_err(|_| RoundError::Lost)?;
        *believed = Some(held);
        saved?;
        Ok(taken)
    }

    /// What the source says the time is. It is not signed, and nothing goes by it but a sentence for the operator.
    async fn ask_time(&mut self, asker: &mut Asker) -> Result<(), RoundError> {
        let before_ms = self.clock.now_ms();
        if let ServiceAnswer::Standing(standing) = asker.ask(&ServiceRequest::Standing).await? {
            let after_ms = self.clock.now_ms();
            let now_ms = u64::midpoint(before_ms, after_ms);
            *self.skew_uncertain_ms = after_ms.saturating_sub(before_ms).div_ceil(2);
            *self.skew_ms = Some(standing.time_ms.cast_signed().wrapping_sub(now_ms.cast_signed()));
            *self.shared.standing() = Some((standing, Instant::now()));
        }
        Ok(())
    }

    /// The changes of members that others may ask this mirror for: all since the charter, checked one by one.
    async fn ask_members(&mut self, asker: &mut Asker, believed: &Option<Believed>) -> Result<(), RoundError> {
        let client = &believed.as_ref().ok_or(RoundError::Lost)?.client;
        let Some(edition) = client.newest().and_then(|document| document.as_edition()) else { return Ok(()) };
        let (edition, wanted) = (edition.edition(), client.electorate().map_or(0, Electorate::term));
        let charter = edition.charter();
        let Some(founding) = charter.founding() else { return Ok(()) };
        let mut known = founding.electorate.clone();
        if wanted <= known.term().max(*self.kept_term) {
            return Ok(());
        }
        let mut chain: Vec<Succession> = Vec::new();
        while known.term() < wanted && chain.len() < SUCCESSIONS_MAX {
            let request = Request::Successions { after: known.term() };
            let Answer::Successions(changes) = self.fetch(asker, request).await? else { return Ok(()) };
            if changes.is_empty() {
                // The edition is good; others have to ask somebody else for how it came to its members.
                return Ok(());
            }
            for change in changes {
                known = change.follow(charter, &known).map_err(ClientRefusal::Succession)?;
                chain.push(change);
            }
        }
        let mut keeper = self.shared.keeper();
        let kept = *self.kept_term;
        let later = |change: &Succession| change.electorate().is_some_and(|electorate| electorate.term() > kept);
        chain.into_iter().filter(later).for_each(|change| keeper.keep_succession(change));
        *self.kept_term = known.term();
        Ok(())
    }
}
