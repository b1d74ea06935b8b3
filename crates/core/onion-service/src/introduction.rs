//! The introduction and its answer: one Noise handshake from end to end, `Noise_NKpsk0_25519_ChaChaPoly_SHA256`, its psk from the
//! ML-KEM-768 key of the record (docs/spec/onion-service.md, "Introduction" and "Answer").
//!
//! ```text
//! introduction | key tag 8 | work 8 | KEM ciphertext 1088 | e 32 | payload 320 | tag 16 |      1472
//! payload      | points 1 | zero 3 | features 4 | seed 32 | 8 x relay 32 | zero 24 |
//! answer       | sealed: e 32, tag 16 | tag 16 |                                              64
//! ```

mod client;
mod service;

pub use client::AnswerError;
pub(crate) use client::Greeting;
pub use service::Meeting;
pub(crate) use service::{KemPair, Opened, open};

use crate::day::DayKey;
use identity::{NodeId, NodeSecret};
use network_document::NetworkId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use packet_crypto::keys::{KEM_CIPHERTEXT_LEN, RawKeys, TAG_LEN, expand, kem_psk, sha256};
use zeroize::Zeroizing;

const PATTERN: &str = "Noise_NKpsk0_25519_ChaChaPoly_SHA256";
/// Version of the handshake: with another one nothing authenticates.
const VERSION: u8 = 1;
/// Where the psk token stands in the pattern.
const PSK_PLACE: u8 = 0;

/// Rendezvous points of one introduction at most.
pub const RENDEZVOUS_MAX: usize = 8;
/// Bytes by which a rendezvous point knows who belongs together.
pub const COOKIE_LEN: usize = 32;
/// Bytes of an introduction: it fits into two cells.
pub const INTRODUCTION_LEN: usize = TAG_END + WORK_LEN + KEM_CIPHERTEXT_LEN + KEY_LEN + PAYLOAD_LEN + TAG_LEN;
/// Bytes of an answer.
pub const ANSWER_LEN: usize = SECOND_LEN + TAG_LEN;
const TAG_END: usize = 8;
const WORK_LEN: usize = 8;
const KEY_LEN: usize = 32;
const PAYLOAD_LEN: usize = 8 + 32 + RENDEZVOUS_MAX * 32 + 24;
/// Bytes of the second Noise message.
const SECOND_LEN: usize = KEY_LEN + TAG_LEN;
/// Where the number of the work stands.
pub(crate) const WORK_AT: usize = TAG_END;
/// And where it ends.
pub(crate) const WORK_END: usize = TAG_END + WORK_LEN;

/// What a rendezvous point knows the two sides by.
pub type Cookie = [u8; COOKIE_LEN];

/// What a client says to a service.
pub(crate) struct Payload {
    /// What it wants, of what the record offers.
    pub(crate) features: u32,
    /// Cookies and the keys of answers are made of it.
    pub(crate) seed: Zeroizing<[u8; 32]>,
    /// Where to meet, 1 to [`RENDEZVOUS_MAX`].
    pub(crate) relays: Vec<NodeId>,
}

impl Payload {
    pub(crate) fn encode(&self) -> [u8; PAYLOAD_LEN] {
        let mut bytes = Vec::with_capacity(PAYLOAD_LEN);
        bytes.raw(&[self.relays.len() as u8, 0, 0, 0]);
        bytes.u32(self.features);
        bytes.raw(&*self.seed);
        for relay in self.relays.iter().take(RENDEZVOUS_MAX) {
            bytes.raw(&relay.0);
        }
        let mut payload = [0; PAYLOAD_LEN];
        payload[..bytes.len()].copy_from_slice(&bytes);
        payload
    }

    pub(crate) fn decode(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(payload);
        let [points, ..] = reader.array::<4>()?;
        if !(1..=RENDEZVOUS_MAX).contains(&usize::from(points)) {
            return Err(ReadError::Range);
        }
        let (features, seed) = (reader.u32()?, Zeroizing::new(reader.array()?));
        let mut relays = Vec::with_capacity(RENDEZVOUS_MAX);
        for _ in 0..points {
            let relay = NodeId(reader.array()?);
            if relays.contains(&relay) {
                return Err(ReadError::Range);
            }
            relays.push(relay);
        }
        Ok(Self { features, seed, relays })
    }
}

/// What both ends know without saying it: who did not open the record cannot know it.
pub(crate) struct Context<'a> {
    /// The network.
    pub(crate) network: NetworkId,
    /// The day of the record.
    pub(crate) day: &'a DayKey,
    /// The cookie of the record.
    pub(crate) cookie: &'a [u8; 32],
}

impl Context<'_> {
    fn prologue(&self) -> Zeroizing<Vec<u8>> {
        let day = self.day;
        let parts = [b"hushwire service".as_slice(), &[VERSION], &self.network.0, &day.blinded, day.subcredential()];
        let mut prologue = Zeroizing::new(parts.concat());
        prologue.extend_from_slice(self.cookie);
        prologue
    }
}

/// By which an introduction names the KEM key that it was made for.
pub(crate) fn key_tag(kem_key_hash: &[u8; 32]) -> [u8; TAG_END] {
    let mut tag = [0; TAG_END];
    let hash = sha256(&[b"hushwire service key tag 1".as_slice(), kem_key_hash].concat());
    tag.copy_from_slice(&hash[..TAG_END]);
    tag
}

fn psk(secret: &[u8], kem_key_hash: &[u8; 32], ciphertext: &[u8]) -> Zeroizing<[u8; 32]> {
    kem_psk(b"hushwire service 1 psk", secret, kem_key_hash, ciphertext)
}

/// The cookie of a rendezvous point, from 0.
pub(crate) fn cookie(seed: &[u8; 32], point: u8) -> Cookie {
    *expand(seed, &[b"hushwire service 1 cookie", &[point]])
}

/// What the answer is sealed with on its way over a rendezvous point: so that no two of them see the same bytes.
fn answer_key(seed: &[u8; 32], point: u8) -> Zeroizing<[u8; 16]> {
    expand(seed, &[b"hushwire service 1 answer", &[point]])
}

/// The raw keys of the hop over one rendezvous point: each leg has its own, so that each may count its cells from the beginning.
fn leg_keys(raw: &RawKeys, point: u8) -> RawKeys {
    RawKeys {
        initiator: expand(&raw.initiator, &[b"hushwire service 1 leg forward", &[point]]),
        responder: expand(&raw.responder, &[b"hushwire service 1 leg backward", &[point]]),
    }
}

/// Whom the session over the legs authenticates: made of what only the two ends of this handshake have, so neither a lasting key
/// nor another introduction has a part in it.
fn session_secret(raw: &RawKeys) -> NodeSecret {
    NodeSecret::from_seed(*expand(&raw.responder, &[b"hushwire service 1 session"]))
}

#[cfg(test)]
mod tests;
