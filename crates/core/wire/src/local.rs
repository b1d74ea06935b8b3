//! Messages between the two processes of a node: fixed-size records of the control queues
//! (docs/spec/queues.md). Both sides treat what they read as hostile (I8).

use crate::flow::{Destination, ResetReason, Syn};
use crate::read::{DecodeError, Reader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of every message in a control queue: the longest SYN and some room.
pub const MESSAGE_LEN: usize = 288;

/// Names one use of one queue pair: `use_count` goes up each time the pair is given to a new flow,
/// so that a message about an earlier flow is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueRef {
    /// Which queue pair, `0..max_flows`.
    pub index: u16,
    /// Which use of it.
    pub use_count: u32,
}

/// A message about one queue pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalMessage {
    /// The assigning side gives the queue pair to a new flow.
    Syn(QueueRef, Syn),
    /// The destination answered; the address is the exit's own end of that connection.
    Connected(QueueRef, SocketAddr),
    /// The sender will write no byte behind this position of its ring: a half-close.
    Fin(QueueRef, u64),
    /// The flow is over at once, in both directions, for this reason.
    Reset(QueueRef, ResetReason),
    /// The sender is done with the queue pair: it wrote up to this position and reads no more.
    Closed(QueueRef, u64),
}

impl LocalMessage {
    /// The queue pair that the message is about.
    pub fn queue(&self) -> QueueRef {
        match self {
            Self::Syn(queue, _)
            | Self::Connected(queue, _)
            | Self::Fin(queue, _)
            | Self::Reset(queue, _)
            | Self::Closed(queue, _) => *queue,
        }
    }

    /// The message as it stands in a control queue, zero-padded.
    pub fn encode(&self) -> [u8; MESSAGE_LEN] {
        let mut out = Vec::with_capacity(MESSAGE_LEN);
        let queue = self.queue();
        out.push(match self {
            Self::Syn(..) => 1,
            Self::Connected(..) => 2,
            Self::Fin(..) => 3,
            Self::Reset(..) => 4,
            Self::Closed(..) => 5,
        });
        out.extend_from_slice(&queue.index.to_be_bytes());
        out.extend_from_slice(&queue.use_count.to_be_bytes());
        match self {
            Self::Syn(_, syn) => syn.encode(&mut out),
            Self::Connected(_, address) => Destination::from(*address).encode(&mut out),
            Self::Fin(_, position) | Self::Closed(_, position) => out.extend_from_slice(&position.to_be_bytes()),
            Self::Reset(_, reason) => out.push(*reason as u8),
        }
        let mut message = [0; MESSAGE_LEN];
        message[..out.len()].copy_from_slice(&out);
        message
    }

    /// Reads a message that was copied out of a control queue.
    pub fn decode(message: &[u8; MESSAGE_LEN]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let kind = reader.u8()?;
        let queue = QueueRef { index: reader.u16()?, use_count: reader.u32()? };
        Ok(match kind {
            1 => Self::Syn(queue, Syn::decode(&mut reader)?),
            2 => Self::Connected(queue, socket_address(&mut reader)?),
            3 => Self::Fin(queue, reader.u64()?),
            4 => Self::Reset(queue, ResetReason::try_from(reader.u8()?)?),
            5 => Self::Closed(queue, reader.u64()?),
            _ => return Err(DecodeError::Unknown("local message")),
        })
    }
}

fn socket_address(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = match reader.u8()? {
        1 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        4 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
        _ => return Err(DecodeError::Unknown("address kind")),
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

/// A SYN of the longest kind, for sizing.
#[cfg(test)]
fn longest() -> LocalMessage {
    use crate::flow::{FlowKind, Host, HostName};
    let name = HostName::new(&"n".repeat(255)).unwrap_or_else(|_| unreachable!("255 letters are a host name"));
    let destination = Destination { host: Host::Name(name), port: 443 };
    let syn = Syn { kind: FlowKind::Stream, client: u64::MAX, destination };
    LocalMessage::Syn(QueueRef { index: u16::MAX, use_count: u32::MAX }, syn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_message_survives_a_round_trip() {
        let queue = QueueRef { index: 1023, use_count: 7 };
        let messages = [
            longest(),
            LocalMessage::Connected(queue, SocketAddr::from(([127, 0, 0, 1], 80))),
            LocalMessage::Connected(queue, SocketAddr::from(([1u16; 8], 80))),
            LocalMessage::Fin(queue, u64::MAX),
            LocalMessage::Reset(queue, ResetReason::Denied),
            LocalMessage::Closed(queue, 12),
        ];
        for message in messages {
            assert_eq!(LocalMessage::decode(&message.encode()), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), MESSAGE_LEN)) {
            if let Ok(bytes) = <[u8; MESSAGE_LEN]>::try_from(bytes) {
                let _ = LocalMessage::decode(&bytes);
            }
        }
    }
}
