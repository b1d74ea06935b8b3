//! The leg header, first in the innermost part of a region (docs/spec/leg.md).
//!
//! ```text
//! kind 4 bits, leg 4 bits | length 2 | tunnel number 8 | feedback: highest 3, received 3, age 2 |
//! ```

use crate::packet::LEG_HEADER_LEN;
use crate::read::{DecodeError, Reader};

/// What stands behind the leg header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LegKind {
    /// No session packet.
    Cover = 0,
    /// One session packet of `length` bytes.
    Data = 1,
    /// One message of `length` bytes about the leg itself (docs/spec/linking.md).
    Link = 2,
}

/// What the sender of a header has seen of one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Low 24 bits of the highest layer counter seen on that leg.
    pub highest: u32,
    /// Low 24 bits of the number of cells received on that leg.
    pub received: u32,
    /// Time since the cell with the highest counter came, in units of 64 microseconds; saturates.
    pub age: u16,
}

/// The leg header. `length` of a cover cell is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegHeader {
    /// Data, cover or a message about the leg.
    pub kind: LegKind,
    /// The leg that `feedback` is about, 0..=15.
    pub feedback_leg: u8,
    /// Bytes of the session packet behind the header.
    pub length: u16,
    /// Number of the data cell in its tunnel; any other cell repeats the newest.
    pub tunnel_number: u64,
    /// State of one leg in the other direction.
    pub feedback: Feedback,
}

impl LegHeader {
    /// Bits of `highest` and `received` that travel.
    pub const COUNTER_MASK: u32 = 0x00ff_ffff;

    /// The header as it stands in the region.
    pub fn encode(&self) -> [u8; LEG_HEADER_LEN] {
        let mut bytes = [0; LEG_HEADER_LEN];
        bytes[0] = (self.kind as u8) << 4 | (self.feedback_leg & 0x0f);
        bytes[1..3].copy_from_slice(&self.length.to_be_bytes());
        bytes[3..11].copy_from_slice(&self.tunnel_number.to_be_bytes());
        bytes[11..14].copy_from_slice(&self.feedback.highest.to_be_bytes()[1..]);
        bytes[14..17].copy_from_slice(&self.feedback.received.to_be_bytes()[1..]);
        bytes[17..19].copy_from_slice(&self.feedback.age.to_be_bytes());
        bytes
    }

    /// Reads a header and the session packet behind it (empty for a cover cell).
    pub fn decode(inner: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(inner);
        let first = reader.u8()?;
        let kind = match first >> 4 {
            0 => LegKind::Cover,
            1 => LegKind::Data,
            2 => LegKind::Link,
            _ => return Err(DecodeError::Unknown("leg kind")),
        };
        let length = reader.u16()?;
        let tunnel_number = reader.u64()?;
        let [a, b, c] = reader.array::<3>()?;
        let [d, e, f] = reader.array::<3>()?;
        let feedback = Feedback {
            highest: u32::from_be_bytes([0, a, b, c]),
            received: u32::from_be_bytes([0, d, e, f]),
            age: reader.u16()?,
        };
        match kind {
            LegKind::Cover if length != 0 => return Err(DecodeError::Range("cover length")),
            LegKind::Data if length == 0 => return Err(DecodeError::Range("data length")),
            LegKind::Link if length == 0 => return Err(DecodeError::Range("message length")),
            LegKind::Cover | LegKind::Data | LegKind::Link => {}
        }
        let packet = reader.take(usize::from(length))?;
        Ok((Self { kind, feedback_leg: first & 0x0f, length, tunnel_number, feedback }, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_survives_a_round_trip(kind in 0u8..3, leg in 0u8..16, n in any::<u64>(), highest in 0u32..1 << 24, received in 0u32..1 << 24, age in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 1..64)) {
            let kind = [LegKind::Cover, LegKind::Data, LegKind::Link][usize::from(kind)];
            let length = if kind == LegKind::Cover { 0 } else { body.len() as u16 };
            let header = LegHeader { kind, feedback_leg: leg, length, tunnel_number: n, feedback: Feedback { highest, received, age } };
            let mut bytes = header.encode().to_vec();
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(&[0xaa; 9]);
            let (decoded, packet) = LegHeader::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(decoded, header);
            prop_assert_eq!(packet, &body[..usize::from(length)]);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = LegHeader::decode(&bytes);
        }
    }
}
