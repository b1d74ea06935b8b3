#![doc = include_str!("../README.md")]

mod guards;
mod paths;
mod refusal;
mod relays;
mod rules;
mod ways;
mod weight;

pub use guards::{
    ADDED_SPARE_MAX, GUARDS_MAX, GuardStatus, Guards, GuardsFileError, LIFETIME_S, PERIOD_S, PrimariesError, SPARES,
    UNLISTED_S,
};
pub use paths::{Choice, GUARDS_SPARE_MAX, Path};
pub use refusal::{Cause, Refusal, Remedy};
pub use relays::{Place, Relays};
pub use rules::{HOPS_MAX, LEGS_MAX, PathRules, Relaxation, RulesError, Target};
pub use ways::{Way, Ways};

#[doc(hidden)]
pub mod fuzz;
