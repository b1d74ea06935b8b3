//! Noise handshakes by snow over the primitives of aws-lc-rs: X25519, ChaCha20-Poly1305, SHA-256.

use crate::keys::TAG_LEN;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{Context, SHA256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error};
use zeroize::Zeroizing;

/// Begins to build a handshake of `pattern`, a protocol name that ends in `_25519_ChaChaPoly_SHA256`.
///
/// `ephemeral` comes from a cryptographic random source and is this side's ephemeral secret: the only randomness in
/// the handshake. It is given once; a handshake that asked twice would fail.
///
/// # Errors
/// When snow does not know the pattern. Building fails later if the pattern names other primitives.
pub fn builder<'a>(pattern: &str, ephemeral: [u8; 32]) -> Result<Builder<'a>, Error> {
    let primitives = Primitives { ephemeral: Zeroizing::new(ephemeral) };
    Ok(Builder::with_resolver(pattern.parse()?, Box::new(primitives)))
}

/// Gives snow its primitives. The only randomness in a handshake is the ephemeral key, which the caller brings.
struct Primitives {
    ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneKey(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(DhKey::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256(Context::new(&SHA256))) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly)
            .then(|| Box::new(ChaChaPoly(cipher_key(&[0; 32]))) as Box<dyn Cipher>)
    }
}

/// A random source that holds one ephemeral key and gives it once: a handshake that asked twice would reuse it.
struct OneKey(Option<Zeroizing<[u8; 32]>>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let key = self.0.take().filter(|key| key.len() == dest.len()).ok_or(Error::Rng)?;
        dest.copy_from_slice(&*key);
        Ok(())
    }
}

#[derive(Default)]
struct DhKey {
    private: Option<PrivateKey>,
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for DhKey {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.secret.copy_from_slice(privkey);
        self.private = PrivateKey::from_private_key(&X25519, privkey).ok();
        let public = self.private.as_ref().and_then(|key| key.compute_public_key().ok());
        self.public = public.and_then(|key| key.as_ref().try_into().ok()).unwrap_or_default();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    /// Fails on a key of small order too: aws-lc refuses an all-zero result (RFC 7748, section 6.1).
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let private = self.private.as_ref().ok_or(Error::Dh)?;
        // snow hands over a buffer for the longest key that it knows.
        let peer = UnparsedPublicKey::new(&X25519, pubkey.get(..32).ok_or(Error::Dh)?);
        agree(private, peer, Error::Dh, |secret| {
            out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(secret);
            Ok(())
        })
    }
}

struct Sha256(Context);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Context::new(&SHA256);
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

struct ChaChaPoly(LessSafeKey);

fn cipher_key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a ChaCha20-Poly1305 key"))
}

/// Noise revision 34, section 12.3: 4 zero bytes and the counter in little-endian.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = cipher_key(key);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, tag) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let sealed = self.0.seal_in_place_separate_tag(nonce(counter), Aad::from(authtext), body);
        tag[..TAG_LEN].copy_from_slice(sealed.expect("a handshake message is far below the cipher's limit").as_ref());
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, counter: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let length = ciphertext.len().checked_sub(TAG_LEN).ok_or(Error::Decrypt)?;
        let (body, tag) = ciphertext.split_at(length);
        let plain = out.get_mut(..length).ok_or(Error::Decrypt)?;
        let opened = self.0.open_separate_gather(nonce(counter), Aad::from(authtext), body, tag, plain);
        opened.map_err(|_| Error::Decrypt)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
