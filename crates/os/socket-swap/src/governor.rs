//! How long to look at a ring before sleeping.
//!
//! A wake-up costs some 30 us where the other processor has halted, so looking on for a while pays if the answer comes
//! soon, and takes the processor from the one who would answer if it does not. Each thread keeps an average of how often
//! looking was enough, and looks only while that is good. A machine with one processor never looks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest look: about what a sleep and a wake-up cost.
const LOOK_MAX: Duration = Duration::from_micros(50);
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

thread_local! {
    static RECORD: Record = const { Record { success: Cell::new(1024), waits: Cell::new(0) } };
}

static PROCESSORS: AtomicU32 = AtomicU32::new(0);

/// Looks for news for a while, if that has been worth while. Returns whether there were any.
pub(crate) fn look(mut news: impl FnMut() -> bool) -> bool {
    RECORD.with(|record| {
        let waits = record.waits.get().wrapping_add(1);
        record.waits.set(waits);
        let worthwhile = record.success.get() >= WORTHWHILE || waits.is_multiple_of(RETRY_EVERY);
        if !worthwhile || processors() < 2 {
            return false;
        }
        let found = look_for(LOOK_MAX, &mut news);
        let outcome = if found { 1024 } else { 0 };
        let success = record.success.get();
        record.success.set(success - (success >> WEIGHT_SHIFT) + (outcome >> WEIGHT_SHIFT));
        found
    })
}

fn look_for(limit: Duration, news: &mut impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if news() {
                return true;
            }
            std::hint::spin_loop();
        }
        if began.elapsed() >= limit {
            return false;
        }
    }
}

fn processors() -> u32 {
    let known = PROCESSORS.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: an empty set is a valid value, which the kernel fills.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0 { libc::CPU_COUNT(&set) } else { 1 }
    };
    let count = u32::try_from(count).unwrap_or(1).max(1);
    PROCESSORS.store(count, Ordering::Relaxed);
    count
}
