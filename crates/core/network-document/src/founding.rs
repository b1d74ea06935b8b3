//! What makes a network one whose relays are agreed on by a directory: the second half of its charter.

use crate::electorate::Electorate;
use crate::error::{DocumentError, Problem};
use crate::lines::Lines;
use crate::parameters::Parameters;
use onion::Interval;

/// The first members and parameters, and the public clock of editions, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// When interval 0 begins, in milliseconds since 1970 UTC.
    pub start_ms: u64,
    /// How long each interval is, in milliseconds: 1,000 to 86,400,000.
    pub interval_ms: u64,
    /// After so many intervals relays change their onion keys: 1 to 10,000.
    pub key_intervals: u64,
    /// An edition is good for so many intervals: 2 to 1,000, and at most one more than `key_intervals`, because relays answer
    /// under the onion keys of two key intervals and no edition may outlast its keys.
    pub valid_intervals: u64,
    /// Who agrees on editions at first.
    pub electorate: Electorate,
    /// How everybody behaves at first.
    pub parameters: Parameters,
}

impl Founding {
    /// Ten minutes an interval, keys of a day, editions good for three hours.
    pub fn new(start_ms: u64, electorate: Electorate) -> Self {
        let parameters = Parameters::default();
        Self { start_ms, interval_ms: 600_000, key_intervals: 144, valid_intervals: 18, electorate, parameters }
    }

    /// The interval of a time; 0 before the first.
    pub fn index_at(&self, time_ms: u64) -> u64 {
        time_ms.saturating_sub(self.start_ms) / self.interval_ms
    }

    /// When an interval begins, in milliseconds since 1970 UTC.
    pub fn begin_ms(&self, index: u64) -> u64 {
        self.start_ms.saturating_add(index.saturating_mul(self.interval_ms))
    }

    /// Of which number the onion keys of an interval are.
    pub fn key_interval(&self, index: u64) -> Interval {
        Interval(index / self.key_intervals)
    }

    /// For how long a descriptor may hold, in milliseconds: the two key intervals of which it can have keys.
    pub fn lifetime_max_ms(&self) -> u64 {
        2 * self.key_intervals * self.interval_ms
    }

    /// What a text cannot hold, or may not.
    ///
    /// # Errors
    /// [`Problem::Value`], or what is wrong with the parameters.
    pub fn check(&self) -> Result<(), Problem> {
        let ranges = [
            ("interval-ms", self.interval_ms, 1_000..=86_400_000, "1000 to 86400000"),
            ("key-intervals", self.key_intervals, 1..=10_000, "1 to 10000"),
            ("valid-intervals", self.valid_intervals, 2..=1_000, "2 to 1000"),
        ];
        for (keyword, value, range, rule) in ranges {
            if !range.contains(&value) {
                return Err(Problem::Value { keyword, rule });
            }
        }
        if self.valid_intervals > self.key_intervals + 1 {
            let rule = "at most one more than `key-intervals`";
            return Err(Problem::Value { keyword: "valid-intervals", rule });
        }
        self.parameters.check()
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "start-ms {}\ninterval-ms {}\nkey-intervals {}\nvalid-intervals {}\n{}{}",
            self.start_ms,
            self.interval_ms,
            self.key_intervals,
            self.valid_intervals,
            self.electorate.text(),
            self.parameters.text()
        )
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let start_ms = lines.take_number("start-ms")?;
        let interval_ms = lines.take_number("interval-ms")?;
        let key_intervals = lines.take_number("key-intervals")?;
        let valid_intervals = lines.take_number("valid-intervals")?;
        let electorate = Electorate::read(lines)?;
        let parameters = Parameters::read(lines)?;
        let founding = Self { start_ms, interval_ms, key_intervals, valid_intervals, electorate, parameters };
        founding.check().map_err(|problem| lines.here(problem))?;
        Ok(founding)
    }
}
