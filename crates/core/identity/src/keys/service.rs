//! The keys of onion services and of the clients whom they let in.

use super::{KeyTextError, text, x25519_public};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The Ed25519 seed of an onion service: its address is made of the public half, its keys of the day of both.
#[derive(Clone)]
pub struct ServiceSecret(Zeroizing<[u8; 32]>);

impl ServiceSecret {
    pub(crate) const PREFIX: &'static str = "hwss1";

    /// Takes 32 bytes from a cryptographic random source, or a stored seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The public half. Its text form is the service's address, of the crate `onion-service`.
    pub fn public_key(&self) -> [u8; 32] {
        super::ed25519_public(&self.0)
    }

    /// The seed itself, for the key file and for the keys of the day.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The X25519 public key of a client, which the operator of a service puts on its list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKey(pub [u8; 32]);

impl AccessKey {
    pub(crate) const PREFIX: &'static str = "hwa1";
}

/// The secret half of an [`AccessKey`]: opens the records of services that let this client in. Erased on drop.
#[derive(Clone)]
pub struct AccessSecret(Zeroizing<[u8; 32]>);

impl AccessSecret {
    pub(crate) const PREFIX: &'static str = "hwsa1";

    /// Takes 32 bytes from a cryptographic random source, or a stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public half.
    pub fn access_key(&self) -> AccessKey {
        AccessKey(x25519_public(&self.0))
    }

    /// The key itself, for whoever opens a record or stores it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

secret_text!(ServiceSecret, AccessSecret);
public_text!(AccessKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_a_round_trip_and_debug_shows_no_key() {
        let (service, access) = (ServiceSecret::from_seed([1; 32]), AccessSecret::from_bytes([2; 32]));
        let again = service.reveal().parse::<ServiceSecret>().map(|secret| secret.public_key());
        assert_eq!(again, Ok(service.public_key()));
        assert_eq!(access.reveal().parse::<AccessSecret>().map(|secret| *secret.expose()), Ok([2; 32]));
        let key = access.access_key();
        assert_eq!(key.to_string().parse::<AccessKey>(), Ok(key));
        assert!(service.reveal().parse::<AccessSecret>().is_err(), "another kind");
        assert_eq!(format!("{service:?} {access:?} {key:?}"), "ServiceSecret(..) AccessSecret(..) AccessKey(..)");
    }
}
