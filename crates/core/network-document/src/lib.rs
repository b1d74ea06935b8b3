#![doc = include_str!("../README.md")]

mod charter;
mod descriptor;
mod document;
mod error;
mod label;
mod lines;
mod onion_key_file;
mod roles;
mod subnet;

pub use charter::{Charter, NetworkId, OPERATORS_MAX};
pub use descriptor::{ADDRESSES_MAX, Descriptor, HOP_RANGES_MAX, ONION_KEYS_MAX, SignedDescriptor};
pub use document::{Draft, NetworkDocument, RELAYS_MAX};
pub use error::{DocumentError, Problem};
pub use label::Label;
pub use lines::TEXT_MAX;
pub use onion_key_file::{OnionKeyFile, OnionKeyFileError, SECRETS_MAX};
pub use roles::Roles;
pub use subnet::Subnet;

#[doc(hidden)]
pub mod fuzz;
