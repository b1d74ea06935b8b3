//! When something that may be lost is said again.

use crate::message::{ATTEMPTS_MAX, Attempt};
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// Wait before the first repetition; each further one doubles it.
const WAIT_FIRST: Duration = Duration::from_millis(300);
/// The longest wait, what is added at random not counted.
const WAIT_MAX: Duration = Duration::from_millis(2_400);
/// Up to a third of the wait is added at random, so that what was lost together is not repeated together.
const JITTER_PARTS: u32 = 3;

/// Something that is said until it is answered, [`ATTEMPTS_MAX`] times at most: some 15 s.
#[derive(Debug, Clone)]
pub(crate) struct Repeat {
    due: Instant,
    said_at: Vec<Instant>,
    /// Bit `n`: attempt `n` was answered.
    answered: u8,
}

/// What an answer to an attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The first answer to an attempt that was made this long ago.
    Fits(Duration),
    /// This attempt was never made.
    Unasked,
    /// It was answered before. Layers let no cell pass twice, so it was said twice.
    Twice,
}

impl Repeat {
    /// Due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now, said_at: Vec::with_capacity(usize::from(ATTEMPTS_MAX)), answered: 0 }
    }

    /// When something is to be done: said again, or given up.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.due && self.said_at.len() >= usize::from(ATTEMPTS_MAX)
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.due && self.said_at.len() < usize::from(ATTEMPTS_MAX)
    }

    /// It is said now. None if it was said often enough.
    pub(crate) fn say(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Attempt> {
        let attempt = Attempt::new(u8::try_from(self.said_at.len()).ok()?)?;
        let wait = WAIT_FIRST.saturating_mul(1 << attempt.number()).min(WAIT_MAX);
        let jitter = (wait / JITTER_PARTS).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        self.said_at.push(now);
        self.due = now + wait + jitter;
        Some(attempt)
    }

    pub(crate) fn take_answer(&mut self, now: Instant, attempt: Attempt) -> Answer {
        let Some(&said_at) = self.said_at.get(usize::from(attempt.number())) else { return Answer::Unasked };
        let bit = 1 << attempt.number();
        if self.answered & bit != 0 {
            return Answer::Twice;
        }
        self.answered |= bit;
        Answer::Fits(now.saturating_duration_since(said_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn waits_double_to_a_limit_and_end() {
        let mut now = crate::origin();
        let (mut repeat, mut rng) = (Repeat::new(now), ChaCha20Rng::seed_from_u64(1));
        let mut waits = Vec::new();
        while repeat.is_due(now) {
            repeat.say(now, &mut rng);
            assert!(!repeat.is_due(now));
            waits.push(repeat.due() - now);
            now = repeat.due();
        }
        assert!(repeat.is_over(now) && repeat.say(now, &mut rng).is_none());
        for (wait, least) in waits.iter().zip([300, 600, 1200, 2400, 2400, 2400, 2400, 2400]) {
            let least = Duration::from_millis(least);
            assert!((least..=least + least / 3).contains(wait), "{wait:?} for {least:?}");
        }
        assert_eq!(waits.len(), usize::from(ATTEMPTS_MAX));
    }

    #[test]
    fn each_attempt_is_answered_once() {
        let now = crate::origin();
        let (mut repeat, mut rng) = (Repeat::new(now), ChaCha20Rng::seed_from_u64(1));
        let first = repeat.say(now, &mut rng).expect("the first of eight");
        let second = repeat.say(now + WAIT_FIRST, &mut rng).expect("the second of eight");
        let later = now + WAIT_FIRST * 2;
        assert_eq!(repeat.take_answer(later, second), Answer::Fits(WAIT_FIRST), "the time of that attempt");
        assert_eq!(repeat.take_answer(later, first), Answer::Fits(WAIT_FIRST * 2));
        assert_eq!(repeat.take_answer(later, first), Answer::Twice);
        assert_eq!(repeat.take_answer(later, Attempt::new(2).expect("below eight")), Answer::Unasked);
    }
}
