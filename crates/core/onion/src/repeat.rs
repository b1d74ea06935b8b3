//! When something that may be lost is said again: back-off with jitter and an end.

use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// Wait before the first repetition; each further one doubles it.
const WAIT_FIRST: Duration = Duration::from_millis(300);
/// The longest wait, jitter not counted.
const WAIT_MAX: Duration = Duration::from_millis(2_400);
/// Up to a third of the wait is added at random, so that what was lost together is not repeated together.
const JITTER_PARTS: u32 = 3;

/// Something that is said until it is answered, or often enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    first: Instant,
    due: Instant,
    tries: u8,
    tries_max: u8,
}

/// What a [`Repeat`] wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing before the deadline.
    Wait,
    /// It is to be said.
    Say,
    /// It was said often enough, and nobody answered.
    Over,
}

impl Repeat {
    /// Something to be said at once, `tries_max` times at most.
    pub(crate) fn new(now: Instant, tries_max: u8) -> Self {
        Self { first: now, due: now, tries: 0, tries_max }
    }

    /// What is to be done.
    pub(crate) fn turn(&self, now: Instant) -> Turn {
        match (now >= self.due, self.tries < self.tries_max) {
            (false, _) => Turn::Wait,
            (true, true) => Turn::Say,
            (true, false) => Turn::Over,
        }
    }

    /// It was said.
    pub(crate) fn said(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.tries == 0 {
            self.first = now;
        }
        let doubled = WAIT_FIRST.saturating_mul(1 << self.tries.min(10));
        let wait = doubled.min(WAIT_MAX);
        let jitter = (wait / JITTER_PARTS).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        self.tries = self.tries.saturating_add(1);
        self.due = now + wait + jitter;
    }

    /// When it was said first, or was to be.
    pub(crate) fn first(&self) -> Instant {
        self.first
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Instant {
        self.due
    }

    /// Time since it was said; `None` when it was said more than once, since then nobody knows which one was answered.
    pub(crate) fn round_trip(&self, now: Instant) -> Option<Duration> {
        (self.tries == 1).then(|| now.saturating_duration_since(self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn waits_double_to_a_limit_and_end() {
        let mut now = Instant::now();
        let (mut repeat, mut rng) = (Repeat::new(now, 6), ChaCha20Rng::seed_from_u64(1));
        let mut waits = Vec::new();
        while repeat.turn(now) == Turn::Say {
            repeat.said(now, &mut rng);
            assert_eq!(repeat.turn(now), Turn::Wait);
            let later = now + Duration::from_millis(20);
            assert_eq!(repeat.round_trip(later).is_some(), waits.is_empty(), "only of the first");
            waits.push(repeat.deadline() - now);
            now = repeat.deadline();
        }
        assert_eq!(repeat.turn(now), Turn::Over);
        for (wait, least) in waits.iter().zip([300, 600, 1200, 2400, 2400, 2400]) {
            let least = Duration::from_millis(least);
            assert!((least..=least + least / 3).contains(wait), "{wait:?} for {least:?}");
        }
        assert_eq!(waits.len(), 6);
    }
}
