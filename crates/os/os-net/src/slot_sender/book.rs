//! Which packets go at which slot: the pure part of the slot sender.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The public clock of a node: slot k is at `t0_ns + k * slot_ns` of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Monotonic nanoseconds of slot 0.
    pub t0_ns: u64,
    /// Nanoseconds from one slot to the next; at least 1.
    pub slot_ns: u64,
}

impl Grid {
    /// Monotonic nanoseconds of a slot.
    pub fn time_of(&self, slot: u64) -> u64 {
        self.t0_ns.saturating_add(slot.saturating_mul(self.slot_ns))
    }

    /// The first slot after `now_ns` (not at it).
    pub fn first_slot_after(&self, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.t0_ns) {
            Some(since) => since / self.slot_ns.max(1) + 1,
            None => 0,
        }
    }
}

/// Packets of one link in one slot that go one way. `W` says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<W> {
    /// The lane in whose public number of packets they count: the same link in every batch and every spare.
    pub lane: usize,
    /// From which socket, and where to.
    pub way: W,
    /// Whole packets of P bytes, back to back.
    pub packets: Vec<u8>,
}

/// The packets of a slot: prepared cells, or spare cover packets for the place of those that are late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<W> {
    /// The slot they are made for.
    pub slot: u64,
    /// Those of a lane go in their order. A lane without packets has an empty run; one whose packets go several ways has
    /// several.
    pub runs: Vec<Run<W>>,
}

impl<W> Batch<W> {
    /// Bytes of a lane; `None` if it has no run, not even an empty one.
    fn bytes_of(&self, lane: usize) -> Option<usize> {
        self.runs.iter().filter(|run| run.lane == lane).map(|run| run.packets.len()).reduce(|sum, more| sum + more)
    }

    /// The lanes that runs name.
    fn lanes(&self) -> usize {
        self.runs.iter().map(|run| run.lane + 1).max().unwrap_or(0)
    }
}

/// Packets that go out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<W> {
    /// From which socket, and where to.
    pub way: W,
    /// Whole packets of P bytes, back to back.
    pub packets: Vec<u8>,
    /// Lane of the batch that they were handed over in; `None` for packets of a spare.
    pub prepared_lane: Option<usize>,
}

/// What was decided about a slot, beside the pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<W> {
    /// The next slot has come already: nothing goes out for this one, and nothing of it is made up for.
    pub missed: bool,
    /// Packets of the spare that go in place of late ones.
    pub cover_packets: u64,
    /// Packets that go out in all.
    pub packets: u64,
    /// Batches whose last packet goes out now.
    pub batches_done: u64,
    /// Spares that are used up or that nothing needs any more.
    pub spares_done: u64,
    /// What is left of this slot's spare, to be recycled.
    pub unused_spare: Option<Batch<W>>,
}

/// A lane counts as covered for so many slots after the newest one that a spare has announced for it: longer than the
/// slowest rate class pauses between two cells (42 slots of 1 ms).
const COVERED_SLOTS: u64 = 64;

#[derive(Debug)]
struct Waiting<W> {
    batch: Batch<W>,
    /// The batch was there before its slot, so that the slot is due.
    in_time: bool,
    /// The first slot at which the batch can go if its own has passed.
    retry: u64,
}

/// The batches and spares that wait, and the rule by which they are taken.
///
/// The number of packets that a lane has in a slot is public. The spare of the slot states it; for a slot without a
/// spare the slot's own batch does. A slot takes waiting packets of the lane in the order in which they were handed
/// over, none that were made for a later slot, and fills up from the spare. So each slot carries its public number of
/// packets whatever is late, and a late packet goes one slot later.
///
/// A lane that no spare covers has no schedule: its link is not up, or it carries answers to strangers. There a late
/// packet goes at the next slot by itself, since no spare will ever make room for it.
#[derive(Debug)]
pub struct SlotBook<W> {
    grid: Grid,
    packet_bytes: usize,
    /// In the order of hand-over. Bounded by [`BATCHES_MAX`](super::BATCHES_MAX) where batches are handed over.
    waiting: VecDeque<Waiting<W>>,
    /// In the order of their slots, all of them still to come. Bounded by [`SPARES_MAX`](super::SPARES_MAX).
    spares: VecDeque<Batch<W>>,
    /// The first slot that is not decided yet.
    next_open: u64,
    /// For each lane the first slot at which it no longer counts as covered; 0 before its first spare.
    covered_until: Vec<u64>,
}

