#![doc = include_str!("../README.md")]

pub mod hosts;
pub mod interval;
mod piece;
pub mod ports;

pub use piece::Piece;
