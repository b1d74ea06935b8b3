//! The hop handshake: `Noise_NKpsk2_25519_ChaChaPoly_SHA256`, its psk from an ephemeral ML-KEM-768
//! (docs/spec/onion.md, "Handshake").
//!
//! ```text
//! first  | interval 8 | e 32 | KEM key 1184, hello 16 | tag 16 |            1256
//! second | KEM ciphertext 1088 | e 32 | welcome 16 | tag 16 |               1152
//! ```

mod terms;

pub use terms::Features;
pub(crate) use terms::{Answered, Hello, Welcome};

use crate::keys::{Interval, Network, OnionKeys, OnionSecret, RelaySpec};
use crate::reason::Reason;
use crate::schedule::{HopKeys, psk};
use aws_lc_rs::kem::{AlgorithmId, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use identity::NodeId;
use packet_crypto::keys::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, RawKeys, TAG_LEN, sha256};
use packet_crypto::noise::builder;
use snow::HandshakeState;
use terms::{HELLO_LEN, WELCOME_LEN};
use thiserror::Error;

const PATTERN: &str = "Noise_NKpsk2_25519_ChaChaPoly_SHA256";
/// Version of the handshake itself: with another one nothing authenticates.
const HANDSHAKE_VERSION: u8 = 1;
/// Where the psk token stands in the pattern.
const PSK_PLACE: usize = 2;

/// Bytes of the interval in front of the first Noise message.
const INTERVAL_LEN: usize = 8;
/// Bytes of an X25519 public key.
const KEY_LEN: usize = 32;
/// Bytes of the first message.
pub(crate) const FIRST_LEN: usize = INTERVAL_LEN + KEY_LEN + KEM_KEY_LEN + HELLO_LEN + TAG_LEN;
/// Bytes of the second message.
pub(crate) const SECOND_LEN: usize = KEM_CIPHERTEXT_LEN + KEY_LEN + WELCOME_LEN + TAG_LEN;
/// Second messages that one handshake tries to read; then it has failed. Whoever is on the path can forge them.
pub(crate) const READS_MAX: u8 = 8;

/// Why a handshake message leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum HandshakeError {
    /// It has not the length of its kind.
    #[error("the handshake message has a wrong length")]
    Length,
    /// It names an interval whose key this relay does not have.
    #[error("no onion key of this interval")]
    Interval,
    /// It was not made for this key, relay or network, or was altered on its way.
    #[error("the handshake message does not authenticate")]
    Refused,
    /// The primitives failed: out of memory, or the system's random source.
    #[error("the cryptographic library failed")]
    Primitives,
}

impl From<HandshakeError> for Reason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Length => Self::Protocol,
            HandshakeError::Interval => Self::UnknownInterval,
            HandshakeError::Refused => Self::Handshake,
            HandshakeError::Primitives => Self::Full,
        }
    }
}

/// What both ends agree on without saying it.
fn prologue(network: &Network, interval: Interval, relay: &NodeId) -> Vec<u8> {
    let size = network.packet_size.packet() as u16;
    let (interval, size) = (interval.0.to_be_bytes(), size.to_be_bytes());
    [b"hushwire onion".as_slice(), &[HANDSHAKE_VERSION], &network.id, &size, &interval, &relay.0].concat()
}

/// The client's half, after the first message.
pub(crate) struct Initiation {
    noise: HandshakeState,
    kem: DecapsulationKey<AlgorithmId>,
    kem_key_hash: [u8; 32],
    reads: u8,
}

