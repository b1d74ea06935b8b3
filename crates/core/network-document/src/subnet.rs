//! Which relays are close to each other on the network, so that one circuit does not use two of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The neighbourhood of an address: 24 bits of an IPv4 address, 48 bits of an IPv6 address, which is what one customer
/// mostly gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet(IpAddr);

impl Subnet {
    /// The subnet of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self(Ipv4Addr::new(a, b, c, 0).into())
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_subnet() {
        let of = |text: &str| Subnet::of(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.1"), of("192.0.2.200"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ffff::"));
        assert_ne!(of("2001:db8:1::"), of("2001:db8:2::"));
    }
}
