//! How long to wait before a process that died is started again.

use std::time::Duration;

/// So many deaths in a row are a crash loop, which is said once and goes on at [`RestartPlan::wait_max`].
pub const CRASH_LOOP_DEATHS: u32 = 5;

/// How a process that died is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPlan {
    /// Ceiling of the first wait.
    pub first_wait_max: Duration,
    /// Ceiling of every wait.
    pub wait_max: Duration,
    /// A process that lived so long begins anew.
    pub steady_after: Duration,
}

impl Default for RestartPlan {
    fn default() -> Self {
        Self {
            first_wait_max: Duration::from_millis(100),
            wait_max: Duration::from_secs(5),
            steady_after: Duration::from_secs(10),
        }
    }
}

/// Full-jitter exponential backoff: each wait is random below a ceiling that doubles with each death in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    plan: RestartPlan,
    deaths: u32,
}

impl Backoff {
    /// No deaths yet.
    pub fn new(plan: RestartPlan) -> Self {
        Self { plan, deaths: 0 }
    }

    /// Notes a death after `alive` and returns how long to wait. `random` is any 64 random bits.
    pub fn note_death(&mut self, alive: Duration, random: u64) -> Duration {
        if alive >= self.plan.steady_after {
            self.deaths = 0;
        }
        let ceiling = self.plan.first_wait_max.saturating_mul(1u32 << self.deaths.min(16)).min(self.plan.wait_max);
        self.deaths = self.deaths.saturating_add(1);
        ceiling.mul_f64(unit(random))
    }

    /// Deaths in a row.
    pub fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Whether the latest death is the one that makes it a crash loop.
    pub fn is_new_crash_loop(&self) -> bool {
        self.deaths == CRASH_LOOP_DEATHS
    }

    /// Whether there have been so many deaths in a row that it is one.
    pub fn is_crash_loop(&self) -> bool {
        self.deaths >= CRASH_LOOP_DEATHS
    }

    /// When a process that is started now ends a crash loop by living on.
    pub fn steady_after(&self) -> Duration {
        self.plan.steady_after
    }

    /// The process has lived long enough: the next death is the first one again.
    pub fn note_steady(&mut self) {
        self.deaths = 0;
    }
}

/// Random bits as a number from 0 to 1.
fn unit(random: u64) -> f64 {
    // The upper half has as many bits as anybody needs of a waiting time.
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ceilings_double_from_a_tenth_of_a_second_to_five() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u128> = (0..9).map(|_| backoff.note_death(Duration::ZERO, u64::MAX).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert!(backoff.is_crash_loop());
        backoff.note_steady();
        assert!(!backoff.is_crash_loop());
    }

    #[test]
    fn a_steady_process_begins_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..CRASH_LOOP_DEATHS {
            backoff.note_death(Duration::from_secs(9), 0);
        }
        assert!(backoff.is_new_crash_loop());
        backoff.note_death(Duration::from_secs(9), 0);
        assert!(!backoff.is_new_crash_loop() && backoff.is_crash_loop());
        assert_eq!(backoff.note_death(backoff.steady_after(), u64::MAX), Duration::from_millis(100));
        assert_eq!(backoff.deaths(), 1);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_above_the_ceiling(deaths in 0u32..100, random in any::<u64>()) {
            let mut backoff = Backoff { deaths, ..Backoff::default() };
            prop_assert!(backoff.note_death(Duration::ZERO, random) <= RestartPlan::default().wait_max);
        }
    }
}
