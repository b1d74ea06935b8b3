//! What a relay tells a directory: its descriptor, for how long that holds, and what only a directory keeps.

use crate::charter::NetworkId;
use crate::descriptor::{Descriptor, HOP_RANGES_MAX};
use crate::encoding::ReadError;
use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, hex};
use identity::{DoorKey, LinkKey, NodeId, NodeSecret, SIGNATURE_LEN};
use port_hopping::ports::PortSet;
use std::fmt;
use std::fmt::Write as _;
use thiserror::Error;

mod binary;

pub(crate) use binary::{read_addresses, read_ports, write_address, write_ports};

/// Bytes of an announcement at most: so many relays as an edition may have always fit. One with a door, a range of hop ports,
/// two onion keys and a short operator takes about 280.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 380;
/// Separate ranges of exit ports at most; more are refused.
pub const EXIT_RANGES_MAX: usize = 24;
/// What is signed before the lines. Descriptors of a network without a directory have another one.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire relay descriptor 2";

/// Bytes that are no announcement, edition or difference of editions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodingError {
    /// They are cut, too many, or count what cannot be.
    #[error("{0}")]
    Bytes(#[from] ReadError),
    /// They say something that may not be.
    #[error("{0}")]
    Value(#[from] Problem),
    /// Their text says something that may not be.
    #[error("in its text, {0}")]
    Text(#[from] DocumentError),
}

/// A relay in a network with a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The relay, as in every document.
    pub descriptor: Descriptor,
    /// The link key that it will change to, while both are good.
    pub next_link_key: Option<LinkKey>,
    /// The door key that it will change to, while both are good.
    pub next_door_key: Option<DoorKey>,
    /// The ports of public addresses that it reaches as an exit; `None` exactly when it is none.
    pub exit_ports: Option<PortSet>,
    /// When the relay said so, in milliseconds since 1970 UTC: of two the later one counts.
    pub published_ms: u64,
    /// When it ends, in milliseconds since 1970 UTC; after `published_ms`.
    pub expires_ms: u64,
}

impl Announcement {
    /// Which relay.
    pub fn node_id(&self) -> NodeId {
        self.descriptor.node_id
    }

    /// Its link keys: the present one, and the next one if it has said it.
    pub fn link_keys(&self) -> impl Iterator<Item = LinkKey> {
        [self.descriptor.link_key].into_iter().chain(self.next_link_key)
    }

    /// Signs it for one network.
    ///
    /// # Errors
    /// When a value is not one that an edition may have, or the secret is another node's.
    pub fn sign(self, network: NetworkId, secret: &NodeSecret) -> Result<SignedAnnouncement, Problem> {
        self.check()?;
        if secret.node_id() != self.node_id() {
            return Err(Problem::OtherNode);
        }
        let signature = secret.sign(&message(network, &self.text()));
        let signed = SignedAnnouncement { announcement: self, signature };
        if signed.encode().len() > ANNOUNCEMENT_BYTES_MAX { Err(Problem::Bulky) } else { Ok(signed) }
    }

    fn check(&self) -> Result<(), Problem> {
        self.descriptor.check()?;
        if self.exit_ports.is_some() != self.descriptor.roles.exit {
            return Err(Problem::Value {
                keyword: "exit-ports",
                rule: "there exactly for relays with the role `exit`",
            });
        }
        if self.exit_ports.as_ref().is_some_and(|ports| ports.ranges().len() > EXIT_RANGES_MAX) {
            return Err(Problem::TooMany { keyword: "exit-ports", max: EXIT_RANGES_MAX });
        }
        if self.next_link_key == Some(self.descriptor.link_key) {
            return Err(Problem::Shared { keyword: "next-link-key" });
        }
        if self.expires_ms <= self.published_ms {
            return Err(Problem::Value { keyword: "expires-ms", rule: "later than `published-ms`" });
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = self.descriptor.text();
        if let Some(key) = &self.next_link_key {
            let _fits = writeln!(text, "next-link-key {key}");
        }
        if let Some(key) = &self.next_door_key {
            let _fits = writeln!(text, "next-door-key {}", key.reveal().as_str());
        }
        if let Some(ports) = &self.exit_ports {
            let _fits = writeln!(text, "exit-ports {ports}");
        }
        let _fits = write!(text, "published-ms {}\nexpires-ms {}\n", self.published_ms, self.expires_ms);
        text
    }

    fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let descriptor = Descriptor::read(lines)?;
        let next_link_key = if lines.next_is("next-link-key") { Some(lines.take_key("next-link-key")?) } else { None };
        let next_door_key = if lines.next_is("next-door-key") { Some(lines.take_key("next-door-key")?) } else { None };
        let exit_ports = match lines.take_if("exit-ports") {
            None => None,
            Some(value) => Some(value.parse::<PortSet>().map_err(|_| {
                let rule = "ports and ranges from 1 to 65535, such as 80,443";
                lines.here(Problem::Value { keyword: "exit-ports", rule })
            })?),
        };
        let published_ms = lines.take_number("published-ms")?;
        let expires_ms = lines.take_number("expires-ms")?;
        let read = Self { descriptor, next_link_key, next_door_key, exit_ports, published_ms, expires_ms };
        read.check().map_err(|problem| lines.here(problem))?;
        Ok(read)
    }
}

impl fmt::Debug for Announcement {
    /// Which relays a node uses is private, as for [`Descriptor`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcement(..)")
    }
}

/// An announcement with its node's signature, made for one network. It has two forms, text and bytes, and one signature, which
/// is over the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAnnouncement {
    announcement: Announcement,
    signature: [u8; SIGNATURE_LEN],
}

impl SignedAnnouncement {
    /// Reads the text form.
    ///
    /// # Errors
    /// When it is not as [`SignedAnnouncement::text`] writes it, or its node did not sign it for this network.
    pub fn parse(bytes: &[u8], network: NetworkId) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let signed = Self::read(&mut lines)?;
        if !signed.is_for(network) {
            return Err(lines.here(Problem::NodeSignature));
        }
        Ok(signed)
    }

    /// Nobody looks at the signature here.
    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let announcement = Announcement::read(lines)?;
        lines.check_form(0, &announcement.text())?;
        let signature = lines.take_signature("node-signature")?;
        lines.finish()?;
        let signed = Self { announcement, signature };
        let bulky = signed.encode().len() > ANNOUNCEMENT_BYTES_MAX;
        if bulky { Err(lines.here(Problem::Bulky)) } else { Ok(signed) }
    }

    /// The lines, signature included.
    pub fn text(&self) -> String {
        let mut text = self.announcement.text();
        let _fits = writeln!(text, "node-signature {}", hex(&self.signature));
        text
    }

    /// True when the node signed it for this network.
    pub fn is_for(&self, network: NetworkId) -> bool {
        let message = message(network, &self.announcement.text());
        self.announcement.node_id().verify(&message, &self.signature)
    }

    /// Which relay.
    pub fn node_id(&self) -> NodeId {
        self.announcement.node_id()
    }

    /// What it says.
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// The relay, as in every document.
    pub fn descriptor(&self) -> &Descriptor {
        &self.announcement.descriptor
    }
}

fn message(network: NetworkId, text: &str) -> Vec<u8> {
    [SIGNATURE_CONTEXT, &network.0, text.as_bytes()].concat()
}

const _: () = assert!(EXIT_RANGES_MAX <= 255 && HOP_RANGES_MAX <= 255, "their numbers are one byte");
