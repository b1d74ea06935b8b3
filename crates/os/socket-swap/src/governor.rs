//! How long to look at a ring before sleeping.
//!
//! A wake-up costs some 30 us where the other processor has halted, so looking on for a while pays if the answer comes
//! soon, and takes the processor from the one who would answer if it does not. Each thread keeps an average of how often
//! looking was enough, and looks only while that is good. A machine with one processor never looks.

use crate::link::RESTS;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest look: about what a sleep and a wake-up cost.
const LOOK_MAX: Duration = Duration::from_micros(50);
/// How long a look keeps the processor. After that it offers it to others between two looks: they may have something to do.
const KEEP_MAX: Duration = Duration::from_micros(5);
/// Looks at the ring between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
/// Success, in 1/1024, below which only one wait in [`RETRY_EVERY`] looks.
const WORTHWHILE: u32 = 358;
const RETRY_EVERY: u32 = 64;
/// A new outcome has this share of the average: 1/8.
const WEIGHT_SHIFT: u32 = 3;

struct Record {
    success: Cell<u32>,
    waits: Cell<u32>,
}

impl Record {
    fn is_worthwhile(&self) -> bool {
        self.success.get() >= WORTHWHILE || self.waits.get().is_multiple_of(RETRY_EVERY)
    }
}

thread_local! {
    static RECORD: Record = const { Record { success: Cell::new(1024), waits: Cell::new(0) } };
}

/// Microseconds between two looks at what no doorbell tells.
const PAUSE_US: u32 = 50;

static PROCESSORS: AtomicU32 = AtomicU32::new(0);

/// Offers of the processor to the other side, where both share one.
const YIELDS_MAX: u32 = 8;

/// The processor that the calling thread is on, plus one; 0 if unknown.
pub(crate) fn own_processor() -> u64 {
    // SAFETY: asks for a number, without a call to the kernel.
    u64::try_from(unsafe { libc::sched_getcpu() } + 1).unwrap_or(0)
}

/// The coarse clock, which moves in steps of some milliseconds and costs little.
pub(crate) fn tick() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// A wait with an end for something that no doorbell tells.
pub(crate) struct Patience {
    began: Instant,
    limit: Duration,
}

impl Patience {
    /// Begins to wait.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), limit }
    }

    /// Whether it has lasted long enough.
    pub(crate) fn is_over(&self) -> bool {
        self.began.elapsed() > self.limit
    }

    /// Sleeps between two looks.
    pub(crate) fn pause(&self) {
        // SAFETY: sleeps.
        unsafe { libc::usleep(PAUSE_US) };
    }
}

/// Whether a [`look`] of this thread would look at all. If not, this counts as one.
pub(crate) fn will_look() -> bool {
    let will = RECORD.with(Record::is_worthwhile);
    if !will {
        RECORD.with(|record| record.waits.set(record.waits.get().wrapping_add(1)));
    }
    will
}

/// Looks for news for a while, if that has been worth while. `theirs`: the processor on which the other side was last, plus
/// one, or 0, or [`RESTS`]. Returns whether there were any.
pub(crate) fn look(theirs: u64, mut news: impl FnMut() -> bool) -> bool {
    if theirs == RESTS {
        return false;
    }
    RECORD.with(|record| {
        let worthwhile = record.is_worthwhile();
        record.waits.set(record.waits.get().wrapping_add(1));
        if !worthwhile {
            return false;
        }
        let shares = processors() < 2 || (theirs != 0 && theirs == own_processor());
        let began = Instant::now();
        let found = if shares { let_others(began, &mut news) } else { look_for(began, &mut news) };
        // News that came late were waited for while a third program had the processor: a sleeper would have been woken.
        let was_worthwhile = found && began.elapsed() <= LOOK_MAX;
        let outcome = if was_worthwhile { 1024 } else { 0 };
        let success = record.success.get();
        record.success.set(success - (success >> WEIGHT_SHIFT) + (outcome >> WEIGHT_SHIFT));
        found
    })
}

/// On one processor looking on only keeps the other side from answering. Where others compete for it too, an offer takes
/// until they have used their share, so the time has an end here as well.
fn let_others(began: Instant, news: &mut impl FnMut() -> bool) -> bool {
    for _ in 0..YIELDS_MAX {
        // SAFETY: offers the processor to others.
        unsafe { libc::sched_yield() };
        if news() {
            return true;
        }
        if began.elapsed() > LOOK_MAX {
            return false;
        }
    }
    false
}

fn look_for(began: Instant, news: &mut impl FnMut() -> bool) -> bool {
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if news() {
                return true;
            }
            std::hint::spin_loop();
        }
        let elapsed = began.elapsed();
        if elapsed >= LOOK_MAX {
            return false;
        }
        if elapsed >= KEEP_MAX {
            // SAFETY: offers the processor to others.
            unsafe { libc::sched_yield() };
        }
    }
}

/// Processors of the machine, whatever the calling thread may use: the other side may be elsewhere.
fn processors() -> u32 {
    let known = PROCESSORS.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: asks for a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let count = u32::try_from(count).unwrap_or(1).max(1);
    PROCESSORS.store(count, Ordering::Relaxed);
    count
}
