//! The keys of a day: the address's key times a factor that everybody can compute who knows the address
//! (docs/spec/onion-service.md, "Days and keys"). The only place with arithmetic of the group behind Ed25519.

use crate::address::ServiceAddress;
use crate::day::{Day, DayKey, blinding_factor};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Digest, Sha512, VerifyingKey};
use identity::{SIGNATURE_LEN, ServiceSecret};
use network_document::NetworkId;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// Before the part of a secret that makes nonces. Tor's words, so that its vectors hold all of this.
const NONCE_LABEL: &[u8] = b"Derive temporary signing key hash input";

/// An address that no service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this address is nobody's: its key is no point of the group")]
pub struct BlindingError;

impl ServiceAddress {
    /// What this address gives for a day.
    ///
    /// # Errors
    /// [`BlindingError`] for a key that is no point, or one with a part of small order: its blinded keys would not be one key.
    pub fn day_key(self, network: NetworkId, day: Day) -> Result<DayKey, BlindingError> {
        let blinded = blind(&self.0, &blinding_factor(network, self, day))?;
        Ok(DayKey::new(network, self, day, blinded))
    }
}

/// What signs the records of a day: all that a machine needs which publishes them. Erased on drop.
pub struct DaySecret {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

impl DaySecret {
    /// Blinds a service's secret for a day.
    pub fn new(secret: &ServiceSecret, network: NetworkId, day: Day) -> Self {
        let factor = blinding_factor(network, ServiceAddress(secret.public_key()), day);
        Self::blinded(secret.expose(), &factor)
    }

    fn blinded(seed: &[u8; 32], factor: &[u8; 32]) -> Self {
        let own = ExpandedSecretKey::from(seed);
        let nonces = Zeroizing::new(<[u8; 64]>::from(
            Sha512::new().chain_update(NONCE_LABEL).chain_update(own.hash_prefix).finalize(),
        ));
        let mut hash_prefix = [0; 32];
        hash_prefix.copy_from_slice(&nonces[..32]);
        let secret = ExpandedSecretKey { scalar: clamped(factor).scalar * own.scalar, hash_prefix };
        let public = VerifyingKey::from(&secret);
        Self { secret, public }
    }

    /// The key under which the records of the day lie.
    pub fn public_key(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// Signs a message as Ed25519 does.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        raw_sign::<Sha512>(&self.secret, message, &self.public).to_bytes()
    }
}

impl fmt::Debug for DaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DaySecret(..)")
    }
}

/// A factor as a scalar, with the bits that Ed25519 sets.
fn clamped(factor: &[u8; 32]) -> ExpandedSecretKey {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(factor);
    ExpandedSecretKey::from_bytes(&bytes)
}

fn blind(key: &[u8; 32], factor: &[u8; 32]) -> Result<[u8; 32], BlindingError> {
    let point = VerifyingKey::from_bytes(key).map_err(|_| BlindingError)?.to_edwards();
    if point.is_small_order() || !point.is_torsion_free() {
        return Err(BlindingError);
    }
    Ok((clamped(factor).scalar * point).compress().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{TOR_BLINDING, hex};
    use data_encoding::HEXLOWER;
    use identity::NodeId;
    use proptest::prelude::*;

    const NETWORK: NetworkId = NetworkId([0x0a; 32]);

    fn bytes(text: &str) -> [u8; 32] {
        HEXLOWER.decode(text.as_bytes()).expect("hexadecimal").try_into().expect("32 bytes")
    }

    /// Tor's vectors for its blinding (`ed25519_vectors.inc`).
    #[test]
    fn blinding_is_that_of_tor() {
        for [seed, key, factor, secret, nonces, blinded] in TOR_BLINDING {
            assert_eq!(hex(&ServiceSecret::from_seed(bytes(seed)).public_key()), key);
            assert_eq!(blind(&bytes(key), &bytes(factor)).map(|key| hex(&key)), Ok(blinded.to_owned()));
            let day = DaySecret::blinded(&bytes(seed), &bytes(factor));
            assert_eq!(
                (hex(&day.secret.scalar.to_bytes()), hex(&day.secret.hash_prefix)),
                (secret.to_owned(), nonces.to_owned())
            );
            assert_eq!(hex(&day.public_key()), blinded);
        }
    }

    /// The vector of docs/spec/onion-service.md, made by an independent implementation (Python, arithmetic of its own).
    #[test]
    fn a_day_is_that_of_the_specification() {
        let secret = ServiceSecret::from_seed([0x41; 32]);
        let address = ServiceAddress(secret.public_key());
        assert_eq!(address.to_string(), "3omv7ysrnhiudsvzxo5jfovad6ps4hwopx2mwkwakgipg76md6ovjtyb.hush");
        let day = Day(20_000);
        assert_eq!(
            hex(&blinding_factor(NETWORK, address, day)),
            "1283bd33a122b3c2ea11e5792a6bdb4df221585a02f5f9ca160db7607bbc188f"
        );
        let key = address.day_key(NETWORK, day).expect("a service's address");
        assert_eq!(hex(&key.blinded), "847dd52dfb2c08a7af263c68d348d292e664f8f643e9736afba9f9aeccd3885c");
        assert_eq!(hex(key.subcredential()), "2d82e1d18b52ee6dcc0f15df477b04ec27df3892dd3afb5ff277cc953617a328");
        assert_eq!(DaySecret::new(&secret, NETWORK, day).public_key(), key.blinded);
    }

    proptest! {
        #[test]
        fn what_a_day_signs_the_day_verifies_and_no_other(seed in any::<[u8; 32]>(), day in any::<u32>(), message in any::<Vec<u8>>()) {
            let (secret, day) = (ServiceSecret::from_seed(seed), Day(u64::from(day)));
            let address = ServiceAddress(secret.public_key());
            let signature = DaySecret::new(&secret, NETWORK, day).sign(&message);
            let key = address.day_key(NETWORK, day).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let next = address.day_key(NETWORK, Day(day.0 + 1)).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(NodeId(key.blinded).verify(&message, &signature));
            prop_assert!(!NodeId(next.blinded).verify(&message, &signature));
            prop_assert!(!NodeId(address.0).verify(&message, &signature));
        }
    }

    #[test]
    fn addresses_that_are_nobodys_are_refused() {
        // Order 1, 4 and 8 (RFC 7748 and the curve's torsion points), and no point at all.
        let mut one = [0; 32];
        one[0] = 1;
        let eight = bytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
        let mut none = [0; 32];
        none[0] = 2;
        for key in [one, [0; 32], eight, none] {
            assert_eq!(ServiceAddress(key).day_key(NETWORK, Day(1)).err(), Some(BlindingError));
        }
        // A good key with a point of order 8 added to it has the same blinded keys as the good one: two addresses of one service.
        let good =
            VerifyingKey::from_bytes(&ServiceSecret::from_seed([1; 32]).public_key()).expect("a point").to_edwards();
        let torsion = VerifyingKey::from_bytes(&eight).expect("a point").to_edwards();
        let mixed = (good + torsion).compress().to_bytes();
        assert_eq!(ServiceAddress(mixed).day_key(NETWORK, Day(1)).err(), Some(BlindingError));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", DaySecret::blinded(&[1; 32], &[2; 32])), "DaySecret(..)");
    }
}
