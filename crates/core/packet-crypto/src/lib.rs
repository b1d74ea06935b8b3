#![doc = include_str!("../README.md")]

pub mod derive;
pub mod filler;
pub mod noise;
pub mod window;
