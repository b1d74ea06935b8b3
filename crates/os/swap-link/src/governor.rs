//! How long to look at a ring before sleeping.
//!
//! A wake-up costs some 30 us where the other processor has halted, so looking on for a while pays if the answer comes
//! soon, and takes the processor from the one who would answer if it does not. Each thread keeps an account of the time that
//! looking has saved and cost, and looks only while that is not in the red. A machine with one processor never looks.

use account::Account;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

mod account;

/// Longest look: about what a sleep and a wake-up cost.
const LOOK_MAX: Duration = Duration::from_micros(50);
/// How long a look keeps the processor. After that it offers it to others between two looks: they may have something to do.
const KEEP_MAX: Duration = Duration::from_micros(10);
/// Looks at the ring between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 32;
/// Pauses, about one and a half microseconds in all, before a look at a stream of small messages that goes one way. Each look takes the cache line of
/// the position away from whoever moves it: one who looks at once makes each small message cost two transfers of that line,
/// and gets them one by one.
const PAUSES_APART: u32 = 24;
/// An offer of the processor that comes back sooner was taken by nobody.
const TAKEN: Duration = Duration::from_micros(1);

thread_local! {
    static ACCOUNT: Account = const { Account::new() };
}

/// Nanoseconds for which a set whose rings are busy is not asked about in the kernel. News of other descriptors in it, and of
/// the ends of connections, come later by that.
const UNASKED_MAX_NS: u64 = 100_000;
/// Waits for which it is not asked about, so that a program that counts its waits sees them too.
const UNASKED_MAX: u32 = 10;

/// Microseconds between two looks at what no doorbell tells.
const PAUSE_US: u32 = 50;

static PROCESSORS: AtomicU32 = AtomicU32::new(0);

/// Offers of the processor to the other side, where both share one.
const YIELDS_MAX: u32 = 8;

/// The processor that the calling thread is on, plus one; 0 if unknown.
pub fn own_processor() -> u64 {
    // SAFETY: asks for a number, without a call to the kernel.
    u64::try_from(unsafe { libc::sched_getcpu() } + 1).unwrap_or(0)
}

/// The coarse clock, which moves in steps of some milliseconds and costs little.
pub fn tick() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// A wait with an end for something that no doorbell tells.
pub struct Patience {
    began: Instant,
    limit: Duration,
}

impl Patience {
    /// Begins to wait.
    pub fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), limit }
    }

    /// Whether it has lasted long enough.
    pub fn is_over(&self) -> bool {
        self.began.elapsed() > self.limit
    }

    /// Sleeps between two looks.
    pub fn pause(&self) {
        // SAFETY: sleeps.
        unsafe { libc::usleep(PAUSE_US) };
    }
}

thread_local! {
    /// The set that the kernel was asked about last, when, and waits since.
    static ASKED: Cell<(i32, u64, u32)> = const { Cell::new((-1, 0, 0)) };
}

/// The time in nanoseconds, of no meaning but in differences.
fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Whether it is time to ask the kernel again about a set whose rings are busy. Called once for each look at the rings.
pub fn is_kernel_due(set: i32) -> bool {
    let (asked, at, waits) = ASKED.get();
    ASKED.set((asked, at, waits.saturating_add(1)));
    asked != set || waits >= UNASKED_MAX || now_ns().wrapping_sub(at) > UNASKED_MAX_NS
}

/// The kernel is asked about a set now.
pub fn kernel_is_asked(set: i32) {
    ASKED.set((set, now_ns(), 0));
}

/// Lets messages gather. Nobody waits for an answer to the next one. A machine with one processor has nobody who would write
/// meanwhile.
pub fn gather() {
    if processors() > 1 {
        (0..PAUSES_APART).for_each(|_| std::hint::spin_loop());
    }
}

/// Whether a [`look`] of this thread would look at all. If not, this counts as one.
pub fn will_look() -> bool {
    let will = ACCOUNT.with(Account::is_worthwhile);
    if !will {
        ACCOUNT.with(Account::count_wait);
    }
    will
}

/// Looks for news for a while, if that has been worth while. `theirs`: the processor on which the other side was last, plus
/// one, or 0. Returns whether there were any.
pub fn look(theirs: u64, mut news: impl FnMut() -> bool) -> bool {
    ACCOUNT.with(|account| {
        if !account.is_worthwhile() {
            account.count_wait();
            return false;
        }
        let shares = processors() < 2 || (theirs != 0 && theirs == own_processor());
        // In the red a try is made without an offer to others: they may keep the processor for long.
        let is_try = account.is_in_the_red();
        if !shares
            && !is_try
            && account.is_probe_due()
            && let Some(found) = offer(account, &mut news)
        {
            return found;
        }
        // The clock costs as much as a third of a round trip.
        if !shares && (0..LOOKS_PER_CLOCK).any(|_| news_or_pause(&mut news)) {
            account.settle_found();
            return true;
        }
        let began = Instant::now();
        let found = match (is_try, shares) {
            (true, true) => false,
            (true, false) => look_for(began, LOOK_MAX, &mut news),
            (false, true) => let_others(began, &mut news),
            (false, false) => look_for(began, KEEP_MAX, &mut news),
        };
        account.settle(found, began.elapsed());
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

/// Learns whether others want this processor, by an offer of it. If so it is theirs, and this returns what there is after it; `None`: nobody does, so this
/// thread may look on.
fn offer(account: &Account, news: &mut impl FnMut() -> bool) -> Option<bool> {
    if news() {
        return Some(true);
    }
    let began = Instant::now();
    // SAFETY: offers the processor to others.
    unsafe { libc::sched_yield() };
    if began.elapsed() < TAKEN {
        return None;
    }
    // The call itself takes longer now and then. To be sure costs two more, so it is asked only here.
    let before = switches();
    // SAFETY: as above.
    unsafe { libc::sched_yield() };
    if switches() == before {
        return None;
    }
    let (found, took) = (news(), began.elapsed());
    if !found || took > account::LATE {
        account.settle_crowded(took);
    }
    Some(found)
}

/// How often the scheduler took the processor from the calling thread while it could have gone on.
fn switches() -> libc::c_long {
    // SAFETY: zeros are a valid structure, which the call fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage.ru_nivcsw
    }
}

/// One look, and a pause after one in vain.
fn news_or_pause(news: &mut impl FnMut() -> bool) -> bool {
    let found = news();
    if !found {
        std::hint::spin_loop();
    }
    found
}

/// Looks for [`LOOK_MAX`], from `keep` on with an offer of the processor between two looks.
fn look_for(began: Instant, keep: Duration, news: &mut impl FnMut() -> bool) -> bool {
    loop {
        if (0..LOOKS_PER_CLOCK).any(|_| news_or_pause(news)) {
            return true;
        }
        let elapsed = began.elapsed();
        if elapsed >= LOOK_MAX {
            return false;
        }
        if elapsed >= keep {
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
