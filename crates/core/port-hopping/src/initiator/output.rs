//! What goes into an initiator and comes out of it.

use crate::causes::{Cause, Timers};
use crate::secret::HopSecret;
use crate::step::SocketId;
use crate::targets::Targets;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What an initiator begins with.
#[derive(Debug, Clone)]
pub struct InitiatorConfig {
    /// Of the handshake.
    pub secret: HopSecret,
    /// The other end's addresses and ports. Links to the same end share them.
    pub targets: Arc<Targets>,
    /// The door that the link came up through.
    pub door: SocketAddr,
    /// The round trip of the handshake.
    pub rtt: Duration,
    /// When a pair has lived long enough.
    pub timers: Timers,
    /// From a cryptographic random source, another for each link.
    pub seed: [u8; 32],
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitiatorOutput {
    /// Open a socket towards `remote`; then call `handle_opened` or `handle_open_failed`.
    Open {
        /// Its name.
        id: SocketId,
        /// Where its packets go.
        remote: SocketAddr,
        /// The port to bind; any port if it is taken, or if there is none here.
        local_port: Option<u16>,
    },
    /// Send on this socket, under this index, from the next packet on. The socket left before is heard until its
    /// [`InitiatorOutput::Close`].
    Switch {
        /// Its name.
        id: SocketId,
        /// The hop index: one more, or the same if the other end did not follow to the pair before.
        index: u64,
        /// Why.
        cause: Cause,
    },
    /// Close a socket.
    Close {
        /// Its name.
        id: SocketId,
    },
    /// No candidate answered: make a handshake through a door. The present pair stays in use meanwhile.
    ThroughDoor {
        /// What the hop was for.
        cause: Cause,
    },
}

/// A packet that asks for an answer on a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The socket to send it on.
    pub id: SocketId,
    /// The hop index that it is made for: one above the present one, or the present one while it is not known whether the
    /// other end has followed.
    pub index: u64,
}

/// What the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFailure {
    /// No socket: too many descriptors, no port.
    CannotOpen,
    /// A send: a local firewall, no route, no interface.
    CannotSend,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketUse {
    /// The link's packets go out on it.
    Present,
    /// It is being probed.
    Candidate,
    /// It was left, and is heard a little longer.
    Old,
}

/// One socket of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Its name.
    pub id: SocketId,
    /// The other end of its packets.
    pub remote: SocketAddr,
    /// What it is for.
    pub used_for: SocketUse,
}
