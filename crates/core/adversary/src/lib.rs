#![doc = include_str!("../README.md")]

pub mod attacks;
mod bounds;
pub mod capture;
mod classifier;
#[cfg(test)]
mod clean;
mod forest;
mod leak;
mod normal;
mod permutation;
mod randomness;
mod sighting;
mod slots;
mod table;
mod timing;
mod two_sample;
pub mod verdict;
mod window;

pub use classifier::{PHASES_MIN, Told, WINDOWS_MAX, WINDOWS_MIN, Windows};
pub use leak::{LEAKS, Leak, plant};
pub use randomness::{
    FALSE_ALARM_PER_RUN, FALSE_ALARM_PER_TEST, Outcome, PACKETS_MIN, Question, RandomnessReport, TooFewPackets,
    judge_randomness,
};
pub use sighting::{Difference, Direction, OddSize, Sighting, first_difference, one_size};
pub use slots::{Grid, OddSlot, SlotCounts, slot_starts};
pub use timing::{
    Comparison, Decision, Equivalence, FALSE_PASS_PER_TRIAL, Finding, Interval, Lateness, ROUNDS_MAX, ShiftBounds,
    Trial,
};
pub use two_sample::{TwoSample, WELCH_T_MAX, anderson_darling, kolmogorov_smirnov, welch_t};
pub use verdict::{Verdict, judge};
pub use window::{Grids, WINDOW_PACKETS};
