//! Generated sessions of applications: a closed world of films or pages, each with sizes of its own.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sighting::Direction;

/// Bytes of a request.
const REQUEST_BYTES: u64 = 500;
/// Bytes that arrive together, at most: what a receiver reads at once.
const CHUNK_BYTES: u64 = 64_000;
/// A segment of a film is never larger: the top quality of 720 lines.
const SEGMENT_BYTES_MAX: f64 = 1_700_000.0;
/// A segment is never smaller: a black picture has a sound track.
const SEGMENT_BYTES_MIN: f64 = 20_000.0;
/// How much the size of the same thing differs from session to session: headers, cookies, advertisements.
const SIZE_NOISE: f64 = 0.005;

/// Application bytes at a moment of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the session began.
    pub at: Duration,
    /// Towards the server (outward) or from it.
    pub direction: Direction,
    /// How many.
    pub bytes: u64,
}

/// What an application does in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// How long the session lasts.
    pub length: Duration,
    /// Its bytes, in the order of time.
    pub arrivals: Vec<Arrival>,
}

/// A closed world: classes of which every session is one.
pub trait World {
    /// Number of classes, at least 2.
    fn classes(&self) -> u16;

    /// One session of a class. The same number gives the same session.
    fn trace(&self, class: u16, session: u64) -> Trace;
}

/// Films that are watched, as by DASH: a segment is asked for every few seconds, and every film has a series of segment
/// sizes of its own, log-normal around 88 KB a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Films {
    /// Number of films.
    pub count: u16,
    /// How long each is watched.
    pub length: Duration,
    /// Length of a segment; must not be zero.
    pub segment: Duration,
    /// Decides what the films are.
    pub seed: u64,
}

impl World for Films {
    fn classes(&self) -> u16 {
        self.count
    }

    fn trace(&self, class: u16, session: u64) -> Trace {
        /// Mean bytes a second of a film, and the scatter of segments around it (of the logarithm).
        const RATE: f64 = 88_000.0;
        const SCATTER: f64 = 0.5;
        let mut film = generator(self.seed, class, None);
        let mut chance = generator(self.seed, class, Some(session));
        let segments = self.length.as_nanos().div_ceil(self.segment.as_nanos().max(1));
        let mut arrivals = Vec::new();
        let begin = Duration::from_millis(chance.random_range(0..300));
        for segment in 0..u32::try_from(segments).unwrap_or(u32::MAX) {
            let mean = RATE * self.segment.as_secs_f64();
            let bytes = (mean * (SCATTER * normal(&mut film) - SCATTER * SCATTER / 2.0).exp())
                .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
            let at = begin + self.segment * segment + Duration::from_millis(chance.random_range(0..200));
            fetch(&mut arrivals, at, varied(bytes, &mut chance), &mut chance);
        }
        finish(self.length, arrivals)
    }
}

/// Pages that are loaded: some objects at once, each named by the one before or by the page itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Number of pages.
    pub count: u16,
    /// How long each load is watched.
    pub length: Duration,
    /// Decides what the pages are.
    pub seed: u64,
}

impl World for Pages {
    fn classes(&self) -> u16 {
        self.count
    }

    fn trace(&self, class: u16, session: u64) -> Trace {
        /// Bytes of a page with everything on it.
        const BYTES: std::ops::Range<f64> = 54_000.0..147_000.0;
        const OBJECTS: std::ops::Range<u32> = 4..24;
        /// Objects that are fetched at the same time.
        const AT_ONCE: u32 = 6;
        let mut page = generator(self.seed, class, None);
        let mut chance = generator(self.seed, class, Some(session));
        let total = page.random_range(BYTES);
        let shares: Vec<f64> = (0..page.random_range(OBJECTS)).map(|_| page.random_range(0.1..1.0)).collect();
        let whole: f64 = shares.iter().sum();
        let begin = Duration::from_millis(chance.random_range(0..40));
        let mut arrivals = Vec::new();
        for (object, share) in (0..).zip(shares) {
            // The page itself comes alone; what it names comes in waves.
            let wave = if object == 0 { 0 } else { 1 + (object - 1) / AT_ONCE };
            let at = begin + Duration::from_millis(120) * wave + Duration::from_millis(chance.random_range(0..30));
            fetch(&mut arrivals, at, varied(total * share / whole, &mut chance), &mut chance);
        }
        finish(self.length, arrivals)
    }
}

