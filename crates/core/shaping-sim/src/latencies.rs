//! How long things took, summed up.

use std::time::Duration;

/// Mean and quantiles of times. All 0 where there are none.
///
/// A quantile is the value at `floor(q n)` of the n sorted ones, counted from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many there are.
    pub count: usize,
    /// The mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// 95 of 100 are at most this.
    pub p95: Duration,
    /// 99 of 100 are at most this.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latencies {
    /// Of these times, in any order.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let count = times.len();
        let Some(&max) = times.last() else { return Self::default() };
        let nanoseconds: u128 = times.iter().map(Duration::as_nanos).sum();
        let mean = Duration::from_nanos((nanoseconds / count as u128) as u64);
        let quantile = |per_cent: usize| times[(per_cent * count / 100).min(count - 1)];
        Self { count, mean, p50: quantile(50), p95: quantile(95), p99: quantile(99), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let milliseconds = |range: std::ops::RangeInclusive<u64>| range.rev().map(Duration::from_millis).collect();
        let found = Latencies::of(milliseconds(1..=200));
        assert_eq!([found.p50, found.p95, found.p99, found.max].map(|time| time.as_millis()), [101, 191, 199, 200]);
        assert_eq!((found.count, found.mean), (200, Duration::from_micros(100_500)));
        let one = Latencies::of(milliseconds(7..=7));
        assert_eq!([one.mean, one.p50, one.p99, one.max], [Duration::from_millis(7); 4]);
        assert_eq!(Latencies::of(Vec::new()), Latencies::default());
    }
}
