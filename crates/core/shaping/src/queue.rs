//! Mode `queue`: NetShaper's own mechanism (USENIX Security 2024), for comparison.
//!
//! Every T the length of all queues together plus noise, clipped, becomes a decision: so many bytes leave until the next
//! one, data or cover. The queue length is measured, not what arrives, so the loss of a decision is only bounded for
//! two worlds that differ by at most Delta over their *whole* streams, and then every later decision counts. What the
//! paper claims, a bound for all streams that differ by Delta in each window of length W, does not hold: the difference
//! of the queues grows by Delta a window. A test of this crate shows both.
//!
//! Faults of the original that this does not have: the number of cells of a slot is a function of decisions alone, not of the
//! queue when it is sent nor of how many flows there are; a decision of several flows is sent once and not once per
//! flow; noise comes from the system's random source.

use crate::noise::ReadyNoise;
use crate::release::{Held, ReleaseCounts, take_noise};

mod parameters;

pub use parameters::{QueueError, QueueParameters, QueueSettings, SendingStrategy};

/// Most cells that a slot carries. A larger burst goes on in the next slots. They must be sealed within the lead time of a
/// millisecond at one to two microseconds each, and go out in eight sends of 32.
pub const QUEUE_CELLS_PER_SLOT_MAX: u32 = 256;

/// A decision is due. It goes into [`QueueSchedule::release`] at once, with the queue length of this moment.
#[must_use = "without a release the next cells are not scheduled"]
#[derive(Debug)]
pub struct DecisionDue {
    slot: u64,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOutcome {
    /// Let out: this many bytes leave until the next decision.
    Decided(u64),
    /// Nothing was let out: the last decision, which is public, is sent once more.
    Held(Held),
}

/// The cells of the slots from one decision to the next.
#[derive(Debug, Default)]
struct Plan {
    first: u64,
    cells: Vec<u32>,
}

impl Plan {
    fn cells_in_slot(&self, slot: u64) -> Option<u32> {
        self.cells.get(usize::try_from(slot.checked_sub(self.first)?).ok()?).copied()
    }

    fn end(&self) -> u64 {
        self.first + self.cells.len() as u64
    }
}

/// One direction's cells in mode `queue`.
///
/// In each slot first [`QueueSchedule::poll`], and [`QueueSchedule::release`] if it returns something; then the cells of this
/// slot and of the next are [`QueueSchedule::cells_in_slot`]. A decision made in slot d governs slots d + 1 to d + T, so that
/// the cells of a slot are known one slot ahead.
#[derive(Debug)]
pub struct QueueSchedule {
    parameters: QueueParameters,
    next_decision: u64,
    decision_bytes: u64,
    rest_bytes: u64,
    lost_bytes: u64,
    present: Plan,
    previous: Plan,
    counts: ReleaseCounts,
}

impl QueueSchedule {
    /// The first decision is due in slot `first_slot`; no cell leaves before.
    pub fn new(parameters: QueueParameters, first_slot: u64) -> Self {
        Self {
            next_decision: first_slot,
            decision_bytes: parameters.settings().min_decision_size,
            parameters,
            rest_bytes: 0,
            lost_bytes: 0,
            present: Plan::default(),
            previous: Plan::default(),
            counts: ReleaseCounts::default(),
        }
    }

    /// The parameters.
    pub fn parameters(&self) -> &QueueParameters {
        &self.parameters
    }

    /// What happened to decisions so far. Public.
    pub fn counts(&self) -> ReleaseCounts {
        self.counts
    }

    /// The last decision in bytes. Public.
    pub fn decision_bytes(&self) -> u64 {
        self.decision_bytes
    }

    /// Bytes that decisions allowed and that no slot had room for. Public.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Cells that leave in slot `slot`: a function of decisions alone. Known for the present slot and up to the next
    /// decision; 0 beyond.
    pub fn cells_in_slot(&self, slot: u64) -> u32 {
        self.present.cells_in_slot(slot).or_else(|| self.previous.cells_in_slot(slot)).unwrap_or(0)
    }

