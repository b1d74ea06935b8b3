//! When a node of a model has something to do next. What was asked once need not be asked again at every step.

use std::time::Instant;

/// The time that a node said last, unless something has come since.
#[derive(Debug, Default)]
pub(super) struct Due {
    at: Option<Instant>,
    is_known: bool,
}

impl Due {
    /// Something has come: what was said before says nothing any more.
    pub(super) fn touch(&mut self) {
        self.is_known = false;
    }

    /// What the node says after it has done everything.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        (self.at, self.is_known) = (at, true);
    }

    /// What it said, if that still holds. `rings`: its applications have done something.
    pub(super) fn known(&self, rings: bool) -> Option<Option<Instant>> {
        (self.is_known && !rings).then_some(self.at)
    }

    /// True when there is nothing to be done.
    pub(super) fn rests(&self, now: Instant, rings: bool) -> bool {
        self.known(rings).is_some_and(|at| at.is_none_or(|at| at > now))
    }
}
