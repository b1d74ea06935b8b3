//! What an invitation says of a network: a few directory nodes, and how their doors and circuits are opened.

use crate::charter::Charter;
use crate::descriptor::Descriptor;
use crate::error::Problem;
use crate::label::Label;
use crate::roles::Roles;
use crate::seen::Seen;
use identity::{DoorKey, LinkKey, NodeId, OnionKey};
use onion::Interval;
use shaping::RateClass;
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Contacts of one document at most; with more it is refused.
pub const CONTACTS_MAX: usize = 16;
/// Contacts name no operator, and one hop has none to keep apart.
const OPERATOR: &str = "contact";

/// A directory node, as an invitation names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its name.
    pub node_id: NodeId,
    /// The static key of its links.
    pub link_key: LinkKey,
    /// What its door wants strangers to know.
    pub door_key: DoorKey,
    /// The onion key that it keeps over all intervals: [`crate::OnionKeyFile::lasting`].
    pub onion_key: OnionKey,
    /// Where its door is, the first one preferred: 1 to [`crate::ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Debug for Contact {
    /// Which relays a node uses is private, as for [`Descriptor`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(..)")
    }
}

/// Contacts as relays of a network, ascending by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contacts {
    charter: Charter,
    relays: Vec<Descriptor>,
}

impl Contacts {
    pub(crate) fn new(charter: Charter, contacts: Vec<Contact>) -> Result<Self, Problem> {
        if contacts.is_empty() {
            return Err(Problem::Expected { keyword: "relay" });
        }
        if contacts.len() > CONTACTS_MAX {
            return Err(Problem::TooMany { keyword: "relay", max: CONTACTS_MAX });
        }
        let operator = Label::new(OPERATOR, "operator")?;
        let mut relays: Vec<Descriptor> = contacts.into_iter().map(|contact| describe(contact, &operator)).collect();
        relays.sort_unstable_by_key(|relay| relay.node_id);
        let mut seen = Seen::new(Interval::LASTING, CONTACTS_MAX);
        for relay in &relays {
            relay.check_values()?;
            seen.take(relay)?;
        }
        Ok(Self { charter, relays })
    }

    pub(crate) fn charter(&self) -> &Charter {
        &self.charter
    }

    pub(crate) fn relays(&self) -> &[Descriptor] {
        &self.relays
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.charter.text();
        let _fits = writeln!(text, "interval {}", Interval::LASTING.0);
        for relay in &self.relays {
            text.push_str(&relay.text());
        }
        text
    }
}

fn describe(contact: Contact, operator: &Label) -> Descriptor {
    Descriptor {
        node_id: contact.node_id,
        link_key: contact.link_key,
        door_key: contact.door_key,
        onion_keys: vec![(Interval::LASTING, contact.onion_key)],
        addresses: contact.addresses,
        hop_ports: None,
        roles: Roles { guard: true, directory: true, ..Roles::default() },
        operator: operator.clone(),
        // All are drawn alike.
        bandwidth: RateClass::SLOWEST,
    }
}
