//! What came on one leg of several: what feedback says about it, and what order needs to know.

use crate::counter::low_bits;
use crate::inbound::AGE_UNIT;
use std::time::{Duration, Instant};
use wire::leg::Feedback;

/// Data cells that may come on a leg before the other end is owed feedback about it (mode `off`). More than of a pair: each such cell is
/// one less of data at a relay with a limit.
pub(crate) const DEBT_CELLS: u32 = 24;
/// How long feedback about a data cell may take (mode `off`).
pub(crate) const DEBT_DELAY: Duration = crate::only_leg::DEBT_DELAY;

/// The receiving half of a leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake {
    /// Highest count of a cell, 1 for the layer number 0; 0 before the first.
    highest: u64,
    highest_at: Option<Instant>,
    /// Cells of all kinds that came.
    pub(crate) received: u64,
    /// All data cells up to this tunnel number were sent before something that came on this leg.
    past: u64,
    newest_at: Option<Instant>,
    /// Data cells since the last feedback about this leg.
    debt: u32,
    owed_at: Option<Instant>,
}

impl Intake {
    /// Counts a cell. `tunnel_number` is that of its header.
    pub(crate) fn take(&mut self, now: Instant, count: u64, tunnel_number: u64) {
        self.received += 1;
        self.newest_at = Some(now);
        self.past = self.past.max(tunnel_number);
        if count > self.highest {
            self.highest = count;
            self.highest_at = Some(now);
        }
    }

    /// A data cell makes debt.
    pub(crate) fn owe(&mut self, now: Instant) {
        self.debt = self.debt.saturating_add(1);
        if self.debt == 1 {
            self.owed_at = Some(now + DEBT_DELAY);
        } else if self.debt >= DEBT_CELLS {
            self.owed_at = self.owed_at.map(|at| at.min(now));
        }
    }

    /// When feedback about this leg is due.
    pub(crate) fn owed_at(&self) -> Option<Instant> {
        self.owed_at
    }

    pub(crate) fn debt(&self) -> u32 {
        self.debt
    }

    /// Feedback about this leg, which pays the debt.
    pub(crate) fn feedback(&mut self, now: Instant) -> Feedback {
        self.debt = 0;
        self.owed_at = None;
        let age = self.highest_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let age = u16::try_from(age.as_nanos() / AGE_UNIT.as_nanos()).unwrap_or(u16::MAX);
        Feedback { age, ..self.ageless_feedback() }
    }

    /// The same for a cell of which nobody knows yet whether and when it leaves: it pays nothing, and gives no round trip.
    pub(crate) fn ageless_feedback(&self) -> Feedback {
        Feedback { highest: low_bits(self.highest), received: low_bits(self.received), age: u16::MAX }
    }

    /// Whether something came within `window`: then gaps wait for this leg.
    pub(crate) fn is_recent(&self, now: Instant, window: Duration) -> bool {
        self.newest_at.is_some_and(|at| at + window > now)
    }

    /// When it stops being recent.
    pub(crate) fn recent_until(&self, window: Duration) -> Option<Instant> {
        self.newest_at.map(|at| at + window)
    }

    pub(crate) fn past(&self) -> u64 {
        self.past
    }
}
