//! The key schedule: which label makes which key of a hop (docs/spec/onion.md, "Key schedule").

use crate::keys::BindingKey;
use packet_crypto::keys::{RawKeys, expand};
use zeroize::Zeroizing;

/// What one direction of one layer works with.
pub(crate) struct DirectionKeys {
    /// AES-128-GCM.
    pub(crate) traffic: Zeroizing<[u8; 16]>,
    /// What the numbers of this direction are counted from, so that no two hops see the same one.
    pub(crate) start: u64,
}

/// All keys of one hop.
pub(crate) struct HopKeys {
    /// Of what the client sends.
    pub(crate) forward: DirectionKeys,
    /// Of what the relay sends.
    pub(crate) backward: DirectionKeys,
    /// For messages outside of the circuit.
    pub(crate) binding: BindingKey,
}

impl HopKeys {
    /// Derives the keys of a finished handshake.
    pub(crate) fn derive(raw: &RawKeys) -> Self {
        Self {
            forward: DirectionKeys {
                traffic: expand(&raw.initiator, &[b"hushwire onion 1 forward traffic"]),
                start: u64::from_be_bytes(*expand(&raw.initiator, &[b"hushwire onion 1 forward start"])),
            },
            backward: DirectionKeys {
                traffic: expand(&raw.responder, &[b"hushwire onion 1 backward traffic"]),
                start: u64::from_be_bytes(*expand(&raw.responder, &[b"hushwire onion 1 backward start"])),
            },
            binding: BindingKey(expand(&raw.initiator, &[b"hushwire onion 1 binding"])),
        }
    }
}

/// What the KEM adds to a hop handshake.
pub(crate) fn psk(kem_secret: &[u8], kem_key_hash: &[u8; 32], ciphertext: &[u8]) -> Zeroizing<[u8; 32]> {
    packet_crypto::keys::kem_psk(b"hushwire onion 1 psk", kem_secret, kem_key_hash, ciphertext)
}

/// Raw keys of test vectors.
#[cfg(test)]
pub(crate) fn test_keys(initiator: u8, responder: u8) -> HopKeys {
    let raw = RawKeys { initiator: Zeroizing::new([initiator; 32]), responder: Zeroizing::new([responder; 32]) };
    HopKeys::derive(&raw)
}

#[cfg(test)]
mod tests;
