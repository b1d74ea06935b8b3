//! The service's end of streams.

use crate::ask::{ANSWER_TIME_MAX, STALL_MAX};
use crate::open::Bytes;
use relay_directory::{ANSWER_BYTES_MAX, FrameReader, ServiceAnswer, ServiceRequest, frame};
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

/// Streams that are served at once where nothing else is said; one more waits until another is done.
pub const CONNECTIONS_MAX: usize = 64;
/// Likewise: a stream on which nothing is asked for so long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(30);
/// Likewise: requests of one stream at most; then it is closed, and whoever wants more opens another one. A client needs a dozen.
pub const REQUESTS_MAX: usize = 256;
/// Likewise: KiB of editions and differences on their way. It is enough for all streams, so nobody waits for those who read slowly.
pub const ANSWERS_KIB_MAX: u32 = 128 * 1_024;
/// Of these streams, those that may be strangers', who came through an exit: the others are left to this machine's programs.
pub const STRANGERS_MAX: usize = 48;
/// What is read at once.
const READ_BYTES: usize = 4 * 1024;
/// How long to wait when nobody can be accepted, because there are no descriptors left, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What those who ask may have at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams at once; one more waits.
    pub connections: usize,
    /// A stream on which nothing is asked for so long is closed.
    pub idle: Duration,
    /// Requests of one stream; then it is closed.
    pub requests: usize,
    /// KiB of editions and differences on their way, of all streams; whoever asks for more waits. There is room for the longest
    /// answer in any case.
    pub answers_kib: u32,
}

impl Limits {
    /// For everybody, where nothing else is said.
    pub const EVERYBODY: Self =
        Self { connections: CONNECTIONS_MAX, idle: IDLE_MAX, requests: REQUESTS_MAX, answers_kib: ANSWERS_KIB_MAX };
    /// For strangers, where nothing else is said.
    pub const STRANGERS: Self = Self { connections: STRANGERS_MAX, ..Self::EVERYBODY };
}

/// Whoever answers requests: a member from its state, a mirror from what it keeps.
pub trait Answers: Send + Sync + 'static {
    /// What it keeps of one stream while that is served: how much was asked on it, for instance.
    type Stream: Default + Send;

    /// What those who ask may have.
    const LIMITS: Limits = Limits::EVERYBODY;

    /// What strangers may have, who come through circuits. Their streams are among those of [`Answers::LIMITS`], and one too many is
    /// closed, so that none waits in the place of a program of this machine.
    const STRANGERS: Limits = Limits::STRANGERS;

    /// A stream is served from now on, by [`serve`].
    fn begun(&self) {}

    /// Such a stream is over. `TimedOut`: nothing was asked, or nothing of an answer was taken, for too long. `InvalidData`: what came
    /// was no request.
    fn ended(&self, _how: &io::Result<()>) {}

    /// Such a stream says that it is a stranger's; it is closed if `is_served` is false, for there are too many.
    fn stranger_begun(&self, _is_served: bool) {}

    /// Such a stream, which was served, is over.
    fn stranger_ended(&self) {}

    /// Whether nobody cares for the answer once the asker has closed its stream, or its end of it: then what it waits for is given up.
    fn ends_with_its_asker(&self, _request: &ServiceRequest) -> bool {
        false
    }

    /// The answer. Where there is none of the kind, `Answer::Unknown` of `relay_directory` says so.
    fn answer(&self, stream: &mut Self::Stream, request: ServiceRequest) -> impl Future<Output = ServiceAnswer> + Send;
}

