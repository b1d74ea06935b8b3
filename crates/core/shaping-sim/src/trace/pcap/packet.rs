//! One packet: from the link to ports and the length of the payload.

use super::Transport;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most VLAN tags before the network layer.
const VLAN_TAGS_MAX: usize = 4;
/// Most extension headers of IPv6 before the transport.
const EXTENSIONS_MAX: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const TCP_HEAD_MIN: u64 = 20;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// What a packet says about its flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) transport: Transport,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    /// Bytes of payload on the network, captured or not.
    pub(super) payload: u64,
    /// It opens a connection.
    pub(super) is_syn: bool,
    /// It answers one that does.
    pub(super) is_syn_ack: bool,
}

/// What stands before the network layer. The numbers are libpcap's (LINKTYPE_...).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkLayer {
    Ethernet,
    /// Nothing: the version says which.
    RawIp,
    /// Linux "cooked" capture on all interfaces.
    LinuxCooked,
    /// Its second version.
    LinuxCooked2,
}

impl LinkLayer {
    pub(super) fn new(link_type: u32) -> Option<Self> {
        match link_type {
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            113 => Some(Self::LinuxCooked),
            276 => Some(Self::LinuxCooked2),
            _ => None,
        }
    }

    /// The flow and the payload of a packet of `length` bytes of which these were captured.
    pub(super) fn segment(self, captured: &[u8], length: u32) -> Option<Segment> {
        let network = self.network(captured)?;
        let before = captured.len() - network.len();
        // The length on the network, from the network layer on.
        let length = u64::from(length).checked_sub(before as u64)?;
        match network.first()? >> 4 {
            4 => ipv4(network, length),
            6 => ipv6(network, length),
            _ => None,
        }
    }

    /// What was captured from the network layer on, if that is IP.
    fn network(self, captured: &[u8]) -> Option<&[u8]> {
        let (type_at, mut at) = match self {
            Self::RawIp => return Some(captured),
            Self::Ethernet => (12, 14),
            Self::LinuxCooked => (14, 16),
            Self::LinuxCooked2 => (0, 20),
        };
        let mut ethertype = short(captured, type_at)?;
        for _ in 0..VLAN_TAGS_MAX {
            if !ETHERTYPES_VLAN.contains(&ethertype) {
                break;
            }
            ethertype = short(captured, at + 2)?;
            at += 4;
        }
        let is_ip = [ETHERTYPE_IPV4, ETHERTYPE_IPV6].contains(&ethertype);
        captured.get(at..).filter(|_| is_ip)
    }
}

fn ipv4(packet: &[u8], length: u64) -> Option<Segment> {
    let head = packet.first_chunk::<20>()?;
    let head_len = usize::from(head[0] & 15) * 4;
    let fragment_offset = u16::from_be_bytes([head[6], head[7]]) & 0x1fff;
    if head_len < 20 || fragment_offset != 0 {
        return None;
    }
    let address = |at: usize| IpAddr::from(Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]));
    // 0 is what a network card that cuts large packets itself is given.
    let total = match u16::from_be_bytes([head[2], head[3]]) {
        0 => length,
        total => total.into(),
    };
    let body = total.checked_sub(head_len as u64)?;
    transport(head[9], [address(12), address(16)], packet.get(head_len..)?, body)
}

fn ipv6(packet: &[u8], length: u64) -> Option<Segment> {
    let head = packet.first_chunk::<40>()?;
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&head[at..at + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let mut body = match u16::from_be_bytes([head[4], head[5]]) {
        0 => length.checked_sub(40)?,
        body => body.into(),
    };
    let (mut next, mut rest) = (head[6], &packet[40..]);
    for _ in 0..EXTENSIONS_MAX {
        let extension_len = match next {
            // Hop by hop, routing, destination options.
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            // A fragment, if it is the first one.
            44 if short(rest, 2)? & 0xfff8 == 0 => 8,
            44 => return None,
            _ => break,
        };
        next = *rest.first()?;
        rest = rest.get(extension_len..)?;
        body = body.checked_sub(extension_len as u64)?;
    }
    transport(next, [address(8), address(24)], rest, body)
}

/// `body` bytes of which `captured` is the beginning.
fn transport(protocol: u8, [from, to]: [IpAddr; 2], captured: &[u8], body: u64) -> Option<Segment> {
    let from = Endpoint { address: from, port: short(captured, 0)? };
    let to = Endpoint { address: to, port: short(captured, 2)? };
    let (transport, head_len, flags) = match protocol {
        PROTOCOL_TCP => (Transport::Tcp, u64::from(captured.get(12)? >> 4) * 4, *captured.get(13)?),
        PROTOCOL_UDP => (Transport::Udp, 8, 0),
        _ => return None,
    };
    let least = if transport == Transport::Tcp { TCP_HEAD_MIN } else { head_len };
    let payload = body.checked_sub(head_len).filter(|_| head_len >= least)?;
    let (syn, ack) = (flags & TCP_SYN != 0, flags & TCP_ACK != 0);
    Some(Segment { transport, from, to, payload, is_syn: syn && !ack, is_syn_ack: syn && ack })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
