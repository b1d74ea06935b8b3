//! Which leg the next data cell goes on (mode `off`).

use crate::ids::{DesiredUx, LegId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// Data cells at the start of a burst whose legs are drawn: 50 KB.
pub const START_CELLS: u64 = 42;
/// So many cells go on one drawn leg before another is drawn.
pub const START_BATCH: u64 = 7;
/// Of these, so many go on every leg that might have been drawn: what is asked and the beginning of its answer are there as soon
/// as the quickest leg brings them, whichever was drawn.
pub const COPIED_CELLS: u64 = 4;
/// Legs whose round trips differ by less are alike, and no cell is sent twice.
pub const COPY_SPREAD: Duration = Duration::from_millis(5);
/// After so long without a data cell, the next one starts a burst.
pub const START_AFTER: Duration = Duration::from_secs(1);
/// Legs whose round trips differ by no more than this are equal at the start of a burst.
pub const START_CLASS: Duration = Duration::from_millis(640);

/// So many cells in a row go on one leg as long as it delivers them hardly later than the best: they leave in one system call, and
/// every relay takes them in one.
const RUN_CELLS: u32 = 16;
/// Hardly later.
const RUN_SLACK: Duration = Duration::from_millis(1);

/// How a leg is chosen once a burst has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduler {
    /// The leg that would deliver the cell first, given round trip, room and rate; a leg that would deliver it later is used
    /// when the faster ones would need longer for all that waits.
    #[default]
    CompletionTime,
    /// A leg at random, with chances as the room on it.
    WeightedRandom,
}

/// Whether the receiver's wish is met by waiting for a faster leg rather than using all of them, as C-tor does for the same
/// wishes: less is out of order, and there is no aggregation.
pub(crate) fn is_patient(wish: DesiredUx) -> bool {
    match wish {
        DesiredUx::MinLatency | DesiredUx::LowMemoryLatency | DesiredUx::LowMemoryThroughput => true,
        DesiredUx::NoOpinion | DesiredUx::HighThroughput => false,
    }
}

/// A leg on which data may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) leg: LegId,
    /// Without what waits in queues: a smoothed round trip would be that of the last time at which the leg was used, and a leg
    /// that was too full once would never be used again.
    pub(crate) rtt: Duration,
    /// How long what is under way needs beyond that.
    pub(crate) queued: Duration,
    /// Cells a second.
    pub(crate) rate: f64,
    /// Data cells that may leave now.
    pub(crate) room: u64,
    /// When there is room; zero if there is.
    pub(crate) free_in: Duration,
}

impl Candidate {
    /// When a cell would be there if it went on this leg: now, or as soon as there is room.
    fn arrival(&self) -> f64 {
        (self.free_in + self.queued + self.rtt / 2).as_secs_f64()
    }
}

/// The choice, and what it remembers.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    scheduler: Scheduler,
    class: Duration,
    /// Cells of the burst's start that have not left.
    start_left: u64,
    drawn: Option<LegId>,
    drawn_left: u64,
    /// The other legs for the cell that was chosen for, until it is sent.
    beside: Vec<LegId>,
    /// Those on which the cell that was sent last is still to go.
    copies: Vec<LegId>,
    last_data: Option<Instant>,
    /// The leg of the present run, and its cells so far.
    run: Option<(LegId, u32)>,
}

impl Choice {
    pub(crate) fn new(scheduler: Scheduler, class: Duration) -> Self {
        Self {
            scheduler,
            class,
            start_left: START_CELLS,
            drawn: None,
            drawn_left: 0,
            beside: Vec::new(),
            copies: Vec::new(),
            last_data: None,
            run: None,
        }
    }

    /// The leg for the next data cell, or none if it is better to wait. `waiting`: cells that wait to be sent.
    pub(crate) fn choose(
        &mut self,
        now: Instant,
        legs: &[Candidate],
        waiting: u64,
        rng: &mut ChaCha20Rng,
    ) -> Option<LegId> {
        self.beside.clear();
        self.copies.clear();
        if self.last_data.is_some_and(|at| at + START_AFTER <= now) {
            self.start_left = START_CELLS;
            self.drawn_left = 0;
            self.last_data = None;
        }
        if self.start_left > 0 && legs.len() > 1 {
            return self.choose_at_start(legs, rng);
        }
        match self.scheduler {
            Scheduler::CompletionTime => self.go_on(legs).or_else(|| soonest(legs, waiting)),
            Scheduler::WeightedRandom => by_room(legs, rng),
        }
    }

