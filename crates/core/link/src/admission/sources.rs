//! Counts links by where they came from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address or an IPv6 /64: what one neighbour can usually call its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(Ipv6Addr);

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped()),
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        }
    }
}

/// How many links each source has. Bounded by the number of links.
#[derive(Default)]
pub(crate) struct Sources(BTreeMap<Source, u32>);

impl Sources {
    pub(crate) fn count(&self, source: Source) -> u32 {
        self.0.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, source: Source) {
        *self.0.entry(source).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, source: Source) {
        if let Some(count) = self.0.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let source = |text: &str| Source::from(SocketAddr::new(text.parse().expect("an address"), 1));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
    }

    #[test]
    fn counts_go_up_and_down_and_leave_nothing() {
        let mut sources = Sources::default();
        let one = Source::from(SocketAddr::from(([192, 0, 2, 1], 1)));
        sources.add(one);
        sources.add(one);
        assert_eq!(sources.count(one), 2);
        sources.remove(one);
        sources.remove(one);
        assert_eq!((sources.count(one), sources.0.len()), (0, 0));
    }
}
