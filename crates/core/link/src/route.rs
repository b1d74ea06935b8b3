//! Which way a packet takes.

use redact::Sensitive;
use std::fmt;
use std::net::SocketAddr;

/// One of the caller's sockets, by the number that the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via(pub u32);

impl Via {
    /// The socket that dials leave from and doors listen at.
    pub const DOOR: Self = Self(0);
}

/// A socket and a far address: with the socket's own address, a UDP 5-tuple.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The near end.
    pub via: Via,
    /// The far end.
    pub to: SocketAddr,
}

impl From<SocketAddr> for Route {
    /// By the door's socket.
    fn from(to: SocketAddr) -> Self {
        Self { via: Via::DOOR, to }
    }
}

impl fmt::Debug for Route {
    /// Addresses are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> {}", self.via, Sensitive::new(self.to))
    }
}
