//! Spans of time as people write them, and the intervals that hops are drawn from.

use rand_chacha::rand_core::Rng;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// Longest interval that can be written: who wants to hop more rarely does not want to hop.
pub const INTERVAL_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Units of time, longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// From `min` to `max`, both included. Never empty, never zero, at most [`INTERVAL_MAX`], whole milliseconds.
///
/// As text: `30s`, or `20s..40s` to draw between. Units are `ms`, `s`, `min` and `h`; a blank before them is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    min: Duration,
    max: Duration,
}

/// Why a text or a pair of times is not an interval. Always the writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IntervalError {
    /// The text is not a number with a unit.
    #[error("write a time such as 30s, or two such as 20s..40s; units are ms, s, min and h")]
    NotATime,
    /// Zero has no meaning.
    #[error("the interval is zero")]
    Zero,
    /// The end lies before the begin.
    #[error("the interval ends before it begins; write the shorter time first")]
    UpsideDown,
    /// Above [`INTERVAL_MAX`].
    #[error("the interval is longer than a week")]
    TooLong,
}

impl Interval {
    /// An interval; parts of a millisecond are cut off.
    pub fn new(min: Duration, max: Duration) -> Result<Self, IntervalError> {
        if min > max {
            return Err(IntervalError::UpsideDown);
        }
        if max > INTERVAL_MAX {
            return Err(IntervalError::TooLong);
        }
        if min.as_millis() == 0 {
            return Err(IntervalError::Zero);
        }
        let whole = |time: Duration| Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000);
        Ok(Self { min: whole(min), max: whole(max) })
    }

    /// The shortest time.
    pub const fn min(self) -> Duration {
        self.min
    }

    /// The longest time.
    pub const fn max(self) -> Duration {
        self.max
    }

    /// Draws a time, uniform to the nanosecond.
    pub fn draw(self, rng: &mut impl Rng) -> Duration {
        let span = u128::from(u64::try_from((self.max - self.min).as_nanos()).expect("a week is below 2^64 ns")) + 1;
        let nanos = (u128::from(rng.next_u64()) * span) >> 64;
        self.min + Duration::from_nanos(u64::try_from(nanos).expect("below the span"))
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        Self::new(time(min)?, time(max)?)
    }
}

fn time(text: &str) -> Result<Duration, IntervalError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| IntervalError::NotATime)?;
    let unit = text[digits..].trim_start();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(IntervalError::NotATime)?;
    Ok(Duration::from_millis(number.checked_mul(*factor).ok_or(IntervalError::TooLong)?))
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.min)?;
        if self.max != self.min {
            f.write_str("..")?;
            write_time(f, self.max)?;
        }
        Ok(())
    }
}

fn write_time(f: &mut fmt::Formatter<'_>, time: Duration) -> fmt::Result {
    let millis = time.as_millis();
    let whole = UNITS.iter().find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)));
    let (unit, factor) = whole.map_or(("ms", 1), |(unit, factor)| (*unit, u128::from(*factor)));
    write!(f, "{}{unit}", millis / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn intervals_are_read_and_written() {
        for (text, printed) in [
            ("30s", "30s"),
            ("20s..40s", "20s..40s"),
            (" 20 s .. 1 min ", "20s..1min"),
            ("500ms..90s", "500ms..90s"),
            ("60s..120min", "1min..2h"),
            ("5s..5s", "5s"),
        ] {
            assert_eq!(text.parse::<Interval>().map(|interval| interval.to_string()).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (text, error) in [
            ("", IntervalError::NotATime),
            ("30", IntervalError::NotATime),
            ("s", IntervalError::NotATime),
            ("-5s", IntervalError::NotATime),
            ("5 days", IntervalError::NotATime),
            ("5s..", IntervalError::NotATime),
            ("5s..6s..7s", IntervalError::NotATime),
            ("99999999999999999999s", IntervalError::NotATime),
            ("9999999999999999999h", IntervalError::TooLong),
            ("200h", IntervalError::TooLong),
            ("0s", IntervalError::Zero),
            ("0ms..5s", IntervalError::Zero),
            ("40s..20s", IntervalError::UpsideDown),
        ] {
            assert_eq!(text.parse::<Interval>(), Err(error), "{text}");
        }
    }

    #[test]
    fn draws_fill_the_interval() {
        let interval = Interval::new(Duration::from_secs(20), Duration::from_secs(40)).expect("20 to 40 s");
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let draws: Vec<f64> = (0..10_000).map(|_| interval.draw(&mut rng).as_secs_f64()).collect();
        assert!(draws.iter().all(|draw| (20.0..=40.0).contains(draw)));
        // Standard error of the mean 0.058 s, and of each tenth 0.3 %: five of them here.
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 30.0).abs() < 0.3, "{mean}");
        for tenth in 0..10 {
            let low = 20.0 + 2.0 * f64::from(tenth);
            let count = draws.iter().filter(|draw| (low..low + 2.0).contains(*draw)).count();
            assert!((850..=1150).contains(&count), "{tenth}: {count}");
        }
    }

    #[test]
    fn an_interval_of_one_value_draws_it() {
        let interval: Interval = "7s".parse().expect("a time");
        assert_eq!(interval.draw(&mut ChaCha20Rng::seed_from_u64(1)), Duration::from_secs(7));
    }

    proptest! {
        #[test]
        fn a_written_interval_reads_as_itself(min in 1u64..604_800_000, more in 0u64..1_000_000) {
            let max = Duration::from_millis((min + more).min(604_800_000));
            let interval = Interval::new(Duration::from_millis(min), max).expect("in order");
            prop_assert_eq!(interval.to_string().parse::<Interval>(), Ok(interval));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            let _ = text.parse::<Interval>();
        }
    }
}
