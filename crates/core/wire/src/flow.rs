//! What a flow is opened and closed with: destination, SYN, the reasons of a reset (docs/spec/session.md).

use crate::read::{DecodeError, Reader};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// A host name that may stand in a destination: 1..=255 bytes of printable ASCII without spaces.
/// It is resolved at the exit and nowhere else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// The name is empty, longer than 255 bytes or has a byte that no host name has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a host name: it must have 1 to 255 printable ASCII characters and no space")]
pub struct HostNameError;

impl HostName {
    /// Checks length and alphabet; does not look the name up.
    pub fn new(name: &str) -> Result<Self, HostNameError> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > 255 || !printable {
            return Err(HostNameError);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HostName {
    /// Destinations are private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostName(..)")
    }
}

/// The host part of a destination.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, resolved at the exit.
    Name(HostName),
}

impl fmt::Debug for Host {
    /// Destinations are private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host(..)")
    }
}

/// Where a flow goes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Address or name.
    pub host: Host,
    /// TCP or UDP port. 0 only in a UDP association's "any".
    pub port: u16,
}

impl Destination {
    /// Nowhere: what a flow has that needs no destination.
    pub const NOWHERE: Self = Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port: 0 };
    /// Bytes of the longest encoding.
    pub const ENCODED_MAX: usize = 1 + 1 + 255 + 2;

    /// Appends `kind 1 | address 4, 16 or (length 1, name) | port 2` (the address form of RFC 1928, section 5).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.host {
            Host::Ip(IpAddr::V4(address)) => {
                out.push(1);
                out.extend_from_slice(&address.octets());
            }
            Host::Name(name) => {
                out.push(3);
                out.push(name.0.len() as u8);
                out.extend_from_slice(name.0.as_bytes());
            }
            Host::Ip(IpAddr::V6(address)) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
        }
        out.extend_from_slice(&self.port.to_be_bytes());
    }

    /// Reads what [`Destination::encode`] writes and leaves the reader behind it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = match reader.u8()? {
            1 => Host::Ip(IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?))),
            3 => {
                let length = usize::from(reader.u8()?);
                let name = std::str::from_utf8(reader.take(length)?);
                let name = name.map_err(|_| DecodeError::Range("host name"))?;
                Host::Name(HostName::new(name).map_err(|_| DecodeError::Range("host name"))?)
            }
            4 => Host::Ip(IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?))),
            _ => return Err(DecodeError::Unknown("address kind")),
        };
        Ok(Self { host, port: reader.u16()? })
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Ip(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{}:{}", name.0, self.port),
        }
    }
}

impl fmt::Debug for Destination {
    /// Destinations are private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destination(..)")
    }
}

/// What kind of bytes a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowKind {
    /// A TCP connection: a byte stream in each direction.
    Stream = 1,
    /// A UDP association: datagrams to and from any destination.
    Datagrams = 2,
    /// A byte stream in each direction to the directory that the other node has; it has no destination.
    Directory = 3,
}

impl FlowKind {
    /// Byte streams, wherever they lead; `false`: datagrams.
    pub fn is_stream(self) -> bool {
        self != Self::Datagrams
    }
}

/// Opens a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syn {
    /// Stream or datagrams.
    pub kind: FlowKind,
    /// Who the flow belongs to: drawn afresh per tunnel, so it names nobody.
    pub client: u64,
    /// Where it goes; for datagrams, the first destination or an unspecified address; for a directory flow always
    /// [`Destination::NOWHERE`], which is not encoded.
    pub destination: Destination,
}

impl Syn {
    /// A directory flow.
    pub fn directory(client: u64) -> Self {
        Self { kind: FlowKind::Directory, client, destination: Destination::NOWHERE }
    }

    /// Appends `kind 1 | client 8 | destination`, of a directory flow without the last.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend_from_slice(&self.client.to_be_bytes());
        if self.kind != FlowKind::Directory {
            self.destination.encode(out);
        }
    }

    /// Reads what [`Syn::encode`] writes and leaves the reader behind it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match reader.u8()? {
            1 => FlowKind::Stream,
            2 => FlowKind::Datagrams,
            3 => FlowKind::Directory,
            _ => return Err(DecodeError::Unknown("flow kind")),
        };
        let client = reader.u64()?;
        let destination = if kind == FlowKind::Directory { Destination::NOWHERE } else { Destination::decode(reader)? };
        Ok(Self { kind, client, destination })
    }
}

