//! `Noise_IKpsk2_25519_ChaChaPoly_SHA256` by snow over the primitives of aws-lc-rs (docs/spec/link.md, "Handshake").

use identity::{LinkKey, LinkSecret};
use packet_crypto::noise::builder;
use snow::{Error, HandshakeState};

/// The Noise protocol name: pattern and primitives.
pub(crate) const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_SHA256";

/// Starts a handshake towards a known static key. The psk is set when it is known.
pub(crate) fn initiator(
    secret: &LinkSecret,
    peer: &LinkKey,
    prologue: &[u8],
    ephemeral: [u8; 32],
) -> Result<HandshakeState, Error> {
    builder(PATTERN, ephemeral)?
        .local_private_key(secret.expose())?
        .remote_public_key(&peer.0)?
        .prologue(prologue)?
        .build_initiator()
}

/// Waits for a handshake of anybody who knows this node's static key.
pub(crate) fn responder(secret: &LinkSecret, prologue: &[u8], ephemeral: [u8; 32]) -> Result<HandshakeState, Error> {
    builder(PATTERN, ephemeral)?.local_private_key(secret.expose())?.prologue(prologue)?.build_responder()
}

#[cfg(test)]
mod tests;
