//! The cell: what a packet carries. Circuit id, command, region (docs/spec/link.md, "Cell").

use crate::read::{DecodeError, Reader};

/// A circuit of one link. The high bit says who dialled the link: set for circuits of the dialling side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitId(pub u32);

impl CircuitId {
    /// The link's own cells: cover without a circuit, reports, challenges, rekeys.
    pub const LINK: Self = Self(0);
    /// Set in the ids that the side which dialled the link chooses.
    pub const DIALLER_BIT: u32 = 1 << 31;
}

/// What a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// Circuit 0: nothing. Fills a slot of a link that has no circuit.
    Cover = 0,
    /// Circuit 0: a link report.
    Report = 1,
    /// Circuit 0: eight bytes that prove an address when they come back.
    Challenge = 2,
    /// Circuit 0: the eight bytes of a challenge.
    ChallengeAnswer = 3,
    /// Circuit 0: first message of a rekey.
    RekeyInit = 4,
    /// Circuit 0: second message of a rekey.
    RekeyAnswer = 5,
    /// Circuit 0: the responder's addresses and ports, to hop over.
    HopOffer = 6,
    /// Circuit 0: an offer came, and whether it is used.
    HopOfferTaken = 7,
    /// Circuit 0: asks for an answer on the pair of ports that it came on.
    HopProbe = 8,
    /// Circuit 0: the answer to a probe.
    HopAnswer = 9,
    /// Circuit 0: the responder asks for a hop.
    HopAsk = 10,
    /// Circuit 0: the initiator leaves, and the link is over.
    Farewell = 11,
    /// A leg header and perhaps a session packet, under the circuit's layers; or a control message, under them too.
    Relay = 16,
    /// A part of the first message of a hop handshake.
    Create = 17,
    /// A part of the second message.
    Created = 18,
    /// The circuit is gone.
    Destroy = 20,
    /// As the other side said, the circuit is gone.
    Destroyed = 21,
}

impl Command {
    /// True for cells of a circuit, which the link only carries.
    pub fn is_of_circuit(self) -> bool {
        matches!(self, Self::Relay | Self::Create | Self::Created | Self::Destroy | Self::Destroyed)
    }
}

impl TryFrom<u8> for Command {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            0 => Self::Cover,
            1 => Self::Report,
            2 => Self::Challenge,
            3 => Self::ChallengeAnswer,
            4 => Self::RekeyInit,
            5 => Self::RekeyAnswer,
            6 => Self::HopOffer,
            7 => Self::HopOfferTaken,
            8 => Self::HopProbe,
            9 => Self::HopAnswer,
            10 => Self::HopAsk,
            11 => Self::Farewell,
            16 => Self::Relay,
            17 => Self::Create,
            18 => Self::Created,
            20 => Self::Destroy,
            21 => Self::Destroyed,
            _ => return Err(DecodeError::Unknown("cell command")),
        })
    }
}

/// The first five bytes of a packet's sealed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellHead {
    /// Whose cell this is.
    pub circuit: CircuitId,
    /// What it is for.
    pub command: Command,
}

impl CellHead {
    /// The head as it stands in the body.
    pub fn encode(self) -> [u8; crate::packet::CELL_HEAD_LEN] {
        let [a, b, c, d] = self.circuit.0.to_be_bytes();
        [a, b, c, d, self.command as u8]
    }

    /// Reads the head of a body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        Ok(Self { circuit: CircuitId(reader.u32()?), command: Command::try_from(reader.u8()?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_survives_a_round_trip() {
        for byte in 0..=u8::MAX {
            let Ok(command) = Command::try_from(byte) else { continue };
            let head = CellHead { circuit: CircuitId(0x8000_0001), command };
            assert_eq!(CellHead::decode(&head.encode()), Ok(head));
        }
        assert_eq!(CellHead::decode(&[0; 4]), Err(DecodeError::Truncated));
        assert_eq!(CellHead::decode(&[0, 0, 0, 0, 99]), Err(DecodeError::Unknown("cell command")));
    }
}
