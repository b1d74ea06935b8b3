//! The text of a key: `prefix | base32(bytes 32 | checksum 3)`, lower case, 56 characters behind the prefix. Tokens of other lengths are
//! written in the same way.

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
    /// More characters than a token of this kind may have.
    #[error("it has more than {max} characters behind its prefix")]
    Long {
        /// How many there may be.
        max: usize,
    },
    /// The checksum of a token does not match, which has no length of its own that could tell a cut end.
    #[error("its checksum does not match: its end is missing, or a character is wrong")]
    Cut,
}

/// Writes a key of the kind that `prefix` names.
pub(crate) fn encode(prefix: &'static str, key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    encode_token(prefix, key)
}

/// Reads what [`encode`] wrote for the same prefix. Letters of either case are taken.
pub(crate) fn decode(prefix: &'static str, text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyTextError> {
    let body = body(prefix, text)?;
    check_alphabet(body)?;
    if body.len() != BODY_LEN {
        return Err(KeyTextError::Length { found: body.len() });
    }
    let bytes = open(prefix, body).ok_or(KeyTextError::Checksum)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.copy_from_slice(&bytes);
    Ok(key)
}

/// Writes bytes of any length as keys are written: `prefix`, then base32 of them and of the checksum. It may be a secret.
pub fn encode_token(prefix: &'static str, bytes: &[u8]) -> Zeroizing<String> {
    let mut summed = Zeroizing::new(Vec::with_capacity(bytes.len() + CHECKSUM_LEN));
    summed.extend_from_slice(bytes);
    summed.extend_from_slice(&checksum(prefix, bytes));
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + characters(bytes.len())));
    text.push_str(prefix);
    // RFC 4648, in lower case: easier to read, and no harder to type.
    BASE32_NOPAD.encode_append(&summed, &mut text);
    text.make_ascii_lowercase();
    text
}

/// Reads what [`encode_token`] wrote of at most `bytes_max` bytes for the same prefix. Letters of either case are taken.
///
/// # Errors
/// [`KeyTextError::Prefix`], [`KeyTextError::Long`], [`KeyTextError::Alphabet`], [`KeyTextError::Cut`].
pub fn decode_token(prefix: &'static str, text: &str, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, KeyTextError> {
    let body = body(prefix, text)?;
    let max = characters(bytes_max);
    if body.len() > max {
        return Err(KeyTextError::Long { max });
    }
    check_alphabet(body)?;
    open(prefix, body).ok_or(KeyTextError::Cut)
}

/// Characters behind the prefix for so many bytes and their checksum.
const fn characters(bytes: usize) -> usize {
    ((bytes + CHECKSUM_LEN) * 8).div_ceil(5)
}

/// What stands behind the prefix.
fn body<'a>(prefix: &'static str, text: &'a str) -> Result<&'a [u8], KeyTextError> {
    match text.as_bytes().split_at_checked(prefix.len()) {
        Some((kind, body)) if kind.eq_ignore_ascii_case(prefix.as_bytes()) => Ok(body),
        _ => Err(KeyTextError::Prefix { expected: prefix }),
    }
}

fn check_alphabet(body: &[u8]) -> Result<(), KeyTextError> {
    match body.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7')) {
        Some(position) => Err(KeyTextError::Alphabet { position: position + 1 }),
        None => Ok(()),
    }
}

/// The bytes, if their checksum is theirs.
fn open(prefix: &str, body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; BASE32_NOPAD_NOCASE.decode_len(body.len()).ok()?]);
    BASE32_NOPAD_NOCASE.decode_mut(body, &mut bytes).ok()?;
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>()?;
    if *sum != checksum(prefix, content) {
        return None;
    }
    let length = content.len();
    bytes.truncate(length);
    Some(bytes)
}

/// The first three bytes of SHA-256("hushwire key text 1" | prefix | bytes).
fn checksum(prefix: &str, bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hash = Context::new(&SHA256);
    hash.update(b"hushwire key text 1");
    hash.update(prefix.as_bytes());
    hash.update(bytes);
    let digest = hash.finish();
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&digest.as_ref()[..CHECKSUM_LEN]);
    sum
}

const _: () = assert!(characters(KEY_LEN) == BODY_LEN, "keys are tokens of one length");

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
        fn a_token_survives_a_round_trip_and_a_changed_character_is_found(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            place in any::<proptest::sample::Index>(),
        ) {
            let text = encode_token("hwy1", &bytes);
            prop_assert_eq!(decode_token("hwy1", &text, bytes.len()).map(|read| read.to_vec()), Ok(bytes.clone()));
            prop_assert_eq!(decode_token("hwy1", &text.to_ascii_uppercase(), 200).map(|read| read.to_vec()), Ok(bytes));
            let mut changed = text.as_bytes().to_vec();
            let place = 4 + place.index(changed.len() - 4);
            changed[place] = if changed[place] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(decode_token("hwy1", &changed, 200).err(), Some(KeyTextError::Cut));
            prop_assert!(decode_token("hwy1", &text[..text.len() - 1], 200).is_err());
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "\\PC{0,80}") {
            let _ = decode("hwx1", &text);
            let _ = decode_token("hwx1", &text, 20);
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
    fn a_token_has_a_bound() {
        let text = encode_token("hwy1", &[1; 40]);
        assert_eq!(decode_token("hwy1", &text, 39).err(), Some(KeyTextError::Long { max: 68 }));
        assert_eq!(decode_token("hwx1", &text, 40).err(), Some(KeyTextError::Prefix { expected: "hwx1" }));
        assert_eq!(decode_token("hwy1", "hwy1", 40).err(), Some(KeyTextError::Cut));
    }

    #[test]
    fn the_same_bytes_of_another_kind_have_another_checksum() {
        let link = encode("hwl1", &[1; 32]).replace("hwl1", "hwn1");
        assert_eq!(decode("hwn1", &link).err(), Some(KeyTextError::Checksum));
    }
}
