//! How long to look at a ring before sleeping.
//!
//! A wake-up costs some 30 us where the other processor has halted, so looking on for a while pays if the answer comes
//! soon, and takes the processor from the one who would answer if it does not. Each thread keeps an account of the time that
//! looking has saved and cost, and looks only while that is not in the red. A machine with one processor never looks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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
/// What a look that found something has saved, in nanoseconds: most of a sleep and a wake-up.
const SAVED_NS: i64 = 40_000;
/// Most that is on the account: some eight looks in vain.
const CREDIT_MAX_NS: i64 = 200_000;
/// Most that is owed after looks in vain. They cost this processor's time, half of which nobody would have used.
const DEBT_MAX_NS: i64 = 400_000;
/// Most that is owed after looks during which somebody else had the processor. On a busy machine this is what looking costs:
/// who looks on uses up his share of the processor, and then waits for others to use theirs.
const LATE_DEBT_MAX_NS: i64 = 200_000_000;
/// Most of one such look that counts: about what a scheduler gives another program at a time. More is a machine that stood
/// still.
const LATE_COUNTED_NS: i64 = 4_000_000;
/// Most by which such a look counts more than it took. Four times as much after each of them, so that a machine that stays busy is left alone,
/// and halved after a while without.
const LATE_FACTOR_MAX: i64 = 64;
/// Looks that found something and owe nothing, after which it is halved.
const GOOD_LOOKS: u32 = 1024;
/// Waits from one look to the next while the account is in the red. Doubled after each look in vain.
const RETRY_MIN: u32 = 4;
const RETRY_MAX: u32 = 256;
/// A look that took longer was interrupted by a program that has nothing to do with it.
const LATE: Duration = Duration::from_micros(200);

/// An offer of the processor that comes back sooner was taken by nobody.
const TAKEN: Duration = Duration::from_micros(1);
/// Looks from one that finds the processor wanted by others to the next that may keep it.
const CROWDED_LOOKS: u32 = 64;
/// Looks from one offer that is made only to learn whether it is taken to the next.
const LOOKS_PER_PROBE: u32 = 32;
/// Offers of a processor that others want, before its thread sleeps.
const OFFERS_MAX: u32 = 2;
/// What such a look costs in vain, and saves otherwise: a switch of threads each, but nobody had to be woken.
const OFFERED_NS: i64 = 3_000;

struct Record {
    account_ns: Cell<i64>,
    waits: Cell<u32>,
    retry: Cell<u32>,
    /// By what a late look counts more than it took.
    late_factor: Cell<i64>,
    good_looks: Cell<u32>,
    /// Looks for which others are taken to want the processor.
    crowded: Cell<u32>,
    /// Looks until the next probe.
    until_probe: Cell<u32>,
}

impl Record {
    fn is_worthwhile(&self) -> bool {
        self.account_ns.get() >= 0 || self.waits.get() >= self.retry.get()
    }

    fn count_wait(&self) {
        self.waits.set(self.waits.get().saturating_add(1));
    }

    /// Whether this look offers the processor before anything else: others want it, or it is time to learn that.
    fn offers_first(&self) -> bool {
        let (crowded, until_probe) = (self.crowded.get(), self.until_probe.get());
        self.crowded.set(crowded.saturating_sub(1));
        self.until_probe.set(until_probe.checked_sub(1).unwrap_or(LOOKS_PER_PROBE));
        crowded > 0 || until_probe == 0
    }

    /// What news save. On a busy machine no processor halts, so nobody has to be woken from that.
    #[inline]
    fn saved_ns(&self) -> i64 {
        (SAVED_NS / self.late_factor.get()).max(OFFERED_NS)
    }

    /// Waits from one try to the next at least: where they gain little they must cost nothing.
    #[inline]
    fn retry_min(&self) -> u32 {
        (RETRY_MIN * self.late_factor.get() as u32).min(RETRY_MAX)
    }

    /// Forgets slowly that the machine was busy.
    #[inline]
    fn count_good(&self, found: bool) {
        if self.late_factor.get() > 1 && found && self.account_ns.get() >= 0 {
            self.good_looks.set(self.good_looks.get() + 1);
            if self.good_looks.get() >= GOOD_LOOKS {
                self.good_looks.set(0);
                self.late_factor.set(self.late_factor.get() / 2);
            }
        }
    }

    /// After a look on a processor that others want.
    fn settle_offered(&self, found: bool) {
        self.waits.set(0);
        self.count_good(found);
        let account = self.account_ns.get();
        self.account_ns.set(if found {
            (account + OFFERED_NS).min(CREDIT_MAX_NS)
        } else {
            (account - OFFERED_NS).max(account.min(-DEBT_MAX_NS))
        });
        self.retry.set(if found { self.retry_min() } else { (self.retry.get() * 2).min(RETRY_MAX) });
    }

