use super::*;
use crate::schedule::psk;
use aws_lc_rs::digest::{SHA256, digest};
use identity::DoorKey;
use proptest::prelude::*;
use wire::packet::PacketSize;
use zeroize::Zeroizing;

fn raw() -> RawKeys {
    RawKeys { initiator: Zeroizing::new([0x11; 32]), responder: Zeroizing::new([0x22; 32]) }
}

fn mask() -> HeaderMask {
    HeaderMask::of_door(&DoorKey::from_bytes([0x33; 32]))
}

fn ends() -> (KeySet, KeySet) {
    let of = |role| KeySet::new(&raw(), role, &mask(), Hopping::Off);
    (of(Role::Initiator), of(Role::Responder))
}

fn packet() -> Vec<u8> {
    (0..PacketSize::DEFAULT.packet()).map(|place| place as u8).collect()
}

fn open(keys: &mut KeySet, packet: &mut [u8]) -> Result<Opened, OpenError> {
    let tag = *packet.last_chunk().expect("a packet has a tag");
    let index = keys.receive_indices().next().expect("keys have an index");
    keys.open(index, &tag, packet)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The values of docs/spec/link.md, "Test vectors"; made once by an independent implementation.
#[test]
fn the_key_schedule_is_that_of_the_specification() {
    let initiator = DirectionKeys::derive(&raw(), Role::Initiator);
    let responder = DirectionKeys::derive(&raw(), Role::Responder);
    let keys = [&initiator, &responder]
        .map(|keys| [hex(&*keys.traffic), hex(&*keys.mask), hex(&*keys.index), hex(&*keys.port)]);
    assert_eq!(
        keys[0],
        [
            "1accdcd85dd7d96644dab722ddadfd76",
            "62c08bb7704339cb5ceaf9af60581b5d",
            "9c26061e16caea02534cf0664d970ed1",
            "92e310c914e1ea7ec5adafee6da0fb83",
        ]
    );
    assert_eq!(
        keys[1],
        [
            "46b0b44668b03207c0158e087aa8d656",
            "888729d896f568932c632a88fca011f4",
            "94875f13440296bbf52bbcaf10dd6e50",
            "2d6a3009d0b8a05c4781e4331d66e8f7",
        ]
    );
    assert_eq!(initiator.indices().of_hop(0), 0xd03a_0dd9_9e5c_0154);
    assert_eq!(initiator.indices().of_hop(1), 0x0c1b_f6ab_511d_a229);
    assert_eq!(responder.indices().of_hop(0), 0xad1a_9a67_fecf_e1d5);
}

#[test]
fn the_psk_is_that_of_the_specification() {
    let hash = digest(&SHA256, &[0x44; 1184]);
    let hash = hash.as_ref().try_into().expect("32 bytes");
    let psk = psk(&[0x66; 32], hash, &[0x55; 1088]);
    assert_eq!(hex(&*psk), "7cb82edc5e7edc71294fb66e692c193e5289827a081f1c42eb08ce55ace91737");
}

#[test]
fn a_data_packet_is_that_of_the_specification() {
    let (mut alice, _) = ends();
    let mut first = packet();
    alice.seal(0, &mut first).expect("a fresh key");
    let mut alice = alice.with_sealed(0x0123_4567);
    let mut later = packet();
    alice.seal(0, &mut later).expect("a fresh key");
    let expected = [
        (
            "06f3eb218d535ea978b750c5f2fc961e9ad1edbcd866780d905de1b6d11eb94f",
            "81719dd7160c8b4326543e2e2cb7d57ddeba8daeb6826eab23f106d63251b839",
            "75d4170b6102a82e73e65fcedd24dce467d386a50154f1196cc6b79502251d74",
        ),
        (
            "826418ce0961e0272f31afc791f807fe48c7a78bddf87ab7c1fd5da43d1f59ba",
            "00cb2bd5773f025476e644a72b0bea7123b2824fe593dcbbc859af23183bf609",
            "0911f44395371d0fe035e0558ed69b409010e6d41b4dd8b07cea46ce38765d56",
        ),
    ];
    for (packet, (head, tail, hash)) in [first, later].iter().zip(expected) {
        assert_eq!((hex(&packet[..32]).as_str(), hex(&packet[1318..]).as_str()), (head, tail));
        assert_eq!(hex(digest(&SHA256, packet).as_ref()), hash, "the whole packet");
    }
}

#[test]
fn packets_open_once_at_the_other_end_only() {
    let (mut alice, mut bob) = ends();
    let mut sealed = packet();
    alice.seal(0, &mut sealed).expect("a fresh key");
    assert_eq!(open(&mut alice, &mut sealed.clone()), Err(OpenError::Forged), "not at its own end");
    let mut copy = sealed.clone();
    assert_eq!(open(&mut bob, &mut copy), Ok(Opened { counter: 0, newest: true }));
    assert_eq!(copy[16..1334], packet()[16..1334]);
    assert_eq!(open(&mut bob, &mut sealed), Err(OpenError::Replayed));
}

#[test]
fn a_forged_packet_leaves_the_window_as_it_was() {
    let (mut alice, mut bob) = ends();
    let mut sealed = packet();
    alice.seal(0, &mut sealed).expect("a fresh key");
    let mut bent = sealed.clone();
    bent[700] ^= 1;
    assert_eq!(open(&mut bob, &mut bent), Err(OpenError::Forged));
    assert_eq!(bob.opened_end(), 0);
    assert!(open(&mut bob, &mut sealed).is_ok());
}

#[test]
fn a_key_refuses_to_seal_more_than_its_limit() {
    let (alice, mut bob) = ends();
    let mut alice = alice.with_sealed(SEAL_LIMIT - 1);
    let mut last = packet();
    assert_eq!(alice.seal(0, &mut last), Ok(()));
    assert_eq!(alice.seal(0, &mut packet()), Err(WornOut));
    assert_eq!(alice.sealed(), SEAL_LIMIT);
    assert_eq!(open(&mut bob, &mut last), Ok(Opened { counter: SEAL_LIMIT - 1, newest: true }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packets_in_any_order_open_once_each(order in Just((0..64usize).collect::<Vec<_>>()).prop_shuffle()) {
        let (mut alice, mut bob) = ends();
        let mut sealed = Vec::new();
        for _ in 0..64 {
            let mut packet = packet();
            prop_assert!(alice.seal(0, &mut packet).is_ok());
            sealed.push(packet);
        }
        for number in order {
            prop_assert!(open(&mut bob, &mut sealed[number].clone()).is_ok_and(|opened| opened.counter == number as u64));
            prop_assert_eq!(open(&mut bob, &mut sealed[number]), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn a_hop_changes_the_index_and_what_it_authenticates_and_keeps_the_window() {
    let at = |role, hop| KeySet::new(&raw(), role, &mask(), Hopping::At(hop));
    let (mut alice, mut bob) = (at(Role::Initiator, 0), at(Role::Responder, 0));
    let before: Vec<u64> = bob.receive_indices().collect();
    let mut first = packet();
    alice.seal(1, &mut first).expect("a fresh key");
    let tag = *first.last_chunk().expect("a packet has a tag");
    assert_eq!(bob.open(before[0], &tag, &mut first.clone()), Err(OpenError::Forged), "the index is authenticated");
    bob.move_to_hop(1);
    let index = bob.receive_indices().next().expect("keys have an index");
    assert_eq!((index, bob.hop_of(index)), (before[1], Some(1)));
    assert_eq!(bob.open(index, &tag, &mut first.clone()), Ok(Opened { counter: 0, newest: true }));
    bob.move_to_hop(2);
    assert_eq!(bob.hop_of(index), Some(1), "the hop before is still heard");
    assert_eq!(bob.open(index, &tag, &mut first), Err(OpenError::Replayed));
    bob.move_to_hop(3);
    assert_eq!(bob.hop_of(index), None);
}
