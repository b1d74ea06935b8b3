//! Questions that the node itself asks the directory behind a tunnel's exit: each is a directory stream of the session like any
//! other, with bytes of this process at its end instead of rings.

use super::Tunnel;
use bytes::Bytes;
use relay_directory::{FrameReader, ServiceAnswer, ServiceRequest, frame};
use session::{FlowId, StreamState};
use std::collections::BTreeMap;
use std::time::Instant;
use thiserror::Error;
use wire::flow::{ResetReason, Syn};

/// Questions of one tunnel at a time. Further ones are not taken.
pub(crate) const QUESTIONS_MAX: usize = 16;
/// Bytes of an answer, its frame included: a service's record with all around it. A stream that brings more is ended.
const ANSWER_BYTES_MAX: usize = relay_directory::SERVICE_BYTES_MAX + 1_024;

/// No answer, or none that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the directory did not answer")]
pub(crate) struct NoAnswer;

/// A stream that was opened for one question.
struct Question {
    /// What the session has not taken yet.
    rest: Bytes,
    reader: FrameReader,
    /// Bytes that came.
    came: usize,
    answer: Option<Result<ServiceAnswer, NoAnswer>>,
}

/// The questions of a tunnel that are not answered, or whose answers were not fetched.
#[derive(Default)]
pub(super) struct Questions(BTreeMap<FlowId, Question>);

impl Questions {
    /// None of them is answered any more.
    pub(super) fn abandon(&mut self) {
        self.0.values_mut().for_each(|question| {
            question.answer.get_or_insert(Err(NoAnswer));
        });
    }

    /// The stream was reset.
    pub(super) fn handle_reset(&mut self, far: FlowId) {
        if let Some(question) = self.0.get_mut(&far) {
            question.answer.get_or_insert(Err(NoAnswer));
        }
    }
}

impl Tunnel {
    /// Asks. None if the session takes no further stream now, or there are [`QUESTIONS_MAX`]. What came of it says
    /// [`Tunnel::take_answer`] under this name.
    pub(crate) fn ask(&mut self, request: &ServiceRequest, client: u64) -> Option<FlowId> {
        if !self.is_up() || self.questions.0.len() >= QUESTIONS_MAX {
            return None;
        }
        let far = self.session.open_flow(&Syn::directory(self.client_number(client))).ok()?;
        let rest = Bytes::from(frame(&request.encode()));
        self.questions.0.insert(far, Question { rest, reader: FrameReader::answers(), came: 0, answer: None });
        self.say(far);
        Some(far)
    }

    /// The answer to a question once it is there; the stream is over then. A question that is not known any more has none.
    pub(crate) fn take_answer(&mut self, far: FlowId) -> Option<Result<ServiceAnswer, NoAnswer>> {
        let Some(question) = self.questions.0.get_mut(&far) else { return Some(Err(NoAnswer)) };
        let answer = question.answer.take()?;
        self.forget(far);
        Some(answer)
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self, far: FlowId) {
        if self.questions.0.remove(&far).is_some() {
            self.session.reset(far, ResetReason::ByPeer);
        }
    }

    /// Gives the session what it takes of a question.
    pub(super) fn say(&mut self, far: FlowId) {
        let Some(question) = self.questions.0.get_mut(&far).filter(|question| !question.rest.is_empty()) else {
            return;
        };
        match self.session.write(far, question.rest.clone()) {
            Ok(taken) => drop(question.rest.split_to(taken)),
            Err(_) => question.answer = Some(Err(NoAnswer)),
        }
    }

    /// Takes what came of an answer.
    pub(super) fn listen(&mut self, now: Instant, far: FlowId) {
        let Some(question) = self.questions.0.get_mut(&far).filter(|question| question.answer.is_none()) else {
            return;
        };
        let room = ANSWER_BYTES_MAX.saturating_sub(question.came);
        let reader = &mut question.reader;
        let mut is_whole = true;
        let outcome = self.session.read(now, far, room, &mut |mut bytes| {
            while is_whole && !bytes.is_empty() {
                match reader.handle_bytes(bytes) {
                    // More than one answer to one question.
                    Ok(0) | Err(_) => is_whole = false,
                    Ok(taken) => bytes = &bytes[taken..],
                }
            }
        });
        question.came += outcome.bytes;
        let answer = reader.poll_frame().filter(|_| is_whole);
        if let Some(answer) = answer {
            question.answer = Some(ServiceAnswer::decode(&answer).map_err(|_| NoAnswer));
        } else if !is_whole || outcome.state != StreamState::Open || question.came >= ANSWER_BYTES_MAX {
            question.answer = Some(Err(NoAnswer));
        }
    }
}
