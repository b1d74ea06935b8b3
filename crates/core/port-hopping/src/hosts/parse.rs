//! Lists of hosts, and hosts with ports, as people write them.

use super::{Endpoints, HOSTS_MAX, Host, HostName, HostSet, Ipv6Prefix, PrefixError};
use crate::piece::{Piece, pieces};
use crate::ports::PortSetError;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// Why a text is not a list of hosts, or not hosts with ports. Always the writer's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostsError {
    /// There is no host.
    #[error("no host; write a name, an address or an IPv6 prefix")]
    Empty,
    /// Nothing between two commas.
    #[error("{0} is empty; remove a comma")]
    EmptyPiece(Piece),
    /// Neither a name nor an address nor a prefix.
    #[error("{0} is not a host name, an IP address or an IPv6 prefix")]
    NotAHost(Piece),
    /// Almost a prefix.
    #[error("{piece}: {error}")]
    Prefix {
        /// Which piece.
        piece: Piece,
        /// What is wrong.
        error: PrefixError,
    },
    /// More than [`HOSTS_MAX`] hosts.
    #[error("more than {HOSTS_MAX} hosts")]
    TooMany,
    /// No colon and no ports behind the hosts.
    #[error("ports are missing; write host:ports, such as hop.example:20000-50000")]
    NoPorts,
    /// An IPv6 address where ports may follow.
    #[error("put brackets around the IPv6 address, as in [2001:db8::1]:20000-50000")]
    NoBrackets,
    /// The ports are wrong.
    #[error("{0}")]
    Ports(#[from] PortSetError),
}

impl FromStr for HostSet {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        if text.trim().is_empty() {
            return Err(HostsError::Empty);
        }
        let mut hosts = Vec::new();
        for (piece, part) in pieces(text) {
            let host = host(piece, part)?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
            if hosts.len() > HOSTS_MAX {
                return Err(HostsError::TooMany);
            }
        }
        Ok(Self(hosts))
    }
}

fn host(piece: Piece, part: &str) -> Result<Host, HostsError> {
    if part.is_empty() {
        return Err(HostsError::EmptyPiece(piece));
    }
    let bare = match part.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']').filter(|inner| inner.contains(':')) {
            Some(inner) => inner,
            None => return Err(HostsError::NotAHost(piece)),
        },
        None => part,
    };
    if bare.contains('/') {
        let prefix = bare.parse::<Ipv6Prefix>().map_err(|error| HostsError::Prefix { piece, error })?;
        // A prefix without free bits is an address, so that one thing has one text.
        let alone = prefix.bits() == 128;
        return Ok(if alone { Host::Address(prefix.network().into()) } else { Host::Prefix(prefix) });
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    HostName::new(bare).map(Host::Name).ok_or(HostsError::NotAHost(piece))
}

impl FromStr for Endpoints {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        let Some(colon) = first_colon(text) else { return Err(HostsError::NoPorts) };
        let (hosts, ports) = (&text[..colon], &text[colon + 1..]);
        if text.parse::<Ipv6Addr>().is_ok()
            || text.rsplit_once(':').is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok())
        {
            return Err(HostsError::NoBrackets);
        }
        if ports.trim().is_empty() {
            return Err(HostsError::NoPorts);
        }
        let ports = ports.parse().map_err(|error: PortSetError| error.moved_by(colon + 1))?;
        Ok(Self { hosts: hosts.parse()?, ports })
    }
}

/// The first colon that does not stand in brackets.
fn first_colon(text: &str) -> Option<usize> {
    let mut inside = false;
    text.bytes().position(|byte| {
        match byte {
            b'[' => inside = true,
            b']' => inside = false,
            _ => {}
        }
        byte == b':' && !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(text: &str) -> Result<String, HostsError> {
        text.parse::<Endpoints>().map(|endpoints| endpoints.to_string())
    }

    #[test]
    fn hosts_are_read() {
        for (text, printed) in [
            ("Hop.example", "hop.example"),
            ("192.0.2.1, 2001:db8::1 ,2001:db8:1::/64", "192.0.2.1,[2001:db8::1],[2001:db8:1::/64]"),
            ("[2001:db8::1],2001:DB8:0::1", "[2001:db8::1]"),
            ("2001:db8::1/128", "[2001:db8::1]"),
        ] {
            assert_eq!(text.parse::<HostSet>().map(|hosts| hosts.to_string()).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn endpoints_are_read() {
        for (text, printed) in [
            ("host:1234,5678,20000-50000", "host:1234,5678,20000-50000"),
            ("hop.example:2080:3000", "hop.example:2080-3000"),
            ("192.0.2.1:*", "192.0.2.1:1-65535"),
            ("[2001:db8::/64]:443", "[2001:db8::/64]:443"),
            ("a.example,[2001:db8::1],192.0.2.1:5-6,9", "a.example,[2001:db8::1],192.0.2.1:5-6,9"),
        ] {
            assert_eq!(endpoints(text).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn mistakes_point_at_their_piece() {
        let at = |number, span| Piece { number, span };
        let not_a_host = |number, span| HostsError::NotAHost(at(number, span));
        for (text, error) in [
            ("host", HostsError::NoPorts),
            ("host:", HostsError::NoPorts),
            ("", HostsError::NoPorts),
            (":5", HostsError::Empty),
            ("a,,b:5", HostsError::EmptyPiece(at(2, 2..2))),
            ("a,192.0.2.999:5", not_a_host(2, 2..13)),
            ("[host]:5", not_a_host(1, 0..6)),
            ("[2001:db8::1:5", HostsError::NoPorts),
            ("2001:db8::1:443", HostsError::NoBrackets),
            ("::1", HostsError::NoBrackets),
            ("[2001:db8::1/64]:5", HostsError::Prefix { piece: at(1, 0..16), error: PrefixError::BitsBehind }),
            ("192.0.2.0/24:5", HostsError::Prefix { piece: at(1, 0..12), error: PrefixError::NotAPrefix }),
            ("host:5,x", HostsError::Ports(PortSetError::NotAPort(at(2, 7..8)))),
            ("host:5, 0", HostsError::Ports(PortSetError::PortZero(at(2, 8..9)))),
        ] {
            assert_eq!(endpoints(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_list_of_hosts_has_a_bound() {
        let names = |count: usize| (0..count).map(|number| format!("h{number}")).collect::<Vec<_>>().join(",");
        assert_eq!(names(HOSTS_MAX).parse::<HostSet>().map(|hosts| hosts.len()), Ok(HOSTS_MAX));
        assert_eq!(names(HOSTS_MAX + 1).parse::<HostSet>(), Err(HostsError::TooMany));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_itself(v4: [u8; 4], v6: [u8; 16], name in "[a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,3}", first in 1u16.., more in 0u16..100) {
            let last = first.saturating_add(more);
            let [v4, v6] = [IpAddr::from(v4), IpAddr::from(v6)];
            let text = format!("{name},{v4},[{v6}]:{first}-{last}");
            let endpoints: Endpoints = text.parse().map_err(|error: HostsError| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(endpoints.hosts.len(), 3);
            prop_assert_eq!(endpoints.ports.len(), u32::from(last - first) + 1);
            prop_assert_eq!(endpoints.to_string().parse::<Endpoints>(), Ok(endpoints));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", other in "[0-9a-f:,\\[\\]/. -]{0,30}") {
            for text in [text, other] {
                let _ = text.parse::<HostSet>();
                let _ = text.parse::<Endpoints>();
            }
        }
    }
}