    /// The first slot at `from` or later that has a cell or a decision.
    pub fn next_slot(&self, from: u64) -> u64 {
        let busy = (from..self.present.end()).find(|slot| self.cells_in_slot(*slot) > 0);
        busy.map_or(self.next_decision, |slot| slot.min(self.next_decision)).max(from)
    }

    /// The slot of the next decision. Public.
    pub fn next_decision(&self) -> u64 {
        self.next_decision
    }

    /// Whether [`QueueSchedule::poll`] would report a decision in this slot, so that the queues' length is wanted.
    pub fn is_due(&self, slot: u64) -> bool {
        slot >= self.next_decision
    }

    /// Reports that a decision is due. Several that were due since the last call are one.
    pub fn poll(&mut self, slot: u64) -> Option<DecisionDue> {
        let interval = u64::from(self.parameters.slots_per_decision);
        let missed = slot.checked_sub(self.next_decision)? / interval;
        let slot = self.next_decision + missed * interval;
        self.counts.missed += missed;
        self.next_decision = slot + interval;
        Some(DecisionDue { slot })
    }

    /// Decides how much leaves until the next decision, if the accountant has granted it and noise is ready.
    /// `queue_bytes` is the length of all queues of this direction together.
    pub fn release(
        &mut self,
        due: DecisionDue,
        queue_bytes: u64,
        granted: bool,
        noise: &mut impl ReadyNoise,
    ) -> QueueOutcome {
        let outcome = match self.decide(queue_bytes, granted, noise) {
            Ok(decision_bytes) => {
                self.counts.released += 1;
                self.decision_bytes = decision_bytes;
                QueueOutcome::Decided(decision_bytes)
            }
            Err(held) => {
                self.counts.note(held);
                QueueOutcome::Held(held)
            }
        };
        self.schedule(due.slot + 1);
        outcome
    }

    /// **Here the secret meets the noise.** A minimum, a sum and a clip, which take the same time whatever the values are.
    fn decide(&self, queue_bytes: u64, granted: bool, noise: &mut impl ReadyNoise) -> Result<u64, Held> {
        let noise = take_noise(granted, self.parameters.sigma(), noise)?;
        let settings = self.parameters.settings();
        let (min, max) = (settings.min_decision_size as i64, settings.max_decision_size as i64);
        // Queues of more than 2^50 bytes do not exist, and noise is below 2^51.
        let noisy = queue_bytes.min(1 << 50) as i64 + noise;
        Ok(noisy.clamp(min, max) as u64)
    }

    /// Adds the decision to the credit and spreads that over the slots from `first` on.
    fn schedule(&mut self, first: u64) {
        let settings = self.parameters.settings();
        let kept = if settings.keep_rest { self.rest_bytes.min(settings.max_decision_size) } else { 0 };
        self.lost_bytes += self.rest_bytes - kept;
        let credit = self.decision_bytes + kept;
        let cells = self.spread(credit);
        let carried = cells.iter().map(|&cells| u64::from(cells)).sum::<u64>() * self.parameters.session_packet;
        self.rest_bytes = credit.saturating_sub(carried);
        self.previous = std::mem::replace(&mut self.present, Plan { first, cells });
    }

    /// The cells of each slot until the next decision. Whole cells, rounded up over all sends together; at least one, so
    /// that what the link itself has to say finds a place.
    fn spread(&self, credit: u64) -> Vec<u32> {
        let QueueParameters { session_packet, slots_per_decision, slots_per_send, .. } = self.parameters;
        let sends = u64::from(slots_per_decision / slots_per_send);
        let uniform = self.parameters.settings().sending_strategy == SendingStrategy::Uniform;
        let mut sent = 0;
        let in_slot = |offset: u32| {
            let begun = if uniform { u64::from(offset / slots_per_send) + 1 } else { sends };
            let allowed = (credit.max(1) * begun).div_ceil(sends * session_packet);
            let cells = (allowed - sent).min(u64::from(QUEUE_CELLS_PER_SLOT_MAX));
            sent += cells;
            cells as u32
        };
        (0..slots_per_decision).map(in_slot).collect()
    }
}

#[cfg(test)]
mod tests;
