//! What has been spent, and what may still be: the books of an entry for both directions.
//!
//! A release is paid before it happens. [`Ledger::reserve`] says what a reservation would change; only when that is on
//! disk does the reservation hold, and only then is leave handed out. What was handed out and not used stays spent.
//! Time moves the books forward only: a clock that steps back frees nothing, and no epoch is paid for twice.

use crate::UP_EDGE_S;
use crate::accountant::{Composition, MuSquared};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

mod limits;
mod record;

pub use limits::{Allowance, Bounds, Kind, LimitName, Limits, Scope};
pub use record::{AccountRecord, BitsSpent, HourRecord, RecordError};

/// Length of the buckets of the sliding window, in seconds.
pub const HOUR_S: u64 = 3_600;
/// Longest sliding window: 31 days. Older hours are folded into the lifetime figures, which are never folded.
pub const WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * HOUR_S);
/// How far ahead of the time that it is asked at a reservation may reach: 60 hours. What lies behind is left out.
pub const AHEAD_MAX: Duration = Duration::from_secs(60 * HOUR_S);
/// Buckets that are kept for each direction: those of the longest window, the present one, those ahead, and the one in
/// which the last epoch ends.
pub const HOURS_MAX: usize = 31 * 24 + 1 + 60 + 1;
/// Most releases of one reservation.
pub const RELEASES_MAX: u16 = 720;

/// A direction, seen from the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the entry to the exit.
    Up,
    /// From the exit to the entry.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];
}

/// What one release costs: in modes with noise mu squared, in mode `stepped` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// mu squared.
    pub mu_squared: MuSquared,
    /// Bits of maximal leakage.
    pub bits: BitsSpent,
}

impl Cost {
    /// The cost of a noisy release.
    pub fn noisy(mu_squared: MuSquared) -> Self {
        Self { mu_squared, ..Self::default() }
    }

    /// The cost of a choice out of `choices` classes, at least 2: log2 of it, rounded up.
    pub fn choice(choices: u32) -> Self {
        Self { bits: BitsSpent::of_choice(choices), ..Self::default() }
    }

    /// The sum, at most the largest values.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            mu_squared: self.mu_squared.saturating_add(other.mu_squared),
            bits: self.bits.saturating_add(other.bits),
        }
    }

    fn times(self, count: u16) -> Self {
        Self {
            mu_squared: self.mu_squared.checked_mul(count.into()).unwrap_or(MuSquared::MAX),
            bits: self.bits.saturating_mul(count),
        }
    }
}

/// What somebody wants to pay for: consecutive epochs of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whose releases.
    pub direction: Direction,
    /// Length of an epoch in seconds, at least 1.
    pub epoch_s: u32,
    /// Until when at least the releases are wanted, in UTC seconds; at most [`AHEAD_MAX`] ahead. What is paid already
    /// is not paid again.
    pub until_s: u64,
    /// What each costs.
    pub cost_each: Cost,
}

/// Leave that a reservation gives, once it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The first epoch: UTC seconds divided by its length.
    pub first_epoch: u64,
    /// Consecutive epochs from there on, at least 1.
    pub releases: u16,
}

/// A reservation that has not been written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "leave holds only once the changes are on disk"]
pub struct Reservation {
    /// What it allows.
    pub leave: Leave,
    /// The books after it.
    pub after: Ledger,
    /// The direction whose account changed.
    pub direction: Direction,
    /// The hour whose bucket changed: the one in which the last epoch ends. So nothing leaves a sliding window before
    /// its time.
    pub hour: u64,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// All that was asked for is paid.
    #[error("that time is paid for already")]
    Paid,
    /// The clock was ahead once, and the books do not go back.
    #[error("the clock is behind the ledger, which stands at {books_s} s of UTC; set the clock right, or wait")]
    Behind {
        /// From when on there is something to pay for again, in UTC seconds.
        books_s: u64,
    },
    /// A limit of the window.
    #[error(
        "the limit of the sliding window on {limit} is reached; it has room again at {free_at_s} s of UTC at the earliest"
    )]
    Window {
        /// Which; where several are reached, the one that has room last.
        limit: LimitName,
        /// When the oldest hour leaves the window.
        free_at_s: u64,
    },
    /// A limit of the ledger's life.
    #[error("the limit of the ledger's life on {limit} is reached")]
    Lifetime {
        /// Which.
        limit: LimitName,
    },
}

