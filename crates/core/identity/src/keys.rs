//! The keys themselves. Secrets are erased on drop and never shown by `Debug`.

use crate::text::{self, KeyTextError};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::constant_time;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// What is signed, before the link key: binds the signature to its use.
const LINK_KEY_CONTEXT: &[u8] = b"hushwire link key 1";
/// RFC 8410, section 7: PKCS#8 version 1 around a 32-byte Ed25519 seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// RFC 8410, section 4: SubjectPublicKeyInfo around a 32-byte Ed25519 key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The signature over a link key is not the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the link key is not signed by this node id")]
pub struct SignatureError;

/// The Ed25519 seed of a node: its name and its word.
#[derive(Clone)]
pub struct NodeSecret(Zeroizing<[u8; 32]>);

impl NodeSecret {
    pub(crate) const PREFIX: &'static str = "hwsn1";

    /// Takes 32 bytes from a cryptographic random source, or a stored seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        NodeId(ed25519_public(&self.0))
    }

    /// Signs a message (RFC 8032, pure Ed25519). The caller puts a context in front of it.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        ed25519_sign(&self.0, message)
    }

    /// Signs a link key of this node.
    pub fn sign_link_key(&self, link_key: LinkKey) -> SignedLinkKey {
        SignedLinkKey { link_key, signature: self.sign(&[LINK_KEY_CONTEXT, &link_key.0].concat()) }
    }

    /// The key as PKCS#8 (48 bytes, RFC 8410): what a TLS library wants for a signing key.
    pub fn pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(&*self.0);
        der
    }

    /// The seed itself, for the key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The Ed25519 public key of a node: its name in the network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    pub(crate) const PREFIX: &'static str = "hwn1";

    /// SubjectPublicKeyInfo (44 bytes, RFC 8410): what stands in a certificate or a raw public key.
    pub fn spki_der(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
        der[SPKI_PREFIX.len()..].copy_from_slice(&self.0);
        der
    }

    /// The node id in a SubjectPublicKeyInfo; `None` when it holds any other kind of key.
    pub fn from_spki_der(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok()).map(Self)
    }

    /// True when this node signed exactly this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_verify(&self.0, message, signature)
    }
}

/// The X25519 secret of a node's links.
#[derive(Clone)]
pub struct LinkSecret(Zeroizing<[u8; 32]>);

impl LinkSecret {
    pub(crate) const PREFIX: &'static str = "hwsl1";

    /// Takes 32 bytes from a cryptographic random source, or a stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public half.
    pub fn link_key(&self) -> LinkKey {
        LinkKey(x25519_public(&self.0))
    }

    /// The key itself, for the handshake and the key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The X25519 public key of a node's links.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(pub [u8; 32]);

impl LinkKey {
    pub(crate) const PREFIX: &'static str = "hwl1";
}

/// A link key with the signature of the node that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignedLinkKey {
    link_key: LinkKey,
    signature: [u8; SIGNATURE_LEN],
}

impl SignedLinkKey {
    /// Puts a key and its signature together as they came; nothing is checked yet.
    pub fn from_parts(link_key: LinkKey, signature: [u8; SIGNATURE_LEN]) -> Self {
        Self { link_key, signature }
    }

    /// The key, if `node` signed it.
    pub fn verify(&self, node: &NodeId) -> Result<LinkKey, SignatureError> {
        let message = [LINK_KEY_CONTEXT, &self.link_key.0].concat();
        if node.verify(&message, &self.signature) { Ok(self.link_key) } else { Err(SignatureError) }
    }

    /// The signature over `"hushwire link key 1" | link key`.
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }
}

/// What a stranger must know to be answered by a node.
#[derive(Clone)]
pub struct DoorKey(Zeroizing<[u8; 32]>);

impl DoorKey {
    pub(crate) const PREFIX: &'static str = "hwd1";

    /// Takes 32 bytes from a cryptographic random source, or a stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, for the link's key schedule, the peer string and the key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What the two ends of a stand-alone port hopper share: their ports and their knocks are made of it.
#[derive(Clone)]
pub struct HopKey(Zeroizing<[u8; 32]>);

impl HopKey {
    pub(crate) const PREFIX: &'static str = "hwh1";