    /// After news that were there before the first look at the clock.
    #[inline]
    fn settle_at_once(&self) {
        self.count_good(true);
        self.waits.set(0);
        self.retry.set(self.retry_min());
        self.account_ns.set((self.account_ns.get() + self.saved_ns()).min(CREDIT_MAX_NS));
    }

    /// After a look.
    fn settle(&self, found: bool, took: Duration) {
        self.waits.set(0);
        let account = self.account_ns.get();
        self.count_good(found && took <= LATE);
        let took_ns = i64::try_from(took.as_nanos()).unwrap_or(LATE_DEBT_MAX_NS);
        let account = if took > LATE {
            let factor = self.late_factor.get();
            self.late_factor.set((factor * 4).min(LATE_FACTOR_MAX));
            self.good_looks.set(0);
            (account - took_ns.min(LATE_COUNTED_NS) * factor).max(-LATE_DEBT_MAX_NS)
        } else if !found {
            (account - took_ns / 2).max(account.min(-DEBT_MAX_NS))
        } else if took <= LOOK_MAX {
            (account + self.saved_ns()).min(CREDIT_MAX_NS)
        } else {
            account
        };
        self.account_ns.set(account);
        let in_vain = !found || took > LATE;
        self.retry.set(if in_vain { (self.retry.get() * 2).min(RETRY_MAX) } else { self.retry_min() });
    }
}

thread_local! {
    static RECORD: Record = const {
        Record {
            account_ns: Cell::new(CREDIT_MAX_NS),
            waits: Cell::new(0),
            retry: Cell::new(RETRY_MIN),
            late_factor: Cell::new(1),
            good_looks: Cell::new(0),
            crowded: Cell::new(0),
            until_probe: Cell::new(LOOKS_PER_PROBE),
        }
    };
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
    let will = RECORD.with(Record::is_worthwhile);
    if !will {
        RECORD.with(Record::count_wait);
    }
    will
}

/// Looks for news for a while, if that has been worth while. `theirs`: the processor on which the other side was last, plus
/// one, or 0. Returns whether there were any.
pub fn look(theirs: u64, mut news: impl FnMut() -> bool) -> bool {
    RECORD.with(|record| {
        if !record.is_worthwhile() {
            record.count_wait();
            return false;
        }
        let shares = processors() < 2 || (theirs != 0 && theirs == own_processor());
        // In the red a try is made without an offer to others: they may keep the processor for long.
        let is_try = record.account_ns.get() < 0;
        if !shares
            && !is_try
            && record.offers_first()
            && let Some(found) = offer(record, &mut news)
        {
            return found;
        }
        // The clock costs as much as a third of a round trip.
        if !shares && (0..LOOKS_PER_CLOCK).any(|_| news_or_pause(&mut news)) {
            record.settle_at_once();
            return true;
        }
        let began = Instant::now();
        // Where others keep the processor for long, a try is short.
        let try_max = if record.late_factor.get() > 1 { KEEP_MAX } else { LOOK_MAX };
        let found = match (is_try, shares) {
            (true, true) => false,
            (true, false) => look_for(began, LOOK_MAX, try_max, &mut news),
            (false, true) => let_others(began, &mut news),
            (false, false) => look_for(began, KEEP_MAX, LOOK_MAX, &mut news),
        };
        record.settle(found, began.elapsed());
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

/// On a processor that others want. Whoever keeps it then takes away what he hopes to save, as nobody there has halted, and
/// perhaps it is the other side that waits for it. `None`: nobody wanted it, so this may look on.
fn offer(record: &Record, news: &mut impl FnMut() -> bool) -> Option<bool> {
    if news() {
        return Some(true);
    }
    for _ in 0..OFFERS_MAX {
        let began = Instant::now();
        // SAFETY: offers the processor to others.
        unsafe { libc::sched_yield() };
        let took = began.elapsed();
        if took < TAKEN {
            record.crowded.set(0);
            return None;
        }
        let found = news();
        if took > LATE {
            record.settle(found, took);
            return Some(found);
        }
        record.crowded.set(CROWDED_LOOKS);
        if found {
            record.settle_offered(true);
            return Some(true);
        }
    }
    record.settle_offered(false);
    Some(false)
}

/// One look, and a pause after one in vain.
fn news_or_pause(news: &mut impl FnMut() -> bool) -> bool {
    let found = news();
    if !found {
        std::hint::spin_loop();
    }
    found
}

/// Looks for `longest`, from `keep` on with an offer of the processor between two looks.
fn look_for(began: Instant, keep: Duration, longest: Duration, news: &mut impl FnMut() -> bool) -> bool {
    loop {
        if (0..LOOKS_PER_CLOCK).any(|_| news_or_pause(news)) {
            return true;
        }
        let elapsed = began.elapsed();
        if elapsed >= longest {
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
