use super::*;
use crate::address::ServiceAddress;
use crate::day::{DAY_MS, Day, blinding_factor};
use crate::vectors::hex;
use identity::NodeSecret;
use packet_crypto::keys::sha256;
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId([0x0a; 32]);
const LABEL: Label = Label { revision: 5, expires_ms: 6 };

fn day() -> DayKey {
    DayKey::new(NETWORK, ServiceAddress([0x0b; 32]), Day(20_000), [0x0c; 32])
}

fn descriptor() -> Descriptor {
    let point =
        |first: u8| IntroductionPoint { relay: NodeId([first; 32]), name: [first + 1; 32], key: [first + 2; 32] };
    Descriptor {
        points: vec![point(0x0e), point(0x11)],
        kem_key: Box::new([0x44; KEM_KEY_LEN]),
        work_bits: 12,
        features: 6,
        cookie: Zeroizing::new([0x0d; 32]),
    }
}

fn client(byte: u8) -> AccessSecret {
    AccessSecret::from_bytes([byte; 32])
}

fn seal(clients: &[AccessKey], seed: u8) -> Vec<u8> {
    descriptor().seal(&day(), LABEL, clients, &mut |bytes| bytes.fill(seed)).expect("keys of clients")
}

/// The vectors of docs/spec/onion-service.md: all randomness is 5a.
#[test]
fn contents_are_those_of_the_specification() {
    assert_eq!(hex(day().subcredential()), "83e3cc77f95540c9673b8fceab4e2ad43400d7cf8fc265f9bafcbc7424be0671");
    let factor = blinding_factor(NETWORK, ServiceAddress([0x0b; 32]), Day(20_000));
    assert_eq!(hex(&factor), "29efd1c04c967f5bba9e630f7122b39db249ee1f8bb14fd2552558e548c16d73");
    let open = seal(&[], 0x5a);
    assert_eq!(hex(&sha256(&open)), "0fd8ed97ecd62f6900b25264ea2ff2a1901484f6c90fabca8f573e3e21d60c62");
    let closed = seal(&[client(0x21).access_key(), client(0x22).access_key()], 0x5a);
    assert_eq!(hex(&sha256(&closed)), "6b04d980500a7a7aeb79d00bef8dad7cd8e4b3c60446eafe28fd6cb6ca110b4e");
    assert_eq!((open.len(), closed.len()), (CONTENT_LEN, CONTENT_LEN));
}

#[test]
fn an_open_record_opens_for_whoever_knows_the_address_and_day() {
    let content = seal(&[], 1);
    assert_eq!(Descriptor::open_content(&day(), LABEL, &content, None), Ok(descriptor()));
    assert_eq!(Descriptor::open_content(&day(), LABEL, &content, Some(&client(3))), Ok(descriptor()));
    let others = [
        DayKey::new(NetworkId([9; 32]), ServiceAddress([0x0b; 32]), Day(20_000), [0x0c; 32]),
        DayKey::new(NETWORK, ServiceAddress([9; 32]), Day(20_000), [0x0c; 32]),
        DayKey::new(NETWORK, ServiceAddress([0x0b; 32]), Day(20_001), [0x0c; 32]),
        DayKey::new(NETWORK, ServiceAddress([0x0b; 32]), Day(20_000), [9; 32]),
    ];
    for other in others {
        assert_eq!(Descriptor::open_content(&other, LABEL, &content, None), Err(OpenError::Other));
    }
    for label in [Label { revision: 4, ..LABEL }, Label { expires_ms: 7, ..LABEL }] {
        assert_eq!(Descriptor::open_content(&day(), label, &content, None), Err(OpenError::Other));
    }
}