impl Initiation {
    /// Makes a first message for a relay. `ephemeral` comes from a cryptographic random source; the KEM's randomness is
    /// the library's own.
    pub(crate) fn begin(
        network: &Network,
        relay: &RelaySpec,
        hello: &Hello,
        ephemeral: [u8; 32],
    ) -> Result<(Self, [u8; FIRST_LEN]), HandshakeError> {
        let kem = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| HandshakeError::Primitives)?;
        let key = kem.encapsulation_key().and_then(|key| key.key_bytes()).map_err(|_| HandshakeError::Primitives)?;
        let key: &[u8; KEM_KEY_LEN] = key.as_ref().try_into().map_err(|_| HandshakeError::Primitives)?;
        let mut noise = client_noise(network, relay, ephemeral)?;
        let first = write_first(&mut noise, relay.interval, key, hello)?;
        Ok((Self { noise, kem, kem_key_hash: sha256(key), reads: 0 }, first))
    }

    /// Reads a second message. After an error the handshake goes on: the message may have been somebody else's.
    pub(crate) fn finish(&mut self, second: &[u8]) -> Result<(HopKeys, Welcome), HandshakeError> {
        let second: &[u8; SECOND_LEN] = second.try_into().map_err(|_| HandshakeError::Length)?;
        self.reads = self.reads.saturating_add(1);
        let (ciphertext, message) = second.split_at(KEM_CIPHERTEXT_LEN);
        let secret = self.kem.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| HandshakeError::Refused)?;
        let psk = psk(secret.as_ref(), &self.kem_key_hash, ciphertext);
        let (raw, welcome) = read_second(&mut self.noise, &psk, message)?;
        Ok((HopKeys::derive(&raw), welcome))
    }

    /// True when [`READS_MAX`] messages were tried.
    pub(crate) fn is_spent(&self) -> bool {
        self.reads >= READS_MAX
    }
}

/// What a relay answers to a first message.
pub(crate) struct Answer {
    /// The second message.
    pub(crate) second: [u8; SECOND_LEN],
    /// The keys and terms of the hop; `None` when no version suits both, which the second message says.
    pub(crate) agreed: Option<(HopKeys, Answered)>,
    /// It was the lasting key that answered: this is the only hop that the circuit may have.
    pub(crate) is_lasting: bool,
}

/// A relay's half, from a first message to the second. The same first message answered again has other keys: whoever
/// must answer alike keeps the answer.
pub(crate) fn answer(
    network: &Network,
    relay: &NodeId,
    keys: &OnionKeys,
    offered: Features,
    ephemeral: [u8; 32],
    first: &[u8],
) -> Result<Answer, HandshakeError> {
    let first: &[u8; FIRST_LEN] = first.try_into().map_err(|_| HandshakeError::Length)?;
    let (interval, message) = first.split_first_chunk::<INTERVAL_LEN>().ok_or(HandshakeError::Length)?;
    let interval = Interval(u64::from_be_bytes(*interval));
    let secret = keys.of(interval).ok_or(HandshakeError::Interval)?;
    let mut noise = relay_noise(network, relay, interval, secret, ephemeral)?;
    let (kem_key, hello) = read_first(&mut noise, message)?;
    let is_lasting = interval == Interval::LASTING;
    if is_lasting && hello.as_ref().is_some_and(|hello| !hello.is_first()) {
        return Err(HandshakeError::Interval);
    }
    // A KEM key that is none was made by the client: its fault.
    let key = EncapsulationKey::new(&ML_KEM_768, &kem_key).map_err(|_| HandshakeError::Refused)?;
    let (ciphertext, kem_secret) = key.encapsulate().map_err(|_| HandshakeError::Refused)?;
    let psk = psk(kem_secret.as_ref(), &sha256(&kem_key), ciphertext.as_ref());
    let answered = hello.as_ref().and_then(|hello| hello.answer(offered));
    let welcome = answered.as_ref().map_or(Welcome::VERSION_REFUSED, |answered| answered.welcome);
    let mut second = [0; SECOND_LEN];
    second[..KEM_CIPHERTEXT_LEN].copy_from_slice(ciphertext.as_ref());
    let raw = write_second(&mut noise, &psk, &welcome, &mut second[KEM_CIPHERTEXT_LEN..])?;
    Ok(Answer { second, agreed: answered.map(|answered| (HopKeys::derive(&raw), answered)), is_lasting })
}

