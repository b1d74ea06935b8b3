//! Which way a packet takes.

use redact::Sensitive;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One of the caller's sockets, by the number that the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via(pub u32);

impl Via {
    /// The socket that doors listen at, and that dials leave from unless they say another.
    pub const DOOR: Self = Self(0);
}

/// A socket, an address of its own and a far one: a UDP 5-tuple.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The near end.
    pub via: Via,
    /// The near address where the socket has all of the machine's, as packets came to it. None: the system's choice. Ends that
    /// dial leave it open, so that they can move.
    pub from: Option<IpAddr>,
    /// The far end.
    pub to: SocketAddr,
}

impl From<SocketAddr> for Route {
    /// By the door's socket.
    fn from(to: SocketAddr) -> Self {
        Self { via: Via::DOOR, from: None, to }
    }
}

impl fmt::Debug for Route {
    /// Addresses are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} -> {}", self.via, Sensitive::new(format!("{:?}", self.from)), Sensitive::new(self.to))
    }
}
