//! A tunnel for streams of an application's user.

use crate::any_tunnel::AnyTunnel;
use crate::engine::Engine;
use crate::error::ConnectError;
use crate::request::To;
use crate::stream::TunnelStream;
use std::fmt;
use std::ops::Deref;
use wire::flow::Destination;

/// A tunnel over one or more paths to one exit. Clones are handles of the same one.
///
/// It can be used and looked at. It cannot be changed: nothing here extends a path, adds a leg or names a circuit, whatever state
/// the tunnel is in.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientTunnel {
    any: AnyTunnel,
}

impl ClientTunnel {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { any: AnyTunnel::new(engine) }
    }

    /// Opens a stream, and waits until the exit says that the destination answers.
    ///
    /// Names are resolved at the exit. When this future is dropped, the stream is given up.
    ///
    /// # Errors
    /// When the tunnel is retired or over, when too many streams are open, or when the exit or the destination refuses.
    pub async fn connect(&self, destination: impl Into<Destination>) -> Result<TunnelStream, ConnectError> {
        self.any.engine().connect(To::Server(destination.into())).await
    }
}

impl Deref for ClientTunnel {
    type Target = AnyTunnel;

    fn deref(&self) -> &AnyTunnel {
        &self.any
    }
}

impl fmt::Display for ClientTunnel {
    /// A number that means something only inside this process: neither a relay nor a destination is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel {}", self.any.engine().id())
    }
}

impl fmt::Debug for ClientTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTunnel({})", self.any.engine().id())
    }
}
