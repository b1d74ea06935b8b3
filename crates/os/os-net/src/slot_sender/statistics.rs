//! What the slot sender counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::book::Decision;

/// Upper edges in microseconds of the histogram's buckets but the last: bucket i counts samples below edge i that are
/// in no earlier bucket, and the last one counts the rest.
pub const LATENESS_EDGES_US: [u32; 15] = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000];

/// Number of buckets.
const BUCKETS: usize = LATENESS_EDGES_US.len() + 1;

/// How far after its slot a batch went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Nanoseconds from the slot to just before the first system call.
    pub before_ns: u32,
    /// Nanoseconds from the slot to just after the last system call.
    pub after_ns: u32,
}

impl Lateness {
    pub(super) fn new(slot_ns: u64, before_ns: u64, after_ns: u64) -> Self {
        let since = |ns: u64| u32::try_from(ns.saturating_sub(slot_ns)).unwrap_or(u32::MAX);
        Self { before_ns: since(before_ns), after_ns: since(after_ns) }
    }
}

/// Counts of lateness by [`LATENESS_EDGES_US`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LatenessHistogram {
    /// One count per bucket.
    pub buckets: [u64; BUCKETS],
}

impl LatenessHistogram {
    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper edge in microseconds of the bucket that holds the given share of samples, 0 to 1000 per mille; `None`
    /// without samples or if it is above the last edge.
    pub fn quantile_us(&self, per_mille: u16) -> Option<u32> {
        let wanted = (self.samples() * u64::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        for (count, edge) in self.buckets.iter().zip(LATENESS_EDGES_US) {
            seen += count;
            if seen >= wanted {
                return Some(edge);
            }
        }
        None
    }
}

/// Counts since the start of the sender. None of them depends on what packets carry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Slots at which something went out.
    pub slots: u64,
    /// Packets that the kernel took.
    pub sent: u64,
    /// Slots in which spare packets went because prepared ones were late.
    pub late_slots: u64,
    /// Spare packets that went.
    pub cover_packets: u64,
    /// Slots at which nothing went out although something was due: the thread woke after the next slot, or the batch
    /// was handed over after its slot and there was no spare.
    pub missed: u64,
    /// Packets that found the kernel's buffer full. They are lost as if on the network.
    pub blocked: u64,
    /// Packets that were larger than the path's MTU.
    pub too_narrow: u64,
    /// Packets for which there was no route.
    pub unreachable: u64,
    /// Packets that the system refused for another reason.
    pub failed: u64,
    /// Lateness just before sending.
    pub before: LatenessHistogram,
    /// Lateness just after sending.
    pub after: LatenessHistogram,
}

/// The counters as the thread writes them. Only the thread writes, so that relaxed additions suffice; the two `_done`
/// counters order the hand-over.
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) blocked: AtomicU64,
    pub(super) too_narrow: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Batches that are wholly sent.
    pub(super) batches_done: AtomicU64,
    /// Spares that are sent or recycled.
    pub(super) spares_done: AtomicU64,
    slots: AtomicU64,
    late_slots: AtomicU64,
    cover_packets: AtomicU64,
    before: [AtomicU64; BUCKETS],
    after: [AtomicU64; BUCKETS],
    /// Prepared packets that left the sender, per lane.
    lane_packets: Box<[AtomicU64]>,
}

