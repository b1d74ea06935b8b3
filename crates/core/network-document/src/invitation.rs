//! Invitations: what somebody who knows nothing of a network has to know to learn the rest. Layout: docs/spec/invitation.md.

use crate::announcement::{read_addresses, write_address};
use crate::charter::{Charter, NetworkId};
use crate::descriptor::{ADDRESSES_MAX, check_address};
use crate::encoding::{ReadError, Reader, WriteBytes};
use crate::error::Problem;
use identity::{DoorKey, KeyTextError, LinkKey, NodeId, NodeSecret, OnionKey, decode_token, encode_token};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use thiserror::Error;
use zeroize::Zeroizing;

mod compact;

/// Contacts of an invitation at most; there is at least one.
pub const INVITATION_CONTACTS_MAX: usize = 4;
/// Bytes of an invitation at most, before they are text: the longest charter, all contacts with all addresses, and a secret. With
/// three operators, four members and two contacts it is about 555, and 900 characters.
pub const INVITATION_BYTES_MAX: usize =
    2 + compact::CHARTER_BYTES_MAX + INVITATION_CONTACTS_MAX * (129 + ADDRESSES_MAX * 19) + 32;
const PREFIX: &str = "hwjoin1";
/// The only flag: the invitation makes whoever holds it this node.
const NODE_SECRET: u8 = 1;

/// Why a text is no invitation, or values make none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvitationError {
    /// The text is damaged or something else.
    #[error("this is no invitation: {0}")]
    Text(#[from] KeyTextError),
    /// The text is whole, and not of this version.
    #[error("this invitation was not written by this version of the program: {0}")]
    Bytes(#[from] ReadError),
    /// A value may not be.
    #[error("the invitation cannot be used: {0}")]
    Value(#[from] Problem),
    /// Too few or too many contacts.
    #[error("an invitation has 1 to {INVITATION_CONTACTS_MAX} contacts")]
    Contacts,
}

/// A node of the network that answers strangers: enough to build a circuit of one hop to it and ask for an edition.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its name.
    pub node_id: NodeId,
    /// The static key of its links.
    pub link_key: LinkKey,
    /// What its door wants strangers to know.
    pub door_key: DoorKey,
    /// A key of its hop handshakes that does not change with the intervals: an invitation may be used months later.
    pub onion_key: OnionKey,
    /// Where its door is, the first one preferred: 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Debug for Contact {
    /// Which relays a node uses is private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(..)")
    }
}

/// What `hushwire join` takes.
#[derive(Clone)]
pub struct Invitation {
    charter: Charter,
    contacts: Vec<Contact>,
    node_secret: Option<NodeSecret>,
}

impl Invitation {
    /// For a client: it may go to as many people as one likes, and admits nobody to anything.
    ///
    /// # Errors
    /// [`InvitationError::Contacts`], or [`InvitationError::Value`] for a charter without a directory, addresses that are none, and two
    /// contacts with one name or link key.
    pub fn new(charter: Charter, contacts: Vec<Contact>) -> Result<Self, InvitationError> {
        if charter.founding().is_none() {
            return Err(Problem::OtherKind.into());
        }
        if !(1..=INVITATION_CONTACTS_MAX).contains(&contacts.len()) {
            return Err(InvitationError::Contacts);
        }
        for (place, contact) in contacts.iter().enumerate() {
            if !(1..=ADDRESSES_MAX).contains(&contact.addresses.len()) {
                return Err(Problem::TooMany { keyword: "address", max: ADDRESSES_MAX }.into());
            }
            contact.addresses.iter().try_for_each(|address| check_address(*address))?;
            let before = &contacts[..place];
            if before.iter().any(|other| other.node_id == contact.node_id) {
                return Err(Problem::Shared { keyword: "relay" }.into());
            }
            if before.iter().any(|other| other.link_key == contact.link_key) {
                return Err(Problem::Shared { keyword: "link-key" }.into());
            }
        }
        Ok(Self { charter, contacts, node_secret: None })
    }

    /// For one relay, which operators have admitted: whoever holds the invitation is that node. It is a secret.
    pub fn for_relay(self, secret: NodeSecret) -> Self {
        Self { node_secret: Some(secret), ..self }
    }

    /// Which network: the hash of its charter.
    pub fn network_id(&self) -> NetworkId {
        self.charter.network_id()
    }

