//! Where the other end is: names, addresses, IPv6 prefixes, and the ports there.

mod parse;
mod prefix;

pub use parse::HostsError;
pub use prefix::{Ipv6Prefix, PREFIX_BITS_MIN, PrefixError};

use crate::ports::PortSet;
use std::fmt;
use std::net::IpAddr;

/// Most hosts in a list; a longer one is refused.
pub const HOSTS_MAX: usize = 64;
/// Longest host name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
/// Longest part of a name between two dots (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// One place that packets can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A name, for the shell to resolve: lower case, letters, digits, `-`, `_` and dots.
    Name(HostName),
    /// An address.
    Address(IpAddr),
    /// Every address of a prefix, all of them the same machine.
    Prefix(Ipv6Prefix),
}

/// A host name that can be asked for; its text has been checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// A name in lower case; `None` if no resolver would take it, or if it looks like a mistyped IPv4 address.
    pub fn new(name: &str) -> Option<Self> {
        let fits = |label: &str| {
            let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            letters && (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        let relative = name.strip_suffix('.').unwrap_or(name);
        // A last label of digits is an address to every resolver (URL standard, "ends in a number").
        let number = relative.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        let good = relative.len() <= NAME_MAX && relative.split('.').all(fits) && !number;
        good.then(|| Self(name.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    /// As it stands in a list: what has colons is in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Prefix(prefix) => write!(f, "[{prefix}]"),
        }
    }
}

/// Hosts in the order in which they were written, each once, at least one and at most [`HOSTS_MAX`].
///
/// As text: `hop.example,192.0.2.1,2001:db8::1,2001:db8:1::/64`. Brackets around IPv6 are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSet(Vec<Host>);

impl HostSet {
    /// The hosts.
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.0.iter()
    }

    /// How many there are: 1 to [`HOSTS_MAX`].
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for HostSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, host) in self.0.iter().enumerate() {
            write!(f, "{}{host}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Hosts and the ports that are hopped over on each of them.
///
/// As text: `hop.example:1234,5678,20000-50000`, `192.0.2.1,[2001:db8::/64]:20000-50000`. The ports begin behind the
/// first colon outside brackets, so an IPv6 address needs brackets here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where.
    pub hosts: HostSet,
    /// Which ports there.
    pub ports: PortSet,
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hosts, self.ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["localhost", "a.b-c.example", "_hop._udp.example", "xn--bcher-kva.example", "example.org.", "1a"] {
            assert!(HostName::new(good).is_some(), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["abcdefg"; 32].join(".");
        for bad in ["", ".", "a..b", "-a", "a-", "bücher.example", "a b", "192.0.2", "192.0.2.256", "1", &long, &longer]
        {
            assert_eq!(HostName::new(bad), None, "{bad}");
        }
        assert_eq!(HostName::new("Hop.Example").as_ref().map(HostName::as_str), Some("hop.example"));
    }
}
