//! The places that a link may hop to.

use crate::hosts::{Ipv6Prefix, PrefixError};
use crate::ports::PortSet;
use crate::secret::HopSecret;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;

/// Candidates of a step: more would have the other end listen on more ports, fewer would leave a link with one blocked
/// port without a way.
pub const CANDIDATES: u8 = 3;

/// An address of the other end, or a prefix of which it has every address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetAddress {
    /// One address.
    One(IpAddr),
    /// All addresses of a prefix: each try has its own.
    Prefix(Ipv6Prefix),
}

/// Neither an address nor an IPv6 prefix. The writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetAddressError {
    /// Without a slash: no address.
    #[error("not an IP address; one is written like 192.0.2.1, 2001:db8::1 or, for a whole prefix, 2001:db8::/64")]
    Address,
    /// With one: no prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl FromStr for TargetAddress {
    type Err = TargetAddressError;

    fn from_str(text: &str) -> Result<Self, TargetAddressError> {
        if text.contains('/') {
            return Ok(Self::Prefix(text.parse()?));
        }
        text.parse().map(Self::One).map_err(|_| TargetAddressError::Address)
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Addresses, names resolved, and the ports that are hopped over on each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    addresses: Vec<TargetAddress>,
    ports: PortSet,
}

impl Targets {
    /// Targets; `None` without an address.
    pub fn new(addresses: Vec<TargetAddress>, ports: PortSet) -> Option<Self> {
        (!addresses.is_empty()).then_some(Self { addresses, ports })
    }

    /// The addresses.
    pub fn addresses(&self) -> &[TargetAddress] {
        &self.addresses
    }

    /// The ports.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// Where try `attempt` of a step goes. Tries of one step go to different addresses, as far as there are several.
    pub fn place(&self, secret: &HopSecret, step: u64, attempt: u8) -> SocketAddr {
        let first = usize::try_from(secret.word(step) % self.addresses.len() as u64).expect("below a length");
        let address = match self.addresses[(first + usize::from(attempt)) % self.addresses.len()] {
            TargetAddress::One(address) => address,
            TargetAddress::Prefix(prefix) => secret.address(prefix, step, attempt).into(),
        };
        (address, secret.port(&self.ports, step, attempt)).into()
    }

    /// The candidates of a step, in the order of their tries, each once.
    pub fn candidates(&self, secret: &HopSecret, step: u64) -> Vec<SocketAddr> {
        let mut found = Vec::with_capacity(CANDIDATES.into());
        for place in (0..CANDIDATES).map(|attempt| self.place(secret, step, attempt)) {
            if !found.contains(&place) {
                found.push(place);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_of_a_step_use_all_addresses() {
        let addresses =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| TargetAddress::One(text.parse().expect("one")));
        let targets = Targets::new(addresses.to_vec(), "20000-50000".parse().expect("ports")).expect("three addresses");
        let secret = HopSecret::of_link(&[1; 16]);
        let mut first = std::collections::BTreeSet::new();
        for step in 0..20 {
            let candidates = targets.candidates(&secret, step);
            let all: std::collections::BTreeSet<IpAddr> = candidates.iter().map(SocketAddr::ip).collect();
            assert_eq!(all.len(), 3);
            first.insert(candidates[0].ip());
            let ports: Vec<u16> = candidates.iter().map(SocketAddr::port).collect();
            assert_eq!(ports, secret.ports(targets.ports(), step, CANDIDATES), "what the other end opens");
        }
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn addresses_and_prefixes_are_read_and_written() {
        for text in ["192.0.2.1", "2001:db8::1", "2001:db8::/64"] {
            assert_eq!(text.parse::<TargetAddress>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("hop.example".parse::<TargetAddress>(), Err(TargetAddressError::Address));
        let refused = "192.0.2.0/24".parse::<TargetAddress>();
        assert_eq!(refused, Err(TargetAddressError::Prefix(PrefixError::NotAPrefix)));
    }

    #[test]
    fn a_prefix_gives_each_try_an_address() {
        let prefix: Ipv6Prefix = "2001:db8::/64".parse().expect("a prefix");
        let targets = Targets::new(vec![TargetAddress::Prefix(prefix)], "443".parse().expect("a port"));
        let candidates = targets.expect("one address").candidates(&HopSecret::of_link(&[1; 16]), 5);
        assert_eq!(candidates.len(), 3, "one port, three addresses");
        assert!(candidates.iter().all(|place| matches!(place.ip(), IpAddr::V6(ip) if prefix.contains(ip))));
    }
}
