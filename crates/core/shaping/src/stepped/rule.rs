//! The rule that chooses a class: by queue, with hysteresis.
//!
//! Up one class when bytes waited for more than a second in a quarter of the looks at the queue; down one when they hardly
//! ever did and the next slower class would have been at most half full. Between the two nothing changes.

use crate::class::RateClass;

/// A backlog that the class needs longer than this to send is waiting.
const WAIT_S: u64 = 1;
/// Up when at least one look in this many found bytes waiting. One video player at 2 Mbit/s has bytes waiting in one look
/// of seven; at 8 it would go up, find the faster class three quarters empty, and come down again, for ever.
const WAITS_FOR_UP: u64 = 4;
/// Down only when at most one look in this many did.
const WAITS_FOR_DOWN: u64 = 64;
/// Down only when what was sent would have filled at most one part in this many of the slower class.
const USE_FOR_DOWN: u64 = 2;

/// What was seen since the last edge.
#[derive(Debug, Default)]
pub(super) struct Period {
    looks: u64,
    waiting: u64,
    sent_bytes: u64,
}

impl Period {
    pub(super) fn handle_backlog(&mut self, bytes: u64, class: RateClass) {
        self.looks += 1;
        self.waiting += u64::from(bytes > class.bits_per_second() / 8 * WAIT_S);
    }

    pub(super) fn handle_sent(&mut self, bytes: u64) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
    }

    /// The class for the next period, out of `classes`, slowest first. This one took `period_s` seconds.
    pub(super) fn choose(&self, present: RateClass, classes: &[RateClass], period_s: u64) -> RateClass {
        if self.looks == 0 {
            return present;
        }
        let slower = classes.iter().copied().rfind(|class| *class < present);
        let faster = classes.iter().copied().find(|class| *class > present);
        if self.waiting * WAITS_FOR_UP >= self.looks {
            return faster.unwrap_or(present);
        }
        let calm = self.waiting * WAITS_FOR_DOWN <= self.looks;
        let is_enough =
            |class: &RateClass| calm && self.sent_bytes <= class.bits_per_second() / 8 * period_s / USE_FOR_DOWN;
        slower.filter(is_enough).unwrap_or(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(bits: u64) -> RateClass {
        RateClass::at_least(bits).expect("an existing class")
    }

    fn chosen(waiting: u64, looks: u64, sent_bytes: u64, present: u64) -> RateClass {
        let classes = [256_000, 2_000_000, 10_000_000].map(class);
        Period { looks, waiting, sent_bytes }.choose(class(present), &classes, 300)
    }

    #[test]
    fn it_goes_up_one_class_when_bytes_wait() {
        assert_eq!(chosen(250, 1_000, 0, 256_000), class(2_000_000));
        assert_eq!(chosen(249, 1_000, 0, 256_000), class(256_000));
        assert_eq!(chosen(1_000, 1_000, 0, 10_000_000), class(10_000_000), "the fastest stays");
        assert_eq!(chosen(0, 0, 0, 10_000_000), class(10_000_000), "nothing was seen");
    }

    #[test]
    fn it_goes_down_one_class_when_that_is_enough() {
        // Half of what the class of at least 2 Mbit/s carries in 300 s.
        let half = class(2_000_000).bits_per_second() / 8 * 300 / 2;
        assert_eq!(chosen(0, 1_000, half, 10_000_000), class(2_000_000));
        assert_eq!(chosen(0, 1_000, half + 1, 10_000_000), class(10_000_000));
        assert_eq!(chosen(15, 1_000, half, 10_000_000), class(2_000_000));
        assert_eq!(chosen(16, 1_000, half, 10_000_000), class(10_000_000), "bytes waited too often");
        assert_eq!(chosen(0, 1_000, 0, 256_000), class(256_000), "the slowest stays");
    }

    #[test]
    fn waiting_is_more_than_a_second_of_the_class() {
        let present = class(2_000_000);
        let mut period = Period::default();
        period.handle_backlog(present.bits_per_second() / 8, present);
        assert_eq!(period.waiting, 0);
        period.handle_backlog(present.bits_per_second() / 8 + 1, present);
        assert_eq!((period.waiting, period.looks), (1, 2));
    }
}
