use super::*;
use crate::layer::Position;
use wire::packet::PacketSize;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn network(byte: u8) -> Network {
    Network { id: [byte; 32], packet_size: PacketSize::DEFAULT }
}

fn secret(byte: u8) -> OnionSecret {
    OnionSecret::from_bytes([byte; 32])
}

fn spec(byte: u8, interval: u64) -> RelaySpec {
    RelaySpec { node_id: NodeId([0x0b; 32]), onion_key: secret(byte).onion_key(), interval: Interval(interval) }
}

fn hello() -> Hello {
    Hello::new(Position::new(2).expect("one of three"), Features(6))
}

fn keys() -> OnionKeys {
    OnionKeys::new(Interval(7), secret(3))
}

/// A relay that has features 2 and 3 answers.
fn reply(first: &[u8]) -> Result<Answer, HandshakeError> {
    answer(&network(0x0a), &NodeId([0x0b; 32]), &keys(), Features(3), [5; 32], first)
}

fn begin() -> (Initiation, [u8; FIRST_LEN]) {
    Initiation::begin(&network(0x0a), &spec(3, 7), &hello(), [4; 32]).expect("a first message")
}

/// A lasting key answers a first hop and no other, and only where there is one.
#[test]
fn a_lasting_key_is_for_a_single_hop() {
    let keys = keys().with_lasting(Some(secret(8)));
    let answer = |keys: &OnionKeys, first: &[u8]| {
        let answered = answer(&network(0x0a), &NodeId([0x0b; 32]), keys, Features(3), [5; 32], first);
        answered.map(|answer| (answer.is_lasting, answer.second))
    };
    let begin = |number: u8, key: u8, interval| {
        let hello = Hello::new(Position::new(number).expect("one of three"), Features(6));
        Initiation::begin(&network(0x0a), &spec(key, interval), &hello, [4; 32]).expect("a first message")
    };
    let (mut client, first) = begin(1, 8, u64::MAX);
    let (is_lasting, second) = answer(&keys, &first).expect("its one key");
    assert!(is_lasting && client.finish(&second).is_ok());
    assert_eq!(answer(&self::keys(), &first), Err(HandshakeError::Interval), "it has none");
    assert_eq!(answer(&keys, &begin(2, 8, u64::MAX).1), Err(HandshakeError::Interval), "as a further hop");
    assert_eq!(answer(&keys, &begin(1, 3, u64::MAX).1), Err(HandshakeError::Refused), "the key of an interval");
    assert_eq!(answer(&keys, &begin(1, 8, 7).1), Err(HandshakeError::Refused), "as the key of an interval");
    assert!(answer(&keys, &begin(2, 3, 7).1).is_ok_and(|(is_lasting, _)| !is_lasting));
}

#[test]
fn the_lengths_are_those_of_the_specification() {
    assert_eq!((FIRST_LEN, SECOND_LEN), (1256, 1152));
}

/// The vector of docs/spec/onion.md: both messages and the keys, from fixed ephemerals, KEM key, secret and ciphertext.
/// Made by an independent implementation (Python, `hmac` and `cryptography`).
#[test]
fn the_transcript_is_that_of_the_specification() {
    let (network, spec) = (network(0x0a), spec(3, 7));
    let mut client = client_noise(&network, &spec, [4; 32]).expect("a client");
    let first = write_first(&mut client, spec.interval, &[0x44; KEM_KEY_LEN], &hello()).expect("message 1");
    assert_eq!(hex(&sha256(&first)), "36330f3466d8942e749352db1f2d83841af609618852c9f9587d36249b42e551");

    let relay = relay_noise(&network, &spec.node_id, spec.interval, &secret(3), [5; 32]);
    let mut relay = relay.expect("a relay");
    let (kem_key, read) = read_first(&mut relay, &first[INTERVAL_LEN..]).expect("message 1");
    assert_eq!((kem_key, read), ([0x44; KEM_KEY_LEN], Some(hello())));
    let (psk, welcome) = (
        psk(&[0x66; 32], &sha256(&[0x44; KEM_KEY_LEN]), &[0x55; KEM_CIPHERTEXT_LEN]),
        hello().answer(Features(3)).expect("a common version").welcome,
    );
    let mut second = [0; SECOND_LEN - KEM_CIPHERTEXT_LEN];
    let theirs = write_second(&mut relay, &psk, &welcome, &mut second).expect("message 2");
    assert_eq!(
        hex(&second),
        "50a61409b1ddd0325e9b16b700e719e9772c07000b1bd7786e907c653d20495d\
         266edc59cda418884278a7759442f9e7afd8f42082c0e1b5c4ecaef48ee0b448"
    );
    let (ours, heard) = read_second(&mut client, &psk, &second).expect("message 2");
    assert_eq!(heard, welcome);
    for raw in [ours, theirs] {
        assert_eq!(hex(&*raw.initiator), "e3969d685df19c5907756a2ba8e58c2f73ea69d142db4b4058afe1432e33a122");
        assert_eq!(hex(&*raw.responder), "c1b91219a05c92d87948d4478158c187472f42aaa3d2ea28979db7de0b5889d4");
    }
}

