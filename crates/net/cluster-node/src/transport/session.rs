//! One session: its streams, from the first event to the last.

use super::counters::Fault;
use super::event::{Event, LostReason, Session, Stream};
use super::frames::{FrameReader, StreamError, verdict};
use super::queue::{CATCH_UP_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, QueueReceiver, queue};
use super::state::{CLIENTS_MAX, Closer, Live, Shared};
use super::streams;
use crate::frame::{Kind, MessageParser, encode_message};
use bytes::Bytes;
use identity::NodeId;
use quinn::SendStream;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::JoinSet;

/// Messages that wait for streams to catch up with.
const CATCH_UP_MESSAGES_MAX: usize = 64;

/// A connection whose two ends know each other.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) peer: NodeId,
    pub(super) session: Session,
    pub(super) closer: Closer,
    pub(super) send: SendStream,
    pub(super) reader: FrameReader,
    /// While it is held, no other session with this peer begins.
    pub(super) turn: OwnedMutexGuard<()>,
}

/// Who a task of a session works for.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: NodeId,
    pub(super) session: Session,
    pub(super) closer: Closer,
}

impl Context {
    pub(super) async fn emit_frame(&self, stream: Stream, message: Bytes) -> Result<(), StreamError> {
        let event = Event::Frame { peer: self.peer, session: self.session, stream, message };
        self.shared.events.emit(event).await.map_err(|_| StreamError::Over)
    }

    /// Counts bad bytes and ends the session for them. Other ends of a stream are its own affair.
    pub(super) fn judge(&self, error: StreamError) {
        if let StreamError::Frame(error) = error {
            let (fault, why) = verdict(error);
            self.shared.note(self.peer, fault);
            self.closer.close(why);
        }
    }
}

/// Runs a session from its first event to its last.
pub(super) async fn run(shared: &Arc<Shared>, established: Established) -> LostReason {
    let Established { peer, session, closer, send, reader, turn } = established;
    let context = Context { shared: Arc::clone(shared), peer, session, closer: closer.clone() };
    let (engine, engine_queue) = queue(QUEUE_MESSAGES_MAX, QUEUE_BYTES_MAX);
    let (catch_up, catch_up_queue) = queue(CATCH_UP_MESSAGES_MAX, CATCH_UP_BYTES_MAX);
    let (opener, opened) = mpsc::channel(CLIENTS_MAX);
    let address = closer.connection.remote_address();
    let live =
        Live { session, closer: closer.clone(), engine, catch_up, opener, clients: BTreeMap::new(), next_client: 0 };
    if !shared.register(peer, live) {
        closer.close(LostReason::Removed);
        return LostReason::Removed;
    }
    let mut why = LostReason::Stopped;
    if shared.events.emit(Event::Connected { peer, session, address }).await.is_ok() {
        let mut tasks = JoinSet::new();
        tasks.spawn(write_engine(context.clone(), send, engine_queue));
        tasks.spawn(read_engine(context.clone(), reader));
        tasks.spawn(read_heartbeats(context.clone()));
        tasks.spawn(streams::write_catch_up(context.clone(), catch_up_queue));
        tasks.spawn(streams::accept_catch_up(context.clone()));
        tasks.spawn(streams::serve_clients(context, opened));
        why = closer.closed().await;
        tasks.shutdown().await;
    } else {
        closer.close(why);
    }
    shared.unregister(peer);
    let _ = shared.events.emit(Event::Lost { peer, session, why }).await;
    drop(turn);
    why
}

/// The engine's stream must not end before its connection does.
async fn write_engine(context: Context, mut send: SendStream, mut queue: QueueReceiver) {
    loop {
        let batch = queue.batch().await;
        let mut bytes = Vec::new();
        for message in &batch {
            encode_message(message, &mut bytes);
        }
        if batch.is_empty() || send.write_chunk(bytes.into()).await.is_err() {
            return context.closer.close(LostReason::Broken);
        }
    }
}

async fn read_engine(context: Context, mut reader: FrameReader) {
    loop {
        let error = match reader.message().await {
            Ok(Some(message)) => match context.emit_frame(Stream::Engine, message).await {
                Ok(()) => continue,
                Err(error) => error,
            },
            Ok(None) => StreamError::Cut,
            Err(error) => error,
        };
        context.judge(error);
        return context.closer.close(LostReason::Broken);
    }
}

/// Each datagram is one frame. One for which there is no room is dropped, as the network might have.
async fn read_heartbeats(context: Context) {
    while let Ok(datagram) = context.closer.connection.read_datagram().await {
        let mut parser = MessageParser::new();
        parser.append(&datagram);
        match parser.next() {
            Some(Ok(frame)) if frame.kind == Kind::Message && parser.pending() == 0 => {
                let (peer, session) = (context.peer, context.session);
                let message = frame.body;
                context.shared.events.try_emit(Event::Frame { peer, session, stream: Stream::Heartbeat, message });
            }
            // A long length in a datagram is as much garbage as any other.
            _ => {
                context.shared.note(context.peer, Fault::Garbage);
                return context.closer.close(LostReason::Garbage);
            }
        }
    }
}
