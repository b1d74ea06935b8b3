//! A tunnel to the network's directory.

use crate::any_tunnel::AnyTunnel;
use crate::clock_skew::{self, ClockSkew};
use crate::engine::Engine;
use crate::error::ConnectError;
use crate::request::To;
use crate::stream::TunnelStream;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// How long the directory may take to say what time it is.
const CLOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A tunnel of one leg to a directory node, for directory streams and nothing else. Clones are handles of the same one; when the
/// last is dropped, its streams finish and it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientDirTunnel {
    any: AnyTunnel,
}

impl ClientDirTunnel {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { any: AnyTunnel::new(engine) }
    }

    /// Opens a stream to the directory's service, and waits until that has it. What is said on it: docs/spec/relay-directory.md,
    /// section 10. When this future is dropped, the stream is given up.
    ///
    /// # Errors
    /// When the tunnel is retired or over, when too many streams are open here or there, or when the node has no directory.
    pub async fn begin_dir_stream(&self) -> Result<TunnelStream, ConnectError> {
        self.any.engine().connect(To::Directory).await
    }

    /// How far this machine's clock is from the directory's, as it says on a stream of its own; on a path of one hop that is what
    /// the first hop says. `None`: it did not say so within ten seconds.
    ///
    /// Links and circuits tell no time, and a clock that is wrong by more than a day opens no door at all, so that nothing answers.
    /// What is told here is believed, not proved: it is for a warning, and no clock is to be set by it.
    pub async fn first_hop_clock_skew(&self) -> Option<ClockSkew> {
        let asked = async { clock_skew::ask(self.begin_dir_stream().await.ok()?).await };
        tokio::time::timeout(CLOCK_PATIENCE, asked).await.ok().flatten()
    }
}

impl Deref for ClientDirTunnel {
    type Target = AnyTunnel;

    fn deref(&self) -> &AnyTunnel {
        &self.any
    }
}

impl fmt::Debug for ClientDirTunnel {
    /// A number that means something only inside this process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientDirTunnel({})", self.any.engine().id())
    }
}
