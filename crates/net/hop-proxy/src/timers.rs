//! When to look at which flow again.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::table::Key;

/// The deadline of each flow, earliest first. One entry a flow.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Key)>,
}

impl Timers {
    /// Sets a flow's deadline; `old` is the one that was set before and is replaced by it.
    pub(crate) fn set(&mut self, key: Key, old: &mut Option<Instant>, at: Instant) {
        if *old == Some(at) {
            return;
        }
        self.clear(key, old);
        self.queue.insert((at, key));
        *old = Some(at);
    }

    /// Takes a flow's deadline away.
    pub(crate) fn clear(&mut self, key: Key, old: &mut Option<Instant>) {
        if let Some(at) = old.take() {
            self.queue.remove(&(at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// A flow whose deadline has come; its entry is gone.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let first = self.queue.first().filter(|(at, _)| *at <= now).copied()?;
        self.queue.remove(&first);
        Some(first.1)
    }

    /// The flow with the earliest deadline, due or not; its entry is gone.
    pub(crate) fn pop_first(&mut self) -> Option<(Instant, Key)> {
        self.queue.pop_first()
    }
}
