//! What went on one leg of several, and what the other end's feedback says about it.

use crate::counter::unwrap_below;
use crate::inbound::age_of;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::leg::Feedback;

/// Cells of one leg that are remembered until feedback passes them. When there are more, the oldest is forgotten: it then
/// gives no samples, and no longer counts as in flight.
pub const FLIGHT_CELLS_MAX: usize = 16_384;
/// So many are remembered however short memory is: a round trip of what a leg carries then.
const FLIGHT_CELLS_MIN: usize = 256;

/// A cell that feedback has not passed.
#[derive(Debug, Clone, Copy)]
struct Record {
    count: u64,
    /// Counts before it that no cell had.
    skipped: u64,
    at: Instant,
    is_data: bool,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    is_app_limited: bool,
}

/// How fast cells were delivered, measured over about a round trip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RateSample {
    pub(crate) cells_per_second: f64,
    /// There was not always something to send: the leg may be faster.
    pub(crate) is_app_limited: bool,
}

/// What new feedback says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    /// Cells that the other end has received since the last feedback.
    pub(crate) delivered: u64,
    /// Cells that are now known to be missing and were not before.
    pub(crate) lost: u64,
    /// None when the feedback came on another leg, or is too old to tell.
    pub(crate) rtt: Option<Duration>,
    pub(crate) rate: Option<RateSample>,
    /// What had been delivered when the newest cell was sent that the other end has seen: a round is over when this passes
    /// what was delivered at its start.
    pub(crate) delivered_at_send: u64,
}

/// What went on one leg of a tunnel, in cells of all kinds unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegOutbound {
    /// Sent.
    pub sent: u64,
    /// Data cells sent.
    pub data_sent: u64,
    /// Of those sent, the other end has received this many.
    pub received: u64,
    /// Passed by feedback and not received: lost, or still to come late.
    pub lost: u64,
    /// Data cells sent after the highest that the other end has seen, those written off left out.
    pub in_flight: u64,
    /// Data cells that were written off because no feedback came.
    pub written_off: u64,
    /// Feedback fields that say what cannot be: the other end's fault, ignored.
    pub bad_feedback: u64,
}

