//! What happens to packets in one direction between two nodes.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::recording::Fate;
use crate::seed::Seed;

/// Bytes that an IPv4 and a UDP header add to every payload on a line with a rate.
pub const PACKET_OVERHEAD: usize = 28;

/// The model of one direction. The default is an ideal line: no delay, no loss, no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path {
    /// The time every packet takes.
    pub delay: Duration,
    /// Up to so much longer, evenly distributed; packets keep their order.
    pub jitter: Duration,
    /// Packets that never arrive.
    pub loss: Loss,
    /// The chance (0 to 1) that a packet is held back for `reorder_by` and so overtaken.
    pub reorder: f64,
    /// How long an overtaken packet is held back.
    pub reorder_by: Duration,
    /// The chance (0 to 1) that a packet arrives twice.
    pub duplicate: f64,
    /// The line's speed in bits per second, headers included; `None` is unlimited.
    pub rate_bits_per_second: Option<u64>,
    /// Bytes that wait in front of a limited line; a packet that does not fit is dropped. Without a rate it is unused.
    pub queue_bytes: usize,
    /// The largest payload that passes; `None` is unlimited.
    pub payload_max: Option<usize>,
    /// Whether the line is cut: nothing passes.
    pub is_cut: bool,
}

impl Path {
    /// A line with this delay and no other fault.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// The same line with this loss.
    #[must_use]
    pub fn with_loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same line with this speed and drop-tail queue.
    #[must_use]
    pub fn with_rate(self, bits_per_second: u64, queue_bytes: usize) -> Self {
        Self { rate_bits_per_second: Some(bits_per_second), queue_bytes, ..self }
    }
}

/// How packets get lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None does.
    #[default]
    Never,
    /// Each with this chance (0 to 1), whatever happened to the others.
    Independent(f64),
    /// In bursts.
    Bursts(Bursts),
}

/// The two-state model of Gilbert and Elliott: a good and a bad state, each with its own loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Chance a packet to go from the good to the bad state.
    pub to_bad: f64,
    /// Chance a packet to go back.
    pub to_good: f64,
    /// Loss in the good state.
    pub loss_in_good: f64,
    /// Loss in the bad state.
    pub loss_in_bad: f64,
}

/// The state of one direction: a [`Path`], its luck and its queue. [`crate::Network`] has one for each direction; the
/// recording relay between real processes uses it too, with real time.
#[derive(Debug)]
pub struct Line {
    path: Path,
    generator: ChaCha8Rng,
    in_bad_state: bool,
    /// When the line has sent all that was queued.
    free_at: Duration,
    /// The latest arrival so far, for keeping order under jitter.
    newest_arrival: Duration,
}

/// What a line does with one packet: its fate as an observer at the sender would learn it, and its arrivals.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its fate.
    pub fate: Fate,
    /// When it arrives: never, once, or twice. The unit is that of the `now` given.
    pub arrivals: [Option<Duration>; 2],
}

impl Verdict {
    fn dropped(fate: Fate) -> Self {
        Self { fate, arrivals: [None, None] }
    }
}

/// The luck of one packet. All of it is drawn for every packet, so that a changed setting changes only what it is about.
struct Luck {
    state: f64,
    loss: f64,
    jitter: f64,
    reorder: f64,
    duplicate: f64,
}

impl Line {
    /// An empty line. Lines of one seed with different stream numbers have independent luck.
    pub fn new(path: Path, seed: Seed, stream: u64) -> Self {
        let (free_at, newest_arrival) = (Duration::ZERO, Duration::ZERO);
        Self { path, generator: seed.generator(stream), in_bad_state: false, free_at, newest_arrival }
    }

    /// Its present model.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model, to be changed; queue and luck stay.
    pub fn path_mut(&mut self) -> &mut Path {
        &mut self.path
    }

    /// Decides about a payload of `length` bytes that is sent at `now`, a time that never decreases.
    pub fn judge(&mut self, now: Duration, length: usize) -> Verdict {
        let luck = self.draw();
        if self.path.is_cut {
            return Verdict::dropped(Fate::Cut);
        }
        if self.path.payload_max.is_some_and(|max| length > max) {
            return Verdict::dropped(Fate::TooLarge);
        }
        let Some(leaves) = self.transmit(now, length) else { return Verdict::dropped(Fate::QueueFull) };
        if self.is_lost(&luck) {
            return Verdict::dropped(Fate::Lost);
        }
        let arrival = self.arrival(leaves, &luck);
        let second = (luck.duplicate < self.path.duplicate).then_some(arrival);
        Verdict { fate: Fate::Arrives { at: arrival }, arrivals: [Some(arrival), second] }
    }

    fn draw(&mut self) -> Luck {
        let mut draw = || self.generator.random::<f64>();
        Luck { state: draw(), loss: draw(), jitter: draw(), reorder: draw(), duplicate: draw() }
    }

    /// When the packet's last bit is on the line, or `None` if it does not fit the queue.
    fn transmit(&mut self, now: Duration, length: usize) -> Option<Duration> {
        let Some(rate) = self.path.rate_bits_per_second else { return Some(now) };
        let size = length + PACKET_OVERHEAD;
        let begins = self.free_at.max(now);
        let queued_bytes = (begins - now).as_nanos() * u128::from(rate) / 8_000_000_000;
        if queued_bytes > 0 && queued_bytes + size as u128 > self.path.queue_bytes as u128 {
            return None;
        }
        self.free_at = begins + time_on_line(size, rate);
        Some(self.free_at)
    }

