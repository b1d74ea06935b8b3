//! Recordings of a clean link, for the tests of this crate.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sighting::{Direction, Sighting};

/// Time between two slots.
pub(crate) const PERIOD: Duration = Duration::from_millis(5);
/// Length of every packet.
pub(crate) const LENGTH: usize = 1350;

/// Both directions with one packet a slot, each direction with an origin of its own on one public grid. What a real
/// sender shows: a few microseconds around its median, and a tail of tens of microseconds in three of a hundred.
pub(crate) fn recording(seed: u64, slots: u32) -> Vec<Sighting> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut sightings = Vec::with_capacity(2 * slots as usize);
    for slot in 0..slots {
        for (direction, delay) in [(Direction::Outward, 1_012_000), (Direction::Inward, 3_400_000)] {
            let noise = generator.random_range(0..8_000) + generator.random_range(0..8_000);
            let tail = if generator.random_range(0..100) < 3 { generator.random_range(0..90_000) } else { 0 };
            let at = PERIOD * slot + Duration::from_nanos(delay + noise + tail);
            sightings.push(Sighting { at, direction, length: LENGTH });
        }
    }
    sightings
}

/// Several recordings, one after the other on one clock.
pub(crate) fn phases(seed: u64, count: u32, slots: u32) -> Vec<Vec<Sighting>> {
    let phase = |index: u32| {
        let mut phase = recording(seed.wrapping_mul(1_000).wrapping_add(u64::from(index)), slots);
        phase.iter_mut().for_each(|sighting| sighting.at += PERIOD * slots * index);
        phase
    };
    (0..count).map(phase).collect()
}
