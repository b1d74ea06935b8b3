//! What a circuit says and is told.

use crate::handshake::Features;
use crate::layer::Position;
use crate::reason::Reason;
use std::time::Duration;
use thiserror::Error;

/// What has happened to a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitEvent {
    /// A hop is there, and the circuit is ready.
    Extended {
        /// Which one.
        position: Position,
    },
    /// A hop was asked for and does not come. The circuit must be truncated (to its last hop) or extended before it is
    /// used: that hop may know of one behind it.
    ExtendFailed {
        /// Why.
        cause: Cause,
    },
    /// The last hop does what it was asked (it is a rendezvous or introduction point), or has done it: the other end has the
    /// message, and for a service the circuits are joined. The circuit is ready.
    Done,
    /// The last hop does not do what it was asked. The circuit must be asked for something, truncated (to its last hop) or extended
    /// before it is used: that hop may have done it.
    AskFailed {
        /// Why.
        cause: Cause,
    },
    /// As asked: what was behind this hop is gone, and the circuit is ready.
    Truncated {
        /// The last hop.
        last: Position,
    },
    /// A relay says that what was behind it is gone, or what the client waited for or was joined to there. An extension under way is over. The circuit must be truncated,
    /// extended or destroyed.
    Severed {
        /// The last hop.
        last: Position,
        /// What the relay says.
        reason: Reason,
    },
    /// The circuit is over.
    Closed {
        /// Why.
        cause: Cause,
    },
}

/// Why a circuit or an extension ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The caller wanted it.
    Asked,
    /// A relay said so.
    Told(Reason),
    /// No answer came.
    TimedOut,
    /// The relay speaks no version that this node does.
    Version,
    /// The relay's answers were not made by the holder of its onion key.
    Handshake,
    /// A key of the circuit has sealed as many cells as it may.
    WornOut,
}

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The circuit is being built, cut or taken down.
    #[error("the circuit is doing something else")]
    Busy,
    /// It has three hops.
    #[error("the circuit has as many hops as a cell has room for")]
    TooLong,
    /// The relay is a hop of it already.
    #[error("the relay is a hop of the circuit already")]
    Twice,
    /// A hop under a lasting key is the only one of its circuit.
    #[error("a hop under a lasting key is the only one of its circuit")]
    Single,
    /// It does not have that hop.
    #[error("the circuit does not have this hop")]
    NoSuchHop,
    /// The last hop is not a place to meet, or the network's packets are too small for it.
    #[error("the last hop of the circuit does not offer this")]
    NotOffered,
    /// No other circuit was joined to it.
    #[error("the circuit is not joined to another one")]
    NotJoined,
    /// The message has none of the lengths that the other end takes.
    #[error("the message is empty or longer than {} bytes", crate::service::SEALED_MAX)]
    Length,
    /// Out of memory, or the system's random source.
    #[error("the cryptographic library failed")]
    Library,
}

/// Why no cell was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The circuit is being built or cut, is severed or over.
    #[error("the circuit takes no cells now")]
    NotReady,
    /// A key has sealed as many cells as it may; the circuit is over.
    #[error("the circuit is worn out")]
    WornOut,
}

/// What came of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A cell of the last hop: its inner part is the region from [`super::Circuit::inner`] on.
    Inner {
        /// The cell's number: how many the hop had sealed before, control messages included.
        number: u64,
    },
    /// It was for the circuit itself.
    Handled,
    /// It was dropped.
    Dropped(Dropped),
}

/// Why a cell was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// A layer's number came before, or is behind the window.
    Replayed,
    /// A layer does not authenticate: somebody altered the cell, or it belongs to other keys.
    Forged,
    /// It was sealed before the circuit changed.
    Stale,
    /// Its command or message has no meaning now: mostly a repeated answer.
    Unexpected,
    /// It is no message at all: the hop that made it broke the protocol.
    Malformed,
    /// There is no circuit of this id.
    UnknownCircuit,
    /// A bound was reached.
    Full,
    /// A key of the circuit is worn out.
    WornOut,
}

/// What is known of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopFigures {
    /// From the first message to the answer: a round trip to this hop, with the work of both ends. `None` when a message had
    /// to be repeated.
    pub handshake_time: Option<Duration>,
    /// What both ends have.
    pub features: Features,
}
