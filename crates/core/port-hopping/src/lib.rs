#![doc = include_str!("../README.md")]

pub mod hosts;
pub mod interval;
pub mod keyed;
pub mod keyless;
mod pair;
mod piece;
pub mod ports;
mod secret;

pub use pair::Pair;
pub use piece::Piece;
pub use secret::HopSecret;
