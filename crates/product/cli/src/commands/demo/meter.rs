//! Counts that grow, as rates.

/// A count with the time at which it was taken, and how fast it grows.
#[derive(Debug, Default)]
pub(super) struct Meter {
    first: Option<u64>,
    last: Option<(u64, u64)>,
    /// How fast it grew between the last two counts.
    pub(super) per_second: Option<f64>,
}

impl Meter {
    /// A new count, taken at `at_ms`. A count of the same time says nothing new; a smaller one is of a new process.
    pub(super) fn update(&mut self, at_ms: u64, count: u64) {
        self.first.get_or_insert(count);
        match self.last {
            Some((before_ms, _)) if at_ms <= before_ms => return,
            Some((before_ms, before)) if count >= before => {
                self.per_second = Some((count - before) as f64 * 1000.0 / (at_ms - before_ms) as f64);
            }
            _ => {}
        }
        self.last = Some((at_ms, count));
    }

    /// How much was counted since the first time.
    pub(super) fn total(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some((_, last))) => last.saturating_sub(first),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_difference_over_the_time_of_the_counts() {
        let mut meter = Meter::default();
        meter.update(1000, 500);
        assert_eq!(meter.per_second, None, "one count makes no rate");
        meter.update(1000, 500);
        meter.update(3000, 2500);
        assert_eq!((meter.per_second, meter.total()), (Some(1000.0), 2000));
        meter.update(2000, 9000);
        assert_eq!(meter.per_second, Some(1000.0), "an older count says nothing");
        meter.update(4000, 10);
        meter.update(5000, 20);
        assert_eq!(meter.per_second, Some(10.0), "a new process starts again");
    }
}
