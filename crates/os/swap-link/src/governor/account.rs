//! Whether a thread looks at a ring before it sleeps: what looking has saved and cost it so far.

use std::cell::Cell;
use std::time::Duration;

/// What a look that found something has saved, in nanoseconds: most of a sleep and a wake-up.
const SAVED_NS: i64 = 40_000;
/// Most that is on the account: some eight looks in vain.
const CREDIT_MAX_NS: i64 = 200_000;
/// Most that is owed after looks in vain. They cost this processor's time, half of which nobody would have used.
const DEBT_MAX_NS: i64 = 400_000;
/// Waits from one look to the next while the account is in the red. Doubled after each look in vain.
const RETRY_MIN: u32 = 4;
const RETRY_MAX: u32 = 256;
/// A look that took longer was interrupted by a program that has nothing to do with it. On a busy machine this is what looking costs:
/// who looks on uses up his share of the processor, and then waits for others to use theirs.
pub(super) const LATE: Duration = Duration::from_micros(200);
/// Looks from one that learns whether others want the processor to the next.
const LOOKS_PER_PROBE: u32 = 32;
/// Waits without a look after others were found to want the processor: a look takes from them what it hopes to save, as nobody
/// halts there, and perhaps it is the other side that waits for it.
const CROWDED_WAITS: u32 = 64;
/// How often that is doubled at most: once for each late look, so that a machine that stays busy is left alone, and one that
/// was interrupted once is not.
const DOUBLINGS_MAX: u32 = 6;
/// Looks that found something, after which one doubling is forgotten.
const GOOD_LOOKS: u32 = 64;

/// The account of one thread.
pub(super) struct Account {
    balance_ns: Cell<i64>,
    /// Waits since the last look.
    waits: Cell<u32>,
    retry: Cell<u32>,
    /// Waits for which others are taken to want the processor.
    crowded: Cell<u32>,
    doublings: Cell<u32>,
    good_looks: Cell<u32>,
    until_probe: Cell<u32>,
}

impl Account {
    pub(super) const fn new() -> Self {
        Self {
            balance_ns: Cell::new(CREDIT_MAX_NS),
            waits: Cell::new(0),
            retry: Cell::new(RETRY_MIN),
            crowded: Cell::new(0),
            doublings: Cell::new(0),
            good_looks: Cell::new(0),
            until_probe: Cell::new(LOOKS_PER_PROBE),
        }
    }

    /// Whether the next wait looks.
    pub(super) fn is_worthwhile(&self) -> bool {
        self.crowded.get() == 0 && (!self.is_in_the_red() || self.waits.get() >= self.retry.get())
    }

    /// Whether a look is only a try.
    pub(super) fn is_in_the_red(&self) -> bool {
        self.balance_ns.get() < 0
    }

    /// A wait without a look.
    pub(super) fn count_wait(&self) {
        self.crowded.set(self.crowded.get().saturating_sub(1));
        self.waits.set(self.waits.get().saturating_add(1));
    }

    /// Whether it is time to learn whether others want the processor. Called once for each look.
    pub(super) fn is_probe_due(&self) -> bool {
        let left = self.until_probe.get();
        self.until_probe.set(left.checked_sub(1).unwrap_or(LOOKS_PER_PROBE));
        left == 0
    }

    /// After a look that found something in time.
    #[inline]
    pub(super) fn settle_found(&self) {
        self.waits.set(0);
        self.retry.set(RETRY_MIN);
        self.balance_ns.set((self.balance_ns.get() + SAVED_NS).min(CREDIT_MAX_NS));
        if self.doublings.get() > 0 {
            self.good_looks.set(self.good_looks.get() + 1);
            if self.good_looks.get() >= GOOD_LOOKS {
                self.good_looks.set(0);
                self.doublings.set(self.doublings.get() - 1);
            }
        }
    }

    /// After a look.
    pub(super) fn settle(&self, found: bool, took: Duration) {
        if took > LATE {
            return self.settle_crowded(took);
        }
        if found {
            return self.settle_found();
        }
        self.waits.set(0);
        let balance = self.balance_ns.get();
        let took_ns = i64::try_from(took.as_nanos()).unwrap_or(DEBT_MAX_NS);
        self.balance_ns.set((balance - took_ns / 2).max(-DEBT_MAX_NS));
        self.retry.set((self.retry.get() * 2).min(RETRY_MAX));
    }

    /// Others had the processor during a look, which took so long.
    pub(super) fn settle_crowded(&self, took: Duration) {
        let doublings = self.doublings.get();
        self.crowded.set(CROWDED_WAITS << doublings);
        self.good_looks.set(0);
        if took > LATE {
            self.doublings.set((doublings + 1).min(DOUBLINGS_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_VAIN: Duration = Duration::from_micros(50);
    const A_SLICE: Duration = Duration::from_millis(3);

    /// Waits until the next look.
    fn waits(account: &Account) -> u32 {
        let mut waits = 0;
        while !account.is_worthwhile() {
            account.count_wait();
            waits += 1;
            assert!(waits <= CROWDED_WAITS << DOUBLINGS_MAX, "never looks again");
        }
        waits
    }

    #[test]
    fn one_interruption_is_soon_forgotten() {
        let account = Account::new();
        account.settle(false, A_SLICE);
        assert_eq!(waits(&account), CROWDED_WAITS);
        (0..GOOD_LOOKS).for_each(|_| account.settle_found());
        account.settle(true, A_SLICE);
        assert_eq!(waits(&account), CROWDED_WAITS);
    }

    #[test]
    fn a_machine_that_stays_busy_is_left_alone() {
        let account = Account::new();
        let pauses: Vec<u32> = (0..9)
            .map(|_| {
                account.settle(false, A_SLICE);
                waits(&account)
            })
            .collect();
        assert_eq!(pauses, [64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]);
    }

    #[test]
    fn a_processor_that_others_want_is_theirs_for_a_while() {
        let account = Account::new();
        for _ in 0..10 {
            account.settle_crowded(Duration::from_micros(20));
            assert_eq!(waits(&account), CROWDED_WAITS);
        }
    }

    #[test]
    fn looks_in_vain_become_rare_and_come_back() {
        let account = Account::new();
        let in_vain =
            (0..).take_while(|_| !account.is_in_the_red() && (account.settle(false, IN_VAIN), true).1).count();
        assert_eq!(in_vain, 9, "about as many as the credit pays for");
        let pauses: Vec<u32> = (0..4)
            .map(|_| {
                account.settle(false, IN_VAIN);
                waits(&account)
            })
            .collect();
        assert_eq!(pauses, [RETRY_MAX; 4]);
        let found = (0..).take_while(|_| account.is_in_the_red() && (account.settle_found(), true).1).count();
        assert!(found <= 10, "{found}");
        assert_eq!(waits(&account), 0);
    }

    #[test]
    fn a_probe_is_due_now_and_then() {
        let account = Account::new();
        let due: Vec<usize> = (0..100).filter(|_| account.is_probe_due()).collect();
        assert_eq!(due, [32, 65, 98]);
    }
}
