//! The keys of a relay's hop handshakes. Each lives for one interval of the network's document.

use super::{KeyTextError, text, x25519_public};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The X25519 public key of a relay's hop handshakes, for one interval.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OnionKey(pub [u8; 32]);

impl OnionKey {
    pub(crate) const PREFIX: &'static str = "hwo1";
}

/// The secret half of an [`OnionKey`]. Erased on drop.
#[derive(Clone)]
pub struct OnionSecret(Zeroizing<[u8; 32]>);

impl OnionSecret {
    pub(crate) const PREFIX: &'static str = "hwso1";

    /// Takes 32 bytes from a cryptographic random source, or a stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public half.
    pub fn onion_key(&self) -> OnionKey {
        OnionKey(x25519_public(&self.0))
    }

    /// The key itself, for the handshake and for whoever stores it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

secret_text!(OnionSecret);
public_text!(OnionKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_a_round_trip_and_debug_shows_no_key() {
        let secret = OnionSecret::from_bytes([1; 32]);
        let key = secret.onion_key();
        assert_eq!(secret.reveal().parse::<OnionSecret>().map(|secret| *secret.expose()), Ok([1; 32]));
        assert_eq!(key.to_string().parse::<OnionKey>(), Ok(key));
        assert!(key.to_string().parse::<crate::LinkKey>().is_err(), "another kind");
        assert_eq!(format!("{secret:?} {key:?}"), "OnionSecret(..) OnionKey(..)");
    }
}
