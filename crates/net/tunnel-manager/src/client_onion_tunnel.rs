//! A tunnel to a service.

use crate::any_tunnel::AnyTunnel;
use crate::engine::Engine;
use crate::error::ConnectError;
use crate::request::To;
use crate::stream::TunnelStream;
use std::fmt;
use std::ops::Deref;

/// A tunnel to one service, over one or more paths that meet the service's own at rendezvous points. Clones are handles of the same one.
///
/// It leads to that service and nowhere else: it takes a port and no destination, resolves no name and has no directory. How it came to
/// be, with rendezvous points and introductions, is the manager's matter; when it is there, nothing here can extend it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientOnionTunnel {
    any: AnyTunnel,
}

impl ClientOnionTunnel {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { any: AnyTunnel::new(engine) }
    }

    /// Opens a stream to a port of the service, and waits until the service has taken it. When this future is dropped, the stream is
    /// given up.
    ///
    /// # Errors
    /// When the tunnel is retired or over, when too many streams are open, or when the service does not take it:
    /// [`ResetReason::Refused`](crate::ResetReason::Refused) if it has no such port, or nobody listens there.
    pub async fn connect(&self, port: u16) -> Result<TunnelStream, ConnectError> {
        self.any.engine().connect(To::Service(port)).await
    }
}

impl Deref for ClientOnionTunnel {
    type Target = AnyTunnel;

    fn deref(&self) -> &AnyTunnel {
        &self.any
    }
}

impl fmt::Debug for ClientOnionTunnel {
    /// A number that means something only inside this process. The service is not named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientOnionTunnel({})", self.any.engine().id())
    }
}
