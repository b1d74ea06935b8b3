//! Where packets come from and go to.

use redact::Sensitive;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// A port of this end for packets to `remote`, whatever address the system chooses.
pub(crate) fn anywhere(remote: SocketAddr, port: u16) -> SocketAddr {
    let address: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (address, port).into()
}
