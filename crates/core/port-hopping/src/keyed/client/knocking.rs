//! Knocks that were sent and wait for their answers, and knocks on the present pair.

use crate::keyed::knock::{Answer, KnockKeys, Purpose, SealedKnock};
use crate::step::SocketId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Knocks whose answers are waited for: four on each of three candidates and on the present pair. When full, the oldest
/// is given up.
const OUTSTANDING_MAX: usize = 16;
/// Knocks on the present pair, and the time that an answer may take longer than round trips before it.
pub(super) const KNOCKS_MAX: u32 = 4;
const MARGIN: Duration = Duration::from_millis(15);

/// The knocks that may still be answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outstanding(VecDeque<Sent>);

#[derive(Debug)]
struct Sent {
    id: SocketId,
    at: Instant,
    /// Packets of the program that had left on the pair before it.
    packets: u64,
    knock: SealedKnock,
}

/// An answer, and what there is to know about its knock.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) sent_at: Instant,
    pub(super) packets: u64,
}

impl Outstanding {
    pub(super) fn note(&mut self, at: Instant, id: SocketId, packets: u64, knock: SealedKnock) {
        if self.0.len() == OUTSTANDING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Sent { id, at, packets, knock });
    }

    /// The answer in a datagram that came on this socket. Answered knocks are forgotten,
    /// and older ones on the same socket too.
    pub(super) fn open_answer(&mut self, keys: &mut KnockKeys, id: SocketId, datagram: &[u8]) -> Option<Answered> {
        let mut found = None;
        for (place, sent) in self.0.iter().enumerate().rev() {
            if sent.id == id
                && let Some(answer) = keys.open_answer(&sent.knock, datagram)
            {
                found = Some((place, Answered { answer, sent_at: sent.at, packets: sent.packets }));
                break;
            }
        }
        let (place, answered) = found?;
        let mut at = 0;
        self.0.retain(|sent| {
            at += 1;
            sent.id != id || at > place + 1
        });
        Some(answered)
    }

    pub(super) fn forget(&mut self, id: SocketId) {
        self.0.retain(|sent| sent.id != id);
    }
}

/// Knocks on the present pair until one is answered.
#[derive(Debug)]
pub(super) struct Knocking {
    /// What the first one is for. Whoever does not answer it may have forgotten the pair, so the others ask to take it.
    first: Purpose,
    knocks: u32,
    next_at: Instant,
}

impl Knocking {
    pub(super) fn new(now: Instant, first: Purpose) -> Self {
        Self { first, knocks: 0, next_at: now }
    }

    /// The knock that is to be sent now.
    pub(super) fn poll(&mut self, now: Instant, rtt: Duration) -> Option<Purpose> {
        if now < self.next_at || self.knocks == KNOCKS_MAX {
            return None;
        }
        let purpose = if self.knocks == 0 { self.first } else { Purpose::Take };
        self.next_at = now + (rtt + MARGIN) * (1 << self.knocks);
        self.knocks += 1;
        Some(purpose)
    }

    /// All knocks were sent, and the last has had its time.
    pub(super) fn given_up(&self, now: Instant) -> bool {
        self.knocks == KNOCKS_MAX && now >= self.next_at
    }

    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }
}
