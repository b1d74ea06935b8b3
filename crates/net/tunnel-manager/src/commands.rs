//! The commands of a driver: a bounded queue that its handles fill.

use tokio::sync::mpsc;

/// Commands that are obeyed in one turn.
pub(crate) const COMMANDS_A_TURN: usize = 64;

/// The driver's end of the queue.
pub(crate) struct Commands<C> {
    queue: mpsc::Receiver<C>,
    /// No handle is left.
    is_forsaken: bool,
}

impl<C> Commands<C> {
    pub(crate) fn new(queue: mpsc::Receiver<C>) -> Self {
        Self { queue, is_forsaken: false }
    }

    pub(crate) fn is_forsaken(&self) -> bool {
        self.is_forsaken
    }

    /// The next one that is there already.
    pub(crate) fn poll(&mut self) -> Option<C> {
        match self.queue.try_recv() {
            Ok(command) => Some(command),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.is_forsaken = true;
                None
            }
        }
    }

    /// Waits for the next one; `None`, and at once ever after, when no handle is left. Cancel-safe: a command is received whole or not
    /// at all.
    pub(crate) async fn next(&mut self) -> Option<C> {
        let next = self.queue.recv().await;
        self.is_forsaken = next.is_none();
        next
    }
}
