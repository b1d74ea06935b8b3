//! Why a link hops: time, bytes, trouble, or because somebody asks.

use crate::interval::Interval;
use rand_chacha::rand_core::Rng;
use std::fmt;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Shortest interval between two hops by the clock. Hops in quick succession are themselves a sign to an observer, and
/// users report that networks punish them.
pub const INTERVAL_FLOOR: Duration = Duration::from_secs(5);

/// Why a hop was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The interval that was drawn for the pair is over.
    Interval,
    /// The bytes that were drawn for the pair are used up.
    Bytes,
    /// The pair loses packets as other pairs did not.
    Loss,
    /// The pair has become slow while there was more to send.
    Rate,
    /// Nothing comes back any more.
    Silence,
    /// The other end asked for it.
    PeerAsked,
    /// The operator asked for it.
    OperatorAsked,
    /// The socket of the pair cannot send.
    SocketFailed,
}

impl Cause {
    /// True for the causes that the detector finds.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Loss | Self::Rate | Self::Silence | Self::SocketFailed)
    }

    /// Wants a hop for this cause: trouble comes before wishes, since it decides what happens when a step fails, and the
    /// first one wanted before later ones.
    pub(crate) fn want(self, wanted: &mut Option<Self>) {
        if wanted.is_none_or(|wanted| self.is_trouble() && !wanted.is_trouble()) {
            *wanted = Some(self);
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interval => "interval over",
            Self::Bytes => "byte budget used",
            Self::Loss => "loss",
            Self::Rate => "rate fell",
            Self::Silence => "silence",
            Self::PeerAsked => "peer asked",
            Self::OperatorAsked => "asked for",
            Self::SocketFailed => "socket failed",
        })
    }
}

/// How many bytes a pair may carry; drawn anew for each. From `min` to `max`, both included, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteBudget {
    min: u64,
    max: u64,
}

impl ByteBudget {
    /// 64 to 256 MB: more than a web page, less than what users report to be punished for.
    pub const DEFAULT: Self = Self { min: 64_000_000, max: 256_000_000 };

    /// A budget; `None` if `min` is 0 or above `max`.
    pub const fn new(min: u64, max: u64) -> Option<Self> {
        if min == 0 || min > max { None } else { Some(Self { min, max }) }
    }

    /// The smallest budget in bytes.
    pub const fn min(self) -> u64 {
        self.min
    }

    /// The largest budget in bytes.
    pub const fn max(self) -> u64 {
        self.max
    }

    fn draw(self, rng: &mut impl Rng) -> u64 {
        let span = u128::from(self.max - self.min) + 1;
        let more = (u128::from(rng.next_u64()) * span) >> 64;
        self.min + u64::try_from(more).expect("below the span")
    }
}

/// The word of somebody who wants hops faster than [`INTERVAL_FLOOR`], for tests. An observer sees a flow that lives for
/// a second or less, again and again, between the same two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsafeTimers;

/// When a pair has lived long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    interval: Interval,
    budget: ByteBudget,
}

/// The interval may be shorter than the floor. The writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the shortest interval between hops is 5s; {shortest:?} would itself be a sign to an observer")]
pub struct BelowFloor {
    /// The shortest time of the interval that was refused.
    pub shortest: Duration,
}

impl Timers {
    /// Timers that keep to the floor.
    pub fn new(interval: Interval, budget: ByteBudget) -> Result<Self, BelowFloor> {
        let shortest = interval.min();
        if shortest < INTERVAL_FLOOR { Err(BelowFloor { shortest }) } else { Ok(Self { interval, budget }) }
    }

    /// Timers without a floor.
    pub fn below_floor(interval: Interval, budget: ByteBudget, _: UnsafeTimers) -> Self {
        Self { interval, budget }
    }

    /// The interval that is drawn from.
    pub fn interval(self) -> Interval {
        self.interval
    }

    /// The budget that is drawn from.
    pub fn budget(self) -> ByteBudget {
        self.budget
    }
}

impl Default for Timers {
    /// 20 to 40 s, 64 to 256 MB.
    fn default() -> Self {
        let interval = Interval::new(Duration::from_secs(20), Duration::from_secs(40)).expect("in order and not zero");
        Self { interval, budget: ByteBudget::DEFAULT }
    }
}

/// What is left of one pair's time and bytes. Every link draws its own, with its own generator, so that links do not hop
/// together.
#[derive(Debug, Clone)]
pub struct Countdown {
    due_at: Instant,
    bytes_left: u64,
}

impl Countdown {
    /// Draws time and bytes for a pair whose life begins.
    pub fn draw(now: Instant, timers: Timers, rng: &mut impl Rng) -> Self {
        Self { due_at: now + timers.interval.draw(rng), bytes_left: timers.budget.draw(rng) }
    }