impl<W: Clone> SlotBook<W> {
    /// An empty book. `packet_bytes` is P.
    pub fn new(grid: Grid, packet_bytes: usize) -> Self {
        let packet_bytes = packet_bytes.max(1);
        Self {
            grid,
            packet_bytes,
            waiting: VecDeque::new(),
            spares: VecDeque::new(),
            next_open: 0,
            covered_until: Vec::new(),
        }
    }

    /// The next slot at which something goes out.
    pub fn next_due(&self) -> Option<u64> {
        let own_slots = self.waiting.iter().filter(|waiting| waiting.in_time).map(|waiting| waiting.batch.slot);
        let batch = own_slots.filter(|slot| *slot >= self.next_open).min();
        let spare = self.spares.front().map(|spare| spare.slot);
        let retried = self.waiting.iter().filter_map(|waiting| self.retry_slot(waiting)).min();
        [batch, spare, retried].into_iter().flatten().min()
    }

    /// The slot at which what is left of a late batch goes without a spare, in the lanes that none covers by then.
    fn retry_slot(&self, waiting: &Waiting<W>) -> Option<u64> {
        if waiting.in_time && waiting.batch.slot >= self.next_open {
            return None;
        }
        let runs = waiting.batch.runs.iter().filter(|run| !run.packets.is_empty());
        runs.map(|run| waiting.retry.max(self.next_open).max(self.covered_until(run.lane))).min()
    }

    fn covered_until(&self, lane: usize) -> u64 {
        self.covered_until.get(lane).copied().unwrap_or(0)
    }

    /// Batches that wait, whole or in part.
    pub fn waiting_batches(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a batch. True: its slot passed before anything was known of it, so that nothing went out at it.
    pub fn add_batch(&mut self, batch: Batch<W>, now_ns: u64) -> bool {
        let slot = batch.slot;
        let announced = self.spares.iter().any(|spare| spare.slot == slot);
        let passed = slot >= self.next_open && !announced && self.grid.time_of(slot) <= now_ns;
        let retry = self.grid.first_slot_after(now_ns);
        self.waiting.push_back(Waiting { batch, in_time: !passed, retry });
        passed
    }

    /// Takes a spare and returns what it makes superfluous: an older spare of the same slot, or itself if its slot
    /// has passed or is not known in time.
    pub fn add_spare(&mut self, spare: Batch<W>, now_ns: u64) -> Option<Batch<W>> {
        let slot = spare.slot;
        for lane in spare.runs.iter().filter(|run| !run.packets.is_empty()).map(|run| run.lane) {
            self.covered_until.resize(self.covered_until.len().max(lane + 1), 0);
            let until = &mut self.covered_until[lane];
            *until = (*until).max(slot + COVERED_SLOTS);
        }
        let position = self.spares.partition_point(|other| other.slot < slot);
        if let Some(same) = self.spares.get_mut(position).filter(|other| other.slot == slot) {
            return Some(std::mem::replace(same, spare));
        }
        if slot < self.next_open || self.grid.time_of(slot) <= now_ns {
            return Some(spare);
        }
        self.spares.insert(position, spare);
        None
    }

    /// Decides what goes out at `slot`, which must be the one that [`SlotBook::next_due`] names, and appends it to
    /// `pieces`.
    pub fn decide(&mut self, slot: u64, now_ns: u64, pieces: &mut Vec<Piece<W>>) -> Decision<W> {
        self.next_open = slot + 1;
        let mut decision = Decision {
            missed: false,
            cover_packets: 0,
            packets: 0,
            batches_done: 0,
            spares_done: 0,
            unused_spare: None,
        };
        let spare = self.spares.pop_front_if(|spare| spare.slot <= slot);
        decision.spares_done = u64::from(spare.is_some());
        decision.missed = now_ns >= self.grid.time_of(slot + 1);
        if decision.missed {
            decision.unused_spare = spare;
            // Where nothing else makes room, what waits goes at a slot that is still to come.
            let retry = self.grid.first_slot_after(now_ns);
            self.waiting.iter_mut().for_each(|waiting| waiting.retry = waiting.retry.max(retry));
            return decision;
        }
        let waiting_lanes = self.waiting.iter().map(|waiting| waiting.batch.lanes()).max().unwrap_or(0);
        let lanes = waiting_lanes.max(spare.as_ref().map_or(0, Batch::lanes));
        let mut spare = spare;
        for lane in 0..lanes {
            let own_bytes = self.own_batch(slot).and_then(|own| own.bytes_of(lane)).unwrap_or(0);
            let announced = spare.as_ref().and_then(|spare| spare.bytes_of(lane));
            let wanted = match announced {
                None | Some(0) if self.covered_until(lane) <= slot => own_bytes.max(self.late_bytes(lane, slot)),
                None => own_bytes,
                Some(announced) => announced,
            };
            let made = self.waiting.iter_mut().map(|waiting| &mut waiting.batch).filter(|batch| batch.slot <= slot);
            let taken = take(made.flat_map(|batch| &mut batch.runs), lane, wanted, true, pieces);
            let cover = spare.iter_mut().flat_map(|spare| &mut spare.runs);
            let covered = take(cover, lane, wanted - taken, false, pieces);
            let count = |bytes: usize| (bytes / self.packet_bytes) as u64;
            decision.cover_packets += count(covered);
            decision.packets += count(taken + covered);
        }
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.batch.runs.iter().any(|run| !run.packets.is_empty()));
        decision.batches_done = (before - self.waiting.len()) as u64;
        decision.unused_spare = spare;
        decision
    }