/// The sending half of a leg.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    records: VecDeque<Record>,
    /// Cells that may be remembered now, at most [`FLIGHT_CELLS_MAX`].
    cells_max: usize,
    pub(crate) figures: LegOutbound,
    /// Count of the first cell of this leg.
    base: Option<u64>,
    newest: u64,
    highest: u64,
    /// Counts up to the newest that no cell had, and of these the ones up to the highest that the other end has seen.
    skipped: u64,
    skipped_seen: u64,
    delivered_at: Option<Instant>,
    first_sent_at: Option<Instant>,
    rtt: Option<Duration>,
    app_limited_until: u64,
    /// Count of the newest cell that feedback is waited for; 0: of none.
    waited_up_to: u64,
    /// Since when.
    waiting_since: Option<Instant>,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self {
            records: VecDeque::new(),
            cells_max: FLIGHT_CELLS_MAX,
            figures: LegOutbound::default(),
            base: None,
            newest: 0,
            highest: 0,
            skipped: 0,
            skipped_seen: 0,
            delivered_at: None,
            first_sent_at: None,
            rtt: None,
            app_limited_until: 0,
            waited_up_to: 0,
            waiting_since: None,
        }
    }

    /// Bytes of what is remembered.
    pub(crate) fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
    }

    /// Forgets all but the newest cells.
    pub(crate) fn forget_most(&mut self) {
        self.cells_max = FLIGHT_CELLS_MIN;
        self.forget_oldest(FLIGHT_CELLS_MIN);
        self.records.shrink_to(FLIGHT_CELLS_MIN);
    }

    fn forget_oldest(&mut self, left: usize) {
        while self.records.len() > left
            && let Some(forgotten) = self.records.pop_front()
        {
            self.figures.in_flight -= u64::from(forgotten.is_data);
        }
    }

    /// So many more bytes may be remembered from now on, within bounds of its own.
    pub(crate) fn limit(&mut self, more: usize) {
        let cells = self.records.len().saturating_add(more / size_of::<Record>());
        self.cells_max = cells.clamp(FLIGHT_CELLS_MIN, FLIGHT_CELLS_MAX);
        if self.records.capacity() > 2 * self.cells_max.max(self.records.len()) {
            self.records.shrink_to(self.cells_max);
        }
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Count of the newest cell sent.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Count of the highest cell that the other end has seen.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// A round trip that linking has measured.
    pub(crate) fn seed_rtt(&mut self, rtt: Duration) {
        self.rtt.get_or_insert(rtt);
    }

    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// There was room and nothing to send.
    pub(crate) fn note_app_limited(&mut self) {
        self.app_limited_until = self.figures.received + self.figures.in_flight.max(1);
    }

    /// Feedback about all that was sent is waited for, cover cells included.
    pub(crate) fn await_feedback(&mut self, now: Instant) {
        self.waited_up_to = self.newest;
        self.waiting_since.get_or_insert(now);
    }

    /// A cell leaves; `count` is 1 for the layer number 0 and grows with each cell. Counts that are left out belong to spares
    /// that were sealed and, as a rule, not sent; they are not missed at the other end. Feedback about a data cell is waited for.
    pub(crate) fn note_sent(&mut self, now: Instant, count: u64, is_data: bool) {
        match self.base {
            None => self.base = Some(count),
            Some(_) => self.skipped += count.saturating_sub(self.newest + 1),
        }
        self.newest = self.newest.max(count);
        self.figures.sent += 1;
        if self.figures.in_flight == 0 {
            // Idle until now: neither interval of a rate sample begins before this.
            self.first_sent_at = Some(now);
            self.delivered_at = Some(now);
        }
        if is_data {
            self.figures.data_sent += 1;
            self.figures.in_flight += 1;
            self.await_feedback(now);
        }
        self.forget_oldest(self.cells_max - 1);
        self.records.push_back(Record {
            count,
            skipped: self.skipped,
            at: now,
            is_data,
            delivered: self.figures.received,
            delivered_at: self.delivered_at.unwrap_or(now),
            first_sent_at: self.first_sent_at.unwrap_or(now),
            is_app_limited: self.app_limited_until > self.figures.received,
        });
    }

    /// Takes feedback about this leg. `on_itself`: it came on this leg, so that it gives a round-trip time.
    pub(crate) fn handle_feedback(&mut self, now: Instant, feedback: Feedback, on_itself: bool) -> Option<Progress> {
        let base = self.base?;
        let (highest, received) = self.widen(feedback, base)?;
        if highest < self.highest || received < self.figures.received {
            return None;
        }
        let delivered = received - self.figures.received;
        let is_new = highest > self.highest;
        let newest = self.forget_up_to(highest);
        let sent = (highest + 1 - base).saturating_sub(self.skipped_seen);
        // A spare that was sent after all makes it one more than is known of.
        let lost = sent.saturating_sub(received);
        let newly_lost = lost.saturating_sub(self.figures.lost);
        self.figures.received = received;
        self.figures.lost = lost;
        self.highest = highest;
        if !is_new && delivered == 0 {
            return None;
        }
        self.waiting_since = (self.waited_up_to > highest).then_some(now);
        let mut progress = Progress { delivered, lost: newly_lost, rtt: None, rate: None, delivered_at_send: 0 };
        if let Some(record) = newest {
            progress.rtt = self.sample_rtt(now, record, feedback).filter(|_| on_itself);
            progress.rate = sample_rate(now, record, received);
            progress.delivered_at_send = record.delivered;
            self.first_sent_at = Some(record.at);
        }
        self.delivered_at = Some(now);
        if let Some(sample) = progress.rtt {
            self.rtt = Some(self.rtt.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
        }
        Some(progress)
    }

    fn widen(&mut self, feedback: Feedback, base: u64) -> Option<(u64, u64)> {
        let highest = unwrap_below(feedback.highest, self.newest);
        let Some(highest) = highest.filter(|highest| *highest >= base) else {
            // 0 before anything came; anything else cannot be.
            self.figures.bad_feedback += u64::from(feedback.highest != 0);
            return None;
        };
        let received = unwrap_below(feedback.received, highest + 1 - base);
        self.figures.bad_feedback += u64::from(received.is_none());
        Some((highest, received?))
    }

    /// Forgets what feedback has passed; returns the newest of it if it was remembered.
    fn forget_up_to(&mut self, highest: u64) -> Option<Record> {
        let mut newest = None;
        while let Some(record) = self.records.pop_front_if(|record| record.count <= highest) {
            self.figures.in_flight -= u64::from(record.is_data);
            self.skipped_seen = record.skipped;
            newest = Some(record);
        }
        newest.filter(|record| record.count == highest)
    }

    fn sample_rtt(&self, now: Instant, record: Record, feedback: Feedback) -> Option<Duration> {
        let age = age_of(feedback)?;
        Some(now.saturating_duration_since(record.at).saturating_sub(age))
    }

    /// Nothing was heard for too long: what is in flight counts as lost, and nothing is waited for. Feedback that comes
    /// after all is still understood.
    pub(crate) fn write_off(&mut self) {
        for record in &mut self.records {
            self.figures.written_off += u64::from(record.is_data);
            record.is_data = false;
        }
        self.figures.in_flight = 0;
        self.waited_up_to = 0;
        self.waiting_since = None;
    }
}

fn sample_rate(now: Instant, record: Record, received: u64) -> Option<RateSample> {
    let acked_in = now.saturating_duration_since(record.delivered_at);
    let sent_in = record.at.saturating_duration_since(record.first_sent_at);
    let interval = acked_in.max(sent_in).as_secs_f64();
    let cells = received.saturating_sub(record.delivered);
    (interval > 0.0 && cells > 0)
        .then(|| RateSample { cells_per_second: cells as f64 / interval, is_app_limited: record.is_app_limited })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::low_bits;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn feedback(highest: u64, received: u64, age: u16) -> Feedback {
        Feedback { highest: low_bits(highest), received: low_bits(received), age }
    }

    #[test]
    fn counts_that_no_cell_had_are_not_missed() {
        let (now, mut flight) = (crate::origin(), Flight::new());
        // A spare was sealed before each cell, and none of them sent.
        for cell in 1..=50 {
            flight.note_sent(now, 2 * cell, true);
        }
        let progress = flight.handle_feedback(now + 20 * MS, feedback(60, 30, 0), true).expect("news");
        assert_eq!((progress.delivered, progress.lost, progress.rtt), (30, 0, Some(20 * MS)));
        let progress = flight.handle_feedback(now + 20 * MS, feedback(100, 45, 0), true).expect("news");
        assert_eq!((progress.delivered, progress.lost, flight.figures.lost), (15, 5, 5));
        // The spare before the next cell was sent as well, and came.
        flight.note_sent(now, 102, true);
        flight.handle_feedback(now + 20 * MS, feedback(102, 47, 0), true);
        assert_eq!((flight.figures.lost, flight.figures.in_flight, flight.figures.bad_feedback), (4, 0, 0));
    }

    #[test]
    fn when_memory_is_short_the_oldest_cells_are_forgotten_and_feedback_still_counts() {
        let (now, mut flight) = (crate::origin(), Flight::new());
        for count in 1..=2_000 {
            flight.note_sent(now, count, true);
        }
        let before = flight.bytes();
        flight.forget_most();
        assert!(flight.bytes() < before / 4, "{} of {before}", flight.bytes());
        assert_eq!(flight.figures.in_flight, FLIGHT_CELLS_MIN as u64);
        flight.note_sent(now, 2_001, true);
        assert_eq!(flight.figures.in_flight, FLIGHT_CELLS_MIN as u64, "no more than that");
        let progress = flight.handle_feedback(now + 20 * MS, feedback(2_001, 1_900, 0), true).expect("news");
        assert_eq!((progress.delivered, progress.lost, flight.figures.in_flight), (1_900, 101, 0));
        flight.limit(usize::MAX);
        (2_002..=4_000).for_each(|count| flight.note_sent(now, count, true));
        assert_eq!(flight.figures.in_flight, 1_999);
    }

    #[test]
    fn only_data_cells_are_in_flight_and_all_cells_are_counted() {
        let now = crate::origin();
        let mut flight = Flight::new();
        for count in 101..=110 {
            flight.note_sent(now, count, count % 2 == 0);
        }
        assert_eq!(flight.figures.in_flight, 5);
        let progress = flight.handle_feedback(now + 10 * MS, feedback(106, 4, 0), true).expect("something new");
        assert_eq!((progress.delivered, progress.lost, progress.rtt), (4, 2, Some(10 * MS)));
        assert_eq!((flight.figures.in_flight, flight.figures.lost), (2, 2));
        let progress = flight.handle_feedback(now + 12 * MS, feedback(106, 5, 0), true).expect("one came late");
        assert_eq!((progress.delivered, progress.lost, flight.figures.lost), (1, 0, 1));
        assert!(flight.handle_feedback(now + 13 * MS, feedback(106, 5, 0), true).is_none(), "nothing new");
    }

    #[test]
    fn feedback_on_another_leg_gives_no_round_trip() {
        let now = crate::origin();
        let mut flight = Flight::new();
        flight.note_sent(now, 1, true);
        let progress = flight.handle_feedback(now + 5 * MS, feedback(1, 1, 0), false).expect("something new");
        assert_eq!((progress.rtt, flight.rtt()), (None, None));
    }

    #[test]
    fn impossible_feedback_is_counted_and_changes_nothing() {
        let now = crate::origin();
        let mut flight = Flight::new();
        for count in 50..60 {
            flight.note_sent(now, count, true);
        }
        assert!(flight.handle_feedback(now, feedback(0, 0, 0), true).is_none());
        assert_eq!(flight.figures.bad_feedback, 0, "nothing came yet");
        assert!(flight.handle_feedback(now, feedback(60, 1, 0), true).is_none(), "60 was not sent");
        assert!(flight.handle_feedback(now, feedback(49, 1, 0), true).is_none(), "49 was before the leg");
        assert!(flight.handle_feedback(now, feedback(55, 7, 0), true).is_none(), "more than were sent");
        assert_eq!((flight.figures.bad_feedback, flight.figures.in_flight), (3, 10));
    }

    #[test]
    fn what_is_written_off_is_not_in_flight_and_may_still_be_answered() {
        let now = crate::origin();
        let mut flight = Flight::new();
        for count in 1..=10 {
            flight.note_sent(now, count, true);
        }
        flight.write_off();
        assert_eq!((flight.figures.in_flight, flight.figures.written_off, flight.waiting_since()), (0, 10, None));
        flight.note_sent(now, 11, true);
        let progress = flight.handle_feedback(now + MS, feedback(8, 8, 0), true).expect("something new");
        assert_eq!((progress.delivered, flight.figures.in_flight), (8, 1));
    }

    #[test]
    fn cover_cells_are_waited_for_where_that_is_said() {
        let now = crate::origin();
        let mut flight = Flight::new();
        flight.note_sent(now, 1, false);
        assert_eq!(flight.waiting_since(), None);
        flight.await_feedback(now + MS);
        flight.note_sent(now + 2 * MS, 2, false);
        flight.await_feedback(now + 2 * MS);
        assert_eq!(flight.waiting_since(), Some(now + MS));
        flight.handle_feedback(now + 5 * MS, feedback(1, 1, 0), true);
        assert_eq!(flight.waiting_since(), Some(now + 5 * MS), "one is still on its way");
        flight.handle_feedback(now + 6 * MS, feedback(2, 2, 0), true);
        assert_eq!(flight.waiting_since(), None);
    }

    #[test]
    fn the_rate_is_that_of_delivery() {
        let start = crate::origin();
        let mut flight = Flight::new();
        let mut rates = Vec::new();
        // A cell a millisecond, seen after 20 ms: 1000 a second.
        for step in 1..=200u32 {
            let now = start + step * MS;
            flight.note_sent(now, u64::from(step), true);
            if step > 20 {
                let seen = u64::from(step - 20);
                rates.extend(flight.handle_feedback(now, feedback(seen, seen, 0), true).and_then(|it| it.rate));
            }
        }
        let last = rates.last().expect("many samples").cells_per_second;
        assert!((last - 1000.0).abs() < 60.0, "{last}");
    }

    proptest! {
        #[test]
        fn any_feedback_leaves_sound_figures(sent in 1u64..300, base in 1u64..1 << 30, fields in proptest::collection::vec((0u64..400, any::<u32>(), any::<u16>()), 1..30)) {
            let now = crate::origin();
            let mut flight = Flight::new();
            for count in base..base + sent {
                flight.note_sent(now, count, count % 3 != 0);
            }
            for (ahead, received, age) in fields {
                let feedback = Feedback { highest: low_bits(base + ahead), received: received % 512, age };
                if let Some(progress) = flight.handle_feedback(now, feedback, true) {
                    prop_assert!(progress.delivered <= sent && progress.lost <= sent);
                }
                let figures = flight.figures;
                prop_assert!(figures.received + figures.lost <= figures.sent);
                prop_assert!(figures.in_flight <= figures.data_sent);
            }
        }
    }
}
