//! IPv6 prefixes: one machine that answers on every address of a network.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use thiserror::Error;

/// Shortest prefix: nobody routes more to one machine.
pub const PREFIX_BITS_MIN: u8 = 16;

/// All addresses whose first `bits` bits are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ipv6Prefix {
    network: u128,
    bits: u8,
}

/// Why an address and a length are not a prefix. Always the writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not `address/length` at all.
    #[error("write a prefix such as 2001:db8::/64")]
    NotAPrefix,
    /// The length is not between [`PREFIX_BITS_MIN`] and 128.
    #[error("a prefix has from {PREFIX_BITS_MIN} to 128 bits")]
    Length,
    /// The address has bits behind the prefix.
    #[error("the address has bits behind the prefix; write zeros there")]
    BitsBehind,
}

impl Ipv6Prefix {
    /// A prefix of `bits` bits, from 16 to 128; `network` is zero behind them.
    pub fn new(network: Ipv6Addr, bits: u8) -> Result<Self, PrefixError> {
        if !(PREFIX_BITS_MIN..=128).contains(&bits) {
            return Err(PrefixError::Length);
        }
        let prefix = Self { network: network.to_bits(), bits };
        if prefix.network & prefix.host_mask() == 0 { Ok(prefix) } else { Err(PrefixError::BitsBehind) }
    }

    /// The address with these bits behind the prefix; those that do not fit are ignored. The address without any is the
    /// anycast address of routers (RFC 4291, 2.6.1): the next one is taken in its place, unless there is no other.
    pub fn address(self, host_bits: u128) -> Ipv6Addr {
        let host = host_bits & self.host_mask();
        let host = if host == 0 { 1 & self.host_mask() } else { host };
        Ipv6Addr::from_bits(self.network | host)
    }

    /// Whether `address` begins with the prefix.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & !self.host_mask() == self.network
    }

    /// How many bits are given.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The address with zeros behind the prefix.
    pub const fn network(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network)
    }

    fn host_mask(self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0)
    }
}

impl FromStr for Ipv6Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (network, bits) = text.split_once('/').ok_or(PrefixError::NotAPrefix)?;
        let network = network.parse().map_err(|_| PrefixError::NotAPrefix)?;
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PrefixError::NotAPrefix);
        }
        Self::new(network, bits.parse().map_err(|_| PrefixError::Length)?)
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Ipv6Prefix {
        text.parse().expect("a prefix of the test")
    }

    #[test]
    fn addresses_are_made_behind_the_prefix() {
        let addresses = [0, 1, 0x1234, u128::MAX].map(|bits| prefix("2001:db8::/64").address(bits).to_string());
        assert_eq!(addresses, ["2001:db8::1", "2001:db8::1", "2001:db8::1234", "2001:db8::ffff:ffff:ffff:ffff"]);
        assert_eq!(prefix("2001:db8::5/128").address(7).to_string(), "2001:db8::5");
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (text, error) in [
            ("2001:db8::", PrefixError::NotAPrefix),
            ("192.0.2.0/24", PrefixError::NotAPrefix),
            ("2001:db8::/", PrefixError::NotAPrefix),
            ("2001:db8::/+64", PrefixError::NotAPrefix),
            ("2001:db8::/129", PrefixError::Length),
            ("2001::/8", PrefixError::Length),
            ("2001:db8::/999", PrefixError::Length),
            ("2001:db8::5/64", PrefixError::BitsBehind),
        ] {
            assert_eq!(text.parse::<Ipv6Prefix>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_of_a_prefix_is_in_it(network: u128, bits in PREFIX_BITS_MIN..=128, host: u128) {
            let network = network & !u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            let prefix = Ipv6Prefix::new(Ipv6Addr::from_bits(network), bits).expect("zeros behind");
            prop_assert!(prefix.contains(prefix.address(host)));
            prop_assert_eq!(prefix.to_string().parse::<Ipv6Prefix>(), Ok(prefix));
        }
    }
}
