#![doc = include_str!("../README.md")]

mod calendar;
mod editions;
mod members;
mod percentiles;
mod population;
mod report;
mod run;
mod settings;
mod sharing;
mod table;
mod tally;
mod world;

use relay_directory::EDITIONS_KEPT;

pub use percentiles::Percentiles;
pub use report::{
    Checks, Directory, Exposure, FlowFigures, Load, Report, RoleLoad, Scenario, SpeedLoad, TunnelFigures,
};
pub use run::{RunError, run};
pub use settings::{
    CLIENTS_MAX, FACTOR_MAX, HOSTILE_MAX, HOSTILE_SHARE_MAX, HOURS_MAX, RELAYS_MIN, SPREAD_MAX_S, Settings,
    SettingsError,
};

const DAY_S: u32 = 86_400;
/// An interval of the directory, as `Founding::new` has it.
const INTERVAL_S: u32 = 600;
/// The directory and its relays run for so long before clients come: as many intervals as keepers have editions.
const WARM_UP_S: u32 = EDITIONS_KEPT as u32 * INTERVAL_S;
/// When clients come: a midnight, UTC.
const BEGIN_UNIX_S: u64 = 1_799_971_200;
/// How long some clients were away, and how old the network is.
const AWAY_S: u64 = 31 * DAY_S as u64;
/// Legs and hops of a tunnel, as networks and entries have them by default.
const LEGS: u8 = 2;
const HOPS: u8 = 3;
