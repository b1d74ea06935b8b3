//! What every tunnel is made of: its name, and the way to the driver that keeps it. No program sees it: what they may do is the
//! matter of the types that hold one.

use crate::bell::Bell;
use crate::error::{Closed, ConnectError};
use crate::request::{Command, To};
use crate::stream::TunnelStream;
use shaped_node::TunnelId;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// A tunnel as its handles know it.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    id: TunnelId,
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
    closed: watch::Receiver<Option<Closed>>,
    was_had: Arc<AtomicBool>,
}

impl Engine {
    /// `was_had`: whether anybody ever had a handle of this tunnel.
    pub(crate) fn new(
        id: TunnelId,
        commands: mpsc::Sender<Command>,
        bell: Arc<Bell>,
        closed: watch::Receiver<Option<Closed>>,
        was_had: Arc<AtomicBool>,
    ) -> Self {
        Self(Arc::new(Inner { id, commands, bell, closed, was_had }))
    }

    /// Whoever asked for it has it now, and did not go before the answer came.
    pub(crate) fn had(self) -> Self {
        self.0.was_had.store(true, Ordering::Release);
        self
    }

    pub(crate) fn id(&self) -> TunnelId {
        self.0.id
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Why it is over; none while it goes on.
    pub(crate) fn closed(&self) -> Option<Closed> {
        *self.0.closed.borrow()
    }

    /// Cancel-safe.
    pub(crate) async fn wait_for_close(&self) -> Closed {
        let mut closed = self.0.closed.clone();
        let last = closed.wait_for(Option::is_some).await.map(|why| *why);
        last.ok().flatten().unwrap_or(Closed::Stopped)
    }

    /// Sends a command and waits for its answer. `None`: the driver is gone.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        ask(&self.0.commands, command).await
    }

    /// Opens a stream, and waits until the last hop says that its other end has it.
    pub(crate) async fn connect(&self, to: To) -> Result<TunnelStream, ConnectError> {
        let stream = self.open(to).await?;
        match poll_fn(|context| stream.flow().poll_connected(context)).await {
            Ok(()) => Ok(stream),
            Err(reason) => Err(ConnectError::Refused(reason)),
        }
    }

    async fn open(&self, to: To) -> Result<TunnelStream, ConnectError> {
        if let Some(why) = self.closed() {
            return Err(why.into());
        }
        let asked = self.ask(|answer| Command::Connect { tunnel: self.id(), to, answer }).await;
        asked.unwrap_or(Err(ConnectError::Tunnel(self.closed().unwrap_or(Closed::Stopped))))
    }
}

impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Engine {}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bell.release(self.id);
    }
}

/// Sends a command and waits for its answer. `None`: the driver is gone.
pub(crate) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    commands.send(command(answer)).await.ok()?;
    answered.await.ok()
}
