//! What waits to be sent to one peer on one stream, bounded in messages and bytes.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Most messages that wait for the engine's stream of one peer. One more ends the session, and the engine starts over.
pub const QUEUE_MESSAGES_MAX: usize = 16 * 1024;

/// Most bytes that wait for it. It must exceed what the engine sends a peer that missed a whole term at once.
pub const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Most bytes that wait for streams to catch up with, of one peer. One more message is refused as busy.
pub const CATCH_UP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes that wait for one client's stream. One more message is refused as busy.
pub const CLIENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that one batch of small messages may grow to.
const BATCH_BYTES: usize = 128 * 1024;

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

pub(super) fn queue(messages_max: usize, bytes_max: usize) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::channel(messages_max);
    let held = Arc::new(AtomicUsize::new(0));
    (QueueSender { sender, held: Arc::clone(&held), bytes_max }, QueueReceiver { receiver, held })
}

#[derive(Debug)]
pub(super) struct QueueSender {
    sender: mpsc::Sender<Bytes>,
    held: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl QueueSender {
    /// Puts a message in. One whose receiver is gone is dropped: its session's end is reported apart.
    pub(super) fn push(&self, message: Bytes) -> Result<(), Full> {
        let length = message.len();
        let before = self.held.fetch_add(length, Ordering::Relaxed);
        let sent = if before + length > self.bytes_max { Err(Full) } else { Ok(()) };
        let sent = sent.and_then(|()| match self.sender.try_send(message) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Full),
        });
        if sent != Ok(true) {
            self.held.fetch_sub(length, Ordering::Relaxed);
        }
        sent.map(|_| ())
    }
}

#[derive(Debug)]
pub(super) struct QueueReceiver {
    receiver: mpsc::Receiver<Bytes>,
    held: Arc<AtomicUsize>,
}

impl QueueReceiver {
    /// Waits for a message, and takes those behind it as long as they are small together. Empty: no more will come.
    pub(super) async fn batch(&mut self) -> Vec<Bytes> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = self.receiver.recv().await;
        while let Some(message) = next {
            bytes += message.len();
            batch.push(message);
            next = if bytes < BATCH_BYTES { self.receiver.try_recv().ok() } else { None };
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_and_messages_are_bounded_and_room_comes_back() {
        let (sender, mut receiver) = queue(3, 10);
        let push = |length: usize| sender.push(vec![0; length].into());
        assert_eq!((push(6), push(5), push(4), push(1)), (Ok(()), Err(Full), Ok(()), Err(Full)));
        assert_eq!(receiver.batch().await.len(), 2);
        assert_eq!((push(1), push(1), push(1), push(1)), (Ok(()), Ok(()), Ok(()), Err(Full)));
        assert_eq!(receiver.batch().await.len(), 3);
        drop(receiver);
        assert_eq!((push(9), push(9)), (Ok(()), Ok(())), "what nobody takes takes no room");
    }
}
