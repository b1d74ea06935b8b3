#![doc = include_str!("../README.md")]

pub mod load;
pub mod measure;
pub mod pair;
pub mod plain;
pub mod players;
pub mod process;
pub mod programs;
pub mod recording;
pub mod relay;
pub mod scratch;
pub mod servers;
