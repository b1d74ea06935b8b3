//! The client's end of a stream.

use crate::open::{Open, OpenError, Stream, open};
use relay_directory::{FrameError, FrameReader, ServiceAnswer, ServiceRequest, frame};
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The other end is given up when for so long no byte comes, or none is taken.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// No answer takes longer. The longest one, 2 MB, takes 63 s at 256 kbit/s, the slowest class that networks have by default.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// No answer. The stream is of no use any more.
#[derive(Debug, Error)]
pub enum AskError {
    /// There was no stream.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// It ended.
    #[error("the stream ended {}", if *.within { "within an answer" } else { "before an answer" })]
    Ended {
        /// Some of it had come.
        within: bool,
    },
    /// Nothing comes.
    #[error("nothing came for {} s", STALL_MAX.as_secs())]
    Stalled,
    /// Too little comes.
    #[error("the answer took longer than {} s", ANSWER_TIME_MAX.as_secs())]
    Slow,
    /// What comes is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The frame is no answer.
    #[error("what came is no answer: {0}")]
    Answer(network_document::EncodingError),
    /// The other end has nothing of the kind.
    #[error("whoever was asked has nothing of the kind; ask another one")]
    Unknown,
    /// The answer is to something else.
    #[error("the answer is to another question")]
    OtherAnswer,
}

/// One stream, on which one thing is asked after the other.
pub struct Asker {
    stream: Stream,
    frames: FrameReader,
    buffer: Vec<u8>,
}

impl Asker {
    /// On a stream that is there.
    pub fn new(stream: Stream) -> Self {
        Self { stream, frames: FrameReader::answers(), buffer: vec![0; READ_BYTES] }
    }

    /// On a new stream.
    ///
    /// # Errors
    /// [`AskError::Open`].
    pub async fn open(source: &dyn Open) -> Result<Self, AskError> {
        Ok(Self::new(open(source).await?))
    }

    /// Asks, and waits for the answer: it is to this request, or says that the other end has nothing of the kind
    /// (`relay_directory::Answer::Unknown`).
    ///
    /// Not cancel-safe: after a call that was dropped the stream is of no use any more.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&mut self, request: &ServiceRequest) -> Result<ServiceAnswer, AskError> {
        let answer = timeout(ANSWER_TIME_MAX, self.exchange(&request.encode())).await.unwrap_or(Err(AskError::Slow))?;
        let answer = ServiceAnswer::decode(&answer).map_err(AskError::Answer)?;
        if is_to(request, &answer) { Ok(answer) } else { Err(AskError::OtherAnswer) }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, AskError> {
        let request = frame(request);
        let written = async {
            self.stream.write_all(&request).await?;
            self.stream.flush().await
        };
        timeout(STALL_MAX, written).await.map_err(|_| AskError::Stalled)??;
        loop {
            let read = self.stream.read(&mut self.buffer);
            let count = timeout(STALL_MAX, read).await.map_err(|_| AskError::Stalled)??;
            if count == 0 {
                return Err(AskError::Ended { within: self.frames.is_unfinished() });
            }
            let taken = self.frames.handle_bytes(&self.buffer[..count])?;
            if let Some(answer) = self.frames.poll_frame() {
                // Nothing else was asked.
                return if taken == count { Ok(answer) } else { Err(AskError::OtherAnswer) };
            }
        }
    }
}

fn is_to(request: &ServiceRequest, answer: &ServiceAnswer) -> bool {
    use relay_directory::Answer;
    match (request, answer) {
        (_, ServiceAnswer::Fetch(Answer::Unknown))
        | (ServiceRequest::Submit(_) | ServiceRequest::Publish(_), ServiceAnswer::Submit(_))
        | (ServiceRequest::Standing, ServiceAnswer::Standing(_))
        | (ServiceRequest::Members, ServiceAnswer::Members(_))
        | (ServiceRequest::Services, ServiceAnswer::Services(_))
        | (ServiceRequest::Record { .. }, ServiceAnswer::Record(None)) => true,
        (ServiceRequest::Record { key }, ServiceAnswer::Record(Some(record))) => record.key == *key,
        // Which of its answers fits which of its requests is for the client of the directory to judge.
        (ServiceRequest::Fetch(_), ServiceAnswer::Fetch(_)) => true,
        _ => false,
    }
}
