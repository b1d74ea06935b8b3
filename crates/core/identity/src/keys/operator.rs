//! The keys of those who say what a network is.

use super::{KeyTextError, SIGNATURE_LEN, ed25519_public, ed25519_sign, ed25519_verify, text};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The Ed25519 seed of an operator of a network: signs its documents. It is no node's and stays off all of them.
#[derive(Clone)]
pub struct OperatorSecret(Zeroizing<[u8; 32]>);

impl OperatorSecret {
    pub(crate) const PREFIX: &'static str = "hwsop1";

    /// Takes 32 bytes from a cryptographic random source, or a stored seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The public half.
    pub fn operator_key(&self) -> OperatorKey {
        OperatorKey(ed25519_public(&self.0))
    }

    /// Signs a message (RFC 8032, pure Ed25519). The caller puts a context in front of it.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        ed25519_sign(&self.0, message)
    }
}

/// The Ed25519 public key of an operator of a network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperatorKey(pub [u8; 32]);

impl OperatorKey {
    pub(crate) const PREFIX: &'static str = "hwop1";

    /// True when this operator signed exactly this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_verify(&self.0, message, signature)
    }
}

secret_text!(OperatorSecret);
public_text!(OperatorKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_signature_counts() {
        let (secret, other) = (OperatorSecret::from_seed([1; 32]), OperatorSecret::from_seed([2; 32]));
        let signature = secret.sign(b"a network");
        assert!(secret.operator_key().verify(b"a network", &signature));
        assert!(!secret.operator_key().verify(b"a netwerk", &signature));
        assert!(!other.operator_key().verify(b"a network", &signature));
        assert!(!secret.operator_key().verify(b"a network", &signature[..63]));
    }

    #[test]
    fn texts_survive_a_round_trip_and_debug_shows_no_key() {
        let secret = OperatorSecret::from_seed([3; 32]);
        let key = secret.operator_key();
        let again = secret.reveal().parse::<OperatorSecret>().map(|secret| secret.operator_key());
        assert_eq!(again, Ok(key));
        assert_eq!(key.to_string().parse::<OperatorKey>(), Ok(key));
        assert!(key.to_string().parse::<crate::OnionKey>().is_err(), "another kind");
        assert_eq!(format!("{secret:?} {key:?}"), "OperatorSecret(..) OperatorKey(..)");
    }
}
