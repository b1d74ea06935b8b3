//! What comes out of a relay.

use link::Route;
use onion::{CircuitKey, Reason};
use std::ops::Range;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Send the packet, as it is now, at once.
    Send {
        /// Where to.
        to: Route,
    },
    /// A cell for the last hop, which this relay is: this part of the packet.
    Inner {
        /// Whose.
        circuit: CircuitKey,
        /// Where.
        inner: Range<usize>,
        /// The cell's number on its circuit, which feedback about a leg is counted in.
        number: u64,
    },
    /// It was the relay's own business, or waits for its turn.
    Handled,
    /// It was dropped, counted.
    Dropped,
}

/// What a caller should know. The first three are for what is joined to the last hop of circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeEvent {
    /// A circuit ends here, and its first cell came. That cell may have been handed over just before.
    Opened {
        /// Which one.
        circuit: CircuitKey,
    },
    /// The circuit goes on to another relay: nothing more comes out of it here, and nothing can be sent to its client.
    NotLast {
        /// Which one.
        circuit: CircuitKey,
    },
    /// The circuit is over.
    Closed {
        /// Which one.
        circuit: CircuitKey,
        /// Why.
        reason: Reason,
    },
    /// To be stored: see [`link::LinkEvent::AcceptedEphemeral`].
    AcceptedEphemeral {
        /// The key.
        ephemeral: [u8; 32],
        /// Its day, counted from 1970.
        day: u32,
    },
    /// Another process uses the keys of a neighbour, or of this relay.
    SameKeyElsewhere,
    /// As asked: there are no circuits any more, and their clients know.
    Drained,
}