    /// The batch that was made for `slot`, if it is there.
    fn own_batch(&self, slot: u64) -> Option<&Batch<W>> {
        self.waiting.iter().map(|waiting| &waiting.batch).find(|batch| batch.slot == slot)
    }

    /// Bytes of a lane that were made for slots before `slot`.
    fn late_bytes(&self, lane: usize, slot: u64) -> usize {
        let late = self.waiting.iter().filter(|waiting| waiting.batch.slot < slot && waiting.retry <= slot);
        late.filter_map(|waiting| waiting.batch.bytes_of(lane)).sum()
    }
}

/// Takes up to `wanted` bytes of a lane out of runs, in their order, and returns how many.
fn take<'a, W: Clone + 'a>(
    runs: impl Iterator<Item = &'a mut Run<W>>,
    lane: usize,
    wanted: usize,
    prepared: bool,
    pieces: &mut Vec<Piece<W>>,
) -> usize {
    let mut taken = 0;
    for run in runs.filter(|run| run.lane == lane && !run.packets.is_empty()) {
        if taken >= wanted {
            break;
        }
        let packets = take_front(&mut run.packets, wanted - taken);
        taken += packets.len();
        pieces.push(Piece { way: run.way.clone(), packets, prepared_lane: prepared.then_some(lane) });
    }
    taken
}