/// Books of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Account {
    spent: Cost,
    /// Releases before this moment, in UTC seconds, are paid or lost.
    paid_until_s: u64,
    hours: BTreeMap<u64, Cost>,
}

/// Books of both directions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    accounts: [Account; 2],
    /// The latest time that was ever seen.
    now_s: u64,
}

/// What was spent, as a person asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// In the sliding window that ends now; whole hours, so rather more than less.
    pub in_window: Cost,
    /// Since the ledger was made.
    pub in_all: Cost,
}

impl Ledger {
    /// Books in which nothing is spent. Only for a ledger that is made, never for one that is missing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The books that these records describe.
    ///
    /// # Errors
    /// If the hours of a direction say more than its account.
    pub fn from_records(
        accounts: impl IntoIterator<Item = (Direction, AccountRecord)>,
        hours: impl IntoIterator<Item = (Direction, u64, HourRecord)>,
    ) -> Result<Self, RecordError> {
        let mut ledger = Self::new();
        for (direction, record) in accounts {
            ledger.now_s = ledger.now_s.max(record.seen_s);
            let account = ledger.account_mut(direction);
            (account.spent, account.paid_until_s) = (record.spent, record.paid_until_s);
        }
        for (direction, hour, record) in hours {
            ledger.account_mut(direction).hours.insert(hour, record.spent);
        }
        let consistent = ledger.accounts.iter().all(|account| {
            let sum = account.hours.values().fold(Cost::default(), |sum, cost| sum.plus(*cost));
            sum.mu_squared <= account.spent.mu_squared && sum.bits <= account.spent.bits
        });
        if consistent { Ok(ledger) } else { Err(RecordError::Inconsistent) }
    }

    /// The account of a direction as it is written down.
    pub fn account_record(&self, direction: Direction) -> AccountRecord {
        let account = self.account(direction);
        AccountRecord { paid_until_s: account.paid_until_s, seen_s: self.now_s, spent: account.spent }
    }

    /// A bucket of a direction as it is written down.
    pub fn hour_record(&self, direction: Direction, hour: u64) -> HourRecord {
        HourRecord { spent: self.account(direction).hours.get(&hour).copied().unwrap_or_default() }
    }

    /// Hours of a direction that are kept.
    pub fn hours(&self, direction: Direction) -> impl Iterator<Item = u64> {
        self.account(direction).hours.keys().copied()
    }

    /// Until when releases of a direction are paid, in UTC seconds.
    pub fn paid_until_s(&self, direction: Direction) -> u64 {
        self.account(direction).paid_until_s
    }

    /// What was spent on a direction. All hours count from the window's first one on, those that a clock now set back
    /// takes for the future too: it makes the figure larger, never smaller.
    pub fn spent(&self, now_s: u64, direction: Direction, window: Duration) -> Spent {
        let account = self.account(direction);
        Spent { in_window: account.in_window(now_s, window), in_all: account.spent }
    }

    /// What was spent on both together.
    pub fn spent_together(&self, now_s: u64, window: Duration) -> Spent {
        let [up, down] = Direction::ALL.map(|direction| self.spent(now_s, direction, window));
        Spent { in_window: up.in_window.plus(down.in_window), in_all: up.in_all.plus(down.in_all) }
    }

