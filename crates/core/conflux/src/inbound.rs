//! What came on a leg: order, what was lost, and the feedback that tells the other end.

use crate::counter::low_bits;
use std::time::{Duration, Instant};
use wire::leg::Feedback;

/// How far behind the newest a data cell may be and still go to the session. The session's own filter against
/// duplicates ends at 128 packets and drops in silence; this bound lies below it and counts.
pub const LATE_CELLS_MAX: u64 = 100;

/// Unit of the feedback's age.
pub(crate) const AGE_UNIT: Duration = Duration::from_micros(64);

/// What came on one leg, in cells. All counters begin at 0 with the leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inbound {
    /// Highest tunnel number seen, in data or cover cells.
    pub highest: u64,
    /// Data cells received, late ones included.
    pub received: u64,
    /// Cover cells received.
    pub covers: u64,
    /// Data cells that came behind a newer one and were still given to the session.
    pub late: u64,
    /// Data cells more than [`LATE_CELLS_MAX`] behind, dropped.
    pub too_late: u64,
}

impl Inbound {
    /// Data cells that the other end has numbered and that have not come (yet).
    pub fn missing(&self) -> u64 {
        self.highest.saturating_sub(self.received)
    }
}

/// The receiving half of a leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) figures: Inbound,
    /// Highest number of a data cell, and when that cell came: what feedback is about.
    newest_data: u64,
    newest_data_at: Option<Instant>,
}

impl Receiver {
    /// Counts a data cell. True if the session may have it: a gap before it is never waited for.
    pub(crate) fn take_data(&mut self, now: Instant, number: u64) -> bool {
        let behind = self.figures.highest.saturating_sub(number);
        self.figures.highest = self.figures.highest.max(number);
        self.figures.received += 1;
        if number > self.newest_data {
            self.newest_data = number;
            self.newest_data_at = Some(now);
        }
        if behind > LATE_CELLS_MAX {
            self.figures.too_late += 1;
            return false;
        }
        self.figures.late += u64::from(behind > 0);
        true
    }

    /// Counts a cover cell, which repeats the newest number.
    pub(crate) fn take_cover(&mut self, number: u64) {
        self.figures.covers += 1;
        self.figures.highest = self.figures.highest.max(number);
    }

    /// What the other end is told.
    pub(crate) fn feedback(&self, now: Instant) -> Feedback {
        let age = self.newest_data_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let age = age.as_nanos() / AGE_UNIT.as_nanos();
        Feedback {
            highest: low_bits(self.newest_data),
            received: low_bits(self.figures.received),
            age: u16::try_from(age).unwrap_or(u16::MAX),
        }
    }
}

/// The age that a feedback field states; none if it is saturated and so only a lower bound.
pub(crate) fn age_of(feedback: Feedback) -> Option<Duration> {
    (feedback.age < u16::MAX).then(|| AGE_UNIT * u32::from(feedback.age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_cells_are_delivered_up_to_the_bound_and_then_dropped() {
        let now = crate::origin();
        let mut receiver = Receiver::default();
        assert!(receiver.take_data(now, 1000));
        assert!(receiver.take_data(now, 900), "100 behind");
        assert!(!receiver.take_data(now, 899), "101 behind");
        assert!(receiver.take_data(now, 2000), "a gap is not waited for");
        let figures = receiver.figures;
        assert_eq!((figures.received, figures.late, figures.too_late), (4, 1, 1));
        assert_eq!(figures.missing(), 1996);
    }

    #[test]
    fn a_cover_cell_shows_the_loss_of_the_last_data_cell() {
        let now = crate::origin();
        let mut receiver = Receiver::default();
        assert!(receiver.take_data(now, 1));
        receiver.take_cover(2);
        assert_eq!(receiver.figures.missing(), 1);
        assert_eq!(receiver.feedback(now).highest, 1, "feedback is about cells that came");
    }

    #[test]
    fn the_age_counts_units_of_64_microseconds_and_saturates() {
        let start = crate::origin();
        let mut receiver = Receiver::default();
        assert_eq!(receiver.feedback(start).age, 0);
        receiver.take_data(start, 1);
        assert_eq!(receiver.feedback(start + Duration::from_micros(63)).age, 0);
        assert_eq!(receiver.feedback(start + Duration::from_micros(640)).age, 10);
        let old = receiver.feedback(start + Duration::from_secs(10));
        assert_eq!(old.age, u16::MAX);
        assert_eq!(age_of(old), None);
    }
}
