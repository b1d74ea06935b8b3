//! A tunnel to a service.

use crate::client_tunnel::{LegId, TunnelFigures};
use crate::engine::Engine;
use crate::error::{Closed, ConnectError};
use crate::request::To;
use crate::stream::TunnelStream;
use identity::NodeId;
use std::collections::BTreeMap;
use std::fmt;

/// A tunnel to one service, over one or more paths that meet the service's own at rendezvous points. Clones are handles of the same one.
///
/// It leads to that service and nowhere else: it takes a port and no destination, resolves no name and has no directory. How it came to
/// be, with rendezvous points and introductions, is the manager's matter; when it is there, nothing here can extend it.
#[derive(Clone)]
pub struct ClientOnionTunnel {
    pub(crate) engine: Engine,
}

impl ClientOnionTunnel {
    /// Opens a stream to a port of the service, and waits until the service has taken it. When this future is dropped, the stream is
    /// given up.
    ///
    /// # Errors
    /// When the tunnel is retired or over, when too many streams are open, or when the service does not take it:
    /// [`ResetReason::Refused`](crate::ResetReason::Refused) if it has no such port, or nobody listens there.
    pub async fn connect(&self, port: u16) -> Result<TunnelStream, ConnectError> {
        self.engine.connect(To::Service(port)).await
    }

    /// The relays of each leg, the guard first and the rendezvous point last. Behind that is the service, which is nobody's to know. They
    /// change while the tunnel lives.
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

    /// Waits until the tunnel is over: its session is lost, as when the service ends, or it was retired and its last stream has ended.
    /// Cancel-safe.
    pub async fn wait_for_close(&self) -> Closed {
        self.engine.wait_for_close().await
    }
}

impl PartialEq for ClientOnionTunnel {
    /// Whether both are handles of the same tunnel.
    fn eq(&self, other: &Self) -> bool {
        self.engine.id() == other.engine.id()
    }
}

impl Eq for ClientOnionTunnel {}

impl fmt::Debug for ClientOnionTunnel {
    /// A number that means something only inside this process. The service is not named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientOnionTunnel({})", self.engine.id())
    }
}
