//! What a relay keeps of one circuit.

use super::meeting::{Passing, Point, Waiting};
use super::{CircuitKey, Side};
use crate::handshake::Features;
use crate::keys::BindingKey;
use crate::layer::RelayLayers;
use crate::message::RequestNumber;
use crate::parts::Assembly;
use crate::reason::Reason;
use crate::service::Ask;
use std::time::Instant;

/// One circuit at a relay. A few kilobytes, most of them keys and replay window.
pub(super) struct RelayCircuit {
    /// Towards the client.
    pub(super) previous: Side,
    pub(super) layers: RelayLayers,
    pub(super) binding: BindingKey,
    pub(super) features: Features,
    /// It was made under the lasting key, and so goes on to nobody.
    pub(super) is_single: bool,
    /// Hash of the first part of the first message: whoever sends it again is answered again.
    pub(super) first_hash: [u8; 32],
    /// The answer, until a cell of the client shows that it has it.
    pub(super) created: Option<Box<[u8]>>,
    /// What is behind this hop.
    pub(super) onward: Onward,
    /// The number of the newest control cell: cells to be handed on or delivered that were sealed before are stale.
    pub(super) from: u64,
    /// The newest request.
    pub(super) request: RequestNumber,
    /// When the client was heard last, or the circuit made.
    pub(super) heard: Instant,
    /// True when cells were delivered here.
    pub(super) delivered: bool,
}

/// What is behind a hop.
pub(super) enum Onward {
    /// Nothing: the hop is the last one.
    End,
    /// Parts of an extend come in.
    Assembling(Assembly),
    /// The caller looks for a link.
    Connecting { first: Box<[u8]> },
    /// The first message is under way; a repeated extend sends it again.
    Creating { side: Side, first: Box<[u8]>, answer: Assembly },
    /// Another relay. Its answer is kept until a cell that goes on shows that the client has it.
    Open { side: Side, answer: Option<Box<[u8]>> },
    /// It was not extended; a repeated extend is refused again.
    Refused(Reason),
    /// What was there is gone, and the client may not know. `told`: when it was told last.
    Severed { reason: Reason, told: Instant },
    /// Parts of something that the client asks come in.
    Gathering(Ask, Assembly),
    /// The client waits for a service.
    Waiting(Box<Waiting>),
    /// The client is told what others say to its key.
    Point(Box<Point>),
    /// What the client said waits for another one to take it.
    Passing(Box<Passing>),
    /// The service has what the client said.
    Introduced,
    /// What comes out of this circuit goes into the other, and the other way round.
    Spliced { to: CircuitKey },
}

impl Onward {
    /// The side of the next relay, if there is one.
    pub(super) fn side(&self) -> Option<Side> {
        match self {
            Self::Creating { side, .. } | Self::Open { side, .. } => Some(*side),
            _ => None,
        }
    }
}