    /// What the network is: its packets, its clock and who decides are known before anybody is asked.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// Whom to ask.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The node that it makes of whoever holds it; `None` for clients.
    pub fn node_secret(&self) -> Option<&NodeSecret> {
        self.node_secret.as_ref()
    }

    /// The text: one word of lower-case letters and digits. It has door keys in it, and may have a node's secret.
    pub fn reveal(&self) -> Zeroizing<String> {
        encode_token(PREFIX, &self.encode())
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(INVITATION_BYTES_MAX));
        bytes.u8(if self.node_secret.is_some() { NODE_SECRET } else { 0 });
        compact::write(&mut bytes, &self.charter).expect("every invitation's charter has a directory");
        bytes.u8(self.contacts.len() as u8);
        for contact in &self.contacts {
            bytes.raw(&contact.node_id.0);
            bytes.raw(&contact.link_key.0);
            bytes.raw(contact.door_key.expose());
            bytes.raw(&contact.onion_key.0);
            bytes.u8(contact.addresses.len() as u8);
            contact.addresses.iter().for_each(|address| write_address(&mut bytes, *address));
        }
        if let Some(secret) = &self.node_secret {
            bytes.raw(secret.expose());
        }
        bytes
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    /// Blanks and ends of lines in front and behind are ignored.
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let bytes = decode_token(PREFIX, text.trim(), INVITATION_BYTES_MAX)?;
        let mut input = Reader::new(&bytes);
        let flags = input.u8()?;
        if flags & !NODE_SECRET != 0 {
            return Err(ReadError::Range.into());
        }
        let charter = compact::read(&mut input)?;
        let count = usize::from(input.u8()?);
        if count > INVITATION_CONTACTS_MAX {
            return Err(InvitationError::Contacts);
        }
        let mut contacts = Vec::with_capacity(count);
        for _ in 0..count {
            contacts.push(Contact {
                node_id: NodeId(input.array()?),
                link_key: LinkKey(input.array()?),
                door_key: DoorKey::from_bytes(input.array()?),
                onion_key: OnionKey(input.array()?),
                addresses: read_addresses(&mut input)?,
            });
        }
        let node_secret = if flags == NODE_SECRET { Some(NodeSecret::from_seed(input.array()?)) } else { None };
        input.end()?;
        let read = Self { node_secret, ..Self::new(charter, contacts)? };
        // Operators or members in another order.
        if *read.encode() == *bytes { Ok(read) } else { Err(ReadError::Range.into()) }
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitation(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::electorate::Electorate;
    use crate::founding::Founding;
    use crate::label::Label;
    use crate::parameters::PARAMETER_RANGES_MAX;
    use identity::{LinkSecret, OperatorSecret};
    use port_hopping::ports::{PortRange, PortSet};
    use shaping::RateClass;

    fn contact(number: u8) -> Contact {
        Contact {
            node_id: NodeSecret::from_seed([number; 32]).node_id(),
            link_key: LinkSecret::from_bytes([number; 32]).link_key(),
            door_key: DoorKey::from_bytes([number; 32]),
            onion_key: OnionKey([number; 32]),
            addresses: vec![
                SocketAddr::from(([192, 0, 2, number], 4433)),
                SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()], 4433)),
            ],
        }
    }

    fn plain_charter(operators: u8) -> Charter {
        let keys = (1..=operators).map(|seed| OperatorSecret::from_seed([seed; 32]).operator_key()).collect();
        Charter::new(Label::new("example", "name").expect("a label"), Default::default(), keys, 2).expect("a charter")
    }

    fn charter(operators: u8, members: u8) -> Charter {
        let members = (1..=members).map(|seed| NodeSecret::from_seed([seed; 32]).node_id()).collect();
        let electorate = Electorate::new(1, members, 1).expect("enough members");
        plain_charter(operators).with_directory(Founding::new(1_800_000_000_000, electorate)).expect("a founding")
    }

    fn invitation(contacts: u8) -> Result<Invitation, InvitationError> {
        Invitation::new(charter(3, 4), (1..=contacts).map(contact).collect())
    }

    #[test]
    fn an_invitation_survives_a_round_trip_and_fits_into_a_qr_code() {
        let two = invitation(2).expect("an invitation");
        let text = two.reveal();
        assert!(text.starts_with("hwjoin1") && text.len() <= 1_000, "{} characters", text.len());
        let read: Invitation = format!("\n {} \n", text.as_str()).parse().expect("it was written so");
        assert_eq!(read.reveal(), text);
        assert_eq!((read.charter(), read.network_id()), (two.charter(), charter(3, 4).network_id()));
        assert_eq!(read.contacts(), two.contacts());
        assert!(read.node_secret().is_none());
        assert_eq!(text.to_ascii_uppercase().parse::<Invitation>().map(|read| read.reveal()), Ok(text.clone()));
        assert_eq!(format!("{read:?} {:?}", read.contacts()[0]), "Invitation(..) Contact(..)");
    }

    #[test]
    fn a_relays_invitation_has_its_secret() {
        let secret = NodeSecret::from_seed([9; 32]);
        let text = invitation(1).expect("an invitation").for_relay(secret.clone()).reveal();
        let read: Invitation = text.parse().expect("it was written so");
        assert_eq!(read.node_secret().map(NodeSecret::node_id), Some(secret.node_id()));
        assert_eq!(read.reveal(), text);
    }

    #[test]
    fn the_longest_one_is_within_the_bound() {
        let mut contacts: Vec<Contact> = (1..=4).map(contact).collect();
        for contact in &mut contacts {
            let address = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port));
            contact.addresses = (1..=8).map(address).collect();
        }
        let mut founding = charter(16, 15).founding().expect("a directory").clone();
        founding.parameters.rate_classes = (0..=52).map(|number| RateClass::new(number).expect("a class")).collect();
        let ranges = (0..PARAMETER_RANGES_MAX as u16)
            .map(|place| PortRange::new(1 + 3 * place, 2 + 3 * place).expect("a range"));
        founding.parameters.hop_ports = PortSet::from_ranges(ranges).expect("ports");
        let name = Label::new(&"n".repeat(63), "name").expect("a label");
        let operators = charter(16, 15).operators().to_vec();
        let longest =
            Charter::new(name, Default::default(), operators, 2).and_then(|charter| charter.with_directory(founding));
        let longest = longest.expect("a charter");
        let longest = Invitation::new(longest, contacts.clone()).expect("an invitation");
        let text = longest.for_relay(NodeSecret::from_seed([9; 32])).reveal();
        assert_eq!(text.len(), PREFIX.len() + ((INVITATION_BYTES_MAX + 3) * 8).div_ceil(5));
        assert!(text.parse::<Invitation>().is_ok());
        let more = format!("{}aaaaaaaa", text.as_str()).parse::<Invitation>();
        assert!(matches!(more, Err(InvitationError::Text(KeyTextError::Long { .. }))));
        contacts[3].addresses.push(SocketAddr::from(([192, 0, 2, 1], 1)));
        assert!(Invitation::new(charter(3, 4), contacts).is_err());
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        assert_eq!(invitation(0).err(), Some(InvitationError::Contacts));
        assert_eq!(invitation(5).err(), Some(InvitationError::Contacts));
        let twice = Invitation::new(charter(3, 4), vec![contact(1), contact(1)]);
        assert_eq!(twice.err(), Some(InvitationError::Value(Problem::Shared { keyword: "relay" })));
        let mut nowhere = contact(1);
        nowhere.addresses = vec![SocketAddr::from(([0, 0, 0, 0], 4433))];
        assert!(Invitation::new(charter(3, 4), vec![nowhere]).is_err());
        let other = Invitation::new(plain_charter(2), vec![contact(1)]).err();
        assert_eq!(
            other,
            Some(InvitationError::Value(Problem::OtherKind)),
            "nobody to ask in a network without a directory"
        );
        let mut bytes = invitation(1).expect("an invitation").encode();
        // Flag, name, P and the number of operators stand before the operators.
        let (first, second) = bytes[12..].split_at_mut(32);
        first.swap_with_slice(&mut second[..32]);
        assert_eq!(
            encode_token(PREFIX, &bytes).parse::<Invitation>().err(),
            Some(InvitationError::Bytes(ReadError::Range))
        );
        let text = invitation(2).expect("an invitation").reveal();
        let cut = text[..text.len() - 8].parse::<Invitation>().err();
        assert_eq!(cut, Some(InvitationError::Text(KeyTextError::Cut)));
        let key = contact(1).node_id.to_string().parse::<Invitation>().map_err(|error| error.to_string());
        assert_eq!(key.err().as_deref(), Some("this is no invitation: it must begin with `hwjoin1`"));
        let later = encode_token(PREFIX, &[2; 100]).parse::<Invitation>().err();
        assert_eq!(later, Some(InvitationError::Bytes(ReadError::Range)));
    }
}
