//! How much may be spent: on each direction and on both together, in a window and in all, of mu squared and of bits.

use super::{BitsSpent, Cost, Direction};
use crate::accountant::MuSquared;
use std::fmt;
use std::time::Duration;

/// Most of each kind of cost. A mode spends one kind only, and the limit of the other is never reached in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Most mu squared; `None`: no limit.
    pub mu_squared: Option<MuSquared>,
    /// Most bits of maximal leakage; `None`: no limit.
    pub bits: Option<BitsSpent>,
}

/// Most that may be spent on one direction, or on both together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// In any window.
    pub in_window: Allowance,
    /// Since the ledger was made.
    pub in_all: Allowance,
}

/// The most that may be spent for one client that is there all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the sliding window, at most [`super::WINDOW_MAX`].
    pub window: Duration,
    /// On releases from the entry.
    pub up: Bounds,
    /// On releases towards the entry.
    pub down: Bounds,
    /// On both together.
    pub together: Bounds,
}

/// Whose spending a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One direction's.
    One(Direction),
    /// Both directions' together.
    Together,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// mu squared, which a person writes as an epsilon.
    MuSquared,
    /// Bits of maximal leakage.
    Bits,
}

/// Which limit it is, of the window's or of the lifetime's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitName {
    /// Whose spending it counts.
    pub scope: Scope,
    /// What it counts.
    pub kind: Kind,
}

impl Limits {
    /// No limit at all; the window is only for what is shown.
    pub const fn none(window: Duration) -> Self {
        const NONE: Allowance = Allowance { mu_squared: None, bits: None };
        const BOUNDS: Bounds = Bounds { in_window: NONE, in_all: NONE };
        Self { window, up: BOUNDS, down: BOUNDS, together: BOUNDS }
    }

    /// Those of one direction.
    pub fn of(&self, direction: Direction) -> &Bounds {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

impl Allowance {
    /// How many of `wanted` releases fit beside what was spent, at least 1; or what there is not enough of.
    pub(super) fn fit(&self, spent: Cost, each: Cost, wanted: u16) -> Result<u16, Kind> {
        let mu_squared = units_fit(self.mu_squared.map(MuSquared::raw), spent.mu_squared.raw(), each.mu_squared.raw());
        let bits = units_fit(self.bits.map(BitsSpent::raw), spent.bits.raw(), each.bits.raw());
        match (mu_squared, bits) {
            (0, _) => Err(Kind::MuSquared),
            (_, 0) => Err(Kind::Bits),
            (one, other) => Ok(u16::try_from(one.min(other)).unwrap_or(wanted).min(wanted)),
        }
    }
}

/// How many times `each` fits into what `spent` leaves of a limit; as often as one likes without a limit or a price.
fn units_fit(limit: Option<u128>, spent: u128, each: u128) -> u128 {
    limit.and_then(|limit| limit.saturating_sub(spent).checked_div(each)).unwrap_or(u128::MAX)
}

impl Scope {
    /// Whether releases of this direction count.
    pub(super) fn counts(self, direction: Direction) -> bool {
        self == Self::Together || self == Self::One(direction)
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::MuSquared => "epsilon",
            Kind::Bits => "bits",
        };
        let scope = match self.scope {
            Scope::One(Direction::Up) => "of the up direction",
            Scope::One(Direction::Down) => "of the down direction",
            Scope::Together => "of both directions together",
        };
        write!(f, "{kind} {scope}")
    }
}