/// Why a flow ended before both sides had finished. It reaches the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[repr(u8)]
pub enum ResetReason {
    /// The destination refused the connection.
    #[error("the destination refused the connection")]
    Refused = 1,
    /// No route to the destination's network or host, or its name does not resolve.
    #[error("the destination cannot be reached")]
    Unreachable = 2,
    /// The exit's policy does not allow the destination.
    #[error("the exit's policy does not allow this destination")]
    Denied = 3,
    /// The destination did not answer in time.
    #[error("the destination did not answer in time")]
    TimedOut = 4,
    /// The tunnel to the exit is lost, or a process of a node was restarted.
    #[error("the tunnel was lost")]
    TunnelLost = 5,
    /// The application or the server reset its connection.
    #[error("the connection was reset by its other end")]
    ByPeer = 6,
    /// All queue pairs are taken.
    #[error("too many flows are open")]
    TooManyFlows = 7,
    /// The other side broke the protocol.
    #[error("the other node broke the protocol")]
    Protocol = 8,
    /// The destination's name does not resolve.
    #[error("the destination's name does not resolve")]
    NameUnknown = 9,
    /// The other node has no such service.
    #[error("the other node has no directory")]
    NotOffered = 10,
    /// Nothing is known of the service that was asked for. Only an entry says so, of itself.
    #[error("no such service, or its record has expired: it is not running, or it belongs to another network")]
    NoService = 11,
    /// The service lets in only those that it knows. Only an entry says so, of itself.
    #[error(
        "the service needs authorisation: its operator must add this client's access key, and this client must have it"
    )]
    NotAuthorised = 12,
    /// The service was found and did not answer. Only an entry says so, of itself.
    #[error("the service was found, but does not answer: it is overloaded or has just gone; try again later")]
    ServiceSilent = 13,
    /// The node had no memory left for the flow: it held most, because nobody read it, or all is taken.
    #[error("the node has no memory left for this flow: its bytes were not read or not acknowledged for too long")]
    NoMemory = 14,
    /// The service has no schedule and this entry has one. Only an entry says so, of itself.
    #[error(
        "the service is in mode `off` and this entry is not: reach it from an entry in mode `off`, or ask its operator for mode `constant`"
    )]
    ServiceIsOff = 15,
    /// The service has a schedule and this entry has none. Only an entry says so, of itself.
    #[error(
        "the service is in mode `constant` and this entry in mode `off`: reach it from an entry in mode `constant`"
    )]
    ServiceIsShaped = 16,
}

impl TryFrom<u8> for ResetReason {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            1 => Self::Refused,
            2 => Self::Unreachable,
            3 => Self::Denied,
            4 => Self::TimedOut,
            5 => Self::TunnelLost,
            6 => Self::ByPeer,
            7 => Self::TooManyFlows,
            8 => Self::Protocol,
            9 => Self::NameUnknown,
            10 => Self::NotOffered,
            11 => Self::NoService,
            12 => Self::NotAuthorised,
            13 => Self::ServiceSilent,
            14 => Self::NoMemory,
            15 => Self::ServiceIsOff,
            16 => Self::ServiceIsShaped,
            _ => return Err(DecodeError::Unknown("reset reason")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_destination() -> impl Strategy<Value = Destination> {
        let host = prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            "[!-~]{1,255}".prop_filter_map("a host name", |name| HostName::new(&name).ok().map(Host::Name)),
        ];
        (host, any::<u16>()).prop_map(|(host, port)| Destination { host, port })
    }

    proptest! {
        #[test]
        fn a_syn_survives_a_round_trip(destination in any_destination(), client in any::<u64>(), stream in any::<bool>()) {
            let kind = if stream { FlowKind::Stream } else { FlowKind::Datagrams };
            let syn = Syn { kind, client, destination };
            let mut bytes = Vec::new();
            syn.encode(&mut bytes);
            prop_assert!(bytes.len() <= 9 + Destination::ENCODED_MAX);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Syn::decode(&mut reader), Ok(syn));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn a_directory_syn_has_no_destination(client in any::<u64>()) {
            let mut bytes = Vec::new();
            Syn::directory(client).encode(&mut bytes);
            prop_assert_eq!(bytes.len(), 9);
            prop_assert_eq!(bytes[0], 3);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Syn::decode(&mut reader), Ok(Syn::directory(client)));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Syn::decode(&mut Reader::new(&bytes));
        }
    }

    #[test]
    fn names_are_checked_and_never_shown() {
        assert!(HostName::new("").is_err());
        assert!(HostName::new(&"a".repeat(256)).is_err());
        assert!(HostName::new("a b").is_err());
        assert!(HostName::new("a\u{0}").is_err());
        let name = HostName::new("Example.ORG").map(|name| (name.as_str().to_owned(), format!("{name:?}")));
        assert_eq!(name, Ok(("example.org".to_owned(), "HostName(..)".to_owned())));
    }

    #[test]
    fn every_reason_survives_a_round_trip() {
        let known = (0..=u8::MAX).filter_map(|byte| ResetReason::try_from(byte).ok().map(|reason| (byte, reason)));
        assert_eq!(known.clone().count(), 16);
        for (byte, reason) in known {
            assert_eq!(reason as u8, byte);
        }
    }
}
