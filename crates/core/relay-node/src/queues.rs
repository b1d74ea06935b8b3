//! Cells that wait: a queue for each circuit and direction, served in turn.
//!
//! What is dropped is a circuit's oldest cell. As many are lost as if the newest were, but whoever the circuit belongs to
//! hears of it a whole queue earlier, so its controller slows down sooner; and what gets through is what is most likely still
//! of use.

use crate::config::Limits;
use crate::counters::Counters;
use onion::Neighbour;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use wire::cell::CircuitId;

/// Buffers that are kept for the next cells (1.3 MB); the rest is given back.
const SPARE_MAX: usize = 1_024;

/// Where a queue leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Onward {
    pub(crate) to: Neighbour,
    pub(crate) circuit: CircuitId,
}

/// A cell that waits.
struct Waiting {
    from: Neighbour,
    since: Instant,
    region: Box<[u8]>,
}

/// All queues.
pub(crate) struct Queues {
    cells_per_circuit: usize,
    cells_per_neighbour: usize,
    cells_max: usize,
    cell_age: Duration,
    /// Those that have cells, and those that lost their only one since their last turn.
    queues: BTreeMap<Onward, VecDeque<Waiting>>,
    /// The same queues, each once, in the order in which they are served.
    turns: VecDeque<Onward>,
    /// The queues that have cells, by their length: the longest one pays when all room is taken.
    lengths: BTreeSet<(usize, Onward)>,
    cells: usize,
    by_neighbour: BTreeMap<Neighbour, usize>,
    spare: Vec<Box<[u8]>>,
}

impl Queues {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            cells_per_circuit: limits.cells_per_circuit.max(1),
            cells_per_neighbour: limits.cells_per_neighbour.max(1),
            cells_max: limits.cells.max(1),
            cell_age: limits.cell_age,
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
            lengths: BTreeSet::new(),
            cells: 0,
            by_neighbour: BTreeMap::new(),
            spare: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.cells == 0
    }

    /// Cells that wait.
    pub(crate) fn len(&self) -> usize {
        self.cells
    }

    /// Cells that wait and came from this neighbour.
    pub(crate) fn of_neighbour(&self, neighbour: Neighbour) -> usize {
        self.by_neighbour.get(&neighbour).copied().unwrap_or_default()
    }

    /// Cells that may still come to a queue before one of them is dropped.
    pub(crate) fn room(&self, onward: Onward) -> usize {
        let waiting = self.queues.get(&onward).map_or(0, VecDeque::len);
        self.cells_per_circuit.saturating_sub(waiting)
    }

    /// Puts a cell behind the others of its circuit.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        (from, onward): (Neighbour, Onward),
        region: &[u8],
        counters: &mut Counters,
    ) {
        let waiting = self.queues.get(&onward).map_or(0, VecDeque::len);
        if waiting >= self.cells_per_circuit {
            counters.dropped_circuit_full += 1;
            self.drop_oldest(onward);
        } else if self.of_neighbour(from) >= self.cells_per_neighbour {
            counters.dropped_neighbour_full += 1;
            self.drop_oldest(onward);
        } else if self.cells >= self.cells_max
            && let Some((_, longest)) = self.lengths.last().copied()
        {
            counters.dropped_memory_full += 1;
            self.drop_oldest(longest);
        }
        // Its circuit had nothing to give for it.
        if self.of_neighbour(from) >= self.cells_per_neighbour {
            return;
        }
        let mut buffer = self.spare.pop().filter(|spare| spare.len() == region.len());
        let buffer = buffer.get_or_insert_with(|| vec![0; region.len()].into_boxed_slice());
        buffer.copy_from_slice(region);
        let region = std::mem::take(buffer);
        let turns = &mut self.turns;
        let queue = self.queues.entry(onward).or_insert_with(|| {
            turns.push_back(onward);
            VecDeque::new()
        });
        self.lengths.remove(&(queue.len(), onward));
        queue.push_back(Waiting { from, since: now, region });
        self.lengths.insert((queue.len(), onward));
        self.cells += 1;
        *self.by_neighbour.entry(from).or_default() += 1;
    }

    /// Takes the oldest cell of the circuit whose turn it is and writes it to `region`.
    pub(crate) fn pop(&mut self, now: Instant, region: &mut [u8], counters: &mut Counters) -> Option<Onward> {
        loop {
            let onward = self.turns.pop_front()?;
            let found = self.take(onward, |waiting, age| {
                let fresh = now.saturating_duration_since(waiting.since) <= age;
                counters.dropped_stale += u64::from(!fresh);
                if fresh {
                    region.copy_from_slice(&waiting.region);
                }
                fresh
            });
            if self.queues.get(&onward).is_some_and(VecDeque::is_empty) {
                self.queues.remove(&onward);
            } else {
                self.turns.push_back(onward);
            }
            if found {
                return Some(onward);
            }
        }
    }

    /// Takes cells off the front until `wanted` says that it is one to keep; false when there was none.
    fn take(&mut self, onward: Onward, mut wanted: impl FnMut(&Waiting, Duration) -> bool) -> bool {
        let Some(queue) = self.queues.get_mut(&onward) else { return false };
        let mut found = false;
        self.lengths.remove(&(queue.len(), onward));
        while !found && let Some(waiting) = queue.pop_front() {
            found = wanted(&waiting, self.cell_age);
            self.cells -= 1;
            if let Some(count) = self.by_neighbour.get_mut(&waiting.from) {
                *count -= 1;
                if *count == 0 {
                    self.by_neighbour.remove(&waiting.from);
                }
            }
            if self.spare.len() < SPARE_MAX {
                self.spare.push(waiting.region);
            }
        }
        if !queue.is_empty() {
            self.lengths.insert((queue.len(), onward));
        }
        found
    }

    fn drop_oldest(&mut self, onward: Onward) {
        self.take(onward, |_, _| true);
    }

    /// The link is down: what was for it goes. Returns how many cells that was.
    pub(crate) fn forget(&mut self, neighbour: Neighbour) -> u64 {
        let range =
            Onward { to: neighbour, circuit: CircuitId(0) }..=Onward { to: neighbour, circuit: CircuitId(u32::MAX) };
        let here: Vec<Onward> = self.queues.range(range).map(|(onward, _)| *onward).collect();
        let before = self.cells;
        for onward in &here {
            self.take(*onward, |_, _| false);
            self.queues.remove(onward);
        }
        if !here.is_empty() {
            self.turns.retain(|turn| turn.to != neighbour);
        }
        (before - self.cells) as u64
    }
}

#[cfg(test)]
mod tests;
