//! The primitives against a published vector: cacophony's "Noise_NKpsk2_25519_ChaChaPoly_SHA256".

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn key(hex: &str) -> [u8; 32] {
    bytes(hex).try_into().expect("32 bytes")
}

const PATTERN: &str = "Noise_NKpsk2_25519_ChaChaPoly_SHA256";
const PROLOGUE: &str = "4a6f686e2047616c74";
const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
const INITIATOR_EPHEMERAL: &str = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESPONDER: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
const RESPONDER_EPHEMERAL: &str = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
const HASH: &str = "5a0c1a79a0b863fe5d000e829b7e4ffc76200e5c08082d4494968e3f47d0ff61";
/// Payload and message.
const MESSAGES: [(&str, &str); 2] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944acda3057fb216b0fb4c6d571e776b426612636e99cf4ac1de41442fb2128ca29",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884330fcb4ab2b68a6f612414145258aa079533be57174ec7ae7c76845312a3f07",
    ),
];
/// The first transport messages: of the initiator, then of the responder.
const TRANSPORT: [(&str, &str); 2] = [
    ("462e20412e20486179656b", "129789ee959ffef891a580c6fc073cf91d706e26602cc096c35d84"),
    ("4361726c204d656e676572", "36b35298bc84e0a24644e309563b2d6c3f9a31dc142b122e0266db"),
];

#[test]
fn the_published_handshake_is_reproduced_with_a_psk_that_comes_late() {
    let building = |ephemeral| builder(PATTERN, key(ephemeral)).expect("a pattern that snow knows");
    let (prologue, public, secret) = (bytes(PROLOGUE), key(RESPONDER_PUBLIC), key(RESPONDER));
    let alice = building(INITIATOR_EPHEMERAL).remote_public_key(&public).and_then(|alice| alice.prologue(&prologue));
    let mut alice = alice.and_then(Builder::build_initiator).expect("an initiator");
    let bob = building(RESPONDER_EPHEMERAL).local_private_key(&secret).and_then(|bob| bob.prologue(&prologue));
    let mut bob = bob.and_then(Builder::build_responder).expect("a responder");
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
    assert_eq!((alice.get_handshake_hash(), bob.get_handshake_hash()), (&*bytes(HASH), &*bytes(HASH)));

    let keys = alice.dangerously_get_raw_split();
    assert_eq!(bob.dangerously_get_raw_split(), keys);
    for (key, (plain, sealed)) in [keys.0, keys.1].iter().zip(TRANSPORT) {
        let mut cipher = ChaChaPoly(cipher_key(&[0; 32]));
        cipher.set(key);
        let length = cipher.encrypt(0, &[], &bytes(plain), &mut message);
        assert_eq!(message[..length], bytes(sealed), "the first key is the initiator's");
    }
}

#[test]
fn a_key_of_small_order_is_refused() {
    let mut key = DhKey::default();
    key.set(&[7; 32]);
    let mut out = [0; 56];
    for point in [0, 1] {
        let mut public = [0; 32];
        public[0] = point;
        assert!(matches!(key.dh(&public, &mut out), Err(Error::Dh)), "u = {point}");
    }
    assert!(DhKey::default().dh(&[9; 32], &mut out).is_err(), "no private key was set");
}

#[test]
fn one_ephemeral_key_is_given_once() {
    let mut source = OneKey(Some(Zeroizing::new([1; 32])));
    let mut bytes = [0; 32];
    assert!(source.try_fill_bytes(&mut bytes).is_ok());
    assert!(source.try_fill_bytes(&mut bytes).is_err());
    assert!(OneKey(Some(Zeroizing::new([1; 32]))).try_fill_bytes(&mut [0; 31]).is_err());
}
