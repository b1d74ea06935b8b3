//! `[budget]`: what an entry may spend on releases, and whether its mode can ever reach that.

use crate::diagnostic::{Problem, Report};
use crate::pacing::{Price, epsilon};
use crate::reader::Section;
use crate::sections::Shaping;
use crate::value;
use shaping::accountant::{Composition, Epsilon, FailureProbability, MuSquared, gaussian};
use shaping::ledger::{self, BitsSpent, Bounds, Direction, HOUR_S, Limits};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[budget]`: what an entry may spend on releases of both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Where the spent budget is written down.
    pub ledger_file: PathBuf,
    /// Length of the sliding window.
    pub window: Duration,
    /// Limits on both directions together.
    pub together: Allowance,
    /// Limits on the direction to the exit.
    pub up: Allowance,
    /// Limits on the direction from it.
    pub down: Allowance,
}

/// Most that may be spent on one direction, or on both. None: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Allowance {
    /// Most that one client may lose in any window, at the delta of `[dp]`.
    pub window_epsilon: Option<Epsilon>,
    /// The same for the ledger's life.
    pub lifetime_epsilon: Option<Epsilon>,
    /// Most bits of maximal leakage in any window.
    pub window_bits: Option<u32>,
    /// The same for the ledger's life.
    pub lifetime_bits: Option<u32>,
}

impl Budget {
    /// The limits as the ledger counts them; epsilons are at `delta`.
    pub fn limits(&self, delta: FailureProbability) -> Limits {
        let [together, up, down] = [&self.together, &self.up, &self.down].map(|allowance| allowance.bounds(delta));
        Limits { window: self.window, up, down, together }
    }

    /// Reads the table.
    pub(crate) fn read(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> Self {
        let mut section = root.section(report, "budget");
        let hours = section.or(report, "window_h", 24, value::integer(1, 24 * 31, "hours"));
        let ledger_file = section.or(report, "ledger_file", folder.join("entry.ledger"), value::path(folder));
        let together = Allowance::read(&mut section, report);
        let [up, down] = ["up", "down"].map(|direction| {
            let mut part = section.section(report, direction);
            let allowance = Allowance::read(&mut part, report);
            part.finish(report);
            allowance
        });
        section.finish(report);
        Self { ledger_file, window: Duration::from_secs(HOUR_S * hours), together, up, down }
    }

    /// Reports limits that the mode can never reach, or that leave no room for a release.
    pub(crate) fn check(&self, root: &mut Section<'_>, shaping: &Shaping, report: &mut Report) {
        let Some(price) = shaping.pacing.price() else { return };
        let limits = self.limits(price.delta);
        let check = Check { price, mode: shaping.mode.name(), limits: &limits };
        let mut section = root.section(report, "budget");
        check.scope(&section, &self.together, None, report);
        for (name, allowance, direction) in [("up", &self.up, Direction::Up), ("down", &self.down, Direction::Down)] {
            let part = section.section(report, name);
            check.scope(&part, allowance, Some(direction), report);
        }
    }
}

impl Allowance {
    fn read(section: &mut Section<'_>, report: &mut Report) -> Self {
        let bits = |value: &toml::de::DeValue<'_>| value::integer(1, 4_000_000_000, "bits")(value).map(|it| it as u32);
        Self {
            window_epsilon: section.optional(report, "window_epsilon", epsilon),
            lifetime_epsilon: section.optional(report, "lifetime_epsilon", epsilon),
            window_bits: section.optional(report, "window_bits", bits),
            lifetime_bits: section.optional(report, "lifetime_bits", bits),
        }
    }

    fn bounds(&self, delta: FailureProbability) -> Bounds {
        let units = |epsilon: Option<Epsilon>| epsilon.map(|epsilon| MuSquared::budget(gaussian::mu(epsilon, delta)));
        let bits = |bits: Option<u32>| bits.map(BitsSpent::whole);
        let allowance = |mu_squared, bits| ledger::Allowance { mu_squared, bits };
        Bounds {
            in_window: allowance(units(self.window_epsilon), bits(self.window_bits)),
            in_all: allowance(units(self.lifetime_epsilon), bits(self.lifetime_bits)),
        }
    }
}

/// The limits of a file against what its mode spends.
struct Check<'b> {
    price: Price,
    mode: &'static str,
    limits: &'b Limits,
}

/// What is reached before a limit: its value, and how a person is told.
type Before = (Option<u128>, &'static str);

impl Check<'_> {
    /// One direction, or both together.
    fn scope(&self, section: &Section<'_>, written: &Allowance, direction: Option<Direction>, report: &mut Report) {
        let (keys, others, spends) = if self.price.counts_bits() {
            let others = [written.window_epsilon.is_some(), written.lifetime_epsilon.is_some()];
            ((["window_bits", "lifetime_bits"], ["window_epsilon", "lifetime_epsilon"]), others, "bits only")
        } else {
            let others = [written.window_bits.is_some(), written.lifetime_bits.is_some()];
            ((["window_epsilon", "lifetime_epsilon"], ["window_bits", "lifetime_bits"]), others, "epsilon only")
        };
        for ((would, other), is_written) in keys.0.into_iter().zip(keys.1).zip(others) {
            if is_written {
                section.refuse(report, other, Problem::LimitOfOtherMode { mode: self.mode, spends, would });
            }
        }
        for (key, problem) in [(keys.0[0], self.window(direction)), (keys.0[1], self.lifetime(direction))] {
            if let Some(problem) = problem {
                section.refuse(report, key, problem);
            }
        }
    }

    /// What is wrong with a limit of the window.
    fn window(&self, direction: Option<Direction>) -> Option<Problem> {
        let limit = self.units(self.bounds(direction).in_window)?;
        let window_s = self.limits.window.as_secs() + HOUR_S;
        // The window has every hour of which a part lies in it, and what is paid a minute ahead.
        let epochs = window_s.div_ceil(self.price.epoch_s.into()) + 60_u64.div_ceil(self.price.epoch_s.into()) + 1;
        let most = self.each().saturating_mul(self.directions(direction)).saturating_mul(epochs.into());
        let beyond = || (limit > most).then(|| Problem::LimitBeyondWindow { most: self.shown(most) });
        let own_life = (self.units(self.bounds(direction).in_all), "the limit of the lifetime is reached");
        let mut before = vec![own_life];
        before.extend(self.before(direction, |bounds| bounds.in_window));
        if direction.is_some() {
            before.extend(self.before(direction, |bounds| bounds.in_all));
        }
        self.too_small(limit, direction).or_else(|| behind(limit, &before)).or_else(beyond)
    }

    /// What is wrong with a limit of the lifetime.
    fn lifetime(&self, direction: Option<Direction>) -> Option<Problem> {
        let limit = self.units(self.bounds(direction).in_all)?;
        let before = self.before(direction, |bounds| bounds.in_all);
        self.too_small(limit, direction).or_else(|| behind(limit, &before))
    }

    /// Limits of the other scopes that are reached before one of this scope, if they are not above it.
    fn before(&self, direction: Option<Direction>, which: impl Fn(&Bounds) -> ledger::Allowance) -> Vec<Before> {
        let units = |bounds: &Bounds| self.units(which(bounds));
        match direction {
            Some(_) => vec![(units(&self.limits.together), "the limit on both directions together is reached")],
            None => {
                let (up, down) = (units(&self.limits.up), units(&self.limits.down));
                let sum = up.zip(down).map(|(up, down)| up.saturating_add(down));
                vec![(sum, "the limits of the two directions are reached")]
            }
        }
    }

    fn too_small(&self, limit: u128, direction: Option<Direction>) -> Option<Problem> {
        let least = self.each().saturating_mul(self.directions(direction));
        let releases = if direction.is_some() { "one release costs" } else { "one release of each direction costs" };
        (limit < least).then(|| Problem::LimitTooSmall { releases, least: self.shown(least) })
    }

    fn bounds(&self, direction: Option<Direction>) -> &Bounds {
        direction.map_or(&self.limits.together, |direction| self.limits.of(direction))
    }

    fn directions(&self, direction: Option<Direction>) -> u128 {
        if direction.is_some() { 1 } else { 2 }
    }

    /// The limit of what the mode spends, in the ledger's units.
    fn units(&self, allowance: ledger::Allowance) -> Option<u128> {
        if self.price.counts_bits() {
            allowance.bits.map(BitsSpent::raw)
        } else {
            allowance.mu_squared.map(MuSquared::raw)
        }
    }

    /// What one release costs, in the same units.
    fn each(&self) -> u128 {
        if self.price.counts_bits() { self.price.each.bits.raw() } else { self.price.each.mu_squared.raw() }
    }

    /// A number of units as a person writes limits, rounded up.
    fn shown(&self, units: u128) -> Box<str> {
        if self.price.counts_bits() {
            return format!("{} bits", units.div_ceil(BitsSpent::whole(1).raw())).into();
        }
        let epsilon = Composition::of(MuSquared::from_raw(units)).epsilon(self.price.delta).value();
        format!("epsilon {}", (epsilon * 1_000.0).ceil() / 1_000.0).into()
    }
}

/// The first limit that is reached before this one.
fn behind(limit: u128, before: &[Before]) -> Option<Problem> {
    let reached = before.iter().find(|(other, _)| other.is_some_and(|other| other < limit))?;
    Some(Problem::LimitBehind { before: reached.1 })
}
