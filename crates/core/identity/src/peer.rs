//! The peer string: one line, all that a pair exchanges.
//!
//! ```text
//! hushwire:<node id>.<link key>.<door key>            a peer that is not dialled (an entry, seen from its exit)
//! hushwire:<node id>.<link key>.<door key>@host:port  a peer that is dialled
//! ```

use crate::keys::{DoorKey, LinkKey, NodeId};
use crate::text::KeyTextError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;
use zeroize::Zeroizing;

/// First characters of every peer string.
const SCHEME: &str = "hushwire:";
/// Longest host name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// What a node must know of a neighbour.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerString {
    /// Who it is.
    pub node_id: NodeId,
    /// The static key of its links.
    pub link_key: LinkKey,
    /// What it wants strangers to know before it answers. Secret between the two nodes of a pair.
    pub door_key: DoorKey,
    /// Where it is dialled. None in an entry's string: its exit does not dial it.
    pub address: Option<PeerAddress>,
}

/// Which part of a peer string an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerPart {
    /// The first key.
    NodeId,
    /// The second key.
    LinkKey,
    /// The third key.
    DoorKey,
}

/// Why a text is not a peer string. Always the writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PeerStringError {
    /// It does not begin with the scheme.
    #[error("a peer string begins with `hushwire:`")]
    Scheme,
    /// There are not three keys with dots between them: usually the line was cut or wrapped.
    #[error("a peer string has 3 keys with dots between them; this one has {found}")]
    Parts {
        /// Parts found.
        found: usize,
    },
    /// One of the keys is damaged.
    #[error("the {part} in the peer string is wrong: {error}")]
    Key {
        /// Which one.
        part: PeerPart,
        /// What is wrong with it.
        error: KeyTextError,
    },
    /// What stands behind the `@` is no address.
    #[error("the address in the peer string is wrong: {0}")]
    Address(#[from] AddressError),
}

/// Why a text is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No colon, or an IPv6 address without brackets.
    #[error("it must be `name:port`, `1.2.3.4:port` or `[1:2::3]:port`")]
    Form,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// The host is neither an address nor a host name.
    #[error("the host is neither an IP address nor a host name")]
    Host,
}

impl PeerString {
    /// The line itself. It holds the door key: whoever sees it can talk to the door.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(512));
        line.push_str(SCHEME);
        line.push_str(&self.node_id.to_string());
        line.push('.');
        line.push_str(&self.link_key.to_string());
        line.push('.');
        line.push_str(&self.door_key.reveal());
        if let Some(address) = &self.address {
            line.push('@');
            line.push_str(&address.to_string());
        }
        line
    }
}

impl FromStr for PeerString {
    type Err = PeerStringError;

    /// Reads a line; blanks around it are ignored.
    fn from_str(text: &str) -> Result<Self, PeerStringError> {
        let rest = text.trim().strip_prefix(SCHEME).ok_or(PeerStringError::Scheme)?;
        let (keys, address) = match rest.split_once('@') {
            Some((keys, address)) => (keys, Some(address.parse()?)),
            None => (rest, None),
        };
        let mut parts = keys.split('.');
        let (Some(node_id), Some(link_key), Some(door_key), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PeerStringError::Parts { found: keys.split('.').count() });
        };
        let wrong = |part| move |error| PeerStringError::Key { part, error };
        Ok(Self {
            node_id: node_id.parse().map_err(wrong(PeerPart::NodeId))?,
            link_key: link_key.parse().map_err(wrong(PeerPart::LinkKey))?,
            door_key: door_key.parse().map_err(wrong(PeerPart::DoorKey))?,
            address,
        })
    }
}

impl fmt::Debug for PeerString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerString(..)")
    }
}

impl fmt::Display for PeerPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeId => "node id (first key)",
            Self::LinkKey => "link key (second key)",
            Self::DoorKey => "door key (third key)",
        })
    }
}

/// Where a peer is dialled: a name, which the shell resolves, or an address.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address.
    pub host: PeerHost,
    /// UDP port, 1..=65535.
    pub port: u16,
}

/// The host part of a [`PeerAddress`].
#[derive(Clone, PartialEq, Eq)]
pub enum PeerHost {
    /// An address.
    Ip(IpAddr),
    /// A host name: letters, digits, `-`, `_` and dots, at most 253 bytes, in lower case.
    Name(String),
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: PeerHost::Ip(address.ip()), port: address.port() }
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Form)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0).ok_or(AddressError::Port)?;
        if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address = inner.parse().map_err(|_| AddressError::Host)?;
            return Ok(Self { host: PeerHost::Ip(IpAddr::V6(address)), port });
        }
        if host.contains([':', '[', ']']) {
            return Err(AddressError::Form);
        }
        if let Ok(address) = host.parse() {
            return Ok(Self { host: PeerHost::Ip(IpAddr::V4(address)), port });
        }
        Ok(Self { host: PeerHost::Name(host_name(host)?), port })
    }
}