/// Takes at most `bytes` from the front; the whole buffer, which is the usual case, moves without a copy.
fn take_front(buffer: &mut Vec<u8>, bytes: usize) -> Vec<u8> {
    let rest = if bytes < buffer.len() { buffer.split_off(bytes) } else { Vec::new() };
    std::mem::replace(buffer, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: usize = 4;
    const GRID: Grid = Grid { t0_ns: 1_000, slot_ns: 100 };

    fn batch(slot: u64, lanes: &[&[u8]]) -> Batch<usize> {
        let runs = lanes.iter().enumerate().map(|(lane, marks)| Run {
            lane,
            way: lane,
            packets: marks.iter().flat_map(|mark| [*mark; P]).collect(),
        });
        Batch { slot, runs: runs.collect() }
    }

    /// First byte of every packet that goes out at a slot, and the decision.
    fn decide(book: &mut SlotBook<usize>, slot: u64) -> (Vec<u8>, Decision<usize>) {
        decide_at(book, slot, GRID.time_of(slot))
    }

    fn decide_at(book: &mut SlotBook<usize>, slot: u64, now_ns: u64) -> (Vec<u8>, Decision<usize>) {
        assert_eq!(book.next_due(), Some(slot), "only due slots are decided");
        let mut pieces = Vec::new();
        let decision = book.decide(slot, now_ns, &mut pieces);
        (pieces.iter().flat_map(|piece| piece.packets.chunks(P).map(|packet| packet[0])).collect(), decision)
    }

    #[test]
    fn batches_in_time_go_at_their_slots_and_spares_stay() {
        let mut book = SlotBook::new(GRID, P);
        for slot in 0..5u8 {
            let now = GRID.time_of(u64::from(slot)) - 20;
            assert!(!book.add_batch(batch(slot.into(), &[&[slot, slot]]), now));
            assert_eq!(book.add_spare(batch(u64::from(slot) + 1, &[b"ss"]), now), None);
            let (packets, decision) = decide(&mut book, slot.into());
            assert_eq!(packets, [slot, slot]);
            assert_eq!((decision.cover_packets, decision.batches_done), (0, 1));
            assert_eq!(decision.unused_spare.is_some(), slot > 0);
        }
    }

    #[test]
    fn a_late_batch_gives_its_slot_to_the_spare_and_takes_the_next() {
        let mut book = SlotBook::new(GRID, P);
        book.add_batch(batch(0, &[b"a"]), 0);
        book.add_spare(batch(1, &[b"s"]), 0);
        assert_eq!(decide(&mut book, 0).0, b"a");
        let (packets, decision) = decide(&mut book, 1);
        assert_eq!(packets, b"s");
        assert_eq!((decision.cover_packets, decision.batches_done, decision.spares_done), (1, 0, 1));
        // The batch of slot 1 comes now, with the spare of slot 2; the main loop makes none for slot 2.
        assert!(!book.add_batch(batch(1, &[b"b"]), GRID.time_of(1) + 30));
        assert_eq!(book.add_spare(batch(2, &[b"t"]), GRID.time_of(1) + 30), None);
        let (packets, decision) = decide(&mut book, 2);
        assert_eq!(packets, b"b");
        assert_eq!((decision.cover_packets, decision.batches_done), (0, 1));
    }

    #[test]
    fn a_late_batch_of_another_size_never_changes_the_number_of_a_slot() {
        let mut book = SlotBook::new(GRID, P);
        for (slot, spare) in [(0, &b"xx"[..]), (1, b"yyy"), (2, b"zz")] {
            book.add_spare(batch(slot, &[spare]), 0);
        }
        assert_eq!(decide(&mut book, 0).0, b"xx");
        book.add_batch(batch(0, &[b"ab"]), GRID.time_of(0) + 1);
        assert_eq!(decide(&mut book, 1).0, b"aby");
        book.add_batch(batch(1, &[b"cde"]), GRID.time_of(1) + 1);
        let (packets, decision) = decide(&mut book, 2);
        assert_eq!(packets, b"cd");
        assert_eq!((decision.batches_done, book.waiting_batches()), (0, 1));
        book.add_spare(batch(3, &[b"w"]), 0);
        assert_eq!(decide(&mut book, 3).0, b"e");
        assert_eq!(book.waiting_batches(), 0);
    }

    #[test]
    fn lanes_are_independent() {
        let mut book = SlotBook::new(GRID, P);
        book.add_spare(batch(0, &[b"s", b"tt"]), 0);
        book.add_batch(batch(0, &[b"a", b""]), 0);
        assert_eq!(decide(&mut book, 0).0, b"att");
        book.add_batch(batch(0, &[b"", b"bc"]), GRID.time_of(0) + 1);
        book.add_batch(batch(1, &[b"d", b""]), GRID.time_of(0) + 1);
        book.add_spare(batch(1, &[b"u", b"vw"]), 0);
        assert_eq!(decide(&mut book, 1).0, b"dbc");
    }

    #[test]
    fn a_lane_whose_packets_go_two_ways_has_no_more_of_them() {
        let mut book = SlotBook::new(GRID, P);
        let run =
            |lane, way, marks: &[u8]| Run { lane, way, packets: marks.iter().flat_map(|mark| [*mark; P]).collect() };
        book.add_spare(batch(0, &[b"sss", b"tt"]), 0);
        book.add_batch(Batch { slot: 0, runs: vec![run(0, 7, b"a"), run(1, 1, b"de"), run(0, 8, b"bc")] }, 0);
        let mut pieces = Vec::new();
        let decision = book.decide(0, 0, &mut pieces);
        let went: Vec<(usize, u8)> = pieces.iter().map(|piece| (piece.way, piece.packets[0])).collect();
        assert_eq!(went, [(7, b'a'), (8, b'b'), (1, b'd')]);
        assert_eq!((decision.packets, decision.cover_packets, decision.batches_done), (5, 0, 1));
        // Late, with one place in the next slot: in their order, and the rest after that.
        book.add_batch(Batch { slot: 1, runs: vec![run(0, 7, b"f"), run(0, 8, b"gh")] }, 0);
        book.add_spare(batch(1, &[b"u"]), 0);
        book.add_spare(Batch { slot: 2, runs: vec![run(0, 7, b"v"), run(0, 8, b"wxy")] }, 0);
        assert_eq!(decide(&mut book, 1).0, b"f");
        let (packets, decision) = decide(&mut book, 2);
        assert_eq!((packets.as_slice(), decision.cover_packets), (&b"ghvw"[..], 2));
    }

    #[test]
    fn waking_after_the_next_slot_misses_and_makes_up_for_nothing() {
        let mut book = SlotBook::new(GRID, P);
        for slot in 0..3 {
            book.add_spare(batch(slot, &[b"s"]), 0);
        }
        book.add_batch(batch(0, &[b"a"]), 0);
        let (packets, decision) = decide_at(&mut book, 0, GRID.time_of(1));
        assert!(decision.missed && packets.is_empty() && decision.unused_spare.is_some());
        // Slot 1 is served one nanosecond before slot 2 would be; it carries one packet, the oldest.
        let (packets, decision) = decide_at(&mut book, 1, GRID.time_of(2) - 1);
        assert!(!decision.missed);
        assert_eq!(packets, b"a");
        assert_eq!(decide(&mut book, 2).0, b"s");
    }

    #[test]
    fn a_slot_that_nobody_announced_in_time_is_not_sent_between_slots() {
        let mut book = SlotBook::new(GRID, P);
        // The slot sender takes the spare of an offer first.
        assert_eq!(book.add_spare(batch(5, &[b"t"]), GRID.time_of(3) + 10), None);
        assert!(book.add_batch(batch(3, &[b"a"]), GRID.time_of(3) + 10));
        assert!(book.add_spare(batch(3, &[b"s"]), GRID.time_of(3) + 10).is_some());
        assert_eq!(decide(&mut book, 5).0, b"a");
    }

    #[test]
    fn what_is_late_goes_at_the_next_slot_in_a_lane_without_cover() {
        let mut book = SlotBook::new(GRID, P);
        book.add_spare(batch(9, &[b""]), 0);
        assert!(book.add_batch(batch(2, &[b"a"]), GRID.time_of(3) + 30), "counted as missed all the same");
        let (packets, decision) = decide(&mut book, 4);
        assert_eq!((packets.as_slice(), decision.batches_done), (&b"a"[..], 1));
        // The same where the batch was there in time and the thread woke too late.
        assert!(!book.add_batch(batch(5, &[b"b"]), GRID.time_of(5) - 1));
        let (packets, decision) = decide_at(&mut book, 5, GRID.time_of(7) + 1);
        assert!(decision.missed && packets.is_empty());
        assert_eq!(decide(&mut book, 8).0, b"b");
        assert_eq!((book.next_due(), book.waiting_batches()), (Some(9), 0));
    }

    #[test]
    fn a_covered_lane_waits_for_its_spare_and_one_that_has_lost_its_cover_does_not() {
        let mut book = SlotBook::new(GRID, P);
        book.add_spare(batch(0, &[b"s", b""]), 0);
        assert_eq!(decide(&mut book, 0).0, b"s");
        book.add_batch(batch(1, &[b"a", b"x"]), GRID.time_of(1) + 30);
        assert_eq!(decide(&mut book, 2).0, b"x", "lane 1 has no schedule, lane 0 has one");
        assert_eq!(book.next_due(), Some(COVERED_SLOTS));
        book.add_spare(batch(5, &[b"t"]), GRID.time_of(2) + 50);
        assert_eq!(decide(&mut book, 5).0, b"a");
    }

    #[test]
    fn a_newer_spare_replaces_the_older_of_its_slot() {
        let mut book = SlotBook::new(GRID, P);
        assert_eq!(book.add_spare(batch(1, &[b"o"]), 0), None);
        assert_eq!(book.add_spare(batch(1, &[b"n"]), 0), Some(batch(1, &[b"o"])));
        assert_eq!(decide(&mut book, 1).0, b"n");
        assert!(book.add_spare(batch(1, &[b"x"]), 0).is_some(), "its slot is over");
    }

    #[test]
    fn the_grid_counts_slots_from_its_start() {
        assert_eq!(GRID.time_of(7), 1_700);
        assert_eq!(GRID.first_slot_after(0), 0);
        assert_eq!(GRID.first_slot_after(999), 0);
        assert_eq!(GRID.first_slot_after(1_000), 1);
        assert_eq!(GRID.first_slot_after(1_099), 1);
        assert_eq!(GRID.first_slot_after(1_100), 2);
    }

    proptest! {
        /// Whatever is late and however late, each slot carries its public number of packets, and every prepared
        /// packet goes out once, in order, never before its slot.
        #[test]
        fn nothing_is_lost_doubled_or_early_and_counts_are_public(
            counts in prop::collection::vec(1usize..5, 1..40),
            delays in prop::collection::vec(0u64..3, 40),
        ) {
            let mut book = SlotBook::new(GRID, P);
            let mut prepared = Vec::new();
            let mut seen = Vec::new();
            let mut next_mark = 1u8;
            let mut owed = 0;
            for (slot, count) in counts.iter().enumerate() {
                let spare = vec![0; *count];
                book.add_spare(batch(slot as u64, &[&spare]), 0);
            }
            for slot in 0..counts.len() as u64 {
                // A batch with delay 0 is there before its slot; others come when later slots are over.
                for made in 0..=slot {
                    let index = made as usize;
                    if made + delays[index] == slot {
                        let count = counts[index].saturating_sub(owed);
                        let marks: Vec<u8> = (0..count).map(|_| { next_mark = next_mark % 250 + 1; next_mark }).collect();
                        owed += count;
                        prepared.extend(marks.iter().map(|mark| (made, *mark)));
                        if !marks.is_empty() {
                            prop_assert!(!book.add_batch(batch(made, &[&marks]), GRID.time_of(slot) - 1));
                        }
                    }
                }
                let (packets, decision) = decide(&mut book, slot);
                prop_assert_eq!(packets.len(), counts[slot as usize]);
                prop_assert_eq!(decision.packets, packets.len() as u64);
                let real: Vec<u8> = packets.into_iter().filter(|mark| *mark != 0).collect();
                prop_assert_eq!(decision.cover_packets as usize, counts[slot as usize] - real.len());
                owed -= real.len();
                seen.extend(real.into_iter().map(|mark| (slot, mark)));
            }
            for ((made, expected), (sent, mark)) in prepared.iter().zip(&seen) {
                prop_assert_eq!(expected, mark);
                prop_assert!(sent >= made);
            }
            prop_assert_eq!(prepared.len() - seen.len(), owed);
        }
    }
}
