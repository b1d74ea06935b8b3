//! Knocks that were sent and wait for their answers, and knocks on the present pair.

use crate::keyed::knock::{Answer, KnockKeys, SealedKnock};
use crate::step::SocketId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Knocks whose answers are waited for: four on each of three candidates and on the present pair. When full, the oldest
/// is given up.
const OUTSTANDING_MAX: usize = 16;
/// Knocks on the present pair, and the time that an answer may take longer than round trips before it.
const KNOCKS_MAX: u32 = 4;
const MARGIN: Duration = Duration::from_millis(15);

/// The knocks that may still be answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outstanding(VecDeque<(SocketId, Instant, SealedKnock)>);

impl Outstanding {
    pub(super) fn note(&mut self, now: Instant, id: SocketId, knock: SealedKnock) {
        if self.0.len() == OUTSTANDING_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, now, knock));
    }

    /// The answer in a datagram that came on this socket, and when its knock was sent. Answered knocks are forgotten,
    /// and older ones on the same socket too.
    pub(super) fn open_answer(
        &mut self,
        keys: &mut KnockKeys,
        id: SocketId,
        datagram: &[u8],
    ) -> Option<(Answer, Instant)> {
        let mut found = None;
        for (place, (socket, sent_at, knock)) in self.0.iter().enumerate().rev() {
            if *socket == id
                && let Some(answer) = keys.open_answer(knock, datagram)
            {
                found = Some((place, answer, *sent_at));
                break;
            }
        }
        let (place, answer, sent_at) = found?;
        let mut at = 0;
        self.0.retain(|(socket, _, _)| {
            at += 1;
            *socket != id || at > place + 1
        });
        Some((answer, sent_at))
    }

    pub(super) fn forget(&mut self, id: SocketId) {
        self.0.retain(|(socket, _, _)| *socket != id);
    }
}

/// Knocks on the present pair until one is answered.
#[derive(Debug)]
pub(super) struct Knocking {
    knocks: u32,
    next_at: Instant,
}

impl Knocking {
    pub(super) fn new(now: Instant) -> Self {
        Self { knocks: 0, next_at: now }
    }

    /// Whether a knock is to be sent now.
    pub(super) fn poll(&mut self, now: Instant, rtt: Duration) -> bool {
        let due = now >= self.next_at && self.knocks < KNOCKS_MAX;
        if due {
            self.next_at = now + (rtt + MARGIN) * (1 << self.knocks);
            self.knocks += 1;
        }
        due
    }

    /// All knocks were sent, and the last has had its time.
    pub(super) fn given_up(&self, now: Instant) -> bool {
        self.knocks == KNOCKS_MAX && now >= self.next_at
    }

    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }
}
