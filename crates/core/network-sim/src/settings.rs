//! What is simulated.

use crate::WARM_UP_S;
use network_document::{EDITION_RELAYS_MAX, MEMBERS_MAX};
use thiserror::Error;

/// Fewest relays: with fewer, chance alone decides whether two legs of three hops find relays of every role.
pub const RELAYS_MIN: u32 = 30;
/// Most clients.
pub const CLIENTS_MAX: u32 = 100_000;
/// Longest run, 62 days.
pub const HOURS_MAX: u32 = 62 * 24;
/// Fractions of hostile bandwidth that one run can look at.
pub const HOSTILE_MAX: usize = 8;
/// Most of the bandwidth that may be hostile.
pub const HOSTILE_SHARE_MAX: f64 = 0.5;

/// A network, its clients, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Relays that are ever admitted: [`RELAYS_MIN`] to as many as an edition has.
    pub relays: u32,
    /// Clients, those that are away for a month included: 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// Length of the run, 1 to [`HOURS_MAX`]. It begins at midnight.
    pub hours: u32,
    /// Members of the directory, 4 to 15. As many as may lie without harm are assumed to: a third, less one.
    pub members: u8,
    /// Replays the run.
    pub seed: u64,
    /// Fractions of all bandwidth that one adversary has, each 0 to [`HOSTILE_SHARE_MAX`]; at most [`HOSTILE_MAX`]. Hostile relays
    /// behave like the others and hide that they belong together, so one run looks at all fractions.
    pub hostile: Vec<f64>,
    /// How often relays and members fail, 1 being what the crate's README says; 0 is never, 20 the most.
    pub churn: f64,
    /// How much clients transfer, 1 being what the README says; 0 is nothing, which makes long runs fast, 20 the most.
    pub traffic: f64,
    /// Seconds behind the moment at which an edition is due in which clients ask for it, 1 to 3600: a quarter of an interval is
    /// what nodes take.
    pub spread_s: u32,
}

impl Default for Settings {
    /// 1,000 relays and 20,000 clients for a day.
    fn default() -> Self {
        Self {
            relays: 1_000,
            clients: 20_000,
            hours: 24,
            members: 4,
            seed: 0,
            hostile: vec![0.05, 0.1, 0.2],
            churn: 1.0,
            traffic: 1.0,
            spread_s: 150,
        }
    }
}

/// A number outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum SettingsError {
    /// Too few or too many relays.
    #[error("{0} relays are outside {RELAYS_MIN} to {EDITION_RELAYS_MAX}")]
    Relays(u32),
    /// None, or too many.
    #[error("{0} clients are outside 1 to {CLIENTS_MAX}")]
    Clients(u32),
    /// No time, or too much.
    #[error("{0} hours are outside 1 to {HOURS_MAX}")]
    Hours(u32),
    /// No directory that tolerates a liar, or too many members.
    #[error("{0} members are outside 4 to {MEMBERS_MAX}")]
    Members(u8),
    /// Not a share.
    #[error("a hostile share of {0} is outside 0 to {HOSTILE_SHARE_MAX}")]
    Hostile(f64),
    /// Too many of them.
    #[error("at most {HOSTILE_MAX} hostile shares are looked at in a run, not {0}")]
    HostileCount(usize),
    /// No factor.
    #[error("a factor of {0} is outside 0 to {FACTOR_MAX}")]
    Factor(f64),
    /// No time to ask in, or longer than an interval is useful.
    #[error("a spread of {0} s is outside 1 to {SPREAD_MAX_S}")]
    Spread(u32),
}

/// Most of `churn` and of `traffic`.
pub const FACTOR_MAX: f64 = 20.0;
/// Longest spread, in seconds.
pub const SPREAD_MAX_S: u32 = 3_600;

impl Settings {
    /// Looks at every number.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if !(RELAYS_MIN..=EDITION_RELAYS_MAX as u32).contains(&self.relays) {
            return Err(SettingsError::Relays(self.relays));
        }
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return Err(SettingsError::Clients(self.clients));
        }
        if !(1..=HOURS_MAX).contains(&self.hours) {
            return Err(SettingsError::Hours(self.hours));
        }
        if !(4..=MEMBERS_MAX).contains(&usize::from(self.members)) {
            return Err(SettingsError::Members(self.members));
        }
        if self.hostile.len() > HOSTILE_MAX {
            return Err(SettingsError::HostileCount(self.hostile.len()));
        }
        if let Some(share) = self.hostile.iter().find(|share| !(0.0..=HOSTILE_SHARE_MAX).contains(*share)) {
            return Err(SettingsError::Hostile(*share));
        }
        if let Some(factor) = [self.churn, self.traffic].into_iter().find(|it| !(0.0..=FACTOR_MAX).contains(it)) {
            return Err(SettingsError::Factor(factor));
        }
        if !(1..=SPREAD_MAX_S).contains(&self.spread_s) {
            return Err(SettingsError::Spread(self.spread_s));
        }
        Ok(())
    }

    /// Seconds from the beginning of the warm-up to the end.
    pub(crate) fn end_s(&self) -> u32 {
        WARM_UP_S + self.hours * 3_600
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        let good = Settings::default();
        assert_eq!(good.check(), Ok(()));
        let bad = [
            Settings { relays: 5_001, ..good.clone() },
            Settings { clients: 0, ..good.clone() },
            Settings { hours: 0, ..good.clone() },
            Settings { members: 3, ..good.clone() },
            Settings { hostile: vec![0.6], ..good.clone() },
            Settings { hostile: vec![0.1; 9], ..good.clone() },
            Settings { hostile: vec![f64::NAN], ..good.clone() },
            Settings { churn: -1.0, ..good.clone() },
            Settings { traffic: f64::INFINITY, ..good.clone() },
            Settings { spread_s: 0, ..good.clone() },
        ];
        for settings in bad {
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
