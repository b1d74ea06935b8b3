//! The two Noise messages with their KEM halves, without any disguise: door packets and rekey cells carry the same
//! (docs/spec/link.md, "Handshake").
//!
//! ```text
//! first  | e 32 | s 32 + 16 | KEM key 1184, extra | 16 |
//! second | KEM ciphertext 1088 | e 32 | payload 16 | 16 |
//! ```

use crate::noise;
use crate::schedule::psk;
use aws_lc_rs::kem::{AlgorithmId, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use identity::{LinkKey, LinkSecret};
use packet_crypto::keys::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, RawKeys, sha256};
use snow::HandshakeState;
use thiserror::Error;
use wire::packet::TAG_LEN;

/// Bytes of an X25519 public key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of the second message's payload.
pub(crate) const ANSWER_PAYLOAD_LEN: usize = 16;
/// Bytes of the first message without extra payload: that of a rekey.
pub(crate) const FIRST_LEN: usize = KEY_LEN + KEY_LEN + TAG_LEN + KEM_KEY_LEN + TAG_LEN;
/// Bytes of the second message.
pub(crate) const SECOND_LEN: usize = KEM_CIPHERTEXT_LEN + KEY_LEN + ANSWER_PAYLOAD_LEN + TAG_LEN;
/// Largest extra payload of the first message.
pub(crate) const EXTRA_MAX: usize = 16;

/// Where the psk token stands in the pattern.
const PSK_PLACE: usize = 2;

/// Why a handshake message leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum HandshakeError {
    /// The message was not made for these keys, or was altered on its way.
    #[error("the handshake message does not authenticate")]
    Refused,
    /// The primitives failed: out of memory, or the system's random source.
    #[error("the cryptographic library failed")]
    Primitives,
}

/// The node's own side of every handshake.
pub(crate) struct Local {
    pub(crate) secret: LinkSecret,
    pub(crate) prologue: Vec<u8>,
}

/// The initiator's half, after the first message.
pub(crate) struct Initiation {
    noise: HandshakeState,
    kem: DecapsulationKey<AlgorithmId>,
    kem_key_hash: [u8; 32],
}

impl Initiation {
    /// Writes a first message of [`FIRST_LEN`]` + extra.len()` bytes to the front of `out`.
    pub(crate) fn begin(
        local: &Local,
        peer: &LinkKey,
        ephemeral: [u8; 32],
        extra: &[u8],
        out: &mut [u8],
    ) -> Result<Self, HandshakeError> {
        let kem = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| HandshakeError::Primitives)?;
        let kem_key =
            kem.encapsulation_key().and_then(|key| key.key_bytes()).map_err(|_| HandshakeError::Primitives)?;
        let mut payload = [0; KEM_KEY_LEN + EXTRA_MAX];
        payload[..KEM_KEY_LEN].copy_from_slice(kem_key.as_ref());
        payload[KEM_KEY_LEN..KEM_KEY_LEN + extra.len()].copy_from_slice(extra);
        let mut noise = noise::initiator(&local.secret, peer, &local.prologue, ephemeral).map_err(primitives)?;
        let written = noise.write_message(&payload[..KEM_KEY_LEN + extra.len()], out).map_err(primitives)?;
        debug_assert_eq!(written, FIRST_LEN + extra.len(), "the layout of the first message");
        Ok(Self { noise, kem, kem_key_hash: sha256(kem_key.as_ref()) })
    }

    /// Reads a second message. After an error the handshake goes on: the message may have been somebody else's.
    pub(crate) fn finish(
        &mut self,
        second: &[u8; SECOND_LEN],
    ) -> Result<(RawKeys, [u8; ANSWER_PAYLOAD_LEN]), HandshakeError> {
        let (ciphertext, message) = second.split_at(KEM_CIPHERTEXT_LEN);
        let secret = self.kem.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| HandshakeError::Refused)?;
        let psk = psk(secret.as_ref(), &self.kem_key_hash, ciphertext);
        self.noise.set_psk(PSK_PLACE, &*psk).map_err(primitives)?;
        let mut payload = [0; ANSWER_PAYLOAD_LEN];
        self.noise.read_message(message, &mut payload).map_err(|_| HandshakeError::Refused)?;
        Ok((RawKeys::split(&mut self.noise), payload))
    }
}

/// The responder's half, after the first message.
pub(crate) struct Asked {
    noise: HandshakeState,
    kem_key: [u8; KEM_KEY_LEN],
    /// Who asks; authenticated by the handshake.
    pub(crate) initiator: LinkKey,
    /// What stood behind the KEM key; the rest is zero.
    pub(crate) extra: [u8; EXTRA_MAX],
}

