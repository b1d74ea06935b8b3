//! Queues against what they promise.

use super::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const REGION: usize = 8;

fn onward(circuit: u32) -> Onward {
    Onward { to: Neighbour(100 + circuit % 3), circuit: CircuitId(circuit) }
}

struct Bench {
    queues: Queues,
    rng: ChaCha20Rng,
    counters: Counters,
    now: Instant,
    next: u32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(cells_per_circuit: usize, cells_per_neighbour: usize, cells: usize) -> Self {
        let limits = Limits { cells_per_circuit, cells_per_neighbour, cells, ..Limits::default() };
        let (rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
        Self { queues: Queues::new(&limits), rng, counters: Counters::default(), now, next: 0 }
    }

    /// Cells have rising numbers.
    fn push(&mut self, from: u32, circuit: u32) -> u32 {
        let number = self.next;
        self.next += 1;
        let mut region = [0; REGION];
        region[..4].copy_from_slice(&number.to_be_bytes());
        let way = (Neighbour(from), onward(circuit));
        self.queues.push(self.now, way, &region, &mut self.counters);
        number
    }

    /// Circuit and number of the next cell.
    fn pop(&mut self) -> Option<(u32, u32)> {
        let mut region = [0; REGION];
        let onward = self.queues.pop(self.now, &mut region, &mut self.counters)?;
        Some((onward.circuit.0, u32::from_be_bytes([region[0], region[1], region[2], region[3]])))
    }

    fn drain(&mut self) -> Vec<(u32, u32)> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

#[test]
fn circuits_take_turns_and_each_keeps_its_order() {
    let mut bench = Bench::new(64, 1_000, 1_000);
    for _ in 0..50 {
        bench.push(1, 1);
    }
    let (a, b, c) = (bench.push(2, 2), bench.push(2, 3), bench.push(2, 2));
    assert_eq!(bench.queues.len(), 53);
    let order: Vec<_> = bench.drain();
    assert_eq!(order[..6], [(1, 0), (2, a), (3, b), (1, 1), (2, c), (1, 2)]);
    let first: Vec<u32> = order.iter().filter(|(circuit, _)| *circuit == 1).map(|(_, number)| *number).collect();
    assert!(first.is_sorted() && first.len() == 50);
    assert!(bench.queues.is_empty() && bench.queues.queues.is_empty() && bench.queues.turns.is_empty());
    assert_eq!(bench.queues.of_neighbour(Neighbour(1)), 0);
}

#[test]
fn a_full_circuit_loses_its_oldest_cell() {
    let mut bench = Bench::new(4, 1_000, 1_000);
    assert_eq!(bench.queues.room(onward(1)), 4);
    for _ in 0..10 {
        bench.push(1, 1);
    }
    let other = bench.push(1, 2);
    assert_eq!((bench.queues.room(onward(1)), bench.queues.room(onward(2))), (0, 3));
    assert_eq!(bench.counters.dropped_circuit_full, 6);
    assert_eq!(bench.drain(), [(1, 6), (2, other), (1, 7), (1, 8), (1, 9)]);
}

#[test]
fn a_neighbour_with_all_its_cells_harms_only_itself() {
    let mut bench = Bench::new(4, 8, 1_000);
    for circuit in 0..8 {
        bench.push(1, circuit);
    }
    let lost = bench.push(1, 50);
    let (newer, good) = (bench.push(1, 3), bench.push(2, 51));
    assert_eq!(bench.queues.of_neighbour(Neighbour(1)), 8);
    assert_eq!(bench.counters.dropped_neighbour_full, 2);
    let left = bench.drain();
    assert_eq!(left.len(), 9);
    assert!(left.contains(&(3, newer)) && left.contains(&(51, good)) && !left.contains(&(50, lost)));
}

#[test]
fn when_all_room_is_taken_long_queues_pay() {
    let mut bench = Bench::new(64, 10_000, 640);
    for circuit in 0..10 {
        for _ in 0..64 {
            bench.push(circuit, circuit);
        }
    }
    for circuit in 100..300 {
        bench.push(50, circuit);
    }
    assert_eq!((bench.queues.len(), bench.counters.dropped_memory_full), (640, 200));
    let left = bench.drain();
    assert_eq!(left.iter().filter(|(circuit, _)| *circuit >= 100).count(), 200);
    for circuit in 0..10 {
        assert_eq!(left.iter().filter(|(other, _)| *other == circuit).count(), 44, "all long ones pay alike");
    }
}

#[test]
fn old_cells_go_when_their_turn_comes() {
    let mut bench = Bench::new(64, 1_000, 1_000);
    bench.push(1, 1);
    bench.push(1, 2);
    bench.now += Duration::from_millis(400);
    let fresh = bench.push(1, 1);
    bench.now += Duration::from_millis(200);
    assert_eq!(bench.drain(), [(1, fresh)]);
    assert_eq!(bench.counters.dropped_stale, 2);
    assert!(bench.queues.is_empty());
}

#[test]
fn a_link_takes_its_cells_along() {
    let mut bench = Bench::new(64, 1_000, 1_000);
    for circuit in 0..9 {
        bench.push(1, circuit);
    }
    assert_eq!(bench.queues.forget(onward(0).to), 3);
    assert_eq!(bench.queues.forget(onward(0).to), 0);
    assert!(bench.drain().iter().all(|(circuit, _)| circuit % 3 != 0));
    assert_eq!(bench.queues.of_neighbour(Neighbour(1)), 0);
}

/// Whatever comes in whatever order, counts and turns fit what is there.
#[test]
fn counts_hold_under_any_load() {
    let mut bench = Bench::new(3, 7, 20);
    for step in 0..20_000u32 {
        let draw = bench.rng.next_u32();
        match draw % 5 {
            0 => {
                bench.pop();
            }
            1 if draw % 1_000 < 3 => {
                bench.queues.forget(Neighbour(100 + draw % 3));
            }
            _ => {
                bench.push(draw >> 8 & 3, draw >> 16 & 15);
            }
        }
        bench.now += Duration::from_millis(u64::from(draw >> 28));
        let queues = &bench.queues;
        let cells: usize = queues.queues.values().map(VecDeque::len).sum();
        let by_neighbour: usize = queues.by_neighbour.values().sum();
        assert_eq!((queues.len(), by_neighbour), (cells, cells), "step {step}");
        assert!(cells <= 20 && queues.queues.values().all(|queue| queue.len() <= 3), "step {step}");
        assert!(queues.by_neighbour.values().all(|count| (1..=7).contains(count)), "step {step}");
        let lengths = queues.queues.iter().filter(|(_, queue)| !queue.is_empty());
        let lengths: BTreeSet<_> = lengths.map(|(onward, queue)| (queue.len(), *onward)).collect();
        assert_eq!(queues.lengths, lengths, "step {step}");
        let mut turns: Vec<_> = queues.turns.iter().copied().collect();
        turns.sort_unstable();
        assert!(turns.iter().eq(queues.queues.keys()), "step {step}");
    }
    assert!(bench.counters.dropped_memory_full > 100 && bench.counters.dropped_neighbour_full > 100);
}