    fn is_lost(&mut self, luck: &Luck) -> bool {
        match self.path.loss {
            Loss::Never => false,
            Loss::Independent(chance) => luck.loss < chance,
            Loss::Bursts(bursts) => {
                let change = if self.in_bad_state { bursts.to_good } else { bursts.to_bad };
                self.in_bad_state ^= luck.state < change;
                luck.loss < if self.in_bad_state { bursts.loss_in_bad } else { bursts.loss_in_good }
            }
        }
    }

    fn arrival(&mut self, leaves: Duration, luck: &Luck) -> Duration {
        let arrival = leaves + self.path.delay + self.path.jitter.mul_f64(luck.jitter);
        if luck.reorder < self.path.reorder {
            return arrival + self.path.reorder_by;
        }
        self.newest_arrival = self.newest_arrival.max(arrival);
        self.newest_arrival
    }
}

/// The time that `size` bytes take at `rate` bits per second; a rate of zero never ends.
fn time_on_line(size: usize, rate: u64) -> Duration {
    let nanoseconds = (size as u128 * 8_000_000_000).checked_div(u128::from(rate)).unwrap_or(u128::from(u64::MAX));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn line(path: Path) -> Line {
        Line::new(path, Seed::new(11), 0)
    }

    fn share_lost(path: Path, packets: u32) -> f64 {
        let mut line = line(path);
        let lost = (0..packets).filter(|_| line.judge(Duration::ZERO, 100).fate == Fate::Lost).count();
        lost as f64 / f64::from(packets)
    }

    #[test]
    fn loss_is_as_frequent_as_asked() {
        let share = share_lost(Path::default().with_loss(Loss::Independent(0.07)), 100_000);
        assert!((share - 0.07).abs() < 0.004, "{share}");
        assert_eq!(share_lost(Path::default(), 1_000), 0.0);
        assert_eq!(share_lost(Path::default().with_loss(Loss::Independent(1.0)), 1_000), 1.0);
    }

    #[test]
    fn bursts_lose_the_stationary_share_in_runs() {
        let bursts = Bursts { to_bad: 0.01, to_good: 0.1, loss_in_good: 0.0, loss_in_bad: 0.5 };
        let share = share_lost(Path::default().with_loss(Loss::Bursts(bursts)), 200_000);
        assert!((share - 0.5 / 11.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn the_rate_spaces_packets_and_the_queue_drops_the_tail() {
        // 1028 bytes with headers at 8.224 Mbit/s are 1 ms each; the queue holds three beside the one on the line.
        let mut line = line(Path::default().with_rate(8_224_000, 4 * 1028));
        let arrivals: Vec<_> = (0..6).map(|_| line.judge(SECOND, 1000).arrivals[0]).collect();
        let expected = |milliseconds| Some(SECOND + Duration::from_millis(milliseconds));
        assert_eq!(arrivals, [expected(1), expected(2), expected(3), expected(4), None, None]);
        assert_eq!(line.judge(SECOND, 1000).fate, Fate::QueueFull);
        assert_eq!(line.judge(3 * SECOND, 1000).arrivals[0], Some(3 * SECOND + Duration::from_millis(1)));
    }

    #[test]
    fn jitter_keeps_order_and_reordering_breaks_it() {
        let jitter = Path { jitter: 5 * SECOND, ..Path::with_delay(SECOND) };
        let arrivals = |path: Path| -> Vec<Duration> {
            let mut line = line(path);
            (0..500).filter_map(|index| line.judge(SECOND * index / 10, 100).arrivals[0]).collect()
        };
        assert!(arrivals(jitter.clone()).is_sorted());
        let reorder = Path { reorder: 0.1, reorder_by: SECOND, ..jitter };
        assert!(!arrivals(reorder).is_sorted());
    }

    #[test]
    fn cut_size_and_duplicates() {
        assert_eq!(line(Path { is_cut: true, ..Path::default() }).judge(SECOND, 1).fate, Fate::Cut);
        let mut narrow = line(Path { payload_max: Some(1300), ..Path::default() });
        assert_eq!(narrow.judge(SECOND, 1301).fate, Fate::TooLarge);
        assert_eq!(narrow.judge(SECOND, 1300).fate, Fate::Arrives { at: SECOND });
        let twice = line(Path { duplicate: 1.0, ..Path::default() }).judge(SECOND, 1);
        assert_eq!(twice.arrivals, [Some(SECOND), Some(SECOND)]);
    }

    #[test]
    fn changing_the_loss_does_not_change_the_jitter() {
        let arrivals = |loss| -> Vec<Option<Duration>> {
            let mut line = line(Path { jitter: SECOND, loss, ..Path::default() });
            (0..100).map(|index| line.judge(SECOND * 10 * index, 100).arrivals[0]).collect()
        };
        let (clean, lossy) = (arrivals(Loss::Never), arrivals(Loss::Independent(0.5)));
        assert!(clean.iter().zip(&lossy).all(|(clean, lossy)| lossy.is_none() || lossy == clean));
        assert!(lossy.contains(&None));
    }

    #[test]
    fn a_rate_of_zero_never_delivers_in_time() {
        let mut line = line(Path::default().with_rate(0, 1500));
        assert!(line.judge(SECOND, 100).arrivals[0].is_some_and(|at| at > SECOND * 1_000_000));
    }
}