#[test]
fn a_closed_record_opens_for_its_clients_alone_however_many_there_are() {
    for count in 1..=CLIENTS_MAX as u8 {
        let keys: Vec<_> = (1..=count).map(|byte| client(byte).access_key()).collect();
        let content = seal(&keys, 77);
        assert_eq!(content.len(), CONTENT_LEN);
        for byte in 1..=count {
            assert_eq!(Descriptor::open_content(&day(), LABEL, &content, Some(&client(byte))), Ok(descriptor()));
        }
        let stranger = client(count + 1);
        assert_eq!(Descriptor::open_content(&day(), LABEL, &content, Some(&stranger)), Err(OpenError::Authorisation));
        assert_eq!(Descriptor::open_content(&day(), LABEL, &content, None), Err(OpenError::Authorisation));
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    assert!(!is_usable(&AccessKey([0; 32])));
    assert!(is_usable(&client(1).access_key()));
    let sealed = descriptor().seal(&day(), LABEL, &[AccessKey([0; 32])], &mut |bytes| bytes.fill(1));
    assert_eq!(sealed, Err(AccessKeyError));
}

#[test]
fn a_record_is_checked_before_it_is_opened() {
    let owner = NodeSecret::from_seed([1; 32]);
    let day = DayKey::new(NETWORK, ServiceAddress([2; 32]), Day(20_000), owner.node_id().0);
    let now = 20_000 * DAY_MS;
    let label = Label { revision: 1, expires_ms: now + 1 };
    let content = descriptor().seal(&day, label, &[], &mut |bytes| bytes.fill(3)).expect("a content");
    let mut record = unsigned(&day, label, content);
    let open = |record: &ServiceRecord, at| Descriptor::open(NETWORK, &day, record, at, None);
    assert_eq!(open(&record, now), Err(OpenError::Signature));
    record.signature = owner.sign(&record.message(NETWORK));
    assert_eq!(open(&record, now), Ok(descriptor()));
    assert_eq!(open(&record, now + 1), Err(OpenError::Expired));
    assert_eq!(open(&ServiceRecord { key: [9; 32], ..record.clone() }, now), Err(OpenError::Other));
    assert_eq!(open(&ServiceRecord { revision: 2, ..record.clone() }, now), Err(OpenError::Signature));
    let elsewhere = Descriptor::open(NetworkId([8; 32]), &day, &record, now, None);
    assert_eq!(elsewhere, Err(OpenError::Signature));
    for length in [0, 15, CONTENT_LEN - 1] {
        let mut cut = ServiceRecord { content: record.content[..length].to_vec(), ..record.clone() };
        cut.signature = owner.sign(&cut.message(NETWORK));
        assert_eq!(open(&cut, now), Err(OpenError::Malformed));
    }
}

#[test]
fn insides_that_make_no_sense_are_refused() {
    let good = descriptor().encode();
    assert_eq!(good.len(), INNER_LEN);
    let decode = |place: usize, value: u8| {
        let mut bent = good.clone();
        bent[place] = value;
        Descriptor::decode(&bent, Zeroizing::new([0x0d; 32]))
    };
    for (place, value) in [(0, 2), (1, WORK_BITS_MAX + 1), (2, 0), (2, 7)] {
        assert_eq!(decode(place, value), Err(OpenError::Malformed), "{value} at {place}");
    }
    assert_eq!(decode(3, 1), Ok(descriptor()), "what is zero is not looked at");
    assert_eq!(format!("{:?}", descriptor()), "Descriptor(2 points, 12 bits, ..)");
}

proptest! {
    #[test]
    fn descriptors_survive_a_round_trip(count in 1..=POINTS_MAX, bytes in any::<[u8; 32]>(), work_bits in 0..=WORK_BITS_MAX, features: u32, closed: bool) {
        let points = (0..count as u8).map(|number| IntroductionPoint { relay: NodeId([number; 32]), name: bytes, key: bytes });
        let made = Descriptor {
            points: points.collect(),
            kem_key: Box::new([bytes[0]; KEM_KEY_LEN]),
            work_bits,
            features,
            cookie: Zeroizing::new(bytes),
        };
        let clients = if closed { vec![client(4).access_key()] } else { Vec::new() };
        let content = made.seal(&day(), LABEL, &clients, &mut |out| out.fill(bytes[1])).expect("a content");
        let opened = Descriptor::open_content(&day(), LABEL, &content, Some(&client(4)));
        prop_assert_eq!(opened, Ok(made));
    }

    #[test]
    fn one_altered_bit_opens_nothing(place in 0..CONTENT_LEN, bit in 0..8) {
        let mut content = seal(&[], 9);
        content[place] ^= 1u8 << bit;
        prop_assert_eq!(Descriptor::open_content(&day(), LABEL, &content, None), Err(OpenError::Other));
    }
}
