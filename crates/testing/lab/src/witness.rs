//! Threads that notice when the machine itself stands still.
//!
//! A virtual machine is stopped by its host now and then, for milliseconds, whatever runs in it. A test of send times
//! would take that for the sender's doing. A witness stands on each processor above every thread of a node, wakes on
//! a grid of its own and notes when it woke late: whatever held it up held up a sender, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use os_net::clock::monotonic_ns;
use os_net::schedule::{self, ScheduleError};

/// Time between two looks.
const STEP: Duration = Duration::from_micros(500);
/// A look that comes later than this saw a stall.
const TOLERATED: Duration = Duration::from_micros(100);
/// Above the threads of nodes, whose priority is 10 at most.
const PRIORITY: u8 = 20;
/// Stalls that are remembered; more are a machine on which nothing can be measured.
const STALLS_MAX: usize = 1_000_000;

/// A time in which a processor may have stood still, on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The last time at which it was seen to run.
    pub from: Duration,
    /// When it ran again.
    pub to: Duration,
}

/// All stalls that were noticed, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stalls(Vec<Stall>);

impl Stalls {
    /// Those of this list.
    pub fn new(stalls: Vec<Stall>) -> Self {
        Self(stalls)
    }

    /// Whether a processor may have stood still within `margin` of `at`. The answer must not depend on what is
    /// measured: ask about the time at which something was due, not about the time at which it came.
    pub fn are_near(&self, at: Duration, margin: Duration) -> bool {
        self.0.iter().any(|stall| stall.from <= at + margin && at <= stall.to + margin)
    }
}

/// One thread on each processor, until it is dropped.
#[derive(Debug)]
pub struct Witness {
    stop: Arc<AtomicBool>,
    stalls: Arc<Mutex<Vec<Stall>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Posts a witness on every processor that this process may use.
    ///
    /// # Errors
    ///
    /// Without the right to real-time priority there are no witnesses.
    pub fn start() -> Result<Self, ScheduleError> {
        let stalls = Arc::default();
        let mut witness = Self { stop: Arc::default(), stalls: Arc::clone(&stalls), threads: Vec::new() };
        for core in schedule::allowed_cores()? {
            let (stop, stalls) = (Arc::clone(&witness.stop), Arc::clone(&stalls));
            let (tell, told) = std::sync::mpsc::channel();
            witness.threads.push(std::thread::spawn(move || {
                let posted = schedule::pin_to_core(core).and_then(|()| schedule::set_fifo(PRIORITY));
                let stands = posted.is_ok();
                // Whoever started it has given up waiting only if it is gone.
                let _ = tell.send(posted);
                if stands {
                    watch(&stop, &stalls);
                }
            }));
            told.recv().map_err(|_| ScheduleError::NoSuchCore(core))??;
        }
        Ok(witness)
    }

    /// What was noticed so far.
    pub fn stalls(&self) -> Stalls {
        Stalls(self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panicked thread has shown its message already.
            let _ = thread.join();
        }
    }
}

fn watch(stop: &AtomicBool, stalls: &Mutex<Vec<Stall>>) {
    let now = || Duration::from_nanos(monotonic_ns());
    let mut last = now();
    while !stop.load(Ordering::Relaxed) {
        let due = last + STEP;
        std::thread::sleep(due.saturating_sub(now()));
        let woke = now();
        if woke > due + TOLERATED {
            let mut stalls = stalls.lock().unwrap_or_else(PoisonError::into_inner);
            if stalls.len() < STALLS_MAX {
                stalls.push(Stall { from: last, to: woke });
            }
        }
        last = woke;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_time_near_a_stall_is_told_from_others() {
        let stalls = Stalls::new(vec![Stall { from: 10 * MS, to: 13 * MS }, Stall { from: 20 * MS, to: 21 * MS }]);
        for (at, near) in [(8, false), (9, true), (11, true), (14, true), (15, false), (19, true), (23, false)] {
            assert_eq!(stalls.are_near(at * MS, MS), near, "{at} ms");
        }
    }

    #[test]
    fn a_processor_that_is_held_up_is_noticed() -> Result<(), ScheduleError> {
        let witness = Witness::start()?;
        let core = *schedule::allowed_cores()?.first().ok_or(ScheduleError::NoSuchCore(0))?;
        let held = std::thread::spawn(move || {
            schedule::pin_to_core(core)?;
            schedule::set_fifo(PRIORITY + 1)?;
            let (from, hold) = (monotonic_ns(), 5_000_000);
            while monotonic_ns() < from + hold {
                std::hint::spin_loop();
            }
            Ok::<_, ScheduleError>(Duration::from_nanos(from))
        });
        let from = held.join().map_err(|_| ScheduleError::NoSuchCore(core))??;
        std::thread::sleep(5 * STEP);
        let seen = witness.stalls();
        let held = |stall: &Stall| stall.from <= from + 5 * MS && stall.to >= from + 5 * MS;
        assert!(seen.0.iter().any(held), "{seen:?}");
        Ok(())
    }
}
