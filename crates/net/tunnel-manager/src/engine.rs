//! What every kind of tunnel is made of: its name, and the way to the driver that keeps it. The types that programs see hold one
//! and offer what their kind of tunnel may do.

use crate::bell::Bell;
use crate::error::{Closed, ConnectError};
use crate::request::Command;
use crate::stream::TunnelStream;
use shaped_node::{TunnelId, TunnelStatus};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use wire::flow::Destination;

/// A tunnel as its handles know it.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    id: TunnelId,
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
    closed: watch::Receiver<Option<Closed>>,
}

impl Engine {
    pub(crate) fn new(
        id: TunnelId,
        commands: mpsc::Sender<Command>,
        bell: Arc<Bell>,
        closed: watch::Receiver<Option<Closed>>,
    ) -> Self {
        Self(Arc::new(Inner { id, commands, bell, closed }))
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

    pub(crate) async fn connect(&self, destination: Destination) -> Result<TunnelStream, ConnectError> {
        if let Some(why) = self.closed() {
            return Err(why.into());
        }
        let asked = self.ask(|answer| Command::Connect { tunnel: self.id(), destination, answer }).await;
        asked.unwrap_or(Err(ConnectError::Tunnel(self.closed().unwrap_or(Closed::Stopped))))
    }

    pub(crate) async fn describe(&self) -> Option<TunnelStatus> {
        self.ask(|answer| Command::Describe { tunnel: self.id(), answer }).await.flatten()
    }
}

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
