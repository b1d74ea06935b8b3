//! Asking a node to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Ends a node: the first request lets flows finish within the deadline, the second ends everything at once.
#[derive(Debug, Clone)]
pub struct StopHandle {
    requests: watch::Sender<u32>,
}

impl StopHandle {
    pub(crate) fn new() -> Self {
        Self { requests: watch::Sender::new(0) }
    }

    /// Requests the end.
    pub fn stop(&self) {
        self.requests.send_modify(|requests| *requests = requests.saturating_add(1));
    }

    pub(crate) fn listen(&self) -> StopRequests {
        StopRequests { receiver: self.requests.subscribe() }
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct StopRequests {
    receiver: watch::Receiver<u32>,
}

impl StopRequests {
    /// Waits until there have been `count` requests. Cancel-safe. For ever if nobody can request any more.
    pub(crate) async fn reached(&mut self, count: u32) {
        if self.receiver.wait_for(|requests| *requests >= count).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// SIGINT and SIGTERM as stop requests.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The system sends this when a file would become larger than the limit, and kills whoever does not listen. With
    /// a listener the write or truncation fails instead, which is said in a sentence.
    _file_size: Signal,
}

impl Signals {
    /// Number of SIGXFSZ on all architectures that Hushwire runs on.
    const FILE_SIZE: i32 = 25;

    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(Self::FILE_SIZE))?,
        })
    }

    /// Passes signals on until it is dropped.
    pub(crate) async fn pass_on(mut self, stop: StopHandle) {
        loop {
            // Both branches are cancel-safe: a signal stays noted until it is returned.
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            stop.stop();
        }
    }
}
