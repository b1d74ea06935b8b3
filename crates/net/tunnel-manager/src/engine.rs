//! What every kind of tunnel is made of: its name, and the way to the driver that keeps it. The types that programs see hold one
//! and offer what their kind of tunnel may do.

use crate::bell::Bell;
use crate::client_dir_tunnel::ClientDirTunnel;
use crate::client_onion_tunnel::ClientOnionTunnel;
use crate::client_tunnel::{ClientTunnel, LegFigures, LegId, TunnelFigures};
use crate::error::{Closed, ConnectError};
use crate::request::{Command, To};
use crate::stream::TunnelStream;
use identity::NodeId;
use shaped_node::{LegStatus, TunnelId, TunnelStatus};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
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

    /// The relays of each leg.
    pub(crate) async fn paths(&self) -> Result<BTreeMap<LegId, Vec<NodeId>>, Closed> {
        let path = |leg: &LegStatus| {
            let hops = leg.path.iter().filter_map(|hop| hop.parse().ok()).collect();
            Some((LegId(leg.leg?), hops))
        };
        Ok(self.describe().await?.legs.iter().filter_map(path).collect())
    }

    pub(crate) async fn figures(&self) -> Result<TunnelFigures, Closed> {
        let status = self.describe().await?;
        let figures = |leg: &LegStatus| {
            let figures = LegFigures {
                is_linked: leg.state == "linked",
                rtt: leg.rtt_us.map(Duration::from_micros),
                data_cells: leg.data_cells,
                received: leg.received,
                loss_per_mille: leg.loss_per_mille,
            };
            Some((LegId(leg.leg?), figures))
        };
        Ok(TunnelFigures {
            rtt: (status.session_rtt_us > 0).then(|| Duration::from_micros(status.session_rtt_us)),
            switches: status.switches,
            legs: status.legs.iter().filter_map(figures).collect(),
        })
    }

    async fn describe(&self) -> Result<TunnelStatus, Closed> {
        let asked = self.ask(|answer| Command::Describe { tunnel: self.id(), answer }).await;
        asked.flatten().ok_or_else(|| self.closed().unwrap_or(Closed::Stopped))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bell.release(self.id);
    }
}

/// Names a tunnel of any kind, for what is done with all of them alike. It is made from a reference to one.
#[derive(Clone, Copy)]
pub struct AnyTunnel<'a>(&'a Engine);

impl AnyTunnel<'_> {
    pub(crate) fn id(self) -> TunnelId {
        self.0.id()
    }
}

impl<'a> From<&'a ClientTunnel> for AnyTunnel<'a> {
    fn from(tunnel: &'a ClientTunnel) -> Self {
        Self(&tunnel.engine)
    }
}

impl<'a> From<&'a ClientDirTunnel> for AnyTunnel<'a> {
    fn from(tunnel: &'a ClientDirTunnel) -> Self {
        Self(&tunnel.engine)
    }
}

impl<'a> From<&'a ClientOnionTunnel> for AnyTunnel<'a> {
    fn from(tunnel: &'a ClientOnionTunnel) -> Self {
        Self(&tunnel.engine)
    }
}

impl fmt::Debug for AnyTunnel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyTunnel({})", self.0.id())
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
