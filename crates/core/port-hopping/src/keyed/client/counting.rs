//! What became of the packets of the present pair, by the counts of both ends.
//!
//! The server tells in each answer how many packets it has got and sent on the pair before the knock. Between two answers
//! that gives what was lost in each direction, without a byte added to a packet of the program.

use super::knocking::KNOCKS_MAX;
use crate::detector::{Delivery, Pace};
use crate::keyed::knock::PairCounts;
use std::time::{Duration, Instant};

/// Packets, in both directions together, after which counts are asked for: enough that a loss of some of them is seen.
pub(super) const PACKETS_MIN: u64 = 16;
/// The least time between two answers and the next question, drawn between this and one and a half times it; two round trips
/// if they are longer.
const ASK_AFTER: Duration = Duration::from_millis(200);

/// Answers of a pair by which it can be judged.
const ANSWERS_MIN: u64 = 4;

/// Counts packets on one pair.
#[derive(Debug)]
pub(super) struct Counting {
    sent: u64,
    received: u64,
    last: Option<Snapshot>,
    /// Packets since counts were asked for.
    moved: u64,
    next_at: Instant,
    /// The number of the last question.
    number: u64,
    knocks: u64,
    answers: u64,
}

/// Both ends' counts, as one answer gave them.
#[derive(Debug, Clone, Copy)]
struct Snapshot {
    at: Instant,
    sent: u64,
    received: u64,
    server: PairCounts,
}

impl Counting {
    pub(super) fn new(now: Instant) -> Self {
        Self { sent: 0, received: 0, last: None, moved: 0, next_at: now, number: 0, knocks: 0, answers: 0 }
    }

    pub(super) fn note_sent(&mut self, packets: u64) {
        self.sent += packets;
        self.moved += packets;
    }

    pub(super) fn note_received(&mut self, packets: u64) {
        self.received += packets;
        self.moved += packets;
    }

    /// What had been sent before a knock that leaves now.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// A knock leaves on the pair.
    pub(super) fn note_knock(&mut self) {
        self.knocks += 1;
    }

    /// Whether most knocks were answered before the last ones, which were not: then the pair has changed.
    pub(super) fn answered_well(&self) -> bool {
        self.answers >= ANSWERS_MIN && 2 * self.answers >= self.knocks.saturating_sub(KNOCKS_MAX.into())
    }

    /// When counts are to be asked for; `None` while too little has passed.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        (self.moved >= PACKETS_MIN).then_some(self.next_at)
    }

    /// Counts are asked for now: the number of the question.
    pub(super) fn ask(&mut self) -> u64 {
        self.moved = 0;
        self.number += 1;
        self.number
    }

    /// An answer has come, to a knock that left when `sent` packets had been sent. `share` of the wait is drawn, 0 to 1. Returns
    /// what became of the packets since the answer before, in the direction that lost more.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        sent: u64,
        server: PairCounts,
        rtt: Duration,
        share: f64,
    ) -> Option<Delivery> {
        self.answers += 1;
        self.next_at = now + ASK_AFTER.max(2 * rtt).mul_f64(1.0 + share / 2.0);
        let newer = Snapshot { at: now, sent, received: self.received, server };
        let last = self.last.replace(newer)?;
        let span = now.saturating_duration_since(last.at);
        let passed = |newer: u64, older: u64| newer.checked_sub(older);
        // A server that has restarted, or that sees another pair behind a translator, has begun anew.
        let (received, told) = (passed(server.received, last.server.received)?, passed(server.sent, last.server.sent)?);
        let sent = passed(sent, last.sent)?;
        let down = self.received - last.received;
        // What the program could have sent is not known, so rates say nothing and only loss is a sign, as with a schedule.
        let up = Delivery { span, sent, received, pace: Pace::Schedule };
        let down = Delivery { span, sent: told, received: down, pace: Pace::Schedule };
        let lost = |way: &Delivery| (way.sent.saturating_sub(way.received), way.sent);
        Some(if lost(&down) > lost(&up) { down } else { up })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    fn told(received: u64, sent: u64) -> PairCounts {
        PairCounts { received, sent }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn two_answers_say_what_was_lost_between_them() {
        let start = Instant::now();
        let mut counting = Counting::new(start);
        assert_eq!((counting.ask_at(), counting.handle_answer(start, 0, told(0, 0), RTT, 0.0)), (None, None));
        counting.note_sent(100);
        counting.note_received(40);
        let ask_at = counting.ask_at().expect("enough has passed");
        assert_eq!(ask_at, start + ASK_AFTER);
        assert_eq!((counting.ask(), counting.ask_at(), counting.sent()), (1, None, 100));
        // What is sent after the knock is no part of its answer.
        counting.note_sent(7);
        let up = counting.handle_answer(ask_at, 100, told(89, 50), RTT, 1.0).expect("a second answer");
        assert_eq!((up.sent, up.received, up.span), (100, 89, ASK_AFTER));
        counting.note_received(10);
        let down = counting.handle_answer(ask_at, 107, told(96, 64), RTT, 1.0).expect("a third answer");
        assert_eq!((down.sent, down.received), (14, 10));
        counting.note_sent(20);
        assert_eq!(counting.ask_at(), Some(ask_at + ASK_AFTER * 3 / 2));
        assert_eq!(counting.ask(), 2, "numbers rise");
        assert_eq!(counting.handle_answer(ask_at, 127, told(3, 50), RTT, 0.0), None, "the server has begun anew");
    }
}
