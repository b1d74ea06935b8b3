#![doc = include_str!("../README.md")]

mod breaker;
mod class;
mod grid;
mod noise;
mod quota;
mod rate;

pub use breaker::{Breaker, DOWN_EDGE_S, LOSS_BOUND_PER_MILLE, UP_EDGE_S};
pub use class::{RangeError, RateClass};
pub use grid::{Grid, SlotLength};
pub use noise::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, SeedError, Sigma, SigmaError};
pub use quota::{CLIENTS_MAX, ClientNumber, Quota};
pub use rate::CellRate;
