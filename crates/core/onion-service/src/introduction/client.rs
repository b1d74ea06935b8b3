//! The client's half.

use super::{
    ANSWER_LEN, Context, INTRODUCTION_LEN, PATTERN, PAYLOAD_LEN, PSK_PLACE, Payload, SECOND_LEN, TAG_END, WORK_END,
    answer_key, key_tag, leg_keys, psk, session_secret,
};
use crate::once;
use aws_lc_rs::kem::{EncapsulationKey, ML_KEM_768};
use identity::NodeId;
use packet_crypto::keys::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, RawKeys, sha256};
use packet_crypto::noise::builder;
use snow::HandshakeState;
use thiserror::Error;
use zeroize::Zeroizing;

/// Answers that one introduction tries to read; then it has failed. A rendezvous point can forge them.
const READS_MAX: u8 = 16;

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// It has not the length of an answer, or came over a point that was not named.
    #[error("what came from the rendezvous point is no answer")]
    Form,
    /// The service did not make it, or it was altered on the way.
    #[error("the answer is not the service's")]
    Refused,
    /// Nothing was asked, or too many answers were none.
    #[error("no answer is awaited")]
    Unawaited,
}

/// An introduction that was made, and what reads its answers.
pub(crate) struct Greeting {
    noise: HandshakeState,
    seed: Zeroizing<[u8; 32]>,
    legs: usize,
    reads: u8,
    /// The service's message, the same over all points, and the keys that it led to.
    agreed: Option<([u8; SECOND_LEN], RawKeys)>,
}

impl Greeting {
    /// Makes an introduction for a point's key and a record's KEM key. `ephemeral` comes from a cryptographic random source; the
    /// KEM's randomness is the library's own. `None` if a key of the record is none.
    pub(crate) fn new(
        context: &Context<'_>,
        point_key: &[u8; 32],
        kem_key: &[u8; KEM_KEY_LEN],
        payload: &Payload,
        ephemeral: [u8; 32],
    ) -> Option<(Self, Box<[u8; INTRODUCTION_LEN]>)> {
        let key = EncapsulationKey::new(&ML_KEM_768, kem_key).ok()?;
        let (ciphertext, secret) = key.encapsulate().ok()?;
        let ciphertext = ciphertext.as_ref().try_into().ok()?;
        Self::with_kem(context, point_key, &sha256(kem_key), (secret.as_ref(), ciphertext), payload, ephemeral)
    }

    pub(super) fn with_kem(
        context: &Context<'_>,
        point_key: &[u8; 32],
        kem_key_hash: &[u8; 32],
        (secret, ciphertext): (&[u8], &[u8; KEM_CIPHERTEXT_LEN]),
        payload: &Payload,
        ephemeral: [u8; 32],
    ) -> Option<(Self, Box<[u8; INTRODUCTION_LEN]>)> {
        let (psk, prologue) = (psk(secret, kem_key_hash, ciphertext), context.prologue());
        let builder = builder(PATTERN, ephemeral).ok()?.psk(PSK_PLACE, &psk).ok()?;
        let builder = builder.remote_public_key(point_key).and_then(|builder| builder.prologue(&prologue));
        let mut noise = builder.and_then(snow::Builder::build_initiator).ok()?;
        let mut message = Box::new([0; INTRODUCTION_LEN]);
        message[..TAG_END].copy_from_slice(&key_tag(kem_key_hash));
        let (_, rest) = message.split_at_mut(WORK_END);
        let (kem, first) = rest.split_at_mut(KEM_CIPHERTEXT_LEN);
        kem.copy_from_slice(ciphertext);
        let sealed: Zeroizing<[u8; PAYLOAD_LEN]> = Zeroizing::new(payload.encode());
        let written = noise.write_message(&*sealed, first).ok()?;
        debug_assert_eq!(written, first.len(), "the layout of an introduction");
        let (seed, legs) = (payload.seed.clone(), payload.relays.len());
        Some((Self { noise, seed, legs, reads: 0, agreed: None }, message))
    }

    /// Whom the session over the legs is to be with, once an answer was read.
    pub(crate) fn session(&self) -> Option<NodeId> {
        self.agreed.as_ref().map(|(_, raw)| session_secret(raw).node_id())
    }

    /// Reads what came over a rendezvous point, from 0: the raw keys of the leg over it. After an error the next answer may still
    /// be good.
    pub(crate) fn read(&mut self, point: usize, answer: &[u8]) -> Result<RawKeys, AnswerError> {
        if point >= self.legs || answer.len() != ANSWER_LEN {
            return Err(AnswerError::Form);
        }
        if self.reads >= READS_MAX {
            return Err(AnswerError::Unawaited);
        }
        self.reads += 1;
        let number = point as u8;
        let second = once::open(&answer_key(&self.seed, number), answer).ok_or(AnswerError::Refused)?;
        let second: [u8; SECOND_LEN] = second.try_into().map_err(|_| AnswerError::Refused)?;
        if let Some((known, raw)) = &self.agreed {
            return if *known == second { Ok(leg_keys(raw, number)) } else { Err(AnswerError::Refused) };
        }
        self.noise.read_message(&second, &mut []).map_err(|_| AnswerError::Refused)?;
        let raw = RawKeys::split(&mut self.noise);
        let keys = leg_keys(&raw, number);
        self.agreed = Some((second, raw));
        Ok(keys)
    }
}
