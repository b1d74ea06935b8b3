#![doc = include_str!("../README.md")]

pub mod board;
pub mod figures;
pub mod port;
pub mod process;
pub mod records;
mod slot;
pub mod socket;
pub mod stream;
pub mod swappable;