impl Counters {
    pub(super) fn new(lanes: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            sent: zero(),
            missed: zero(),
            blocked: zero(),
            too_narrow: zero(),
            unreachable: zero(),
            failed: zero(),
            batches_done: zero(),
            spares_done: zero(),
            slots: zero(),
            late_slots: zero(),
            cover_packets: zero(),
            before: std::array::from_fn(|_| zero()),
            after: std::array::from_fn(|_| zero()),
            lane_packets: (0..lanes.max(1)).map(|_| zero()).collect(),
        }
    }

    pub(super) fn note_slot<W>(&self, lateness: Lateness, decision: &Decision<W>) {
        self.slots.fetch_add(1, Ordering::Relaxed);
        self.late_slots.fetch_add(u64::from(decision.cover_packets > 0), Ordering::Relaxed);
        self.cover_packets.fetch_add(decision.cover_packets, Ordering::Relaxed);
        self.before[bucket(lateness.before_ns)].fetch_add(1, Ordering::Relaxed);
        self.after[bucket(lateness.after_ns)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_lane_packets(&self, lane: usize, packets: u64) {
        self.lane_packets[lane.min(self.lane_packets.len() - 1)].fetch_add(packets, Ordering::Release);
    }

    pub(super) fn lane_packets(&self, lane: usize) -> u64 {
        self.lane_packets[lane.min(self.lane_packets.len() - 1)].load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let histogram = |counters: &[AtomicU64; BUCKETS]| LatenessHistogram {
            buckets: std::array::from_fn(|bucket| read(&counters[bucket])),
        };
        Statistics {
            slots: read(&self.slots),
            sent: read(&self.sent),
            late_slots: read(&self.late_slots),
            cover_packets: read(&self.cover_packets),
            missed: read(&self.missed),
            blocked: read(&self.blocked),
            too_narrow: read(&self.too_narrow),
            unreachable: read(&self.unreachable),
            failed: read(&self.failed),
            before: histogram(&self.before),
            after: histogram(&self.after),
        }
    }
}

fn bucket(ns: u32) -> usize {
    LATENESS_EDGES_US.partition_point(|edge| u64::from(ns) >= u64::from(*edge) * 1_000)
}

/// The newest samples one by one, in a ring that the thread overwrites. Bounded by its size; the oldest go first.
pub(super) struct LatenessLog {
    ring: Box<[AtomicU64]>,
    written: AtomicU64,
}

impl LatenessLog {
    pub(super) fn new(samples: usize) -> Self {
        Self { ring: (0..samples).map(|_| AtomicU64::new(0)).collect(), written: AtomicU64::new(0) }
    }

    pub(super) fn push(&self, lateness: Lateness) {
        if self.ring.is_empty() {
            return;
        }
        let written = self.written.load(Ordering::Relaxed);
        let packed = u64::from(lateness.before_ns) << 32 | u64::from(lateness.after_ns);
        self.ring[position(written, self.ring.len())].store(packed, Ordering::Relaxed);
        self.written.store(written + 1, Ordering::Release);
    }

    pub(super) fn snapshot(&self) -> Vec<Lateness> {
        let written = self.written.load(Ordering::Acquire);
        let first = written.saturating_sub(self.ring.len() as u64);
        let unpack = |packed: u64| {
            let half = |shift: u32| u32::try_from((packed >> shift) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
            Lateness { before_ns: half(32), after_ns: half(0) }
        };
        let sample = |number| unpack(self.ring[position(number, self.ring.len())].load(Ordering::Relaxed));
        (first..written).map(sample).collect()
    }
}

fn position(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fall_below_their_edge() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(999), 0);
        assert_eq!(bucket(1_000), 1);
        assert_eq!(bucket(149_999), 7);
        assert_eq!(bucket(150_000), 8);
        assert_eq!(bucket(9_999_999), 14);
        assert_eq!(bucket(10_000_000), 15);
        assert_eq!(bucket(u32::MAX), 15);
    }

    #[test]
    fn quantiles_name_the_bucket_edge() {
        let mut histogram = LatenessHistogram::default();
        assert_eq!(histogram.quantile_us(500), None);
        histogram.buckets[0] = 98;
        histogram.buckets[6] = 1;
        histogram.buckets[15] = 1;
        assert_eq!(histogram.samples(), 100);
        assert_eq!(histogram.quantile_us(500), Some(1));
        assert_eq!(histogram.quantile_us(980), Some(1));
        assert_eq!(histogram.quantile_us(990), Some(100));
        assert_eq!(histogram.quantile_us(1000), None);
    }

    #[test]
    fn the_log_keeps_the_newest_in_order() {
        let log = LatenessLog::new(3);
        for number in 0..5 {
            log.push(Lateness { before_ns: number, after_ns: number + 100 });
        }
        let kept: Vec<(u32, u32)> = log.snapshot().iter().map(|sample| (sample.before_ns, sample.after_ns)).collect();
        assert_eq!(kept, [(2, 102), (3, 103), (4, 104)]);
        assert!(LatenessLog::new(0).snapshot().is_empty());
    }

    #[test]
    fn lateness_is_counted_from_the_slot_and_saturates() {
        assert_eq!(Lateness::new(1_000, 1_250, 1_900), Lateness { before_ns: 250, after_ns: 900 });
        assert_eq!(Lateness::new(0, u64::MAX, u64::MAX), Lateness { before_ns: u32::MAX, after_ns: u32::MAX });
    }
}
