//! One number that replays a run.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The environment variable that replaces the seeds of [`Seed::or_environment`].
const VARIABLE: &str = "HUSHWIRE_SEED";

/// The seed of a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(u64);

impl Seed {
    /// A fixed seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in the environment variable `HUSHWIRE_SEED` (decimal or `0x...`), else this one. It is how a person
    /// replays what a failing test printed.
    pub fn or_environment(self) -> Self {
        std::env::var(VARIABLE).ok().and_then(|text| parse(&text)).map_or(self, Self)
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// A generator of its own for each `stream`, so that draws for one purpose do not move those for another.
    pub fn generator(self, stream: u64) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.0);
        generator.set_stream(stream);
        generator
    }

    /// A guard that prints the seed if the test panics while it is alive.
    #[must_use = "the guard prints only if it lives until the panic"]
    pub fn announce(self) -> SeedGuard {
        SeedGuard(self)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{VARIABLE}={:#018x}", self.0)
    }
}

/// Prints the seed of a failing run; see [`Seed::announce`].
#[derive(Debug)]
pub struct SeedGuard(Seed);

impl Drop for SeedGuard {
    #[expect(clippy::print_stderr, reason = "a failing test shows its standard error to the person who runs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay this run with {}", self.0);
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let seed = Seed::new(3);
        assert_eq!(seed.generator(1).next_u64(), seed.generator(1).next_u64());
        assert_ne!(seed.generator(1).next_u64(), seed.generator(2).next_u64());
        assert_ne!(seed.generator(1).next_u64(), Seed::new(4).generator(1).next_u64());
    }

    #[test]
    fn prints_what_it_reads() {
        let seed = Seed::new(0xfeed);
        let text = seed.to_string();
        let (_, number) = text.split_once('=').expect("a seed prints as name=value");
        assert_eq!(parse(number), Some(seed.value()));
        assert_eq!(parse("17"), Some(17));
        assert_eq!(parse("x"), None);
    }
}
