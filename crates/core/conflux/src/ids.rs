//! Names of legs and tunnels.

use std::fmt;
use zeroize::Zeroize;

/// Numbers that a leg can have: they travel in four bits.
pub const LEG_IDS: u8 = 16;

/// A leg of a tunnel, 0..=15. The client chooses it, both ends use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u8);

impl LegId {
    /// None if the number is above 15.
    pub fn new(number: u8) -> Option<Self> {
        (number < LEG_IDS).then_some(Self(number))
    }

    /// 0..=15.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A tunnel at its join point, numbered by the [`crate::JoinPoint`]. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u64);

/// Bytes of a [`Nonce`].
pub const NONCE_LEN: usize = 32;

/// What the legs of one tunnel have in common. Secret: whoever knows it can add a leg. It is erased when it is dropped, and
/// no log shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// From 32 bytes of a cryptographic random source, used for no other tunnel.
    pub fn new(random: [u8; NONCE_LEN]) -> Self {
        Self(random)
    }

    pub(crate) fn bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

impl Drop for Nonce {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What the receiver of data wishes for. The sender chooses its scheduler by it; the two directions are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum DesiredUx {
    /// No opinion.
    #[default]
    NoOpinion = 0,
    /// Low latency.
    MinLatency = 1,
    /// Low latency, and little memory at the receiver.
    LowMemoryLatency = 2,
    /// High throughput.
    HighThroughput = 3,
    /// High throughput, and little memory at the receiver.
    LowMemoryThroughput = 4,
}

impl DesiredUx {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::NoOpinion,
            1 => Self::MinLatency,
            2 => Self::LowMemoryLatency,
            3 => Self::HighThroughput,
            4 => Self::LowMemoryThroughput,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_nonce() {
        let nonce = Nonce::new([0xab; NONCE_LEN]);
        let text = format!("{nonce:?} {nonce:#?}");
        assert!(!text.contains("ab") && !text.contains("171"), "{text}");
    }
}