fn client_noise(network: &Network, relay: &RelaySpec, ephemeral: [u8; 32]) -> Result<HandshakeState, HandshakeError> {
    let prologue = prologue(network, relay.interval, &relay.node_id);
    let builder = builder(PATTERN, ephemeral).map_err(primitives)?;
    let builder = builder.remote_public_key(&relay.onion_key.0).map_err(primitives)?;
    builder.prologue(&prologue).and_then(snow::Builder::build_initiator).map_err(primitives)
}

fn relay_noise(
    network: &Network,
    relay: &NodeId,
    interval: Interval,
    secret: &OnionSecret,
    ephemeral: [u8; 32],
) -> Result<HandshakeState, HandshakeError> {
    let prologue = prologue(network, interval, relay);
    let builder = builder(PATTERN, ephemeral).map_err(primitives)?;
    let builder = builder.local_private_key(secret.expose()).map_err(primitives)?;
    builder.prologue(&prologue).and_then(snow::Builder::build_responder).map_err(primitives)
}

fn write_first(
    noise: &mut HandshakeState,
    interval: Interval,
    kem_key: &[u8; KEM_KEY_LEN],
    hello: &Hello,
) -> Result<[u8; FIRST_LEN], HandshakeError> {
    let mut payload = [0; KEM_KEY_LEN + HELLO_LEN];
    payload[..KEM_KEY_LEN].copy_from_slice(kem_key);
    payload[KEM_KEY_LEN..].copy_from_slice(&hello.encode());
    let mut first = [0; FIRST_LEN];
    first[..INTERVAL_LEN].copy_from_slice(&interval.0.to_be_bytes());
    let written = noise.write_message(&payload, &mut first[INTERVAL_LEN..]).map_err(primitives)?;
    debug_assert_eq!(written, FIRST_LEN - INTERVAL_LEN, "the layout of the first message");
    Ok(first)
}

/// The KEM key and, if its position is one, the hello.
fn read_first(
    noise: &mut HandshakeState,
    message: &[u8],
) -> Result<([u8; KEM_KEY_LEN], Option<Hello>), HandshakeError> {
    let mut payload = [0; KEM_KEY_LEN + HELLO_LEN];
    let read = noise.read_message(message, &mut payload).map_err(|_| HandshakeError::Refused)?;
    debug_assert_eq!(read, payload.len(), "the length of the message is that of the layout");
    let (kem_key, hello) = payload.split_first_chunk::<KEM_KEY_LEN>().ok_or(HandshakeError::Length)?;
    let hello = hello.try_into().map_err(|_| HandshakeError::Length)?;
    Ok((*kem_key, Hello::decode(hello)))
}

fn write_second(
    noise: &mut HandshakeState,
    psk: &[u8; 32],
    welcome: &Welcome,
    out: &mut [u8],
) -> Result<RawKeys, HandshakeError> {
    noise.set_psk(PSK_PLACE, psk).map_err(primitives)?;
    let written = noise.write_message(&welcome.encode(), out).map_err(primitives)?;
    debug_assert_eq!(written, SECOND_LEN - KEM_CIPHERTEXT_LEN, "the layout of the second message");
    Ok(RawKeys::split(noise))
}

fn read_second(
    noise: &mut HandshakeState,
    psk: &[u8; 32],
    message: &[u8],
) -> Result<(RawKeys, Welcome), HandshakeError> {
    noise.set_psk(PSK_PLACE, psk).map_err(primitives)?;
    let mut payload = [0; WELCOME_LEN];
    noise.read_message(message, &mut payload).map_err(|_| HandshakeError::Refused)?;
    Ok((RawKeys::split(noise), Welcome::decode(&payload)))
}

fn primitives(_: snow::Error) -> HandshakeError {
    HandshakeError::Primitives
}

#[cfg(test)]
mod tests;
