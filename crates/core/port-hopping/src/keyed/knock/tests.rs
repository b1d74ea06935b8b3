use super::*;
use crate::keyed::WINDOW;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const TIME: Duration = Duration::from_secs(1_800_000_010);
const COUNTS: PairCounts = PairCounts { received: 5, sent: (1 << 48) - 1 };
const TRY: Knock = Knock { flow: FlowId(*b"12345678"), purpose: Purpose::Try };

fn keys(seed: u8) -> KnockKeys {
    KnockKeys::new(&HopKey::from_bytes([seed; 32]))
}

#[test]
fn a_knock_is_understood_and_its_answer_too() {
    let (mut client, mut server, mut rng) = (keys(1), keys(1), ChaCha20Rng::seed_from_u64(1));
    for purpose in [Purpose::Try, Purpose::Take, Purpose::Count(1), Purpose::Count(u64::MAX)] {
        let knock = Knock { purpose, ..TRY };
        let sealed = client.seal_knock(TIME, knock, &mut rng);
        let (read, window, nonce) = server.open_knock(TIME, &sealed.datagram).expect("the same key");
        assert_eq!((read, window), (knock, Window::at(TIME)));
        let answer = server.seal_answer(TIME, (window, nonce), sealed.datagram.len(), COUNTS, &mut rng);
        assert!(answer.len() <= sealed.datagram.len(), "nobody gains by a spoofed knock");
        assert_eq!(client.open_answer(&sealed, &answer), Some(Answer { server_unix: TIME, counts: COUNTS }));
        let other = client.seal_knock(TIME, knock, &mut rng);
        assert_eq!(client.open_answer(&other, &answer), None, "an answer belongs to one knock");
    }
}

#[test]
fn numbers_belong_to_counts_alone() {
    for (purpose, number) in [(0, 1), (1, 1), (2, 0), (3, 0), (3, 1), (255, 1)] {
        assert_eq!(Purpose::from_fields(purpose, number), None, "{purpose} {number}");
    }
}

#[test]
fn a_clock_may_be_wrong_by_one_window_and_not_by_two() {
    let (mut client, mut server, mut rng) = (keys(1), keys(1), ChaCha20Rng::seed_from_u64(2));
    let knock = client.seal_knock(TIME, TRY, &mut rng).datagram;
    for (offset, understood) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
        let time = Duration::from_secs(1_800_000_010u64.saturating_add_signed(offset * 30));
        assert_eq!(server.open_knock(time, &knock).is_some(), understood, "{offset}");
    }
    // Whatever times were asked for before, the keys are right, and few of them are kept.
    for step in 0..100 {
        assert!(server.open_knock(TIME + WINDOW * step, &[0; 100]).is_none());
        assert!(server.cached.len() <= 5);
    }
    assert!(server.open_knock(TIME, &knock).is_some());
}

#[test]
fn another_key_another_direction_and_every_changed_bit_are_refused() {
    let (mut client, mut server, mut rng) = (keys(1), keys(1), ChaCha20Rng::seed_from_u64(3));
    let sealed = client.seal_knock(TIME, TRY, &mut rng);
    assert_eq!(keys(2).open_knock(TIME, &sealed.datagram), None);
    let answer = server.seal_answer(TIME, (sealed.window, sealed.nonce), KNOCK_LEN_MAX, COUNTS, &mut rng);
    assert_eq!(server.open_knock(TIME, &answer), None);
    assert_eq!(client.open_answer(&sealed, &sealed.datagram), None);
    for place in 0..sealed.datagram.len() {
        for bit in 0..8 {
            let mut changed = sealed.datagram.clone();
            changed[place] ^= 1 << bit;
            assert_eq!(server.open_knock(TIME, &changed), None, "byte {place} bit {bit}");
        }
        assert_eq!(server.open_knock(TIME, &sealed.datagram[..place]), None);
    }
}

#[test]
fn knocks_look_random_in_every_byte_and_have_all_lengths() {
    let (mut client, mut server, mut rng) = (keys(1), keys(1), ChaCha20Rng::seed_from_u64(4));
    let mut ones = [0u32; ANSWER_LEN_MIN * 8];
    let mut lengths = std::collections::BTreeSet::new();
    let mut heads = std::collections::BTreeSet::new();
    const COUNT: u32 = 4_000;
    for number in 0..COUNT {
        let sealed = client.seal_knock(TIME, TRY, &mut rng);
        let answer = server.seal_answer(TIME, (sealed.window, sealed.nonce), sealed.datagram.len(), COUNTS, &mut rng);
        lengths.insert(sealed.datagram.len());
        let datagram = if number % 2 == 0 { sealed.datagram } else { answer };
        heads.insert(datagram[..8].to_vec());
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(datagram[bit / 8] >> (bit % 8) & 1);
        }
    }
    assert_eq!(lengths.iter().copied().collect::<Vec<_>>(), (KNOCK_LEN_MIN..=KNOCK_LEN_MAX).collect::<Vec<_>>());
    assert_eq!(heads.len(), COUNT as usize, "no two begin alike");
    // Standard deviation 31.6; 416 bits at 5.5 of them have a false alarm in 63,000 seeds.
    assert!(ones.iter().all(|count| count.abs_diff(COUNT / 2) < 174), "{ones:?}");
}

proptest! {
    #[test]
    fn random_bytes_are_no_knock(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut client, mut server, mut rng) = (keys(1), keys(1), ChaCha20Rng::seed_from_u64(5));
        prop_assert_eq!(server.open_knock(TIME, &bytes), None);
        let sealed = client.seal_knock(TIME, TRY, &mut rng);
        prop_assert_eq!(client.open_answer(&sealed, &bytes), None);
    }
}
