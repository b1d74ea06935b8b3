//! What arrives over time: bytes in windows of one length, and the longest time without any.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Windows of one record: an hour of tenths of a second. Bytes of later ones are added to the last.
const WINDOWS_MAX: usize = 36_000;

/// The record of one receiver. Times are of one clock that never goes back, such as [`crate::relay::Relay::now`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodput {
    /// Length of a window.
    every: Duration,
    started: Duration,
    windows: Vec<u64>,
    newest: Duration,
    longest_stall: Duration,
}

impl Goodput {
    /// An empty record of windows of length `every`, which is at least a nanosecond.
    pub fn new(started: Duration, every: Duration) -> Self {
        let every = every.max(Duration::from_nanos(1));
        Self { every, started, windows: Vec::new(), newest: started, longest_stall: Duration::ZERO }
    }

    /// Notes bytes that came at `now`.
    pub fn record(&mut self, now: Duration, bytes: u64) {
        self.note_time(now);
        if let Some(last) = self.windows.last_mut() {
            *last += bytes;
        }
    }

    /// Closes the record: windows up to `now` without bytes count as such, and so does the wait since the last bytes.
    pub fn finish(&mut self, now: Duration) {
        self.note_time(now);
    }

    fn note_time(&mut self, now: Duration) {
        self.longest_stall = self.longest_stall.max(now.saturating_sub(self.newest));
        self.newest = self.newest.max(now);
        let index = now.saturating_sub(self.started).as_nanos() / self.every.as_nanos();
        let wanted = usize::try_from(index).map_or(WINDOWS_MAX, |index| index + 1).min(WINDOWS_MAX);
        self.windows.resize(self.windows.len().max(wanted), 0);
    }

    /// Length of a window.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Bytes of each window, the last of which may be shorter than the others.
    pub fn windows(&self) -> &[u64] {
        &self.windows
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.windows.iter().sum()
    }

    /// The longest time without bytes, also before the first and after the last ones.
    pub fn longest_stall(&self) -> Duration {
        self.longest_stall
    }

    /// Bits a second between two times after the start, of the windows that lie within; zero if none does.
    pub fn bits_per_second(&self, from: Duration, to: Duration) -> f64 {
        let window = |time: Duration| usize::try_from(time.as_nanos() / self.every.as_nanos()).unwrap_or(WINDOWS_MAX);
        let first = window(from + self.every - Duration::from_nanos(1));
        let windows = self.windows.get(first..window(to).min(self.windows.len())).unwrap_or_default();
        if windows.is_empty() {
            return 0.0;
        }
        windows.iter().sum::<u64>() as f64 * 8.0 / (self.every.as_secs_f64() * windows.len() as f64)
    }

    /// Bits a second over the whole record.
    pub fn mean_bits_per_second(&self) -> f64 {
        let seconds = self.newest.saturating_sub(self.started).as_secs_f64();
        if seconds > 0.0 { self.bytes() as f64 * 8.0 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn bytes_fall_into_windows_and_gaps_are_stalls() {
        let mut goodput = Goodput::new(milliseconds(1000), milliseconds(100));
        for (at, bytes) in [(1010, 1), (1099, 2), (1100, 4), (1350, 8)] {
            goodput.record(milliseconds(at), bytes);
        }
        assert_eq!(goodput.windows(), [3, 4, 0, 8]);
        assert_eq!(goodput.longest_stall(), milliseconds(250));
        goodput.finish(milliseconds(1700));
        assert_eq!(goodput.windows(), [3, 4, 0, 8, 0, 0, 0, 0]);
        assert_eq!((goodput.longest_stall(), goodput.bytes()), (milliseconds(350), 15));
    }

    #[test]
    fn rates_are_of_the_windows_within() {
        let mut goodput = Goodput::new(Duration::ZERO, milliseconds(100));
        for window in 0..10 {
            goodput.record(milliseconds(window * 100 + 50), 1000 * (window + 1));
        }
        goodput.finish(milliseconds(1000));
        assert_eq!(goodput.bits_per_second(milliseconds(200), milliseconds(400)), (3000.0 + 4000.0) * 8.0 / 0.2);
        assert_eq!(goodput.bits_per_second(milliseconds(150), milliseconds(350)), 3000.0 * 8.0 / 0.1);
        assert_eq!(goodput.bits_per_second(milliseconds(5000), milliseconds(6000)), 0.0);
        assert_eq!(goodput.mean_bits_per_second(), 55_000.0 * 8.0);
    }

    #[test]
    fn a_record_is_bounded_and_empty_ones_are_zero() {
        let mut goodput = Goodput::new(Duration::ZERO, Duration::from_nanos(1));
        goodput.record(Duration::from_secs(1), 5);
        goodput.record(Duration::from_secs(2), 6);
        assert_eq!((goodput.windows().len(), goodput.windows().last()), (WINDOWS_MAX, Some(&11)));
        assert_eq!(Goodput::new(Duration::ZERO, Duration::ZERO).mean_bits_per_second(), 0.0);
    }
}
