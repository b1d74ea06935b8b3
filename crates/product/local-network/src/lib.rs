#![doc = include_str!("../README.md")]

mod files;
mod shape;
mod texts;

pub use files::{LocalNetwork, LocalRelay, WriteError};
pub use shape::{RELAYS_MAX, Shape, ShapeError};
pub use texts::{Forward, Plan};