fn host_name(host: &str) -> Result<String, AddressError> {
    let label = |label: &str| {
        let legal = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=63).contains(&label.len()) && legal
    };
    let labels = host.strip_suffix('.').unwrap_or(host);
    // A name of digits and dots alone is a mistyped IPv4 address.
    let numeric = labels.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if host.len() > NAME_MAX || numeric || !labels.split('.').all(label) {
        return Err(AddressError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PeerHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            PeerHost::Ip(address) => write!(f, "{address}:{}", self.port),
            PeerHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl fmt::Debug for PeerAddress {
    /// Neighbours are private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerAddress(..)")
    }
}

impl fmt::Debug for PeerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerHost(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkSecret, NodeSecret};
    use proptest::prelude::*;

    fn peer(address: Option<&str>) -> PeerString {
        PeerString {
            node_id: NodeSecret::from_seed([1; 32]).node_id(),
            link_key: LinkSecret::from_bytes([2; 32]).link_key(),
            door_key: DoorKey::from_bytes([3; 32]),
            address: address.map(|address| address.parse().expect("a good address")),
        }
    }

    #[test]
    fn every_form_survives_a_round_trip() {
        let addresses = ["192.0.2.1:1", "[2001:db8::1]:65535", "exit.example:4433", "a-b_c.example.:9", "localhost:80"];
        for address in addresses.map(Some).into_iter().chain([None]) {
            let line = peer(address).reveal();
            assert_eq!(line.parse(), Ok(peer(address)), "{}", &*line);
            assert_eq!(format!("  {}\n", &*line).parse(), Ok(peer(address)), "blanks around it");
            assert!(address.is_none_or(|address| line.ends_with(address)));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let line = peer(Some("192.0.2.1:1")).reveal();
        let refused = |text: &str| text.parse::<PeerString>().expect_err("a mistake");
        assert_eq!(refused(""), PeerStringError::Scheme);
        assert_eq!(refused(&line[1..]), PeerStringError::Scheme);
        assert_eq!(refused("hushwire:a.b"), PeerStringError::Parts { found: 2 });
        assert_eq!(refused("hushwire:a.b.c.d"), PeerStringError::Parts { found: 4 });
        let (node, link) = (peer(None).node_id.to_string(), peer(None).link_key.to_string());
        let swapped = line.replace(&node, "x").replace(&link, &node);
        assert!(matches!(
            refused(&swapped),
            PeerStringError::Key { part: PeerPart::NodeId, error: KeyTextError::Prefix { .. } }
        ));
        let typo = line.replace(&link, &link.replace(&link[10..12], "77"));
        assert_eq!(refused(&typo), PeerStringError::Key { part: PeerPart::LinkKey, error: KeyTextError::Checksum });
        let cut = &peer(None).reveal()[..150];
        assert!(matches!(refused(cut), PeerStringError::Key { part: PeerPart::DoorKey, .. }), "{:?}", refused(cut));
        assert_eq!(refused(&line.replace("192.0.2.1:1", "")), PeerStringError::Address(AddressError::Form));
    }

    #[test]
    fn addresses_are_checked() {
        let wrong = |text: &str| text.parse::<PeerAddress>().expect_err("a mistake");
        assert_eq!(wrong("host"), AddressError::Form);
        assert_eq!(wrong("2001:db8::1:80"), AddressError::Form);
        for port in ["host:", "host:0", "host:65536", "host:+5", "host:x"] {
            assert_eq!(wrong(port), AddressError::Port, "{port}");
        }
        for host in [":80", "1.2.3.400:80", "1.2.3:80", "a..b:80", "a b:80", "[1.2.3.4]:80", "h\u{e9}:80"] {
            assert_eq!(wrong(host), AddressError::Host, "{host}");
        }
        assert_eq!(wrong(&format!("{}:80", "a.".repeat(130))), AddressError::Host);
    }

    #[test]
    fn nothing_is_shown_by_debug() {
        let peer = peer(Some("192.0.2.1:1"));
        assert_eq!(format!("{peer:?} {:?}", peer.address), "PeerString(..) Some(PeerAddress(..))");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,300}", keys in "[a-z2-7.]{0,200}", address in "[ -~]{0,30}") {
            crate::fuzz::peer_string(text.as_bytes());
            crate::fuzz::peer_string(format!("hushwire:{keys}@{address}").as_bytes());
        }

        #[test]
        fn any_address_survives_a_round_trip(ip in any::<IpAddr>(), port in 1u16..) {
            let address = PeerAddress::from(SocketAddr::new(ip, port));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
