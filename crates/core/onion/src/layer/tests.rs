use super::*;
use crate::schedule::{HopKeys, test_keys};
use packet_crypto::filler::Filler;
use packet_crypto::keys::sha256;
use proptest::prelude::*;
use wire::packet::PacketSize;

const REGION: usize = 1313;

fn position(number: u8) -> Position {
    Position::new(number).expect("one of three")
}

fn keys(number: u8) -> HopKeys {
    test_keys(0x10 * number + 1, 0x10 * number + 2)
}

/// A client and the relays of a circuit of so many hops.
fn circuit(hops: u8) -> (ClientLayers, Vec<RelayLayers>) {
    let mut client = ClientLayers::default();
    let relays = (1..=hops).map(|number| {
        client.push(&keys(number));
        RelayLayers::new(&keys(number), position(number), REGION)
    });
    let relays = relays.collect();
    (client, relays)
}

fn filler() -> Filler {
    Filler::new(&[9; 16])
}

fn inner() -> Vec<u8> {
    (0..inner_len(REGION)).map(|place| place as u8).collect()
}

/// A cell of the client for its last hop.
fn client_cell(client: &mut ClientLayers) -> Vec<u8> {
    let mut region = vec![0; REGION];
    region[CLIENT_INNER..].copy_from_slice(&inner());
    let last = client.last().expect("a hop");
    client.seal(last, false, &mut region).expect("a fresh key");
    region
}