    /// Counts bytes, those of both directions.
    pub fn handle_bytes(&mut self, bytes: u64) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// Why the pair's life is over, if it is.
    pub fn due(&self, now: Instant) -> Option<Cause> {
        if now >= self.due_at { Some(Cause::Interval) } else { (self.bytes_left == 0).then_some(Cause::Bytes) }
    }

    /// When its time is over.
    pub fn due_at(&self) -> Instant {
        self.due_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn interval(text: &str) -> Interval {
        text.parse().expect("an interval of the test")
    }

    #[test]
    fn the_floor_binds_timers_and_only_an_explicit_word_lifts_it() {
        let budget = ByteBudget::DEFAULT;
        assert!(Timers::new(interval("5s..6s"), budget).is_ok());
        let refused = Timers::new(interval("4999ms..40s"), budget);
        assert_eq!(refused, Err(BelowFloor { shortest: Duration::from_millis(4_999) }));
        assert_eq!(Timers::below_floor(interval("700ms"), budget, UnsafeTimers).interval(), interval("700ms"));
        assert_eq!(Timers::new(interval("20s..40s"), budget), Ok(Timers::default()));
    }

    #[test]
    fn a_budget_is_checked_and_drawn_within_its_bounds() {
        assert_eq!((ByteBudget::new(0, 5), ByteBudget::new(6, 5)), (None, None));
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let budget = ByteBudget::new(10, 19).expect("in order");
        let mut count = [0u32; 10];
        for _ in 0..10_000 {
            count[usize::try_from(budget.draw(&mut rng) - 10).expect("small")] += 1;
        }
        // Standard deviation 30: five of them.
        assert!(count.iter().all(|count| (850..=1_150).contains(count)), "{count:?}");
        assert_eq!(ByteBudget::new(u64::MAX, u64::MAX).map(|budget| budget.draw(&mut rng)), Some(u64::MAX));
    }

    #[test]
    fn a_pair_ends_by_time_or_by_bytes() {
        let (now, mut rng) = (origin(), ChaCha20Rng::seed_from_u64(1));
        let timers = Timers::new(interval("30s"), ByteBudget::new(1_000, 1_000).expect("in order")).expect("above 5 s");
        let mut countdown = Countdown::draw(now, timers, &mut rng);
        assert_eq!(countdown.due(now + Duration::from_millis(29_999)), None);
        assert_eq!(countdown.due(countdown.due_at()), Some(Cause::Interval));
        countdown.handle_bytes(999);
        assert_eq!(countdown.due(now), None);
        countdown.handle_bytes(u64::MAX);
        assert_eq!(countdown.due(now), Some(Cause::Bytes));
    }

    /// Pearson's correlation of two series.
    fn correlation(one: &[f64], other: &[f64]) -> f64 {
        let mean = |series: &[f64]| series.iter().sum::<f64>() / series.len() as f64;
        let (m, n) = (mean(one), mean(other));
        let covariance: f64 = one.iter().zip(other).map(|(a, b)| (a - m) * (b - n)).sum();
        let square = |series: &[f64], mean: f64| series.iter().map(|a| (a - mean).powi(2)).sum::<f64>();
        covariance / (square(one, m) * square(other, n)).sqrt()
    }

    /// Hops of one link in each second of `seconds`.
    fn hops(seed: u64, seconds: usize) -> Vec<f64> {
        let (start, mut rng) = (origin(), ChaCha20Rng::seed_from_u64(seed));
        let (mut now, mut counts) = (start, vec![0.0; seconds]);
        loop {
            now = Countdown::draw(now, Timers::default(), &mut rng).due_at();
            let second = usize::try_from((now - start).as_secs()).expect("small");
            let Some(count) = counts.get_mut(second) else { return counts };
            *count += 1.0;
        }
    }

    #[test]
    fn hop_times_of_two_links_are_uncorrelated() {
        // Two links that start in the same instant, after ten minutes; 20,000 s, 667 hops each. Without correlation the
        // coefficient has a standard error of 0.0071; 4.5 of them are exceeded by one seed in 150,000.
        let (one, other) = (hops(1, 20_600), hops(2, 20_600));
        let found = correlation(&one[600..], &other[600..]);
        assert!(found.abs() < 0.032, "{found}");
        // The test can fail: one link is correlated with itself, and links that take over each other's draws too.
        assert!(correlation(&one[600..], &hops(1, 20_600)[600..]) > 0.99);
    }

    proptest! {
        #[test]
        fn a_drawn_time_lies_in_the_interval(seed: u64) {
            let (now, mut rng) = (origin(), ChaCha20Rng::seed_from_u64(seed));
            let life = Countdown::draw(now, Timers::default(), &mut rng).due_at() - now;
            prop_assert!((Duration::from_secs(20)..=Duration::from_secs(40)).contains(&life));
        }
    }
}
