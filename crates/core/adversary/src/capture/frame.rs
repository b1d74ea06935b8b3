//! From a frame to the payload of UDP or TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

/// Tags of virtual networks before the packet itself; more are taken for damage.
const TAGS_MAX: usize = 3;
/// Extension headers of IPv6 before the transport; more are taken for damage.
const EXTENSIONS_MAX: usize = 8;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// The transport protocols whose payloads are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Segments of a stream.
    Tcp,
}

/// What stands before the IP packet, as in <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkType {
    /// A BSD loopback: a number of four bytes.
    Loopback,
    Ethernet,
    /// Nothing.
    Raw,
    /// Linux's `any`, first form.
    Cooked,
    /// Linux's `any`, second form.
    Cooked2,
}

impl LinkType {
    pub(super) fn new(number: u32) -> Option<Self> {
        Some(match number {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }
}

/// What a frame carries.
pub(super) struct Carried<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) transport: Transport,
    pub(super) payload: &'a [u8],
    /// On the wire.
    pub(super) payload_length: usize,
}

/// Bytes as far as the capture has them, and how many there were on the wire.
#[derive(Clone, Copy)]
struct Cut<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> Cut<'a> {
    /// Without the first bytes, which must be there.
    fn skip(self, count: usize) -> Option<Self> {
        Some(Self { bytes: self.bytes.get(count..)?, length: self.length.checked_sub(count)? })
    }

    /// Only the first bytes of what was on the wire; less if there was less.
    fn first(self, length: usize) -> Self {
        let length = length.min(self.length);
        Self { bytes: self.bytes.get(..length).unwrap_or(self.bytes), length }
    }

    fn byte(self, place: usize) -> Option<u8> {
        self.bytes.get(place).copied()
    }

    /// A number of two bytes in network order.
    fn number(self, place: usize) -> Option<u16> {
        self.array(place).map(u16::from_be_bytes)
    }

    fn array<const N: usize>(self, place: usize) -> Option<[u8; N]> {
        self.bytes.get(place..)?.first_chunk::<N>().copied()
    }
}

/// Finds the UDP or TCP payload of a frame; `None` if it has none that is whole.
pub(super) fn decode(link_type: LinkType, frame: &[u8], length: usize) -> Option<Carried<'_>> {
    let frame = Cut { bytes: frame, length };
    let packet = match link_type {
        LinkType::Raw => frame,
        LinkType::Loopback => frame.skip(4)?,
        LinkType::Cooked => frame.skip(16)?,
        LinkType::Cooked2 => frame.skip(20)?,
        LinkType::Ethernet => {
            let mut kind_at = 12;
            let tags = (0..TAGS_MAX).take_while(|tag| matches!(frame.number(12 + 4 * tag), Some(0x8100 | 0x88a8)));
            kind_at += 4 * tags.count();
            let is_ip = matches!(frame.number(kind_at), Some(0x0800 | 0x86dd));
            if is_ip { frame.skip(kind_at + 2)? } else { return None }
        }
    };
    match packet.byte(0)? >> 4 {
        4 => version_4(packet),
        6 => version_6(packet),
        _ => None,
    }
}

fn version_4(packet: Cut<'_>) -> Option<Carried<'_>> {
    let header = usize::from(packet.byte(0)? & 0x0f) * 4;
    // The last thirteen bits are the offset, and the one before them says that more fragments follow.
    let is_fragment = packet.number(6)? & 0x3fff != 0;
    if header < 20 || is_fragment {
        return None;
    }
    let addresses = [packet.array::<4>(12)?, packet.array::<4>(16)?].map(|it| IpAddr::from(Ipv4Addr::from(it)));
    // Zero stands for a packet that the network card was to cut into smaller ones.
    let total = match usize::from(packet.number(2)?) {
        0 => packet.length,
        total => total,
    };
    transport(packet.byte(9)?, packet.first(total).skip(header)?, addresses)
}

fn version_6(packet: Cut<'_>) -> Option<Carried<'_>> {
    let addresses = [packet.array::<16>(8)?, packet.array::<16>(24)?].map(|it| IpAddr::from(Ipv6Addr::from(it)));
    let mut rest = packet.skip(IPV6_HEADER)?;
    if let Some(length @ 1..) = packet.number(4).map(usize::from) {
        rest = rest.first(length);
    }
    let mut next = packet.byte(6)?;
    for _ in 0..EXTENSIONS_MAX {
        let length = match next {
            // Hop by hop, routing, destination, mobility, host identity, shim: lengths in eights beyond the first.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(rest.byte(1)?) + 1) * 8,
            _ => return transport(next, rest, addresses),
        };
        next = rest.byte(0)?;
        rest = rest.skip(length)?;
    }
    None
}

fn transport(protocol: u8, segment: Cut<'_>, [source, destination]: [IpAddr; 2]) -> Option<Carried<'_>> {
    let (transport, payload) = match protocol {
        17 => {
            // Zero stands for a datagram that is longer than the field can say, which no link sends.
            let length = NonZeroU16::new(segment.number(4)?)?;
            (Transport::Udp, segment.first(usize::from(length.get())).skip(UDP_HEADER)?)
        }
        6 => {
            let header = usize::from(segment.byte(12)? >> 4) * 4;
            if header < TCP_HEADER {
                return None;
            }
            (Transport::Tcp, segment.skip(header)?)
        }
        _ => return None,
    };
    Some(Carried {
        source: (source, segment.number(0)?).into(),
        destination: (destination, segment.number(2)?).into(),
        transport,
        payload: payload.bytes,
        payload_length: payload.length,
    })
}
