//! Leaks planted into the driver, where a shell could have them: each must be caught by the observer's tests.

/// A way in which a shell could let the secret reach the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leak {
    /// Packets of slots with data are 16 bytes longer.
    LongerWithData,
    /// A SYN makes a packet at once.
    SynAtOnce,
    /// Slots with data are sent 50 microseconds late.
    LaterWithData,
    /// A packet leaves when a ring is full.
    PacketWhenRingFills,
    /// Making a slot with data takes longer than the lead time, and the spare cover is never ready.
    SpareNeverReady,
}
