//! Why a circuit, or the part of it behind a relay, ends (docs/spec/onion.md, "Reasons").

/// Why a circuit or a part of it ends. Travels in one byte; it is a hint of whoever says it, never proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Not said, or said in a byte that has no meaning in this version.
    Unspecified = 0,
    /// Its client is done with it. What is told to relays further on, whatever the cause was.
    Finished = 1,
    /// Somebody broke the protocol.
    Protocol = 2,
    /// The node that was asked has no circuit of this id: it may have restarted.
    UnknownCircuit = 3,
    /// The relay has as many circuits or handshakes as it takes.
    Full = 4,
    /// The relay takes no new circuits and ends those that it has.
    Draining = 5,
    /// The relay does not know the node that it should extend to.
    UnknownNode = 6,
    /// No link to that node came up.
    Unreachable = 7,
    /// The link over which the circuit went is down.
    LinkDown = 8,
    /// Nothing came for too long.
    TimedOut = 9,
    /// A key of the circuit has sealed as many cells as it may.
    WornOut = 10,
    /// The relay does not have the onion key of the handshake's interval.
    UnknownInterval = 11,
    /// The handshake, or a signature, does not authenticate.
    Handshake = 12,
    /// Nobody waits at the relay under this cookie or key.
    UnknownName = 13,
    /// Somebody else waits at the relay under this cookie.
    Taken = 14,
    /// The key is asked for more often than the relay passes on.
    TooMany = 15,
    /// The relay does not do this.
    NotOffered = 16,
}

impl Reason {
    /// All of them, in the order of their bytes.
    pub const ALL: [Self; 17] = [
        Self::Unspecified,
        Self::Finished,
        Self::Protocol,
        Self::UnknownCircuit,
        Self::Full,
        Self::Draining,
        Self::UnknownNode,
        Self::Unreachable,
        Self::LinkDown,
        Self::TimedOut,
        Self::WornOut,
        Self::UnknownInterval,
        Self::Handshake,
        Self::UnknownName,
        Self::Taken,
        Self::TooMany,
        Self::NotOffered,
    ];
}

impl From<u8> for Reason {
    /// Total: an ending is an ending, whatever its reason.
    fn from(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_reason() {
        for byte in 0..=u8::MAX {
            let known = usize::from(byte) < Reason::ALL.len();
            assert_eq!(Reason::from(byte) as u8, if known { byte } else { 0 });
        }
    }
}
