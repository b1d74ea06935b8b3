//! One stream between an application's task and the driver: a bounded pipe each way, and what both have said about it.

use crate::bell::Bell;
use crate::error::StreamError;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;
use wire::flow::ResetReason;
use wire::local::QueueRef;

/// Bytes of one direction that wait, with how many have passed.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) read: u64,
    pub(crate) written: u64,
}

impl Pipe {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.written += bytes.len() as u64;
    }

    pub(crate) fn take(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.read += count as u64;
    }

    /// The first bytes that wait, `max` at most, in the two pieces in which they lie.
    pub(crate) fn front(&self, max: usize) -> (&[u8], &[u8]) {
        let (one, other) = self.bytes.as_slices();
        let one = &one[..one.len().min(max)];
        (one, &other[..other.len().min(max - one.len())])
    }
}

/// What is known of a stream. The application's side writes `up` and reads `down`.
#[derive(Debug, Default)]
pub(crate) struct FlowState {
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The driver has been told that something is new and has not looked.
    touched: bool,
    /// The destination answered. Of a stream that came: always.
    pub(crate) connected: bool,
    /// It came from the other end, and no application has taken it.
    pub(crate) is_waiting: bool,
    /// What the other end is told when the stream is given up, if not that it was reset.
    pub(crate) refusal: Option<ResetReason>,
    /// The application ended its direction.
    pub(crate) fin_up: bool,
    /// The other end's direction ends at this position.
    pub(crate) fin_down: Option<u64>,
    /// The flow was reset on its way, or by the other end.
    pub(crate) reset: Option<ResetReason>,
    /// The application wants it to be reset.
    pub(crate) given_up: bool,
    /// Nobody reads any more.
    pub(crate) dropped: bool,
    /// `down` was full when the driver looked last.
    pub(crate) was_full: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) opener: Option<Waker>,
}

impl FlowState {
    pub(crate) fn wake_all(&mut self) {
        [&mut self.reader, &mut self.writer, &mut self.opener]
            .into_iter()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// Everything that the other end sent has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.fin_down == Some(self.down.read)
    }
}

/// A stream, shared by its handles and the driver.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) queue: QueueRef,
    /// Bytes that each pipe holds at most.
    pub(crate) buffer: usize,
    bell: Arc<Bell>,
    state: Mutex<FlowState>,
}

impl Flow {
    pub(crate) fn new(queue: QueueRef, buffer: usize, bell: Arc<Bell>) -> Self {
        Self { queue, buffer, bell, state: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver looks at it: what is new from now on is to be said again.
    pub(crate) fn look(&self) -> MutexGuard<'_, FlowState> {
        let mut state = self.lock();
        state.touched = false;
        state
    }

    fn touch(&self, mut state: MutexGuard<'_, FlowState>) {
        let is_new = !std::mem::replace(&mut state.touched, true);
        drop(state);
        if is_new {
            self.bell.touch(self.queue);
        }
    }

    /// Bytes that the application wrote and the tunnel has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().up.bytes.len()
    }

    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.reset.is_some() || state.given_up || (state.fin_up && state.is_at_end())
    }

    pub(crate) fn half_close(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.fin_up, true) {
            self.touch(state);
        }
    }

    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.given_up, true) {
            state.wake_all();
            self.touch(state);
        }
    }

    /// An application takes a stream that came.
    pub(crate) fn accept(&self) {
        let mut state = self.lock();
        state.is_waiting = false;
        self.touch(state);
    }

    /// Nobody takes a stream that came.
    pub(crate) fn refuse(&self, reason: ResetReason) {
        let mut state = self.lock();
        (state.refusal, state.given_up) = (Some(reason), true);
        self.touch(state);
    }

    /// The application holds it no more. What it wrote still goes out; what comes from now on is refused.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.dropped = true;
        if state.is_waiting {
            state.refusal.get_or_insert(ResetReason::Refused);
        }
        state.given_up |= state.is_waiting || !state.connected || !state.down.bytes.is_empty();
        state.fin_up = true;
        self.touch(state);
    }

    pub(crate) fn poll_connected(&self, context: &mut Context<'_>) -> Poll<Result<(), ResetReason>> {
        let mut state = self.lock();
        if let Some(reason) = state.reset {
            return Poll::Ready(Err(reason));
        }
        if state.connected {
            return Poll::Ready(Ok(()));
        }
        state.opener = Some(context.waker().clone());
        Poll::Pending
    }

    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let is_whole = state.fin_down.is_some() || state.reset.is_none();
        if state.given_up || !is_whole {
            return Poll::Ready(Err(StreamError::of(&state).into()));
        }
        if state.down.bytes.is_empty() && !state.is_at_end() {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (one, other) = state.down.front(buffer.remaining());
        let count = one.len() + other.len();
        buffer.put_slice(one);
        buffer.put_slice(other);
        state.down.take(count);
        // The driver has something to do when there is room again, and when all has been read.
        let has_room = state.was_full && state.down.bytes.len() <= self.buffer / 2;
        state.was_full &= !has_room;
        if has_room || (count > 0 && state.is_at_end()) {
            self.touch(state);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.given_up || state.reset.is_some() {
            return Poll::Ready(Err(StreamError::of(&state).into()));
        }
        if state.fin_up {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(self.buffer - state.up.bytes.len());
        if count == 0 && !bytes.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.up.push(&bytes[..count]);
        self.touch(state);
        Poll::Ready(Ok(count))
    }
}
