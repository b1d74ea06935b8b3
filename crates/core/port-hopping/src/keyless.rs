//! Ports without a key, for a peer that knows nothing of hops: all ports of a set in random order, over and over; and
//! whether they bring anything back.

mod watch;

pub use watch::{NEXT_TRY_AFTER, SILENCE, SILENCE_SENT_MIN, Verdict, Watch};

use crate::ports::PortSet;
use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use rand_chacha::rand_core::Rng;
use std::collections::VecDeque;
use std::fmt;

/// Most ports that are kept from coming again when a new round begins. Half of the set, if that is less.
pub const RECENT_MAX: usize = 64;

/// Walks a set of ports: each port once a round, in an order that is random and unlike those of other walks. A port
/// never comes again before [`RECENT_MAX`] others (or half of the set) have come, the change of rounds included.
///
/// The order is a permutation made by a cipher, not a shuffled list: a walk needs less than 1 kB however large its set is.
pub struct Walk {
    ports: PortSet,
    order: Order,
    /// Next place in the order.
    place: u32,
    /// The newest ports, newest last.
    recent: VecDeque<u16>,
    /// Ports of this round that came too soon after the last; at most as many as `recent` can hold.
    put_off: VecDeque<u16>,
}

impl Walk {
    /// A walk over `ports`. `rng` is a cryptographic generator with a seed of its own for each walk.
    pub fn new(ports: PortSet, rng: &mut impl Rng) -> Self {
        let order = Order::draw(ports.len(), rng);
        Self { ports, order, place: 0, recent: VecDeque::new(), put_off: VecDeque::new() }
    }

    /// The next port.
    pub fn next_port(&mut self, rng: &mut impl Rng) -> u16 {
        let port = self.choose(rng);
        self.recent.push_back(port);
        if self.recent.len() > self.recent_max() {
            self.recent.pop_front();
        }
        port
    }

    /// The ports that are walked over.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    fn recent_max(&self) -> usize {
        RECENT_MAX.min(usize::try_from(self.ports.len() / 2).unwrap_or(RECENT_MAX))
    }

    fn choose(&mut self, rng: &mut impl Rng) -> u16 {
        loop {
            if let Some(port) = self.put_off.front().copied().filter(|port| !self.recent.contains(port)) {
                self.put_off.pop_front();
                return port;
            }
            if self.place == self.ports.len() {
                // All that was put off has come: at least as many others came between as `recent` holds.
                self.order = Order::draw(self.ports.len(), rng);
                self.place = 0;
            }
            let port = self.ports.nth(self.order.at(self.place)).expect("a place below the number of ports");
            self.place += 1;
            if !self.recent.contains(&port) {
                return port;
            }
            self.put_off.push_back(port);
        }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// A random permutation of 0..count: a Feistel network over the next 8 or 16 bits, walked along until a value below
/// `count` comes (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
struct Order {
    cipher: Aes128,
    count: u32,
    half_bits: u32,
}

/// Rounds of the network; four make a strong permutation of a large domain, more are wanted for 256 values.
const ROUNDS: u8 = 8;

impl Order {
    fn draw(count: u32, rng: &mut impl Rng) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Self { cipher: Aes128::new(&key.into()), count, half_bits: if count <= 256 { 4 } else { 8 } }
    }

    fn at(&self, place: u32) -> u32 {
        let mut value = self.permute(place);
        while value >= self.count {
            value = self.permute(value);
        }
        value
    }

    fn permute(&self, value: u32) -> u32 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let mut block = aes::Block::default();
            block[0] = round;
            block[1] = u8::try_from(right).expect("half of at most 16 bits");
            self.cipher.encrypt_block(&mut block);
            (left, right) = (right, left ^ (u32::from(block[0]) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeSet;

    fn walk(ports: &str, seed: u64) -> (Walk, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        (Walk::new(ports.parse().expect("ports"), &mut rng), rng)
    }

    #[test]
    fn all_65535_ports_are_walked_once_a_round() {
        let (mut walk, mut rng) = walk("*", 1);
        let round: BTreeSet<u16> = (0..65_535).map(|_| walk.next_port(&mut rng)).collect();
        assert_eq!(round.len(), 65_535);
    }

    #[test]
    fn one_port_is_a_walk_too() {
        let (mut walk, mut rng) = walk("443", 1);
        assert!((0..5).all(|_| walk.next_port(&mut rng) == 443));
    }

    #[test]
    fn two_walks_have_two_orders() {
        let ((mut one, mut rng), (mut other, mut other_rng)) = (walk("1000-1999", 1), walk("1000-1999", 2));
        let same = (0..1_000).filter(|_| one.next_port(&mut rng) == other.next_port(&mut other_rng)).count();
        assert!(same < 10, "{same} of 1000, where 1 is expected");
    }

    #[test]
    fn every_port_is_as_likely_to_be_first() {
        let mut count = [0u32; 7];
        for seed in 0..7_000 {
            let (mut walk, mut rng) = walk("10-16", seed);
            count[usize::from(walk.next_port(&mut rng) - 10)] += 1;
        }
        // Standard deviation 29.3: five of them.
        assert!(count.iter().all(|count| (850..=1_150).contains(count)), "{count:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn defect_a_port_repeats_at_the_seam_of_two_rounds(first in 1u16..60_000, more in 0u16..300, seed: u64) {
            let (mut walk, mut rng) = walk(&format!("{first}-{}", first + more), seed);
            let count = usize::from(more) + 1;
            let far = RECENT_MAX.min(count / 2);
            let ports: Vec<u16> = (0..count * 3).map(|_| walk.next_port(&mut rng)).collect();
            for (place, port) in ports.iter().enumerate() {
                prop_assert!(!ports[place.saturating_sub(far)..place].contains(port), "{port} at {place}");
            }
            for round in ports.chunks(count) {
                prop_assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), count, "each port once a round");
            }
        }
    }
}
