//! What a tunnel holds, and less of it when memory is short.

use super::{LEGS_MAX, Tunnel};
use crate::flight::FLIGHT_CELLS_MAX;
use crate::leg::Member;
use crate::message::Message;
use crate::reorder::REORDER_BYTES_MAX;

/// What is charged for a leg beside what it remembers of its cells: its state, its place in tables, its controller.
pub const LEG_BYTES: usize = 2_048;

/// With so much room nothing is limited: the buffer and all flights can grow to their own bounds.
const AMPLE: usize = REORDER_BYTES_MAX + LEGS_MAX as usize * FLIGHT_CELLS_MAX * 128;

/// Bytes that a tunnel holds, its session left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegsMemory {
    /// Packets that wait for others, with what keeps them.
    pub reorder: usize,
    /// Legs: what is remembered of their cells in flight, messages that were not sent yet, and [`LEG_BYTES`] each.
    pub legs: usize,
}

impl<K> Tunnel<K> {
    /// Bytes of packets that wait for others.
    pub fn held_bytes(&self) -> usize {
        self.reorder.bytes()
    }

    /// All that the tunnel holds.
    pub fn memory(&self) -> LegsMemory {
        LegsMemory { reorder: self.reorder.bytes(), legs: self.members.values().map(leg_bytes).sum() }
    }

    /// So many more bytes may be held from now on, beside the bounds that always hold. When there is not enough for what is
    /// held back, gaps are skipped, to be fetched with [`Tunnel::poll_packet`]; of cells in flight the oldest are forgotten as
    /// they are above [`FLIGHT_CELLS_MAX`]. Ends when it is called with enough.
    pub fn limit_memory(&mut self, more: usize) {
        let is_short = more < AMPLE;
        if is_short || self.is_limited {
            self.is_limited = is_short;
            self.reorder.set_max(self.reorder.bytes().saturating_add(more));
            let of_leg = more / self.members.len().max(1);
            self.members.values_mut().for_each(|member| member.core_mut().flight.limit(of_leg));
        }
    }

    /// Whether packets are ready because there is no room to hold them back.
    pub fn poll_full(&self) -> bool {
        self.is_limited && self.reorder.has_too_much()
    }

    /// Gives up what can be given up: all that is held back is ready, but for a few packets at most, and most cells in flight are
    /// forgotten.
    pub fn give_up_memory(&mut self) {
        self.is_limited = true;
        self.reorder.set_max(0);
        self.members.values_mut().for_each(|member| member.core_mut().flight.forget_most());
    }
}

fn leg_bytes<K>(member: &Member<K>) -> usize {
    let core = member.core();
    LEG_BYTES + core.flight.bytes() + core.messages.len() * size_of::<Message>()
}
