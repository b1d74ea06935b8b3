//! Blocks of addresses, and the ranges that an exit does not dial unless told to.

use super::PolicyFault;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the exit's own surroundings, or to nobody: private, loopback, link-local,
/// multicast, unspecified, carrier-grade NAT, unique-local, benchmarking, future use, IPv4-mapped and other
/// forms of IPv6 that lead to IPv4 hosts by way of a translator (RFC 6890 and the registries behind it).
pub fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => RESERVED_V4.iter().any(|(block, prefix)| {
            let block = Block { network: IpAddr::V4(Ipv4Addr::from(*block)), prefix: *prefix };
            block.contains(IpAddr::V4(address))
        }),
        IpAddr::V6(address) => {
            let within = RESERVED_V6.iter().any(|(block, prefix)| {
                let block = Block { network: IpAddr::V6(Ipv6Addr::from(*block)), prefix: *prefix };
                block.contains(IpAddr::V6(address))
            });
            within || embedded_v4(address).is_some_and(|inner| is_reserved(IpAddr::V4(inner)))
        }
    }
}

const RESERVED_V4: [([u8; 4], u8); 11] = [
    ([0, 0, 0, 0], 8),      // "this network", unspecified
    ([10, 0, 0, 0], 8),     // private
    ([100, 64, 0, 0], 10),  // carrier-grade NAT
    ([127, 0, 0, 0], 8),    // loopback
    ([169, 254, 0, 0], 16), // link-local
    ([172, 16, 0, 0], 12),  // private
    ([192, 0, 0, 0], 24),   // protocol assignments
    ([192, 168, 0, 0], 16), // private
    ([198, 18, 0, 0], 15),  // benchmarking
    ([224, 0, 0, 0], 4),    // multicast
    ([240, 0, 0, 0], 4),    // future use, broadcast
];

const RESERVED_V6: [([u16; 8], u8); 10] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),         // unspecified, loopback, IPv4-compatible
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),    // IPv4-mapped
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),    // IPv4-translated
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // translation, local use
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),     // discard
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),    // Teredo
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),     // unique-local
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),    // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),    // site-local
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),     // multicast
];

/// The IPv4 host behind an address of a translator with a well-known prefix (NAT64, 6to4).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => Some(join(g, h)),
        (0x2002, _) => Some(join(b, c)),
        _ => None,
    }
}

/// A block of addresses in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    network: IpAddr,
    prefix: u8,
}

impl Block {
    /// The block of all addresses whose first `prefix` bits are those of `network`, which has no others.
    pub(super) fn new(network: IpAddr, prefix: u8) -> Result<Self, PolicyFault> {
        if prefix > width(network) {
            return Err(PolicyFault::Prefix);
        }
        let block = Self { network, prefix };
        if bits(network) & !block.mask() != 0 {
            return Err(PolicyFault::HostBits);
        }
        Ok(block)
    }

    /// One address.
    pub(super) fn single(address: IpAddr) -> Self {
        Self { network: address, prefix: width(address) }
    }

    /// Whether an address of the same family is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && bits(address) & self.mask() == bits(self.network)
    }

    /// Whether the whole block lies within one reserved range.
    pub fn is_reserved(&self) -> bool {
        let holds = |range: Self| range.prefix <= self.prefix && range.contains(self.network);
        match self.network {
            IpAddr::V4(_) => RESERVED_V4
                .iter()
                .any(|(network, prefix)| holds(Self { network: IpAddr::from(*network), prefix: *prefix })),
            IpAddr::V6(address) => {
                let listed = RESERVED_V6
                    .iter()
                    .any(|(network, prefix)| holds(Self { network: IpAddr::from(*network), prefix: *prefix }));
                // The embedded address starts at bit 96 (NAT64) or 16 (6to4).
                let offset = if address.segments()[0] == 0x2002 { 16 } else { 96 };
                let embedded = embedded_v4(address).zip(self.prefix.checked_sub(offset));
                listed
                    || embedded.is_some_and(|(inner, prefix)| {
                        Self { network: IpAddr::V4(inner), prefix: prefix.min(32) }.is_reserved()
                    })
            }
        }
    }

    fn mask(&self) -> u128 {
        let width = u32::from(width(self.network));
        let all = u128::MAX >> (128 - width);
        all & u128::MAX.checked_shl(width - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network {
            IpAddr::V4(network) => write!(f, "{network}/{}", self.prefix),
            IpAddr::V6(network) => write!(f, "[{network}/{}]", self.prefix),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_reserved_range_is_known_to_its_last_address() {
        for (first, last, behind) in [
            ("0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("224.0.0.0", "255.255.255.255", "223.255.255.255"),
            ("::", "::1", "2001:db8::"),
            ("::ffff:0:0", "::ffff:ffff:ffff", "2001:db8::"),
            ("fc00::", "fdff:ffff::", "fbff::"),
            ("fe80::", "febf::1", "fe7f::"),
            ("ff00::", "ff02::1", "2600::"),
            ("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::808:808"),
            ("2002:a00:1::", "2002:7f00:1::1", "2002:808:808::1"),
        ] {
            assert!(is_reserved(ip(first)), "{first}");
            assert!(is_reserved(ip(last)), "{last}");
            assert!(!is_reserved(ip(behind)), "{behind}");
        }
    }

    #[test]
    fn a_block_is_reserved_when_all_of_it_is() {
        let reserved = |network: &str, prefix| Block::new(ip(network), prefix).map(|block| block.is_reserved());
        assert_eq!(reserved("127.0.0.0", 8), Ok(true));
        assert_eq!(reserved("127.0.0.1", 32), Ok(true));
        assert_eq!(reserved("126.0.0.0", 7), Ok(false));
        assert_eq!(reserved("0.0.0.0", 0), Ok(false));
        assert_eq!(reserved("fd00::", 8), Ok(true));
        assert_eq!(reserved("::", 0), Ok(false));
        assert_eq!(reserved("64:ff9b::a00:0", 104), Ok(true));
        assert_eq!(reserved("64:ff9b::", 96), Ok(false));
        assert_eq!(reserved("2002:a00::", 24), Ok(true));
        assert_eq!(reserved("2002::", 16), Ok(false));
        assert_eq!(reserved("10.1.0.0", 8), Err(PolicyFault::HostBits));
        assert_eq!(reserved("10.0.0.0", 33), Err(PolicyFault::Prefix));
    }

    #[test]
    fn blocks_of_one_family_hold_none_of_the_other() {
        let all = Block::new(ip("0.0.0.0"), 0).expect("the block of all");
        assert!(all.contains(ip("255.1.2.3")));
        assert!(!all.contains(ip("::1")));
        assert!(Block::single(ip("::1")).contains(ip("::1")));
        assert!(!Block::single(ip("::1")).contains(ip("::2")));
    }
}