    /// Takes 32 bytes from a cryptographic random source, or a stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, for the key schedule of hops and the key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

fn ed25519_key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed")
}

fn ed25519_public(seed: &[u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    public.copy_from_slice(ed25519_key_pair(seed).public_key().as_ref());
    public
}

fn ed25519_sign(seed: &[u8; 32], message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut signature = [0; SIGNATURE_LEN];
    signature.copy_from_slice(ed25519_key_pair(seed).sign(message).as_ref());
    signature
}

fn ed25519_verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

fn x25519_public(secret: &[u8; 32]) -> [u8; 32] {
    let private = PrivateKey::from_private_key(&X25519, secret).expect("any 32 bytes are an X25519 key");
    let computed = private.compute_public_key().expect("an X25519 key has a public half");
    let mut public = [0; 32];
    public.copy_from_slice(computed.as_ref());
    public
}

/// Comparison that takes the same time wherever the keys differ.
macro_rules! constant_time_eq {
    ($($kind:ident),*) => {$(
        impl PartialEq for $kind {
            fn eq(&self, other: &Self) -> bool {
                constant_time::verify_slices_are_equal(&*self.0, &*other.0).is_ok()
            }
        }
        impl Eq for $kind {}
    )*};
}
constant_time_eq!(DoorKey, HopKey);

/// Text forms: `reveal` for secrets, `Display` for public keys, `FromStr` for all; `Debug` shows the kind alone.
macro_rules! secret_text {
    ($($kind:ident),*) => {$(
        impl $kind {
            /// The text form, prefix and checksum included. It is the secret.
            pub fn reveal(&self) -> Zeroizing<String> {
                text::encode(Self::PREFIX, &self.0)
            }
        }
        impl FromStr for $kind {
            type Err = KeyTextError;
            fn from_str(text: &str) -> Result<Self, KeyTextError> {
                text::decode(Self::PREFIX, text).map(Self)
            }
        }
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($kind), "(..)"))
            }
        }
    )*};
}
macro_rules! public_text {
    ($($kind:ident),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::encode(Self::PREFIX, &self.0))
            }
        }
        impl FromStr for $kind {
            type Err = KeyTextError;
            fn from_str(text: &str) -> Result<Self, KeyTextError> {
                text::decode(Self::PREFIX, text).map(|key| Self(*key))
            }
        }
        impl fmt::Debug for $kind {
            /// Neighbours are private: `Debug` may end in a log, so it shows none.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($kind), "(..)"))
            }
        }
    )*};
}
secret_text!(NodeSecret, LinkSecret, DoorKey, HopKey);
public_text!(NodeId, LinkKey);

// Below the macros, which they use.
mod onion;
mod operator;
mod service;

pub use onion::{OnionKey, OnionSecret};
pub use operator::{OperatorKey, OperatorSecret};
pub use service::{AccessKey, AccessSecret, ServiceSecret};

impl fmt::Debug for SignedLinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedLinkKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
        0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];
    const PUBLIC: [u8; 32] = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
        0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ];

    #[test]
    fn the_node_id_is_the_public_key_of_the_standard() {
        assert_eq!(NodeSecret::from_seed(SEED).node_id().0, PUBLIC);
    }

    #[test]
    fn the_link_key_is_the_public_key_of_the_standard() {
        // RFC 7748, section 6.1, Alice.
        let secret = b"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let secret = data_encoding::HEXLOWER.decode(secret).expect("hexadecimal");
        let secret = <[u8; 32]>::try_from(secret).expect("32 bytes");
        let key = LinkSecret::from_bytes(secret).link_key();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&key.0),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        );
    }

    #[test]
    fn der_forms_are_read_back() {
        let secret = NodeSecret::from_seed(SEED);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&secret.pkcs8_der()).expect("PKCS#8 of RFC 8410");
        assert_eq!(pair.public_key().as_ref(), PUBLIC);
        let spki = secret.node_id().spki_der();
        assert_eq!(NodeId::from_spki_der(&spki), Some(secret.node_id()));
        assert_eq!(NodeId::from_spki_der(&spki[..43]), None);
        assert_eq!(NodeId::from_spki_der(&[spki.as_slice(), &[0]].concat()), None);
        assert_eq!(NodeId::from_spki_der(&[0; 44]), None);
    }

    #[test]
    fn only_the_nodes_own_signature_counts() {
        let (node, other) = (NodeSecret::from_seed([1; 32]), NodeSecret::from_seed([2; 32]));
        let key = LinkSecret::from_bytes([3; 32]).link_key();
        let signed = node.sign_link_key(key);
        assert_eq!(signed.verify(&node.node_id()), Ok(key));
        assert_eq!(signed.verify(&other.node_id()), Err(SignatureError));
        let mut bent = *signed.signature();
        bent[5] ^= 1;
        assert_eq!(SignedLinkKey::from_parts(key, bent).verify(&node.node_id()), Err(SignatureError));
        let foreign = LinkSecret::from_bytes([4; 32]).link_key();
        assert_eq!(
            SignedLinkKey::from_parts(foreign, *signed.signature()).verify(&node.node_id()),
            Err(SignatureError)
        );
    }

    #[test]
    fn texts_survive_a_round_trip_and_debug_shows_no_key() {
        let node = NodeSecret::from_seed([1; 32]);
        let link = LinkSecret::from_bytes([2; 32]);
        let door = DoorKey::from_bytes([3; 32]);
        assert_eq!(node.reveal().parse::<NodeSecret>().map(|key| *key.expose()), Ok([1; 32]));
        assert_eq!(link.reveal().parse::<LinkSecret>().map(|key| *key.expose()), Ok([2; 32]));
        assert_eq!(door.reveal().parse::<DoorKey>(), Ok(door.clone()));
        let hop = HopKey::from_bytes([4; 32]);
        assert_eq!(hop.reveal().parse::<HopKey>(), Ok(hop.clone()));
        assert!(hop.reveal().parse::<DoorKey>().is_err() && hop != HopKey::from_bytes([5; 32]));
        assert_eq!(format!("{hop:?}"), "HopKey(..)");
        assert_eq!(node.node_id().to_string().parse::<NodeId>(), Ok(node.node_id()));
        assert_eq!(link.link_key().to_string().parse::<LinkKey>(), Ok(link.link_key()));
        assert_eq!(format!("{node:?} {link:?} {door:?}"), "NodeSecret(..) LinkSecret(..) DoorKey(..)");
        assert_eq!(format!("{:?} {:?}", node.node_id(), link.link_key()), "NodeId(..) LinkKey(..)");
    }
}
