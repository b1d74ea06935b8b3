#![doc = include_str!("../README.md")]

pub mod accountant;
mod breaker;
mod class;
mod grid;
mod rate;

pub use breaker::{Breaker, DOWN_EDGE_S, LOSS_BOUND_PER_MILLE, UP_EDGE_S};
pub use class::{RangeError, RateClass};
pub use grid::{Grid, SlotLength};
pub use rate::CellRate;