/// A cell of the last relay, as it comes to the client.
fn relay_cell(relays: &mut [RelayLayers]) -> Vec<u8> {
    let mut region = vec![0; REGION];
    let (last, before) = relays.split_last_mut().expect("a hop");
    region[last.inner()].copy_from_slice(&inner());
    last.seal(&mut region, false, &mut filler()).expect("a fresh key");
    for relay in before.iter_mut().rev() {
        relay.pass_back(&mut region, &mut filler()).expect("a fresh key");
    }
    region
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The vectors of docs/spec/onion.md, made by an independent implementation (Python, `cryptography`).
#[test]
fn cells_are_those_of_the_specification() {
    let (mut client, mut relays) = circuit(3);
    let cell = client_cell(&mut client);
    assert_eq!(hex(&cell[..24]), "c07a0e166dc95beea6ddb9326ce1e9cb11d3e964d015f3f9");
    assert_eq!(hex(&sha256(&cell)), "32e379ceb15776529c5f9134a64049df009fec007d19f2428173f68dc7526d71");
    let mut truncate = vec![0; REGION];
    truncate[48..53].copy_from_slice(&[3, 0, 0, 0, 1]);
    client.seal(position(2), true, &mut truncate).expect("a fresh key");
    assert_eq!(hex(&sha256(&truncate)), "365ccc7218f7029d1359bb444b42d8917ae1be8462d633b7eda3237097440d0b");
    let back = relay_cell(&mut relays);
    assert_eq!(hex(&back[..24]), "9cc9c11facb62e527e976ca97c46609eecb82a651b848f61");
    assert_eq!(hex(&sha256(&back)), "7ec2e6dec51b5c46706f31b4dbbe130ccedd31c8c66a7f8f4b25733cae239d88");
}

#[test]
fn cells_of_every_length_of_circuit_go_both_ways() {
    for hops in 1..=3 {
        let (mut client, mut relays) = circuit(hops);
        for _ in 0..3 {
            let mut cell = client_cell(&mut client);
            for (index, relay) in relays.iter_mut().enumerate() {
                assert!(!relay.open(&mut cell).expect("the client's cell").addressed);
                if index + 1 < usize::from(hops) {
                    relay.pass_on(&mut cell, &mut filler());
                }
            }
            let last = &relays[usize::from(hops) - 1];
            assert_eq!(cell[last.inner()], inner());
            let mut back = relay_cell(&mut relays);
            let taken = client.open(&mut back).expect("the relay's cell");
            assert_eq!((taken.hop, taken.addressed), (position(hops), false));
            assert_eq!(back[CLIENT_INNER..], inner());
        }
    }
}

#[test]
fn a_control_message_goes_to_and_comes_from_any_hop() {
    for hop in 1..=3u8 {
        let (mut client, mut relays) = circuit(3);
        let mut cell = vec![0; REGION];
        cell[position(hop).client_body()] = 77;
        client.seal(position(hop), true, &mut cell).expect("a fresh key");
        for number in 1..=hop {
            let relay = &mut relays[usize::from(number) - 1];
            assert_eq!(relay.open(&mut cell).expect("the client's cell").addressed, number == hop);
            if number < hop {
                relay.pass_on(&mut cell, &mut filler());
            }
        }
        assert_eq!(cell[24], 77);

        let mut back = vec![0; REGION];
        back[24] = 78;
        let (before, own) = relays.split_at_mut(usize::from(hop) - 1);
        own[0].seal(&mut back, true, &mut filler()).expect("a fresh key");
        for relay in before.iter_mut().rev() {
            relay.pass_back(&mut back, &mut filler()).expect("a fresh key");
        }
        let taken = client.open(&mut back).expect("the relay's cell");
        assert_eq!((taken.hop, taken.addressed), (position(hop), true));
        assert_eq!(back[position(hop).client_body()], 78);
    }
}

/// Every bit of a cell, altered before each hop: the hop that comes next refuses it, unless the bit lies behind its layer,
/// and then nothing of it goes on.
#[test]
fn an_altered_bit_dies_at_the_next_honest_hop() {
    let (mut client, relays) = circuit(3);
    let cell = client_cell(&mut client);
    let mut arriving = vec![cell];
    for (index, mut relay) in relays.into_iter().enumerate() {
        let end = position(index as u8 + 1).layer_len(REGION);
        let cell = arriving[index].clone();
        for place in 0..REGION {
            for bit in 0..8 {
                let mut bent = cell.clone();
                bent[place] ^= 1 << bit;
                if place < end {
                    let refused = relay.open(&mut bent).expect_err("an altered layer");
                    // A number far off is refused before the tag is looked at; none is taken for one that came.
                    assert_eq!(refused, OpenError::Forged, "hop {index} byte {place} bit {bit}");
                }
            }
        }
        // What lies behind the layer is not authenticated, and does not get through.
        let mut marked = cell.clone();
        marked[end..].fill(0x5a);
        let mut plain = cell;
        relay.open(&mut plain).expect("the cell that nobody altered");
        let mut fresh = RelayLayers::new(&keys(index as u8 + 1), position(index as u8 + 1), REGION);
        fresh.open(&mut marked).expect("the layer itself is whole");
        relay.pass_on(&mut plain, &mut filler());
        fresh.pass_on(&mut marked, &mut filler());
        assert_eq!(plain, marked, "a mark behind the layer of hop {index} went through");
        arriving.push(plain);
    }
}

#[test]
fn an_altered_bit_of_an_answer_dies_at_the_client() {
    let (mut client, mut relays) = circuit(3);
    // Altered between the third and the second relay, and sealed into their layers by two honest ones.
    for place in (0..REGION).step_by(7) {
        let mut region = vec![0; REGION];
        relays[2].seal(&mut region, false, &mut filler()).expect("a fresh key");
        region[place] ^= 1;
        relays[1].pass_back(&mut region, &mut filler()).expect("a fresh key");
        relays[0].pass_back(&mut region, &mut filler()).expect("a fresh key");
        let within = place < position(3).layer_len(REGION);
        assert_eq!(client.open(&mut region).is_err(), within, "byte {place}");
    }
    let back = relay_cell(&mut relays);
    for place in 0..REGION {
        let mut bent = back.clone();
        bent[place] ^= 0x10;
        assert!(matches!(client.open(&mut bent), Err(TakeError::Layer(_))), "byte {place}");
    }
    assert!(client.open(&mut back.clone()).is_ok(), "the cell that nobody altered");
}

#[test]
fn each_cell_is_taken_once() {
    let (mut client, mut relays) = circuit(2);
    let cell = client_cell(&mut client);
    assert!(relays[0].open(&mut cell.clone()).is_ok());
    assert_eq!(relays[0].open(&mut cell.clone()), Err(OpenError::Replayed));
    // A first hop that replays under a fresh layer of its own gets no farther than the second.
    let mut first = cell;
    let mut dishonest = RelayLayers::new(&keys(1), position(1), REGION);
    dishonest.open(&mut first).expect("its own layer");
    dishonest.pass_on(&mut first, &mut filler());
    assert!(relays[1].open(&mut first.clone()).is_ok());
    assert_eq!(relays[1].open(&mut first), Err(OpenError::Replayed));
}

#[test]
fn no_two_hops_see_the_same_number() {
    let (mut client, mut relays) = circuit(3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let mut cell = client_cell(&mut client);
        for relay in &mut relays {
            assert!(seen.insert(cell[..8].to_vec()));
            relay.open(&mut cell).expect("the client's cell");
            relay.pass_on(&mut cell, &mut filler());
        }
    }
}

#[test]
fn a_key_stops_at_its_limit() {
    let mut key = SealKey::new(&keys(1).forward).with_sealed(LAYER_CELLS_MAX - 1);
    let mut layer = [0; 100];
    assert_eq!(key.seal(&mut layer, false), Ok(()));
    assert_eq!(key.seal(&mut layer, false), Err(WornOut));
    let opened = OpenKey::new(&keys(1).forward).open(&mut layer);
    assert_eq!(opened.map(|opened| opened.number), Ok(LAYER_CELLS_MAX - 1), "what was refused is as it was");
}

#[test]
fn a_number_beyond_the_limit_is_refused_even_if_it_authenticates() {
    let keys = keys(1);
    for number in [LAYER_CELLS_MAX, 1 << 40, ADDRESSED - 1] {
        let mut key = SealKey::new(&keys.forward);
        key.start = keys.forward.start.wrapping_add(number);
        let mut layer = [0; 100];
        key.seal(&mut layer, false).expect("a fresh key");
        assert_eq!(OpenKey::new(&keys.forward).open(&mut layer), Err(OpenError::Forged), "{number}");
    }
}

#[test]
fn the_inner_part_has_one_length() {
    for bytes in [u32::from(PacketSize::MIN), 1350, u32::from(PacketSize::MAX)] {
        let region = PacketSize::new(bytes).expect("in the range").region();
        for number in 1..=3 {
            let inner = position(number).inner(region);
            assert_eq!(inner.len(), region - 72);
            assert!(position(number).body(region).start <= inner.start);
        }
    }
}

/// A million cells of which a tenth is lost and the others overtake each other within the window: what comes is taken, once.
#[test]
fn a_million_cells_with_losses_and_overtaking_are_each_taken_once() {
    let (mut client, mut relay) = (SealKey::new(&keys(1).forward), OpenKey::new(&keys(1).forward));
    let (mut under_way, mut dice) = (Vec::new(), 1_u64);
    let mut draw = |below: usize| {
        // An old generator is random enough to lose and to shuffle.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % below
    };
    let (mut sent, mut came) = (0_u64, 0_u64);
    for _ in 0..1_000_000 {
        let mut cell = vec![0; 64];
        client.seal(&mut cell, false).expect("a fresh key");
        if draw(10) > 0 {
            under_way.push(cell);
            sent += 1;
        }
        if under_way.len() > 64 {
            let mut late = under_way.swap_remove(draw(under_way.len()));
            let mut again = late.clone();
            came += u64::from(relay.open(&mut late).is_ok());
            assert_eq!(relay.open(&mut again), Err(OpenError::Replayed));
        }
    }
    let left = under_way.into_iter().filter_map(|mut cell| relay.open(&mut cell).ok()).count() as u64;
    assert_eq!(came + left, sent);
}

proptest! {
    /// Any order, loss and doubling of cells at each hop: what comes out is what went in, each at most once.
    #[test]
    fn reordered_cells_come_through_once(
        hops in 1u8..=3,
        order in proptest::collection::vec(0usize..40, 1..80),
    ) {
        let (mut client, mut relays) = circuit(hops);
        let cells: Vec<Vec<u8>> = (0..40u8).map(|number| {
            let mut region = vec![number; REGION];
            let last = client.last().expect("a hop");
            client.seal(last, false, &mut region).expect("a fresh key");
            region
        }).collect();
        let mut came = std::collections::BTreeSet::new();
        for index in order {
            let mut cell = cells[index].clone();
            let mut through = true;
            for relay in &mut relays {
                through = through && relay.open(&mut cell).is_ok();
                if relay.position() != position(hops) {
                    relay.pass_on(&mut cell, &mut filler());
                }
            }
            prop_assert_eq!(through, came.insert(index));
            if through {
                let inner = &cell[position(hops).inner(REGION)];
                prop_assert!(inner.iter().all(|byte| usize::from(*byte) == index));
            }
        }
    }
}
