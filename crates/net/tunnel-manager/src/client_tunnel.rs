//! A tunnel for streams of an application's user.

use crate::engine::Engine;
use crate::error::{Closed, ConnectError};
use crate::request::To;
use crate::stream::TunnelStream;
use identity::NodeId;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use wire::flow::Destination;

/// Names a leg of a tunnel, 0 to 15. The number of a leg that has ended is free for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(crate) u8);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Figures of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegFigures {
    /// Whether it answers.
    pub is_linked: bool,
    /// Smoothed round trip; none before the first answer.
    pub rtt: Option<Duration>,
    /// Data cells that were sent on it.
    pub data_cells: u64,
    /// Cells of all kinds that came on it.
    pub received: u64,
    /// Cells lost of a thousand lately.
    pub loss_per_mille: Option<u32>,
}

/// Figures of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelFigures {
    /// Round trip of its session; none before there is an estimate.
    pub rtt: Option<Duration>,
    /// How often a data cell went on another leg than the one before.
    pub switches: u64,
    /// Its legs.
    pub legs: BTreeMap<LegId, LegFigures>,
}

/// A tunnel over one or more paths to one exit. Clones are handles of the same one.
///
/// It can be used and looked at. It cannot be changed: nothing here extends a path, adds a leg or names a circuit, whatever state
/// the tunnel is in.
#[derive(Clone)]
pub struct ClientTunnel {
    pub(crate) engine: Engine,
}

impl ClientTunnel {
    /// Opens a stream, and waits until the exit says that the destination answers.
    ///
    /// Names are resolved at the exit. When this future is dropped, the stream is given up.
    ///
    /// # Errors
    /// When the tunnel is retired or over, when too many streams are open, or when the exit or the destination refuses.
    pub async fn connect(&self, destination: impl Into<Destination>) -> Result<TunnelStream, ConnectError> {
        self.engine.connect(To::Server(destination.into())).await
    }

    /// The relays of each leg, the guard first and the exit last. They change while the tunnel lives: legs that fail are replaced.
    ///
    /// # Errors
    /// When the tunnel is over.
    pub async fn paths(&self) -> Result<BTreeMap<LegId, Vec<NodeId>>, Closed> {
        self.engine.paths().await
    }

    /// What the tunnel does just now.
    ///
    /// # Errors
    /// When the tunnel is over.
    pub async fn figures(&self) -> Result<TunnelFigures, Closed> {
        self.engine.figures().await
    }

    /// Why the tunnel is over; none while it carries streams.
    pub fn closed(&self) -> Option<Closed> {
        self.engine.closed()
    }

    /// Waits until the tunnel is over: its session is lost, or it was retired and its last stream has ended. Cancel-safe.
    pub async fn wait_for_close(&self) -> Closed {
        self.engine.wait_for_close().await
    }
}

impl PartialEq for ClientTunnel {
    /// Whether both are handles of the same tunnel.
    fn eq(&self, other: &Self) -> bool {
        self.engine.id() == other.engine.id()
    }
}

impl Eq for ClientTunnel {}

impl fmt::Display for ClientTunnel {
    /// A number that means something only inside this process: neither a relay nor a destination is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel {}", self.engine.id())
    }
}

impl fmt::Debug for ClientTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTunnel({})", self.engine.id())
    }
}
