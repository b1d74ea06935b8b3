//! The vectors of docs/spec/onion.md, made once by an independent implementation (Python, `hmac`).

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_key_schedule_is_that_of_the_specification() {
    let keys = test_keys(0x11, 0x22);
    assert_eq!(hex(&*keys.forward.traffic), "6be7d445539b1126d4b3e5e79be038d2");
    assert_eq!(keys.forward.start, 0xc07a_0e16_6dc9_5bee);
    assert_eq!(hex(&*keys.backward.traffic), "d9744ba062c34e806b1aa3b171c695ae");
    assert_eq!(keys.backward.start, 0xd25c_4594_19d7_e264);
    assert_eq!(hex(keys.binding.expose()), "f45a615083734bb3c37fc0e0cabcf20cc7b6116eeb7413c536e0b6257400d1fc");
}

#[test]
fn the_psk_is_that_of_the_specification() {
    let key_hash = packet_crypto::keys::sha256(&[0x44; 1184]);
    let psk = psk(&[0x66; 32], &key_hash, &[0x55; 1088]);
    assert_eq!(hex(&*psk), "a2ffb18b4b56dd629998775d017147ce0257f61f44c433b76860aaaff82c0253");
}

#[test]
fn the_keys_of_a_virtual_hop_are_those_of_the_specification() {
    let raw = RawKeys { initiator: [0x11; 32].into(), responder: [0x22; 32].into() };
    let keys = VirtualKeys::derive(&raw, &Cookie([0x33; 32]));
    assert_eq!(hex(&*keys.forward.traffic), "6646835c27593d7b683ae8fc2444ed0a");
    assert_eq!(keys.forward.start, 0x2f1f_3ae7);
    assert_eq!(hex(&*keys.backward.traffic), "d846ffe38e632fd2d50b4076bb30c229");
    assert_eq!(keys.backward.start, 0xd349_c58c);
}
