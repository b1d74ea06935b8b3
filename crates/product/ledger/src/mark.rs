//! Which ledger a file is, and how far it has come.

use std::fmt;

/// Names one ledger among all that were ever made: 128 bits from the system's random source, drawn when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerId([u8; 16]);

/// A ledger at a moment. Two files with one id are copies of each other, and the one with fewer reservations is the older: it
/// has forgotten what was spent since. Files with as many each can only differ if both were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which ledger.
    pub id: LedgerId,
    /// Reservations since it was made.
    pub reservations: u64,
}

impl LedgerId {
    /// An id of these bytes, which have to be random.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printed_in_hexadecimal() {
        let mut bytes = [0; 16];
        bytes[0] = 0x0a;
        bytes[15] = 0xff;
        assert_eq!(LedgerId::from_bytes(bytes).to_string(), "0a0000000000000000000000000000ff");
    }
}
