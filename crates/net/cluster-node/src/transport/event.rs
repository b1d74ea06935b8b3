//! What the transport tells.

use bytes::Bytes;
use identity::NodeId;
use quinn::VarInt;
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Most events that wait to be taken. When they are as many, streams are not read on, and QUIC holds their senders back.
const EVENTS_MAX: usize = 1_024;

/// Most bytes of messages that wait to be taken; the same happens then.
const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Which connection of a pair: both ends know the number from the connection's start, and it grows from one connection to
/// the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u64);

/// A stream that carries one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientStream {
    /// Whether this end opened it.
    pub opened_here: bool,
    /// Its opener's number for it, never used twice in a session.
    pub number: u64,
}

/// What a message travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// In order, or the session ends.
    Engine,
    /// May be lost and overtake; about 1,100 bytes at most.
    Heartbeat,
    /// Many bytes without hurry: on a stream of its own, which holds nothing else up.
    CatchUp,
    /// One client's.
    Client(ClientStream),
}

/// Something that happened. Between a [`Event::Connected`] and the [`Event::Lost`] of the same session stands everything
/// that came in it, and sessions with one peer never overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session begins.
    Connected {
        /// With whom.
        peer: NodeId,
        /// Which.
        session: Session,
        /// Where the peer is.
        address: SocketAddr,
    },
    /// A message came.
    Frame {
        /// From whom.
        peer: NodeId,
        /// In which session.
        session: Session,
        /// On what.
        stream: Stream,
        /// The message.
        message: Bytes,
    },
    /// Nothing more will come on a client's stream.
    Finished {
        /// From whom.
        peer: NodeId,
        /// In which session.
        session: Session,
        /// Which stream.
        stream: ClientStream,
        /// Its sender said so. Otherwise it was cut off, and a last message may be missing.
        is_whole: bool,
    },
    /// A session is over.
    Lost {
        /// With whom.
        peer: NodeId,
        /// Which.
        session: Session,
        /// Why.
        why: LostReason,
    },
}

/// Why a session ended. It is also what the other end is told, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(u32)]
pub enum LostReason {
    /// One of the two stops.
    #[error("the node stops")]
    Stopped = 0,
    /// Bytes that are no frames.
    #[error("what came was no frames")]
    Garbage = 1,
    /// A length or message beyond the bound.
    #[error("what came was too long")]
    TooLong = 2,
    /// The peer connected anew: its process was started again, or its network changed.
    #[error("the peer connected anew")]
    Superseded = 3,
    /// The queue for the peer was full.
    #[error("the peer took too little, and its queue was full")]
    Overflow = 4,
    /// The peer is no member any more.
    #[error("it is no member any more")]
    Removed = 5,
    /// The lower node id dialled.
    #[error("the lower node id does not dial")]
    WrongDirection = 6,
    /// The hello was for somebody else, from somebody else, or of another cluster.
    #[error("it is another node or another cluster")]
    ForeignId = 7,
    /// Nothing was said in time.
    #[error("nothing was said in time")]
    Silent = 8,
    /// The reader of frames refused one.
    #[error("a frame was refused")]
    Refused = 9,
    /// Nothing came for the idle timeout.
    #[error("nothing came for too long")]
    TimedOut = 100,
    /// The peer's process does not know the connection: it was started again.
    #[error("the peer was started again")]
    Restarted = 101,
    /// Anything else: usually the network or the kernel.
    #[error("the connection broke")]
    Broken = 102,
}

impl LostReason {
    const TOLD: [Self; 10] = [
        Self::Stopped,
        Self::Garbage,
        Self::TooLong,
        Self::Superseded,
        Self::Overflow,
        Self::Removed,
        Self::WrongDirection,
        Self::ForeignId,
        Self::Silent,
        Self::Refused,
    ];

    pub(super) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub(super) fn of(error: &quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                let told = Self::TOLD.into_iter().find(|reason| reason.code() == close.error_code);
                told.unwrap_or(Self::Broken)
            }
            quinn::ConnectionError::TimedOut => Self::TimedOut,
            quinn::ConnectionError::Reset => Self::Restarted,
            quinn::ConnectionError::LocallyClosed => Self::Stopped,
            _ => Self::Broken,
        }
    }
}

/// Both ends of the queue of events.
pub(super) fn channel() -> (Emitter, EventReceiver) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    (Emitter { sender, room: Arc::new(Semaphore::new(EVENT_BYTES_MAX)) }, EventReceiver { receiver })
}

/// An event with the room that it takes until somebody takes it.
type Waiting = (Event, Option<OwnedSemaphorePermit>);

/// Nobody takes events any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NobodyListens;

#[derive(Debug, Clone)]
pub(super) struct Emitter {
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

impl Emitter {
    /// Waits until there is room.
    pub(super) async fn emit(&self, event: Event) -> Result<(), NobodyListens> {
        let permit = match room_of(&event) {
            0 => None,
            bytes => Some(Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| NobodyListens)?),
        };
        self.sender.send((event, permit)).await.map_err(|_| NobodyListens)
    }

    /// Drops the event if there is no room.
    pub(super) fn try_emit(&self, event: Event) {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(room_of(&event));
        if let Ok(permit) = permit {
            let _ = self.sender.try_send((event, Some(permit)));
        }
    }
}

fn room_of(event: &Event) -> u32 {
    match event {
        Event::Frame { message, .. } => u32::try_from(message.len()).expect("messages are far below 4 GiB"),
        Event::Connected { .. } | Event::Finished { .. } | Event::Lost { .. } => 0,
    }
}

#[derive(Debug)]
pub(super) struct EventReceiver {
    receiver: mpsc::Receiver<Waiting>,
}

impl EventReceiver {
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await.map(|(event, _room)| event)
    }

    pub(super) fn poll(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok().map(|(event, _room)| event)
    }

    pub(super) fn close(&mut self) {
        self.receiver.close();
        while self.poll().is_some() {}
    }
}
