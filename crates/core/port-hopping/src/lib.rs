#![doc = include_str!("../README.md")]

pub mod causes;
pub mod detector;
pub mod hosts;
pub mod interval;
pub mod keyed;
pub mod keyless;
pub mod memory;
mod pair;
mod piece;
pub mod ports;
mod secret;
pub mod source;

pub use pair::Pair;
pub use piece::Piece;
pub use secret::HopSecret;
