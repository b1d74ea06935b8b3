//! How many introductions are looked at: a rate for each point, work when they are too many, and each one once.

use super::IntroductionRefusal;
use crate::descriptor::WORK_BITS_MAX;
use crate::introduction::INTRODUCTION_LEN;
use crate::work;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Introductions that a point remembers; when they are all taken it takes no more. It is replaced long before.
pub const REPLAYS_MAX: usize = 65_536;
/// After at most so many introductions a point is replaced; the number is drawn between half of it and it.
pub const INTRODUCTIONS_PER_POINT_MAX: u32 = 32_768;
/// What may come at once after silence, in time at the point's rate.
const BURST: Duration = Duration::from_secs(5);
/// Bits of work that are asked for, from none on. The last one costs a client about a second.
const LEVELS: [u8; 4] = [0, 12, 16, WORK_BITS_MAX];
/// How often is looked whether introductions are too many.
const WINDOW: Duration = Duration::from_secs(60);
/// Windows without a refusal after which less work is asked for.
const CALM_WINDOWS: u8 = 10;

/// A token bucket that counts in time: what an introduction costs is the time that it takes at the rate.
pub(super) struct Rate {
    cost: Duration,
    credit: Duration,
    filled: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        Self { cost: Duration::from_secs(1) / per_second.max(1), credit: BURST, filled: now }
    }

    /// Takes one if so much credit is left behind it.
    fn take(&mut self, now: Instant, left: Duration) -> bool {
        self.credit = (self.credit + now.saturating_duration_since(self.filled)).min(BURST);
        self.filled = self.filled.max(now);
        let room = self.credit >= self.cost.saturating_add(left);
        if room {
            self.credit -= self.cost;
        }
        room
    }
}

/// What one point has taken.
pub(super) struct Admission {
    rate: Rate,
    seen: BTreeSet<[u8; 16]>,
}

impl Admission {
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        Self { rate: Rate::new(now, per_second), seen: BTreeSet::new() }
    }

    /// True for an introduction that is worth a handshake. Who shows the work that is asked for may take all of the rate; who does
    /// not, the upper half of what is left. So a flood without work takes nothing from those who worked, and nobody is shut out for
    /// having an older record.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        introduction: &[u8; INTRODUCTION_LEN],
        work_bits: u8,
    ) -> Result<[u8; 16], IntroductionRefusal> {
        let digest = remembered(introduction);
        if self.seen.contains(&digest) {
            return Err(IntroductionRefusal::Replay);
        }
        if self.seen.len() >= REPLAYS_MAX {
            return Err(IntroductionRefusal::Worn);
        }
        let worked = work_bits == 0 || work::shown(introduction) >= u32::from(work_bits);
        let left = if worked { Duration::ZERO } else { BURST / 2 };
        if self.rate.take(now, left) { Ok(digest) } else { Err(IntroductionRefusal::Rate) }
    }

    /// Remembers an authentic introduction.
    pub(super) fn remember(&mut self, digest: [u8; 16]) {
        self.seen.insert(digest);
    }

    pub(super) fn introductions(&self) -> usize {
        self.seen.len()
    }
}

/// What an introduction is remembered by: half a hash, for which nobody makes two introductions that are both authentic and meet.
fn remembered(introduction: &[u8; INTRODUCTION_LEN]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&work::digest(introduction)[..16]);
    short
}

/// Whether introductions are too many, and what work is asked for.
pub(super) struct Flood {
    level: usize,
    window_ends: Instant,
    came: u32,
    refused: u32,
    calm: u8,
}

impl Flood {
    pub(super) fn new(now: Instant) -> Self {
        Self { level: 0, window_ends: now + WINDOW, came: 0, refused: 0, calm: 0 }
    }

    /// Bits that are asked for.
    pub(super) fn bits(&self) -> u8 {
        LEVELS[self.level]
    }

    /// Counts an introduction; true when other work is asked for from now on.
    pub(super) fn count(&mut self, now: Instant, refused: bool) -> bool {
        let changed = self.turn(now);
        self.came = self.came.saturating_add(1);
        self.refused = self.refused.saturating_add(u32::from(refused));
        changed
    }

    /// Looks at the window that ended; true when other work is asked for from now on.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        if now < self.window_ends {
            return false;
        }
        let before = self.level;
        if self.refused > self.came / 2 {
            self.level = (self.level + 1).min(LEVELS.len() - 1);
        }
        self.calm = if self.refused == 0 { self.calm.saturating_add(1) } else { 0 };
        if self.calm >= CALM_WINDOWS {
            (self.level, self.calm) = (self.level.saturating_sub(1), 0);
        }
        (self.came, self.refused, self.window_ends) = (0, 0, now + WINDOW);
        self.level != before
    }

    pub(super) fn next_wake(&self) -> Instant {
        self.window_ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(number: u64) -> [u8; INTRODUCTION_LEN] {
        let mut bytes = [3; INTRODUCTION_LEN];
        bytes[100..108].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn a_point_takes_its_rate_and_a_burst() {
        let (start, mut taken) = (Instant::now(), 0);
        let mut admission = Admission::new(start, 10);
        for number in 0..3_000u64 {
            let now = start + Duration::from_millis(number * 10);
            taken += u32::from(admission.admit(now, &introduction(number), 0).is_ok());
        }
        assert!((345..=351).contains(&taken), "{taken} in 30 s at 10 a second, and 50 at once");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn who_works_gets_through_a_flood() {
        let now = Instant::now();
        let mut admission = Admission::new(now, 10);
        let refused = (0..100).filter(|number| admission.admit(now, &introduction(*number), 12).is_err()).count();
        assert!(refused >= 74, "without work: half of the burst, and whoever is lucky");
        let mut worked = introduction(1_000);
        let number = work::Search::new(&worked, 12).run(1 << 20).expect("work");
        worked[crate::introduction::WORK_AT..crate::introduction::WORK_END].copy_from_slice(&number.to_be_bytes());
        assert!(admission.admit(now, &worked, 12).is_ok());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn each_one_is_taken_once_whatever_its_work_says() {
        let now = Instant::now();
        let mut admission = Admission::new(now, 10);
        let digest = admission.admit(now, &introduction(1), 0).expect("a new one");
        admission.remember(digest);
        let mut again = introduction(1);
        again[crate::introduction::WORK_AT] ^= 1;
        assert_eq!(admission.admit(now, &again, 0), Err(IntroductionRefusal::Replay));
        for number in 2..=REPLAYS_MAX as u64 {
            admission.remember(remembered(&introduction(number)));
        }
        assert_eq!(admission.admit(now, &introduction(0), 0), Err(IntroductionRefusal::Worn));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn work_rises_while_most_are_refused_and_falls_when_it_is_calm() {
        let mut now = Instant::now();
        let mut flood = Flood::new(now);
        for bits in [12, 16, 20, 20] {
            for number in 0..100 {
                flood.count(now, number % 3 > 0);
            }
            now += WINDOW;
            flood.turn(now);
            assert_eq!(flood.bits(), bits);
        }
        for bits in [16, 12, 0, 0] {
            for _ in 0..CALM_WINDOWS {
                now += WINDOW;
                flood.turn(now);
            }
            assert_eq!(flood.bits(), bits);
        }
    }
}
