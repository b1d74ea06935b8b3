//! What the schedule cost in the last minute: how many of the cells carried data, and how long bytes waited for theirs.
//!
//! For the node's own operator. It is written while a slot is filled, and nothing that decides when or how much is sent
//! ever reads it.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Parts of the minute: figures grow older by one at a time.
const PARTS: usize = 12;
/// Length of a part.
const PART: Duration = Duration::from_secs(5);
/// Bits below the leading one that tell bins apart: eight bins for each doubling.
const SUB_BITS: u32 = 3;
/// Doublings above a microsecond; what waits 134 s or longer is in the last bin.
const DOUBLINGS: usize = 27;
/// Bins of waiting times.
const BINS: usize = (DOUBLINGS + 1) << SUB_BITS;

/// What the last minute cost in the node's own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteStatus {
    /// Cells of links, data or not.
    pub cells: u64,
    /// Those with a session packet.
    pub data_cells: u64,
    /// Bytes that left queues for a cell.
    pub bytes: u64,
    /// How long such a byte waited, from the moment at which this process saw it in its queue to that at which its cell was
    /// made, in microseconds; the mean. None: there was no byte.
    pub wait_mean_us: Option<u64>,
    /// 95 of 100 waited at most so long; up to an eighth too much.
    pub wait_p95_us: Option<u64>,
}

/// Figures of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Minute {
    /// At most [`PARTS`], the newest last; the oldest goes when there are more.
    parts: VecDeque<Part>,
    began: Option<Instant>,
}

#[derive(Debug)]
struct Part {
    cells: u64,
    data_cells: u64,
    /// Sum over bytes.
    waited_us: u128,
    bytes_by_wait: Box<[u64; BINS]>,
}

impl Default for Part {
    fn default() -> Self {
        Self { cells: 0, data_cells: 0, waited_us: 0, bytes_by_wait: Box::new([0; BINS]) }
    }
}

impl Minute {
    /// Lets time pass.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_nanos() / PART.as_nanos();
        if self.parts.is_empty() {
            self.parts.push_back(Part::default());
        }
        if passed == 0 {
            return;
        }
        // After a long silence all parts are new.
        let fresh = usize::try_from(passed).unwrap_or(PARTS).min(PARTS);
        self.parts.extend(std::iter::repeat_with(Part::default).take(fresh));
        self.parts.drain(..self.parts.len().saturating_sub(PARTS));
        self.began = Some(began + PART * u32::try_from(passed).unwrap_or(u32::MAX));
    }

    /// A cell was made.
    pub(crate) fn note_cell(&mut self, has_data: bool) {
        if let Some(part) = self.parts.back_mut() {
            part.cells += 1;
            part.data_cells += u64::from(has_data);
        }
    }

    /// Bytes left their queue after this time.
    pub(crate) fn note_wait(&mut self, waited: Duration, bytes: u64) {
        if let Some(part) = self.parts.back_mut() {
            let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            part.waited_us += u128::from(us) * u128::from(bytes);
            part.bytes_by_wait[bin(us)] += bytes;
        }
    }

    /// The figures.
    pub(crate) fn status(&self) -> MinuteStatus {
        let mut by_wait = [0; BINS];
        for part in &self.parts {
            by_wait.iter_mut().zip(part.bytes_by_wait.iter()).for_each(|(sum, bytes)| *sum += bytes);
        }
        let bytes: u64 = by_wait.iter().sum();
        let waited: u128 = self.parts.iter().map(|part| part.waited_us).sum();
        let mean = waited.checked_div(bytes.into()).map(|us| u64::try_from(us).unwrap_or(u64::MAX));
        let mut seen = 0;
        let most = by_wait.iter().position(|bytes_here| {
            seen += bytes_here;
            u128::from(seen) * 20 >= u128::from(bytes) * 19
        });
        MinuteStatus {
            cells: self.parts.iter().map(|part| part.cells).sum(),
            data_cells: self.parts.iter().map(|part| part.data_cells).sum(),
            bytes,
            wait_mean_us: mean,
            wait_p95_us: most.filter(|_| bytes > 0).map(longest),
        }
    }
}

/// The bin of a waiting time: its place among the doublings of a microsecond, and the bits behind the leading one.
fn bin(us: u64) -> usize {
    let us = us.max(1);
    let doublings = us.ilog2();
    let below = (us << SUB_BITS >> doublings) as usize & ((1 << SUB_BITS) - 1);
    ((doublings as usize) << SUB_BITS | below).min(BINS - 1)
}

/// The longest time of a bin in microseconds.
fn longest(bin: usize) -> u64 {
    let (doublings, below) = (bin >> SUB_BITS, bin as u64 & ((1 << SUB_BITS) - 1));
    let next = (((1 << SUB_BITS) + below + 1) << doublings).div_ceil(1 << SUB_BITS);
    next.saturating_sub(1).max(1)
}

