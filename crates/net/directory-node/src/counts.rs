//! What the service has done, counted: for the operator of the member. Whoever may ask the service may not ask this: it tells how many
//! others ask, and when.

use relay_directory::{CODE_TRY_AGAIN, CommandOutcome, Refusal};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the service of a member has done since it started: sums, and nothing about anybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Streams that were accepted.
    pub streams: u64,
    /// Streams that are open now.
    pub open: u64,
    /// Streams that were closed because nothing was asked on them, or nothing of an answer was taken, for too long.
    pub stalled: u64,
    /// Streams that were closed because what came was no request.
    pub invalid: u64,
    /// Of the streams that are open, those of strangers, who come through circuits.
    pub strangers_open: u64,
    /// Streams of strangers that were closed at once, because there were too many.
    pub strangers_closed: u64,
    /// Commands that came.
    pub commands: u64,
    /// Of these, put off because too many came in a second.
    pub put_off: u64,
    /// Of these, words of relays that nobody admitted.
    pub strangers: u64,
    /// Of these, words of relays that had said as much as counts in an interval.
    pub over_quota: u64,
    /// Of these, refused for any other reason, by this member or by the log.
    pub refused: u64,
    /// Of these, not ordered in time: no majority, or too much to do.
    pub unordered: u64,
}

/// The counts of one service. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Mutex<ServiceCounts>>);

impl Counts {
    /// The sums now.
    pub fn now(&self) -> ServiceCounts {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, ServiceCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream is served from now on.
    pub(crate) fn begun(&self) {
        let mut counts = self.lock();
        counts.streams += 1;
        counts.open += 1;
    }

    /// A stream is over.
    pub(crate) fn ended(&self, how: &io::Result<()>) {
        let mut counts = self.lock();
        counts.open = counts.open.saturating_sub(1);
        match how.as_ref().map_err(io::Error::kind) {
            Err(ErrorKind::TimedOut) => counts.stalled += 1,
            Err(ErrorKind::InvalidData) => counts.invalid += 1,
            Ok(()) | Err(_) => {}
        }
    }

    /// A stream is a stranger's, and served or closed.
    pub(crate) fn stranger_begun(&self, is_served: bool) {
        let mut counts = self.lock();
        let count = if is_served { &mut counts.strangers_open } else { &mut counts.strangers_closed };
        *count += 1;
    }

    /// Such a stream, which was served, is over.
    pub(crate) fn stranger_ended(&self) {
        let mut counts = self.lock();
        counts.strangers_open = counts.strangers_open.saturating_sub(1);
    }

    /// A command was put off: too many came in a second.
    pub(crate) fn put_off(&self) {
        let mut counts = self.lock();
        counts.commands += 1;
        counts.put_off += 1;
    }

    /// What became of any other command.
    pub(crate) fn command(&self, outcome: &CommandOutcome) {
        let mut counts = self.lock();
        counts.commands += 1;
        let is = |refusal: Refusal| outcome.code == refusal.code();
        if is(Refusal::NotAdmitted) {
            counts.strangers += 1;
        } else if is(Refusal::Quota) {
            counts.over_quota += 1;
        } else if outcome.code == CODE_TRY_AGAIN {
            counts.unordered += 1;
        } else if !outcome.is_done() {
            counts.refused += 1;
        }
    }
}
