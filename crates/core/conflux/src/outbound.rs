//! What went on a leg: numbers, and what the other end's feedback says about them.

use crate::counter::unwrap_below;
use crate::inbound::age_of;
use std::time::{Duration, Instant};
use wire::leg::Feedback;

/// Data cells whose time of sending is remembered for round-trip samples. Feedback about an older cell gives
/// no sample: at 100,000 cells a second, cells older than 40 ms.
pub const SEND_TIMES_KEPT: usize = 4096;

/// What went on one leg, in data cells. All counters begin at 0 with the leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outbound {
    /// Data cells sent: the newest tunnel number.
    pub sent: u64,
    /// Highest number that the other end has seen.
    pub highest: u64,
    /// Data cells that the other end has received.
    pub received: u64,
    /// Data cells sent after the highest one that the other end has seen.
    pub in_flight: u64,
    /// Cover cells sent.
    pub covers: u64,
    /// Feedback fields that say what cannot be: the other end's fault, ignored.
    pub bad_feedback: u64,
}

impl Outbound {
    /// Data cells up to the highest seen that the other end has not received: lost, or still to come late.
    pub fn lost(&self) -> u64 {
        self.highest.saturating_sub(self.received)
    }

    /// The part of the data cells up to the highest seen that is lost, 0.0..=1.0.
    pub fn loss(&self) -> f64 {
        if self.highest == 0 { 0.0 } else { self.lost() as f64 / self.highest as f64 }
    }
}

/// The sending half of a leg.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) figures: Outbound,
    rtt: Option<Duration>,
    /// Time of sending of cell `n` at `n % SEND_TIMES_KEPT`.
    sent_at: Vec<Option<(u64, Instant)>>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self { figures: Outbound::default(), rtt: None, sent_at: vec![None; SEND_TIMES_KEPT] }
    }

    /// The number of the next data cell.
    pub(crate) fn number_data(&mut self, now: Instant) -> u64 {
        self.figures.sent += 1;
        self.figures.in_flight = self.figures.sent - self.figures.highest;
        let number = self.figures.sent;
        let place = slot_of(number);
        self.sent_at[place] = Some((number, now));
        number
    }

    /// The number of a cover cell: the newest, again.
    pub(crate) fn number_cover(&mut self) -> u64 {
        self.figures.covers += 1;
        self.figures.sent
    }

    /// Smoothed time from sending a data cell to the feedback about it, less the time that it waited there.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Takes the other end's feedback. Fields that went back (an older cell) change nothing.
    pub(crate) fn handle_feedback(&mut self, now: Instant, feedback: Feedback) {
        let figures = &mut self.figures;
        let highest = unwrap_below(feedback.highest, figures.sent);
        let Some((highest, received)) =
            highest.and_then(|highest| Some((highest, unwrap_below(feedback.received, highest)?)))
        else {
            figures.bad_feedback += 1;
            return;
        };
        if highest < figures.highest || received < figures.received {
            return;
        }
        let is_new = highest > figures.highest;
        figures.highest = highest;
        figures.received = received;
        figures.in_flight = figures.sent - highest;
        if is_new {
            self.sample_rtt(now, highest, feedback);
        }
    }

    fn sample_rtt(&mut self, now: Instant, number: u64, feedback: Feedback) {
        let Some((kept, sent_at)) = self.sent_at[slot_of(number)] else { return };
        let Some(age) = age_of(feedback).filter(|_| kept == number) else { return };
        let sample = now.saturating_duration_since(sent_at).saturating_sub(age);
        self.rtt = Some(self.rtt.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
    }
}

fn slot_of(number: u64) -> usize {
    (number % SEND_TIMES_KEPT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::low_bits;
    use proptest::prelude::*;

    fn feedback(highest: u64, received: u64, age: u16) -> Feedback {
        Feedback { highest: low_bits(highest), received: low_bits(received), age }
    }

    #[test]
    fn feedback_gives_loss_and_flight() {
        let now = crate::origin();
        let mut sender = Sender::new();
        for _ in 0..100 {
            sender.number_data(now);
        }
        sender.handle_feedback(now, feedback(90, 81, 0));
        let figures = sender.figures;
        assert_eq!((figures.highest, figures.received, figures.lost(), figures.in_flight), (90, 81, 9, 10));
        assert!((figures.loss() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn old_and_impossible_feedback_changes_nothing() {
        let now = crate::origin();
        let mut sender = Sender::new();
        for _ in 0..100 {
            sender.number_data(now);
        }
        sender.handle_feedback(now, feedback(90, 81, 0));
        let before = sender.figures;
        sender.handle_feedback(now, feedback(80, 80, 0));
        assert_eq!(sender.figures, before);
        sender.handle_feedback(now, feedback(101, 81, 0));
        sender.handle_feedback(now, feedback(95, 96, 0));
        assert_eq!(sender.figures.bad_feedback, 2);
        assert_eq!((sender.figures.highest, sender.figures.received), (90, 81));
    }

    #[test]
    fn a_round_trip_is_sampled_without_the_wait_at_the_other_end() {
        let start = crate::origin();
        let mut sender = Sender::new();
        sender.number_data(start);
        sender.handle_feedback(start + Duration::from_millis(50), feedback(1, 1, 10_000 / 64));
        let rtt = sender.rtt().map(|rtt| rtt.as_millis());
        assert_eq!(rtt, Some(40));
    }

    proptest! {
        #[test]
        fn counters_are_right_beyond_24_bits(start in 0u64..1 << 40, sent in 1u64..5000, lost in 0u64..5000) {
            let now = crate::origin();
            let mut sender = Sender::new();
            sender.figures = Outbound { sent: start, highest: start, received: start, ..Outbound::default() };
            for _ in 0..sent {
                sender.number_data(now);
            }
            let lost = lost.min(sent);
            sender.handle_feedback(now, feedback(start + sent, start + sent - lost, 0));
            prop_assert_eq!(sender.figures.lost(), lost);
            prop_assert_eq!(sender.figures.in_flight, 0);
        }

        #[test]
        fn any_feedback_leaves_sound_figures(sent in 0u64..300, fields in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u16>()), 1..20)) {
            let now = crate::origin();
            let mut sender = Sender::new();
            for _ in 0..sent {
                sender.number_data(now);
            }
            for (highest, received, age) in fields {
                sender.handle_feedback(now, Feedback { highest: highest % 512, received: received % 512, age });
                let figures = sender.figures;
                prop_assert!(figures.received <= figures.highest && figures.highest <= figures.sent);
                prop_assert_eq!(figures.in_flight, figures.sent - figures.highest);
            }
        }
    }
}