/// When the bytes of one queue were first seen.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// At most [`PORTIONS_MAX`], oldest first.
    portions: VecDeque<Portion>,
}

/// Most portions of a queue that are told apart. When there are more, the two that came closest to each other become one
/// that came between them, so a long wait is right to about a thirtieth.
const PORTIONS_MAX: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Portion {
    /// Position behind its last byte.
    end: u64,
    at: Instant,
}

impl Arrived {
    /// The queue is filled up to this position.
    pub(crate) fn handle_filled(&mut self, now: Instant, end: u64) {
        if self.portions.back().is_some_and(|newest| newest.end >= end) {
            return;
        }
        if self.portions.len() == PORTIONS_MAX {
            self.join_closest();
        }
        self.portions.push_back(Portion { end, at: now });
    }

    fn join_closest(&mut self) {
        let gap = |index: &usize| self.portions[index + 1].at.saturating_duration_since(self.portions[*index].at);
        let closest = (0..self.portions.len().saturating_sub(1)).min_by_key(gap);
        if let Some(index) = closest
            && let Some(later) = self.portions.remove(index + 1)
        {
            let earlier = &mut self.portions[index];
            let between = later.at.saturating_duration_since(earlier.at) / 2;
            *earlier = Portion { end: later.end, at: earlier.at + between };
        }
    }

    /// The bytes between two positions have left. What nobody saw before came at this moment.
    pub(crate) fn handle_left(&mut self, now: Instant, from: u64, to: u64, minute: &mut Minute) {
        let mut position = from;
        while position < to
            && let Some(oldest) = self.portions.front().copied()
        {
            let end = oldest.end.min(to);
            minute.note_wait(now.saturating_duration_since(oldest.at), end.saturating_sub(position));
            position = position.max(end);
            if oldest.end > to {
                return;
            }
            self.portions.pop_front();
        }
        if position < to {
            minute.note_wait(Duration::ZERO, to - position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods, reason = "an instant has no other origin; only differences count")]
    fn some_time() -> Instant {
        Instant::now()
    }

    #[test]
    fn bytes_wait_from_when_they_were_seen() {
        let (start, mut minute, mut arrived) = (some_time(), Minute::default(), Arrived::default());
        minute.handle_time(start);
        arrived.handle_filled(start, 100);
        arrived.handle_filled(start + MILLI, 100);
        arrived.handle_filled(start + 2 * MILLI, 300);
        arrived.handle_left(start + 4 * MILLI, 0, 200, &mut minute);
        assert_eq!(minute.status().wait_mean_us, Some(3_000), "100 bytes for 4 ms, 100 for 2 ms");
        arrived.handle_left(start + 10 * MILLI, 200, 400, &mut minute);
        let status = minute.status();
        assert_eq!((status.bytes, status.wait_mean_us), (400, Some(3_500)), "100 more for 8 ms, 100 at once");
        assert!(status.wait_p95_us.is_some_and(|us| (8_000..=9_000).contains(&us)), "{status:?}");
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let (start, mut minute) = (some_time(), Minute::default());
        assert_eq!(minute.status().wait_p95_us, None);
        minute.handle_time(start);
        minute.note_cell(true);
        minute.note_cell(false);
        minute.note_wait(MILLI, 10);
        minute.handle_time(start + 11 * PART);
        minute.note_cell(true);
        let status = minute.status();
        assert_eq!((status.cells, status.data_cells, status.bytes), (3, 2, 10));
        minute.handle_time(start + 12 * PART);
        let status = minute.status();
        assert_eq!((status.cells, status.data_cells, status.wait_mean_us), (1, 1, None));
        minute.handle_time(start + 10_000 * PART);
        assert_eq!(minute.status().cells, 0);
        assert_eq!(minute.parts.len(), PARTS);
    }

    proptest! {
        #[test]
        fn a_bin_has_its_times_and_its_end_is_near(us in 0u64..1 << 27) {
            let longest = longest(bin(us));
            prop_assert!(longest >= us.max(1) && longest <= us.max(1) + us / 8 + 1, "{} in {}", us, longest);
        }

        /// However bytes come and go, each is counted once, and the portions stay bounded.
        #[test]
        fn every_byte_is_counted_once(steps in proptest::collection::vec((any::<bool>(), 0u64..50), 1..200)) {
            let (start, mut minute, mut arrived) = (some_time(), Minute::default(), Arrived::default());
            minute.handle_time(start);
            let (mut filled, mut left) = (0, 0);
            for (now, (fills, bytes)) in (1..).map(|step| start + step * MILLI).zip(steps) {
                if fills {
                    filled += bytes;
                    arrived.handle_filled(now, filled);
                } else {
                    // Sometimes more than was seen.
                    let to = left + bytes;
                    filled = filled.max(to);
                    arrived.handle_left(now, left, to, &mut minute);
                    left = to;
                }
                prop_assert!(arrived.portions.len() <= PORTIONS_MAX);
            }
            prop_assert_eq!(minute.status().bytes, left);
        }
    }
}
