//! The thread that draws noise (I7): samples wait in a ring, and a decision takes a ready one.
//!
//! How long a draw takes tells something about the sample. So it happens here, on a clock of its own, at most a minute and
//! more ahead of the release that uses it.

use rtrb::{Consumer, RingBuffer};
use shaping::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, Sigma};
use std::fmt;
use std::io;
use std::time::Duration;

/// Samples that wait at most. The thread rests while the ring is full. An exit uses one per entry and epoch.
const READY_MAX: usize = 256;
/// How often the thread looks whether there is room. Its clock is not that of the releases.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// The decision's end of the ring.
pub struct NoiseRing(Consumer<Noise>);

impl NoiseRing {
    /// Seeds a generator from the system, starts the thread and fills the ring. The thread ends when the ring is dropped.
    ///
    /// # Errors
    /// If the system's random source fails or no thread can be started.
    pub fn start(sigma: Sigma) -> io::Result<Self> {
        let seed = NoiseSeed::from_system(|bytes| aws_lc_rs::rand::fill(bytes)).map_err(io::Error::other)?;
        let (mut producer, consumer) = RingBuffer::new(READY_MAX);
        let thread = std::thread::Builder::new().name("noise".to_owned());
        thread.spawn(move || {
            let mut generator = NoiseGenerator::new(seed);
            while !producer.is_abandoned() {
                while !producer.is_full() && producer.push(generator.sample(sigma)).is_ok() {}
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(Self(consumer))
    }
}

impl fmt::Debug for NoiseRing {
    /// No sample.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseRing").finish_non_exhaustive()
    }
}

impl ReadyNoise for NoiseRing {
    fn take(&mut self) -> Option<Noise> {
        self.0.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn samples_are_ready_and_differ_between_starts() {
        let sigma = Sigma::new(1 << 30).expect("in range");
        let first_ten = || {
            let mut ring = NoiseRing::start(sigma).expect("threads and random bytes are there");
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut samples = Vec::new();
            while samples.len() < 10 && Instant::now() < deadline {
                match ring.take() {
                    Some(noise) => samples.push(noise.into_bytes()),
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            samples
        };
        let (one, other) = (first_ten(), first_ten());
        assert_eq!((one.len(), other.len()), (10, 10));
        assert_ne!(one, other, "a seed that repeats makes noise public");
    }
}
