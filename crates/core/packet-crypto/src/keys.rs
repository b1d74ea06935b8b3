//! Keys out of keys: HKDF-SHA256 (RFC 5869), one label each, and the psk that a KEM makes for a Noise handshake.

use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use snow::HandshakeState;
use zeroize::Zeroizing;

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
pub const KEM_KEY_LEN: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
pub const KEM_CIPHERTEXT_LEN: usize = 1088;
/// Bytes of an AEAD tag, of AES-128-GCM as of ChaCha20-Poly1305.
pub const TAG_LEN: usize = 16;

/// The two keys that a finished Noise handshake gives, one per direction.
pub struct RawKeys {
    /// For what the initiator sends.
    pub initiator: Zeroizing<[u8; 32]>,
    /// For what the responder sends.
    pub responder: Zeroizing<[u8; 32]>,
}

impl RawKeys {
    /// Takes the keys of a handshake whose last message was written or read: the two outputs of Noise's `Split()`.
    pub fn split(noise: &mut HandshakeState) -> Self {
        let (initiator, responder) = noise.dangerously_get_raw_split();
        Self { initiator: Zeroizing::new(initiator), responder: Zeroizing::new(responder) }
    }
}

/// psk = HKDF(salt = label, ikm = KEM secret, info = SHA-256(KEM key) | SHA-256(ciphertext)).
pub fn kem_psk(label: &[u8], kem_secret: &[u8], kem_key_hash: &[u8; 32], ciphertext: &[u8]) -> Zeroizing<[u8; 32]> {
    let prk = Salt::new(HKDF_SHA256, label).extract(kem_secret);
    fill(&prk, &[kem_key_hash, &sha256(ciphertext)])
}

/// HKDF-Expand of a uniformly random key. `N` is at most 255 x 32.
pub fn expand<const N: usize>(key: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "the limit of HKDF with SHA-256") };
    fill(&Prk::new_less_safe(HKDF_SHA256, key), info)
}

/// An AES-128-GCM key.
pub fn gcm(key: &[u8; 16]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect("16 bytes are an AES-128-GCM key"))
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn fill<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    let okm = prk.expand(info, Length(N)).expect("the length was checked when it was compiled");
    okm.fill(&mut *out).expect("the length that was asked for");
    out
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, A.3: the PRK is uniformly random, the info empty.
    #[test]
    fn expand_is_that_of_the_rfc() {
        let prk = [
            0x19, 0xef, 0x24, 0xa3, 0x2c, 0x71, 0x7b, 0x16, 0x7f, 0x33, 0xa9, 0x1d, 0x6f, 0x64, 0x8b, 0xdf, 0x96, 0x59,
            0x67, 0x76, 0xaf, 0xdb, 0x63, 0x77, 0xac, 0x43, 0x4c, 0x1c, 0x29, 0x3c, 0xcb, 0x04,
        ];
        let okm: Zeroizing<[u8; 16]> = expand(&prk, &[]);
        let first = [0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f, 0x71, 0x5f, 0x80, 0x2a, 0x06, 0x3c, 0x5a, 0x31];
        assert_eq!(*okm, first);
    }
}
