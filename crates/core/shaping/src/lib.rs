#![doc = include_str!("../README.md")]

mod breaker;
mod class;
mod grid;
mod noise;
mod rate;

pub use breaker::{Breaker, DOWN_EDGE_S, LOSS_BOUND_PER_MILLE, UP_EDGE_S};
pub use class::{RangeError, RateClass};
pub use grid::{Grid, SlotLength};
pub use noise::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, SeedError, Sigma, SigmaError};
pub use rate::CellRate;
