//! What two ends say about a leg, byte-exact (docs/spec/linking.md).

use crate::asked::{ASKED_LEN, Asked};
use crate::ids::{DesiredUx, LegId, NONCE_LEN, Nonce};
use thiserror::Error;
use wire::read::{DecodeError, Reader};

/// The only version of linking.
pub const LINK_VERSION: u8 = 1;

/// How often one thing is said at most: LINK and UNLINK. Each time has a number below this.
pub const ATTEMPTS_MAX: u8 = 8;

/// Bit of LINK's flags: only a tunnel that is there already.
const JOINS: u8 = 1;

/// How often this was said before, 0..[`ATTEMPTS_MAX`]. An answer repeats it, so every answer belongs to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(u8);

impl Attempt {
    /// None if the number is too high.
    pub fn new(number: u8) -> Option<Self> {
        (number < ATTEMPTS_MAX).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A message about the leg on which it travels, or about a leg that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Client: this circuit shall be a leg.
    Link {
        /// Which time this is said.
        attempt: Attempt,
        /// The tunnel must be there already: a leg that comes late revives nothing.
        joins: bool,
        /// What both ends call the leg.
        leg: LegId,
        /// The client's wish for what it receives.
        ux: DesiredUx,
        /// The schedule that it wants the exit's cells in.
        asked: Asked,
        /// The tunnel.
        nonce: Nonce,
    },
    /// Exit: it is one.
    Linked {
        /// That of the LINK.
        attempt: Attempt,
        /// That of the LINK.
        leg: LegId,
        /// The exit's wish for what it receives.
        ux: DesiredUx,
        /// That of the LINK.
        nonce: Nonce,
    },
    /// Client: LINKED came. Gives the exit its round-trip time.
    LinkedAck {
        /// That of the LINKED.
        attempt: Attempt,
    },
    /// Exit: it is none, and the circuit is of no use.
    Refused {
        /// That of the LINK.
        attempt: Attempt,
        /// Why.
        reason: Refusal,
    },
    /// Either end: no more data goes on this leg from here.
    Unlink {
        /// Which time this is said.
        attempt: Attempt,
    },
    /// The answer: nor from here.
    Unlinked {
        /// That of the UNLINK.
        attempt: Attempt,
    },
}

/// Why a leg was not taken although nobody broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
#[repr(u8)]
pub enum Refusal {
    /// The exit links no version that the client does.
    #[error("the exit links another version")]
    Version = 1,
    /// The exit has as many tunnels as it may.
    #[error("the exit is full")]
    Full = 2,
    /// The tunnel has as many legs as it may.
    #[error("the tunnel has as many legs as it may")]
    TooManyLegs = 3,
    /// There is no such tunnel: the exit has restarted, or forgot it.
    #[error("the exit does not have this tunnel")]
    UnknownTunnel = 4,
    /// The tunnel is over.
    #[error("the tunnel is over")]
    Closing = 5,
    /// The exit does not have the schedule that was asked for.
    #[error("the exit does not send in the mode that was asked for")]
    NotOffered = 6,
}

impl Refusal {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Version,
            2 => Self::Full,
            3 => Self::TooManyLegs,
            4 => Self::UnknownTunnel,
            5 => Self::Closing,
            6 => Self::NotOffered,
            _ => return None,
        })
    }
}

/// Why a message cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It is none.
    #[error("the message about a leg cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// A LINK of another version; only its attempt is known.
    #[error("the LINK has another version")]
    Version(Attempt),
}

