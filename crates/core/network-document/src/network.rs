//! The document that nodes and clients go by, whoever signed it.

use crate::announcement::SignedAnnouncement;
use crate::charter::{Charter, NetworkId};
use crate::contacts::{Contact, Contacts};
use crate::descriptor::{Descriptor, SignedDescriptor};
use crate::document::Draft;
use crate::edition::SignedEdition;
use crate::error::{DocumentError, Problem};
use identity::{LinkKey, NodeId};
use onion::{Interval, RelaySpec};
use packet_crypto::keys::sha256;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A document that enough operators signed, an edition that enough members of its directory signed, or what an invitation says
/// ([`NetworkDocument::of_contacts`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDocument {
    source: Source,
    by_link_key: BTreeMap<LinkKey, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Operators(Draft),
    Members(SignedEdition),
    Contacts(Contacts),
}

impl NetworkDocument {
    /// Reads a document of operators.
    ///
    /// # Errors
    /// As [`Draft::parse`], and when too few operators signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let draft = Draft::parse(bytes)?;
        let line = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        draft.finish().map_err(|problem| DocumentError { line, problem })
    }

    /// What somebody goes by who has an invitation and no document yet: relays with the roles `guard` and `directory` alone, and
    /// their lasting onion keys, so that tunnels of one hop lead to the directory and nowhere else. Nobody signed it: it is
    /// as good as the way on which the contacts came. The order of contacts has no meaning.
    ///
    /// # Errors
    /// When there is none or more than [`crate::CONTACTS_MAX`], when two share a name, a key or an address, or when an address
    /// is none of a machine.
    pub fn of_contacts(charter: Charter, contacts: Vec<Contact>) -> Result<Self, Problem> {
        let contacts = Contacts::new(charter, contacts)?;
        let keys = contacts.relays().iter().enumerate().map(|(place, relay)| (relay.link_key, place));
        Ok(Self { by_link_key: keys.collect(), source: Source::Contacts(contacts) })
    }

    pub(crate) fn of_operators(draft: Draft) -> Self {
        let keys = draft.signed_relays().iter().map(SignedDescriptor::descriptor).enumerate();
        let by_link_key = keys.map(|(place, relay)| (relay.link_key, place)).collect();
        Self { source: Source::Operators(draft), by_link_key }
    }

    pub(crate) fn of_members(edition: SignedEdition) -> Self {
        let relays = edition.edition().relays().iter().enumerate();
        let keys = relays.flat_map(|(place, relay)| relay.announcement().link_keys().map(move |key| (key, place)));
        Self { by_link_key: keys.collect(), source: Source::Members(edition) }
    }

    /// True for what an invitation says: [`NetworkDocument::of_contacts`].
    pub fn is_of_contacts(&self) -> bool {
        matches!(self.source, Source::Contacts(_))
    }

    /// What operators signed, with their signatures; `None` for anything else.
    pub fn as_draft(&self) -> Option<&Draft> {
        match &self.source {
            Source::Operators(draft) => Some(draft),
            Source::Members(_) | Source::Contacts(_) => None,
        }
    }

    /// What members signed, with their signatures; `None` for anything else.
    pub fn as_edition(&self) -> Option<&SignedEdition> {
        match &self.source {
            Source::Operators(_) | Source::Contacts(_) => None,
            Source::Members(edition) => Some(edition),
        }
    }

    /// The bytes that [`NetworkDocument::load`] reads; of contacts, which no file has, the lines of [`NetworkDocument::text`].
    pub fn encode(&self) -> Vec<u8> {
        match &self.source {
            Source::Operators(_) | Source::Contacts(_) => self.text().into_bytes(),
            Source::Members(edition) => edition.encode(),
        }
    }

    /// The document as text. Of a document of operators it is what [`NetworkDocument::parse`] reads; of an edition and of contacts
    /// the same lines for people, which nobody signed so and which no reader takes for a document.
    pub fn text(&self) -> String {
        match &self.source {
            Source::Operators(draft) => draft.text(),
            Source::Members(edition) => edition.text(),
            Source::Contacts(contacts) => contacts.text(),
        }
    }

    /// What the network is.
    pub fn charter(&self) -> &Charter {
        match &self.source {
            Source::Operators(draft) => draft.charter(),
            Source::Members(edition) => edition.edition().charter(),
            Source::Contacts(contacts) => contacts.charter(),
        }
    }

    /// What names the network.
    pub fn network_id(&self) -> NetworkId {
        match &self.source {
            Source::Operators(draft) => draft.charter().network_id(),
            Source::Members(edition) => edition.edition().network_id(),
            Source::Contacts(contacts) => contacts.charter().network_id(),
        }
    }

    /// The number of the onion keys that it is for.
    pub fn interval(&self) -> Interval {
        match &self.source {
            Source::Operators(draft) => draft.interval(),
            Source::Members(edition) => edition.edition().key_interval(),
            Source::Contacts(_) => Interval::LASTING,
        }
    }

    /// SHA-256 over what is signed, or of contacts over their text: two documents with one hash say the same.
    pub fn hash(&self) -> [u8; 32] {
        match &self.source {
            Source::Operators(draft) => sha256(&draft.message()),
            Source::Members(edition) => edition.edition().hash(),
            Source::Contacts(contacts) => sha256(contacts.text().as_bytes()),
        }
    }

    /// All relays, in ascending order of their names.
    pub fn relays(&self) -> impl ExactSizeIterator<Item = &Descriptor> {
        (0..self.len()).map(|place| self.at(place))
    }

    /// The relay of this name.
    pub fn relay(&self, node: &NodeId) -> Option<&Descriptor> {
        self.place(node).map(|place| self.at(place))
    }

    /// The relay with this link key.
    pub fn relay_of_link(&self, key: &LinkKey) -> Option<&Descriptor> {
        self.by_link_key.get(key).map(|place| self.at(*place))
    }

    /// All that a relay said of itself to the directory; `None` in a document of operators too.
    pub fn announcement(&self, node: &NodeId) -> Option<&Arc<SignedAnnouncement>> {
        Some(&self.as_edition()?.edition().relays()[self.place(node)?])
    }

    /// What a client needs to extend a circuit to a relay.
    pub fn spec(&self, node: &NodeId) -> Option<RelaySpec> {
        let (interval, relay) = (self.interval(), self.relay(node)?);
        Some(RelaySpec { node_id: *node, onion_key: relay.onion_key(interval)?, interval })
    }

    /// True when this document may take the place of `old`: the same network, a later interval, or a later index of a
    /// directory. Any document takes the place of contacts, and contacts that of none.
    pub fn supersedes(&self, old: &Self) -> bool {
        let later = match (&self.source, &old.source) {
            (Source::Contacts(_), _) => false,
            (_, Source::Contacts(_)) => true,
            (Source::Members(this), Source::Members(old)) => this.edition().index() > old.edition().index(),
            _ => self.interval() > old.interval(),
        };
        later && self.network_id() == old.network_id()
    }

    fn len(&self) -> usize {
        match &self.source {
            Source::Operators(draft) => draft.signed_relays().len(),
            Source::Members(edition) => edition.edition().relays().len(),
            Source::Contacts(contacts) => contacts.relays().len(),
        }
    }

    fn at(&self, place: usize) -> &Descriptor {
        match &self.source {
            Source::Operators(draft) => draft.signed_relays()[place].descriptor(),
            Source::Members(edition) => edition.edition().relays()[place].descriptor(),
            Source::Contacts(contacts) => &contacts.relays()[place],
        }
    }

    fn place(&self, node: &NodeId) -> Option<usize> {
        match &self.source {
            Source::Operators(draft) => {
                draft.signed_relays().binary_search_by_key(node, |relay| relay.descriptor().node_id).ok()
            }
            Source::Members(edition) => edition.edition().place(node),
            Source::Contacts(contacts) => contacts.relays().binary_search_by_key(node, |relay| relay.node_id).ok(),
        }
    }
}