/// A generator for what a class is, or for what a session of it adds.
fn generator(seed: u64, class: u16, session: Option<u64>) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator
        .set_stream(u64::from(class) << 48 | session.map_or(0, |session| session.wrapping_add(1) & 0xffff_ffff_ffff));
    generator
}

fn varied(bytes: f64, chance: &mut ChaCha8Rng) -> u64 {
    (bytes * (1.0 + SIZE_NOISE * normal(chance))).max(1.0) as u64
}

/// A standard normal value, for traffic only: noise that protects anything has a sampler of its own.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let (radius, turn): (f64, f64) = (generator.random_range(f64::MIN_POSITIVE..1.0), generator.random_range(0.0..1.0));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

/// A request, and the answer over a line of 10 to 30 Mbit/s at the end of 20 to 40 ms.
fn fetch(arrivals: &mut Vec<Arrival>, at: Duration, bytes: u64, chance: &mut ChaCha8Rng) {
    arrivals.push(Arrival { at, direction: Direction::Outward, bytes: REQUEST_BYTES });
    let bytes_per_ms = chance.random_range(1_250..3_750);
    let mut at = at + Duration::from_millis(chance.random_range(20..40));
    let mut left = bytes;
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES);
        at += Duration::from_micros(chunk * 1_000 / bytes_per_ms);
        arrivals.push(Arrival { at, direction: Direction::Inward, bytes: chunk });
        left -= chunk;
    }
}

fn finish(length: Duration, mut arrivals: Vec<Arrival>) -> Trace {
    arrivals.retain(|arrival| arrival.at < length);
    arrivals.sort_by_key(|arrival| arrival.at);
    Trace { length, arrivals }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn films() -> Films {
        Films { count: 3, length: Duration::from_secs(600), segment: Duration::from_secs(5), seed: 1 }
    }

    fn bytes(trace: &Trace, direction: Direction) -> u64 {
        trace.arrivals.iter().filter(|it| it.direction == direction).map(|it| it.bytes).sum()
    }

    #[test]
    fn sessions_are_replayed_by_their_number() {
        let (films, pages) = (films(), Pages { count: 3, length: Duration::from_secs(3), seed: 1 });
        for world in [&films as &dyn World, &pages] {
            assert_eq!(world.trace(1, 7), world.trace(1, 7));
            assert_ne!(world.trace(1, 7), world.trace(1, 8));
            assert_ne!(bytes(&world.trace(1, 7), Direction::Inward), bytes(&world.trace(2, 7), Direction::Inward));
            assert!(world.trace(2, 3).arrivals.is_sorted_by_key(|arrival| arrival.at));
        }
    }

    #[test]
    fn films_have_their_rate_and_sessions_differ_little() {
        let mean = |session| bytes(&films().trace(0, session), Direction::Inward) as f64 / 600.0;
        assert!((70_000.0..110_000.0).contains(&mean(0)), "{} bytes a second", mean(0));
        assert!((mean(0) / mean(1) - 1.0).abs() < 0.005);
        assert_eq!(bytes(&films().trace(0, 0), Direction::Outward), 120 * REQUEST_BYTES);
    }

    #[test]
    fn pages_have_their_sizes() {
        let pages = Pages { count: 96, length: Duration::from_secs(3), seed: 5 };
        for class in 0..96 {
            let size = bytes(&pages.trace(class, 0), Direction::Inward);
            assert!((53_000..149_000).contains(&size), "page {class} has {size} bytes");
        }
    }
}
