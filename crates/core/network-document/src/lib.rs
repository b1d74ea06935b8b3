#![doc = include_str!("../README.md")]

mod announcement;
mod charter;
mod contacts;
mod descriptor;
mod document;
mod edition;
mod electorate;
mod error;
mod founding;
mod invitation;
mod label;
mod lines;
mod load;
mod network;
mod onion_key_file;
mod parameters;
mod roles;
mod seen;
mod subnet;
mod term_file;

pub use announcement::{ANNOUNCEMENT_BYTES_MAX, Announcement, EXIT_RANGES_MAX, EncodingError, SignedAnnouncement};
pub use charter::{Charter, NetworkId, OPERATORS_MAX};
pub use contacts::{CONTACTS_MAX, Contact};
pub use descriptor::{ADDRESSES_MAX, Descriptor, HOP_RANGES_MAX, ONION_KEYS_MAX, SignedDescriptor};
pub use document::{Draft, RELAYS_MAX};
pub use edition::{
    EDITION_BYTES_MAX, EDITION_RELAYS_MAX, Edition, EditionDiff, EditionHead, EditionName, SignedEdition, UnsignedError,
};
pub use electorate::{Electorate, MEMBERS_MAX, MEMBERS_MIN};
pub use error::{DocumentError, Problem};
pub use founding::Founding;
pub use invitation::{INVITATION_BYTES_MAX, INVITATION_CONTACTS_MAX, Invitation, InvitationError};
pub use label::Label;
pub use lines::TEXT_MAX;
pub use load::{DOCUMENT_BYTES_MAX, LoadError};
pub use network::NetworkDocument;
pub use onion_key_file::{OnionKeyFile, OnionKeyFileError, SECRETS_MAX};
pub use parameters::{LEGS_MAX, PARAMETER_RANGES_MAX, Parameters, RATE_CLASSES_MAX};
pub use roles::Roles;
pub use subnet::Subnet;
pub use term_file::TermFile;
pub use wire::encoding;

#[doc(hidden)]
pub mod fuzz;
