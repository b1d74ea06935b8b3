//! The wall clock, and randomness: what the shell brings to the cores.

use aws_lc_rs::rand;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// No sleep is longer: a machine that slept, or whose clock was put right, is noticed then.
const SLEEP_MAX_MS: u64 = 30_000;

/// Where the time of day comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Another one: milliseconds since 1970 UTC whenever it is asked.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// In milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }

    /// Sleeps towards a time of day: until then at most, and no longer than the clock can be trusted to go on.
    pub(crate) async fn sleep_towards(&self, until_ms: u64) {
        let wait_ms = until_ms.saturating_sub(self.now_ms()).min(SLEEP_MAX_MS);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

/// 64 random bits.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness moments are the earliest ones: everything still works, and less spread.
    let _ = rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