    /// The leg of the present run, while that costs hardly anything.
    fn go_on(&self, legs: &[Candidate]) -> Option<LegId> {
        let (leg, _) = self.run.filter(|(_, cells)| *cells < RUN_CELLS)?;
        let last = legs.iter().find(|one| one.leg == leg && one.room > 0)?;
        let best = legs.iter().map(Candidate::arrival).min_by(f64::total_cmp)?;
        (last.arrival() <= best + RUN_SLACK.as_secs_f64()).then_some(leg)
    }

    /// A data cell went on this leg.
    pub(crate) fn note_sent(&mut self, now: Instant, leg: LegId) {
        let cells = self.run.filter(|(last, cells)| *last == leg && *cells < RUN_CELLS).map_or(0, |(_, cells)| cells);
        self.run = Some((leg, cells + 1));
        self.last_data = Some(now);
        self.start_left = self.start_left.saturating_sub(1);
        self.drawn_left = self.drawn_left.saturating_sub(1);
        std::mem::swap(&mut self.copies, &mut self.beside);
        self.beside.clear();
    }

    /// Another leg for the cell that was sent last.
    pub(crate) fn next_copy(&mut self) -> Option<LegId> {
        self.copies.pop()
    }

    /// The same chance for each leg of the fastest one's class, whatever its round trip, its room and its pace: a drawn leg
    /// is waited for.
    fn choose_at_start(&mut self, legs: &[Candidate], rng: &mut ChaCha20Rng) -> Option<LegId> {
        let fastest = legs.iter().map(|leg| leg.rtt).min()?;
        let equal: Vec<&Candidate> = legs.iter().filter(|leg| leg.rtt <= fastest + self.class).collect();
        let drawn = self.drawn.filter(|_| self.drawn_left > 0);
        let leg = match drawn.and_then(|drawn| legs.iter().find(|leg| leg.leg == drawn)) {
            Some(leg) => leg,
            None => {
                let leg = equal[below(rng, equal.len())];
                self.drawn = Some(leg.leg);
                self.drawn_left = START_BATCH;
                leg
            }
        };
        let is_copied = self.start_left > START_CELLS - COPIED_CELLS;
        if is_copied && equal.iter().any(|leg| leg.rtt > fastest + COPY_SPREAD) {
            let others = equal.iter().filter(|other| other.leg != leg.leg && other.room > 0);
            self.beside.extend(others.map(|other| other.leg));
        }
        (leg.room > 0).then_some(leg.leg)
    }
}

fn soonest(legs: &[Candidate], waiting: u64) -> Option<LegId> {
    let first = |legs: &mut dyn Iterator<Item = &Candidate>| -> Option<Candidate> {
        legs.min_by(|one, other| one.arrival().total_cmp(&other.arrival())).copied()
    };
    let with_room = first(&mut legs.iter().filter(|leg| leg.room > 0))?;
    let Some(best) = first(&mut legs.iter()).filter(|best| best.room == 0) else { return Some(with_room.leg) };
    // The best has no room. All that waits would be there, with it alone, after this.
    let alone = best.arrival() + waiting as f64 / best.rate.max(1.0);
    (alone >= with_room.arrival()).then_some(with_room.leg)
}

fn by_room(legs: &[Candidate], rng: &mut ChaCha20Rng) -> Option<LegId> {
    let total: u64 = legs.iter().map(|leg| leg.room).sum();
    if total == 0 {
        return None;
    }
    let mut place = rng.next_u64() % total;
    for leg in legs {
        if place < leg.room {
            return Some(leg.leg);
        }
        place -= leg.room;
    }
    None
}

/// A number below `bound`, which is small beside 2^64, so the remainder is even enough.
fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    (rng.next_u64() % bound.max(1) as u64) as usize
}

#[cfg(test)]
mod tests;
