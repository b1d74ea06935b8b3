//! Messages of the control stream (docs/spec/session.md, "Control stream").
//!
//! ```text
//! length 2 | kind 1 | flow 8 | body          length counts what follows it
//! ```

use crate::event::Violation;
use crate::flow::FlowId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::flow::{Destination, ResetReason, Syn};
use wire::grant::Grant;
use wire::read::{DecodeError, Reader};

/// Bytes of the longest message behind its length: a SYN with the longest host name.
pub const MESSAGE_MAX: usize = 1 + 8 + (1 + 8 + Destination::ENCODED_MAX);

/// Kind of the message that is about no flow.
const GRANT: u8 = 5;

/// Bytes of the length in front of each message.
const LENGTH_LEN: usize = 2;

/// One control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    /// Client: opens a flow.
    Syn(FlowId, Syn),
    /// Server: the destination answered; the address is the exit's own end of that connection.
    Connected(FlowId, SocketAddr),
    /// Either: no record of this datagram flow follows.
    Finished(FlowId),
    /// Either: this datagram flow is over.
    Reset(FlowId, ResetReason),
    /// Client: leave to release measurements of the other direction. It is about no flow; its number is 0.
    Grant(Grant),
}

impl ControlMessage {
    /// Appends the message with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_LEN]);
        let (kind, number) = match self {
            Self::Syn(flow, _) => (1, flow.number()),
            Self::Connected(flow, _) => (2, flow.number()),
            Self::Finished(flow) => (3, flow.number()),
            Self::Reset(flow, _) => (4, flow.number()),
            Self::Grant(_) => (GRANT, 0),
        };
        out.push(kind);
        out.extend_from_slice(&number.to_be_bytes());
        match self {
            Self::Syn(_, syn) => syn.encode(out),
            Self::Connected(_, address) => Destination::from(*address).encode(out),
            Self::Finished(_) => {}
            Self::Reset(_, reason) => out.push(*reason as u8),
            Self::Grant(grant) => grant.encode(out),
        }
        let length = (out.len() - start - LENGTH_LEN) as u16;
        out[start..start + LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads one message without its length.
    pub fn decode(message: &[u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(message);
        let (kind, number) = (reader.u8()?, reader.u64()?);
        if kind == GRANT && number == 0 {
            let grant = Grant::decode(&mut reader)?;
            reader.end()?;
            return Ok(Self::Grant(grant));
        }
        let flow = FlowId::from_wire(number).ok_or(Violation::FlowNumber)?;
        let decoded = match kind {
            1 => Self::Syn(flow, Syn::decode(&mut reader)?),
            2 => Self::Connected(flow, socket_address(&mut reader)?),
            3 => Self::Finished(flow),
            4 => Self::Reset(flow, ResetReason::try_from(reader.u8()?)?),
            _ => return Err(DecodeError::Unknown("control message").into()),
        };
        reader.end()?;
        let is_of_kind = match &decoded {
            Self::Syn(flow, syn) => flow.kind().is_stream() == syn.kind.is_stream(),
            Self::Connected(..) => true,
            Self::Finished(flow) | Self::Reset(flow, _) => flow.stream().is_none(),
            Self::Grant(_) => false,
        };
        if is_of_kind { Ok(decoded) } else { Err(Violation::FlowNumber) }
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

/// Cuts a byte stream into messages. Holds at most one message: a length is checked before its bytes are kept.
#[derive(Debug, Default)]
pub struct ControlDecoder {
    partial: Vec<u8>,
}

impl ControlDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and calls `found` for each message that they complete.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut found: impl FnMut(ControlMessage) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let wanted = self.wanted()?;
            let (head, rest) = bytes.split_at(bytes.len().min(wanted));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.wanted()? == 0 {
                let message = ControlMessage::decode(&self.partial[LENGTH_LEN..]);
                self.partial.clear();
                found(message?)?;
            }
        }
        Ok(())
    }

    /// Bytes that the length or the message still lacks; 0 if a message is complete.
    fn wanted(&self) -> Result<usize, Violation> {
        let Some((length, body)) = self.partial.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(LENGTH_LEN - self.partial.len());
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MESSAGE_MAX {
            return Err(Violation::MessageLength);
        }
        if length == 0 {
            return Err(DecodeError::Truncated.into());
        }
        Ok(length - body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::flow::{FlowKind, Host, HostName};

    fn decode_all(bytes: &[u8], piece: usize) -> Result<Vec<ControlMessage>, Violation> {
        let mut decoder = ControlDecoder::new();
        let mut messages = Vec::new();
        for part in bytes.chunks(piece.max(1)) {
            decoder.push(part, |message| {
                messages.push(message);
                Ok(())
            })?;
        }
        Ok(messages)
    }

    fn longest_syn() -> ControlMessage {
        let name = HostName::new(&"n".repeat(255)).expect("255 letters are a host name");
        let destination = Destination { host: Host::Name(name), port: 443 };
        ControlMessage::Syn(FlowId(4), Syn { kind: FlowKind::Stream, client: u64::MAX, destination })
    }

    fn any_message() -> impl Strategy<Value = ControlMessage> {
        let reason = (1u8..=10).prop_filter_map("a reason", |byte| ResetReason::try_from(byte).ok());
        let datagrams = (0u64..1 << 60).prop_map(FlowId::datagrams);
        let syn = (any::<u64>(), any::<SocketAddr>(), 1u64..1 << 59, any::<bool>()).prop_map(
            |(client, address, index, is_stream)| {
                let kind = if is_stream { FlowKind::Stream } else { FlowKind::Datagrams };
                let flow = if is_stream { FlowId(index << 2) } else { FlowId::datagrams(index) };
                ControlMessage::Syn(flow, Syn { kind, client, destination: address.into() })
            },
        );
        prop_oneof![
            syn,
            (any::<u64>(), 1u64..1 << 59)
                .prop_map(|(client, index)| { ControlMessage::Syn(FlowId(index << 2), Syn::directory(client)) }),
            Just(longest_syn()),
            (1u64..1 << 59, any::<SocketAddr>()).prop_map(|(index, address)| {
                ControlMessage::Connected(FlowId(index << 2), SocketAddr::new(address.ip(), address.port()))
            }),
            datagrams.clone().prop_map(ControlMessage::Finished),
            (datagrams, reason).prop_map(|(flow, reason)| ControlMessage::Reset(flow, reason)),
            (0u64..1 << 40, 1u16..=720, any::<u128>()).prop_map(|(first_epoch, releases, cost_each)| {
                ControlMessage::Grant(Grant { first_epoch, releases, cost_each })
            }),
        ]
    }

    #[test]
    fn bytes_are_as_specified() {
        let mut bytes = Vec::new();
        let destination = Destination::from(SocketAddr::from(([192, 0, 2, 7], 80)));
        ControlMessage::Syn(FlowId(4), Syn { kind: FlowKind::Stream, client: 5, destination }).encode(&mut bytes);
        assert_eq!(bytes, [0, 25, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 192, 0, 2, 7, 0, 80]);
        bytes.clear();
        ControlMessage::Syn(FlowId(8), Syn::directory(5)).encode(&mut bytes);
        assert_eq!(bytes, [0, 18, 1, 0, 0, 0, 0, 0, 0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
        bytes.clear();
        ControlMessage::Reset(FlowId(6), ResetReason::Denied).encode(&mut bytes);
        assert_eq!(bytes, [0, 10, 4, 0, 0, 0, 0, 0, 0, 0, 6, 3]);
        bytes.clear();
        ControlMessage::Grant(Grant { first_epoch: 0x102, releases: 12, cost_each: 9 }).encode(&mut bytes);
        let body = [0, 0, 0, 0, 0, 0, 1, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(bytes, [&[0, 35, 5, 0, 0, 0, 0, 0, 0, 0, 0][..], &body].concat());
    }

    #[test]
    fn limits_and_mismatches_are_refused() {
        let mut longest = Vec::new();
        longest_syn().encode(&mut longest);
        assert_eq!(longest.len(), LENGTH_LEN + MESSAGE_MAX);
        let too_long = ((MESSAGE_MAX + 1) as u16).to_be_bytes();
        assert_eq!(decode_all(&too_long, 1), Err(Violation::MessageLength));
        assert_eq!(decode_all(&[0, 0], 2), Err(Violation::Message(DecodeError::Truncated)));
        assert_eq!(decode_all(&[0, 9, 3, 0, 0, 0, 0, 0, 0, 0, 4], 3), Err(Violation::FlowNumber), "a stream flow");
        assert_eq!(
            decode_all(&[0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 6], 3),
            Err(DecodeError::Unknown("control message").into())
        );
        assert_eq!(decode_all(&[0, 10, 3, 0, 0, 0, 0, 0, 0, 0, 6, 1], 9), Err(DecodeError::Trailing.into()));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(messages in proptest::collection::vec(any_message(), 1..20), piece in 1usize..600) {
            let mut bytes = Vec::new();
            for message in &messages {
                message.encode(&mut bytes);
            }
            prop_assert_eq!(decode_all(&bytes, piece), Ok(messages));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700), piece in 1usize..64) {
            let _ = decode_all(&bytes, piece);
        }
    }
}