    /// What a reservation would change: as many epochs as the limits allow, from the first on that is neither over
    /// nor paid, to the one in which `until_s` lies.
    pub fn reserve(&self, now_s: u64, request: Request, limits: &Limits) -> Result<Reservation, Refusal> {
        let latest_s = self.now_s.max(now_s);
        let epoch_s = u64::from(request.epoch_s.max(1));
        let paid_until_s = self.paid_until_s(request.direction);
        let first_epoch = (latest_s / epoch_s).max(paid_until_s.div_ceil(epoch_s));
        let until_s = request.until_s.min(latest_s.saturating_add(AHEAD_MAX.as_secs()));
        let wanted = (until_s / epoch_s).saturating_add(1).saturating_sub(first_epoch);
        let wanted = u16::try_from(wanted).unwrap_or(RELEASES_MAX).min(RELEASES_MAX);
        if wanted == 0 {
            let books_s = paid_until_s.max(latest_s);
            // An epoch that was begun is paid whole, and epochs may have been longer before.
            let soon_s = until_s.saturating_add(epoch_s.max(UP_EDGE_S));
            return Err(if books_s <= soon_s { Refusal::Paid } else { Refusal::Behind { books_s } });
        }
        let releases = self.affordable(now_s, request, wanted, limits)?;
        let mut after = self.clone();
        after.now_s = latest_s;
        let account = after.account_mut(request.direction);
        let cost = request.cost_each.times(releases);
        account.spent = account.spent.plus(cost);
        account.paid_until_s = first_epoch.saturating_add(releases.into()).saturating_mul(epoch_s);
        let hour = account.paid_until_s / HOUR_S;
        let bucket = account.hours.entry(hour).or_default();
        *bucket = bucket.plus(cost);
        while account.hours.len() > HOURS_MAX {
            account.hours.pop_first();
        }
        let leave = Leave { first_epoch, releases };
        Ok(Reservation { leave, after, direction: request.direction, hour })
    }

    /// How many of the wanted releases the limits allow, at least 1.
    fn affordable(&self, now_s: u64, request: Request, wanted: u16, limits: &Limits) -> Result<u16, Refusal> {
        let (direction, each) = (request.direction, request.cost_each);
        let books = [
            (Scope::One(direction), limits.of(direction), self.spent(now_s, direction, limits.window)),
            (Scope::Together, &limits.together, self.spent_together(now_s, limits.window)),
        ];
        let mut releases = wanted;
        for (scope, bounds, spent) in &books {
            let fit = bounds.in_all.fit(spent.in_all, each, wanted);
            releases =
                fit.map_err(|kind| Refusal::Lifetime { limit: LimitName { scope: *scope, kind } })?.min(releases);
        }
        let mut last: Option<(u64, LimitName)> = None;
        for (scope, bounds, spent) in &books {
            match bounds.in_window.fit(spent.in_window, each, wanted) {
                Ok(fit) => releases = fit.min(releases),
                Err(kind) => {
                    let free_at_s = self.window_moves_at(now_s, limits.window, *scope);
                    if last.is_none_or(|(before_s, _)| before_s < free_at_s) {
                        last = Some((free_at_s, LimitName { scope: *scope, kind }));
                    }
                }
            }
        }
        match last {
            Some((free_at_s, limit)) => Err(Refusal::Window { limit, free_at_s }),
            None => Ok(releases),
        }
    }

    /// When the oldest hour with anything in it leaves the window.
    fn window_moves_at(&self, now_s: u64, window: Duration, scope: Scope) -> u64 {
        let first = first_hour(now_s, window);
        let counted = Direction::ALL.into_iter().filter(|direction| scope.counts(*direction));
        let oldest = counted.filter_map(|direction| self.account(direction).hours.range(first..).next());
        let oldest = oldest.map(|(hour, _)| *hour).min().unwrap_or(first);
        oldest.saturating_add(window_hours(window) + 1).saturating_mul(HOUR_S)
    }

    fn account(&self, direction: Direction) -> &Account {
        &self.accounts[direction as usize]
    }

    fn account_mut(&mut self, direction: Direction) -> &mut Account {
        &mut self.accounts[direction as usize]
    }
}

impl Account {
    fn in_window(&self, now_s: u64, window: Duration) -> Cost {
        let hours = self.hours.range(first_hour(now_s, window)..);
        hours.fold(Cost::default(), |sum, (_, cost)| sum.plus(*cost))
    }
}

impl Spent {
    /// The window's figure for the accountant.
    pub fn composition_in_window(self) -> Composition {
        Composition::of(self.in_window.mu_squared)
    }

    /// The lifetime's.
    pub fn composition_in_all(self) -> Composition {
        Composition::of(self.in_all.mu_squared)
    }
}

fn window_hours(window: Duration) -> u64 {
    window.min(WINDOW_MAX).as_secs().div_ceil(HOUR_S)
}

/// The oldest hour of which any part lies in the window.
fn first_hour(now_s: u64, window: Duration) -> u64 {
    (now_s / HOUR_S).saturating_sub(window_hours(window))
}

#[cfg(test)]
mod tests;