#[test]
fn both_ends_get_the_same_keys_and_terms() {
    let (mut client, first) = begin();
    let answer = reply(&first).expect("an answer");
    let (theirs, answered) = answer.agreed.expect("a common version");
    let (ours, welcome) = client.finish(&answer.second).expect("the relay's answer");
    assert_eq!(answered.position.number(), 2);
    assert_eq!(welcome, answered.welcome);
    assert_eq!((welcome.version, welcome.features), (1, Features(2)));
    assert_eq!((&ours.forward.traffic, ours.forward.start), (&theirs.forward.traffic, theirs.forward.start));
    assert_eq!((&ours.backward.traffic, ours.backward.start), (&theirs.backward.traffic, theirs.backward.start));
    assert_eq!(ours.binding.expose(), theirs.binding.expose());
    assert_ne!(ours.forward.traffic, ours.backward.traffic);
}

#[test]
fn two_handshakes_have_nothing_in_common() {
    let key_of = |ephemeral: u8| {
        let begun = Initiation::begin(&network(0x0a), &spec(3, 7), &hello(), [ephemeral; 32]);
        let (mut client, first) = begun.expect("a first message");
        let answer = reply(&first).expect("an answer");
        client.finish(&answer.second).expect("the relay's answer").0.forward.traffic
    };
    // The same ephemeral X25519 keys on purpose: the KEM alone must make the difference.
    assert_ne!(key_of(4), key_of(4));
}

#[test]
fn an_altered_byte_of_either_message_is_refused() {
    let (mut client, first) = begin();
    for place in (0..FIRST_LEN).step_by(31).chain([FIRST_LEN - 1]) {
        let mut bent = first;
        bent[place] ^= 1;
        assert!(reply(&bent).is_err(), "byte {place} of the first message");
    }
    let second = reply(&first).expect("an answer").second;
    for place in [0, KEM_CIPHERTEXT_LEN - 1, KEM_CIPHERTEXT_LEN, SECOND_LEN - 17, SECOND_LEN - 1] {
        let mut bent = second;
        bent[place] ^= 1;
        assert_eq!(client.finish(&bent).err(), Some(HandshakeError::Refused), "byte {place} of the second message");
    }
    assert!(!client.is_spent());
    assert!(client.finish(&second).is_ok(), "a failed read keeps the handshake");
}

#[test]
fn tries_are_counted() {
    let (mut client, _) = begin();
    for _ in 0..READS_MAX {
        assert!(!client.is_spent());
        assert_eq!(client.finish(&[7; SECOND_LEN]).err(), Some(HandshakeError::Refused));
    }
    assert!(client.is_spent());
}

#[test]
fn another_relay_network_interval_or_key_is_refused() {
    let (_, first) = begin();
    let refused = |network: &Network, node: u8, keys: &OnionKeys, first: &[u8]| {
        answer(network, &NodeId([node; 32]), keys, Features(3), [5; 32], first).err()
    };
    assert_eq!(refused(&network(0x0a), 0x0b, &keys(), &first), None);
    assert_eq!(refused(&network(0x0c), 0x0b, &keys(), &first), Some(HandshakeError::Refused));
    assert_eq!(refused(&network(0x0a), 0x0c, &keys(), &first), Some(HandshakeError::Refused));
    let other_key = OnionKeys::new(Interval(7), secret(9));
    assert_eq!(refused(&network(0x0a), 0x0b, &other_key, &first), Some(HandshakeError::Refused));
    let other_interval = OnionKeys::new(Interval(8), secret(3));
    assert_eq!(refused(&network(0x0a), 0x0b, &other_interval, &first), Some(HandshakeError::Interval));
    let mut moved = first;
    moved[7] = 8;
    assert_eq!(refused(&network(0x0a), 0x0b, &other_interval, &moved), Some(HandshakeError::Refused));
    for length in [0, 8, FIRST_LEN - 1] {
        assert_eq!(refused(&network(0x0a), 0x0b, &keys(), &first[..length]), Some(HandshakeError::Length));
    }
}

#[test]
fn a_relay_without_a_common_version_says_so() {
    let hello = hello().with_versions((2, 3));
    let begun = Initiation::begin(&network(0x0a), &spec(3, 7), &hello, [4; 32]);
    let (mut client, first) = begun.expect("a first message");
    let answer = reply(&first).expect("an answer");
    assert!(answer.agreed.is_none());
    let (_, welcome) = client.finish(&answer.second).expect("the relay's answer");
    assert!(welcome.refused && !welcome.is_accepted(Features(6)));
}
