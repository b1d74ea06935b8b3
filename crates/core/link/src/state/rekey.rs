//! New keys for a link that is up, in cells of circuit 0 (docs/spec/link.md, "Rekey").

use crate::config::EndpointConfig;
use crate::handshake::{Initiation, SECOND_LEN};
use crate::keyset::KeySet;
use std::time::{Duration, Instant};

/// Answers that are tried on one handshake before it is given up.
pub(crate) const MESSAGE_2_READS_MAX: u8 = 8;
/// Wait for an answer to a rekey, if four round trips are not longer; doubles with each try.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A responder works on one rekey in this time: half of what any initiator waits.
const INTERVAL_MIN: Duration = Duration::from_millis(500);

/// The rekey of one generation of keys, at either end.
pub(crate) struct Rekey {
    /// Initiator: when the keys are old enough.
    at: Instant,
    next_try: Option<Instant>,
    tries: u32,
    pending: Option<(Box<Initiation>, u8)>,
    /// Responder: counter of the newest first message, and when it was worked on.
    newest: Option<(u64, Instant)>,
    answer: Option<Box<[u8; SECOND_LEN]>>,
}

impl Rekey {
    pub(crate) fn new(at: Instant) -> Self {
        Self { at, next_try: None, tries: 0, pending: None, newest: None, answer: None }
    }

    /// When the initiator sends a first message; keys that are worn out by then are due since they were `born`.
    pub(crate) fn due_at(&self, born: Instant, keys: &KeySet, config: &EndpointConfig) -> Instant {
        let worn = keys.sealed().max(keys.opened_end()) >= config.rekey_packets;
        self.next_try.unwrap_or(if worn { born } else { self.at })
    }

    /// A first message goes out; `None` if it could not be made, which is tried again later.
    pub(crate) fn begin(&mut self, now: Instant, rtt: Duration, initiation: Option<Initiation>) {
        let wait = RETRY_FIRST.max(4 * rtt).saturating_mul(1 << self.tries.min(8)).min(RETRY_MAX);
        self.next_try = Some(now + wait);
        self.tries = self.tries.saturating_add(1);
        self.pending = initiation.map(|initiation| (Box::new(initiation), MESSAGE_2_READS_MAX));
    }

    /// The handshake that an answer may belong to, if it may be tried once more.
    pub(crate) fn pending(&mut self) -> Option<&mut Initiation> {
        self.pending.take_if(|(_, left)| *left == 0);
        self.pending.as_mut().map(|(initiation, left)| {
            *left -= 1;
            &mut **initiation
        })
    }

    /// True when the responder works on a first message with this counter: it was not overtaken and comes not too soon.
    pub(crate) fn admits(&mut self, now: Instant, counter: u64) -> bool {
        if self.newest.is_some_and(|(newest, at)| counter <= newest || now < at + INTERVAL_MIN) {
            return false;
        }
        self.newest = Some((counter, now));
        true
    }

    pub(crate) fn set_answer(&mut self, answer: Box<[u8; SECOND_LEN]>) {
        self.answer = Some(answer);
    }

    pub(crate) fn owes_answer(&self) -> bool {
        self.answer.is_some()
    }

    pub(crate) fn poll_answer(&mut self) -> Option<Box<[u8; SECOND_LEN]>> {
        self.answer.take()
    }
}
