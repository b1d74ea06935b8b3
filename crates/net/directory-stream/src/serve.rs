//! The service's end of streams.

use crate::ask::{ANSWER_TIME_MAX, STALL_MAX};
use crate::open::Bytes;
use relay_directory::{FrameReader, ServiceAnswer, ServiceRequest, frame};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Streams that are served at once; one more waits until another is done. Each has at most an answer of 2 MB, so all of them have
/// at most 128 MB.
pub const CONNECTIONS_MAX: usize = 64;
/// A stream on which nothing is asked for so long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(30);
/// Requests of one stream at most; then it is closed, and whoever wants more opens another one. A client needs a dozen.
pub const REQUESTS_MAX: usize = 256;
/// What is read at once.
const READ_BYTES: usize = 4 * 1024;
/// What is written at once: each piece may take [`STALL_MAX`].
const WRITE_BYTES: usize = 64 * 1024;
/// How long to wait when nobody can be accepted, because there are no descriptors left, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Whoever answers requests: a member from its state, a mirror from what it keeps.
pub trait Answers: Send + Sync + 'static {
    /// The answer. Where there is none of the kind, `Answer::Unknown` of `relay_directory` says so.
    fn answer(&self, request: ServiceRequest) -> impl Future<Output = ServiceAnswer> + Send;
}

/// Serves whoever connects until the future is dropped, and all streams with it.
pub async fn serve(listener: UnixListener, answers: Arc<impl Answers>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut streams = JoinSet::new();
    loop {
        // The room is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        while streams.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                streams.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = serve_stream(stream, &*answers).await {
                        tracing::debug!(%error, "a directory stream");
                    }
                });
            }
            Err(error) => {
                // Who is there is served on.
                tracing::warn!(%error, "a directory stream could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Serves one stream until the other end closes it, asks what is no request, or takes too long.
///
/// # Errors
/// How the stream broke: for a log at most.
pub async fn serve_stream(stream: impl Bytes, answers: &impl Answers) -> io::Result<()> {
    let mut requests = Requests { stream, frames: FrameReader::requests(), buffer: vec![0; READ_BYTES], unread: 0..0 };
    for _ in 0..REQUESTS_MAX {
        let Some(request) = timeout(IDLE_MAX, requests.next()).await?? else { return Ok(()) };
        let request = ServiceRequest::decode(&request).map_err(|error| bad(&error))?;
        let answer = frame(&answers.answer(request).await.encode());
        timeout(ANSWER_TIME_MAX, write(&mut requests.stream, &answer)).await??;
    }
    Ok(())
}

fn bad(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The requests of one stream, one at a time.
struct Requests<S> {
    stream: S,
    frames: FrameReader,
    buffer: Vec<u8>,
    /// What was read behind the last request.
    unread: Range<usize>,
}

impl<S: Bytes> Requests<S> {
    /// `None` when there are no more.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = &self.buffer[self.unread.clone()];
            self.unread.start += self.frames.handle_bytes(bytes).map_err(|error| bad(&error))?;
            if let Some(request) = self.frames.poll_frame() {
                return Ok(Some(request));
            }
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Ok(None);
            }
            self.unread = 0..count;
        }
    }
}

async fn write(stream: &mut impl Bytes, answer: &[u8]) -> io::Result<()> {
    for piece in answer.chunks(WRITE_BYTES) {
        timeout(STALL_MAX, stream.write_all(piece)).await??;
    }
    timeout(STALL_MAX, stream.flush()).await?
}
