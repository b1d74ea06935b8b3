//! The key schedule: which label makes which key (docs/spec/link.md, "Key schedule").
//!
//! Every derivation is HKDF-Expand-SHA256 (RFC 5869, 2.3) of a uniformly random 32-byte key, one label each.

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use aws_lc_rs::aead::LessSafeKey;
use identity::DoorKey;
use packet_crypto::keys::{RawKeys, expand, gcm, kem_psk};
use wire::packet::TAG_LEN;
use zeroize::Zeroizing;

/// Seconds of a UTC day as Unix counts them.
const DAY_S: u64 = 86_400;

/// The UTC day of a Unix time: what the seal keys of a door change with.
pub(crate) fn utc_day(unix_s: u64) -> u32 {
    u32::try_from(unix_s / DAY_S).unwrap_or(u32::MAX)
}

/// Which end of a handshake a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// All keys of one direction of one handshake.
pub(crate) struct DirectionKeys {
    /// AES-128-GCM.
    pub(crate) traffic: Zeroizing<[u8; 16]>,
    /// AES-128: hides the counter.
    pub(crate) mask: Zeroizing<[u8; 16]>,
    /// AES-128: makes the index out of the hop index.
    pub(crate) index: Zeroizing<[u8; 16]>,
    /// Makes the ports of hops: that of the responder's direction, since the ports are the responder's.
    pub(crate) port: Zeroizing<[u8; 16]>,
}

impl DirectionKeys {
    /// Derives the keys of what `sender` sends.
    pub(crate) fn derive(raw: &RawKeys, sender: Role) -> Self {
        let (key, labels) = match sender {
            Role::Initiator => (
                &raw.initiator,
                [
                    "hushwire link 1 initiator traffic",
                    "hushwire link 1 initiator mask",
                    "hushwire link 1 initiator index",
                    "hushwire link 1 initiator port",
                ],
            ),
            Role::Responder => (
                &raw.responder,
                [
                    "hushwire link 1 responder traffic",
                    "hushwire link 1 responder mask",
                    "hushwire link 1 responder index",
                    "hushwire link 1 responder port",
                ],
            ),
        };
        let [traffic, mask, index, port] = labels.map(|label| expand(key, &[label.as_bytes()]));
        Self { traffic, mask, index, port }
    }

    /// What makes the indices of hops.
    pub(crate) fn indices(&self) -> IndexKey {
        IndexKey(HeaderMask::new(&self.index))
    }
}

/// Makes the indices of one direction: an index for each hop.
pub(crate) struct IndexKey(HeaderMask);

impl IndexKey {
    /// The index of hop `hop`: the first 8 bytes of AES(index key, 0^8 | hop).
    pub(crate) fn of_hop(&self, hop: u64) -> u64 {
        let mut block = [0; TAG_LEN];
        block[8..].copy_from_slice(&hop.to_be_bytes());
        self.0.word(&block)
    }
}

/// An AES-128 key that turns a packet's tag into 8 bytes of mask.
#[derive(Clone)]
pub(crate) struct HeaderMask(Aes128);

impl HeaderMask {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(Aes128::new(key.into()))
    }

    /// The mask of the index field: everybody who holds the responder's door key has it.
    pub(crate) fn of_door(door: &DoorKey) -> Self {
        Self::new(&expand(door.expose(), &[b"hushwire link 1 door index"]))
    }

    /// The first 8 bytes of AES(key, tag).
    #[inline]
    pub(crate) fn word(&self, tag: &[u8; TAG_LEN]) -> u64 {
        let mut block = aes::Block::from(*tag);
        self.0.encrypt_block(&mut block);
        let mut word = [0; 8];
        word.copy_from_slice(&block[..8]);
        u64::from_be_bytes(word)
    }
}

/// The keys under which a door speaks on one UTC day.
pub(crate) struct DayKeys {
    /// The day.
    pub(crate) day: u32,
    /// Seals message 1.
    pub(crate) message_1: LessSafeKey,
    /// Seals message 2.
    pub(crate) message_2: LessSafeKey,
    /// Seals a cookie reply.
    pub(crate) cookie_reply: LessSafeKey,
}

impl DayKeys {
    pub(crate) fn derive(door: &DoorKey, day: u32) -> Self {
        let key = |label: &str| gcm(&expand(door.expose(), &[label.as_bytes(), &day.to_be_bytes()]));
        Self {
            day,
            message_1: key("hushwire link 1 door message 1"),
            message_2: key("hushwire link 1 door message 2"),
            cookie_reply: key("hushwire link 1 door cookie reply"),
        }
    }
}

/// What the KEM adds to a handshake.
pub(crate) fn psk(kem_secret: &[u8], kem_key_hash: &[u8; 32], ciphertext: &[u8]) -> Zeroizing<[u8; 32]> {
    kem_psk(b"hushwire link 1 psk", kem_secret, kem_key_hash, ciphertext)
}
