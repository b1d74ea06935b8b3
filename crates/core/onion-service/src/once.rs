//! AES-128-GCM under a key that seals one thing: the nonce is zero.

use aws_lc_rs::aead::{Aad, Nonce};
use packet_crypto::keys::{TAG_LEN, gcm};

/// Seals `bytes` and appends the tag.
pub(crate) fn seal(key: &[u8; 16], bytes: &mut Vec<u8>) {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let sealed = gcm(key).seal_in_place_append_tag(nonce, Aad::empty(), bytes);
    sealed.expect("a few kilobytes are far below the cipher's limit");
}

/// What was sealed, if it was under this key.
pub(crate) fn open(key: &[u8; 16], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let opened = gcm(key).open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes);
    opened.ok()?;
    bytes.truncate(sealed.len().saturating_sub(TAG_LEN));
    Some(bytes)
}
