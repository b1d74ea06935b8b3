//! The address of a service: its key, and enough beside it that a typing mistake is found before anybody is asked.

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use packet_crypto::keys::sha256;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What an address ends with.
pub const ADDRESS_SUFFIX: &str = ".hush";
/// Letters before the suffix: 35 bytes without a rest.
const LETTERS: usize = 56;
/// The one version there is. It is the last byte, so all addresses of a version end alike.
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 2;

/// The Ed25519 key of a service, as people pass it on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAddress(pub [u8; 32]);

/// Why a text is no address. Always the writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It is the name of something else.
    #[error("it does not end with `{ADDRESS_SUFFIX}`")]
    Suffix,
    /// Letters are missing or left over: usually a cut or doubled end.
    #[error("this address has {found} letters before `{ADDRESS_SUFFIX}` where {LETTERS} belong")]
    Length {
        /// Letters found.
        found: usize,
    },
    /// A letter that addresses do not have.
    #[error("letter {position} of this address is neither a to z nor 2 to 7")]
    Letter {
        /// Counted from 1.
        position: usize,
    },
    /// A letter is another one, or two are swapped.
    #[error("this address has a typing mistake: its checksum does not match")]
    Checksum,
    /// Made by a later program.
    #[error("this address is of version {found}; this program knows version {VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.0.as_slice(), &checksum(&self.0, VERSION), &[VERSION]].concat();
        // RFC 4648, in lower case, as the text forms of keys are.
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())?;
        f.write_str(ADDRESS_SUFFIX)
    }
}

impl fmt::Debug for ServiceAddress {
    /// Where somebody goes is private, and `Debug` may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAddress(..)")
    }
}

impl FromStr for ServiceAddress {
    type Err = AddressError;

    /// Letters of either case are taken.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let start = text.len().checked_sub(ADDRESS_SUFFIX.len()).ok_or(AddressError::Suffix)?;
        let (letters, suffix) = text.as_bytes().split_at(start);
        if !suffix.eq_ignore_ascii_case(ADDRESS_SUFFIX.as_bytes()) {
            return Err(AddressError::Suffix);
        }
        if let Some(wrong) =
            letters.iter().position(|letter| !matches!(letter, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7'))
        {
            return Err(AddressError::Letter { position: wrong + 1 });
        }
        if letters.len() != LETTERS {
            return Err(AddressError::Length { found: letters.len() });
        }
        let mut bytes = [0; 32 + CHECKSUM_LEN + 1];
        BASE32_NOPAD_NOCASE.decode_mut(letters, &mut bytes).map_err(|_| AddressError::Checksum)?;
        let [key @ .., first, second, version] = bytes;
        if [first, second] != checksum(&key, version) {
            return Err(AddressError::Checksum);
        }
        if version != VERSION {
            return Err(AddressError::Version { found: version });
        }
        Ok(Self(key))
    }
}

/// The first two bytes of SHA-256("hushwire service address 1" | key | version).
fn checksum(key: &[u8; 32], version: u8) -> [u8; CHECKSUM_LEN] {
    let hash = sha256(&[b"hushwire service address 1".as_slice(), key, &[version]].concat());
    [hash[0], hash[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_survives_a_round_trip_in_either_case(key in any::<[u8; 32]>()) {
            let text = ServiceAddress(key).to_string();
            prop_assert_eq!(text.len(), LETTERS + ADDRESS_SUFFIX.len());
            prop_assert_eq!(text.parse(), Ok(ServiceAddress(key)));
            prop_assert_eq!(text.to_ascii_uppercase().parse(), Ok(ServiceAddress(key)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = text.parse::<ServiceAddress>();
        }
    }

    /// Two bytes of checksum: of all texts with one wrong letter, one in 65,536 passes. All of this address's are found.
    #[test]
    fn each_wrong_letter_and_each_swap_is_found() {
        let text = ServiceAddress([7; 32]).to_string();
        for place in 0..LETTERS {
            for letter in *b"abcdefghijklmnopqrstuvwxyz234567" {
                let mut bytes = text.clone().into_bytes();
                let same = std::mem::replace(&mut bytes[place], letter) == letter;
                let read = String::from_utf8(bytes).expect("ASCII").parse::<ServiceAddress>();
                assert_eq!(read.is_ok(), same, "{letter} at {place}");
                assert!(same || read == Err(AddressError::Checksum));
            }
            let mut bytes = text.clone().into_bytes();
            if place + 1 < LETTERS && bytes[place] != bytes[place + 1] {
                bytes.swap(place, place + 1);
                let read = String::from_utf8(bytes).expect("ASCII").parse::<ServiceAddress>();
                assert_eq!(read, Err(AddressError::Checksum), "swapped at {place}");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| text.parse::<ServiceAddress>().expect_err("a mistake");
        let text = ServiceAddress([1; 32]).to_string();
        assert_eq!(refused("example.com"), AddressError::Suffix);
        assert_eq!(refused(""), AddressError::Suffix);
        assert_eq!(refused(".hush"), AddressError::Length { found: 0 });
        assert_eq!(refused(&text[1..]), AddressError::Length { found: 55 });
        assert_eq!(refused(&format!("a1{text}")), AddressError::Letter { position: 2 });
        let key = [1; 32];
        let later = BASE32_NOPAD.encode(&[key.as_slice(), &checksum(&key, 9), &[9]].concat());
        assert_eq!(refused(&format!("{later}.hush")), AddressError::Version { found: 9 });
        assert_eq!(format!("{:?}", ServiceAddress(key)), "ServiceAddress(..)");
    }

    /// The vectors of docs/spec/onion-service.md, made by an independent implementation (Python, `hashlib` and `base64`).
    #[test]
    fn addresses_are_those_of_the_specification() {
        for (key, text) in crate::vectors::ADDRESSES {
            assert_eq!(ServiceAddress(key).to_string(), text);
        }
    }
}
