//! The service's half.

use super::{
    ANSWER_LEN, Context, Cookie, INTRODUCTION_LEN, PATTERN, PAYLOAD_LEN, PSK_PLACE, Payload, SECOND_LEN, TAG_END,
    WORK_END, answer_key, cookie, key_tag, leg_keys, psk, session_secret,
};
use crate::once;
use aws_lc_rs::kem::{AlgorithmId, Ciphertext, DecapsulationKey, ML_KEM_768};
use identity::{NodeId, NodeSecret};
use packet_crypto::keys::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, RawKeys, sha256};
use packet_crypto::noise::builder;
use std::fmt;
use zeroize::Zeroizing;

/// One place to meet a client: extend a circuit to the relay, say the cookie, send the answer; what follows is sealed with the keys.
pub struct Meeting {
    /// The rendezvous point.
    pub relay: NodeId,
    /// By which it knows whom to join.
    pub cookie: Cookie,
    /// What the client waits for.
    pub answer: [u8; ANSWER_LEN],
    /// Raw keys of the hop between service and client: `initiator` seals what the client sends.
    pub keys: RawKeys,
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meeting(..)")
    }
}

/// A KEM key pair of a record.
pub(crate) struct KemPair {
    secret: DecapsulationKey<AlgorithmId>,
    /// What stands in the record.
    pub(crate) key: Box<[u8; KEM_KEY_LEN]>,
    hash: [u8; 32],
}

impl KemPair {
    /// A new pair; its randomness is the library's own. `None` when the library fails.
    pub(crate) fn generate() -> Option<Self> {
        let secret = DecapsulationKey::generate(&ML_KEM_768).ok()?;
        let public = secret.encapsulation_key().and_then(|key| key.key_bytes()).ok()?;
        let key: Box<[u8; KEM_KEY_LEN]> = Box::new(public.as_ref().try_into().ok()?);
        let hash = sha256(key.as_slice());
        Some(Self { secret, key, hash })
    }

    /// True when an introduction says that it was made for this key.
    pub(crate) fn is_named_by(&self, introduction: &[u8; INTRODUCTION_LEN]) -> bool {
        introduction[..TAG_END] == self.tag()
    }

    pub(crate) fn tag(&self) -> [u8; TAG_END] {
        key_tag(&self.hash)
    }
}

/// What an introduction says, and what is made of it.
pub(crate) struct Opened {
    /// What the client wants of what the record offers.
    pub(crate) features: u32,
    /// Where it waits, and the answers.
    pub(crate) meetings: Vec<Meeting>,
    /// Whom its session expects.
    pub(crate) session: NodeSecret,
}

/// Opens an introduction: what the client says, and the answers. `None` when it was not made by somebody who opened the record, or
/// was altered, or names no place to meet.
pub(crate) fn open(
    context: &Context<'_>,
    point_secret: &[u8; 32],
    kem: &KemPair,
    introduction: &[u8; INTRODUCTION_LEN],
    ephemeral: [u8; 32],
) -> Option<Opened> {
    let ciphertext = &introduction[WORK_END..WORK_END + KEM_CIPHERTEXT_LEN];
    let secret = kem.secret.decapsulate(Ciphertext::from(ciphertext)).ok()?;
    open_with_kem(context, point_secret, (secret.as_ref(), &kem.hash), introduction, ephemeral)
}

pub(super) fn open_with_kem(
    context: &Context<'_>,
    point_secret: &[u8; 32],
    (kem_secret, kem_key_hash): (&[u8], &[u8; 32]),
    introduction: &[u8; INTRODUCTION_LEN],
    ephemeral: [u8; 32],
) -> Option<Opened> {
    let (ciphertext, first) = introduction[WORK_END..].split_at(KEM_CIPHERTEXT_LEN);
    let (psk, prologue) = (psk(kem_secret, kem_key_hash, ciphertext), context.prologue());
    let builder = builder(PATTERN, ephemeral).ok()?.psk(PSK_PLACE, &psk).ok()?;
    let builder = builder.local_private_key(point_secret).and_then(|builder| builder.prologue(&prologue));
    let mut noise = builder.and_then(snow::Builder::build_responder).ok()?;
    let mut opened = Zeroizing::new([0; PAYLOAD_LEN]);
    noise.read_message(first, &mut *opened).ok()?;
    let payload = Payload::decode(&opened).ok()?;
    let mut second = [0; SECOND_LEN];
    noise.write_message(&[], &mut second).ok()?;
    let raw = RawKeys::split(&mut noise);
    let meeting = |(point, relay): (usize, &NodeId)| {
        let point = point as u8;
        let mut sealed = second.to_vec();
        once::seal(&answer_key(&payload.seed, point), &mut sealed);
        let answer = sealed.try_into().ok()?;
        let cookie = cookie(&payload.seed, point);
        Some(Meeting { relay: *relay, cookie, answer, keys: leg_keys(&raw, point) })
    };
    let meetings: Option<Vec<_>> = payload.relays.iter().enumerate().map(meeting).collect();
    Some(Opened { features: payload.features, meetings: meetings?, session: session_secret(&raw) })
}
