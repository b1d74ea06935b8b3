use super::service::{Opened, open_with_kem};
use super::*;
use crate::address::ServiceAddress;
use crate::day::Day;
use crate::vectors::hex;
use crate::work::Search;
use identity::AccessSecret;
use packet_crypto::keys::KEM_KEY_LEN;

const NETWORK: NetworkId = NetworkId([0x0a; 32]);
const COOKIE: [u8; 32] = [0x0d; 32];

fn day() -> DayKey {
    DayKey::new(NETWORK, ServiceAddress([0x0b; 32]), Day(20_000), [0x0c; 32])
}

fn payload(points: u8) -> Payload {
    let relays = (0..points).map(|point| NodeId([0x78 + point; 32])).collect();
    Payload { features: 2, seed: Zeroizing::new([0x77; 32]), relays }
}

fn point_key() -> [u8; 32] {
    AccessSecret::from_bytes([0x31; 32]).access_key().0
}

/// The vector of docs/spec/onion-service.md, from fixed ephemerals, KEM key, secret and ciphertext.
#[test]
fn the_transcript_is_that_of_the_specification() {
    let (day, kem_hash) = (day(), sha256(&[0x44; KEM_KEY_LEN]));
    let context = Context { network: NETWORK, day: &day, cookie: &COOKIE };
    let kem = ([0x66; 32].as_slice(), &[0x55; KEM_CIPHERTEXT_LEN]);
    let made = Greeting::with_kem(&context, &point_key(), &kem_hash, kem, &payload(2), [4; 32]);
    let (mut greeting, message) = made.expect("an introduction");
    assert_eq!(hex(&key_tag(&kem_hash)), "e87f8c8d0f2b45eb");
    assert_eq!(
        hex(&*psk(&[0x66; 32], &kem_hash, &[0x55; 1088])),
        "d176159ec026863f354ebe61e355f4eb5852a3880377028e900bdc703036482d"
    );
    assert_eq!(hex(&sha256(&*message)), "f07854ecaca29dc95d5ac66459283a5c96612d19b83683b585a2bdf01c774d27");
    assert_eq!(Search::new(&message, 12).run(5_000), Some(4_144));

    let opened = open_with_kem(&context, &[0x31; 32], (&[0x66; 32], &kem_hash), &message, [5; 32]);
    let Opened { features, meetings, session } = opened.expect("an introduction");
    assert_eq!((features, meetings.len()), (2, 2));
    assert_eq!(greeting.session(), None, "no answer was read");
    let expected = [
        (
            "aa16aec9e45a1c09c013c36e41d52a20b599c44da3abb52a2150808688665d0b",
            "9449c8c6bdbeed5bf44d816c55fedf28b4e0e8c2f367314d8dc7c14fc4b095c671645296a3fe6b5143ddbb935bf64fb27521d5c660c9a2afb638693e58224822",
            "264a37c78b0b96a6c570085ece49fc159fcee74eb86f5b44fdc68a6cd2a8bfb1",
            "bf00ed6259a4a6c3df067d36844252677d3d1eaabade5117ae0fbe3f974c4b34",
        ),
        (
            "36eae38d4ea9e07417312ad813b648a0255cacc9bba2cc2dd3f6bbe77deef687",
            "3a22b7df04361b05588739edc21b7790de4a891eb9946efb95a6f9cd5f4a2b52ce53d97017da6b814ac0dcba1e6bf25f97527d31387ae3329710c5519a61b1c0",
            "c5714a2ee3171ea731ad8ca039887c85985856cf97a9817af4e08f96ffd658db",
            "b546f2f73d70b2ddcb1efeccf6080dd6aa4637f3783d1121fc27179efe6f6b30",
        ),
    ];
    for (point, (meeting, (cookie, answer, forward, backward))) in meetings.iter().zip(expected).enumerate() {
        assert_eq!((hex(&meeting.cookie), hex(&meeting.answer)), (cookie.to_owned(), answer.to_owned()));
        let ours = greeting.read(point, &meeting.answer).expect("the service's answer");
        for keys in [&ours, &meeting.keys] {
            assert_eq!((hex(&*keys.initiator), hex(&*keys.responder)), (forward.to_owned(), backward.to_owned()));
        }
        assert_eq!(greeting.session(), Some(session.node_id()), "both ends know it after any answer");
    }
}

fn make(kem: &KemPair, points: u8) -> (Greeting, Box<[u8; INTRODUCTION_LEN]>) {
    let day = day();
    let context = Context { network: NETWORK, day: &day, cookie: &COOKIE };
    Greeting::new(&context, &point_key(), &kem.key, &payload(points), [4; 32]).expect("an introduction")
}

fn answer(kem: &KemPair, message: &[u8; INTRODUCTION_LEN]) -> Option<Vec<Meeting>> {
    let day = day();
    let context = Context { network: NETWORK, day: &day, cookie: &COOKIE };
    open(&context, &[0x31; 32], kem, message, [5; 32]).map(|opened| opened.meetings)
}

