//! The primitives against a published vector: cacophony's "Noise_IKpsk2_25519_ChaChaPoly_SHA256".

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn key(hex: &str) -> [u8; 32] {
    bytes(hex).try_into().expect("32 bytes")
}

const PROLOGUE: &str = "4a6f686e2047616c74";
const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
const INITIATOR: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
const INITIATOR_EPHEMERAL: &str = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESPONDER: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
const RESPONDER_EPHEMERAL: &str = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
const HASH: &str = "8310f86394dc0dabb40beb8210031556db4403ab1202db7034c526232147a700";
/// Payload and message.
const MESSAGES: [(&str, &str); 2] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79442ec9b09893d0f510791784c10cbc959f25b1766e0def6e301d14fbca1c7790ac829b8b3674f5f649a5f0e98479662cbfbf2b2c47cd4b09fcd266cd29d7cb675f1808849707847840f6d178ec4d3733aa",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088439a1b3cebf680b2c74217fcb5eba4ff58a9468cd90c4aca6194f57479b379a7",
    ),
];
#[test]
fn the_published_handshake_is_reproduced_with_a_psk_that_comes_late() {
    let (secret, peer) = (LinkSecret::from_bytes(key(INITIATOR)), LinkKey(key(RESPONDER_PUBLIC)));
    let mut alice = initiator(&secret, &peer, &bytes(PROLOGUE), key(INITIATOR_EPHEMERAL)).expect("an initiator");
    let secret = LinkSecret::from_bytes(key(RESPONDER));
    assert_eq!(secret.link_key(), peer);
    let mut bob = responder(&secret, &bytes(PROLOGUE), key(RESPONDER_EPHEMERAL)).expect("a responder");
    let (mut message, mut payload) = ([0; 200], [0; 200]);

    let length = alice.write_message(&bytes(MESSAGES[0].0), &mut message).expect("message 1");
    assert_eq!(message[..length], bytes(MESSAGES[0].1));
    let read = bob.read_message(&message[..length], &mut payload).expect("message 1");
    assert_eq!(payload[..read], bytes(MESSAGES[0].0));

    bob.set_psk(2, &key(PSK)).expect("a psk of 32 bytes");
    let length = bob.write_message(&bytes(MESSAGES[1].0), &mut message).expect("message 2");
    assert_eq!(message[..length], bytes(MESSAGES[1].1));
    assert!(alice.read_message(&message[..length], &mut payload).is_err(), "the psk is missing");
    alice.set_psk(2, &key(PSK)).expect("a psk of 32 bytes");
    let read = alice.read_message(&message[..length], &mut payload).expect("message 2");
    assert_eq!(payload[..read], bytes(MESSAGES[1].0));
    assert_eq!(alice.get_handshake_hash(), bytes(HASH));
    assert_eq!(bob.get_handshake_hash(), bytes(HASH));

    let (initiators, responders) = alice.dangerously_get_raw_split();
    assert_eq!(bob.dangerously_get_raw_split(), (initiators, responders));
}
