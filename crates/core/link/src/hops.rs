//! What a caller says and learns about hops.

use crate::offer::HopOffer;
use crate::route::Via;
use port_hopping::causes::{Cause, Timers};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Past hops of a link that a status page can show. When full, the oldest goes.
pub const PAST_HOPS_MAX: usize = 8;

/// How an endpoint's links hop.
#[derive(Debug, Clone)]
pub struct HopConfig {
    /// What links that others have dialled may hop over. `None`: they stay at the door.
    pub offer: Option<HopOffer>,
    /// The port of [`Via::DOOR`].
    pub door_port: u16,
    /// When a pair of ports has lived long enough, of links that this node dials.
    pub timers: Timers,
}

/// What the caller is to do with its sockets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SocketOrder {
    /// Open a socket; then call [`crate::Endpoint::handle_socket_opened`] or [`crate::Endpoint::handle_socket_failed`].
    Open {
        /// Its number.
        via: Via,
        /// The socket that the link was dialled from: the new one is on the same address.
        beside: Via,
        /// Where its packets will go.
        remote: SocketAddr,
        /// The port to bind; any port if it is taken, or if there is none here.
        local_port: Option<u16>,
    },
    /// Listen on a port, at every address that the door listens at; then as above.
    Listen {
        /// Its number.
        via: Via,
        /// The port.
        port: u16,
    },
    /// Close a socket.
    Close {
        /// Its number.
        via: Via,
    },
}

impl std::fmt::Debug for SocketOrder {
    /// Addresses are private.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { via, remote, local_port, .. } => {
                write!(f, "Open({via:?} {local_port:?} -> {})", remote.port())
            }
            Self::Listen { via, port } => write!(f, "Listen({via:?} {port})"),
            Self::Close { via } => write!(f, "Close({via:?})"),
        }
    }
}

/// A hop that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastHop {
    /// When this end changed the pair.
    pub at: Instant,
    /// Its index.
    pub index: u64,
    /// Why; only the end that dialled knows.
    pub cause: Option<Cause>,
}

/// The hops of a link, for a status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopStatus {
    /// How often the link has hopped since it came up through a door.
    pub index: u64,
    /// This end's port; `None` while the system's choice is not known.
    pub local_port: Option<u16>,
    /// The other end's port.
    pub remote_port: u16,
    /// How long the pair has been in use.
    pub age: Duration,
    /// Bytes of UDP payload on it, both directions.
    pub bytes: u64,
    /// The last hops, oldest first, at most [`PAST_HOPS_MAX`].
    pub past: Vec<PastHop>,
    /// Ports of the other end that are held for blocked, and for how much longer. Only the end that dialled knows.
    pub blocked: Vec<(u16, Duration)>,
}