impl Asked {
    /// Reads a first message, extra payload included if it is longer than [`FIRST_LEN`].
    pub(crate) fn read(local: &Local, ephemeral: [u8; 32], first: &[u8]) -> Result<Self, HandshakeError> {
        let mut noise = noise::responder(&local.secret, &local.prologue, ephemeral).map_err(primitives)?;
        let mut payload = [0; KEM_KEY_LEN + EXTRA_MAX];
        let read = noise.read_message(first, &mut payload).map_err(|_| HandshakeError::Refused)?;
        let initiator = noise.get_remote_static().and_then(|key| key.try_into().ok()).map(LinkKey);
        let initiator = initiator.ok_or(HandshakeError::Refused)?;
        if read < KEM_KEY_LEN {
            return Err(HandshakeError::Refused);
        }
        let mut asked = Self { noise, kem_key: [0; KEM_KEY_LEN], initiator, extra: [0; EXTRA_MAX] };
        asked.kem_key.copy_from_slice(&payload[..KEM_KEY_LEN]);
        asked.extra.copy_from_slice(&payload[KEM_KEY_LEN..]);
        Ok(asked)
    }

    /// Writes the second message. The KEM's randomness is the library's own.
    pub(crate) fn answer(
        mut self,
        payload: &[u8; ANSWER_PAYLOAD_LEN],
        out: &mut [u8; SECOND_LEN],
    ) -> Result<RawKeys, HandshakeError> {
        // A KEM key that is none was made by the peer, who is authenticated: its fault.
        let key = EncapsulationKey::new(&ML_KEM_768, &self.kem_key).map_err(|_| HandshakeError::Refused)?;
        let (ciphertext, secret) = key.encapsulate().map_err(|_| HandshakeError::Refused)?;
        let psk = psk(secret.as_ref(), &sha256(&self.kem_key), ciphertext.as_ref());
        self.noise.set_psk(PSK_PLACE, &*psk).map_err(primitives)?;
        out[..KEM_CIPHERTEXT_LEN].copy_from_slice(ciphertext.as_ref());
        let written = self.noise.write_message(payload, &mut out[KEM_CIPHERTEXT_LEN..]).map_err(primitives)?;
        debug_assert_eq!(written, SECOND_LEN - KEM_CIPHERTEXT_LEN, "the layout of the second message");
        Ok(RawKeys::split(&mut self.noise))
    }
}

fn primitives(_: snow::Error) -> HandshakeError {
    HandshakeError::Primitives
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(byte: u8) -> Local {
        Local { secret: LinkSecret::from_bytes([byte; 32]), prologue: b"test".to_vec() }
    }

    fn first(from: &Local, to: &Local, extra: &[u8]) -> (Initiation, Vec<u8>) {
        let mut message = vec![0; FIRST_LEN + extra.len()];
        let started = Initiation::begin(from, &to.secret.link_key(), [7; 32], extra, &mut message);
        (started.expect("a first message"), message)
    }

    #[test]
    fn the_lengths_are_those_of_the_specification() {
        assert_eq!((FIRST_LEN, SECOND_LEN), (1280, 1152));
    }

    #[test]
    fn both_ends_get_the_same_keys_and_know_each_other() {
        let (alice, bob) = (local(1), local(2));
        for extra in [&[5; EXTRA_MAX][..], &[]] {
            let (mut started, message) = first(&alice, &bob, extra);
            let asked = Asked::read(&bob, [8; 32], &message).expect("a first message for bob");
            assert_eq!(asked.initiator, alice.secret.link_key());
            assert_eq!(&asked.extra[..extra.len()], extra);
            let mut second = [0; SECOND_LEN];
            let theirs = asked.answer(&[9; 16], &mut second).expect("an answer");
            let (ours, payload) = started.finish(&second).expect("bob's answer");
            assert_eq!(payload, [9; 16]);
            assert_eq!((ours.initiator, ours.responder), (theirs.initiator, theirs.responder));
        }
    }

    #[test]
    fn a_failed_read_keeps_the_handshake() {
        let (alice, bob) = (local(1), local(2));
        let (mut started, message) = first(&alice, &bob, &[]);
        let mut second = [0; SECOND_LEN];
        let asked = Asked::read(&bob, [8; 32], &message).expect("a first message for bob");
        asked.answer(&[9; 16], &mut second).expect("an answer");
        for place in [0, KEM_CIPHERTEXT_LEN, SECOND_LEN - 1] {
            let mut bent = second;
            bent[place] ^= 1;
            assert_eq!(started.finish(&bent).err(), Some(HandshakeError::Refused), "byte {place}");
        }
        assert!(started.finish(&second).is_ok());
    }

    #[test]
    fn another_static_key_or_prologue_is_refused() {
        let (alice, bob, carol) = (local(1), local(2), local(3));
        let (_, message) = first(&alice, &bob, &[]);
        assert!(matches!(Asked::read(&carol, [8; 32], &message), Err(HandshakeError::Refused)));
        let elsewhere = Local { prologue: b"other network".to_vec(), ..local(2) };
        assert!(matches!(Asked::read(&elsewhere, [8; 32], &message), Err(HandshakeError::Refused)));
        for length in [0, 31, 32, 80, FIRST_LEN - 1] {
            assert!(matches!(Asked::read(&bob, [8; 32], &message[..length]), Err(HandshakeError::Refused)));
        }
    }
}