impl Message {
    /// Reads a message that fills `bytes`.
    ///
    /// # Errors
    /// When it has another length than its kind, a field out of range, or another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let attempt = Attempt::new(reader.u8()?).ok_or(DecodeError::Range("attempt"))?;
        let message = match kind {
            1 => {
                if reader.u8()? != LINK_VERSION {
                    return Err(MessageError::Version(attempt));
                }
                let flags = reader.u8()?;
                if flags & !JOINS != 0 {
                    return Err(DecodeError::Range("flags").into());
                }
                let (leg, ux) = leg_and_wish(&mut reader)?;
                let asked = Asked::decode(reader.array::<ASKED_LEN>()?).ok_or(DecodeError::Range("schedule"))?;
                let nonce = Nonce::new(reader.array::<NONCE_LEN>()?);
                Self::Link { attempt, joins: flags & JOINS != 0, leg, ux, asked, nonce }
            }
            2 => {
                let (version, zero) = (reader.u8()?, reader.u8()?);
                if version != LINK_VERSION || zero != 0 {
                    return Err(DecodeError::Range("version").into());
                }
                let (leg, ux) = leg_and_wish(&mut reader)?;
                let nonce = Nonce::new(reader.array::<NONCE_LEN>()?);
                Self::Linked { attempt, leg, ux, nonce }
            }
            3 => Self::LinkedAck { attempt },
            4 => {
                let reason = Refusal::from_number(reader.u8()?).ok_or(DecodeError::Unknown("refusal"))?;
                Self::Refused { attempt, reason }
            }
            5 => Self::Unlink { attempt },
            6 => Self::Unlinked { attempt },
            _ => return Err(DecodeError::Unknown("message about a leg").into()),
        };
        reader.end()?;
        Ok(message)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Link { attempt, joins, leg, ux, asked, nonce } => {
                out.extend([1, attempt.0, LINK_VERSION, u8::from(*joins) * JOINS, leg.number(), *ux as u8]);
                out.extend(asked.encode());
                out.extend_from_slice(nonce.bytes());
            }
            Self::Linked { attempt, leg, ux, nonce } => {
                out.extend([2, attempt.0, LINK_VERSION, 0, leg.number(), *ux as u8]);
                out.extend_from_slice(nonce.bytes());
            }
            Self::LinkedAck { attempt } => out.extend([3, attempt.0]),
            Self::Refused { attempt, reason } => out.extend([4, attempt.0, *reason as u8]),
            Self::Unlink { attempt } => out.extend([5, attempt.0]),
            Self::Unlinked { attempt } => out.extend([6, attempt.0]),
        }
    }
}

fn leg_and_wish(reader: &mut Reader<'_>) -> Result<(LegId, DesiredUx), DecodeError> {
    let leg = LegId::new(reader.u8()?).ok_or(DecodeError::Range("leg"))?;
    let ux = DesiredUx::from_number(reader.u8()?).ok_or(DecodeError::Unknown("wish"))?;
    Ok((leg, ux))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    fn link() -> Message {
        let (leg, nonce) = (LegId::new(3).expect("below 16"), Nonce::new([0x5a; 32]));
        let asked = Asked::new(1, 7, 2, 4).expect("the third of four");
        Message::Link { attempt: Attempt(2), joins: true, leg, ux: DesiredUx::HighThroughput, asked, nonce }
    }

    /// The vectors of docs/spec/linking.md.
    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let nonce = [0x5a; 32];
        assert_eq!(encoded(&link()), [&[1, 2, 1, 1, 3, 3, 1, 7, 0x23][..], &nonce].concat());
        let leg = LegId::new(3).expect("below 16");
        let linked =
            Message::Linked { attempt: Attempt(2), leg, ux: DesiredUx::MinLatency, nonce: Nonce::new([0x5a; 32]) };
        assert_eq!(encoded(&linked), [&[2, 2, 1, 0, 3, 1][..], &nonce].concat());
        assert_eq!(encoded(&Message::LinkedAck { attempt: Attempt(2) }), [3, 2]);
        assert_eq!(encoded(&Message::Refused { attempt: Attempt(0), reason: Refusal::Closing }), [4, 0, 5]);
        assert_eq!(encoded(&Message::Unlink { attempt: Attempt(7) }), [5, 7]);
        assert_eq!(encoded(&Message::Unlinked { attempt: Attempt(7) }), [6, 7]);
    }

    #[test]
    fn a_message_of_another_version_is_told_apart_from_no_message() {
        let mut bytes = encoded(&link());
        bytes[2] = 2;
        assert_eq!(Message::decode(&bytes), Err(MessageError::Version(Attempt(2))));
        bytes[1] = ATTEMPTS_MAX;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::Range("attempt").into()));
        assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated.into()));
        assert_eq!(Message::decode(&[3, 0, 0]), Err(DecodeError::Trailing.into()));
        assert_eq!(Message::decode(&[4, 0, 7]), Err(DecodeError::Unknown("refusal").into()));
        assert_eq!(Message::decode(&[0, 0]), Err(DecodeError::Unknown("message about a leg").into()));
        for schedule in [[0, 7, 0], [0, 0, 0x10], [1, 7, 0x21], [1, 7, 0x08]] {
            let mut bytes = encoded(&link());
            bytes[6..9].copy_from_slice(&schedule);
            assert_eq!(Message::decode(&bytes), Err(DecodeError::Range("schedule").into()), "{schedule:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(mut bytes in proptest::collection::vec(any::<u8>(), 0..48), kind in 0u8..8) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(encoded(&message), bytes);
            }
        }
    }
}