#[test]
fn both_ends_get_the_same_keys_over_each_leg_in_any_order() {
    let kem = KemPair::generate().expect("keys");
    let (mut greeting, message) = make(&kem, RENDEZVOUS_MAX as u8);
    assert!(kem.is_named_by(&message));
    let meetings = answer(&kem, &message).expect("an introduction");
    assert_eq!(meetings.len(), RENDEZVOUS_MAX);
    let mut seen = std::collections::BTreeSet::new();
    for (point, meeting) in meetings.iter().enumerate().rev() {
        let keys = greeting.read(point, &meeting.answer).expect("the answer");
        assert_eq!((&keys.initiator, &keys.responder), (&meeting.keys.initiator, &meeting.keys.responder));
        assert!(seen.insert(*keys.initiator) && seen.insert(*keys.responder), "each leg has its own keys");
        assert!(seen.insert(meeting.cookie), "and its own cookie");
    }
    let first = &meetings[0].answer;
    assert!(meetings[1..].iter().all(|meeting| meeting.answer[..32] != first[..32]), "nothing to see in common");
    assert!(matches!(greeting.read(1, first), Err(AnswerError::Refused)), "over another point");
    assert!(matches!(greeting.read(RENDEZVOUS_MAX, first), Err(AnswerError::Form)));
    assert!(matches!(greeting.read(0, &first[1..]), Err(AnswerError::Form)));
}

#[test]
fn two_introductions_have_nothing_in_common_but_the_name_of_the_key() {
    let kem = KemPair::generate().expect("keys");
    // The same ephemeral X25519 keys on purpose: the KEM alone must make the difference.
    let key_of = || answer(&kem, &make(&kem, 1).1).map(|meetings| *meetings[0].keys.initiator);
    assert_ne!(key_of(), key_of());
}

#[test]
fn an_altered_byte_is_refused_but_for_the_work() {
    let kem = KemPair::generate().expect("keys");
    let (_, message) = make(&kem, 2);
    for place in (WORK_END..INTRODUCTION_LEN).step_by(37).chain([INTRODUCTION_LEN - 1]) {
        let mut bent = message.clone();
        bent[place] ^= 1;
        assert!(answer(&kem, &bent).is_none(), "byte {place}");
    }
    let mut worked = message.clone();
    worked[WORK_AT..WORK_END].fill(0xff);
    assert!(answer(&kem, &worked).is_some(), "the work is outside, and is looked at before");
}

#[test]
fn whoever_did_not_open_the_record_makes_no_introduction() {
    let (kem, own) = (KemPair::generate().expect("keys"), day());
    let others = [
        (NetworkId([9; 32]), day(), COOKIE, point_key()),
        (NETWORK, DayKey::new(NETWORK, ServiceAddress([9; 32]), Day(20_000), [0x0c; 32]), COOKIE, point_key()),
        (NETWORK, DayKey::new(NETWORK, ServiceAddress([0x0b; 32]), Day(20_000), [9; 32]), COOKIE, point_key()),
        (NETWORK, day(), [9; 32], point_key()),
        (NETWORK, day(), COOKIE, AccessSecret::from_bytes([9; 32]).access_key().0),
    ];
    for (network, day, cookie, key) in others {
        let context = Context { network, day: &day, cookie: &cookie };
        let (_, message) = Greeting::new(&context, &key, &kem.key, &payload(1), [4; 32]).expect("an introduction");
        assert!(answer(&kem, &message).is_none());
    }
    let another = KemPair::generate().expect("keys");
    let context = Context { network: NETWORK, day: &own, cookie: &COOKIE };
    let made = Greeting::new(&context, &point_key(), &another.key, &payload(1), [4; 32]);
    assert!(answer(&kem, &made.expect("an introduction").1).is_none());
}

#[test]
fn forged_answers_are_counted_and_spoil_nothing() {
    let kem = KemPair::generate().expect("keys");
    let (mut greeting, message) = make(&kem, 1);
    let meetings = answer(&kem, &message).expect("an introduction");
    let mut forged = meetings[0].answer;
    forged[40] ^= 1;
    for _ in 0..15 {
        assert!(matches!(greeting.read(0, &forged), Err(AnswerError::Refused)));
    }
    assert!(greeting.read(0, &meetings[0].answer).is_ok());
    assert!(matches!(greeting.read(0, &meetings[0].answer), Err(AnswerError::Unawaited)));
}

#[test]
fn a_rendezvous_point_that_knows_the_seed_still_makes_no_answer() {
    let kem = KemPair::generate().expect("keys");
    let (mut greeting, message) = make(&kem, 1);
    let mut forged = [0x33; SECOND_LEN].to_vec();
    once_seal(&mut forged);
    assert!(matches!(greeting.read(0, &forged), Err(AnswerError::Refused)), "Noise refuses it");
    let meetings = answer(&kem, &message).expect("an introduction");
    assert!(greeting.read(0, &meetings[0].answer).is_ok(), "a failed read keeps the handshake");
}

fn once_seal(bytes: &mut Vec<u8>) {
    crate::once::seal(&answer_key(&[0x77; 32], 0), bytes);
}

#[test]
fn payloads_that_make_no_sense_are_refused() {
    let good = payload(2).encode();
    let decode = |place: usize, value: u8| {
        let mut bent = good;
        bent[place] = value;
        Payload::decode(&bent).map(|payload| payload.relays.len())
    };
    assert_eq!(decode(1, 7), Ok(2), "what is zero is not looked at");
    assert_eq!(decode(0, 0), Err(ReadError::Range));
    assert_eq!(decode(0, 9), Err(ReadError::Range));
    assert_eq!(decode(0, 4), Err(ReadError::Range), "the third and the fourth are the same relay");
    let mut twice = payload(2);
    twice.relays[1] = twice.relays[0];
    assert!(Payload::decode(&twice.encode()).is_err(), "one relay twice");
}

#[test]
fn an_introduction_fits_into_two_cells() {
    assert_eq!((INTRODUCTION_LEN, ANSWER_LEN), (1472, 64));
}
