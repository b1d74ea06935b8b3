//! The text of a key: `prefix | base32(bytes 32 | checksum 3)`, lower case, 56 characters behind the prefix.

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of every key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of the checksum: 35 bytes are 56 characters without a rest.
const CHECKSUM_LEN: usize = 3;
/// Characters behind the prefix.
pub(crate) const BODY_LEN: usize = (KEY_LEN + CHECKSUM_LEN) * 8 / 5;

/// Why a text is not the key that it should be. Always the writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// Another kind of key, or no key at all.
    #[error("it must begin with `{expected}`")]
    Prefix {
        /// The prefix of this kind of key.
        expected: &'static str,
    },
    /// Characters are missing or left over: usually a cut or doubled end.
    #[error("it has {found} characters behind its prefix where {BODY_LEN} belong")]
    Length {
        /// Characters found behind the prefix.
        found: usize,
    },
    /// A character that base32 does not use.
    #[error("character {position} behind its prefix is not a letter a-z or a digit 2-7")]
    Alphabet {
        /// Counted from 1, behind the prefix.
        position: usize,
    },
    /// The checksum does not match: a character is wrong or two are swapped.
    #[error("its checksum does not match: a character is wrong")]
    Checksum,
}

/// Writes a key of the kind that `prefix` names.
pub(crate) fn encode(prefix: &'static str, key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY_LEN + CHECKSUM_LEN]);
    bytes[..KEY_LEN].copy_from_slice(key);
    bytes[KEY_LEN..].copy_from_slice(&checksum(prefix, key));
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + BODY_LEN));
    text.push_str(prefix);
    // RFC 4648, in lower case: easier to read, and no harder to type.
    BASE32_NOPAD.encode_append(&*bytes, &mut text);
    text.make_ascii_lowercase();
    text
}

/// Reads what [`encode`] wrote for the same prefix. Letters of either case are taken.
pub(crate) fn decode(prefix: &'static str, text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyTextError> {
    let kind = text.as_bytes().get(..prefix.len());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(prefix.as_bytes())) {
        return Err(KeyTextError::Prefix { expected: prefix });
    }
    let body = text.as_bytes().get(prefix.len()..).unwrap_or_default();
    if let Some(position) = body.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7')) {
        return Err(KeyTextError::Alphabet { position: position + 1 });
    }
    if body.len() != BODY_LEN {
        return Err(KeyTextError::Length { found: body.len() });
    }
    let mut bytes = Zeroizing::new([0; KEY_LEN + CHECKSUM_LEN]);
    BASE32_NOPAD_NOCASE.decode_mut(body, &mut *bytes).map_err(|_| KeyTextError::Checksum)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.copy_from_slice(&bytes[..KEY_LEN]);
    if bytes[KEY_LEN..] != checksum(prefix, &key) {
        return Err(KeyTextError::Checksum);
    }
    Ok(key)
}

/// The first three bytes of SHA-256("hushwire key text 1" | prefix | key).
fn checksum(prefix: &str, key: &[u8; KEY_LEN]) -> [u8; CHECKSUM_LEN] {
    let mut hash = Context::new(&SHA256);
    hash.update(b"hushwire key text 1");
    hash.update(prefix.as_bytes());
    hash.update(key);
    let digest = hash.finish();
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&digest.as_ref()[..CHECKSUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_survives_a_round_trip_in_either_case(key in any::<[u8; 32]>()) {
            let text = encode("hwx1", &key);
            prop_assert_eq!(text.len(), 4 + BODY_LEN);
            prop_assert_eq!(decode("hwx1", &text).map(|key| *key), Ok(key));
            prop_assert_eq!(decode("hwx1", &text.to_ascii_uppercase()).map(|key| *key), Ok(key));
        }

        #[test]
        fn one_changed_character_is_found(key in any::<[u8; 32]>(), place in 4usize..60, letter in 0usize..31) {
            let text = encode("hwx1", &key);
            let mut bytes = text.as_bytes().to_vec();
            let others: Vec<u8> = b"abcdefghijklmnopqrstuvwxyz234567".iter().copied().filter(|byte| *byte != bytes[place]).collect();
            bytes[place] = others[letter];
            let changed = String::from_utf8(bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(decode("hwx1", &changed).err(), Some(KeyTextError::Checksum));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "\\PC{0,80}") {
            let _ = decode("hwx1", &text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let text = encode("hwx1", &[1; 32]);
        assert_eq!(decode("hwy1", &text).err(), Some(KeyTextError::Prefix { expected: "hwy1" }));
        assert_eq!(decode("hwx1", "").err(), Some(KeyTextError::Prefix { expected: "hwx1" }));
        assert_eq!(decode("hwx1", &text[..40]).err(), Some(KeyTextError::Length { found: 36 }));
        assert_eq!(decode("hwx1", "hwx1ab1").err(), Some(KeyTextError::Alphabet { position: 3 }));
        assert_eq!(decode("hwx1", "hwx1abé").err(), Some(KeyTextError::Alphabet { position: 3 }));
    }

    #[test]
    fn the_same_bytes_of_another_kind_have_another_checksum() {
        let link = encode("hwl1", &[1; 32]).replace("hwl1", "hwn1");
        assert_eq!(decode("hwn1", &link).err(), Some(KeyTextError::Checksum));
    }
}
