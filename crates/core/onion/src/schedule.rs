//! The key schedule: which label makes which key of a hop (docs/spec/onion.md, "Key schedule").

use crate::keys::BindingKey;
use crate::service::Cookie;
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

/// What one direction of a virtual hop works with.
pub(crate) struct VirtualDirection {
    /// AES-128-GCM.
    pub(crate) traffic: Zeroizing<[u8; 16]>,
    /// What the numbers of this direction are counted from.
    pub(crate) start: u32,
}

/// The keys of one virtual hop.
pub(crate) struct VirtualKeys {
    /// Of what the client sends.
    pub(crate) forward: VirtualDirection,
    /// Of what the service sends.
    pub(crate) backward: VirtualDirection,
}

impl VirtualKeys {
    /// Derives the keys of a finished handshake for the meeting under `cookie`: one handshake may serve several.
    pub(crate) fn derive(raw: &RawKeys, cookie: &Cookie) -> Self {
        let direction = |key, traffic: &[u8], start: &[u8]| VirtualDirection {
            traffic: expand(key, &[traffic, &cookie.0]),
            start: u32::from_be_bytes(*expand(key, &[start, &cookie.0])),
        };
        Self {
            forward: direction(
                &raw.initiator,
                b"hushwire onion 1 virtual forward traffic",
                b"hushwire onion 1 virtual forward start",
            ),
            backward: direction(
                &raw.responder,
                b"hushwire onion 1 virtual backward traffic",
                b"hushwire onion 1 virtual backward start",
            ),
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
