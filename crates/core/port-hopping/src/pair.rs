//! Where packets come from and go to.

use redact::Sensitive;
use std::fmt;
use std::net::SocketAddr;

/// The two ends of a UDP 5-tuple as one end sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// This end. The address may be unspecified where the system chooses it; the port is not 0.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl fmt::Debug for Pair {
    /// Ports only: addresses are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = Sensitive::new(());
        write!(f, "{hidden}:{} -> {hidden}:{}", self.local.port(), self.remote.port())
    }
}