/// Serves whoever connects until the future is dropped, and all streams with it.
pub async fn serve<A: Answers>(listener: UnixListener, answers: Arc<A>) {
    let connections = Arc::new(Semaphore::new(A::LIMITS.connections));
    let room = Arc::new(Room::of::<A>());
    let mut streams = JoinSet::new();
    loop {
        // Nothing is ever closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        while streams.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (answers, room) = (Arc::clone(&answers), Arc::clone(&room));
                streams.spawn(async move {
                    let _permit = permit;
                    answers.begun();
                    let served = serve_in(stream, &*answers, &room).await;
                    answers.ended(&served);
                    if let Err(error) = served {
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
pub async fn serve_stream<A: Answers>(stream: impl Bytes, answers: &A) -> io::Result<()> {
    serve_in(stream, answers, &Room::of::<A>()).await
}

/// What all streams share.
struct Room {
    /// KiB of answers, of this machine's programs and of strangers.
    own_kib: Semaphore,
    strangers_kib: Semaphore,
    /// Strangers' streams.
    strangers: Semaphore,
}

impl Room {
    fn of<A: Answers>() -> Self {
        let kib = |limits: Limits| Semaphore::new(limits.answers_kib.max(LONGEST_KIB) as usize);
        let strangers = Semaphore::new(A::STRANGERS.connections);
        Self { own_kib: kib(A::LIMITS), strangers_kib: kib(A::STRANGERS), strangers }
    }
}

async fn serve_in<A: Answers>(stream: impl Bytes, answers: &A, room: &Room) -> io::Result<()> {
    let mut requests = Requests { stream, frames: FrameReader::requests(), buffer: vec![0; READ_BYTES], unread: 0..0 };
    let Some(first) = timeout(A::LIMITS.idle, requests.next()).await?? else { return Ok(()) };
    if !FrameReader::is_of_a_stranger(&first) {
        return serve_requests(requests, answers, A::LIMITS, &room.own_kib, Some(first)).await;
    }
    let place = room.strangers.try_acquire();
    answers.stranger_begun(place.is_ok());
    // Whoever is closed hears it at once, and asks somebody else.
    let Ok(_place) = place else { return Ok(()) };
    let served = serve_requests(requests, answers, A::STRANGERS, &room.strangers_kib, None).await;
    answers.stranger_ended();
    served
}

/// Serves a stream on which a request may have come already.
async fn serve_requests<A: Answers>(
    mut requests: Requests<impl Bytes>,
    answers: &A,
    limits: Limits,
    room: &Semaphore,
    mut first: Option<Vec<u8>>,
) -> io::Result<()> {
    let mut kept = A::Stream::default();
    for _ in 0..limits.requests {
        let next = match first.take() {
            Some(first) => Some(first),
            None => timeout(limits.idle, requests.next()).await??,
        };
        let Some(request) = next else { return Ok(()) };
        let request = ServiceRequest::decode(&request).map_err(|error| bad(&error))?;
        // Only these are long. Nobody knows how long before they are there.
        let mut taken = match &request {
            ServiceRequest::Fetch(_) => Some(room.acquire_many(LONGEST_KIB).await.map_err(io::Error::other)?),
            _ => None,
        };
        let ends = answers.ends_with_its_asker(&request);
        let answer = tokio::select! {
            biased;
            answer = answers.answer(&mut kept, request) => frame(&answer.encode()),
            () = requests.gone(), if ends => return Ok(()),
        };
        let spare = LONGEST_KIB.saturating_sub(kib(answer.len()));
        drop(taken.as_mut().and_then(|taken| taken.split(spare as usize)));
        timeout(ANSWER_TIME_MAX, write(&mut requests.stream, &answer)).await??;
    }
    Ok(())
}

/// Of the longest answer.
const LONGEST_KIB: u32 = kib(ANSWER_BYTES_MAX);

const fn kib(bytes: usize) -> u32 {
    // No answer has 4 TiB.
    bytes.div_ceil(1_024) as u32
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

impl<S: Bytes> Requests<S> {
    /// Until the other end closes, as far as that can be seen: behind a further request it cannot. Cancel-safe.
    async fn gone(&mut self) {
        if self.unread.is_empty()
            && let Ok(count @ 1..) = self.stream.read(&mut self.buffer).await
        {
            self.unread = 0..count;
        } else if self.unread.is_empty() {
            return;
        }
        std::future::pending().await
    }
}

/// As long as some of it is taken now and then.
async fn write(stream: &mut impl Bytes, mut answer: &[u8]) -> io::Result<()> {
    while !answer.is_empty() {
        let written = timeout(STALL_MAX, stream.write(answer)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        answer = &answer[written..];
    }
    timeout(STALL_MAX, stream.flush()).await?
}
