//! Puts the data cells of all legs in order, without waiting longer than the rules say (docs/spec/leg.md, section 4).

use crate::inbound::LATE_CELLS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Bytes of session packets, and of what keeps them, that a tunnel may hold back. When the next packet might not fit, the
/// gap that is waited for is skipped at once; a caller that does not fetch what is then ready loses the newest packets.
pub const REORDER_BYTES_MAX: usize = 4_000_000;

/// What is charged for a packet beside its bytes.
const ENTRY_OVERHEAD: usize = 160;
/// The largest packet: above it the region has no room.
const PACKET_LEN_MAX: usize = 2_048;
/// Numbers below the next one of which it is known whether they were given out.
const REMEMBERED: u64 = 128;

/// What became of data cells. All counters begin at 0 with the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReorderFigures {
    /// Given to the session.
    pub delivered: u64,
    /// Of these, behind a newer one.
    pub late: u64,
    /// More than [`LATE_CELLS_MAX`] behind the newest that was given out: dropped.
    pub too_late: u64,
    /// Came before: dropped.
    pub duplicates: u64,
    /// Numbers that were waited for and did not come in time. Some of them come late.
    pub skipped: u64,
    /// Gaps that were skipped because the buffer was full.
    pub skipped_full: u64,
    /// Dropped because the buffer was full.
    pub dropped_full: u64,
    /// Most bytes ever held back.
    pub bytes_peak: usize,
}

/// The buffer of one tunnel.
#[derive(Debug, Clone)]
pub(crate) struct Reorder {
    /// The number that comes next; all below were given out or skipped.
    next: u64,
    /// Bit `i`: number `next - 1 - i` was given out, or is about to be.
    given: u128,
    held: BTreeMap<u64, Held>,
    /// The same cells by time of arrival, those below `next` left out: what gaps wait since.
    by_arrival: BTreeSet<(Instant, u64)>,
    bytes: usize,
    /// Bytes that may be held now, at most [`REORDER_BYTES_MAX`].
    max: usize,
    pub(crate) figures: ReorderFigures,
}

#[derive(Debug, Clone)]
struct Held {
    at: Instant,
    packet: Vec<u8>,
}

impl Held {
    fn charge(&self) -> usize {
        self.packet.len() + ENTRY_OVERHEAD
    }
}

impl Reorder {
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            given: 0,
            held: BTreeMap::new(),
            by_arrival: BTreeSet::new(),
            bytes: 0,
            max: REORDER_BYTES_MAX,
            figures: ReorderFigures::default(),
        }
    }

    /// Bytes held back.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a data cell. Fetch what is ready with [`Reorder::pop`] before the next.
    pub(crate) fn insert(&mut self, now: Instant, number: u64, packet: &[u8]) {
        if number < self.next {
            let behind = self.next - 1 - number;
            if behind > LATE_CELLS_MAX {
                self.figures.too_late += 1;
                return;
            }
            if self.given & (1 << behind) != 0 {
                self.figures.duplicates += 1;
                return;
            }
            self.given |= 1 << behind;
            self.figures.late += 1;
        } else if self.held.contains_key(&number) {
            self.figures.duplicates += 1;
            return;
        }
        let held = Held { at: now, packet: packet.to_vec() };
        if self.bytes + held.charge() > self.max {
            self.figures.dropped_full += 1;
            return;
        }
        self.bytes += held.charge();
        self.figures.bytes_peak = self.figures.bytes_peak.max(self.bytes);
        if number >= self.next {
            self.by_arrival.insert((now, number));
        }
        self.held.insert(number, held);
        if self.is_full()
            && let Some(first) = self.head_gap()
        {
            self.figures.skipped_full += 1;
            self.skip_to(first);
        }
    }

    /// So many bytes may be held from now on, within 4 packets and [`REORDER_BYTES_MAX`]. What is too much is ready at once: to be
    /// fetched with [`Reorder::pop`].
    pub(crate) fn set_max(&mut self, bytes: usize) {
        self.max = bytes.clamp(4 * (PACKET_LEN_MAX + ENTRY_OVERHEAD), REORDER_BYTES_MAX);
    }

    /// Whether gaps are skipped for want of room.
    pub(crate) fn has_too_much(&self) -> bool {
        self.is_full() && self.head_gap().is_some()
    }

    /// Whether the next packet might not fit.
    fn is_full(&self) -> bool {
        self.bytes + PACKET_LEN_MAX + ENTRY_OVERHEAD > self.max
    }

    /// The next packet for the session. `past`: every leg that counts has sent something after all numbers up to this one.
    /// `timeout`: how long a gap is waited for in any case.
    pub(crate) fn pop(&mut self, now: Instant, past: u64, timeout: Duration) -> Option<Vec<u8>> {
        if let Some(first) = self.head_gap()
            && self.is_full()
        {
            self.figures.skipped_full += 1;
            self.skip_to(first);
        } else if let Some(first) = self.head_gap()
            && (past >= first - 1 || self.waited_since().is_some_and(|since| since + timeout <= now))
        {
            self.skip_to(first);
        }
        let (&number, _) = self.held.first_key_value().filter(|(number, _)| **number <= self.next)?;
        let held = self.held.remove(&number)?;
        self.bytes -= held.charge();
        if number == self.next {
            self.by_arrival.remove(&(held.at, number));
            self.advance(number + 1);
            self.given |= 1;
        }
        self.figures.delivered += 1;
        Some(held.packet)
    }

    /// Since when the first gap is known, if there is one.
    pub(crate) fn waited_since(&self) -> Option<Instant> {
        self.head_gap()?;
        self.by_arrival.first().map(|(at, _)| *at)
    }

    /// The number behind the first gap, if the next packet is missing and one behind it is not.
    fn head_gap(&self) -> Option<u64> {
        self.held.first_key_value().map(|(&number, _)| number).filter(|number| *number > self.next)
    }

    fn skip_to(&mut self, number: u64) {
        self.figures.skipped += number - self.next;
        self.advance(number);
    }

    fn advance(&mut self, next: u64) {
        let by = next - self.next;
        self.given = if by < REMEMBERED { self.given << by } else { 0 };
        self.next = next;
    }
}

#[cfg(test)]
mod tests;
